"""Serving simulated iteration by iteration: one clock, a heap of what happens next, a plain loop.

It shares with `serving` only the times of a `Station`, and checks what is computed there; beyond it, it knows tails,
bursts, prefills in chunks, a cap on keys and values, depths that follow the load, and several replicas.
"""

import heapq
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from specmath.arrivals import Requests
from specmath.draft import shown, whole
from specmath.replica import Countdown, Progress, Replica, Scheduling, accepted

ARRIVAL, END, START = range(3)  # what comes first of things at the same time
ROUTERS = ("round_robin", "fewest")
WHOLE = Scheduling()


@dataclass(frozen=True, eq=False)
class Served:
    """What happened: per request arrival, start (of its prefill), first (token), finish [s], tokens, replica.

    Per iteration `begin` and `seconds`, `batch` (sequences that decoded), `prefilled` (tokens), `k`, `at` (replica);
    `present_seconds` is the number present summed over time, counted by the clock and not from the requests.
    """

    arrival: Any
    start: Any
    first: Any
    finish: Any
    tokens: Any
    replica: Any
    begin: Any
    seconds: Any
    batch: Any
    prefilled: Any
    k: Any
    at: Any
    present_seconds: float
    preempted: int

    @property
    def ttft(self):
        """Seconds from arrival to first token of each request."""
        return self.first - self.arrival

    @property
    def e2e(self):
        """Seconds from arrival to the end of each request."""
        return self.finish - self.arrival

    @property
    def tpot(self):
        """Seconds per token after the first, of each request; NaN where there is none."""
        more = self.tokens - 1
        return np.divide(self.finish - self.first, more, out=np.full(len(more), np.nan), where=more > 0)

    @property
    def mean_tpot(self):
        """Total seconds after the first token over total tokens after it: a ratio of totals."""
        more = float(np.sum(self.tokens - 1))
        return float(np.sum(self.finish - self.first)) / more if more else 0.0

    @property
    def mean_batch(self):
        """Sequences that decode, averaged over time from the first arrival to the last end."""
        return float(self.batch @ self.seconds / (self.finish.max() - self.arrival.min()))

    @property
    def itl(self):
        """Seconds between two deliveries, averaged over the deliveries."""
        return float(self.batch @ self.seconds / self.batch.sum()) if self.batch.any() else 0.0

    def gaps(self, share):
        """The gap between two deliveries that this share of them stays within."""
        order = np.argsort(self.seconds)
        reached = np.cumsum(self.batch[order])
        return float(self.seconds[order][np.searchsorted(reached, share * reached[-1])])

    def good(self, slo):
        """Which requests kept every promise of `slo`, its percentile aside."""
        promised = ((self.ttft, slo.ttft), (np.nan_to_num(self.tpot), slo.tpot), (self.e2e, slo.e2e))
        return np.all([of <= limit for of, limit in promised if limit is not None], axis=0) | np.zeros(
            len(self.tokens), bool
        )

    def after(self, share):
        """The same without the first share of the requests, by arrival: the iterations stay as they are."""
        kept = np.argsort(self.arrival, kind="stable")[int(share * len(self.arrival)) :]
        per_request = ("arrival", "start", "first", "finish", "tokens", "replica")
        return Served(**{**vars(self), **{name: getattr(self, name)[kept] for name in per_request}})


def simulate(station, requests, *, rng, scheduling=WHOLE, replicas=1, router="round_robin"):
    """Serve these `Requests` on so many replicas of `station`, as `Served`.

    `station` is a `Station`, or for a schedule of depths one for each depth: {k: Station}. The router deals to the
    replicas in turn, or to the one with the `fewest` requests present. Accepted lengths are drawn per sequence and
    round from the survival curves of the station; where there are several, a request keeps one of them, drawn from
    them evenly. A prompt takes its share of the station's prefill by its tokens, against the mean of the prompts.
    """
    stations = station if isinstance(station, dict) else {_depth(station): station}
    _check(stations, requests, scheduling, replicas, router)
    return _Run(stations, requests, rng, scheduling, replicas, router).run()


class _Run:
    """The clock, the heap and the records of one simulation."""

    def __init__(self, stations, requests, rng, scheduling, replicas, router):
        self.requests, self.router = requests, router
        outputs = requests.outputs
        self.sizes = np.ones(len(outputs), dtype=int) if requests.prompts is None else requests.prompts
        kinds = _kinds(stations, len(outputs), rng)
        self.left = outputs.copy()
        if scheduling.schedule is None and scheduling.kv_tokens is None:
            (station,) = stations.values()
            rounds = _rounds(station.curves, kinds, outputs - 1, rng).tolist()
            decoding = [Countdown(rounds) for _ in range(replicas)]
        else:
            curves = {k: one.curves for k, one in stations.items()}
            decoding = [Progress(self.left, curves, kinds, rng) for _ in range(replicas)]
        self.replicas = [Replica(stations, scheduling, one, self.sizes, self.left) for one in decoding]
        self.arrival, self.begun, self.first, self.finish = (np.full(len(outputs), np.nan) for _ in range(4))
        self.replica = np.zeros(len(outputs), dtype=int)
        self.steps = array("d")
        self.heap: list = []
        self.dealt = self.sent = 0
        self.area = self.before = 0.0

    def run(self):
        """Everything that happens, in order of time."""
        self._send_first()
        happens = {ARRIVAL: self._arrive, END: self._end, START: self._start}
        present = 0
        while self.heap:
            now, what, which = heapq.heappop(self.heap)
            self.area += present * (now - self.before)
            self.before = now
            present += happens[what](now, which)
        return self._served()

    def _send_first(self):
        if self.requests.concurrency is not None:
            for _ in range(min(self.requests.concurrency, len(self.left))):
                self._send(0.0)
        else:
            self.order = np.argsort(self.requests.arrivals, kind="stable").tolist()
            self._send_next()

    def _send(self, when):
        heapq.heappush(self.heap, (when, ARRIVAL, self.sent))
        self.sent += 1

    def _send_next(self):
        if self.sent < len(self.order):
            request = self.order[self.sent]
            heapq.heappush(self.heap, (float(self.requests.arrivals[request]), ARRIVAL, request))
            self.sent += 1

    def _arrive(self, now, request):
        if self.requests.concurrency is None:
            self._send_next()
        which = self._route()
        replica = self.replicas[which]
        self.arrival[request], self.replica[request] = now, which
        replica.waiting.append(request)
        if not replica.running:
            replica.running = True
            heapq.heappush(self.heap, (now, START, which))
        return 1

    def _route(self):
        self.dealt += 1
        if self.router == "fewest":
            return min(range(len(self.replicas)), key=lambda which: self.replicas[which].present)
        return (self.dealt - 1) % len(self.replicas)

    def _start(self, now, which):
        replica = self.replicas[which]
        begun = replica.start()
        replica.running = begun is not None
        if begun is not None:
            seconds, batch, tokens, admitted = begun
            for request in admitted:
                if self.begun[request] != self.begun[request]:
                    self.begun[request] = now
            self.steps.extend((now, seconds, batch, tokens, replica.k, which))
            heapq.heappush(self.heap, (now + seconds, END, which))
        return 0

    def _end(self, now, which):
        prefilled, finished = self.replicas[which].end()
        for request in prefilled:
            if self.first[request] != self.first[request]:
                self.first[request] = now
        for request in finished:
            self.finish[request] = now
            if self.requests.concurrency is not None and self.sent < len(self.left):
                self._send(now + self.requests.think)
        heapq.heappush(self.heap, (now, START, which))
        return -len(finished)

    def _served(self):
        steps = np.array(self.steps).reshape(-1, 6).T
        return Served(
            self.arrival,
            self.begun,
            self.first,
            self.finish,
            self.requests.outputs,
            self.replica,
            steps[0],
            steps[1],
            *(column.astype(int) for column in steps[2:]),
            present_seconds=self.area,
            preempted=sum(replica.preempted for replica in self.replicas),
        )


def _depth(station):
    return station.curves.shape[1] - 1


def _kinds(stations, requests, rng):
    """The row of the survival curves that each request keeps."""
    rows = {station.curves.shape[0] for station in stations.values()} - {1}
    return rng.integers(rows.pop(), size=requests) if rows else np.zeros(requests, dtype=int)


def _rounds(curves, kinds, tokens, rng):
    """Rounds that each request takes to emit its tokens."""
    rounds, left = np.zeros(len(tokens), dtype=int), tokens.copy()
    if curves.shape[1] == 1:
        return left
    going = np.flatnonzero(left > 0)
    while len(going):
        rounds[going] += 1
        left[going] -= accepted(curves, kinds[going], rng) + 1
        going = going[left[going] > 0]
    return rounds


def _check(stations, requests, scheduling, replicas, router):
    if not isinstance(requests, Requests):
        raise ValueError(f"requests: found {shown(requests)}, expected Requests")
    whole("replicas", replicas, 1)
    if router not in ROUTERS:
        raise ValueError(f"router: found {router!r}, expected one of {', '.join(ROUTERS)}")
    depths = {k for _, _, k in scheduling.schedule} if scheduling.schedule else set(stations)
    if not depths <= set(stations) or (scheduling.schedule is None and len(stations) > 1):
        raise ValueError(f"station: found depths {sorted(stations)}, expected those of the schedule, {sorted(depths)}")
    if (scheduling.budget or scheduling.kv_tokens) and requests.prompts is None:
        raise ValueError("prompts: found None, expected tokens per prompt, as budget and kv_tokens count tokens")
    if scheduling.kv_tokens is not None:
        most = int(np.max(requests.prompts + requests.outputs)) + max(stations) + 1
        if most > scheduling.kv_tokens:
            raise ValueError(f"kv_tokens: found {scheduling.kv_tokens}, expected {most} for the longest request alone")
