"""What tells a broken decoder without any statistics: impossible texts, and greedy texts that differ by no tie."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

EPSILONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
TIE = {"float64": 64, "float32": 64, "float16": 4, "bfloat16": 4}  # epsilons; halves are summed in float32

MASK = 1e3  # so far below the top a logit is a mask, which no arithmetic has rounded

Row = Callable[[Sequence[int]], np.ndarray]


def faults_of(tokens: Sequence[int], *, eos: Collection[int], budget: int, vocabulary: int) -> list[str]:
    """What no text may be: ids that are none, more tokens than its budget or fewer without EOS, or tokens behind EOS.

    >>> faults_of([3, 1, 4], eos={1}, budget=3, vocabulary=5)
    ['goes on for 1 token behind the end-of-text token']
    """
    found = [f"has id {t} at token {i + 1}, which is none" for i, t in enumerate(tokens) if not 0 <= t < vocabulary]
    at = next((i + 1 for i, token in enumerate(tokens) if token in eos), None)
    if len(tokens) > budget:
        found.append(f"has {len(tokens)} tokens where the budget is {budget}")
    if at is not None and at < len(tokens):
        behind = len(tokens) - at
        found.append(f"goes on for {behind} token{'' if behind == 1 else 's'} behind the end-of-text token")
    if at is None and len(tokens) < budget:
        found.append(f"ends after {len(tokens)} of {budget} tokens without an end-of-text token")
    return found


def scale_of(logits: np.ndarray) -> np.ndarray:
    """The largest magnitude [...] of logits [..., V] that are no masks.

    >>> float(scale_of(np.array([18.0, -20.0, -1e9])))
    20.0
    """
    kept = logits >= logits.max(axis=-1, keepdims=True) - MASK
    return np.where(kept, abs(logits), 0).max(axis=-1)


def tie(dtype: str, scale: float) -> float:
    """The widest gap of two logits that rounding may close: TIE epsilons of the dtype times the scale of the logits."""
    return TIE[dtype] * EPSILONS[dtype] * scale


@dataclass(frozen=True)
class Mismatch:
    """Where two greedy texts first differ: after `at` tokens. `gap` is how far the worse of the two tokens there lies
    below the top in the target's logits, `scale` the largest magnitude of those that are no masks.
    """

    at: int
    gap: float
    scale: float

    def tied(self, dtype: str) -> bool:
        """Whether rounding may have decided.

        >>> Mismatch(3, gap=0.25, scale=20.0).tied("bfloat16"), Mismatch(3, gap=4.0, scale=20.0).tied("bfloat16")
        (True, False)
        """
        return self.gap <= tie(dtype, self.scale)


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """How many tokens two texts share before they differ; None where they are the same."""
    if list(one) == list(other):
        return None
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def mismatch(one: Sequence[int], other: Sequence[int], row: Row) -> Mismatch | None:
    """The first difference of two texts, None where they are the same; `row(prefix)` gives the target's logits [V]."""
    at = first_difference(one, other)
    if at is None:
        return None
    logits = np.asarray(row(one[:at]), float)
    tokens = [text[at] for text in (one, other) if at < len(text)]
    known = len(tokens) == 2 and all(0 <= token < len(logits) for token in tokens)
    gap = logits.max() - logits[tokens].min() if known else np.inf
    return Mismatch(at, float(gap), float(scale_of(logits)))
