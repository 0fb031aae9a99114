"""How deep to draft, decided draft by draft: policies for `Replay.schedule`, and what their rounds add up to.

A policy is any callable that gives, for a prompt's index, the drafts a round from each of its tokens would make if all
of them were accepted: an int, or int[n]. `Replay.schedule` says what of its replay is exact and what is assumed.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from specmath.cost import Outside, priced
from specmath.draft import Chain
from specmath.renewal import ahead
from specmath.tally import NotIdentifiable

GAIN = 1e-12


@dataclass(frozen=True, eq=False)
class Schedule:
    """Rounds of varying depth: tokens[P] of each prompt, and by_depth[P, D + 1], rounds expected that draft 0..D.

    A round pays for its whole depth, what it drafts past the end of the text included.
    """

    tokens: Any
    by_depth: Any

    @property
    def rounds(self):
        """Expected rounds[P]."""
        return self.by_depth.sum(axis=1)

    @property
    def drafted(self):
        """Expected drafted tokens[P]."""
        return self.by_depth @ np.arange(self.by_depth.shape[1])

    @property
    def block_efficiency(self):
        """Tokens per round, totals over totals."""
        return per_total(self.tokens, self.rounds)

    def time(self, cost, *, batch=1, context=0):
        """Expected time[P] in the unit of the cost; Outside for a depth that occurs and was never measured.

        Where no round ever drafts that is plain decoding. A round that drafts nothing among others that do pays
        what a round costs besides, as `cost.round` has it.
        """
        cost, at = priced(cost), {"batch": batch, "context": context}
        if not self.by_depth[:, 1:].any():
            return self.rounds * cost.step(**at)
        depths = np.flatnonzero(self.by_depth.any(axis=0)).tolist()
        return sum(self.by_depth[:, k] * cost.round(Chain(k), **at).total for k in depths)

    def speedup(self, cost, *, batch=1, context=0):
        """Plain time over expected time, totals over totals; exactly 1 where no round ever drafts."""
        at = {"batch": batch, "context": context}
        return per_total(self.tokens * priced(cost).step(**at), self.time(cost, **at))


@dataclass(frozen=True)
class FixedDepth:
    """Every round drafts k."""

    k: int

    def __call__(self, prompt):
        """k."""
        return Chain(self.k).k


@dataclass(frozen=True, eq=False)
class Threshold:
    """Stop after the first draft whose confidence is below `threshold`, after k_max at most; always draft one.

    confidence is per prompt [n], or [K, n] by offset: that of each token of the text, seen once it is drafted. The
    draft that falls below is kept and verified: to drop it for what it is would not be lossless. Nothing is drafted
    beyond the end of the text. ValueError for a confidence that is NaN, or k_max no integer >= 0.

    >>> Threshold([[0.9, 0.2, 0.9, 0.9]], 0.5, 3)(0).tolist()
    [2, 1, 2, 1]
    """

    confidence: Any
    threshold: float
    k_max: int

    def __post_init__(self):
        Chain(self.k_max)
        object.__setattr__(self, "confidence", _rows("confidence", self.confidence))

    def __call__(self, prompt):
        """int[n], from every token of the prompt."""
        seen = _of("confidence", self.confidence, prompt)
        n = seen.shape[1]
        return _depths(n, self.k_max, lambda i: i == 0 or _draft(seen, i - 1) >= self.threshold)


@dataclass(frozen=True, eq=False)
class RateOptimal:
    """Draft on while s * expected > rate * added: while the next draft promises more tokens than its time is worth.

    chance    per prompt [n], or [K, n] by offset: that the token will be accepted, as foretold once it is drafted
    cost      what a draft adds to the round, in plain steps; a number is a `Ratio`
    k_max     drafts at most, fewer where the cost was not measured so far
    expected  the chance of a draft before it is made; the mean of all chances unless given
    rate      tokens per plain step that the whole attains; `raised` finds it

    s is the product of the chances of the drafts made so far. One step ahead is as far as it looks: with true chances
    and drafts that each add no less than the one before, that is the best there is at that rate (derived here).
    Nothing is drafted beyond the end of the text. ValueError for a chance outside [0, 1].

    >>> RateOptimal([[0.75, 0.25, 0.75, 1.0]], 0.125, 3, expected=0.5)(0).tolist()
    [2, 1, 2, 1]
    """

    chance: Any
    cost: Any
    k_max: int
    _: KW_ONLY
    expected: float | None = None
    rate: float = 1.0
    batch: int = 1
    context: int = 0

    def __post_init__(self):
        Chain(self.k_max)
        object.__setattr__(self, "chance", _rows("chance", self.chance, 0, 1))
        object.__setattr__(self, "cost", priced(self.cost))
        if self.expected is None:
            tokens = sum(rows.size for rows in self.chance)
            object.__setattr__(self, "expected", per_total(sum(rows.sum() for rows in self.chance), tokens))

    def __call__(self, prompt):
        """int[n], from every token of the prompt."""
        chance = _of("chance", self.chance, prompt)
        left = np.ones(chance.shape[1])

        def goes_on(i):
            left[:] *= _draft(chance, i - 1) if i else 1
            return left * self.expected > self.rate * self.added[i]

        return _depths(len(left), len(self.added), goes_on)

    @cached_property
    def added(self):
        """Plain steps that draft 1, 2, .., k_max adds to a round, as far as they were measured."""
        at, times = {"batch": self.batch, "context": self.context}, []
        for k in range(self.k_max + 1):
            try:
                times.append(self.cost.round(Chain(k), **at).total)
            except Outside:
                break
        return np.diff(times) / self.cost.step(**at)

    def raised(self, replay, rule="token"):
        """The same at the rate that it attains itself over the texts of `replay`.

        Dinkelbach's method (1967): from the rate 1 of plain decoding, the rate is raised to the speedup reached
        until it repeats; where a higher one does worse, as it may where the chances are wrong, the one before
        stands. Where drafting by these chances never pays, nothing is drafted.
        """
        best, rate = replace(self, k_max=0), 1.0
        while True:
            policy = replace(self, rate=rate)
            reached = replay.schedule(policy, rule).speedup(self.cost, batch=self.batch, context=self.context)
            if reached <= rate * (1 + GAIN):
                return policy if reached >= rate * (1 - GAIN) else best
            best, rate = policy, reached


def per_total(numerators, denominators):
    """sum / sum as a float; NotIdentifiable where there is nothing to divide by."""
    if not np.sum(denominators):
        raise NotIdentifiable("tokens", "a mean over all texts")
    return float(np.sum(numerators) / np.sum(denominators))


def _depths(n, k_max, goes_on):
    """int[n]: for how many i = 0, 1, .. in a row each start goes on, up to k_max and to the end of the text."""
    alive, depth = np.ones(n, dtype=bool), np.zeros(n, dtype=int)
    for i in range(min(k_max, n)):
        alive &= goes_on(i)
        alive[n - i :] = False
        depth += alive
    return depth


def _of(name, prompts, prompt):
    """The rows of one prompt; ValueError where there are none for it."""
    if prompt >= len(prompts):
        raise ValueError(f"{name}: found {len(prompts)} prompts, expected one for each: none for prompt {prompt}")
    return prompts[prompt]


def _draft(rows, i):
    """[n]: the entry of draft i + 1 of a round from each token, 0 beyond the end."""
    return ahead(rows[min(i, len(rows) - 1)], i, i + rows.shape[1])


def _rows(name, prompts, low=-math.inf, high=math.inf):
    """Per prompt [K, n], one row where it is given as [n]; ValueError for an entry that is NaN or out of bounds."""
    rows = tuple(np.atleast_2d(np.asarray(prompt, dtype=float)) for prompt in prompts)
    for prompt, entries in enumerate(rows):
        bad = np.argwhere(~((entries >= low) & (entries <= high)))
        if len(bad):
            found, token = entries[tuple(bad[0])], bad[0][1]
            expected = f"a number in [{low:g}, {high:g}]"
            raise ValueError(f"{name}: found {found} for prompt {prompt}, token {token}, expected {expected}")
    return rows
