"""Latency and goodput over the load of one replica: without drafting, at one depth, and with k by batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from specmath.candidates import loaded
from specmath.schedule import by_batch
from specmath.serving import Overloaded, Station, steady

POINTS = 24
COLUMNS = ("batch", "tpot", "ttft", "e2e", "goodput")


@dataclass(frozen=True, eq=False)
class Curve:
    """One replica over its load: arrays by rate [req/s], NaN where it is overloaded (its goodput then 0).

    batch is the mean number at work, tpot, ttft and e2e mean seconds, goodput the requests per second each
    of which keeps every promise (`serving.goodput`).
    """

    name: str
    rate: Any
    batch: Any
    tpot: Any
    ttft: Any
    e2e: Any
    goodput: Any


def curves(deployment, question, rates=None):
    """Three `Curve`s of a deployment that drafts: "plain" without its draft, "fixed" at its depth, "adaptive" by batch.

    Adaptive k goes by the schedule of the candidate's depths and 0. Rates are per replica; by default they go up to
    what the best of the three carries.
    """
    plain = deployment.plain().station
    stations = {k: one.station for k, one in loaded(deployment).items() if one.station is not None}
    arms = {"plain": plain, "fixed": deployment.station, "adaptive": adaptive(stations, question.operation.threshold)}
    arms = {name: station for name, station in arms.items() if station is not None}
    if rates is None:
        most = max(station.capacity for station in arms.values())
        rates = most * np.arange(1, POINTS + 1) / (POINTS + 1)
    return tuple(curve(name, station, rates, question.slo) for name, station in arms.items())


def curve(name, station, rates, slo):
    """The `Curve` of a station over these rates."""
    rates = np.asarray(rates, dtype=float)
    rows = np.array([_point(steady(station, rate), slo) for rate in rates]).reshape(len(rates), len(COLUMNS))
    return Curve(name, rates, *rows.T)


def adaptive(stations, threshold):
    """A station that runs at every batch the k of the schedule: its iterations are those of a token, not of a round.

    Batch, TPOT and capacity are those of the k in force; the gap between deliveries is not, and of a first token the
    wait for the running round is understated by a part of it.
    """
    schedule = by_batch(stations, threshold)
    output = stations[0].output
    if output <= 1:
        return stations[0]
    chosen = [stations[schedule.k(b + 1)] for b in range(schedule.up[-1][1])]
    seconds = [one.rounds * one.seconds[b] / (output - 1) for b, one in enumerate(chosen)]
    prefill = max(station.prefill for station in chosen)
    return Station(seconds, 1.0, prefill, output, binding=stations[0].binding)


def _point(state, slo):
    if isinstance(state, Overloaded):
        return (np.nan,) * 4 + (0.0,)
    keeping = float(np.mean(state.requests.keeps(slo)))
    return state.batch, state.tpot, state.ttft, state.e2e, state.rate * keeping
