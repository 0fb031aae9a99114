"""Devices and known models by name: the catalogue in data/, every value with its public source, trust and date.

Trust: read (the figure stands in the source), second-hand (read in a page that reports somebody else's figure),
recalled (from memory: check it before relying on it). Prices are dated ranges; nothing takes one for a default.
"""

import csv
import difflib
import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from specmath.draft import shown, within
from specmath.shapes import PRECISIONS, ModelShape, Precision, precision

COMPUTE = ("bf16", "fp8", "int8", "fp4")


@dataclass(frozen=True)
class PriceRange:
    """Dollars per device-hour on demand, as found at a date; typical is None where the source has none."""

    low: float
    high: float
    typical: float | None
    date: str
    source: str
    trust: str


@dataclass(frozen=True)
class Gpu:
    """A device: bytes of memory, bytes/s of it, dense FLOP/s by format, link bytes/s per direction, watts.

    None where unknown or where there is no such unit. sources gives "trust; source; date" by field.
    Raises ValueError naming the field that is no positive number.

    >>> Gpu("half", 40e9, 1e12, 1e14).flops("int4")
    100000000000000.0
    """

    name: str
    memory: float
    bandwidth: float
    bf16: float
    _: KW_ONLY
    fp8: float | None = None
    int8: float | None = None
    fp4: float | None = None
    link: float | None = None
    link_kind: str = ""
    power: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False, repr=False)
    price_range: PriceRange | None = None

    def __post_init__(self):
        for name in ("memory", "bandwidth", "bf16", "fp8", "int8", "fp4", "link", "power"):
            value = getattr(self, name)
            if value is None and name not in ("memory", "bandwidth", "bf16"):
                continue
            if not within(name, value) > 0:
                raise ValueError(f"{name}: found {shown(value)}, expected a number above 0")
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def flops(self, weights: str | Precision) -> float:
        """Dense FLOP/s where weights of that precision are multiplied; ValueError naming what the device has."""
        compute = precision(weights).compute
        rate = getattr(self, compute, None)
        if rate is None:
            usable = ", ".join(name for name, p in PRECISIONS.items() if getattr(self, p.compute, None))
            found = f"found no {compute} units in {self.name}"
            raise ValueError(f"{precision(weights).name}: {found}, expected one of {usable}")
        return rate


def gpu(name: str | Gpu) -> Gpu:
    """A device of the catalogue by its name, in any case and spacing; ValueError naming the nearest.

    >>> gpu("h100").bandwidth
    3350000000000.0
    """
    if isinstance(name, Gpu):
        return name
    return _find("gpu", name, _gpus(), "a device of the catalogue, like {}, or one of your own as JSON")


def model(name: str | ModelShape) -> ModelShape:
    """A model of the catalogue by its name or hub id, in any case; ValueError naming the nearest.

    >>> model("Qwen/Qwen3-32B").layers
    64
    """
    if isinstance(name, ModelShape):
        return name
    return _find("model", name, _models(), "a model of the catalogue, like {}, or the path of a config.json")


def gpus() -> dict[str, Gpu]:
    """The devices of the catalogue by name."""
    return {found.name: found for found in _gpus().values()}


def models() -> dict[str, ModelShape]:
    """The models of the catalogue by name."""
    return {found.name: found for found in _models().values()}


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that look like this one.

    >>> nearest("h10", ["H100 SXM", "L4", "H200 SXM"])
    ['H100 SXM', 'H200 SXM']
    """
    by_key = {_key(other): other for other in known}
    key = _key(name)
    starts = [other for other in by_key if key and other.startswith(key)]
    close = difflib.get_close_matches(key, by_key, 3, 0.4)
    return [by_key[other] for other in dict.fromkeys((*starts, *close))][:3]


def _find(kind, name, known, expected):
    own = _own(name) if isinstance(name, str) else ""
    found = known.get(_key(own))
    if found is None:
        like = dict.fromkeys(known[key].name for key in nearest(own, known) or known)
        raise ValueError(f"{kind}: found {shown(name)}, expected {expected.format(', '.join(like))}")
    return found


def _own(name: str) -> str:
    """A hub id without the organisation."""
    return name.rpartition("/")[2]


def _key(name: str) -> str:
    """What makes two spellings one name: letters, digits and dots, without the maker."""
    return re.sub(r"^nvidia|^amd|[^a-z0-9.]", "", name.lower())


def _rows(file: str) -> list[dict[str, str]]:
    text = (importlib.resources.files("specmath") / "data" / file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def _gpus() -> dict[str, Gpu]:
    return _by_key(_rows("gpus.csv"), _gpu)


@functools.cache
def _models() -> dict[str, ModelShape]:
    return _by_key(_rows("models.csv"), _model)


def _by_key(rows, make):
    """Every row's thing under its name and its aliases."""
    found: dict[str, Any] = {}
    for row in rows:
        thing = make(row)
        for name in (row["name"], *row["aliases"].split(";")):
            if name.strip():
                found[_key(_own(name))] = thing
    return found


GPU_COLUMNS = {  # field: column, in files of the catalogue and in a user's JSON alike
    "memory": "memory_bytes",
    "bandwidth": "bandwidth_bytes_per_s",
    "bf16": "bf16_flops",
    "fp8": "fp8_flops",
    "int8": "int8_ops",
    "fp4": "fp4_flops",
    "link": "link_bytes_per_s",
    "power": "power_w",
}


def _gpu(row: Mapping[str, str]) -> Gpu:
    values: dict[str, Any] = {name: float(row[col]) for name, col in GPU_COLUMNS.items() if row[col]}
    price = "price_{}_dollars_per_hour"
    low, high, typical = (float(row[price.format(end)] or "nan") for end in ("low", "high", "typical"))
    if row["price_date"]:
        said = (row["price_date"], row["price_source"], row["price_trust"])
        values["price_range"] = PriceRange(low, high, typical if typical == typical else None, *said)
    return Gpu(row["name"], link_kind=row["link_kind"], sources=_sources(row, values), **values)


def _sources(row, values):
    """ "trust; source; date" of every value that is there."""
    weaker = dict(said.strip().split("=") for said in row["trust_of_single_values"].split(";") if said)
    trust = {"memory": row["trust_memory_bandwidth"], "bandwidth": row["trust_memory_bandwidth"], **weaker}
    sources = {name: trust.get(name, row["trust_flops_link_power"]) for name in values if name != "price_range"}
    sources = {name: f"{mark}; {row['spec_source']}; {row['spec_read']}" for name, mark in sources.items()}
    if "price_range" in values:
        sources["price_range"] = f"{row['price_trust']}; {row['price_source']}; {row['price_date']}"
    return sources


def _model(row: Mapping[str, str]) -> ModelShape:
    values: dict[str, Any] = {f.name: int(row.get(f.name) or 0) for f in fields(ModelShape) if f.type is int}
    trust = f"{row['trust_shape']}; tied {row['trust_tied']}; weights {row['trust_weights']}"
    values |= {"tied": row["tied"] == "yes", "weights": row["weights"], "experts_only": row["experts_only"] == "yes"}
    return ModelShape(row["name"], **values, source=f"{row['source']}; {row['read']}", trust=trust)
