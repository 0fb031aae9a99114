"""Divergences: the overlap is an acceptance, exactly; a KL divergence only promises one, and rarely much."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from scipy import special

from specmath import acceptor, sampling
from specmath.divergence import (
    acceptance_of_logits,
    bretagnolle_huber,
    kl,
    least_acceptance,
    one_hot_acceptance,
    overlap,
    pinsker,
    total_variation,
)
from tests.strategies import LIBRARIES, accepted_survival, enumerate_rounds, joint_law, pairs, random_pair

SWITCH = 1.593624
MEASURES = {"overlap": overlap, "total variation": total_variation, "one-hot": one_hot_acceptance, "kl": kl}


def row(*numerators):
    return np.array([Fraction(n, sum(numerators)) for n in numerators])


def random_laws(count, vocabulary=6, seed=1):
    """Pairs of laws [count, V] from nearly equal to nearly disjoint, zeros among them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(vocabulary, 0.4), count)
    q = rng.dirichlet(np.full(vocabulary, 0.4), count)
    closeness = rng.random((count, 1)) * (rng.random((count, 1)) < 0.5)
    q = closeness * p + (1 - closeness) * q
    p[::10, 0] = 0
    return p / p.sum(axis=-1, keepdims=True), q


P, Q = random_laws(4000)


@pytest.fixture(scope="module")
def contexts():
    """Logits [400, 1000] of a target and of a draft that is the target with noise, peaked more or less."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(400):
        target = rng.normal(0, rng.uniform(1, 4), 1000)
        rows.append((target, target + rng.normal(0, 0.8, 1000)))
    return tuple(np.stack(side) for side in zip(*rows, strict=True))


# --- the overlap --------------------------------------------------------------------------------------------------


def scalar_measures(p, q):
    """The oracle: one token at a time, in floats."""
    pairs = [(float(a), float(b)) for a, b in zip(p, q, strict=True)]
    divergence = 0.0
    for a, b in pairs:
        divergence += (math.inf if b == 0 else a * math.log(a / b)) if a else 0.0
    return {
        "overlap": sum(min(a, b) for a, b in pairs),
        "total variation": sum(abs(a - b) for a, b in pairs) / 2,
        "one-hot": pairs[max(range(len(pairs)), key=lambda x: (pairs[x][1], -x))][0],
        "kl": divergence,
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_measure_is_the_scalar_oracle_in_every_library(library):
    xp, convert = LIBRARIES[library]
    p, q = convert(P[:60].reshape(6, 10, 6)), convert(Q[:60].reshape(6, 10, 6))
    expected = [scalar_measures(*laws) for laws in zip(P[:60], Q[:60], strict=True)]
    for name, measure in MEASURES.items():
        found = np.asarray(measure(p, q, xp=xp))
        assert found.shape == (6, 10)
        assert np.allclose(found.ravel(), [of[name] for of in expected], rtol=1e-12, atol=1e-15)


@given(pairs(1, 4, 7))
def test_fractions_stay_exact_and_the_overlap_is_one_minus_the_total_variation(pair):
    p, q = np.array(pair.p[()]), np.array(pair.q[()])
    found = overlap(p, q, xp=np)
    assert found == sum(map(min, p, q)) == 1 - total_variation(p, q, xp=np)
    assert isinstance(found, Fraction)
    assert one_hot_acceptance(p, q, xp=np) == p[list(q).index(max(q))]
    assert (found == 1) == (list(p) == list(q))


def test_single_precision_is_summed_in_double():
    p, q = (np.float32(1) / np.full((1, 2**20), 2**20, np.float32) for _ in range(2))
    assert overlap(p, q, xp=np).dtype == np.float64
    assert overlap(p, q, xp=np)[0] == 1
    assert total_variation(p, q, xp=np)[0] == 0


def test_a_hand_computed_pair():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    assert overlap(p, q, xp=np) == pytest.approx(0.7)
    assert total_variation(p, q, xp=np) == pytest.approx(0.3)
    assert kl(p, q, xp=np) == pytest.approx(0.5 * math.log(2.5) + 0.3 * math.log(0.6) + 0.2 * math.log(2 / 3))


def test_leading_axes_broadcast():
    p, q = P[:4, None], Q[None, :3]
    assert overlap(p, q, xp=np).shape == kl(p, q, xp=np).shape == one_hot_acceptance(p, q, xp=np).shape == (4, 3)
    assert one_hot_acceptance(p, q, xp=np)[2, 1] == P[2, np.argmax(Q[1])]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("name", ["p", "q"])
@pytest.mark.parametrize("bad", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [3.0, 7.0]])
def test_a_row_that_is_no_law_is_refused_and_named(measure, name, bad):
    good = np.array([[0.5, 0.5], [0.25, 0.75]])
    rows = np.array([[0.5, 0.5], bad])
    with pytest.raises(ValueError, match=f"row 1 of 2: {name} is no law; expected probabilities >= 0 that sum to 1"):
        measure(*((rows, good) if name == "p" else (good, rows)), xp=np)


def test_vocabularies_that_differ_are_refused_even_where_they_would_broadcast():
    with pytest.raises(ValueError, match=r"found vocabularies of \(2,\) and \(1,\), expected the same"):
        overlap(np.array([0.5, 0.5]), np.array([1.0]), xp=np)


def test_half_precision_rows_pass_although_they_miss_a_sum_of_one():
    p = np.random.default_rng(3).dirichlet(np.ones(5000)).astype(np.float16)
    assert p.sum(dtype=float) != 1
    assert overlap(p, p, xp=np) == pytest.approx(1, abs=0.01)


# --- three routes to an acceptance: the formula, the integrated acceptor, simulation -----------------------------

CASES = [random_pair(seed, 1, 4, 6) for seed in range(4)]


@pytest.mark.parametrize("pair", CASES, ids=range(4))
def test_the_acceptor_integrated_over_its_uniforms_accepts_a_sampled_draft_with_the_overlap(pair):
    rounds = enumerate_rounds(pair, acceptor.verify, pair.drafts(1), 1)
    assert accepted_survival(rounds, 1) == overlap(np.array(pair.p[()]), np.array(pair.q[()]), xp=np)


@pytest.mark.parametrize("pair", CASES, ids=range(4))
def test_the_acceptor_integrated_over_its_uniforms_accepts_a_one_hot_draft_with_p_of_y(pair):
    rounds = enumerate_rounds(pair, verify_as_one_hot, pair.argmax_drafts(1), 1)
    assert accepted_survival(rounds, 1) == one_hot_acceptance(np.array(pair.p[()]), np.array(pair.q[()]), xp=np)


def verify_as_one_hot(tokens, q, p, u, v, *, xp, drafted):
    one_hot = (tokens[..., None] == np.arange(p.shape[-1])).astype(int).astype(object)
    return acceptor.verify(tokens, one_hot, p, u, v, xp=xp, drafted=drafted)


def simulated(p, q, rounds, rng, rule=acceptor.verify, one_hot=False):
    """Share of accepted drafts in so many rounds of one draft, and its standard error."""
    tokens = np.full(rounds, q.argmax()) if one_hot else rng.choice(len(q), rounds, p=q)
    shown = np.eye(len(q))[tokens] if one_hot else np.broadcast_to(q, (rounds, len(q)))
    p = np.broadcast_to(p, (rounds, 2, p.shape[-1]))
    verdict = rule(tokens[:, None], shown[:, None], p, rng.random((rounds, 1)), rng.random(rounds), xp=np)
    share = verdict.accepted.mean()
    return share, math.sqrt(share * (1 - share) / rounds)


@pytest.mark.parametrize("one_hot", [False, True], ids=["sampled", "one-hot"])
def test_simulated_rounds_agree(one_hot):
    p, q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.5, 0.1, 0.3])
    share, error = simulated(p, q, 40_000, np.random.default_rng(11), one_hot=one_hot)
    formula = one_hot_acceptance if one_hot else overlap
    assert abs(share - formula(p, q, xp=np)) < 5 * error


def test_a_one_hot_draft_scored_with_the_overlap_of_its_soft_law_would_be_noticed():
    p, q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.5, 0.1, 0.3])
    share, error = simulated(p, q, 40_000, np.random.default_rng(11), one_hot=True)
    assert abs(share - overlap(p, q, xp=np)) > 50 * error


# --- one-hot against sampled drafts -------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q", "sampled", "one_hot"), [((6, 4), (9, 1), 7, 6), ((9, 1), (6, 4), 7, 9)])
def test_either_kind_of_draft_may_be_accepted_more_often(p, q, sampled, one_hot):
    p, q = row(*p), row(*q)
    assert overlap(p, q, xp=np) == Fraction(sampled, 10)
    assert one_hot_acceptance(p, q, xp=np) == Fraction(one_hot, 10)


@pytest.mark.parametrize("temperature", [0, 0.4, 1.0, 2.5])
def test_a_draft_warped_to_temperature_0_is_the_one_hot_draft(temperature):
    target, draft = np.random.default_rng(2).normal(size=(2, 50, 20))
    p, q = (sampling.warp(logits, temperature=temperature, xp=np) for logits in (target, draft))
    at = {"target": {"temperature": temperature}, "draft": {"temperature": 0}}
    found = acceptance_of_logits(target, draft, **at, xp=np)
    assert np.allclose(found, one_hot_acceptance(p, q, xp=np), rtol=1e-12)


@pytest.mark.parametrize(
    ("temperature", "sampled", "one_hot"),
    [
        (0.001, 0.5043, 0.5051),
        (0.3, 0.5343, 0.4393),
        (0.6, 0.6183, 0.3112),
        (1, 0.7145, 0.1708),
        (1.5, 0.7933, 0.0732),
    ],
)
def test_a_synthetic_pair_by_temperature(contexts, temperature, sampled, one_hot):
    hot = {"temperature": temperature}
    assert acceptance_of_logits(*contexts, target=hot, xp=np).mean() == pytest.approx(sampled, abs=5e-5)
    greedy = acceptance_of_logits(*contexts, target=hot, draft={"temperature": 0}, xp=np)
    assert greedy.mean() == pytest.approx(one_hot, abs=5e-5)


def test_alpha_tends_to_the_argmax_match_at_temperature_0_and_to_1_at_a_high_one(contexts):
    match = np.mean(contexts[0].argmax(axis=-1) == contexts[1].argmax(axis=-1))
    assert acceptance_of_logits(*contexts, target={"temperature": 0}, xp=np).mean() == match
    cold, hot = (acceptance_of_logits(*contexts, target={"temperature": t}, xp=np).mean() for t in (1e-9, 1e4))
    assert cold == pytest.approx(match, abs=1e-12)
    assert 1 - hot == pytest.approx(0, abs=1e-4)


def test_alpha_is_not_monotone_in_temperature():
    target, draft = np.log([[0.5, 0.45, 0.05], [0.55, 0.05, 0.4]])
    cold, warm, hot = (acceptance_of_logits(target, draft, target={"temperature": t}, xp=np) for t in (0, 1, 100))
    assert cold == 1
    assert warm == pytest.approx(0.6)
    assert hot > 0.99


# --- the two sides need not be truncated alike --------------------------------------------------------------------

SAMPLERS = {
    "the same": ({"temperature": 0.8, "top_k": 8}, None),
    "a colder draft": ({}, {"temperature": 0.5}),
    "a truncated draft": ({"temperature": 0.7}, {"top_k": 3}),
    "a truncated target": ({"top_p": 0.5}, {}),
    "other truncations": ({"top_p": 0.8, "min_p": 0.05}, {"top_k": 4, "temperature": 1.7}),
    "a greedy target": ({"temperature": 0}, {"temperature": 1.3}),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_whatever_the_draft_is_truncated_to_the_output_keeps_the_targets_law(name):
    logits = np.random.default_rng(8).normal(0, 2, (2, 30, 12))
    target, draft = SAMPLERS[name]
    p = sampling.warp(logits[0], **target, xp=np)
    q = sampling.warp(logits[1], **(target if draft is None else draft), xp=np)
    alpha = acceptance_of_logits(*logits, target=target, draft=draft, xp=np)
    recovered = (1 - alpha)[:, None] * acceptor.residual(p, q, xp=np)
    assert np.allclose(np.minimum(p, q) + recovered, p, atol=1e-12)
    assert np.allclose(alpha, np.minimum(p, q).sum(axis=-1), rtol=1e-12)


@pytest.mark.parametrize(
    ("full", "kept", "truncated"),
    [((1, 1, 2, 2), 2, (0, 0, 3, 3)), ((1, 1, 3, 1), 1, (0, 0, 1, 0))],
)
def test_a_draft_truncated_to_its_likeliest_tokens_is_exactly_lossless_and_only_its_acceptance_changes(
    full, kept, truncated
):
    pair = random_pair(7, 1, 4, 6)
    p, full, truncated = np.array(pair.p[()]), row(*full), row(*truncated)
    assert np.allclose(sampling.warp(np.log(full.astype(float)), top_k=kept, xp=np), truncated.astype(float))
    pair = replace(pair, q={(): tuple(truncated)})
    rounds = enumerate_rounds(pair, acceptor.verify, pair.drafts(1), 1)
    assert joint_law(pair, rounds) == pair.target_law()
    assert accepted_survival(rounds, 1) == overlap(p, truncated, xp=np) != overlap(p, full, xp=np)


@pytest.mark.parametrize("library", LIBRARIES)
def test_logits_of_every_library_are_answered_for(library, contexts):
    xp, convert = LIBRARIES[library]
    few = [side[:5] for side in contexts]
    at = {"target": {"temperature": 0.7, "top_p": 0.9}, "draft": {"top_k": 20, "min_p": 0.01}}
    found = acceptance_of_logits(*map(convert, few), **at, xp=xp)
    assert np.allclose(np.asarray(found), acceptance_of_logits(*few, **at, xp=np), rtol=1e-12)


# --- what a KL divergence promises ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nats", "first", "second"),
    [
        (0.05, 0.841886, 0.779159),
        (0.1, 0.776393, 0.691516),
        (0.2, 0.683772, 0.574243),
        (0.5, 0.5, 0.372729),
        (1, 0.292893, 0.204940),
        (2, 0, 0.070127),
    ],
)
def test_the_bounds_of_a_divergence_in_nats(nats, first, second):
    assert pinsker(nats) == pytest.approx(first, abs=1e-6)
    assert bretagnolle_huber(nats) == pytest.approx(second, abs=1e-6)
    assert least_acceptance(nats) == max(pinsker(nats), bretagnolle_huber(nats))
    assert bretagnolle_huber(nats) > math.exp(-nats) / 2


def test_the_limits_of_the_bounds():
    assert pinsker(0) == bretagnolle_huber(0) == least_acceptance(0) == 1
    assert pinsker(math.inf) == bretagnolle_huber(math.inf) == least_acceptance(math.inf) == 0
    assert bretagnolle_huber(744) > 0 == bretagnolle_huber(744.5)
    assert bretagnolle_huber(60) == pytest.approx(math.exp(-60) / 2, rel=1e-12)


def test_the_bounds_switch_where_they_are_equal():
    switch = 2 + special.lambertw(-2 * math.exp(-2)).real
    assert switch == pytest.approx(SWITCH, abs=5e-7)
    assert pinsker(switch) == pytest.approx(bretagnolle_huber(switch), abs=1e-12)
    below, above = np.linspace(0.01, switch - 0.01, 200), np.linspace(switch + 0.01, 20, 200)
    assert np.all(pinsker(below) > bretagnolle_huber(below))
    assert np.all(pinsker(above) < bretagnolle_huber(above))
    assert np.array_equal(least_acceptance(below), pinsker(below))
    assert np.array_equal(least_acceptance(above), bretagnolle_huber(above))


@pytest.mark.parametrize("bound", [pinsker, bretagnolle_huber, least_acceptance])
@pytest.mark.parametrize("nats", [-0.1, math.nan, -math.inf])
def test_a_divergence_that_is_none_is_refused_as_a_number_and_nan_in_a_grid(bound, nats):
    with pytest.raises(ValueError, match=r"nats: found .*, expected a number in \[0, infinity\)"):
        bound(nats)
    found = bound([0.5, nats])
    assert found[0] == bound(0.5)
    assert math.isnan(found[1])


@pytest.mark.parametrize(("of", "to"), [(P, Q), (Q, P)], ids=["KL(p || q)", "KL(q || p)"])
def test_every_bound_holds_on_random_pairs_in_either_direction(of, to):
    alpha, nats = overlap(P, Q, xp=np), kl(of, to, xp=np)
    for bound in (pinsker, bretagnolle_huber, least_acceptance):
        assert np.all(bound(nats) <= alpha + 1e-12)
    assert np.all(nats >= 0)
    assert np.mean(nats < SWITCH) > 0.2
    assert np.mean(nats > SWITCH) > 0.2
    assert least_acceptance(nats.mean()) <= alpha.mean()


def test_the_directions_differ_and_only_one_of_them_is_infinite_where_the_draft_has_no_mass():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.0, 0.0])
    assert kl(p, q, xp=np) == math.inf
    assert kl(q, p, xp=np) == pytest.approx(math.log(2))
    assert np.mean(np.abs(kl(P, Q, xp=np) - kl(Q, P, xp=np)) > 0.1) > 0.2


def test_pinskers_bound_with_the_constant_for_bits_would_be_noticed():
    """sqrt(ln 2 KL / 2) belongs to a KL in bits; with nats it promises what close pairs do not keep."""
    middle = np.array([0.5, 0.5]), np.array([0.52, 0.48])
    nats, alpha = kl(*middle, xp=np), overlap(*middle, xp=np)
    assert 1 - math.sqrt(math.log(2) * nats / 2) > alpha > pinsker(nats)


def test_a_divergence_in_bits_taken_for_nats_gives_away_what_it_could_promise():
    nats = kl(P, Q, xp=np)
    nats = nats[np.isfinite(nats) & (nats > 0)]
    assert np.all(least_acceptance(nats / math.log(2)) < least_acceptance(nats))


def test_the_bound_of_a_synthetic_pair_is_loose(contexts):
    p, q = (sampling.warp(logits, xp=np) for logits in contexts)
    alpha, nats = overlap(p, q, xp=np).mean(), kl(p, q, xp=np).mean()
    assert alpha == pytest.approx(0.7145, abs=5e-5)
    assert least_acceptance(nats) == pytest.approx(0.6223, abs=5e-5)


def test_no_divergence_bounds_an_acceptance_from_above():
    """The same alpha, and a KL as large as one likes."""
    for alpha, rare in itertools.product([0.1, 0.9], [1e-3, 1e-9]):
        p, q = np.array([1 - alpha, alpha]), np.array([0.0, 1.0])
        q = (1 - rare) * q + rare * np.array([1.0, 0.0])
        assert overlap(p, q, xp=np) == pytest.approx(alpha, abs=2 * rare)
        assert kl(p, q, xp=np) > (1 - alpha) * math.log(1 / rare) - 1
