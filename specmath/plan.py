"""Capacity planning: from drafts with their laws and costs, traffic, a promise and a GPU to what to buy and to run.

    for every draft and depth:  bound of the batch (memory first) -> the highest rate under the promise
                                -> replicas -> GPUs -> how they run under this load

and the fewest GPUs win, or with a price the fewest dollars, then the lowest latency. Plain decoding is always among
them. No acceptance is assumed: a candidate brings its law.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from specmath.candidates import Operation, deployments, loaded
from specmath.load import Option, Question, limit, size
from specmath.obstacle import Infeasible, obstacle
from specmath.schedule import Schedule, SwitchOff, by_batch, by_rate, switch_off
from specmath.serving import Slo

DEFAULT = Operation()


@dataclass(frozen=True)
class Plan:
    """What to run, and what it takes.

    choice       the best `Option`: its draft, k, tp, gpu; `ranked` has all that keep the promise, from the best
    without      the best that drafts nothing, None where plain decoding keeps no promise
    drafting     the best that drafts, None where none does
    binding      what limits the choice: memory, max batch, measured batches, TPOT, TTFT, E2E, prefill, compute
    switch_off   where the best that drafts stops paying, None where nothing drafts
    schedule     (lowest batch, highest batch, k) of the choice's draft; `hysteresis` has it for a falling batch too
    by_rate      (lowest rate, highest rate, k) of one replica
    provenance   where the times of target and draft, and the law, are from; `confidence` is that of the weakest
    """

    choice: Option
    batch: float
    gpus: int
    tpot: float
    tokens_per_second: float
    cost_per_million: float | None
    binding: str
    ranked: tuple
    ttft: float
    e2e: float
    without: Option | None
    drafting: Option | None
    switch_off: SwitchOff | None
    hysteresis: Schedule
    by_rate: tuple
    provenance: dict
    confidence: str
    question: Question = field(repr=False)

    @property
    def schedule(self):
        """k by batch: ((lowest batch, highest batch, k), ..), for a batch that rises."""
        return self.hysteresis.up

    @property
    def gain(self):
        """Rate of one GPU of the choice, under the promise, over that without drafting; None where that keeps none."""
        return self.without and self.without.exact_gpus / self.choice.exact_gpus


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
    limits = [limit(deployment, slo) for deployment in deployments(candidates, first, operation)]
    plans: dict = {}
    return [_plan(limits, question, plans) for question in questions]


def rank(options, price=None):
    """Options from the best: by dollars where there is a price, by GPUs, by latency; the rest is for ties alone."""
    return tuple(sorted(options, key=lambda option: _order(option, price)))


def _order(option, price):
    dollars = 0.0 if price is None else option.cost_per_million
    return (dollars, option.gpus, option.e2e, option.k, option.draft, option.gpu, option.tp)


def _plan(limits, question, schedules):
    ranked = rank(filter(None, (size(limit, question) for limit in limits)), question.price)
    if not ranked:
        return obstacle(limits, question)
    choice = ranked[0]
    drafting = next((option for option in ranked if option.k), None)
    depths, off = _schedules(choice, drafting, question, schedules)
    return Plan(
        choice=choice,
        batch=choice.batch,
        gpus=choice.gpus,
        tpot=choice.tpot,
        tokens_per_second=choice.tokens_per_second,
        cost_per_million=choice.cost_per_million,
        binding=choice.binding,
        ranked=ranked,
        ttft=choice.ttft,
        e2e=choice.e2e,
        without=next((option for option in ranked if not option.k), None),
        drafting=drafting,
        switch_off=off,
        hysteresis=depths[0],
        by_rate=depths[1],
        provenance=_provenance(choice.deployment.candidate),
        confidence=_confidence(choice.deployment.candidate),
        question=question,
    )
