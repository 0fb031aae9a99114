"""What a profile concludes: the best draft and k, whether it pays, and the command that tells more."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specmath.cost import Pair
from specmath.estimate import Estimate
from validate.advice import sampling, words
from validate.costs import FREE
from validate.document import significant, times
from validate.profile import DraftProfile, Origin, Scored

LEVEL = 0.95
GREEDY, MEASURED = "greedy", "own-costs.jsonl"
Conclusion = tuple[str, str, str]  # verdict, reason, and what next


@dataclass(frozen=True)
class Best:
    """The draft and k that look best: by speedup where costs are known, else by tokens per round.

    The best of several looks better than it is: `deciding` is its speedup at level 1 - .05 / drafts (Bonferroni).
    """

    draft: str
    k: int
    block_efficiency: Estimate
    speedup: Estimate | None = None
    deciding: Estimate | None = None


def best_of(profiles: Sequence[DraftProfile], pairs_of: Mapping[str, Pair]) -> Best:
    """The best draft and k of those that have a price, or of all where none has."""
    every = [(profile, k) for profile in profiles for k in profile.depths]
    paid = {(p, k): found for p, k in every if (found := _speedup(p, k, pairs_of))}
    if not paid:
        profile, k = max(every, key=lambda c: c[0].block_efficiency(c[1]).value)
        return Best(profile.draft.name, k, profile.block_efficiency(k))
    profile, k = max(paid, key=lambda c: paid[c].value)
    level = 1 - (1 - LEVEL) / len({p.draft.name for p, _ in paid})
    deciding = _speedup(profile, k, pairs_of, level)
    return Best(profile.draft.name, k, profile.block_efficiency(k), paid[profile, k], deciding)


@dataclass(frozen=True, eq=False)
class Priced:
    """What was scored, the prices of each draft, of whom they are if known; how deep to price, the profile's folder."""

    scored: Scored
    pairs_of: Mapping[str, Pair]
    prices: Mapping[str, Any] | None
    k_max: int
    source: str


def conclusion(best: Best, priced: Priced) -> Conclusion:
    """Use it, do not, or what to measure; prices of another target or sampler decide nothing."""
    spent = f"{best.draft} with k = {best.k} emits {best.block_efficiency.value:.2f} tokens per round"
    if best.speedup is None or best.deciding is None:
        most = (best.block_efficiency.value - 1) / best.k
        edge = f"it pays only where a drafted token costs less than {significant(most)} plain steps in all"
        return "measure_more", f"{spent}, and {_lacking(best, priced)}; {edge}", _to_price(best, priced)
    differing = _differing(priced.scored, priced.prices) if priced.prices else ""
    if differing:
        doubt = f"{spent}, {times(best.speedup.value)} at prices that are {differing}"
        return "measure_more", doubt, _to_price(best, priced)
    reason = f"{spent}, {times(best.speedup.value)} at the prices of the cost table"
    if best.deciding.low > 1:
        return "use", reason, f"decode for real: {_command('run', priced.scored, [best.draft], best.k)}"
    if best.deciding.high < 1:
        return "dont_use", reason, "decode plainly, or profile another draft"
    doubt = f"{reason}, which its {100 * best.deciding.level:.3g} % interval does not tell from 1"
    return "measure_more", doubt, "score more prompts: --per-domain or --text"


def foreign(found: Origin) -> Conclusion:
    """Foreign text decides nothing."""
    counts = (
        f"{found.foreign} of {found.tokens} tokens it could not have written" if found.foreign else "its likelihood"
    )
    doubt = f"the text cannot be the target's own under this sampler ({counts}), so its acceptance is another quantity"
    return "measure_more", doubt, "score what the target wrote: specmath profile without --text, or its own logs"


def _speedup(profile: DraftProfile, k: int, pairs_of: Mapping[str, Pair], level: float = LEVEL) -> Estimate | None:
    pair = pairs_of.get(profile.draft.name)
    return profile.speedup(k, pair, level) if pair else None


def _differing(scored: Scored, prices: Mapping[str, Any]) -> str:
    """Whose prices they are, where that is not what was scored; machine and dtype may be others on purpose."""
    found = []
    if not prices.get("dummy_weights") and prices.get("target") != scored.target:
        found.append(f"of {prices.get('target') or 'an unknown target'} and not of {scored.target}")
    under, asked = (prices.get("sampler"), vars(scored.sampler))
    if under is None or _warped(under) != _warped(asked):
        known = "an unknown sampler" if under is None else _warped(under) or GREEDY
        found.append(f"under {known} and not {_warped(asked) or GREEDY}")
    return ", and ".join(found)


def _warped(sampler: Mapping[str, Any]) -> str:
    """The options that choose a sampler; none where it is greedy, whatever else is given."""
    return shlex.join(sampling(sampler)) if sampler["temperature"] else ""


def _lacking(best: Best, priced: Priced) -> str:
    """Which price is missing."""
    if not priced.pairs_of:
        return "what a round costs is not known"
    if best.draft not in priced.pairs_of:
        return f"the costs given have no forwards of {best.draft}"
    table: Any = priced.pairs_of[best.draft].target
    spans = f"up to k = {max(table.n) - 1} after {min(table.context)} to {max(table.context)} tokens"
    low, high = _contexts(priced.scored)
    return f"the costs given were measured {spans}, and these texts lie at {low} to {high}"


def _contexts(scored: Scored) -> tuple[int, int]:
    """Tokens before the first round and after the last one, over all texts."""
    starts, ends = zip(*((len(t.context), len(t.context) + len(t.output)) for t in scored.texts), strict=True)
    return min(starts), max(ends)


def _to_price(best: Best, priced: Priced) -> str:
    """The commands that measure every k of a draft, of the best if it is a model, and read them into this profile."""
    models = sorted((d.name for d in priced.scored.drafts if d.name not in FREE), key=lambda name: name != best.draft)
    low, high = _contexts(priced.scored)
    measured = f"{_command('cost', priced.scored, models[:1], priced.k_max)} --context {low},{high} --out {MEASURED}"
    return f"{measured}, then specmath profile --resume {priced.source} --costs {MEASURED}"


def _command(name: str, scored: Scored, drafts: Sequence[str], k: int) -> str:
    return shlex.join(words(name, scored.target, drafts, [k], vars(scored.sampler)))
