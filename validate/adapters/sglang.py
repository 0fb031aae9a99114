"""SGLang 0.5.20 to 0.5.23: the flags of a chain, and the adaptive config that sets k by batch.

In that file a key is the smallest batch of a range, after the batch is padded to a captured size; a range with one
candidate keeps it (python/sglang/srt/speculative/adaptive_spec_params.py). It exists for the EAGLE family only.
"""

import json
from typing import Any

from validate.deployment import Deployment, command, option, release, text

FIRST, DESCRIBED = "0.5.20", "0.5.23"
METHODS = {"draft_model": "STANDALONE", "eagle": "EAGLE", "eagle3": "EAGLE3", "mtp": "NEXTN", "ngram": "NGRAM"}
ADAPTIVE = ("eagle", "eagle3", "mtp")
FILE = "specmath-adaptive.json"


def emit(plan: Any, *, version: str | None = None) -> str:
    """The command with the flags of a plan; ValueError for a version or a method that is not known.

    A chain of k drafts is num_steps k, eagle_topk 1, num_draft_tokens k + 1.
    """
    release("sglang", version, FIRST, DESCRIBED)
    found = Deployment.of(plan)
    words = [f"python -m sglang.launch_server --model-path {found.model}", option("--tp-size", found.tp)]
    words.append(option("--max-running-requests", found.max_batch))
    if found.context:
        words.append(option("--context-length", found.context))
    if found.capture:
        words.append(option("--cuda-graph-max-bs-decode", found.max_batch))
    if not found.off:
        words += _speculative(found)
    blocks = [_file(found)] if _adapts(found) else []
    return text(_notes(found), *blocks, command(words))


def _adapts(found: Deployment) -> bool:
    return not found.off and found.varies and found.method in ADAPTIVE


def _depth(found: Deployment) -> int:
    return found.deepest if _adapts(found) else found.k


def _speculative(found: Deployment) -> list[str]:
    words = [option("--speculative-algorithm", found.offered_by("SGLang", METHODS))]
    if found.method == "ngram":
        words.append(option("--speculative-ngram-max-bfs-breadth", 1))
    else:
        if found.draft:
            words.append(option("--speculative-draft-model-path", found.draft))
        words.append(option("--speculative-num-steps", _depth(found)))
        words.append(option("--speculative-eagle-topk", 1))
    words.append(option("--speculative-num-draft-tokens", _depth(found) + 1))
    if found.rule == "standard" and found.method in ADAPTIVE:
        words.append("--speculative-use-rejection-sampling")
    if _adapts(found):
        words += ["--speculative-adaptive", option("--speculative-adaptive-config", FILE)]
    return words


def _file(found: Deployment) -> str:
    """The adaptive config, written by the shell that it is pasted into."""
    slots = {str(low): {"candidate_steps": [k]} for low, _, k in found.runs}
    return f"cat > {FILE} <<'JSON'\n{json.dumps(slots)}\nJSON"


def _notes(found: Deployment) -> list[str]:
    drawn = ("standard",) if found.method in ADAPTIVE else ()
    notes = found.common_notes() + found.lookup_notes() + found.rule_notes("SGLang", *drawn)
    if found.off:
        return notes
    if found.rule == "standard" and drawn:
        notes.append("The prediction assumed the rule standard: rejection sampling asks for it, the default is greedy.")
    if _adapts(found):
        notes += found.idle_notes()
        ends = " ".join(str(high) for _, high, _ in found.runs[:-1])
        notes.append("SGLang pads a batch to a captured size before it looks k up. For ranges that end where the plan")
        notes.append(
            f"has them, see that these sizes are captured: {ends}. Attention data parallelism has no such file."
        )
    elif found.varies:
        notes.append(f"SGLang cannot vary k by batch for this draft: k is {found.k} everywhere, where the plan has")
        notes.append(f"{found.spelled}.")
    if found.method != "ngram" and found.draft_tp != found.tp:
        notes.append(f"The plan has the draft on {found.draft_tp} of {found.tp} GPUs, SGLang runs it on all of them.")
    return notes
