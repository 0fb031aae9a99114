"""How requests differ from their mean: a sample of stays, for percentiles and promises kept.

Of each request are drawn how many share the batch as it arrives, the prefills it meets, its output, the rounds that
this takes, and how full the batch is meanwhile. The batch forgets how full it was within a stay: its mean over x mean
stays lies between where it started, with weight (1 - exp(-x)) / x, and its long-run mean.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from specmath.draft import within

REQUESTS = 2**13
TOGETHER = 0.7  # correlation of the prefills met with how full the batch is


@dataclass(frozen=True)
class Percentile:
    """Seconds that a share of the requests (of the deliveries, for itl) stays within."""

    ttft: float
    tpot: float
    itl: float
    e2e: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Latencies [s] of so many requests; tpot is 0 where a request has no second token."""

    ttft: Any
    tpot: Any
    itl: Any
    e2e: Any

    def at(self, percentile):
        """What this share of the requests stays within, latency by latency."""
        share = within("percentile", percentile, 0, 1)
        return Percentile(*(float(np.quantile(getattr(self, name), share)) for name in ("ttft", "tpot", "itl", "e2e")))

    def keeps(self, slo):
        """Which requests keep every promise, each for itself."""
        kept = np.ones(len(self.ttft), dtype=bool)
        for name, limit in slo.promises:
            kept &= getattr(self, name) <= limit
        return kept


def sample(stay, requests=REQUESTS):
    """A `Sample` of the requests of a `Stay`, always the same for the same stay."""
    rng, station = np.random.default_rng(0), stay.station
    found = np.searchsorted(np.cumsum(stay.chain.seen), _evenly(requests, rng)).clip(0, station.max_batch)
    waits = found == station.max_batch
    wait = np.where(waits, rng.exponential(stay.wait / max(stay.chain.busy, 1e-300), requests), 0.0)
    met = _met(stay, found, rng)
    place = np.minimum(found, station.max_batch - 1)
    own = station.beside[place] + station.prefill * (1 + rng.poisson(stay.arriving * met))
    ttft = wait + met * rng.random(requests) + own
    output, rounds = _outputs(station, requests, rng)
    decoding = _decoding(stay, found, rounds, own, rng)
    tpot = np.divide(decoding, output - 1, out=np.zeros(requests), where=output > 1)
    return Sample(ttft, tpot, _gaps(stay, requests, rng), ttft + decoding)


def falls(curves):
    """P(A = 0), P(A = 1), .. of survival curves along the last axis.

    >>> falls(np.array([1.0, 0.5, 0.25])).tolist()
    [0.5, 0.25, 0.25]
    """
    return curves - np.append(curves[..., 1:], 0 * curves[..., :1], axis=-1)


def _evenly(number, rng):
    """Uniforms that fill (0, 1) evenly, in random order."""
    return (rng.permutation(number) + 0.5) / number


def _met(stay, found, rng):
    """The iteration that each request meets: longer ones are met more often, by their length."""
    alone = np.append(0.0, stay.station.shared)[found]
    by_a_prefill = ((rng.random(len(found)) < stay.rho) & (found > 0)).astype(int)
    return alone + stay.station.prefill * _prefills(stay, alone, by_a_prefill, rng)


def _prefills(stay, alone, one_more, rng):
    """Prefills in iterations that would take so long alone: negative binomial with the mean and variance of `stay`.

    Met by one of its prefills (`one_more`), an iteration has that one and as many others as size bias gives.
    """
    mean, excess = stay.arriving * alone / (1 - stay.rho), stay.rho**2 / (1 - stay.rho**2)
    if not excess:
        return rng.poisson(mean) + one_more
    return one_more + rng.poisson(excess * rng.standard_gamma(mean / excess + one_more))


def _outputs(station, requests, rng):
    """(tokens, rounds) of each request."""
    if station.variation:
        extra = gammaincinv(1 / station.variation, _evenly(requests, rng)) * station.variation * (station.output - 1)
        output = 1 + np.floor(extra + rng.random(requests))
    else:
        output = np.floor(station.output + rng.random(requests))
    curves = station.curves[rng.integers(len(station.curves), size=requests)]
    block, chance = np.arange(1, curves.shape[1] + 1), falls(curves)
    tau, square = chance @ block, chance @ block**2
    mean = (output - 1) / tau + (square - tau) / (2 * tau**2)
    rounds = mean + np.sqrt((output - 1) * (square - tau**2) / tau**3) * rng.standard_normal(requests)
    return output, np.where(output > 1, np.maximum(rounds, np.ceil((output - 1) / curves.shape[1])), 0.0)


def _decoding(stay, found, rounds, own, rng):
    """Seconds of the rounds of each request."""
    station = stay.station
    law = stay.chain.seen
    places = np.arange(len(law))
    mean = float(law @ places)
    deviation = float(np.sqrt(max(law @ (places - mean) ** 2, 0.0)))
    start, left = _memory(rounds / max(station.rounds, 1e-300))
    stalls, unusual = _stalls(stay, rounds, rng)
    alike = TOGETHER * unusual + np.sqrt(1 - TOGETHER**2) * rng.standard_normal(len(found))
    filled = mean + (found - mean) * start + deviation * np.sqrt(left) * alike
    alone = np.interp(filled.clip(0, station.max_batch - 1), places[:-1], station.among)
    after = (own - alone / (1 - stay.rho)) * stay.rho * (1 - stay.rho**rounds if stay.rho else 0.0) / (1 - stay.rho)
    return np.maximum(rounds * alone * stalls + after, rounds * station.among[0])


def _stalls(stay, rounds, rng):
    """(how much prefills lengthen the rounds of each request, deviations from the mean that this is).

    Prefills come in bunches, each the busy period that one of them begins: their number has the mean and variance of
    such a sum, and the law is taken as gamma.
    """
    if not stay.rho:
        return np.ones(len(rounds)), np.zeros(len(rounds))
    alone = float(stay.chain.mean(np.append(stay.station.among[0], stay.station.among)))
    shape = np.maximum(stay.arriving * rounds * alone * (1 - stay.rho), 1e-9)
    relative = rng.standard_gamma(shape) / shape
    return 1 + stay.rho / (1 - stay.rho) * relative, (relative - 1) * np.sqrt(shape)


def _memory(stays):
    """(weight of the start in the mean over so many mean stays, variance of that mean left in it)."""
    x = np.maximum(stays, 1e-9)
    start = -np.expm1(-x) / x
    return start, np.maximum(0.0, 2 * (1 - start) / x - start**2)


def _gaps(stay, requests, rng):
    """Iterations as deliveries see them: those with many sequences count as often as they deliver."""
    station, law = stay.station, stay.chain.seen[1:]
    if not station.rounds:
        return np.zeros(requests)
    weights = np.cumsum(law * station.among * np.arange(1, station.max_batch + 1) / station.shared)
    places = np.searchsorted(weights / weights[-1], rng.random(requests)).clip(0, station.max_batch - 1)
    decoding = station.among[places]
    return decoding + station.prefill * _prefills(stay, decoding, np.zeros(requests, dtype=int), rng)
