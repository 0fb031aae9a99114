"""Requests for `events`: when each arrives, how long its prompt is and how many tokens it is to emit."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from specmath.draft import shown, whole, within


@dataclass(frozen=True, eq=False)
class Requests:
    """Arrival [s], tokens of the output, and tokens of the prompt (None: all alike) of each request.

    In a closed loop (`concurrency`) so many arrive at 0 and each of the rest `think` seconds after one is finished;
    arrivals is then None. Raises ValueError for no requests, unequal lengths, arrivals that are negative or no
    numbers, and outputs or prompts below 1.

    >>> Requests([0.0, 0.5], [3, 2]).outputs.tolist()
    [3, 2]
    """

    arrivals: Any
    outputs: Any
    prompts: Any = None
    concurrency: int | None = None
    think: float = 0.0

    def __post_init__(self):
        outputs = _tokens("outputs", self.outputs)
        prompts = None if self.prompts is None else _tokens("prompts", self.prompts)
        arrivals = None if self.arrivals is None else _times(self.arrivals)
        if (arrivals is None) == (self.concurrency is None):
            given = "neither" if arrivals is None else "both"
            raise ValueError(f"arrivals, concurrency: found {given} given, expected exactly one")
        if self.concurrency is not None:
            whole("concurrency", self.concurrency, 1)
        within("think", self.think)
        for name, column in (("arrivals", arrivals), ("prompts", prompts)):
            if column is not None and len(column) != len(outputs):
                raise ValueError(f"{name}: found {len(column)}, expected {len(outputs)} as there are outputs")
        for name, column in (("arrivals", arrivals), ("outputs", outputs), ("prompts", prompts)):
            object.__setattr__(self, name, column)

    def __len__(self):
        return len(self.outputs)

    @classmethod
    def poisson(cls, rate, outputs, *, rng, prompts=None):
        """The same requests, arriving at random at so many a second."""
        if not 0 < within("rate", rate):
            raise ValueError("rate: found 0, expected requests a second above 0")
        arrivals = np.cumsum(rng.exponential(1 / rate, np.size(outputs)))
        return cls(arrivals, outputs, prompts)

    @classmethod
    def closed(cls, concurrency, outputs, *, think=0.0, prompts=None):
        """So many requests in flight, each succeeded by the next in the list."""
        return cls(None, outputs, prompts, concurrency, think)


def lengths(mean, number, rng=None):
    """Outputs of `number` requests of that mean: all alike without an rng (its fraction spread evenly over them),
    else geometric, the discrete exponential.

    >>> lengths(2.5, 4).tolist()
    [2, 3, 2, 3]
    """
    mean, number = within("mean", mean, 1), whole("number", number, 1)
    if rng is not None:
        return rng.geometric(1 / mean, number)
    return np.diff(np.floor(mean * np.arange(number + 1) + 1e-9)).astype(int)


def _tokens(name, values):
    values = np.atleast_1d(np.array(values))
    _one_dimension(name, values)
    _refuse(name, values, (values >= 1) & (values < math.inf) & (values == np.floor(values)), "an integer >= 1")
    values = values.astype(int)
    values.setflags(write=False)
    return values


def _times(values):
    values = np.atleast_1d(np.array(values, dtype=float))
    _one_dimension("arrivals", values)
    _refuse("arrivals", values, (values >= 0) & (values < math.inf), "a finite time >= 0")
    values.setflags(write=False)
    return values


def _one_dimension(name, values):
    if values.ndim != 1 or not values.size:
        raise ValueError(f"{name}: found {shown(values)}, expected one number for each request, one or more")


def _refuse(name, values, good, expected):
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name}[{row}]: found {values[row]}, expected {expected}")
