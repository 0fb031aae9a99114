"""The questions turned round: which alpha, or how cheap a draft, breaks even or comes down to so many GPUs?

Each is solved by bisection on the plan's own reckoning, for the depth of the candidate that asks for the least.
"""

import math
from dataclasses import dataclass, replace

from specmath.acceptance import Geometric
from specmath.candidates import Deployment, known_depths
from specmath.draft import whole
from specmath.load import exact_gpus, limit, size
from specmath.varied import draft_scaled

STEPS = 60
DEAREST = 1024.0  # times the draft's present cost


@dataclass(frozen=True)
class Needed:
    """What meets the aim with the least demand, and the depth that does; NaN and None where no depth does.

    >>> Needed(math.nan, None).possible
    False
    """

    value: float
    k: int | None

    @property
    def possible(self):
        """Whether anything meets the aim."""
        return self.k is not None


@dataclass(frozen=True)
class NeededCost(Needed):
    """`value` is the factor on the draft's present time, infinite where the dearest tried will do; `ratio` what one
    draft forward may take in plain steps, at batch 1.
    """

    ratio: float = math.nan


def needed_alpha(candidate, question, *, gpus=None):
    """The alpha of a `Geometric` law from which the candidate pays: it takes no more GPUs than plain decoding.

    GPUs are counted before rounding up to whole replicas; with `gpus` the aim is that this many suffice. The law of
    the candidate is not looked at, and may be None. NaN where not even alpha = 1 will do.
    """
    found = []
    for one, meets in _tried(replace(candidate, law=None), question, gpus):
        needed = _edge(lambda alpha, one=one, meets=meets: meets(_believing(one, alpha)), 0.0, 1.0)
        found += [Needed(needed, one.k)] * (needed == needed)
    return min(found, key=lambda one: one.value, default=Needed(math.nan, None))


def needed_cost(candidate, question, *, gpus=None):
    """How many times its present time the draft may take and still pay, counted as by `needed_alpha`.

    NaN where not even a draft that takes no time will do. ValueError for a candidate without a drafting model.
    """
    if getattr(candidate.cost, "draft", None) is None:
        raise ValueError(f"cost of {candidate.name}: found no drafting model, expected one whose time to solve for")
    found = []
    for one, meets in _tried(candidate, question, gpus):
        saved = _edge(lambda saved, one=one, meets=meets: meets(draft_scaled(one, DEAREST - saved)), 0.0, DEAREST)
        factor = DEAREST - saved if saved else math.inf
        found += [NeededCost(factor, one.k, factor * _ratio(one))] * (saved == saved)
    return max(found, key=lambda one: one.value, default=NeededCost(math.nan, None))


def _tried(candidate, question, gpus):
    """(deployment, whether a variation of it meets the aim) at every depth that fits into memory."""
    if gpus is None:
        plain = Deployment(candidate.plain(), 0, question.traffic, question.operation)
        meets = _no_more_than(_exact_gpus(plain, question), question)
    else:
        meets = _within(whole("gpus", gpus, 1), question)
    for k in known_depths(candidate, question.traffic.context):
        one = Deployment(candidate, k, question.traffic, question.operation)
        if one.bound[0] >= 1:
            yield one, meets


def _no_more_than(most, question):
    """Whether a deployment takes no more GPUs, before rounding up; of infinitely many, whether it serves at all."""
    if most == math.inf:
        return lambda one: _exact_gpus(one, question) < math.inf
    return lambda one: _exact_gpus(one, question) <= most * (1 + 1e-9)


def _within(gpus, question):
    def meets(one):
        option = size(limit(one, question.slo), question)
        return option is not None and option.gpus <= gpus

    return meets


def _exact_gpus(deployment, question):
    return exact_gpus(limit(deployment, question.slo), question)


def _believing(deployment, alpha):
    return replace(deployment, candidate=replace(deployment.candidate, law=Geometric(alpha)))


def _ratio(deployment):
    cost, at = deployment.candidate.cost, {"batch": 1, "context": deployment.traffic.context}
    return float(cost.draft.seconds(1, **at) / cost.step(**at))


def _edge(meets, low, high):
    """Where `meets` turns true between low and high, by bisection: low where it is true there, NaN where nowhere."""
    if not meets(high):
        return math.nan
    if meets(low):
        return low
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if meets(middle) else (middle, high)
        if high - low <= 1e-9 * high:
            break
    return high
