"""Texts of a decoder as what the lossless test observes: every token, its law, and the laws it may lean towards."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from validate.directions import DRAFT, Observations
from validate.drafters import Lookup
from validate.laws import Laws

CELLS = 1 << 22  # probabilities of one law at once
ROUNDED, STALE = "the draft in bfloat16", "the row before"

Context = tuple[int, tuple[int, ...]]


class Observer:
    """Turns texts after `prompts` into observations under `target`; `draft` scores them too where it is a model,
    `lookup` drafts.
    """

    def __init__(
        self,
        target: Laws,
        vocabulary: int,
        prompts: Sequence[Sequence[int]],
        *,
        draft: Laws | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        self._target, self._draft, self._lookup = target, draft, lookup
        self._vocabulary, self._prompts = vocabulary, prompts
        self._contexts: dict[Context, int] = {}

    def context(self, number: int) -> Context:
        """The prompt's number and the tokens after it of a context."""
        return list(self._contexts)[number]

    def observe(self, texts: Sequence[tuple[int, Sequence[int]]]) -> Iterator[Observations]:
        """The tokens of (number of the prompt, text), as many texts at once as memory allows; an empty text says
        nothing.
        """
        texts = [(number, text) for number, text in texts if len(text)]
        size = max(CELLS // (self._vocabulary * max((len(text) for _, text in texts), default=1)), 1)
        for start in range(0, len(texts), size):
            numbers, part = zip(*texts[start : start + size], strict=True)
            yield self._observations(numbers, part)

    def _observations(self, numbers: Sequence[int], texts: Sequence[Sequence[int]]) -> Observations:
        prompts = [self._prompts[number] for number in numbers]
        logits = self._target.logits(prompts, texts)
        p, tokens = self._target.law(logits), np.concatenate([np.asarray(text) for text in texts])
        ends = np.cumsum([0, *map(len, texts)])
        position = np.concatenate([np.arange(len(text)) for text in texts])
        before = np.concatenate([[ids[-1], *text[:-1]] for ids, text in zip(prompts, texts, strict=True)])
        tied, impossible = np.zeros(len(tokens), bool), p[np.arange(len(tokens)), tokens] <= 0
        if impossible.any():
            tied[impossible] = self._target.tied(logits[impossible], tokens[impossible])
        suspects = {STALE: _row_before(p, ends)} | self._drafts(prompts, texts, p)
        named = [(number, tuple(text)) for number, text in zip(numbers, texts, strict=True)]
        contexts = np.array([self._number((number, text[:i])) for number, text in named for i in range(len(text))])
        return Observations(contexts, p, tokens, suspects, before, position, tied)

    def _drafts(
        self, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], p: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the draft says, and what p would be if its tokens came from rounded logits and were judged by others."""
        if self._draft:
            logits = self._draft.logits(prompts, texts)
            q, rounded = self._draft.law(logits), self._draft.rounded(logits)
            return {DRAFT: q, ROUNDED: p * rounded / np.where(q > 0, q, 1)}
        if self._lookup:
            return {DRAFT: _looked_up(self._lookup, prompts, texts, p)}
        return {}

    def _number(self, context: Context) -> int:
        return self._contexts.setdefault(context, len(self._contexts))


def _row_before(p: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The law of the token before in the same text, a first token's own."""
    found = p.copy()
    for start, stop in pairwise(ends):
        found[start + 1 : stop] = p[start : stop - 1]
    return found


def _looked_up(
    lookup: Lookup, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]], p: np.ndarray
) -> np.ndarray:
    """p, with all mass on the token that is looked up where there is one."""
    found, row = p.copy(), 0
    for ids, text in zip(prompts, texts, strict=True):
        lookup.start(ids)
        for i in range(len(text)):
            for token in lookup.tokens([*ids, *text[:i]], 1):
                found[row] = 0
                found[row, token] = 1
            row += 1
    return found
