"""What runs: the settings of a piece of work, its target and drafts loaded once, and the machine they are on."""

import pathlib
import platform
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from validate.costs import FREE
from validate.dummy import dummy
from validate.loading import Loaded, common_vocabulary, load, load_draft
from validate.products import choose
from validate.sampler import Sampler


@dataclass(frozen=True)
class Settings:
    """What to run: models by name, lookup and ngram drafting from text; k, sampler, tokens per prompt, seed, place.

    `products` lets the fastest matrix products be chosen, which changes something on a CPU alone.
    """

    target: str
    drafts: tuple[str, ...]
    ks: tuple[int, ...]
    sampler: Sampler
    budget: int
    seed: int
    device: str
    dtype: str
    dummy_weights: bool = False
    products: bool = True

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """Every (draft, k)."""
        return tuple((draft, k) for draft in self.drafts for k in self.ks)

    @property
    def machine(self) -> dict[str, Any]:
        """Processor, threads, device, dtype and, where they were chosen, products that the times belong to."""
        on_gpu = self.device.startswith("cuda")
        chosen = {"products": "chosen by measuring"} if self.products and not on_gpu else {}
        return chosen | {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(self.device) if on_gpu else self.device,
            "dtype": self.dtype,
            "system": f"{platform.system()} {platform.machine()}",
        }


class Models:
    """The target and every draft that is a model, loaded once; `vocabulary` ids mean the same to all of them."""

    def __init__(self, settings: Settings) -> None:
        place = {"device": settings.device, "dtype": settings.dtype}
        make = dummy if settings.dummy_weights else load
        self.target = make(settings.target, **place)
        names = [name for name in dict.fromkeys(settings.drafts) if name not in FREE]
        self.drafts: dict[str, Loaded] = {name: load_draft(name, self.target, make, **place) for name in names}
        if settings.products:
            for model in (self.target, *self.drafts.values()):
                choose(model.network, settings.machine)

    @cached_property
    def vocabulary(self) -> int:
        """The first so many rows of every model's logits."""
        return min([self.target.rows, *(common_vocabulary(self.target, draft) for draft in self.drafts.values())])

    @property
    def context(self) -> int:
        """The longest sequence that all of them hold, in tokens."""
        return min(model.context for model in (self.target, *self.drafts.values()))


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor()
