"""What a profile says, as the JSON object of `specmath profile`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from specmath.cost import Pair
from specmath.estimate import Estimate
from validate.document import envelope, nulled, times
from validate.lines import TIE_LOGITS
from validate.profile import Band, DraftProfile, by_context, by_copy, by_position, origin, pairs
from validate.sampler import Sampler
from validate.scores import DraftScores, Score
from validate.texts import Text, digest

PRICES = ("target", "device", "dtype", "sampler", "dummy_weights")  # what a costs file says of whom it measured
GREEDY, MEASURED = "greedy", "own-costs.jsonl"


@dataclass(frozen=True)
class Scored:
    """Texts, what scoring said of them, the drafts over them, and under what they were scored."""

    target: str
    sampler: Sampler
    dtype: str
    texts: tuple[Text, ...]
    scores: tuple[Score, ...]
    drafts: tuple[DraftScores, ...]

    def profiles(self, k_max: int) -> list[DraftProfile]:
        """One for each draft."""
        greedy = self.sampler.temperature == 0
        return [DraftProfile(draft, self.texts, greedy, k_max) for draft in self.drafts]


@dataclass(frozen=True)
class Best:
    """The draft and k that look best: by speedup where costs are known, else by tokens per round."""

    draft: str
    k: int
    block_efficiency: Estimate
    speedup: Estimate | None


def profile_document(
    scored: Scored, pairs_of: Mapping[str, Pair], k_max: int, source: str, measured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Acceptance of every draft at every depth; speedups at the prices of each draft's own pair, None without.

    `measured` says whose prices they are; those of another target or sampler are shown and decide nothing. Raises
    ValueError where there is no text to speak of.
    """
    profiles = scored.profiles(k_max)
    found = origin(scored.scores, greedy=scored.sampler.temperature == 0, tie=TIE_LOGITS.get(scored.dtype, 1e-3))
    best = _best(profiles, pairs_of)
    prices = None if measured is None else {name: measured.get(name) for name in PRICES}
    verdict, reason, then = _conclusion(best, scored, prices, own=found.own)
    tokens = sum(text.tokens for text in scored.texts)
    return nulled(
        envelope("profile", verdict, reason, then)
        | {"target": scored.target, "sampler": asdict(scored.sampler), "source": source}
        | {"prices": prices}
        | {"text": {"prompts": len(scored.texts), "tokens": tokens, "sha256": digest(scored.texts)}}
        | {"own_text": asdict(found) | {"own": found.own}, "best": best}
        | {"drafts": [_draft(profile, pairs_of.get(profile.draft.name)) for profile in profiles]}
        | {"pairs": [{"a": a, "b": b, "difference": d} for a, b, d in pairs(profiles)]}
        | {"pairs_by_domain": _pairs_by_domain(profiles)}
        | {"loops": {"texts": sum(text.loops for text in scored.texts), "of": len(scored.texts)}}
        | {"stopped_early": sum(text.end == "eos" for text in scored.texts)}
    )


def _draft(profile: DraftProfile, pair: Pair | None) -> dict[str, Any]:
    depths = range(1, profile.k_max + 1)
    share, copied, others = by_copy(profile)
    steady = profile.of(lambda text: not text.loops)
    return {
        "name": profile.draft.name,
        "rule": profile.draft.rule,
        "alpha": profile.alpha,
        "by_k": [
            {"k": k, "block_efficiency": profile.block_efficiency(k), "speedup": pair and profile.speedup(k, pair)}
            | {"block_gain": profile.block_gain(k)}
            for k in depths
        ],
        "survival": profile.replay.survival(profile.k_max),
        "by_domain": {domain: _domain(profile.of(lambda t, d=domain: t.domain == d)) for domain in _domains(profile)},  # type: ignore[misc]
        "by_position": [{"band": _named(band), "alpha": alpha} for band, alpha in by_position(profile)],
        "by_context": [{"band": _named(band), "alpha": part.alpha} for band, part in by_context(profile)],
        "copyable_share": share,
        "copyable": {"alpha": copied, "others": others},
        "without_loops": steady.alpha if steady.texts else None,
    }


def _domain(profile: DraftProfile) -> dict[str, Any]:
    depths = range(1, profile.k_max + 1)
    return {
        "alpha": profile.alpha,
        "block_efficiency": {str(k): profile.block_efficiency(k) for k in depths},
        "prompts": len(profile.texts),
        "loops": sum(text.loops for text in profile.texts),
    }


def _pairs_by_domain(profiles: Sequence[DraftProfile]) -> dict[str, list[dict[str, Any]]]:
    """The same differences in every domain."""
    found = {}
    for domain in _domains(profiles[0]):
        parts = [profile.of(lambda t, d=domain: t.domain == d) for profile in profiles]  # type: ignore[misc]
        found[domain] = [{"a": a, "b": b, "difference": d} for a, b, d in pairs(parts)]
    return found


def _best(profiles: Sequence[DraftProfile], pairs_of: Mapping[str, Pair]) -> Best:
    candidates = [
        Best(p.draft.name, k, p.block_efficiency(k), p.speedup(k, pair) if pair else None)
        for p in profiles
        for pair in [pairs_of.get(p.draft.name)]
        for k in range(1, p.k_max + 1)
    ]
    paid = [c for c in candidates if c.speedup]
    if paid:
        return max(paid, key=lambda c: c.speedup.value if c.speedup else 0.0)
    return max(candidates, key=lambda c: c.block_efficiency.value)


def _conclusion(best: Best, scored: Scored, prices: Mapping[str, Any] | None, *, own: bool) -> tuple[str, str, str]:
    """Verdict, reason and what next; foreign text decides nothing, and foreign prices neither."""
    spent = f"{best.draft} with k = {best.k} emits {best.block_efficiency.value:.2f} tokens per round"
    if not own:
        doubt = "the text cannot be the target's own under this sampler, so its acceptance is another quantity"
        return "measure_more", doubt, "score what the target wrote: specmath profile without --text, or its own logs"
    if best.speedup is None:
        lacking = "the costs given hold none of its forwards" if prices else "what a round costs is not known"
        return "measure_more", f"{spent}, and {lacking}", _to_measure(best, scored)
    value, low, high = best.speedup.value, best.speedup.low, best.speedup.high
    foreign = _differing(scored, prices or {})
    if foreign:
        return "measure_more", f"{spent}, {times(value)} at prices that are {foreign}", _to_measure(best, scored)
    reason = f"{spent}, {times(value)} at the prices of the cost table"
    if low > 1:
        return "use", reason, f"decode for real: specmath run --draft {best.draft} --k {best.k}"
    if high < 1:
        return "dont_use", reason, "decode plainly, or profile another draft"
    return (
        "measure_more",
        f"{reason}, which its interval does not tell from 1",
        "score more prompts: --per-domain or --text",
    )


def _differing(scored: Scored, prices: Mapping[str, Any]) -> str:
    """Whose prices they are, where that is not what was scored; machine and dtype may be others on purpose."""
    found = []
    if not prices.get("dummy_weights") and prices.get("target") != scored.target:
        found.append(f"of {prices.get('target') or 'an unknown target'} and not of {scored.target}")
    under, asked = prices.get("sampler"), _options(asdict(scored.sampler))
    if under is None or _options(under) != asked:
        known = "an unknown sampler" if under is None else _options(under) or GREEDY
        found.append(f"under {known} and not {asked or GREEDY}")
    return ", and ".join(found)


def _options(sampler: Mapping[str, Any]) -> str:
    """The options of the command line that choose a sampler; none where it is greedy, whatever else is given."""
    if sampler["temperature"] == 0:
        return ""
    default = asdict(Sampler())
    chosen = {name: value for name, value in sampler.items() if value != default[name]}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items())


def _to_measure(best: Best, scored: Scored) -> str:
    """The command that measures what the best draft would cost, over the contexts of the texts."""
    shortest = min(len(text.context) for text in scored.texts)
    longest = max(len(text.context) + len(text.output) for text in scored.texts)
    models = f"--target {shlex.quote(scored.target)} --draft {shlex.quote(best.draft)}"
    sampler = _options(asdict(scored.sampler))
    options = " ".join(filter(None, (models, f"--k {best.k} --context {shortest},{longest}", sampler)))
    return f"measure it: specmath cost {options} --out {MEASURED}, then profile with --costs {MEASURED}"


def _domains(profile: DraftProfile) -> list[str]:
    return list(dict.fromkeys(text.domain for text in profile.texts))


def _named(band: Band) -> str:
    return f"{band[0]}–{band[1]}" if band[1] else f"{band[0]}+"
