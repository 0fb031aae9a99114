"""Functions of tensors on fixed buffers: on CUDA captured once as a graph and replayed, elsewhere called."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch

WARM_UPS = 3  # calls before a capture: libraries allocate and choose kernels in the first ones


class Graphs:
    """One captured function per key; what one returns holds until the next is called.

    All share one pool of memory. A function must leave the same state when it is called again on the same inputs,
    and may not wait for the device.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, _Captured] = {}
        self._pool: Any = None

    def __call__(self, key: Hashable, function: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        """function(*inputs), from buffers of the shapes that the key stands for."""
        if key not in self._known:
            if inputs[0].is_cuda and self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            self._known[key] = _Captured(function, inputs, self._pool)
        return self._known[key](function, *inputs)

    def __len__(self) -> int:
        return len(self._known)


class _Captured:
    """Buffers and a graph; the function, which may hold whoever holds this, is not kept."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], pool: Any) -> None:
        self._inputs = [given.clone() for given in inputs]
        self._replay = self._captured(function, pool) if inputs[0].is_cuda else None

    def __call__(self, function: Callable[..., Any], *inputs: torch.Tensor) -> Any:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        return self._replay() if self._replay else function(*self._inputs)

    def _captured(self, function: Callable[..., Any], pool: Any) -> Callable[[], Any] | None:
        """The replay, or None with a warning where the model does something that cannot be captured."""
        try:
            with torch.cuda.device(self._inputs[0].device):
                return self._capture(function, pool)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error.__context__ or error).partition("\n")[0]
            warnings.warn(f"no CUDA graph of this model ({reason}); its forwards are launched one by one", stacklevel=2)
            return None

    def _capture(self, function: Callable[..., Any], pool: Any) -> Callable[[], Any]:
        current, aside, graph = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function(*self._inputs)
        current.wait_stream(aside)
        try:
            with torch.cuda.graph(graph, pool=pool, stream=aside):
                outputs = function(*self._inputs)
        finally:
            torch.cuda.set_stream(current)  # a capture that fails ends on its own stream and stays there

        def replay() -> Any:
            graph.replay()
            return outputs

        return replay
