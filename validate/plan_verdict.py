"""What a plan concludes: whether to draft, the reason by what binds and by the largest part, and what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from specmath.obstacle import Infeasible
from specmath.planning import Plan
from validate.document import significant
from validate.words import milliseconds

PARTS = {
    "attention": "the matrices of attention",
    "kv": "reading the KV cache",
    "mlp": "the MLP",
    "lm_head": "the output matrix",
    "allreduce": "all-reduces",
    "kernels": "small kernels and launches",
    "sampling": "sampling",
    "host": "the host",
    "draft": "drafting",
    "accepting": "accepting",
    "forward": "the forward",
}


def verdict(plan: Plan, gain: Mapping[str, Any] | None) -> str:
    """Use it or not; measure more where the interval of the gain holds 1."""
    if gain and gain["low"] is not None and gain["low"] <= 1 <= gain["high"]:
        return "measure_more"
    return "use" if plan.choice.k else "dont_use"


def reason(plan: Plan, step: Mapping[str, Any]) -> str:
    """What binds with and without drafting, and what a round emits and costs at the batch it runs at."""
    plain, drafting = plan.without, plan.drafting
    bound = [f"{_bound(option)}" for option in (plain, drafting) if option]
    if plain is None:
        bound.insert(0, "plain decoding keeps no promise")
    if not drafting:
        return f"{bound[0]}, and nothing that drafts keeps the promise"
    spent, rounds = sum(step["plain"].values()), sum(step["round"].values())
    emitted = f"a round of k = {drafting.k} emits {step['tokens']:.2f} tokens and takes {significant(rounds / spent)}"
    largest = max(step["round"], key=step["round"].__getitem__)
    share = f"{step['round'][largest] / rounds:.0%} of it {PARTS[largest]}"
    return (
        f"{', '.join(bound)}; at batch {step['batch']:.0f} {emitted} plain steps ({milliseconds(rounds)} ms), {share}"
    )


def then(plan: Plan, verdict: str, *, emitted: Sequence[str], given: bool, target: str) -> str:
    """What to paste, or to do next."""
    draft = plan.drafting.name if plan.drafting else None
    if verdict == "measure_more":
        return f"measure acceptance on more prompts: specmath profile --target {shlex.quote(target)} --draft {draft}"
    if verdict == "dont_use":
        return "decode plainly; --whatif alpha says from which acceptance a draft would pay"
    if emitted:
        return f"paste the flags of {', '.join(emitted)} below"
    if given:
        known = f"measure alpha on your traffic: specmath profile --target {shlex.quote(target)} --draft {draft} --json"
        return f"--emit vllm for the flags; {known}"
    return "--emit vllm, sglang, llamacpp or trtllm for the flags"


def refused(found: Infeasible) -> tuple[str, str]:
    """The reason and what to do where nothing keeps the promise."""
    return found.reason, found.lift


def _bound(option: Any) -> str:
    """What holds one option back."""
    name = f"{option.name} with k = {option.k}" if option.k else "plain decoding"
    return f"{option.binding} binds {name} at {significant(option.capacity)} req/s of a replica"
