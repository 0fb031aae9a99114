"""What an answer hangs on: each input a little lower and a little higher, the others kept, largest effect first."""

import math
from dataclasses import dataclass, replace

from specmath.cost import Outside, Pair, Roofline
from specmath.draft import within
from specmath.economics import dollars_per_million
from specmath.load import exact_gpus, limit
from specmath.varied import bandwidth_scaled, draft_scaled, target_scaled, tilted, verify_scaled


@dataclass(frozen=True)
class Sensitivity:
    """The answer where one input is (1 - spread) and (1 + spread) times what it is; infinite where the promise breaks.

    The unit is dollars per million output tokens where there is a price, else GPUs, before rounding up either way.
    """

    name: str
    low: float
    high: float
    base: float
    unit: str

    @property
    def swing(self):
        """Distance between the two answers."""
        return math.inf if self.low == self.high == math.inf else abs(self.high - self.low)


def sensitivities(deployment, question, spread=0.1):
    """A `Sensitivity` for every input that the deployment has, from the largest swing; equal ones by name.

    alpha, the times of target (of a Roofline: the bandwidth it reaches), verification and draft, prompt and output
    length, rate and price.
    ValueError for a spread outside (0, 1).
    """
    if not 0 < within("spread", spread, 0, 1) < 1:
        raise ValueError(f"spread: found {spread}, expected a share inside (0, 1), such as .1")
    price = question.price_of(deployment.candidate)
    question = replace(question, price=price)
    unit, base = ("GPUs" if price is None else "dollars per million tokens"), _answer(deployment, question)
    found = []
    for name, vary in _inputs(deployment, price).items():
        low, high = (_answer(*vary(deployment, question, 1 + sign * spread)) for sign in (-1, 1))
        found.append(Sensitivity(name, low, high, base, unit))
    return tuple(sorted(found, key=lambda one: (-one.swing, one.name)))


def _inputs(deployment, price):
    """name -> the deployment and question with that input times a factor."""
    cost, drafts = deployment.candidate.cost, deployment.k > 0
    found = {name: _traffic(name) for name in ("rate", "prompt", "output")}
    if isinstance(cost, Pair):
        if isinstance(cost.target, Roofline):
            found["bandwidth efficiency"] = _timed(bandwidth_scaled)
        else:
            found["target time"] = _timed(target_scaled)
        found |= {"verify time": _timed(verify_scaled)} if drafts else {}
        found |= {"draft time": _timed(draft_scaled)} if drafts and cost.draft is not None else {}
    if drafts:
        found["alpha"] = _timed(tilted)
    if price is not None:
        found["price"] = lambda one, question, factor: (one, replace(question, price=question.price * factor))
    return found


def _timed(vary):
    return lambda one, question, factor: (vary(one, factor), question)


def _traffic(name):
    def vary(deployment, question, factor):
        value = getattr(question.traffic, name) * factor
        traffic = replace(question.traffic, **{name: value if name == "rate" else max(1.0, value)})
        return replace(deployment, traffic=traffic), replace(question, traffic=traffic)

    return vary


def _answer(deployment, question):
    """Dollars per million tokens, or GPUs, before rounding up; infinite where the promise breaks or time is unknown."""
    try:
        gpus = exact_gpus(limit(deployment, question.slo), question)
    except Outside:
        return math.inf
    tokens = question.traffic.rate * question.traffic.output
    return gpus if question.price is None else dollars_per_million(gpus, question.price, tokens)
