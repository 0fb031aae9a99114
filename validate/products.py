"""The matrix products of a network on a CPU: for each shape and number of rows the fastest, chosen by measuring.

A forward over n tokens is on a CPU mostly y = x W^T + b, x [n, in] and W [out, in], and for few rows the usual call is
far from the fastest there is. Three ways give the same to rounding:

    linear   F.linear(x, W)
    flipped  (W x^T)^T, from the same memory
    packed   W in the layout of oneDNN, in place of the usual one: kept once, but for embeddings tied to a head

each over the rows that come, or over some more that are zero. The choices are kept in the user's cache directory by
processor, threads, dtype and release of torch: a later process makes the same ones and measures nothing.
"""

import bisect
import functools
import hashlib
import itertools
import json
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from validate.console import say
from validate.loading import cache_home

FORMAT, VERSION = "specmath.products", 1
ROWS = (1, 2, 3, 4, 5, 6, 8, 9, 16, 24, 33)  # measured; what lies between goes as the next above
PADDED = (2, 4, 5)  # so many rows may be quicker than fewer
FEW, MANY = 9, 128  # packing has to pay over 1 to 9 rows, and not to cost anything at 1 and at 128
DISTURBED = 20  # times a product of one row, and a product of at most FEW waited for a core rather than for memory
MARGIN = 0.95  # of the time of what it replaces is the most that a choice may take
TURNS, ENOUGH = 3, 0.3  # at least so often; no longer than so many seconds
LEAST = 2**16  # weights of the smallest layer that is worth a choice
SAMPLE = 48 * 2**20  # bytes gone through in turn: in a forward weights come from memory, not from a cache
AT_ONCE = 2  # layers per timing: a short time is less often disturbed

Clock = Callable[[], float]
Shape = tuple[int, int]


class Choice(NamedTuple):
    """A way by name, and the rows it is given: at least as many as come, 0 for just those."""

    way: str
    rows: int = 0


LINEAR, PACKED = Choice("linear"), Choice("packed")


def choose(network: Any, machine: Mapping[str, Any], *, least: int = LEAST, clock: Clock = time.perf_counter) -> None:
    """Give every linear layer of a network on a CPU the fastest product for each number of rows, in place.

    Measured once per shape on this `machine`, then read from the cache directory; where others held the cores while it
    was measured, the choices are for this process alone. A layer whose product is packed has its weights packed too. On
    a device nothing changes.
    """
    for dtype, layers in _layers(network, least).items():
        kept = _Kept({**machine, "dtype": str(dtype), "torch": torch.__version__})
        known = kept.read()
        new = sorted({_shape(layer) for layer in layers} - known.keys())
        if new:
            say(f"measuring the matrix products of {len(new)} shapes, once on this machine")
        times = {shape: timed(shape, dtype, clock) for shape in new}
        known |= {shape: chosen(of) for shape, of in times.items()}
        if times and not any(map(_disturbed, times.values())):
            kept.write(known)
        for layer in layers:
            _give(layer, known[_shape(layer)])


@torch.no_grad()
def timed(shape: Shape, dtype: torch.dtype, clock: Clock = time.perf_counter) -> dict[int, dict[Choice, float]]:
    """Seconds of every way by rows, those of MANY with them, on weights of a shape [out, in]."""
    weights = {"linear": _sample(shape, dtype)}
    weights["flipped"] = weights["linear"]
    with suppress(RuntimeError, AttributeError):
        packed = [_pack(weight) for weight in weights["linear"]]
        _run(PACKED, torch.ones(1, shape[1], dtype=dtype), packed[0])
        weights["packed"] = packed
    return {rows: _times(rows, shape[1], weights, clock) for rows in (*ROWS, MANY)}


def chosen(times: Mapping[int, Mapping[Choice, float]]) -> tuple[Choice, ...]:
    """The choice for each number of ROWS, from seconds by rows, those of MANY with them.

    A challenger has to win by the MARGIN: over linear, or over packed without more rows where a layer is packed. It is
    packed where that wins over all of 1 to FEW rows and neither plain decoding nor MANY rows get slower than linear.
    """
    dense = [_winner(times[rows], LINEAR, {"linear", "flipped"}) for rows in ROWS]
    if not all(PACKED in of for of in times.values()):
        return tuple(dense)
    packed = [_winner(times[rows], PACKED, {"packed"}) for rows in ROWS]
    seconds = [sum(times[n][way] for n, way in zip(ROWS, ways, strict=True) if n <= FEW) for ways in (packed, dense)]
    slower = any(MARGIN * times[n][way] > times[n][LINEAR] for n, way in ((1, packed[0]), (MANY, PACKED)))
    return tuple(dense if slower or seconds[0] > MARGIN * seconds[1] else packed)


def least_seconds(calls: Mapping[Choice, Callable[[], object]], clock: Clock) -> dict[Choice, float]:
    """The least seconds of calls that do the same, taken in turn until the two least of each agree to the MARGIN."""
    times: dict[Choice, list[float]] = {way: [] for way in calls}
    unsettled, begun = [*calls], clock()
    while unsettled and (len(times[unsettled[0]]) < TURNS or clock() - begun < ENOUGH):
        for way in unsettled:
            started = clock()
            calls[way]()
            bisect.insort(times[way], clock() - started)
        unsettled = [way for way in unsettled[::-1] if not _settled(times[way])]
    return {way: of[0] for way, of in times.items()}


def _settled(times: list[float]) -> bool:
    return len(times) >= TURNS and MARGIN * times[1] <= times[0]


def _disturbed(times: Mapping[int, Mapping[Choice, float]]) -> bool:
    """Whether threads waited for each other because others held the cores."""
    return any(max(times[n].values()) > DISTURBED * times[1][LINEAR] for n in ROWS if n <= FEW)


def _winner(times: Mapping[Choice, float], incumbent: Choice, ways: set[str]) -> Choice:
    best = min((way for way in times if way.way in ways), key=times.__getitem__)
    return best if times[best] <= MARGIN * times[incumbent] else incumbent


def _times(rows: int, width: int, weights: Mapping[str, list[torch.Tensor]], clock: Clock) -> dict[Choice, float]:
    """Seconds of every way to multiply so many rows by some of the weights, each time the next ones."""
    x = torch.ones(rows, width, dtype=weights["linear"][0].dtype)
    ways = [Choice(name) for name in weights]
    ways += [Choice(name, more) for name in weights if name != "linear" for more in PADDED if more > rows]
    order = itertools.cycle(range(len(weights["linear"])))

    def some(way: Choice) -> None:
        for i in itertools.islice(order, min(AT_ONCE, len(weights[way.way]))):
            _run(way, x, weights[way.way][i])

    for way in ways:
        _run(way, x, weights[way.way][-1])  # not the first, which would be in a cache when it is timed
    return least_seconds({way: functools.partial(some, way) for way in ways}, clock)


def _sample(shape: Shape, dtype: torch.dtype) -> list[torch.Tensor]:
    """Layers of a shape, SAMPLE bytes or a little more in all; a larger layer by so many of its rows."""
    out, width = shape
    out = min(out, -(-SAMPLE // (width * dtype.itemsize)))
    return [torch.ones(out, width, dtype=dtype) for _ in range(-(-SAMPLE // (out * width * dtype.itemsize)))]


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(x, weight, bias)


def _flipped(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y = (weight @ x.T).T.contiguous()
    return y if bias is None else y + bias


def _packed(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


WAYS = {"linear": _linear, "flipped": _flipped, "packed": _packed}


def _run(choice: Choice, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Rows x [n, in] by the chosen way."""
    if choice.rows <= len(x):
        return WAYS[choice.way](x, weight, bias)
    padded = functional.pad(x, (0, 0, 0, choice.rows - len(x)))
    return WAYS[choice.way](padded, weight, bias)[: len(x)]


def _pack(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach())


class Product:
    """What a linear layer does to x [..., in], by the choice for the rows it has."""

    def __init__(self, layer: torch.nn.Linear, choices: tuple[Choice, ...]) -> None:
        self.weight, self.bias = layer.weight, layer.bias
        above = PACKED if choices[0].way == "packed" else LINEAR
        self._by_rows = [above] + [choices[i] for low, i in _steps() for _ in range(low, ROWS[i])]
        self._above = above

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """X W^T + b [..., out]."""
        rows = x.reshape(-1, x.shape[-1])
        few = len(rows) < len(self._by_rows)
        y = _run(self._by_rows[len(rows)] if few else self._above, rows, self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)


def _steps() -> Iterable[tuple[int, int]]:
    """(rows measured before, index) of each of ROWS."""
    return zip((0, *ROWS), range(len(ROWS)), strict=False)


def _layers(network: Any, least: int) -> dict[torch.dtype, list[torch.nn.Linear]]:
    """The plain linear layers in host memory that have no product yet, by dtype; a shared one once."""
    found: dict[torch.dtype, list[torch.nn.Linear]] = {}
    for layer in network.modules():
        if type(layer) is not torch.nn.Linear or isinstance(layer.forward, Product):
            continue
        if layer.weight.device.type == "cpu" and layer.weight.numel() >= least:
            found.setdefault(layer.weight.dtype, []).append(layer)
    return found


@torch.no_grad()
def _give(layer: Any, choices: tuple[Choice, ...]) -> None:
    if choices[0].way == "packed":
        layer.weight = torch.nn.Parameter(_pack(layer.weight), requires_grad=False)
    if set(choices) != {LINEAR}:
        layer.forward = Product(layer, choices)


class _Kept:
    """The file of the choices made under one key: {"format", "version", "key", "choices"}, those by shape and rows."""

    def __init__(self, key: Mapping[str, Any]) -> None:
        self._head = {"format": FORMAT, "version": VERSION, "key": {**key, "rows": list(ROWS)}}
        name = hashlib.sha256(json.dumps(self._head, sort_keys=True).encode()).hexdigest()[:16]
        self._path = cache_home() / f"products-{name}.json"

    def read(self) -> dict[Shape, tuple[Choice, ...]]:
        """By shape; nothing where there is no file, or another's, or a damaged one: then all is measured anew."""
        try:
            record = json.loads(self._path.read_text())
            if {name: record[name] for name in self._head} != self._head:
                return {}
            return {_shape_of(name): _choices(listed) for name, listed in record["choices"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def write(self, choices: Mapping[Shape, tuple[Choice, ...]]) -> None:
        """Written aside, then renamed; where that is not allowed, nothing is kept."""
        record = self._head | {"choices": {"x".join(map(str, shape)): of for shape, of in choices.items()}}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, aside = tempfile.mkstemp(prefix="products-", dir=self._path.parent)
            with os.fdopen(descriptor, "w") as file:
                json.dump(record, file)
            pathlib.Path(aside).replace(self._path)


def _shape(layer: Any) -> Shape:
    return tuple(layer.weight.shape)


def _shape_of(name: str) -> Shape:
    out, width = map(int, name.split("x"))
    return out, width


def _choices(listed: Any) -> tuple[Choice, ...]:
    """ValueError for what `chosen` cannot have given."""
    choices = tuple(Choice(str(way), int(rows)) for way, rows in listed)
    packed = {choice.way == "packed" for choice in choices}
    known = all(choice.way in WAYS and choice.rows in (0, *PADDED) for choice in choices)
    if len(choices) != len(ROWS) or len(packed) > 1 or not known:
        raise ValueError(f"found {listed}, expected a known way for each of {len(ROWS)} numbers of rows")
    return choices
