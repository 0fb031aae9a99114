"""How often a decoder that is wrong by so much would have been found, on the contexts that were really seen."""

from bisect import bisect_left
from collections.abc import Callable, Iterable

import numpy as np

from specmath.acceptor import draw
from validate.betting import Bins, PooledBet, context_wealth, mixed

SIMULATIONS, FEWEST = 200, 40  # of both kinds of decoders
CELLS = 1 << 20  # bins of contexts that are simulated at once
STEPS, FASTEST, SHORT = 10, 20.0, 0.01  # towards a total variation: how often, how fast, and how close
TAIL = np.sqrt(2 / np.pi) / 2  # total variation of a tail of many tokens, each its own way, by the slope of the way
MULTIPLES = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)


def deviating(laws: np.ndarray, tv: float, rng: np.random.Generator, size: int = 1) -> np.ndarray:
    """Laws [size, C, bins] at total variation tv from laws [C, bins], each context in a random direction of its own.

    r(x) is proportional to p(x) max(1 + s (g(x) - mean of g), 0) with g standard normal and s as large as tv takes, so
    that likely tokens lose or gain most. Not the hardest to see: over many tokens the chi-square is 2 pi tv^2, but only
    4 tv^2 where one half of the mass gains evenly what the other loses, which takes half as many tokens again. Where
    neither g nor -g leads as far as tv within the support, the law goes as far as it can. The last bin, of many tokens,
    keeps its inner balance.
    """
    g = rng.standard_normal((size, *laws.shape))
    g[..., -1] = 0.0
    g -= (laws * g).sum(axis=-1, keepdims=True)
    found = _as_far(laws, g, tv)
    short = _distance(found, laws) < (1 - SHORT) * tv - TAIL * laws[..., -1]
    rows = np.nonzero(short)
    other = _as_far(laws[rows[1]], -g[rows], tv)
    better = _distance(other, laws[rows[1]]) > _distance(found[rows], laws[rows[1]])
    found[rows] = np.where(better[:, None], other, found[rows])
    return found


def _as_far(laws: np.ndarray, g: np.ndarray, tv: float) -> np.ndarray:
    """Along g until the total variation is tv, the slope multiplied by what is missing until nothing is."""
    slope = np.ones((*g.shape[:-1], 1))
    for _ in range(STEPS):
        moved = _moved(laws, g, slope)
        distance = _distance(moved, laws) + TAIL * laws[..., -1] * np.minimum(slope[..., 0], 1)
        slope *= np.clip(tv / np.maximum(distance, SHORT * tv + 1e-300), 0, FASTEST)[..., None]
    return _moved(laws, g, slope)


def _moved(laws: np.ndarray, g: np.ndarray, slope: np.ndarray) -> np.ndarray:
    weights = laws * np.maximum(1 + slope * g, 0)
    return weights / weights.sum(axis=-1, keepdims=True)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return abs(one - other).sum(axis=-1) / 2


def power(counts: np.ndarray, laws: np.ndarray, tv: float, bar: float, *, seed: int = 0) -> float:
    """Share of simulated decoders, wrong by tv in every context, whose wealth at the end is at least exp(bar).

    `counts` [C] tokens in each context. Less than the truth: bets by context alone are reckoned with, at the end alone.
    """
    rng = np.random.default_rng(seed)
    laws, counts = _again(counts, laws)
    if not len(counts):
        return 0.0
    at_once = int(np.clip(CELLS // laws.size, 1, SIMULATIONS))
    rounds = -(-(SIMULATIONS if at_once >= FEWEST else FEWEST) // at_once)
    return float(np.mean([_found(counts, laws, tv, bar, rng, at_once) for _ in range(rounds)]))


def _found(
    counts: np.ndarray, laws: np.ndarray, tv: float, bar: float, rng: np.random.Generator, size: int
) -> np.floating:
    """The share of so many simulated decoders."""
    drawn = rng.multinomial(counts, deviating(laws, tv, rng, size))
    return np.mean(mixed(context_wealth(drawn, laws).sum(axis=-2)) >= bar)


def _again(counts: np.ndarray, laws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Laws and counts of the contexts that came more than once; the others gain nothing."""
    return laws[counts > 1], counts[counts > 1]


def tokens_needed(counts: np.ndarray, laws: np.ndarray, tv: float, bar: float, wanted: float) -> int | None:
    """How many tokens, spread like these over contexts, give the wanted power; None where 64 times as many do not.

    By the contexts that came more than once; that the others would come again is not foreseen.
    """
    known, seen = _again(counts, laws)
    if not len(seen):
        return None
    place = bisect_left(MULTIPLES, True, key=lambda m: power(np.round(m * seen).astype(int), known, tv, bar) >= wanted)
    return int(np.ceil(MULTIPLES[place] * counts.sum())) if place < len(MULTIPLES) else None


def rising(tvs: Iterable[float], chance: Callable[[float], float]) -> dict[float, float]:
    """The power at every tv, ascending; behind the first where it is 1 it is so."""
    found: dict[float, float] = {}
    for tv in sorted(tvs):
        found[tv] = 1.0 if 1.0 in found.values() else chance(tv)
    return found


def leaning_power(seen: Bins, distance: float, tv: float, bar: float, *, seed: int = 0) -> float:
    """Share of simulated decoders, following another law in so many tokens that they are off by tv, that are found.

    `seen` are the bins of the bet towards that law, `distance` its mean total variation from p, and exp(bar) the wealth
    that the bet must reach at some token.
    """
    assert seen.other is not None
    rng, share = np.random.default_rng(seed), tv / distance
    law, count = seen.pi + share * (seen.other - seen.pi), seen.pi.shape[1]
    found = 0
    for _ in range(FEWEST):
        fell = draw(law, rng.random(len(law)), xp=np)[:, None] == np.arange(count)
        path = PooledBet().observe(Bins(fell.astype(float), seen.pi)).cumsum(axis=0)
        found += mixed(path).max() >= bar
    return found / FEWEST
