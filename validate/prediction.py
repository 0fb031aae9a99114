"""The speedups of every cell, predicted from scored texts and costs before anything is drafted, and written down.

The file names what it was made from: beside other texts, scores or costs it is read no more.

A prediction's interval is one for what the run will measure on the same prompts. Four things part the two:

    table      medians over sweeps: sweeps drawn again, all cells of a sweep together
    sweeps     the state of the machine, text by text: S^2 sum w^2, S the spread of what the sweeps say one by one
    run        the clock beside the table, e = log(plain seconds / priced seconds) text by text, s its spread. A cell
               decodes P texts once and plain decoding twice: s^2 (1 + 1/2) sum w^2, w the texts' shares of the seconds
    level      the median of e: what the table misses of plain decoding it may miss of a round

and where the target samples, acceptance. The texts of the run are others than those that were scored, so that the
spread by text counts twice: within its kind, since the kinds are as many again; what parts the prompts of a kind stays
in it, which one text a prompt cannot tell. A kind whose texts show no spread, or a single one, borrows that of all
texts. And the coins of the run, whose variance given a text replay knows.

The variances add up, each with its own degrees of freedom. S and s are Qn: one text written while the machine was busy
with something else says nothing of the others.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from specmath.cost import Pair
from specmath.estimate import Estimate, quotient
from specmath.intervals import student
from specmath.replay import Replay
from specmath.spread import QN_FREEDOM, half_width, qn
from validate import folder as files
from validate.compare import Breakdown
from validate.costs import FILE as COSTS
from validate.costs import Costs
from validate.document import nulled
from validate.fit import EVERYTHING
from validate.pricing import Parts, priced
from validate.scores import FILE as SCORES
from validate.scores import DraftScores
from validate.texts import FILE as TEXTS
from validate.texts import Text

FORMAT, VERSION, FILE = "specmath.prediction", 2, "prediction.json"
SOURCES = (TEXTS, SCORES, COSTS)
REDRAWN, LEVEL = 400, 0.95
KNOWN = 1e9  # degrees of freedom of a variance that is computed, not estimated
METHOD = "replayed rounds at table prices; interval for a run on the same prompts"
Part = tuple[float, float]  # a variance and its degrees of freedom


@dataclass(frozen=True)
class Forecast:
    """One cell: the speedup with the interval that a run should fall in, and its mean round in plain steps."""

    domain: str
    draft: str
    k: int
    speedup: Estimate
    breakdown: Breakdown


@dataclass(frozen=True)
class Prediction:
    """Forecasts by domain, "all" among them, draft and k, and when they were made."""

    forecasts: tuple[Forecast, ...]
    made: str

    def of(self, domain: str, draft: str, k: int) -> Forecast:
        """One forecast; ValueError where there is none."""
        for forecast in self.forecasts:
            if (forecast.domain, forecast.draft, forecast.k) == (domain, draft, k):
                return forecast
        raise ValueError(f"prediction: found none of {draft} with k = {k} on {domain}, expected one: start anew")


def predict(
    texts: Sequence[Text], drafts: Sequence[DraftScores], costs: Costs, ks: Sequence[int], *, greedy: bool
) -> Prediction:
    """Price the replayed rounds of every draft at every k; by domain and in all."""
    domains = [*dict.fromkeys(text.domain for text in texts), EVERYTHING]
    forecasts = []
    for draft in drafts:
        for k in ks:
            prices = _Prices(texts, draft, costs, k)
            forecasts += [prices.forecast(domain, greedy=greedy) for domain in domains]
    return Prediction(tuple(forecasts), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")


def write(folder: pathlib.Path, found: Prediction) -> None:
    """The prediction as a file, whole or not at all, with the sha256 of the files beside it that it was made from."""
    record = {"format": FORMAT, "version": VERSION, "sources": _sources(folder), **nulled(asdict(found))}
    files.write(folder, FILE, json.dumps(record, allow_nan=False, indent=1).encode())


def read(folder: pathlib.Path) -> Prediction:
    """The prediction of a folder; ValueError where it is none of this version, or of other texts, scores or costs."""
    try:
        found = json.loads((folder / FILE).read_text())
        known = (found.pop("format"), found.pop("version"))
    except (ValueError, KeyError, TypeError):
        known = ("nothing", 0)
    if known != (FORMAT, VERSION):
        found_that = f"found {known[0]} version {known[1]}, expected {FORMAT} version {VERSION}"
        raise ValueError(f"{folder / FILE}: {found_that}: start anew")
    was, now = found.pop("sources"), _sources(folder)
    for name in SOURCES:
        if was.get(name) != now.get(name):
            raise ValueError(f"{folder / FILE}: found one that was made from another {name}, expected this: start anew")
    return Prediction(**found | {"forecasts": tuple(map(_forecast, found["forecasts"]))})


def _sources(folder: pathlib.Path) -> dict[str, str]:
    paths = [folder / name for name in SOURCES]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}


class _Prices:
    """One draft at one k: seconds by text at the table's prices, and at those of redrawn sweeps."""

    def __init__(self, texts: Sequence[Text], draft: DraftScores, costs: Costs, k: int) -> None:
        self.texts, self.draft, self.k = texts, draft, k
        self._replay, self._costs = Replay(draft.ratios), costs
        self.parts = self._priced(costs.pair(draft.name))

    def forecast(self, domain: str, *, greedy: bool) -> Forecast:
        """Of the texts of one domain, or of all."""
        at = np.array([domain in (EVERYTHING, text.domain) for text in self.texts])
        plain, seconds = self.parts.plain[at], self.parts.seconds[at]
        value = float(plain.sum() / seconds.sum())
        parts = [self._table(at), self._sweeps(at), self._run(at), self._level()]
        if not greedy:
            parts += [*self._acceptance(at), self._coins(at)]
        half = half_width(parts, LEVEL)
        low, high = value * math.exp(-half), value * math.exp(half)
        speedup = Estimate(value, low, high, LEVEL, int(at.sum()), METHOD)
        return Forecast(domain, self.draft.name, self.k, speedup, self._breakdown(at))

    def _priced(self, pair: Pair) -> Parts:
        return priced(self._replay, self.draft, self.texts, pair, self.k)

    def _under(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Seconds [R, P] of plain decoding and of the rounds under R tables, times [R, cells].

        Both are linear in the table's cells, so that one price for each cell's change gives them all.
        """
        change = times / self._base - 1
        plain, spec = self._slopes
        return self.parts.plain + change @ plain, self.parts.seconds + change @ spec

    @cached_property
    def _times(self) -> np.ndarray:
        """Seconds [sweeps, cells]."""
        return np.stack(list(self._costs.times().values()), axis=1)

    @property
    def _base(self) -> np.ndarray:
        return np.median(self._times, axis=0)

    @cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        plain, spec = zip(*(self._slope(cell) for cell in self._costs.times()), strict=True)
        return np.stack(plain), np.stack(spec)

    @cached_property
    def _redrawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Under tables of the sweeps drawn again."""
        draws = np.random.default_rng(0).integers(len(self._times), size=(REDRAWN, len(self._times)))
        return self._under(np.median(self._times[draws], axis=1))

    def _slope(self, cell: Any) -> tuple[np.ndarray, np.ndarray]:
        """What doubling the time of one cell adds to the seconds of each text."""
        parts = self._priced(self._costs.doubled(cell).pair(self.draft.name))
        return parts.plain - self.parts.plain, parts.seconds - self.parts.seconds

    def _table(self, at: np.ndarray) -> Part:
        plain, spec = (side[:, at].sum(axis=1) for side in self._redrawn)
        return float(np.var(np.log(plain / spec), ddof=1)), len(self._times) - 1

    def _sweeps(self, at: np.ndarray) -> Part:
        plain, spec = (side[:, at].sum(axis=1) for side in self._under(self._times))
        return _robust(np.log(plain / spec), self._unshared(at))

    def _run(self, at: np.ndarray) -> Part:
        return _robust(self._beside, 1.5 * self._unshared(at))

    def _unshared(self, at: np.ndarray) -> float:
        """What is left of a text's variance in the total of several: the sum of the squares of their shares."""
        share = self.parts.seconds[at] / self.parts.seconds[at].sum()
        return float(np.sum(share**2))

    @cached_property
    def _beside(self) -> np.ndarray:
        """log(seconds that a text took to write / its price), of the texts whose seconds are known."""
        known = [
            (text.seconds, price) for text, price in zip(self.texts, self.parts.plain, strict=True) if text.seconds
        ]
        return np.array([math.log(seconds / price) for seconds, price in known])

    def _level(self) -> Part:
        return float(np.median(self._beside)) ** 2, len(self._beside) - 1

    def _acceptance(self, at: np.ndarray) -> list[Part]:
        """Relative variance of the quotient over texts of each kind, those scored and as many to come."""
        domains = np.array([text.domain for text in self.texts])
        every, seconds = self._by_text(at | True), self.parts.seconds
        parts = []
        for domain in np.unique(domains[at]):
            mine = domains == domain
            own = self._by_text(mine)
            variance, freedom = own if own[0] > 0 else every
            share = seconds[mine].sum() / seconds[at].sum()
            parts.append((2 * share**2 * variance / mine.sum(), freedom))
        return parts

    def _by_text(self, which: np.ndarray) -> Part:
        """Relative variance that one text gives the quotient; NaN for one text or without a spread."""
        found, texts = quotient([self.parts.plain[which]], [self.parts.seconds[which]], LEVEL), int(which.sum())
        error = found.half_width / student(LEVEL, texts) / found.value if texts > 1 else math.nan
        return texts * error**2, texts - 1

    def _coins(self, at: np.ndarray) -> Part:
        """Relative variance of the seconds given the texts: that of their rounds, each at its text's mean price."""
        price = self.parts.seconds[at] / self.parts.rounds[at]
        variance = float(np.sum(self._replay.variance(self.k)[at] * price**2))
        return variance / float(self.parts.seconds[at].sum()) ** 2, KNOWN

    def _breakdown(self, at: np.ndarray) -> Breakdown:
        tokens = sum(text.tokens for text, chosen in zip(self.texts, at, strict=True) if chosen)
        rounds, plain = self.parts.rounds[at].sum(), self.parts.plain[at].sum()
        unit = plain / tokens * rounds
        shares = (float(getattr(self.parts, part)[at].sum() / unit) for part in ("draft", "verify", "overhead"))
        return Breakdown(float(tokens / rounds), *shares)


def _robust(values: np.ndarray, times: float) -> Part:
    return qn(values) ** 2 * times, QN_FREEDOM * (len(values) - 1)


def _forecast(record: Mapping[str, Any]) -> Forecast:
    speedup: dict[str, Any] = {n: math.nan if value is None else value for n, value in record["speedup"].items()}
    return Forecast(**{**record, "speedup": Estimate(**speedup), "breakdown": Breakdown(**record["breakdown"])})
