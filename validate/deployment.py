"""A plan as an engine sees it, the versions an engine is known in, and text that a shell takes as it stands."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

METHODS = ("draft_model", "eagle", "eagle3", "mtp", "ngram")
OWN_WEIGHTS = ("draft_model", "eagle", "eagle3")
LOSSY = ("lossy", "synthetic")
LONGEST, SHORTEST = 3, 2  # the n-grams that prompt lookup matches, as in `validate.drafters.Lookup`
IDLE = "Speculation that is on with k = 0 is not free: vllm-project/vllm 49548 measured 6.6 to 21.6 percent."
ARGMAX = "drafts the most likely token and accepts it with the probability the target gives it"

Run = tuple[int, int, int]


@dataclass(frozen=True)
class Deployment:
    """What flags are written from; `runs` are (first batch, last batch, k), without a gap from 1 to `max_batch`.

    >>> from types import SimpleNamespace as Some
    >>> choice = Some(k=3, method="mtp", draft=None, target="org/model", law=None)
    >>> schedule = [(1, 4, 3), (5, 8, 3), (17, None, 0)]
    >>> plan = Some(choice=choice, schedule=schedule, max_batch=64, tp=1, draft_tp=1, max_context=None, capture=None)
    >>> Deployment.of(plan).runs
    ((1, 16, 3), (17, 64, 0))
    """

    target: str | None
    draft: str | None
    method: str | None
    k: int
    runs: tuple[Run, ...]
    max_batch: int
    tp: int
    draft_tp: int
    context: int | None
    capture: int | None
    rule: str

    @classmethod
    def of(cls, plan: Any) -> Self:
        """Read a plan; ValueError in one line where no engine could run it."""
        choice = plan.choice
        k = 0 if choice is None else int(choice.k)
        for name in ("max_batch", "tp"):
            if getattr(plan, name) < 1:
                raise ValueError(f"{name}: found {getattr(plan, name)}, expected at least 1")
        found = cls(
            target=_name("target", getattr(choice, "target", None)),
            draft=_name("draft", getattr(choice, "draft", None)),
            method=getattr(choice, "method", None),
            k=k,
            runs=_runs(plan.schedule, k, int(plan.max_batch)),
            max_batch=int(plan.max_batch),
            tp=int(plan.tp),
            draft_tp=int(plan.draft_tp),
            context=plan.max_context and int(plan.max_context),
            capture=plan.capture and int(plan.capture),
            rule=getattr(getattr(choice, "law", None), "rule", "unknown"),
        )
        if not found.off:
            found._check_draft()
        return found

    @property
    def off(self) -> bool:
        """Nothing is drafted at the planned load, or at any load."""
        return self.k == 0 or self.deepest == 0

    @property
    def deepest(self) -> int:
        """The largest k at any batch."""
        return max(k for _, _, k in self.runs)

    @property
    def varies(self) -> bool:
        """More than one k over the batches."""
        return len(self.runs) > 1

    @property
    def zeros(self) -> str:
        """Batches at which nothing is drafted, in words; empty where there are none."""
        return " and ".join(_span(low, high) for low, high, k in self.runs if k == 0)

    @property
    def spelled(self) -> str:
        """The schedule in words."""
        return ", ".join(f"k = {k} at batch {_span(low, high)}" for low, high, k in self.runs)

    @property
    def model(self) -> str:
        """The target as a word of a shell, a variable where the plan names none."""
        return shlex.quote(self.target) if self.target else '"$MODEL"'

    def offered_by(self, engine: str, names: dict[str, str]) -> str:
        """What the engine calls the method; ValueError where it has no such thing."""
        if str(self.method) not in names:
            raise ValueError(f"method: found {self.method!r}, expected one of {', '.join(names)} for {engine}")
        return names[str(self.method)]

    def common_notes(self) -> list[str]:
        """What holds for every engine."""
        notes = [] if self.target else ["Set MODEL to the target first."]
        if self.off and self.deepest:
            return [*notes, f"Speculation is off at the planned load, so it is left out. The plan has {self.spelled}."]
        if self.off:
            return [*notes, "Speculation is off at every load, so it is left out altogether."]
        return notes

    def idle_notes(self) -> list[str]:
        """What a schedule costs where it drafts nothing, for an engine that can follow one."""
        return [IDLE] * bool(self.varies and self.zeros)

    def rule_notes(self, engine: str, *same: str) -> list[str]:
        """What to expect where the acceptance was not measured under the rule that the engine runs."""
        if self.rule in LOSSY:
            return [f"The prediction assumed a {self.rule} acceptance, and no lossy option is written: expect less."]
        if self.off or self.method == "ngram" or self.rule in ("one_hot", *same):
            return []
        if self.rule == "unknown":
            return [f"The prediction takes its acceptance as given. Above temperature 0 {engine} {ARGMAX}."]
        return [f"The prediction assumed the rule {self.rule}. Above temperature 0 {engine} {ARGMAX}: measure again."]

    def lookup_notes(self) -> list[str]:
        """What prompt lookup was taken to be, where it is what drafts."""
        sizes = f"Prompt lookup matches {LONGEST} tokens, then {SHORTEST}, as far as the engine has options for it."
        return [sizes] * (self.method == "ngram" and not self.off)

    def _check_draft(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: found {self.method!r}, expected one of {', '.join(METHODS)} for k = {self.k}")
        if self.method in OWN_WEIGHTS and not self.draft:
            raise ValueError(f"draft: found none, expected a model id or a path for the method {self.method}")
        if self.method != "ngram" and self.draft_tp not in (1, self.tp):
            raise ValueError(f"draft_tp: found {self.draft_tp}, expected 1 or that of the target, {self.tp}")


def release(engine: str, version: str | None, first: str, described: str) -> tuple[int, ...]:
    """The numbers of a version that is known; ValueError saying which are.

    >>> release("vllm", "v0.30.1", "0.28", "0.33")
    (0, 30, 1)
    """
    found = re.fullmatch(r"v?(\d+(?:\.\d+)*)(?:[-+.]?[a-z].*)?", str(version or described).strip().lower())
    numbers = _numbers(found[1]) if found else ()
    above = _numbers(first) <= numbers[: first.count(".") + 1]
    if not (above and numbers[: described.count(".") + 1] <= _numbers(described)):
        raise unknown_version(engine, version, f"{first} to {described}")
    return numbers


def unknown_version(engine: str, version: str | None, known: str) -> ValueError:
    """The one line for a version whose options are not known."""
    return ValueError(f"{engine} version: found {version!r}, expected {known}: options change their names in between")


def option(name: str, value: object) -> str:
    """An option and its value, quoted for a shell."""
    return f"{name} {shlex.quote(str(value))}"


def command(words: Iterable[str]) -> str:
    """One command over several lines."""
    return " \\\n    ".join(words)


def text(notes: Sequence[str], *blocks: str) -> str:
    """Notes as comments above what is to be pasted."""
    return "\n".join([*(f"# {note}" for note in notes), *blocks]) + "\n"


def _name(what: str, name: str | None) -> str | None:
    """A name that cannot end the line it stands in."""
    if name is not None and not (name and name.isprintable()):
        raise ValueError(f"{what}: found {name!r}, expected a model id or a path without control characters")
    return name


def _runs(schedule: Iterable[Sequence[Any]], k: int, max_batch: int) -> tuple[Run, ...]:
    """Ranges clipped to the batches there are; a gap and what follows the last inherit, equal neighbours are one."""
    runs: list[Run] = []
    given, expected = list(schedule), 1
    ranges = [(int(low), max_batch if high is None else int(high), int(depth)) for low, high, depth in given]
    for low, high, depth in ranges or [(1, max_batch, k)]:
        if (low != 1 if not runs else low < expected) or (high < low <= max_batch) or depth < 0:
            raise ValueError(f"schedule: found {given}, expected ranges from batch 1 upwards with k >= 0")
        expected = high + 1
        if low > max_batch:
            break
        if runs and runs[-1][2] != depth:
            runs[-1] = (runs[-1][0], low - 1, runs[-1][2])
        if not runs or runs[-1][2] != depth:
            runs.append((low, max_batch, depth))
    return tuple(runs)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
