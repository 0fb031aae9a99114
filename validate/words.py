"""The words every report shares: verdicts, numbers with their intervals, and the parts a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from validate.document import significant

WORDS = {"use": "USE", "dont_use": "DON'T USE", "measure_more": "MEASURE MORE", "infeasible": "INFEASIBLE"}
WORDS |= {"pass": "PASS", "fail": "FAIL", "cannot_tell": "CANNOT TELL"}
UNKNOWN = "–"


@dataclass(frozen=True)
class Section:
    """A heading, sentences, a table where there are columns, and sentences after it."""

    title: str
    before: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    after: tuple[str, ...] = ()


def interval(found: Mapping[str, Any] | None, unit: str = "") -> str:
    """A value with its interval, like 1.42x (1.31 to 1.53); without the interval where there is none."""
    if found is None or found["value"] is None:
        return UNKNOWN
    value = f"{found['value']:.2f}{unit}"
    return value if found["low"] is None else f"{value} ({found['low']:.2f} to {found['high']:.2f})"


def percent(value: float | None, sign: str = "+") -> str:
    """A share or, with its sign, a deviation."""
    return UNKNOWN if value is None else f"{value:{sign}z.1%}"


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, to three digits."""
    return UNKNOWN if seconds is None else significant(1000 * seconds)


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def alpha_in_words(found: Mapping[str, Any]) -> str:
    """What alpha is, and that accepted / drafted is not it."""
    if found["alpha"] is None:
        return "Nothing was drafted, so alpha, the chance that a tested draft is accepted, is not known."
    return (
        f"alpha, {interval(found['alpha'])} over all, is the chance that a tested draft is accepted. "
        f"Accepted / drafted ({significant(found['accepted_fraction'], 2)}) is not: it depends on k, because the "
        "drafts after a rejection are never tested."
    )


def flat(value: Any) -> str:
    """A JSON value in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {flat(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"({', '.join(significant(v) if isinstance(v, float) else flat(v) for v in value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
