"""A whole run: the same prompts decoded plain, speculatively and plain again, interleaved, beside the cost table.

Everything is written as it happens, trace and costs, so that an interrupted run keeps what it had and goes on
from there.
"""

import pathlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from validate import costs
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder, Generation
from validate.document import version
from validate.drafters import Drafter, Lookup, ModelDraft, Nothing
from validate.lines import DoneLine, Header, PromptLine, RoundLine
from validate.loading import Loaded, common_vocabulary, load, load_draft
from validate.measure import CostBench
from validate.model import Model
from validate.sampler import Sampler
from validate.trace import FILE as TRACE
from validate.trace import Writer
from validate.workload import Prompt, digest, seed_of

COSTS = costs.FILE
PLAIN_FIRST = (("plain", 0), ("spec", 0), ("plain", 1))
WARM_UP_TOKENS = 8
MEASURED_WITH = ("torch", "transformers", "numpy")


@dataclass(frozen=True)
class Settings:
    """What to run: models by name ("lookup" drafts from the text), k, sampler, tokens per prompt, seed, device."""

    target: str
    draft: str
    k: int
    sampler: Sampler
    budget: int
    seed: int
    device: str
    dtype: str


class Study:
    """One target and one drafter over a set of prompts; `folder` receives the trace and the costs."""

    def __init__(self, settings: Settings, prompts: Sequence[Prompt], folder: pathlib.Path) -> None:
        self.settings, self.prompts, self.folder = settings, prompts, folder
        self._target = load(settings.target, device=settings.device, dtype=settings.dtype)
        self._draft = self._load_draft()
        self.vocabulary = common_vocabulary(self._target, self._draft) if self._draft else self._target.rows
        self._ids = {prompt.id: self._encoded(prompt) for prompt in prompts}
        self._capacity = max(map(len, self._ids.values())) + settings.budget
        self._decoders = self._both_arms()
        self.header = self._header()

    def run(self, *, resume: bool = False) -> Iterator[Prompt]:
        """Decode what is not finished yet, yielding each prompt once all its arms are written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / TRACE
        goes_on = resume and path.exists()
        with (
            Writer.resume(path, self.header, runs=len(PLAIN_FIRST)) if goes_on else Writer(path, self.header) as writer
        ):
            bench = self._warm_bench()
            if writer.finished:
                self._sweep(bench)
            for i, prompt in enumerate(self.prompts):
                if prompt.id in writer.finished:
                    continue
                self._all_arms(writer, prompt, PLAIN_FIRST if i % 2 == 0 else PLAIN_FIRST[::-1])
                self._sweep(bench)
                yield prompt

    def _sweep(self, bench: CostBench) -> None:
        costs.append(self.folder / COSTS, bench.sweep())

    def _all_arms(self, writer: Writer, prompt: Prompt, order: Sequence[tuple[str, int]]) -> None:
        reference: list[int] | None = None
        for arm, repeat in order:
            tokens = self._decode(writer, prompt, (arm, repeat), reference)
            reference = reference or tokens

    def _decode(self, writer: Writer, prompt: Prompt, arm: tuple[str, int], reference: list[int] | None) -> list[int]:
        ids = self._ids[prompt.id]
        key: dict[str, Any] = {"prompt": prompt.id, "arm": arm[0], "repeat": arm[1]}
        writer.write(PromptLine(**key, domain=prompt.domain, tokens_in=len(ids)))
        decoder = self._decoders[arm[0]]
        generation = decoder.start(ids, budget=self.settings.budget, seed=seed_of(self.settings.seed, prompt.id))
        seconds = self._write_rounds(writer, generation, key, decoder.clock)
        writer.write(
            DoneLine(
                **key,
                tokens_out=len(generation.tokens),
                seconds=seconds,
                prefill_s=generation.prefill_s,
                tokens=tuple(generation.tokens),
                divergence=self._divergence(ids, generation.tokens, reference),
            )
        )
        return generation.tokens

    def _write_rounds(self, writer: Writer, generation: Generation, key: dict[str, Any], clock: Clock) -> float:
        """Seconds of all rounds; the writing between them is not counted."""
        seconds, rounds = 0.0, generation.rounds()
        for index in range(self.settings.budget):
            started = clock.now()
            done = next(rounds, None)
            seconds += clock.now() - started
            if done is None:
                break
            record = asdict(done) | {"emitted": len(done.emitted)}
            writer.write(RoundLine(**key, index=index, **record))
        return seconds

    def _divergence(self, ids: list[int], tokens: list[int], reference: list[int] | None) -> dict | None:
        """Where greedy tokens first differ from the plain run's, and the gap of the top two logits there."""
        if reference in (None, tokens) or self.settings.sampler.temperature > 0:
            return None
        at = next((i for i, (a, b) in enumerate(zip(tokens, reference, strict=False)) if a != b), len(tokens))
        target = self._decoders["plain"].target
        target.rewind(0)
        top = target.forward([*ids, *reference[:at]], keep=1)[-1].topk(2).values
        return {"at": at, "gap": float(top[0] - top[1])}

    def _load_draft(self) -> Loaded | None:
        name = self.settings.draft
        place = {"device": self.settings.device, "dtype": self.settings.dtype}
        return None if name == "lookup" else load_draft(name, self._target, **place)

    def _encoded(self, prompt: Prompt) -> list[int]:
        ids = self._target.encode(prompt.messages)
        context = min(m.context for m in (self._target, self._draft) if m)
        if len(ids) + self.settings.budget + self.settings.k + 1 > context:
            raise ValueError(
                f"prompt {prompt.id!r} has {len(ids)} tokens; with {self.settings.budget} new ones and a draft it "
                f"exceeds the context of {context} tokens: shorten it or lower --tokens"
            )
        return ids

    def _both_arms(self) -> dict[str, Decoder]:
        target = Model(self._target, capacity=self._capacity, vocabulary=self.vocabulary)
        common = (self.settings.sampler, Clock(self.settings.device), self._target.eos)
        arrays = Arrays.on(target.device)
        return {
            "plain": Decoder(target, Nothing(arrays, self.vocabulary), *common, k=0),
            "spec": Decoder(target, self._drafter(arrays), *common, k=self.settings.k),
        }

    def _drafter(self, arrays: Arrays) -> Drafter:
        if self._draft is None:
            return Lookup(arrays, self.vocabulary)
        model = Model(self._draft, capacity=self._capacity, vocabulary=self.vocabulary)
        return ModelDraft(arrays, model, self.settings.sampler)

    def _warm_bench(self) -> CostBench:
        """Every arm and every shape once, untimed; the costs span the contexts of the run."""
        shortest = min(self._ids.values(), key=len)
        for decoder in self._decoders.values():
            list(decoder.start(shortest, budget=min(WARM_UP_TOKENS, self.settings.budget), seed=0).rounds())
        models = {"target": self._target} | ({"draft": self._draft} if self._draft else {})
        lengths = {"target": range(1, self.settings.k + 2), "draft": (1, 2)}
        bench = CostBench(models, lengths, (len(shortest), self._capacity), self._decoders["spec"])
        bench.warm()
        return bench

    def _header(self) -> Header:
        drafter = self._decoders["spec"].drafter
        return Header(
            target=self.settings.target,
            draft=self.settings.draft,
            k=self.settings.k,
            sampler=asdict(self.settings.sampler) | {"max_tokens": self.settings.budget},
            rule=drafter.rule,
            seed=self.settings.seed,
            machine=machine(self.settings),
            versions={"specmath": version(), **{name: metadata.version(name) for name in MEASURED_WITH}},
            prompts=digest(self.prompts),
        )


def cost_bench(
    settings: Settings, lengths: Sequence[int], contexts: Sequence[int], batches: Sequence[int] = (1,)
) -> CostBench:
    """A bench without a study: the target over `lengths`, a draft over one token and two, at each batch and context.

    Raises ValueError for a context that the models do not hold.
    """
    place = {"device": settings.device, "dtype": settings.dtype}
    models = {"target": load(settings.target, **place)}
    if settings.draft != "lookup":
        models["draft"] = load_draft(settings.draft, models["target"], **place)
    room = min(loaded.context for loaded in models.values()) - max(lengths)
    if max(contexts) > room:
        raise ValueError(f"context: found {max(contexts)} tokens, expected at most {room} before {max(lengths)} more")
    vocabulary = common_vocabulary(models["target"], models["draft"]) if "draft" in models else models["target"].rows
    target = Model(models["target"], capacity=1, vocabulary=vocabulary)
    nothing = Nothing(Arrays.on(target.device), vocabulary)
    decoder = Decoder(target, nothing, settings.sampler, Clock(settings.device), frozenset(), k=settings.k)
    return CostBench(models, {"target": lengths, "draft": (1, 2)}, contexts, decoder, batches)


def machine(settings: Settings) -> dict:
    """Processor, threads, device and dtype that the times belong to."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(settings.device)
        if settings.device.startswith("cuda")
        else settings.device,
        "dtype": settings.dtype,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor()
