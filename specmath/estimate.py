"""From counts to numbers with intervals: acceptance, block efficiency, speedup; and all of estimation by one name."""

from dataclasses import replace

import numpy as np

from specmath.bootstrap import bootstrap
from specmath.decision import Decision, decide
from specmath.fitting import Fit, fit, pooled_alpha
from specmath.intervals import Estimate, difference, more_prompts, prompts_needed, quotient, ratio, rounds_needed
from specmath.likelihood import counted, log_likelihoods
from specmath.selection import Contender, Selection, select
from specmath.tally import Pooled

__all__ = [
    "Contender",
    "Decision",
    "Estimate",
    "Fit",
    "Selection",
    "alpha",
    "block_efficiency",
    "bootstrap",
    "decide",
    "difference",
    "fit",
    "log_likelihoods",
    "more_prompts",
    "prompts_needed",
    "quotient",
    "rao_blackwell",
    "ratio",
    "rounds_needed",
    "select",
    "speedup",
]


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
        return pooled_alpha(tally, level)
    return ratio(tally.successes, tally.trials, level, method="accepted / tested drafts", bounds=(0.0, 1.0))


def rao_blackwell(betas, level=0.95):
    """The same alpha from the chances of the tested drafts instead of their coins: mean beta, clustered by prompt.

    betas holds an array per prompt: beta = sum_x min(p(x), q(x)) = P(accepted | context) at every position whose
    draft was tested, the rejected one included. Tosses replaced by their means leave alpha's estimand as it is
    and its variance smaller (Rao 1945, Blackwell 1947; beta: Leviathan et al. 2023, Theorem 3.5). Positions
    behind a rejection do not belong here: their contexts are those of a text that was not written. A greedy
    draft has the one-hot q that was sampled from, so beta = p(drafted token).

    Raises ValueError where a beta is outside [0, 1], NotIdentifiable where there are none.

    >>> rao_blackwell([[0.9, 0.7], [0.5, 0.8, 0.6]]).value
    0.7
    """
    betas = [np.asarray(prompt, dtype=float) for prompt in betas]
    for number, prompt in enumerate(betas):
        bad = prompt[~((prompt >= 0) & (prompt <= 1))]
        if prompt.ndim != 1 or bad.size:
            found = f"{bad[0]}" if bad.size else f"{prompt.ndim} axes"
            raise ValueError(f"betas: found {found} for prompt {number}, expected a list of numbers in [0, 1]")
    sums, counts = [prompt.sum() for prompt in betas], [prompt.size for prompt in betas]
    return ratio(sums, counts, level, method="mean acceptance probability of tested drafts", bounds=(0.0, 1.0))


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


def speedup(plain_seconds, plain_tokens, seconds, tokens, level=0.95):
    """Plain seconds per token over speculative seconds per token: ratios of totals, one entry of each per prompt.

    sum plain_seconds / sum plain_tokens * sum tokens / sum seconds, both arms of a prompt together, so that
    what slows it in both cancels. The mean of the speedups by prompt is another number, and no fleet's: a fleet's is
    total tokens over total time. `bootstrap` takes the same columns, `decide` the answer.

    >>> speedup([2.0, 6.0], [10, 20], [1.0, 3.0], [10, 20]).value
    2.0
    """
    method = "plain seconds per token / seconds per token"
    return quotient([plain_seconds, tokens], [plain_tokens, seconds], level, method=method)
