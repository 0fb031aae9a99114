"""Simulated studies: prompts whose alphas come from a law, and the rounds they give."""

import math

import numpy as np

from specmath.tally import Rounds, Tally


def beta_survival(a, b, i):
    """E[alpha^i] over Beta(a, b), by the product of its moments."""
    return math.prod((a + s) / (a + b + s) for s in range(i))


def pooled_alpha(a, b, k):
    """What accepted / tested estimates where every prompt has as many rounds: E[sum_{i<=k} a^i] / E[sum_{i<k} a^i]."""
    return sum(beta_survival(a, b, i) for i in range(1, k + 1)) / sum(beta_survival(a, b, i) for i in range(k))


def pooled_tau(a, b, k):
    return sum(beta_survival(a, b, i) for i in range(k + 1))


def lengths(alphas, rounds, k, rng):
    """Accepted lengths [.., rounds] of rounds of depth k, one row per alpha."""
    alphas = np.asarray(alphas, dtype=float)[..., None]
    return np.minimum(rng.geometric(1 - alphas, (*alphas.shape[:-1], rounds)) - 1, k)


def draw_tally(alphas, rounds, k, rng):
    """One prompt per alpha, so many rounds each, all drafting k."""
    accepted = (lengths(alphas, rounds, k, rng)[:, :, None] > np.arange(k)).sum(axis=1)
    return Tally(np.column_stack([np.full(len(alphas), rounds), accepted[:, :-1]]), accepted)


def draw_rounds(alphas, rounds, k, rng):
    """The same, in order."""
    accepted = lengths(alphas, rounds, k, rng).ravel()
    return Rounds(np.repeat(np.arange(len(alphas)), rounds), np.full(len(accepted), k), accepted)


def law_rounds(law, prompts, rounds, k, rng):
    """Independent rounds of one law, the same for all prompts."""
    accepted = law.sample(k, rng, prompts * rounds)
    return Rounds(np.repeat(np.arange(prompts), rounds), np.full(len(accepted), k), accepted)


def coverage(estimates, truth):
    """Share of the intervals that hold the truth; one that is not there holds nothing."""
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]))
