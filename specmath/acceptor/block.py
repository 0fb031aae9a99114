"""Block verification: a chain of drafts judged as a whole, so that a likely continuation rescues an unlikely start."""

import math

from specmath.acceptor.drawing import double, draw, excess, residual
from specmath.acceptor.rows import at_tokens, check_shapes, draft_row, emit, row, slots_in_use


def verify_block(tokens, q, p, u, v, *, xp, drafted=None):
    """One round: keep the longest prefix whose own coin says so, then draw from max(w p - q, 0), or from p after all.

    With w_0 = 1 and w_i = min(1, w_{i-1} p(x_i) / q(x_i)) along the draft, and s_i = sum max(w_i p - q, 0) over
    the laws after x_i: prefix i < drafted is kept with probability s_i / (s_i + 1 - w_i), the whole with w. A
    rejected shorter prefix does not end the round, so every coin is looked at. Block verification of Sun et al.,
    ICLR 2025 (arXiv 2403.10444).

    Lossless for any q that the tokens were drawn from, and P(accepted >= i) = E[w_i], E over the draft: at every i
    at least the token rule's, whose prod min(1, p / q) is never above w_i. With one draft, or one-hot rows of q,
    both rules have the same law. Sun et al. prove that no lossless rule for one draft, shown the laws along it
    alone, emits more on average.

    Arguments, shapes and errors are those of `verify`; the tests need no division. A NaN in any row that decides
    a coin, the last one's included, makes the round one that cannot be drawn.

    >>> import numpy as np
    >>> q, p = np.tile([2 / 3, 1 / 3], (2, 1)), np.tile([1 / 3, 2 / 3], (3, 1))
    >>> block = verify_block(np.array([0, 1]), q, p, np.array([0.9, 0.9]), np.array(0.9), xp=np)
    >>> block.tokens.tolist(), int(block.accepted)  # `verify` would have stopped at 0: w = 1, 1/2, 1
    ([0, 1, 1], 2)
    """
    check_shapes(tokens, q, p, u, v)
    tokens = xp.astype(tokens, xp.int64, copy=False)
    drafted = slots_in_use(tokens, drafted, xp)
    real, q_x, p_x = at_tokens(tokens, q, p, drafted, xp)
    q_x, p_x = double(q_x, xp), double(xp.where(real, p_x, 0), xp)
    ratios = _joint_ratios(q_x, p_x, xp)
    low, high = _coins(ratios, q_x, p_x, _spare_masses(ratios, q, p, drafted, xp), drafted, xp)
    accepted = _last(real & (u * high < low), xp)
    law = _final_law(p, q, ratios, accepted, drafted, xp)
    spoiled = xp.any(real & (low + high != low + high), axis=-1)
    return emit(tokens, accepted, draw(xp.where(spoiled[..., None], math.nan, law), v, xp=xp), xp)


def _joint_ratios(q_x, p_x, xp):
    """w_0..w_k [..., k+1]: the chance that a prefix is worth keeping, clipped as it goes."""
    ratios = [xp.ones(p_x.shape[:-1], dtype=p_x.dtype, device=p_x.device)]
    for slot in range(p_x.shape[-1]):
        ratios.append(_clipped(ratios[-1] * p_x[..., slot], q_x[..., slot], xp))
    return xp.stack(ratios, axis=-1)


def _clipped(weight, q, xp):
    """min(1, weight / q); 0 for a weight of 0, whatever q is."""
    below = weight < q
    ratio = xp.where(below, weight / xp.where(below, q, 1), 1)
    return xp.where(weight > 0, ratio, weight)


def _spare_masses(ratios, q, p, drafted, xp):
    """s_1..s_k [..., k], 0 where no draft follows; one row of the vocabulary at a time."""
    k = q.shape[-2]
    masses = [ratios[..., 0] * 0] * (k + 1)
    for i in range(1, k):
        law = xp.where((i < drafted)[..., None], double(p[..., i, :], xp), 0)
        masses[i] = xp.sum(excess(ratios[..., i, None] * law, q[..., i, :], xp), axis=-1)
    return xp.stack(masses, axis=-1)[..., 1:]


def _coins(ratios, q_x, p_x, spare, drafted, xp):
    """Prefix i is kept if u high < low: s_i against s_i + 1 - w_i, at the end w p(x) against q(x)."""
    whole = xp.arange(1, ratios.shape[-1], device=ratios.device) == drafted[..., None]
    low = xp.where(whole, ratios[..., :-1] * p_x, spare)
    return low, xp.where(whole, q_x, spare + 1 - ratios[..., 1:])


def _last(passes, xp):
    """The length of the longest prefix that is kept, 0 if none is."""
    lengths = xp.arange(1, passes.shape[-1] + 1, device=passes.device)
    nothing = xp.zeros((*passes.shape[:-1], 1), dtype=lengths.dtype, device=passes.device)
    return xp.max(xp.concat([nothing, xp.where(passes, lengths, 0)], axis=-1), axis=-1)


def _final_law(p, q, ratios, accepted, drafted, xp):
    """max(w p - q, 0) normalised behind a prefix, p behind the whole draft."""
    rejected = accepted < drafted
    ratio = xp.where(rejected, xp.take_along_axis(ratios, accepted[..., None], axis=-1)[..., 0], 1)
    law = ratio[..., None] * double(row(p, accepted, xp), xp)
    return residual(law, draft_row(q, accepted, rejected, xp), xp=xp)
