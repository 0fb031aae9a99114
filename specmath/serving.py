"""Under traffic: what a replica that decodes continuously in batches does to latency, with and without speculation.

Each request takes the replica `prefill` seconds alone and then, in a batch of b, its share of every iteration:

    completions(b) = 1 / (prefill + rounds * seconds(b) / b)        rate = completions(b): Little's law

The number present is a birth-death chain at that pace (`queueing`), which has the mean batch, the wait for a place
and how all of it varies; `events` simulates the same station iteration by iteration.
"""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from specmath.draft import Chain, plain, shown, whole, within
from specmath.queueing import BirthDeath
from specmath.speedup import evaluate


@dataclass(frozen=True)
class Traffic:
    """Requests a second, and the mean tokens of a prompt and of an output; `cached` is the share of a prompt's
    tokens whose keys and values are already there (prefix cache).

    >>> Traffic(8.0, 1000, 300).context
    1150.0
    """

    rate: float
    prompt: float
    output: float
    _: KW_ONLY
    cached: float = 0.0

    def __post_init__(self):
        for name, low, high in (
            ("rate", 0, math.inf),
            ("prompt", 1, math.inf),
            ("output", 1, math.inf),
            ("cached", 0, 1),
        ):
            within(name, getattr(self, name), low, high)

    @property
    def context(self):
        """Mean tokens behind a sequence while it is decoded: its prompt and half of its output."""
        return self.prompt + self.output / 2


@dataclass(frozen=True)
class Slo:
    """Promised seconds: to the first token, per output token after it, of the whole request; None promises nothing.

    percentile None holds the means to them, .95 the 95th percentile of the requests.
    """

    ttft: float | None = None
    tpot: float | None = None
    _: KW_ONLY
    e2e: float | None = None
    percentile: float | None = None

    def __post_init__(self):
        for name in ("ttft", "tpot", "e2e"):
            if getattr(self, name) is not None and not within(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}: found 0, expected seconds above 0, or None for no promise")
        if self.percentile is not None and not 0 < within("percentile", self.percentile, 0, 1) < 1:
            raise ValueError(f"percentile: found {self.percentile}, expected a number inside (0, 1), such as .95")


@dataclass(frozen=True)
class Taxes:
    """What an engine pays for having speculation switched on: `idle` seconds and `idle_share` of a step in every
    step that drafts nothing, and the share `cache_lost` of its prefix-cache hits.
    """

    idle: float = 0.0
    idle_share: float = 0.0
    cache_lost: float = 0.0

    def __post_init__(self):
        for name, high in (("idle", math.inf), ("idle_share", math.inf), ("cache_lost", 1)):
            within(name, getattr(self, name), 0, high)


NO_TAXES = Taxes()


@dataclass(frozen=True, eq=False)
class Station:
    """One replica under one law, draft and traffic.

    seconds    [b - 1]: one iteration (a round, or a plain step) with b sequences; their number is the most it runs
    tau        tokens of a sequence per iteration
    prefill    seconds that the prefill of one request adds to an iteration
    output     mean tokens of a request, the first of which its prefill gives
    survival   S_0 = 1, S_1, .. of the accepted length, one row or one per kind of prompt; None: always tau tokens
    binding    what bounds the batch, in words
    """

    seconds: Any
    tau: float
    prefill: float
    output: float
    _: KW_ONLY
    survival: Any = None
    binding: str = "max_batch"

    def __post_init__(self):
        seconds = np.array(self.seconds, dtype=float)
        if seconds.ndim != 1 or not seconds.size:
            raise ValueError(f"seconds: found {shown(seconds)}, expected one time for each batch, from 1 on")
        good = (seconds > 0) & (seconds < math.inf)
        if not good.all():
            i = int(np.argmin(good))
            raise ValueError(f"seconds[{i}]: found {seconds[i]}, expected a finite time above 0")
        seconds.setflags(write=False)
        object.__setattr__(self, "seconds", seconds)
        for name, low in (("tau", 1), ("prefill", 0), ("output", 1)):
            object.__setattr__(self, name, plain(within(name, getattr(self, name), low)))

    @classmethod
    def of(cls, cost, law, k, traffic, *, max_batch, prefill=None, taxes=NO_TAXES):
        """The replica that `cost` times and `law` describes, at depth k under this traffic.

        k = 0 is plain decoding (law may be None), and with `taxes` an engine that has speculation on and drafts
        nothing. `prefill` [s] is asked of the cost unless given: of target.prefill(tokens, context=cached) where it
        has one, else of target.seconds(tokens), the draft's added where a model drafts. Of a measured cost only the
        batches measured are known; between two of them it is linear, and beyond the last nothing runs.
        """
        k, max_batch = Chain(k).k, whole("max_batch", max_batch, 1)
        batches = np.arange(1, max_batch + 1)
        if k:
            times = evaluate(law, Chain(k), cost, batch=batches, context=traffic.context).round_time
        else:
            step = cost.step(batch=batches, context=traffic.context)
            times = np.asarray(step, dtype=float) * (1 + taxes.idle_share) + taxes.idle
        seconds = _between(np.broadcast_to(np.asarray(times, dtype=float), batches.shape))
        if prefill is None:
            prefill = _prefill(cost, k, traffic, traffic.cached * (1 - taxes.cache_lost))
        return cls(
            seconds,
            _tau(law, k) if k else 1.0,
            prefill,
            traffic.output,
            survival=np.asarray(law.curve(k), dtype=float) if k and hasattr(law, "curve") else None,
            binding="max_batch" if len(seconds) == max_batch else "measured batches",
        )

    @property
    def max_batch(self):
        """The most sequences that run at once."""
        return len(self.seconds)

    @cached_property
    def rounds(self):
        """Mean iterations of a request after the first token: (output - 1) / tau, and what its last one wastes.

        The waste is the overshoot of `finish`: (E[N^2] - tau) / (2 tau^2), N = A + 1 tokens per round.
        """
        if self.output <= 1:
            return 0.0
        return (self.output - 1) / self.tau + self._overshoot

    @property
    def _overshoot(self):
        if self.survival is None:
            return (1 - 1 / self.tau) / 2
        curve = np.atleast_2d(self.survival)
        accepted = np.arange(curve.shape[1])
        mean, square = curve[:, 1:].sum(axis=1), (curve * (2 * accepted - 1))[:, 1:].sum(axis=1)
        tau = 1 + mean
        return float(np.mean((square + 2 * mean + 1 - tau) / (2 * tau**2)))

    @cached_property
    def completions(self):
        """Requests completed a second with b = 1.. at work: b / (b prefill + rounds seconds(b))."""
        batches = np.arange(1, self.max_batch + 1)
        return batches / (batches * self.prefill + self.rounds * self.seconds)

    @property
    def capacity(self):
        """Requests a second that a full batch completes: the rate at which the queue begins to grow for ever."""
        return float(self.completions[-1])

    def capped(self, batch):
        """The same replica, running at most so many sequences at once."""
        seconds = self.seconds[: whole("batch", batch, 1)]
        return Station(seconds, self.tau, self.prefill, self.output, survival=self.survival, binding="max_batch")


@dataclass(frozen=True)
class Steady:
    """Long-run means of one replica: tokens, seconds, requests.

    batch         sequences at work, averaged over time
    tpot          seconds per output token after the first, with the prefills of others in it
    itl           seconds between two deliveries to a request: with speculation each brings several tokens
    waiting       seconds before a place in the batch is free, a part of ttft
    utilisation   rate over the rate at which the queue would grow for ever
    prefill_share share of all time that goes into prefills
    """

    rate: float
    batch: float
    tpot: float
    itl: float
    ttft: float
    e2e: float
    waiting: float
    utilisation: float
    prefill_share: float
    tokens_per_second: float


@dataclass(frozen=True)
class Overloaded:
    """More arrives than one replica completes: `capacity` [req/s] is what it does complete, `binding` what bounds it."""

    rate: float
    capacity: float
    binding: str


def steady(station, rate):
    """The replica at so many requests a second, as `Steady`, or `Overloaded`."""
    rate = within("rate", rate)
    if rate >= station.capacity:
        return Overloaded(rate, station.capacity, _binding(station))
    return _steady(station, rate, BirthDeath(rate, station.completions))


def capacity(station, slo=None):
    """The highest rate at which the replica keeps the promise, and its `Steady`; (0.0, None) where none does."""
    high = station.capacity * (1 - 1e-9)
    busiest = steady(station, high)
    if slo is None or _keeps(busiest, slo):
        return high, busiest
    low = 1e-9 * high
    if not _keeps(steady(station, low), slo):
        return 0.0, None
    rate = _highest(lambda rate: math.log(strain(steady(station, rate), slo)), low, high)
    return rate, steady(station, rate)


def _highest(excess, low, high):
    """Where an excess that is at most 0 at low and above it at high changes sign, from below: Illinois' false position."""
    at_low, at_high, last = excess(low), excess(high), 0.0
    while high - low > 1e-12 * high:
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        middle = middle if low < middle < high else (low + high) / 2
        at = excess(middle)
        if -1e-9 < at <= 0:
            return middle
        if at < 0:
            low, at_low, at_high = middle, at, at_high / 2 if last < 0 else at_high
        else:
            high, at_high, at_low = middle, at, at_low / 2 if last > 0 else at_low
        last = at
    return low


def closed_loop(station, concurrency):
    """The replica with so many requests in flight, each succeeded by the next as it completes, as `Steady`.

    Of n sequences at work one in rounds + 1 iterations is in its prefill; those beyond the bound of the batch wait.
    """
    concurrency = whole("concurrency", concurrency, 1)
    batch = min(concurrency, station.max_batch)
    iterations = station.rounds + 1
    step = float(np.interp(batch * station.rounds / iterations, np.arange(1, station.max_batch + 1), station.seconds))
    rate = 1 / (station.prefill + iterations * step / batch)
    share = rate * station.prefill
    itl = step / (1 - share)
    tpot = station.rounds * itl / (station.output - 1) if station.output > 1 else 0.0
    waiting = (concurrency - batch) / rate
    return Steady(
        rate=rate,
        batch=batch,
        tpot=tpot,
        itl=itl,
        ttft=concurrency / rate - tpot * (station.output - 1),
        e2e=concurrency / rate,
        waiting=waiting,
        utilisation=1.0,
        prefill_share=share,
        tokens_per_second=rate * station.output,
    )


def _steady(station, rate, chain):
    share = rate * station.prefill
    step = chain.mean(np.append(station.seconds[0], station.seconds)) / (1 - share)
    decoding = chain.sojourn - chain.wait - station.prefill / (1 - share) if rate else station.rounds * step
    ttft = chain.wait + station.prefill + 1.5 * step * chain.utilisation if rate else station.prefill
    return Steady(
        rate=rate,
        batch=chain.working,
        tpot=decoding / (station.output - 1) if station.output > 1 else 0.0,
        itl=decoding / station.rounds if station.rounds else 0.0,
        ttft=ttft,
        e2e=ttft + decoding,
        waiting=chain.wait if rate else 0.0,
        utilisation=rate / station.capacity,
        prefill_share=share,
        tokens_per_second=rate * station.output,
    )


def strain(found, slo):
    """The largest share of what is promised that is in use: above 1 the promise is broken."""
    promised = ((found.ttft, slo.ttft), (found.tpot, slo.tpot), (found.e2e, slo.e2e))
    return max((value / limit for value, limit in promised if limit is not None), default=0.0)


def _keeps(found, slo):
    return strain(found, slo) <= 1


def _binding(station):
    return "prefill" if station.prefill > 0.5 / station.capacity else station.binding


def _between(times):
    """Times at every batch up to the last one measured, linear between two of them."""
    known = np.flatnonzero(times == times)
    if not len(known) or known[0] > 0:
        raise ValueError("seconds: found no time of an iteration with 1 sequence, expected one; measure batch 1 first")
    return np.interp(np.arange(known[-1] + 1), known, times[known])


def _tau(law, k):
    by_token = getattr(law, "block_efficiency_by_token", None)
    return (
        float((by_token or law.block_efficiency)(k))
        if hasattr(law, "block_efficiency")
        else float(sum(law**i for i in range(k + 1)))
    )


def _prefill(cost, k, traffic, cached):
    """Seconds of one request's prefill, the draft's too where a model drafts."""
    models = [cost.target] if hasattr(cost, "target") else []
    if not models:
        raise ValueError("prefill: found none given and no target model in the cost, expected seconds; give prefill=")
    if k and cost.draft is not None:
        models.append(cost.draft)
    tokens = max(1.0, traffic.prompt * (1 - cached))
    return float(sum(_one_prefill(model, tokens, traffic.prompt * cached) for model in models))


def _one_prefill(model, tokens, context):
    if hasattr(model, "prefill"):
        return model.prefill(tokens, context=context)
    return model.seconds(tokens, context=context)
