"""One replica of `events`: what waits, what is in its prefill, what decodes, and how long the next iteration takes."""

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from specmath.draft import whole


@dataclass(frozen=True)
class Scheduling:
    """How a replica fills an iteration.

    prefills   whole prompts in one iteration at most; None any number
    budget     tokens of one iteration, of which every sequence that decodes takes k + 1 and prefills the rest, in
               chunks; None: prompts are prefilled whole
    alone      prefills run in iterations of their own, and first: nothing decodes meanwhile
    kv_tokens  tokens whose keys and values fit; who does not fit is preempted, latest first, and starts over with
               a prefill of all it has; None any number
    schedule   rows [lo, hi, k]: the depth while lo..hi sequences decode, the last row also beyond; None: one depth
    """

    prefills: int | None = None
    budget: int | None = None
    alone: bool = False
    kv_tokens: int | None = None
    schedule: tuple | None = None

    def __post_init__(self):
        for name in ("prefills", "budget", "kv_tokens"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), 1)

    def depth(self, batch):
        """The depth of an iteration in which so many decode."""
        return next((k for _, high, k in self.schedule if batch <= high), self.schedule[-1][2])


class Countdown:
    """Sequences that decode at one depth, by the iteration in which each is finished: a heap."""

    def __init__(self, rounds):
        self.rounds, self.heap, self.iteration = rounds, [], 0

    def __len__(self):
        return len(self.heap)

    def join(self, request):
        heapq.heappush(self.heap, (self.iteration + self.rounds[request], request))

    def advance(self, k):
        """Those that one more iteration finishes."""
        self.iteration += 1
        finished = []
        while self.heap and self.heap[0][0] <= self.iteration:
            finished.append(heapq.heappop(self.heap)[1])
        return finished


class Progress:
    """Sequences that decode, by the tokens each has left, where the depth changes or one may be preempted."""

    def __init__(self, left, curves, kinds, rng):
        self.left, self.curves, self.kinds, self.rng = left, curves, kinds, rng
        self.ids = np.empty(0, dtype=int)

    def __len__(self):
        return len(self.ids)

    def join(self, request):
        self.ids = np.append(self.ids, request)

    def leave_last(self):
        """Takes out the one that joined last."""
        last, self.ids = int(self.ids[-1]), self.ids[:-1]
        return last

    def advance(self, k):
        """Those that one more iteration finishes."""
        self.left[self.ids] -= accepted(self.curves[k], self.kinds[self.ids], self.rng) + 1
        done = self.left[self.ids] <= 0
        finished = self.ids[done].tolist()
        self.left[finished] = 0
        self.ids = self.ids[~done]
        return finished


def accepted(curve, kinds, rng):
    """Accepted lengths of one round each, by inversion of uniforms; the rows of the curve are the kinds of prompts."""
    if curve.shape[1] == 1:
        return np.zeros(len(kinds), dtype=int)
    return (rng.random(len(kinds))[:, None] < curve[kinds, 1:]).sum(axis=1)


class Replica:
    """Waiting room, prefills and batch of one replica; `start` an iteration, then `end` it."""

    def __init__(self, stations, scheduling, decoding, sizes, left):
        self.stations, self.scheduling, self.decoding = stations, scheduling, decoding
        self.sizes, self.left, self.outputs = sizes, left, left.copy()
        self.waiting: deque = deque()
        self.prefilling: list = []  # [request, tokens still to do], in order
        self.running = False
        self.preempted = 0
        self.finishing: list = []  # requests whose prefill the iteration at hand completes
        self.k = min(stations)
        self.per_token = {k: station.prefill / float(np.mean(sizes)) for k, station in stations.items()}
        self.bound = min(station.max_batch for station in stations.values())

    @property
    def present(self):
        """Requests that are here and not finished."""
        return len(self.waiting) + len(self.prefilling) + len(self.decoding)

    def start(self):
        """(seconds, sequences that decode, prefill tokens, requests admitted) of the next iteration; None if idle."""
        if self.scheduling.schedule is not None:
            self.k = self.scheduling.depth(max(1, len(self.decoding)))
        admitted = [] if self._preempt() else self._admit()
        tokens = self._chunks()
        self.batch = 0 if self.scheduling.alone and tokens else len(self.decoding)
        if not tokens and not self.batch:
            return None
        seconds = self.per_token[self.k] * tokens
        if self.batch:
            seconds += self.stations[self.k].times[self.batch - 1]
        return seconds, self.batch, tokens, admitted

    def end(self):
        """(requests whose prefill is done, requests finished) as the iteration ends."""
        finished = self.decoding.advance(self.k) if self.batch else []
        prefilled, self.finishing = self.finishing, []
        for request in prefilled:
            self.left[request] -= 1
            if self.left[request] > 0:
                self.decoding.join(request)
            else:
                finished.append(request)
        return prefilled, finished

    def _admit(self):
        """Takes in from the waiting room whom there is a place for."""
        admitted: list = []
        limit = self.scheduling.prefills or math.inf
        while self.waiting and len(self.decoding) + len(self.prefilling) < self.bound and len(admitted) < limit:
            request = self.waiting[0]
            size = int(self.sizes[request] + self.outputs[request] - self.left[request])
            if self.scheduling.kv_tokens and self._kept() + size + self._ahead(1) > self.scheduling.kv_tokens:
                break
            self.prefilling.append([self.waiting.popleft(), size])
            admitted.append(request)
        return admitted

    def _chunks(self):
        """Tokens that this iteration prefills; whom it completes goes to `finishing`."""
        room = math.inf if self.scheduling.budget is None else self.scheduling.budget - self._ahead(0)
        tokens = 0
        while self.prefilling and room > 0:
            chunk = min(room, self.prefilling[0][1])
            self.prefilling[0][1] -= chunk
            tokens, room = tokens + chunk, room - chunk
            if self.prefilling[0][1] == 0:
                self.finishing.append(self.prefilling.pop(0)[0])
        return tokens

    def _preempt(self):
        """Whether sequences had to give way to the tokens of the next iteration."""
        before = self.preempted
        while (
            self.scheduling.kv_tokens
            and len(self.decoding) > 1
            and self._kept() + self._ahead(0) > self.scheduling.kv_tokens
        ):
            self.waiting.appendleft(self.decoding.leave_last())
            self.preempted += 1
        return self.preempted > before

    def _ahead(self, more):
        return (len(self.decoding) + more) * (self.k + 1)

    def _kept(self):
        """Tokens whose keys and values are held, those of prefills as a whole."""
        ids = np.append(self.decoding.ids, [request for request, _ in self.prefilling]).astype(int)
        return int(np.sum(self.sizes[ids] + self.outputs[ids] - self.left[ids]))
