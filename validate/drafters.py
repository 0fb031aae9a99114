"""Where drafted tokens come from: nowhere, the text itself, or another model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import array_api_compat.torch as xp
import numpy as np
import torch

from specmath.acceptor import draw
from validate.model import Model
from validate.sampler import Sampler


@dataclass(frozen=True)
class Proposal:
    """Drafted tokens [d] and the rows of q [d, V] they were drawn from; one-hot where nothing was drawn."""

    tokens: list[int]
    q: torch.Tensor


class Drafter(Protocol):
    """Proposes up to k tokens after the committed ones; `rule` names the acceptance rule its alpha belongs to."""

    name: str
    rule: str

    def start(self, prompt: Sequence[int]) -> None:
        """Forget the last prompt and take in the next."""

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """At most k tokens to follow `committed`."""


def one_hot(tokens: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Rows [d, V] with all mass on the given tokens, V and device as in `like`."""
    rows = like.new_zeros(len(tokens), like.shape[-1])
    rows[range(len(tokens)), list(tokens)] = 1.0
    return rows


class Nothing:
    """Plain decoding: a round is one token of the target."""

    name, rule = "none", "standard"

    def __init__(self, vocabulary: int, device: torch.device | str) -> None:
        self._rows = torch.zeros(0, vocabulary, device=device)

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

    def __init__(self, vocabulary: int, device: torch.device | str, *, longest: int = 3, shortest: int = 2) -> None:
        self._rows = torch.zeros(1, vocabulary, device=device)
        self._sizes = range(longest, shortest - 1, -1)

    def start(self, prompt: Sequence[int]) -> None:
        """Index the prompt."""
        self._next: dict[tuple[int, ...], int] = {}
        self._seen = 0
        self._learn(prompt)

    def propose(self, committed: Sequence[int], k: int, stream: np.random.Generator) -> Proposal:
        """Continuation of the latest match, of at most k tokens."""
        self._learn(committed)
        start = next(filter(None, (self._next.get(tuple(committed[-n:])) for n in self._sizes)), len(committed))
        tokens = list(takewhile(lambda t: t < self._rows.shape[-1], committed[start : start + k]))
        return Proposal(tokens, one_hot(tokens, self._rows))

    def _learn(self, committed: Sequence[int]) -> None:
        """Index every n-gram that has a token after it."""
        for end in range(max(self._seen, 1), len(committed)):
            for n in self._sizes:
                if n <= end:
                    self._next[tuple(committed[end - n : end])] = end
        self._seen = len(committed)


class ModelDraft:
    """Another language model, drafting token by token under the target's sampler."""

    rule = "standard"

    def __init__(self, model: Model, sampler: Sampler) -> None:
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
        tokens: list[int] = []
        rows = []
        for v in stream.random(k):
            q = self._sampler(self._feed([*committed, *tokens][len(self._fed) :]), xp=xp)[-1]
            rows.append(q)
            tokens.append(int(draw(q, torch.tensor(v, dtype=torch.float64, device=q.device), xp=xp)))
        return Proposal(tokens, torch.stack(rows) if rows else torch.zeros(0, self._model.vocabulary))

    def _feed(self, tokens: list[int]) -> torch.Tensor:
        self._fed += tokens
        return self._model.forward(tokens, keep=1)

    def _agree_with(self, committed: Sequence[int]) -> None:
        """Rewind to the longest prefix that the cache shares with the committed text, its last token left to feed."""
        kept = min(len(self._fed), len(committed) - 1)
        while self._fed[:kept] != list(committed[:kept]):
            kept -= 1
        self._fed = self._fed[:kept]
        self._model.rewind(kept)
