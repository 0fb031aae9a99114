"""Which prompts: the bundled, those of a file, made by seed or of a data set on the hub, and how many of each kind."""

import importlib
import pathlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from validate import hub, workload
from validate.generate import KINDS, generated
from validate.workload import Prompt

GENERATED = "generated"
PER_DOMAIN = 4


def prompts_of(options: Mapping[str, Any], say: Callable[[str], None]) -> list[Prompt]:
    """The prompts that options ask for: at most per_domain of each kind, or as many as the precision takes.

    Where a kind has fewer than the precision takes, all are used, which `say` is told; and also of prompts that nearly
    repeat others, which count as if they were none. Raises ValueError in one line for a source that is none.
    """
    source, per_domain, precision = (options[name] for name in ("prompts", "per_domain", "precision"))
    if per_domain and precision:
        raise ValueError("--precision: found beside --per-domain, expected one of them: both say how many prompts")

    def wanted(domain: str) -> int | None:
        return workload.prompts_for(precision, domain, options["tokens"]) if precision else per_domain

    prompts = _available(source, wanted, options["seed"])
    if precision:
        _tell_missing(prompts, wanted, say)
    doubles = len(prompts) - len(workload.distinct(prompts))
    if doubles:
        say(f"{doubles} of {len(prompts)} prompts nearly repeat an earlier one: intervals take them for new evidence")
    return prompts


def _available(source: str | None, wanted: Callable[[str], int | None], seed: int) -> list[Prompt]:
    if source is None:
        return _bundled(wanted)
    kind, _, rest = source.partition(":")
    if kind == GENERATED:
        kinds = dict.fromkeys(rest.split(",") if rest else KINDS)
        return [prompt for name in kinds for prompt in generated([name], wanted(name) or PER_DOMAIN, seed)]
    if source.startswith(hub.PREFIX):
        counts = {name: wanted(hub.domain_of(name)) or PER_DOMAIN for name in rest.split(",")}
        load = importlib.import_module("datasets").load_dataset
        return [prompt for name, count in counts.items() for prompt in hub.prompts(name, count, load)]
    return workload.first(workload.read_prompts(_file(source)), wanted)


def _file(source: str) -> pathlib.Path:
    path = pathlib.Path(source)
    if not path.is_file():
        found = f"a folder, {source}" if path.is_dir() else f"no file {source}"
        expected = f"expected JSON Lines of prompts, {GENERATED}[:KIND,KIND] or {hub.PREFIX}NAME: check the path"
        raise ValueError(f"--prompts: found {found}, {expected}")
    return path


def _bundled(wanted: Callable[[str], int | None]) -> list[Prompt]:
    """All where a precision was asked for, else as many as asked for or a few."""
    counts = {domain: wanted(domain) for domain in workload.DOMAINS}
    if len(set(counts.values())) > 1:
        return workload.first(workload.bundled(), wanted)
    return workload.bundled(next(iter(counts.values())) or PER_DOMAIN)


def _tell_missing(prompts: list[Prompt], wanted: Callable[[str], int | None], say: Callable[[str], None]) -> None:
    have = Counter(prompt.domain for prompt in prompts)
    short = [f"{domain} {n} of {wanted(domain)}" for domain, n in have.items() if n < (wanted(domain) or 0)]
    if short:
        say(f"fewer prompts than the precision takes: {', '.join(short)}; give more with --prompts")
