"""The tree of drafts with the most tokens per round, under a budget of nodes and of levels.

Acceptance goes by child rank: P_j is the chance that the child of rank j is the one that is accepted, given that
its parent was. The value of a node is then the product of the acceptances along its path, and

    F(tree) = sum over all nodes, the root counting 1, of their values     tokens per round

which the dynamic programme of Sequoia (Chen et al. 2024, Proposition 3.4 and Algorithm 1) maximises exactly, one
level at a time and child by child.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from specmath.draft import Tree, plain, whole, within

ROUNDING = 1e-12


def optimal_tree(acceptances, size, depth=None):
    """The tree of at most `size` drafts and `depth` levels of them with the highest F; of trees that tie, a smallest.

    acceptances[j] is the acceptance of the child of rank j at every level, or acceptances[i][j] that at level
    i + 1; the rows may differ in length, and no node has more children than its row. Siblings take the ranks
    0, 1, .. without a gap, since a second guess needs a first. Fractions stay exact. ValueError for an
    acceptance outside [0, 1], or for siblings whose acceptances add up to more than 1, as only one of them can
    be accepted.

    >>> optimal_tree((0.5, 0.375), 3).choices
    ((0,), (1,), (0, 0))
    """
    return optimal_trees(acceptances, (size,), depth)[0]


def optimal_trees(acceptances, sizes, depth=None):
    """The `optimal_tree` of every size in `sizes`, all from the one programme of the largest.

    >>> [tree.size for tree in optimal_trees((0.5, 0.375), range(4))]
    [0, 1, 2, 3]
    """
    sizes = [whole("size", size) for size in sizes]
    levels = _programme(acceptances, max(sizes, default=0), depth)
    return tuple(_tree(levels, size + 1) for size in sizes)


def by_level(acceptances):
    """Whether these are rows, one per level; ValueError where they are neither that nor one number per rank.

    >>> by_level((0.5, 0.375)), by_level(((0.5, 0.375), (0.25,)))
    (False, True)
    """
    rows = list(acceptances) if np.iterable(acceptances) else None
    if rows is None:
        raise ValueError(f"acceptances: found {acceptances!r}, expected one per child rank, or such a row per level")
    if not rows:
        raise ValueError("acceptances: found none, expected one per child rank")
    return np.ndim(rows[0]) > 0


@dataclass(frozen=True, eq=False)
class _Level:
    """Best subtrees of at most n nodes, their root counted, n = 0..N, with so many levels below that root.

    best[n] is the value, width[n] how many children the root has, and split[b - 1][n] how many of n nodes go to
    the last of b children.
    """

    best: np.ndarray
    width: np.ndarray
    split: list


def _programme(acceptances, size, depth):
    """A `_Level` for 0, 1, .. levels below the root, up to the depth or to where more of them change nothing."""
    rows = _rows(acceptances, size, depth)
    leaf = np.array([-np.inf] + [1] * (size + 1), dtype=np.result_type(float, *rows))
    levels = [_Level(leaf, np.zeros(size + 2, dtype=int), [])]
    for row in reversed(rows):
        levels.append(_grown(row, levels[-1].best, leaf))
        if not by_level(acceptances) and np.array_equal(levels[-1].best, levels[-2].best):
            break
    return levels


def _grown(row, below, leaf):
    """The level above one with these best values, whose nodes are accepted by rank as `row` says."""
    values, split = [leaf], []
    for acceptance in row[: len(below) - 2]:
        value, last = _max_plus(values[-1], acceptance * below[1:])
        values.append(value)
        split.append(last)
    return _Level(np.max(values, axis=0), np.argmax(values, axis=0), split)


def _max_plus(before, child):
    """For every n the largest before[n - m] + child[m - 1] over m = 1..N, and the smallest m that gives it."""
    padded = np.concatenate([np.full(len(child), -np.inf), before])
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(child))[: len(before), ::-1]
    sums = windows + child
    last = np.argmax(sums, axis=1)
    return np.take_along_axis(sums, last[:, None], axis=1)[:, 0], last + 1


def _tree(levels, n):
    """The tree behind the best value at n nodes, numbered level by level."""
    parents = [-1]
    waiting = deque([(0, len(levels) - 1, int(np.argmax(levels[-1].best[: n + 1])))])
    while waiting:
        parent, level, n = waiting.popleft()
        for m in _subtrees(levels[level], n):
            waiting.append((len(parents), level - 1, m))
            parents.append(parent)
    return Tree(tuple(parents))


def _subtrees(level, n):
    """Nodes in the subtree of each child, by rank, of a root with n nodes."""
    sizes = []
    for split in reversed(level.split[: level.width[n]]):
        sizes.append(int(split[n]))
        n -= sizes[-1]
    return reversed(sizes)


def _rows(acceptances, size, depth):
    """The acceptances by rank of each level that can be drafted, from the root's children down."""
    limit = size if depth is None else min(size, whole("depth", depth))
    if not by_level(acceptances):
        return [_row("acceptances", acceptances)] * limit
    if depth is not None and depth > len(acceptances):
        raise ValueError(f"depth: found {depth}, expected at most {len(acceptances)}, the levels of the acceptances")
    return [_row(f"acceptances[{i}]", row) for i, row in enumerate(acceptances)][:limit]


def _row(name, values):
    row = np.array([within(f"{name}[{j}]", plain(value), 0, 1) for j, value in enumerate(values)])
    if row.sum() > 1 + ROUNDING:
        raise ValueError(f"{name}: found a sum of {row.sum()}, expected at most 1, as one sibling at most is accepted")
    return row
