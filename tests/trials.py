"""Real tiny transformers decoded in batches and put to the lossless test, honest or with something wrong."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch

from specmath.acceptor import verify
from tests.toys import GREEDY, HOST, SAMPLED, Recurrent, continued, decoder_of, llama
from validate.clock import Clock
from validate.decoder import Batch, Decoder
from validate.drafters import Lookup, NGram
from validate.laws import Laws
from validate.loading import early
from validate.lossless import GreedyTest, SampledTest
from validate.mismatch import faults_of
from validate.observing import Observer
from validate.rows import Request, Row

VOCABULARY, CHUNK = 8, 128
PROMPTS = [[a, b] for a in range(4) for b in (1, 4, 6)] + [[a, 2, a, 2, a] for a in range(8)]
ENDED = 1e4  # how far down a forbidden token is, in logits that stay finite


@cache
def pair(noise=0.6):
    """A target and a draft that partly agrees with it, in double precision, their logits far from zero as real ones."""
    both = tuple(llama(vocabulary=VOCABULARY, seed=1, sharpness=10, noise=n) for n in (0.0, noise))
    for loaded in both:
        loaded.network.lm_head.bias = torch.nn.Parameter(torch.full((VOCABULARY,), 20.0, dtype=torch.float64))
    return both


class Processed(Laws):
    """Laws under penalties and masks, token by token."""

    def __init__(self, loaded, sampler, processors):
        super().__init__(loaded, VOCABULARY, sampler)
        self._processors = processors

    def logits(self, prompts, texts):
        rows = super().logits(prompts, texts)
        befores = [(ids, text[:i]) for ids, text in zip(prompts, texts, strict=True) for i in range(len(text))]
        for processor in self._processors:
            for row, before in zip(rows, befores, strict=True):
                row[:] = np.maximum(processor(row, *before, xp=np), -ENDED)
        return rows


class RecurrentLaws(Laws):
    """The same of a recurrent model, read from the start for each text."""

    def __init__(self, sampler):
        self._sampler, self.dtype = sampler, "float64"

    def logits(self, prompts, texts):
        both = zip(prompts, texts, strict=True)
        return np.concatenate([np.asarray(Recurrent().forward([*p, *t[:-1]]))[len(p) - 1 :] for p, t in both])


@dataclass(frozen=True)
class Trial:
    """What is decoded: the draft by name or the model's, so many rows side by side, the laws, and what is wrong.

    `others` are samplers of further rows in the same batch, whose own tokens are not looked at.
    """

    draft: str = "model"
    rows: int = 32
    k: int = 3
    budget: int = 6
    sampler: Any = SAMPLED
    processors: tuple[Any, ...] = ()
    others: tuple[Any, ...] = ()
    eos: frozenset[int] = frozenset()
    rule: Any = verify
    planted: tuple[Any, ...] = ()
    recurrent: Any = None
    vocabulary: int = VOCABULARY
    count: int = len(PROMPTS)

    def decoder(self, draft=None):
        """The decoder, new."""
        if self.recurrent:
            drafter = NGram(HOST, self.vocabulary, [[(3 * i * i + i) % self.vocabulary for i in range(60)]])
            model = self.recurrent(self.rows)
            return Decoder(model, drafter, SAMPLED, Clock("cpu"), self.eos, 0 if draft == "nothing" else self.k)
        target, other = pair()
        named = draft or (other if self.draft == "model" else self.draft)
        return decoder_of(target, named, rows=self.rows, k=self.k, eos=self.eos, rule=self.rule)

    def laws(self):
        """(target, draft or None) as they are scored."""
        if self.recurrent:
            return RecurrentLaws(self.sampler), None
        target, draft = pair()
        drafts = {"model": lambda: draft, "early": lambda: early(target, 1)}
        scored = partial(Processed, sampler=self.sampler, processors=self.processors)
        return scored(target), scored(drafts[self.draft]()) if self.draft in drafts else None

    def observer(self):
        """What turns texts into observations."""
        target, draft = self.laws()
        lookup = Lookup(HOST, self.vocabulary, longest=2, shortest=1) if self.draft == "lookup" else None
        return Observer(target, self.vocabulary, self.prompts, draft=draft, lookup=lookup)

    @property
    def prompts(self):
        return [[token % self.vocabulary for token in prompt] for prompt in PROMPTS[: self.count]]

    def requests(self, numbers):
        """Requests of prompts in turn, each followed by the others of its batch."""
        kinds, prompts = (self.sampler, *self.others), self.prompts
        return [
            Request(prompts[n % self.count], self.budget, len(kinds) * n + i, kind, self.processors)
            for n in numbers
            for i, kind in enumerate(kinds)
        ]

    def texts(self, decoder, numbers):
        """(place of the prompt, tokens) of each number."""
        with ExitStack() as stack:
            for bug in self.planted:
                stack.enter_context(bug.in_place())
            made = [row.tokens for row in continued(decoder, self.requests(numbers))]
        return [(n % self.count, text) for n, text in zip(numbers, made[:: 1 + len(self.others)], strict=True)]

    def faults(self, text):
        return faults_of(text, eos=self.eos, budget=self.budget, vocabulary=self.vocabulary)


def sampled(trial, sample, seed=0):
    """The sampled test of a trial, until it has failed or the sample is complete."""
    decoder, observer, test = trial.decoder(), trial.observer(), SampledTest()
    number = seed * 1_000_000
    while test.tokens < sample and not test.failed:
        texts = trial.texts(decoder, range(number, number + CHUNK))
        number += CHUNK
        for _, text in texts:
            for fault in trial.faults(text):
                test.fault(fault)
        known = [(place, list(takewhile(lambda t: 0 <= t < trial.vocabulary, text))) for place, text in texts]
        for seen in observer.observe(known):
            test.observe(seen)
    return test


def greedy(trial):
    """The greedy test of a trial: every prompt once plain and once not."""
    trial = replace(trial, sampler=GREEDY, budget=24)
    test, (laws, _) = GreedyTest("float64"), trial.laws()
    honest = replace(trial, rule=verify, planted=(), recurrent=Recurrent if trial.recurrent else None)
    arms = (honest, honest.decoder("nothing")), (trial, trial.decoder())
    plain, spec = (arm.texts(decoder, range(trial.count)) for arm, decoder in arms)
    for ids, (place, one), (_, other) in zip(trial.prompts, plain, spec, strict=True):
        for fault in trial.faults(other):
            test.fault(fault)
        row = partial(lambda ids, prefix: laws.logits([ids], [[*prefix, 0]])[-1], ids)
        test.compare(place, [one], [other], row)
    return test.finding()


def alpha(decoder, planted=(), texts=256):
    """Mean of sum min(p, q) over the tested drafts of so many texts."""
    prompts = [[token % decoder.target.vocabulary for token in prompt] for prompt in PROMPTS]
    waiting = [Request(prompts[n % len(prompts)], 20, n, SAMPLED) for n in range(texts)]
    batch, betas = Batch(decoder), []
    with ExitStack() as stack:
        for bug in planted:
            stack.enter_context(bug.in_place())
        while waiting or batch.rows:
            while waiting and batch.free:
                batch.add(Row(waiting.pop(), decoder.eos))
            betas += [beta for _, done in batch.round() for beta in done.beta]
    return np.mean(betas)
