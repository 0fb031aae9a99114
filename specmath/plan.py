"""Capacity planning: from drafts with their laws and costs, traffic, a promise and a GPU to what to buy and to run.

    for every draft and depth:  bound of the batch (memory first) -> the highest rate under the promise
                                -> replicas -> GPUs -> how they run under this load

and the fewest GPUs win, or with a price the fewest dollars, then the lowest latency. Plain decoding is always among
them. No acceptance is assumed: a candidate brings its law.
"""

from dataclasses import dataclass, field, replace

from specmath.candidates import DEFAULT, Candidate, Operation, deployments, loaded
from specmath.cost import Roofline, Share
from specmath.curves import curves
from specmath.inverse import needed_alpha, needed_cost
from specmath.load import Option, Question, limit, size
from specmath.memory import Memory
from specmath.obstacle import Infeasible, obstacle
from specmath.schedule import Schedule, SwitchOff, by_batch, by_rate, switch_off
from specmath.sensitivity import sensitivities
from specmath.traffic import Slo, Traffic

__all__ = ["Candidate", "Infeasible", "Operation", "Option", "Plan", "Slo", "Traffic", "plan", "sweep"]

CONFIDENCE = ("high", "medium", "low")


@dataclass(frozen=True)
class Plan:
    """What to run, and what it takes.

    choice       the best `Option`: its name, k, tp, gpu; `ranked` has all that keep the promise, from the best
    without      the best that drafts nothing, None where plain decoding keeps no promise
    drafting     the best that drafts, None where none does
    refused      (name, k, GPUs of a replica, what binds) of all that keeps no promise
    binding      what limits the choice: memory, max batch, measured batches, TPOT, TTFT, E2E, prefill, compute
    switch_off   where the best that drafts stops paying, None where nothing drafts
    schedule     (lowest batch, highest batch, k) of the choice's draft; `hysteresis` has it for a falling batch too
    by_rate      (lowest rate, highest rate, k) of one replica
    provenance   where the times of target and draft, and the law, are from; `confidence` is high where times
                 were measured or fitted, medium on a roofline, low where they are assumed or experts uncalibrated
    memory       bytes on the fullest GPU: weights, KV, reserve, total; empty where memory is not known
    """

    choice: Option
    batch: float
    gpus: int
    tpot: float
    tokens_per_second: float
    cost_per_million: float | None
    binding: str
    ranked: tuple
    refused: tuple
    ttft: float
    e2e: float
    without: Option | None
    drafting: Option | None
    switch_off: SwitchOff | None
    hysteresis: Schedule
    by_rate: tuple
    provenance: dict
    memory: dict
    confidence: str
    question: Question = field(repr=False)

    @property
    def schedule(self):
        """k by batch: ((lowest batch, highest batch, k), ..), for a batch that rises."""
        return self.hysteresis.up

    def curves(self, rates=None):
        """Three `Curve`s of one replica of the best that drafts: plain, fixed and adaptive; `curves.curves`."""
        return self.drafting and curves(self.drafting.deployment, self.question, rates)

    def sensitivities(self, spread=0.1):
        """What the choice hangs on, largest first: `sensitivity.sensitivities`."""
        return sensitivities(self.choice.deployment, self.question, spread)

    def needed_alpha(self, gpus=None):
        """The alpha from which the best that drafts pays, or so many GPUs suffice: `inverse.needed_alpha`."""
        return self.drafting and needed_alpha(self.drafting.deployment.candidate, self.question, gpus=gpus)

    def needed_cost(self, gpus=None):
        """How many times its present time that draft may take: `inverse.needed_cost`."""
        return self.drafting and needed_cost(self.drafting.deployment.candidate, self.question, gpus=gpus)

    @property
    def tp(self):
        """GPUs of one replica."""
        return self.choice.tp

    @property
    def draft_tp(self):
        """GPUs that the drafting model runs on; those of the replica where that is not known."""
        return getattr(getattr(self.choice.candidate.cost, "draft", None), "tp", self.choice.tp)

    @property
    def max_batch(self):
        """The most sequences that a replica is to run at once."""
        return self.choice.max_batch

    @property
    def max_context(self):
        """Tokens of the longest sequence admitted, None for the model's own."""
        return self.question.operation.max_context

    @property
    def capture(self):
        """Tokens of the largest step or verification that the schedule leads to: CUDA graphs are to hold so many."""
        ranges = ((min(high, self.max_batch), k) for low, high, k in self.schedule if low <= self.max_batch)
        return max(batch * (k + 1) for batch, k in ranges)

    @property
    def gain(self):
        """How many times the requests per GPU that drafting carries at most under the promise, against plain decoding.

        Each at its best, on the kind of GPU of the best that drafts; None where either keeps no promise there.
        """
        if self.drafting is None:
            return None
        here = [option for option in self.ranked if option.gpu == self.drafting.gpu]
        plain, drafts = ([one.exact_gpus for one in here if bool(one.k) == does] for does in (False, True))
        return min(plain) / min(drafts) if plain else None


def plan(candidates, traffic, slo, *, gpu, price=None, operation=DEFAULT) -> Plan | Infeasible:
    """The best of the candidates under this traffic and promise, and all others ranked.

    price is dollars per GPU-hour, or a mapping by the name of the GPU: with it dollars rank, else GPUs. The mean load
    of a replica is kept at operation.utilisation of what it carries under the promise. ValueError for a candidate
    that drafts without a law, for two that cannot be told apart, and for a rate of 0.
    """
    return sweep(candidates, (traffic,), slo, gpu=gpu, price=price, operation=operation)[0]


def sweep(candidates, traffics, slo, *, gpu, price=None, operation=DEFAULT):
    """A `Plan` or `Infeasible` for each of several loads, which may differ in their rate alone."""
    questions = [Question(traffic, slo, gpu, price, operation) for traffic in traffics]
    if not questions:
        raise ValueError("traffics: found none, expected one or more")
    first = questions[0].traffic
    if any(replace(question.traffic, rate=first.rate) != first for question in questions):
        raise ValueError("traffics: found several lengths, expected one: they may differ in their rate alone")
    limits = [limit(deployment, questions[0].slo) for deployment in deployments(candidates, first, operation)]
    schedules: dict = {}
    return [_plan(limits, question, schedules) for question in questions]


def rank(options, price=None):
    """Options from the best: by dollars where there is a price, by GPUs, by latency; the rest is for ties alone."""
    return tuple(sorted(options, key=lambda option: _order(option, price)))


def _order(option, price):
    dollars = 0.0 if price is None else option.cost_per_million
    return (dollars, option.gpus, option.e2e, option.k, option.name, option.gpu, option.tp, option.exact_gpus)


def _plan(limits, question, schedules):
    ranked = rank(filter(None, (size(limit, question) for limit in limits)), question.price)
    if not ranked:
        return obstacle(limits, question)
    choice = ranked[0]
    drafting = next((option for option in ranked if option.k), None)
    hysteresis, rates, off = _schedules(choice, drafting, question, schedules)
    return Plan(
        choice=choice,
        batch=choice.batch,
        gpus=choice.gpus,
        tpot=choice.tpot,
        tokens_per_second=choice.tokens_per_second,
        cost_per_million=choice.cost_per_million,
        binding=choice.binding,
        ranked=ranked,
        refused=tuple(sorted(_told(limit) for limit in limits if limit.state is None)),
        ttft=choice.ttft,
        e2e=choice.e2e,
        without=next((option for option in ranked if not option.k), None),
        drafting=drafting,
        switch_off=off,
        hysteresis=hysteresis,
        by_rate=rates,
        provenance=_provenance(choice.deployment.candidate),
        memory=_memory(choice),
        confidence=_confidence(choice.deployment.candidate),
        question=question,
    )


def _told(limit):
    deployment = limit.deployment
    return deployment.candidate.name, deployment.k, deployment.candidate.replica_gpus, limit.binding


def _schedules(choice, drafting, question, known):
    """(k by batch, k by rate) of the choice, and where the best that drafts is switched off; each reckoned once."""
    if choice.deployment not in known:
        known[choice.deployment] = _by_load(choice.deployment, question.operation.threshold)
    if drafting is None:
        return *known[choice.deployment], None
    if (drafting.deployment, "off") not in known:
        idle = replace(drafting.deployment, k=0)
        known[drafting.deployment, "off"] = switch_off(drafting.deployment.station, idle.station)
    return *known[choice.deployment], known[drafting.deployment, "off"]


def _by_load(deployment, threshold):
    fitting = loaded(deployment) if deployment.k else {0: deployment}
    stations = {k: one.station for k, one in fitting.items() if one.station is not None}
    return by_batch(stations, threshold), by_rate(stations)


def _provenance(candidate):
    """Where the times of target and draft are from, and how acceptance is described."""
    models = {"target": candidate.cost.target, "draft": getattr(candidate.cost, "draft", None)}
    found = {name: model.provenance for name, model in models.items() if model is not None}
    return found | ({} if candidate.law is None else {"law": type(candidate.law).__name__})


def _memory(option):
    """Bytes on the fullest GPU with the choice's mean batch; `headroom` is what no sequence needs."""
    memory, traffic = option.deployment.memory, option.deployment.traffic
    if not isinstance(memory, Memory):
        return {}
    kv = memory.kv(traffic.context + option.k + 1)
    return {
        "total": memory.total,
        "weights": memory.weights,
        "draft_weights": memory.draft_weights,
        "reserve": memory.reserve,
        "kv_room": memory.room,
        "kv_per_sequence": kv,
        "kv": kv * option.batch,
        "headroom": memory.room - kv * option.batch,
    }


def _confidence(candidate):
    """Of the weaker of target and draft; see `Plan`."""
    models = (candidate.cost.target, getattr(candidate.cost, "draft", None))
    return max((_trusted(model) for model in models if model is not None), key=CONFIDENCE.index)


def _trusted(model):
    if isinstance(model, Share):
        return _trusted(model.of)
    if isinstance(model, Roofline) and not model.calibrated:
        return "low" if model.shape.moe else "medium"
    return {"measured": "high", "fitted": "high", "datasheet": "medium"}.get(model.provenance, "low")
