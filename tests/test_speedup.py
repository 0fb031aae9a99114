"""The quotient, its best depth and its break-even, against the published and the exact numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from specmath.acceptance import Empirical, Geometric, HitMiss, Positional, Tally
from specmath.cost import Linear, Outside, Pair, Ratio, Table
from specmath.draft import Chain
from specmath.speedup import best_k, block_efficiency, break_even, evaluate, speedup

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


def test_a_bigram_draft_at_no_cost_gains_a_quarter():
    """Leviathan et al. 2023: bigram draft, alpha about 0.2 on EnDe, k = 3, c about 0: 1.25x."""
    assert speedup(0.2, 3, 0) == pytest.approx(1.25, abs=0.005)


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
    ("alpha", "k", "operations"),
    [
        (0.6, 2, 1.530612),
        (0.7, 3, 1.579155),
        (0.8, 2, 1.229508),
        (0.8, 5, 1.626334),
        (0.9, 2, 1.107011),
        (0.9, 10, 1.603056),
    ],
)
def test_a_free_draft_still_multiplies_the_target_s_operations(alpha, k, operations):
    """Leviathan et al. 2023, Theorem 3.11 and Table 1 (1.63 and 1.60): (k + 1) / tau, never below 1."""
    assert (k + 1) / block_efficiency(alpha, k) == pytest.approx(operations, abs=1e-6)
    assert (k + 1) / block_efficiency(1.0, k) == 1


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
    bad = best_k(np.array([0.8, 1.2]), 0.05)
    assert (bad.k.tolist(), math.isnan(bad.speedup[1])) == ([8, 0], True)


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
        ({"k": 3}, "alpha, c: found None and None, expected exactly one None"),
        ({"k": 3, "alpha": 0.5, "c": 0.1}, "expected exactly one None"),
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


# Leviathan et al. 2023, Table 2 (T5-XXL, TPU-v4, batch 1): k, alpha, measured speedup; c of the small, base and large
# draft (.02, .04, .11 as recalled from appendix A.3); then tau, the formula's speedup and its best k, computed.
T5 = [
    (7, 0.75, 3.4, 0.02, 3.5995, 3.1575, 9),
    (7, 0.80, 2.8, 0.04, 4.1611, 3.2509, 9),
    (7, 0.82, 1.7, 0.11, 4.4199, 2.4971, 6),
    (7, 0.62, 2.6, 0.02, 2.5741, 2.2580, 6),
    (5, 0.68, 2.4, 0.04, 2.8160, 2.3467, 6),
    (3, 0.71, 1.4, 0.11, 2.5720, 1.9338, 4),
    (5, 0.65, 3.1, 0.02, 2.6417, 2.4015, 7),
    (5, 0.73, 3.0, 0.04, 3.1432, 2.6193, 7),
    (3, 0.74, 2.2, 0.11, 2.6928, 2.0247, 4),
    (5, 0.53, 2.3, 0.02, 2.0805, 1.8914, 5),
    (3, 0.55, 2.2, 0.04, 2.0189, 1.8026, 4),
    (3, 0.56, 1.7, 0.11, 2.0492, 1.5408, 3),
]


@pytest.mark.parametrize(("k", "alpha", "measured", "c", "tau", "value", "best"), T5)
def test_the_t5_rows_follow_from_alpha_k_and_c(k, alpha, measured, c, tau, value, best):
    assert block_efficiency(alpha, k) == pytest.approx(tau, abs=5e-5)
    assert speedup(alpha, k, c) == pytest.approx(value, abs=5e-5)
    assert best_k(alpha, c).k == best


def test_four_t5_rows_measure_above_the_ceiling_of_a_free_draft():
    """No c >= 0 explains them: the baseline's implementation or the i.i.d. assumption must."""
    above = [row for row, (k, alpha, measured, *_) in enumerate(T5) if measured > block_efficiency(alpha, k)]
    assert above == [3, 6, 9, 10]


def test_the_most_accepted_draft_is_not_the_fastest():
    small, _, large = T5[:3]
    assert large[1] > small[1]
    assert large[2] < small[2]


# MagicDec (Chen et al. 2024), Table 1, times in ms: k, k T_D, T_V, tokens per round, T_AR, measured; then c, v, alpha.
MAGICDEC = [
    (3, 44.11, 45.12, 3.00, 36.62, 1.21, 0.4015, 1.2321, 0.8105),
    (2, 29.06, 42.02, 2.53, 35.13, 1.22, 0.4136, 1.1961, 0.8342),
    (3, 58.33, 74.85, 3.14, 62.92, 1.46, 0.3090, 1.1896, 0.8404),
    (3, 15.09, 18.30, 2.82, 17.32, 1.42, 0.2904, 1.0566, 0.7701),
    (3, 14.20, 15.64, 2.98, 14.85, 1.44, 0.3187, 1.0532, 0.8062),
    (4, 23.63, 27.90, 3.37, 26.17, 1.68, 0.2257, 1.0661, 0.8013),
]


@pytest.mark.parametrize(("k", "drafting", "verify", "tau", "step", "measured", "c", "v", "alpha"), MAGICDEC)
def test_the_magicdec_rows_come_out_at_most_three_and_a_half_per_cent_high(
    k, drafting, verify, tau, step, measured, c, v, alpha
):
    law = Geometric.from_block_efficiency(tau, k)
    target = Table([1, k + 1], [1, 1], [0, 0], [step / 1e3, verify / 1e3], provenance="measured")
    cost = Pair(target, Table([1], [1], [0], [drafting / k / 1e3], provenance="measured"))
    assert law.alpha == pytest.approx(alpha, abs=5e-5)
    assert cost.round(Chain(k)).draft / cost.step() / k == pytest.approx(c, abs=6e-5)
    assert cost.round(Chain(k)).verify / cost.step() == pytest.approx(v, abs=6e-5)
    assert 1.00 <= speedup(law, k, cost) / measured <= 1.035
    assert speedup(law, k, cost) == pytest.approx(speedup(law, k, Ratio(c, d=(v - 1) / k)), rel=1e-3)


def test_one_pass_drafters_want_longer_drafts():
    step = Linear(1.0, 0)
    parallel, serial = Pair(step, Linear(0.1, 0), one_pass=True), Pair(step, Linear(0.04, 0))
    for k, one, many in ((3, 2.4858, 2.4414), (5, 2.9892, 2.7401), (7, 3.2723, 2.8121), (10, 3.4828, 2.7365)):
        assert speedup(0.75, k, parallel) == pytest.approx(one, abs=5e-5)
        assert speedup(0.75, k, serial) == pytest.approx(many, abs=5e-5)
    best = best_k(0.75, Pair(Linear(0.98, 0.02), Linear(0.1, 0), one_pass=True))
    assert best.k == 9
    assert best.speedup == pytest.approx(2.9490, abs=5e-5)


# The article "Speculative Decoding: The Mathematics of Acceptance Rate": what each sentence needs to be true.
@pytest.mark.parametrize(
    ("alpha", "k", "cost", "value"),
    [
        *[(0.35, k, c, 1.20) for k, c in ((1, 0.125), (2, 0.1135), (3, 0.0876), (4, 0.0688), (5, 0.0559))],
        *[(0.35, k, 0.1, value) for k, value in enumerate((1.227, 1.227, 1.166, 1.093, 1.024, 0.961, 0.905, 0.855), 1)],
        (0.35, 5, 0.12, 0.960),
        (0.35, 1, Ratio(0.1, o=0.1), 1.125),
        (0.35, 5, Ratio(0.1, o=0.1), 0.960),
        (0.35, 5, Ratio(0.1, d=0.02), 0.960),
        (0.35, 8, Ratio(0.1, d=0.02), 0.785),
        (0.40, 3, 0.1, 1.249),
        (0.40, 5, 0.1, 1.107),
        (0.35, 5, 0.02, 1.396),
        (0.75, 4, 0.0224, 2.8),
        (0.75, 5, 0.0349, 2.8),
        (0.75, 6, 0.0396, 2.8),
        (0.75, 7, 0.0408, 2.8),
        (0.75, 8, 0.0402, 2.8),
        (0.75, 5, 1 / 700, 3.265),
        (0.75, 7, 1 / 700, 3.564),
        (0.75, 5, 0.035, 2.798),
    ],
)
def test_the_article_s_speedups_hold_at_these_costs(alpha, k, cost, value):
    assert speedup(alpha, k, cost) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("alpha", "c", "k", "value"),
    [
        (0.75, 1 / 700, 18, 3.883),
        (0.75, 0.1, None, 2.192),
        (0.70, 0.02, 8, 2.758),
        (0.35, 0.035, 2, 1.376),
        (0.75, 0.035, 7, 2.891),
    ],
)
def test_the_article_s_best_cases(alpha, c, k, value):
    best = best_k(alpha, c)
    assert best.speedup == pytest.approx(value, abs=1e-3)
    assert k in (None, best.k)


@pytest.mark.parametrize(
    ("k", "c", "d", "alpha"),
    [
        (7, 0.10, 0, 0.4123),
        (5, 0.13, 0, 0.3963),
        (4, 0.16, 0, 0.3962),
        (8, 0.085, 0, 0.4049),
        (5, 0.02, 0, 0.0909),
        (5, 0.20, 0.05, 0.5710),
    ],
)
def test_a_forty_per_cent_threshold_belongs_to_one_draft_at_one_depth(k, c, d, alpha):
    assert break_even(c=c, d=d, k=k) == pytest.approx(alpha, abs=1e-4)


@pytest.mark.parametrize(("k", "c", "value"), [(3, 0.1, 1.577), (5, 0.1, 1.833)])
def test_thirty_five_per_cent_read_as_the_accepted_fraction_is_another_claim(k, c, value):
    law = Geometric.from_block_efficiency(1 + 0.35 * k, k)
    assert speedup(law, k, c) == pytest.approx(value, abs=1e-3)
    assert Geometric.from_block_efficiency(1 + 0.35 * 5, 5).alpha == pytest.approx(0.669, abs=5e-4)
    assert Geometric(0.35).mean(5) / 5 == pytest.approx(0.107, abs=1e-3)
    assert speedup(Geometric.from_block_efficiency(1 + 0.75 * 5, 5), 5, 0.1) == pytest.approx(3.167, abs=1e-3)


@pytest.mark.parametrize(
    ("c", "k", "alpha"),
    [
        (0.02, 4, 0.7811),
        (0.02, 5, 0.7516),
        (0.02, 7, 0.7316),
        (0.02, 8, 0.7294),
        (0.02, 9, 0.7296),
        (0.05, 5, 0.807),
        (0.05, 7, 0.791),
    ],
)
def test_three_times_as_fast_needs_this_alpha(c, k, alpha):
    assert Geometric.from_block_efficiency(3 * (1 + k * c), k).alpha == pytest.approx(alpha, abs=5e-4)
    assert speedup(alpha, k, c) == pytest.approx(3, abs=5e-3)


def test_c_is_paid_once_per_drafted_token():
    """A published blog formula divides by 1 + c; with c per token it overstates by (1 + k c) / (1 + c)."""
    assert block_efficiency(0.8, 4) / (1 + 0.05) > 1.14 * speedup(0.8, 4, 0.05)
