"""A plan as the JSON object of `specmath plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from specmath.load import Option
from specmath.obstacle import Infeasible
from specmath.plan import Plan
from validate import plan_numbers as numbers
from validate.acceptances import Acceptance
from validate.document import envelope, nulled
from validate.headroom import warnings
from validate.plan_energy import energy
from validate.plan_verdict import reason, then, unknown, verdict

MEASURES = ("gpus", "batch", "tpot", "ttft", "tokens_per_second", "cost_per_million")
MORE = ("replicas", "exact_gpus", "itl", "e2e", "capacity", "utilisation", "max_batch", "binding")
UNKNOWN = ("without", "drafting", "gain", "step", "confidence", "heat", "simulation")
LISTS = ("sensitivities", "curves", "pareto")
NOWHERE = {"batch": None, "rate": None}
RATES = ("tokens_per_second_per_user", "tokens_per_second_per_gpu")


@dataclass(frozen=True)
class Beside:
    """What stands beside a plan: what was asked, how each draft is accepted, and what was found besides."""

    inputs: Mapping[str, Any]
    acceptances: Mapping[str, Acceptance]
    provenance: Mapping[str, Any]
    flags: Mapping[str, str] = field(default_factory=dict)
    whatif: Sequence[Mapping[str, Any]] = ()
    simulation: Mapping[str, Any] | None = None


def plan_document(plan: Plan, beside: Beside) -> dict[str, Any]:
    """The answer with what it rests on; unknown is null."""
    best = min((option for option in plan.ranked if option.k), key=lambda option: option.exact_gpus, default=None)
    gain = numbers.interval(plan, _alpha(best, beside))
    decided = numbers.decided(plan, _alpha(plan.drafting, beside))
    found = verdict(plan, known=bool(beside.acceptances), decided=decided)
    shown = plan.drafting or plan.choice
    step = numbers.step(shown, shown.batch)
    why = reason(plan, step) if beside.acceptances else unknown(plan, beside.whatif)
    drafts, known = beside.inputs["draft"], beside.acceptances
    unmeasured = [name for name in drafts if name not in known or known[name].source == "given"]
    following = then(plan, found, list(beside.flags), unmeasured, beside.inputs["target"])
    return nulled(
        envelope("plan", found, why, following)
        | _whole(plan.choice)
        | {"without": plan.without and _whole(plan.without), "drafting": plan.drafting and _whole(plan.drafting)}
        | {"gain": gain, "switch_off": plan.switch_off or NOWHERE}
        | {"schedule": plan.schedule, "schedule_falling": plan.hysteresis.down, "by_rate": plan.by_rate}
        | {"ranked": [row(option) for option in plan.ranked], "refused": plan.refused}
        | {"memory": plan.memory, "headroom": warnings(plan), "step": step}
        | {"confidence": plan.confidence, "provenance": provenance(plan, beside)}
        | {"sensitivities": [asdict(one) | {"swing": one.swing} for one in plan.sensitivities()]}
        | {"curves": numbers.loads(plan.curves() or ()), "pareto": numbers.pareto(plan)}
        | {"heat": plan.drafting and numbers.heat(plan.drafting)}
        | {
            "least": None,
            "whatif": beside.whatif,
            "simulation": beside.simulation,
            "flags": beside.flags,
            "inputs": beside.inputs,
        }
    )


def infeasible_document(found: Infeasible, beside: Beside) -> dict[str, Any]:
    """Nothing keeps the promise: what binds, and what would lift it."""
    nothing = dict.fromkeys(("choice", *MEASURES, *MORE, *RATES, "prefill_share", "percentiles", "energy", *UNKNOWN))
    empty = dict.fromkeys(("schedule", "schedule_falling", "by_rate", "ranked", "refused", "headroom", *LISTS), ())
    return nulled(
        envelope("plan", "infeasible", found.reason, found.lift)
        | {**nothing, **empty, "switch_off": NOWHERE, "memory": {}, "flags": {}}
        | {"binding": found.binding, "least": found.value, "provenance": {**beside.provenance, "acceptance": {}}}
        | {"whatif": beside.whatif, "inputs": beside.inputs}
    )


def measured(option: Option) -> dict[str, Any]:
    """One option: what it is, and how it runs."""
    choice = {"draft": option.name if option.k else None, "k": option.k, "tp": option.tp, "gpu": option.gpu}
    values = {name: getattr(option, name) for name in (*MEASURES, *MORE, *RATES)}
    return {"choice": choice, **values, "prefill_share": option.state.prefill_share}


def _whole(option: Option) -> dict[str, Any]:
    return measured(option) | {"percentiles": numbers.percentiles(option), "energy": energy(option)}


def row(option: Option) -> dict[str, Any]:
    """The same, flat."""
    found = measured(option)
    return {**found.pop("choice"), **found}


def provenance(plan: Plan, beside: Beside) -> dict[str, Any]:
    """Where times, acceptance and price are from."""
    known = {name: acceptance.source for name, acceptance in beside.acceptances.items()}
    return {**plan.provenance, **beside.provenance, "acceptance": known}


def _alpha(option: Option | None, beside: Beside) -> Mapping[str, Any] | None:
    """alpha with its interval, of the draft of an option."""
    names = [name for name in beside.acceptances if option and option.name.startswith(name)]
    return beside.acceptances[max(names, key=len)].alpha if names else None
