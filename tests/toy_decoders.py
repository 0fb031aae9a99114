"""Speculative decoders of random laws, thousands of rounds at once: the honest one, and every lossy rule and wild bug.

A context is a prompt and the token before (a Markov chain), so that each is met again and again.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from specmath import acceptor
from specmath.sampling import warp
from validate.directions import Observations

LOUD = 20.0  # logits of real models are far from zero, which is where bfloat16 is coarse


@dataclass(frozen=True)
class Toy:
    """Logits of target and draft [prompts, V, V], by prompt and the token before, and the tokens drafted per round."""

    target: Any
    draft: Any
    k: int = 3
    sampler: Any = field(default_factory=dict)

    @property
    def vocabulary(self):
        return self.target.shape[-1]

    def warp(self, logits, **changed):
        return warp(logits, **{**self.sampler, **changed}, xp=np)


def toy(*, vocabulary=8, prompts=6, k=3, spread=1.5, noise=0.7, seed=0, **sampler):
    """48 contexts of V = 8 by default."""
    rng = np.random.default_rng(seed)
    target = spread * rng.standard_normal((prompts, vocabulary, vocabulary))
    return Toy(target, target + noise * rng.standard_normal(target.shape), k, sampler)


@dataclass(frozen=True)
class Rule:
    """How a round is made; each field is a place where a bug may sit. Logits in, laws out."""

    sampled: Any = lambda toy, logits: toy.warp(logits)  # the row drafts are drawn from
    reported: Any = lambda toy, logits: toy.warp(logits)  # the row shown as q
    verified: Any = lambda toy, logits: toy.warp(logits)  # the law the decoder takes for p
    verify: Any = acceptor.verify  # (tokens, q, p, u, v, *, xp)
    coins: Any = lambda drafts, u, v: (u, v)
    argmax: bool = False


HONEST = Rule()


def rounds(toy, n, rng, rule=HONEST):
    """n rounds: prompts int[n], the token before each slot int[n, k+1], and emitted tokens int[n, k+1], -1 behind."""
    prompts, before = rng.integers(len(toy.target), size=n), [rng.integers(toy.vocabulary, size=n)]
    drafts, q = [], []
    uniforms = rng.random((n, toy.k))
    for j in range(toy.k):
        logits = toy.draft[prompts, before[-1]]
        row = rule.sampled(toy, logits)
        token = row.argmax(axis=-1) if rule.argmax else acceptor.draw(row, uniforms[:, j], xp=np)
        q.append(rule.reported(toy, logits))
        drafts.append(token)
        before.append(token)
    before = np.stack(before, axis=1)
    p = rule.verified(toy, toy.target[prompts[:, None], before])
    u, v = rule.coins(uniforms, rng.random((n, toy.k)), rng.random(n))
    verdict = rule.verify(np.stack(drafts, axis=1), np.stack(q, axis=1), p, u, v, xp=np)
    return prompts, before, verdict.tokens


def observed(toy, n, rng, rule=HONEST):
    """What n rounds emitted, under the laws that a true decoder has there."""
    prompts, before, tokens = rounds(toy, n, rng, rule)
    rows, slots = np.nonzero(tokens >= 0)
    prompt, last = prompts[rows], before[rows, slots]
    p, q = (toy.warp(logits[prompt, last]) for logits in (toy.target, toy.draft))
    stale = np.where((slots > 0)[:, None], toy.warp(toy.target[prompt, before[rows, slots - 1]]), p)
    rounded = p * toy.warp(bfloat16(toy.draft[prompt, last] + LOUD)) / np.where(q > 0, q, 1)
    suspects = {"the draft": q, "the row before": stale, "the draft in bfloat16": rounded}
    return Observations(prompt * toy.vocabulary + last, p, tokens[rows, slots], suspects, last, slots)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def recovered_from_p(tokens, q, p, u, v, *, xp):
    """The recovered token is drawn from p, not from the residual."""
    found = acceptor.verify(tokens, q, p, u, v, xp=xp)
    row = np.take_along_axis(p, found.accepted[:, None, None], axis=1)[:, 0]
    return replaced(found, acceptor.draw(row, v, xp=xp))


def wrong_bonus_row(tokens, q, p, u, v, *, xp):
    """The bonus is drawn from the row before its own."""
    found = acceptor.verify(tokens, q, p, u, v, xp=xp)
    bonus = acceptor.draw(p[:, -2], v, xp=xp)
    return replaced(found, np.where(found.accepted == tokens.shape[1], bonus, last(found)))


def fresh_draw_on_mismatch(tokens, q, p, u, v, *, xp):
    """T24: compare with one draw from p, on mismatch emit another."""
    match = tokens == acceptor.draw(p[:, :-1], u, xp=xp)
    accepted = np.cumprod(match, axis=1).sum(axis=1)
    slots = np.arange(tokens.shape[1] + 1)
    row = np.take_along_axis(p, accepted[:, None, None], axis=1)[:, 0]
    emitted = np.where(slots < accepted[:, None], np.pad(tokens, ((0, 0), (0, 1))), -1)
    emitted[np.arange(len(emitted)), accepted] = acceptor.draw(row, v, xp=xp)
    return acceptor.Verdict(emitted, accepted)


def first_draft_unverified(tokens, q, p, u, v, *, xp):
    """T14: the first draft is committed whatever p says."""
    return acceptor.verify(tokens, q, p, np.where(np.arange(tokens.shape[1]) == 0, -1.0, u), v, xp=xp)


def repeated_at_the_boundary(tokens, q, p, u, v, *, xp):
    """T15: one recovered token in ten is the last accepted draft again."""
    found = acceptor.verify(tokens, q, p, u, v, xp=xp)
    again = np.take_along_axis(tokens, np.maximum(found.accepted - 1, 0)[:, None], axis=1)[:, 0]
    return replaced(found, np.where((found.accepted > 0) & (v * 1e3 % 1 < 0.1), again, last(found)))


def last(found):
    return np.take_along_axis(found.tokens, found.accepted[:, None], axis=1)[:, 0]


def replaced(found, final):
    tokens = found.tokens.copy()
    tokens[np.arange(len(tokens)), found.accepted] = final
    return acceptor.Verdict(tokens, found.accepted)


def bfloat16(rows):
    """Rounded to the eight bits of bfloat16's significand, to nearest, ties to even."""
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32).astype(float)


def typical(tokens, q, p, u, v, *, xp):
    return acceptor.lossy_typical(tokens, p, v, epsilon=0.3, delta=0.6, xp=xp)


WRONG = {
    "lenience .7": Rule(verify=partial(acceptor.lossy_lenience, lenience=0.7)),
    "lenience .9": Rule(verify=partial(acceptor.lossy_lenience, lenience=0.9)),
    "typical acceptance": Rule(verify=typical),
    "top-p .9 on the draft, q whole": Rule(sampled=lambda toy, logits: toy.warp(logits, top_p=0.9)),
    "target at T 1, verified at T .9": Rule(verified=lambda toy, logits: toy.warp(logits, temperature=0.9)),
    "top-p .95 on the target, not asked for": Rule(verified=lambda toy, logits: toy.warp(logits, top_p=0.95)),
    "T2 argmax draft, softmax q": Rule(argmax=True),
    "T3 draft at T .7, q at 1": Rule(sampled=lambda toy, logits: toy.warp(logits, temperature=0.7)),
    "T3 draft top-k 3, q whole": Rule(sampled=lambda toy, logits: toy.warp(logits, top_k=3)),
    "T3 draft min-p .1, q whole": Rule(sampled=lambda toy, logits: toy.warp(logits, min_p=0.1)),
    "T4 bfloat16 drawn, float32 shown": Rule(sampled=lambda toy, logits: toy.warp(bfloat16(logits + LOUD))),
    "T5 draft and accept share noise": Rule(coins=lambda drafts, u, v: (drafts, v)),
    "T5 draft and recover share noise": Rule(coins=lambda drafts, u, v: (u, drafts[:, 0])),
    "T6 accept and recover share noise": Rule(coins=lambda drafts, u, v: (u, u[:, 0])),
    "T14 first draft unverified": Rule(verify=first_draft_unverified),
    "T15 token twice at the boundary": Rule(verify=repeated_at_the_boundary),
    "T24 fresh draw on mismatch": Rule(verify=fresh_draw_on_mismatch),
    "wrong bonus row": Rule(verify=wrong_bonus_row),
    "recovered from p": Rule(verify=recovered_from_p),
}
