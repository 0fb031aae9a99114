"""One sequence being continued: its text, the law that it obeys and its own coins."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from validate.arrays import Arrays
from validate.processors import Processor
from validate.sampler import Sampler

GREEDY = Sampler()
NO_NUMBERS = "the logits of {} hold NaN or infinity; expected numbers: try another dtype"


@dataclass(frozen=True)
class Request:
    """A prompt to be continued by at most `budget` tokens, under its own seed, sampler and processors."""

    prompt: Sequence[int]
    budget: int
    seed: int = 0
    sampler: Sampler = GREEDY
    processors: tuple[Processor, ...] = ()


@dataclass(frozen=True)
class Streams:
    """Three independent sources of uniforms: drafting, accepting, and the recovered or bonus token."""

    draft: np.random.Generator
    accept: np.random.Generator
    recover: np.random.Generator

    @staticmethod
    def seeded(seed: int) -> "Streams":
        """Streams spawned from one seed."""
        return Streams(*map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3)))


@dataclass(frozen=True)
class Coins:
    """The uniforms of one round: to draft with [k], to accept with [k], and of the recovered or bonus token."""

    draft: np.ndarray
    accept: np.ndarray
    recover: float


class Row:
    """What is committed of one sequence, prompt and output; nothing that was only drafted ever gets here."""

    def __init__(self, request: Request, eos: frozenset[int]) -> None:
        self.request = request
        self.committed = list(request.prompt)
        self.prefill_s = 0.0
        self._eos = eos
        self._coins: Coins | None = None

    @property
    def tokens(self) -> list[int]:
        """Generated tokens."""
        return self.committed[len(self.request.prompt) :]

    @property
    def made(self) -> int:
        """Number of generated tokens."""
        return len(self.committed) - len(self.request.prompt)

    @property
    def end(self) -> str | None:
        """Why the sequence is over: eos or budget; None while it is not."""
        if self.made and self.committed[-1] in self._eos:
            return "eos"
        return "budget" if self.made >= self.request.budget else None

    def room(self, k: int) -> int:
        """How many of k drafts the budget has room for, beside the token that every round adds."""
        return min(k, self.request.budget - self.made - 1)

    def coins(self, k: int) -> Coins:
        """The uniforms of the next round, of at most k drafts: drawn once, and the same again until it is committed."""
        if self._coins is None:
            streams = self._streams
            self._coins = Coins(streams.draft.random(k), streams.accept.random(k), streams.recover.random())
        return self._coins

    def commit(self, tokens: Sequence[int]) -> int:
        """Append tokens up to and including the first EOS; how many were kept."""
        kept = next((i + 1 for i, token in enumerate(tokens) if token in self._eos), len(tokens))
        self.committed += tokens[:kept]
        self._coins = None
        return kept

    @cached_property
    def _streams(self) -> Streams:
        return Streams.seeded(self.request.seed)


def laws(rows: Sequence[Row], arrays: Arrays, logits: Any, name: str, drafts: Any = None) -> Any:
    """Probabilities [B, n, V] of logits [B, n, V], every row under its own processors and sampler.

    `drafts` are the tokens drafted behind the committed ones, needed where a row has processors: the last column
    follows all of them, the one before it all but one. Raises ValueError naming the model where the logits are no
    numbers.
    """
    native = arrays.native(logits)
    if any(row.request.processors for row in rows):
        behind = [[]] * len(rows) if drafts is None else drafts
        native = arrays.xp.stack(list(map(partial(_processed, arrays.xp), rows, native, behind)))
    samplers = {row.request.sampler: None for row in rows}
    if len(samplers) == 1:
        return law(next(iter(samplers)), arrays, native, name)
    found = arrays.xp.empty_like(native)
    for sampler in samplers:
        at = [r for r, row in enumerate(rows) if row.request.sampler == sampler]
        found[at] = law(sampler, arrays, native[at], name)
    return found


def law(sampler: Sampler, arrays: Arrays, native: Any, name: str) -> Any:
    """Probabilities of a model's logits under one sampler; ValueError naming the model where they are no numbers."""
    try:
        return sampler(native, xp=arrays.xp)
    except ValueError as error:
        raise ValueError(NO_NUMBERS.format(name)) from error


def stacked(uniforms: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The uniforms of rows of different depths as [B, k], zero where a row has none."""
    padded = np.zeros((len(uniforms), k))
    for row, values in zip(padded, uniforms, strict=True):
        row[: len(values)] = values
    return padded


def _processed(xp: Any, row: Row, logits: Any, drafts: Sequence[int]) -> Any:
    """Logits [n, V] of a row after its processors, the last column behind all drafts."""
    columns = []
    for j in range(logits.shape[0]):
        output = [*row.tokens, *drafts[: len(drafts) - (logits.shape[0] - 1) + j]]
        column = logits[j]
        for processor in row.request.processors:
            column = processor(column, row.request.prompt, output, xp=xp)
        columns.append(column)
    return xp.stack(columns)
