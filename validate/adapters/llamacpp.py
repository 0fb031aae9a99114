"""llama.cpp: `llama-server`, builds b4200 to b8925 (--draft-max) and b9631 to b10830 or 0.1 to 0.4 (--spec-type).

The options changed in between (ggml-org/llama.cpp 22397 and 22964, April and May 2026). What prompt lookup drafts is as
long as --spec-ngram-simple-size-m; other drafts end at --spec-draft-n-max, or early below p-min: 0 keeps them at k.
"""

import re
from typing import Any

from validate.deployment import LONGEST, Deployment, command, option, release, text, unknown_version

OLD, NEW, DESCRIBED = (4200, 8925), (9631, 10830), "b10830"
TENSOR_SPLIT_SINCE, LOOKUP_SINCE = 8738, 8607
FIRST_NUMBERED, LAST_NUMBERED = "0.1", "0.4"
KNOWN = f"b{OLD[0]} to b{OLD[1]}, b{NEW[0]} to b{NEW[1]} or {FIRST_NUMBERED} to {LAST_NUMBERED}"
METHODS = {"draft_model": "draft-simple", "eagle3": "draft-eagle3", "mtp": "draft-mtp", "ngram": "ngram-simple"}
OLD_METHODS = {"draft_model": "", "ngram": "ngram-simple"}


def emit(plan: Any, *, version: str | None = None) -> str:
    """The command with the flags of a plan; ValueError for a version or a method that is not known.

    The context is that of all slots together, max_batch times the length of one sequence.
    """
    build = _build(version)
    found = Deployment.of(plan)
    words = [f"llama-server --model {found.model}", option("--parallel", found.max_batch)]
    if found.context:
        words.append(option("--ctx-size", found.context * found.max_batch))
    if found.tp > 1:
        words.append(option("--split-mode", "tensor" if build >= TENSOR_SPLIT_SINCE else "row"))
        words.append(option("--tensor-split", ",".join("1" * found.tp)))
    if not found.off:
        words += _speculative(found) if build >= NEW[0] else _speculative_before(found, build)
    return text(_notes(found), command(words))


def _build(version: str | None) -> int:
    """The build that a version is, or one like it; ValueError saying which are known."""
    found = str(version or DESCRIBED).strip().lower()
    if not re.fullmatch(r"b?\d+", found):
        try:
            release("llamacpp", found, FIRST_NUMBERED, LAST_NUMBERED)
        except ValueError:
            raise unknown_version("llamacpp", version, KNOWN) from None
        return NEW[1]
    build = int(found.removeprefix("b"))
    if not any(first <= build <= last for first, last in (OLD, NEW)):
        raise unknown_version("llamacpp", version, KNOWN)
    return build


def _speculative(found: Deployment) -> list[str]:
    words = [option("--spec-type", found.offered_by("llama.cpp", METHODS))]
    if found.method == "ngram":
        return [*words, *_lookup("--spec-ngram-simple-size", found.k)]
    if found.draft:
        words.append(option("--spec-draft-model", found.draft))
    return [*words, option("--spec-draft-n-max", found.k), option("--spec-draft-p-min", 0)]


def _speculative_before(found: Deployment, build: int) -> list[str]:
    """The flags before April 2026: a draft model is used as soon as it is given."""
    kind = found.offered_by(f"llama.cpp b{build}", OLD_METHODS if build >= LOOKUP_SINCE else {"draft_model": ""})
    if found.method == "ngram":
        return [option("--spec-type", kind), *_lookup("--spec-ngram-size", found.k), option("--draft-max", found.k)]
    model = option("--model-draft", found.draft)
    return [model, option("--draft-max", found.k), option("--draft-min", 0), option("--draft-p-min", 0)]


def _lookup(prefix: str, k: int) -> list[str]:
    """What is matched and how much is drafted: the n and the m of llama.cpp."""
    return [option(f"{prefix}-n", LONGEST), option(f"{prefix}-m", k)]


def _notes(found: Deployment) -> list[str]:
    notes = found.common_notes() + found.lookup_notes() + found.rule_notes("llama.cpp", "match")
    for name in (found.target, None if found.off else found.draft):
        if name and not name.endswith(".gguf"):
            notes.append("llama.cpp reads GGUF files: give the path of a GGUF of the model in the place of its name.")
            break
    if found.tp > 1:
        notes.append(f"The plan splits every matrix over {found.tp} GPUs: in llama.cpp this is experimental.")
    if found.off:
        return notes
    if found.varies:
        notes.append(
            f"llama.cpp cannot vary k by batch: k is {found.k} everywhere, where the plan has {found.spelled}."
        )
    if found.draft and found.draft_tp != found.tp:
        notes.append(f"The plan has the draft on {found.draft_tp} of {found.tp} GPUs: name them with -devd.")
    return notes
