"""Which family of laws? The one that says best what prompts it has not seen will do."""

import math
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from specmath.acceptance import Empirical, Geometric, HitMiss, Positional
from specmath.draft import whole
from specmath.fitting import Fit, fit
from specmath.hidden import prompt_rows
from specmath.intervals import Estimate, student
from specmath.likelihood import counted, log_likelihoods
from specmath.tally import NotIdentifiable, Rounds, Tally

COIN = 0.5


@dataclass(frozen=True)
class Contender:
    """A family: its fit to everything, its mean log-likelihood of a held-out prompt, and that minus the best's."""

    fit: Fit
    held_out: float
    difference: Estimate

    @property
    def name(self):
        """The family's name."""
        return type(self.fit.law).__name__

    @property
    def rejected(self):
        """Does the interval of the difference exclude 0?"""
        return self.difference.high < 0


@dataclass(frozen=True)
class Selection:
    """Families from best to worst on held-out prompts; by name, why the others could not be fitted to these data."""

    ranking: tuple[Contender, ...]
    not_identifiable: dict[str, NotIdentifiable] = field(default_factory=dict)

    @property
    def best(self):
        """The contender that says most about held-out prompts."""
        return self.ranking[0]

    @property
    def simplest(self):
        """The contender with fewest parameters of those not rejected; of two with as many, the better."""
        return min((c for c in self.ranking if not c.rejected), key=lambda contender: contender.fit.parameters)


def select(families, data, *, folds=5, seed=0, level=0.95):
    """Fit every family without a fold of the prompts, score it on that fold, and rank them: a `Selection`.

    The score of a prompt is its log-likelihood in nats under the law fitted to the other folds, hits and misses
    left out (so HitMiss scores as Geometric does, and Empirical as Positional). Differences to the best are paired
    by prompt, mean +- t_{P-1} standard errors; the best is chosen after the fact, so a family as good as it is
    rejected somewhat more often than in 1 - level of the studies. Prompts are dealt to folds by `seed`.

    So that no count of zero in the folds fitted makes a held-out prompt impossible, rates are smoothed for the
    score (never in the fits reported): by one more test, an even coin at the first position, and at each later
    one a test with the rate of the position before it. A position tested in no fold fitted to thus has the rate
    of the last that was.

    Raises NotIdentifiable for fewer than two prompts with a tested draft, for totals, and where no family can be
    identified; ValueError for folds that are no integer >= 2.

    >>> from specmath.tally import Tally
    >>> steady = Tally([[30, 20, 14], [30, 22, 15], [30, 21, 14]], [[20, 14, 9], [22, 15, 10], [21, 14, 10]])
    >>> select([Positional, Geometric], steady).simplest.name
    'Geometric'
    """
    dealt = _dealt(data, whole("folds", folds, 2), seed)
    scores, fits, gaps = {}, {}, {}
    for family in families:
        try:
            fits[family] = fit(family, data, level)
            scores[family] = _held_out(family, data, dealt)
        except NotIdentifiable as gap:
            gaps[family.__name__] = gap
    if not scores:
        raise next(iter(gaps.values()), ValueError("families: found none, expected at least one"))
    ranked = sorted(scores, key=lambda family: -scores[family].mean())
    against = scores[ranked[0]]
    contenders = (
        Contender(fits[family], float(scores[family].mean()), _paired(scores[family] - against, level))
        for family in ranked
    )
    return Selection(tuple(contenders), gaps)


def _dealt(data, folds, seed):
    """The fold of each prompt, and -1 for those that tested nothing."""
    tally = counted(data)
    told = np.flatnonzero(tally.trials) if isinstance(tally, Tally) else ()
    if len(told) < 2:
        raise NotIdentifiable("a second prompt", "a choice between laws", "it is made on prompts held out")
    dealt = np.full(len(tally.trials), -1)
    dealt[told] = np.random.default_rng(seed).permutation(len(told)) % folds
    return dealt


def _held_out(family, data, dealt):
    """Log-likelihood of each prompt that tested anything, under the law fitted to the folds without it."""
    scores = np.empty(len(dealt))
    for fold in np.unique(dealt[dealt >= 0]):
        law = _to_score_with(family, _taken(data, (dealt >= 0) & (dealt != fold)), counted(data).k)
        scores[dealt == fold] = log_likelihoods(law, _taken(data, dealt == fold), misses=False)
    return scores[dealt >= 0]


def _taken(data, kept):
    """The prompts kept, a mask over the rows of the tally."""
    if isinstance(data, Rounds):
        mask = kept[prompt_rows(data)]
        return Rounds(data.prompt[mask], data.drafted[mask], data.accepted[mask], rule=data.rule)
    return Tally(data.at_risk[kept], data.accepted[kept], rounds=data.rounds[kept], rule=data.rule)


def _to_score_with(family, training, k):
    """The law of a family that no held-out prompt can find impossible."""
    if family not in (Geometric, HitMiss, Positional, Empirical):
        return fit(family, training).law
    tally = counted(training)
    if family in (Geometric, HitMiss):
        return Geometric((tally.successes.sum() + COIN) / (tally.trials.sum() + 1))
    counts = np.zeros((2, k))
    counts[:, : tally.k] = tally.accepted.sum(axis=0), tally.at_risk.sum(axis=0)
    rates = accumulate(counts.T, lambda rate, seen: (seen[0] + rate) / (seen[1] + 1), initial=COIN)
    return Positional(tuple(rates)[1:])


def _paired(differences, level):
    """Their mean and its t interval over prompts; exactly 0 for a family that scores as the best does."""
    mean, prompts = float(differences.mean()), len(differences)
    half = student(level, prompts) * float(differences.std(ddof=1)) / math.sqrt(prompts)
    method = "mean difference of held-out log-likelihood to the best; t interval over prompts"
    return Estimate(mean, mean - half, mean + half, level, prompts, method)
