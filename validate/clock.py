"""The only place that waits for a device: every time in this package comes from here."""

import time

import torch


class Clock:
    """Wall seconds on a device; reading it waits for the work queued before."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def now(self) -> float:
        """Seconds since an arbitrary start, after everything launched so far has finished."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
