"""The numbers behind a plan's report: what a step is made of, k by batch, the curves over load, the alpha it needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from specmath.candidates import Candidate, loaded
from specmath.curves import Curve
from specmath.draft import Chain
from specmath.inverse import Needed, needed_alpha, needed_cost
from specmath.load import Option, Question, exact_gpus, limit, size
from specmath.plan import Plan, rank
from specmath.schedule import token_seconds
from specmath.serving import steady
from specmath.varied import tilted

SHARES = (0.5, 0.95, 0.99)
LOADS, BY = 24, 4  # points of a curve; batches from one power of 2 to the next
COLUMNS = ("rate", "batch", "tpot", "ttft", "e2e", "goodput")


def step(option: Option, batch: float) -> dict[str, Any]:
    """Seconds of a plain step and of a round of this option at one batch, by part, and tokens per round.

    A measured cost is not known by part, and at the measured batches alone: it is that of the nearest.
    """
    cost = option.candidate.cost
    at = {"batch": _batch(cost.target, batch), "context": option.deployment.traffic.context}
    found: dict[str, Any] = {**at, "k": option.k, "tokens": 1.0, "plain": _parts(cost.target, 1, at), "round": None}
    if option.k:
        time = cost.round(Chain(option.k), **at)
        found["round"] = {"draft": time.draft, **_parts(cost.target, option.k + 1, at), "accepting": time.overhead}
        found["tokens"] = option.deployment.station.tau
    return found


def heat(option: Option) -> dict[str, Any]:
    """How many times faster a token is than in plain decoding: a row for each k, a column for each batch."""
    stations = {k: one.station for k, one in loaded(option.deployment).items() if k and one.station is not None}
    plain = token_seconds(option.deployment.plain().station)
    most = min(len(plain), max(map(len, map(token_seconds, stations.values()))))
    batches = sorted({round(b) for b in 2.0 ** np.arange(0, np.log2(most), 1 / BY)} | {most})
    rows = {k: token_seconds(station) for k, station in stations.items()}
    gain = [[float(plain[b - 1] / row[b - 1]) if b <= len(row) else None for b in batches] for row in rows.values()]
    return {"draft": option.name, "batches": batches, "k": list(rows), "gain": gain}


def loads(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Curves of one replica as JSON has them."""
    return [{"name": one.name} | {name: getattr(one, name) for name in COLUMNS} for one in curves]


def pareto(plan: Plan) -> list[dict[str, Any]]:
    """The best option of every draft and of plain decoding over the load: tokens/s per user and per GPU."""
    best: dict[str, Option] = {}
    for option in plan.ranked:
        best.setdefault(option.name, option)
    return [_trade(option, plan.question) for option in best.values()]


def interval(plan: Plan, alpha: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The largest gain per GPU that drafting has, with the interval that the interval of alpha gives it."""
    if plan.gain is None or plan.drafting is None:
        return None
    here = [option for option in plan.ranked if option.gpu == plan.drafting.gpu]
    best = min((option for option in here if option.k), key=lambda option: option.exact_gpus)
    plain = min(option.exact_gpus for option in here if not option.k)
    choice = {"draft": best.name, "k": best.k, "tp": best.tp, "gpu": best.gpu}
    found = {"value": plan.gain, "low": None, "high": None, "level": None, "prompts": None, "choice": choice}
    found["method"] = "alpha as given"
    if not alpha or not (factors := _ends(alpha)):
        return found
    low, high = (plain / _tilted(best, factor, plan.question) for factor in factors)
    known = {name: alpha.get(name) for name in ("level", "prompts")}
    return found | {"low": low, "high": high, **known, "method": "interval of alpha"}


def decided(plan: Plan, alpha: Mapping[str, Any] | None) -> bool:
    """Whether the best that drafts is the choice, or is not, at both ends of the interval of its alpha."""
    if plan.drafting is None or plan.without is None or not alpha:
        return True
    return len({_pays(plan, factor) for factor in _ends(alpha)}) < 2


def percentiles(option: Option) -> dict[str, Any]:
    """Seconds that so many of the requests stay within."""
    return {f"p{round(100 * share)}": vars(option.state.at(share)) for share in SHARES}


def whatif(asked: str, candidate: Candidate, question: Question) -> dict[str, Any]:
    """What alpha, or how many times its present cost, makes a draft pay, or come down to so many GPUs: alpha:8."""
    what, _, gpus = asked.partition(":")
    if what not in ("alpha", "cost") or (gpus and not (gpus.isdecimal() and int(gpus))):
        raise ValueError(f"--whatif: found {asked!r}, expected alpha or cost, or with a number of GPUs, like alpha:8")
    found: Needed = {"alpha": needed_alpha, "cost": needed_cost}[what](candidate, question, gpus=int(gpus or 0) or None)
    place = {"draft": candidate.name, "tp": candidate.replica_gpus, "gpu": question.gpu_of(candidate)}
    return {"what": what, "gpus": int(gpus) if gpus else None, **place, **vars(found)}


def _batch(model: Any, batch: float) -> float:
    """The batch itself, or of a measured table the nearest that it has."""
    if not hasattr(model, "times"):
        return max(1.0, batch)
    return int(min(set(model.batch.tolist()), key=lambda known: abs(known - batch)))


def _parts(model: Any, n: int, at: Mapping[str, float]) -> dict[str, float]:
    if hasattr(model, "breakdown"):
        return {name: float(seconds) for name, seconds in model.breakdown(n, **at).items()}
    return {"forward": float(model.seconds(n, **at))}


def _trade(option: Option, question: Question) -> dict[str, Any]:
    """One replica over its load, per user and per GPU."""
    station = option.deployment.held
    rates = station.capacity * np.arange(1, LOADS + 1) / (LOADS + 1)
    tpot = np.array([steady(station, rate).tpot for rate in rates])
    place = {"draft": option.name if option.k else None, "k": option.k, "tp": option.tp, "gpu": option.gpu}
    user = np.divide(1.0, tpot, out=np.full(len(tpot), np.nan), where=tpot > 0)
    mine = {"per_user": option.tokens_per_second_per_user, "per_gpu": option.tokens_per_second_per_gpu}
    return {**place, "per_user": user, "per_gpu": rates * question.traffic.output / option.tp, "chosen": mine}


def _ends(alpha: Mapping[str, Any]) -> list[float]:
    """The ends of an interval of alpha in times its value; none where it is not known."""
    ends = [alpha.get(end) for end in ("low", "high")]
    return [] if None in ends or not alpha["value"] else [end / alpha["value"] for end in ends]


def _pays(plan: Plan, factor: float) -> bool:
    """Whether drafting is better than not, with every acceptance so many times what it is."""
    assert plan.drafting is not None
    assert plan.without is not None
    there = size(limit(tilted(plan.drafting.deployment, factor), plan.question.slo), plan.question)
    return there is not None and rank((there, plan.without), plan.question.price)[0] is there


def _tilted(option: Option, factor: float, question: Question) -> float:
    """GPUs, before rounding up, where every acceptance is so many times what it is."""
    return exact_gpus(limit(tilted(option.deployment, factor), question.slo), question)
