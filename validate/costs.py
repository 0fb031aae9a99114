"""Measured seconds of forwards, sweep by sweep, in JSON Lines; what a cost table is made of.

Line 1 is {"format": "specmath.costs", "version": 1}; then one sweep per line: [model, n, batch, context,
seconds] of every cell, the repeated control cell's two times, and the seconds of accepting one token and a full draft.
"""

import json
import pathlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from specmath.cost import Pair, Table

FORMAT, VERSION, FILE = "specmath.costs", 1, "costs.jsonl"


class Cell(NamedTuple):
    """One shape: which model ("target" or "draft"), n new tokens, batch, context already in the cache."""

    model: str
    n: int
    batch: int
    context: int


@dataclass(frozen=True)
class Sweep:
    """Every cell timed once; `control` is one cell's first and second time; `accept` of one row and of k + 1 rows."""

    cells: dict[Cell, float]
    control: tuple[float, float]
    accept: tuple[float, float]


class Costs:
    """Sweeps in the order they were taken; medians over them, never smoothed."""

    def __init__(self, sweeps: list[Sweep] | None = None) -> None:
        self.sweeps = list(sweeps or [])

    def times(self) -> dict[Cell, np.ndarray]:
        """Seconds of each cell over the sweeps."""
        return {cell: np.array([s.cells[cell] for s in self.sweeps]) for cell in sorted(self.sweeps[0].cells)}

    def table(self, model: str) -> Table | None:
        """One model's forwards with the token drawn after each, as specmath reads them; None if it was not timed.

        Medians of the cells, each with the seconds that drawing one token takes: plain decoding, a
        verification and a drafted token all pay them.
        """
        mine = {
            cell: float(np.median(times)) + self.drawing for cell, times in self.times().items() if cell.model == model
        }
        if not mine:
            return None
        n, batch, context = (np.array(column) for column in list(zip(*mine, strict=True))[1:])
        return Table(n, batch, context, np.array(list(mine.values())), provenance="measured")

    def pair(self) -> Pair:
        """Target and draft with the overhead of a round over a plain step."""
        target = self.table("target")
        if target is None:
            raise ValueError("found no forward of the target in the costs; measure them again")
        return Pair(target, self.table("draft"), overhead=self.overhead)

    @property
    def drawing(self) -> float:
        """Seconds from logits to one token."""
        return float(np.median([one for one, _ in (s.accept for s in self.sweeps)]))

    @property
    def overhead(self) -> float:
        """Seconds that accepting a full draft takes longer than drawing one token."""
        return max(0.0, float(np.median([full - one for one, full in (s.accept for s in self.sweeps)])))

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


def append(path: pathlib.Path, sweep: Sweep) -> None:
    """Add one sweep to a costs file, beginning it where there is none; half a line left by a crash is cut off."""
    whole = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
    size = len(whole[0] + whole[1])
    head = "" if size else json.dumps({"format": FORMAT, "version": VERSION}) + "\n"
    cells = [[*cell, seconds] for cell, seconds in sweep.cells.items()]
    line = json.dumps({"cells": cells, "control": sweep.control, "accept": sweep.accept}) + "\n"
    with path.open("ab") as file:
        file.truncate(size)
        file.write((head + line).encode())


def read(path: pathlib.Path) -> Costs:
    """Read a costs file; a torn last line is dropped, a file without a whole line holds no sweep.

    Raises ValueError naming path and line for another format or version and for a broken line.
    """
    head, *lines = path.read_text().split("\n")
    if not lines:
        return Costs()
    found = _object(head)
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path}: found {head[:60]!r}, expected version {VERSION} of {FORMAT}: measure again")
    return Costs([_sweep(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], start=2)])


def _sweep(line: str, place: str) -> Sweep:
    try:
        record = json.loads(line)
        cells = {Cell(*shape): seconds for *shape, seconds in record["cells"]}
        return Sweep(cells, tuple(record["control"]), tuple(record["accept"]))
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{place}: found no sweep, expected one per line as specmath run wrote them") from None


def _object(line: str) -> dict:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
