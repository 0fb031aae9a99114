"""Chains, trees, and the rule on domains that every formula keeps."""

import math
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.draft import Chain, Tree, each_depth, plain, within

# The tree of EAGLE-1 (SafeAILab/EAGLE, eagle/model/choices.py, mc_sim_7b_63) and the default tree of Medusa
# (FasterDecoding/Medusa, medusa/model/medusa_choices.py, mc_sim_7b_63): one digit per rank.
EAGLE = "0 1 2 3 00 01 02 10 11 20 21 30 000 001 002 010 011 020 021 100 0000 0001 0002 00000 00001"
MEDUSA = """0 00 1 01 2 000 10 02 3 03 4 04 20 05 001 5 06 6 07 010 11 7 08 002 30 09 8 9 100 020 12 003 40 21 004 005
0000 011 006 030 50 13 007 008 009 60 040 14 70 012 200 31 22 80 050 15 101 021 90 060 0001 16 070"""


def ranked(text):
    return [[int(rank) for rank in path] for path in text.split()]


@st.composite
def trees(draw, max_size=12):
    """Any tree of up to max_size drafts: every node may continue any node before it."""
    size = draw(st.integers(0, max_size))
    return Tree((-1, *(draw(st.integers(0, node - 1)) for node in range(1, size + 1))))


def ancestors(parents, node):
    """The nodes from this one up to the root, the slow way."""
    return [node] if parents[node] == -1 else [node, *ancestors(parents, parents[node])]


def test_a_chain_is_as_deep_as_it_is_long():
    assert (Chain(4).k, Chain(4).depth, Chain(4).size) == (4, 4, 4)
    assert Chain(np.int64(3)) == Chain(3)


@pytest.mark.parametrize("k", [-1, 2.0, 2.5, math.nan, math.inf, "4", None, Fraction(2)])
def test_a_scalar_that_counts_no_tokens_is_refused_with_the_domain(k):
    with pytest.raises(ValueError, match=r"^k: found .*, expected .*(>= 0|\[0, infinity\))"):
        Chain(k)


def test_a_grid_of_depths_stays_integer_and_read_only():
    k = np.array([0, 1, 64])
    chain = Chain(k)
    k[0] = 9
    assert chain.k.dtype.kind == "i"
    assert chain.k.tolist() == [0, 1, 64]
    with pytest.raises(ValueError, match="read-only"):
        chain.k[0] = 1


def test_a_bad_cell_of_a_grid_of_depths_is_nan_and_the_rest_stays():
    assert np.array_equal(
        Chain([3, -1, 2.5, np.inf, np.nan, 0]).k, [3, np.nan, np.nan, np.nan, np.nan, 0], equal_nan=True
    )


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_a_scalar_out_of_its_domain_raises_naming_it_and_a_cell_becomes_nan(value):
    with pytest.raises(ValueError, match=r"^alpha: found .*, expected a number in \[0, 1\]$"):
        within("alpha", value, 0, 1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        within("alpha", np.array(value), 0, 1)
    assert np.array_equal(within("alpha", [0.5, value], 0, 1), [0.5, math.nan], equal_nan=True)


@pytest.mark.parametrize(("value", "found"), [("0.8", "'0.8'"), (np.str_("x"), "'x'"), (None, "None"), (1j, "1j")])
def test_a_scalar_that_is_no_number_is_refused_like_one_out_of_its_domain(value, found):
    with pytest.raises(ValueError) as refusal:
        within("alpha", value, 0, 1)
    assert str(refusal.value) == f"alpha: found {found}, expected a number in [0, 1]"


def test_exact_numbers_pass_unchanged():
    assert within("alpha", Fraction(1, 3), 0, 1) == Fraction(1, 3)
    grid = within("alpha", np.array([Fraction(1, 3), Fraction(4, 3)], dtype=object), 0, 1)
    assert grid[0] == Fraction(1, 3)
    assert math.isnan(grid[1])


def test_what_has_no_axes_comes_back_as_a_python_number():
    assert type(plain(np.float64(0.5))) is float
    assert type(plain(np.array(3))) is int
    assert plain(Fraction(1, 2)) == Fraction(1, 2)
    assert plain([1, 2]).tolist() == [1, 2]


def test_a_grid_asks_for_each_distinct_depth_once():
    asked = []
    result = each_depth(lambda k: asked.append(k) or 10 * k, np.array([[2, 0], [2, np.nan]]))
    assert asked == [0, 2]
    assert np.array_equal(result, [[20, 0], [20, np.nan]], equal_nan=True)


def test_a_chain_drafts_one_token_per_forward_and_a_grid_of_chains_lists_none():
    assert Chain(3).forwards == (1, 1, 1)
    assert Chain(0).forwards == ()
    with pytest.raises(ValueError, match=r"k: found a grid of shape \(2,\), expected one chain"):
        _ = Chain([1, 2]).forwards


def test_a_tree_counts_its_drafts_and_not_its_root():
    tree = Tree((-1, 0, 0, 1, 1, 2, 3))
    assert (tree.size, tree.depth) == (6, 3)
    assert tree.depths == (0, 1, 1, 2, 2, 2, 3)
    assert tree.ranks == (0, 0, 1, 0, 1, 0, 0)
    assert tree.children == ((1, 2), (3, 4), (5,), (6,), (), (), ())
    assert tree.paths == ((1, 4), (2, 5), (1, 3, 6))
    assert tree.choices == ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0))


def test_a_tree_is_drafted_level_by_level_and_only_nodes_with_children_are_run():
    assert Tree((-1, 0, 0, 1, 1, 2, 3)).forwards == (1, 2, 1)
    assert Tree((-1, 0, 0, 0)).forwards == (1,)
    assert Tree.cartesian((3, 2, 1)).forwards == (1, 3, 6)


def test_a_tree_without_drafts_is_a_root_alone():
    tree = Tree((-1,))
    assert (tree.size, tree.depth, tree.forwards, tree.paths, tree.choices) == (0, 0, (), ((),), ())
    assert tree.mask.tolist() == [[True]]
    assert tree == Tree.from_paths([]) == Tree.cartesian(())


@pytest.mark.parametrize("k", [0, 1, 3, 9])
def test_a_tree_that_is_one_path_is_a_chain_in_every_respect(k):
    tree, chain = Tree(tuple(range(-1, k))), Chain(k)
    assert (tree.size, tree.depth, tree.forwards) == (chain.size, chain.depth, chain.forwards)
    assert tree.is_chain
    assert tree.mask.tolist() == np.tril(np.ones((k + 1, k + 1), dtype=bool)).tolist()
    assert tree.paths == (tuple(range(1, k + 1)),)


def test_a_tree_with_siblings_is_no_chain():
    assert not Tree((-1, 0, 0)).is_chain


@given(trees())
def test_the_mask_is_the_ancestor_relation(tree):
    for node in range(tree.size + 1):
        assert set(np.flatnonzero(tree.mask[node])) == set(ancestors(tree.parents, node))


@given(trees())
def test_every_path_leads_from_the_roots_child_to_a_leaf(tree):
    leaves = set(range(tree.size + 1)) - set(tree.parents)
    assert {(0, *path)[-1] for path in tree.paths} == leaves
    for path in tree.paths:
        assert ancestors(tree.parents, (0, *path)[-1]) == [*reversed(path), 0]


@given(trees())
def test_depth_size_and_forwards_count_the_same_nodes(tree):
    assert tree.depths == tuple(len(ancestors(tree.parents, node)) - 1 for node in range(tree.size + 1))
    assert tree.depth == len(tree.forwards) == max(map(len, tree.paths))
    assert sum(tree.forwards) == len(set(tree.parents) - {-1})
    assert sum(map(len, tree.children)) == tree.size


@given(trees())
def test_choices_are_read_back_as_the_same_tree_level_by_level(tree):
    again = Tree.from_paths(tree.choices)
    assert sorted(again.choices) == sorted(tree.choices)
    assert list(again.depths) == sorted(tree.depths)
    assert sorted(map(len, again.paths)) == sorted(map(len, tree.paths))
    assert again == Tree.from_paths(again.choices) == Tree.from_paths(reversed(again.choices))


def test_a_rank_that_was_skipped_stays_skipped():
    tree = Tree.from_paths([[2], [0], [2, 1]])
    assert tree.parents == (-1, 0, 0, 2)
    assert tree.ranks == (0, 0, 2, 1)
    assert tree.choices == ((0,), (2,), (2, 1))
    assert tree == Tree((-1, 0, 0, 2), (0, 0, 2, 1))
    assert tree != Tree((-1, 0, 0, 2))


def test_children_come_by_rank_whatever_their_order():
    assert Tree((-1, 0, 0, 0), (0, 2, 0, 1)).children[0] == (2, 3, 1)


@pytest.mark.parametrize(
    ("text", "size", "depth", "forwards", "leaves"),
    [(EAGLE, 25, 5, (1, 4, 4, 1, 1), 15), (MEDUSA, 63, 4, (1, 10, 10, 1), 42)],
)
def test_the_published_trees_of_eagle_and_medusa_are_read_in_their_notation(text, size, depth, forwards, leaves):
    tree = Tree.from_paths(ranked(text))
    assert (tree.size, tree.depth) == (size, depth)
    assert sorted(map(list, tree.choices)) == sorted(ranked(text))
    assert tree.forwards == forwards
    assert len(tree.paths) == leaves


def test_a_cartesian_tree_has_the_product_of_the_widths_at_every_level():
    """Medusa (Cai et al. 2024), Figure 2: 2 guesses of the first head and 3 of the second give 6 paths."""
    tree = Tree.cartesian((2, 3))
    assert (tree.size, len(tree.paths), tree.depth) == (8, 6, 2)
    assert tree.children == ((1, 2), (3, 4, 5), (6, 7, 8), (), (), (), (), (), ())
    assert Tree.cartesian((3, 2, 1)).size == 15
    assert Tree.cartesian((1, 1, 1)) == Tree((-1, 0, 1, 2))


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((), r"found no root in \(\), expected parents\[0\] == -1"),
        ((0,), "found no root"),
        ((1, 0), "found no root"),
        ((-1, 0, -1), "node 0 and node 2 are two roots"),
        ((1, -1), "node 0 comes before its parent 1"),
        ((-1, 1), "node 1 is its own parent"),
        ((-1, 0, 3, 2), "node 2 and node 3 are in a cycle"),
        ((-1, 2, 3, 1), "node 1, node 2 and node 3 are in a cycle"),
        ((-1, 4, 3, 2, 0), "node 2 and node 3 are in a cycle"),
        ((-1, 2, 0), "node 1 comes before its parent 2"),
        ((-1, 0, 4, 2, 0), "node 2 comes before its parent 4"),
        ((-1, 0, 3), r"node 2: found parent 3, expected a node of 0\.\.2"),
        ((-1, 0, -2), r"parents\[2\]: found -2, expected a number in \[-1, infinity\)"),
        ((-1, 0, 1.0), r"parents\[2\]: found 1\.0, expected an integer"),
        ((-1, "0"), r"parents\[1\]: found '0', expected an integer"),
        ((-1, None), r"parents\[1\]: found None"),
        (3, "parents: found 3, expected a sequence of integers"),
    ],
)
def test_what_is_no_tree_is_refused_by_the_name_of_the_node(parents, message):
    with pytest.raises(ValueError, match=message):
        Tree(parents)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ((0, 1, 1), "node 1 and node 2 are both child 1 of node 0"),
        ((0, 0), r"ranks: found \(0, 0\), expected 3 of them"),
        ((1, 0, 1), "ranks: .*0 for the root"),
        ((0, -1, 0), r"ranks\[1\]: found -1"),
        ((0, 0, 0.5), r"ranks\[2\]: found 0\.5, expected an integer"),
    ],
)
def test_ranks_that_do_not_tell_siblings_apart_are_refused(ranks, message):
    with pytest.raises(ValueError, match=message):
        Tree((-1, 0, 0), ranks)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([[0], [0, 1, 0]], r"path \[0, 1, 0\]: found without its prefix \[0, 1\]"),
        ([[0], [1], [0]], r"path \[0\]: found twice"),
        ([[]], r"path \[\]: found twice, expected each node once and the root not at all"),
        ([[0], [0, -1]], r"path \[0, -1\]\[1\]: found -1, expected a number in \[0, infinity\)"),
        ([[0], [0, "1"]], r"path \[0, '1'\]\[1\]: found '1', expected an integer"),
        ([0], "path 0: found 0, expected a sequence of integers"),
    ],
)
def test_paths_that_are_no_tree_are_refused_by_name(paths, message):
    with pytest.raises(ValueError, match=message):
        Tree.from_paths(paths)


@pytest.mark.parametrize(
    ("widths", "message"),
    [((2, 0), r"widths\[1\]: found 0, expected a number in \[1, infinity\)"), ((1.5,), r"widths\[0\]: found 1\.5")],
)
def test_a_level_without_guesses_is_refused(widths, message):
    with pytest.raises(ValueError, match=message):
        Tree.cartesian(widths)


def test_a_tree_is_a_value_equal_by_content_hashable_and_fixed():
    tree = Tree(np.array([-1, 0, 0]))
    assert tree == Tree([-1, 0, 0])
    assert hash(tree) == hash(Tree((-1, 0, 0)))
    assert type(tree.parents[1]) is int
    with pytest.raises(FrozenInstanceError):
        tree.parents = (-1,)
    with pytest.raises(ValueError, match="read-only"):
        tree.mask[0, 0] = False
