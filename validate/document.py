"""What the commands conclude, as the JSON objects they print: raw numbers, seconds and tokens; unknown is null.

Here is the closed form; `cost_document.py`, `conclude.py` and `profile_document.py` have what comes from files.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib import metadata
from typing import Any

from specmath.acceptance import Geometric
from specmath.cost import Ratio
from specmath.draft import Chain
from specmath.speedup import TIE, BestK, Evaluation, best_k, break_even, evaluate

DEEPEST, SEARCHED, SHOWN, PERCENT_FROM = 1024, 64, 8, 2
MANY = 1000
REPAIRS = {
    "acceptance": "every draft were accepted",
    "drafting": "drafting were free",
    "verification": "verifying cost one plain step",
    "overhead": "a round had no overhead",
}


def envelope(command: str, verdict: str | None, reason: str, then: str) -> dict[str, Any]:
    """The keys every object begins with."""
    common = {"schema": f"specmath.{command}/1", "version": version(), "verdict": verdict}
    return common | {"reason": reason, "next": then}


def nulled(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings as objects, arrays as lists, NaN and infinity as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return nulled(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): nulled(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return nulled(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [nulled(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def significant(value: float | None, digits: int = 3) -> str:
    """A number to so many digits, never in scientific notation; a dash for what is unknown."""
    if value is None or math.isnan(value):
        return "–"
    places = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{max(places, 0)}f}"


def times(value: float | None) -> str:
    """A speedup, like 1.42x."""
    return "–" if value is None else f"{value:.2f}x"


def speedup_document(alpha: float, k: int | None, c: float, *, d: float = 0.0, o: float = 0.0) -> dict[str, Any]:
    """The closed form at one k, or at the best, with the whole curve: Geometric(alpha) against Ratio(c, d=d, o=o).

    Raises ValueError for alpha outside [0, 1], k outside 0..1024, and c, d or o below 0.
    """
    law, cost = Geometric(_share(alpha)), Ratio(c, d=d, o=o)
    best = best_k(law, cost, k_max=searched(_depth(k or 0)))
    k = best.k if k is None else k
    found = evaluate(law, k, cost)
    edge = _edges(alpha, k, c, {"d": d, "o": o})
    verdict = "use" if found.speedup > 1 + TIE else "dont_use"
    reason = _limit(found, k, {"drafting": k * c, "verification": k * d, "overhead": o})
    return nulled(
        envelope("speedup", verdict, reason, _better(verdict, k, best, edge))
        | {
            "inputs": {"alpha": alpha, "k": k, "c": c, "d": d, "o": o},
            "speedup": found.speedup,
            "block_efficiency": found.block_efficiency,
            "accepted_fraction": law.mean(k) / k if k else None,
            "variance": law.var(k),
            "round_time": found.round_time,
            "survival": [law.survival(i) for i in range(k + 1)],
            "pmf": law.pmf(k),
            "best": best,
            "break_even": edge,
            "curve": [_point(evaluate(law, i, cost), i) for i in range(max(k, best.k, SHOWN) + 1)],
        }
    )


def version() -> str | None:
    """Release of the installed distribution; None in a checkout that is not installed."""
    try:
        return metadata.version("specmath")
    except metadata.PackageNotFoundError:
        return None


def searched(k: int) -> int:
    """The deepest k looked at for the best, where k was asked for."""
    return max(SEARCHED, k)


def _share(alpha: float) -> float:
    if PERCENT_FROM <= alpha <= 100:
        raise ValueError(f"alpha: found {alpha:g}, expected a number in [0, 1]: did you mean {alpha / 100:g}?")
    return alpha


def _depth(k: int) -> int:
    if Chain(k).k > DEEPEST:
        raise ValueError(f"k: found {k}, expected at most {DEEPEST} drafts in a round")
    return k


def _edges(alpha: float, k: int, c: float, rest: Mapping[str, float]) -> dict[str, float | None]:
    """The alpha and the c at which k drafts exactly pay, each with everything else as given."""
    if not k:
        return {"alpha": None, "c": None}
    return {"alpha": break_even(c=c, k=k, **rest), "c": break_even(alpha=alpha, k=k, **rest)}


def _point(found: Evaluation, k: int) -> dict[str, float]:
    return {"k": k, "speedup": found.speedup, "block_efficiency": found.block_efficiency}


def _limit(found: Evaluation, k: int, extra: Mapping[str, float]) -> str:
    """What a round emits and costs, and the term whose repair would gain most."""
    if not k:
        return "k = 0 drafts nothing, which is plain decoding"
    repaired = {name: found.round_time / (found.round_time - part) for name, part in extra.items()}
    repaired = {"acceptance": (k + 1) / found.block_efficiency} | repaired
    term = max(repaired, key=repaired.__getitem__)
    parts = "".join(f", {name} {significant(part, 2)}" for name, part in extra.items() if part)
    spent = f"a round emits {found.block_efficiency:.2f} tokens and costs {significant(found.round_time)} plain steps"
    spent += f" (the step itself 1{parts})" if parts else ""
    if repaired[term] <= 1 + TIE:
        return f"{spent}; only k limits it"
    return f"{spent}; {term} limits it: {times(found.speedup * repaired[term])} if {REPAIRS[term]}"


def _better(verdict: str, k: int, best: BestK, edge: Mapping[str, float | None]) -> str:
    if not best.k:
        return f"decode plainly, no k from 1 to {searched(k)} pays{_break_even(k, edge)}"
    among = "the deepest looked at: more may pay" if best.k == searched(k) else f"the best from 1 to {searched(k)}"
    if best.k == k:
        return f"keep k = {k}, {among}{_break_even(k, edge)}"
    change = "instead " if verdict == "dont_use" else ""
    return f"draft k = {best.k} {change}for {times(best.speedup)}, {among}"


def _break_even(k: int, edge: Mapping[str, float | None]) -> str:
    """Where k drafts begin to pay, as far as there is such a place."""
    ends = [f"{name} = {significant(value)}" for name, value in edge.items() if value is not None and value == value]
    return f"; k = {k} breaks even at {' or '.join(ends)}" if ends else ""
