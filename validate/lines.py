"""The lines of a trace: what was run, and each prompt's beginning, rounds and end; to JSON and back.

The token that the prefill produces belongs to no round, so tokens_out = 1 + sum of emitted. A round that EOS or the
budget cuts among its accepted drafts records as drafted only what it kept: those were accepted, the rest never
counted, so the round is censored and holds no rejection. Its time was spent on all that it proposed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

ARMS = ("plain", "spec")
TIE_LOGITS = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.1}  # gaps that kernels of different shapes may close
ORIGIN = "one object per line, as specmath run wrote them"
_COUNTS = {"k", "tokens_in", "index", "context", "drafted", "accepted", "emitted", "proposed", "tokens_out", "repeat"}
_TEXTS = {"prompt", "domain", "rule"}
_SECONDS = {"draft_s", "verify_s", "accept_s", "seconds", "prefill_s"}
_UNKNOWN = {"proposed", "prefill_s"}  # may be None
_KEY = {"index": "round"}

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Header:
    """What was run, and on what, as JSON values; `prompts` is the digest of the workload, if known."""

    target: str
    draft: str
    k: int
    sampler: Mapping[str, Any]
    rule: str
    seed: int
    machine: Any
    versions: Any
    prompts: str | None = None

    def __post_init__(self) -> None:
        _check_fields(self)


class _Line:
    """What the lines of one decoding share; a control is the same prompt and arm with another `repeat`."""

    type: ClassVar[str]
    prompt: str
    arm: str
    repeat: int

    @property
    def key(self) -> Key:
        """Which decoding the line belongs to."""
        return self.prompt, self.arm, self.repeat

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.arm not in ARMS:
            raise ValueError(f"arm is {self.arm!r}; expected one of {', '.join(ARMS)}")


@dataclass(frozen=True)
class PromptLine(_Line):
    """The decoding of a prompt of tokens_in tokens begins."""

    type = "prompt"

    prompt: str
    domain: str
    arm: str
    tokens_in: int
    repeat: int = 0


@dataclass(frozen=True)
class RoundLine(_Line):
    """One round: counts in tokens, times in seconds; `context` is the number of tokens committed before it.

    emitted = accepted + 1, the recovered or bonus token included; a round that its `end` cut among the
    accepted drafts has emitted = accepted = drafted, and proposed where more were drafted and verified than
    that. beta: sum_x min(p, q) at each tested draft, or None. Raises ValueError for anything else.
    """

    type = "round"

    prompt: str
    arm: str
    index: int
    context: int
    drafted: int
    accepted: int
    emitted: int
    beta: tuple[float, ...] | None
    draft_s: float
    verify_s: float
    accept_s: float
    end: str | None
    repeat: int = 0
    proposed: int | None = None

    @property
    def verified(self) -> int:
        """Drafts that the round spent its time on."""
        return self.drafted if self.proposed is None else self.proposed

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end not in (None, "eos", "budget"):
            raise ValueError(f'end is {self.end!r}; expected null, "eos" or "budget"')
        if self.accepted > self.drafted:
            raise ValueError(f"accepted is {self.accepted}; expected at most drafted, {self.drafted}")
        cut = self.end is not None and self.emitted == self.accepted == self.drafted
        if self.emitted != self.accepted + 1 and not cut:
            raise ValueError(
                f"emitted is {self.emitted} with {self.accepted} of {self.drafted} accepted; expected "
                "accepted + 1, or emitted = accepted = drafted in a round cut by its end"
            )
        if self.verified < self.drafted or (self.verified > self.drafted and not cut):
            found = f"proposed is {self.proposed} with {self.drafted} drafted"
            raise ValueError(f"{found}; expected as many, or more in a round cut by its end")


@dataclass(frozen=True)
class DoneLine(_Line):
    """The decoding is finished: `seconds` for its rounds; the prefill and its token took prefill_s more."""

    type = "done"

    prompt: str
    arm: str
    tokens_out: int
    seconds: float
    prefill_s: float | None = None
    repeat: int = 0
    tokens: tuple[int, ...] | None = None
    divergence: Mapping[str, Any] | None = None


Line = PromptLine | RoundLine | DoneLine


KINDS: dict[str, type[Line]] = {"prompt": PromptLine, "round": RoundLine, "done": DoneLine}
_COLUMNS = {  # of each field its name, its key in JSON, its default (MISSING: required)
    kind: tuple((f.name, _KEY.get(f.name, f.name), f.default) for f in fields(kind))
    for kind in (Header, *KINDS.values())
}


def record_of(line: Header | Line) -> dict[str, Any]:
    """JSON object of a line, without what is at its default."""
    values = ((key, getattr(line, name), default) for name, key, default in _COLUMNS[type(line)])
    return {key: value for key, value, default in values if value != default}


def build(kind: type, record: dict) -> Any:
    """A line from its JSON object; raises ValueError for a missing key or a value that cannot be."""
    missing = [key for _, key, default in _COLUMNS[kind] if default is MISSING and key not in record]
    if missing:
        raise ValueError(f'"{missing[0]}" is missing; expected it in every {kind.__name__}')
    values = {name: record[key] for name, key, _ in _COLUMNS[kind] if key in record}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def dumps(record: dict) -> bytes:
    """One line of JSON."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def loads(line: bytes) -> dict:
    """The JSON object of a line; raises ValueError saying what was found instead."""
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError(f"not JSON; expected {ORIGIN}") from None
    if not isinstance(record, dict):
        raise ValueError(f"found a {type(record).__name__}; expected {ORIGIN}")
    return record


def _check_fields(line: object) -> None:
    """Refuse ids that are no text, counts that are no whole numbers >= 0, times and betas that are no numbers."""
    for name, value in vars(line).items():
        if name in _TEXTS and not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; expected a text")
        unknown = value is None and name in _UNKNOWN
        if name in _COUNTS and not unknown and (type(value) is not int or value < 0):
            raise ValueError(f"{_KEY.get(name, name)} is {value!r}; expected a whole number >= 0")
        if name in _SECONDS and not unknown and not (_is_number(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}; expected seconds >= 0")
        if name == "beta" and not (value is None or (isinstance(value, list | tuple) and all(map(_is_number, value)))):
            raise ValueError(f"beta is {value!r}; expected a list of numbers or null")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
