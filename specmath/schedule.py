"""Which k at which load: by batch, by rate, with hysteresis, and where speculation is to be switched off.

    time of a token at batch b   T_k(b) / tau_k
    rate that batch b sustains   lam_k(b) = 1 / (prefill + rounds_k T_k(b) / b)

Stations are one replica each, under one k and the same traffic (`serving`, whose completions are lam). Nothing is
taken to be monotone: a measured time is jagged, and sparse experts make a gain dip and rise again with the batch.
Between two whole batches times are linear, as in `serving`.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

TIE = 1e-12
SWITCH = 0.03  # gain below which a switch is not worth it
FINE, HALVINGS = 4, 50  # rates looked at between two that whole batches carry; then halved around each change


@dataclass(frozen=True)
class Schedule:
    """k by batch, as ranges (lowest batch, highest batch, k) that cover 1 to the largest batch.

    `best` has the fastest k at every batch. `up` and `down` are for a batch that rises and one that falls: k is kept
    until another is faster by more than `threshold`, so that no batch loses more than that to the best.
    """

    up: tuple
    down: tuple
    best: tuple
    threshold: float

    def k(self, batch, *, rising=True):
        """The k for a batch of this size; beyond the last range that of the last.

        >>> Schedule(((1, 8, 3), (9, 64, 0)), ((1, 4, 3), (5, 64, 0)), ((1, 6, 3), (7, 64, 0)), 0.03).k(8)
        3
        """
        ranges = self.up if rising else self.down
        return next((k for _, high, k in ranges if batch <= high), ranges[-1][-1])


@dataclass(frozen=True)
class SwitchOff:
    """Where speculation stops paying: the batch with tau T_0 = T_k, and the rate [req/s] where the lam(B) cross.

    None where it pays up to the largest batch, 0 where it pays nowhere. `batches` and `rates` have every crossing,
    each with whether speculation pays above it: several where the times are jagged, and the last one counts.
    """

    batch: float | None
    rate: float | None
    batches: tuple
    rates: tuple


def by_batch(stations, threshold=SWITCH):
    """The `Schedule` of stations by k, such as {0: ..., 3: ...}; each counts up to its own largest batch.

    Of depths that tie the smallest wins. ValueError for a negative threshold.
    """
    if not 0 <= threshold < np.inf:
        raise ValueError(f"threshold: found {threshold}, expected a gain in [0, infinity), such as .03")
    depths, times = _table(stations, token_seconds)
    fastest = _first(times)
    batches = range(times.shape[1])
    up = _kept(times, fastest, batches, threshold)
    down = _kept(times, fastest, reversed(batches), threshold)[::-1]
    up, down, best = (_ranges([depths[row] for row in rows]) for rows in (up, down, fastest))
    return Schedule(up, down, best, threshold)


def by_rate(stations):
    """Ranges (lowest rate, highest rate, k) of one replica, in req/s, from 0 to the most that any k sustains.

    Of a rate the k whose batch is smallest, and so the fastest: of every lam_k(b) the first batch that carries it.
    """
    depths, work = _table(stations, _work)
    carried = np.maximum.accumulate(np.arange(1, work.shape[1] + 1) / work, axis=1)
    edges = np.unique(np.append(0.0, carried))
    rates = np.unique((edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(FINE) + 0.5) / FINE).ravel())
    rows = _first(_places(work, carried, rates))
    at = np.flatnonzero(np.diff(rows))
    meets = [0.0, *_meet(work, carried, (rates[at], rates[at + 1]), np.array(rows)[at]), float(edges[-1])]
    chosen = [depths[rows[i]] for i in (*at, len(rows) - 1)]
    return tuple(zip(meets[:-1], meets[1:], chosen, strict=True))


def switch_off(speculating, without):
    """The `SwitchOff` of a station against plain decoding's, up to the largest batch that both can hold."""
    size = min(len(speculating.seconds), len(without.seconds))
    gain = token_seconds(without)[:size] - token_seconds(speculating)[:size]
    saved = _work(without)[:size] - _work(speculating)[:size]
    batches = _crossings(gain)
    rates = tuple((_rate_at(_work(without), batch), pays) for batch, pays in _crossings(saved))
    return SwitchOff(_last(batches, gain), _last(rates, saved), batches, rates)


def token_seconds(station):
    """Seconds a token takes at each batch from 1 on: T(b) / tau."""
    return np.asarray(station.seconds, dtype=float) / station.tau


def _work(station):
    """Seconds in which batch b finishes b requests, b / lam(b): linear between whole batches."""
    return np.arange(1, len(station.seconds) + 1) / station.completions


def _rate_at(work, batch):
    """lam at a batch, whole or not."""
    return float(batch / np.interp(batch, np.arange(1, len(work) + 1), work))


def _table(stations, function):
    """The depths in order, and a row of values for each, infinite beyond its largest batch."""
    if not stations:
        raise ValueError("stations: found none, expected one per k, such as {0: ..., 3: ...}")
    depths = sorted(stations)
    values = np.full((len(depths), max(len(station.seconds) for station in stations.values())), np.inf)
    for row, k in zip(values, depths, strict=True):
        row[: len(stations[k].seconds)] = function(stations[k])
    return depths, values


def _first(values):
    """The row with the least value in every column; of rows that tie the first."""
    least = np.min(values, axis=0)
    return np.argmax(values <= least + TIE * np.abs(least), axis=0).tolist()


def _kept(times, fastest, batches, threshold):
    """The row in force along the batches, in their order."""
    good = (times <= (1 + threshold) * times.min(axis=0)).T.tolist()
    rows: list = []
    for b in batches:
        rows.append(rows[-1] if rows and good[b][rows[-1]] else fastest[b])
    return rows


def _ranges(depths):
    """(lowest batch, highest batch, k) of runs of equal k; the first batch is 1."""
    found, low = [], 1
    for k, run in groupby(depths):
        high = low + len(list(run)) - 1
        found.append((low, high, k))
        low = high + 1
    return tuple(found)


def _places(work, carried, rates):
    """The smallest batch, whole or not, at which each row carries each rate; infinite where it never does."""
    found = np.full((len(work), len(rates)), np.inf)
    for row, most, batches in zip(work, carried, found, strict=True):
        able = rates <= most[-1]
        after = np.searchsorted(most, rates[able])
        before = np.maximum(after - 1, 0)
        slope = np.where(after > 0, row[after] - row[before], 0.0)
        batches[able] = rates[able] * (row[before] - (before + 1) * slope) / (1 - rates[able] * slope)
    return found


def _meet(work, carried, between, rows):
    """The rate between each two at which a row stops being the one with the smallest batch."""
    low, high = between
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        same = np.equal(_first(_places(work, carried, middle)), rows)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return ((low + high) / 2).tolist()


def _crossings(gain):
    """(batch, whether it is positive above) of every change of sign along batches 1, 2, ..; linear between them."""
    pays = gain > 0
    at = np.flatnonzero(pays[1:] != pays[:-1])
    return tuple((float(b + 1 + gain[b] / (gain[b] - gain[b + 1])), bool(pays[b + 1])) for b in at)


def _last(crossings, gain):
    """None where the gain is positive at the end, else the last crossing, and 0 where there is none."""
    if gain[-1] > 0:
        return None
    return crossings[-1][0] if crossings else 0.0
