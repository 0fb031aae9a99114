"""Which array library does the arithmetic of probabilities: numpy in host memory, torch on a device.

The functions are the same ones (specmath.sampling, specmath.acceptor). On a CPU numpy's smaller cost per call
keeps what happens between two forwards near one per cent of a forward; on a GPU nothing leaves the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.torch
import numpy as np
import torch


@dataclass(frozen=True)
class Arrays:
    """An array library `xp` and the device its arrays live on."""

    xp: Any
    device: str

    @staticmethod
    def on(device: torch.device | str) -> "Arrays":
        """The library for a device."""
        kind = torch.device(device).type
        return Arrays(np, "cpu") if kind == "cpu" else Arrays(array_api_compat.torch, str(device))

    def native(self, logits: torch.Tensor) -> Any:
        """The same numbers in this library, not copied."""
        return logits.numpy() if self.xp is np else logits

    def tokens(self, ids: Sequence[int]) -> Any:
        """Token ids as int64."""
        return self.xp.asarray(ids, dtype=self.xp.int64, device=self.device)

    def uniforms(self, values: Any) -> Any:
        """Host uniforms as double precision here."""
        return self.xp.asarray(values, dtype=self.xp.float64, device=self.device)

    def one_hot(self, ids: Sequence[int], vocabulary: int) -> Any:
        """Rows [d, V] with all mass on the given ids."""
        rows = self.xp.zeros((len(ids), vocabulary), dtype=self.xp.float32, device=self.device)
        rows[range(len(ids)), list(ids)] = 1.0
        return rows
