"""Acceptance rules that change the text's law, in place of `Decoder.rule`."""

from functools import partial

import numpy as np

from specmath import acceptor
from specmath.sampling import warp


def blank(tokens, q, drafted):
    """Drafts as rules without `drafted` know them: token -1 and a row of zeros where nothing was drafted."""
    unused = np.arange(tokens.shape[1]) >= np.asarray(drafted)[:, None]
    return np.where(unused, -1, tokens), np.where(unused[..., None], 0.0, q)


def lenient(tokens, q, p, u, v, *, xp, drafted, lenience):
    tokens, q = blank(tokens, q, drafted)
    return acceptor.lossy_lenience(tokens, q, p, u, v, lenience=lenience, xp=xp)


def typical(tokens, q, p, u, v, *, xp, drafted):
    return acceptor.lossy_typical(blank(tokens, q, drafted)[0], p, v, epsilon=0.3, delta=0.6, xp=xp)


def synthetic(tokens, q, p, u, v, *, xp, drafted, rate):
    return acceptor.lossy_synthetic(tokens, p, u, v, rate=rate, xp=xp, drafted=drafted)


def ensemble(tokens, q, p, u, v, *, xp, drafted, weight):
    """The target's row is a mixture with the draft's where something was drafted (assistant_ensemble_weight)."""
    mixed = p.copy()
    used = blank(tokens, q, drafted)[1]
    mass = used.sum(-1, keepdims=True)
    mixed[:, :-1] = np.where(mass > 0, (1 - weight) * p[:, :-1] + weight * used, p[:, :-1])
    return acceptor.verify(tokens, q, mixed, u, v, xp=xp, drafted=drafted)


def threshold(tokens, q, p, u, v, *, xp, drafted, accept):
    """The ratio is divided by a threshold, the residual is the true one (accept thresholds below 1)."""
    return acceptor.verify(tokens, q, p, u * accept, v, xp=xp, drafted=drafted)


def warped(tokens, q, p, u, v, *, xp, drafted, **sampler):
    """Drafts are judged by a row that was warped once more."""
    with np.errstate(divide="ignore"):
        again = warp(np.log(p), **sampler, xp=np)
    return acceptor.verify(tokens, q, again if tokens.shape[1] else p, u, v, xp=xp, drafted=drafted)


def coin_twice(tokens, q, p, u, v, *, xp, drafted):
    """T6: the uniform of the last test draws the recovered or bonus token too."""
    if not tokens.shape[1]:
        return acceptor.verify(tokens, q, p, u, v, xp=xp, drafted=drafted)
    found = acceptor.verify(tokens, q, p, u, v, xp=xp, drafted=drafted)
    at = np.minimum(found.accepted, np.maximum(np.asarray(drafted) - 1, 0))
    again = np.where(np.asarray(drafted) > 0, np.take_along_axis(u, at[:, None], axis=1)[:, 0], v)
    return acceptor.verify(tokens, q, p, u, again, xp=xp, drafted=drafted)


def first_unverified(tokens, q, p, u, v, *, xp, drafted):
    """T14: the first draft is committed whatever the target says."""
    return acceptor.verify(tokens, q, p, np.where(np.arange(u.shape[1]) == 0, -1.0, u), v, xp=xp, drafted=drafted)


RULES = {
    "lenience .7": partial(lenient, lenience=0.7),
    "lenience .9": partial(lenient, lenience=0.9),
    "typical acceptance": typical,
    "synthetic acceptance .7": partial(synthetic, rate=0.7),
    "an ensemble, a fifth the draft": partial(ensemble, weight=0.2),
    "accept threshold .8": partial(threshold, accept=0.8),
    "target at T .9 where drafted": partial(warped, temperature=0.9),
    "target top-k 4 where drafted": partial(warped, top_k=4),
    "target top-p .95 where drafted": partial(warped, top_p=0.95),
    "target min-p .1 where drafted": partial(warped, min_p=0.1),
    "T6 the coin of the test draws too (sglang PR 7231)": coin_twice,
    "T14 the first draft is never tested (lattice #243)": first_unverified,
}
