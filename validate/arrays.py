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


def queued(numbers: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Numbers of the host on a device, copied in the order of its work; what is queued before is not waited for."""
    if torch.device(device).type != "cuda" or numbers.numel() == 0:
        return numbers.to(device)
    return numbers.pin_memory().to(device, non_blocking=True)


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
        return self._here(np.asarray(ids, dtype=np.int64))

    def uniforms(self, values: Any) -> Any:
        """Host uniforms as double precision here."""
        return self._here(np.asarray(values, dtype=np.float64))

    def _here(self, values: np.ndarray) -> Any:
        return values if self.xp is np else queued(torch.from_numpy(values), self.device)

    def torch(self, tokens: Any) -> torch.Tensor:
        """Token ids of this library for a model, not copied."""
        return torch.from_numpy(tokens) if self.xp is np else tokens

    def one_hot(self, drafts: Sequence[Sequence[int]], vocabulary: int) -> tuple[Any, Any]:
        """Tokens [B, K] of drafts of up to K, and their rows [B, K, V] with all mass on them; zeros where none is."""
        k = max(map(len, drafts))
        places = [(row, slot, token) for row, draft in enumerate(drafts) for slot, token in enumerate(draft)]
        tokens = self.xp.zeros((len(drafts), k), dtype=self.xp.int64, device=self.device)
        rows = self.xp.zeros((len(drafts), k, vocabulary), dtype=self.xp.float32, device=self.device)
        if places:
            row, slot, token = map(list, zip(*places, strict=True))
            tokens[row, slot] = self.tokens(token)
            rows[row, slot, token] = 1.0
        return tokens, rows
