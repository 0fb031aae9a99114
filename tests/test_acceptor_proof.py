"""The proof of the acceptor, exact and by sampling, and the planted bugs it has to kill.

A mutant changes the real code, its arguments, or where the draft comes from; most were real bugs, named by their issue.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from specmath import acceptor
from specmath.acceptor import chain
from tests.strategies import accepted_survival, enumerate_rounds, joint_law, pairs, random_pair

CASES = [random_pair(1, 1, 3, 5), random_pair(2, 2, 2, 4), random_pair(6, 2, 3, 4), random_pair(4, 3, 2, 3)]


@dataclass(frozen=True)
class Decoder:
    """A rule, and where its drafts come from: `drafts(pair, length)` -> {path: probability}."""

    verify: Any = acceptor.verify
    drafts: Any = lambda pair, length: pair.drafts(length)

    def rounds(self, pair, drafted=None):
        drafted = pair.k if drafted is None else drafted
        return enumerate_rounds(pair, self.verify, self.drafts(pair, drafted), drafted)


def one_hot(tokens, vocabulary, dtype=object):
    return (tokens[..., None] == np.arange(vocabulary)).astype(int).astype(dtype)


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


# --- planted bugs----------------------


def check_law(decoder):
    for pair in CASES:
        assert joint_law(pair, decoder.rounds(pair)) == pair.target_law()


def check_acceptance(decoder, overlap=min):
    for pair in CASES:
        rounds = decoder.rounds(pair)
        for i in range(pair.k + 1):
            assert accepted_survival(rounds, i) == pair.survival(i, overlap)


def check_ragged(decoder):
    for pair in CASES:
        for drafted in range(pair.k):
            assert joint_law(pair, decoder.rounds(pair, drafted)) == pair.target_law()


def check_rounding(decoder):
    """p is one ulp below q at the drafted token and equal elsewhere; u = 1 - eps rejects, nothing is left."""
    for dtype in (np.float32, np.float64):
        q = np.full((1, 4), 0.25, dtype)
        p = np.full((2, 4), 0.25, dtype)
        p[0, 2] = np.nextafter(dtype(0.25), dtype(0))
        u = np.array([np.nextafter(1.0, 0.0)])
        for v, token in ((0.0, 0), (0.3, 1), (0.9, 3), (1.0, 3)):
            verdict = decoder.verify(np.array([2]), q, p, u, np.array(v), xp=np)
            assert (verdict.tokens.tolist(), int(verdict.accepted)) == ([token, -1], 0)


def check_boundary(decoder):
    """Whatever u and v in [0, 1], nothing of probability 0 is emitted and every id is below V."""
    edges = (0.0, 5e-324, 1e-45, np.finfo(np.float32).tiny, 0.5, 1 - 2**-24, 1 - 2**-53, 1.0)
    q = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 0.25, 0.5, 0.25]])
    p = np.array([[0.0, 0.7, 0.3, 0.0], [0.0, 0.1, 0.6, 0.3], [0.0, 0.1, 0.9, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        for u, v in np.ndindex(len(edges), len(edges)):
            for tokens in ([0, 1], [1, 2], [1, 1], [2, 3]):
                coins = np.full(2, edges[u])
                verdict = decoder.verify(
                    np.array(tokens), q.astype(dtype), p.astype(dtype), coins, np.array(edges[v]), xp=np
                )
                emitted = verdict.tokens[: int(verdict.accepted) + 1]
                assert all(0 <= token < 4 and p[i, token] > 0 for i, token in enumerate(emitted))


CHECKS = {
    "law": check_law,
    "acceptance": check_acceptance,
    "ragged": check_ragged,
    "rounding": check_rounding,
    "boundary": check_boundary,
}
TRUE = {name: getattr(chain, name) for name in ("verify", "residual", "draw", "_prefix_length", "_draft_row")}


def excess(p, q):
    return np.where(p > q, p - q, 0)


def softmax_of_residual(p, q, *, xp):
    """softmax(max(p - q, 0)), the series of exp cut after its square where numbers are exact."""
    x = excess(p, q)
    weights = 1 + x + x * x / 2 if x.dtype == object else np.exp(x)
    return weights / weights.sum(-1, keepdims=True)


def residual_without_fallback(p, q, *, xp):
    with np.errstate(invalid="ignore"):
        return excess(p, q) / excess(p, q).sum(-1, keepdims=True)


def unclipped_draw(weights, v, *, xp):
    cumulative = np.cumsum(weights, -1, dtype=weights.dtype)
    return (cumulative <= v[..., None] * cumulative[..., -1:]).sum(-1)


def shifted_draw(weights, v, *, xp):
    return np.minimum(TRUE["draw"](weights, v, xp=xp) + 1, weights.shape[-1] - 1)


def first_is_committed(passes, xp):
    passes = np.concatenate([np.ones_like(passes[..., :1]), passes[..., 1:]], axis=-1)
    return TRUE["_prefix_length"](passes, xp)


def verify_as_one_hot(tokens, q, p, u, v, **rest):
    return TRUE["verify"](tokens, one_hot(tokens, q.shape[-1]), p, u, v, **rest)


def bonus_from_the_row_before(tokens, q, p, u, v, **rest):
    p = np.concatenate([p[..., :-1, :], p[..., -2:-1, :]], axis=-2)
    return TRUE["verify"](tokens, q, p, u, v, **rest)


def coin_used_twice(tokens, q, p, u, v, **rest):
    """The coin that rejected draws the recovered token too."""
    accepted = TRUE["verify"](tokens, q, p, u, v, **rest).accepted
    last = np.minimum(accepted, tokens.shape[-1] - 1)
    v = np.where(accepted < tokens.shape[-1], np.take_along_axis(u, last[..., None], -1)[..., 0], v)
    return TRUE["verify"](tokens, q, p, u, v, **rest)


def padding_is_verified(tokens, q, p, u, v, *, xp, drafted):
    """Slots that drafted nothing, filled with a token and its row, count as drafted."""
    used = np.arange(tokens.shape[-1]) < drafted[:, None]
    tokens, u = np.where(used, tokens, 0), np.where(used, u, Fraction(0))
    q = np.where(used[..., None], q, Fraction(1, q.shape[-1]))
    p = np.where((np.arange(p.shape[-2]) <= drafted[:, None])[..., None], p, Fraction(1, p.shape[-1]))
    return TRUE["verify"](tokens, q, p, u, v, xp=xp)


def truncated_drafts(pair, length):
    """Drafts drawn without the first token wherever another has mass, while q is reported whole."""
    cut = {x: (0, *law[1:]) if any(law[1:]) else law for x, law in pair.q.items()}
    law = {x: tuple(Fraction(mass) / sum(cut[x]) for mass in cut[x]) for x in cut}
    return type(pair)(pair.k, pair.vocabulary, pair.denominator, pair.p, law).drafts(length)


def sampler_match(tokens, q, p, u, v, *, xp, drafted=None):
    """Draw from p at every slot with its own coin, emit those draws as far as they equal the drafted tokens."""
    own = acceptor.draw(p, np.concatenate([u, v[..., None]], axis=-1), xp=np)
    accepted = np.cumprod(own[..., :-1] == tokens, axis=-1).sum(-1)
    return acceptor.Verdict(np.where(np.arange(own.shape[-1]) <= accepted[..., None], own, -1), accepted)


MUTANTS = {  # name: (the check that kills it, what is replaced inside acceptor.chain, the decoder around it)
    "resamples from p": ("law", {"residual": lambda p, q, *, xp: p}, Decoder()),
    "inverted ratio": ("law", {"_accepts": lambda u, q, p: u * p < q}, Decoder()),
    "wrong bonus row": ("law", {}, Decoder(bonus_from_the_row_before)),
    "counts accepts behind a rejection": ("law", {"_prefix_length": lambda passes, xp: passes.sum(-1)}, Decoder()),
    "draw off by one": ("law", {"draw": shifted_draw}, Decoder()),
    "u reused as v (sglang PR 7231)": ("law", {}, Decoder(coin_used_twice)),
    "no fallback without residual mass": ("rounding", {"residual": residual_without_fallback}, Decoder()),
    "softmax of the residual (transformers PR 28508)": ("law", {"residual": softmax_of_residual}, Decoder()),
    "softmax q for an argmax draft (transformers #32867)": (
        "law",
        {},
        Decoder(drafts=lambda pair, n: pair.argmax_drafts(n)),
    ),
    "draft truncated, q reported whole (transformers #47932)": ("law", {}, Decoder(drafts=truncated_drafts)),
    "<= for < (sglang #35771)": ("boundary", {"_accepts": lambda u, q, p: u * q <= p}, Decoder()),
    "draw unclipped (sglang PR 30822)": ("boundary", {"draw": unclipped_draw}, Decoder()),
    "first token committed unverified (lattice #243)": ("law", {"_prefix_length": first_is_committed}, Decoder()),
    "fresh draw on mismatch (mlx-swift-lm PR 459)": (
        "law",
        {"residual": lambda p, q, *, xp: p},
        Decoder(verify_as_one_hot),
    ),
    "q ignored (vllm #40149)": ("acceptance", {}, Decoder(verify_as_one_hot)),
    "padding verified as drafted": ("ragged", {}, Decoder(padding_is_verified)),
    "residual against the first draft row": (
        "law",
        {"_draft_row": lambda q, accepted, rejected, xp: TRUE["_draft_row"](q, 0 * accepted, rejected, xp)},
        Decoder(),
    ),
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_true_acceptor_passes_every_check(check):
    CHECKS[check](Decoder())


@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_is_killed(name, monkeypatch):
    check, replaced, decoder = MUTANTS[name]
    for attribute, bug in replaced.items():
        monkeypatch.setattr(chain, attribute, bug)
    with pytest.raises((AssertionError, ValueError)):
        CHECKS[check](decoder)


def test_ignoring_q_stays_lossless_and_accepts_only_sum_p_q():
    check_law(Decoder(verify_as_one_hot))
    check_acceptance(Decoder(verify_as_one_hot), overlap=lambda p, q: p * q)


def test_emitting_the_targets_own_draws_is_exact_and_accepts_sum_p_q():
    check_law(Decoder(sampler_match))
    check_acceptance(Decoder(sampler_match), overlap=lambda p, q: p * q)


# --- by sampling -----------------------------------------------------------------------------------------------------


def sampled_p_value(couple=None, **replaced):
    """Chi-square of the first two emitted tokens of 200 000 rounds, V = 8, against the target's law."""
    rng, n = np.random.default_rng(7), 200_000
    p, q = rng.dirichlet(np.full(8, 0.7), (2, 73))  # rows: after nothing, after x, after x y
    w, u, v, last = rng.random((n, 2)), rng.random((n, 2)), rng.random(n), rng.random(n)
    first = acceptor.draw(np.tile(q[0], (n, 1)), w[:, 0], xp=np)
    second = acceptor.draw(q[1 + first], w[:, 1], xp=np)
    tokens, rows = np.stack([first, second], -1), np.stack([0 * first, 1 + first, 9 + 8 * first + second], -1)
    coupled = {"draft, accept": (w, v), "draft, recover": (u, w[:, 0]), "accept, recover": (u, u[:, 0])}
    u, v = coupled.get(couple, (u, v))
    with pytest.MonkeyPatch.context() as patch:
        for attribute, bug in replaced.items():
            patch.setattr(chain, attribute, bug)
        emitted = acceptor.verify(tokens, q[rows[:, :2]], p[rows], u, v, xp=np).tokens
    after = acceptor.draw(p[1 + emitted[:, 0]], last, xp=np)
    seen = np.bincount(8 * emitted[:, 0] + np.where(emitted[:, 1] < 0, after, emitted[:, 1]), minlength=64)
    return stats.chisquare(seen, n * (p[0][:, None] * p[1:9]).ravel()).pvalue


def test_sampled_rounds_have_the_targets_law():
    assert sampled_p_value() > 0.01


@pytest.mark.parametrize(
    "bug",
    [
        {"residual": softmax_of_residual},
        {"residual": lambda p, q, *, xp: p},
        {"couple": "draft, accept"},
        {"couple": "draft, recover"},
        {"couple": "accept, recover"},
    ],
)
def test_the_same_test_rejects_a_planted_bug(bug):
    assert sampled_p_value(**bug) < 1e-6
