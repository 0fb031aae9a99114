"""The standard rule for a chain of drafts: `verify`."""

from specmath.acceptor.drawing import double, draw, residual
from specmath.acceptor.rows import check_shapes, emit, row, slots_in_use


def verify(tokens, q, p, u, v, *, xp, drafted=None):
    """One round: accept while u q(x) < p(x), then draw from max(p - q, 0), or from p if all were accepted.

    Leviathan et al. 2023, Algorithm 1. The test needs no division and is strict: u = 0 lets no p(x) = 0 in.

    `tokens` int[..., k] drawn from `q` [..., k, V]; `p` [..., k+1, V]; `u` [..., k] and `v` [...] uniform on
    [0, 1), 1 tolerated, independent of one another and of the tokens, and best in double precision: in single
    they see no probability below 2^-24. All leading dimensions are batch, the same for every argument.
    `drafted` int[...] in 0..k counts the slots in use (None: all); the others may hold anything. A token
    outside 0..V-1 has no probability under p and is rejected.

    Raises ValueError for shapes that do not fit, drafted outside 0..k, and rows that cannot be drawn from.

    >>> import numpy as np
    >>> q, p = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75], [1.0, 0.0]])
    >>> verdict = verify(np.array([0]), q, p, np.array([0.6]), np.array(0.9), xp=np)
    >>> verdict.tokens.tolist(), int(verdict.accepted)  # 0.6 * 0.5 >= 0.25: 0 is rejected and 1 recovered
    ([1, -1], 0)
    """
    check_shapes(tokens, q, p, u, v)
    tokens = xp.astype(tokens, xp.int64, copy=False)
    drafted = slots_in_use(tokens, drafted, xp)
    accepted = _prefix_length(_passes(tokens, q, p, u, drafted, xp), xp)
    against = _draft_row(q, accepted, accepted < drafted, xp)
    final = draw(residual(row(p, accepted, xp), against, xp=xp), v, xp=xp)
    return emit(tokens, accepted, final, xp)


def _passes(tokens, q, p, u, drafted, xp):
    """Which slots hold a drafted token that passes its own test, bool[..., k]."""
    k, vocabulary = q.shape[-2:]
    in_use = xp.arange(k, device=tokens.device) < drafted[..., None]
    real = in_use & (tokens >= 0) & (tokens < vocabulary)
    ids = xp.where(real, tokens, 0)[..., None]
    q_x, p_x = (xp.take_along_axis(law[..., :k, :], ids, axis=-1)[..., 0] for law in (q, p))
    return real & _accepts(u, double(q_x, xp), double(p_x, xp))


def _accepts(u, q, p):
    return u * q < p


def _prefix_length(passes, xp):
    """How many hold before the first that does not."""
    return xp.sum(xp.cumulative_prod(xp.astype(passes, xp.int64), axis=-1), axis=-1)


def _draft_row(q, accepted, rejected, xp):
    """The draft's law [..., V] at the first rejection, zeros where there was none."""
    if q.shape[-2] == 0:
        return xp.zeros((*q.shape[:-2], q.shape[-1]), dtype=q.dtype, device=q.device)
    return xp.where(rejected[..., None], row(q, xp.where(rejected, accepted, 0), xp), 0)
