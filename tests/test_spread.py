"""Qn against its definition and against planted noise; half-widths against cases that have a known answer."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from specmath.spread import QN_FREEDOM, half_width, qn

SAMPLES = 20_000


def spreads(n, wild=0):
    """Qn and standard deviation of many normal samples of n, `wild` of whose values are a hundred off."""
    values = np.random.default_rng(n).normal(size=(SAMPLES // n, n))
    values[:, :wild] += 100
    return np.array([qn(row) for row in values]), values.std(axis=1, ddof=1), values


@given(st.lists(st.floats(-1e3, 1e3), min_size=10, max_size=10))
def test_it_is_the_fifteenth_smallest_distance_of_ten_values(values):
    """h = 10 / 2 + 1 = 6 and 6 x 5 / 2 = 15; the factor of ten values is 10 / 13.8."""
    distances = sorted(abs(a - b) for a, b in itertools.combinations(values, 2))
    assert qn(values) == pytest.approx(2.2219 * 10 / 13.8 * distances[14])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 24])
def test_its_mean_is_the_standard_deviation_of_normal_values(n):
    assert spreads(n)[0].mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("n", "wild"), [(5, 1), (9, 3), (24, 6)])
def test_wild_values_do_not_move_it_far(n, wild):
    found, deviation, _ = spreads(n, wild)
    assert 0.8 < np.median(found) < 2.5
    assert np.median(deviation) > 30, "negative control"


def coverage(n, freedom):
    """How often the mean of n normal values lies within t Qn / sqrt(n) with so many degrees of freedom."""
    found, _, values = spreads(n)
    return float(np.mean(np.abs(values.mean(axis=1)) < stdtrit(freedom, 0.975) * found / math.sqrt(n)))


@pytest.mark.parametrize("n", [3, 4, 5, 8, 12, 24])
def test_half_the_degrees_of_freedom_cover_as_stated(n):
    """At the least 3 standard errors below 95 %, however few the samples."""
    assert coverage(n, QN_FREEDOM * (n - 1)) > 0.95 - 3 * math.sqrt(0.95 * 0.05 * n / SAMPLES)


def test_all_of_them_do_not():
    assert coverage(3, 2) < 0.9


def test_one_value_has_no_spread_and_equal_ones_none():
    assert math.isnan(qn([1.0]))
    assert math.isnan(qn([]))
    assert qn([2.0] * 5) == 0


def test_equal_parts_share_their_degrees_of_freedom():
    """Two equal variances with 4 each: f = (2 v)^2 / (2 v^2 / 4) = 8."""
    assert half_width([(0.5, 4), (0.5, 4)]) == pytest.approx(stdtrit(8, 0.975))


def test_a_part_that_rules_brings_its_own():
    assert half_width([(1.0, 3), (1e-9, 100)], 0.9) == pytest.approx(stdtrit(3, 0.95), rel=1e-6)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(1, 50)), min_size=1, max_size=5), st.floats(0.1, 10))
def test_a_half_width_has_the_unit_of_a_standard_deviation(parts, unit):
    scaled = [(unit**2 * variance, freedom) for variance, freedom in parts]
    assert half_width(scaled) == pytest.approx(unit * half_width(parts))


def test_no_variance_has_no_width_and_an_unknown_one_an_unknown():
    assert half_width([(0.0, 0), (0.0, 3)]) == 0
    assert math.isnan(half_width([(math.nan, 1), (1.0, 3)]))
