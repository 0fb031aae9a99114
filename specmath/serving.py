"""Under traffic: what a replica that decodes continuously in batches does to latency, with and without speculation.

Each request takes the replica `prefill` seconds for itself and shares rounds + 1 iterations, its prefill's included,
with the rest of the batch. With b places taken, of which one in rounds + 1 is in its prefill,

    completions(b) = b / (b prefill + (rounds + 1) seconds)        rate = completions(b): Little's law

is the load fixed point. `steady` goes on from there: how many places are taken is a birth-death chain (`queueing`),
and a request's stay has phases (`stay`). `events` simulates the same station iteration by iteration.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import betaincinv

from specmath.acceptance import BetaGeometric, Geometric, Law
from specmath.cost import Outside
from specmath.draft import Chain, plain, shown, whole, within
from specmath.law import ROUNDING
from specmath.memory import holds
from specmath.queueing import positive
from specmath.speedup import evaluate
from specmath.steady import Overloaded, Steady, capacity, closed_loop, goodput, steady, strain
from specmath.tails import falls, outputs
from specmath.traffic import Slo, Taxes, Traffic

__all__ = [
    "Overloaded",
    "Slo",
    "Station",
    "Steady",
    "Taxes",
    "Traffic",
    "capacity",
    "closed_loop",
    "goodput",
    "steady",
    "strain",
]

NO_TAXES = Taxes()
KINDS = 32  # of prompts, where each has its own alpha


@dataclass(frozen=True, eq=False)
class Station:
    """One replica under one law, draft and traffic.

    seconds    [b - 1]: one iteration (a round, or a plain step) with b sequences; their number is the most it runs
    tau        tokens of a sequence per iteration
    prefill    seconds that the prefill of one request adds to an iteration
    output     mean tokens of a request, the first of which its prefill gives
    survival   S_0 = 1, S_1, .. of the accepted length; several rows are as many kinds of prompts, equally frequent;
               None: tau tokens, as evenly as can be
    variation  squared coefficient of variation of the outputs' lengths
    binding    what bounds the batch, in words
    alone      seconds of an iteration in which nothing decodes, beyond what its prefills add: reading the weights

    ValueError for times that are not finite and above 0, tau or output below 1, and a prefill below 0.

    >>> Station([0.5, 0.625], 1.0, 0.25, 9, variation=0).rounds
    8.0
    """

    seconds: Any
    tau: float
    prefill: float
    output: float
    _: KW_ONLY
    survival: Any = None
    variation: float = 1.0
    binding: str = "max_batch"
    alone: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "seconds", positive("seconds", self.seconds, "time", "batch"))
        for name, low in (("tau", 1), ("prefill", 0), ("output", 1), ("variation", 0), ("alone", 0)):
            object.__setattr__(self, name, plain(within(name, getattr(self, name), low)))
        if self.survival is not None:
            object.__setattr__(self, "survival", _curves(self.survival, self.tau))

    @classmethod
    def of(cls, cost, law, k, traffic, *, max_batch, prefill=None, taxes=NO_TAXES):
        """The replica that `cost` times and `law` describes, at depth k under this traffic.

        k = 0 is plain decoding (law may be None), and with `taxes` an engine that has speculation on and drafts
        nothing. `prefill` [s] is asked of the cost unless given: of a Roofline what the prompt adds to an iteration of
        half the batch, which reads the weights once for both, or all of it where the engine prefills first; else
        target.prefill(tokens, context=cached) where it has one, or target.seconds(tokens); the draft's added where it
        has a cache of its own. Of a measured cost only the batches measured are known; between two of them it is
        linear, and beyond the last nothing runs.
        """
        k, max_batch = Chain(k).k, whole("max_batch", max_batch, 1)
        at = {"batch": np.arange(1, max_batch + 1), "context": traffic.context}
        if k:
            law = law if isinstance(law, Law) else Geometric(law)
            times = evaluate(law, Chain(k), cost, **at).round_time
        else:
            times = np.asarray(cost.step(**at), dtype=float) * (1 + taxes.idle_share) + taxes.idle
        seconds = _between(np.broadcast_to(np.asarray(times, dtype=float), (max_batch,)))
        alone = 0.0
        if prefill is None:
            half = (len(seconds) + 1) / 2
            prefill, alone = _prefill(cost, k, traffic, traffic.cached * (1 - taxes.cache_lost), half)
        return cls(
            seconds,
            _tau(law, k) if k else 1.0,
            prefill,
            traffic.output,
            survival=_kinds(law, k) if k else None,
            variation=traffic.variation,
            binding="max_batch" if len(seconds) == max_batch else "measured batches",
            alone=alone,
        )

    @property
    def max_batch(self):
        """The most sequences that run at once."""
        return len(self.seconds)

    @cached_property
    def curves(self):
        """S_0..S_k of the accepted length, a row for each kind of prompt; of plain decoding S_0 alone."""
        if self.survival is not None:
            return self.survival
        whole_part = math.floor(self.tau)
        return np.array([[1.0] * whole_part + [self.tau - whole_part]])[:, : math.ceil(self.tau)]

    @cached_property
    def drawn(self):
        """(tokens, rounds) of each request of a sample, for `tails`."""
        return outputs(self)

    @cached_property
    def times(self):
        """The seconds as a list."""
        return self.seconds.tolist()

    @cached_property
    def rounds(self):
        """Mean iterations of a request after its first token, the tokens that its last one wastes among them.

        With outputs all alike (output - 1) / tau and the overshoot of `finish`, with geometric ones, that go on
        with probability g after every token, exactly g / (1 - E[g^N]), N tokens per round; in between linear.
        """
        if self.output <= 1:
            return 0.0
        block, chance = np.arange(1, self.curves.shape[1] + 1), falls(self.curves)
        overshoot = float(np.mean(chance @ (block**2 - block) / (2 * (chance @ block) ** 2)))
        alike = max(1.0, (self.output - 1) / self.tau + overshoot)
        on, share = 1 - 1 / self.output, min(1.0, self.variation)
        return float((1 - share) * alike + share * np.mean(on / (1 - chance @ on**block)))

    @cached_property
    def completions(self):
        """Requests completed a second with 1, 2, .. places taken: b / (b prefill + (rounds + 1) seconds)."""
        places = np.arange(1, self.max_batch + 1)
        return places / (places * self.prefill + (self.rounds + 1) * self.shared)

    @property
    def capacity(self):
        """Requests a second that a full batch completes: the rate at which the queue begins to grow for ever."""
        return float(self.completions[-1])

    @property
    def peak(self):
        """(batch, requests a second) where most are completed: below the full batch where an iteration gets dearer."""
        best = int(np.argmax(self.completions))
        return best + 1, float(self.completions[best])

    def places(self, rate):
        """The load fixed point: the smallest number of places at which so many a second are completed, or None.

        Linear between two batches; the curve may be jagged and fall.
        """
        enough = np.flatnonzero(self.completions >= within("rate", rate))
        if not len(enough):
            return None
        first = int(enough[0])
        low = self.completions[first - 1] if first else 0.0
        return float(first + (rate - low) / (self.completions[first] - low))

    def capped(self, batch):
        """The same replica, running at most so many sequences at once."""
        return replace(self, seconds=self.seconds[: whole("batch", batch, 1)], binding="max_batch")

    @cached_property
    def shared(self):
        """Seconds of an iteration with b places taken, of which one in rounds + 1 does not decode but prefills."""
        return self.iteration(np.arange(1, self.max_batch + 1) * self._share)

    @cached_property
    def beside(self):
        """Seconds of an iteration for someone in the prefill, whose b - 1 neighbours may decode."""
        return self.iteration(np.arange(self.max_batch) * self._share)

    @cached_property
    def among(self):
        """Seconds of an iteration for someone who decodes, and whose b - 1 neighbours may."""
        return self.iteration(1 + np.arange(self.max_batch) * self._share)

    @property
    def _share(self):
        return self.rounds / (self.rounds + 1)

    def iteration(self, decoding):
        """Seconds of an iteration in which so many decode, linear between two batches; where none does, `alone`."""
        return np.interp(decoding, np.arange(self.max_batch + 1), np.append(self.alone, self.seconds))


def _between(times):
    """Times at every batch up to the last one measured, linear between two of them."""
    known = np.flatnonzero(times == times)
    if not len(known) or known[0] > 0:
        found = "seconds: found no time of an iteration with 1 sequence at this context"
        raise Outside(f"{found}, expected one: measure batch 1 and contexts on both sides of it first")
    return np.interp(np.arange(known[-1] + 1), known, times[known])


def _tau(law, k):
    by_token = getattr(law, "block_efficiency_by_token", law.block_efficiency)
    return float(by_token(k))


def _kinds(law, k):
    """The survival curves: one, or where prompts differ one for each of so many equally frequent kinds."""
    if isinstance(law, BetaGeometric):
        law = Geometric(betaincinv(float(law.a), float(law.b), (np.arange(KINDS) + 0.5) / KINDS))
    return law.curve(k)


def _prefill(cost, k, traffic, cached, batch):
    """(seconds that one request's prefill adds to an iteration of so many, those it takes beyond that alone).

    The draft's too where a model drafts.
    """
    if not hasattr(cost, "target"):
        raise ValueError("prefill: found None and a cost without a target model, expected seconds; give prefill=")
    tokens = max(1.0, traffic.prompt * (1 - cached))
    runs = [(cost.target, k + 1), *([(cost.draft, 1)] if k and holds(cost.target, cost.draft) else [])]
    found = [_one_prefill(model, n, tokens, traffic, batch) for model, n in runs]
    return tuple(float(sum(times)) for times in zip(*found, strict=True))


def _one_prefill(model, n, tokens, traffic, batch):
    cached = traffic.prompt - tokens
    if not hasattr(model, "mixed") or model.efficiency.prefill_first:
        return getattr(model, "prefill", model.seconds)(tokens, context=cached), 0.0
    at = {"batch": batch, "context": traffic.context}
    added = model.mixed(n, tokens=tokens, cached=cached, **at) - model.seconds(n, **at)
    return added, max(0.0, model.prefill(tokens, context=cached) - added)


def _curves(values, tau):
    curves = np.atleast_2d(np.array(values, dtype=float))
    falling = np.all(curves[:, :1] == 1) and np.all(np.diff(curves) <= ROUNDING) and np.all(curves >= 0)
    if curves.ndim != 2 or not falling:
        raise ValueError(f"survival: found {shown(curves)}, expected rows that start at 1 and fall, none below 0")
    said = 1 / float(np.mean(1 / curves.sum(axis=1)))
    if not math.isclose(said, tau, rel_tol=0.02):
        raise ValueError(f"tau: found {tau}, expected {said:.6g}, as the survival curve says")
    return curves
