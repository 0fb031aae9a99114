"""Serving: 100,000 simulated requests, and how many loads a second the formula answers."""

import statistics
import time

import numpy as np

from specmath import Geometric
from specmath.arrivals import Requests, lengths
from specmath.events import simulate
from specmath.replica import Scheduling
from specmath.serving import Slo, Station, capacity, steady

REQUESTS, RUNS, TARGET = 100_000, 3, 20.0
LOADS = (0.1, 0.5, 0.85)


def main():
    """Seconds of a simulation by load and depth, its error against the formula; then the formula itself."""
    for k in (0, 3):
        for load in LOADS:
            one = station(k)
            run(one, load, Scheduling(), REQUESTS // 100)
            result, seconds = run(one, load, Scheduling(), REQUESTS)
            found = steady(one, load * one.capacity)
            error = found.e2e / result.e2e.mean() - 1
            text = f"{seconds:6.2f} s   (target: at most {TARGET:.0f})   formula of the mean latency {error:+.1%}"
            print(f"{REQUESTS:,} requests, k = {k}, utilisation {load:.2f}   {text}")
    for name, scheduling in {
        "prefills in chunks": Scheduling(budget=2048),
        "a cap on keys and values": Scheduling(kv_tokens=200_000),
    }.items():
        _, seconds = run(station(3), 0.5, scheduling, REQUESTS)
        print(f"{REQUESTS:,} requests, k = 3, utilisation 0.50, {name}   {seconds:6.2f} s")
    print(f"steady                     {per_second(lambda one: steady(one, 4.0)):8.0f} a second")
    print(f"capacity of a mean         {per_second(lambda one: capacity(one, Slo(tpot=0.02))):8.0f} a second")
    tail = Slo(tpot=0.02, percentile=0.95)
    print(f"capacity of a percentile   {per_second(lambda one: capacity(one, tail), 3):8.1f} a second")


def station(k):
    """Steps as a dense 70B model on four GPUs has them: prompts of 1000, outputs of 300."""
    batch, law = np.arange(1, 257), Geometric(0.7)
    seconds = np.hypot(0.0155, 6.5e-5 * batch * (k + 1)) + 3e-5 * batch + k * 0.002
    return Station(seconds, law.block_efficiency(k), 0.063, 300, survival=law.curve(k))


def run(one, load, scheduling, number):
    """(the simulation, its seconds)."""
    rng = np.random.default_rng(0)
    outputs, prompts = lengths(one.output, number, rng), np.full(number, 1000)
    requests = Requests.poisson(load * one.capacity, outputs, rng=rng, prompts=prompts)
    started = time.perf_counter()
    return simulate(one, requests, rng=rng, scheduling=scheduling), time.perf_counter() - started


def per_second(call, runs=200):
    one, seconds = station(3), []
    for _ in range(RUNS):
        started = time.perf_counter()
        for _ in range(runs):
            call(one)
        seconds.append(time.perf_counter() - started)
    return runs / statistics.median(seconds)
