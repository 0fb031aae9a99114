"""What a station does under load: latencies in the long run, the load it can take, fixed numbers of requests in flight.

A station is what `serving` makes, or anything that answers alike.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from specmath.draft import whole, within
from specmath.stay import Stay
from specmath.tails import sample

STEEP = 1.2  # a strain above it tells the search for a capacity no more than that it is too much


@dataclass(frozen=True)
class Steady:
    """Long-run means of one replica: requests a second, seconds, tokens.

    batch          sequences at work, in their prefill or decoding
    tpot           seconds per output token after the first, the prefills of others in it
    itl            seconds between two deliveries to a request: with speculation each brings several tokens
    waiting        seconds before a place in the batch is free, a part of ttft
    utilisation    rate over the rate at which the queue would grow for ever
    prefill_share  share of all time that goes into prefills
    requests       a `Sample` of requests, for percentiles; drawn when asked for
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
    _stay: Any = field(default=None, repr=False, compare=False)

    @cached_property
    def requests(self):
        """8,192 requests drawn from the law of a stay, always the same ones."""
        if self._stay is None:
            raise ValueError(
                "percentile: found a closed loop, of which only means are known, expected a rate; simulate it"
            )
        return sample(self._stay)

    def at(self, percentile):
        """The percentile of each latency over the requests, as `Percentile`: .95 is what 95 % of them stay within."""
        return self.requests.at(percentile)


@dataclass(frozen=True)
class Overloaded:
    """More arrives than one replica completes: `capacity` [req/s] is what it does complete.

    binding: "batch above b" where a batch of b would complete more, "prefill" where prefills take most of the time,
    "iteration" where one more sequence makes the iteration longer by its share, else what bounds the batch.
    """

    rate: float
    capacity: float
    binding: str


def steady(station, rate):
    """The replica at so many requests a second, as `Steady`, or `Overloaded`. ValueError for a rate below 0."""
    rate = within("rate", rate)
    if rate >= station.capacity:
        return Overloaded(rate, station.capacity, _binding(station))
    stay = Stay(station, rate)
    ttft = stay.wait + stay.residual + stay.first
    return Steady(
        rate=rate,
        batch=rate * (stay.first + stay.rest),
        tpot=stay.rest / (station.output - 1) if station.rounds else 0.0,
        itl=stay.rest / station.rounds if station.rounds else 0.0,
        ttft=ttft,
        e2e=ttft + stay.rest,
        waiting=stay.wait,
        utilisation=rate / station.capacity,
        prefill_share=rate * station.prefill,
        tokens_per_second=rate * station.output,
        _stay=stay,
    )


def capacity(station, slo=None):
    """The highest rate at which the replica keeps the promise, and its `Steady`; (0.0, None) where none does."""
    high = station.capacity * (1 - 1e-9)
    busiest = steady(station, high)
    if slo is None or strain(busiest, slo) <= 1:
        return high, busiest
    low = 1e-9 * high
    if strain(steady(station, low), slo) > 1:
        return 0.0, None
    precision = 1e-7 if slo.percentile is None else 1e-4  # a sample jumps
    rate = _highest(lambda rate: math.log(min(STEEP, strain(steady(station, rate), slo))), low, high, precision)
    return rate, steady(station, rate)


def strain(found, slo):
    """The largest share of what is promised that is in use: above 1 the promise is broken; of a `Steady`."""
    seconds = found if slo.percentile is None else found.at(slo.percentile)
    return max((getattr(seconds, name) / limit for name, limit in slo.promises), default=0.0)


def goodput(station, rate, slo):
    """Requests a second that keep every promise of `slo`, each for itself; its percentile is not asked.

    Of an overloaded replica 0: its queue grows for ever.
    """
    found = steady(station, rate)
    return 0.0 if isinstance(found, Overloaded) else rate * float(np.mean(found.requests.keeps(slo)))


def closed_loop(station, concurrency, *, together=None, waves=None):
    """The replica with so many requests in flight, each succeeded by the next as it completes, as `Steady`.

    Exact on average: every request meets the prefills of all others once, spread evenly over its iterations. Those
    beyond the bound of the batch wait, in ttft. Where outputs are all alike and nothing is drafted, whoever is
    prefilled together finishes together and stays so: `together` is then the prompts that fit into one iteration (the
    engine's budget of tokens over the prompt's). Between the two (outputs alike, but speculation) ttft is up to 20 %
    longer than said, as some still bunch. A run from an empty replica begins with a burst of prefills; where
    it lasts for so many requests per place (`waves`), their ttft is in the mean.
    """
    concurrency = whole("concurrency", concurrency, 1)
    places = min(concurrency, station.max_batch)
    group = 1 if together is None else min(places, within("together", together, 1))
    rate = float(station.completions[places - 1])
    stalled = station.prefill * (places - group) / (station.rounds + (together is None))
    beside = float(station.beside[places - 1]) + stalled if together is None else station.iteration(places - group)
    first = beside + station.prefill * group
    decoding = station.rounds * (float(station.among[places - 1]) + stalled) if station.rounds else 0.0
    waiting = (concurrency - places) / rate
    if waves is not None:
        size = places if together is None else group
        burst = np.cumsum(station.iteration(np.arange(0, places, size)) + station.prefill * size)
        first += max(0.0, float(np.mean(burst)) - first) / within("waves", waves, 1)
    return Steady(
        rate=rate,
        batch=float(places),
        tpot=decoding / (station.output - 1) if station.rounds else 0.0,
        itl=decoding / station.rounds if station.rounds else 0.0,
        ttft=waiting + first,
        e2e=waiting + first + decoding,
        waiting=waiting,
        utilisation=1.0,
        prefill_share=rate * station.prefill,
        tokens_per_second=rate * station.output,
    )


def _highest(excess, low, high, precision):
    """Where an excess at most 0 at low and above it at high changes sign, from below: Illinois' false position."""
    at_low, at_high, last = excess(low), excess(high), 0.0
    while high - low > precision * high:
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


def _binding(station):
    batch, most = station.peak
    if most > station.capacity * 1.001:
        return f"batch above {batch}"
    if station.prefill * station.capacity > 0.5:
        return "prefill"
    last = station.seconds[-2:]
    dearer = len(last) > 1 and last[1] - last[0] >= 0.8 * last[1] / station.max_batch
    return "iteration" if dearer else station.binding
