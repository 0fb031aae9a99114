"""What a profile says, as the JSON object of `specmath profile`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from specmath.cost import Pair
from validate.document import envelope, nulled
from validate.profile import Band, DraftProfile, Scored, by_context, by_copy, by_position, origin, pairs
from validate.profile_verdict import Priced, best_of, conclusion, foreign
from validate.texts import digest, units

PRICES = ("target", "device", "dtype", "sampler", "dummy_weights")  # what a costs file says of whom it measured


def profile_document(
    scored: Scored, pairs_of: Mapping[str, Pair], k_max: int, source: str, measured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Acceptance of every draft at every depth; speedups at the prices of each draft's own pair, None without.

    `measured` says whose prices they are; those of another target or sampler are shown and decide nothing. Raises
    ValueError where there is no text to speak of.
    """
    profiles = scored.profiles(k_max)
    found = origin(scored.scores, greedy=scored.greedy)
    best = best_of(profiles, pairs_of)
    prices = None if measured is None else {name: measured.get(name) for name in PRICES}
    priced = Priced(scored, pairs_of, prices, k_max, source)
    verdict, reason, then = conclusion(best, priced) if found.own else foreign(found)
    tokens = sum(text.tokens for text in scored.texts)
    return nulled(
        envelope("profile", verdict, reason, then)
        | {"target": scored.target, "sampler": asdict(scored.sampler), "source": source}
        | {"prices": prices}
        | {"text": {"prompts": max(units(scored.texts)) + 1, "tokens": tokens, "sha256": digest(scored.texts)}}
        | {"own_text": asdict(found) | {"own": found.own}, "best": best}
        | {"drafts": [_draft(profile, pairs_of.get(profile.draft.name)) for profile in profiles]}
        | {"pairs": [{"a": a, "b": b, "difference": d} for a, b, d in pairs(profiles)]}
        | {"pairs_by_domain": _pairs_by_domain(profiles)}
        | {"loops": {"texts": sum(text.loops for text in scored.texts), "of": len(scored.texts)}}
        | {"stopped_early": sum(text.end == "eos" for text in scored.texts)}
    )


def _draft(profile: DraftProfile, pair: Pair | None) -> dict[str, Any]:
    share, copied, others = by_copy(profile)
    steady = profile.of(lambda text: not text.loops)
    return {
        "name": profile.draft.name,
        "rule": profile.draft.rule,
        "by_offset": profile.by_offset,
        "alpha": profile.alpha,
        "by_k": [
            {"k": k, "block_efficiency": profile.block_efficiency(k), "speedup": pair and profile.speedup(k, pair)}
            | {"block_gain": profile.block_gain(k)}
            for k in profile.depths
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
    return {
        "alpha": profile.alpha,
        "block_efficiency": {str(k): profile.block_efficiency(k) for k in profile.depths},
        "prompts": max(profile.units) + 1,
        "loops": sum(text.loops for text in profile.texts),
    }


def _pairs_by_domain(profiles: Sequence[DraftProfile]) -> dict[str, list[dict[str, Any]]]:
    """The same differences in every domain."""
    found = {}
    for domain in _domains(profiles[0]):
        parts = [profile.of(lambda t, d=domain: t.domain == d) for profile in profiles]  # type: ignore[misc]
        found[domain] = [{"a": a, "b": b, "difference": d} for a, b, d in pairs(parts)]
    return found


def _domains(profile: DraftProfile) -> list[str]:
    return list(dict.fromkeys(text.domain for text in profile.texts))


def _named(band: Band) -> str:
    return f"{band[0]}–{band[1]}" if band[1] else f"{band[0]}+"
