"""The words of a lossless test: its answer, and the sections below it."""

from collections.abc import Mapping
from typing import Any

from validate.document import significant
from validate.words import UNKNOWN, WORDS, Section, percent

FOUND = {
    "pass": "{pair} is lossless as far as {tokens} {mode} tokens show",
    "fail": "{pair} is not lossless, found in {tokens} {mode} tokens",
    "cannot_tell": "{pair} may be lossless, {tokens} {mode} tokens do not show it",
}


def headline(document: Mapping[str, Any]) -> str:
    """Whether it is lossless, on how many tokens."""
    pair = f"{document['draft']} with k = {document['k']}"
    found = FOUND[document["verdict"]].format(pair=pair, tokens=document["tokens"], mode=document["mode"])
    return f"{WORDS[document['verdict']]}: {found}"


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Everything below the opening."""
    leaning = document["towards_draft"] or {}
    power = tuple(
        (percent(float(tv), ""), percent(chance, ""), percent(leaning.get(tv), ""))
        for tv, chance in document["power"].items()
    )
    return [
        Section("What was tested", (), ("", ""), _facts(document), tuple(document["faults"])),
        _power(document, power),
    ]


def _facts(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    worst, sampled = document["worst"], document["mode"] == "sampled"
    sampler = ", ".join(f"{name} = {value:g}" for name, value in document["sampler"].items())
    away = "total variation" if sampled else "gap of the logits"
    p_value, found = document["p_value"], document["found"]
    return (
        ("target", document["target"]),
        ("sampler", sampler),
        ("tokens", f"{document['tokens']} in {document['contexts']} {'contexts' if sampled else 'texts'}"),
        ("false alarms, at most", percent(document["false_alarm"], "")),
        ("p-value, at any time", UNKNOWN if p_value is None else f"{p_value:.2g}"),
        ("failed after", UNKNOWN if found is None else f"{found} tokens"),
        ("worst", f"{worst['context']}, {away} {significant(worst['deviation'])}" if worst else UNKNOWN),
        ("ties of rounding", str(document["ties"])),
        ("structural faults", str(document["structural"])),
    )


def _power(document: Mapping[str, Any], rows: tuple[tuple[str, str, str], ...]) -> Section:
    if document["mode"] == "greedy":
        return Section("What would have been found", (), ("wrong tokens", "chance"), tuple(row[:2] for row in rows))
    after = (
        "At least, by simulation: off by so much in every context that came more than once, each in a random direction "
        "of its own; or off by so much on average because some tokens follow the draft, as under a lossy rule.",
    )
    return Section(
        "What would have been found",
        (),
        ("off by, per token", "each context its own way", "towards the draft"),
        rows,
        after,
    )
