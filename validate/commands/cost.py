"""`specmath cost`: the cost table of a target and a draft."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from validate import cost_document
from validate.console import Step, say, watched
from validate.costs import Costs, Sweep, journal, of_records, record
from validate.jsonl import Journal
from validate.loading import placement
from validate.measure import CostBench, Shapes
from validate.models import Models, Settings
from validate.sampler import Sampler


def answer(options: Mapping[str, Any], lengths: list[int], contexts: list[int], batches: list[int]) -> dict[str, Any]:
    """Measure forwards over `lengths` tokens after `contexts` tokens in `batches` sequences; the document."""
    place = placement(options["device"], options["dtype"])
    draft = options["draft"]
    settings = Settings(
        options["target"], (draft,), (max(lengths) - 1,), Sampler(), 1, 0, *place, options["dummy_weights"]
    )
    models, shapes = Models(settings), Shapes(lengths, contexts, batches)
    _within(models.context, shapes)
    bench = CostBench(models, settings, shapes, say)
    kept = journal(pathlib.Path(options["out"]), bench.measured) if options["out"] else None
    taken = of_records(kept.records, kept.path) if kept else []
    if len(taken) < options["repeats"]:
        bench.warm()
    for _ in watched(_sweeps(bench, options["repeats"], taken, kept)):
        pass
    return cost_document.cost_document(Costs(taken), draft, max(settings.ks), settings.machine | _weights(settings))


def _within(context: int, shapes: Shapes) -> None:
    """ValueError for a context that leaves the models no room for the forwards after it."""
    longest = max(shapes.contexts)
    room = context - (shapes.capacity - longest)
    if longest > room:
        held = f"the models hold {context} tokens and {context - room} come after"
        raise ValueError(f"--context: found {longest}, expected at most {room}: {held}")


def _weights(settings: Settings) -> dict[str, str]:
    return {"weights": "dummy"} if settings.dummy_weights else {}


def _sweeps(bench: CostBench, repeats: int, taken: list[Sweep], kept: Journal | None) -> Iterator[Step]:
    """Sweep until there are so many, each kept in the file as it is taken."""
    for number in range(len(taken) + 1, repeats + 1):
        taken.append(bench.sweep())
        if kept:
            kept.append(record(taken[-1]))
        yield Step("measured", number, repeats, "sweep")
