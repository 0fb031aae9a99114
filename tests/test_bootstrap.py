"""Resampled prompts: against the loop, against all resamples, and where there is nothing to resample."""

import itertools
import math

import numpy as np
import pytest

from specmath import bootstrap as module
from specmath.bootstrap import bootstrap
from specmath.intervals import quotient
from specmath.tally import NotIdentifiable

X, Y = np.array([[4.0, 9, 6, 5, 8]]), np.array([[3.0, 4, 2, 3, 5]])


def loop(x, y, prompts):
    """Ratio and linearised standard error of one resample, by loops."""
    top, bottom, squares = sum(x[p] for p in prompts), sum(y[p] for p in prompts), 0.0
    for p in prompts:
        squares += (x[p] - top / bottom * y[p]) ** 2
    return top / bottom, math.sqrt(len(prompts) / (len(prompts) - 1) * squares) / bottom


def every_resample():
    """Value and studentized value of each of the 5^5 resamples of five prompts."""
    r, _ = loop(X[0], Y[0], range(5))
    found = [loop(X[0], Y[0], prompts) for prompts in itertools.product(range(5), repeat=5)]
    values = np.array([value for value, _ in found])
    with np.errstate(divide="ignore"):
        return values, np.array(
            [(value - r) / s if s > 1e-9 else math.copysign(math.inf, value - r) for value, s in found]
        )


def test_intervals_tend_to_those_over_all_resamples():
    values, pivots = every_resample()
    r, error = loop(X[0], Y[0], range(5))
    low, high = np.quantile(values, [0.1, 0.9])
    percentile = bootstrap(X, Y, 0.8, replicates=200_000, kind="percentile")
    assert (percentile.value, percentile.low, percentile.high) == pytest.approx((r, low, high), rel=2e-3)
    low, high = np.quantile(pivots, [0.1, 0.9])
    studentized = bootstrap(X, Y, 0.8, replicates=200_000)
    assert (studentized.low, studentized.high) == pytest.approx((r - error * high, r - error * low), rel=2e-3)


def test_a_block_of_resamples_at_a_time_draws_the_same(monkeypatch):
    whole = bootstrap(X, Y, replicates=501)
    monkeypatch.setattr(module, "CELLS", 35)
    assert bootstrap(X, Y, replicates=501) == whole
    monkeypatch.setattr(module, "CELLS", 1)
    assert bootstrap(X, Y, replicates=501) == whole


def test_the_seed_decides_and_nothing_else():
    assert bootstrap(X, Y, seed=3, replicates=99) == bootstrap(X, Y, seed=3, replicates=99)
    assert len({bootstrap(X, Y, seed=seed, replicates=99).low for seed in range(5)}) > 1


def test_many_prompts_agree_with_the_linearised_interval():
    rng = np.random.default_rng(1)
    shares = rng.beta(7, 3, 2000)
    tested = rng.integers(20, 80, 2000)
    accepted = rng.binomial(tested, shares)
    linear = quotient([accepted], [tested])
    for kind in ("studentized", "percentile"):
        found = bootstrap([accepted], [tested], kind=kind, replicates=4000)
        assert found.value == linear.value
        assert (found.low, found.high) == pytest.approx((linear.low, linear.high), abs=0.05 * linear.half_width)
        assert found.method == f"ratio of totals; {kind} bootstrap, 4000 resamples of prompts"


def test_prompts_are_resampled_with_all_their_columns():
    """Slow prompts are slow in both arms: resampling the arms apart would pay for that twice."""
    rng = np.random.default_rng(2)
    pace, tokens = rng.uniform(1, 9, 40), np.full(40, 100.0)
    plain, spec = 2 * pace, pace * rng.normal(1, 0.01, 40)
    joint = bootstrap([plain, tokens], [tokens, spec])
    assert joint.half_width < 0.02
    assert joint.low <= 2 <= joint.high
    apart = bootstrap([plain], [tokens])
    assert apart.half_width / apart.value * joint.value > 10 * joint.half_width, "negative control: one arm alone"


def test_a_skewed_ratio_has_a_skewed_interval():
    rng = np.random.default_rng(3)
    heavy = rng.lognormal(0, 1.5, 30)
    found = bootstrap([heavy], [np.ones(30)])
    assert found.high - found.value > 1.5 * (found.value - found.low)


def test_bounds_cut_the_interval():
    accepted = [[10, 9, 9, 10, 8, 5, 7, 9, 10, 10]]
    free, cut = (bootstrap(accepted, [[10] * 10], bounds=bounds) for bounds in (None, (0.8, 0.9)))
    assert free.low < 0.8 < 0.9 < free.high
    assert (cut.low, cut.high) == (0.8, 0.9)


@pytest.mark.parametrize("columns", [([[5, 5, 5]], [[10, 10, 10]]), ([[10, 9]], [[10, 9]]), ([[3]], [[4]])])
def test_prompts_without_spread_are_answered_as_the_quotient_does(columns):
    assert bootstrap(*columns, bounds=(0.0, 1.0)) == quotient(*columns, bounds=(0.0, 1.0))


def test_two_prompts_are_too_few_to_resample_and_it_says_so():
    found = bootstrap([[4, 9]], [[3, 4]])
    assert (found.value, found.prompts) == (13 / 7, 2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.method == "ratio of totals; too few prompts to resample, so no interval"


def test_a_resample_with_nothing_to_divide_by_lies_beyond_all_others():
    """Of three prompts one alone has a denominator: a resample misses it with probability 8 / 27."""
    found = bootstrap([[4, 9, 1]], [[3, 0, 0]], kind="percentile")
    assert math.isnan(found.high)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kind": "bca"}, "kind: found 'bca', expected studentized or percentile"),
        ({"replicates": 0}, "replicates: found 0, expected a number in"),
        ({"replicates": 1}, "replicates: found 1, expected a number in"),
        ({"replicates": 10.5}, "replicates: found 10.5, expected an integer >= 2"),
        ({"level": 95}, "level: found 95"),
    ],
)
def test_bad_questions_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(X, Y, **how)


def test_columns_are_refused_as_the_quotient_refuses_them():
    with pytest.raises(ValueError, match="expected finite numbers >= 0"):
        bootstrap([[1, -2]], [[1, 1]])
    with pytest.raises(NotIdentifiable, match="anything to divide by"):
        bootstrap([[0, 0]], [[0, 0]])
