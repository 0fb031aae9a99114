"""Is a decoder lossless? Takes samples and knows no model: tokens compared where greedy, a law tested where sampled.

Sampled, the verdict is a test that may be looked at after every token: wealths from bets on every context apart and on
directions pooled over all contexts are averaged, and an alarm is a wealth of 1 / false_alarm (`betting.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from validate.betting import Bins, ContextBet, PooledBet, context_wealth, mixed
from validate.directions import DRAFT, SUSPECT, Observations, directions
from validate.mismatch import Mismatch, Row, first_difference, mismatch
from validate.power import leaning_power, rising, tokens_needed
from validate.power import power as chance_of

FALSE_ALARM, TV, POWER = 0.05, 0.03, 0.9
TVS = (0.01, 0.02, 0.03, 0.05, 0.1)
CELLS = 1 << 22  # probabilities looked at at once
CONTEXTS, SHARE = "by context", 0.5  # the bet on contexts, and its part of the first wealth


@dataclass(frozen=True)
class Finding:
    """What was found: the verdict, `power` by total variation, and `needed` tokens for a pass where it cannot tell.

    `deviation` holds the worst context and how far its tokens are from its law, `found` after how many tokens the test
    failed, `leading` the bet that gained most, `drift` that the plain decoder fails as well. `leaning` is the power
    where all contexts lean towards the draft, None where nothing is known of it.
    """

    mode: str
    verdict: str
    tokens: int
    contexts: int
    false_alarm: float
    power: Mapping[float, float]
    tv: float
    ties: int
    structural: int
    faults: tuple[str, ...] = ()
    worst: tuple[Any, float] | None = None
    p_value: float | None = None
    found: int | None = None
    leading: str | None = None
    needed: int | None = None
    leaning: Mapping[float, float | None] | None = None
    drift: bool = False


class SampledTest:
    """Tokens that a decoder drew, against the law that each should have; `found` is after how many tokens it failed.

    `false_alarm` bounds the chance that a lossless decoder ever fails, whenever one looks. A token of probability 0
    is a fault that no more evidence is needed for, unless it is `tied`.
    """

    def __init__(self, *, false_alarm: float = FALSE_ALARM) -> None:
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm: found {false_alarm:g}, expected a number between 0 and 1")
        self.false_alarm = false_alarm
        self.tokens = self.ties = 0
        self.found: int | None = None
        self.faults: list[str] = []
        self._names: dict[int, int] = {}
        self._by_context = ContextBet()
        self._pooled: dict[str, PooledBet] = {}
        self._wealth: dict[str, np.ndarray] = {}
        self._towards: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._highest = 0.0

    def observe(self, seen: Observations) -> None:
        """Take in more tokens, after all those before."""
        step = max(CELLS // seen.p.shape[1], 1)
        for start in range(0, len(seen), step):
            self._observe(seen[start : start + step])

    def fault(self, what: str) -> None:
        """Something no lossless decoder does, seen by other means: the test has failed."""
        self.faults.append(what)
        self._fail(self.tokens)

    @property
    def p_value(self) -> float:
        """What a lossless decoder comes below with at most that probability, at any time."""
        return float(np.exp(-self._highest))

    @property
    def contexts(self) -> int:
        """How many different contexts were seen."""
        return len(self._names)

    @property
    def failed(self) -> bool:
        """Whether the decoder is not lossless."""
        return self.found is not None

    def finding(self, *, tv: float = TV, drifts: bool = False) -> Finding:
        """The verdict: fail, pass where a deviation of tv would have been found, else that it cannot tell.

        `drifts` says that the plain decoder fails the same test, which then tells nothing of speculation.
        """
        laws, counts, bar = self._by_context.laws, self._by_context.counts.sum(axis=1), self._bar
        power = rising({*TVS, tv}, lambda off: chance_of(counts, laws, off, bar))
        enough = power[tv] >= POWER
        verdict = "cannot_tell" if drifts or not enough else "pass"
        return Finding(
            mode="sampled",
            verdict="fail" if self.failed and not drifts else verdict,
            tokens=self.tokens,
            contexts=self.contexts,
            false_alarm=self.false_alarm,
            power=power,
            tv=tv,
            ties=self.ties,
            structural=len(self.faults),
            faults=tuple(self.faults),
            worst=self._worst(),
            p_value=self.p_value,
            found=self.found,
            leading=max(self._wealth, key=lambda name: mixed(self._wealth[name]), default=None),
            needed=None if enough else tokens_needed(counts, laws, tv, bar, POWER),
            leaning=self._leaning(list(power)),
            drift=drifts,
        )

    def _leaning(self, tvs: Sequence[float]) -> dict[float, float | None] | None:
        """The power of the bet towards the draft alone, on the tokens that were seen."""
        if not self._towards:
            return None
        pi, other, distance = (np.concatenate(parts) for parts in zip(*self._towards, strict=True))
        bar = -np.log(self.false_alarm * (1 - SHARE) / len(self._pooled))
        bins, away = Bins(pi, pi, other=other), float(distance.mean())
        near = rising([tv for tv in tvs if tv <= away], lambda tv: leaning_power(bins, away, tv, bar))
        return {tv: near.get(tv) for tv in tvs}

    @property
    def _bar(self) -> float:
        """What the bets by context alone must gain, in nats, for an alarm."""
        return -np.log(self.false_alarm * SHARE)

    def _observe(self, seen: Observations) -> None:
        kept = np.flatnonzero(self._possible(seen))
        before = self.tokens
        self.tokens += len(seen)
        if not len(kept):
            return
        wealth = self._bet(seen[kept])
        reached = np.flatnonzero(wealth >= -np.log(self.false_alarm))
        self._highest = max(self._highest, float(wealth.max()))
        if len(reached):
            self._fail(before + int(kept[reached[0]]) + 1)

    def _fail(self, after: int) -> None:
        """Failed after so many tokens, unless before."""
        self.found = after if self.found is None else min(self.found, after)

    def _possible(self, seen: Observations) -> np.ndarray:
        """Which tokens the law allows; the others are faults, or ties that nothing is bet on."""
        real = (seen.tokens >= 0) & (seen.tokens < seen.p.shape[1])
        chance = np.take_along_axis(seen.p, np.where(real, seen.tokens, 0)[:, None], axis=1)[:, 0]
        allowed = real & (chance > 0)
        tied = real & ~allowed & (False if seen.tied is None else seen.tied)
        self.ties += int(tied.sum())
        for row in np.flatnonzero(~allowed & ~tied):
            token, size = int(seen.tokens[row]), seen.p.shape[1]
            why = "has probability 0 there" if real[row] else f"is not among the {size} of the vocabulary"
            self.faults.append(f"token {self.tokens + row + 1}, id {token}, {why}")
            self._fail(self.tokens + int(row) + 1)
        return allowed

    def _bet(self, seen: Observations) -> np.ndarray:
        """Logarithm of the mixed wealth after each token."""
        law = np.asarray(seen.p, float)
        seen = seen.under(law / law.sum(axis=1, keepdims=True))
        bins = directions(seen)
        if DRAFT in seen.suspects:
            about = bins[SUSPECT + DRAFT]
            assert about.other is not None
            distance = abs(seen.suspects[DRAFT] - seen.p).sum(axis=1) / 2
            self._towards.append((about.pi, about.other, distance))
        self._pooled = self._pooled or {name: PooledBet() for name in bins}
        if bins.keys() != self._pooled.keys():
            raise ValueError(f"found the directions {sorted(bins)}, expected {sorted(self._pooled)} as before")
        numbers = np.array([self._names.setdefault(c, len(self._names)) for c in seen.contexts.tolist()])
        factors = {CONTEXTS: self._by_context.observe(numbers, seen.p, seen.tokens)}
        factors |= {name: bet.observe(bins[name]) for name, bet in self._pooled.items()}
        parts = []
        for name, gained in factors.items():
            share = SHARE if name == CONTEXTS else (1 - SHARE) / len(bins)
            path = self._wealth.get(name, 0.0) + gained.cumsum(axis=0)
            self._wealth[name] = path[-1]
            parts.append(mixed(path) + np.log(share))
        return logsumexp(parts, axis=0)

    def _worst(self) -> tuple[int, float] | None:
        """The context whose bet gained most, and the total variation of what was learned there from its law."""
        bet = self._by_context
        if not self._names:
            return None
        gains = context_wealth(bet.counts, bet.laws)
        best = int(gains.sum(axis=0).argmax())
        at = int(gains[:, best].argmax())
        return list(self._names)[at], bet.deviation(at, best)


class GreedyTest:
    """Greedy texts of a speculative decoder against the plain one's, and each of the two against itself.

    A mismatch is a tie of rounding or structural. Where the plain decoder differs from itself structurally the engine
    drifts, and speculation is blamed only if it differs significantly more often (Fisher's exact test).
    """

    def __init__(self, dtype: str, *, false_alarm: float = FALSE_ALARM) -> None:
        self.dtype, self.false_alarm = dtype, false_alarm
        self.tokens = self.texts = self.ties = 0
        self.structural = {"plain": 0, "spec": 0}
        self.compared = {"plain": 0, "spec": 0}
        self.differing = {"plain": 0, "spec": 0}
        self.faults: list[str] = []
        self._worst: tuple[Any, float] | None = None

    def compare(self, context: Any, plain: Sequence[Sequence[int]], spec: Sequence[Sequence[int]], row: Row) -> None:
        """Texts of one prompt from either decoder, one or more each; `row(prefix)` are the target's logits there."""
        self.texts += 1
        for arm, texts in (("plain", plain[1:]), ("spec", spec)):
            found = [self._judge(arm, context, mismatch(plain[0], text, row)) for text in texts]
            self.structural[arm] += sum(found)
            self.compared[arm] += len(found) > 0  # once a prompt: again is no new evidence
            self.differing[arm] += found[:1] == [True]
        shared = (first_difference(plain[0], text) for text in spec)
        self.tokens += max(len(plain[0]) if at is None else at + 1 for at in shared)  # once: again is no new evidence

    def fault(self, what: str) -> None:
        """Something no decoder may do."""
        self.faults.append(what)

    def finding(self, *, tv: float = TV) -> Finding:
        """The verdict; the power is that over one wrong token in 1 / tv, 1 - (1 - tv)^tokens."""
        wrong = self.structural["spec"]
        power = {share: 1 - (1 - share) ** self.tokens for share in sorted({*TVS, tv})}
        drift = bool(self.structural["plain"]) and self._chance() > self.false_alarm
        enough = power[tv] >= POWER
        failed = bool(self.faults) or (wrong > 0 and not drift)
        passed = enough and not wrong and not drift
        return Finding(
            mode="greedy",
            verdict="fail" if failed else "pass" if passed else "cannot_tell",
            tokens=self.tokens,
            contexts=self.texts,
            false_alarm=self.false_alarm,
            power=power,
            tv=tv,
            ties=self.ties,
            structural=wrong + len(self.faults),
            faults=tuple(self.faults),
            worst=self._worst,
            needed=None if enough else int(np.ceil(np.log(1 - POWER) / np.log(1 - tv))),
            drift=drift,
        )

    def _judge(self, arm: str, context: Any, found: Mismatch | None) -> bool:
        """Whether a text differs by no tie."""
        if found is None:
            return False
        if found.tied(self.dtype):
            self.ties += arm == "spec"
            return False
        if arm == "spec" and (self._worst is None or found.gap > self._worst[1]):
            self._worst = (context, found.gap)
        return True

    def _chance(self) -> float:
        """How likely speculation differs so often if it drifts like the plain decoder."""
        table = [[self.differing[arm], self.compared[arm] - self.differing[arm]] for arm in ("spec", "plain")]
        return float(stats.fisher_exact(table, alternative="greater").pvalue)
