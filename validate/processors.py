"""What changes logits by the text before them: penalties, and masks of what a grammar allows.

A processor is a pure function of the text: it remembers nothing, so that there is nothing to take back when a draft is
rejected and nothing to count twice when it is accepted.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Processor(Protocol):
    """Logits [V] of the token after a prompt and an output, changed."""

    def __call__(self, logits: Any, prompt: Sequence[int], output: Sequence[int], *, xp: Any) -> Any:
        """The changed logits, of the same shape; those given stay as they are."""


@dataclass(frozen=True)
class Penalties:
    """Against what was said before: repetition divides positive logits and multiplies negative ones, of prompt and
    output (Keskar et al. 2019, section 4.1); presence is subtracted once, frequency once per occurrence in the output.
    """

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for a repetition penalty that is none."""
        if not self.repetition > 0:
            raise ValueError(f"repetition: found {self.repetition}, expected a number above 0 (1 is off)")

    def __call__(self, logits: Any, prompt: Sequence[int], output: Sequence[int], *, xp: Any) -> Any:
        """Penalised logits [V]."""
        spoken = _counts(output, logits.shape[-1])
        known = spoken + _counts(prompt, logits.shape[-1]) > 0
        cost = self.presence * (spoken > 0) + self.frequency * spoken
        known, cost = (xp.asarray(values, device=logits.device) for values in (known, cost))
        repeated = xp.where(logits > 0, logits / self.repetition, logits * self.repetition)
        return xp.astype(xp.where(known, repeated, logits) - cost, logits.dtype, copy=False)


@dataclass(frozen=True)
class Allowed:
    """A grammar: `after(output)` gives the ids that may follow, all others are impossible.

    Where it allows none of the vocabulary decoding stops with a ValueError rather than going on unmasked.
    """

    after: Callable[[Sequence[int]], Collection[int]]

    def __call__(self, logits: Any, prompt: Sequence[int], output: Sequence[int], *, xp: Any) -> Any:
        """Logits [V], minus infinity for what is not allowed."""
        mask = np.full(logits.shape[-1], -np.inf)
        allowed = [token for token in self.after(output) if 0 <= token < len(mask)]
        if not allowed:
            raise ValueError(f"the grammar allows no token of {len(mask)} after an output of {len(output)}")
        mask[allowed] = 0.0
        return logits + xp.asarray(mask, dtype=logits.dtype, device=logits.device)


def _counts(tokens: Sequence[int], vocabulary: int) -> np.ndarray:
    """How often each id of the vocabulary occurs."""
    ids = np.asarray(tokens, dtype=int)
    return np.bincount(ids[ids < vocabulary], minlength=vocabulary)
