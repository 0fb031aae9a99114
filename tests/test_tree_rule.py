"""Trees of drafts: exact with the rows the drafts were drawn from and only then, and a path is a chain."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath import acceptor, sampling, siblings
from specmath.draft import Tree
from tests.mutants import TreeDecoder, different_children_with_q, only_the_entry, top_children_with_q, tree_as_chain
from tests.strategies import (
    LIBRARIES,
    accepted_survival,
    different_children,
    enumerate_trees,
    iid_children,
    joint_law,
    pairs,
    random_pair,
    random_round,
    random_rows,
    spread_pair,
    top_children,
)

CHILDREN = {"independent": iid_children, "without replacement": different_children, "top-k": top_children}
SHAPES = {  # drafted nodes, with the laws that still enumerate fast
    "two siblings": (Tree((-1, 0, 0)), (1, 4, 6)),
    "three siblings": (Tree((-1, 0, 0, 0)), (1, 4, 5)),
    "a sibling of a chain of two": (Tree((-1, 0, 0, 1)), (2, 3, 4)),
    "two below the second": (Tree((-1, 0, 0, 2, 2)), (2, 2, 5)),
    "ranks against the numbers": (Tree((-1, 0, 0, 0, 2), ranks=(0, 2, 0, 1, 0)), (2, 3, 3)),
    "nothing drafted": (Tree((-1,)), (0, 4, 5)),
}


# --- exact ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("children", CHILDREN)
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=4)
@given(st.data())
def test_the_joint_law_is_the_targets_however_the_children_are_drafted(shape, children, data):
    tree, size = SHAPES[shape]
    pair = data.draw(pairs(*size))
    rounds = enumerate_trees(pair, tree, acceptor.verify_tree, CHILDREN[children])
    assert joint_law(pair, rounds) == pair.target_law()


@pytest.mark.parametrize("tree", [Tree((-1, 0, 0)), Tree((-1, 0, 0, 0)), Tree((-1, 0, 0, 1, 1))])
def test_top_k_children_with_one_hot_rows_are_each_accepted_with_their_own_p(tree):
    pair = spread_pair(4, tree.depth, 4)
    rounds = enumerate_trees(pair, tree, acceptor.verify_tree, top_children)
    for children in tree.children:
        for child in children:
            reached = sum(mass for (walk, _), mass in rounds.items() if child in walk)
            (path,) = {text[: tree.depths[child]] for (walk, text) in rounds if child in walk}
            assert reached == pair.target(path)


@pytest.mark.parametrize("k", [2, 3])
@settings(max_examples=5)
@given(pairs(1, 4, 6))
def test_siblings_are_accepted_as_often_as_the_formulas_of_siblings_say(k, pair):
    p, q, star = np.array(pair.p[()]), np.array(pair.q[()]), Tree((-1,) + (0,) * k)
    for children, formula in (
        (iid_children, siblings.with_replacement),
        (different_children, siblings.without_replacement),
    ):
        rounds = enumerate_trees(pair, star, acceptor.verify_tree, children)
        assert accepted_survival(rounds, 1) == formula(p, q, k)


def every_law_holds(decoder, seeds=(0, 7)):
    """Whether the output has the target's law on stars of two and three siblings, V = 4.

    In these cases p exceeds q at two tokens or more: where it does at one, that one is recovered whatever is done.
    """
    cases = [(spread_pair(seed, 1, 4), Tree((-1,) + (0,) * k)) for seed in seeds for k in (2, 3)]
    return [joint_law(pair, decoder.rounds(pair, star)) == pair.target_law() for pair, star in cases]


@pytest.mark.parametrize("children", [top_children_with_q, different_children_with_q])
def test_rows_the_children_were_not_drawn_from_break_the_law_every_time(children):
    assert not any(every_law_holds(TreeDecoder(children=children)))


def test_taking_only_the_rejected_entry_from_the_residual_breaks_the_law_every_time():
    assert not any(every_law_holds(TreeDecoder(only_the_entry), seeds=[7]))
    assert all(every_law_holds(TreeDecoder(), seeds=[7]))


def two_drafts(first, second):
    """Node 1 drawn from one law, node 2 from another."""

    def children(pair, prefix, earlier, child):
        row = (first, second)[child - 1]
        return row, row

    return children


def test_the_order_of_siblings_changes_the_acceptance_and_not_the_output():
    pair = spread_pair(2, 1, 4)
    children = two_drafts(pair.q[()], (Fraction(0), Fraction(0), Fraction(1, 2), Fraction(1, 2)))
    shapes = Tree((-1, 0, 0)), Tree((-1, 0, 0), ranks=(0, 1, 0))
    rounds = [enumerate_trees(pair, shape, acceptor.verify_tree, children) for shape in shapes]
    assert joint_law(pair, rounds[0]) == joint_law(pair, rounds[1]) == pair.target_law()
    assert accepted_survival(rounds[0], 1) != accepted_survival(rounds[1], 1)


def match_the_targets_draw(shape, tokens, q, p, u, v, *, xp):
    """Draw from p at each node and go on below the child that equals the draw; u at node i - 1, v at the last level."""
    verdicts = []
    for row in range(len(tokens)):
        at, path, text = 0, [], []
        while True:
            coin = u[row, at] if at < shape.size else v[row]
            text.append(int(acceptor.draw(p[row, at], np.array(coin), xp=np)))
            match = [child for child in shape.children[at] if tokens[row, child - 1] == text[-1]]
            if not match:
                break
            at = match[0]
            path.append(at)
        fill = [-1] * (shape.depth - len(path))
        verdicts.append((text + fill, len(path), path + fill))
    return acceptor.Verdict(*(np.array(column) for column in zip(*verdicts, strict=True)))


@pytest.mark.parametrize("children", CHILDREN)
def test_going_where_the_targets_own_draw_goes_is_exact_too_and_top_k_one_hot_has_its_law(children):
    for pair, tree in ((random_pair(1, 1, 4, 6), Tree((-1, 0, 0))), (random_pair(7, 2, 3, 4), Tree((-1, 0, 0, 1)))):
        matched = enumerate_trees(pair, tree, match_the_targets_draw, CHILDREN[children])
        assert joint_law(pair, matched) == pair.target_law()
        if children == "top-k":
            assert matched == enumerate_trees(pair, tree, acceptor.verify_tree, top_children)


# --- the same code on every array library ------------------------------------------------------------------------


def random_tree(rng, size):
    """Parents and ranks at random."""
    parents = [-1, *(int(rng.integers(0, node)) for node in range(1, size + 1))]
    order = rng.permutation(size + 1)
    ranks = [0] * (size + 1)
    for parent in range(size + 1):
        found = sorted((node for node in range(1, size + 1) if parents[node] == parent), key=order.__getitem__)
        for rank, node in enumerate(found):
            ranks[node] = rank
    return Tree(tuple(parents), tuple(ranks))


def random_arguments(rng, tree, batch, vocabulary, dtype):
    """Tokens, some of them -1 or out of range, and rows that often share their mass."""
    p = random_rows(rng, (*batch, tree.size + 1), vocabulary)
    q = random_rows(rng, (*batch, tree.size), vocabulary)
    parents = list(tree.parents[1:])
    q = np.where(rng.random((*batch, tree.size, 1)) < 0.6, (p[..., parents, :] + q) / 2, q)
    tokens = (rng.random((*batch, tree.size, 1)) > np.cumsum(q, -1)).sum(-1).clip(0, vocabulary - 1)
    tokens = np.where(rng.random(tokens.shape) < 0.1, rng.choice([-1, vocabulary, 10**6], tokens.shape), tokens)
    return tokens, q.astype(dtype), p.astype(dtype), rng.random((*batch, tree.size)), rng.random(batch)


def scalar_walk(tree, tokens, q, p, u, v):
    """The oracle: one walk, one number at a time."""
    at, path = 0, []
    law = [float(mass) for mass in p[0]]
    while True:
        for child in tree.children[at]:
            x, row = tokens[child - 1], [float(mass) for mass in q[child - 1]]
            if 0 <= x < len(law) and u[child - 1] * row[x] < law[x]:
                at, law = child, [float(mass) for mass in p[child]]
                path.append(child)
                break
            left = [max(a - b, 0.0) for a, b in zip(law, row, strict=True)]
            law = [mass / sum(left) for mass in left] if sum(left) else law
        else:
            break
    threshold, mass = float(v) * sum(law), 0.0
    for x, weight in enumerate(law):
        mass += weight
        if weight and mass > threshold:
            fill = [-1] * (tree.depth - len(path))
            return [*(int(tokens[node - 1]) for node in path), x, *fill], len(path), path + fill
    raise AssertionError("v below 1 always finds a token")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_walks_exactly_as_a_scalar_loop_does(library, dtype):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(6)
    for case in range(90):
        batch, tree = [(), (6,), (2, 3)][case % 3], random_tree(rng, case % 9)
        arrays = random_arguments(rng, tree, batch, int(rng.integers(1, 8)), dtype)
        verdict = acceptor.verify_tree(tree, *map(convert, arrays), xp=xp)
        found = [np.asarray(array) for array in (verdict.tokens, verdict.accepted, verdict.path)]
        assert [array.shape for array in found] == [(*batch, tree.depth + 1), batch, (*batch, tree.depth)]
        for row in np.ndindex(*batch):
            expected = scalar_walk(tree, *(array[row] for array in arrays))
            assert (found[0][row].tolist(), int(found[1][row]), found[2][row].tolist()) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_tree_that_is_a_path_emits_what_the_chain_emits_token_for_token(library, dtype):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(7)
    for k in range(6):
        *arrays, _ = random_round(rng, (4000 if k else 4,), k, 5, dtype)
        arrays = [np.nan_to_num(array, nan=0.0) for array in arrays]
        arrays[2][..., 0] += arrays[2].sum(-1) == 0
        arrays[4] = np.where(rng.random(arrays[4].shape) < 0.3, rng.integers(0, 9, arrays[4].shape) / 8, arrays[4])
        arrays = list(map(convert, arrays))
        path = acceptor.verify_tree(Tree(tuple(range(-1, k))), *arrays, xp=xp)
        chain = acceptor.verify(*arrays, xp=xp)
        assert np.array_equal(np.asarray(path.tokens), np.asarray(chain.tokens))
        assert np.array_equal(np.asarray(path.accepted), np.asarray(chain.accepted))
        nodes = np.where(np.arange(k) < np.asarray(path.accepted)[..., None], np.arange(1, k + 1), -1)
        assert np.array_equal(np.asarray(path.path), nodes)


def test_nodes_that_are_not_there_make_it_ragged_like_a_chain_of_fewer_drafts():
    rng = np.random.default_rng(8)
    *arrays, drafted = random_round(rng, (500,), 4, 6)
    arrays[2] = np.where(np.isnan(arrays[2]), 1 / 6, arrays[2])
    path, chain = (rule(*arrays, xp=np, drafted=drafted) for rule in (tree_as_chain, acceptor.verify))
    assert path.tokens.tolist() == chain.tokens.tolist()


# --- what does not fit ---------------------------------------------------------------------------------------------


def star_of_three():
    q, p = np.full((3, 2, 4), 0.25), np.full((3, 3, 4), 0.25)
    return Tree((-1, 0, 0)), np.array([[0, 1]] * 3), q, p, np.full((3, 2), 0.5), np.full(3, 0.5)


def test_a_nan_met_on_the_way_is_refused_by_row_and_one_off_the_way_is_not_looked_for():
    tree, tokens, q, p, u, v = star_of_three()
    p[1, 2] = np.nan
    assert acceptor.verify_tree(tree, tokens, q, p, u, v, xp=np).path.tolist() == [[1], [1], [1]]
    p[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="row 1 of 3: no law to draw from"):
        acceptor.verify_tree(tree, tokens, q, p, u, v, xp=np)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_nan_in_device_memory_leaves_no_token_and_no_path(library, monkeypatch):
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    xp, convert = LIBRARIES[library]
    tree, *arrays = star_of_three()
    arrays[2][1, 1] = np.nan
    verdict = acceptor.verify_tree(tree, *map(convert, arrays), xp=xp)
    assert np.asarray(verdict.tokens).tolist() == [[0, 2], [-1, -1], [0, 2]]
    assert np.asarray(verdict.path).tolist() == [[1], [-1], [1]]
    assert np.asarray(verdict.accepted).tolist() == [1, -1, 1]


def test_arrays_that_do_not_fill_the_tree_are_refused():
    tree, tokens, q, p, u, v = star_of_three()
    with pytest.raises(ValueError, match="tokens holds 2 drafts, the tree has 3 nodes to fill"):
        acceptor.verify_tree(Tree((-1, 0, 0, 1)), tokens, q, p, u, v, xp=np)
    with pytest.raises(ValueError, match=r"p has shape \(3, 2, 4\), tokens \(3, 2\) and V = 4 need \(3, 3, 4\)"):
        acceptor.verify_tree(tree, tokens, q, p[:, :2], u, v, xp=np)
