"""Stations for the tests of serving: step times as a dense 70B model on four GPUs has them, given in a few numbers."""

from dataclasses import replace

import numpy as np

from specmath.acceptance import Geometric
from specmath.arrivals import Requests, lengths
from specmath.events import simulate
from specmath.serving import Station, steady

LAW = Geometric(0.7)


def seconds(k, batch=256, base=0.0155, per_token=6.5e-5, per_sequence=3e-5, draft=0.002):
    """A memory-bound base and compute, smoothly the larger, the reading of each cache, and k drafts."""
    b = np.arange(1, batch + 1)
    return np.hypot(base, per_token * b * (k + 1)) + per_sequence * b + k * draft


def station(k, *, output=120, prefill=0.0216, variation=1.0, batch=256):
    survival = LAW.curve(k) if k else None
    tau = LAW.block_efficiency(k) if k else 1.0
    return Station(seconds(k, batch), tau, prefill, output, survival=survival, variation=variation)


def served(one, utilisation, number, seed=7, **how):
    """(what the simulation gives without the first tenth, the same load by formula), for outputs as drawn."""
    rng = np.random.default_rng(seed)
    outputs = lengths(one.output, number, rng if one.variation else None)
    requests = Requests.poisson(utilisation * one.capacity, outputs, rng=rng)
    result = simulate(one, requests, rng=rng, **how).after(0.1)
    seen = replace(one, output=float(result.tokens.mean()))
    rate = (len(result.arrival) - 1) / (result.arrival.max() - result.arrival.min())
    return result, steady(seen, float(rate))


def errors(found, result):
    """Relative errors of the means, by name."""
    measured = {"ttft": result.ttft.mean(), "tpot": result.mean_tpot, "e2e": result.e2e.mean()}
    return {name: getattr(found, name) / value - 1 for name, value in measured.items()}
