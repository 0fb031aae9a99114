"""The only place that waits for a device to take the time: every time in this package comes from here."""

import time
from typing import Any

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

    def mark(self) -> Any:
        """This moment in the order of the work queued on the device, which is not waited for."""
        if self._device.type != "cuda":
            return self.now()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def between(self, first: Any, last: Any) -> float:
        """Seconds from one mark to a later one, once the work before that is done."""
        if self._device.type != "cuda":
            return last - first
        last.synchronize()
        return first.elapsed_time(last) / 1000
