"""Trees of drafts: at every node the children are tried one after another, each against what the others left."""

from specmath.acceptor.drawing import double, draw, residual
from specmath.acceptor.rows import check_shapes, emit, known


def verify_tree(tree, tokens, q, p, u, v, *, xp):
    """One round down a tree: take the first child with u q(x) < r(x), r = p at the node; draw from r where none is.

    Each child that is rejected leaves r = max(r - q, 0), normalised, to its siblings and to the recovered token; a
    leaf ends in the bonus, from p. This is recursive rejection sampling (SpecInfer, Miao et al. 2023; Sequoia,
    Chen et al. 2024, Algorithm 2).

    `tree` is a `specmath.draft.Tree` of n drafted nodes, siblings tried by rank; `tokens` int[..., n] and `u`
    [..., n], node i at i - 1; `p` [..., n+1, V], the target's law after each node, the root first; `v` [...].
    `q` [..., n, V] holds the row that each node was *drawn* from, given the siblings before it:

    - siblings drawn independently: the draft's law;
    - drawn without replacement: that law without the earlier siblings, renormalised;
    - not drawn at all, such as the top-k of a head or of a beam: a one-hot row each.

    With these the emitted tokens have the target's law, in whatever order siblings are tried (their order may
    change how often a draft is accepted), and top-k children are accepted with the p that they hold together,
    which is sequential renormalisation p / (1 - what was tried). Exact enumeration over the tests settles two
    disputes: top-k children with the draft's own probabilities in q are NOT exact (SafeAILab/EAGLE issues 20 and
    221), nor is drawing without replacement with q left as it was. A node that is not there holds token -1 and a
    row of zeros.

    Returns a Verdict with its `path`; a tree that is a path emits what `verify` does. Raises ValueError for shapes
    that do not fit and rows that cannot be drawn from. Time grows with n V.

    >>> import numpy as np
    >>> from specmath.draft import Tree
    >>> q, p = np.eye(3)[[0, 1]], np.array([[0.25, 0.5, 0.25], [1, 0, 0], [0, 0, 1]])
    >>> star = verify_tree(Tree((-1, 0, 0)), np.array([0, 1]), q, p, np.array([0.5, 0.5]), np.array(0.0), xp=np)
    >>> star.tokens.tolist(), int(star.accepted), star.path.tolist()  # r after token 0 is (0, 2/3, 1/3)
    ([1, 2], 1, [2])
    """
    check_shapes(tokens, q, p, u, v)
    if tokens.shape[-1] != tree.size:
        raise ValueError(f"tokens holds {tokens.shape[-1]} drafts, the tree has {tree.size} nodes to fill")
    tokens = xp.astype(tokens, xp.int64, copy=False)
    law, path = _walk(tree, tokens, q, p, u, xp)
    kept = path >= 0
    chosen = xp.take_along_axis(tokens, xp.where(kept, path - 1, 0), axis=-1)
    return emit(chosen, xp.sum(xp.astype(kept, xp.int64), axis=-1), draw(law, v, xp=xp), xp, path)


def _walk(tree, tokens, q, p, u, xp):
    """The law left where the walk ends [..., V], and the nodes on its way int[..., depth], -1 behind them."""
    batch, device = tokens.shape[:-1], tokens.device
    at = xp.zeros(batch, dtype=xp.int64, device=device)
    path = xp.full((*batch, tree.depth), -1, dtype=xp.int64, device=device)
    levels = xp.arange(1, tree.depth + 1, device=device)
    law = _arrival(tree, 0, p, xp)
    for parent, child in ((parent, child) for parent, children in enumerate(tree.children) for child in children):
        slot, here = child - 1, at == parent
        passes = here & _accepts(tokens[..., slot], q[..., slot, :], law, u[..., slot], xp)
        left = _left(law, q[..., slot, :], here & ~passes, xp)
        law = xp.where(passes[..., None], _arrival(tree, child, p, xp), left)
        at = xp.where(passes, child, at)
        path = xp.where(passes[..., None] & (levels == tree.depths[child]), child, path)
    return law, path


def _arrival(tree, node, p, xp):
    """p after a node; normalised where nothing follows and it is the bonus's law."""
    law = double(p[..., node, :], xp)
    return law if tree.children[node] else residual(law, xp.zeros_like(law), xp=xp)


def _accepts(token, q, law, u, xp):
    real = known(token, law.shape[-1])
    ids = xp.where(real, token, 0)[..., None]
    q_x, r_x = (double(xp.take_along_axis(row, ids, axis=-1)[..., 0], xp) for row in (q, law))
    return real & (u * q_x < r_x)


def _left(law, q, rejected, xp):
    """What a rejected child leaves to its siblings."""
    return xp.where(rejected[..., None], residual(law, q, xp=xp), law)
