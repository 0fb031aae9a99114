"""How much of a datasheet an engine reaches: named parameters, each with where it is from.

Kernel times of `data/kernels.csv` (aiconfigurator-core 0.12.0, Apache-2.0; vLLM's kernels) are reduced to two numbers
each, a fixed time and a share of the peak that large operands approach:

    one matrix product    fixed + [ (bytes / (bandwidth BW))^p + (flop / (flops F))^p ]^(1/p)
    attention of a layer  fixed + max(KV bytes / (kv_bandwidth BW), flop / (attention_flops F))
    one all-reduce        fixed + bytes / bandwidth

so that small matrices, and tensor parallelism with them, reach less. A GPU without measured kernels borrows those of
the H100 and says "assumed", as do the times of engines, which no kernel table holds.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from specmath.draft import shown, within
from specmath.hardware import gpu as known_gpu
from specmath.shapes import precision

LARGE = (8192 * 8192 + 10240 * 8192 + 7168 * 8192 + 8192 * 7168) / 4  # weights of the matrices of size "large"
SMALL = 4096 * 4096
REFERENCE, REFERENCE_PCIE = "H100 SXM", "L40S"
MEASURED = {"fp4": "nvfp4", "fp8": "fp8", "int8": "fp8"}  # whose kernels stand for a format's; else those of bf16
BLOCK_FIXED = 29e-6  # block scales: half of the 58 us of quantising and launching on Hopper; graphs launch for less
KERNELS = "kernel tables of aiconfigurator-core 0.12.0"
ASSUMED = "assumed"


@dataclass(frozen=True)
class Product:
    """A matrix product: shares of the peak bandwidth and FLOP/s that a large one reaches, and fixed seconds."""

    bandwidth: float
    flops: float
    fixed: float = 0.0

    def __post_init__(self):
        for name, low in (("bandwidth", 1e-6), ("flops", 1e-6), ("fixed", 0)):
            within(name, getattr(self, name), low)


@dataclass(frozen=True)
class Engine:
    """What a step costs besides kernels: host seconds per step and per sequence, small kernels per layer.

    prefill_first: whether waiting prompts stop the decoding (SGLang), or share its iterations.
    """

    host: float
    per_sequence: float
    kernels: int
    prefill_first: bool = False


ENGINES = {
    "vllm": Engine(1.2e-3, 0.0, 5),
    "sglang": Engine(0.8e-3, 0.0, 5, prefill_first=True),
    "trtllm": Engine(0.4e-3, 0.0, 2),  # fuses norms into the all-reduce, and the cache's write into the attention
    "vllm-2024": Engine(6e-3, 0.0, 9),  # V0: see bench/engine_2024.py for what speculation cost there
}


@dataclass(frozen=True)
class Efficiency:
    """Shares of the peak and fixed times of one model on one GPU at one tensor parallelism. Seconds, bytes/s.

    product and head are the matrix products of the layers and of the output matrix, which stays in bf16; attention is
    fixed seconds per layer, allreduce those of one all-reduce. capture is the most tokens that a CUDA graph was
    captured for; beyond it a step takes at least eager seconds per layer. draft_pass is the host's time per forward
    of a drafting model, accept what a round takes beyond its forwards (under 1.7 % of it in arXiv 2601.11580).
    rho is how far the tokens of one sequence choose experts of their own (1 independently, 0 all the same), skew the
    exponent of a power law of the experts' popularity (0: all alike). sharpness is p above, sampled the bytes that
    choosing a token moves per entry of the vocabulary. provenance holds (kind, source) for each name; what it lacks
    is assumed.
    """

    product: Product
    head: Product
    _: KW_ONLY
    kv_bandwidth: float = 0.93
    attention: float = 0.0
    attention_flops: float = 0.5
    allreduce: float = 0.0
    allreduce_bandwidth: float = math.inf
    kernels: float = 5
    launch: float = 2.2e-6
    host: float = 1.2e-3
    per_sequence: float = 0.0
    draft_pass: float = 0.15e-3
    accept: float = 0.1e-3
    capture: int = 512
    eager: float = 0.29e-3
    sampled: float = 10.0
    sharpness: float = 2.0
    rho: float = 1.0
    skew: float = 0.0
    prefill_first: bool = False
    provenance: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False)

    def __post_init__(self):
        for name in ("kv_bandwidth", "attention_flops", "allreduce_bandwidth"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: found {shown(getattr(self, name))}, expected a number above 0")
        for name in (
            "attention",
            "allreduce",
            "kernels",
            "launch",
            "host",
            "per_sequence",
            "draft_pass",
            "accept",
            "eager",
        ):
            within(name, getattr(self, name))
        within("rho", self.rho, 0, 1)
        within("skew", self.skew)
        if not self.sharpness >= 1:
            raise ValueError(f"sharpness: found {shown(self.sharpness)}, expected 1 or more")

    def drafting(self) -> "Efficiency":
        """The same for a model that drafts: its host time is that of a draft pass, nothing per sequence."""
        return replace(self, host=self.draft_pass, per_sequence=0.0)

    def fitted(self, source: str, **values: Any) -> "Efficiency":
        """With parameters replaced by fitted ones, and that said of them."""
        known = {**self.provenance, **dict.fromkeys(values, ("fitted", source))}
        return replace(self, **values, provenance=known)

    def origin(self, name: str) -> tuple[str, str]:
        """(measured, fitted, datasheet or assumed; source) of a parameter.

        >>> efficiency("H100 SXM").origin("host")[0]
        'assumed'
        """
        return self.provenance.get(name, (ASSUMED, "no measurement"))


def efficiency(gpu, weights="bf16", *, tp=1, engine="vllm") -> Efficiency:
    """The defaults for a GPU, a precision of the weights, a tensor parallelism and an engine.

    Kernels are those measured on this GPU, else on an H100; all-reduces of a GPU that was not measured are those of
    an H100 (NVLink) or an L40S (PCIe), slower or faster as its link is. Raises ValueError for an engine not known.

    >>> round(efficiency("H100 SXM").product.bandwidth, 3), efficiency("H100 SXM").origin("product")[0]
    (0.897, 'measured')
    """
    gpu, form = known_gpu(gpu), precision(weights)
    if engine not in ENGINES:
        raise ValueError(f"engine: found {shown(engine)}, expected one of {', '.join(ENGINES)}")
    run = ENGINES[engine]
    product, of_product = _product(gpu.name, form)
    attention, of_attention = _attention(gpu.name)
    reduce, of_reduce = _allreduce(gpu.name, gpu.link, "PCIe" in gpu.link_kind, tp)
    origins = {"product": of_product, "head": _product(gpu.name, precision("bf16"))[1], "attention": of_attention}
    return Efficiency(
        product,
        _product(gpu.name, precision("bf16"))[0],
        attention=attention[0],
        kv_bandwidth=attention[1],
        allreduce=reduce[0],
        allreduce_bandwidth=reduce[1],
        kernels=run.kernels,
        host=run.host,
        per_sequence=run.per_sequence,
        prefill_first=run.prefill_first,
        provenance=origins | {"kv_bandwidth": of_attention, "allreduce": of_reduce, "allreduce_bandwidth": of_reduce},
    )


@cache
def _table():
    text = (resources.files("specmath") / "data" / "kernels.csv").read_text()
    return tuple(csv.DictReader(text.splitlines()))


def _rows(kind, gpu, other=REFERENCE):
    """The measured kernels of a kind on a GPU, and whether they are its own or those of another."""
    rows = [row for row in _table() if row["kind"] == kind]
    own = [row for row in rows if row["gpu"] == gpu]
    return own or [row for row in rows if row["gpu"] == other], bool(own)


def _origin(own, other=REFERENCE):
    return ("measured", KERNELS) if own else (ASSUMED, f"{KERNELS}, of the {other}")


@cache
def _product(gpu, form):
    """A product's two numbers from the bandwidth that 4096 x 4096 and larger matrices reach, and its FLOP share."""
    wanted = MEASURED.get(form.compute, "bf16")
    rows, own = _rows("gemm_bandwidth_fraction", gpu)
    if wanted not in {row["precision"] for row in rows}:
        wanted, own = "bf16", False
    reached = {row["size"]: float(row["value"]) for row in rows if row["precision"] == wanted}
    flops = next(row for row in _rows("gemm_flop_fraction", gpu)[0] if row["precision"] == wanted)
    large, small = LARGE * precision(wanted).bytes, SMALL * precision(wanted).bytes
    share = (large - small) / (large / reached["large"] - small / reached["small"])
    peak = known_gpu(gpu if _rows("gemm_bandwidth_fraction", gpu)[1] else REFERENCE).bandwidth
    fixed = max((small / reached["small"] - small / share) / peak, 0.0)
    if form.name == "fp8_block":
        fixed = BLOCK_FIXED
    return Product(min(share, 1.0), float(flops["value"]), fixed), _origin(own and form.name == wanted)


@cache
def _attention(gpu):
    """(fixed seconds, share of the bandwidth): relative least squares over the kernels that no cache served."""
    rows, own = _rows("decode_attention_layer", gpu)
    size, times = (np.array([float(row[name]) for row in rows]) for name in ("size", "latency_us"))
    seconds, memory = times * 1e-6, size / known_gpu(gpu if own else REFERENCE).bandwidth
    kept = memory < seconds
    columns = np.stack([np.ones(kept.sum()), memory[kept]], axis=1) / seconds[kept, None]
    fixed, slope = np.linalg.lstsq(columns, np.ones(kept.sum()), rcond=None)[0]
    return (max(float(fixed), 0.0), min(1 / float(slope), 1.0)), _origin(own)


@cache
def _allreduce(gpu, link, pcie, tp):
    """(fixed seconds, bytes/s) of a captured all-reduce over tp GPUs, from the smallest and the largest message."""
    if tp == 1:
        return (0.0, math.inf), (ASSUMED, "one GPU reduces nothing")
    other = REFERENCE_PCIE if pcie else REFERENCE
    rows, own = _rows("allreduce_graph", gpu, other)
    nearest = min({int(row["gpus"]) for row in rows}, key=lambda gpus: abs(gpus - tp))
    messages = sorted((float(row["size"]), float(row["latency_us"])) for row in rows if int(row["gpus"]) == nearest)
    (small, first), (large, last) = messages[0], messages[-1]
    scale = 1.0 if own or not link else link / known_gpu(other).link
    return (first * 1e-6, scale * (large - small) / (last - first) * 1e6), _origin(own and nearest == tp, other)
