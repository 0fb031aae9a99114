"""`specmath cost`: the cost table of a target and a draft."""

from collections.abc import Iterator, Mapping
from typing import Any

from validate import cost_document, study
from validate.console import Step, say, watched
from validate.costs import Costs, Sweep
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
    taken: list[Sweep] = []
    for _ in watched(_sweeps(bench, options["repeats"], taken)):
        pass
    return cost_document.cost_document(Costs(taken), settings.k, study.machine(settings))


def _sweeps(bench: CostBench, repeats: int, taken: list[Sweep]) -> Iterator[Step]:
    for number in range(1, repeats + 1):
        taken.append(bench.sweep())
        yield Step("measured", number, repeats, "sweep")
