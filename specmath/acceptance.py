"""Acceptance laws: how many drafts of a round survive. The counts they are fitted to are in `tally.py`.

The accepted length A of a round is a discrete survival time, right-censored at the depth k of the draft. Four
numbers that are easily confused, with S_i = P(A >= i):

    survival(i)          S_i, unconditional: the first i drafts all accepted (an engine's per-position rate)
    conditional(i)       S_i / S_{i-1}: draft i accepted, given all before it (alpha, where it is constant)
    mean(k)              S_1 + .. + S_k: accepted drafts per round
    block_efficiency(k)  1 + mean(k): tokens per round with the recovered or bonus token (tau)

accepted / drafted = mean(k) / k is none of these: it depends on k and is never an alpha.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from numbers import Rational
from operator import mul
from typing import Any

import numpy as np

from specmath.draft import Chain, plain, within
from specmath.law import Law, all_or_nothing, along, exact_sum, geometric_sum, invert_mean
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
        return (exact_sum if exact else geometric_sum)(self.alpha, Chain(k).depth)


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
        return along(list(accumulate(self.alphas, mul, initial=1)), i)

    def conditional(self, i):
        """alphas[i-1]."""
        return along([np.nan, *self.alphas], i)


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
        return all_or_nothing(self.h, Chain(k).depth)


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
        return along(self._curve, i)

    def drafted(self, k):
        """Nothing with probability 1 - hit, else k."""
        return all_or_nothing(self.hit, Chain(k).depth)
