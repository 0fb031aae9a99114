"""Measure the cost table of a model: one forward over n new tokens after a context, in one sequence or several.

Every shape is warmed, the cells of a sweep run in a fresh random order, and one cell is repeated at the end of
each sweep: its drift is printed beside the table. Sweeps may be spread over a run, so that the table sees the same
machine as what it predicts.
"""

from collections.abc import Sequence

import numpy as np
import torch

from validate.costs import Cell, Sweep
from validate.decoder import Decoder, Streams
from validate.drafters import Proposal
from validate.loading import Loaded
from validate.model import Model


class CostBench:
    """Times forwards of each model over its lengths at each batch and context, and the acceptance of k drafts.

    `lengths` maps "target", and "draft" if there is one, to the n to time; the acceptance timed is that of `decoder`.
    """

    def __init__(
        self,
        models: dict[str, Loaded],
        lengths: dict[str, Sequence[int]],
        contexts: Sequence[int],
        decoder: Decoder,
        batches: Sequence[int] = (1,),
    ) -> None:
        self._decoder = decoder
        self._rng = np.random.default_rng(0)
        self._models = {
            (name, batch, context): self._filled(loaded, batch, context, max(lengths[name]))
            for name, loaded in models.items()
            for batch in batches
            for context in contexts
        }
        self.cells = [Cell(name, n, batch, context) for name, batch, context in self._models for n in lengths[name]]

    def warm(self) -> None:
        """Run every shape once, untimed."""
        self.sweep()

    def sweep(self) -> Sweep:
        """Time every cell once, in random order, then the first again, then the acceptance."""
        order = [self.cells[i] for i in self._rng.permutation(len(self.cells))]
        cells = {cell: self._forward(cell) for cell in order}
        control = cells[self.cells[0]], self._forward(self.cells[0])
        return Sweep(cells, control, (self._accept(0), self._accept(self._decoder.k)))

    def _filled(self, loaded: Loaded, batch: int, context: int, longest: int) -> Model:
        vocabulary = self._decoder.target.vocabulary
        model = Model(loaded, capacity=context + longest, vocabulary=vocabulary)
        model.forward(self._tokens(batch, context), keep=1)
        return model

    def _tokens(self, batch: int, n: int) -> list[list[int]]:
        return self._rng.integers(self._decoder.target.vocabulary, size=(batch, n)).tolist()

    def _forward(self, cell: Cell) -> float:
        model = self._models[cell.model, cell.batch, cell.context]
        tokens = self._tokens(cell.batch, cell.n)
        started = self._decoder.clock.now()
        model.forward(tokens, keep=0 if cell.model == "target" else 1)
        elapsed = self._decoder.clock.now() - started
        model.rewind(cell.context)
        return elapsed

    def _accept(self, drafted: int) -> float:
        target, clock = self._decoder.target, self._decoder.clock
        logits = torch.randn(drafted + 1, target.vocabulary, device=target.device)
        [tokens] = self._tokens(1, drafted)
        proposal = Proposal(tokens, self._decoder.drafter.arrays.one_hot(tokens, target.vocabulary))
        started = clock.now()
        self._decoder.judge(logits, proposal, Streams.seeded(0))
        return clock.now() - started
