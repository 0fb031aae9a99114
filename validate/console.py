"""What is said while work goes on, on stderr: lines, and a bar or a line for each step of a long run."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

NO_TIME, ENOUGH = 0.01, 2  # seconds within which a step lay there already; steps that show a pace


class Step(NamedTuple):
    """One step of a long run: its stage, its number of so many in that stage, and what it was about."""

    stage: str
    number: int
    total: int
    name: str


class Pace:
    """Seconds left of a stage by its own pace; steps that lay there already, at its beginning, show none."""

    def __init__(self) -> None:
        self._stage, self._number, self._since = "", 0, 0.0

    def left(self, step: Step, now: float) -> float | None:
        """What is left after a step; None where it is not known yet, or nothing is."""
        if step.stage != self._stage or now - self._since < NO_TIME:
            self._stage, self._number, self._since = step.stage, step.number, now
        done = step.number - self._number
        if done < ENOUGH or step.number >= step.total:
            return None
        return (now - self._since) / done * (step.total - step.number)


def say(line: str) -> None:
    """One line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)


def watched(
    steps: Iterable[Step], stages: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
) -> Iterator[Step]:
    """Steps as they come, with the place of their stage among several and the time it has left: a bar or lines."""
    pace = Pace()
    if sys.stderr.isatty():
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None)
            for step in steps:
                description = f"{step.stage}: {step.name}{_rest(step, stages, pace.left(step, clock()))}"
                progress.update(task, completed=step.number, total=step.total, description=description)
                yield step
        return
    for step in steps:
        say(f"{step.stage} {step.number}/{step.total} {step.name}{_rest(step, stages, pace.left(step, clock()))}")
        yield step


def _rest(step: Step, stages: Sequence[str], seconds: float | None) -> str:
    """The place of the stage and the time it has left, as far as they are known."""
    place = f", stage {stages.index(step.stage) + 1} of {len(stages)}" if len(stages) > 1 else ""
    return place if seconds is None else f"{place}, {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
