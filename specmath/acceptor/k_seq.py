"""k-SEQ: several independent drafts at one position, all under the same test."""

from specmath.acceptor.drawing import double, draw, residual
from specmath.acceptor.rows import check_shapes, emit, known, row


def verify_k_seq(tokens, q, p, u, v, *, rho, xp):
    """One position: take the first of k independent drafts with u rho q(x) < p(x), then its bonus; else recover.

    Every draft has the same chance b = sum min(q, p / rho), one of them is taken with 1 - (1 - b)^k, and what is
    recovered then comes from max(p - min(q, p / rho) (1 - (1 - b)^k) / b, 0). Exact for every rho at or above the
    root of 1 - (1 - b)^k = rho b, which accepts most and which `siblings.k_seq` finds; below it the law breaks.
    k-SEQ of SpecTr, Sun et al. 2023 (arXiv 2310.15141).

    `tokens` int[..., k], all drawn from the one `q` [..., V]; `p` [..., k+1, V], the target's law at the position
    and after each of the drafts; `u` [..., k], `v` [...]; `rho` a number or [...]. The Verdict is that of a tree
    of one level: two tokens if a draft was accepted, the `path` saying which (1..k), else one.

    Raises ValueError for shapes that do not fit, no draft at all, and rows that cannot be drawn from.

    >>> import numpy as np
    >>> q, p = np.array([0.5, 0.5]), np.array([[0.25, 0.75], [1, 0], [0, 1]])
    >>> verdict = verify_k_seq(np.array([0, 1]), q, p, np.array([0.5, 0.5]), np.array(0.5), rho=1.5, xp=np)
    >>> verdict.tokens.tolist(), int(verdict.accepted), verdict.path.tolist()  # .5 * 1.5 * .5 >= .25, < .75
    ([1, 1], 1, [2])
    """
    check_shapes(tokens, q, p, u, v, draft_rows=False)
    if tokens.shape[-1] == 0:
        raise ValueError("tokens holds no draft, expected one or more for the position")
    tokens = xp.astype(tokens, xp.int64, copy=False)
    here, scaled = double(p[..., 0, :], xp), _scaled(double(q, xp), rho)
    shared = xp.minimum(here, scaled)
    overlap = xp.sum(shared, axis=-1) / rho
    node = _first(_passes(tokens, scaled, here, u, xp) & (overlap == overlap)[..., None], xp)
    taken = node > 0
    used = _scaled(shared, _attempts(overlap, tokens.shape[-1]) / rho)
    law = residual(row(p, node, xp), xp.where(taken[..., None], 0, used), xp=xp)
    chosen = xp.take_along_axis(tokens, xp.where(taken, node - 1, 0)[..., None], axis=-1)
    path = xp.where(taken, node, -1)[..., None]
    return emit(chosen, xp.astype(taken, xp.int64), draw(law, v, xp=xp), xp, path)


def _scaled(rows, factor):
    """rows [..., V] times a number or [...]."""
    return rows * (factor[..., None] if hasattr(factor, "shape") else factor)


def _passes(tokens, scaled, p, u, xp):
    """Which drafts pass the test, bool[..., k]."""
    real = known(tokens, p.shape[-1])
    ids = xp.where(real, tokens, 0)
    q_x, p_x = (xp.take_along_axis(law, ids, axis=-1) for law in (scaled, p))
    return real & (u * q_x < p_x)


def _first(passes, xp):
    """Which draft is the first that passes, counted from 1; 0 if none does."""
    k = passes.shape[-1]
    node = xp.min(xp.where(passes, xp.arange(1, k + 1, device=passes.device), k + 1), axis=-1)
    return xp.where(node > k, 0, node)


def _attempts(overlap, k):
    """(1 - (1 - b)^k) / b, the drafts tried on average, as a sum that holds at b = 0."""
    return sum((1 - overlap) ** i for i in range(k))
