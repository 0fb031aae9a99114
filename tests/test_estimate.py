"""Estimates: the right estimand, intervals that cover, and a control that shows the wrong way failing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

from specmath.acceptance import Empirical, Geometric, HitMiss, Positional
from specmath.estimate import Estimate, alpha, block_efficiency, fit, more_prompts, quotient, ratio
from specmath.tally import NotIdentifiable, Rounds, Tally

COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])
CELLS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=2, max_size=12)


def draw_tally(alphas, rounds, k, rng):
    """One prompt per alpha, so many rounds each, all drafting k."""
    lengths = np.minimum(rng.geometric(1 - np.asarray(alphas)[:, None], (len(alphas), rounds)) - 1, k)
    accepted = (lengths[:, :, None] > np.arange(k)).sum(axis=1)
    return Tally(np.column_stack([np.full(len(alphas), rounds), accepted[:, :-1]]), accepted)


def studies(count, seed):
    """Studies of 40 prompts x 50 rounds, prompts from Beta(7, 3), k = 5."""
    rng = np.random.default_rng(seed)
    return [draw_tally(rng.beta(7, 3, 40), 50, 5, rng) for _ in range(count)]


def coverage(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


def naive_interval(successes, trials):
    value = successes / trials
    half = ndtri(0.975) * math.sqrt(value * (1 - value) / trials)
    return value - half, value + half


def beta_survival(a, b, i):
    return math.prod((a + s) / (a + b + s) for s in range(i))


POOLED_ALPHA = sum(beta_survival(7, 3, i) for i in range(1, 6)) / sum(beta_survival(7, 3, i) for i in range(5))
POOLED_TAU = sum(beta_survival(7, 3, i) for i in range(6))


def test_pooled_over_unequal_prompts_alpha_is_weighted_by_their_tests():
    pooled = POOLED_ALPHA, POOLED_TAU
    assert pooled == pytest.approx((0.733333, 3.115385), abs=1e-6)
    rng = np.random.default_rng(1)
    estimate = alpha(draw_tally(rng.beta(7, 3, 20_000), 50, 5, rng))
    assert estimate.value == pytest.approx(0.733333, abs=0.003)
    assert abs(estimate.value - 0.7) > 0.03


def test_intervals_clustered_by_prompt_cover_and_the_binomial_one_does_not():
    tallies = studies(1000, seed=11)
    clustered = [(e.low, e.high) for e in map(alpha, tallies)]
    naive = [naive_interval(t.successes.sum(), t.trials.sum()) for t in tallies]
    lengths = [(e.low, e.high) for e in map(block_efficiency, tallies)]
    assert 0.925 <= coverage(clustered, POOLED_ALPHA) <= 0.97
    assert 0.925 <= coverage(lengths, POOLED_TAU) <= 0.97
    assert 0.35 <= coverage(naive, POOLED_ALPHA) <= 0.50, "negative control: rounds of one prompt are no trials"


def test_over_equal_prompts_the_clustered_interval_is_no_wider_than_needed():
    rng = np.random.default_rng(5)
    estimates = [alpha(draw_tally(np.full(40, 0.7), 50, 5, rng)) for _ in range(300)]
    predicted = math.sqrt(0.7 * 0.3 / (40 * 50 * sum(0.7**i for i in range(5))))
    half = float(np.mean([e.half_width for e in estimates]))
    assert half == pytest.approx(float(stdtrit(39, 0.975)) * predicted, rel=0.05)


@pytest.mark.parametrize(
    ("true", "k", "deviation", "fraction"),
    [(0.7, 5, 0.01946, 0.3882), (0.35, 5, 0.02726, 0.1071), (0.9, 7, 0.00929, 0.6708)],
)
def test_the_censored_estimate_finds_alpha_and_accepted_over_drafted_does_not(true, k, deviation, fraction):
    rng = np.random.default_rng(2)
    tallies = [draw_tally([true], 200, k, rng) for _ in range(2000)]
    values = np.array([alpha(t).value for t in tallies])
    assert values.mean() == pytest.approx(true, abs=0.003)
    assert values.std() == pytest.approx(deviation, rel=0.06)
    accepted_fraction = np.mean([t.successes.sum() / (200 * k) for t in tallies])
    assert accepted_fraction == pytest.approx(fraction, abs=0.002)
    assert abs(accepted_fraction - true) > 8 * deviation, "negative control: accepted / drafted"


def test_drafts_of_varying_length_leave_alpha_alone():
    rng = np.random.default_rng(4)
    drafted = rng.integers(0, 8, 30_000)
    accepted = np.minimum(rng.geometric(0.3, 30_000) - 1, drafted)
    estimate = alpha(Rounds(rng.integers(0, 50, 30_000), drafted, accepted))
    assert estimate.low <= 0.7 <= estimate.high
    assert estimate.half_width < 0.01


def test_alpha_is_accepted_over_accepted_and_rejected():
    estimate = alpha(COUNTED)
    assert estimate.value == (59 + 48) / (90 + 69)
    assert estimate.value == COUNTED.successes.sum() / (COUNTED.successes.sum() + COUNTED.rejections.sum())
    assert (estimate.level, estimate.prompts) == (0.95, 2)
    assert "clustered by prompt" in estimate.method


def test_block_efficiency_counts_every_round_as_it_ran():
    estimate = block_efficiency(COUNTED)
    assert estimate.value == pytest.approx(1 + 107 / 105, rel=1e-15)
    assert 1 <= estimate.low < estimate.value < estimate.high <= 4


def test_rounds_estimate_like_their_tally():
    rounds = Rounds([0, 0, 1, 1, 1], [3, 2, 3, 0, 1], [1, 2, 3, 0, 0])
    assert alpha(rounds) == alpha(rounds.tally())
    assert block_efficiency(rounds) == block_efficiency(rounds.tally())
    assert fit(Geometric, rounds).law == fit(Geometric, rounds.tally()).law


def sandwich_by_hand(pairs, level):
    """The ratio estimator's interval, by loops."""
    top, bottom = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    r, squares = top / bottom, 0.0
    for x, y in pairs:
        squares += (x - r * y) ** 2
    error = math.sqrt(len(pairs) / (len(pairs) - 1) * squares) / bottom
    half = float(stdtrit(len(pairs) - 1, 0.5 + level / 2)) * error
    return r, r - half, r + half


@given(CELLS, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_of_a_ratio_equals_the_loop(pairs, level):
    value, low, high = sandwich_by_hand(pairs, level)
    estimate = ratio(*zip(*pairs, strict=True), level)
    assert estimate.value == pytest.approx(value, rel=1e-12)
    assert estimate.prompts == len(pairs)
    if high - low > 1e-9:
        assert (estimate.low, estimate.high) == pytest.approx((max(low, 0), high), rel=1e-9, abs=1e-12)
    else:
        assert math.isnan(estimate.low)


@given(CELLS, st.floats(0.01, 100))
def test_units_cancel_out_of_a_ratio(pairs, unit):
    x, y = np.array(pairs, dtype=float).T
    plain, scaled = ratio(x, y), ratio(unit * x, unit * y)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(
        (plain.value, plain.low, plain.high), rel=1e-6, abs=1e-9, nan_ok=True
    )


def test_prompts_that_say_nothing_are_not_counted_as_prompts():
    assert ratio([1, 0, 2, 0], [2, 0, 3, 0]) == ratio([1, 2], [2, 3])
    silent = Tally([[4, 2], [0, 0], [3, 1]], [[2, 1], [0, 0], [1, 0]], rounds=[4, 9, 3])
    assert alpha(silent).prompts == 2
    assert block_efficiency(silent).prompts == 3


def test_one_prompt_has_a_value_and_no_interval_and_says_why():
    estimate = alpha(Tally([[10, 5]], [[5, 2]]))
    assert estimate.value == 7 / 15
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert "one prompt" in estimate.method


def test_intervals_stay_inside_what_is_possible():
    estimate = alpha(Tally([[10], [1]], [[10], [0]]))
    assert (estimate.low, estimate.high) == (0, 1)
    estimate = block_efficiency(Tally([[10], [1]], [[10], [0]]))
    assert (estimate.low, estimate.high) == (1, 2)


@pytest.mark.parametrize("prompts", [2, 20])
def test_all_or_nothing_accepted_is_bounded_as_if_prompts_were_trials(prompts):
    every = Tally(np.full((prompts, 2), 9), np.full((prompts, 2), 9))
    none = Tally([[9, 0]] * prompts, [[0, 0]] * prompts)
    assert alpha(every).value == 1
    assert alpha(every).high == 1
    assert alpha(every).low == pytest.approx(0.05 ** (1 / prompts), rel=1e-9)
    assert (alpha(none).value, alpha(none).low) == (0, 0)
    assert alpha(none).high == pytest.approx(1 - 0.05 ** (1 / prompts), rel=1e-9)
    assert block_efficiency(every).low == pytest.approx(1 + 2 * 0.05 ** (1 / prompts), rel=1e-9)
    assert "no spread" in alpha(every).method


def test_prompts_that_agree_to_the_token_do_not_make_an_interval_of_no_width():
    estimate = alpha(Tally([[10]] * 4, [[5]] * 4))
    assert estimate.low == pytest.approx(0.0676, abs=5e-5)  # Clopper-Pearson, 2 of 4
    assert estimate.high == pytest.approx(0.9324, abs=5e-5)


def test_a_one_sided_bound_holds_where_the_truth_is_just_below_one():
    """Prompts with at most one rejection: the bound must miss in at most 5 of 100 studies."""
    rng = np.random.default_rng(8)
    truth, covered = 0.99, []
    for _ in range(1000):
        accepted = 10 - (rng.random(20) < 0.1)
        if accepted.min() == 10:
            covered.append(alpha(Tally([[10]] * 20, accepted[:, None])).low <= truth)
        else:
            covered.append(True)
    assert np.mean(covered) >= 0.95


def test_a_quotient_takes_its_columns_jointly():
    """Slow prompts are slow in both arms: the interval of their quotient must not pay for that twice."""
    rng = np.random.default_rng(9)
    pace = rng.uniform(1, 9, 40)
    plain, tokens, spec = 2.0 * pace, np.full(40, 100.0), pace * rng.normal(1, 0.01, 40)
    joint = quotient([plain, tokens], [tokens, spec])
    assert joint.value == pytest.approx(2, rel=0.01)
    assert joint.half_width < 0.02
    apart = quotient([plain], [tokens]).half_width / quotient([plain], [tokens]).value
    assert apart * joint.value > 10 * joint.half_width, "negative control: one arm alone"


def test_a_quotient_of_one_pair_is_a_ratio_and_its_order_does_not_matter():
    x, y, z = [4, 9, 5], [1, 2, 2], [3, 3, 4]
    assert quotient([x], [y]) == ratio(x, y)
    one, other = quotient([x, z], [y, y]), quotient([z, x], [y, y])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert quotient([x, y], [y, z]).low == pytest.approx(ratio(x, z).low), "y cancels"


def test_an_interval_for_prompts_to_come_covers_them():
    rng = np.random.default_rng(12)
    inside, mean_only = [], []
    for _ in range(1000):
        shares = rng.beta(7, 3, 40)
        accepted = rng.binomial(50, shares)
        seen, coming = accepted[:30], accepted[30:].sum() / 500
        ahead = quotient([seen], [np.full(30, 50)], ahead=10)
        inside.append(ahead.low <= coming <= ahead.high)
        plain = ratio(seen, np.full(30, 50))
        mean_only.append(plain.low <= coming <= plain.high)
    assert 0.925 <= np.mean(inside) <= 0.97
    assert np.mean(mean_only) < 0.8, "negative control: an interval for the mean"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1]), r"found shapes \(1, 2\) and \(1, 1\), expected one entry of each per prompt"),
        (([1, -2], [1, 1]), "found -2.0 / 1.0 for prompt 1, expected finite numbers >= 0"),
        (([1, math.nan], [1, 1]), "found nan / 1.0 for prompt 1"),
        (([[1]], [[1]]), "found shapes"),
    ],
)
def test_columns_that_are_no_counts_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        ratio(*columns)


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="level: found"):
        alpha(COUNTED, level)


def test_nothing_tested_identifies_no_alpha_but_a_block_efficiency_of_one():
    tally = Rounds([0, 1], [0, 0], [0, 0]).tally()
    assert block_efficiency(tally).value == 1
    for answer in (lambda: alpha(tally), lambda: fit(Geometric, tally), lambda: fit(Empirical, tally)):
        with pytest.raises(NotIdentifiable):
            answer()
    with pytest.raises(NotIdentifiable, match="anything to divide by"):
        block_efficiency(Tally([[0]], [[0]]))


def test_totals_give_the_block_efficiency_that_the_engine_logged():
    """vLLM PR 24243: 43,221 proposals of 6, 63,669 accepted; length 2.4731, rate 0.2455, yet 1.62 times as fast."""
    totals = Tally.pooled(43_221, 259_326, 63_669, k=6, rule="unknown")
    assert block_efficiency(totals).value == pytest.approx(2.4731, abs=5e-5)
    assert (block_efficiency(totals).value - 1) / 6 == pytest.approx(0.245517, abs=5e-7)
    assert math.isnan(block_efficiency(totals).low)


def test_full_totals_identify_a_geometric_alpha_and_no_interval():
    totals = Tally.pooled(43_221, 259_326, 63_669, k=6, rule="unknown")
    estimate = alpha(totals)
    assert Geometric(estimate.value).block_efficiency(6) == pytest.approx(block_efficiency(totals).value)
    assert math.isnan(estimate.low)
    assert "no prompts" in estimate.method
    assert fit(Geometric, totals).law == Geometric(estimate.value)
    assert math.isnan(fit(Geometric, totals).log_likelihood)


@pytest.mark.parametrize(
    ("ask", "missing"),
    [
        (lambda: alpha(Tally.pooled(10, 39, 12, k=4, rule="unknown")), "per-position counts"),
        (lambda: fit(Geometric, Tally.pooled(10, 39, 12, k=4, rule="unknown")), "per-position counts"),
        (lambda: fit(Positional, Tally.pooled(10, 40, 12, k=4, rule="unknown")), "per-position counts"),
        (lambda: fit(Empirical, Tally.pooled(10, 40, 12, k=4, rule="unknown")), "per-position counts"),
        (lambda: fit(HitMiss, Tally.pooled(10, 40, 12, k=4, rule="unknown")), "per-position counts"),
        (lambda: alpha(Tally.pooled(0, 0, 0, k=4, rule="unknown")), "rounds"),
        (lambda: block_efficiency(Tally.pooled(0, 0, 0, k=4, rule="unknown")), "anything to divide by"),
    ],
)
def test_what_totals_cannot_answer_is_refused_with_what_is_missing(ask, missing):
    with pytest.raises(NotIdentifiable) as raised:
        ask()
    assert raised.value.missing == missing


def likelihood_by_hand(tally, conditionals, h):
    """Log-likelihood of every test and every hit or miss, by loops."""
    total = 0.0
    for tested, accepted in zip(tally.at_risk.tolist(), tally.accepted.tolist(), strict=True):
        for n, a, rate in zip(tested, accepted, conditionals, strict=True):
            total += a * math.log(rate) + (n - a) * math.log(1 - rate)
    if h is not None:
        hits, rounds = int(tally.hits.sum()), int(tally.rounds.sum())
        total += hits * math.log(h) + (rounds - hits) * math.log(1 - h)
    return total


def test_fits_are_the_closed_forms_and_no_neighbour_is_likelier():
    a, by_position, h = 107 / 159, [65 / 90, 29 / 50, 13 / 19], 90 / 105
    fits = {law: fit(law, COUNTED) for law in (Geometric, Positional, HitMiss, Empirical)}
    assert fits[Geometric].law == Geometric(a)
    assert fits[Positional].law.alphas == pytest.approx(by_position)
    assert fits[HitMiss].law == HitMiss(h, a)
    assert fits[Empirical].law.survival(3) == pytest.approx(h * math.prod(by_position))
    assert [f.parameters for f in fits.values()] == [1, 3, 2, 4]
    assert {f.rounds for f in fits.values()} == {105}
    for law, rates, hit in (
        (Geometric, [a] * 3, None),
        (Positional, by_position, None),
        (HitMiss, [a] * 3, h),
        (Empirical, by_position, h),
    ):
        best = fits[law].log_likelihood
        assert best == pytest.approx(likelihood_by_hand(COUNTED, rates, hit), rel=1e-12)
        for shift in (-0.01, 0.01):
            assert best > likelihood_by_hand(COUNTED, [rate + shift for rate in rates], hit)
            assert hit is None or best > likelihood_by_hand(COUNTED, rates, hit + shift)


def test_certain_outcomes_have_likelihood_one():
    assert fit(Geometric, Tally([[5, 5]], [[5, 5]])).log_likelihood == 0
    assert fit(HitMiss, Tally([[5]], [[0]])).log_likelihood == 0


def test_a_fit_by_position_ends_where_the_tests_end():
    fitted = fit(Positional, Tally([[10, 4, 0]], [[4, 0, 0]])).law
    assert fitted.alphas == (0.4, 0.0)
    with pytest.raises(NotIdentifiable):
        fitted.survival(3)


@pytest.mark.parametrize(
    "law", [Geometric(0.8), Positional((0.9, 0.7, 0.5, 0.6)), HitMiss(0.4, 0.8)], ids=lambda law: type(law).__name__
)
def test_a_law_is_recovered_from_its_own_rounds(law):
    rng, rounds = np.random.default_rng(6), 40_000
    drafted = rng.choice(5, rounds, p=np.asarray(law.drafted(4), dtype=float))
    given_hit = np.array([law.survival(i) for i in range(1, 5)]) / (1 - law.drafted(4)[0])
    accepted = np.minimum((rng.random(rounds)[:, None] < given_hit).sum(axis=1), drafted)
    observed = Rounds(np.arange(rounds) % 40, drafted, accepted)
    refitted = fit(type(law), observed).law
    for i in range(1, 5):
        assert refitted.survival(i) == pytest.approx(law.survival(i), abs=0.015)
        assert fit(Empirical, observed).law.survival(i) == pytest.approx(law.survival(i), abs=0.015)


def test_a_family_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"law: found .*, expected Geometric, Positional, HitMiss or Empirical"):
        fit(dict, COUNTED)


def widths_by_hand(estimate, threshold):
    """The least number of prompts whose t interval of this spread excludes the threshold, tried one by one."""
    half = estimate.value - estimate.low if threshold < estimate.value else estimate.high - estimate.value
    spread = half * math.sqrt(estimate.prompts) / float(stdtrit(estimate.prompts - 1, 0.975))
    for n in range(estimate.prompts + 1, 10**6):
        if float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n) < abs(estimate.value - threshold):
            return n - estimate.prompts
    raise AssertionError("none")


@given(st.floats(0.2, 3), st.floats(0.1, 0.9), st.integers(2, 60))
def test_the_prompts_still_missing_are_the_least_that_would_do(half, share, prompts):
    estimate = Estimate(1.5, 1.5 - half, 1.5 + half, 0.95, prompts, "given")
    for threshold in (1.5 - share * half, 1.5 + share * half):
        assert more_prompts(estimate, threshold) == widths_by_hand(estimate, threshold)


def test_prompts_still_missing_at_the_edges():
    estimate = Estimate(1.2, 1.1, 1.3, 0.95, 20, "given")
    assert more_prompts(estimate, 1.0) == 0
    assert more_prompts(estimate, 1.4) == 0
    assert more_prompts(estimate, 1.2) is None
    assert more_prompts(estimate, 1.2 + 1e-15) is None
    assert more_prompts(estimate, math.nan) is None
    assert more_prompts(ratio([3], [2]), 1.0) is None
    assert more_prompts(estimate, 1.1) == 1


def test_the_promised_number_of_prompts_is_usually_enough():
    rng = np.random.default_rng(10)
    first = ratio(rng.normal(1.1, 0.3, 10).clip(0), np.ones(10))
    needed = more_prompts(first, 1.0)
    assert needed
    wide = first.half_width / float(stdtrit(9, 0.975)) * math.sqrt(10)
    excluded = []
    for _ in range(400):
        again = ratio(rng.normal(first.value, wide, 10 + needed).clip(0), np.ones(10 + needed))
        excluded.append(not again.low <= 1.0 <= again.high)
    assert 0.4 <= np.mean(excluded) <= 0.7, "at the threshold an even chance, by construction"
