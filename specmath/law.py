"""The base of every acceptance law: give `survival`, and every other number of a round follows from it."""

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from specmath.draft import Chain, Tree, each_depth, plain, shown, whole, within
from specmath.tally import NotIdentifiable

ROUNDING = 1e-12


class Law(ABC):
    """Law of the accepted length A of one round. A law supplies `survival`; everything else follows from it.

    k is the depth drafted, a scalar except where an array is named. Parameters may be arrays where the law
    says so; `curve`, `pmf` and `drafted` then add the axis of the lengths as the last one.

    What depends on the shape drafted beyond its depth is said by `on`, and every number for depth k is that of
    `on(Chain(k))`.
    """

    @property
    def independent_rounds(self):
        """Whether the rounds of a text say nothing about one another: not where a law walks along it (`walk`)."""
        return not hasattr(self, "walk")

    @abstractmethod
    def survival(self, i):
        """S_i = P(A >= i), the first i drafts all accepted; i an integer or an array of them; S_0 = 1."""

    def on(self, draft):
        """The law of rounds that draft this shape: here this same law, on chains.

        Raises NotIdentifiable where a tree has siblings, or an only child that is not the draft's first guess:
        how those are accepted does not follow from how first guesses are.
        """
        if isinstance(draft, Tree) and (not draft.is_chain or any(draft.ranks)):
            raise NotIdentifiable("acceptance by child rank", "the accepted length on a tree", "Ranked gives it")
        return self

    def curve(self, k):
        """S_0, S_1, .., S_k of rounds of depth k."""
        law = self.on(Chain(k))
        return np.stack([law.survival(i) for i in range(Chain(k).depth + 1)], axis=-1)

    def conditional(self, i):
        """a_i = S_i / S_{i-1}; NaN where position i is never reached. ValueError for a scalar i below 1."""
        return each_depth(self._conditional, position(i))

    def _conditional(self, i):
        law = self.on(Chain(i))
        before, here = (np.asarray(law.survival(j)) for j in (i - 1, i))
        unreached = before == 0
        return plain(np.where(unreached, np.nan, here / np.where(unreached, 1, before)))

    def pmf(self, k):
        """P(A = i) for i = 0..k when k are drafted: S_i - S_{i+1}, and S_k at i = k."""
        curve = self.curve(k)
        return np.concatenate([curve[..., :-1] - curve[..., 1:], curve[..., -1:]], axis=-1)

    def mean(self, k):
        """Accepted drafts per round, S_1 + .. + S_k; k may be an array."""
        return each_depth(lambda depth: total(self.curve(depth)), Chain(k).depth)

    def means(self, k_max):
        """mean(0), mean(1), .. up to k_max, or to the last depth that is identified."""
        found: list = []
        with suppress(NotIdentifiable):
            found.extend(self.mean(k) for k in range(Chain(k_max).depth + 1))
        return found

    def var(self, k):
        """Variance of A when k are drafted; also that of the tokens per round A + 1."""
        distance = np.arange(Chain(k).depth + 1) - np.asarray(self.mean(k))[..., None]
        return plain(np.sum(self.pmf(k) * distance**2, axis=-1))

    def block_efficiency(self, k):
        """tau = 1 + mean(k): tokens per round with the recovered or bonus token; k may be an array."""
        return 1 + self.mean(k)

    def sample(self, k, rng, size=None):
        """Accepted lengths of `size` independent rounds of depth k, by inversion of uniforms from `rng`."""
        curve = np.asarray(self.curve(k)[1:], dtype=float)
        return np.searchsorted(-curve, -rng.random(size), side="left")

    def drafted(self, k):
        """Probability of each drafted length 0..k when k are asked for; here always k."""
        return all_or_nothing(1, Chain(k).depth)


class Listed(Law):
    """A law that knows its curve up to some depth, as `listed`, and raises NotIdentifiable beyond it."""

    @property
    @abstractmethod
    def listed(self):
        """S_0, S_1, .. as far as they are known."""

    def survival(self, i):
        """The curve at i."""
        return along(self.listed, i)

    def curve(self, k):
        """The curve up to k."""
        along(self.listed, min(k, len(self.listed)))
        return np.array(self.listed[: k + 1])


@dataclass(frozen=True)
class Curve(Listed):
    """The survival curve itself, S_1, .., S_k: what an engine logs as acceptance rates per position.

    Raises ValueError for what is no probability or rises. Asking beyond its end raises NotIdentifiable.

    >>> Curve((0.872, 0.767, 0.672)).block_efficiency(3)
    3.311
    """

    survivals: tuple

    def __post_init__(self):
        survivals = probabilities("survivals", self.survivals)
        for i, (before, here) in enumerate(pairwise(survivals), 1):
            if here > before + ROUNDING:
                raise ValueError(f"survivals[{i}]: found {here}, expected at most the {before} before it")
        object.__setattr__(self, "survivals", falling(survivals))

    @cached_property
    def listed(self):
        """1 and the survivals."""
        return (1, *self.survivals)


def alone(law, shape):
    """The law of rounds that draft this shape; ValueError where either is a grid."""
    k = whole("k", shape.depth)
    law = law.on(shape)
    mean = law.mean(k)
    if np.ndim(mean) > 0:
        raise ValueError(f"law: found {np.size(mean)} laws in a grid, expected one")
    return law


def position(i):
    """A position in the draft, from 1 on: a scalar below raises ValueError, a cell below becomes NaN."""
    return within("i", Chain(i).depth, 1)


def stopped(curve, reject):
    """P(A = i) as S_i times the chance that draft i + 1 is rejected, S_k at i = k: keeps its digits near 1."""
    return np.concatenate([curve[..., :-1] * reject, curve[..., -1:]], axis=-1)


def probabilities(name, values, per="position"):
    """The values as a tuple, each a number in [0, 1]; ValueError names the entry that is not."""
    if not np.iterable(values):
        raise ValueError(f"{name}: found {shown(values)}, expected one per {per}, such as (0.7,)")
    for i, value in enumerate(values):
        if np.ndim(value) > 0:
            raise ValueError(f"{name}[{i}]: found {shown(value)}, expected a number in [0, 1]")
    return tuple(within(f"{name}[{i}]", plain(value), 0, 1) for i, value in enumerate(values))


def falling(values):
    """The values as a tuple, each at most 1 and at most those before it, where rounding has lifted it."""
    return tuple(accumulate(values, min, initial=1))[1:]


def total(curve):
    """S_1 + .. + S_k of a curve S_0..S_k along its last axis; NaN where S_0 is."""
    return plain(np.sum(curve[..., 1:], axis=-1) + 0 * curve[..., 0])


def all_or_nothing(hit, k):
    """Probabilities of the drafted lengths 0..k: k with probability `hit`, else nothing."""
    weights = [0 * hit] * (k + 1)
    weights[0] = 1 - hit
    weights[k] = hit if k else 0 * hit + 1
    return np.stack(weights, axis=-1)


def geometric_sum(alpha, k):
    """alpha + .. + alpha^k, to rounding also near alpha = 1, where the closed form loses its digits."""
    reject = 1.0 - np.asarray(alpha, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_power = np.where(np.equal(k, 0), 0.0, k * np.log1p(-reject))
    closed = -alpha * np.expm1(log_power) / np.where(reject == 0, 1, reject)
    return plain(np.where(reject == 0, k, closed))


def exact_sum(alpha, k):
    """alpha + .. + alpha^k by exact arithmetic, cell by cell; NaN where either is."""
    with np.errstate(invalid="ignore"):
        return _exact_sums(alpha, k)


def _exact_sum_at(alpha, k):
    return sum(alpha**i for i in range(1, int(k) + 1)) if alpha == alpha and k == k else np.nan


_exact_sums = np.frompyfunc(_exact_sum_at, 2, 1)


def invert_mean(mean, k):
    """The alpha in [0, 1] with alpha + .. + alpha^k = mean, by bisection; NaN where there is none.

    >>> round(invert_mean(1.94117, 5), 6)
    0.7
    """
    mean, k = np.broadcast_arrays(np.asarray(mean, dtype=float), np.asarray(k, dtype=float))
    low, high = np.zeros(mean.shape), np.ones(mean.shape)
    for _ in range(54):
        middle = (low + high) / 2
        short = geometric_sum(middle, k) < mean
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    solvable = (mean >= 0) & (mean <= k * (1 + ROUNDING)) & (k >= 1)
    return plain(np.where(solvable, np.where(mean == 0, 0.0, high), np.nan))


def along(curve, i):
    """curve[i], or NotIdentifiable beyond its end."""
    depth = Chain(i).depth
    deepest = int(np.max(depth, initial=0, where=np.equal(depth, depth)))
    if deepest >= len(curve):
        raise NotIdentifiable(
            f"a test of draft {len(curve)}",
            f"acceptance at position {deepest}",
            f"only {len(curve) - 1} given",
        )
    return each_depth(curve.__getitem__, depth)
