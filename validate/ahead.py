"""What can be judged of a command line before PyTorch is imported and a model is loaded, which may take a minute."""

import importlib.util
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from validate import costs, folder, logged, names
from validate.console import say
from validate.sampler import Sampler
from validate.sources import prompts_of
from validate.workload import Prompt

NEEDED = ("torch", "transformers", "safetensors", "array_api_compat")
DEVICE = r"cpu|cuda(:\d+)?"


def begun(options: Mapping[str, Any]) -> list[Prompt]:
    """The prompts of a run or a profile, none where it has texts; ValueError for options that cannot be met."""
    installed()
    Sampler(*(options[name] for name in ("temperature", "top_k", "top_p", "min_p")))
    if options.get("text") and options["prompts"]:
        raise ValueError("--prompts: found beside --text, expected one of them: text is scored, prompts are decoded")
    if options.get("costs"):
        priced(pathlib.Path(options["costs"]))
    if options.get("text"):
        logged.judge(pathlib.Path(options["text"]))
    _models(options["target"], options["draft"], options["device"])
    return [] if options.get("text") else prompts_of(options, say)


def tested(options: Mapping[str, Any]) -> list[Prompt]:
    """The prompts of `specmath lossless`; ValueError for options that cannot be met."""
    if options["draft"] == "ngram":
        raise ValueError("--draft: found 'ngram', expected lookup, early:N or a model")
    return begun({**options, "draft": [options["draft"]], "precision": None})


def measured(options: Mapping[str, Any]) -> None:
    """The same of the options of `specmath cost`."""
    installed()
    if options["out"]:
        path = pathlib.Path(options["out"])
        folder.openable(path)
        if path.exists():
            costs.read(path)
    _models(options["target"], [options["draft"]], options["device"], dummy=options["dummy_weights"])


def loading(target: str) -> None:
    """Say what will be silent for a while."""
    say(f"loading PyTorch and {target}, which may take a minute")


def installed() -> None:
    """ModuleNotFoundError for a package that models need."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def priced(path: pathlib.Path) -> None:
    """ValueError for a file without sweeps."""
    if not path.is_file():
        found = f"a folder, {path}" if path.is_dir() else f"no file {path}"
        raise ValueError(f"--costs: found {found}, expected sweeps: measure with specmath cost --out FILE")
    if not costs.read(path).sweeps:
        raise ValueError(f"{path} holds no sweep, expected one or more: measure with specmath cost --out FILE")


def _models(target: str, drafts: Sequence[str], device: str | None, *, dummy: bool = False) -> None:
    """ValueError for a device or a name that is none."""
    if device and not re.fullmatch(DEVICE, device):
        raise ValueError(f"device: found {device!r}, expected cpu, cuda or cuda:N")
    names.target(target, dummy=dummy)
    for draft in drafts:
        if draft not in costs.FREE:
            names.draft(draft, dummy=dummy)
