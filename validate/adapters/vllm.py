"""vLLM 0.28 to 0.33: `vllm serve` and its --speculative-config (vllm/config/speculative.py)."""

import json
from typing import Any

from validate.deployment import (
    LONGEST,
    SHORTEST,
    Deployment,
    command,
    option,
    release,
    text,
)

FIRST, DESCRIBED = "0.28", "0.33"
METHODS = {name: name for name in ("draft_model", "eagle", "eagle3", "mtp", "ngram")}
FINE, STEP, COARSE = (1, 2, 4), 8, 16  # sizes captured by default: 1, 2, 4, then every 8, from 256 on every 16
COARSE_FROM = 256


def emit(plan: Any, *, version: str | None = None) -> str:
    """The command with the flags of a plan; ValueError for a version or a method that is not known.

    num_speculative_tokens_per_batch_size holds the schedule where k varies: inclusive ranges from batch 1 on.
    """
    release("vllm", version, FIRST, DESCRIBED)
    found = Deployment.of(plan)
    words = [f"vllm serve {found.model}", option("--tensor-parallel-size", found.tp)]
    words.append(option("--max-num-seqs", found.max_batch))
    if found.context:
        words.append(option("--max-model-len", found.context))
    if found.capture:
        words.append(option("--max-cudagraph-capture-size", captured(found.capture)))
    if not found.off:
        words.append(option("--speculative-config", json.dumps(_speculative(found), ensure_ascii=False)))
    return text(_notes(found), command(words))


def captured(size: int) -> int:
    """The least of vLLM's own capture sizes that holds `size` tokens: another maximum is cut to the size below.

    >>> [captured(size) for size in (3, 8, 42, 250, 257)]
    [4, 8, 48, 256, 272]
    """
    if size <= FINE[-1]:
        return next(fine for fine in FINE if fine >= size)
    step = STEP if size <= COARSE_FROM else COARSE
    return -(-size // step) * step


def _speculative(found: Deployment) -> dict[str, Any]:
    """The object of --speculative-config; the k of a run never exceeds num_speculative_tokens."""
    config: dict[str, Any] = {"method": found.offered_by("vLLM", METHODS)}
    if found.method == "ngram":
        config |= {"prompt_lookup_max": LONGEST, "prompt_lookup_min": SHORTEST}
    elif found.draft:
        config["model"] = found.draft
    config["num_speculative_tokens"] = found.deepest
    if found.method != "ngram":
        config["draft_tensor_parallel_size"] = found.draft_tp
    if found.varies:
        config["num_speculative_tokens_per_batch_size"] = [list(run) for run in found.runs]
    if _draws(found):
        config["draft_sample_method"] = "probabilistic"
    if _draws(found) and found.rule == "block":
        config["rejection_sample_method"] = "block"
    return config


def _draws(found: Deployment) -> bool:
    """The prediction assumed drafts that are sampled, which vLLM does only when asked."""
    return found.method != "ngram" and found.rule in ("standard", "block")


def _notes(found: Deployment) -> list[str]:
    notes = found.common_notes() + found.lookup_notes() + found.rule_notes("vLLM", "standard", "block")
    if found.capture and captured(found.capture) != found.capture:
        size = f"A step of {found.capture} tokens has to be captured: {captured(found.capture)} is the next size of the"
        notes.append(f"{size} grid of vLLM, which cuts other maxima to the size below, vllm-project/vllm 54933.")
    if found.off:
        return notes
    if _draws(found):
        sampled = f"The prediction assumed the rule {found.rule} with sampled drafts: draft_sample_method asks for them"
        notes.append(f"{sampled}, the default of vLLM is greedy.")
    notes += found.idle_notes()
    if found.varies:
        notes.append("The schedule is ignored with --data-parallel-size above 1: k is then the largest at every batch.")
        notes.append("vLLM counts prefill chunks as part of the batch: one of them can change k for a step.")
    if found.method == "mtp":
        notes.append("vLLM wants a k above the number of heads in the checkpoint to be a multiple of that number.")
    if found.method == "draft_model" and found.draft_tp != found.tp:
        refused = "vLLM has refused to start a draft model with a tensor parallelism of its own"
        notes.append(f"{refused}: if it does, plan again with that of the target for both.")
    return notes
