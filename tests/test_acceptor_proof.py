"""The proof of the acceptance rules for chains, exact and by sampling; every planted bug of `mutants.py` is killed."""

import itertools
import math
from collections import Counter
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath import acceptor
from specmath.acceptor import chain
from tests.mutants import (
    CHECKS,
    MUTANTS,
    STARS,
    Decoder,
    Mutant,
    TreeDecoder,
    check_acceptance,
    check_law,
    k_seq_on,
    sampled_p_value,
    sampler_match,
    softmax_of_residual,
    tree_as_chain,
    verify_as_one_hot,
)
from tests.strategies import accepted_survival, integrate, joint_law, pairs, random_pair

# --- the proof -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 2, 6), (1, 4, 5), (2, 2, 4), (2, 3, 4), (2, 4, 3), (3, 2, 3), (3, 3, 3)])
@settings(max_examples=12)
@given(st.data())
def test_the_joint_law_of_k_plus_1_tokens_is_exactly_the_targets(size, data):
    pair = data.draw(pairs(*size))
    for drafted in {pair.k, data.draw(st.integers(0, pair.k), label="drafted")}:
        rounds = Decoder().rounds(pair, drafted)
        assert joint_law(pair, rounds) == pair.target_law()
        for i in range(pair.k + 1):
            assert accepted_survival(rounds, i) == (pair.survival(i) if i <= drafted else 0)


@settings(max_examples=10)
@given(pairs(2, 3, 4))
def test_a_deterministic_draft_with_one_hot_rows_is_exact_and_accepts_with_p_of_y(pair):
    rounds = Decoder(verify_as_one_hot, lambda pair, length: pair.argmax_drafts(length)).rounds(pair)
    (path,) = pair.argmax_drafts(pair.k)
    assert joint_law(pair, rounds) == pair.target_law()
    assert [accepted_survival(rounds, i) for i in range(pair.k + 1)] == [
        pair.target(path[:i]) for i in range(pair.k + 1)
    ]


def product_of_overlaps(pair, i):
    return pair.survival(i, lambda p, q: p * q)


def test_ignoring_q_stays_lossless_and_accepts_only_sum_p_q():
    check_law(Decoder(verify_as_one_hot))
    check_acceptance(Decoder(verify_as_one_hot), product_of_overlaps)


def test_emitting_the_targets_own_draws_is_exact_and_accepts_sum_p_q():
    check_law(Decoder(sampler_match))
    check_acceptance(Decoder(sampler_match), product_of_overlaps)


# --- the method itself: integration over the uniforms -------------------------------------------------------------


def test_coins_integrate_a_rule_to_what_a_grid_of_all_its_thresholds_gives():
    """Thresholds p / q and c / m with denominators up to D all lie on the grid 1 / lcm(1..D)."""
    pair = random_pair(6, 1, 3, 4)
    points = math.lcm(*range(1, pair.denominator + 1))
    middle = [Fraction(2 * j + 1, 2 * points) for j in range(points)]
    law = Counter()
    for (x,), (u, v) in itertools.product(pair.sequences(1), itertools.product(middle, repeat=2)):
        p, q = (np.array(rows, dtype=object) for rows in ([pair.p[()], pair.p[x,]], [pair.q[()]]))
        verdict = acceptor.verify(np.array([x]), q, p, np.array([u]), np.array(v), xp=np)
        law[tuple(verdict.tokens[: verdict.accepted + 1].tolist())] += pair.q[()][x] * Fraction(1, points**2)
    by_coins = Counter()
    for (_, emitted), mass in Decoder().rounds(pair).items():
        by_coins[emitted] += mass
    assert +by_coins == +law


def test_coins_cut_at_every_threshold_and_their_cells_fill_the_cube():
    def play(which, coins):
        return [(bool(a * 3 < 1), bool(b * 7 >= 2 and a * 3 < 2)) for a, b in coins]

    law = integrate(play, 1, 2)
    third, seventh = Fraction(1, 3), Fraction(1, 7)
    expected = {(0, (True, True)): third * 5 * seventh, (0, (True, False)): third * 2 * seventh}
    expected |= {(0, (False, True)): third * 5 * seventh, (0, (False, False)): third * 2 * seventh + third}
    assert law == expected


# --- planted bugs --------------------------------------------------------------------------------------------------

TRUE_RULES = {
    "token": Decoder(),
    "block": Decoder(acceptor.verify_block),
    "tree, on a path": Decoder(tree_as_chain),
    "tree": TreeDecoder(),
    "k-SEQ": TreeDecoder(partial(k_seq_on, rho=3), trees=STARS),
}


@pytest.mark.parametrize(
    ("rule", "check"),
    [
        (rule, check)
        for rule, decoder in TRUE_RULES.items()
        for check in CHECKS
        if isinstance(decoder, TreeDecoder) == (check == "tree law") and (rule, check) != ("block", "acceptance")
    ],
)
def test_every_true_rule_survives_what_kills_the_planted_bugs(rule, check):
    assert Mutant(check, TRUE_RULES[rule]).survives()


@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_is_killed(name):
    assert not MUTANTS[name].survives()


# --- by sampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [acceptor.verify, acceptor.verify_block, tree_as_chain])
def test_sampled_rounds_have_the_targets_law(rule):
    assert sampled_p_value(rule) > 0.01


@pytest.mark.parametrize("bug", [softmax_of_residual, lambda p, q, *, xp: p])
def test_the_same_test_rejects_a_planted_bug(bug, monkeypatch):
    monkeypatch.setattr(chain, "residual", bug)
    assert sampled_p_value() < 1e-6
