"""How likely a law makes what was observed, by prompt; the largest likelihood, and what it leaves uncertain.

The likelihood is of the accept or reject of every tested draft, given what was drafted: the order of the rounds is
part of the data, whether a law looks at it or not, so that laws of different families compare.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, xlog1py, xlogy

from specmath.acceptance import BetaGeometric, Empirical, HitMiss, Markov
from specmath.hidden import coded, forward
from specmath.tally import NotIdentifiable, Rounds

BOX = 12.0  # parameters on the scale of logits and logarithms stay within +- this
STEP = 1e-4
FLAT = 1e-2  # less curvature than this is none: a standard error of 10 on the scale of logits says nothing


def counted(data):
    """The tally of ordered rounds, or the counts as they are."""
    return data.tally() if isinstance(data, Rounds) else data


def log_likelihoods(law, data, *, misses=True):
    """log P(what prompt p accepted and rejected) under a law, an array [P], prompts as in the tally.

    A law of independent rounds gives sum_i accepted_i log a_i + rejected_i log(1 - a_i), a_i its conditionals
    where something is drafted. BetaGeometric gives each prompt an alpha of its own and integrates it out,
    log B(a + accepted, b + rejected) / B(a, b). Markov follows the hidden state through the rounds in their order.
    Laws that know misses (HitMiss, Empirical) add the coin of every round having a draft or none; misses=False
    leaves it out, so that they compare with laws of the rounds that drafted. -inf where a prompt is impossible.

    Raises NotIdentifiable for totals, for a Markov law without ordered rounds, and for a position beyond a law;
    ValueError for a law that may draft other lengths than 0 and all of k (Stopping).

    >>> from specmath.acceptance import Geometric, Tally
    >>> log_likelihoods(Geometric(0.5), Tally([[2, 1], [1, 0]], [[1, 0], [0, 0]])).round(4).tolist()
    [-2.0794, -0.6931]
    """
    if isinstance(law, Markov):
        return forward(law.alphas, law.transition, law.stationary, coded(ordered(data)))
    tally = counted(data)
    rejected = tally.at_risk - tally.accepted
    if isinstance(law, BetaGeometric):
        return mixed(law.a, law.b, tally.accepted.sum(axis=1), rejected.sum(axis=1))
    _refuse_lengths_between(law, tally.k)
    hit = float(law.drafted(1)[1])
    alphas = _conditionals(law, hit, tally)
    tested = xlogy(tally.accepted[:, : len(alphas)], alphas) + xlog1py(rejected[:, : len(alphas)], -alphas)
    coins = misses and isinstance(law, HitMiss | Empirical)
    drafted = xlogy(tally.hits, hit) + xlog1py(tally.rounds - tally.hits, -hit) if coins else 0
    return tested.sum(axis=1) + drafted


def mixed(a, b, accepted, rejected):
    """log B(a + accepted, b + rejected) / B(a, b): coins of one prompt whose alpha is drawn from Beta(a, b)."""
    return betaln(a + accepted, b + rejected) - betaln(a, b)


def maximise(by_prompt, starts):
    """The theta within +- BOX where by_prompt(theta)[P] adds up to the most: L-BFGS-B from every start, the best."""
    steps = STEP * np.eye(len(starts[0]))

    def descent(theta):
        slope = [by_prompt(theta + step).sum() - by_prompt(theta - step).sum() for step in steps]
        return -by_prompt(theta).sum(), np.array(slope) / (-2 * STEP)

    box = [(-BOX, BOX)] * len(steps)
    found = [minimize(descent, start, jac=True, method="L-BFGS-B", bounds=box) for start in starts]
    return min(found, key=lambda result: result.fun).x


def sandwich(by_prompt, theta):
    """Covariance of a maximum over P prompts: P / (P - 1) H^-1 (sum_p s_p s_p') H^-1 (White 1982, theorem 3.2).

    s_p is the gradient of by_prompt(theta)[p] and H the Hessian of the sum, both by central differences. NaN for a
    parameter at the edge of the box, and for all where the likelihood has no curvature in some direction.
    """
    free = np.flatnonzero(np.abs(theta) < BOX - STEP)
    steps = 10 * STEP * np.eye(len(theta))[free]
    covariance, prompts = np.full((len(theta), len(theta)), np.nan), len(by_prompt(theta))
    curvature = np.array([[_mixed_difference(by_prompt, theta, e, f) for f in steps] for e in steps]) / (20 * STEP) ** 2
    if prompts > 1 and len(free) and np.linalg.eigvalsh(-curvature).min() > FLAT:
        inverse = np.linalg.inv(curvature)
        scores = np.array([by_prompt(theta + e) - by_prompt(theta - e) for e in steps]) / (20 * STEP)
        covariance[np.ix_(free, free)] = prompts / (prompts - 1) * inverse @ scores @ scores.T @ inverse
    return covariance


def _mixed_difference(by_prompt, theta, e, f):
    """Four times the second derivative along e and f, in units of their lengths."""
    return sum(sign * other * by_prompt(theta + sign * e + other * f).sum() for sign in (1, -1) for other in (1, -1))


def ordered(data):
    """The rounds, refused where only counts are left of them."""
    if not isinstance(data, Rounds):
        raise NotIdentifiable("ordered rounds", "Markov", "counts do not say which round followed which")
    return data


def _refuse_lengths_between(law, k):
    """ValueError where the law may draft 1..k - 1: its curve then mixes rejections with drafts that were not made."""
    if np.any(law.drafted(k)[1:-1] > 0):
        raise ValueError(f"law: found a {type(law).__name__} that may draft less than k={k}, expected 0 or all of k")


def _conditionals(law, hit, tally):
    """a_i of the positions that were tested, given that something is drafted; 0 where the law never gets there."""
    tested = np.count_nonzero(tally.at_risk.any(axis=0))
    alphas = np.array([law.conditional(i) for i in range(1, tested + 1)], dtype=float)
    alphas[:1] /= hit or 1
    return np.nan_to_num(alphas)
