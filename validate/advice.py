"""What to do next, in a line: where to use what, and the command that answers what is open."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from validate.compare import Verdict
from validate.costs import FREE
from validate.document import MANY
from validate.lines import Header
from validate.sampler import Sampler
from validate.workload import DOMAINS, bundled, digest, interleaved

SPELT = {"max_tokens": "tokens", "top_k": "top-k", "top_p": "top-p", "min_p": "min-p"}


def run_command(headers: Sequence[Header], per_domain: int | None = None) -> str:
    """A run of every draft and k of these, over so many prompts of each kind; by default the same prompts."""
    drafts, ks = ([*dict.fromkeys(getattr(header, name) for header in headers)] for name in ("draft", "k"))
    return _command("run", headers[0], drafts, ks, per_domain)


def profile_command(header: Header, drafts: Sequence[str]) -> str:
    """Every k of these drafts, exactly, on text of the same target under the same sampler."""
    return _command("profile", header, list(dict.fromkeys(drafts)), [header.k], None)


def then(verdict: Verdict, header: Header, kinds: int) -> str:
    """What to do where one verdict holds for all kinds of text, of which there are so many."""
    if verdict.verdict == "measure_more":
        command = run_command([header], math.ceil(_wanted(verdict.speedup.prompts, verdict.more_prompts) / kinds))
        return f"decode {_more(verdict)}: {command}"
    if verdict.verdict == "use":
        return f"turn it on with k = {verdict.k}"
    return f"decode plainly, or see whether another draft or k pays: {profile_command(header, [header.draft, *FREE])}"


def route(overall: Verdict, verdicts: Mapping[str, Verdict], header: Header) -> str:
    """What to do with one draft and k, by kind of text where the kinds disagree."""
    if {verdict.verdict for verdict in verdicts.values()} == {overall.verdict}:
        return then(overall, header, len(verdicts))
    kinds = {name: [d for d, v in verdicts.items() if v.verdict == name] for name in ("use", "dont_use")}
    whole = {"use": "use it on this mix of texts", "dont_use": "do not use it on this mix of texts"}
    mix = [whole[overall.verdict]] if overall.verdict in whole and not kinds[overall.verdict] else []
    use = [f"use it for {_listed(kinds['use'])}"] if kinds["use"] else []
    never = [f"not for {_listed(kinds['dont_use'])}"] if kinds["dont_use"] else []
    return ", and ".join(filter(None, (", ".join(mix + use + never), _to_decide(verdicts, header))))


def plan(verdicts: Mapping[str, Mapping[str, Any]], prompts: Mapping[str, int], headers: Sequence[Header]) -> str:
    """Which draft at which k for which kinds of text, where to decode plainly, and where to measure more."""
    kinds: dict[str, list[str]] = {}
    for domain, found in verdicts.items():
        if found["verdict"] != "measure_more":
            use = f"use {found['draft']} with k = {found['k']} for"
            kinds.setdefault(use if found["verdict"] == "use" else "decode plainly for", []).append(domain)
    steps = [f"{what} {', '.join(domains)}" for what, domains in kinds.items()]
    thin = {domain: found["more_prompts"] for domain, found in verdicts.items() if found["verdict"] == "measure_more"}
    if thin:
        listed = ", ".join(f"{domain} ({more} more)" if more else domain for domain, more in thin.items())
        command = run_command(headers, max(_wanted(prompts[domain], more) for domain, more in thin.items()))
        steps.append(f"decode more prompts of {listed}: {command}")
    return "; ".join(steps)


def _to_decide(verdicts: Mapping[str, Verdict], header: Header) -> str:
    thin = {domain: verdict for domain, verdict in verdicts.items() if verdict.verdict == "measure_more"}
    if not thin:
        return ""
    listed = _listed([f"{_more(verdict)} of {domain}" for domain, verdict in thin.items()])
    wanted = max(_wanted(verdict.speedup.prompts, verdict.more_prompts) for verdict in thin.values())
    return f"decode {listed} to decide there: {run_command([header], wanted)}"


def _wanted(prompts: int, more: int | None) -> int:
    """Prompts to decode in all: twice as many where nothing says how many are missing."""
    return prompts + min(more or prompts, MANY)


def _more(verdict: Verdict) -> str:
    count = verdict.more_prompts
    if count is None:
        return "more prompts"
    return f"over {MANY} more prompts" if count > MANY else f"{count} more prompt{'s' if count > 1 else ''}"


def _listed(items: Sequence[str]) -> str:
    """Items as in a sentence."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def words(name: str, target: str, drafts: Sequence[str], ks: Sequence[int], sampler: Mapping[str, Any]) -> list[str]:
    """A command's words: the models, the depths, and what differs from the usual sampling."""
    options = [("target", target), *(("draft", draft) for draft in drafts), *(("k", k) for k in ks)]
    return ["specmath", name, *_spelt(options), *sampling(sampler)]


def sampling(sampler: Mapping[str, Any]) -> list[str]:
    """Options of what differs from the usual sampling."""
    usual = vars(Sampler()) | {"max_tokens": None, "seed": 0}
    return _spelt((SPELT.get(o, o), sampler[o]) for o, value in usual.items() if o in sampler and sampler[o] != value)


def _spelt(options: Iterable[tuple[str, Any]]) -> list[str]:
    return [word for option, value in options for word in (f"--{option}", str(value))]


def _command(name: str, header: Header, drafts: Sequence[str], ks: Sequence[int], per_domain: int | None) -> str:
    sampler = {**header.sampler, "seed": header.seed}
    return shlex.join([*words(name, header.target, drafts, ks, sampler), *_prompts(header, per_domain)])


def _prompts(header: Header, per_domain: int | None) -> list[str]:
    """Which prompts: the bundled where the run had those and there are as many, else FILE."""
    most = len(bundled()) // len(DOMAINS)
    had = next((n for n in range(1, most + 1) if digest(interleaved(bundled(n))) == header.prompts), None)
    wanted = per_domain or had
    count = ["--per-domain", str(wanted)] if wanted else []
    return count if had and wanted and wanted <= most else ["--prompts", "FILE", *count]
