"""`specmath cost`: the cost table of a target and a draft."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from validate import cost_document, study
from validate.console import Step, say, watched
from validate.costs import Costs, Sweep, append, read
from validate.loading import placement
from validate.measure import CostBench
from validate.sampler import Sampler


def answer(options: Mapping[str, Any], lengths: list[int], contexts: list[int], batches: list[int]) -> dict[str, Any]:
    """Measure forwards over `lengths` tokens after `contexts` tokens in `batches` sequences; the document."""
    place = placement(options["device"], options["dtype"])
    settings = study.Settings(options["target"], options["draft"], max(lengths) - 1, Sampler(), 1, 0, *place)
    say(f"loading {options['target']}")
    bench = study.cost_bench(settings, lengths, contexts, batches)
    bench.warm()
    path = options["out"] and pathlib.Path(options["out"])
    taken = _taken(path, bench) if path and path.exists() else []
    for _ in watched(_sweeps(bench, options["repeats"], taken, path)):
        pass
    return cost_document.cost_document(Costs(taken), settings.k, study.machine(settings))


def _sweeps(bench: CostBench, repeats: int, taken: list[Sweep], path: pathlib.Path | None) -> Iterator[Step]:
    """Sweep until there are so many, each kept in the file as it is taken."""
    for number in range(len(taken) + 1, repeats + 1):
        taken.append(bench.sweep())
        if path:
            append(path, taken[-1])
        yield Step("measured", number, repeats, "sweep")


def _taken(path: pathlib.Path, bench: CostBench) -> list[Sweep]:
    """The sweeps that a stopped measurement left; ValueError where they are of other shapes."""
    found = read(path).sweeps
    if any(set(sweep.cells) != set(bench.cells) for sweep in found):
        raise ValueError(f"{path}: found sweeps of other shapes, expected those asked for; choose another file")
    return found
