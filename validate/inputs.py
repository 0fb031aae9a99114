"""What a planner brings along: a model or a device of one's own, dated prices, the requests of a log.

Read without PyTorch. Every bad file is refused in one line that names the file, the key and what was expected.
"""

import csv
import datetime
import importlib
import json
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from specmath import hardware
from specmath.hardware import GPU_COLUMNS, Gpu, nearest
from specmath.shapes import ModelShape

CONFIG, QUANTISED = "config.json", "hf_quant_config.json"
SECONDS = 10  # for the hub to answer in
SHAPE_TEXTS, SHAPE_FLAGS = ("name", "weights", "source", "trust"), ("tied", "experts_only")
COUNTS = ("prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Price:
    """Dollars per hour of one device, as of a date (ISO: 2026, 2026-11 or 2026-11-05)."""

    gpu: str
    dollars_per_hour: float
    date: str
    source: str = ""


@dataclass(frozen=True, eq=False)
class Requests:
    """A log of requests in order of arrival: seconds since the first (None where the log has none), and tokens."""

    arrivals: np.ndarray | None
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray


def read_gpu(text: str) -> Gpu:
    """A device: the path of a JSON object with its name and the columns of the catalogue, or a name there.

    Needed: name, memory_bytes, bandwidth_bytes_per_s, bf16_flops; further fp8_flops, int8_ops, fp4_flops, power_w,
    link_bytes_per_s (per direction), link_kind. Raises ValueError in one line naming the file and the key.
    """
    path = _path(text, "gpu")
    if path is None:
        return hardware.gpu(text)
    record = _object(path)
    _only(path, record, ("name", "link_kind", *GPU_COLUMNS.values()))
    needed = ("name", *(GPU_COLUMNS[field] for field in ("memory", "bandwidth", "bf16")))
    _has(path, record, needed)
    given = {field: key for field, key in GPU_COLUMNS.items() if record.get(key) is not None}
    values: dict[str, Any] = {field: _positive(path, key, record[key]) for field, key in given.items()}
    texts = {key: _text(path, key, record.get(key) or "") for key in ("name", "link_kind")}
    return Gpu(**texts, **values, sources=dict.fromkeys(values, f"given; {path}"))


def read_model(text: str) -> ModelShape:
    """A model: the path of a config.json, of a folder with one or of a shape as JSON, a catalogue name, or a hub id.

    A shape has the fields of `specmath.ModelShape`. Of a hub id that the catalogue has not, the config is taken from
    the cache or downloaded, nothing else. Raises ValueError in one line naming the file and the key.
    """
    path = _path(text, "model")
    if path is not None:
        return _model_file(path / CONFIG if path.is_dir() else path)
    try:
        return hardware.model(text)
    except ValueError:
        if text.count("/") != 1:
            raise
        return _model_on_hub(text)


def read_prices(path: str | pathlib.Path, own: Iterable[str] = ()) -> dict[str, Price]:
    """Prices by device, from JSON (an object or a list of them) or CSV: gpu, dollars_per_hour, date and source.

    A device is one of the catalogue or of `own`. Raises ValueError in one line for a price without its date, a
    device twice or unknown.
    """
    prices: dict[str, Price] = {}
    for place, record in _price_rows(_file(str(path), "prices")):
        price = _price(place, record, {name.lower(): name for name in own})
        if price.gpu in prices:
            raise ValueError(f"{place}: found {price.gpu} twice, expected one price of each: leave one out")
        prices[price.gpu] = price
    if not prices:
        raise ValueError(f"{path}: found no prices, expected gpu, dollars_per_hour and date")
    return prices


def read_requests(path: str | pathlib.Path) -> Requests:
    """Requests of a log, JSON Lines: arrival_s (all or none), prompt_tokens and output_tokens of each; sorted.

    Other keys and blank lines are skipped. Arrivals may count from anywhere; the first becomes 0. Raises ValueError in
    one line naming the file and the line.
    """
    lines = enumerate(_file(str(path), "requests").read_bytes().split(b"\n"), 1)
    rows = [(f"{path}:{number}", line) for number, line in lines if line.strip()]
    found = [_request(place, _json(place, line)) for place, line in rows]
    if not found:
        raise ValueError(f"{path}: found no requests, expected lines with prompt_tokens and output_tokens")
    timed = [arrival is not None for arrival, _, _ in found]
    if any(timed) and not all(timed):
        raise ValueError(f"{rows[timed.index(False)][0]}: found no arrival_s, expected it in every line or in none")
    order = sorted(found, key=lambda row: row[0]) if any(timed) else found
    arrivals, prompts, outputs = (np.array(column) for column in zip(*order, strict=True))
    return Requests(arrivals - arrivals[0] if any(timed) else None, prompts, outputs)


def dated(place: str, text: str) -> str:
    """A date as a price has it, from the year on; ValueError naming the place for what is none."""
    if re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
        with suppress(ValueError):
            datetime.date.fromisoformat(text + "2026-01-01"[len(text) :])
            return text
    raise ValueError(f"{place}: found {text!r}, expected one like 2026-11-05, 2026-11 or 2026")


def _path(text, what):
    """The file or folder a text names, or None where it is no path."""
    path = pathlib.Path(text).expanduser()
    if path.exists():
        return path
    if text.startswith((".", "/", "~")) or path.suffix in (".json", ".csv", ".jsonl"):
        raise ValueError(f"{what}: found no file {text}, expected one, or a name of the catalogue: check the path")
    return None


def _file(text, what):
    path = pathlib.Path(text).expanduser()
    if not path.is_file():
        found = f"a folder, {text}" if path.is_dir() else f"no file {text}"
        raise ValueError(f"{what}: found {found}, expected a file: check the path")
    return path


def _json(place, data: bytes):
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        reason = " ".join(str(problem).split())
        raise ValueError(f"{place}: found no JSON ({reason}), expected an object") from None


def _object(path):
    record = _json(path, _file(str(path), "file").read_bytes())
    if not isinstance(record, dict):
        raise ValueError(f"{path}: found a {type(record).__name__}, expected one JSON object")
    return record


def _only(place, record: Mapping[str, Any], known: Sequence[str]):
    for key in record:
        if key not in known:
            like = ", ".join(nearest(str(key), known) or known)
            raise ValueError(f"{place}: found the key {key!r}, expected one like {like}")


def _has(place, record, needed):
    for key in needed:
        if record.get(key) in (None, ""):
            raise ValueError(f"{place}: found no {key}, expected it beside {', '.join(k for k in needed if k != key)}")


def _text(place, key, value):
    if not isinstance(value, str):
        raise ValueError(f"{place}: {key}: found {value!r}, expected a text")
    return value


def _positive(place, key, value):
    """A number above 0; a CSV has it as a text."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{place}: {key}: found {value!r}, expected a number above 0")
    return number


def _model_file(path):
    record = _object(path)
    name = path.parent.resolve().name if path.name == CONFIG else path.stem
    try:
        if "layers" in record:
            shape = _own_shape(record)
        else:
            beside = path.with_name(QUANTISED)
            quantised = _object(beside) if beside.is_file() else None
            shape = ModelShape.from_config(_with_quantised(record, quantised), name)
    except ValueError as problem:
        raise ValueError(f"{path}: {str(problem).removeprefix(f'{path}: ')}") from None
    return replace(shape, source=shape.source or str(path), trust=shape.trust or "given")


def _own_shape(record):
    known = [field.name for field in fields(ModelShape) if field.init]
    _only("shape", record, known)
    _has("shape", record, ("name", "layers", "hidden", "heads", "vocab"))
    values = {name: record.get(name, 0) for name in ("kv_heads", "head_dim", "intermediate")} | record
    for key, value in values.items():
        if key in SHAPE_TEXTS:
            _text("shape", key, value)
    return ModelShape(**values)


def _with_quantised(config, quantised):
    """A config with what ModelOpt writes in a file of its own, where the config says nothing."""
    if not quantised or config.get("quantization_config") or "quantization" not in quantised:
        return config
    return {**config, "quantization_config": quantised["quantization"]}


def _model_on_hub(name):
    """From the cache of the hub's client, or downloaded; one line for whatever the client has to say."""
    hub = importlib.import_module("huggingface_hub")
    try:
        config, quantised = (_object(path) if path else None for path in _hub_files(hub, name))
    except Exception as error:  # no network, no such model, a gate before it, a name that is none
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        expected = "expected a name of the catalogue, the path of a config.json or a hub id"
        raise ValueError(f"model: found no {name!r} on the hub ({reason}), {expected}") from None
    try:
        shape = ModelShape.from_config(_with_quantised(config, quantised), name)
    except ValueError as problem:
        raise ValueError(f"{CONFIG} of {name}: {problem}") from None
    return replace(shape, source=f"{CONFIG} of {name} on the Hugging Face hub", trust="read")


def _hub_files(hub, name):
    """Paths of the config and of what ModelOpt writes beside it, if there is that."""
    cached = [hub.try_to_load_from_cache(name, file) for file in (CONFIG, QUANTISED)]
    if isinstance(cached[0], str):
        return [pathlib.Path(path) if isinstance(path, str) else None for path in cached]
    info = hub.HfApi().model_info(name, timeout=SECONDS)  # asks once, where a download would go on trying
    there = {sibling.rfilename for sibling in info.siblings or ()}
    beside = pathlib.Path(hub.hf_hub_download(name, QUANTISED)) if QUANTISED in there else None
    return [pathlib.Path(hub.hf_hub_download(name, CONFIG)), beside]


def _price_rows(path):
    """(where, record) of each row."""
    if path.suffix == ".csv":
        rows = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())
        return [(f"{path}:{rows.line_num}", {str(key): value for key, value in row.items()}) for row in rows]
    found = _json(path, path.read_bytes())
    listed = found if isinstance(found, list) else [found]
    for number, record in enumerate(listed, 1):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: found a {type(record).__name__} as price {number}, expected an object")
    return [(f"{path}, price {number}", record) for number, record in enumerate(listed, 1)]


def _price(place, record, own):
    keys = ("gpu", "dollars_per_hour", "date")
    _only(place, record, (*keys, "source"))
    _has(place, record, keys)
    texts = {key: _text(place, key, record.get(key) or "") for key in ("gpu", "date", "source")}
    name = own.get(texts["gpu"].lower()) or _known(place, texts["gpu"])
    rate = _positive(place, "dollars_per_hour", record["dollars_per_hour"])
    return Price(name, rate, dated(f"{place}: date", texts["date"]), texts["source"])


def _known(place, name):
    try:
        return hardware.gpu(name).name
    except ValueError as problem:
        raise ValueError(f"{place}: {problem}") from None


def _request(place, record):
    """(arrival or None, prompt tokens, output tokens) of a line."""
    if not isinstance(record, dict):
        raise ValueError(f"{place}: found a {type(record).__name__}, expected an object")
    for key in COUNTS:
        value = record.get(key)
        if value is None:
            raise ValueError(f"{place}: found {', '.join(record) or 'nothing'}, expected {' and '.join(COUNTS)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{place}: {key}: found {value!r}, expected an integer of at least 1")
    arrival = record.get("arrival_s")
    if arrival is None and any(str(key).startswith("arrival") for key in record):
        raise ValueError(f"{place}: found {', '.join(record)}, expected arrival_s, in seconds")
    number = isinstance(arrival, int | float) and not isinstance(arrival, bool) and math.isfinite(arrival)
    if arrival is not None and not number:
        raise ValueError(f"{place}: arrival_s: found {arrival!r}, expected seconds")
    return arrival, record["prompt_tokens"], record["output_tokens"]
