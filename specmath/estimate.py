"""From counts to numbers with intervals: acceptance and block efficiency; fits and intervals under one name."""

import math
from dataclasses import replace

from specmath.intervals import Estimate, more_prompts, quotient, ratio
from specmath.likelihood import Fit, counted, fit, pooled_alpha
from specmath.tally import Pooled

__all__ = ["Estimate", "Fit", "alpha", "block_efficiency", "fit", "more_prompts", "quotient", "ratio"]


def alpha(tally, level=0.95):
    """Acceptance of a tested draft: accepted / (accepted + rejections), the censored maximum likelihood.

    Never accepted / drafted: a draft behind a rejection was not tested. Over prompts that differ this
    estimates E[sum_{i<=k} a^i] / E[sum_{i<k} a^i], which weights a prompt by the tests it gave, and not E[a].
    A Tally or Rounds give an interval clustered by prompt. Pooled totals give the geometric alpha that has
    their block efficiency, without interval, and NotIdentifiable where the drafted length varied.

    >>> from specmath.tally import Tally
    >>> alpha(Tally([[4, 2], [4, 4]], [[2, 2], [4, 2]])).value
    0.7142857142857143
    """
    tally = counted(tally)
    if isinstance(tally, Pooled):
        method = "geometric law with the observed block efficiency; totals carry no prompts, so no interval"
        return Estimate(pooled_alpha(tally), math.nan, math.nan, level, 1, method)
    return ratio(tally.successes, tally.trials, level, method="accepted / tested drafts", bounds=(0.0, 1.0))


def block_efficiency(tally, level=0.95):
    """Tokens per round as it ran: 1 + accepted / rounds, misses included, whatever lengths were drafted.

    >>> from specmath.tally import Tally
    >>> block_efficiency(Tally.pooled(43_221, 259_326, 63_669, k=6)).value
    2.473103352536961
    """
    tally, method = counted(tally), "1 + accepted / rounds"
    if isinstance(tally, Pooled):
        tally_of_one = ratio([tally.rounds + tally.accepted], [tally.rounds], level, method=method)
        return replace(tally_of_one, method=f"{method}; totals carry no prompts, so no interval")
    tokens = tally.rounds + tally.successes
    return ratio(tokens, tally.rounds, level, method=method, bounds=(1.0, 1.0 + tally.k))
