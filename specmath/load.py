"""One deployment under a load: how much one replica carries under the promise, how many that takes, and what binds.

    replicas = ceil(rate / (capacity * utilisation))        GPUs = replicas * GPUs of one

and the operating point is that of the load which each replica then has.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specmath.candidates import DEFAULT, Deployment, Operation
from specmath.draft import within
from specmath.economics import Price, dollars_per_million
from specmath.hardware import gpu
from specmath.serving import Slo, Steady, Traffic, capacity, steady, strain

BOUND = 0.1  # a batch binds where one percent more of it would complete a tenth of a percent more


@dataclass(frozen=True)
class Question:
    """What is asked: the traffic and the promise, on which GPU, at which price per GPU-hour, run how.

    slo None promises nothing. price is a number, a dated `Price`, or one by the name of the GPU; None where dollars are
    not asked for. ValueError for a rate of 0, an unknown GPU and a negative price.
    """

    traffic: Traffic
    slo: Slo
    gpu: Any
    price: Any = None
    operation: Operation = DEFAULT

    def __post_init__(self):
        if not self.traffic.rate:
            raise ValueError("rate: found 0, expected requests per second above 0")
        object.__setattr__(self, "gpu", gpu(self.gpu))
        object.__setattr__(self, "slo", Slo() if self.slo is None else self.slo)
        if isinstance(self.price, Mapping):
            prices = {gpu(name).name: _billed(price) for name, price in self.price.items()}
            object.__setattr__(self, "price", prices)
        elif self.price is not None:
            object.__setattr__(self, "price", _billed(self.price))

    def gpu_of(self, candidate):
        """The name of the GPU a candidate runs on: that of its own cost, else the one asked about."""
        return getattr(candidate.cost.target, "gpu", self.gpu).name

    def price_of(self, candidate):
        """Dollars per GPU-hour of the GPU it runs on, or None."""
        if not isinstance(self.price, Mapping):
            return self.price
        name = self.gpu_of(candidate)
        if name not in self.price:
            raise ValueError(
                f"price: found none for {name}, expected one for every GPU; given are {', '.join(self.price)}"
            )
        return self.price[name]


@dataclass(frozen=True, eq=False)
class Limit:
    """The highest rate [req/s] at which one replica keeps the promise, its state there and what binds; 0.0 and None
    where it never does.
    """

    deployment: Deployment
    rate: float
    state: Steady | None
    binding: str


@dataclass(frozen=True)
class Option:
    """One way to serve the traffic: so many replicas of a draft at a depth, and how they run under this load.

    name                the candidate's, whose method, draft, target and law it has too
    tp                  GPUs of one replica
    capacity            req/s that one replica carries under the promise; utilisation the share of it in use
    exact_gpus          GPUs before rounding up to whole replicas
    cost_per_million    dollars per million output tokens of all GPUs at this load, None without a price
    tokens_per_second   output tokens of the whole fleet
    """

    name: str
    k: int
    tp: int
    gpu: str
    replicas: int
    gpus: int
    exact_gpus: float
    batch: float
    tpot: float
    itl: float
    ttft: float
    e2e: float
    tokens_per_second: float
    cost_per_million: float | None
    capacity: float
    utilisation: float
    max_batch: int
    binding: str
    deployment: Deployment = field(repr=False, compare=False)
    state: Steady = field(repr=False, compare=False)

    @property
    def candidate(self):
        """The candidate that is run."""
        return self.deployment.candidate

    @property
    def method(self):
        """How it drafts, as an engine calls it."""
        return self.candidate.method

    @property
    def draft(self):
        """Id or path of the draft."""
        return self.candidate.draft

    @property
    def target(self):
        """Id of the target."""
        return self.candidate.target

    @property
    def law(self):
        """How its drafts are accepted, None for plain decoding."""
        return self.candidate.law

    @property
    def tokens_per_second_per_user(self):
        """What one request sees, the speed of its text."""
        return 1 / self.tpot if self.tpot else math.inf

    @property
    def tokens_per_second_per_gpu(self):
        """What one GPU gives."""
        return self.tokens_per_second / self.gpus


def limit(deployment, slo):
    """The `Limit` of one replica under a promise."""
    if deployment.station is None:
        return Limit(deployment, 0.0, None, "memory")
    station = deployment.held
    rate, state = capacity(station, slo)
    if state is None:
        return Limit(deployment, 0.0, None, strained(steady(station, 0.0), slo)[0])
    held = rate < station.capacity * (1 - 1e-6)
    return Limit(deployment, rate, state, strained(state, slo)[0] if held else _bottleneck(deployment))


def strained(state, slo):
    """(name, seconds, seconds promised) of the promise that is closest to its limit, or furthest beyond it."""
    seconds = state if slo.percentile is None else state.at(slo.percentile)
    found = [(name.upper(), getattr(seconds, name), most) for name, most in slo.promises]
    return max(found, key=lambda entry: entry[1] / entry[2], default=("none", 0.0, math.inf))


def kept(state, slo):
    """Whether the promise is kept."""
    return strain(state, slo) <= 1


def exact_gpus(limit, question):
    """GPUs for the question's rate before rounding up to whole replicas; infinite where the promise is never kept.

    >>> from specmath import Linear, Pair
    >>> from specmath.candidates import Candidate, deployments
    >>> question = Question(Traffic(8.0, 1, 2), Slo(), "H100")
    >>> one = deployments(Candidate("none", None, Pair(Linear(0.5, 0)), 0), question.traffic, question.operation)[0]
    >>> found = limit(one, question.slo)
    >>> exact_gpus(found, question) == 8.0 / (0.8 * found.rate)
    True
    """
    carried = limit.rate * question.operation.utilisation
    return limit.deployment.candidate.replica_gpus * question.traffic.rate / carried if carried else math.inf


def size(limit, question):
    """The `Option` with the fewest replicas that carry the question's rate; None where no number of them does."""
    if limit.state is None:
        return None
    rate = question.traffic.rate
    fewest = max(1, math.ceil(rate / (limit.rate * question.operation.utilisation) * (1 - 1e-12)))
    for replicas in range(fewest, 2 * fewest + 2):
        state = steady(limit.deployment.held, rate / replicas)
        if kept(state, question.slo):
            return _option(limit, question, replicas, state)
    return None


def _billed(price):
    """Dollars per GPU-hour, of a `Price` those that are billed."""
    return price.per_hour if isinstance(price, Price) else within("price", price)


def _option(limit, question, replicas, state):
    deployment, rate = limit.deployment, question.traffic.rate
    candidate = deployment.candidate
    gpus, price = replicas * candidate.replica_gpus, question.price_of(candidate)
    return Option(
        name=candidate.name,
        k=deployment.k,
        tp=candidate.replica_gpus,
        gpu=question.gpu_of(candidate),
        replicas=replicas,
        gpus=gpus,
        exact_gpus=exact_gpus(limit, question),
        batch=state.batch,
        tpot=state.tpot,
        itl=state.itl,
        ttft=state.ttft,
        e2e=state.e2e,
        tokens_per_second=rate * question.traffic.output,
        cost_per_million=price and dollars_per_million(gpus, price, rate * question.traffic.output),
        capacity=limit.rate,
        utilisation=rate / replicas / limit.rate,
        max_batch=deployment.held.max_batch,
        binding=limit.binding,
        deployment=deployment,
        state=state,
    )


def _bottleneck(deployment):
    """What bounds a replica that no promise holds back: its prefills, the batch it may hold, or its compute."""
    station = deployment.held
    if station.prefill * station.capacity > 0.5:
        return "prefill"
    before, last = station.completions[-2:] if station.max_batch > 1 else (0.0, station.completions[-1])
    more = (last - before) / last * station.max_batch
    bounded = station.max_batch == deployment.station.max_batch and more > BOUND
    return deployment.binding if bounded else "compute"
