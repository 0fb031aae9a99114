"""Rooflines of round constants, as published worked examples have them: nothing measured, nothing engine-specific."""

from specmath.cost import Pair, Roofline
from specmath.efficiency import Efficiency, Product
from specmath.hardware import model

BANDWIDTH = {"bf16": 0.85, "fp8": 0.663}
FLOPS = {"bf16": 0.78, "fp8": 0.60}
ALLREDUCE = {
    "A100 80 SXM": (6e-6, 190e9),
    "H100 SXM": (5e-6, 190e9),
    "H200 SXM": (5e-6, 200e9),
    "B200 SXM": (8e-6, 300e9),
}
STEPS = {"host": 1e-3, "kernels": 9}


def constants(gpu, tp, weights="bf16", **others):
    """Matrices reach .85 and .78 of the peaks in bf16, .663 and .60 in fp8, KV .92; no fixed times but launches."""
    fixed, rate = ALLREDUCE[gpu]
    plain = {"per_sequence": 0.0, "capture": 0, "eager": 0.0, "sampled": 0.0, "kv_bandwidth": 0.92, "launch": 2.2e-6}
    return Efficiency(
        Product(BANDWIDTH[weights], FLOPS[weights]),
        Product(BANDWIDTH["bf16"], FLOPS["bf16"]),
        allreduce=fixed,
        allreduce_bandwidth=rate / 0.7 if tp == 2 else rate,
        **(plain | STEPS | others),
    )


def pair(target, gpu, tp, draft, draft_tp, weights="bf16"):
    """A target and the draft of that name ("head" for one layer of the target) on the same GPUs."""
    shape = model(target).head(fusion=0) if draft == "head" else model(draft)
    drafting = constants(gpu, draft_tp, host=0.15e-3)
    return Pair(
        Roofline(target, gpu, tp=tp, weights=weights, efficiency=constants(gpu, tp, weights)),
        Roofline(shape, gpu, tp=draft_tp, efficiency=drafting),
    )
