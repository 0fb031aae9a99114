"""A JSON object in words: the answer, the reason, what to do next, and the sections below them.

Seconds become milliseconds here and nowhere else; every number shown is one of the object's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from validate import profile_sections
from validate.document import MANY, significant, times
from validate.words import UNKNOWN, WORDS, Section, counted, interval, milliseconds, percent

PARTS = ("draft", "verify", "overhead")
VACUOUS = 1.0  # an interval longer than so many times its value would hold nearly anything
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
    spent = f"{document['block_efficiency']:.2f} tokens per round of {significant(document['round_time'])} plain steps"
    return f"{WORDS[document['verdict']]} k = {document['inputs']['k']}: {times(document['speedup'])} ({spent})"


def _run_headline(document: Mapping[str, Any]) -> str:
    ran = document["provenance"]["k"]
    k = document["k"] if document["verdict"] == "use" else ran
    where = f"at k = {ran}, " if k != ran else ""
    prompts = sum(domain["prompts"] for domain in document["domains"].values())
    of = " of" if document["verdict"] == "measure_more" else ""
    verdict = f"{WORDS[document['verdict']]}{of} {document['draft']} with k = {k}"
    return f"{verdict}: {interval(document['speedup'], 'x')} {where}on {counted(prompts, 'prompt')}"


def _fit_headline(document: Mapping[str, Any]) -> str:
    if document["speedup"]:
        found = f"{interval(document['speedup'], 'x')} on {counted(document['prompts']['finished'], 'prompt')}"
    else:
        found = f"no speedup measured, {interval(document['block_efficiency'])} tokens per round"
    return f"{WORDS[document['verdict']]}: {found}, alpha = {interval(document['alpha'])}"


def _cost_headline(document: Mapping[str, Any]) -> str:
    steps, n = document["plain_steps"][0], document["k"] + 1
    found = f"v({n}) = {significant(steps['v'][str(n)])} plain steps, c = {significant(steps['c'])}"
    return f"{WORDS[document['verdict']]}: {found} after {steps['context']} tokens"


def _speedup_sections(document: Mapping[str, Any]) -> list[Section]:
    edge, best, given = document["break_even"], document["best"], document["inputs"]
    facts = (
        ("tokens per round", significant(document["block_efficiency"])),
        ("its standard deviation", significant(document["variance"] ** 0.5)),
        ("round time [plain steps]", significant(document["round_time"])),
        ("accepted / drafted", significant(document["accepted_fraction"])),
        ("best k", f"{best['k']}, {times(best['speedup'])}"),
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


def _run_sections(document: Mapping[str, Any]) -> list[Section]:
    return [
        _by_domain(document),
        _generalisation(document),
        _model_error(document),
        _cost_cells({m: document["costs"][m] for m in ("target", "draft")}, document["costs"]),
        _time_spent(document),
        _provenance(document),
    ]


def _by_domain(document: Mapping[str, Any]) -> Section:
    domains, verdicts = document["domains"], document["verdicts"]
    rows = tuple(
        (
            name,
            WORDS[verdicts[name]["verdict"]],
            str(verdicts[name]["k"]) if verdicts[name]["verdict"] == "use" else UNKNOWN,
            interval(found["speedup"], "x"),
            interval(found["alpha"]),
            significant(found["block_efficiency"] and found["block_efficiency"]["value"]),
            percent(found["hit_share"], ""),
            _missing(found["prompts"], verdicts[name]),
        )
        for name, found in domains.items()
    )
    columns = ("text", "verdict", "k", "measured", "alpha", "tokens / round", "rounds drafted", "prompts")
    loops = [f"{name} {percent(d['loops'], '')}" for name, d in domains.items() if d["loops"]]
    flagged = [f"Outputs that go round in circles, which flatters any draft: {', '.join(loops)}."] if loops else []
    lost = [f"{name}: {d['reason']}." for name, d in domains.items() if verdicts[name]["verdict"] == "dont_use"]
    return Section("By kind of text", (_alpha_in_words(document["acceptance"]),), columns, rows, (*lost, *flagged))


def _inside(cell: Mapping[str, Any]) -> str:
    """Whether the predicted interval holds the measured value, and whether that says anything."""
    word = {True: "yes", False: "no", None: UNKNOWN}[cell["inside"]]
    predicted = cell["predicted"]
    vacuous = cell["inside"] and predicted["high"] - predicted["low"] > VACUOUS * predicted["value"]
    return f"{word}, too wide to tell" if vacuous else word


def _missing(prompts: int, verdict: Mapping[str, Any]) -> str:
    """Prompts there are, and how many more it takes to decide."""
    if verdict["verdict"] != "measure_more":
        return str(prompts)
    missing = verdict["more_prompts"]
    return f"{prompts}, {'some' if missing is None else f'over {MANY}' if missing > MANY else missing} more needed"


def _alpha_in_words(found: Mapping[str, Any]) -> str:
    if found["alpha"] is None:
        return "Nothing was drafted, so alpha, the chance that a tested draft is accepted, is not known."
    return (
        f"alpha, {interval(found['alpha'])} over all, is the chance that a tested draft is accepted. "
        f"Accepted / drafted ({significant(found['accepted_fraction'], 2)}) is not: it depends on k, because the "
        "drafts after a rejection are never tested."
    )


def _generalisation(document: Mapping[str, Any]) -> Section:
    cells = [*document["cells"], {"domain": "all"} | document["total"]]
    rows = tuple(
        (
            cell["domain"],
            interval(cell["predicted"], "x"),
            interval(cell["measured"], "x"),
            percent(cell["error"]),
            _inside(cell),
        )
        for cell in cells
    )
    causes = ", ".join(f"{name} {percent(share)}" for name, share in document["gap"].items())
    after = (f"log(predicted / measured) in all, by cause: {causes}.",)
    return Section(
        "Predicted from one half of the prompts, measured on the other",
        ("The interval predicted is for the very prompts of the other half, so it is wider than one for a mean.",),
        ("text", "predicted", "measured", "error", "inside"),
        rows,
        after if document["total"]["error"] is not None else (),
    )


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
        ("The rounds that happened, at the prices of the cost table, against the clock.",),
        ("text", "at table prices", "by the clock", "error", "allowed", "plain against plain"),
        rows,
    )


def _cost_cells(models: Mapping[str, Sequence[Mapping[str, Any]]], facts: Mapping[str, Any]) -> Section:
    rows = tuple(
        (
            model,
            str(cell["n"]),
            str(cell["batch"]),
            str(cell["context"]),
            milliseconds(cell["seconds"]),
            f"{milliseconds(cell['low'])} to {milliseconds(cell['high'])}",
            significant(cell["seconds"] / _plain_step(models["target"], cell)),
        )
        for model, cells in models.items()
        for cell in cells
    )
    drift = f"The same cell measured twice differed by {percent(facts['drift'] - 1)}"
    after = f"{drift}; accepting a full draft takes {milliseconds(facts['overhead'])} ms more than drawing one token."
    columns = ("model", "n", "batch", "context", "ms", "quartiles", "plain steps")
    return Section("One forward over n tokens, as measured", (), columns, rows, (after,))


def _plain_step(cells: Iterable[Mapping[str, Any]], like: Mapping[str, Any]) -> float:
    """Seconds of one token at the same batch and context."""
    place = (1, like["batch"], like["context"])
    return next(cell["seconds"] for cell in cells if (cell["n"], cell["batch"], cell["context"]) == place)


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
    return Section("Where the time went", (), columns, rows, (*outside, *_identity(document["divergences"])))


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


def _provenance(document: Mapping[str, Any]) -> Section:
    facts = {name: value for name, value in document["provenance"].items() if value is not None}
    left_out = {"left out": ", ".join(document["left_out"])} if document["left_out"] else {}
    return Section(
        "What ran", (), ("", ""), tuple((name, _flat(value)) for name, value in {**facts, **left_out}.items())
    )


def _fit_sections(document: Mapping[str, Any]) -> list[Section]:
    law, best = document["law"], document["best"]
    facts = (
        ("source", document["source"]),
        ("acceptance rule", document["rule"]),
        ("law", f"{law['name']}({_flat(law['params'])})" if law else UNKNOWN),
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
    return [Section("Acceptance", (_alpha_in_words(document),), ("", ""), facts, gaps)]


def _cost_sections(document: Mapping[str, Any]) -> list[Section]:
    models = {m: [cell for cell in document["cells"] if cell["model"] == m] for m in ("target", "draft")}
    machine = tuple((name, _flat(value)) for name, value in document["machine"].items())
    return [_cost_cells(models, document), _linear(document), Section("Machine", (), ("", ""), machine)]


def _linear(document: Mapping[str, Any]) -> Section:
    """The linear form beside the table, and how far it is from it."""
    rows = tuple(
        (
            model,
            *(milliseconds(found[part]) for part in ("base", "per_token", "per_kv")),
            percent(found["median_error"], ""),
            percent(found["worst_error"], ""),
        )
        for model, found in document["fitted"].items()
        if found
    )
    columns = ("model", "base [ms]", "per token [ms]", "per cached token [ms]", "median error", "worst error")
    flat = [f"batch {at['batch']}, context {at['context']}: up to {at['flat_to']}" for at in document["plain_steps"]]
    after = (
        f"Tokens that cost at most 1.1 times one: {'; '.join(flat)}.",
        "Nothing is predicted from the linear form.",
    )
    return Section("A linear form, for comparison", (), columns if rows else (), rows, after)


def _flat(value: Any) -> str:
    """A JSON value in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_flat(item)}" for name, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_HEADLINES = {
    "speedup": _speedup_headline,
    "run": _run_headline,
    "fit": _fit_headline,
    "cost": _cost_headline,
    "profile": profile_sections.headline,
}
_SECTIONS = {
    "speedup": _speedup_sections,
    "run": _run_sections,
    "fit": _fit_sections,
    "cost": _cost_sections,
    "profile": profile_sections.sections,
}
