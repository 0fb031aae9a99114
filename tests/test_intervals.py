"""Ratios of totals and their intervals, loop for loop; how many prompts or rounds a precision takes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from specmath.intervals import Estimate, difference, more_prompts, prompts_needed, quotient, ratio, rounds_needed
from specmath.tally import NotIdentifiable

CELLS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=2, max_size=12)


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
        (([1, 2], [1]), r"found shapes \(2,\) and \(1,\), expected one entry of each per prompt"),
        (([1, -2], [1, 1]), "found -2.0 / 1.0 for prompt 1, expected finite numbers >= 0"),
        (([1, math.nan], [1, 1]), "found nan / 1.0 for prompt 1"),
        (([[1]], [[1]]), "found shapes"),
    ],
)
def test_columns_that_are_no_counts_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        ratio(*columns)


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


@given(st.floats(0.01, 1), st.floats(0.02, 0.99), st.integers(2, 60))
def test_the_prompts_needed_for_a_precision_are_the_least_that_would_do(half, share, prompts):
    estimate = Estimate(1.5, 1.5 - half, 1.5 + half, 0.95, prompts, "given")
    needed = prompts_needed(estimate, share * half) + prompts
    spread = half / float(stdtrit(prompts - 1, 0.975)) * math.sqrt(prompts)
    assert spread * float(stdtrit(needed - 1, 0.975)) / math.sqrt(needed) < share * half
    if needed > prompts + 1:
        assert spread * float(stdtrit(needed - 2, 0.975)) / math.sqrt(needed - 1) >= share * half
    assert needed - prompts == more_prompts(estimate, 1.5 + share * half)


def test_prompts_needed_at_the_edges():
    estimate = Estimate(0.7, 0.6, 0.8, 0.95, 20, "given")
    assert prompts_needed(estimate, 0.2) == 0
    assert prompts_needed(estimate, 0.1) == 1
    assert prompts_needed(ratio([3], [2]), 0.02) is None
    cut = Estimate(0.95, 0.85, 1.0, 0.95, 20, "cut at 1")
    assert prompts_needed(cut, 0.02) == prompts_needed(estimate, 0.02), "the side that no bound cut"
    for bad in (0, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="half_width: found"):
            prompts_needed(estimate, bad)


def test_so_many_more_prompts_do_give_the_precision_asked_for():
    rng = np.random.default_rng(13)

    def study(prompts):
        return ratio(rng.binomial(50, rng.beta(7, 3, prompts)), np.full(prompts, 50))

    more = [prompts_needed(study(20), 0.02) for _ in range(200)]
    assert np.mean(more) == pytest.approx((1.96 * 0.153 / 0.02) ** 2 - 20, rel=0.1)
    halves = [study(20 + round(np.mean(more))).half_width for _ in range(50)]
    assert np.mean(halves) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("alpha", "k", "half_width", "rounds"),
    [(0.7, 5, 0.02, 728), (0.7, 5, 0.01, 2910), (0.7, 1, 0.02, 2017), (0.9, 7, 0.02, 166)],
)
def test_rounds_needed_where_all_drafts_are_independent(alpha, k, half_width, rounds):
    assert rounds_needed(alpha, k, half_width) == rounds
    error = math.sqrt(alpha * (1 - alpha) / sum(alpha**i for i in range(k)))
    assert 1.959964 * error / math.sqrt(rounds) <= half_width < 1.959964 * error / math.sqrt(rounds - 1)


def test_rounds_needed_are_enough_for_rounds_alone_and_far_too_few_for_prompts_that_differ():
    rng, rounds = np.random.default_rng(14), rounds_needed(0.7, 5, 0.02)

    def estimated(alphas):
        accepted = np.minimum(rng.geometric(1 - alphas) - 1, 5)
        return accepted.sum() / np.minimum(accepted + 1, 5).sum()

    alone = np.array([estimated(np.full(rounds, 0.7)) for _ in range(1000)])
    assert np.mean(np.abs(alone - 0.7) < 0.02) == pytest.approx(0.95, abs=0.02)
    clustered = np.array([estimated(np.repeat(rng.beta(7, 3, rounds // 52), 52)) for _ in range(1000)])
    assert np.mean(np.abs(clustered - 0.733333) < 0.02) < 0.5, "negative control: 14 prompts of 52 rounds"


def test_rounds_needed_over_a_grid_and_out_of_domain():
    grid = rounds_needed(np.array([[0.7], [1.5]]), np.array([5, 0]), 0.02)
    assert grid[0, 0] == 728
    assert np.isnan(grid[0, 1])
    assert np.isnan(grid[1]).all()
    assert rounds_needed(0.7, 5, 0.02, 0.9) < 728
    for bad in ((0, 5, 0.02), (1, 5, 0.02), (0.7, 0, 0.02), (0.7, 5, 0), (0.7, 5, 0.02, 95)):
        with pytest.raises(ValueError, match="expected a number in"):
            rounds_needed(*bad)
    with pytest.raises(ValueError, match=r"k: found 2.5, expected an integer"):
        rounds_needed(0.7, 2.5, 0.02)


def test_a_bound_is_no_interval_for_the_ratio_where_denominators_differ():
    """95 % of prompts have their one test accepted, 5 % have 1000 rejected: most studies see the former alone."""
    rng, truth, missed = np.random.default_rng(15), 0.95 / (0.95 + 0.05 * 1000), {"unequal": 0, "equal": 0}
    for _ in range(1000):
        easy = rng.random(10) < 0.95
        found = ratio(easy, np.where(easy, 1, 1000), bounds=(0, 1))
        missed["unequal"] += not found.low <= truth <= found.high
        found = ratio(easy, np.ones(10), bounds=(0, 1))
        missed["equal"] += easy.all() and not found.low <= 0.95
    assert missed["unequal"] / 1000 > 0.55
    assert missed["equal"] == 0
    assert ratio(np.ones(10), np.ones(10), bounds=(0, 1)).low == pytest.approx(0.741, abs=5e-4)


def test_what_is_no_estimate_is_refused():
    for ask in (more_prompts, prompts_needed):
        with pytest.raises(ValueError, match=r"^estimate: found 0.7, expected an `Estimate`$"):
            ask(0.7, 0.02)


class TestDifference:
    """Two ratios over the same prompts: the interval of their difference holds the truth as often as it says."""

    @staticmethod
    def study(rng, prompts=25, gain=0.05):
        easy, tokens = rng.beta(7, 3, size=prompts) * 0.9, rng.integers(20, 120, size=prompts)
        return rng.binomial(tokens, easy + gain), tokens, rng.binomial(tokens, easy), tokens

    def test_it_covers_paired_by_prompt_and_tokens_as_units_or_independent_arms_do_not(self):
        rng, level, studies = np.random.default_rng(0), 0.95, 2000
        paired, apart, width, wide = 0, 0, 0.0, 0.0
        for _ in range(studies):
            study = self.study(rng)
            found = difference(*study, level)
            paired += found.low <= 0.05 <= found.high
            sides = ratio(*study[:2], level), ratio(*study[2:], level)
            half = math.hypot(sides[0].half_width, sides[1].half_width)
            apart += abs(found.value - 0.05) <= half
            width, wide = width + found.half_width, wide + half
        assert 0.93 < paired / studies < 0.97
        assert apart / studies > 0.99
        assert wide > 1.5 * width

    def test_where_prompts_differ_in_their_gain_tokens_as_units_are_too_narrow(self):
        rng, covered = np.random.default_rng(1), [0, 0]
        for _ in range(1000):
            tokens, gain = np.full(25, 200), rng.normal(0.05, 0.08, size=25)
            a, b = rng.binomial(tokens, np.clip(0.6 + gain, 0, 1)), rng.binomial(tokens, 0.6)
            found = difference(a, tokens, b, tokens)
            half = 1.96 * math.sqrt(2 * 0.25 / tokens.sum())
            covered[0] += found.low <= 0.05 <= found.high
            covered[1] += abs(found.value - 0.05) <= half
        assert covered[0] > 930
        assert covered[1] < 800

    def test_without_spread_or_with_one_prompt_there_is_no_interval(self):
        for columns in (([1, 2], [2, 4], [1, 2], [2, 4]), ([1], [2], [2], [2])):
            found = difference(*columns)
            assert math.isnan(found.low)
            assert "so no interval" in found.method

    def test_unequal_columns_and_no_denominator_are_refused(self):
        with pytest.raises(ValueError, match="one entry of each per prompt"):
            difference([1, 2], [1, 2], [1], [1])
        with pytest.raises(NotIdentifiable):
            difference([1], [0], [1], [1])
