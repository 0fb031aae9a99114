"""The flags of a plan for the engines that are asked for; whether an engine can take them is known before planning."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from validate.adapters import llamacpp, sglang, trtllm, vllm
from validate.candidates import Draft
from validate.deployment import OWN_WEIGHTS

ENGINES = {"vllm": vllm, "sglang": sglang, "llamacpp": llamacpp, "trtllm": trtllm}


def flags(plan: Any, asked: Iterable[str], note: str = "") -> dict[str, str]:
    """What to paste, by engine, below a note; `asked` holds names like vllm or vllm@0.33."""
    before = f"# {note}\n" if note else ""
    return {engine: before + ENGINES[engine].emit(plan, version=version) for engine, version in map(_split, asked)}


def check(asked: Sequence[str], drafts: Sequence[Draft], tps: Sequence[int] = (1,)) -> None:
    """ValueError for an engine or a version that is not known, or that cannot run one of the drafts."""
    for engine, version in map(_split, asked):
        for draft in drafts:
            _check_named(engine, draft)
            try:
                ENGINES[engine].emit(_like(draft), version=version)
            except ValueError as problem:
                raise ValueError(f"--emit {engine} for the draft {draft.name}: {problem}") from None


def engine_of(asked: Sequence[str]) -> str | None:
    """The first engine whose flags are asked for."""
    return _split(asked[0])[0] if asked else None


def _check_named(engine: str, draft: Draft) -> None:
    """ValueError for a draft that no engine has, and for a head without its weights."""
    found = f"--emit {engine}: found the draft {draft.name}"
    if draft.method is None:
        raise ValueError(f"{found}, which no engine has, expected another: leave one of the two out")
    if draft.method in OWN_WEIGHTS and not draft.id:
        raise ValueError(f"{found}, expected the id or path of its weights: --draft {draft.name}:ID")


def _split(text: str) -> tuple[str, str | None]:
    engine, _, version = text.partition("@")
    if engine not in ENGINES:
        raise ValueError(
            f"--emit: found {engine!r}, expected one of {', '.join(ENGINES)}, with @VERSION where it matters"
        )
    return engine, version or None


def _like(draft: Draft) -> Any:
    """A plan that drafts so."""
    choice = SimpleNamespace(k=1, method=draft.method, draft=draft.id, target=None, law=draft.law)
    alone = {"tp": 1, "draft_tp": 1, "max_batch": 1, "max_context": None, "capture": None}
    return SimpleNamespace(choice=choice, schedule=[(1, 1, 1)], **alone)
