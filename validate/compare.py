"""Prediction against measurement: model error, generalisation, what the gap is made of, and a verdict.

Model error asks whether the arithmetic is right: the rounds that happened, at the prices of the cost table,
against the clock. Generalisation asks whether the parameters carry over: fitted on one half of the prompts,
held against the other.
"""

import math
from dataclasses import dataclass

from specmath.cost import Pair
from specmath.estimate import Estimate, more_prompts
from validate.fit import Sample, control_ratio, measured_speedup, plain_seconds, predicted_speedup, round_times


@dataclass(frozen=True)
class Comparison:
    """One cell: a prediction with the interval the measurement should fall in, and the measurement with its own."""

    domain: str
    draft: str
    k: int
    predicted: Estimate
    measured: Estimate

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted.value / self.measured.value - 1

    @property
    def inside(self) -> bool | None:
        """Whether the predicted interval holds the measured value; None where there is no interval."""
        if math.isnan(self.predicted.low):
            return None
        return self.predicted.low <= self.measured.value <= self.predicted.high


@dataclass(frozen=True)
class ModelError:
    """Rounds at table prices against the clock, with the control's own deviation beside it."""

    domain: str
    predicted: float
    measured: float
    control: float

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class Breakdown:
    """A mean round in plain steps: tokens it emits, and what drafting, verifying and the rest cost."""

    tokens: float
    draft: float
    verify: float
    overhead: float

    @property
    def speedup(self) -> float:
        """tokens / (draft + verify + overhead)."""
        return self.tokens / (self.draft + self.verify + self.overhead)


@dataclass(frozen=True)
class Verdict:
    """What to do with one kind of text at the k that ran: use, dont_use, or measure_more (so many prompts); and why."""

    verdict: str
    k: int
    more_prompts: int | None
    speedup: Estimate
    reason: str


def model_error(domain: str, sample: Sample, cost: Pair, k: int) -> ModelError:
    """The same prompts on both sides: no acceptance is predicted here, only time."""
    return ModelError(
        domain,
        predicted_speedup(sample, cost, k=k).value,
        measured_speedup(sample).value,
        control_ratio(sample) - 1,
    )


def generalise(domain: str, draft: str, sample: Sample, cost: Pair, k: int) -> Comparison:
    """Acceptance of one half of the prompts, predicted for and measured on the other."""
    fitted_on, held_out = sample.halves()
    predicted = predicted_speedup(fitted_on, cost, k=k, ahead=len(held_out.prompts))
    return Comparison(domain, draft, k, predicted, measured_speedup(held_out))


def measured_breakdown(sample: Sample) -> Breakdown:
    """The clock's own account of a mean round, in measured plain steps.

    What a plain step spends outside its forward counts with the verification, which replaces that step:
    overhead is only what a round spends beyond it.
    """
    rounds = sample.lines
    plain = [run for p in sample.prompts for run in (p.plain, p.control)]
    step = sum(run.seconds for run in plain) / sum(run.tokens for run in plain)
    unit = step * len(rounds)
    beside = step - sum(r.verify_s for run in plain for r in run.rounds) / sum(run.tokens for run in plain)
    draft, verify = sum(r.draft_s for r in rounds), sum(r.verify_s + beside for r in rounds)
    whole = sum(p.spec.seconds for p in sample.prompts)
    tokens = sum(p.spec.tokens for p in sample.prompts) / len(rounds)
    return Breakdown(tokens, draft / unit, verify / unit, (whole - draft - verify) / unit)


def predicted_breakdown(sample: Sample, cost: Pair, k: int) -> Breakdown:
    """The cost table's account of a mean round, in the table's plain steps."""
    rounds = sample.lines
    emitted = sum(r.emitted for r in rounds)
    unit = sum(plain_seconds(r, cost, k) for r in rounds) / emitted * len(rounds)
    parts = [time for p in sample.prompts for time in round_times(p.spec, cost, k)]
    draft, verify, overhead = (sum(getattr(part, name) for part in parts) for name in ("draft", "verify", "overhead"))
    return Breakdown(emitted / len(rounds), draft / unit, verify / unit, overhead / unit)


def gap(predicted: Breakdown, measured: Breakdown) -> dict[str, float]:
    """log(predicted / measured speedup) split into its four causes, which add up to it exactly.

    The logarithm of the tokens is acceptance's share; that of the round time is shared by its parts in
    proportion to their differences.
    """
    parts = ("draft", "verify", "overhead")
    ours, theirs = (sum(getattr(b, part) for part in parts) for b in (predicted, measured))
    per_step = 1 / ours if ours == theirs else math.log(theirs / ours) / (theirs - ours)
    shares = {part: (getattr(measured, part) - getattr(predicted, part)) * per_step for part in parts}
    return {"acceptance": math.log(predicted.tokens / measured.tokens), **shares}


def dominant_term(sample: Sample) -> str:
    """The one term whose repair would gain most: acceptance, draft, verify or overhead.

    Repair means every drafted token accepted, or that term of the round time at its floor (one plain step
    for the verification, nothing for the others).
    """
    b = measured_breakdown(sample)
    total = b.draft + b.verify + b.overhead
    gains = {
        "acceptance": 1 + sum(r.drafted - r.accepted for r in sample.lines) / sum(r.emitted for r in sample.lines),
        "draft": total / (total - b.draft),
        "verify": total / (total - max(b.verify - 1, 0)),
        "overhead": total / (total - max(b.overhead, 0)),
    }
    return max(gains, key=gains.__getitem__)


def decide(sample: Sample, k: int) -> Verdict:
    """USE, DON'T USE or MEASURE MORE of the k that ran for one sample, by the interval of its measured speedup.

    A difference from 1 that is smaller than the control's own deviation is noise and decides nothing.
    """
    speedup = measured_speedup(sample)
    noise = abs(control_ratio(sample) - 1)
    decided = not speedup.low <= 1 <= speedup.high and not math.isnan(speedup.low) and abs(speedup.value - 1) > noise
    if not decided:
        return Verdict("measure_more", k, more_prompts(speedup, 1.0) or None, speedup, _undecided(speedup, noise))
    if speedup.value < 1:
        return Verdict("dont_use", 0, 0, speedup, _account(sample))
    return Verdict("use", k, 0, speedup, _account(sample))


def _undecided(speedup: Estimate, noise: float) -> str:
    if math.isnan(speedup.low):
        return f"there is no interval ({speedup.method})"
    if speedup.low <= 1 <= speedup.high:
        return f"the {speedup.level:.0%} interval {speedup.low:.2f} to {speedup.high:.2f} holds 1"
    return f"plain against plain differed by {noise:.1%} in the same run, no less than this"


def _account(sample: Sample) -> str:
    b = measured_breakdown(sample)
    dominant = dominant_term(sample)
    cost = f"{b.draft + b.verify + b.overhead:.2f} plain steps"
    parts = f"verify {b.verify:.2f}, draft {b.draft:.2f}, overhead {b.overhead:z.2f}"
    return f"a round emits {b.tokens:.2f} tokens and costs {cost} ({parts}); most would be gained in {dominant}"
