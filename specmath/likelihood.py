"""Laws fitted to counts by maximum likelihood, with prompts as the units of every interval."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import xlog1py, xlogy

from specmath.acceptance import Empirical, Geometric, HitMiss, Positional
from specmath.law import Law
from specmath.tally import NotIdentifiable, Pooled, Rounds


@dataclass(frozen=True)
class Fit:
    """The likeliest law of a family, its log-likelihood, its free parameters, and the rounds behind it.

    The log-likelihood is of the accept or reject of every tested draft, and for a law that knows misses also
    of every round having a draft or none.
    """

    law: Law
    log_likelihood: float
    parameters: int
    rounds: int


def fit(law, data):
    """The likeliest law of a family (Geometric, Positional, HitMiss or Empirical), as a `Fit`.

    All have closed forms: accepted / tested, by position where the family has positions, and rounds with a
    draft / rounds where it has misses. Geometric and Positional are laws of the rounds that drafted.
    Positional ends at the last position tested. Raises NotIdentifiable for what the data cannot give,
    ValueError for another family.

    >>> from specmath.tally import Tally
    >>> fit(HitMiss, Tally([[4, 2]], [[2, 1]], rounds=[8])).law
    HitMiss(h=0.5, alpha=0.5)
    """
    tally = counted(data)
    if law is Geometric and isinstance(tally, Pooled):
        return Fit(Geometric(pooled_alpha(tally)), math.nan, 1, tally.rounds)
    if law not in (Geometric, Positional, HitMiss, Empirical):
        raise ValueError(f"law: found {law!r}, expected Geometric, Positional, HitMiss or Empirical")
    tested, accepted = tally.at_risk.sum(axis=0), tally.accepted.sum(axis=0)
    hits, rounds = tally.hits.sum(), tally.rounds.sum()
    if not hits:
        raise NotIdentifiable("a tested draft", law.__name__, "no round drafted anything")
    if law in (Geometric, HitMiss):
        tested, accepted = tested.sum(keepdims=True), accepted.sum(keepdims=True)
    tested, accepted = tested[tested > 0], accepted[tested > 0]
    knows_misses = law in (HitMiss, Empirical)
    likelihood = _log_likelihood(accepted, tested) + knows_misses * _log_likelihood(hits, rounds)
    fitted = _built(law, tally, float(hits / rounds), (accepted / tested).tolist())
    return Fit(fitted, likelihood, len(tested) + knows_misses, int(rounds))


def counted(data):
    """The tally of ordered rounds, or the counts as they are."""
    return data.tally() if isinstance(data, Rounds) else data


def pooled_alpha(tally):
    """The geometric alpha with the block efficiency of totals, which needs every round to have drafted k."""
    if not tally.rounds or not tally.full:
        missing = "per-position counts" if tally.rounds else "rounds"
        raise NotIdentifiable(missing, "alpha", f"{tally.drafted} drafted in {tally.rounds} rounds of k={tally.k}")
    return Geometric.from_block_efficiency(1 + tally.accepted / tally.rounds, tally.k).alpha


def _log_likelihood(successes, trials):
    """Of so many successes in so many trials, at the rates that make it largest."""
    rate = successes / trials
    return float(np.sum(xlogy(successes, rate) + xlog1py(trials - successes, -rate)))


def _built(law, tally, hit, alphas):
    """The law of a family from its maximum likelihood parameters."""
    if law is Empirical:
        return Empirical(tally)
    if law is Positional:
        return Positional(tuple(alphas))
    return HitMiss(hit, alphas[0]) if law is HitMiss else Geometric(alphas[0])
