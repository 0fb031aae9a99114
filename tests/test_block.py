"""Block verification: exact, at every length at least the token rule's survival, and the published examples."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath import acceptor, sampling
from specmath.acceptance import Geometric
from specmath.divergence import overlap
from tests.mutants import Decoder, one_hot
from tests.strategies import (
    LIBRARIES,
    Pair,
    accepted_survival,
    joint_law,
    pairs,
    prefixes,
    random_round,
    spread_pair,
)

BLOCK = Decoder(acceptor.verify_block)
THIRDS = (Fraction(1, 3), Fraction(2, 3)), (Fraction(2, 3), Fraction(1, 3))
TENTHS = tuple(tuple(Fraction(n, 10) for n in row) for row in ((5, 3, 2), (2, 5, 3)))


def everywhere(p, q, k):
    """The same two laws after every prefix."""
    return Pair(k, len(p), None, dict.fromkeys(prefixes(len(p), k), p), dict.fromkeys(prefixes(len(p), k - 1), q))


def joint_ratio(pair, path):
    """w along one path that q can draw: min(1, w p / q), token by token."""
    w = Fraction(1)
    for i, x in enumerate(path):
        w = min(Fraction(1), w * pair.p[path[:i]][x] / pair.q[path[:i]][x])
    return w


def block_survival(pair, i):
    """P(accepted >= i) = E[w_i], over what the draft draws."""
    return sum(mass * joint_ratio(pair, path) for path, mass in pair.drafts(i).items() if mass)


def shared_mass(pair, i):
    """What a rule that saw all laws over i tokens could keep at most: sum of min(P, Q) over the paths."""
    return sum(min(pair.target(path), mass) for path, mass in pair.drafts(i).items())


def scalar_block(tokens, q, p, u, v, drafted):
    """The oracle: h = s / (s + 1 - w), one number at a time."""
    ratios, accepted = [1.0], 0
    for i in range(drafted):
        weight, q_x = (float(row[i, tokens[i]]) for row in (p, q))
        weight *= ratios[-1]
        ratios.append(0.0 if weight == 0 else 1.0 if weight >= q_x else weight / q_x)
    for i in range(1, drafted + 1):
        spare = sum(excess(ratios[i], p[i], q[i])) if i < drafted else 0.0
        chance = ratios[i] if i == drafted else spare and spare / (spare + 1 - ratios[i])
        accepted = i if u[i - 1] < chance else accepted
    weights = p[drafted].tolist() if accepted == drafted else excess(ratios[accepted], p[accepted], q[accepted])
    weights = weights if sum(weights) else p[accepted].tolist()
    token = next(x for x, mass in enumerate(itertools.accumulate(weights)) if mass > float(v) * sum(weights))
    return [*tokens[:accepted].tolist(), token] + [-1] * (len(tokens) - accepted), accepted


def excess(w, p, q):
    return [max(w * float(a) - float(b), 0.0) for a, b in zip(p, q, strict=True)]


# --- exact ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 3, 6), (2, 2, 5), (2, 3, 6), (3, 2, 4), (3, 3, 4)])
@settings(max_examples=12)
@given(st.data())
def test_the_joint_law_is_the_targets_and_the_survival_is_the_mean_joint_ratio(size, data):
    pair = data.draw(pairs(*size))
    for drafted in {pair.k, data.draw(st.integers(0, pair.k), label="drafted")}:
        rounds = BLOCK.rounds(pair, drafted)
        assert joint_law(pair, rounds) == pair.target_law()
        for i in range(pair.k + 1):
            assert accepted_survival(rounds, i) == (block_survival(pair, i) if i <= drafted else 0)


@pytest.mark.parametrize("seed", range(4))
def test_laws_without_zeros_and_with_denominators_of_their_own_stay_exact(seed):
    pair = spread_pair(seed, 3, 3)
    rounds = BLOCK.rounds(pair)
    assert joint_law(pair, rounds) == pair.target_law()
    assert [accepted_survival(rounds, i) for i in range(4)] == [block_survival(pair, i) for i in range(4)]


@settings(max_examples=40)
@given(st.sampled_from([(1, 3, 6), (2, 3, 6), (3, 2, 6)]).flatmap(lambda size: pairs(*size)))
def test_it_dominates_the_token_rule_case_by_case_and_stays_below_full_information(pair):
    for i in range(pair.k + 1):
        assert pair.survival(i) <= block_survival(pair, i) <= shared_mass(pair, i)


def test_it_beats_the_token_rule_strictly_where_a_likely_token_follows_an_unlikely_one():
    strictly = [block_survival(pair, 2) > pair.survival(2) for pair in (spread_pair(s, 2, 3) for s in range(20))]
    assert all(strictly)


@settings(max_examples=10)
@given(pairs(2, 3, 4))
def test_against_one_hot_rows_it_has_the_token_rules_law(pair):
    def greedy(rule):
        def shown(tokens, q, p, u, v, **rest):
            return rule(tokens, one_hot(tokens, q.shape[-1]), p, u, v, **rest)

        return Decoder(shown, lambda pair, length: pair.argmax_drafts(length)).rounds(pair)

    assert greedy(acceptor.verify_block) == greedy(acceptor.verify)


@settings(max_examples=10)
@given(pairs(1, 3, 6))
def test_a_single_draft_has_the_token_rules_law(pair):
    assert BLOCK.rounds(pair) == Decoder().rounds(pair)


# --- published numbers -------------------------------------------------------------------------------------------


def test_the_papers_example_keeps_11_ninths_between_10_of_the_token_rule_and_12_of_full_information():
    pair = everywhere(*THIRDS, 2)
    assert sum(pair.survival(i) for i in (1, 2)) == Fraction(10, 9)
    assert sum(block_survival(pair, i) for i in (1, 2)) == Fraction(11, 9)
    assert sum(shared_mass(pair, i) for i in (1, 2)) == Fraction(12, 9)
    rounds = BLOCK.rounds(pair)
    assert sum(accepted_survival(rounds, i) for i in (1, 2)) == Fraction(11, 9)


@pytest.mark.parametrize(("k", "token", "block"), [(2, 1.19, 1.25), (4, 1.7731, 2.1141), (6, 2.058819, 2.7485)])
def test_the_mean_accepted_length_of_three_tokens(k, token, block):
    pair = everywhere(*TENTHS, k)
    alpha = overlap(*(np.array(law) for law in TENTHS), xp=np)
    assert float(Geometric(alpha).mean(k)) == pytest.approx(token, abs=1e-6)
    assert float(sum(block_survival(pair, i) for i in range(1, k + 1))) == pytest.approx(block, abs=1e-6)


def test_simulated_rounds_keep_what_the_formula_says():
    rng, n, k = np.random.default_rng(3), 100_000, 6
    p, q = (np.array(law, dtype=float) for law in TENTHS)
    tokens = acceptor.draw(np.broadcast_to(q, (n, k, 3)), rng.random((n, k)), xp=np)
    rows = np.broadcast_to(q, (n, k, 3)), np.broadcast_to(p, (n, k + 1, 3))
    accepted = acceptor.verify_block(tokens, *rows, rng.random((n, k)), rng.random(n), xp=np).accepted
    assert accepted.mean() == pytest.approx(2.7485, abs=4 * accepted.std() / math.sqrt(n))
    token_rule = acceptor.verify(tokens, *rows, rng.random((n, k)), rng.random(n), xp=np).accepted
    assert abs(token_rule.mean() - 2.7485) > 50 * accepted.std() / math.sqrt(n)  # the measure tells them apart


# --- the same code on every array library ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_emits_exactly_what_a_scalar_loop_emits(library, dtype):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(5)
    for case in range(160):
        batch, k, vocabulary = [(), (1,), (5,), (2, 3)][case % 4], case % 5, int(rng.integers(1, 9))
        *arrays, drafted = random_round(rng, batch, k, vocabulary, dtype)
        verdict = acceptor.verify_block(*map(convert, arrays), xp=xp, drafted=convert(drafted))
        tokens, accepted = np.asarray(verdict.tokens), np.asarray(verdict.accepted)
        assert (tokens.shape, accepted.shape, verdict.path) == ((*batch, k + 1), batch, None)
        for row in np.ndindex(*batch):
            expected = scalar_block(*(array[row] for array in arrays), int(drafted[row]))
            assert (tokens[row].tolist(), int(accepted[row])) == expected


def test_one_draft_is_judged_by_the_very_comparison_of_the_token_rule():
    rng = np.random.default_rng(11)
    *arrays, drafted = random_round(rng, (3000,), 1, 6)
    arrays[3] = np.where(rng.random((3000, 1)) < 0.2, 1.0, arrays[3])
    block, token = (rule(*arrays, xp=np, drafted=drafted) for rule in (acceptor.verify_block, acceptor.verify))
    assert block.tokens.tolist() == token.tokens.tolist()


def test_unused_slots_may_hold_anything_even_infinities():
    rng = np.random.default_rng(12)
    *arrays, drafted = random_round(rng, (200,), 4, 6)
    tokens, q, p, u, v = (array.copy() for array in arrays)
    unused = np.arange(4) >= drafted[:, None]
    q[unused], u[unused], tokens[unused] = np.inf, 0.0, 3
    p[np.arange(5) > drafted[:, None]] = -np.inf
    alone, junk = (acceptor.verify_block(*x, xp=np, drafted=drafted) for x in (arrays, (tokens, q, p, u, v)))
    assert alone.tokens.tolist() == junk.tokens.tolist()


# --- rows that are no law ------------------------------------------------------------------------------------------


def three_drafts():
    tokens, q, p = np.array([[0, 1, 2]] * 3), np.full((3, 3, 4), 0.25), np.full((3, 4, 4), 0.25)
    return tokens, q, p, np.full((3, 3), 0.5), np.full(3, 0.5)


@pytest.mark.parametrize(("row", "entry"), [(0, 0), (1, 1), (1, 3), (2, 0), (2, 2), (3, 0)])
def test_a_nan_that_decides_a_coin_is_refused_by_row_wherever_the_round_would_end(row, entry):
    tokens, q, p, u, v = three_drafts()
    p[1, row, entry] = np.nan
    with pytest.raises(ValueError, match="row 1 of 3: no law to draw from"):
        acceptor.verify_block(tokens, q, p, u, v, xp=np)


def test_a_nan_that_decides_nothing_is_not_looked_for():
    tokens, q, p, u, v = three_drafts()
    p[1, 0, 3] = q[1, 0, 3] = np.nan  # not the token, and no prefix ends there
    assert acceptor.verify_block(tokens, q, p, u, v, xp=np).accepted.tolist() == [3, 3, 3]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_nan_in_device_memory_ends_as_minus_one_and_leaves_the_others_alone(library, monkeypatch):
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    xp, convert = LIBRARIES[library]
    tokens, q, p, u, v = three_drafts()
    q[1, 2, 3] = np.nan
    verdict = acceptor.verify_block(*map(convert, (tokens, q, p, u, v)), xp=xp)
    assert np.asarray(verdict.tokens).tolist() == [[0, 1, 2, 2], [-1] * 4, [0, 1, 2, 2]]
    assert np.asarray(verdict.accepted).tolist() == [3, -1, 3]


def test_a_token_of_probability_0_ends_every_prefix_that_holds_it():
    tokens, q, p, u, v = three_drafts()
    p[:, 1] = [0.5, 0.0, 0.5, 0.0]
    q[:, 1] = [0.0, 0.0, 0.5, 0.5]  # nor could the draft have drawn it
    verdict = acceptor.verify_block(tokens, q, p, 0 * u, v, xp=np)
    assert verdict.accepted.tolist() == [1, 1, 1]
    assert verdict.tokens[:, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("unknown", [-1, 4, 10**6])
def test_a_token_outside_the_vocabulary_ends_every_prefix_that_holds_it(unknown):
    tokens, q, p, u, v = three_drafts()
    tokens[:, 1] = unknown
    verdict = acceptor.verify_block(tokens, q, p, 0 * u, v, xp=np)
    assert verdict.accepted.tolist() == [0, 0, 0]  # s = 0 after one token of equal laws: no shorter prefix is kept
    assert np.all((verdict.tokens[:, 0] >= 0) & (verdict.tokens[:, 0] < 4))
    p[:, 1] = [0.5, 0.5, 0.0, 0.0]
    assert acceptor.verify_block(tokens, q, p, 0 * u, v, xp=np).accepted.tolist() == [1, 1, 1]


def test_shapes_and_counts_that_do_not_fit_are_refused():
    tokens, q, p, u, v = three_drafts()
    with pytest.raises(ValueError, match=r"q has shape \(3, 2, 4\), tokens \(3, 3\) and V = 4 need \(3, 3, 4\)"):
        acceptor.verify_block(tokens, q[:, :2], p, u, v, xp=np)
    with pytest.raises(ValueError, match=r"row 2 of 3: drafted is outside 0\.\.3"):
        acceptor.verify_block(tokens, q, p, u, v, xp=np, drafted=np.array([0, 3, 4]))
