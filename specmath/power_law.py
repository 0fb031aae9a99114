"""Weighted least squares of y = a_inf - A x^-b at given b, every b tried, and the range of all that fits well enough.

Written as y = v + s (h_b(x) - h_b(X)) with h_b(x) = (1 - x^-b) / b: v is the value at any X, infinite X included, and
s >= 0 the slope over log x at x = 1, so that A = s / b. b towards 0 is the straight line in log x. At given b only v
and s are left, and both are linear.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

STRAIGHT, STEEP = 1e-6, 4.0  # b from a line in log x to a step at the smallest x: 2^-4 is 1/16
CELLS, ZOOMS, BISECTIONS = 201, 4, 36


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """Observations y[m] at x[m], the smallest of them 1, with weights[m, m], the inverse of their covariance.

    >>> law = PowerLaw(np.array([1, 2, 4, 8]), np.array([0.0, 0.5, 0.75, 0.875]), np.eye(4))
    >>> round(law.best[0], 6), round(law.at(np.inf), 6)
    (1.0, 1.0)
    """

    x: Any
    y: Any
    weights: Any

    @cached_property
    def best(self):
        """(b, v at x = 1, s, squares) of the least squares."""
        grid = np.linspace(STRAIGHT, STEEP, CELLS)
        for _ in range(ZOOMS):
            least = int(np.argmin(self.squares(grid)))
            grid = np.linspace(grid[max(least - 1, 0)], grid[min(least + 1, CELLS - 1)], CELLS)
        least = int(np.argmin(self.squares(grid)))
        value, slope, rest, _ = self._lines(grid, 1)
        if slope[least] < 0:
            return float(grid[least]), *self._flat
        return tuple(float(column[least]) for column in (grid, value, slope, rest))

    @property
    def freedom(self):
        """Observations less what was free to fit them: b at an end of its range was not, nor of a flat curve."""
        b, _, slope, _ = self.best
        return len(self.x) - (1 if slope == 0 else 2 if b in (STRAIGHT, STEEP) else 3)

    def at(self, x):
        """The best curve at x."""
        b, value, slope, _ = self.best
        return value + slope * float(growth(b, x))

    def squares(self, b):
        """The least squares at each b[G], s >= 0."""
        _, slope, rest, _ = self._lines(np.atleast_1d(b), 1)
        return np.where(slope < 0, self._flat[2], rest)

    def exponents(self, limit):
        """b[G] from the smallest to the largest of curves whose squares stay within the limit."""
        low, high = (edge(lambda b: self.squares(b)[0] <= limit, self.best[0], end) for end in (STRAIGHT, STEEP))
        return np.linspace(low, high, CELLS)

    def values(self, x, exponents, limit):
        """The lowest and the highest value at x of curves with these exponents, within the limit.

        At given b they are an ellipse of (v, s): its furthest v, unless s < 0 there, and then that of flat curves.
        """
        value, slope, rest, (variance, tilt, _) = self._lines(exponents, x)
        half = np.sqrt(np.maximum(limit - rest, 0) * variance)
        ends = [(value + side * half)[slope + side * half * tilt / variance >= 0] for side in (-1, 1)]
        mean, _, flat = self._flat
        if flat <= limit:
            ends.append(mean + np.array([-1, 1]) * np.sqrt((limit - flat) / self.weights.sum()))
        found = np.concatenate(ends)
        return float(found.min()), float(found.max())

    def factors(self, exponents, limit):
        """The lowest and the highest A[G] of curves with these exponents, within the limit."""
        _, slope, rest, (_, _, variance) = self._lines(exponents, 1)
        half = np.sqrt(np.maximum(limit - rest, 0) * variance)
        return np.maximum(slope - half, 0) / exponents, (slope + half) / exponents

    @cached_property
    def _flat(self):
        """(v, 0, squares) of the best curve without slope."""
        mean = float(self.weights.sum(axis=0) @ self.y / self.weights.sum())
        return mean, 0.0, float((self.y - mean) @ self.weights @ (self.y - mean))

    def _lines(self, b, x):
        """v at x, s and squares at each b[G], s of either sign; the variance of v, its covariance with s, that of s."""
        rows = growth(b[:, None], self.x) - growth(b, x)[:, None]
        weighted, ones = rows @ self.weights, self.weights.sum(axis=0)
        vv, vs, ss = ones.sum(), rows @ ones, np.sum(weighted * rows, axis=1)
        area = vv * ss - vs**2
        slope = (vv * (weighted @ self.y) - vs * (ones @ self.y)) / area
        value = (ones @ self.y - vs * slope) / vv
        away = self.y - value[:, None] - slope[:, None] * rows
        rest = np.sum(away @ self.weights * away, axis=1)
        return value, slope, rest, (ss / area, -vs / area, vv / area)


def growth(b, x):
    """h_b(x) = (1 - x^-b) / b: log x at b = 0, and 1 / b at infinite x.

    >>> float(growth(1.0, 4.0)), float(growth(0.5, np.inf))
    (0.75, 2.0)
    """
    return -np.expm1(-b * np.log(x)) / b


def edge(holds, start, bound):
    """The furthest point from start towards bound where it holds, by bisection; bound itself where that does."""
    if holds(bound):
        return bound
    for _ in range(BISECTIONS):
        middle = (start + bound) / 2
        start, bound = (middle, bound) if holds(middle) else (start, middle)
    return start
