"""How long a request stays at a replica, phase by phase, beyond what the plain load formula knows.

A replica runs iteration after iteration. A request waits for a place in the batch if all are taken, then for the end
of the iteration at hand; the next one holds its prefill, beside the decoding of the others and the prefills of those
who came in the same iteration; then come its rounds, each lengthened by the prefills of others. Arrivals at `rate`
are Poisson, rho = rate * prefill is the share of time that prefills take, T an iteration without any:

    mean iteration           S = T / (1 - rho)
    iteration met            M = E[S^2] / E[S] = S + prefill rho / (1 - rho^2): long ones are met more often
    wait for its end         M / 2
    with the own prefill     P = T + prefill (1 + rate M)
    round j after it         S + rho^j (P - S): who came during a long iteration stalls the one after it
    all R rounds             R S + (P - S) rho (1 - rho^R) / (1 - rho)

S and M follow from S' = T + prefill * Poisson(rate S). How many share the batch is a birth-death chain whose arrivals
come in bunches, as prefills hold them up: M^X/G/infinity with the busy periods of the prefills as bunches has a
variance over mean of 1 + (1 / (1 - rho)^2 - 1) / (1 + variation), and the chain is given the same. Derived here.
"""

import math
from functools import cached_property

import numpy as np

from specmath.queueing import BirthDeath, wait_factor


class Stay:
    """One load of one station: the chain of how many have a place, and the seconds of each phase."""

    def __init__(self, station, rate):
        self.station, self.rate = station, rate
        self.arriving = max(rate, 1e-9 * station.capacity)  # the limit of no load, without dividing by it
        self.rho = self.arriving * station.prefill
        self.prefilling = self.own(station.beside)
        self.chain = BirthDeath(self.arriving, self._completions())

    def met(self, times):
        """M, for iterations that take so long without prefills."""
        return times / (1 - self.rho) + self.station.prefill * self.rho / (1 - self.rho**2)

    def own(self, times):
        """P, the iteration that holds the own prefill, where others decode for so long."""
        return times + self.station.prefill * (1 + self.arriving * self.met(times))

    def decoding(self, rounds):
        """Seconds of so many rounds, by how many have a place, from 1 on."""
        steady = self.station.among / (1 - self.rho)
        return rounds * steady + (self.prefilling - steady) * self.rho * (1 - self._left) / (1 - self.rho)

    @property
    def _left(self):
        """E[rho^R]: rho^R where all take R rounds, else as if they were gamma distributed."""
        rounds, variation = self.station.rounds, self.station.variation
        if not self.rho or not rounds:
            return 0.0 if rounds else 1.0
        if not variation:
            return self.rho**rounds
        return (1 - variation * rounds * math.log(self.rho)) ** (-1 / variation)

    def _completions(self):
        """Requests completed a second, by how many have a place."""
        spread = 1 + (1 / (1 - self.rho) ** 2 - 1) / (1 + self.station.variation)
        bunched = 1 - 1 / spread
        places = np.arange(1, self.station.max_batch + 1)
        stay = self.prefilling + self.decoding(self.station.rounds)
        paces = places / ((places - 1) * bunched / self.arriving + (1 - bunched) * stay)
        paces[-1] = self.station.capacity
        return paces

    @cached_property
    def wait(self):
        """Mean seconds until a place is free."""
        work = 1 - self.station.prefill * self.station.capacity  # the share of a request's work that varies
        load = self.arriving / self.station.capacity
        return self.chain.wait * wait_factor(self.station.max_batch, load, min(1.0, self.station.variation) * work**2)

    @cached_property
    def residual(self):
        """Mean seconds from then to the end of the iteration at hand."""
        return self.chain.mean(np.append(0.0, self.met(self.station.shared) / 2))

    @cached_property
    def first(self):
        """Mean seconds of the iteration with the own prefill."""
        return self.chain.mean(np.append(self.prefilling, self.prefilling[-1]))

    @cached_property
    def rest(self):
        """Mean seconds of the rounds."""
        return self.chain.sojourn - self.chain.wait - self.first
