"""The words of a profile: its answer, and the sections below it."""

from collections.abc import Mapping
from typing import Any

from validate.words import UNKNOWN, WORDS, Section, counted, flat, interval, percent


def headline(document: Mapping[str, Any]) -> str:
    """The best draft, its acceptance, and what it rests on."""
    best = document["best"]
    draft = next(d for d in document["drafts"] if d["name"] == best["draft"])
    gain = f"{interval(best['speedup'], 'x')}, " if best["speedup"] else ""
    tokens = f"{interval(best['block_efficiency'])} tokens per round"
    several = "fastest" if best["speedup"] else "most tokens per round"
    many = (
        f"{several} of {counted(len(document['drafts']), 'draft')}" if len(document["drafts"]) > 1 else "the one draft"
    )
    where = f"{many} on {counted(document['text']['prompts'], 'prompt')}"
    forced = "" if document["own_text"]["own"] else "NOT THE TARGET'S OWN TEXT: "
    verdict = WORDS[document["verdict"]]
    of = " of" if document["verdict"] == "measure_more" else ""
    return (
        f"{forced}{verdict}{of} {best['draft']} with k = {best['k']}: {gain}{tokens}, "
        f"alpha {interval(draft['alpha'])}; {where}"
    )


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Everything below the opening."""
    return [
        _drafts(document),
        _by_k(document),
        _by_domain(document),
        *([_pairs(document)] if document["pairs"] else []),
        _bands("By place in the response", "tokens", "by_position", document),
        _bands("By length of the prompt", "tokens", "by_context", document),
        _origin(document),
    ]


def _drafts(document: Mapping[str, Any]) -> Section:
    columns = ("draft", "rule", "alpha", "on copyable tokens", "on the others", "without loops")
    rows = tuple(
        (
            d["name"],
            d["rule"],
            interval(d["alpha"]),
            interval(d["copyable"]["alpha"]),
            interval(d["copyable"]["others"]),
            interval(d["without_loops"]),
        )
        for d in document["drafts"]
    )
    share = document["drafts"][0]["copyable_share"]
    copied = f"{percent(share, '')} of the tokens are what followed the same three tokens in the prompt."
    fixed = [d["name"] for d in document["drafts"] if d["by_offset"]]
    first = [f"{name}: alpha is of the drafts that rounds test, the rest of first drafts alone." for name in fixed]
    return Section("Drafts", (), columns, rows, (copied, *first))


def _by_k(document: Mapping[str, Any]) -> Section:
    drafts = document["drafts"]
    depths = [point["k"] for point in drafts[0]["by_k"]]
    priced = any(point["speedup"] for d in drafts for point in d["by_k"])
    blocks = any(point["block_gain"] for d in drafts for point in d["by_k"])
    names = [f"{d['name']}{what}" for d in drafts for what in _kinds(priced, blocks)]
    rows = tuple(
        (str(k), *(cell for d in drafts for cell in _cells(d["by_k"][i], priced, blocks))) for i, k in enumerate(depths)
    )
    return Section("Tokens per round by k", (), ("k", *names), rows, _whose(document["prices"]))


def _whose(prices: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What the prices of the speedups were measured of, as their file says."""
    if prices is None:
        return ()
    known = {name: UNKNOWN if value is None else flat(value) for name, value in prices.items()}
    weights = " with random weights" if prices["dummy_weights"] else ""
    return (f"Prices of {known['target']}{weights} on {known['device']} in {known['dtype']}; {known['sampler']}.",)


def _kinds(priced: bool, blocks: bool) -> list[str]:
    return ["", *([" speedup"] if priced else []), *([" block rule"] if blocks else [])]


def _cells(point: Mapping[str, Any], priced: bool, blocks: bool) -> list[str]:
    gain = point["block_gain"]
    more = percent(gain["value"] - 1) if gain else UNKNOWN
    speedup = [interval(point["speedup"], "x")] if priced else []
    return [interval(point["block_efficiency"]), *speedup, *([more] if blocks else [])]


def _by_domain(document: Mapping[str, Any]) -> Section:
    drafts = document["drafts"]
    rows = tuple(
        (domain, str(of["prompts"]), str(of["loops"]), *(interval(d["by_domain"][domain]["alpha"]) for d in drafts))
        for domain, of in drafts[0]["by_domain"].items()
    )
    after = ("An output loops when over 30 % of its 8-grams are repeats, which flatters any draft.",)
    return Section("alpha by kind of text", (), ("text", "prompts", "loops", *(d["name"] for d in drafts)), rows, after)


def _pairs(document: Mapping[str, Any]) -> Section:
    """Which draft beats which, on the same texts."""
    kinds = {"all": document["pairs"], **document["pairs_by_domain"]}
    rows = tuple((text, _beats(pair)) for text, found in kinds.items() for pair in found)
    return Section(
        "Draft against draft",
        (
            "Differences of alpha in points, paired by prompt.",
            "A draft that finds nothing to draft is not tested: read the tokens per round beside it.",
        ),
        ("text", ""),
        rows,
    )


def _beats(pair: Mapping[str, Any]) -> str:
    difference = pair["difference"]
    points = 100 * difference["value"]
    if difference["low"] is None:
        return f"{pair['a']} against {pair['b']}: {points:+.1f} points, no interval"
    half = 50 * (difference["high"] - difference["low"])
    verb = "beats" if difference["low"] > 0 else "is not told apart from"
    return f"{pair['a']} {verb} {pair['b']}: {points:+.1f} ± {half:.1f} points"


def _bands(title: str, unit: str, key: str, document: Mapping[str, Any]) -> Section:
    drafts = document["drafts"]
    rows = tuple(
        (band["band"], *(interval(d[key][i]["alpha"]) for d in drafts))
        for i, band in enumerate(drafts[0][key])
        if any(d[key][i]["alpha"] for d in drafts)
    )
    return Section(title, (), (unit, *(d["name"] for d in drafts)), rows)


def _origin(document: Mapping[str, Any]) -> Section:
    found = document["own_text"]
    ties = (
        f"{counted(found['ties'], 'tie')}, the widest {found['widest_tie']:.2g} apart" if found["ties"] else "no ties"
    )
    lines = [f"{counted(found['foreign'], 'token')} of {found['tokens']} the target could not have written; {ties}."]
    if found["z"] is not None:
        lines.append(f"Its log-likelihood lies {found['z']:+.1f} standard errors from what its own text has.")
    if not found["own"]:
        lines.append("The text cannot be the target's own under this sampler: these numbers are corpus-forced.")
    return Section("Whose text it is", tuple(lines))
