"""Acceptance laws: how many drafts of a round survive. The counts they are fitted to are in `tally.py`.

Every law is imported from here; `Curve` is written in `law.py`, `BetaGeometric` and `Markov` in `varying.py`.

The accepted length A of a round is a discrete survival time, right-censored at the depth k of the draft. Four
numbers that are easily confused, with S_i = P(A >= i):

    survival(i)          S_i, unconditional: the first i drafts all accepted (an engine's per-position rate)
    conditional(i)       S_i / S_{i-1}: draft i accepted, given all before it (alpha, where it is constant)
    mean(k)              S_1 + .. + S_k: accepted drafts per round
    block_efficiency(k)  1 + mean(k): tokens per round with the recovered or bonus token (tau)

accepted / drafted = mean(k) / k is none of these: it depends on k and is never an alpha.
"""

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from numbers import Rational
from operator import mul
from typing import Any

import numpy as np

from specmath.draft import Chain, plain, whole, within
from specmath.law import (
    ROUNDING,
    Curve,
    Law,
    Listed,
    all_or_nothing,
    along,
    exact_sum,
    falling,
    geometric_sum,
    invert_mean,
    position,
    probabilities,
    stopped,
)
from specmath.tally import NotIdentifiable, Pooled, Rounds, Tally
from specmath.varying import BetaGeometric, Markov

__all__ = [
    "BetaGeometric",
    "Curve",
    "Empirical",
    "Geometric",
    "HitMiss",
    "Law",
    "Markov",
    "NotIdentifiable",
    "Padded",
    "Pooled",
    "Positional",
    "Ranked",
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

        NotIdentifiable at k = 0, where every alpha has tau = 1; such a cell of an array gives NaN.

        >>> round(Geometric.from_block_efficiency(3.3616, 4).alpha, 6)
        0.8
        """
        if np.ndim(tau) == np.ndim(k) == 0:
            within("tau", tau, 1, Chain(k).depth + 1)
            if k == 0:
                raise NotIdentifiable("drafts", "alpha", "at k = 0 every alpha has tau = 1")
        return cls(invert_mean(np.asarray(tau) - 1.0, Chain(k).depth))

    def survival(self, i):
        """alpha^i."""
        depth = Chain(i).depth
        power = self.alpha**depth
        known = np.equal(self.alpha, self.alpha) & np.equal(depth, depth)
        return power if np.ndim(power) == 0 else np.where(known, power, np.nan)

    def curve(self, k):
        """1, alpha, .., alpha^k."""
        return Geometric(np.asarray(self.alpha)[..., None]).survival(np.arange(Chain(k).depth + 1))

    def conditional(self, i):
        """alpha, at every position."""
        return self.alpha + 0 * position(i)

    def pmf(self, k):
        """alpha^i (1 - alpha), and alpha^k at i = k."""
        return stopped(self.curve(k), 1 - np.asarray(self.alpha)[..., None])

    def mean(self, k):
        """alpha + .. + alpha^k."""
        exact = isinstance(self.alpha, Rational) or np.asarray(self.alpha).dtype == object
        return (exact_sum if exact else geometric_sum)(self.alpha, Chain(k).depth)


@dataclass(frozen=True)
class Positional(Listed):
    """Draft i is accepted with probability alphas[i-1] once all before it were: S_i = their product.

    Exact for any dependence between positions, because S is the survival function of A. Asking beyond the
    last position raises NotIdentifiable: nothing follows for it from the others.

    >>> Positional((0.872, 0.75)).survival(2)
    0.654
    """

    alphas: tuple

    def __post_init__(self):
        object.__setattr__(self, "alphas", probabilities("alphas", self.alphas))

    @cached_property
    def listed(self):
        """1 and the running products of the conditionals."""
        return tuple(accumulate(self.alphas, mul, initial=1))

    def conditional(self, i):
        """alphas[i-1]."""
        return along([np.nan, *self.alphas], position(i))

    def pmf(self, k):
        """S_i (1 - alphas[i]), and S_k at i = k."""
        return stopped(self.curve(k), 1 - np.array(self.alphas[:k]))


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
        hit = self.h if np.ndim(i) == 0 and i else np.where(np.asarray(i) == 0, 1 + 0 * self.h, self.h)
        return plain(hit * Geometric(self.alpha).survival(i))

    def curve(self, k):
        """1, h alpha, .., h alpha^k."""
        h, alpha = (np.asarray(value)[..., None] for value in (self.h, self.alpha))
        return HitMiss(h, alpha).survival(np.arange(Chain(k).depth + 1))

    def pmf(self, k):
        """h times that of drafts alone, and 1 - h more at i = 0."""
        h = np.asarray(self.h)[..., None]
        return h * Geometric(self.alpha).pmf(k) + (1 - h) * (np.arange(k + 1) == 0)

    def mean(self, k):
        """h (alpha + .. + alpha^k)."""
        return self.h * Geometric(self.alpha).mean(k)

    def drafted(self, k):
        """Nothing with probability 1 - h, else k."""
        return all_or_nothing(self.h, Chain(k).depth)


@dataclass(frozen=True)
class Ranked(Law):
    """Siblings differ: the j-th child of an accepted node is accepted with probability acceptances[j - 1].

    Or one such row per depth, the accuracies of prediction heads. Siblings exclude one another, so on a tree S_i
    is the sum over the nodes at depth i of the products along their paths; on a chain, first children all the
    way. Fractions stay. ValueError for a row that sums to more than 1; asking for a rank or a depth that is not
    given raises NotIdentifiable. Chen et al. 2024 (Sequoia), Definition 3.1 and Proposition 3.4; rows by depth,
    Cai et al. 2024 (Medusa).

    >>> from specmath.draft import Tree
    >>> Ranked((0.5, 0.25)).on(Tree((-1, 0, 0, 1))).block_efficiency(2)
    2.0
    """

    acceptances: tuple

    def __post_init__(self):
        if self._by_depth:
            rows = tuple(_exclusive(f"acceptances[{i}]", row) for i, row in enumerate(self.acceptances))
        else:
            rows = _exclusive("acceptances", self.acceptances)
        object.__setattr__(self, "acceptances", rows)

    @property
    def _by_depth(self):
        return np.iterable(self.acceptances) and len(self.acceptances) > 0 and np.ndim(self.acceptances[0]) > 0

    def on(self, draft):
        """The survival curve of rounds that draft this tree; a chain leaves the law as it is."""
        if isinstance(draft, Chain):
            return self
        reached, levels = [1], [0] * draft.depth
        for node, parent in enumerate(draft.parents[1:], 1):
            reached.append(reached[parent] * self._acceptance(draft.depths[node], draft.ranks[node]))
            levels[draft.depths[node] - 1] += reached[node]
        return Curve(falling(levels))

    def survival(self, i):
        """The product of the first i first-child acceptances."""
        return self._chain.survival(i)

    def curve(self, k):
        """The running products of the first-child acceptances."""
        return self._chain.curve(k)

    def pmf(self, k):
        """That of the first-child acceptances."""
        return self._chain.pmf(k)

    def mean(self, k):
        """Accepted drafts per round of a chain of k."""
        return self._chain.mean(k)

    @cached_property
    def _chain(self):
        if self._by_depth:
            return Positional(tuple(row[0] for row in self.acceptances))
        return Geometric(self.acceptances[0])

    def _acceptance(self, depth, rank):
        row = along((0, *self.acceptances), depth) if self._by_depth else self.acceptances
        if rank >= len(row):
            raise NotIdentifiable(f"acceptance of rank {rank + 1}", "the accepted length on this tree")
        return row[rank]


@dataclass(frozen=True)
class Padded(Law):
    """A batch that commits the least accepted length among its sequences: S_i is the product of theirs.

    laws is one law or several, one per sequence; each is there `batch` times. What a sequence accepts beyond the
    least is discarded, so tau, still that of one sequence, falls as the batch grows. Where sequences draft
    unequal lengths, the round is as long as the longest. ValueError for no laws or a batch that is no integer
    >= 1; NotIdentifiable for a law that walks along its text: in a batch its rounds start where another's ended,
    which the law of its own rounds does not say (`Markov.beside` does). Derived here; Qian et al. 2024 (BASS)
    remark on the loss and keep ragged lengths instead.

    >>> round(Padded(Geometric(0.8), 5).block_efficiency(5), 6)
    1.485546
    """

    laws: Any
    batch: int = 1

    def __post_init__(self):
        object.__setattr__(self, "laws", (self.laws,) if isinstance(self.laws, Law) else tuple(self.laws))
        if not self.laws:
            raise ValueError("laws: found none, expected one law or more")
        if any(hasattr(law, "walk") for law in self.laws):
            raise NotIdentifiable(
                "a law of all texts at once", "the start of a padded round", "for stretches it is Markov.beside"
            )
        object.__setattr__(self, "batch", whole("batch", self.batch, 1))

    @property
    def independent_rounds(self):
        """Whether those of every sequence are."""
        return all(law.independent_rounds for law in self.laws)

    def on(self, draft):
        """The batch whose sequences each draft this shape."""
        return Padded(tuple(law.on(draft) for law in self.laws), self.batch)

    def survival(self, i):
        """The product over the batch."""
        return reduce(mul, (law.survival(i) ** self.batch for law in self.laws))

    def curve(self, k):
        """The product over the batch."""
        return reduce(mul, (law.curve(k) ** self.batch for law in self.laws))

    def drafted(self, k):
        """Probability of each longest drafted length 0..k."""
        below = reduce(mul, (np.cumsum(law.drafted(k), axis=-1) ** self.batch for law in self.laws))
        return np.concatenate([below[..., :1], np.diff(below, axis=-1)], axis=-1)


@dataclass(frozen=True)
class Empirical(Listed):
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
    def listed(self):
        """S_0, S_1, .. as far as identified; once it is zero it stays so over the positions of the tally."""
        curve, reached = [1.0], self.hit
        counts = self.tally.at_risk.sum(axis=0), self.tally.accepted.sum(axis=0)
        for trials, successes in zip(*counts, strict=True):
            if not trials and (len(curve) == 1 or reached > 0):
                break
            reached = reached * float(successes / trials) if trials else 0.0
            curve.append(reached)
        return curve

    def drafted(self, k):
        """Nothing with probability 1 - hit, else k."""
        return all_or_nothing(self.hit, Chain(k).depth)


def _exclusive(name, row):
    """The acceptances of the children of one node, of which at most one is accepted."""
    row = probabilities(name, row, "rank")
    if not row or sum(row) > 1 + ROUNDING:
        raise ValueError(f"{name}: found {len(row)} that sum to {sum(row)}, expected one or more that sum to at most 1")
    return row
