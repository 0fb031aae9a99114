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
variance over mean of 1 + (1 / (1 - rho)^2 - 1) / (1 + variation), and the chain is given the same; of a bunch no more
have a place than the batch holds, which takes the place of 1 / (1 - rho)^2 where that is larger. In a full batch
outputs that differ disperse a bunch; those all alike leave together, and places run out more often. Derived here.

Against `events`, up to 85 % of capacity, with outputs of 60 tokens or more and a batch of 16 or more: the mean latency
is within 2 % where prefills take less than two thirds of the time, within 6 % where they take four fifths, and up to
10 % high where they take nineteen twentieths. Outputs of ten tokens are up to 15 % high, those of one or two up to
30 % low, and a batch of a few places with outputs all alike 10 %. The mean of ttft is within 15 % where requests wait
for a place. Above 90 % of capacity ask `events`.
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
        self.places = np.arange(1, station.max_batch + 1)
        self.prefilling = self._own(station.beside)
        self.decoding = self._rounds(station.among / (1 - self.rho))
        self.chain = BirthDeath(self.arriving, self._completions())

    def met(self, times):
        """M, for iterations that take so long without prefills."""
        return times / (1 - self.rho) + self.station.prefill * self.rho / (1 - self.rho**2)

    def _own(self, times):
        """P, the iteration with the own prefill, by how many have a place: no more join than find one."""
        join = np.minimum(len(times) - self.places, self.arriving * self.met(times))
        return times + self.station.prefill * (1 + join)

    def _rounds(self, mean):
        """Seconds of the rounds, by how many have a place and the mean iteration then."""
        after = self.rho * (1 - self._left) / (1 - self.rho)
        return self.station.rounds * mean + (self.prefilling - mean) * after

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
        together = min(1 / (1 - self.rho) ** 2, self.station.max_batch)
        spread = 1 + (together - 1) / (1 + self.station.variation)
        bunched, stay = np.full(len(self.places), 1 - 1 / spread), self.prefilling + self.decoding
        bunched[-1] *= max(0.0, 1 - self.station.variation)
        stay[-1] = self.places[-1] / self.station.capacity
        paces = self.places / ((self.places - 1) * (bunched / self.arriving) + (1 - bunched) * stay)
        paces[-1] = min(paces[-1], self.station.capacity)
        return paces

    @cached_property
    def wait(self):
        """Mean seconds until a place is free."""
        work = 1 - self.station.prefill * self.station.capacity  # the share of a request's work that varies
        load = self.arriving / self.station.capacity
        alike = self.chain.busy / (self.station.capacity - self.arriving)
        return alike * wait_factor(self.station.max_batch, load, min(1.0, self.station.variation) * work**2)

    @cached_property
    def residual(self):
        """Mean seconds to the end of the iteration at hand, of who finds a place: places get free at its end."""
        return self.chain.mean(np.concatenate([[0.0], self.met(self.station.shared[:-1]) / 2, [0.0]]))

    @cached_property
    def first(self):
        """Mean seconds of the iteration with the own prefill."""
        return self.chain.mean(np.append(self.prefilling, self.prefilling[-1]))

    @cached_property
    def rest(self):
        """Mean seconds of the rounds: their share of the time in a place, by how many have one."""
        taken = self.chain.seen[1:] * self.places / self.arriving
        return float(taken @ (self.decoding / (self.prefilling + self.decoding)))
