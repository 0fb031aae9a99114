"""What one round drafts: a chain of k tokens, or a grid of chains to broadcast over.

The lowest floor, so it also states the rule every formula of the package keeps about its arguments: a scalar
outside its domain raises and names the domain; a bad cell of a grid becomes NaN and the rest of the grid goes
on.
"""

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np


def within(name: str, value, low=0, high=math.inf):
    """`value`, finite and in [low, high]: a scalar outside raises ValueError, a cell outside becomes NaN.

    >>> within("alpha", [0.5, 1.5], 0, 1)
    array([0.5, nan])
    """
    if np.ndim(value) == 0:
        value = plain(value)
        if not (low <= value <= high and value < math.inf):
            domain = f"[{low}, {high}]" if high < math.inf else f"[{low}, infinity)"
            raise ValueError(f"{name}: found {value}, expected a number in {domain}")
        return value
    grid = np.array(value)
    bad = ~np.asarray((grid >= low) & (grid <= high) & (grid < math.inf), dtype=bool)
    grid = np.where(bad, math.nan, grid) if bad.any() else grid
    grid.setflags(write=False)
    return grid


def plain(value):
    """A Python number for anything without axes, the array itself otherwise."""
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array


def each_depth(function, depth):
    """`function(k)` at one depth, or over a grid of depths with one call per distinct k; NaN where k is."""
    if np.ndim(depth) == 0:
        return function(depth)
    result = np.full(np.shape(depth), math.nan)
    for k in np.unique(depth[~np.isnan(depth)]):
        result = np.where(depth == k, function(int(k)), result)
    return result


def _depths(k):
    """k as an int, or as a grid of ints (of floats where a bad cell had to become NaN)."""
    if np.ndim(k) > 0:
        grid = np.array(within("k", np.asarray(k, dtype=float)))
        grid[grid != np.floor(grid)] = math.nan
        grid = grid if np.isnan(grid).any() else grid.astype(int)
        grid.setflags(write=False)
        return grid
    try:
        return within("k", operator.index(k))
    except TypeError:
        raise ValueError(f"k: found {k!r}, expected an integer >= 0") from None


@dataclass(frozen=True)
class Chain:
    """k tokens drafted one after another; an array of integers is a grid of chains.

    Raises ValueError where a scalar k is negative or no integer; such a cell of a grid becomes NaN.

    >>> Chain(4).depth, Chain(4).size
    (4, 4)
    """

    k: Any

    def __post_init__(self):
        object.__setattr__(self, "k", _depths(self.k))

    @property
    def depth(self):
        """Longest path of drafts: the draft's forwards per round, and the most that can be accepted."""
        return self.k

    @property
    def size(self):
        """Drafted tokens, all of which the target verifies."""
        return self.k
