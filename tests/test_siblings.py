"""Several drafts at one position: the values against brute force, a linear programme and the rules themselves."""

import itertools
import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from specmath import acceptor, sampling, siblings
from specmath.divergence import overlap
from specmath.draft import Tree
from tests.mutants import k_seq_on
from tests.strategies import (
    LIBRARIES,
    accepted_survival,
    enumerate_trees,
    iid_children,
    joint_law,
    laws,
    pairs,
    random_rows,
    spread_pair,
)

THREE = ([0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
FOUR = ([0.7, 0.2, 0.06, 0.04], [0.1, 0.6, 0.2, 0.1])
TABLE = [  # p and q, k, optimal transport, k-SEQ and its rho, with and without replacement, 1 - (1 - alpha)^k
    (THREE, 2, 0.860000, 0.791355, 1.456776, 0.760000, 0.808571, 0.910),
    (THREE, 3, 0.988000, 0.858519, 1.792593, 0.808000, 1.000000, 0.973),
    (FOUR, 2, 0.490000, 0.472621, 1.726209, 0.460000, 0.524167, 0.640),
    (FOUR, 3, 0.571000, 0.537184, 2.371843, 0.514000, 0.727738, 0.784),
]
VALUES = (siblings.with_replacement, siblings.without_replacement, siblings.optimal_transport)
two_laws = st.tuples(laws(4, 6), laws(4, 6)).map(lambda rows: tuple(map(np.array, rows)))


def naive(p, q, k):
    return 1 - (1 - overlap(np.array(p), np.array(q), xp=np)) ** k


@pytest.mark.parametrize(("rows", "k", "best", "seq", "rho", "kept", "distinct", "independent"), TABLE)
def test_the_table_of_values(rows, k, best, seq, rho, kept, distinct, independent):
    assert siblings.optimal_transport(*rows, k) == pytest.approx(best, abs=1e-6)
    assert siblings.k_seq(*rows, k) == pytest.approx((rho, seq), abs=1e-6)
    assert siblings.with_replacement(*rows, k) == pytest.approx(kept, abs=1e-6)
    assert siblings.without_replacement(*rows, k) == pytest.approx(distinct, abs=1e-6)
    assert naive(*rows, k) == pytest.approx(independent, abs=1e-6)


def test_independent_chances_overstate_every_rule_with_replacement_and_are_no_estimate():
    for _, _, best, seq, _, kept, _, independent in TABLE:
        assert max(kept, seq) < best
        assert kept < independent
        assert seq < independent
    assert TABLE[1][2] > TABLE[1][-1]  # nor do they bound what is possible
    assert TABLE[3][2] < TABLE[3][-1] - 0.2


def test_the_optimum_of_independent_drafts_does_not_bound_drawing_without_replacement():
    assert siblings.without_replacement(*FOUR, 2) > siblings.optimal_transport(*FOUR, 2) + 0.03
    assert siblings.without_replacement(*THREE, 2) < siblings.optimal_transport(*THREE, 2)  # nor the other way round


@given(two_laws)
def test_one_draft_has_the_overlap_under_every_rule(rows):
    alpha = overlap(*rows, xp=np)
    assert [value(*rows, 1) for value in VALUES] == [alpha] * 3
    assert siblings.k_seq(*rows, 1) == (1, pytest.approx(float(alpha)))


@given(two_laws, st.integers(2, 4))
def test_no_rule_exceeds_the_optimum_and_k_seq_keeps_its_guarantee(rows, k):
    best = siblings.optimal_transport(*rows, k)
    rho, seq = siblings.k_seq(*rows, k)
    assert overlap(*rows, xp=np) <= siblings.with_replacement(*rows, k) <= best <= 1
    assert (1 - 1 / math.e) * best - 1e-12 <= seq <= best + 1e-12
    assert 1 <= rho <= k


@given(two_laws, st.integers(1, 4))
def test_more_drafts_are_never_accepted_less(rows, k):
    for value in VALUES:
        assert value(*rows, k) <= value(*rows, k + 1)


def test_as_many_different_drafts_as_tokens_always_hold_the_right_one():
    for seed in range(5):
        pair = spread_pair(seed, 1, 4)
        assert siblings.without_replacement(pair.p[()], pair.q[()], 4) == 1
        assert siblings.without_replacement(pair.p[()], pair.q[()], 9) == 1


def test_a_draft_with_nothing_left_draws_uniformly_from_the_rest():
    p, q = (np.array([Fraction(n, 8) for n in row]) for row in ((4, 2, 1, 1), (8, 0, 0, 0)))
    # rejected with 1/2; then r = (0, 1/2, 1/4, 1/4) against (0, 1/3, 1/3, 1/3)
    assert siblings.without_replacement(p, q, 2) == Fraction(1, 2) + Fraction(1, 2) * Fraction(5, 6)


# --- the optimum ---------------------------------------------------------------------------------------------------


@given(st.tuples(laws(5, 7), laws(5, 7)), st.integers(1, 4))
def test_the_optimum_is_the_minimum_over_every_token_set(rows, k):
    p, q = rows
    sets = itertools.chain.from_iterable(itertools.combinations(range(5), n) for n in range(6))
    brute = min(1 + sum(p[x] for x in held) - sum(q[x] for x in held) ** k for held in sets)
    assert siblings.optimal_transport(p, q, k) == brute


def transport_programme(p, q, k):
    """Largest P(Y among the drafts) over couplings of Y ~ p with k independent drafts from q."""
    drafts = list(itertools.product(range(len(p)), repeat=k))
    cells = [(i, y) for i, path in enumerate(drafts) for y in set(path)]
    budget = np.zeros((len(drafts) + len(p), len(cells)))
    for column, (i, y) in enumerate(cells):
        budget[i, column] = budget[len(drafts) + y, column] = 1
    limits = [math.prod(q[x] for x in path) for path in drafts] + list(p)
    return -linprog(-np.ones(len(cells)), A_ub=budget, b_ub=limits).fun


@pytest.mark.parametrize(("vocabulary", "k", "cases"), [(3, 2, 15), (4, 2, 15), (3, 3, 10), (4, 3, 5)])
def test_the_optimum_is_the_linear_programmes(vocabulary, k, cases):
    rng = np.random.default_rng(vocabulary * k)
    p, q = rng.dirichlet(np.full(vocabulary, 0.7), (2, cases))
    for row, value in enumerate(siblings.optimal_transport(p, q, k)):
        assert transport_programme(p[row], q[row], k) == pytest.approx(value, abs=1e-8)


def test_leading_axes_are_a_batch():
    p, q = np.random.default_rng(1).dirichlet(np.ones(5), (2, 3, 2))
    for value in (siblings.with_replacement, siblings.optimal_transport, lambda *rows: siblings.k_seq(*rows)[1]):
        batch = value(p, q, 3)
        assert batch.shape == (3, 2)
        for row in np.ndindex(3, 2):
            assert batch[row] == pytest.approx(value(p[row], q[row], 3), abs=1e-14)


def test_a_large_vocabulary_is_one_sort():
    p, q = np.random.default_rng(2).dirichlet(np.full(100_000, 0.05), 2)
    values = [siblings.with_replacement(p, q, 4), siblings.k_seq(p, q, 4)[1], siblings.optimal_transport(p, q, 4)]
    assert values == sorted(values)


@pytest.mark.parametrize("value", [*VALUES, siblings.k_seq])
def test_what_is_no_law_and_no_number_of_drafts_is_refused(value):
    with pytest.raises(ValueError, match="q is no law"):
        value([0.5, 0.5], [0.5, 0.6], 2)
    with pytest.raises(ValueError, match=r"vocabularies of \(2,\) and \(3,\)"):
        value([0.5, 0.5], [0.5, 0.3, 0.2], 2)
    with pytest.raises(ValueError, match=r"k: found 0, expected a number in \[1, infinity\)"):
        value([0.5, 0.5], [0.5, 0.5], 0)


def test_drawing_without_replacement_takes_single_laws():
    with pytest.raises(ValueError, match=r"found shape \(2, 2\), expected single laws \[V\]"):
        siblings.without_replacement(np.full((2, 2), 0.5), np.full((2, 2), 0.5), 2)


# --- k-SEQ, the rule ---------------------------------------------------------------------------------------------


def b_of(pair, rho):
    return sum(min(q, p / rho) for p, q in zip(pair.p[()], pair.q[()], strict=True))


@pytest.mark.parametrize("k", [2, 3])
@settings(max_examples=6)
@given(st.data())
def test_k_seq_is_exact_for_every_rho_from_its_root_up_and_accepts_what_the_formula_says(k, data):
    pair = data.draw(pairs(1, 4, 5))
    root, acceptance = siblings.k_seq(pair.p[()], pair.q[()], k)
    above = Fraction(math.ceil(root * 1000) + data.draw(st.integers(0, 1500), label="above"), 1000)
    star = Tree((-1,) + (0,) * k)
    rounds = enumerate_trees(pair, star, partial(k_seq_on, rho=above), iid_children)
    assert joint_law(pair, rounds) == pair.target_law()
    assert accepted_survival(rounds, 1) == 1 - (1 - b_of(pair, above)) ** k <= acceptance + 1e-9


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_below_its_root_k_seq_breaks_the_law(seed, k):
    pair = spread_pair(seed, 1, 4)
    root, _ = siblings.k_seq(pair.p[()], pair.q[()], k)
    b = b_of(pair, Fraction(root))
    assert float(1 - (1 - b) ** k - Fraction(root) * b) == pytest.approx(0, abs=1e-12)
    below = Fraction(math.floor(root * 100) - 1, 100)
    rounds = enumerate_trees(pair, Tree((-1,) + (0,) * k), partial(k_seq_on, rho=below), iid_children)
    assert joint_law(pair, rounds) != pair.target_law()


def test_disjoint_laws_accept_nothing_and_recover_from_p():
    q, p = np.array([0.5, 0.5, 0, 0]), np.array([[0, 0, 0.5, 0.5]] * 3)
    for v, token in ((0.0, 2), (0.6, 3), (1.0, 3)):
        verdict = acceptor.verify_k_seq(np.array([0, 1]), q, p, np.zeros(2), np.array(v), rho=1.0, xp=np)
        assert (verdict.tokens.tolist(), int(verdict.accepted), verdict.path.tolist()) == ([token, -1], 0, [-1])


def scalar_k_seq(tokens, q, p, u, v, rho):
    """The oracle: one position, one number at a time."""
    p0, k = p[0].tolist(), len(tokens)
    for j, x in enumerate(tokens):
        if 0 <= x < len(q) and u[j] * rho * q[x] < p0[x]:
            return [int(x), first_beyond(p[j + 1].tolist(), v)], 1, [j + 1]
    shared = [min(a, b / rho) for a, b in zip(q.tolist(), p0, strict=True)]
    b = sum(shared)
    left = [max(a - s * (1 - (1 - b) ** k) / b, 0) if b else a for a, s in zip(p0, shared, strict=True)]
    return [first_beyond(left if sum(left) else p0, v), -1], 0, [-1]


def first_beyond(weights, v):
    return next(x for x, mass in enumerate(itertools.accumulate(weights)) if mass > v * sum(weights))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_takes_the_draft_a_scalar_loop_takes(library):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(4)
    for case in range(60):
        batch, k, vocabulary = [(), (4,), (2, 3)][case % 3], 1 + case % 4, int(rng.integers(2, 8))
        p, q = random_rows(rng, (*batch, k + 1), vocabulary), random_rows(rng, batch, vocabulary)
        q = 0.7 * q + 0.3 * p[..., 0, :]
        tokens = rng.integers(-1, vocabulary + 1, (*batch, k))
        u, v, rho = rng.random((*batch, k)), rng.random(batch), np.asarray(siblings.k_seq(p[..., 0, :], q, k)[0])
        verdict = acceptor.verify_k_seq(*map(convert, (tokens, q, p, u, np.asarray(v))), rho=convert(rho), xp=xp)
        found = [np.asarray(array) for array in (verdict.tokens, verdict.accepted, verdict.path)]
        for row in np.ndindex(*batch):
            expected = scalar_k_seq(tokens[row], q[row], p[row], u[row], v if batch == () else v[row], rho[row])
            assert (found[0][row].tolist(), int(found[1][row]), found[2][row].tolist()) == expected


def test_k_seq_without_drafts_or_with_rows_that_do_not_fit_is_refused():
    tokens, q, p, u, v = (
        np.array([[0, 1]]),
        np.full((1, 3), 1 / 3),
        np.full((1, 3, 3), 1 / 3),
        np.ones((1, 2)),
        np.ones(1),
    )
    with pytest.raises(ValueError, match="tokens holds no draft, expected one or more"):
        acceptor.verify_k_seq(tokens[:, :0], q, p[:, :1], u[:, :0], v, rho=1.0, xp=np)
    with pytest.raises(ValueError, match=r"q has shape \(1, 2, 3\), tokens \(1, 2\) and V = 3 need \(1, 3\)"):
        acceptor.verify_k_seq(tokens, np.stack([q, q], axis=1), p, u, v, rho=1.0, xp=np)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("entry", [0, 2])
def test_k_seq_on_a_nan_raises_on_the_host_and_ends_as_minus_one_off_it(library, entry, monkeypatch):
    xp, convert = LIBRARIES[library]
    tokens, q, p, u, v = (
        np.array([[0, 1]] * 2),
        np.full((2, 3), 1 / 3),
        np.full((2, 3, 3), 1 / 3),
        np.zeros((2, 2)),
        np.ones(2),
    )
    p[1, 0, entry] = np.nan
    arrays = list(map(convert, (tokens, q, p, u, v)))
    with pytest.raises(ValueError, match="row 1 of 2: no law to draw from"):
        acceptor.verify_k_seq(*arrays, rho=1.0, xp=xp)
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    verdict = acceptor.verify_k_seq(*arrays, rho=1.0, xp=xp)
    assert np.asarray(verdict.tokens).tolist() == [[0, 2], [-1, -1]]
    assert np.asarray(verdict.accepted).tolist() == [1, -1]
    assert np.asarray(verdict.path).tolist() == [[1], [-1]]


def test_k_seq_needs_a_draft_and_takes_one():
    p = np.array([[0.25, 0.75], [1, 0]])
    one = acceptor.verify_k_seq(np.array([1]), np.array([0.5, 0.5]), p, np.array([0.9]), np.array(0.5), rho=1, xp=np)
    assert (one.tokens.tolist(), one.path.tolist()) == ([1, 0], [1])
    none = np.array([], int), np.array([0.5, 0.5]), p[:1], np.array([]), np.array(0.5)
    with pytest.raises(ValueError, match=r"^tokens holds no draft, expected one or more for the position$"):
        acceptor.verify_k_seq(*none, rho=1, xp=np)


def test_a_k_seq_that_takes_none_has_a_path_of_minus_one():
    p = np.array([[0.0, 1.0], [1, 0], [1, 0]])
    verdict = acceptor.verify_k_seq(np.zeros(2, int), np.array([1.0, 0]), p, np.zeros(2), np.array(0.5), rho=1, xp=np)
    assert (verdict.tokens.tolist(), int(verdict.accepted), verdict.path.tolist()) == ([1, -1], 0, [-1])
