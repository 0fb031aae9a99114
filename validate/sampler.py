"""The sampling parameters of a run, which target and draft both obey."""

from dataclasses import dataclass

import numpy as np

from specmath.sampling import warp


@dataclass(frozen=True)
class Sampler:
    """The parameters of `specmath.sampling.warp`, fixed for a run; greedy by default."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for a parameter outside the domain that warp gives it."""
        self(np.zeros(1), xp=np)

    def __call__(self, logits, *, xp):
        """Probabilities of logits [..., V] under array library `xp`."""
        return warp(logits, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, xp=xp)
