"""Drafting regimes: known numbers, and formulas against simulations of the events themselves."""

import functools
import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath.acceptance import Geometric, HitMiss, NotIdentifiable, Padded, Ranked
from specmath.cost import Linear, Outside, Pair, Ratio, Table
from specmath.draft import Chain, Tree
from specmath.regimes import Overlap, Stopping, best_tree, cascade, early_exit, one_shot, rate_optimal
from specmath.speedup import best_k, block_efficiency, evaluate, speedup

CONFIDENCES, PROBABILITIES = (0.98, 0.8, 0.3), (0.5, 0.3, 0.2)
P = (0.7, 0.15, 0.05, 0.02)


# Prompt lookup and n-grams: a law


def test_prompt_lookup_is_a_law_at_no_draft_cost():
    """A hit in 40 % of rounds, alpha .8, five drafts verified at 1.05 plain steps, misses plain steps."""
    found = evaluate(HitMiss(0.4, 0.8), 5, Ratio(0, d=0.01))
    assert found.block_efficiency == pytest.approx(2.075712, abs=1e-12)
    assert found.round_time == pytest.approx(1 + 0.4 * 0.05)
    assert found.speedup == pytest.approx(2.035012, abs=5e-7)


def test_the_bigram_draft_of_leviathan_et_al_is_within_rounding_of_what_they_report():
    """Leviathan et al. 2023, section 4: alpha about .2, k = 3 and c about 0 on English to German, 1.25 reported."""
    assert speedup(0.2, 3, 0) == pytest.approx(1.248, abs=1e-12)
    assert speedup(0.2, 3, 0) == pytest.approx(1.25, abs=0.005)


# Early exit


@pytest.mark.parametrize(("k", "expected"), [(1, 1.44), (2, 1.6267), (3, 1.6869), (4, 1.6808)])
def test_early_exit_costs_its_share_of_the_layers_per_draft(k, expected):
    assert speedup(0.8, k, early_exit(0.25)) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_reusing_the_early_layers_saves_no_serial_time(k):
    """Layer by layer, exactly, every token passing the first layers once.

    Each of the k drafts takes them over the token before it, the last draft needs them for the bonus token, and then
    the remaining layers run once over all. Without a bonus token the last draft is spared, and the round is that of
    k - 1 drafts with one.
    """
    alpha, early = Fraction(4, 5), Fraction(1, 4)
    with_bonus = (k + 1) * early + (1 - early)
    assert speedup(alpha, k, early_exit(early)) == block_efficiency(alpha, k) / with_bonus
    without_bonus = k * early + (1 - early)
    assert block_efficiency(alpha, k - 1) / without_bonus == speedup(alpha, Chain(k - 1), early_exit(early))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_an_exit_beyond_the_last_layer_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"fraction: found {fraction}, expected a number in \[0, 1\]"):
        early_exit(fraction)


# One-shot heads, parallel drafters, autoregressive heads


@pytest.mark.parametrize(
    ("k", "parallel", "autoregressive"),
    [(3, 2.4858, 2.4414), (5, 2.9892, 2.7401), (7, 3.2723, 2.8121), (10, 3.4828, 2.7365)],
)
def test_a_block_drafted_in_one_pass_against_one_drafted_token_by_token(k, parallel, autoregressive):
    assert speedup(0.75, k, one_shot(0.1)) == pytest.approx(parallel, abs=5e-5)
    assert speedup(0.75, k, 0.04) == pytest.approx(autoregressive, abs=5e-5)


def test_a_parallel_drafter_drafts_further():
    assert best_k(0.75, one_shot(0.1, d=0.02)).k == 9
    assert best_k(0.75, one_shot(0.1, d=0.02)).speedup == pytest.approx(2.9490, abs=5e-5)
    assert best_k(0.75, Ratio(0.04, d=0.02)).k < 9


def test_drafting_nothing_in_one_pass_costs_nothing():
    assert one_shot(0.1, o=0.5).round(Chain(0)).total == 1.5
    assert speedup(0.75, np.array([0, 3]), one_shot(0.1)) == pytest.approx([1, 2.734375 / 1.1])


@pytest.mark.parametrize(("alpha", "step_cost"), [(0.85, 1.028), (0.90, 1.056)])
def test_autoregressive_heads_are_a_small_ratio(alpha, step_cost):
    """DeepSeek-V3 (2024) accepts the second token 85 to 90 % of the time and reports 1.8x: what a round must cost."""
    cost = evaluate(alpha, 1, Ratio(step_cost - 1))
    assert cost.block_efficiency / 1.8 == pytest.approx(step_cost, abs=5e-4)
    assert cost.speedup == pytest.approx(1.8, abs=1e-3)


# Overlap


def overlapped(alpha, k, c, guess, rounds, rng, keep=False):
    """Seconds and tokens of an event-by-event run: a block drafted ahead is used only if it was guessed right."""
    seconds, tokens, ready = 0.0, 0, False
    for _ in range(rounds):
        seconds += 0 if ready else k * c
        accepted = 0
        while accepted < k and rng.random() < alpha:
            accepted += 1
        right = (accepted == k and rng.random() < guess) or keep
        seconds += max(1.0, k * c) if right else 1.0
        tokens, ready = tokens + accepted + 1, right
    return tokens / seconds


def test_drafting_ahead_hides_what_it_guessed_right():
    cost = Overlap(Ratio(0.12), Geometric(0.8), 0.8)
    assert speedup(0.8, 8, cost) == pytest.approx(2.364038, abs=5e-7)
    assert speedup(0.8, 8, Ratio(0.12)) == pytest.approx(2.208628, abs=5e-7)


@pytest.mark.parametrize(("alpha", "k", "c", "guess"), [(0.8, 8, 0.12, 0.8), (0.9, 5, 0.3, 0.9), (0.95, 4, 0.1, 1.0)])
def test_the_overlap_formula_equals_its_events_also_where_drafting_outlasts_verifying(alpha, k, c, guess):
    expected = speedup(alpha, k, Overlap(Ratio(c), Geometric(alpha), guess))
    rng = np.random.default_rng(7)
    runs = [overlapped(alpha, k, c, guess, 2000, rng) for _ in range(10)]
    assert abs(np.mean(runs) - expected) < 4 * np.std(runs, ddof=1) / math.sqrt(10)


def test_a_run_that_keeps_blocks_guessed_wrong_is_caught_and_reaches_only_the_upper_bound():
    """The negative control, and the bound tau / max(k c, 1) that is sometimes quoted as the speedup."""
    bound = speedup(0.8, 8, Overlap(Ratio(0.12), Geometric(1.0)))
    assert bound == pytest.approx(4.33, abs=5e-3)
    rng = np.random.default_rng(7)
    runs = [overlapped(0.8, 8, 0.12, 0.8, 1000, rng, keep=True) for _ in range(10)]
    assert abs(np.mean(runs) - bound) < 4 * np.std(runs, ddof=1) / math.sqrt(10)
    expected = speedup(0.8, 8, Overlap(Ratio(0.12), Geometric(0.8), 0.8))
    assert abs(np.mean(runs) - expected) > 40 * np.std(runs, ddof=1) / math.sqrt(10)


def test_overlap_without_a_right_guess_is_no_overlap_and_never_slower():
    seconds = Pair(Linear(1.0, 0.25), Linear(0.5, 0.25), overhead=0.5)
    for k in range(6):
        plain = seconds.round(Chain(k), batch=2, context=8)
        assert Overlap(seconds, Geometric(0.5), 0).round(Chain(k), batch=2, context=8) == plain
        assert Overlap(seconds, Geometric(0.5)).round(Chain(k)).total <= seconds.round(Chain(k)).total
    assert Overlap(seconds, Geometric(0.5)).step(batch=2) == seconds.step(batch=2)


def test_overlap_keeps_fractions_and_grids():
    half = Fraction(1, 2)
    assert Overlap(Ratio(half), Geometric(half), half).round(Chain(2)).draft == Fraction(7, 8)
    grid = Overlap(Ratio(0.12), Geometric(np.array([0.8, 0.5])), 0.8)
    each = [speedup(a, 8, Overlap(Ratio(0.12), Geometric(a), 0.8)) for a in (0.8, 0.5)]
    assert speedup(np.array([0.8, 0.5]), 8, grid) == pytest.approx(each)
    with pytest.raises(ValueError, match=r"guess: found 1\.5, expected a number in \[0, 1\]"):
        Overlap(Ratio(0.1), Geometric(0.5), 1.5)


# Cascade


def test_a_draft_that_speculates_itself_costs_less_and_drafts_further():
    assert best_k(0.8, Ratio(0.15)).k == 5
    assert best_k(0.8, Ratio(0.15)).speedup == pytest.approx(2.108160, abs=5e-7)
    cost = cascade(0.15, 0.7, 6, 0.05)
    assert cost.c == pytest.approx(0.063750, abs=5e-7)
    assert best_k(0.8, cost).k == 7
    assert best_k(0.8, cost).speedup == pytest.approx(2.877191, abs=5e-7)


def test_a_cascade_without_inner_drafts_is_the_draft_alone():
    assert cascade(0.15, 0.7, 0, 0.05, d=0.01, o=0.1) == Ratio(0.15, d=0.01, o=0.1)
    assert cascade(Fraction(3, 20), Fraction(1, 2), 1, Fraction(1, 5)).c == Fraction(3, 25)


# Padded batches


@pytest.mark.parametrize(
    ("alpha", "k", "batch", "padded", "ragged"),
    [(0.8, 5, 5, 1.485546, 3.689280), (0.7, 4, 8, 1.061174, 2.773100), (0.9, 4, 32, 1.035558, 4.095100)],
)
def test_a_batch_that_commits_the_least_of_its_sequences_pays_for_it(alpha, k, batch, padded, ragged):
    """BASS (Qian et al. 2024) remarks that 5 sequences at .8 keep .33 per token and about 1.5 tokens per step."""
    assert block_efficiency(Padded(Geometric(alpha), batch), k) == pytest.approx(padded, abs=5e-7)
    assert block_efficiency(Geometric(alpha), k) == pytest.approx(ragged, abs=5e-7)
    rng = np.random.default_rng(3)
    lengths = Geometric(alpha).sample(k, rng, (20000, batch))
    for tokens, expected in ((lengths.min(axis=1) + 1, padded), (lengths[:, 0] + 1, ragged)):
        assert abs(tokens.mean() - expected) < 4 * tokens.std() / math.sqrt(len(tokens))


def test_one_sequence_scored_as_a_batch_is_caught():
    """The negative control: alpha in place of alpha^b."""
    lengths = Geometric(0.8).sample(5, np.random.default_rng(3), (20000, 5)).min(axis=1) + 1
    assert abs(lengths.mean() - block_efficiency(0.8, 5)) > 100 * lengths.std() / math.sqrt(len(lengths))


# Adaptive stopping


def drafting(confidences, probabilities, threshold, k):
    """(probability, drafted, accepted) of every possible round, one confidence and one coin at a time."""
    for seen in itertools.product(range(len(confidences)), repeat=k):
        product, drafted = 1, 0
        while drafted < k and product > threshold:
            product *= confidences[seen[drafted]]
            drafted += 1
        mass = math.prod(probabilities[j] for j in seen)
        for accepted in range(drafted + 1):
            kept = math.prod(confidences[j] for j in seen[:accepted])
            rejected = 1 - confidences[seen[accepted]] if accepted < drafted else 1
            yield mass * kept * rejected, drafted, accepted


def played(law, k, c, rounds, rng, free_glance=False):
    """Tokens per time, round by round; with a free glance the draft that ends a block is not paid for."""
    tokens = time = 0
    for _ in range(rounds):
        product, drafted, accepted, alive = 1.0, 0, 0, True
        while drafted < k and product > law.threshold:
            confidence = rng.choices(law.confidences, law.probabilities)[0]
            product *= confidence
            drafted += 1
            alive = alive and rng.random() < confidence
            accepted += alive
        stopped = product <= law.threshold
        tokens, time = tokens + accepted + 1, time + 1 + c * (drafted - (free_glance and stopped))
    return tokens / time


def test_a_draft_that_knows_when_to_stop_beats_every_fixed_length():
    """Confidences .98, .8, .3 at .5, .3, .2, so .79 on average; c = .08."""
    cost = Ratio(0.08)
    law = Stopping(CONFIDENCES, PROBABILITIES)
    assert law.mean_confidence == pytest.approx(0.79)
    assert best_k(law, cost, k_max=12).k == best_k(0.79, cost).k == 6
    assert best_k(law, cost, k_max=12).speedup == pytest.approx(2.599617, abs=5e-7)
    assert speedup(rate_optimal(CONFIDENCES, PROBABILITIES, cost, k_max=12), Chain(12), cost) == pytest.approx(
        2.816161, abs=5e-7
    )


@pytest.mark.parametrize(("k_max", "expected"), [(12, 2.816161), (20, 2.822349), (60, 2.822391)])
def test_the_best_threshold_is_the_price_of_a_draft_over_its_chance(k_max, expected):
    """Draft on iff s mean > c S*; without a cap in sight that is s > .285812."""
    law = rate_optimal(CONFIDENCES, PROBABILITIES, Ratio(0.08), k_max=k_max)
    reached = speedup(law, k_max, Ratio(0.08))
    assert reached == pytest.approx(expected, abs=5e-7)
    assert law.threshold * 0.79 == pytest.approx(0.08 * reached)
    if k_max == 12:
        assert law.threshold * 0.79 == pytest.approx(0.225293, abs=5e-7)
        assert law.threshold == pytest.approx(0.285181, abs=1e-6)
    if k_max == 60:
        assert law.threshold == pytest.approx(0.285812, abs=1e-6)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 6), st.integers(0, 4))
def test_both_laws_of_a_stopped_round_equal_their_enumeration(numerators, threshold, k):
    confidences = [Fraction(numerator, 6) for numerator in numerators]
    probabilities = [Fraction(j + 1, sum(range(len(numerators) + 1))) for j in range(len(numerators))]
    law = Stopping(confidences, probabilities, Fraction(threshold, 6))
    rounds = list(drafting(confidences, probabilities, Fraction(threshold, 6), k))
    assert sum(mass for mass, _, _ in rounds) == 1
    for n in range(k + 1):
        assert law.drafted(k)[n] == sum(mass for mass, drafted, _ in rounds if drafted == n)
        assert law.pmf(k)[n] == sum(mass for mass, _, accepted in rounds if accepted == n)
    assert law.block_efficiency(k) == sum(mass * (1 + accepted) for mass, _, accepted in rounds)
    assert law.means(k) == [law.mean(n) for n in range(k + 1)]
    if k:
        seconds = sum(mass * (1 + Fraction(drafted, 10)) for mass, drafted, _ in rounds)
        assert speedup(law, k, Ratio(Fraction(1, 10))) == law.block_efficiency(k) / seconds


def test_the_speedup_of_a_stopped_draft_equals_its_simulation_and_a_free_glance_is_caught():
    law = rate_optimal(CONFIDENCES, PROBABILITIES, Ratio(0.08), k_max=12)
    rng = random.Random(11)
    runs = [played(law, 12, 0.08, 1500, rng) for _ in range(10)]
    assert abs(np.mean(runs) - 2.816161) < 4 * np.std(runs, ddof=1) / math.sqrt(10)
    free = [played(law, 12, 0.08, 1500, rng, free_glance=True) for _ in range(10)]
    assert abs(np.mean(free) - 2.816161) > 4 * np.std(free, ddof=1) / math.sqrt(10)


def surplus(confidences, probabilities, rate, price, k_max):
    """max over all stopping rules of E[tokens] - rate E[time], by backward induction on what was seen."""

    @functools.cache
    def further(drafted, product):
        if drafted == k_max:
            return 0
        gain = -rate * price
        for confidence, probability in zip(confidences, probabilities, strict=True):
            onward = product * confidence
            gain += probability * (onward + further(drafted + 1, onward))
        return max(0, gain)

    return 1 - rate + further(0, Fraction(1))


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_no_rule_at_all_does_better_than_the_rate_optimal_one(numerators, price, k_max):
    confidences = [Fraction(numerator, 8) for numerator in numerators]
    probabilities = [Fraction(1, len(numerators))] * len(numerators)
    cost = Ratio(Fraction(price, 20), d=Fraction(1, 20))
    law = rate_optimal(confidences, probabilities, cost, k_max=k_max)
    rate = speedup(law, k_max, cost)
    assert surplus(confidences, probabilities, rate, Fraction(price + 1, 20), k_max) == 0
    assert surplus(confidences, probabilities, rate - Fraction(1, 10**6), Fraction(price + 1, 20), k_max) > 0


def test_confidence_that_tells_nothing_gains_nothing():
    for alpha in (0.79, 0.5, 0.99):
        cost = Ratio(0.08, d=0.01, o=0.05)
        law = rate_optimal((alpha,), (1.0,), cost, k_max=30)
        fixed = best_k(alpha, cost, k_max=30)
        assert speedup(law, 30, cost) == pytest.approx(fixed.speedup, rel=1e-12)
        assert law.drafted(30)[fixed.k] == 1


def test_a_draft_that_knows_its_errors_drafts_up_to_the_first_of_them():
    """Leviathan et al. 2023, section 3.5: tokens per round then tend to 1 / (1 - alpha)."""
    oracle = Stopping((1, 0), (Fraction(4, 5), Fraction(1, 5)))
    assert oracle.drafted(2).tolist() == [0, Fraction(1, 5), Fraction(4, 5)]
    assert oracle.block_efficiency(9) == Geometric(Fraction(4, 5)).block_efficiency(9)
    assert float(oracle.block_efficiency(200)) == pytest.approx(5)
    assert speedup(oracle, 200, Ratio(0.05)) > best_k(0.8, 0.05).speedup


def test_a_threshold_of_zero_never_stops_and_one_of_one_never_drafts():
    eager, never = (Stopping(CONFIDENCES, PROBABILITIES, threshold) for threshold in (0, 1))
    assert eager.survival(np.array([0, 1, 5])) == pytest.approx(0.79 ** np.array([0, 1, 5]))
    assert eager.drafted(3) == pytest.approx([0, 0, 0, 1])
    assert never.drafted(3).tolist() == [1, 0, 0, 0]
    assert never.block_efficiency(3) == speedup(never, 3, 0.08) == 1


def test_drafting_that_never_pays_is_never_started():
    for confidences in ((0.05, 0.09), (0.0,)):
        law = rate_optimal(confidences, [1 / len(confidences)] * len(confidences), Ratio(0.1), k_max=8)
        assert (law.threshold, law.drafted(8)[0], speedup(law, 8, Ratio(0.1))) == (1, 1, 1)


def test_a_pair_of_models_gives_the_threshold_of_its_ratio():
    pair, ratio = Pair(Linear(0.75, 0.25), Linear(0.0625, 0.0625)), Ratio(0.125, d=0.25)
    for cost in (pair, ratio):
        law = rate_optimal(CONFIDENCES, PROBABILITIES, cost, k_max=10)
        assert law.threshold == pytest.approx(rate_optimal(CONFIDENCES, PROBABILITIES, ratio, k_max=10).threshold)


@pytest.mark.parametrize(
    "cost", [one_shot(0.1), Pair(Table([1, 2, 3], [1] * 3, [0] * 3, [1, 1, 2], provenance="fitted"))]
)
def test_where_drafts_cost_unequal_time_no_threshold_is_claimed(cost):
    with pytest.raises(ValueError, match=r"cost: found drafts that add .* expected each to add the same"):
        rate_optimal(CONFIDENCES, PROBABILITIES, cost, k_max=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.5, 1.5), (0.5, 0.5)), r"confidences\[1\]: found 1\.5"),
        (((0.5, 0.6), (0.5, -0.5)), r"probabilities\[1\]: found -0\.5"),
        (((0.5, 0.6), (0.5, 0.4)), r"probabilities: found a sum of 0\.9, expected 1"),
        (((0.5, 0.6), (1.0,)), "probabilities: found 1, expected 2, one per confidence"),
        (((0.5,), (1.0,), -0.1), "threshold: found -0.1"),
    ],
)
def test_what_is_no_law_of_confidences_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stopping(*arguments)


def test_a_cap_that_leaves_nothing_to_decide_is_refused():
    with pytest.raises(ValueError, match="k_max: found 0"):
        rate_optimal(CONFIDENCES, PROBABILITIES, Ratio(0.1), k_max=0)


# The tree that pays best


def trees_up_to(size):
    """Every ordered tree of up to `size` drafts, each node continuing the last one or one of its ancestors."""
    every = {(-1,)}
    for _ in range(size):
        every |= {(*parents, parent) for parents in every for parent in range(len(parents))}
    return {Tree(parents) for parents in every}


@pytest.mark.parametrize(
    "cost",
    [
        Ratio(0.02, d=0.01),
        Ratio(0.1, d=0.05, o=0.2),
        Pair(
            Table(range(1, 7), [1] * 6, [0] * 6, [1.0, 1.2, 1.21, 1.5, 1.22, 2.0], provenance="fitted"), Linear(0.05, 0)
        ),
        one_shot(0.1, d=0.02),
    ],
)
def test_no_tree_pays_better_whatever_its_shape(cost):
    """Among all trees of up to 5 drafts, with the verification times jagged as well."""
    row = (0.5, 0.25, 0.125)

    def pays(tree):
        tokens = 1 + sum(math.prod(row[rank] for rank in path) for path in tree.choices)
        return tokens * cost.step() / cost.round(tree).total if tree.size else 1

    found = best_tree(row, cost, sizes=range(6), depth_max=5)
    assert found.speedup == pytest.approx(pays(found.tree), rel=1e-12)
    assert found.speedup == pytest.approx(
        max(pays(tree) for tree in trees_up_to(5) if max(tree.ranks) < len(row)), rel=1e-12
    )


@settings(max_examples=20)
@given(st.floats(0.1, 0.9), st.floats(0, 0.3), st.floats(0, 0.1))
def test_the_best_tree_is_never_worse_than_the_best_chain(alpha, c, d):
    cost = Ratio(c, d=d)
    row = (alpha, (1 - alpha) / 2)
    assert best_tree(row, cost, sizes=(4, 9), depth_max=8).speedup >= best_k(alpha, cost, k_max=8).speedup * (1 - 1e-12)


def test_wide_forwards_of_the_draft_can_make_a_chain_the_best_tree():
    """A draft that pays per token and a target that does not: the widest tree no longer wins."""
    row, target = (0.5, 0.4), Linear(1.0, 0.0)
    free, dear = (best_tree(row, Pair(target, draft), sizes=range(15)).tree for draft in (None, Linear(0.0, 0.1)))
    assert free.size == 14
    assert dear.size < free.size
    assert not free.is_chain


def test_the_best_tree_takes_acceptances_by_level():
    rows = ((0.6, 0.2), (0.5, 0.2), (0.4,))
    found = best_tree(rows, Ratio(0.01, d=0.001), sizes=range(12))
    assert found.tree.depth == 3
    assert found.speedup == speedup(Ranked(rows), found.tree, Ratio(0.01, d=0.001))


def test_only_measured_sizes_are_candidates_and_the_plain_step_must_be_one():
    table = Table([1, 9, 33], [1] * 3, [0] * 3, [1.0, 1.05, 1.3], provenance="measured")
    assert best_tree(P, Pair(table)).tree.size in (8, 32)
    with pytest.raises(Outside, match="n=1, batch=2"):
        best_tree(P, Pair(table), batch=2)


def test_where_no_tree_pays_nothing_is_drafted():
    found = best_tree((0.2, 0.1), Ratio(0.5, o=0.1))
    assert (found.tree, found.speedup) == (Tree((-1,)), 1)


def test_a_law_without_ranks_has_no_tree():
    with pytest.raises(NotIdentifiable):
        speedup(Geometric(0.8), Tree((-1, 0, 0)), 0.1)


# What regimes accept and refuse


def test_a_number_is_a_ratio_for_every_regime():
    assert best_tree(P, 0.1, sizes=range(5)) == best_tree(P, Ratio(0.1), sizes=range(5))
    assert rate_optimal(CONFIDENCES, PROBABILITIES, 0.08, k_max=6) == rate_optimal(
        CONFIDENCES, PROBABILITIES, Ratio(0.08), k_max=6
    )
    assert speedup(0.8, 8, Overlap(0.12, Geometric(0.8), 0.8)) == pytest.approx(2.364038, abs=5e-7)


def test_overlap_is_for_chains_of_rounds_that_all_draft_k():
    tree = Tree((-1, 0, 0))
    with pytest.raises(ValueError, match="draft: found a tree of 2 drafts, 1 deep, expected a chain"):
        Overlap(0.1, Geometric(0.5)).round(tree)
    for law in (HitMiss(0.5, 0.5), Stopping((0.9, 0.4), (0.5, 0.5), 0.5)):
        with pytest.raises(ValueError, match=f"law: found a {type(law).__name__} that may draft less than k=2"):
            Overlap(0.1, law).round(Chain([0, 2]))
    cost, chain = Overlap(0.1, Geometric(0.5)), Tree((-1, 0, 1))
    assert cost.round(chain) == cost.round(Chain(2))
    assert cost.round(Chain([0, 2])).draft[1] == cost.round(Chain(2)).draft


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"acceptances": ()}, "acceptances: found none, expected one per child rank"),
        ({"acceptances": 0.5}, "acceptances: found 0.5, expected one per child rank"),
        ({"depth_max": -1}, "depth_max: found -1, expected a number in"),
        ({"depth_max": 1.5}, "depth_max: found 1.5, expected an integer >= 0"),
    ],
)
def test_a_tree_of_nothing_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        best_tree(**{"acceptances": P, "cost": 0.1} | arguments)


def test_one_integer_as_sizes_means_every_size_up_to_it():
    assert best_tree(P, 0.05, sizes=6) == best_tree(P, 0.05, sizes=range(7)) != best_tree(P, 0.05, sizes=5)
    with pytest.raises(ValueError, match=r"sizes: found 1\.5, expected an integer >= 0"):
        best_tree(P, 0.05, sizes=1.5)
