"""Where drafted tokens come from: nowhere, the text itself, or another model."""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Iterable, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

import numpy as np

from specmath.acceptor import draw
from validate.arrays import Arrays
from validate.model import Model
from validate.sampler import Sampler

NGRAM_ORDER = 3
Memory = tuple[int, ...]
NO_NUMBERS = "the logits of {} hold NaN or infinity; expected numbers: try another dtype"


@dataclass(frozen=True)
class Proposal:
    """Drafted tokens [d] and the rows of q [d, V] they were drawn from; one-hot where nothing was drawn."""

    tokens: list[int]
    q: Any


class Drafter(Protocol):
    """Proposes up to k tokens after the committed ones; `rule` names the acceptance rule its alpha belongs to,
    `arrays` the library that its rows are in.
    """

    name: str
    rule: str
    arrays: Arrays

    def start(self, prompt: Sequence[int]) -> None:
        """Forget the last prompt and take in the next."""

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """At most k tokens to follow `committed`."""


def law(sampler: Sampler, arrays: Arrays, logits: Any, name: str) -> Any:
    """Probabilities of a model's logits under the sampler; ValueError naming the model where they are no numbers."""
    try:
        return sampler(arrays.native(logits), xp=arrays.xp)
    except ValueError as error:
        raise ValueError(NO_NUMBERS.format(name)) from error


class Nothing:
    """Plain decoding: a round is one token of the target."""

    name, rule = "none", "standard"

    def __init__(self, arrays: Arrays, vocabulary: int) -> None:
        self.arrays = arrays
        self._rows = arrays.one_hot([], vocabulary)

    def start(self, prompt: Sequence[int]) -> None:
        """Nothing to take in."""

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """No token."""
        return Proposal([], self._rows)


class Lookup:
    """Prompt lookup: what followed the last few tokens where they stood before.

    The longest suffix of `longest` down to `shortest` tokens that occurred earlier in prompt or output proposes
    what followed its latest occurrence, up to the end of the text; no occurrence, no draft
    (github.com/apoorvumang/prompt-lookup-decoding). The draft stops before an id at or above `vocabulary`.
    """

    name, rule = "lookup", "one_hot"

    def __init__(self, arrays: Arrays, vocabulary: int, *, longest: int = 3, shortest: int = 2) -> None:
        self.arrays = arrays
        self._vocabulary = vocabulary
        self._sizes = range(longest, shortest - 1, -1)

    def start(self, prompt: Sequence[int]) -> None:
        """Index the prompt."""
        self._next: dict[tuple[int, ...], int] = {}
        self._seen = 0
        self._learn(prompt)

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """Continuation of the latest match, of at most k tokens."""
        tokens = self.tokens(committed, k)
        return Proposal(tokens, self.arrays.one_hot(tokens, self._vocabulary))

    def tokens(self, committed: Sequence[int], k: int) -> list[int]:
        """The tokens alone; what is committed may only grow."""
        self._learn(committed)
        start = next(filter(None, (self._next.get(tuple(committed[-n:])) for n in self._sizes)), len(committed))
        return list(takewhile(lambda t: t < self._vocabulary, committed[start : start + k]))

    def _learn(self, committed: Sequence[int]) -> None:
        """Index every n-gram that has a token after it."""
        for end in range(max(self._seen, 1), len(committed)):
            for n in self._sizes:
                if n <= end:
                    self._next[tuple(committed[end - n : end])] = end
        self._seen = len(committed)


class NGram:
    """The likeliest next token after the last few, counted in other texts beforehand; shorter memories help out.

    The most frequent token after the last `order` tokens, or after fewer where those never stood anywhere; of equals
    the smaller id. No memory at all, no draft. Nothing is learned while decoding, so that the draft depends on the
    tokens before alone.
    """

    name, rule = "ngram", "one_hot"

    def __init__(
        self, arrays: Arrays, vocabulary: int, training: Iterable[Sequence[int]], *, order: int = NGRAM_ORDER
    ) -> None:
        self.arrays, self.order = arrays, order
        self._vocabulary = vocabulary
        self._sizes = range(order, 0, -1)
        self._counts = self._counted(training)
        self._next: MutableMapping[Memory, int | None] = {
            memory: _likeliest(found) for memory, found in self._counts.items()
        }

    def without(self, texts: Iterable[Sequence[int]]) -> "NGram":
        """The same, had it never seen these of its texts."""
        other, theirs = copy(self), self._counted(texts)
        left = {memory: _likeliest(self._counts[memory] - found) for memory, found in theirs.items()}
        other._next = ChainMap(left, self._next)
        return other

    def _counted(self, texts: Iterable[Sequence[int]]) -> dict[Memory, Counter[int]]:
        counts: dict[Memory, Counter[int]] = defaultdict(Counter)
        for text in texts:
            for end in range(1, len(text)):
                for n in self._sizes:
                    if n <= end and text[end] < self._vocabulary:
                        counts[tuple(text[end - n : end])][text[end]] += 1
        return counts

    def start(self, prompt: Sequence[int]) -> None:
        """Nothing to take in."""

    def after(self, committed: Sequence[int]) -> int | None:
        """The token drafted after these."""
        known = (self._next.get(tuple(committed[-n:])) for n in self._sizes)
        return next((token for token in known if token is not None), None)

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """Up to k tokens, one after another."""
        tokens: list[int] = []
        while len(tokens) < k and (token := self.after([*committed[-len(self._sizes) :], *tokens])) is not None:
            tokens.append(token)
        return Proposal(tokens, self.arrays.one_hot(tokens, self._vocabulary))


def _likeliest(found: Counter[int]) -> int | None:
    """The most frequent token, of equals the smallest; None of none."""
    return min(found, key=lambda token: (-found[token], token), default=None)


class ModelDraft:
    """Another language model, drafting token by token under the target's sampler."""

    rule = "standard"

    def __init__(self, arrays: Arrays, model: Model, sampler: Sampler) -> None:
        self.arrays = arrays
        self.name = model.name
        self.rule = "one_hot" if sampler.temperature == 0 else "standard"
        self._model = model
        self._sampler = sampler

    def start(self, prompt: Sequence[int]) -> None:
        """Prefill the prompt."""
        self._model.rewind(0)
        self._fed: list[int] = []
        self._feed(list(prompt))

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """k tokens; the cache first drops what was rejected, then takes in what it has not seen."""
        self._agree_with(committed)
        xp, tokens, rows = self.arrays.xp, list[int](), []
        for v in stream.random(k):
            logits = self._feed([*committed, *tokens][len(self._fed) :])
            rows.append(law(self._sampler, self.arrays, logits, self.name)[-1])
            tokens.append(int(draw(rows[-1], self.arrays.uniforms(v), xp=xp)))
        return Proposal(tokens, xp.stack(rows) if rows else self.arrays.one_hot([], self._model.vocabulary))

    def _feed(self, tokens: list[int]) -> Any:
        self._fed += tokens
        return self._model.forward(tokens, keep=1)

    def _agree_with(self, committed: Sequence[int]) -> None:
        """Rewind to the longest prefix that the cache shares with the committed text, its last token left to feed."""
        kept = min(len(self._fed), len(committed) - 1)
        while self._fed[:kept] != list(committed[:kept]):
            kept -= 1
        self._fed = self._fed[:kept]
        self._model.rewind(kept)
