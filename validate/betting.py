"""Betting against a law: wealth that a fair game lets grow by chance alone, and a wrong law by its wrongness.

Each token that is drawn multiplies a wealth of 1 by sum_b a(b) theta(b) / sum_b pi(b) theta(b): `a` is the bin that
the token fell into (or its shares of several), `pi` the bins' probabilities under the law, and `theta` what was learned
from the tokens before. Its mean under the law is 1 whatever theta, so that the wealth is a test martingale and ever
reaches 1 / a with probability at most a (Ville 1939; Shafer 2021, "Testing by betting"). So is an average of such
wealths, whose bets may be of any kind: the largest decides, at the price of its weight.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaln

HEAD = 32  # tokens of a context that are learned one by one; the others share a bin
BY_CONTEXT = 10.0 ** np.arange(1, 5.01, 0.5)  # concentrations: how many tokens the law itself counts for
POOLED = 10.0 ** np.arange(1.5, 5.1, 1.0)


@dataclass(frozen=True)
class Bins:
    """Where tokens fell: shares `a` [n, B] and probabilities `pi` [n, B] of bins, learned apart in each `group` [n].

    `other` [n, B] are the probabilities under the law that the bins are about, where there is one.
    """

    a: np.ndarray
    pi: np.ndarray
    group: np.ndarray | None = None
    other: np.ndarray | None = None


class PooledBet:
    """A few bins over all contexts, theta(b) = (seen + c pi) / (expected + c pi) for every concentration c."""

    def __init__(self) -> None:
        self._sums: dict[int, np.ndarray] = {}

    def observe(self, bins: Bins) -> np.ndarray:
        """Logarithms of the factors [n, concentrations]."""
        found = np.zeros((len(bins.a), len(POOLED)))
        for group, rows in _groups(bins):
            both = np.stack([bins.a[rows], bins.pi[rows]])
            before = self._sums.get(group, np.zeros((2, 1, both.shape[2])))
            after = before + both.cumsum(axis=1)
            seen, expected = after - both
            found[rows] = np.log(_factors(both, seen, expected))
            self._sums[group] = after[:, -1:]
        return found


def _groups(bins: Bins) -> Iterator[tuple[int, np.ndarray]]:
    group = np.zeros(len(bins.a), int) if bins.group is None else bins.group
    return ((int(name), np.flatnonzero(group == name)) for name in np.unique(group))


def _factors(both: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    a, pi = both
    found = np.empty((len(a), len(POOLED)))
    for i, concentration in enumerate(POOLED):
        own = concentration * pi
        whole = expected + own
        theta = np.divide(seen + own, whole, out=np.ones_like(whole), where=whole > 0)
        found[:, i] = np.einsum("nb,nb->n", a, theta) / np.einsum("nb,nb->n", pi, theta)
    return found


@dataclass
class ContextBet:
    """Every context apart, its likeliest tokens each in a bin: theta(b) = (seen + c p) / ((n + c) p), Dirichlet's rule.

    A context that comes once gains and costs nothing. `heads` [C, H] are the tokens with a bin of their own, `laws` and
    `counts` [C, H + 1] the probabilities where the context first came and what was drawn, the last bin the rest's.
    """

    heads: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), int))
    laws: np.ndarray = field(default_factory=lambda: np.zeros((0, 1)))
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), int))

    def observe(self, contexts: np.ndarray, p: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Logarithms of factors [n, concentrations] of tokens [n] from p [n, V] in contexts numbered as they come."""
        self._meet(contexts, p)
        heads = self.heads[contexts]
        hits = heads == tokens[:, None]
        slot = np.where(hits.any(axis=1), hits.argmax(axis=1), heads.shape[1])
        drawn = p[np.arange(len(p)), tokens]
        rest = np.maximum(1 - np.take_along_axis(p, heads, axis=1).sum(axis=1), drawn)
        pi = np.where(slot < heads.shape[1], drawn, rest)[:, None]
        bins = self.laws.shape[1]
        seen = self.counts[contexts, slot] + _earlier(contexts * bins + slot)
        n = self.counts.sum(axis=1)[contexts] + _earlier(contexts)
        np.add.at(self.counts, (contexts, slot), 1)
        return np.log((seen[:, None] + BY_CONTEXT * pi) / ((n[:, None] + BY_CONTEXT) * pi))

    def deviation(self, context: int, concentration: int) -> float:
        """Total variation from a context's law of what a bet of one of BY_CONTEXT takes it for by now."""
        law, counts, c = self.laws[context], self.counts[context], BY_CONTEXT[concentration]
        return float(abs((counts + c * law) / (counts.sum() + c) - law).sum() / 2)

    def _meet(self, contexts: np.ndarray, p: np.ndarray) -> None:
        """Choose the bins of contexts that were not there before."""
        size = min(HEAD, p.shape[1])
        ids, first = np.unique(contexts, return_index=True)
        law = p[first[ids >= len(self.heads)]]
        heads = np.argpartition(-law, size - 1, axis=1)[:, :size]
        known = np.take_along_axis(law, heads, axis=1)
        rest = np.maximum(1 - known.sum(axis=1, keepdims=True), 0) if size < p.shape[1] else np.zeros((len(law), 1))
        if not len(self.heads):
            self.heads, self.laws, self.counts = heads[:0], np.zeros((0, size + 1)), np.zeros((0, size + 1), int)
        self.heads = np.concatenate([self.heads, heads])
        self.laws = np.concatenate([self.laws, np.concatenate([known, rest], axis=1)])
        self.counts = np.concatenate([self.counts, np.zeros((len(law), size + 1), int)])


def _earlier(keys: np.ndarray) -> np.ndarray:
    """How often each key stood before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.maximum.accumulate(np.where(np.diff(ordered, prepend=ordered[:1] - 1) != 0, np.arange(len(keys)), 0))
    found = np.empty(len(keys), int)
    found[order] = np.arange(len(keys)) - starts
    return found


def context_wealth(counts: np.ndarray, laws: np.ndarray) -> np.ndarray:
    """Logarithm of what a `ContextBet` ends with [..., C, concentrations] in each context, for counts [..., C, bins].

    log B(c p + counts) - log B(c p) - sum counts log p for laws p [C, bins], B the multivariate beta function: the
    order of the tokens does not matter. A bin without probability counts for nothing.

    >>> gained = context_wealth(np.array([[2, 0]]), np.array([[0.5, 0.5]]))
    >>> round(float(np.exp(gained[0, 0])), 6)  # 5 / 5 times 6 / 5.5 at concentration 10
    1.090909
    """
    there, n = laws > 0, counts.sum(axis=-1)
    safe = np.where(there, laws, 1.0)
    fair = (counts * np.log(safe)).sum(axis=-1)
    found = np.empty((*n.shape, len(BY_CONTEXT)))
    for i, c in enumerate(BY_CONTEXT):
        bins = np.where(there, gammaln(counts + c * safe) - gammaln(c * safe), 0.0).sum(axis=-1)
        found[..., i] = bins + gammaln(c) - gammaln(c + n) - fair
    return found


def mixed(wealths: np.ndarray) -> np.ndarray:
    """Logarithm of the average of wealths [..., concentrations] given by their logarithms."""
    highest = wealths.max(axis=-1, keepdims=True)
    return highest[..., 0] + np.log(np.exp(wealths - highest).mean(axis=-1))
