"""A JSON object in words: the answer, the reason, what to do next, and the sections below them.

Seconds become milliseconds here and nowhere else; every number shown is one of the object's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from validate import cost_sections, lossless_sections, plan_sections, profile_sections, run_sections
from validate.document import searched, significant, times
from validate.words import UNKNOWN, WORDS, Section, alpha_in_words, counted, flat, interval, percent

SHOWN_K = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64)


def headline(document: Mapping[str, Any]) -> str:
    """The answer, first line of every report."""
    return _HEADLINES[_command(document)](document)


def opening(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """The answer, the reason, and what to do next."""
    return headline(document), f"because {document['reason']}", f"next: {document['next']}"


def sections(document: Mapping[str, Any], files: Sequence[str] = ()) -> list[Section]:
    """Everything below the opening, in the order of every rendering."""
    found = _SECTIONS[_command(document)](document)
    return [*found, Section("Files", tuple(files))] if files else found


def _command(document: Mapping[str, Any]) -> str:
    return document["schema"].removeprefix("specmath.").partition("/")[0]


def _speedup_headline(document: Mapping[str, Any]) -> str:
    k, word = document["inputs"]["k"], WORDS[document["verdict"]]
    if not (k or document["best"]["k"]):
        return f"{word}: no k from 1 to {searched(k)} pays"
    edge = ", the deepest looked at" if k == document["best"]["k"] == searched(k) else ""
    spent = f"{document['block_efficiency']:.2f} tokens per round of {significant(document['round_time'])} plain steps"
    return f"{word} k = {k}{edge}: {times(document['speedup'])} ({spent})"


def _fit_headline(document: Mapping[str, Any]) -> str:
    if document["speedup"]:
        found = f"{interval(document['speedup'], 'x')} on {counted(document['prompts']['finished'], 'prompt')}"
    else:
        found = f"no speedup measured, {interval(document['block_efficiency'])} tokens per round"
    return f"{WORDS[document['verdict']]}: {found}, alpha = {interval(document['alpha'])}"


def _speedup_sections(document: Mapping[str, Any]) -> list[Section]:
    edge, best, given = document["break_even"], document["best"], document["inputs"]
    deepest = " (the deepest looked at)" if best["k"] == searched(given["k"]) else ""
    facts = (
        ("tokens per round", significant(document["block_efficiency"])),
        ("its standard deviation", significant(document["variance"] ** 0.5)),
        ("round time [plain steps]", significant(document["round_time"])),
        ("accepted / drafted", significant(document["accepted_fraction"])),
        ("best k", f"{best['k']}{deepest}, {times(best['speedup'])}"),
        ("break-even alpha at this c", significant(edge["alpha"])),
        ("break-even c at this alpha", significant(edge["c"])),
    )
    shown = {*SHOWN_K, given["k"], best["k"]}
    curve = tuple(
        (str(point["k"]), significant(point["block_efficiency"]), times(point["speedup"]))
        for point in document["curve"]
        if point["k"] in shown
    )
    inputs = ", ".join(f"{name} = {value:g}" for name, value in given.items())
    columns = ("k", "tokens / round", "speedup")
    return [Section("Closed form", (inputs,), ("", ""), facts), Section("By k", (), columns, curve)]


def _fit_sections(document: Mapping[str, Any]) -> list[Section]:
    law, best = document["law"], document["best"]
    facts = (
        ("source", document["source"]),
        ("acceptance rule", document["rule"]),
        ("law", f"{law['name']}({flat(law['params'])})" if law else UNKNOWN),
        ("alpha", interval(document["alpha"])),
        ("tokens per round", interval(document["block_efficiency"])),
        ("survival", ", ".join(significant(value) for value in document["survival"])),
        ("rounds", f"{document['rounds']}, {percent(document['hit_share'], '')} of them with a draft"),
        ("accepted / drafted", f"{document['accepted']} / {document['drafted']}"),
        ("speedup", interval(document["speedup"], "x")),
        ("best k on these rounds", f"{best['k']}, {times(best['speedup'])}" if best else UNKNOWN),
        ("prompts", "{finished} finished of {begun}".format(**document["prompts"])),
        ("lines not understood", str(document["unread_lines"])),
    )
    gaps = tuple(
        f"Not known: {g['what']} ({g['missing']} missing). {g['how']}".strip() for g in document["not_identifiable"]
    )
    return [Section("Acceptance", (alpha_in_words(document),), ("", ""), facts, (*gaps, *_exactly(best)))]


def _exactly(best: Mapping[str, Any] | None) -> list[str]:
    """What the best k is no exact answer to, and what is."""
    if best is None or best["cut_from"] == 1:
        return []
    cut = f"Smaller k are cut from the rounds of k = {best['cut_from']}, which understates them where easy and hard"
    return [f"{cut} stretches of text alternate; exact for every k: {best['exact']}"]


_HEADLINES = {
    "speedup": _speedup_headline,
    "run": run_sections.headline,
    "fit": _fit_headline,
    "cost": cost_sections.headline,
    "lossless": lossless_sections.headline,
    "profile": profile_sections.headline,
    "plan": plan_sections.headline,
}
_SECTIONS = {
    "speedup": _speedup_sections,
    "run": run_sections.sections,
    "fit": _fit_sections,
    "cost": cost_sections.sections,
    "lossless": lossless_sections.sections,
    "profile": profile_sections.sections,
    "plan": plan_sections.sections,
}
