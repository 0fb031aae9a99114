"""The two steps that end a round, whatever the rule: the law of the recovered token, and a draw from a law.

Both are generic over array libraries. Floating rows are summed in double precision, exact numbers pass as they
are.
"""

import math

from specmath.sampling import refuse_rows

BLOCK = 256


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
    not sum to 1. Where v * total reaches the total (v = 1, or by rounding) it is the last token that adds to
    the sum. One without weight is never drawn: the sum does not rise there.

    Raises ValueError naming a row whose weights are not finite or none above 0; off the host it is -1.

    >>> import numpy as np
    >>> [int(draw(np.array([0.0, 0.25, 0.75, 0.0]), np.array(v), xp=np)) for v in (0.0, 0.25, 1.0)]
    [1, 2, 2]
    """
    blocks = _blocks(double(weights, xp), xp)
    sums = xp.cumulative_sum(xp.sum(blocks, axis=-1), axis=-1)
    total = sums[..., -1:]
    unusable = ~((total > 0) & (total < math.inf))
    refuse_rows(unusable, "no law to draw from; expected finite weights and one above 0", xp=xp)
    level = v[..., None] * total
    block = _first_above(sums, level, xp)
    before = xp.take_along_axis(sums, xp.where(block > 0, block - 1, 0)[..., None], axis=-1)
    before = xp.where(block[..., None] > 0, before, 0 * before)
    ids = xp.broadcast_to(block[..., None, None], (*block.shape, 1, blocks.shape[-1]))
    inside = xp.take_along_axis(blocks, ids, axis=-2)[..., 0, :]
    token = _first_above(before + xp.cumulative_sum(inside, axis=-1), level, xp)
    return xp.where(unusable[..., 0], -1, block * blocks.shape[-1] + token)


def _blocks(weights, xp):
    """Weights [..., V] as [..., blocks, BLOCK], zeros at the end: sums of blocks are faster than one long sum."""
    size = min(BLOCK, weights.shape[-1])
    lacking = -weights.shape[-1] % size
    if lacking:
        zeros = xp.zeros((*weights.shape[:-1], lacking), dtype=weights.dtype, device=weights.device)
        weights = xp.concat([weights, zeros], axis=-1)
    return xp.reshape(weights, (*weights.shape[:-1], -1, size))


def _first_above(cumulative, level, xp):
    """The first of a cumulative sum [..., n] above a level [..., 1], or else the first that reaches the whole sum."""
    reached = (cumulative > level) | (cumulative >= cumulative[..., -1:])
    return xp.argmax(xp.astype(reached, xp.uint8), axis=-1)  # the first of equals, as the standard and torch promise


def excess(p, q, xp):
    """max(p - q, 0) entry by entry, floats in double precision; NaN stays NaN."""
    beyond = double(p, xp) - q
    return xp.maximum(beyond, xp.zeros_like(beyond[..., :1]))  # a plain 0 would stall a device: it is copied there


def double(x, xp):
    """Floats in double precision, where a sum over a vocabulary does not stagnate; exact numbers as is."""
    return xp.astype(x, xp.float64, copy=False) if xp.isdtype(x.dtype, "real floating") else x
