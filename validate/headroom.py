"""How close a plan comes to the edges of its memory, its captured graphs, its model and its links, in words."""

from typing import Any

from specmath.plan import Plan

TIGHT, PADDED, NODE = 0.1, 0.01, 8
GIGA = 1e9


def warnings(plan: Plan) -> list[str]:
    """A sentence for every edge that the plan is at or beyond."""
    target = plan.choice.candidate.cost.target
    found = [*_memory(plan), *_graphs(plan, target)]
    if hasattr(target, "shape"):
        found += _parallel(target)
        found += _vocabulary(plan.choice, target)
        if plan.choice.method == "mtp" and not target.shape.mtp:
            found.append(f"{target.shape.name} is not known to have MTP layers: only some checkpoints do.")
        if target.shape.moe and not target.calibrated:
            found.append("How tokens share experts is assumed: low confidence until calibrated (--calibrate).")
    kinds = {option.gpu for option in plan.ranked}
    if len(kinds) > 1 and plan.question.price is None:
        found.append(f"Without prices {' and '.join(sorted(kinds))} are ranked by their number alone.")
    return found


def _memory(plan: Plan) -> list[str]:
    choice, memory = plan.choice, plan.memory
    if not memory:
        return ["What fits into memory is not known: the batch is bounded by what the engine holds alone."]
    found = []
    most = memory["kv_room"] / memory["kv_per_sequence"] if memory["kv_per_sequence"] else float("inf")
    if choice.max_batch >= int(most):
        bound = "it bounds the batch" if choice.binding == "memory" else "no batch is larger"
        found.append(f"The KV cache holds {int(most)} sequences, fewer than an engine would run: {bound}.")
    if memory["headroom"] < TIGHT * memory["kv_room"]:
        left = memory["headroom"] / GIGA
        found.append(f"Of {memory['kv_room'] / GIGA:.1f} GB for the KV cache {left:.1f} GB are left at the mean batch.")
    return found


def _graphs(plan: Plan, target: Any) -> list[str]:
    efficiency = getattr(target, "efficiency", None)
    if efficiency is None or plan.capture <= efficiency.capture:
        return []
    size = f"the largest step has {plan.capture} tokens, B(k + 1), and graphs are captured up to {efficiency.capture}"
    return [f"CUDA graphs: {size}; beyond, kernels are launched one by one. Capture so many."]


def _vocabulary(choice: Any, target: Any) -> list[str]:
    """A drafting model of other tokens; sizes that differ by padding alone are none."""
    shape = getattr(getattr(choice.candidate.cost, "draft", None), "shape", None)
    if choice.method != "draft_model" or shape is None or abs(shape.vocab / target.shape.vocab - 1) < PADDED:
        return []
    found = f"{choice.name} has {shape.vocab} tokens in its vocabulary, the target {target.shape.vocab}"
    return [f"{found}: most engines want the same tokenizer."]


def _parallel(target: Any) -> list[str]:
    found, shape = [], target.shape
    if target.tp > NODE:
        found.append(f"tp {target.tp} is beyond the {NODE} GPUs of most machines: all-reduces are timed as within one.")
    if not shape.mla and target.tp > shape.kv_heads:
        held = f"{shape.kv_heads} KV heads"
        found.append(f"tp {target.tp} is above the {held}: each is kept {target.tp // shape.kv_heads} times.")
    if target.tp > 1 and shape.mla:
        found.append(f"The latent KV cache is kept whole on each of {target.tp} GPUs.")
    if target.tp > 1 and (not target.gpu.link or "PCIe" in target.gpu.link_kind):
        kind = target.gpu.link_kind or "a link that is not known"
        found.append(f"All-reduces go over {kind}: their time is a large and uncertain part.")
    return found
