"""TensorRT-LLM 1.3 and 1.4: the YAML for --config of trtllm-serve (docs/source/features/speculative-decoding.md).

The documentation of 1.3 knows no way to switch speculation off while it runs. draft_len_schedule, for developers since
NVIDIA/TensorRT-LLM 10860, maps the last batch of a range to its draft length; the first has to be max_draft_len.
"""

import json
from typing import Any

from validate.deployment import LONGEST, Deployment, release, text

FIRST, DESCRIBED, LAST = "1.3", "1.3", "1.4"
METHODS = {"draft_model": "DraftTarget", "eagle3": "Eagle3", "mtp": "MTP", "ngram": "NGram"}
SCHEDULED = ("draft_model", "eagle3", "mtp")


def emit(plan: Any, *, version: str | None = None) -> str:
    """The YAML of a plan; ValueError for a version or a method that is not known."""
    release("trtllm", version or DESCRIBED, FIRST, LAST)
    found = Deployment.of(plan)
    lines = [f"tensor_parallel_size: {found.tp}", f"max_batch_size: {found.max_batch}"]
    if found.context:
        lines.append(f"max_seq_len: {found.context}")
    if found.capture:
        lines += ["cuda_graph_config:", f"  max_batch_size: {found.max_batch}", "  enable_padding: true"]
    if not found.off:
        lines += _speculative(found)
    return text(_notes(found), *lines)


def _scheduled(found: Deployment) -> bool:
    """k can be given by batch: the deepest draft comes first, and the method is one of those it was written for."""
    return found.varies and found.runs[0][2] == found.deepest and found.method in SCHEDULED


def _speculative(found: Deployment) -> list[str]:
    k = found.deepest if _scheduled(found) else found.k
    lines = ["speculative_config:", f"  decoding_type: {found.offered_by('TensorRT-LLM', METHODS)}"]
    lines.append(f"  max_draft_len: {k}")
    if found.method == "ngram":
        lines.append(f"  max_matching_ngram_size: {LONGEST}")
    elif found.draft:
        lines.append(f"  speculative_model: {json.dumps(found.draft, ensure_ascii=False)}")
    if found.method == "mtp":
        lines.append(f"  num_nextn_predict_layers: {k}")
    if _scheduled(found):
        lines += ["  draft_len_schedule:", *(f"    {high}: {depth}" for _, high, depth in found.runs)]
    return lines


def _notes(found: Deployment) -> list[str]:
    notes = [f"Save as specmath.yaml: trtllm-serve {found.model} --config specmath.yaml"]
    notes += found.common_notes() + found.lookup_notes() + found.rule_notes("TensorRT-LLM")
    if found.off:
        fixed = "TensorRT-LLM documents no way to switch speculation off while it runs"
        return [*notes, f"{fixed}: a plan that is best without it at the planned load is run without it."]
    if _scheduled(found):
        notes += found.idle_notes()
        notes.append(
            "The documentation says that speculation cannot be switched off while it runs. draft_len_schedule is"
        )
        notes.append("an option for developers that maps the last batch of a range to its k: measure that it does.")
    elif found.zeros:
        notes.append(
            f"TensorRT-LLM cannot switch speculation off while it runs: it drafts {found.k} at every batch, also at"
        )
        notes.append(f"batch {found.zeros}, where the plan has k = 0. It gains at low batch only.")
    elif found.varies:
        notes.append(f"TensorRT-LLM drafts {found.k} at every batch, where the plan has {found.spelled}.")
    if found.method != "ngram" and found.draft_tp != found.tp:
        notes.append(
            f"The plan has the draft on {found.draft_tp} of {found.tp} GPUs, TensorRT-LLM runs it on all of them."
        )
    return notes
