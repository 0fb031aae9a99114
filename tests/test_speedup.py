"""The quotient, its best depth and its break-even, against the published and the exact numbers."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from specmath.acceptance import (
    BetaGeometric,
    Empirical,
    Geometric,
    HitMiss,
    Markov,
    NotIdentifiable,
    Positional,
    Ranked,
    Tally,
)
from specmath.cost import Linear, Outside, Pair, Ratio, Table
from specmath.draft import Chain, Tree
from specmath.speedup import BestK, best_k, block_efficiency, break_even, evaluate, fleet, speedup
from specmath.tree_search import optimal_tree

FRACTIONS = st.integers(1, 20).flatmap(lambda d: st.integers(0, d).map(lambda n: Fraction(n, d)))
DEPTHS = st.integers(0, 10)


def formula(alpha, k, c, d=0, o=0):
    """Loops only."""
    tokens, power = 1, 1
    for _ in range(k):
        power *= alpha
        tokens += power
    return tokens / (1 + k * c + k * d + o) if k else 1


def test_a_call_gives_the_worked_example():
    assert speedup(0.8, 4, 0.05) == pytest.approx(2.801333333333, abs=1e-12)
    assert speedup(Fraction(4, 5), 4, Fraction(1, 20)) == Fraction(33616, 12000)
    assert type(speedup(0.8, 4, 0.05)) is float


@given(FRACTIONS, DEPTHS, FRACTIONS, FRACTIONS, FRACTIONS)
def test_fractions_equal_the_loop_exactly(alpha, k, c, d, o):
    value = speedup(alpha, k, Ratio(c, d=d, o=o))
    assert value == formula(alpha, k, c, d, o)
    assert isinstance(value, Fraction) or (value == 1 and (k == 0 or alpha in (0, 1)))


@given(FRACTIONS, FRACTIONS)
def test_nothing_drafted_is_plain_decoding_whatever_the_cost(alpha, c):
    assert speedup(alpha, 0, Ratio(c, d=1, o=5)) == 1
    assert speedup(HitMiss(alpha, alpha), 0, Pair(Linear(0.3, 0.07), Linear(0.1, 0.1), overhead=9.0)) == 1.0


def test_an_evaluation_is_the_quotient_of_its_parts():
    result = evaluate(0.8, 4, Pair(Linear(0.5, 0.125), Linear(0.25, 0), overhead=0.125))
    assert result.step_time == 0.625
    assert result.round_time == 1.0 + 1.125 + 0.125
    assert result.block_efficiency == block_efficiency(0.8, 4) == pytest.approx(3.3616)
    assert result.speedup == pytest.approx(3.3616 * 0.625 / 2.25)


def test_lookup_pays_for_verification_only_where_it_found_something():
    result = evaluate(HitMiss(0.4, 0.8), 5, Ratio(0, d=0.01))
    assert result.block_efficiency == pytest.approx(2.075712, abs=1e-6)
    assert result.speedup == pytest.approx(2.035012, abs=1e-6)
    exact = evaluate(HitMiss(Fraction(2, 5), Fraction(4, 5)), 5, Ratio(0, d=Fraction(1, 100)))
    assert exact.round_time == Fraction(102, 100)
    every_round = result.block_efficiency / Ratio(0, d=0.01).round(Chain(5)).total
    assert every_round < result.speedup - 0.05, "negative control: every round charged for a verification"


def test_a_round_that_finds_nothing_still_pays_the_overhead():
    assert speedup(HitMiss(0.0, 0.8), 5, Ratio(0, d=0.5, o=0.25)) == 0.8
    assert speedup(HitMiss(0.0, 0.8), 5, Ratio(0, d=0.5)) == 1.0


def test_counts_with_misses_predict_like_the_law_they_came_from():
    tally = Tally([[400, 320, 256]], [[320, 256, 205]], rounds=[1000])
    expected = speedup(HitMiss(0.4, 781 / 976), 3, Ratio(0.1, d=0.02))
    assert speedup(Empirical(tally), 3, Ratio(0.1, d=0.02)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("law", "shape", "cost", "message"),
    [
        (1.2, 4, 0.1, r"alpha: found 1.2, expected a number in \[0, 1\]"),
        (math.nan, 4, 0.1, "alpha: found nan"),
        (0.8, -1, 0.1, r"k: found -1, expected a number in \[0, infinity\)"),
        (0.8, 2.5, 0.1, "k: found 2.5, expected an integer >= 0"),
        (0.8, 4, -0.1, r"c: found -0.1, expected a number in \[0, infinity\)"),
        (0.8, 4, math.nan, "c: found nan"),
    ],
)
def test_a_scalar_out_of_its_domain_is_refused_by_name(law, shape, cost, message):
    with pytest.raises(ValueError, match=message):
        speedup(law, shape, cost)


def test_a_grid_equals_its_cells_and_a_bad_cell_is_nan():
    alpha, k, c = np.array([0.0, 0.5, 1.0, 1.5])[:, None, None], np.array([0, 1, 4])[:, None], np.array([0.0, 0.1, -1])
    grid = speedup(alpha, k, c)
    assert grid.shape == (4, 3, 3)
    for (i, j, m), cell in np.ndenumerate(grid):
        good = i < 3 and (m < 2 or j == 0)
        expected = formula(alpha[i, 0, 0], int(k[j, 0]), max(c[m], 0)) if good else math.nan
        assert cell == pytest.approx(expected, nan_ok=True), (i, j, m)


def test_a_grid_of_depths_goes_through_a_law_with_misses_and_a_table():
    pair = Pair(Table([1, 2, 3], [1] * 3, [0] * 3, [1.0, 1.5, 1.25], provenance="measured"))
    law, depths = HitMiss(0.5, 0.8), np.array([0, 1, 2])
    cells = [speedup(law, int(k), pair) for k in depths]
    assert speedup(law, depths, pair) == pytest.approx(cells)


@pytest.mark.parametrize(
    ("alpha", "c", "o", "values"),
    [(0.5, 0.1, 0.45, {1: 0.967742, 2: 1.060606, 3: 1.071429}), (0.35, 0.1, 0.05, {1: 1.174, 2: 1.178})],
)
def test_an_overhead_can_sink_one_draft_and_spare_more(alpha, c, o, values):
    for k, value in values.items():
        assert speedup(alpha, k, Ratio(c, o=o)) == pytest.approx(value, abs=5e-4)
    assert best_k(alpha, Ratio(c, o=o)).k > 1


@pytest.mark.parametrize(
    ("alpha", "c", "k", "value"),
    [
        (0.8, 0.05, 8, 3.092080),
        (0.7, 0.1, 4, 1.980786),
        (0.6, 0.02, 6, 2.169657),
        (0.9, 0.01, 24, 7.485566),
        (0.35, 0.1, 1, 1.227273),
        (0.75, 0.02, 9, 3.198937),
    ],
)
def test_the_best_depth_has_the_known_value(alpha, c, k, value):
    best = best_k(alpha, c)
    assert best.k == k
    assert best.speedup == pytest.approx(value, abs=1e-6)
    assert (type(best.k), type(best.speedup)) == (int, float)


def test_of_depths_that_tie_the_smaller_wins_in_floats_as_in_fractions():
    assert best_k(0.5, 0.2).k == 1
    assert best_k(Fraction(1, 2), Fraction(1, 5)) == best_k(Fraction(1, 2), Fraction(1, 5), k_max=1)
    assert speedup(Fraction(1, 2), 1, Fraction(1, 5)) == speedup(Fraction(1, 2), 2, Fraction(1, 5))


@pytest.mark.parametrize(
    ("alpha", "c", "k"), [(0.25, 1 / 19, 1), (0.75, 0.75**2 / (1.75 - 0.75**2), 1), (0.5, 1 / 121, 5)]
)
def test_a_tie_that_rounding_breaks_is_still_a_tie(alpha, c, k):
    """c = alpha^(k+1) / (tau(k) - k alpha^(k+1)) makes k and k + 1 equal in exact arithmetic."""
    exact = Fraction(alpha) ** (k + 1) / (block_efficiency(Fraction(alpha), k) - k * Fraction(alpha) ** (k + 1))
    assert float(exact) == pytest.approx(c)
    assert best_k(alpha, c).k == best_k(Fraction(alpha), exact).k == k


@given(st.integers(1, 9), st.integers(0, 10))
def test_a_draft_that_breaks_exactly_even_is_left_off(tenths, more):
    alpha = tenths / 10
    assert best_k(alpha, alpha + more / 10).k == 0


@given(FRACTIONS, FRACTIONS, FRACTIONS, st.integers(0, 12))
def test_the_best_depth_equals_brute_force(alpha, c, o, k_max):
    values = [formula(alpha, k, c, 0, o) for k in range(k_max + 1)]
    best = best_k(alpha, Ratio(c, o=o), k_max=k_max)
    assert best.speedup == max(values)
    assert best.k == values.index(max(values))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.sets(st.integers(2, 9)), FRACTIONS)
def test_the_best_depth_on_a_jagged_table_with_gaps_equals_brute_force(steps, gaps, alpha):
    measured = {n: 0.1 + step / 100 for n, step in enumerate(steps, start=1) if n not in gaps}
    ones = [1] * len(measured)
    pair = Pair(Table(list(measured), ones, [0] * len(ones), list(measured.values()), provenance="measured"))
    best_value, best_depth = 1.0, 0
    for k in range(1, 20):
        if k + 1 in measured:
            value = sum(float(alpha) ** i for i in range(k + 1)) * measured[1] / measured[k + 1]
            if value > best_value * (1 + 1e-12):
                best_value, best_depth = value, k
    best = best_k(float(alpha), pair, k_max=19)
    assert best.k == best_depth
    assert best.speedup == pytest.approx(best_value, rel=1e-12)


def test_a_dip_in_a_measured_table_is_found_behind_a_hump():
    """One forward over 2 tokens at 1.6 plain steps, over 5 at 1.55: stopping at the first loss would stay at 0."""
    pair = Pair(Table([1, 2, 3, 4, 5], [1] * 5, [0] * 5, [1.0, 1.6, 1.6, 1.58, 1.55], provenance="measured"))
    assert speedup(0.55, 1, pair) < 1
    assert best_k(0.55, pair).k == 4


def test_depths_never_measured_or_never_identified_are_no_candidates():
    table = Table([1, 2, 3], [1] * 3, [0] * 3, [1.0, 1.01, 1.02], provenance="measured")
    assert best_k(0.9, Pair(table)).k == 2
    assert best_k(Positional((0.9, 0.9, 0.9)), 0.001).k == 3
    with pytest.raises(Outside, match="batch=8"):
        best_k(0.9, Pair(table), batch=8)


def test_a_grid_of_best_depths_equals_its_cells():
    alpha, c = np.array([[0.8], [0.5], [0.3]]), np.array([0.05, 0.2, 0.3])
    best = best_k(alpha, c)
    for i, j in np.ndindex(3, 3):
        cell = best_k(alpha[i, 0], c[j])
        assert best.k[i, j] == cell.k
        assert best.speedup[i, j] == pytest.approx(cell.speedup)
    for bad in (best_k(np.array([0.8, 1.2]), 0.05), best_k(0.8, np.array([0.05, -1]))):
        assert (bad.k.tolist(), math.isnan(bad.speedup[1])) == ([8, 0], True)
        assert bad.speedup[0] == best_k(0.8, 0.05).speedup


@pytest.mark.parametrize(
    "law",
    [
        Geometric(0.8),
        HitMiss(0.6, 0.9),
        BetaGeometric(7, 3),
        Markov((0.95, 0.45), ((0.9, 0.1), (0.1, 0.9))),
        Ranked((0.8,)),
    ],
    ids=lambda law: type(law).__name__,
)
def test_the_best_depth_is_the_best_of_the_quotients_whatever_the_law(law):
    cost = Ratio(0.03, d=0.01, o=0.05)
    values = [speedup(law, k, cost) for k in range(25)]
    best = best_k(law, cost, k_max=24)
    assert best.k == int(np.argmax(values)) > 1
    assert best.speedup == pytest.approx(max(values), rel=1e-13)


@given(FRACTIONS, FRACTIONS, st.integers(1, 12))
def test_without_growth_and_overhead_some_depth_helps_iff_alpha_exceeds_c(alpha, c, k):
    if alpha <= c:
        assert speedup(alpha, k, c) <= 1
        assert best_k(alpha, c, k_max=12).k == 0
    else:
        assert speedup(alpha, 1, c) == (1 + alpha) / (1 + c) > 1
        assert best_k(alpha, c, k_max=12).speedup >= (1 + alpha) / (1 + c)


@given(FRACTIONS, st.integers(1, 8), FRACTIONS, FRACTIONS, FRACTIONS)
def test_it_pays_iff_the_accepted_fraction_exceeds_c_plus_d_plus_o_over_k(alpha, k, c, d, o):
    accepted_fraction = Fraction(Geometric(alpha).mean(k), k)
    assert (speedup(alpha, k, Ratio(c, d=d, o=o)) > 1) == (accepted_fraction > c + d + o / k)


TABLE = {  # break-even alpha by c + d, at k = 1, 2, 3, 4, 5, 7, 8, 10
    0.05: (0.0500, 0.0916, 0.1307, 0.1668, 0.2001, 0.2593, 0.2857, 0.3333),
    0.10: (0.1000, 0.1708, 0.2330, 0.2871, 0.3343, 0.4123, 0.4448, 0.5002),
    0.12: (0.1200, 0.2000, 0.2685, 0.3268, 0.3768, 0.4576, 0.4906, 0.5460),
    0.15: (0.1500, 0.2416, 0.3173, 0.3799, 0.4323, 0.5146, 0.5475, 0.6015),
    0.20: (0.2000, 0.3062, 0.3894, 0.4553, 0.5087, 0.5894, 0.6206, 0.6708),
}


@pytest.mark.parametrize("total", TABLE)
@pytest.mark.parametrize("growth", [0.0, 0.03])
def test_the_break_even_alpha_has_the_known_values(total, growth):
    found = break_even(c=total - growth, d=growth, k=np.array([1, 2, 3, 4, 5, 7, 8, 10]))
    assert found == pytest.approx(TABLE[total], abs=5e-5)


@given(st.floats(0, 1), st.integers(1, 20), st.floats(0, 0.2), st.floats(0, 0.5))
def test_break_even_and_speedup_one_roundtrip(alpha, k, d, o):
    c = break_even(alpha=alpha, k=k, d=d, o=o)
    assume(not math.isnan(c))
    assert speedup(alpha, k, Ratio(c, d=d, o=o)) == pytest.approx(1, rel=1e-12)
    back = break_even(c=c, k=k, d=d, o=o)
    assert back == pytest.approx(alpha, abs=1e-9)


@given(FRACTIONS, st.integers(1, 9))
def test_break_even_in_c_is_the_accepted_fraction_exactly(alpha, k):
    assert break_even(alpha=alpha, k=k) == Geometric(alpha).mean(k) / Fraction(k)
    assert speedup(alpha, k, break_even(alpha=alpha, k=k)) == 1


def test_break_even_has_no_answer_outside_the_domain():
    assert math.isnan(break_even(c=1.5, k=3))
    assert math.isnan(break_even(alpha=0.1, k=3, o=0.5))
    assert break_even(c=1.0, k=3) == 1
    assert break_even(c=0, k=3) == 0
    grid = break_even(alpha=np.array([0.5, 1.5]), k=2)
    assert np.array_equal(grid, [0.375, np.nan], equal_nan=True)
    assert np.array_equal(break_even(c=0.1, k=np.array([0, 1])), [np.nan, break_even(c=0.1, k=1)], equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 3}, "alpha, c: found neither given, expected exactly one None"),
        ({"k": 3, "alpha": np.eye(2), "c": 0.1}, "^alpha, c: found both given, expected exactly one None.*$"),
        ({"k": 0, "alpha": 0.5}, "k: found 0, expected a number in"),
        ({"k": 3, "alpha": 1.5}, "alpha: found 1.5"),
        ({"k": 3, "c": -1}, "c: found -1"),
        ({"k": 3, "c": 0.1, "o": -1}, "o: found -1"),
        ({"k": 3, "c": 0.1, "d": math.nan}, "d: found nan"),
    ],
)
def test_break_even_refuses_what_it_cannot_solve(arguments, message):
    with pytest.raises(ValueError, match=message):
        break_even(**arguments)


def test_a_fleet_is_all_its_tokens_over_all_its_time():
    easy, hard = block_efficiency(0.95, 5), block_efficiency(0.45, 5)
    by_rounds, by_tokens = fleet([0.95, 0.45], 5, 0.0, rounds=1), fleet([0.95, 0.45], 5, 0.0, tokens=1)
    assert by_rounds == pytest.approx(3.550623, abs=1e-6)
    assert by_tokens == pytest.approx(2.690523, abs=1e-6)
    assert fleet([0.95, 0.45], 5, 0.1, rounds=[1, 1]) == pytest.approx(by_rounds / 1.5)
    assert fleet([0.95, 0.45], 5, 0.1, tokens=[easy, hard]) == pytest.approx(by_rounds / 1.5)
    assert fleet([0.95, 0.45], 5, 0.1, rounds=[1 / easy, 1 / hard]) == pytest.approx(by_tokens / 1.5)
    assert fleet([0.95, 0.45], 0, 0.1, tokens=[7, 2]) == 1


def test_the_mean_of_the_prompts_speedups_is_the_speedup_of_no_fleet():
    """Where lookup misses, rounds take unequal times: a mean of speedups then weighs neither tokens nor rounds."""
    laws, cost = [HitMiss(0.9, 0.9), HitMiss(0.1, 0.5)], Ratio(0, d=0.1)
    speedups = [speedup(law, 4, cost) for law in laws]
    seconds = [evaluate(law, 4, cost).round_time for law in laws]
    by_rounds, by_tokens = (fleet(laws, 4, cost, **{weight: 1}) for weight in ("rounds", "tokens"))
    assert by_rounds == pytest.approx(sum(block_efficiency(law, 4) for law in laws) / sum(seconds))
    assert by_tokens == pytest.approx(2 / sum(1 / value for value in speedups))
    assert by_tokens + 0.1 < sum(speedups) / 2 < by_rounds - 0.1


@given(st.lists(st.tuples(FRACTIONS, st.integers(1, 9)), min_size=1, max_size=4), st.integers(0, 5), FRACTIONS)
def test_a_fleet_equals_its_clock_exactly(prompts, k, c):
    """Seconds added up prompt by prompt, in plain steps."""
    tokens = sum(n for _, n in prompts)
    seconds = sum(n / formula(alpha, k, c) for alpha, n in prompts)
    laws = [alpha for alpha, _ in prompts]
    assert fleet(laws, k, c, tokens=[n for _, n in prompts]) == tokens / seconds
    rounds = [n / sum(alpha**i for i in range(k + 1)) for alpha, n in prompts]
    assert fleet(laws, k, c, rounds=rounds) == tokens / seconds


def test_a_fleet_of_prompts_drawn_from_a_beta_law_has_its_means():
    law = BetaGeometric(7, 3)
    alphas = law.alphas(np.random.default_rng(2), 2_000)
    assert fleet(alphas, 5, 0.0, rounds=1) == pytest.approx(law.block_efficiency(5), rel=0.02)
    assert fleet(alphas, 5, 0.0, tokens=1) == pytest.approx(law.block_efficiency_by_token(5), rel=0.02)
    assert law.block_efficiency(5) > 1.08 * law.block_efficiency_by_token(5)


def test_a_fleet_runs_under_its_load():
    pair = Pair(Table([1, 6] * 2, [1, 1, 8, 8], [0] * 4, [1.0, 1.0, 1.0, 2.0], provenance="measured"))
    assert fleet([0.95, 0.45], 5, pair, tokens=1, batch=8) == pytest.approx(2.690523 / 2, abs=1e-6)
    assert fleet([0.95, 0.45], 5, pair, tokens=1) == pytest.approx(2.690523, abs=1e-6)


@pytest.mark.parametrize(
    ("laws", "weights", "message"),
    [
        ([0.5], {}, "tokens, rounds: found neither given, expected exactly one None"),
        ([0.5], {"tokens": np.eye(2), "rounds": 2}, "^tokens, rounds: found both given, expected exactly one None$"),
        ([0.5, 0.6], {"tokens": np.eye(2)}, "tokens: found an array for a prompt, expected a number for each of 2"),
        ([], {"tokens": 1}, "laws: found none, expected one per prompt"),
        ([0.5, 0.6], {"tokens": [1, 2, 3]}, "tokens: found 3, expected one for each of 2 laws"),
        ([0.5, 0.6], {"rounds": [1, -2]}, r"rounds\[1\]: found -2, expected a number in \[0, infinity\)"),
        ([0.5, 0.6], {"rounds": 0}, "rounds: found only 0, expected some above it"),
    ],
)
def test_a_fleet_needs_one_weight_per_prompt(laws, weights, message):
    with pytest.raises(ValueError, match=message):
        fleet(laws, 5, 0.1, **weights)


# Sequoia's acceptance by rank (.7, .15, .05, .02): drafts, the best tree's tokens per round, and the chain's.
@pytest.mark.parametrize(
    ("drafts", "tree", "chain"),
    [
        (3, 2.533000, 2.533000),
        (5, 2.941170, 2.941170),
        (7, 3.208819, 3.141173),
        (11, 3.574673, 3.287196),
        (15, 3.830771, 3.322256),
    ],
)
def test_trees_go_through_the_ordinary_quotient(drafts, tree, chain):
    law, shape = Ranked((0.7, 0.15, 0.05, 0.02)), optimal_tree((0.7, 0.15, 0.05, 0.02), drafts)
    assert shape.size == drafts
    assert block_efficiency(law, shape) == pytest.approx(tree, abs=1e-6)
    assert block_efficiency(law, drafts) == pytest.approx(chain, abs=1e-6)
    cost = Ratio(0.05, d=0.01, o=0.1)
    expected = tree / (1 + 0.05 * shape.depth + 0.01 * drafts + 0.1)
    assert speedup(law, shape, cost) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("drafts", "tau"), [(7, 2.635), (15, 2.7585)])
def test_a_tree_of_two_levels_has_the_known_value(drafts, tau):
    acceptances = (0.7, 0.15, 0.05, 0.02)
    shape = optimal_tree(acceptances, drafts, 2)
    assert shape.depth == 2
    assert block_efficiency(Ranked(acceptances), shape) == pytest.approx(tau, abs=1e-9)


def test_a_tree_without_ranks_to_score_it_is_refused():
    with pytest.raises(NotIdentifiable, match="acceptance by child rank missing; Ranked gives it"):
        speedup(0.8, Tree((-1, 0, 0)), 0.1)


def test_one_pass_drafters_want_longer_drafts():
    step = Linear(1.0, 0)
    parallel, serial = Pair(step, Linear(0.1, 0), one_pass=True), Pair(step, Linear(0.04, 0))
    for k, one, many in ((3, 2.4858, 2.4414), (5, 2.9892, 2.7401), (7, 3.2723, 2.8121), (10, 3.4828, 2.7365)):
        assert speedup(0.75, k, parallel) == pytest.approx(one, abs=5e-5)
        assert speedup(0.75, k, serial) == pytest.approx(many, abs=5e-5)
    best = best_k(0.75, Pair(Linear(0.98, 0.02), Linear(0.1, 0), one_pass=True))
    assert best.k == 9
    assert best.speedup == pytest.approx(2.9490, abs=5e-5)


# Grids over what was measured

CONTEXTS = Table([1, 2, 3, 4, 5] * 2, [1] * 10, [0] * 5 + [100] * 5, [1, 1.1, 1.2, 1.3, 1.4] * 2, provenance="measured")
MEASURED = Pair(CONTEXTS, Table([1, 1], [1, 1], [0, 100], [0.1, 0.1], provenance="measured"))


def test_the_best_depth_of_a_cell_is_among_the_depths_measured_there():
    assert best_k(0.8, MEASURED).k == 4
    grid = best_k(0.8, MEASURED, context=np.array([0, 50, 100, 101]))
    assert grid.k.tolist() == [4, 4, 4, 0]
    assert grid.speedup[:3].tolist() == [best_k(0.8, MEASURED).speedup] * 3
    assert math.isnan(grid.speedup[3]), "not even a plain step was measured"
    both = best_k(np.array([[0.8], [1.5], [0.1]]), MEASURED, context=np.array([0, 100]))
    assert both.k.tolist() == [[4, 4], [0, 0], [0, 0]]
    assert np.isnan(both.speedup).tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_each_batch_has_the_best_of_its_own_depths():
    rows = [(1, 1, 1.0), (2, 1, 1.0), (3, 1, 1.0), (1, 2, 1.0), (2, 2, 1.0), (1, 3, 1.0)]
    n, batch, seconds = zip(*rows, strict=True)
    pair = Pair(Table(n, batch, [0] * 6, seconds, provenance="measured"))
    found = best_k(0.8, pair, batch=np.array([1, 2, 3]))
    assert found.k.tolist() == [2, 1, 0]
    assert found.speedup[:2] == pytest.approx([2.44, 1.8])
    assert math.isnan(found.speedup[2]), "no depth to compare with"


def test_a_grid_of_depths_is_nan_where_it_was_not_measured():
    found = speedup(0.8, [0, 3, 9], MEASURED)
    assert found[:2].tolist() == [1, speedup(0.8, 3, MEASURED)]
    assert math.isnan(found[2])
    with pytest.raises(Outside, match="n=10"):
        speedup(0.8, 9, MEASURED)
    with pytest.raises(Outside, match="batch=8"):
        speedup(0.8, [0, 3], MEASURED, batch=8)


def test_a_forward_that_takes_no_time_in_one_cell_is_nan_there():
    found = speedup(0.8, 2, Pair(Linear([0, 1], 0)))
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(2.44)


def test_an_overhead_by_drafted_tokens_is_weighed_by_the_rounds_that_draft_them():
    """Speedups, grids over k and the best k are those of one number per depth; a depth beyond it is no candidate."""
    by_drafted = (0.0, 0.125, 0.25, 4.0)
    pair = Pair(Linear(1.0, 0.0), Linear(0.125, 0.0), overhead=by_drafted)
    one_by_one = [speedup(0.75, k, replace(pair, overhead=by_drafted[k])) for k in (1, 2, 3)]
    assert speedup(0.75, np.array([1, 2, 3]), pair).tolist() == one_by_one
    assert math.isnan(speedup(0.75, np.array([4]), pair)[0])
    assert best_k(0.75, pair) == BestK(2, one_by_one[1])
    assert evaluate(HitMiss(0.5, 0.75), 2, pair).round_time == 0.5 * 1.0 + 0.5 * (1.0 + 0.25 + 0.25)
    with pytest.raises(Outside, match="overhead of 4 drafted tokens"):
        speedup(0.75, 4, pair)
