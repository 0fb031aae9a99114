"""What a plan concludes: whether to draft, the reason by what binds and by the largest part, and what to do next."""

from collections.abc import Mapping, Sequence
from typing import Any

from specmath.load import Option
from specmath.plan import Plan
from validate.acceptances import measure
from validate.candidates import on
from validate.document import significant
from validate.plan_words import PARTS, short
from validate.words import counted, milliseconds

MORE = "measure acceptance of more prompts, which narrows its interval"


def verdict(plan: Plan, *, known: bool, decided: bool) -> str:
    """Use it or not; measure more where no acceptance is known, or its interval does not decide."""
    if not (known and decided):
        return "measure_more"
    return "use" if plan.choice.k else "dont_use"


def reason(plan: Plan, step: Mapping[str, Any]) -> str:
    """What binds with and without drafting, and what a round emits and costs at the batch it runs at."""
    plain, drafting = plan.without, plan.drafting
    names = [option.name for option in plan.ranked]
    bound = [_bound(option, names) for option in (plain, drafting) if option]
    if plain is None:
        bound.insert(0, "plain decoding keeps no promise")
    if not drafting:
        return f"{bound[0]}, and nothing that drafts keeps the promise"
    spent, rounds = sum(step["plain"].values()), sum(step["round"].values())
    emitted = f"a round of k = {drafting.k} emits {step['tokens']:.2f} tokens and takes {significant(rounds / spent)}"
    largest = max(step["round"], key=step["round"].__getitem__)
    share = f"{step['round'][largest] / rounds:.0%} of it {PARTS[largest]}"
    return (
        f"{', '.join(bound)}; at batch {step['batch']:.0f} {emitted} plain steps ({milliseconds(rounds)} ms), {share}"
    )


def unknown(plan: Plan, whatif: Sequence[Mapping[str, Any]]) -> str:
    """The reason where no draft's acceptance is known: from which alpha each would pay."""
    names = [one["draft"] for one in whatif]
    edges = [f"{short(one['draft'], names)} {_edge(one)}" for one in whatif if one["what"] == "alpha"]
    return f"{_bound(plan.choice, ())}, and how drafts are accepted is not known: {', '.join(edges)}"


def then(plan: Plan, verdict: str, emitted: Sequence[str], unmeasured: Sequence[str], target: str) -> str:
    """What to paste, or to do next; `unmeasured` are drafts whose acceptance is unknown, or given without a source."""
    if verdict == "measure_more":
        return f"measure acceptance: {measure(target, unmeasured[0])}" if unmeasured else MORE
    if verdict == "dont_use":
        return "decode plainly; --whatif alpha says from which acceptance a draft would pay"
    flags = f"paste the flags of {', '.join(emitted)} below" if emitted else "--emit vllm for the flags"
    given = [name for name in unmeasured if plan.choice.name in (name, on(name, plan.draft_tp))]
    if given:
        return f"{flags}; alpha is taken as given, measure it: {measure(target, given[0])}"
    return flags


def _bound(option: Option, names: Sequence[str]) -> str:
    """What holds one option back, per GPU, as replicas may differ in size."""
    name = f"{short(option.name, names)} with k = {option.k}" if option.k else "plain decoding"
    return f"{option.binding} holds {name} to {significant(option.capacity / option.tp)} requests/s per GPU"


def _edge(one: Mapping[str, Any]) -> str:
    aim = f"comes down to {counted(one['gpus'], 'GPU')}" if one["gpus"] else "pays"
    if one["k"] is None:
        return f"{aim} at no alpha"
    return f"{aim} from alpha = {significant(one['value'])} (k = {one['k']})"
