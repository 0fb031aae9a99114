"""The standard rule for a chain of drafts: `verify`."""

from specmath.acceptor.drawing import double, draw, residual
from specmath.acceptor.rows import at_tokens, check_shapes, draft_row, emit, prefix_length, row, slots_in_use


def verify(tokens, q, p, u, v, *, xp, drafted=None):
    """One round: accept while u q(x) < p(x), then draw from max(p - q, 0), or from p if all were accepted.

    Leviathan et al. 2023, Algorithm 1. The test needs no division and is strict: u = 0 lets no p(x) = 0 in.

    `tokens` int[..., k] drawn from `q` [..., k, V]; `p` [..., k+1, V]; `u` [..., k] and `v` [...] uniform on
    [0, 1), 1 tolerated, independent of one another and of the tokens, and best in double precision: in single
    they see no probability below 2^-24. All leading dimensions are batch, the same for every argument.
    `drafted` int[...] in 0..k counts the slots in use (None: all); the others may hold anything. A token
    outside 0..V-1 has no probability under p and is rejected. Rows of p and q are taken as laws and not checked to
    sum to 1.

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
    real, q_x, p_x = at_tokens(tokens, q, p, drafted, xp)
    accepted = prefix_length(real & _accepts(u, double(q_x, xp), double(p_x, xp)), xp)
    against = draft_row(q, accepted, accepted < drafted, xp)
    final = draw(residual(row(p, accepted, xp), against, xp=xp), v, xp=xp)
    return emit(tokens, accepted, final, xp)


def _accepts(u, q, p):
    return u * q < p
