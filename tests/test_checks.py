"""The checker of laws passes every law of the package and catches every planted wrong one, naming what is wrong."""

import math
from fractions import Fraction

import numpy as np
import pytest

from specmath.acceptance import (
    BetaGeometric,
    Curve,
    Empirical,
    Geometric,
    HitMiss,
    Law,
    Markov,
    NotIdentifiable,
    Padded,
    Positional,
    Ranked,
    Tally,
)
from specmath.checks import check_acceptance
from specmath.tally import Rounds
from specmath.varying import stationary

COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])


def stretches(easy, hard, persistence):
    """Two states, each kept with probability (1 + persistence) / 2."""
    stay = (1 + persistence) / 2
    return Markov((easy, hard), ((stay, 1 - stay), (1 - stay, stay)))


LAWS = {
    "geometric": (Geometric(0.7), 5),
    "geometric, long": (Geometric(0.97), 40),
    "geometric, very long": (Geometric(0.999), 10_000),
    "geometric, exact": (Geometric(Fraction(7, 10)), 5),
    "nothing accepted": (Geometric(0.0), 3),
    "all accepted": (Geometric(1.0), 3),
    "no draft": (Geometric(0.7), 0),
    "by position": (Positional((0.83, 0.7, 0.9, 0.0, 0.4)), 5),
    "by curve": (Curve((0.872, 0.767, 0.672)), 3),
    "hit or miss": (HitMiss(0.4, 0.8), 5),
    "never a hit": (HitMiss(0.0, 0.8), 4),
    "as counted": (Empirical(COUNTED), 3),
    "prompts differ": (BetaGeometric(7, 3), 5),
    "prompts differ, exact": (BetaGeometric(Fraction(7), Fraction(3)), 4),
    "prompts are easy or hopeless": (BetaGeometric(0.05, 0.05), 64),
    "stretches": (stretches(0.95, 0.45, 0.9), 5),
    "long stretches": (stretches(0.95, 0.45, 0.98), 8),
    "alternating": (stretches(0.95, 0.45, -0.5), 5),
    "stretches, exact": (stretches(Fraction(19, 20), Fraction(9, 20), Fraction(9, 10)), 3),
    "stretches of certainty": (stretches(1.0, 0.0, 0.5), 4),
    "ranked": (Ranked((0.7, 0.15, 0.05, 0.02)), 6),
    "ranked by depth": (Ranked(((0.6, 0.12, 0.06), (0.4, 0.1, 0.06), (0.28, 0.08, 0.05))), 3),
    "padded": (Padded(Geometric(0.8), 5), 5),
    "padded, with misses": (Padded((HitMiss(0.5, 0.8), Geometric(0.9)), 2), 4),
    "padded, on trees": (Padded(Ranked((0.7, 0.1)), 2), 4),
    "padded stretches": (stretches(0.95, 0.45, 0.9).beside(stretches(0.8, 0.3, 0.5)), 3),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_law_of_the_package_keeps_its_promises(name):
    check_acceptance(*LAWS[name])


class Halving(Law):
    """Somebody else's law: one method."""

    def survival(self, i):
        return 0.5 ** np.asarray(i)


def test_a_law_of_ones_own_needs_survival_alone():
    check_acceptance(Halving(), 6)
    assert math.isclose(Halving().block_efficiency(6), Geometric(0.5).block_efficiency(6))
    assert Halving().block_efficiency(np.array([0, 1, 2])).tolist() == [1, 1.5, 1.75]


class StartsBelowOne(Geometric):
    def survival(self, i):
        return self.alpha ** (i + 1)


class Rises(Positional):
    def survival(self, i):
        return 1 - np.asarray([0, 0.5, 0.2, 0.6])[i]


class ExceedsOne(Geometric):
    def survival(self, i):
        return np.where(np.asarray(i) == 0, 1, 1.2)


class ForgetsItsArray(Positional):
    def survival(self, i):
        return super().survival(int(np.max(i)))


class CurveWithoutItsStart(Geometric):
    def curve(self, k):
        return self.survival(np.arange(1, k + 2))


class CountsTheBonus(Geometric):
    def mean(self, k):
        return super().mean(k) + 1


class MultipliesSurvivalTwice(Positional):
    def mean(self, k):
        products = np.cumprod([float(self.survival(i)) for i in range(1, len(self.alphas) + 1)])
        return np.append(0, np.cumsum(products))[k]


class TakesSurvivalForConditional(Geometric):
    def conditional(self, i):
        return self.survival(i)


class ForgetsTheCensoring(Geometric):
    def pmf(self, k):
        return np.array([self.alpha**i * (1 - self.alpha) for i in range(k + 1)])


class ForgetsTheBonus(Geometric):
    def block_efficiency(self, k):
        return self.mean(k)


class VarianceWithoutACeiling(Geometric):
    def var(self, k):
        return self.alpha / (1 - self.alpha) ** 2


class MeansOffByOne(Geometric):
    def means(self, k_max):
        return [self.mean(k + 1) for k in range(k_max + 1)]


class MeanOfTheDeepest(Geometric):
    def mean(self, k):
        return super().mean(np.max(k) + 0 * np.asarray(k))


class SamplesUniformly(Geometric):
    def sample(self, k, rng, size=None):
        return rng.integers(0, k + 1, size)


class SamplesOneMore(Geometric):
    def sample(self, k, rng, size=None):
        return np.minimum(super().sample(k, rng, size) + (rng.random(size) < 0.05), k)


class SamplesTheImpossible(Positional):
    def sample(self, k, rng, size=None):
        return np.where(rng.random(size) < 0.001, k, super().sample(k, rng, size))


class SamplesBeyondTheDraft(Geometric):
    def sample(self, k, rng, size=None):
        return rng.geometric(1 - self.alpha, size) - 1


class HidesItsRandomness(Geometric):
    def sample(self, k, rng, size=None):
        return super().sample(k, np.random.default_rng(), size)


class SamplesOneRound(Geometric):
    def sample(self, k, rng, size=None):
        return super().sample(k, rng)


class DraftsNothing(Geometric):
    def drafted(self, k):
        return np.eye(k + 1)[0]


class DraftsMoreThanOnce(HitMiss):
    def drafted(self, k):
        return np.append(super().drafted(k)[:-1], 1)


class DraftsWithANegativeChance(Geometric):
    def drafted(self, k):
        return np.append(super().drafted(k)[:-2], [-1, 2])


class TreesWithMoreThanTheirPath(Geometric):
    def on(self, draft):
        return Geometric(0.9) if hasattr(draft, "parents") else self


@pytest.mark.parametrize(
    ("law", "claim"),
    [
        (StartsBelowOne(0.7), "survival(0) is 1: found 0.7"),
        (Rises((0.5, 0.5, 0.5)), "survival never rises"),
        (ExceedsOne(0.7), "survival is a probability"),
        (ForgetsItsArray((0.7, 0.6, 0.5)), "survival of an array is that of each entry"),
        (CurveWithoutItsStart(0.7), "curve(k) is survival(0), .., survival(k)"),
        (CountsTheBonus(0.7), "mean(k) is survival(1) + .. + survival(k)"),
        (MultipliesSurvivalTwice((0.7, 0.6, 0.5)), "mean(k) is survival(1) + .. + survival(k)"),
        (TakesSurvivalForConditional(0.7), "conditional(i) times survival(i - 1) is survival(i)"),
        (ForgetsTheCensoring(0.7), "pmf(k) is the fall of survival, and survival(k) at k"),
        (ForgetsTheBonus(0.7), "block_efficiency(k) is 1 + mean(k)"),
        (VarianceWithoutACeiling(0.7), "var(k) is the variance of pmf(k)"),
        (MeansOffByOne(0.7), "means(k) lists mean(0), .., mean(k)"),
        (MeanOfTheDeepest(0.7), "mean of an array of depths is that of each"),
        (SamplesUniformly(0.7), "samples have the law of pmf(k)"),
        (SamplesOneMore(0.7), "samples have the law of pmf(k)"),
        (SamplesTheImpossible((0.7, 0.0, 0.5)), "a sample is never what pmf(k) excludes"),
        (SamplesBeyondTheDraft(0.7), "a sample is one of 0, .., k"),
        (HidesItsRandomness(0.7), "draws from rng and nothing else"),
        (SamplesOneRound(0.7), "has that size"),
        (DraftsNothing(0.7), "nothing is accepted that was not drafted"),
        (DraftsMoreThanOnce(0.4, 0.8), "drafted(k) holds k + 1 of them that sum to 1"),
        (DraftsWithANegativeChance(0.7), "drafted(k) holds probabilities"),
        (TreesWithMoreThanTheirPath(0.7), "a tree without siblings is a chain"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Law) else "",
)
def test_a_planted_wrong_law_is_caught_by_the_claim_it_breaks(law, claim):
    with pytest.raises(AssertionError) as raised:
        check_acceptance(law, 3)
    assert claim in str(raised.value)


class StartsAnywhere(Markov):
    """Rounds said to start under the law of all positions; they start behind rejections."""

    def start(self, k):
        return super().start(0)


class StartsBehindRejectionsOnly(Markov):
    """The bonus forgotten: every round taken to start behind a rejection."""

    def start(self, k):
        accepted, rejected = self._moves
        return stationary(sum(np.linalg.matrix_power(accepted, j) for j in range(60)) @ rejected)


class SaysOneDepthForAll(Markov):
    def survival(self, i):
        return super().curve(8)[i]


class RecoversNoPosition(Markov):
    """The text's own token at a rejection taken for a token of no position."""

    def _round(self, states, k, rng):
        lengths, ended = super()._round(states, k, rng)
        return lengths, np.where(lengths == 0, states, ended)


class ForgetsTheStateBetweenRounds(Markov):
    def walk(self, k, rng, prompts, rounds):
        accepted = np.array([self._round(rng.integers(0, 2, prompts), k, rng)[0] for _ in range(rounds)])
        return Rounds(np.tile(np.arange(prompts), rounds), np.full(accepted.size, k), accepted.ravel())


@pytest.mark.parametrize(
    ("kind", "claim"),
    [
        (StartsAnywhere, "rounds along a text have the law of on(Chain(k))"),
        (StartsBehindRejectionsOnly, "rounds along a text have the law of on(Chain(k))"),
        (RecoversNoPosition, "rounds along a text have the law of on(Chain(k))"),
        (ForgetsTheStateBetweenRounds, "rounds along a text have the law of on(Chain(k))"),
        (SaysOneDepthForAll, "survival(i) is that of rounds of depth i"),
    ],
)
def test_a_planted_wrong_law_of_stretches_is_caught(kind, claim):
    law = stretches(0.95, 0.45, 0.9)
    with pytest.raises(AssertionError) as raised:
        check_acceptance(kind(law.alphas, law.transition), 3)
    assert claim in str(raised.value)


class ArithmeticMean(BetaGeometric):
    def block_efficiency_by_token(self, k):
        return self.block_efficiency(k)


class MeanAlphaByToken(BetaGeometric):
    def block_efficiency_by_token(self, k):
        return Geometric(self.a / (self.a + self.b)).block_efficiency(k)


class MeanAlphaByRound(BetaGeometric):
    def curve(self, k):
        return Geometric(self.a / (self.a + self.b)).curve(k)

    def conditional(self, i):
        return self.a / (self.a + self.b)


@pytest.mark.parametrize(
    ("law", "claim"),
    [
        (ArithmeticMean(7, 3), "block_efficiency_by_token(k) is that of equal tokens"),
        (MeanAlphaByToken(1.4, 0.6), "block_efficiency_by_token(k) is that of equal tokens"),
        (MeanAlphaByRound(7, 3), "block_efficiency(k) is that of prompts with equal rounds"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Law) else "",
)
def test_a_planted_wrong_mean_over_prompts_is_caught(law, claim):
    with pytest.raises(AssertionError) as raised:
        check_acceptance(law, 5)
    assert claim in str(raised.value)


class IndependentSiblings(Ranked):
    """1 - (1 - S)(1 - S') over the branches, as if two siblings could both be accepted."""

    def on(self, draft):
        if not hasattr(draft, "parents"):
            return self
        missed = [1.0] * draft.depth
        values = [1.0]
        for node, parent in enumerate(draft.parents[1:], 1):
            values.append(values[parent] * self.acceptances[draft.ranks[node]])
            missed[draft.depths[node] - 1] *= 1 - values[node]
        return Curve([1 - miss for miss in missed])


class CountsGrandchildrenTwice(Ranked):
    def on(self, draft):
        law = super().on(draft)
        extra = len(getattr(draft, "parents", ())) == 4
        return Curve([0.9 * s for s in law.survivals]) if extra else law


@pytest.mark.parametrize(
    ("kind", "claim"),
    [
        (IndependentSiblings, "siblings exclude one another, so branches add up"),
        (CountsGrandchildrenTwice, "a node's children change nothing at its depth"),
    ],
)
def test_a_planted_wrong_law_of_trees_is_caught(kind, claim):
    with pytest.raises(AssertionError) as raised:
        check_acceptance(kind((0.6, 0.3)), 2)
    assert claim in str(raised.value)


def test_a_depth_that_a_law_does_not_know_is_the_law_s_own_error():
    with pytest.raises(NotIdentifiable, match="a test of draft 4"):
        check_acceptance(Positional((0.9, 0.8, 0.7)), 4)
