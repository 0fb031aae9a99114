"""One station whose pace depends on how many it works on: a birth-death chain, and the waiting room before it.

    pi_n ~ product over i <= n of rate / completions(i)

Arrivals are Poisson at `rate`. With n present the station completes `completions[n - 1]` a second; where more are
present than it has entries, c of them, the rest wait in order of arrival and the pace stays that of the last entry.
M/M/1 has one entry, M/M/c the entries mu, 2 mu, .., c mu. Where the entries are the total pace of a station that
works on all of them at once (processor sharing), the law of the number present depends on the service times through
their mean alone, as long as none waits (Kelly 1979, chapter 3).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import gammaincc

from specmath.draft import plain, shown, whole, within


@dataclass(frozen=True, eq=False)
class BirthDeath:
    """The stationary law of the number present. `rate` may be an array of loads, the last axis is then added to it.

    `room` is how many may wait, None for any number; whoever finds it full is lost. Raises ValueError for a rate
    below 0, completions that are not finite and above 0, and without a limit to the room for a rate at or above the
    last of them (NaN in such a cell of an array): the queue would grow for ever.

    >>> one = BirthDeath(0.5, [1.0])
    >>> one.probability(0), one.number, one.utilisation
    (0.5, 1.0, 0.5)
    """

    rate: Any
    completions: Any
    room: Any = None

    def __post_init__(self):
        completions = positive("completions", self.completions, "number", "number present")
        rate = within("rate", self.rate)
        if self.room is None:
            rate = _stable(rate, float(completions[-1]))
        else:
            object.__setattr__(self, "room", whole("room", self.room))
        object.__setattr__(self, "rate", rate)
        object.__setattr__(self, "completions", completions)

    @property
    def servers(self):
        """The most that are worked on at once."""
        return len(self.completions)

    @cached_property
    def law(self):
        """P(N = n) for n = 0..c, and on to c + room where the room is limited: [.., n]."""
        weights = _weights(self.rate, self._paces)
        beyond = 0.0 if self.room is not None else weights[..., -1] * self._growth / (1 - self._growth)
        return weights / (weights.sum(axis=-1) + beyond)[..., None]

    def probability(self, n):
        """P(N = n), also beyond c."""
        n = whole("n", n)
        if n < self.law.shape[-1]:
            return plain(self.law[..., n])
        return plain(self.law[..., -1] * self._growth ** (n - self.servers) if self.room is None else 0.0)

    @property
    def number(self):
        """E[N], present in all."""
        return plain(self.working + self.waiting)

    @cached_property
    def working(self):
        """E[min(N, c)], those worked on."""
        return plain(self.mean(np.arange(self.servers + 1)))

    @cached_property
    def waiting(self):
        """E[max(N - c, 0)], those that wait."""
        if self.room is None:
            return plain(self.law[..., -1] * self._growth / (1 - self._growth) ** 2)
        return plain(self.law[..., self.servers :] @ np.arange(self.room + 1))

    @cached_property
    def busy(self):
        """P(N >= c), every place taken."""
        return plain(np.maximum(1.0 - self.law[..., : self.servers].sum(axis=-1), 0.0))

    @property
    def utilisation(self):
        """P(N > 0)."""
        return plain(1.0 - self.law[..., 0])

    @property
    def lost(self):
        """The share of arrivals that finds the room full; 0 where it has no limit."""
        return plain(0.0 * self.law[..., -1] if self.room is None else self.law[..., -1])

    @property
    def throughput(self):
        """Completions a second."""
        return plain(self.rate * (1.0 - self.lost))

    @property
    def wait(self):
        """Mean seconds before work on an arrival begins, by Little's law."""
        return plain(self.waiting / self.throughput)

    @property
    def sojourn(self):
        """Mean seconds from arrival to completion, by Little's law."""
        return plain(self.number / self.throughput)

    def mean(self, values):
        """E[values[min(N, c)]] of one value for each of 0..c."""
        return plain(self.seen @ np.asarray(values, dtype=float))

    @cached_property
    def seen(self):
        """P(min(N, c) = n) for n = 0..c: what an arrival finds at work, arrivals being Poisson."""
        return np.concatenate([self.law[..., : self.servers], np.asarray(self.busy)[..., None]], axis=-1)

    def waits_longer(self, seconds):
        """P(an arrival that is not lost waits longer than so many seconds), in order of arrival.

        Without a limit to the room: P(N >= c) exp(-(completions[-1] - rate) seconds), as in M/M/c. One load only.
        """
        seconds = np.asarray(within("seconds", seconds), dtype=float)
        last = float(self.completions[-1])
        if self.room is None:
            return plain(self.busy * np.exp(-(last - self.rate) * seconds))
        ahead = self.law[self.servers : -1] / (1.0 - self.lost)
        return plain(sum((p * gammaincc(i + 1, last * seconds) for i, p in enumerate(ahead)), 0.0 * seconds))

    @property
    def _growth(self):
        return np.asarray(self.rate / self.completions[-1])

    @property
    def _paces(self):
        return np.append(self.completions, np.full(self.room or 0, self.completions[-1]))


def wait_factor(servers, load, variation):
    """Mean wait with service times of this squared coefficient of variation, over that with exponential ones.

        variation + (1 - variation) D,   D = (1 + (1 - load) (c - 1) (sqrt(4 + 5 c) - 2) / (16 load c)) / 2 <= 1

    Exact for one server (Pollaczek and Khinchine: (1 + variation) / 2), else an approximation: Cosmetatos 1976 for
    service times that are all alike, Kimura's survey (1994) for the line between the two.

    >>> wait_factor(1, 0.5, 0.0), wait_factor(8, 0.5, 1.0)
    (0.5, 1.0)
    """
    c = servers
    more = (1 - load) * (c - 1) * (math.sqrt(4 + 5 * c) - 2) / (16 * load * c) if load > 0 else math.inf
    return variation + (1 - variation) * min(1.0, (1 + more) / 2)


def _weights(rate, paces):
    """The law but for its total, the largest being 1, computed in logarithms: [.., n]."""
    with np.errstate(divide="ignore"):
        steps = np.log(np.asarray(rate, dtype=float))[..., None] - np.log(paces)
    logs = np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
    return np.exp(logs - logs.max(axis=-1, keepdims=True))


def positive(name, values, unit, each):
    """One finite unit above 0 for each of 1, 2, .., read-only; ValueError naming the first that is none.

    >>> positive("seconds", [1, 2], "time", "batch")
    array([1., 2.])
    """
    values = np.array(values, dtype=float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name}: found {shown(values)}, expected one {unit} for each {each}, from 1 on")
    good = (values > 0) & (values < math.inf)
    if not good.all():
        i = int(np.argmin(good))
        raise ValueError(f"{name}[{i}]: found {values[i]}, expected a finite {unit} above 0")
    values.setflags(write=False)
    return values


def _stable(rate, last):
    if np.ndim(rate) > 0:
        return np.where(rate < last, rate, math.nan)
    if rate >= last:
        raise ValueError(f"rate: found {rate}, expected below completions[-1] = {last}, or a limit to the room")
    return rate
