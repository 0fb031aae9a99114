"""Several drafts at one position: how often one of k is accepted, under each rule and at best.

    with_replacement(p, q, k)     k independent drafts, recursive rejection (`acceptor.verify_tree` on siblings)
    without_replacement(p, q, k)  k different drafts, the same rule with renormalised rows
    k_seq(p, q, k)                k independent drafts, k-SEQ (`acceptor.verify_k_seq`), and the rho that it needs
    optimal_transport(p, q, k)    what no lossless rule for k independent drafts exceeds

For k = 1 all four are sum min(p, q). 1 - (1 - alpha)^k is none of them and above them all: siblings compete for the
mass of one token. The optimum for independent drafts bounds no scheme that draws without replacement, which can
be better. p and q are laws over the last axis [..., V]; Fractions give Fractions, except from `k_seq`.
"""

import math
import operator

import numpy as np

from specmath.acceptor.drawing import excess, residual
from specmath.divergence import overlap
from specmath.draft import plain, within

HALVINGS = 60  # of rho's interval [1, k]: down to rounding


def with_replacement(p, q, k):
    """One of k independent drafts accepted: 1 - prod over i of (1 - sum min(r_i, q)), r_1 = p, r_{i+1} = residual.

    Raises ValueError for k below 1 and rows that are no law. Recursive rejection of SpecInfer (Miao et al. 2023).

    >>> round(with_replacement([0.5, 0.3, 0.2], [0.2, 0.5, 0.3], 2), 6)
    0.76
    """
    (left, law), missed = _laws(p, q), 1
    for _ in range(_count(k)):
        missed = missed * (1 - overlap(left, law, xp=np))
        left = residual(left, law, xp=np)
    return plain(1 - missed)


def without_replacement(p, q, k):
    """One of k drafts accepted when each is drawn from q without the ones before it, renormalised.

    Where q has nothing left, the draw is uniform over what was not drawn. p and q are single laws [V]. Exact, by
    following every order in which drafts can be rejected: at most V (V - 1) .. (V - k + 2) rows of length V are
    held at once, for small V or k = 2. Raises ValueError as above. Sequoia (Chen et al. 2024), Algorithm 2.

    >>> round(without_replacement([0.5, 0.3, 0.2], [0.2, 0.5, 0.3], 2), 6)
    0.808571
    """
    left, law = (_single(law)[None] for law in _laws(p, q))
    drawn, chance = np.zeros(law.shape, dtype=bool), np.ones(1, dtype=int)
    missed = 1 - overlap(left, law, xp=np)[0]
    for _ in range(min(_count(k), law.shape[-1]) - 1):
        rejected = chance[:, None] * excess(law, left, np)
        rows, tokens = np.nonzero(rejected)
        chance, drawn = rejected[rows, tokens], drawn[rows] | (np.arange(law.shape[-1]) == tokens[:, None])
        left, law = residual(left, law, xp=np)[rows], _without(law[rows], drawn)
        missed = np.sum(chance * (1 - overlap(left, law, xp=np)))
    return plain(1 - missed)


def optimal_transport(p, q, k):
    """The most that any lossless rule accepts of k independent drafts: min over token sets H of 1 + p(H) - q(H)^k.

    The minimum lies at a set of the tokens with the smallest p / q (q(H)^k is convex, so it is a corner of the hull
    of the pairs p(H), q(H)): one sort, O(V log V). Raises ValueError as above. The linear programme is SpecTr's
    (Sun et al. 2023); this form of its value, by max-flow min-cut, is derived here.

    >>> round(optimal_transport([0.5, 0.3, 0.2], [0.2, 0.5, 0.3], 2), 6)
    0.86
    """
    p, q = _laws(p, q)
    ratio = np.where(q > 0, p / np.where(q > 0, q, 1), math.inf)
    order = np.argsort(ratio, axis=-1, kind="stable")
    p_of, q_of = (np.cumsum(np.take_along_axis(law, order, axis=-1), axis=-1) for law in (p, q))
    return plain(np.min(np.minimum(1 + p_of - q_of ** _count(k), 1), axis=-1))


def k_seq(p, q, k):
    """(rho, acceptance) of k-SEQ: the root of 1 - (1 - b)^k = rho b with b = sum min(q, p / rho), and 1 - (1 - b)^k.

    rho, in [1, k], is the smallest for which `acceptor.verify_k_seq` is exact; by bisection, from above. The
    acceptance is at least 1 - 1/e of the optimum. Raises ValueError as above. SpecTr, Sun et al. 2023 (arXiv
    2310.15141).

    >>> rho, acceptance = k_seq([0.5, 0.3, 0.2], [0.2, 0.5, 0.3], 2)
    >>> round(rho, 6), round(acceptance, 6)
    (1.456776, 0.791355)
    """
    p, q = (law.astype(float) for law in _laws(p, q))
    low, high = np.full(p.shape[:-1], 1.0), np.full(p.shape[:-1], float(_count(k)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        short = middle * _shared(p, q, middle) < 1 - (1 - _shared(p, q, middle)) ** k
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return plain(high), plain(1 - (1 - _shared(p, q, high)) ** k)


def _count(k):
    return within("k", operator.index(k), 1)


def _laws(p, q):
    """Both as arrays of one shape, after `overlap` has refused what is no law."""
    p, q = np.asarray(p), np.asarray(q)
    overlap(p, q, xp=np)
    return np.broadcast_arrays(p, q)


def _shared(p, q, rho):
    """b = sum min(q, p / rho)."""
    return np.sum(np.minimum(q, p / rho[..., None]), axis=-1)


def _single(law):
    if law.ndim != 1:
        raise ValueError(f"p, q: found shape {law.shape}, expected single laws [V]")
    return law


def _without(law, drawn):
    """`law` without what was drawn, normalised; uniform over the rest where it has nothing left."""
    left = np.where(drawn, 0, law)
    spent = np.sum(left, axis=-1, keepdims=True) == 0
    left = np.where(spent, np.where(drawn, 0, 0 * law + 1), left)
    return left / np.sum(left, axis=-1, keepdims=True)
