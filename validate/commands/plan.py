"""`specmath plan`: from names, traffic and promises to GPUs, dollars, k by load and flags."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specmath.candidates import Candidate, Operation
from specmath.cost import Outside
from specmath.efficiency import ENGINES
from specmath.hardware import Gpu, model
from specmath.load import Question
from specmath.obstacle import Infeasible
from specmath.plan import Plan, plan
from specmath.serving import Slo, Taxes, Traffic
from specmath.shapes import ModelShape, precision
from validate import acceptances, costs, flags, folder, inputs, plan_document
from validate.arguments import numbers
from validate.candidates import Draft, System, candidates, draft_of
from validate.console import say
from validate.plan_numbers import whatif
from validate.planning_arguments import seconds
from validate.simulated import simulated

PERCENT, SIXTEEN = 100, ("bf16", "fp16")
TRAFFIC = {"rate": "requests per second", "prompt": "mean tokens of a prompt", "output": "mean tokens of an answer"}


def answer(options: Mapping[str, Any]) -> dict[str, Any]:
    """Plan, write the files that are asked for, and conclude: the document."""
    _check_files(options)
    asked = Asked.of(options)
    if options["percentile"]:
        say("percentiles are drawn request by request, which may take half a minute")
    found = asked.plan()
    document = asked.document(found)
    if document["choice"] is None and (options["csv"] or options["plot"]):
        say("nothing keeps the promise, so that there is nothing to write to a file")
    if options["csv"] and document["ranked"]:
        folder.write(options["csv"].parent, options["csv"].name, _table(document["ranked"]).encode())
    return document


@dataclass(frozen=True)
class Asked:
    """A command line, read: what runs on what, under which traffic and promise, at which price."""

    options: Mapping[str, Any]
    system: System
    drafts: tuple[Draft, ...]
    known: Mapping[str, acceptances.Acceptance]
    question: Question
    prices: Mapping[str, inputs.Price]
    log: inputs.Requests | None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Asked":
        """ValueError in one line for what cannot be planned with."""
        names = list(dict.fromkeys(options["draft"]))
        known = acceptances.acceptances(names, *(options[key] or () for key in ("alpha", "survival", "acceptance")))
        if not any(text.startswith("alpha") for text in options["whatif"] or ()):
            acceptances.refuse_missing(names, known, options["target"])
        system, depths = _system(options), tuple(numbers("--k", options["k"]))
        laws = {name: acceptance.law for name, acceptance in known.items()}
        drafts = [replace(draft_of(n, system.target), law=laws.get(n), depths=depths) for n in names]
        flags.check(options["emit"] or (), drafts)
        prices = _prices(options, system.gpus)
        rates = _rates(prices, system.gpus)
        log = None if options["arrivals"] is None else inputs.read_requests(options["arrivals"])
        question = Question(_traffic(options, log), _slo(options), system.gpus[0], rates, _operation(options))
        _check_context(question, system.target.positions)
        return cls(options, system, tuple(drafts), known, question, prices, log)

    def plan(self) -> Plan | Infeasible:
        """The plan of all drafts whose acceptance is known."""
        question = self.question
        kept = [candidate for candidate in self._candidates() if candidate.law is not None] or self._plain()
        asked = {"gpu": question.gpu, "price": self.rates, "operation": question.operation}
        try:
            return plan(kept, question.traffic, question.slo, **asked)
        except Outside as problem:
            middle = f"{question.traffic.context:g} tokens, --prompt and what stands behind a token of --output"
            raise ValueError(f"--costs: {problem}: specmath cost --context around {middle}") from None

    @property
    def rates(self) -> dict[Gpu, float] | None:
        """Dollars per hour of each device, a device of one's own among them."""
        return _rates(self.prices, self.system.gpus)

    def document(self, found: Plan | Infeasible) -> dict[str, Any]:
        """What is found as JSON has it."""
        beside = plan_document.Beside(self._inputs(), self.known, self._provenance(found), whatif=self._whatif(found))
        if isinstance(found, Infeasible):
            return plan_document.infeasible_document(found, beside)
        emitted = flags.flags(found, self.options["emit"] or (), self._precisions())
        tried = self.options["simulate"] and simulated(
            found.choice, found.question.traffic, found.question.slo, self.log
        )
        return plan_document.plan_document(found, replace(beside, flags=emitted, simulation=tried or None))

    def _candidates(self) -> list[Candidate]:
        target = self.options["target"]
        name = target if "/" in target and not pathlib.Path(target).is_file() else None
        return candidates(self.drafts, self.system, self.question.traffic, name)

    def _precisions(self) -> str:
        """What flags leave to whoever starts the engine: weights that are not the checkpoint's, and a smaller cache."""
        system = self.system
        planned = [f"weights in {system.weights}"] * (system.weights != system.target.weights)
        planned += [f"the KV cache in {system.kv}"] * (system.kv not in SIXTEEN)
        return f"Planned with {' and '.join(planned)}: give the engine what does that, no flag here does." * bool(
            planned
        )

    def _plain(self) -> list[Candidate]:
        """Plain decoding once on every device at every parallelism."""
        plain = [candidate.plain() for candidate in self._candidates()]
        return list({(c.replica_gpus, self.question.gpu_of(c)): c for c in plain}.values())

    def _whatif(self, found: Plan | Infeasible) -> list[dict[str, Any]]:
        """Of every draft, on the GPUs of the best plan where there is one."""
        asked = self.options["whatif"] or ()
        place = None if isinstance(found, Infeasible) else (found.choice.tp, found.choice.gpu)
        where = [c for c in self._candidates() if place in (None, (c.replica_gpus, self.question.gpu_of(c)))]
        return [whatif(text, candidate, self.question) for text in asked for candidate in where]

    def _inputs(self) -> dict[str, Any]:
        """What was asked for, defaults among it."""
        question, system = self.question, self.system
        return {
            **{name: self.options[name] for name in ("target", "draft", "k")},
            "gpus": [gpu.name for gpu in system.gpus],
            **{name: getattr(system, name) for name in ("weights", "kv", "engine")},
            **{name: getattr(question.traffic, name) for name in ("rate", "prompt", "output", "cached")},
            **{name: getattr(question.slo, name) for name in ("ttft", "tpot", "e2e", "percentile")},
            **{name: getattr(question.operation, name) for name in ("utilisation", "max_batch", "max_context")},
            "idle": question.operation.taxes.idle_share,
        }

    def _provenance(self, found: Plan | Infeasible) -> dict[str, Any]:
        """Where shapes, devices, times (on the GPUs that are chosen) and prices are from."""
        system, gpu = self.system, self.system.gpus[0]
        tp = system.parallelisms(gpu, self.question.traffic.context)[0]
        if isinstance(found, Plan):
            gpu = next(gpu for gpu in system.gpus if gpu.name == found.choice.gpu)
            tp = found.choice.tp
        reached = system.roofline(gpu, tp).efficiency
        played = (*_PARAMETERS, *(_BETWEEN if tp > 1 else ()), *(("rho",) if system.target.moe else ()))
        return {
            "shape": {"source": system.target.source, "trust": system.target.trust},
            "gpus": {gpu.name: dict(gpu.sources) for gpu in system.gpus},
            "times": {name: dict(zip(("kind", "source"), reached.origin(name), strict=True)) for name in played},
            "price": {name: vars(price) for name, price in self.prices.items()} or None,
            "calibration": system.calibration and vars(system.calibration),
            "measured": system.costs and system.costs.measured,
            "swept": system.calibrating and system.calibrating.measured,
        }


_PARAMETERS = ("product", "head", "kv_bandwidth", "attention", "host")
_BETWEEN = ("allreduce", "allreduce_bandwidth")  # GPUs


def _system(options: Mapping[str, Any]) -> System:
    target = inputs.read_model(options["target"])
    gpus = tuple(dict.fromkeys(inputs.read_gpu(text) for text in options["gpu"]))
    weights = options["weights"] or target.weights
    for name in (weights, options["kv"]):
        precision(name)
    sweeps = {name: _sweeps(name, options[name]) for name in ("costs", "calibrate")}
    for name, found in sweeps.items():
        _check_swept(name, found, options["target"], target)
    if any(sweeps.values()) and len(gpus) > 1:
        raise ValueError(f"--gpu: found {len(gpus)} beside sweeps, expected the one that they were measured on")
    tps, draft_tps = (_parallel(f"--{name.replace('_', '-')}", options[name]) for name in ("tp", "draft_tp"))
    if sweeps["costs"] and set(tps) - {1}:
        raise ValueError(
            f"--tp: found {', '.join(options['tp'])} beside --costs, measured on one GPU, expected 1: --calibrate"
        )
    if tps and draft_tps and draft_tps[0] > tps[-1]:
        raise ValueError(f"--draft-tp: found {draft_tps[0]}, expected at most the target's {tps[-1]}")
    given = {"kv": options["kv"], "engine": _engine(options), "tps": tps, "draft_tps": draft_tps}
    return System(target, gpus, weights, costs=sweeps["costs"], calibrating=sweeps["calibrate"], **given)


def _parallel(option: str, texts: Sequence[str] | None) -> tuple[int, ...]:
    return tuple(sorted({tp for text in texts or () for tp in numbers(option, text)}))


def _engine(options: Mapping[str, Any]) -> str:
    """The engine asked for, else the first whose flags are, where its host times are known."""
    emitted = flags.engine_of(options["emit"] or ())
    return str(options["engine"] or (emitted if emitted in ENGINES else "vllm"))


def _sweeps(option: str, path: pathlib.Path | None) -> costs.Costs | None:
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"--{option}: found no file {path}, expected sweeps: measure with specmath cost --out FILE")
    found = costs.read(path)
    if not found.sweeps:
        raise ValueError(f"--{option}: found no sweep in {path}, expected one or more: specmath cost --out FILE")
    return found


def _check_swept(option: str, found: costs.Costs | None, name: str, target: ModelShape) -> None:
    """ValueError for sweeps of a model of another shape, as far as its name tells."""
    measured = "" if found is None else str(found.measured.get("target", ""))
    if not measured or measured == name:
        return
    try:
        shape = inputs.read_model(measured) if pathlib.Path(measured).exists() else model(measured)
    except ValueError:
        return
    sizes = ("layers", "hidden", "heads", "vocab")
    if any(getattr(shape, size) != getattr(target, size) for size in sizes):
        expected = f"expected those of {name}: specmath cost --target {name}"
        raise ValueError(f"--{option}: found sweeps of {measured}, {expected}")


def _traffic(options: Mapping[str, Any], log: inputs.Requests | None) -> Traffic:
    """As given, or the means of a log."""
    means = {} if log is None else _means(log)
    values: dict[str, Any] = {name: means.get(name) if options[name] is None else options[name] for name in TRAFFIC}
    for name, value in values.items():
        if value is None:
            raise ValueError(f"--{name}: found none, expected {TRAFFIC[name]}, or the log of requests as --arrivals")
    return Traffic(**values, cached=options["cached"], variation=_variation(log))


def _variation(log: inputs.Requests | None) -> float:
    """Squared coefficient of variation of the outputs: of a log its own, at most as if geometric."""
    if log is None:
        return 1.0
    return min(1.0, float(log.output_tokens.var() / log.output_tokens.mean() ** 2))


def _means(log: inputs.Requests) -> dict[str, float]:
    found = {"prompt": float(log.prompt_tokens.mean()), "output": float(log.output_tokens.mean())}
    if log.arrivals is not None and log.arrivals[-1] > 0:
        found["rate"] = float((len(log.arrivals) - 1) / log.arrivals[-1])
    return found


def _slo(options: Mapping[str, Any]) -> Slo:
    _check_share("percentile", options["percentile"])
    ttft, tpot, e2e = (seconds(name, options[name]) for name in ("ttft", "tpot", "e2e"))
    return Slo(ttft, tpot, e2e=e2e, percentile=options["percentile"])


def _check_share(option: str, value: float | None) -> None:
    """ValueError for a percentage where a share is asked for."""
    if value is not None and 1 < value <= PERCENT:
        raise ValueError(f"--{option}: found {value:g}, expected a share of 1: did you mean {value / PERCENT:g}?")


def _operation(options: Mapping[str, Any]) -> Operation:
    _check_share("idle", options["idle"])
    taxes = Taxes(idle_share=options["idle"])
    return Operation(options["utilisation"], options["max_batch"], options["max_context"], taxes=taxes)


def _check_context(question: Question, positions: int) -> None:
    """ValueError where the longest sequence admitted, or that the model has positions for, is below the mean one."""
    mean, most = question.traffic.prompt + question.traffic.output, question.operation.max_context
    if 0 < positions < mean:
        raise ValueError(f"--prompt: found {mean:g} tokens with --output, expected at most the model's {positions}")
    if most is not None and most < mean:
        raise ValueError(f"--max-context: found {most}, expected at least the {mean:g} tokens of --prompt and --output")


def _prices(options: Mapping[str, Any], gpus: Sequence[Gpu]) -> dict[str, inputs.Price]:
    """Dated prices by device."""
    found: dict[str, inputs.Price] = {}
    for text in options["price"] or ():
        if pathlib.Path(text).is_file():
            found |= inputs.read_prices(text, [gpu.name for gpu in gpus])
            continue
        if text.endswith((".json", ".csv")):
            raise ValueError(f"--price: found no file {text}, expected dated prices there, or dollars per GPU-hour")
        if options["price_date"] is None:
            raise ValueError(f"--price: found {text} without a date, expected --price-date beside it, like 2026-11")
        price = _price(text, gpus, inputs.dated("--price-date", options["price_date"]))
        found[price.gpu] = price
    for gpu in gpus:
        if found and gpu.name not in found:
            raise ValueError(f"--price: found none for {gpu.name}, expected one for every GPU: add {gpu.name}=DOLLARS")
    return found


def _rates(prices: Mapping[str, inputs.Price], gpus: Sequence[Gpu]) -> dict[Gpu, float] | None:
    return {gpu: prices[gpu.name].dollars_per_hour for gpu in gpus if gpu.name in prices} or None


def _price(text: str, gpus: Sequence[Gpu], date: str) -> inputs.Price:
    name, equals, value = text.rpartition("=")
    if not equals and len(gpus) > 1:
        raise ValueError(f"--price: found {text} for {len(gpus)} kinds of GPU, expected GPU=DOLLARS of each")
    own = {gpu.name.lower(): gpu for gpu in gpus}
    gpu = (own.get(name.lower()) or inputs.read_gpu(name)) if equals else gpus[0]
    try:
        dollars = float(value)
    except ValueError:
        dollars = 0.0
    if not 0 < dollars < float("inf"):
        raise ValueError(f"--price: found {value!r}, expected dollars per GPU-hour above 0, or a file of prices")
    return inputs.Price(gpu.name, dollars, date, "given")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; unknown is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _check_files(options: Mapping[str, Any]) -> None:
    """ValueError for a file that is asked for and cannot be written."""
    for option, kinds in (("csv", ()), ("plot", (".svg", ".png"))):
        path = options[option]
        if path is None:
            continue
        if kinds and path.suffix.lower() not in kinds:
            raise ValueError(f"--{option}: found {path}, expected the name of an .svg or a .png file")
        if not path.parent.is_dir():
            raise ValueError(f"--{option}: found no folder {path.parent}, expected one: create it first")
