"""When a text is finished: the exact law of the rounds it takes, for rounds that are independent of one another.

A text of L tokens takes more rounds than L / tau, as part of its last block lies behind its end, and a fixed batch
waits for its slowest text. Both follow from one law; `simulate` draws from it, also where no formula reaches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from specmath.draft import plain, whole, within
from specmath.law import alone
from specmath.tally import NotIdentifiable


@dataclass(frozen=True, eq=False)
class RoundsToEmit:
    """Law of the rounds T that a text takes, by P(T > n) for n = 0, 1, .. as long as it may be above 0.

    >>> law = RoundsToEmit(np.array([1.0, 0.5]))
    >>> law.mean, law.pmf.tolist()
    (1.5, [0.0, 0.5, 0.5])
    """

    survival: Any

    @property
    def pmf(self):
        """P(T = n) for n = 0, 1, .."""
        return np.append(1.0, self.survival) - np.append(self.survival, 0.0)

    @property
    def mean(self):
        """E[T] = sum over n of P(T > n)."""
        return float(self.survival.sum())

    @property
    def var(self):
        """Variance of T."""
        n = np.arange(len(self.survival))
        return float(np.sum((2 * n + 1) * self.survival) - self.mean**2)

    def slowest(self, requests):
        """Mean rounds of the slowest of so many independent texts: sum over n of 1 - P(T <= n)^requests.

        What a fixed batch takes. `requests` may be an array.
        """
        requests = np.asarray(within("requests", requests, 1))[..., None]
        with np.errstate(divide="ignore"):
            finished = np.log1p(-self.survival)
        return plain(-np.expm1(requests * finished).sum(axis=-1))


def rounds_to_emit(law, shape, tokens):
    """Exact law of the rounds that emit `tokens` tokens when every round draws afresh from `law` on `shape`.

    T > n means that n rounds emitted fewer: P(T > n) is the mass below `tokens` of the n-fold sum of A + 1. Its mean
    solves f(L) = 1 + sum over i of P(A = i) f(L - i - 1), f(l) = 0 for l <= 0. Raises ValueError for tokens that
    are no integer >= 1 and for a law or a shape that is a grid, NotIdentifiable for a law whose rounds depend on one
    another (`independent_rounds`): those are simulated. Derived here.

    >>> from specmath.acceptance import Geometric
    >>> from specmath.draft import Chain
    >>> round(rounds_to_emit(Geometric(0.7), Chain(5), 100).mean, 6)
    34.521404
    """
    tokens = whole("tokens", tokens, 1)
    block = np.append(0.0, np.asarray(alone(_independent(law), shape).pmf(shape.depth), dtype=float))
    emitted, survival = np.ones(1), np.ones(tokens)
    for n in range(1, tokens):
        emitted = np.convolve(emitted, block)[:tokens]
        survival[n] = min(emitted.sum(), survival[n - 1])
    return RoundsToEmit(survival)


def overshoot(law, shape):
    """Rounds that a long text takes beyond tokens / tau: (E[N^2] - E[N]) / (2 E[N]^2), N = A + 1 tokens per round.

    The limit of the exact mean less tokens / tau, within a few blocks to rounding as a rule. Where the lengths of
    all rounds share a step (alpha = 1) there is no limit, and this is the mean over the tokens of one step. The law
    may be a grid. Derived here, from the renewal theorem on a lattice (e.g. Feller 1968, chapter XIII).

    >>> from specmath.acceptance import Geometric
    >>> from specmath.draft import Chain
    >>> round(overshoot(Geometric(0.7), Chain(5)), 6)
    0.521329
    """
    k = whole("k", shape.depth)
    law = _independent(law).on(shape)
    tau = law.block_efficiency(k)
    return (law.var(k) + tau * tau - tau) / (2 * tau * tau)


def _independent(law):
    """The law, if the rounds of a text say nothing about one another."""
    if not law.independent_rounds:
        raise NotIdentifiable("independent rounds", "the rounds of a text", "simulate draws them")
    return law
