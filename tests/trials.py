"""Real tiny transformers decoded in batches and put to the lossless test, honest or with something wrong."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from typing import Any

import numpy as np
import torch

from specmath.acceptor import verify
from tests.toys import GREEDY, HOST, SAMPLED, Recurrent, Remembering, decoder_of, llama
from validate.decoder import Batch
from validate.directions import DRAFT
from validate.drafters import Lookup
from validate.laws import Laws
from validate.loading import Loaded, early
from validate.lossless import GreedyTest, SampledTest
from validate.mismatch import faults_of
from validate.observing import Observer
from validate.rows import Request

VOCABULARY, BUDGET, CHUNK = 8, 6, 128
PROMPTS = [[a, b] for a in range(6) for b in (1, 4, 6, 7)] + [[a, 2, a, 2, a] for a in range(8)]
NOTHING: Mapping[str, Any] = {}


@cache
def pair(vocabulary=VOCABULARY, seed=1, noise=0.25):
    """A target and a draft that partly agrees with it, in double precision, with logits as far from zero as real ones."""
    target, draft = (llama(vocabulary=vocabulary, seed=seed, sharpness=10, noise=n) for n in (0.0, noise))
    for loaded in (target, draft):
        loaded.network.lm_head.bias = torch.nn.Parameter(torch.full((vocabulary,), 20.0, dtype=torch.float64))
    return target, draft


@dataclass(frozen=True)
class Trial:
    """What is decoded: the draft by name or the model's, so many rows side by side, and under which laws.

    `others` are samplers that rows of the same batch have, whose own tokens are not looked at.
    """

    draft: str = "model"
    rows: int = 32
    k: int = 3
    budget: int = BUDGET
    sampler: Any = SAMPLED
    processors: tuple[Any, ...] = ()
    others: tuple[Any, ...] = ()
    eos: frozenset[int] = frozenset()
    rule: Any = verify
    planted: tuple[Any, ...] = ()
    model: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def decoder(self):
        """The decoder, new."""
        target, draft = pair(**self.settings)
        named = draft if self.draft == "model" else self.draft
        return decoder_of(target, named, rows=self.rows, k=self.k, eos=self.eos, rule=self.rule)

    def requests(self, numbers, sampler=None):
        """Requests of prompts in turn; those that are looked at come first of each group."""
        kinds = (sampler or self.sampler, *self.others)
        return [
            Request(PROMPTS[n % len(PROMPTS)], self.budget, len(kinds) * n + i, kind, self.processors)
            for n in numbers
            for i, kind in enumerate(kinds)
        ]

    def texts(self, decoder, numbers, sampler=None):
        """(place of the prompt, tokens) of each number."""
        with ExitStack() as stack:
            for bug in self.planted:
                stack.enter_context(bug.in_place())
            made = dict(decoder.decode(self.requests(numbers, sampler)))
        size = 1 + len(self.others)
        return [(n % len(PROMPTS), made[size * i].tokens) for i, n in enumerate(numbers)]
