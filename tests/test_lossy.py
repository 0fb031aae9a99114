"""Lossy rules: their laws are what enumeration gives, and the proof of the exact rules rejects them."""

import itertools
import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath import acceptor
from specmath.divergence import overlap, total_variation
from tests.mutants import Decoder, check_law
from tests.strategies import LIBRARIES, laws, pairs, random_round, spread_pair

P, Q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.2, 0.4, 0.3, 0.1])
two_laws = st.tuples(laws(4, 9), laws(4, 9)).map(lambda rows: tuple(map(np.array, rows)))


def lenient(lenience):
    def rule(tokens, q, p, u, v, *, xp, drafted=None):
        return acceptor.lossy_lenience(tokens, q, p, u, v, lenience=lenience, xp=xp)

    return rule


def typical(epsilon, delta):
    def rule(tokens, q, p, u, v, *, xp, drafted=None):
        return acceptor.lossy_typical(tokens, p, v, epsilon=epsilon, delta=delta, xp=xp)

    return rule


def synthetic(rate):
    def rule(tokens, q, p, u, v, *, xp, drafted=None):
        return acceptor.lossy_synthetic(tokens, p, u, v, rate=rate, xp=xp, drafted=drafted)

    return rule


LOSSY = {
    "synthetic": (synthetic(Fraction(3, 4)), partial(acceptor.lossy_synthetic_law, rate=Fraction(3, 4), xp=np)),
    "lenience": (lenient(Fraction(1, 2)), partial(acceptor.lossy_lenience_law, lenience=Fraction(1, 2), xp=np)),
    "slight lenience": (
        lenient(Fraction(9, 10)),
        partial(acceptor.lossy_lenience_law, lenience=Fraction(9, 10), xp=np),
    ),
    "typical": (typical(0.2, 0.6), partial(acceptor.lossy_typical_law, epsilon=0.2, delta=0.6, xp=np)),
    "strict typical": (typical(0.6, 1.0), partial(acceptor.lossy_typical_law, epsilon=0.6, delta=1.0, xp=np)),
}


# --- the laws are what the rules do ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSY)
@settings(max_examples=12)
@given(st.data())
def test_the_first_token_has_exactly_the_law_that_is_stated_and_is_accepted_with_its_alpha(name, data):
    pair = data.draw(pairs(2, 3, 6))
    rule, law_of = LOSSY[name]
    rounds = Decoder(rule).rounds(pair)
    lossy = law_of(np.array(pair.p[()]), np.array(pair.q[()]))
    first = [sum(mass for (_, text), mass in rounds.items() if text[0] == x) for x in range(3)]
    assert first == lossy.law.tolist()
    assert sum(first) == 1
    assert sum(mass for (_, text), mass in rounds.items() if len(text) > 1) == lossy.alpha
    assert lossy.total_variation == sum(abs(a - b) for a, b in zip(first, pair.p[()], strict=True)) / 2


@pytest.mark.parametrize("name", LOSSY)
def test_the_full_law_rejects_every_lossy_rule(name):
    with pytest.raises(AssertionError):
        check_law(Decoder(LOSSY[name][0]))


def test_lenience_1_is_exact_and_no_lossy_rule():
    check_law(Decoder(lenient(1)))
    lossy = acceptor.lossy_lenience_law(P, Q, lenience=1, xp=np)
    assert lossy.law == pytest.approx(P)
    assert lossy.total_variation == pytest.approx(0, abs=1e-15)
    assert lossy.alpha == pytest.approx(overlap(P, Q, xp=np))


# --- published and checked numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("lenience", "alpha", "variation"), [(1, 0.7, 0), (0.7, 0.885714, 0.191729), (0.5, 1, 0.3)])
def test_lenience_by_number(lenience, alpha, variation):
    lossy = acceptor.lossy_lenience_law(P, Q, lenience=lenience, xp=np)
    assert lossy.alpha == pytest.approx(alpha, abs=1e-6)
    assert lossy.total_variation == pytest.approx(variation, abs=1e-6)


def test_the_residual_of_q_itself_would_lose_slightly_less_here():
    kept = np.minimum(P / 0.7, Q)
    law = kept + (1 - kept.sum()) * acceptor.residual(P, Q, xp=np)
    assert total_variation(P, law, xp=np) == pytest.approx(0.185714, abs=1e-6)


def test_typical_acceptance_by_number():
    lossy = acceptor.lossy_typical_law(P, Q, epsilon=0.09, delta=0.3, xp=np)
    assert lossy.alpha == pytest.approx(0.9)
    assert lossy.total_variation == pytest.approx(0.295)
    assert lossy.law == pytest.approx([0.25, 0.43, 0.315, 0.005])


def test_the_lower_of_the_two_thresholds_of_typical_acceptance_counts():
    entropy = -(P * np.log(P)).sum()
    for epsilon, delta in ((0.2, 0.1), (0.04, 1.0), (0.2, 0.7)):
        bar = min(epsilon, delta * math.exp(-entropy))
        lossy = acceptor.lossy_typical_law(P, Q, epsilon=epsilon, delta=delta, xp=np)
        assert lossy.alpha == pytest.approx(Q[bar < P].sum())


@given(two_laws, st.integers(1, 19))
def test_lenience_loses_more_the_more_it_lets_through_and_at_most_the_draft_itself(rows, twentieths):
    p, q = rows
    less, more = (
        acceptor.lossy_lenience_law(p, q, lenience=Fraction(n, 20), xp=np) for n in (twentieths + 1, twentieths)
    )
    assert less.alpha <= more.alpha
    assert more.total_variation <= total_variation(p, q, xp=np)
    assert all(a * Fraction(twentieths, 20) <= b for a, b in zip(more.law, p, strict=True))


@given(two_laws)
def test_a_lenience_below_every_ratio_hands_out_the_draft(rows):
    p, q = rows
    p = (p + Fraction(1, 4)) / 2  # no zeros: some lenience admits everything
    least = min(a / b for a, b in zip(p, q, strict=True) if b)
    lossy = acceptor.lossy_lenience_law(p, q, lenience=min(least, Fraction(1)), xp=np)
    assert (lossy.law.tolist(), lossy.alpha) == (q.tolist(), 1)
    assert lossy.total_variation == total_variation(p, q, xp=np)


@pytest.mark.parametrize("name", LOSSY)
def test_a_sequence_is_no_further_from_the_targets_than_the_coupling_bound(name):
    pair, length = spread_pair(3, 2, 3), 3
    at = {x: LOSSY[name][1](np.array(pair.p[x]), np.array(pair.q.get(x, pair.q[x[:1]]))) for x in pair.p}
    worst = max(at.values(), key=lambda lossy: lossy.total_variation)
    apart = 0
    for text in itertools.product(range(3), repeat=length):
        lossy = math.prod(at[text[:i]].law[text[i]] for i in range(length))
        apart += abs(lossy - pair.target(text)) / 2
    assert 0 < apart <= worst.sequence_bound(length)
    assert worst.sequence_bound(1) == worst.total_variation


def test_leading_axes_are_contexts():
    lossy = acceptor.lossy_lenience_law(np.stack([P, Q]), np.stack([Q, Q]), lenience=0.5, xp=np)
    assert lossy.total_variation == pytest.approx([0.3, 0])
    assert lossy.sequence_bound(10) == pytest.approx([1 - 0.7**10, 0])


# --- the rules on arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_emits_the_same_under_lossy_rules(library):
    xp, convert = LIBRARIES[library]
    rng = np.random.default_rng(2)
    for k in range(4):
        *arrays, _ = random_round(rng, (50,), k, 6)
        arrays[1:3] = (np.where(np.isnan(rows), 1 / 6, rows) for rows in arrays[1:3])
        for rule in (lenient(0.6), typical(0.3, 0.5)):
            here, there = rule(*arrays, xp=np), rule(*map(convert, arrays), xp=xp)
            assert np.asarray(there.tokens).tolist() == here.tokens.tolist()
            assert np.asarray(there.accepted).tolist() == here.accepted.tolist()


def test_typical_acceptance_keeps_what_is_likely_and_recovers_from_p():
    p = np.array([[0.75, 0.25, 0.0], [0.75, 0.25, 0.0], [0.0, 0.0, 1.0]])
    for tokens, v, emitted in (([0, 0], 0.0, [0, 0, 2]), ([0, 1], 0.5, [0, 0, -1]), ([1, 0], 0.9, [1, -1, -1])):
        verdict = acceptor.lossy_typical(np.array(tokens), p, np.array(v), epsilon=0.3, delta=1.0, xp=np)
        assert verdict.tokens.tolist() == emitted


def test_slots_that_drafted_nothing_hold_minus_one():
    p, q = np.array([[0.25, 0.75]] * 3), np.array([[0.5, 0.5], [0.0, 0.0]])
    loose = acceptor.lossy_lenience(np.array([0, -1]), q, p, np.array([0.9, 0.0]), np.array(0.5), lenience=0.5, xp=np)
    assert loose.tokens.tolist() == [0, 1, -1]
    plain = acceptor.lossy_typical(np.array([1, -1]), p, np.array(0.1), epsilon=0.5, delta=1.0, xp=np)
    assert plain.tokens.tolist() == [1, 0, -1]


def test_a_row_of_nan_is_refused_even_where_only_its_entropy_is_spoiled():
    p = np.array([[0.5, 0.5, np.nan], [1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="row 0 of 1: no law to draw from"):
        acceptor.lossy_typical(np.array([0]), p, np.array(0.5), epsilon=0.3, delta=1.0, xp=np)


def test_parameters_outside_their_domain_are_refused():
    for lenience, message in ((0, "found 0, expected a number in"), (1.5, r"lenience: found 1.5, .*\[0, 1\]")):
        with pytest.raises(ValueError, match=message):
            acceptor.lossy_lenience_law(P, Q, lenience=lenience, xp=np)
    with pytest.raises(ValueError, match=r"epsilon: found 1.5, expected a number in \[0, 1\]"):
        acceptor.lossy_typical_law(P, Q, epsilon=1.5, delta=1, xp=np)
    with pytest.raises(ValueError, match=r"delta: found -1, expected a number in \[0, infinity\)"):
        acceptor.lossy_typical_law(P, Q, epsilon=0.5, delta=-1, xp=np)


def test_a_batch_of_laws_has_the_law_the_alpha_and_the_distance_of_each_alone():
    p, q = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    for rule in (
        partial(acceptor.lossy_lenience_law, lenience=0.7, xp=np),
        partial(acceptor.lossy_typical_law, epsilon=0.25, delta=0.5, xp=np),
    ):
        together, alone = rule(p, q), [rule(*rows) for rows in zip(p, q, strict=True)]
        for name in ("law", "alpha", "total_variation"):
            assert getattr(together, name) == pytest.approx(np.stack([getattr(one, name) for one in alone]), abs=1e-15)


def test_a_token_exactly_at_the_threshold_is_not_typical():
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    kept = partial(acceptor.lossy_typical, p=p, v=np.array(0.9), delta=10.0, xp=np)
    assert kept(np.array([0]), epsilon=0.25).accepted == 0
    assert kept(np.array([0]), epsilon=0.2499).accepted == 1
    law = partial(acceptor.lossy_typical_law, p[0], np.array([1.0, 0.0]), delta=10.0, xp=np)
    assert (law(epsilon=0.25).alpha, law(epsilon=0.2499).alpha) == (0, 1)


def test_typical_acceptance_rejects_a_token_the_target_does_not_know():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    for token in (-1, 2, 7):
        verdict = acceptor.lossy_typical(np.array([token, 0]), p, np.array(0.5), epsilon=0.1, delta=0.5, xp=np)
        assert (verdict.tokens.tolist(), int(verdict.accepted)) == ([0, -1, -1], 0)


def test_a_lenience_of_zero_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^lenience: found 0, expected a number in \(0, 1\]$"):
        acceptor.lossy_lenience_law(np.array([1.0]), np.array([1.0]), lenience=0, xp=np)


def test_synthetic_acceptance_ends_where_the_drafts_do():
    p, tokens = np.full((3, 4, 2), 0.5), np.zeros((3, 3), int)
    found = acceptor.lossy_synthetic(
        tokens, p, np.zeros((3, 3)), np.zeros(3), rate=1.0, drafted=np.array([0, 2, 3]), xp=np
    )
    assert found.accepted.tolist() == [0, 2, 3]
