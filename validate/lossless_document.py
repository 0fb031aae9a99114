"""Whether a decoder is lossless, as the JSON object of `specmath lossless`."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from validate.document import envelope, nulled, significant
from validate.lossless import POWER, Finding
from validate.words import counted

SAMPLER = ("temperature", "top_k", "top_p", "min_p")
REPEATED = ("target", "draft", "k", *SAMPLER, "prompts", "per_domain", "tokens", "tv", "seed", "dtype", "device")


def lossless_document(
    finding: Finding, options: Mapping[str, Any], *, worst: str | None, prompts: int
) -> dict[str, Any]:
    """The verdict and what it rests on; `worst` is the context of the finding's worst in words."""
    reason = {"pass": _passed, "fail": _failed, "cannot_tell": _cannot_tell}[finding.verdict](finding, worst)
    return nulled(
        envelope("lossless", finding.verdict, reason, _next(finding, options))
        | {name: getattr(finding, name) for name in ("mode", "tokens", "contexts", "false_alarm")}
        | {"power": _named(finding.power)}
        | {"towards_draft": _named(finding.leaning)}
        | {"worst": {"context": worst, "deviation": finding.worst[1]} if finding.worst else None}
        | {name: getattr(finding, name) for name in ("ties", "structural", "faults", "p_value", "found", "needed")}
        | {"leading": finding.leading, "drift": finding.drift, "tv": finding.tv}
        | {name: options[name] for name in ("target", "draft", "k", "dtype", "device")}
        | {"sampler": {name: options[name] for name in SAMPLER}, "prompts": prompts, "budget": options["tokens"]}
    )


def _named(power: Mapping[float, float | None] | None) -> dict[str, float | None] | None:
    """The power by its total variation as JSON has it."""
    return None if power is None else {f"{tv:g}": chance for tv, chance in power.items()}


def _passed(finding: Finding, worst: str | None) -> str:
    seen = _seen(finding)
    if finding.mode == "greedy":
        ties = f", {counted(finding.ties, 'tie')} of rounding apart" if finding.ties else ""
        return f"{seen} are those of plain decoding{ties}"
    return f"{seen} follow the target's law (p = {_probability(finding)}); {_power(finding)}"


def _failed(finding: Finding, worst: str | None) -> str:
    if finding.faults:
        more = f", and {finding.structural - 1} more" if finding.structural > 1 else ""
        return f"{finding.faults[0]}{more}"
    assert finding.worst
    if finding.mode == "greedy":
        gap = f"by {significant(finding.worst[1])} in the logits" if finding.worst[1] < float("inf") else "in length"
        return f"{counted(finding.structural, 'text')} differ from plain decoding by no tie, {worst} {gap}"
    away = f"{worst} is {significant(100 * finding.worst[1])} points away"
    return f"no law of the target's gives these tokens (p = {_probability(finding)}); {_lean(finding)}; worst, {away}"


def _cannot_tell(finding: Finding, worst: str | None) -> str:
    if finding.drift:
        what = "differs from itself by no tie" if finding.mode == "greedy" else "fails the same test"
        return f"plain decoding {what} as well, so that speculation is not to blame for what differs"
    return f"{_seen(finding)} show nothing wrong, but {_power(finding)}"


def _next(finding: Finding, options: Mapping[str, Any]) -> str:
    if finding.drift:
        return "take float32, where kernels of different shapes agree: --dtype float32"
    if finding.verdict == "pass":
        return "use it with this draft, k, sampler and dtype; another of them is another test"
    if finding.verdict == "fail":
        return "decode plainly until it is mended; look at the rows that drafts are drawn from and judged by"
    if finding.needed is None:
        return "no number of such texts tells: let contexts come again, with fewer prompts and shorter texts (--tokens)"
    return _command(options, finding)


def _command(options: Mapping[str, Any], finding: Finding) -> str:
    """The same again with as many tokens as it takes."""
    assert finding.needed
    if finding.mode == "sampled":
        return _again({**options, "sample": finding.needed}, (*REPEATED, "sample"))
    longer = -(-finding.needed // max(finding.contexts, 1))
    again = _again({**options, "tokens": max(options["tokens"], longer)}, REPEATED)
    return f"compare {finding.needed} tokens or more, with longer texts or more prompts: {again}"


def _again(options: Mapping[str, Any], names: Sequence[str]) -> str:
    given = [(name, options[name]) for name in names if options.get(name) not in (None, "")]
    words = [word for name, value in given for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["specmath", "lossless", *words])


def _seen(finding: Finding) -> str:
    what = "text" if finding.mode == "greedy" else "context"
    return f"{finding.tokens} tokens in {counted(finding.contexts, what)}"


def _power(finding: Finding) -> str:
    """What would have been found, and how surely."""
    power, lean = finding.power[finding.tv], (finding.leaning or {}).get(finding.tv)
    chance = f"at least {POWER:.0%}" if power >= POWER else f"{power:.0%}"
    off = f"off by {significant(100 * finding.tv)} points per token, in each context its own way,"
    towards = "" if lean is None else f", and one that leans so far towards the draft of {lean:.0%}"
    return f"a law {off} had a chance of {chance} to be found{towards}"


def _probability(finding: Finding) -> str:
    assert finding.p_value is not None
    return f"{finding.p_value:.2g}"


def _lean(finding: Finding) -> str:
    return f"found after {counted(finding.found or 0, 'token')}, most surely {finding.leading}"
