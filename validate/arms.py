"""One prompt in every arm: plain, speculative by each (draft, k), and plain again, as the lines of a trace."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder, Generation
from validate.drafters import Drafter, Lookup, ModelDraft, NGram, Nothing
from validate.lines import DoneLine, Line, PromptLine, RoundLine
from validate.model import Model
from validate.models import Models, Settings
from validate.names import EARLY
from validate.offsets import NGrams
from validate.rounds import Round
from validate.rows import Request, Row
from validate.texts import Text
from validate.workload import seed_of

WARM_UP_TOKENS = 8
Cell = tuple[str, int]


def line_of(done: Round, key: dict[str, Any], index: int) -> RoundLine:
    """A round of the decoder as a line of its trace."""
    proposed = done.proposed if done.proposed > done.drafted else None
    return RoundLine(**key, index=index, **asdict(done) | {"emitted": len(done.emitted), "proposed": proposed})


class Arms:
    """The decoders of every cell over one target, for texts of at most `capacity` tokens."""

    def __init__(self, models: Models, settings: Settings, texts: Sequence[Text], capacity: int) -> None:
        self._models, self._settings, self._texts = models, settings, texts
        self._ngrams = NGrams(texts, models.vocabulary)
        window = capacity if settings.device.startswith("cuda") else None
        shaped: dict[str, Any] = {"capacity": capacity, "vocabulary": models.vocabulary, "window": window}
        self._target = Model(models.target, **shaped)
        self._clock, self._arrays = Clock(settings.device), Arrays.on(self._target.device)
        self._drafts = {
            name: Model(loaded, **shaped, borrowed=self._target if name.startswith(EARLY) else None)
            for name, loaded in models.drafts.items()
        }

    def rule(self, draft: str) -> str:
        """The acceptance rule that a draft's rounds belong to."""
        return self._drafter(draft, self._texts[0]).rule

    def warm(self) -> None:
        """Every length of a forward, and every cell on the shortest text, untimed."""
        for n in range(1, min(max(self._settings.ks) + 1, self._target.capacity) + 1):
            self._target.rewind(0)
            self._target.forward([[0] * n])
        shortest = min(self._texts, key=lambda text: len(text.context))
        for cell in ((Nothing.name, 0), *self._settings.cells):
            decoder = self._decoder(cell, shortest)
            budget = min(WARM_UP_TOKENS, self._settings.budget)
            list(decoder.start(shortest.context, budget=budget, seed=0).rounds())
        if self._target.graphs is not None:
            self._capture(max(self._settings.ks))

    def _capture(self, k: int) -> None:
        """Every drafting loop there may be: of 1 to k steps, behind one unread token or two."""
        sampler = self._settings.sampler
        for model in self._drafts.values():
            drafter = ModelDraft(self._arrays, model, sampler)
            self._target.rewind(0)
            self._target.forward([0])
            drafter.start([0])
            for depth, read in product(range(1, k + 1), (1, 0)):
                if not model.borrows:
                    model.rewind(read)
                drafter.propose([Row(Request([0, 0], depth + 1, 0, sampler), frozenset())], [depth])

    def decode(self, text: Text, cells: Sequence[Cell], *, backwards: bool) -> dict[Cell, list[Line]]:
        """The lines of each cell's trace: the prompt plain, in all cells in turn, and plain again.

        Backwards the order of everything is reversed, so that over many prompts no arm has the earlier place.
        """
        order: list[tuple[Cell, int]] = [((Nothing.name, 0), 0), *((cell, 0) for cell in cells), ((Nothing.name, 0), 1)]
        lines: dict[tuple[Cell, int], list[Line]] = {}
        reference: list[int] | None = None
        for cell, repeat in reversed(order) if backwards else order:
            lines[cell, repeat], tokens = self._arm(text, cell, repeat, reference)
            reference = reference or tokens
        first, *_, last = lines
        return {cell: [line for arm in (first, (cell, 0), last) for line in lines[arm]] for cell in cells}

    def _arm(self, text: Text, cell: Cell, repeat: int, reference: list[int] | None) -> tuple[list[Line], list[int]]:
        """The lines of one arm and the tokens that it made."""
        arm = "spec" if cell[1] else "plain"
        key: dict[str, Any] = {"prompt": text.prompt, "arm": arm, "repeat": repeat}
        decoder = self._decoder(cell, text)
        seed = seed_of(self._settings.seed, text.prompt)
        try:
            generation = decoder.start(text.context, budget=self._settings.budget, seed=seed)
            rounds, seconds = self._rounds(generation, key)
        except ValueError as error:
            raise ValueError(f"prompt {text.prompt!r}, {error}") from error
        done = DoneLine(
            **key,
            tokens_out=len(generation.tokens),
            seconds=seconds,
            prefill_s=generation.prefill_s,
            tokens=tuple(generation.tokens),
            divergence=self._divergence(text.context, generation.tokens, reference),
        )
        begin = PromptLine(**key, domain=text.domain, tokens_in=len(text.context))
        return [begin, *rounds, done], generation.tokens

    def _rounds(self, generation: Generation, key: dict[str, Any]) -> tuple[list[RoundLine], float]:
        """Lines and seconds of all rounds; making lines of them is not counted."""
        started = self._clock.now()
        made = list(generation.rounds())
        seconds = self._clock.now() - started
        return [line_of(done, key, index) for index, done in enumerate(made)], seconds

    def _divergence(self, ids: Sequence[int], tokens: list[int], reference: list[int] | None) -> dict | None:
        """Where greedy tokens first differ from the plain run's, and the gap of the top two logits there."""
        if reference is None or reference == tokens or self._settings.sampler.temperature > 0:
            return None
        at = next((i for i, (a, b) in enumerate(zip(tokens, reference, strict=False)) if a != b), len(tokens))
        self._target.rewind(0)
        top = self._target.forward([*ids, *reference[:at]], keep=1)[-1].topk(2).values
        return {"at": at, "gap": float(top[0] - top[1])}

    def _decoder(self, cell: Cell, text: Text) -> Decoder:
        draft, k = cell
        sampler = self._settings.sampler
        return Decoder(self._target, self._drafter(draft, text), sampler, self._clock, self._models.target.eos, k=k)

    def _drafter(self, name: str, text: Text) -> Drafter:
        """The drafter of a name; n-grams know the other texts of the domain, never the one they are to draft."""
        vocabulary = self._models.vocabulary
        if name == Nothing.name:
            return Nothing(self._arrays, vocabulary)
        if name == Lookup.name:
            return Lookup(self._arrays, vocabulary)
        if name == NGram.name:
            return self._ngrams.of(text)
        return ModelDraft(self._arrays, self._drafts[name], self._settings.sampler)
