"""Where nothing keeps the promise: what binds, and what would lift it. Nothing is named that was not tried."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

from specmath.candidates import PLAIN
from specmath.cost import Pair, Roofline
from specmath.efficiency import efficiency
from specmath.load import limit, strained
from specmath.serving import steady, strain

WIDEST = 8  # GPUs of one replica that are tried
LIGHTER = "fp8"


@dataclass(frozen=True)
class Infeasible:
    """No candidate keeps the promise: what binds (memory, TPOT, TTFT, E2E), what would lift it, and why.

    value is the least seconds that the promised quantity comes to, with one request at a time; None where memory binds.
    """

    binding: str
    lift: str
    reason: str
    value: float | None = None

    def __str__(self):
        return f"{self.reason}; {self.lift}"


def obstacle(limits, question):
    """What stands between the question and an answer, from the `Limit`s of all that was tried."""
    running = [one for one in limits if one.deployment.station is not None]
    if not running:
        return _memory(limits, question)
    alone = {one: steady(one.deployment.station, 0.0) for one in running}
    nearest = min(running, key=lambda one: strain(alone[one], question.slo))
    name, value, promised = strained(alone[nearest], question.slo)
    reason = f"{name} {_ms(promised)} is below {_ms(value)}, the least, of {_named(nearest)} with one request at a time"
    lifts = [*_changed(running, question), f"a promise of {_ms(_up(value))}"]
    return Infeasible(name, f"{_or(lifts)} would lift it", reason, value)


def _memory(limits, question):
    """Not one sequence fits, whatever was tried."""
    least = min(limits, key=lambda one: (one.deployment.k, one.deployment.candidate.replica_gpus))
    candidate = least.deployment.candidate
    where = f"{candidate.replica_gpus} x {question.gpu_of(candidate)}"
    reason = f"memory of {where} holds no sequence of {question.traffic.context:g} tokens beside the weights"
    lifts = _changed(limits, question) or ["more memory per replica, or weights of fewer bits,"]
    return Infeasible("memory", f"{_or(lifts)} would lift it", reason)


def _changed(limits, question):
    """The least changes of tensor parallelism and weights that keep the promise for one of what was tried, in words."""
    found: list = []
    for weights, tp in product((None, LIGHTER), (None, 2, 4, WIDEST)):
        words = " with ".join([f"tp {tp}"] * bool(tp) + [f"{weights} weights"] * bool(weights))
        covered = any(one in words for one in found)
        if words and not covered and any(_keeps(one.deployment, tp, weights, question) for one in limits):
            found.append(words)
    return found


def _keeps(deployment, tp, weights, question):
    """Whether the deployment keeps the promise with its target changed so, where it can be."""
    target = deployment.candidate.cost.target
    cost = deployment.candidate.cost
    if not (isinstance(cost, Pair) and isinstance(target, Roofline)) or deployment.candidate.gpus:
        return False
    if (tp or math.inf) <= target.tp or target.weights == weights:
        return False
    with suppress(ValueError):
        cost = replace(cost, target=_on(target, tp or target.tp, weights or target.weights))
        changed = replace(deployment, candidate=replace(deployment.candidate, cost=cost))
        return limit(changed, question.slo).state is not None
    return False


def _on(target, tp, weights):
    """A Roofline on other GPUs or with other weights, its engine and what else is known of it kept."""
    known, other = target.efficiency, efficiency(target.gpu, weights, tp=tp)
    if weights != target.weights:
        known = replace(known, product=other.product)
    if tp != target.tp:
        known = replace(known, allreduce=other.allreduce, allreduce_bandwidth=other.allreduce_bandwidth)
    return replace(target, tp=tp, weights=weights, efficiency=known)


def _named(one):
    return (
        PLAIN + " decoding" if not one.deployment.k else f"{one.deployment.candidate.name} with k = {one.deployment.k}"
    )


def _or(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _ms(seconds):
    return f"{1e3 * seconds:.3g} ms"


def _up(seconds):
    """Seconds rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return math.ceil(seconds / unit * (1 - 1e-12)) * unit
