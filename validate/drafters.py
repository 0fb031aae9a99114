"""Where drafted tokens come from: nowhere, the text itself, or another model."""

from collections import ChainMap, Counter, defaultdict
from collections.abc import Iterable, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

import torch

from specmath.acceptor import draw
from validate.arrays import Arrays
from validate.model import Model
from validate.rows import Row, in_the_text, laws, no_numbers, stacked
from validate.sampler import Sampler

NGRAM_ORDER = 3
Memory = tuple[int, ...]


@dataclass(frozen=True)
class Proposal:
    """What rows draft: `tokens` int [B, K] and the rows of `q` [B, K, V] they were drawn from, one-hot where nothing
    was drawn; `drafted` [B] says how many of each row count, the others may hold anything.
    """

    tokens: Any
    q: Any
    drafted: Sequence[int]


class Drafter(Protocol):
    """Proposes up to k tokens after each row's committed ones; `rule` names the acceptance rule its alpha belongs to,
    `arrays` the library that its rows are in. What it remembers of a row is kept under the row's slot.
    """

    name: str
    rule: str
    arrays: Arrays

    def start(self, prompt: Sequence[int], slot: int = 0) -> None:
        """Forget what was in the slot and take in the prompt of the row that is there now."""

    def move(self, source: int, slot: int) -> None:
        """The row of one slot goes on in another."""

    def propose(self, rows: Sequence[Row], ks: Sequence[int]) -> Proposal:
        """At most ks[r] tokens to follow the row in slot r."""


class Written:
    """What drafts from text have in common: whole lists of tokens, certain of each."""

    rule = "one_hot"

    def __init__(self, arrays: Arrays, vocabulary: int) -> None:
        self.arrays = arrays
        self._vocabulary = vocabulary

    def start(self, prompt: Sequence[int], slot: int = 0) -> None:
        """Nothing to take in."""

    def move(self, source: int, slot: int) -> None:
        """Nothing to take along."""

    def propose(self, rows: Sequence[Row], ks: Sequence[int]) -> Proposal:
        """The tokens of each row, as one-hot laws."""
        drafts = [self._tokens(row.committed, k, slot) for slot, (row, k) in enumerate(zip(rows, ks, strict=True))]
        tokens, q = self.arrays.one_hot(drafts, self._vocabulary)
        return Proposal(tokens, q, [len(draft) for draft in drafts])

    def _tokens(self, committed: Sequence[int], k: int, slot: int) -> list[int]:
        """At most k tokens after the committed ones."""
        raise NotImplementedError


class Nothing(Written):
    """Plain decoding: a round is one token of the target."""

    name, rule = "none", "standard"

    def _tokens(self, committed: Sequence[int], k: int, slot: int) -> list[int]:
        return []


class Lookup(Written):
    """Prompt lookup: what followed the last few tokens where they stood before.

    The longest suffix of `longest` down to `shortest` tokens that occurred earlier in prompt or output proposes
    what followed its latest occurrence, up to the end of the text; no occurrence, no draft
    (github.com/apoorvumang/prompt-lookup-decoding). The draft stops before an id at or above `vocabulary`.
    """

    name = "lookup"

    def __init__(self, arrays: Arrays, vocabulary: int, *, longest: int = 3, shortest: int = 2) -> None:
        super().__init__(arrays, vocabulary)
        self._sizes = range(longest, shortest - 1, -1)
        self._seen: dict[int, _Occurrences] = {}

    def start(self, prompt: Sequence[int], slot: int = 0) -> None:
        """Index the prompt."""
        self._seen[slot] = _Occurrences(self._sizes)
        self._seen[slot].learn(prompt)

    def move(self, source: int, slot: int) -> None:
        """The index goes along."""
        self._seen[slot] = self._seen[source]

    def tokens(self, committed: Sequence[int], k: int, slot: int = 0) -> list[int]:
        """The tokens alone; what is committed may only grow."""
        seen = self._seen[slot]
        seen.learn(committed)
        start = seen.latest(committed)
        return list(takewhile(lambda t: t < self._vocabulary, committed[start : start + k]))

    _tokens = tokens


class _Occurrences:
    """Where each n-gram of a growing text last stood, by what came after it."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes, self._known = sizes, 0
        self._next: dict[Memory, int] = {}

    def learn(self, text: Sequence[int]) -> None:
        """Index every n-gram that has a token after it."""
        for end in range(max(self._known, 1), len(text)):
            for n in self._sizes:
                if n <= end:
                    self._next[tuple(text[end - n : end])] = end
        self._known = len(text)

    def latest(self, text: Sequence[int]) -> int:
        """Position behind the latest occurrence of the longest known suffix; the text's length where there is none."""
        return next(filter(None, (self._next.get(tuple(text[-n:])) for n in self._sizes)), len(text))


class NGram(Written):
    """The likeliest next token after the last few, counted in other texts beforehand; shorter memories help out.

    The most frequent token after the last `order` tokens, or after fewer where those never stood anywhere; of equals
    the smaller id. No memory at all, no draft. Nothing is learned while decoding, so that the draft depends on the
    tokens before alone.
    """

    name = "ngram"

    def __init__(
        self, arrays: Arrays, vocabulary: int, training: Iterable[Sequence[int]], *, order: int = NGRAM_ORDER
    ) -> None:
        super().__init__(arrays, vocabulary)
        self.order = order
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

    def after(self, committed: Sequence[int]) -> int | None:
        """The token drafted after these."""
        known = (self._next.get(tuple(committed[-n:])) for n in self._sizes)
        return next((token for token in known if token is not None), None)

    def _tokens(self, committed: Sequence[int], k: int, slot: int) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < k and (token := self.after([*committed[-len(self._sizes) :], *tokens])) is not None:
            tokens.append(token)
        return tokens


def _likeliest(found: Counter[int]) -> int | None:
    """The most frequent token, of equals the smallest; None of none."""
    return min(found, key=lambda token: (-found[token], token), default=None)


class ModelDraft:
    """Another language model, drafting token by token under each row's own sampler.

    Its cache is rewound to what it shares with the committed text, and takes in what it has not read: one token, or
    two after all drafts were accepted, since the last of them was never fed. A model that borrows the target's cache
    (early exit) has always read all but the last token.
    """

    def __init__(self, arrays: Arrays, model: Model, sampler: Sampler) -> None:
        self.arrays = arrays
        self.name = model.name
        self.rule = "one_hot" if sampler.temperature == 0 else "standard"
        self._model = model

    def start(self, prompt: Sequence[int], slot: int = 0) -> None:
        """Prefill the prompt."""
        if not self._model.borrows:
            self._model.clear(slot)
            self._model.forward(prompt, keep=1, slot=slot)

    def move(self, source: int, slot: int) -> None:
        """The cache goes along."""
        self._model.move(source, slot)

    def propose(self, rows: Sequence[Row], ks: Sequence[int]) -> Proposal:
        """ks tokens, as many steps as the most of them; no token of a step is waited for."""
        depth, vocabulary = max(ks), self._model.vocabulary
        if depth == 0:
            return Proposal(*self.arrays.one_hot([[] for _ in rows], vocabulary), [0] * len(rows))
        first = self._unread(rows)
        coins = self.arrays.uniforms(stacked([row.coins(k).draft for row, k in zip(rows, ks, strict=True)], depth))
        samplers = {row.request.sampler for row in rows}
        if self._model.graphs is None or len(samplers) > 1 or any(row.request.processors for row in rows):
            return Proposal(*self._stepwise(rows, ks, first, coins), ks)
        return Proposal(*self._at_once(samplers.pop(), ks, first, coins), ks)

    def _stepwise(self, rows: Sequence[Row], ks: Sequence[int], first: list[list[int]], coins: Any) -> tuple[Any, Any]:
        """Tokens and q, one forward at a time."""

        def forward(tokens: Any, step: int) -> Any:
            return self._model.forward(tokens, keep=1, counts=[int(step < k) for k in ks] if step else None)

        return self._chain(partial(self._laws, rows, ks), forward, first, coins)

    def _at_once(self, sampler: Sampler, ks: Sequence[int], first: list[list[int]], coins: Any) -> tuple[Any, Any]:
        """The same as one function of fixed shapes, where all rows share a law of logits alone."""
        depth, read = coins.shape[1], len(first[0])

        def run(at: Any, ids: torch.Tensor, starts: torch.Tensor, uniforms: torch.Tensor) -> tuple[Any, Any]:
            def forward(tokens: Any, step: int) -> Any:
                return at(tokens, starts + (read + step - 1 if step else 0), keep=1)

            def law(logits: Any, _: Any) -> Any:
                return sampler(self.arrays.native(logits), xp=self.arrays.xp)

            return self._chain(law, forward, ids, self.arrays.native(uniforms))

        ids = torch.tensor(first, device=self._model.device)
        try:
            tokens, q = self._model.replayed((sampler, depth), run, ids, read + depth - 1, self.arrays.torch(coins))
        except ValueError as error:
            raise no_numbers(self.name, [], 1) from error
        self._model.advance([read + max(k - 1, 0) for k in ks])
        return tokens[: len(ks)], q[: len(ks)]

    def _chain(self, laws: Any, forward: Any, first: Any, coins: Any) -> tuple[Any, Any]:
        """Tokens [B, K] drawn one after another and the rows q [B, K, V] they were drawn from."""
        tokens, q = list[Any](), list[Any]()
        logits = forward(first, 0)
        for step in range(coins.shape[1]):
            if step:
                logits = forward(self.arrays.torch(tokens[-1][:, None]), step)
            q.append(laws(logits, tokens)[:, 0])
            tokens.append(draw(q[-1], coins[:, step], xp=self.arrays.xp))
        return self.arrays.xp.stack(tokens, axis=1), self.arrays.xp.stack(q, axis=1)

    def _unread(self, rows: Sequence[Row]) -> list[list[int]]:
        """The last tokens of every row, as many as the cache of any lacks; reading one twice changes nothing."""
        lengths = [len(row.committed) for row in rows]
        known = [self._model.agreed(length - 1, slot) for slot, length in enumerate(lengths)]
        most = max(length - read for length, read in zip(lengths, known, strict=True))
        for slot, length in enumerate(lengths):
            self._model.rewind(length - most, slot)
        return [row.committed[-most:] for row in rows]

    def _laws(self, rows: Sequence[Row], ks: Sequence[int], logits: Any, tokens: Sequence[Any]) -> Any:
        """q [B, 1, V] behind the tokens drafted so far, which come to the host for rows with processors alone."""
        so_far = self.arrays.xp.stack(tokens, axis=1) if tokens else self.arrays.one_hot([[]] * len(rows), 0)[0]
        drafts = in_the_text(rows, so_far, [max(0, k - 1) for k in ks])
        return laws(rows, self.arrays, logits, self.name, drafts, len(tokens))
