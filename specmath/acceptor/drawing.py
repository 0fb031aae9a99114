"""The two steps that end a round, whatever the rule: the law of the recovered token, and a draw from a law.

Both are generic over array libraries. Floating rows are summed in double precision, exact numbers pass as they
are.
"""

import math

from specmath.sampling import refuse_rows


def residual(p, q, *, xp):
    """Law of the recovered token: max(p - q, 0) / sum(max(p - q, 0)) over the last axis [..., V].

    Leviathan et al. 2023, Algorithm 1. Against q = 0, the bonus token's case, it is p normalised. Where p
    exceeds q nowhere, which takes rounding, it is p as it came. Floating rows come back in double precision;
    NaN stays NaN.

    >>> import numpy as np
    >>> residual(np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.5, 0.25]), xp=np).tolist()
    [1.0, 0.0, 0.0]
    """
    weights = excess(p, q, xp)
    mass = xp.sum(weights, axis=-1, keepdims=True)
    empty = mass == 0
    weights = xp.where(empty, p, weights)
    return weights / xp.where(empty, 1, mass)


def draw(weights, v, *, xp):
    """The token at quantile v: the first x with weights(0) + ... + weights(x) > v total, over the last axis.

    Inversion of the cumulative sum of `weights` [..., V] at `v` [...], uniform on [0, 1]; the weights need
    not sum to 1. Where v * total reaches the total (v = 1, or by rounding) it is the last token of any
    weight. One without weight is never drawn.

    Raises ValueError naming a row whose weights are not finite or none above 0; off the host it is -1.

    >>> import numpy as np
    >>> [int(draw(np.array([0.0, 0.25, 0.75, 0.0]), np.array(v), xp=np)) for v in (0.0, 0.25, 1.0)]
    [1, 2, 2]
    """
    weights = double(weights, xp)
    cumulative = xp.cumulative_sum(weights, axis=-1)
    total = cumulative[..., -1:]
    unusable = ~((total > 0) & (total < math.inf))
    refuse_rows(unusable, "no law to draw from; expected finite weights and one above 0", xp=xp)
    weighty = weights > 0
    beyond = weighty & (cumulative > v[..., None] * total)
    last = weights.shape[-1] - 1 - _first(xp.flip(weighty, axis=-1), xp)
    token = xp.where(xp.any(beyond, axis=-1), _first(beyond, xp), last)
    return xp.where(unusable[..., 0], -1, token)


def _first(holds, xp):
    """Where bool[..., V] first holds; the standard and torch both promise that argmax is the first of equals."""
    return xp.argmax(xp.astype(holds, xp.uint8), axis=-1)


def excess(p, q, xp):
    """max(p - q, 0) entry by entry, floats in double precision; NaN stays NaN."""
    beyond = double(p, xp) - q
    return xp.maximum(beyond, xp.zeros_like(beyond[..., :1]))  # a plain 0 would stall a device: it is copied there


def double(x, xp):
    """Floats in double precision, where a sum over a vocabulary does not stagnate; exact numbers as is."""
    return xp.astype(x, xp.float64, copy=False) if xp.isdtype(x.dtype, "real floating") else x
