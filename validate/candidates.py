"""What a plan chooses from, from names: drafts of a target, on each device, at each tensor parallelism."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from specmath.calibration import Calibration, calibrate
from specmath.candidates import Candidate
from specmath.cost import Pair, Roofline, Share
from specmath.efficiency import efficiency
from specmath.hardware import Gpu, models, nearest
from specmath.memory import Memory
from specmath.serving import Traffic
from specmath.shapes import ModelShape
from validate.costs import FREE, TARGET, Costs
from validate.inputs import read_model

LOOKUP, PARALLEL = "lookup", (1, 2, 4, 8)
LOOKING_UP = 0.006  # of a verification: arXiv 2601.11580, its simulator
FUSED = {"eagle": 2, "eagle3": 3, "mtp": 2}  # hidden states that a head joins
KINDS = "lookup, mtp, eagle[:ID], eagle3[:ID], sparse:TOKENS or a model"


@dataclass(frozen=True)
class Draft:
    """A draft as it was asked for: how it drafts, as engines call it, its id for their flags, its shape (None where a
    text is looked up), how it is accepted, and the depths to try.
    """

    name: str
    method: str | None
    id: str | None = None
    shape: ModelShape | None = None
    law: Any = None
    depths: tuple[int, ...] = ()


@dataclass(frozen=True)
class System:
    """What everything runs on and as: devices, precisions, the engine whose host times are taken, parallelisms to try
    (none: those that fit), and sweeps measured on the device, which replace the rooflines (`costs`) or calibrate them.
    """

    target: ModelShape
    gpus: tuple[Gpu, ...]
    weights: str
    kv: str = "bf16"
    engine: str = "vllm"
    tps: tuple[int, ...] = ()
    draft_tps: tuple[int, ...] = ()
    costs: Costs | None = None
    calibrating: Costs | None = None

    def roofline(self, gpu: Gpu, tp: int) -> Roofline:
        """The target on so many devices, calibrated where there are sweeps for it."""
        plain = self._roofline(self.target, gpu, tp, self.weights)
        return self._fitted(plain, self.calibration)

    def drafting(self, shape: ModelShape, gpu: Gpu, tp: int) -> Roofline:
        """A draft on so many devices: the target's own layers as it is, heads in 16 bits, models as they declare."""
        own = shape.sparse or (shape.fusion and shape.mtp)
        weights = self.weights if own else "bf16" if shape.fusion else shape.weights
        return self._fitted(self._roofline(shape, gpu, tp, weights).drafting(), self.calibration)

    @cached_property
    def calibration(self) -> Calibration | None:
        """Factors fitted to the target's sweeps on one device."""
        if self.calibrating is None:
            return None
        alone = self._roofline(self.target, self.gpus[0], 1, self.weights)
        return calibrate(alone, self.calibrating.table(TARGET))[1]

    def parallelisms(self, gpu: Gpu, context: float) -> tuple[int, ...]:
        """Those asked for, or of 1, 2, 4 and 8 those that hold a sequence; the largest possible where none does."""
        if self.tps or self.costs:
            return self.tps or (1,)
        possible = []
        for tp in PARALLEL:
            with suppress(ValueError):
                possible.append(self.roofline(gpu, tp))
        if not possible:
            self.roofline(gpu, 1)
        fitting = tuple(one.tp for one in possible if Memory.of(one).max_batch(context))
        return fitting or (possible[-1].tp,)

    def _roofline(self, shape: ModelShape, gpu: Gpu, tp: int, weights: str) -> Roofline:
        run = efficiency(gpu, weights, tp=tp, engine=self.engine)
        return Roofline(shape, gpu, tp=tp, weights=weights, kv=self.kv, efficiency=run)

    def _fitted(self, roofline: Roofline, found: Calibration | None) -> Roofline:
        if found is None:
            return roofline
        return replace(roofline, efficiency=found.apply(roofline.efficiency, "sweeps of specmath cost"))


def draft_of(name: str, target: ModelShape) -> Draft:
    """What a name of a draft means; ValueError for one that a plan cannot reckon with."""
    kind, _, rest = name.partition(":")
    if name == LOOKUP:
        return Draft(name, "ngram")
    if kind in FUSED and (kind != "mtp" or not rest):
        head = target.head(fusion=FUSED[kind], dense=kind != "mtp")
        return Draft(name, kind, rest or None, replace(head, mtp=target.mtp if kind == "mtp" else 0))
    if kind == "sparse":
        if not rest.isdecimal() or not int(rest):
            raise ValueError(f"--draft {name}: found {rest!r}, expected tokens of the cache to read, like sparse:512")
        return Draft(name, None, None, target.windowed(int(rest)))
    if kind in ("early", "mtp", *FREE):
        hint = "; what engines call ngram is lookup" if kind == "ngram" else ""
        raise ValueError(f"--draft: found {name!r}, expected {KINDS}{hint}")
    return Draft(name, "draft_model", name, _model(name))


def _model(name: str) -> ModelShape:
    """The shape of a drafting model; ValueError with the kinds of drafts for a name that is none of anything."""
    try:
        return read_model(name)
    except ValueError as problem:
        if "/" in name or name.endswith(".json"):
            raise ValueError(f"--draft: {problem}") from None
        near = (*get_close_matches(name, (LOOKUP, "sparse", *FUSED), 1), *nearest(name, models()))
        hint = f", like {', '.join(near)}" if near else ""
        raise ValueError(f"--draft: found {name!r}, expected {KINDS}{hint}") from None


def candidates(drafts: Sequence[Draft], system: System, traffic: Traffic, target: str | None) -> list[Candidate]:
    """Every draft on every device at every parallelism; `target` is the name for an engine's flags.

    ValueError where a parallelism divides no heads or a device lacks the units of a precision.
    """
    return [
        candidate
        for gpu in system.gpus
        for tp in system.parallelisms(gpu, traffic.context)
        for draft in drafts
        for candidate in _of(draft, system.roofline(gpu, tp), system, traffic, target)
    ]


def _of(draft: Draft, base: Roofline, system: System, traffic: Traffic, target: str | None) -> Iterator[Candidate]:
    """A draft beside a target at each of its own parallelisms, told apart in their names where there are several."""
    widths = _widths(draft, base, system)
    for tp in widths:
        model = None if draft.shape is None else system.drafting(draft.shape, base.gpu, tp)
        name = draft.name if len(widths) == 1 else on(draft.name, tp)
        said: dict[str, Any] = {"method": draft.method, "draft": draft.id, "target": target}
        if system.costs is None:
            yield Candidate(name, draft.law, _pair(base, model), draft.depths, **said)
        else:
            cost, memory, prefill = system.costs.pair(draft.name), Memory.of(base, model), _prefill(base, traffic)
            yield Candidate(name, draft.law, cost, draft.depths, memory=memory, prefill=prefill, **said)


def on(name: str, tp: int) -> str:
    """The name of a draft that is tried at several parallelisms, at one of them.

    >>> on("org/draft", 2)
    'org/draft (on 2)'
    """
    return f"{name} (on {tp})"


def _widths(draft: Draft, base: Roofline, system: System) -> tuple[int, ...]:
    """Tensor parallelisms of the draft: the target's, or those asked for up to it."""
    if draft.shape is None or draft.shape.sparse or not system.draft_tps:
        return (base.tp,)
    return tuple(tp for tp in system.draft_tps if tp <= base.tp) or (base.tp,)


def _pair(base: Roofline, model: Roofline | None) -> Pair:
    accept = base.efficiency.accept
    if model is None:
        return Pair(base, Share(base, LOOKING_UP), one_pass=True, overhead=accept)
    return Pair(base, model, overhead=accept)


def _prefill(base: Roofline, traffic: Traffic) -> float:
    """Seconds of a prompt, by the roofline: no sweep has a forward over so many tokens."""
    new, cached = max(1.0, traffic.prompt * (1 - traffic.cached)), traffic.prompt * traffic.cached
    return base.prefill(new, context=cached)
