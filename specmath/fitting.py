"""Laws fitted by maximum likelihood, with prompts as the units of every interval."""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, log_expit, logit

from specmath.acceptance import BetaGeometric, Empirical, Geometric, HitMiss, Markov, Positional
from specmath.draft import within
from specmath.hidden import coded, forward
from specmath.intervals import DEGENERATE, Estimate, ratio, student
from specmath.law import Law
from specmath.likelihood import counted, log_likelihoods, maximise, mixed, ordered, sandwich
from specmath.tally import NotIdentifiable, Pooled

BY_POSITION, KNOWS_MISSES = (Positional, Empirical), (HitMiss, Empirical)
FAMILIES = (Geometric, Positional, HitMiss, Empirical, BetaGeometric, Markov)


@dataclass(frozen=True)
class Fit:
    """The likeliest law of a family, its log-likelihood, its free parameters, and the rounds behind it.

    The log-likelihood is of the accept or reject of every tested draft, and for a law that knows misses also
    of every round having a draft or none. intervals has an Estimate of each parameter by its name.
    """

    law: Law
    log_likelihood: float
    parameters: int
    rounds: int
    intervals: dict[str, Estimate] = field(default_factory=dict)


def fit(law, data, level=0.95):
    """The likeliest law of a family, as a `Fit`, with an interval clustered by prompt for each parameter.

    Geometric, Positional, HitMiss and Empirical have closed forms: accepted / tested, by position where the
    family has positions, and rounds with a draft / rounds where it has misses. Geometric and Positional are
    laws of the rounds that drafted; Positional ends at the last position tested. BetaGeometric maximises the
    likelihood of each prompt with its alpha integrated out. Markov, two states with the easy one first, maximises
    that of the hidden chain over output positions, each prompt begun in the stationary law; its parameters are the
    two alphas and the chances transition[0][1] and transition[1][0] of leaving a state. The intervals of
    these two are sandwich intervals on the scale of log a and log b, or of logits.

    Raises NotIdentifiable for what the data cannot give: ordered rounds for Markov, a second prompt for
    BetaGeometric, positions from totals. ValueError for another family.

    >>> from specmath.tally import Tally
    >>> fit(HitMiss, Tally([[4, 2]], [[2, 1]], rounds=[8])).law
    HitMiss(h=0.5, alpha=0.5)
    """
    within("level", level, DEGENERATE, 1 - DEGENERATE)
    if law not in FAMILIES:
        expected = f"{', '.join(family.__name__ for family in FAMILIES[:-1])} or {FAMILIES[-1].__name__}"
        raise ValueError(f"law: found {law!r}, expected {expected}")
    if law is Markov:
        return _markov(ordered(data), level)
    tally = counted(data)
    if law is Geometric and isinstance(tally, Pooled):
        alpha = pooled_alpha(tally, level)
        return Fit(Geometric(alpha.value), math.nan, 1, tally.rounds, {"alpha": alpha})
    return _beta_geometric(tally, level) if law is BetaGeometric else _closed_form(law, tally, level)


def pooled_alpha(tally, level):
    """The geometric alpha with the block efficiency of totals, which needs every round to have drafted k."""
    if tally.rounds and not tally.drafted:
        raise NotIdentifiable("a tested draft", "alpha", f"nothing drafted in {tally.rounds} rounds of k={tally.k}")
    if not tally.rounds or not tally.full:
        missing = "per-position counts" if tally.rounds else "rounds"
        raise NotIdentifiable(missing, "alpha", f"{tally.drafted} drafted in {tally.rounds} rounds of k={tally.k}")
    alpha = Geometric.from_block_efficiency(1 + tally.accepted / tally.rounds, tally.k).alpha
    method = "geometric law with the observed block efficiency; totals carry no prompts, so no interval"
    return Estimate(alpha, math.nan, math.nan, level, 1, method)


def _closed_form(law, tally, level):
    """Every parameter a ratio of totals."""
    tested = np.count_nonzero(tally.at_risk.any(axis=0))
    _refuse_without_tests(law, tested)
    columns = {"h": (tally.hits, tally.rounds)} if law in KNOWS_MISSES else {}
    if law in BY_POSITION:
        columns |= {f"alphas[{i}]": (tally.accepted[:, i], tally.at_risk[:, i]) for i in range(tested)}
    else:
        columns |= {"alpha": (tally.successes, tally.trials)}
    intervals = {name: ratio(*pair, level, method=name, bounds=(0.0, 1.0)) for name, pair in columns.items()}
    return _fit(_built(law, tally, [estimate.value for estimate in intervals.values()]), tally, intervals)


def _built(law, tally, values):
    """The law of a family from its parameters in order."""
    if law is Empirical:
        return Empirical(tally)
    return Positional(tuple(values)) if law is Positional else law(*values)


def _fit(law, data, intervals):
    likelihood = float(np.sum(log_likelihoods(law, data)))
    return Fit(law, likelihood, len(intervals), int(counted(data).rounds.sum()), intervals)


def _refuse_without_tests(law, tested):
    if not tested:
        raise NotIdentifiable("a tested draft", law.__name__, "no round drafted anything")


def _beta_geometric(tally, level):
    """Over the logit of the mean and the logarithm of a + b; no spread between prompts is a + b without end."""
    if isinstance(tally, Pooled) or np.count_nonzero(tally.trials) == 1:
        raise NotIdentifiable("a second prompt", "BetaGeometric", "its parameters are how prompts differ")
    _refuse_without_tests(BetaGeometric, tally.trials.any())
    seen = tally.trials > 0
    accepted, rejected = tally.successes[seen], tally.rejections[seen]

    def logs(theta):
        return theta[1] + log_expit(np.array([theta[0], -theta[0]]))

    def by_prompt(theta):
        a, b = np.exp(logs(theta))
        return mixed(a, b, accepted, rejected)

    mean = _logit_of_mean(tally)
    theta = maximise(by_prompt, [(mean, 1.0), (mean, 4.0)])
    slopes = np.array([[expit(-theta[0]), 1], [-expit(theta[0]), 1]])
    covariance = slopes @ sandwich(by_prompt, theta) @ slopes.T
    intervals = _intervals(("a", "b"), logs(theta), covariance, np.exp, level, len(accepted))
    return _fit(BetaGeometric(intervals["a"].value, intervals["b"].value), tally, intervals)


def _markov(rounds, level):
    """Over the logits of both alphas and of the chances to leave their states, from stays long, middling and short."""
    tally = rounds.tally()
    _refuse_without_tests(Markov, tally.trials.any())
    codes, mean = coded(rounds), _logit_of_mean(tally)

    def by_prompt(theta):
        alphas, leave = expit(theta[:2]), expit(theta[2:])
        transition = [[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]]
        return forward(alphas, transition, leave[::-1] / leave.sum(), codes)

    starts = [(mean + 1.5, mean - 1.5, leave, leave) for leave in logit([0.05, 0.3, 0.7])]
    theta = maximise(by_prompt, starts)
    theta = theta if theta[0] >= theta[1] else theta[[1, 0, 3, 2]]
    names = ("alphas[0]", "alphas[1]", "transition[0][1]", "transition[1][0]")
    intervals = _intervals(names, theta, sandwich(by_prompt, theta), expit, level, int(np.count_nonzero(tally.trials)))
    easy, hard, leave, enter = (estimate.value for estimate in intervals.values())
    return _fit(Markov((easy, hard), ((1 - leave, leave), (enter, 1 - enter))), rounds, intervals)


def _logit_of_mean(tally):
    """Of accepted / tested, kept off 0 and 1 by half a test on either side."""
    return float(logit((tally.successes.sum() + 0.5) / (tally.trials.sum() + 1)))


def _intervals(names, centres, covariance, link, level, prompts):
    """Estimates link(centre +- t SE) by name, Student's t with a degree of freedom less than prompts."""
    half = student(level, prompts) * np.sqrt(np.diag(covariance))
    values, lows, highs = (link(centres + shift) for shift in (0, -half, half))
    intervals = {}
    for i, name in enumerate(names):
        how = "undetermined, so no interval" if math.isnan(half[i]) else "sandwich interval clustered by prompt"
        method = f"maximum likelihood of {name}; {how}"
        intervals[name] = Estimate(float(values[i]), float(lows[i]), float(highs[i]), level, prompts, method)
    return intervals
