"""Rounds over given texts: from the law of one round at every start, the law of all of them.

A round that starts at token j emits d tokens with a known probability B(j, j + d), which is S_{d-1} - S_d for the
survival curve S of that start. Then over a text

    f = 1 + B f       f(j) rounds expected from a start at j to the end of the text
    u = e + B' u      u(j) probability that a round starts at j, when the first starts where e says

Both are one triangular system with a band of k + 1, solved window by window, so that memory stays bounded whatever the
length of the texts (derived here).

Texts are laid end to end with two marks behind each. No draft passes a mark and no round starts at one. What stops at
the first mark ended with the text; what stops at the second was cut by its end, all it had accepted. The end of a text
needs no other care anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from scipy.linalg.lapack import dtbtrs

RULES = ("token", "block")
MARKS = 2
LOWEST = 1100  # 2^-LOWEST is 0 as a float
CELLS = 1 << 17  # entries of a window's band: what fits the cache of one core


def lay(texts, inside):
    """[K, N]: the texts [K, n] end to end at the tokens `inside` says, zeros at the marks."""
    laid = np.zeros((texts[0].shape[0] if texts else 1, len(inside)), dtype=texts[0].dtype if texts else float)
    if texts:
        laid[:, inside] = np.concatenate(texts, axis=1)
    return laid


def marked(lengths):
    """Which of the N places hold a token, bool[N], and where each text of these lengths begins, int[P]."""
    width = np.asarray(lengths, dtype=int) + MARKS
    first = np.cumsum(width) - width
    inside = np.ones(width.sum(), dtype=bool)
    for mark in range(1, MARKS + 1):
        inside[first + width - mark] = False
    return inside, first


def ahead(row, start, stop):
    """row[start:stop], zeros beyond its end."""
    piece = row[start:stop]
    missing = stop - start - len(piece)
    return np.concatenate([piece, np.zeros(missing, dtype=row.dtype)]) if missing else piece


@dataclass(frozen=True, eq=False)
class Walk:
    """The law of one round from every place of texts laid end to end.

    ratios [K, N] are q(x) / p(x) of the token as draft 1..K of its round (K = 1: the same for any draft), zero at the
    marks; inside bool[N]; at most k drafts, or depth int[N] of them where given. Object arrays of Fractions pass
    through everything but the solver.
    """

    ratios: Any
    inside: Any
    k: int
    rule: str = "token"
    depth: Any = None

    def curves(self, start, stop) -> Iterator[Any]:
        """S_0 .. S_k at the places start..stop: the first i drafts of a round from there are all accepted.

        token: the product of min(1, R_1), .., min(1, R_i) (Leviathan et al. 2023, Algorithm 1, given the text).
        block: min(1, R_1, R_1 R_2, .., R_1 .. R_i) (Sun et al. 2025, block verification, given the text).
        """
        survival = product = self.inside[start:stop].astype(self.ratios.dtype)
        exponent = np.zeros(stop - start, dtype=int)
        yield survival
        for i in range(self.k):
            ratio = ahead(self.ratios[min(i, len(self.ratios) - 1)], start + i, stop + i)
            if self.rule == "token":
                survival = survival * np.minimum(ratio, 1)
            else:
                product, exponent = _times(product, exponent, ratio)
                survival = np.minimum(survival, _up_to_one(product, exponent))
            if self.depth is not None:
                survival = survival * (self.depth[start:stop] > i)
            yield survival

    def lengths(self, start, stop):
        """Probability that a round from the places start..stop emits d tokens, d = 1..k + 1."""
        for here, after in pairwise(chain(self.curves(start, stop), (0,))):
            yield here - after

    def windows(self):
        """(start, stop) over all places, with a band of at most CELLS entries each."""
        rows = max(CELLS // (self.k + 2), self.k + 1)
        return [(start, min(start + rows, len(self.inside))) for start in range(0, len(self.inside), rows)]

    def band(self, start, stop):
        """Rows start..stop of 1 - B, entry [j, d] at column j + d, and k + 1 rows of the identity behind them."""
        rows = stop - start
        band = np.zeros((rows + self.k + 1, self.k + 2))
        for d, law in enumerate(self.lengths(start, stop), 1):
            np.negative(law, out=band[:rows, d])
        return band


def expected(walk):
    """f[N]: rounds expected from a start at each place to the end of its text, 0 at the marks."""
    return _backward(walk, walk.inside)


def variance(walk, rounds):
    """Variance[N] of the rounds from each place; `rounds` is their expectation f.

    v = r + B v, r(j) the variance of f at the next start, squared about its own mean f(j) - 1: no two large
    numbers are subtracted, however long the text.
    """
    after = np.concatenate([rounds, np.zeros(walk.k + 1)])
    spread = np.zeros(len(rounds))
    for start, stop in walk.windows():
        mean = rounds[start:stop] - 1
        for d, law in enumerate(walk.lengths(start, stop), 1):
            spread[start:stop] += law * (after[start + d : stop + d] - mean) ** 2
    return _backward(walk, spread)


def starts(walk, first):
    """u[N]: probability that a round starts at each place when the first ones start at `first`, 0 at the marks."""
    u = np.zeros(len(walk.inside) + walk.k + 1)
    u[first] = walk.inside[first]
    for start, stop in walk.windows():
        reach = slice(start, stop + walk.k + 1)
        u[reach], _ = dtbtrs(walk.band(start, stop).T, u[reach], uplo="L", trans="N", diag="U")
    return u[: len(walk.inside)] * walk.inside


def after_all(walk, u):
    """Probability [N] that a round starts at each place behind one whose k drafts were all accepted."""
    behind = np.zeros(len(walk.inside) + walk.k + 1)
    for start, stop in walk.windows():
        *_, survival = walk.curves(start, stop)
        behind[start + walk.k + 1 : stop + walk.k + 1] = u[start:stop] * survival
    return behind[: len(walk.inside)] * walk.inside


def endings(walk, u):
    """Expected rounds by length 0..k + 1: those a recovered or bonus token ended, and those the text's end cut."""
    ended, cut = np.zeros((2, walk.k + 2))
    second = ~walk.inside
    second[1:] &= ~walk.inside[:-1]
    for start, stop in walk.windows():
        for d, law in enumerate(walk.lengths(start, stop), 1):
            rounds, beyond = u[start:stop] * law, ahead(second, start + d, stop + d)
            cut[d - 1] += rounds[beyond].sum()
            rounds[beyond] = 0
            ended[d] += rounds.sum()
    return ended, cut


def accepted(walk, u, chances):
    """Expected accepted drafts [k] by offset, when the token at a place is accepted with `chances` [K, N]."""
    total = np.zeros(walk.k)
    for start, stop in walk.windows():
        for i, survival in zip(range(walk.k), walk.curves(start, stop), strict=False):
            chance = ahead(chances[min(i, len(chances) - 1)], start + i, stop + i)
            total[i] += (u[start:stop] * survival) @ chance
    return total


def _backward(walk, right):
    """x = right + B x, from the last window to the first."""
    x = np.zeros(len(walk.inside) + walk.k + 1)
    x[: len(right)] = right
    for start, stop in reversed(walk.windows()):
        reach = slice(start, stop + walk.k + 1)
        x[reach], _ = dtbtrs(walk.band(start, stop).T, x[reach], uplo="L", trans="T", diag="U")
    return x[: len(walk.inside)]


def _times(product, exponent, ratio):
    """product * 2^exponent * ratio in the same form, the product in [1/4, 1) or 0: no overflow; Fractions stay."""
    if product.dtype == object:
        return product * ratio, exponent
    (product, more), (ratio, shift) = np.frexp(product), np.frexp(ratio)
    return product * ratio, exponent + more + shift


def _up_to_one(product, exponent):
    """product * 2^exponent where that is at most 1, and 1 or more elsewhere."""
    return product if product.dtype == object else np.ldexp(product, np.clip(exponent, -LOWEST, 2))
