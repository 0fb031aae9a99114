"""What is said while work goes on, on stderr: lines, and a bar or a line for each step of a long run."""

import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress


class Step(NamedTuple):
    """One step of a long run: its stage, its number of so many in that stage, and what it was about."""

    stage: str
    number: int
    total: int
    name: str


def say(line: str) -> None:
    """One line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def watched(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps as they come: a bar on a terminal, else a line for each."""
    if sys.stderr.isatty():
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None)
            for step in steps:
                description = f"{step.stage}: {step.name}"
                progress.update(task, completed=step.number, total=step.total, description=description)
                yield step
        return
    for step in steps:
        say(f"{step.stage} {step.number}/{step.total} {step.name}")
        yield step
