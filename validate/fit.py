"""From a trace to parameters with intervals: acceptance, block efficiency, and the speedup that happened.

A sample is a set of prompts, each decoded by every arm; whatever is resampled or clustered, it is whole prompts.
Decode seconds start at the first token: the prefill and the token it makes belong to no round and to no ratio.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from specmath.acceptance import Empirical, Geometric, HitMiss, Law, NotIdentifiable, Rounds
from specmath.cost import Pair, RoundTime
from specmath.draft import Chain
from specmath.estimate import Estimate, alpha, quotient, ratio
from specmath.estimate import fit as fit_law
from specmath.estimate import speedup as speedup_of_totals
from validate.lines import RoundLine
from validate.trace import Trace
from validate.workload import halves

EVERYTHING = "all"  # the name of all domains together


@dataclass(frozen=True)
class Run:
    """One prompt in one arm: decoded tokens after the first, their seconds, and the rounds that made them."""

    tokens: int
    seconds: float
    rounds: tuple[RoundLine, ...]


@dataclass(frozen=True)
class PromptRuns:
    """One prompt in all its arms; `control` is the second plain run."""

    prompt: str
    domain: str
    plain: Run
    control: Run
    spec: Run


@dataclass(frozen=True)
class Sample:
    """Prompts that every arm has finished, with the acceptance rule they ran under."""

    prompts: tuple[PromptRuns, ...]
    rule: str

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains in order of first appearance."""
        return tuple(dict.fromkeys(p.domain for p in self.prompts))

    def of(self, domain: str) -> "Sample":
        """The prompts of one domain."""
        return Sample(tuple(p for p in self.prompts if p.domain == domain), self.rule)

    def halves(self) -> tuple["Sample", "Sample"]:
        """Every other prompt of each domain to fit on; the rest held out."""
        fit_on, held_out = halves(self.prompts)
        return Sample(tuple(fit_on), self.rule), Sample(tuple(held_out), self.rule)

    @property
    def lines(self) -> list[RoundLine]:
        """The rounds of the speculative arm."""
        return [r for p in self.prompts for r in p.spec.rounds]

    @property
    def rounds(self) -> Rounds:
        """What the speculative arm says about acceptance."""
        return observed(self.lines, self.rule)


@dataclass(frozen=True)
class Fitted:
    """What rounds say about acceptance, with intervals by prompt; None for what `missing` says they cannot.

    survival holds S_0 to S_k, None beyond the last position that was tested; hit is the share of rounds that
    drafted anything. block_efficiency is that of every round; `rounds` counts those that `observed` keeps.
    """

    law: Law | None
    alpha: Estimate | None
    block_efficiency: Estimate | None
    survival: tuple[float | None, ...]
    hit: float
    rounds: int
    drafted: int
    accepted: int
    missing: tuple[NotIdentifiable, ...]


def sample_of(trace: Trace) -> Sample:
    """The prompts of a trace that every arm has finished, and that went on after their first token."""
    rounds: dict[tuple, list[RoundLine]] = defaultdict(list)
    for line in trace.rounds:
        rounds[line.prompt, line.arm, line.repeat].append(line)
    runs = {
        (d.prompt, d.arm, d.repeat): Run(d.tokens_out - 1, d.seconds, tuple(rounds[d.prompt, d.arm, d.repeat]))
        for d in trace.done
    }
    domains = {line.prompt: line.domain for line in trace.prompts}
    arms = (("plain", 0), ("plain", 1), ("spec", 0))
    return Sample(
        tuple(
            PromptRuns(prompt, domain, *(runs[prompt, *arm] for arm in arms))
            for prompt, domain in domains.items()
            if all((prompt, *arm) in runs and runs[prompt, *arm].tokens for arm in arms)
        ),
        trace.header.rule,
    )


def observed(lines: Iterable[RoundLine], rule: str) -> Rounds:
    """Rounds of a trace as observations of acceptance; one that had room for its one token only is none."""
    kept = [(r.prompt, r.drafted, r.accepted) for r in lines if r.drafted or r.end != "budget"]
    prompt, drafted, accepted = zip(*kept, strict=True) if kept else ((), (), ())
    return Rounds(prompt, drafted, accepted, rule=rule)


def tokens_per_round(lines: Iterable[RoundLine], k: int) -> Estimate:
    """sum of emitted / rounds: nothing behind EOS was emitted, whatever was accepted there."""
    tokens: dict[str, int] = defaultdict(int)
    rounds: dict[str, int] = defaultdict(int)
    for line in lines:
        tokens[line.prompt] += line.emitted
        rounds[line.prompt] += 1
    return ratio(list(tokens.values()), list(rounds.values()), method="tokens / rounds", bounds=(1.0, 1.0 + k))


def fit(lines: Sequence[RoundLine], rule: str, k: int) -> Fitted:
    """Law and intervals of ordered rounds: HitMiss where some rounds drafted nothing, else Geometric."""
    rounds = observed(lines, rule)
    tally = rounds.tally(k)
    missing: list[NotIdentifiable] = []

    def identified(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except NotIdentifiable as gap:
            if gap.missing not in [other.missing for other in missing]:
                missing.append(gap)

    kind = HitMiss if np.any(np.asarray(rounds.drafted) == 0) else Geometric
    return Fitted(
        law=identified(lambda: fit_law(kind, tally).law),
        alpha=identified(lambda: alpha(tally)),
        block_efficiency=identified(lambda: tokens_per_round(lines, k)),
        survival=tuple(identified(partial(Empirical(tally).survival, i)) for i in range(k + 1)),
        hit=float(np.mean(np.asarray(rounds.drafted) > 0)) if len(rounds.drafted) else math.nan,
        rounds=len(rounds.drafted),
        drafted=int(np.sum(rounds.drafted)),
        accepted=int(np.sum(rounds.accepted)),
        missing=tuple(missing),
    )


def measured_speedup(sample: Sample) -> Estimate:
    """Plain seconds per token over speculative seconds per token, totals; both plain runs count."""
    plain_tokens = [p.plain.tokens + p.control.tokens for p in sample.prompts]
    plain_seconds = [p.plain.seconds + p.control.seconds for p in sample.prompts]
    seconds, tokens = [p.spec.seconds for p in sample.prompts], [p.spec.tokens for p in sample.prompts]
    return speedup_of_totals(plain_seconds, plain_tokens, seconds, tokens)


def control_ratio(sample: Sample) -> float:
    """Plain against plain again, measured the same way: what a difference of nothing looks like here."""
    first, again = ([getattr(p, arm) for p in sample.prompts] for arm in ("plain", "control"))
    return _seconds_per_token(first) / _seconds_per_token(again)


def predicted_speedup(sample: Sample, cost: Pair, *, k: int, ahead: int = 0) -> Estimate:
    """The sample's rounds, each cut at k drafts, at the cost table's prices instead of the clock's.

    speedup = sum over rounds of emitted x step / sum over rounds of round time, a round without a draft
    costing a step. With `ahead` prompts to come the interval is one for THEIR ratio, not for the mean.
    """
    plain = [sum(plain_seconds(r, cost, k) for r in p.spec.rounds) for p in sample.prompts]
    spec = [sum(time.total for time in round_times(p.spec, cost, k)) for p in sample.prompts]
    return quotient([plain], [spec], ahead=ahead)


def plain_seconds(line: RoundLine, cost: Pair, k: int) -> float:
    """What plain decoding would pay for the tokens of a round cut at k drafts."""
    return min(line.emitted, k + 1) * cost.step(batch=1, context=line.context)


def round_times(run: Run, cost: Pair, k: int) -> list[RoundTime]:
    """What the table asks for the rounds of a run cut at k drafts.

    A draft model has not read its own last token when all its drafts were accepted: the round after that
    begins with a draft forward over two tokens instead of one.
    """
    full = [False, *(0 < min(r.drafted, k) <= r.accepted for r in run.rounds[:-1])]
    return [_round_time(r, cost, k, caught_up=not late) for r, late in zip(run.rounds, full, strict=False)]


def _round_time(line: RoundLine, cost: Pair, k: int, *, caught_up: bool) -> RoundTime:
    time = cost.round(Chain(min(line.verified, k)), batch=1, context=line.context)
    if not line.verified:
        return replace(time, overhead=0.0)
    if cost.draft is None or caught_up:
        return time
    one, two = (cost.draft.seconds(n, batch=1, context=line.context) for n in (1, 2))
    return replace(time, draft=time.draft + two - one)


def _seconds_per_token(runs: Iterable[Run]) -> float:
    runs = list(runs)
    return sum(r.seconds for r in runs) / sum(r.tokens for r in runs)
