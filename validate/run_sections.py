"""The words of a run: its answer, and the sections below it."""

from collections.abc import Mapping
from typing import Any

from validate.cost_sections import cost_cells
from validate.document import MANY, significant, times
from validate.words import UNKNOWN, WORDS, Section, alpha_in_words, counted, flat, interval, percent

PARTS = ("draft", "verify", "overhead")
VAGUE, VACUOUS = "too wide to tell", 1.0  # an interval longer than so many times its value would hold nearly anything


def headline(document: Mapping[str, Any]) -> str:
    """The verdict on the leading draft and k, and its speedup."""
    prompts = sum(domain["prompts"] for domain in document["domains"].values())
    of = " of" if document["verdict"] == "measure_more" else ""
    verdict = f"{WORDS[document['verdict']]}{of} {document['draft']} with k = {document['provenance']['k']}"
    return f"{verdict}: {interval(document['speedup'], 'x')} on {counted(prompts, 'prompt')}"


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Everything below the opening."""
    return [
        _by_domain(document),
        _predictions(document),
        _generalisation(document),
        _model_error(document),
        cost_cells({"target": document["costs"]["target"], **document["costs"]["drafts"]}, document["costs"]),
        _time_spent(document),
        _laws(document),
        _provenance(document),
    ]


def _by_domain(document: Mapping[str, Any]) -> Section:
    domains, verdicts = document["domains"], document["verdicts"]
    rows = tuple(
        (
            name,
            WORDS[verdicts[name]["verdict"]],
            verdicts[name]["draft"],
            str(found["k"]),
            interval(found["speedup"], "x"),
            interval(found["alpha"]),
            significant(found["block_efficiency"] and found["block_efficiency"]["value"]),
            percent(found["hit_share"], ""),
            f"{found['prompts']}{more(verdicts[name])}",
        )
        for name, found in domains.items()
    )
    columns = ("text", "verdict", "draft", "k", "measured", "alpha", "tokens / round", "rounds drafted", "prompts")
    loops = [f"{name} {percent(d['loops'], '')}" for name, d in domains.items() if d["loops"]]
    flagged = [f"Outputs that go round in circles, which flatters any draft: {', '.join(loops)}."] if loops else []
    lost = [f"{name}: {d['reason']}." for name, d in domains.items() if verdicts[name]["verdict"] == "dont_use"]
    idle = [name for name, found in domains.items() if not found["hit_share"]]
    nothing = [f"Nothing was drafted for {', '.join(idle)}: plain decoding was measured there."] if idle else []
    before = f"{_leading(document)}: {alpha_in_words(document['acceptance'])}"
    return Section("By kind of text", (*_chosen(document), before), columns, rows, (*lost, *nothing, *flagged))


def _chosen(document: Mapping[str, Any]) -> list[str]:
    """Why that draft and k lead, where there were several."""
    ran = len(document["totals"])
    why = f"{_leading(document)} leads: of the {ran} that ran it was predicted fastest over all texts"
    return [f"{why}; each kind of text has the one predicted fastest there."] if ran > 1 else []


def inside(cell: Mapping[str, Any]) -> str:
    """Whether the predicted interval holds the measured value, and whether that says anything."""
    word = {True: "yes", False: "no", None: UNKNOWN}[cell["inside"]]
    predicted = cell["predicted"]
    vacuous = cell["inside"] and predicted["high"] - predicted["low"] > VACUOUS * predicted["value"]
    return f"{word}, {VAGUE}" if vacuous else word


def more(verdict: Mapping[str, Any]) -> str:
    """How many prompts more it takes to decide, behind those there are."""
    if verdict["verdict"] != "measure_more":
        return ""
    count = verdict["more_prompts"]
    return f", {'some' if count is None else f'over {MANY}' if count > MANY else count} more needed"


def _predictions(document: Mapping[str, Any]) -> Section:
    """What was written down before any speculation, cell by cell, and what came."""
    cells = [*document["cells"], *document["totals"]]
    rows = tuple(
        (cell["domain"], cell["draft"], str(cell["k"]), *_held_against(cell), _largest(cell["gap"])) for cell in cells
    )
    found, noise = document["accuracy"], document["accuracy"]["control"]
    without = found["cells"] - found["judged"]
    unknown = f", {counted(without, 'cell')} without one" if without else ""
    wide = sum(inside(cell).endswith(VAGUE) for cell in document["cells"])
    vague = f", {wide} of them {VAGUE}" if wide else ""
    after = (
        f"Over {counted(found['cells'], 'cell')} by kind of text: median |error| {percent(found['median_error'], '')}, "
        f"worst {percent(found['worst_error'], '')}; "
        f"{found['inside']} of {found['judged']} stated intervals hold{vague}{unknown}. "
        f"Plain decoding against itself: median {percent(noise['median'], '')}, worst {percent(noise['worst'], '')}.",
        *_not_run(document),
    )
    before = (
        f"Written down at {document['predicted_at']}, before anything was drafted, from scored texts and the cost "
        "table; each interval is for the run on the same prompts. The last column is the largest part of "
        "log(predicted / measured).",
    )
    columns = ("text", "draft", "k", "predicted", "measured", "error", "inside", "mostly by")
    return Section("Predicted before the run, and measured", before, columns, rows, after)


def _not_run(document: Mapping[str, Any]) -> list[str]:
    """The draft and k that should be faster than all that ran, and how to run it."""
    best, ran = document["best"], document["provenance"]
    if best["command"] is None:
        return []
    faster = f"{best['draft']} with k = {best['k']} was predicted {interval(best['predicted'], 'x')} over all texts"
    slower = f"{ran['draft']} with k = {ran['k']} {times(document['total']['predicted']['value'])}"
    return [f"{faster}, and {slower}. It was not run; to run it: {best['command']}"]


def _held_against(cell: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Prediction, measurement, error, and whether the interval held."""
    return (
        interval(cell["predicted"], "x"),
        interval(cell["measured"], "x"),
        percent(cell["error"]),
        inside(cell),
    )


def _largest(gap: Mapping[str, float]) -> str:
    """The cause of most of a gap."""
    name = max(gap, key=lambda cause: abs(gap[cause]))
    return f"{name} {percent(gap[name])}"


def _generalisation(document: Mapping[str, Any]) -> Section:
    held_out = document["held_out"]
    cells = [*held_out["cells"], {"domain": "all"} | held_out["total"]]
    rows = tuple((cell["domain"], *_held_against(cell)) for cell in cells)
    causes = ", ".join(f"{name} {percent(share)}" for name, share in held_out["gap"].items())
    after = (f"log(predicted / measured) in all, by cause: {causes}.",)
    return Section(
        f"{_leading(document)}: acceptance of one half of the prompts, held against the other",
        ("The interval predicted is for the very prompts of the other half, so it is wider than one for a mean.",),
        ("text", "predicted", "measured", "error", "inside"),
        rows,
        after if held_out["total"]["error"] is not None else (),
    )


def _leading(document: Mapping[str, Any]) -> str:
    """The draft and k that were predicted to be fastest, which the sections about one trace are about."""
    return f"{document['provenance']['draft']}, k = {document['provenance']['k']}"


def _laws(document: Mapping[str, Any]) -> Section:
    """Which family of laws says most about prompts it has not seen."""
    rows = tuple(
        (
            cell,
            c["law"],
            flat(c["params"]),
            significant(c["held_out"]),
            interval(c["difference"]) if c["difference"]["value"] else "best",
            "rejected" if c["rejected"] else "chosen" if c["law"] == found["chosen"] else "",
        )
        for cell, found in document["laws"].items()
        for c in found["ranking"]
    )
    unknown = [f"{cell}: {f['missing']}." for cell, f in document["laws"].items() if f["chosen"] is None]
    before = (
        "Mean log-likelihood of a held-out prompt in nats, and its difference to the best family's; chosen is the "
        "family with fewest parameters of those not rejected. Predictions rest on the replayed texts, not on a law.",
    )
    columns = ("draft, k", "law", "parameters", "held out", "difference", "")
    return Section("Which law acceptance follows", before, columns if rows else (), rows, tuple(unknown))


def _model_error(document: Mapping[str, Any]) -> Section:
    rows = tuple(
        (
            found["domain"],
            times(found["predicted"]),
            times(found["measured"]),
            percent(found["error"]),
            f"{found['bound']:.1%}{'' if found['within'] else ', exceeded'}",
            percent(found["control"]),
        )
        for found in document["model_error"]
    )
    return Section(
        "Model error",
        (f"{_leading(document)}: the rounds that happened, at the prices of the cost table, against the clock.",),
        ("text", "at table prices", "by the clock", "error", "allowed", "plain against plain"),
        rows,
    )


def _time_spent(document: Mapping[str, Any]) -> Section:
    rows = tuple(
        (name, f"{found['tokens']:.2f}", *(f"{found[part]:z.3f}" for part in PARTS))
        for name, found in (
            ("by the clock", document["breakdown"]["measured"]),
            ("at table prices", document["breakdown"]["predicted"]),
        )
    )
    share = document["outside_forwards"]
    outside = [] if share is None else [f"{percent(share, '')} of the decode time lies outside model forwards."]
    columns = ("a mean round", "tokens", *(f"{part} [plain steps]" for part in PARTS))
    before = (f"{_leading(document)}:",)
    return Section("Where the time went", before, columns, rows, (*outside, *_identity(document["divergences"])))


def _identity(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    identical = f"Greedy outputs identical to plain decoding: {found['identical']} of {found['compared']}."
    kinds = {True: "Ties of floating point, counted apart", False: "DIFFERENT WITHOUT A TIE, which is a defect"}
    return [identical] + [
        f"{kind}: {'; '.join(_apart(d) for d in found['apart'] if d['tie'] is tie)}."
        for tie, kind in kinds.items()
        if any(d["tie"] is tie for d in found["apart"])
    ]


def _apart(found: Mapping[str, Any]) -> str:
    return f"{found['prompt']} ({found['arm']}) at token {found['at']}, top two logits {found['gap']:.2g} apart"


def provenance(document: Mapping[str, Any]) -> dict[str, Any]:
    """What ran: every draft and k, and the facts that they share."""
    ran = ", ".join(f"{cell['draft']} with k = {cell['k']}" for cell in document["totals"])
    facts = {name: value for name, value in document["provenance"].items() if value is not None}
    shared = {name: value for name, value in facts.items() if name not in ("draft", "k", "rule")}
    left_out = {"left out": ", ".join(document["left_out"])} if document["left_out"] else {}
    return {"drafts": ran} | shared | left_out


def _provenance(document: Mapping[str, Any]) -> Section:
    return Section("What ran", (), ("", ""), tuple((name, flat(value)) for name, value in provenance(document).items()))
