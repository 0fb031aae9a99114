"""Acceptance laws: how many drafts of a round survive. The counts they are fitted to are in `tally.py`.

The accepted length A of a round is a discrete survival time, right-censored at the depth k of the draft. Four
numbers that are easily confused, with S_i = P(A >= i):

    survival(i)          S_i, unconditional: the first i drafts all accepted (an engine's per-position rate)
    conditional(i)       S_i / S_{i-1}: draft i accepted, given all before it (alpha, where it is constant)
    mean(k)              S_1 + .. + S_k: accepted drafts per round
    block_efficiency(k)  1 + mean(k): tokens per round with the recovered or bonus token (tau)

accepted / drafted = mean(k) / k is none of these: it depends on k and is never an alpha.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from numbers import Rational
from operator import mul
from typing import Any

import numpy as np

from specmath.draft import Chain, each_depth, plain, within
from specmath.tally import NotIdentifiable, Pooled, Rounds, Tally

__all__ = [
    "Empirical",
    "Geometric",
    "HitMiss",
    "Law",
    "NotIdentifiable",
    "Pooled",
    "Positional",
    "Rounds",
    "Tally",
    "invert_mean",
]


ROUNDING = 1e-12


class Law(ABC):
    """Law of the accepted length A of one round. A law supplies `survival`; everything else follows from it.

    k is the depth drafted, a scalar except where an array is named. Parameters may be arrays where the law
    says so; `pmf` and `drafted` then add the axis of the lengths as the last one.
    """

    @abstractmethod
    def survival(self, i):
        """S_i = P(A >= i), the first i drafts all accepted; i an integer or an array of them; S_0 = 1."""

    def conditional(self, i):
        """a_i = S_i / S_{i-1} for i >= 1; NaN where position i is never reached."""
        before, here = (np.asarray(self.survival(j)) for j in (Chain(i).depth - 1, i))
        unreached = before == 0
        return plain(np.where(unreached, np.nan, here / np.where(unreached, 1, before)))

    def pmf(self, k):
        """P(A = i) for i = 0..k when k are drafted: S_i - S_{i+1}, and S_k at i = k."""
        curve = [self.survival(i) for i in range(Chain(k).depth + 1)]
        return np.stack([a - b for a, b in zip(curve, [*curve[1:], 0], strict=True)], axis=-1)

    def mean(self, k):
        """Accepted drafts per round, S_1 + .. + S_k; k may be an array."""
        return each_depth(lambda depth: sum(self.survival(i) for i in range(1, depth + 1)), Chain(k).depth)

    def var(self, k):
        """Variance of A when k are drafted; also that of the tokens per round A + 1."""
        distance = np.arange(Chain(k).depth + 1) - np.asarray(self.mean(k))[..., None]
        return plain(np.sum(self.pmf(k) * distance**2, axis=-1))

    def block_efficiency(self, k):
        """tau = 1 + mean(k): tokens per round with the recovered or bonus token; k may be an array."""
        return 1 + self.mean(k)

    def sample(self, k, rng, size=None):
        """Accepted lengths of `size` independent rounds of depth k, by inversion of uniforms from `rng`."""
        curve = np.array([self.survival(i) for i in range(1, Chain(k).depth + 1)], dtype=float)
        return np.searchsorted(-curve, -rng.random(size), side="left")

    def drafted(self, k):
        """Probability of each drafted length 0..k when k are asked for; here always k."""
        return _all_or_nothing(1, Chain(k).depth)


def _all_or_nothing(hit, k):
    """Probabilities of the drafted lengths 0..k: k with probability `hit`, else nothing."""
    weights = [0 * hit] * (k + 1)
    weights[0] = 1 - hit
    weights[k] = hit if k else 0 * hit + 1
    return np.stack(weights, axis=-1)


def _geometric_sum(alpha, k):
    """alpha + .. + alpha^k, to rounding also near alpha = 1, where the closed form loses its digits."""
    reject = 1.0 - np.asarray(alpha, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_power = np.where(np.equal(k, 0), 0.0, k * np.log1p(-reject))
    closed = -alpha * np.expm1(log_power) / np.where(reject == 0, 1, reject)
    return plain(np.where(reject == 0, k, closed))


def _exact_sum_at(alpha, k):
    """NaN for a cell that is NaN: a power of it would raise the floating-point flag on some Pythons."""
    return sum(alpha**i for i in range(1, k + 1)) if alpha == alpha and k == k else np.nan


_exact_sum = np.frompyfunc(_exact_sum_at, 2, 1)


def invert_mean(mean, k):
    """The alpha in [0, 1] with alpha + .. + alpha^k = mean, by bisection; NaN where there is none.

    >>> round(invert_mean(1.94117, 5), 6)
    0.7
    """
    mean, k = np.broadcast_arrays(np.asarray(mean, dtype=float), np.asarray(k, dtype=float))
    low, high = np.zeros(mean.shape), np.ones(mean.shape)
    for _ in range(54):
        middle = (low + high) / 2
        short = _geometric_sum(middle, k) < mean
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    solvable = (mean >= 0) & (mean <= k * (1 + ROUNDING)) & (k >= 1)
    return plain(np.where(solvable, np.where(mean == 0, 0.0, high), np.nan))


@dataclass(frozen=True)
class Geometric(Law):
    """Every draft has the same chance: S_i = alpha^i, tau = (1 - alpha^(k+1)) / (1 - alpha).

    alpha and k may be arrays and broadcast; a Fraction gives Fractions. Raises ValueError for a scalar alpha
    outside [0, 1]; such a cell of an array gives NaN. Leviathan et al. 2023, Eq. 1.

    >>> from fractions import Fraction
    >>> Geometric(Fraction(4, 5)).block_efficiency(4)
    Fraction(2101, 625)
    """

    alpha: Any

    def __post_init__(self):
        object.__setattr__(self, "alpha", within("alpha", self.alpha, 0, 1))

    @classmethod
    def from_block_efficiency(cls, tau, k):
        """The law with `tau` tokens per round at depth k; ValueError for a scalar tau outside [1, k + 1].

        >>> round(Geometric.from_block_efficiency(3.3616, 4).alpha, 6)
        0.8
        """
        if np.ndim(tau) == np.ndim(k) == 0:
            within("tau", tau, 1, Chain(k).depth + 1)
        return cls(invert_mean(np.asarray(tau) - 1.0, Chain(k).depth))

    def survival(self, i):
        """alpha^i."""
        power = self.alpha ** Chain(i).depth
        return power if np.ndim(power) == 0 else np.where(self.alpha == self.alpha, power, np.nan)

    def conditional(self, i):
        """alpha, at every position."""
        return self.alpha + 0 * Chain(i).depth

    def mean(self, k):
        """alpha + .. + alpha^k."""
        exact = isinstance(self.alpha, Rational) or np.asarray(self.alpha).dtype == object
        return (_exact_sum if exact else _geometric_sum)(self.alpha, Chain(k).depth)


@dataclass(frozen=True)
class Positional(Law):
    """Draft i is accepted with probability alphas[i-1] once all before it were: S_i = their product.

    Exact for any dependence between positions, because S is the survival function of A. Asking beyond the
    last position raises NotIdentifiable: nothing follows for it from the others.

    >>> Positional((0.872, 0.75)).survival(2)
    0.654
    """

    alphas: tuple

    def __post_init__(self):
        alphas = tuple(within(f"alphas[{i}]", plain(alpha), 0, 1) for i, alpha in enumerate(self.alphas))
        object.__setattr__(self, "alphas", alphas)

    def survival(self, i):
        """The product of the first i conditionals; NotIdentifiable beyond them."""
        return _along(list(accumulate(self.alphas, mul, initial=1)), i)

    def conditional(self, i):
        """alphas[i-1]."""
        return _along([np.nan, *self.alphas], i)


@dataclass(frozen=True)
class HitMiss(Law):
    """A draft is found with probability h (prompt lookup), then geometric: S_i = h alpha^i for i >= 1.

    Without a hit nothing is drafted and the round is a plain step. h, alpha and k may be arrays and
    broadcast; ValueError for a scalar outside [0, 1].

    >>> round(HitMiss(0.4, 0.8).block_efficiency(5), 6)
    2.075712
    """

    h: Any
    alpha: Any

    def __post_init__(self):
        object.__setattr__(self, "h", within("h", self.h, 0, 1))
        object.__setattr__(self, "alpha", Geometric(self.alpha).alpha)

    def survival(self, i):
        """h alpha^i, and 1 at i = 0."""
        hit = self.h if np.ndim(i) == 0 and i else np.where(np.asarray(i) == 0, 1, self.h)
        return plain(hit * Geometric(self.alpha).survival(i))

    def mean(self, k):
        """h (alpha + .. + alpha^k)."""
        return self.h * Geometric(self.alpha).mean(k)

    def drafted(self, k):
        """Nothing with probability 1 - h, else k."""
        return _all_or_nothing(self.h, Chain(k).depth)


@dataclass(frozen=True)
class Empirical(Law):
    """What a Tally shows and nothing more: S_i = hit * prod_{j<=i} accepted_j / at_risk_j.

    hit is the share of rounds that drafted at all. The product-limit estimator of Kaplan and Meier (1958): a
    round whose drafts ran out counts as censored there, not as rejected. NotIdentifiable beyond the last
    position that was tested.

    >>> Empirical(Tally([[4, 2]], [[2, 1]])).block_efficiency(2)
    1.75
    """

    tally: Tally

    @cached_property
    def hit(self):
        """Share of the rounds that drafted anything."""
        if not np.sum(self.tally.rounds):
            raise NotIdentifiable("rounds", "a survival curve")
        return float(self.tally.at_risk[:, :1].sum() / self.tally.rounds.sum())

    @cached_property
    def _curve(self):
        """S_0, S_1, .. as far as identified; once it is zero it stays so over the positions of the tally."""
        curve, reached = [1.0], self.hit
        counts = self.tally.at_risk.sum(axis=0), self.tally.accepted.sum(axis=0)
        for trials, successes in zip(*counts, strict=True):
            if not trials and (len(curve) == 1 or reached > 0):
                break
            reached = reached * float(successes / trials) if trials else 0.0
            curve.append(reached)
        return curve

    def survival(self, i):
        """The product-limit curve at i; NotIdentifiable where nothing was at risk."""
        return _along(self._curve, i)

    def drafted(self, k):
        """Nothing with probability 1 - hit, else k."""
        return _all_or_nothing(self.hit, Chain(k).depth)


def _along(curve, i):
    """curve[i], or NotIdentifiable beyond its end."""
    depth = Chain(i).depth
    if np.max(depth, initial=0) >= len(curve):
        raise NotIdentifiable(
            f"a test of draft {len(curve)}",
            f"acceptance at position {np.max(depth)}",
            f"only {len(curve) - 1} given",
        )
    return each_depth(curve.__getitem__, depth)
