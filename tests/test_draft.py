"""Chains, and the rule on domains that every formula keeps."""

import math
from fractions import Fraction

import numpy as np
import pytest

from specmath.draft import Chain, each_depth, plain, within


def test_a_chain_is_as_deep_as_it_is_long():
    assert (Chain(4).k, Chain(4).depth, Chain(4).size) == (4, 4, 4)
    assert Chain(np.int64(3)) == Chain(3)


@pytest.mark.parametrize("k", [-1, 2.0, 2.5, math.nan, math.inf, "4", None, Fraction(2)])
def test_a_scalar_that_counts_no_tokens_is_refused_with_the_domain(k):
    with pytest.raises(ValueError, match=r"^k: found .*, expected .*(>= 0|\[0, infinity\))"):
        Chain(k)


def test_a_grid_of_depths_stays_integer_and_read_only():
    k = np.array([0, 1, 64])
    chain = Chain(k)
    k[0] = 9
    assert chain.k.dtype.kind == "i"
    assert chain.k.tolist() == [0, 1, 64]
    with pytest.raises(ValueError, match="read-only"):
        chain.k[0] = 1


def test_a_bad_cell_of_a_grid_of_depths_is_nan_and_the_rest_stays():
    assert np.array_equal(
        Chain([3, -1, 2.5, np.inf, np.nan, 0]).k, [3, np.nan, np.nan, np.nan, np.nan, 0], equal_nan=True
    )


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_a_scalar_out_of_its_domain_raises_naming_it_and_a_cell_becomes_nan(value):
    with pytest.raises(ValueError, match=r"^alpha: found .*, expected a number in \[0, 1\]$"):
        within("alpha", value, 0, 1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        within("alpha", np.array(value), 0, 1)
    assert np.array_equal(within("alpha", [0.5, value], 0, 1), [0.5, math.nan], equal_nan=True)


def test_exact_numbers_pass_unchanged():
    assert within("alpha", Fraction(1, 3), 0, 1) == Fraction(1, 3)
    grid = within("alpha", np.array([Fraction(1, 3), Fraction(4, 3)], dtype=object), 0, 1)
    assert grid[0] == Fraction(1, 3)
    assert math.isnan(grid[1])


def test_what_has_no_axes_comes_back_as_a_python_number():
    assert type(plain(np.float64(0.5))) is float
    assert type(plain(np.array(3))) is int
    assert plain(Fraction(1, 2)) == Fraction(1, 2)
    assert plain([1, 2]).tolist() == [1, 2]


def test_a_grid_asks_for_each_distinct_depth_once():
    asked = []
    result = each_depth(lambda k: asked.append(k) or 10 * k, np.array([[2, 0], [2, np.nan]]))
    assert asked == [0, 2]
    assert np.array_equal(result, [[20, 0], [20, np.nan]], equal_nan=True)
