"""One sequence being continued: its text, the law that it obeys and its own coins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from typing import Any

import numpy as np

from validate.arrays import Arrays
from validate.processors import Processor
from validate.sampler import Sampler

GREEDY = Sampler()


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
        self._coins: tuple[int, Coins] | None = None

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

    def goes_on(self, token: int) -> bool:
        """Whether text may follow a token."""
        return token not in self._eos

    def room(self, k: int) -> int:
        """How many of k drafts the budget has room for, beside the token that every round adds."""
        return min(k, self.request.budget - self.made - 1)

    def coins(self, k: int) -> Coins:
        """The uniforms of the next round, of at most k drafts: drawn once, and the same again until it is committed."""
        if self._coins is None or self._coins[0] != self.made:
            streams = self._streams
            self._coins = self.made, Coins(streams.draft.random(k), streams.accept.random(k), streams.recover.random())
        return self._coins[1]

    def commit(self, tokens: Sequence[int]) -> int:
        """Append tokens up to and including the first EOS; how many were kept."""
        kept = next((i + 1 for i, token in enumerate(tokens) if token in self._eos), len(tokens))
        self.committed += tokens[:kept]
        return kept

    @cached_property
    def _streams(self) -> Streams:
        return Streams.seeded(self.request.seed)


def in_the_text(rows: Sequence[Row], tokens: Any, counts: Sequence[int]) -> list[list[int]] | None:
    """The first counts[r] drafted tokens of each row as far as no EOS ends it; None where no row has processors."""
    if not any(row.request.processors for row in rows):
        return None
    columns = zip(rows, tokens.tolist(), counts, strict=True)
    return [list(takewhile(row.goes_on, drafts[:count])) for row, drafts, count in columns]


def laws(
    rows: Sequence[Row], arrays: Arrays, logits: Any, name: str, drafts: Sequence[Sequence[int]] | None, first: int = 0
) -> Any:
    """Probabilities [B, n, V] of logits [B, n, V], every row under its own processors and sampler.

    Column j follows the committed tokens and first + j of `drafts`, which only processors need; what follows more than
    there are, or a draft that a processor forbids, is in no text and stays as the model has it. Raises ValueError
    naming the model where the logits are no numbers.
    """
    native = arrays.native(logits)
    if drafts is not None:
        native = arrays.xp.stack(list(map(partial(_processed, arrays.xp, first), rows, native, drafts)))
    samplers = {row.request.sampler: None for row in rows}
    try:
        if len(samplers) == 1:
            return next(iter(samplers))(native, xp=arrays.xp)
        found = arrays.xp.empty_like(native)
        for sampler in samplers:
            at = [r for r, row in enumerate(rows) if row.request.sampler == sampler]
            found[at] = sampler(native[at], xp=arrays.xp)
        return found
    except ValueError as error:
        numbers = arrays.xp.isfinite(arrays.xp.max(native, axis=-1))
        bad = [r for r in range(len(rows)) if not bool(arrays.xp.all(numbers[r]))]
        raise no_numbers(name, bad, len(rows)) from error


def no_numbers(name: str, bad: Sequence[int], rows: int) -> ValueError:
    """The error that names a model and which of several sequences, from 1 on, have logits that are no numbers."""
    where = f" in sequence {', '.join(str(r + 1) for r in bad)}" if rows > 1 else ""
    return ValueError(f"the logits of {name} hold NaN or infinity{where}; expected numbers: try another dtype")


def stacked(uniforms: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The uniforms of rows of different depths as [B, k], zero where a row has none."""
    padded = np.zeros((len(uniforms), k))
    for row, values in zip(padded, uniforms, strict=True):
        row[: len(values)] = values
    return padded


def _processed(xp: Any, first: int, row: Row, logits: Any, drafts: Sequence[int]) -> Any:
    """Logits [n, V] of a row after its processors."""
    columns = list(logits)
    for j in range(min(len(columns), len(drafts) - first + 1)):
        if j and columns[j - 1][drafts[first + j - 1]] == -math.inf:
            break
        for processor in row.request.processors:
            output = [*row.tokens, *drafts[: first + j]]
            columns[j] = processor(columns[j], row.request.prompt, output, xp=xp)
    return xp.stack(columns)
