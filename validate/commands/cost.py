"""`specmath cost`: the cost table of a target and a draft."""

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from validate import cost_document
from validate.console import Step, say, watched
from validate.costs import Costs, Sweep, journal, of_records, record
from validate.jsonl import Journal
from validate.loading import placement
from validate.measure import CostBench, Shapes
from validate.models import Models, Settings
from validate.sampler import Sampler


def answer(
    options: Mapping[str, Any], k: int, lengths: list[int], contexts: list[int], batches: list[int]
) -> tuple[dict[str, Any], list[str]]:
    """Measure forwards over `lengths` tokens after `contexts` in `batches` sequences; the document, and its file."""
    place = placement(options["device"], options["dtype"])
    draft = options["draft"]
    sampler = Sampler(**{field.name: options[field.name] for field in fields(Sampler)})
    deepest = max(lengths) - 1
    settings = Settings(options["target"], (draft,), (deepest,), sampler, 1, 0, *place, options["dummy_weights"])
    bench = CostBench(Models(settings), settings, Shapes(lengths, contexts, batches), say)
    kept = journal(pathlib.Path(options["out"]), bench.measured) if options["out"] else None
    taken = of_records(kept.records, kept.path) if kept else []
    if len(taken) < options["repeats"]:
        bench.warm()
    else:
        say(f"nothing to measure: {options['out']} holds {len(taken)} sweeps, which are read")
    for _ in watched(_sweeps(bench, options["repeats"], taken, kept)):
        pass
    found = Costs(taken, bench.measured)
    document = cost_document.cost_document(found, draft, k, settings.machine | _weights(settings), options["out"])
    return document, [options["out"]] if options["out"] else []


def _weights(settings: Settings) -> dict[str, str]:
    return {"weights": "dummy"} if settings.dummy_weights else {}


def _sweeps(bench: CostBench, repeats: int, taken: list[Sweep], kept: Journal | None) -> Iterator[Step]:
    """Sweep until there are so many, each kept in the file as it is taken."""
    for number in range(len(taken) + 1, repeats + 1):
        taken.append(bench.sweep())
        if kept:
            kept.append(record(taken[-1]))
        yield Step("measured", number, repeats, "sweep")
