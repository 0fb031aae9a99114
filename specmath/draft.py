"""What one round drafts: a chain of k tokens, a grid of chains to broadcast over, or a tree.

    depth      longest path of drafts: the rounds of drafting, and the most that can be accepted
    size       drafted tokens, all of which the target verifies
    forwards   tokens in each forward that drafts them, one entry per forward

The lowest floor, so it also states the rule every formula of the package keeps about its arguments: a scalar
outside its domain raises and names the domain; a bad cell of a grid becomes NaN and the rest of the grid goes
on.
"""

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


def within(name: str, value, low=0, high=math.inf):
    """`value`, finite and in [low, high]: a scalar outside raises ValueError, a cell outside becomes NaN.

    >>> within("alpha", [0.5, 1.5], 0, 1)
    array([0.5, nan])
    """
    if np.ndim(value) == 0:
        value = plain(value)
        try:
            inside = low <= value <= high and value < math.inf
        except TypeError:
            inside, value = False, shown(value)
        if not inside:
            domain = f"[{low}, {high}]" if high < math.inf else f"[{low}, infinity)"
            raise ValueError(f"{name}: found {value}, expected a number in {domain}")
        return value
    grid = np.array(value)
    with np.errstate(invalid="ignore"):
        bad = ~np.asarray((grid >= low) & (grid <= high) & (grid < math.inf), dtype=bool)
    grid = np.where(bad, math.nan, grid) if bad.any() else grid
    grid.setflags(write=False)
    return grid


def whole(name, value, low=0):
    """`value` as an int of at least `low`, or ValueError naming it.

    >>> whole("size", np.int64(3))
    3
    """
    try:
        return within(name, operator.index(value), low)
    except TypeError:
        raise ValueError(f"{name}: found {shown(value)}, expected an integer >= {low}") from None


def shown(value):
    """The value on one line, as messages have it: an array by its shape alone."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return f"an array of shape {value.shape}"
    return " ".join(repr(value).split())


def plain(value):
    """A Python number for anything without axes, the array itself otherwise."""
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array


def each_depth(function, depth):
    """`function(k)` at one depth, or over a grid of depths with one call per distinct k; NaN where k is."""
    if np.ndim(depth) == 0:
        return function(depth)
    result = np.full(np.shape(depth), math.nan)
    for k in np.unique(depth[~np.isnan(depth)]):
        result = np.where(depth == k, function(int(k)), result)
    return result


def _depths(k):
    """k as an int, or as a grid of ints (of floats where a bad cell had to become NaN)."""
    if np.ndim(k) > 0:
        grid = np.array(within("k", np.asarray(k, dtype=float)))
        grid[grid != np.floor(grid)] = math.nan
        grid = grid if np.isnan(grid).any() else grid.astype(int)
        grid.setflags(write=False)
        return grid
    return whole("k", k)


@dataclass(frozen=True)
class Chain:
    """k tokens drafted one after another; an array of integers is a grid of chains.

    Raises ValueError where a scalar k is negative or no integer; such a cell of a grid becomes NaN.

    >>> Chain(4).depth, Chain(4).size
    (4, 4)
    """

    k: Any

    def __post_init__(self):
        object.__setattr__(self, "k", _depths(self.k))

    @property
    def depth(self):
        """Longest path of drafts: the draft's forwards per round, and the most that can be accepted."""
        return self.k

    @property
    def size(self):
        """Drafted tokens, all of which the target verifies."""
        return self.k

    @property
    def forwards(self):
        """Tokens in each draft forward of a round: k forwards of one token; ValueError for a grid of chains."""
        if np.ndim(self.k) > 0:
            raise ValueError(f"k: found a grid of shape {np.shape(self.k)}, expected one chain to list its forwards")
        return (1,) * self.k


@dataclass(frozen=True)
class Tree:
    """A tree of drafts: `parents[node]` is the node that a node continues, -1 at the root, which is node 0.

    The root is the last committed token and is not drafted; every other node is a drafted token and comes after
    its parent. `ranks[node]` tells siblings apart, 0 for the draft's first guess there; without `ranks` siblings
    are ranked in order of appearance. A rank may be skipped ([1] without [0]), never shared.

    ValueError, naming the node: no root or two, a cycle, a parent after its child, two siblings of one rank.
    Trees of drafts: SpecInfer (Miao et al. 2023), Medusa (Cai et al. 2024), Sequoia (Chen et al. 2024).

    >>> tree = Tree((-1, 0, 0, 1))
    >>> tree.size, tree.depth, tree.choices, tree.forwards
    (3, 2, ((0,), (1,), (0, 0)), (1, 1))
    """

    parents: tuple
    ranks: Any = None

    def __post_init__(self):
        parents = _integers("parents", self.parents, -1)
        _check_parents(parents)
        object.__setattr__(self, "parents", parents)
        ranks = _in_order(parents) if self.ranks is None else _integers("ranks", self.ranks, 0)
        _check_ranks(ranks, parents)
        object.__setattr__(self, "ranks", ranks)

    @classmethod
    def from_paths(cls, paths):
        """The tree of these rank paths, Medusa's and EAGLE's notation: [0, 1] is the second child of the first.

        Every node is listed, the root is not, in any order; nodes are numbered level by level and by rank within
        a level. ValueError, naming the path, where it is listed twice or without the path that leads to it.

        >>> Tree.from_paths([[0], [1], [0, 0]]).parents
        (-1, 0, 0, 1)
        """
        paths = sorted((_integers(f"path {path}", path, 0) for path in paths), key=lambda path: (len(path), path))
        index = {(): 0}
        for path in paths:
            if path in index:
                raise ValueError(f"path {[*path]}: found twice, expected each node once and the root not at all")
            if path[:-1] not in index:
                raise ValueError(f"path {[*path]}: found without its prefix {[*path[:-1]]}, expected every node listed")
            index[path] = len(index)
        return cls((-1, *(index[path[:-1]] for path in paths)), (0, *(path[-1] for path in paths)))

    @classmethod
    def cartesian(cls, widths):
        """Every node of level i - 1 has widths[i-1] children: Medusa's Cartesian product of the heads' guesses.

        >>> Tree.cartesian((3, 2, 1)).size
        15
        """
        parents, level = [-1], range(1)
        for width in _integers("widths", widths, 1):
            parents += [node for node in level for _ in range(width)]
            level = range(level.stop, len(parents))
        return cls(tuple(parents))

    @property
    def size(self):
        """Drafted nodes, all of which the target verifies."""
        return len(self.parents) - 1

    @property
    def depth(self):
        """Longest path of drafts: the levels drafted per round, and the most that can be accepted."""
        return max(self.depths)

    @property
    def is_chain(self):
        """Whether no node has siblings."""
        return self.size == self.depth

    @cached_property
    def depths(self):
        """Drafts on the path to each node, itself included; 0 at the root."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def children(self):
        """The children of each node by rank, as a tuple of tuples."""
        found: list = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents[1:], 1):
            found[parent].append(node)
        return tuple(tuple(sorted(nodes, key=self.ranks.__getitem__)) for nodes in found)

    @cached_property
    def forwards(self):
        """Tokens in each draft forward of a round, one forward per level: the nodes there that have children."""
        expanded = [depth for depth, children in zip(self.depths, self.children, strict=True) if children]
        return tuple(expanded.count(level) for level in range(self.depth))

    @cached_property
    def mask(self):
        """bool [size + 1, size + 1], read-only: node i attends to j, where j is i or an ancestor of it."""
        mask = np.eye(len(self.parents), dtype=bool)
        for node, parent in enumerate(self.parents[1:], 1):
            mask[node] |= mask[parent]
        mask.setflags(write=False)
        return mask

    @cached_property
    def paths(self):
        """The nodes from the root's child to each leaf, as a tuple of tuples; ((),) where nothing is drafted."""
        leaves = [node for node, children in enumerate(self.children) if not children]
        return tuple(tuple(np.flatnonzero(self.mask[leaf]).tolist()[1:]) for leaf in leaves)

    @cached_property
    def choices(self):
        """The ranks on the path to each drafted node, by node; `from_paths` reads them back."""
        choices: list = [()]
        for parent, rank in zip(self.parents[1:], self.ranks[1:], strict=True):
            choices.append((*choices[parent], rank))
        return tuple(choices[1:])


def _integers(name, values, low):
    """A tuple of ints of at least `low`, or ValueError naming the first entry that is none."""
    if not np.iterable(values):
        raise ValueError(f"{name}: found {values!r}, expected a sequence of integers")
    return tuple(whole(f"{name}[{i}]", value, low) for i, value in enumerate(values))


def _in_order(parents):
    """Ranks in order of appearance among siblings."""
    seen = [0] * len(parents)
    ranks = [0]
    for parent in parents[1:]:
        ranks.append(seen[parent])
        seen[parent] += 1
    return tuple(ranks)


def _check_parents(parents):
    roots = [node for node, parent in enumerate(parents) if parent == -1]
    if not roots:
        raise ValueError(f"parents: found no root in {parents}, expected parents[0] == -1")
    if len(roots) > 1:
        raise ValueError(
            f"node {roots[0]} and node {roots[1]} are two roots, expected -1 for the parent of node 0 alone"
        )
    for node, parent in enumerate(parents):
        if parent >= len(parents):
            raise ValueError(f"node {node}: found parent {parent}, expected a node of 0..{len(parents) - 1}")
    for node, parent in enumerate(parents):
        if parent >= node:
            raise ValueError(_misplaced(parents, node))


def _misplaced(parents, node):
    """What is wrong with a tree where this node comes before its parent: a cycle, if there is one."""
    for start in range(len(parents)):
        cycle = [start]
        while len(cycle) <= len(parents) and parents[cycle[-1]] not in (-1, start):
            cycle.append(parents[cycle[-1]])
        if parents[cycle[-1]] == start:
            return _named(sorted(cycle))
    return f"node {node} comes before its parent {parents[node]}, expected parents first, and the root as node 0"


def _named(cycle):
    if len(cycle) == 1:
        return f"node {cycle[0]} is its own parent, expected a node before it"
    *others, last = (f"node {node}" for node in cycle)
    return f"{', '.join(others)} and {last} are in a cycle, expected each parent before its children"


def _check_ranks(ranks, parents):
    if len(ranks) != len(parents) or ranks[0] != 0:
        raise ValueError(f"ranks: found {ranks}, expected {len(parents)} of them, one per node, 0 for the root")
    first: dict = {}
    for node, sibling in enumerate(zip(parents, ranks, strict=True)):
        if sibling in first:
            raise ValueError(f"node {first[sibling]} and node {node} are both child {sibling[1]} of node {sibling[0]}")
        first[sibling] = node
