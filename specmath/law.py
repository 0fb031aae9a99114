"""The base of every acceptance law: give `survival`, and every other number of a round follows from it."""

from abc import ABC, abstractmethod

import numpy as np

from specmath.draft import Chain, each_depth, plain
from specmath.tally import NotIdentifiable

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
        return all_or_nothing(1, Chain(k).depth)


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


def _exact_sum_at(alpha, k):
    """NaN for a cell that is NaN: a power of it would raise the floating-point flag on some Pythons."""
    return sum(alpha**i for i in range(1, k + 1)) if alpha == alpha and k == k else np.nan


exact_sum = np.frompyfunc(_exact_sum_at, 2, 1)


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
    if np.max(depth, initial=0) >= len(curve):
        raise NotIdentifiable(
            f"a test of draft {len(curve)}",
            f"acceptance at position {np.max(depth)}",
            f"only {len(curve) - 1} given",
        )
    return each_depth(curve.__getitem__, depth)
