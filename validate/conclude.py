"""From the files of a run to the JSON objects of `specmath run` and `specmath fit`: nothing is decoded here."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from specmath.acceptance import Law
from specmath.cost import Pair
from validate.advice import profile_command, route, then
from validate.compare import (
    Comparison,
    Verdict,
    decide,
    gap,
    generalise,
    measured_breakdown,
    model_error,
    predicted_breakdown,
)
from validate.costs import FREE, TARGET, Costs
from validate.document import envelope, nulled
from validate.fit import (
    EVERYTHING,
    Fitted,
    Run,
    Sample,
    control_ratio,
    fit,
    measured_speedup,
    predicted_speedup,
    sample_of,
)
from validate.lines import TIE_LOGITS, DoneLine, Header
from validate.trace import Trace
from validate.workload import is_loop

TOTAL_BOUND, DOMAIN_BOUND, CONTROL_FACTOR = 0.05, 0.10, 1.5


@dataclass(frozen=True)
class Case:
    """Finished prompts, the settings they ran under, and the measured prices."""

    header: Header
    sample: Sample
    cost: Pair

    def of(self, domain: str) -> "Case":
        """The prompts of one domain."""
        return replace(self, sample=self.sample.of(domain))

    def decide(self) -> Verdict:
        """The verdict on these prompts."""
        return decide(self.sample, self.header.k)


def run_document(trace: Trace, costs: Costs) -> dict[str, Any]:
    """What a run showed: verdicts, predictions beside measurements, costs, and where the time went.

    Raises ValueError where no prompt was finished in every arm or no cost was measured.
    """
    case = case_of(trace, costs)
    domains = {domain: case.of(domain) for domain in case.sample.domains}
    verdicts = {domain: of.decide() for domain, of in domains.items()}
    overall = case.decide()
    return nulled(
        envelope("run", overall.verdict, overall.reason, route(overall, verdicts, case.header))
        | {"draft": case.header.draft, "k": overall.k, "speedup": overall.speedup}
        | {
            "control": {"aa_ratio": control_ratio(case.sample)},
            "cells": [_cell(domain, of) for domain, of in domains.items()],
            "total": {key: _cell(EVERYTHING, case)[key] for key in ("predicted", "measured", "error", "inside")},
            "costs": _costs(costs, case.header.draft),
            "gap": _gap(case),
            "verdicts": {domain: verdict_of(verdict) for domain, verdict in verdicts.items()},
            "model_error": [_model_error(domain, of) for domain, of in {EVERYTHING: case, **domains}.items()],
            "domains": {d: domain_of(of, verdicts[d], trace.done) for d, of in domains.items()},
            "acceptance": _acceptance(_fitted(case)),
            "breakdown": _breakdown(case),
            "outside_forwards": _outside_forwards(case),
            "divergences": _divergences(trace),
            "left_out": [p for p in trace.domains if p not in {q.prompt for q in case.sample.prompts}],
            "provenance": asdict(case.header),
        }
    )


def fit_document(trace: Trace, costs: Costs | None, source: str) -> dict[str, Any]:
    """What a trace says, whole or interrupted: acceptance from every round, speedup from finished prompts.

    `best` cuts the observed rounds at each k' up to the k that ran and prices them; without costs it is null. Rounds of
    a smaller k would start elsewhere: where easy and hard stretches alternate the cut understates them, and only the
    k that ran is exact. `specmath profile` replays every k exactly.
    """
    header, sample = trace.header, sample_of(trace)
    lines = [line for line in trace.rounds if (line.arm, line.repeat) == ("spec", 0)]
    fitted = fit(lines, header.rule, header.k)
    case = Case(header, sample, costs.pair(header.draft)) if costs and costs.sweeps and sample.prompts else None
    verdict = decide(sample, header.k) if sample.prompts else None
    acceptance = _acceptance(fitted)
    return nulled(
        envelope("fit", *_fit_verdict(verdict, sample, header, source))
        | {"source": source, "rule": header.rule, **acceptance}
        | {
            "not_identifiable": [{"what": g.what, "missing": g.missing, "how": g.how} for g in fitted.missing],
            "speedup": verdict and verdict.speedup,
            "best": case and _best(case),
            "unread_lines": trace.unread,
            "prompts": {"finished": len(sample.prompts), "begun": len(trace.domains)},
        }
    )


def case_of(trace: Trace, costs: Costs) -> Case:
    """The finished prompts of a trace at measured prices; ValueError where there are none."""
    sample = sample_of(trace)
    if not sample.prompts or not costs.sweeps:
        raise ValueError("found no prompt finished in every arm, expected one or more: go on with --resume")
    return Case(trace.header, sample, costs.pair(trace.header.draft))


def _cell(domain: str, case: Case) -> dict[str, Any]:
    """Acceptance of one half held against the other; without a second prompt there is nothing to hold it against."""
    if not case.sample.halves()[1].prompts:
        alone = predicted_speedup(case.sample, case.cost, k=case.header.k)
        found = {"predicted": alone, "measured": None, "error": None, "inside": None}
    else:
        found = _compared(generalise(domain, case.header.draft, case.sample, case.cost, case.header.k))
    return {"domain": domain, "draft": case.header.draft, "k": case.header.k} | found


def _compared(comparison: Comparison) -> dict[str, Any]:
    names = ("predicted", "measured", "error", "inside")
    return {name: getattr(comparison, name) for name in names}


def _gap(case: Case) -> Mapping[str, float | None]:
    """Why the total's prediction missed: log(predicted / measured) by cause."""
    fitted_on, held_out = case.sample.halves()
    if not held_out.prompts:
        return dict.fromkeys(("acceptance", "draft", "verify", "overhead"))
    return gap(predicted_breakdown(fitted_on, case.cost, case.header.k), measured_breakdown(held_out))


def _breakdown(case: Case) -> dict[str, Any]:
    """A mean round in plain steps, by the table and by the clock."""
    predicted = predicted_breakdown(case.sample, case.cost, case.header.k)
    return {"predicted": predicted, "measured": measured_breakdown(case.sample)}


def _model_error(domain: str, case: Case) -> dict[str, Any]:
    found = model_error(domain, case.sample, case.cost, case.header.k)
    bound = TOTAL_BOUND if domain == EVERYTHING else DOMAIN_BOUND
    bound = max(bound, CONTROL_FACTOR * abs(found.control))
    return asdict(found) | {"error": found.error, "bound": bound, "within": abs(found.error) <= bound}


def verdict_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as its JSON object."""
    return {name: getattr(verdict, name) for name in ("verdict", "k", "more_prompts")}


def domain_of(case: Case, verdict: Verdict, done: Sequence[DoneLine]) -> dict[str, Any]:
    """What the prompts of one domain showed."""
    prompts = {p.prompt for p in case.sample.prompts}
    outputs = [line.tokens for line in done if line.arm == "spec" and line.prompt in prompts and line.tokens]
    return {
        "prompts": len(prompts),
        "speedup": measured_speedup(case.sample),
        "reason": verdict.reason,
        **_acceptance(_fitted(case)),
        "loops": sum(map(is_loop, outputs)) / len(outputs) if outputs else None,
    }


def _fitted(case: Case) -> Fitted:
    return fit(case.sample.lines, case.sample.rule, case.header.k)


def _acceptance(fitted: Fitted) -> dict[str, Any]:
    return {
        "law": _law(fitted.law),
        "alpha": fitted.alpha,
        "block_efficiency": fitted.block_efficiency,
        "survival": fitted.survival,
        "rounds": fitted.rounds,
        "drafted": fitted.drafted,
        "accepted": fitted.accepted,
        "accepted_fraction": fitted.accepted / fitted.drafted if fitted.drafted else None,
        "hit_share": fitted.hit,
    }


def _law(law: Law | None) -> dict[str, Any] | None:
    return {"name": type(law).__name__, "params": vars(law)} if law else None


def _costs(costs: Costs, draft: str) -> dict[str, Any]:
    rows = costs.rows()
    cells = {
        role: [{key: value for key, value in row.items() if key != "model"} for row in rows if row["model"] == model]
        for role, model in (("target", TARGET), ("draft", draft))
    }
    beside = {"drawing": costs.drawing, "overhead": costs.overhead, "overheads": costs.overheads}
    return cells | beside | {"drift": costs.drift}


def _outside_forwards(case: Case) -> float | None:
    """Share of the decode time of all arms outside the target's forwards; None where a model drafts too."""
    if case.header.draft not in FREE:
        return None
    runs: list[Run] = [run for p in case.sample.prompts for run in (p.plain, p.control, p.spec)]
    return 1 - sum(r.verify_s for run in runs for r in run.rounds) / sum(run.seconds for run in runs)


def _divergences(trace: Trace) -> dict[str, Any] | None:
    """Greedy outputs against the plain one of the same prompt; None under sampling, where they may differ."""
    if trace.header.sampler.get("temperature"):
        return None
    compared = len(trace.done) - len({line.prompt for line in trace.done})
    tied = TIE_LOGITS[trace.header.machine.get("dtype", "float32")]
    apart = [
        {"prompt": d.prompt, "arm": d.arm, "repeat": d.repeat, **d.divergence, "tie": d.divergence["gap"] < tied}
        for d in trace.done
        if d.divergence
    ]
    return {"compared": compared, "identical": compared - len(apart), "apart": apart}


def _best(case: Case) -> dict[str, Any]:
    """The cut of the observed rounds that pays best; not to draft is a candidate at exactly 1."""
    ran = case.header.k
    cuts = {k: predicted_speedup(case.sample, case.cost, k=k).value for k in range(1, ran + 1)}
    k, speedup = max({0: 1.0, **cuts}.items(), key=lambda pair: pair[1])
    exact = profile_command(case.header, [case.header.draft])
    return {"k": k, "speedup": speedup, "cut_from": ran, "exact": exact}


def _fit_verdict(verdict: Verdict | None, sample: Sample, header: Header, source: str) -> tuple[str, str, str]:
    if verdict is None:
        reason = "no prompt is finished in every arm, so there is acceptance and no speedup"
        folder = pathlib.PurePath(source).parent if source.endswith(".jsonl") else source
        return "measure_more", reason, f"go on with the run: specmath run --resume {folder}"
    return verdict.verdict, verdict.reason, then(verdict, header, len(sample.domains))
