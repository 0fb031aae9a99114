"""The words of a plan: its answer, and the sections below it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from validate.document import significant
from validate.plan_words import PARTS, short
from validate.words import UNKNOWN, WORDS, Section, counted, flat, interval, milliseconds, percent

SHOWN, GIGA = 10, 1e9
RATES = ("tokens_per_second_per_user", "tokens_per_second_per_gpu")
STEPS = {"attention": "matrices of attention", "kv": "KV cache", "mlp": "MLP", "lm_head": "output matrix"}
STEPS |= {"allreduce": "all-reduces", "kernels": "small kernels", "accepting": "accepting", "forward": "forward"}
Document = Mapping[str, Any]


def headline(document: Document) -> str:
    """The verdict, the GPUs with and without, the gain, and dollars where there is a price."""
    word, best = WORDS[document["verdict"]], document["drafting"]
    if document["choice"] is None:
        least = "" if document["least"] is None else f", {milliseconds(document['least'])} ms at least"
        return f"{word}: {document['binding']} binds{least}"
    if best is None:
        place = f"{counted(document['gpus'], 'GPU')} ({_place(document)}){_dollars(document)}"
        return f"{word}: plain decoding takes {place}{'' if document['refused'] else ', and no acceptance is known'}"
    k, without = best["choice"]["k"], document["without"]
    draft = short(best["choice"]["draft"], document["inputs"]["draft"])
    named = f"{draft} with k = {k}" if document["verdict"] == "use" else f"{draft} (best k = {k})"
    instead = f"{without['gpus']} without" if without else "infeasible without"
    same = f"{counted(best['gpus'], 'GPU')}, {instead} ({_place(best)}){_latency(best, without)}"
    return f"{word} {named}: {same}{_gain(document)}{_both(document)}"


def sections(document: Document) -> list[Section]:
    """Everything below the opening."""
    if document["choice"] is None:
        return [*_whatif(document), *_rests(document)]
    return [
        _answer(document),
        _step(document),
        *_memory(document),
        _schedule(document),
        _ranked(document["ranked"]),
        _sensitivities(document),
        *_loads(document),
        *_whatif(document),
        *_simulation(document),
        *_rests(document),
        *(Section(f"Flags of {engine}", tuple(text.splitlines())) for engine, text in document["flags"].items()),
    ]


def _place(one: Mapping[str, Any]) -> str:
    return f"{one['choice']['gpu']}, tp {one['choice']['tp']}"


def _latency(best: Mapping[str, Any], without: Mapping[str, Any] | None) -> str:
    """Where as many GPUs do, what differs is the latency."""
    if without is None or best["gpus"] != without["gpus"]:
        return ""
    return f", TPOT {milliseconds(best['tpot'])} ms, {milliseconds(without['tpot'])} without"


def _gain(document: Document) -> str:
    """The largest gain per GPU, with what has it where that is not what the line is about."""
    gain, named = document["gain"], document["drafting"]["choice"]
    if not gain:
        return ""
    most = gain["choice"]
    words = {"draft": most["draft"], "k": f"k = {most['k']}", "tp": f"tp {most['tp']}", "gpu": most["gpu"]}
    other = ", ".join(word for key, word in words.items() if most[key] != named[key])
    return f", up to {interval(gain, 'x')} the requests per GPU{f' with {other}' if other else ''}"


def _dollars(one: Mapping[str, Any]) -> str:
    return "" if one["cost_per_million"] is None else f", {_money(one['cost_per_million'])} per million tokens"


def _both(document: Document) -> str:
    best, without = document["drafting"], document["without"]
    dollars = _dollars(best)
    return f"{dollars}, {_money(without['cost_per_million'])} without" if dollars and without else dollars


def _money(dollars: float | None) -> str:
    return UNKNOWN if dollars is None else f"${dollars:.2f}"


ROWS: Sequence[tuple[str, Any]] = (
    ("draft", lambda one: one["choice"]["draft"] or "none"),
    ("k", lambda one: str(one["choice"]["k"])),
    ("GPUs", lambda one: f"{one['gpus']} ({counted(one['replicas'], 'replica')} of {one['choice']['tp']})"),
    ("GPU", lambda one: one["choice"]["gpu"]),
    ("$ per million tokens", lambda one: _money(one["cost_per_million"])),
    ("requests/s that a replica carries", lambda one: significant(one["capacity"])),
    ("what bounds that", lambda one: one["binding"]),
    ("sequences at work", lambda one: significant(one["batch"])),
    ("TPOT [ms]", lambda one: milliseconds(one["tpot"])),
    ("gap between deliveries [ms]", lambda one: milliseconds(one["itl"])),
    ("TTFT [ms]", lambda one: milliseconds(one["ttft"])),
    ("whole request [s]", lambda one: significant(one["e2e"])),
    ("TPOT and TTFT of 95 % of requests [ms]", lambda one: _tail(one["percentiles"]["p95"])),
    ("tokens/s of the fleet", lambda one: significant(one["tokens_per_second"])),
    ("tokens/s per user and per GPU", lambda one: " and ".join(significant(one[rate]) for rate in RATES)),
    ("operations per token, plain is 1", lambda one: _operations(one["energy"])),
    ("joules per token, at least and at most", lambda one: _joules(one["energy"])),
    ("share of time in prefills", lambda one: percent(one["prefill_share"], "")),
)


def _tail(found: Mapping[str, float]) -> str:
    return f"{milliseconds(found['tpot'])} and {milliseconds(found['ttft'])}"


def _operations(energy: Mapping[str, Any] | None) -> str:
    return UNKNOWN if energy is None else f"{energy['operations_factor']:.2f}"


def _joules(energy: Mapping[str, Any] | None) -> str:
    if energy is None or energy["joules_per_token"] is None:
        return UNKNOWN
    return " and ".join(significant(energy["joules_per_token"][bound]) for bound in ("low", "high"))


def _answer(document: Document) -> Section:
    """With and without speculation side by side."""
    sides = {"with": document["drafting"], "without": document["without"]}
    shown = {name: side for name, side in sides.items() if side}
    rows = tuple((name, *(words(side) for side in shown.values())) for name, words in ROWS)
    rows = tuple(row for row in rows if set(row[1:]) != {UNKNOWN})
    return Section("Answer", (), ("", *shown), rows, (_off(document), _confidence(document)))


def _off(document: Document) -> str:
    off = document["switch_off"]
    if document["drafting"] is None:
        return "Nothing that drafts keeps the promise." if document["refused"] else "No acceptance is known."
    if document["verdict"] == "dont_use" and off["batch"] != 0:
        until = "the largest batch" if off["batch"] is None else f"batch {off['batch']:.0f}"
        return f"A token alone would come sooner with drafts up to {until}; with prefills and whole replicas none pays."
    if off["batch"] is None:
        return "It pays up to the largest batch: there is no load to switch it off at."
    if not off["batch"]:
        return "It pays at no batch."
    rate = "" if off["rate"] is None else f", which is {significant(off['rate'])} requests/s of a replica"
    k = document["drafting"]["choice"]["k"]
    return f"With k = {k} throughout, switch it off above batch {off['batch']:.0f}{rate}."


def _confidence(document: Document) -> str:
    kinds: dict[str, list[str]] = {}
    for name, origin in document["provenance"]["times"].items():
        kinds.setdefault(origin["kind"], []).append(name)
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    acceptance = ", ".join(f"{name} {source}" for name, source in document["provenance"]["acceptance"].items())
    return f"Confidence: {document['confidence']}. Times of kernels {told}. Acceptance: {acceptance}."


def _step(document: Document) -> Section:
    """A plain step and a round at the same batch, by part."""
    step = document["step"]
    plain, spec = step["plain"], step["round"] or {}
    names = [name for name in PARTS if plain.get(name) or spec.get(name)]
    columns = [plain, spec] if spec else [plain]
    rows = tuple((STEPS.get(name, name), *(cell for one in columns for cell in _part(one, name))) for name in names)
    total = ("all", *(cell for one in columns for cell in (milliseconds(sum(one.values())), "")))
    heads = ("", "plain step [ms]", "") + ((f"round of k = {step['k']} [ms]", "") if spec else ())
    before = f"At batch {step['batch']:.0f} and {step['context']:.0f} tokens of context."
    after = (f"A round emits {step['tokens']:.2f} tokens of each sequence.",) if spec else ()
    return Section("Where a step goes", (before,), heads, (*rows, total), after)


def _part(parts: Mapping[str, float], name: str) -> tuple[str, str]:
    seconds = parts.get(name, 0.0)
    return milliseconds(seconds), percent(seconds / sum(parts.values()), "")


def _memory(document: Document) -> list[Section]:
    memory, warned = document["memory"], tuple(document["headroom"])
    if not memory:
        return [Section("Memory", warned)] if warned else []
    names = {
        "weights": "weights",
        "draft_weights": "weights of the draft",
        "reserve": "reserve of the engine",
        "kv": f"KV cache of {document['batch']:.1f} sequences",
        "headroom": "left for more sequences",
        "spare": "kept free by the engine",
        "total": "memory",
    }
    used = sum(memory[name] for name in ("weights", "draft_weights", "reserve", "kv_room"))
    amounts = {**memory, "spare": memory["total"] - used}
    rows = tuple((words, f"{amounts[name] / GIGA:.1f} GB") for name, words in names.items() if amounts[name])
    each = f"A sequence takes {memory['kv_per_sequence'] / 1e6:.0f} MB, so that {_most(memory)} fit."
    return [Section("Memory of a GPU", (), ("", ""), rows, (each, *warned))]


def _most(memory: Mapping[str, float]) -> str:
    return f"{memory['kv_room'] // memory['kv_per_sequence']:.0f}" if memory["kv_per_sequence"] else "any number"


def _schedule(document: Document) -> Section:
    """k by batch, rising and falling."""
    rows = tuple((f"{low} to {high}", str(k)) for low, high, k in document["schedule"])
    falling = ", ".join(f"{k} from {high} down to {low}" for low, high, k in reversed(document["schedule_falling"]))
    after = f"For a batch that falls, so that k does not swing to and fro: {falling}."
    return Section("k by batch", (), ("sequences", "k"), rows, (after,))


def _ranked(ranked: Sequence[Mapping[str, Any]]) -> Section:
    columns: tuple[str, ...] = ("draft", "k", "tp", "GPU", "GPUs", "batch", "TPOT [ms]", "TTFT [ms]")
    columns = (*columns, "tokens/s per user", "per GPU")
    names = {one["draft"] or "none" for one in ranked}
    first = {one[key]: i for key in ("draft", "gpu") for i, one in reversed([*enumerate(ranked)])}
    shown = sorted({*first.values(), *range(min(SHOWN, len(ranked)))})
    priced = any(one["cost_per_million"] is not None for one in ranked)
    columns = (*columns, *(("$/M",) if priced else ()), "bound by")
    rows = tuple(_option(ranked[i], names, priced) for i in shown)
    left = len(ranked) - len(shown)
    after = (f"{left} more keep the promise: --json or --csv has them.",) if left > 0 else ()
    return Section("All that keeps the promise, from the best", (), columns, rows, after)


def _option(one: Mapping[str, Any], names: Iterable[str], priced: bool) -> tuple[str, ...]:
    return (
        short(one["draft"] or "none", names),
        str(one["k"]),
        str(one["tp"]),
        one["gpu"],
        str(one["gpus"]),
        significant(one["batch"]),
        milliseconds(one["tpot"]),
        milliseconds(one["ttft"]),
        *(significant(one[rate]) for rate in RATES),
        *((_money(one["cost_per_million"]),) if priced else ()),
        one["binding"],
    )


def _sensitivities(document: Document) -> Section:
    found = document["sensitivities"]
    rows = tuple((one["name"], *(significant(one[end]) for end in ("low", "base", "high"))) for one in found)
    unit = found[0]["unit"] if found else ""
    before = f"In {unit}, before rounding up to whole replicas; unknown where the promise breaks."
    return Section("What it hangs on", (before,), ("", "10% less", "as it is", "10% more"), rows)


def _loads(document: Document) -> list[Section]:
    """TPOT of one replica without drafting, at one depth and with k by batch, at a few loads."""
    curves = {one["name"]: one for one in document["curves"]}
    if not curves:
        return []
    rates = next(iter(curves.values()))["rate"]
    places = range(len(rates) // 6 - 1, len(rates), max(1, len(rates) // 6))
    rows = tuple((significant(rates[i]), *(milliseconds(one["tpot"][i]) for one in curves.values())) for i in places)
    heads = ("requests/s of a replica", *(f"{name}, TPOT [ms]" for name in curves))
    return [Section("By load", (), heads, rows, ("Unknown where a replica is overloaded.",))]


def _whatif(document: Document) -> list[Section]:
    rows = tuple(
        (f"{one['draft']} (tp {one['tp']} {one['gpu']})", _question(one), *_needed(one)) for one in document["whatif"]
    )
    return [Section("What it would take", (), ("draft", "", "needed", "k"), rows)] if rows else []


def _question(one: Mapping[str, Any]) -> str:
    aim = f"for {counted(one['gpus'], 'GPU')}" if one["gpus"] else "to break even"
    return f"{'alpha' if one['what'] == 'alpha' else 'times its cost, at most,'} {aim}"


def _needed(one: Mapping[str, Any]) -> tuple[str, str]:
    return ("nothing would do", "") if one["k"] is None else (significant(one["value"]), str(one["k"]))


def _simulation(document: Document) -> list[Section]:
    found = document["simulation"]
    if not found:
        return []
    rows = tuple(
        (name, *(milliseconds(one[at]) for at in ("predicted", "mean", "p50", "p95", "p99")))
        for name, one in found["latency"].items()
    )
    columns = ("[ms]", "predicted mean", "simulated mean", "p50", "p95", "p99")
    words = f"{found['requests']} requests, {found['arrivals']} arrivals, on {counted(found['replicas'], 'replica')}"
    after = f"{percent(found['kept'], '')} of the requests kept every promise, each for itself."
    return [
        Section(
            "Simulated, iteration by iteration", (f"{words}; the first tenth is left out.",), columns, rows, (after,)
        )
    ]


def _rests(document: Document) -> list[Section]:
    origin = document["provenance"]
    rows = [("model", f"{origin['shape']['source']} ({origin['shape']['trust']})")]
    rows += [(gpu, sources.get("bandwidth", UNKNOWN)) for gpu, sources in origin["gpus"].items()]
    rows += [(f"time: {name}", f"{found['kind']}; {found['source']}") for name, found in origin["times"].items()]
    rows += [
        (f"price of {gpu}", ", ".join(filter(None, (f"${p['dollars_per_hour']:g} per hour", p["date"], p["source"]))))
        for gpu, p in (origin["price"] or {}).items()
    ]
    if swept := origin["measured"] or origin["swept"]:
        measured = (swept.get(key) for key in ("target", "processor", "device", "dtype"))
        rows.insert(1, ("sweeps", ", ".join(str(word) for word in measured if word)))
    inputs = {name: value for name, value in document["inputs"].items() if value is not None}
    return [Section("What it rests on", (flat(inputs),), ("", ""), tuple(rows))]
