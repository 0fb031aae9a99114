"""`specmath lossless`: a speculative decoder against the plain one where greedy, against the target's law where not."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np

from validate.arrays import Arrays
from validate.commands.run import settings_of
from validate.console import Step, watched
from validate.drafters import Lookup
from validate.laws import Laws
from validate.loading import placement
from validate.lossless import Finding, GreedyTest, SampledTest
from validate.lossless_document import lossless_document
from validate.mismatch import faults_of
from validate.models import Models
from validate.observing import Observer
from validate.pairs import PLAIN, SPEC, Pair
from validate.rows import Request
from validate.workload import Prompt, seed_of

LOOK = 4  # times as many texts as are made side by side, at most, between two looks at the wealth
TWICE = 2
CONTROL, FEWEST = 4, 400  # plain tokens for each that speculation needed to fail, and at least


def answer(options: dict[str, Any], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Decode, test, and conclude: the document."""
    options["device"], options["dtype"] = placement(options["device"], options["dtype"])
    tested = Lossless(options, prompts)
    finding = tested.sampled() if options["temperature"] else tested.greedy()
    worst = tested.context(finding) if finding.worst else None
    return lossless_document(finding, options, worst=worst, prompts=len(prompts))


class Lossless:
    """One pair under test."""

    def __init__(self, options: Mapping[str, Any], prompts: Sequence[Prompt]) -> None:
        self._options, self._prompts = options, prompts
        self._settings = settings_of(options, drafts=[options["draft"]], ks=[options["k"]])
        self._models = Models(self._settings)
        self._ids = [self._models.target.encode(prompt.messages) for prompt in prompts]
        self._pair = Pair(self._models, self._settings, max(map(len, self._ids)))
        vocabulary, sampler = self._models.vocabulary, self._settings.sampler
        self._target = Laws(self._models.target, vocabulary, sampler)
        drafts = [Laws(draft, vocabulary, sampler) for draft in self._models.drafts.values()]
        lookup = None if drafts else Lookup(Arrays(np, "cpu"), vocabulary)
        self._observer = Observer(self._target, vocabulary, self._ids, draft=next(iter(drafts), None), lookup=lookup)

    def greedy(self) -> Finding:
        """Every prompt plain and speculative, each twice."""
        test = GreedyTest(self._settings.dtype)
        for _ in watched(self._compared(test)):
            pass
        return test.finding(tv=self._options["tv"])

    def sampled(self) -> Finding:
        """Texts until the sample is complete or has failed; then as many plain ones, to show what the engine does."""
        test, control = SampledTest(), SampledTest()
        for _ in watched(self._drawn(SPEC, test, self._options["sample"])):
            pass
        if test.found is not None:
            for _ in watched(self._drawn(PLAIN, control, max(CONTROL * test.found, FEWEST))):
                pass
        excused = control.failed and (bool(control.faults) or not test.faults)
        return test.finding(tv=self._options["tv"], drifts=excused)

    def context(self, finding: Finding) -> str:
        """The worst context in words."""
        assert finding.worst
        if finding.mode == "greedy":
            return str(finding.worst[0])
        prompt, after = self._observer.context(finding.worst[0])
        tokenizer = self._models.target.tokenizer
        text = tokenizer.decode(after) if tokenizer else list(after)
        return f"{self._prompts[prompt].id} + {text!r}" if after else self._prompts[prompt].id

    def _compared(self, test: GreedyTest) -> Iterator[Step]:
        size = max(1, self._pair.rows // TWICE)
        for start in range(0, len(self._prompts), size):
            places = range(start, min(start + size, len(self._prompts)))
            asked = [self._request(place, self._settings.seed) for place in places for _ in range(TWICE)]
            plain, spec = (self._pair.texts(arm, asked) for arm in (PLAIN, SPEC))
            for i, place in enumerate(places):
                mine = slice(TWICE * i, TWICE * (i + 1))
                self._compare(test, place, plain[mine], spec[mine])
                prompt = self._prompts[place]
                yield Step("compared", place + 1, len(self._prompts), f"{prompt.id} ({prompt.domain})")

    def _compare(self, test: GreedyTest, place: int, plain: list[list[int]], spec: list[list[int]]) -> None:
        prompt = self._prompts[place].id
        for text in spec:
            for fault in self._faults(text):
                test.fault(f"the text of {prompt} {fault}")
        test.compare(prompt, plain, spec, partial(self._row, self._ids[place]))

    def _drawn(self, arm: str, test: SampledTest, sample: int) -> Iterator[Step]:
        """Texts of all prompts in turn, looked at after each chunk of them.

        A chunk is taken in as it was asked for and whole: the texts that are over first are not like the others.
        """
        number, kind = 0, {PLAIN: "plain", SPEC: "speculative"}[arm]
        yield Step("tested", 0, sample, f"tokens of {kind} texts, the first being written")
        while test.tokens < sample and not test.failed:
            left = -(-(sample - test.tokens) // self._settings.budget)
            texts = range(number, number + min(LOOK * self._pair.rows, left))
            self._observe(test, self._texts(arm, texts))
            number = texts.stop
            yield Step("tested", min(test.tokens, sample), sample, f"tokens of {kind} texts, p = {test.p_value:.2g}")

    def _texts(self, arm: str, numbers: Sequence[int]) -> list[tuple[int, list[int]]]:
        """(place of the prompt, text) of the texts of these numbers, prompt by prompt."""
        count = len(self._prompts)
        ordered = sorted(numbers, key=lambda number: (number % count, number))
        names = [f"{self._prompts[n % count].id}/{arm}/{n // count}" for n in ordered]
        seeds = [seed_of(self._settings.seed, name) for name in names]
        asked = [self._request(n % count, seed) for n, seed in zip(ordered, seeds, strict=True)]
        return [(n % count, text) for n, text in zip(ordered, self._pair.texts(arm, asked), strict=True)]

    def _request(self, place: int, seed: int) -> Request:
        return Request(self._ids[place], self._settings.budget, seed, self._settings.sampler)

    def _observe(self, test: SampledTest, texts: Sequence[tuple[int, list[int]]]) -> None:
        for place, text in texts:
            for fault in self._faults(text):
                test.fault(f"a text of {self._prompts[place].id} {fault}")
        vocabulary = self._models.vocabulary
        known = [(place, list(takewhile(lambda t: 0 <= t < vocabulary, text))) for place, text in texts]
        for seen in self._observer.observe(known):
            test.observe(seen)

    def _faults(self, text: Sequence[int]) -> list[str]:
        budget, vocabulary = self._settings.budget, self._models.vocabulary
        return faults_of(text, eos=self._models.target.eos, budget=budget, vocabulary=vocabulary)

    def _row(self, ids: Sequence[int], prefix: Sequence[int]) -> np.ndarray:
        """The target's logits after a prompt and a text."""
        return self._target.logits([ids], [[*prefix, ids[-1]]])[-1]
