"""Measured seconds of forwards, sweep by sweep, in JSON Lines; what a cost table is made of.

Line 1 is {"format": "specmath.costs", "version": 3} with the target, the drafts, the machine and the sampler that were
measured; then one sweep per line: [model, n, batch, context, seconds] of every cell, the repeated control cell's two
times, and the seconds of drawing one token and of accepting 1 to k drafts, of one sequence.
"""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from specmath.cost import Pair, Table
from validate import jsonl

FORMAT, VERSION, FILE = "specmath.costs", 3, "costs.jsonl"
TARGET, FREE = "target", ("lookup", "ngram")  # drafts from text need no forward


class Cell(NamedTuple):
    """One shape: which model ("target", or the draft's name), n new tokens, batch, context already in the cache."""

    model: str
    n: int
    batch: int
    context: int


@dataclass(frozen=True)
class Sweep:
    """Every cell timed once; `control` is one cell's first and second time; `accept` by drafts, 0 drawing a token."""

    cells: dict[Cell, float]
    control: tuple[float, float]
    accept: tuple[float, ...]


class Costs:
    """Sweeps in the order they were taken; medians over them, never smoothed."""

    def __init__(self, sweeps: list[Sweep] | None = None, measured: Mapping[str, Any] | None = None) -> None:
        self.sweeps = list(sweeps or [])
        self.measured = dict(measured or {})

    def times(self) -> dict[Cell, np.ndarray]:
        """Seconds of each cell over the sweeps."""
        return {cell: np.array([s.cells[cell] for s in self.sweeps]) for cell in sorted(self.sweeps[0].cells)}

    def table(self, model: str) -> Table | None:
        """One model's forwards with the token drawn after each, as specmath reads them; None if it was not timed.

        Medians of the cells, each with the seconds that drawing one token takes: plain decoding, a
        verification and a drafted token all pay them. A draft in the target's own cache never reads a second token,
        one that it has not seen: two cost it no more than one.
        """
        mine = {
            cell: float(np.median(times)) + self.drawing for cell, times in self.times().items() if cell.model == model
        }
        if not mine:
            return None
        if model in self.measured.get("borrowing", ()):
            mine |= {cell: mine[cell._replace(n=1)] for cell in mine}
        n, batch, context = (np.array(column) for column in list(zip(*mine, strict=True))[1:])
        return Table(n, batch, context, np.array(list(mine.values())), provenance="measured")

    @property
    def models(self) -> list[str]:
        """Target and drafts that were timed."""
        return list(dict.fromkeys(cell.model for sweep in self.sweeps[:1] for cell in sweep.cells))

    def doubled(self, cell: Cell) -> "Costs":
        """The same sweeps with one cell taking twice its time."""
        sweeps = [replace(sweep, cells=sweep.cells | {cell: 2 * sweep.cells[cell]}) for sweep in self.sweeps]
        return Costs(sweeps, self.measured)

    def pair(self, draft: str) -> Pair:
        """Target and draft with the overhead of a round over a plain step; ValueError where one was not timed."""
        needed = [TARGET] if draft in FREE else [TARGET, draft]
        for model in needed:
            if model not in self.models:
                timed = ", ".join(self.models) or "nothing"
                raise ValueError(f"costs: found times of {timed}, expected those of {model}: measure them too")
        tables = [self.table(model) for model in needed]
        return Pair(*tables, overhead=self.overheads)

    @property
    def drawing(self) -> float:
        """Seconds from logits to one token."""
        return float(np.median([s.accept[0] for s in self.sweeps]))

    @property
    def overheads(self) -> list[float]:
        """Seconds that accepting d drafts takes longer than drawing one token, d from 0."""
        accept = np.array([s.accept for s in self.sweeps])
        return np.maximum(0.0, np.median(accept - accept[:, :1], axis=0)).tolist()

    @property
    def overhead(self) -> float:
        """Seconds that accepting a full draft takes longer than drawing one token."""
        return self.overheads[-1]

    @property
    def drift(self) -> float:
        """Median over sweeps of the control cell's second time over its first."""
        return float(np.median([second / first for first, second in (s.control for s in self.sweeps)]))

    def rows(self) -> list[dict]:
        """Every cell with its median and quartiles in seconds."""
        quartiles = {cell: np.quantile(times, (0.25, 0.5, 0.75)).tolist() for cell, times in self.times().items()}
        return [
            {**cell._asdict(), "seconds": median, "low": low, "high": high}
            for cell, (low, median, high) in quartiles.items()
        ]


def journal(path: pathlib.Path, measured: Mapping[str, Any]) -> jsonl.Journal:
    """The file of the sweeps of these models on this machine, new or to go on with."""
    return jsonl.Journal(path, FORMAT, VERSION, measured)


def record(sweep: Sweep) -> dict[str, Any]:
    """A sweep as a line of the file."""
    cells = [[*cell, seconds] for cell, seconds in sweep.cells.items()]
    return {"cells": cells, "control": sweep.control, "accept": sweep.accept}


def of_records(lines: list[dict[str, Any]], path: pathlib.Path) -> list[Sweep]:
    """The sweeps that lines hold; ValueError naming path and line where one holds none, or other shapes than others."""
    sweeps = [_sweep(line, f"{path}:{number}") for number, line in enumerate(lines, start=2)]
    for number, sweep in enumerate(sweeps, start=2):
        if (sweep.cells.keys(), len(sweep.accept)) != (sweeps[0].cells.keys(), len(sweeps[0].accept)):
            raise ValueError(f"{path}:{number}: found other shapes than in line 2, expected the same: measure anew")
    return sweeps


def read(path: pathlib.Path) -> Costs:
    """Read a costs file; a torn last line is dropped, a file without a whole line holds no sweep.

    Raises ValueError naming path and line for another format or version and for a broken line.
    """
    if b"\n" not in path.read_bytes():
        return Costs()
    measured, lines = jsonl.read(path, FORMAT, VERSION)
    return Costs(of_records(lines, path), measured)


def _sweep(line: Mapping[str, Any], place: str) -> Sweep:
    try:
        cells = {Cell(*shape): seconds for *shape, seconds in line["cells"]}
        drawing, *accepting = line["accept"]
        return Sweep(cells, tuple(line["control"]), (drawing, *accepting))
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{place}: found no sweep, expected one per line as specmath wrote them") from None
