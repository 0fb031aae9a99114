"""How far a draft is from its target: the acceptance of one context, exactly, and what a divergence promises of it.

    overlap(p, q)             sum min(p, q) = 1 - TV(p, q): alpha of the context, for a draft sampled from q
    one_hot_acceptance(p, q)  p(argmax q): alpha of the context, for a draft that takes its likeliest token
    kl(p, q)                  in nats; `least_acceptance` is the alpha it guarantees, mostly far below the true one

p and q are laws [..., V] as they are sampled from, so after temperature and truncation: `sampling.warp` makes them.
The alpha of a law such as `Geometric` is the mean of the first (or second) over the contexts of a text. KL does not
bound it from above: nothing but the overlap itself measures an acceptance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from specmath.draft import plain, within
from specmath.sampling import refuse_rows, warp

SLACK = 0.01  # by which a row in half precision may miss a sum of 1


def overlap(p, q, *, xp):
    """Acceptance of one draft from q under p: sum over x of min(p(x), q(x)) = 1 - TV, over the last axis [..., V].

    Leading axes broadcast. Floating rows are summed in double precision, Fractions stay exact. No lossless rule
    with one draft per position beats it. Raises ValueError for vocabularies that differ and for rows that are no
    law. Leviathan et al. 2023, Corollary 3.6.

    >>> from fractions import Fraction
    >>> p, q = (np.array([Fraction(n, 10) for n in row]) for row in ((5, 3, 2), (2, 5, 3)))
    >>> overlap(p, q, xp=np)
    Fraction(7, 10)
    """
    p, q = _laws(p, q, xp)
    return xp.sum(xp.where(p < q, p, q), axis=-1)


def total_variation(p, q, *, xp):
    """TV = sum |p - q| / 2 over the last axis [..., V]: the chance that a draft from q is rejected, 1 - overlap.

    Also how far a lossy rule's output law q is from its target p. Arguments and errors are those of `overlap`.

    >>> total_variation(np.array([0.5, 0.5]), np.array([0.25, 0.75]), xp=np).item()
    0.25
    """
    p, q = _laws(p, q, xp)
    return xp.sum(xp.where(p < q, q - p, p - q), axis=-1) / 2


def one_hot_acceptance(p, q, *, xp):
    """Acceptance of the draft's likeliest token: p(argmax q) over the last axis [..., V], the first of equals.

    What a greedy draft, prompt lookup or an engine that hands no draft probabilities on is accepted with; it may
    be above or below `overlap`. Same shapes and errors.

    >>> p, q = np.array([0.6, 0.4]), np.array([0.9, 0.1])
    >>> one_hot_acceptance(p, q, xp=np).item(), round(overlap(p, q, xp=np).item(), 6)
    (0.6, 0.7)
    """
    p, q = xp.broadcast_arrays(*_laws(p, q, xp))
    return xp.take_along_axis(p, xp.argmax(q, axis=-1, keepdims=True), axis=-1)[..., 0]


def kl(p, q, *, xp):
    """KL(p || q) = sum p log(p / q) in nats over the last axis [..., V]; infinite where q = 0 < p.

    0 log 0 = 0. Arguments and errors are those of `overlap`; Fractions come back as floats.

    >>> kl(np.array([0.5, 0.5]), np.array([0.25, 0.75]), xp=np).round(6).item()
    0.143841
    """
    p, q = (xp.astype(law, xp.float64, copy=False) for law in _laws(p, q, xp))
    held, met = p > 0, q > 0
    terms = p * (xp.log(xp.where(held, p, 1.0)) - xp.log(xp.where(met, q, 1.0)))
    total = xp.sum(xp.where(held & ~met, xp.inf, terms), axis=-1)
    return xp.where(total < 0, 0.0, total)


def pinsker(nats):
    """Least acceptance at a KL divergence of so many nats, either way round: 1 - sqrt(KL / 2), 0 where negative.

    It holds for the mean acceptance at the mean KL too (the root is concave). Arrays broadcast; infinite KL is
    allowed. Raises ValueError for a negative or NaN scalar. Pinsker's inequality.

    >>> pinsker(0.5)
    0.5
    """
    return plain(np.maximum(1 - np.sqrt(_nats(nats) / 2), 0))


def bretagnolle_huber(nats):
    """Least acceptance at a KL divergence of so many nats, either way round: 1 - sqrt(1 - exp(-KL)).

    It holds for the mean acceptance at the mean KL too, and is above 0 at any finite KL, though as a float it
    is 0 beyond 744.1 nats. Arguments and errors are those of `pinsker`. Bretagnolle and Huber 1979.

    >>> round(bretagnolle_huber(1), 6)
    0.20494
    """
    nats = _nats(nats)
    return plain(np.exp(-nats) / (1 + np.sqrt(-np.expm1(-nats))))


def least_acceptance(nats):
    """The better of both bounds: Pinsker's below 1.593624 nats (where KL / 2 = 1 - exp(-KL)), the other above.

    >>> least_acceptance(0.5) == pinsker(0.5), least_acceptance(2) == bretagnolle_huber(2)
    (True, True)
    """
    return plain(np.maximum(pinsker(nats), bretagnolle_huber(nats)))


def acceptance_of_logits(
    target_logits, draft_logits, *, target: Mapping[str, Any] | None = None, draft: Mapping[str, Any] | None = None, xp
):
    """Acceptance of one draft where both are sampled from logits [..., V]: `overlap` of the two warped laws.

    `target` and `draft` are the keywords of `sampling.warp` for either side (temperature, top_k, top_p, min_p);
    a draft without its own is warped like the target, and {"temperature": 0} makes it one-hot. They need not
    agree: the output keeps the target's law whatever q is. Errors are those of `warp` and `overlap`.

    >>> z = np.log(np.array([0.6, 0.4])), np.log(np.array([0.9, 0.1]))
    >>> [acceptance_of_logits(*z, draft={"temperature": t}, xp=np).round(6).item() for t in (0, 1)]
    [0.6, 0.7]
    """
    at = {} if target is None else target
    p, q = warp(target_logits, **at, xp=xp), warp(draft_logits, **(at if draft is None else draft), xp=xp)
    return overlap(p, q, xp=xp)


def _laws(p, q, xp):
    """Both, checked, and floats in double precision."""
    if p.shape[-1:] != q.shape[-1:]:
        raise ValueError(f"p, q: found vocabularies of {p.shape[-1:]} and {q.shape[-1:]}, expected the same")
    return _law("p", p, xp), _law("q", q, xp)


def _law(name, law, xp):
    if xp.isdtype(law.dtype, "real floating"):
        law = xp.astype(law, xp.float64, copy=False)
    missed = xp.sum(law, axis=-1) - 1
    fits = xp.all(law >= 0, axis=-1) & (missed <= SLACK) & (missed >= -SLACK)
    refuse_rows(~fits, f"{name} is no law; expected probabilities >= 0 that sum to 1", xp=xp)
    return law


def _nats(nats):
    """A divergence in [0, infinity], the infinite one as the largest number."""
    return within("nats", np.minimum(nats, np.finfo(float).max))
