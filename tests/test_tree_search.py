"""The optimal tree against best-first search, against all trees, and against the numbers of a geometric chain."""

import itertools
import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.trees import best_first
from specmath.draft import Chain, Tree
from specmath.tree_search import optimal_tree, optimal_trees

P = (0.7, 0.15, 0.05, 0.02)


def value(tree, acceptance):
    """F: the sum over the nodes of the product along the path; acceptance(level, rank)."""
    return 1 + sum(math.prod(acceptance(level, rank) for level, rank in enumerate(path, 1)) for path in tree.choices)


def by_rank(acceptances):
    return lambda level, rank: acceptances[rank]


def by_level(rows):
    return lambda level, rank: rows[level - 1][rank]


def exhaustive(rows, size):
    """The highest F over all ordered trees of at most `size` drafts; rows[level][rank], depth = len(rows)."""

    @cache
    def subtree(nodes, level):
        return 1 + max(forest(n, level, 0) for n in range(nodes))

    @cache
    def forest(nodes, level, rank):
        if not nodes:
            return 0
        if level == len(rows) or rank == len(rows[level]):
            return -math.inf
        return max(
            rows[level][rank] * subtree(first, level + 1) + forest(nodes - first, level, rank + 1)
            for first in range(1, nodes + 1)
        )

    return subtree(size + 1, 0)


def shapes(nodes):
    """Every ordered tree of so many drafts, as nested tuples of children."""
    if not nodes:
        yield ()
    for first in range(nodes):
        for child, rest in itertools.product(shapes(first), shapes(nodes - 1 - first)):
            yield (child, *rest)


def worth(shape, acceptances):
    """F of nested tuples; -inf where a node has more children than there are ranks."""
    if len(shape) > len(acceptances):
        return -math.inf
    return 1 + sum(a * worth(child, acceptances) for a, child in zip(acceptances, shape, strict=False))


@st.composite
def acceptances(draw, ordered=True, ranks=5):
    """Rational acceptances by rank that add up to at most 1."""
    weights = draw(st.lists(st.integers(0, 20), min_size=1, max_size=ranks))
    total = sum(weights) + draw(st.integers(1, 20))
    row = [Fraction(weight, total) for weight in weights]
    return sorted(row, reverse=True) if ordered else row


@pytest.mark.parametrize(
    ("size", "expected"), [(3, 2.533), (5, 2.941170), (7, 3.208819), (11, 3.574673), (15, 3.830771)]
)
def test_known_values_of_the_optimal_tree(size, expected):
    """Worked by hand for acceptances .7, .15, .05, .02; up to 5 drafts the best tree is a chain."""
    tree = optimal_tree(P, size)
    assert tree.size == size
    assert value(tree, by_rank(P)) == pytest.approx(expected, abs=5e-7)
    assert tree.is_chain == (size <= 5)
    chain = sum(0.7**i for i in range(size + 1))
    assert value(tree, by_rank(P)) > chain or tree.is_chain


@pytest.mark.parametrize(("size", "expected"), [(7, 2.635), (15, 2.7585)])
def test_known_values_of_the_optimal_tree_of_two_levels(size, expected):
    tree = optimal_tree(P, size, depth=2)
    assert (tree.size, tree.depth) == (size, 2)
    assert value(tree, by_rank(P)) == pytest.approx(expected, abs=5e-7)


@given(acceptances(), st.integers(0, 14), st.none() | st.integers(0, 5))
def test_the_programme_equals_best_first_search_exactly(row, size, depth):
    found = optimal_tree(row, size, depth)
    oracle = best_first(row, size, math.inf if depth is None else depth)
    assert found.size <= size
    assert found.depth <= (size if depth is None else depth)
    assert value(found, by_rank(row)) == value(oracle, by_rank(row))


@settings(max_examples=20)
@given(acceptances(ranks=8), st.integers(20, 60), st.integers(1, 10))
def test_the_programme_equals_best_first_search_in_floating_point(row, size, depth):
    row = [float(acceptance) for acceptance in row]
    found, oracle = optimal_tree(row, size, depth), best_first(row, size, depth)
    assert value(found, by_rank(row)) == pytest.approx(value(oracle, by_rank(row)), rel=1e-12)


@settings(max_examples=40)
@given(acceptances(ordered=False, ranks=4), st.integers(0, 6))
def test_no_tree_of_that_size_is_better_even_where_a_later_guess_is_the_likelier(row, size):
    every = [shape for nodes in range(size + 1) for shape in shapes(nodes)]
    assert value(optimal_tree(row, size), by_rank(row)) == max(worth(shape, row) for shape in every)


def test_all_ordered_trees_are_tried():
    """Their numbers are Catalan's."""
    assert [sum(1 for _ in shapes(nodes)) for nodes in range(8)] == [1, 1, 2, 5, 14, 42, 132, 429]
    row = (Fraction(1, 2), Fraction(1, 5), Fraction(1, 10))
    assert value(optimal_tree(row, 7), by_rank(row)) == max(worth(shape, row) for shape in shapes(7))


def test_best_first_search_is_no_oracle_where_a_later_guess_is_the_likelier():
    """The negative control: the comparison above can tell a worse tree, and the programme needs no order."""
    row = (Fraction(1, 20), Fraction(0), Fraction(9, 10))
    assert value(best_first(row, 3), by_rank(row)) < value(optimal_tree(row, 3), by_rank(row)) == Fraction(39, 20)
    assert optimal_tree(row, 3).choices == ((0,), (1,), (2,))


@given(st.lists(acceptances(ordered=False, ranks=4), min_size=1, max_size=4), st.integers(0, 7))
def test_acceptances_that_differ_by_level_give_the_best_tree_too(rows, size):
    found = optimal_tree(rows, size)
    assert found.depth <= len(rows)
    assert value(found, by_level(rows)) == exhaustive(rows, size)


def test_one_row_for_all_levels_is_that_row_repeated():
    for size, depth in itertools.product((0, 1, 9), (1, 3)):
        assert optimal_tree(P, size, depth) == optimal_tree([P] * depth, size, depth)
        assert optimal_tree(np.array([P] * 5), size, depth) == optimal_tree([P] * depth, size)


def test_medusas_cartesian_tree_and_the_better_one_of_its_size():
    """Heads of top-3 accuracies by level, taken as independent: tokens are 1 + sum_i prod_{j <= i} sum_w a_jw."""
    heads = ((0.6, 0.12, 0.06), (0.4, 0.1, 0.06), (0.28, 0.08, 0.05))
    cartesian, chain = Tree.cartesian((3, 2, 1)), Tree.cartesian((1, 1, 1))
    assert cartesian.size == 15
    assert value(cartesian, by_level(heads)) == pytest.approx(2.2792, abs=1e-12)
    assert value(cartesian, by_level(heads)) == pytest.approx(1 + 0.78 * (1 + 0.5 * (1 + 0.28)))
    assert value(chain, by_level(heads)) == pytest.approx(1.9072, abs=1e-12)
    assert value(optimal_tree(heads, 15), by_level(heads)) > value(cartesian, by_level(heads))


def test_every_size_comes_from_one_programme():
    assert optimal_trees(P, (9, 0, 4), 3) == tuple(optimal_tree(P, size, 3) for size in (9, 0, 4))
    assert optimal_trees(P, ()) == ()


def test_each_further_node_adds_less_than_the_last():
    """Nodes come in the order of their values, so F is concave in the size."""
    curve = [value(tree, by_rank(P)) for tree in optimal_trees(P, range(40))]
    gains = np.diff(curve)
    assert (gains > 0).all()
    assert (np.diff(gains) <= 1e-12).all()


def test_one_rank_is_a_chain():
    assert optimal_tree((0.8,), 4) == Tree((-1, 0, 1, 2, 3))
    assert optimal_tree((0.8,), 64, 4).size == Chain(4).size


def test_nodes_that_cannot_be_accepted_are_not_drafted():
    assert optimal_tree((0.5, 0), 9, depth=2) == Tree((-1, 0, 1))
    assert optimal_tree((0.0,), 9) == Tree((-1,))
    assert optimal_tree(((1.0,), ()), 9) == Tree((-1, 0))


def test_a_budget_beyond_the_full_tree_draws_the_full_tree():
    full = Tree.cartesian((2, 2))
    assert optimal_tree((0.5, 0.25), 50, depth=2) == full
    assert optimal_tree(((0.5, 0.25), (0.5, 0.25)), 50) == full


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.5, 1.5), 3), r"acceptances\[1\]: found 1\.5, expected a number in \[0, 1\]"),
        ((((0.5,), (0.2, math.nan)), 3), r"acceptances\[1\]\[1\]: found nan"),
        (((0.7, 0.4), 3), r"acceptances: found a sum of 1\.1, expected at most 1"),
        ((((0.5,), (0.7, 0.4)), 3), r"acceptances\[1\]: found a sum of 1\.1"),
        (((), 3), "acceptances: found none, expected one per child rank"),
        ((0.5, 3), r"acceptances: found 0\.5, expected one per child rank, or such a row per level"),
        ((P, -1), r"size: found -1, expected a number in \[0, infinity\)"),
        ((P, 2.5), r"size: found 2\.5, expected an integer >= 0"),
        ((P, 3, -1), "depth: found -1"),
        (((P, P), 9, 3), "depth: found 3, expected at most 2, the levels of the acceptances"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        optimal_tree(*arguments)
