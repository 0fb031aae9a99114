"""What a study showed, as the JSON object of `specmath run`: every cell's prediction held against its run.

The cell that was predicted to be fastest leads: it was chosen before anything was drafted, so that its measurement is
not the luckiest of many. Its own trace gives what `conclude.run_document` says of one trace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from specmath.acceptance import BetaGeometric, Geometric, Law, Markov, NotIdentifiable, Positional
from specmath.estimate import select
from validate.advice import plan, run_command
from validate.compare import Comparison, gap, measured_breakdown
from validate.conclude import case_of, domain_of, run_document, verdict_of
from validate.costs import FREE, Costs
from validate.document import nulled
from validate.fit import EVERYTHING, Sample, control_ratio, measured_speedup, sample_of
from validate.lines import Header
from validate.prediction import Forecast, Prediction
from validate.trace import Trace

FAMILIES = (Geometric, Positional, BetaGeometric, Markov)
HELD_OUT = ("cells", "total", "gap")
Cell = tuple[str, int]


def study_document(traces: Mapping[Cell, Trace], costs: Costs, prediction: Prediction) -> dict[str, Any]:
    """Cells by domain, draft and k, in all, and the leading cell in full.

    Raises ValueError where no prompt was finished in every arm or the prediction lacks a cell.
    """
    leading = _fastest(prediction, list(traces), EVERYTHING)
    document = run_document(traces[leading], costs)
    samples = {cell: sample_of(trace) for cell, trace in traces.items()}
    domains = samples[leading].domains
    cells = [
        _cell(prediction.of(domain, *cell), sample.of(domain)) for domain in domains for cell, sample in samples.items()
    ]
    totals = [_cell(prediction.of(EVERYTHING, *cell), sample) for cell, sample in samples.items()]
    total = next(t for t in totals if (t["draft"], t["k"]) == leading)
    verdicts, shown = _by_domain(prediction, traces, domains, costs)
    return document | nulled(
        {
            "next": document["next"] if len(traces) == 1 else _plan(verdicts, shown, traces),
            "costs": document["costs"] | {"drafts": _draft_costs(costs, traces)},
            "held_out": {name: document[name] for name in HELD_OUT},
            "cells": cells,
            "totals": totals,
            "total": {name: total[name] for name in ("predicted", "measured", "error", "inside")},
            "gap": total["gap"],
            "curve": _curve(prediction),
            "best": _best(prediction, traces[leading].header),
            "accuracy": _accuracy(cells, [control_ratio(samples[leading].of(domain)) for domain in domains]),
            "verdicts": verdicts,
            "domains": shown,
            "laws": {f"{draft}, k = {k}": _laws(sample) for (draft, k), sample in samples.items()},
            "predicted_at": prediction.made,
        }
    )


def _fastest(prediction: Prediction, cells: Sequence[Cell], domain: str) -> Cell:
    return max(cells, key=lambda cell: prediction.of(domain, *cell).speedup.value)


def _cell(forecast: Forecast, sample: Sample) -> dict[str, Any]:
    """One prediction beside its measurement, and why they differ: log(predicted / measured) by cause."""
    found = Comparison(forecast.domain, forecast.draft, forecast.k, forecast.speedup, measured_speedup(sample))
    why = gap(forecast.breakdown, measured_breakdown(sample))
    return vars(found) | {"error": found.error, "inside": found.inside, "gap": why}


def _draft_costs(costs: Costs, traces: Mapping[Cell, Trace]) -> dict[str, list[dict[str, Any]]]:
    """The forwards of every draft that is a model, by its name."""
    names = [name for name in dict.fromkeys(draft for draft, _ in traces) if name not in FREE]
    return {name: [row for row in costs.rows() if row["model"] == name] for name in names}


def _curve(prediction: Prediction) -> list[dict[str, Any]]:
    """Every draft at every k that was priced, run or not, over all texts."""
    return [
        {"draft": f.draft, "k": f.k, "predicted": f.speedup, "block_efficiency": f.breakdown.tokens}
        for f in prediction.forecasts
        if f.domain == EVERYTHING
    ]


def _best(prediction: Prediction, ran: Header) -> dict[str, Any]:
    """The draft and k predicted to be fastest over all texts, run or not.

    With the command that runs it, where its interval does not hold what was predicted of the cell that leads.
    """
    best = max((f for f in prediction.forecasts if f.domain == EVERYTHING), key=lambda f: f.speedup.value)
    beyond = best.speedup.low > prediction.of(EVERYTHING, ran.draft, ran.k).speedup.value
    command = run_command([replace(ran, draft=best.draft, k=best.k)]) if beyond else None
    return {"draft": best.draft, "k": best.k, "predicted": best.speedup, "command": command}


def _accuracy(cells: Sequence[Mapping[str, Any]], controls: Sequence[float]) -> dict[str, Any]:
    """Errors of all cells, how many stated intervals held, and plain decoding against itself by domain."""
    errors, noise = [abs(cell["error"]) for cell in cells], [abs(ratio - 1) for ratio in controls]
    judged = [cell["inside"] for cell in cells if cell["inside"] is not None]
    return {
        "cells": len(cells),
        "median_error": median(errors),
        "worst_error": max(errors),
        "inside": sum(judged),
        "judged": len(judged),
        "control": {"median": median(noise), "percentile_95": float(np.quantile(noise, 0.95)), "worst": max(noise)},
    }


def _by_domain(
    prediction: Prediction, traces: Mapping[Cell, Trace], domains: Sequence[str], costs: Costs
) -> tuple[dict[str, Any], dict[str, Any]]:
    """By domain, the verdict on the cell that was predicted to be fastest there, and what its prompts showed."""
    verdicts, shown = {}, {}
    for domain in domains:
        chosen = _fastest(prediction, list(traces), domain)
        case = case_of(traces[chosen], costs).of(domain)
        verdict = case.decide()
        verdicts[domain] = verdict_of(verdict) | {"draft": chosen[0]}
        shown[domain] = domain_of(case, verdict, traces[chosen].done) | {"draft": chosen[0], "k": chosen[1]}
    return verdicts, shown


def _plan(verdicts: Mapping[str, Any], shown: Mapping[str, Any], traces: Mapping[Cell, Trace]) -> str:
    prompts = {domain: found["prompts"] for domain, found in shown.items()}
    return plan(verdicts, prompts, [trace.header for trace in traces.values()])


def _parameters(law: Law) -> dict[str, Any]:
    return {name: value for name, value in vars(law).items() if not name.startswith("_")}


def _laws(sample: Sample) -> dict[str, Any]:
    """Which families say most of held-out prompts, and which of them is the simplest not rejected."""
    try:
        found = select(FAMILIES, sample.rounds)
    except NotIdentifiable as unknown:
        return {"chosen": None, "ranking": [], "missing": str(unknown)}
    ranking = [
        {"law": c.name, "params": _parameters(c.fit.law), "held_out": c.held_out, "difference": c.difference}
        | {"rejected": bool(c.rejected)}
        for c in found.ranking
    ]
    return {"chosen": found.simplest.name, "ranking": ranking, "missing": list(found.not_identifiable)}
