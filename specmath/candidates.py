"""What there is to choose from: a draft with its law and cost, at each of its depths, as one replica under traffic.

The batch is bounded by memory first, then by what the engine is told to hold and by what was measured.
"""

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from specmath.acceptance import Geometric, Law
from specmath.cost import Outside, Pair, Roofline, Table
from specmath.draft import Chain, shown, whole, within
from specmath.memory import Memory
from specmath.schedule import SWITCH
from specmath.serving import NO_TAXES, Station, Taxes, Traffic
from specmath.speedup import evaluate

PLAIN = "plain"
LESS = 1e-3  # of what is completed: a loss below it is none
MEASURE = "measure it with `specmath profile` or `specmath run`, or read a server's with `specmath fit`"


@dataclass(frozen=True)
class Candidate:
    """One way to draft: its acceptance law, its cost in seconds, and the depth k or the depths to try.

    law       None for plain decoding alone, k = 0; else there is no default: it is measured, fitted or given
    cost      a `Pair` of forward models, or what else has `step`, `round` and a `target` with `seconds`
    method    draft_model, eagle, eagle3, mtp, ngram; with `draft` and `target`, ids or paths, for an engine's flags
    gpus      GPUs of one replica; None: the target's tensor parallelism, else 1
    memory    what bounds the batch, with `max_batch(context, k)`; None: that of the Rooflines in the cost, where the
              target is one, else no bound but the engine's
    prefill   seconds of one request's prefill; None: asked of the cost

    A number as law is the alpha of a `Geometric`. ValueError for a grid of laws, a k that is not a depth, and a cost
    that counts in plain steps; a plan refuses what drafts without a law (`needed_alpha` does not).
    """

    name: str
    law: Any
    cost: Any
    k: Any
    _: KW_ONLY
    method: str | None = None
    draft: str | None = None
    target: str | None = None
    gpus: int | None = None
    memory: Any = None
    prefill: float | None = None

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name: found {shown(self.name)}, expected the name of a draft, such as 'lookup'")
        if not hasattr(getattr(self.cost, "target", None), "seconds"):
            found = f"found a {type(self.cost).__name__}, which knows no seconds"
            raise ValueError(f"cost of {self.name}: {found}, expected a Pair of forward models")
        if self.gpus is not None:
            whole("gpus", self.gpus, 1)
        object.__setattr__(self, "law", _law(self.name, self.law))

    @property
    def depths(self):
        """The depths to try, from the smallest."""
        given = tuple(self.k) if isinstance(self.k, Iterable) else (self.k,)
        if not given:
            raise ValueError(f"k of {self.name}: found none, expected a depth or several, such as range(1, 6)")
        return tuple(sorted({whole("k", k) for k in given}))

    @property
    def replica_gpus(self):
        """GPUs of one replica."""
        return self.gpus or getattr(self.cost.target, "tp", 1)

    @cached_property
    def bound(self):
        """What bounds the batch: the memory given, else that of the models; None where neither is known."""
        if self.memory is not None or not isinstance(self.cost.target, Roofline):
            return self.memory
        draft = getattr(self.cost, "draft", None)
        return Memory.of(self.cost.target, draft if isinstance(draft, Roofline) else None)

    def plain(self):
        """The same target on the same GPUs without this draft: nothing is loaded, drafted or known of acceptance."""
        cost = Pair(self.cost.target) if isinstance(self.cost, Pair) else self.cost
        memory = self.memory.without_draft() if hasattr(self.memory, "without_draft") else self.memory
        return replace(self, name=PLAIN, law=None, cost=cost, k=0, method=None, draft=None, memory=memory)


@dataclass(frozen=True)
class Operation:
    """How replicas are run.

    utilisation   share of its capacity a replica is given, at most: the rest is for bursts
    max_batch     sequences an engine holds at once (max_num_seqs)
    max_context   tokens of the longest sequence it admits; None: as many as the model has
    threshold     gain below which k is not switched
    taxes         what having speculation on costs where nothing is drafted, and in prefix-cache hits
    """

    utilisation: float = 0.8
    max_batch: int = 256
    max_context: int | None = None
    threshold: float = SWITCH
    taxes: Taxes = NO_TAXES

    def __post_init__(self):
        if not within("utilisation", self.utilisation, 0, 1):
            raise ValueError("utilisation: found 0, expected a share of the capacity above 0, such as .8")
        for name in ("max_batch", "max_context"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)
        within("threshold", self.threshold)


DEFAULT = Operation()


@dataclass(frozen=True, eq=False)
class Deployment:
    """A candidate at one depth as one replica; the rate of the traffic plays no part.

    At k = 0 a candidate other than plain decoding keeps its draft loaded and drafts nothing.
    """

    candidate: Candidate
    k: int
    traffic: Traffic
    operation: Operation

    @cached_property
    def memory(self):
        """What bounds the batch, or None."""
        return self.candidate.bound

    @cached_property
    def bound(self):
        """(the most sequences at once, what bounds them); 0 where not even one fits."""
        memory, most = self.memory, self.operation.max_batch
        fits = math.inf if memory is None else memory.max_batch(self.traffic.context, self.k)
        return (int(fits), "memory") if fits < most else (most, "max batch")

    @cached_property
    def station(self):
        """The replica under this traffic; None where memory holds no sequence."""
        candidate, (most, _) = self.candidate, self.bound
        if most < 1:
            return None
        taxes = NO_TAXES if candidate.law is None else self.operation.taxes
        given = {"max_batch": most, "prefill": candidate.prefill, "taxes": taxes}
        return Station.of(candidate.cost, candidate.law, self.k, self.traffic, **given)

    @cached_property
    def held(self):
        """The station with the batch held where it completes most: beyond a captured graph more would be less."""
        done = self.station.completions
        peak = int(np.argmax(done))
        return self.station.capped(peak + 1) if done[peak] > (1 + LESS) * done[-1] else self.station

    def plain(self):
        """The same replica without the draft."""
        return replace(self, candidate=self.candidate.plain(), k=0)

    @property
    def binding(self):
        """What bounds the batch: memory, max batch, or the batches that were measured."""
        measured = self.station is not None and self.station.max_batch < self.bound[0]
        return "measured batches" if measured else self.bound[1]


def deployments(candidates, traffic, operation):
    """Every candidate at every depth, and plain decoding for each target among them, once.

    A depth whose acceptance or time is not known is left out, as in `best_k`; where none is left, or the plain step was
    never measured, that raises.
    """
    candidates = (candidates,) if isinstance(candidates, Candidate) else tuple(candidates)
    if not candidates:
        raise ValueError("candidates: found none, expected one or more; plain decoding comes by itself")
    for candidate in candidates:
        _check_law(candidate)
        _check_alone(candidate, candidates)
    context = traffic.context
    found = [Deployment(c, k, traffic, operation) for c in candidates for k in known_depths(c, context)]
    for plain in (Deployment(c.plain(), 0, traffic, operation) for c in candidates):
        if not any(_same(plain, other) for other in found):
            found.append(plain)
    return found


def loaded(deployment):
    """The deployment at each known depth of its candidate and at k = 0 with its draft loaded, by k."""
    depths = known_depths(deployment.candidate, deployment.traffic.context)
    others = {k: replace(deployment, k=k) for k in (0, *depths)}
    return others | {deployment.k: deployment}


def known_depths(candidate, context):
    """The depths above 0 whose acceptance is identified and whose time was measured; raises where there is none."""
    at, depths = {"batch": 1, "context": context}, [k for k in candidate.depths if k]
    candidate.cost.step(**at)
    found = [k for k in depths[: _identified(candidate.law, depths)] if _measured(candidate.cost, k, at)]
    if depths and not found:
        evaluate(candidate.law or 0.0, Chain(depths[0]), candidate.cost, **at)
    return found


def _identified(law, depths):
    """How many of the depths, in order, the law answers for."""
    if law is None or not depths:
        return len(depths)
    deepest = len(law.means(depths[-1])) - 1
    return sum(k <= deepest for k in depths)


def _measured(cost, k, at):
    """Whether a round of depth k has a time; only a table may lack one."""
    if not any(isinstance(model, Table) for model in (cost.target, getattr(cost, "draft", None))):
        return True
    try:
        cost.round(Chain(k), **at)
    except Outside:
        return False
    return True


def _check_law(candidate):
    if candidate.law is None and candidate.depths != (0,):
        expected = "expected how its drafts are accepted, as nothing is assumed"
        raise ValueError(f"law of {candidate.name}: found none, {expected}: {MEASURE}")


def _check_alone(candidate, candidates):
    """Refuses two candidates that no ranking could tell apart."""
    one = _place(candidate)
    if sum(_place(other) == one for other in candidates) > 1:
        raise ValueError(f"candidates: found {candidate.name} twice on the same GPUs, expected a name for each")


def _place(candidate):
    """What a candidate is told by."""
    gpu = getattr(candidate.cost.target, "gpu", None)
    return (
        candidate.name,
        candidate.replica_gpus,
        getattr(gpu, "name", None),
        getattr(candidate.cost.target, "weights", None),
    )


def _same(plain, other):
    """Whether two deployments of plain decoding take the same time on as many GPUs."""
    if other.k or plain.candidate.replica_gpus != other.candidate.replica_gpus:
        return False
    one, two = plain.station, other.station
    if one is None or two is None:
        return one is two
    same_gpu = getattr(plain.candidate.cost.target, "gpu", None) == getattr(other.candidate.cost.target, "gpu", None)
    return same_gpu and one.prefill == two.prefill and np.array_equal(one.seconds, two.seconds)


def _law(name, law):
    """The law itself, a `Geometric` of a number."""
    if np.ndim(law) > 0 or (isinstance(law, Law) and np.ndim(law.survival(1)) > 0):
        raise ValueError(f"law of {name}: found {shown(law)}, expected one law or alpha, not a grid")
    return law if law is None or isinstance(law, Law) else Geometric(law)
