"""Measure the cost table of models: one forward over n new tokens after a context, in one sequence or several.

Every shape is warmed, the cells of a sweep run in a fresh random order, and one cell is repeated at the end of
each sweep: its drift is printed beside the table. Sweeps may be spread over a run, so that the table sees the same
machine as what it predicts. One cache serves all cells of a model: the context is noise, whose length is moved.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from validate.arrays import Arrays
from validate.clock import Clock
from validate.costs import TARGET, Cell, Sweep
from validate.decoder import Decoder
from validate.drafters import Nothing, Proposal
from validate.loading import Loaded
from validate.model import Model, out_of_memory
from validate.models import Models, Settings
from validate.names import EARLY
from validate.rows import Request, Row

WINDOW = 256  # positions by which the shapes of CUDA graphs grow
CERTAIN = 100.0  # a logit that leaves nothing to the others


@dataclass(frozen=True)
class Shapes:
    """What to time: tokens per forward of the target and of a draft, tokens cached before, sequences side by side."""

    lengths: Sequence[int]
    contexts: Sequence[int]
    batches: Sequence[int] = (1,)
    draft_lengths: Sequence[int] = (1, 2)

    def of(self, model: str) -> Sequence[int]:
        """Tokens per forward of one model."""
        return self.lengths if model == TARGET else self.draft_lengths

    @property
    def capacity(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.contexts) + max(*self.lengths, *self.draft_lengths)


class CostBench:
    """Times forwards of the target and every draft model over some shapes, and the acceptance of 0 to k drafts.

    `cells` are those that fit the memory: a batch that does not is left out, which `say` is told. `measured` says whose
    times they are: models, sampler, machine and shapes, which sweeps to be gone on with have to share. Raises
    ValueError for a context that the models do not hold, and where not even the smallest batch fits.
    """

    def __init__(self, models: Models, settings: Settings, shapes: Shapes, say: Callable[[str], None] = print) -> None:
        room = models.context - (shapes.capacity - max(shapes.contexts))
        if max(shapes.contexts) > room:
            longest = shapes.capacity - max(shapes.contexts)
            held = f"the models hold {models.context} tokens and {longest} come after"
            raise ValueError(f"--context: found {max(shapes.contexts)}, expected at most {room}: {held}")
        self._shapes, self._say, self._vocabulary = shapes, say, models.vocabulary
        self._rng = np.random.default_rng(0)
        self._window = WINDOW if settings.device.startswith("cuda") else None
        target = Model(models.target, capacity=1, vocabulary=models.vocabulary)
        nothing, clock = Nothing(Arrays.on(target.device), models.vocabulary), Clock(settings.device)
        self._decoder = Decoder(target, nothing, settings.sampler, clock, frozenset(), k=max(settings.ks))
        self._models: dict[str, Model] = {}
        batches = self._fitting({TARGET: models.target, **models.drafts})
        self.cells = [
            Cell(name, n, batch, context)
            for name in self._models
            for batch in batches
            for context in shapes.contexts
            for n in shapes.of(name)
        ]
        shaped = {name: list(getattr(shapes, name)) for name in ("lengths", "contexts", "draft_lengths")}
        about = {"target": settings.target, "drafts": list(models.drafts), "dummy_weights": settings.dummy_weights}
        about |= {"sampler": asdict(settings.sampler)} | ({"graphs": True} if self._window else {})
        borrowing = [name for name in models.drafts if name.startswith(EARLY)]
        about |= {"borrowing": borrowing} if borrowing else {}
        self.measured = about | settings.machine | shaped | {"batches": batches}

    def warm(self) -> None:
        """Run every shape once, untimed."""
        self.sweep()

    def sweep(self) -> Sweep:
        """Time every cell once, in random order, then the first again, then the acceptance."""
        order = [self.cells[i] for i in self._rng.permutation(len(self.cells))]
        cells = {cell: self._forward(cell) for cell in order}
        control = cells[self.cells[0]], self._forward(self.cells[0])
        return Sweep(cells, control, tuple(self._accept(drafted) for drafted in range(self._decoder.k + 1)))

    def _fitting(self, loaded: dict[str, Loaded]) -> list[int]:
        """The batches whose largest forwards fit, tried from the largest, so that its cache serves the others."""
        fitting: list[int] = []
        for batch in sorted(self._shapes.batches, reverse=True):
            if not fitting:
                capacity = self._shapes.capacity
                shaped: dict[str, Any] = {"capacity": capacity, "vocabulary": self._vocabulary, "rows": batch}
                shaped["window"] = self._window
                self._models = {name: Model(model, **shaped) for name, model in loaded.items()}
            try:
                self._try(batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self._say(f"out of memory with {batch} sequences side by side; left out")
                continue
            fitting.append(batch)
        if not fitting:
            raise ValueError(f"out of memory for {min(self._shapes.batches)} sequences; use a shorter --context")
        return fitting[::-1]

    def _try(self, batch: int) -> None:
        context = max(self._shapes.contexts)
        for name, model in self._models.items():
            for slot in range(batch):
                model.rewind(0, slot)
            model.forward(self._tokens(batch, 1), keep=1)
            self._forward(Cell(name, max(self._shapes.of(name)), batch, context))

    def _tokens(self, batch: int, n: int) -> list[list[int]]:
        return self._rng.integers(self._decoder.target.vocabulary, size=(batch, n)).tolist()

    def _forward(self, cell: Cell) -> float:
        model, clock = self._models[cell.model], self._decoder.clock
        model.pretend(cell.context)
        tokens = self._tokens(cell.batch, cell.n)
        started = clock.now()
        model.forward(tokens, keep=0 if cell.model == TARGET else 1)
        return clock.now() - started

    def _accept(self, drafted: int) -> float:
        """Judging so many drafts, all of which are accepted; the rows of q cost the same whatever they hold."""
        target, clock = self._decoder.target, self._decoder.clock
        [tokens] = drafts = self._tokens(1, drafted)
        logits = torch.randn(1, drafted + 1, target.vocabulary, device=target.device)
        logits[0, range(drafted), tokens] += CERTAIN
        proposal = Proposal(*self._decoder.drafter.arrays.one_hot(drafts, target.vocabulary), [drafted])
        row = Row(Request([0], drafted + 1, sampler=self._decoder.sampler), frozenset())
        row.coins(drafted)
        started = clock.now()
        self._decoder.judge(logits, proposal, [row], [drafted])
        return clock.now() - started


def spanned(lengths: Iterable[int], k: int, budget: int) -> Shapes:
    """The shapes that rounds of up to k drafts ask for, over contexts of such lengths and so many tokens after."""
    known = sorted(lengths)
    return Shapes(range(1, k + 2), sorted({known[0], known[-1] + budget}))
