"""The family that says best what held-out prompts do: the right one is found, the wrong one rejected, both ways."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from specmath.acceptance import BetaGeometric, Empirical, Geometric, HitMiss, Markov, Positional
from specmath.fitting import fit
from specmath.likelihood import log_likelihoods
from specmath.selection import select
from specmath.tally import NotIdentifiable, Rounds, Tally
from tests.studies import draw_rounds, law_rounds

PERSISTENT = Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95)))
FALLING = Positional((0.87, 0.75, 0.7, 0.6, 0.5))
EVERY = (Geometric, Positional, BetaGeometric, Markov)


def geometric(rng):
    return law_rounds(Geometric(0.7), 40, 50, 5, rng)


def by_position(rng):
    return law_rounds(FALLING, 40, 50, 5, rng)


def by_prompt(rng):
    return draw_rounds(rng.beta(7, 3, 40), 50, 5, rng)


def by_stretch(rng):
    return PERSISTENT.walk(5, rng, 40, 50)


def contender(selection, family):
    return next(c for c in selection.ranking if c.name == family.__name__)


@pytest.mark.parametrize(
    ("draw", "right"),
    [(by_position, Positional), (by_prompt, BetaGeometric), (by_stretch, Markov)],
)
def test_the_law_that_made_the_rounds_is_chosen_and_every_other_rejected(draw, right):
    selection = select(EVERY, draw(np.random.default_rng(1)))
    assert selection.best.name == selection.simplest.name == right.__name__
    assert [c.name for c in selection.ranking if not c.rejected] == [right.__name__]
    assert contender(selection, Geometric).difference.high < -0.5
    assert not selection.not_identifiable


def test_rounds_of_one_alpha_leave_nothing_to_choose_but_the_simplest():
    simplest, rejected = [], []
    for seed in range(20):
        selection = select((Geometric, Positional, BetaGeometric), geometric(np.random.default_rng(seed)))
        simplest.append(selection.simplest.name)
        rejected.append(contender(selection, Geometric).rejected)
        assert abs(contender(selection, Geometric).difference.value) < 0.1
    assert np.mean(rejected) <= 0.1
    assert simplest.count("Geometric") >= 18


def test_markov_is_not_needed_where_nothing_persists():
    selection = select((Geometric, Markov), geometric(np.random.default_rng(2)))
    assert selection.simplest.name == "Geometric"
    assert not contender(selection, Geometric).rejected


def test_the_likelihood_of_the_data_fitted_would_never_choose_the_simplest():
    """Negative control: without holding out, more parameters are never worse."""
    rounds = geometric(np.random.default_rng(3))
    in_sample = {family: fit(family, rounds).log_likelihood for family in (Geometric, Positional)}
    assert in_sample[Positional] > in_sample[Geometric]
    assert select((Geometric, Positional), rounds).simplest.name == "Geometric"


def held_out_by_hand(rounds, rate_of, folds, seed):
    """Score of each prompt under the smoothed rates of the folds without it, by loops over the prompts."""
    names = list(dict.fromkeys(rounds.prompt.tolist()))
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds
    scores = []
    for number, name in enumerate(names):
        others = [names[i] for i in range(len(names)) if dealt[i] != dealt[number]]
        training = rounds_of(rounds, others).tally()
        scores.append(log_likelihoods(rate_of(training), rounds_of(rounds, [name]))[0])
    return np.array(scores)


def rounds_of(rounds, names):
    kept = np.isin(rounds.prompt, names)
    return Rounds(rounds.prompt[kept], rounds.drafted[kept], rounds.accepted[kept])


def smoothed_geometric(tally):
    return Geometric((tally.successes.sum() + 0.5) / (tally.trials.sum() + 1))


def smoothed_positional(tally):
    rates, before = [], 0.5
    for tested, accepted in zip(tally.at_risk.sum(axis=0), tally.accepted.sum(axis=0), strict=True):
        before = (accepted + before) / (tested + 1)
        rates.append(before)
    return Positional(tuple(rates))


def test_scores_and_differences_are_those_of_the_loop():
    rounds = law_rounds(FALLING, 7, 30, 5, np.random.default_rng(4))
    selection = select((Geometric, Positional), rounds, folds=3, seed=8)
    scores = {
        Geometric: held_out_by_hand(rounds, smoothed_geometric, 3, 8),
        Positional: held_out_by_hand(rounds, smoothed_positional, 3, 8),
    }
    for family, expected in scores.items():
        assert contender(selection, family).held_out == pytest.approx(expected.mean(), rel=1e-12)
        assert contender(selection, family).fit == fit(family, rounds)
    gaps = scores[Geometric] - scores[Positional]
    half = float(stdtrit(6, 0.975)) * gaps.std(ddof=1) / math.sqrt(7)
    difference = contender(selection, Geometric).difference
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (gaps.mean(), gaps.mean() - half, gaps.mean() + half)
    )
    assert (difference.level, difference.prompts) == (0.95, 7)
    best = selection.best.difference
    assert (best.value, best.low, best.high) == (0, 0, 0)


def test_counts_and_ordered_rounds_choose_alike_and_the_same_again():
    rounds = by_prompt(np.random.default_rng(5))
    families = (Geometric, Positional, BetaGeometric)
    one, other, again = (select(families, data) for data in (rounds, rounds.tally(), rounds))
    assert [c.name for c in one.ranking] == [c.name for c in other.ranking]
    assert [c.held_out for c in one.ranking] == pytest.approx([c.held_out for c in other.ranking])
    assert one == again
    assert select(families, rounds, seed=1) != one


def test_what_cannot_be_identified_is_said_and_the_rest_is_ranked():
    selection = select(EVERY, by_prompt(np.random.default_rng(6)).tally())
    assert [c.name for c in selection.ranking] == ["BetaGeometric", "Positional", "Geometric"]
    assert list(selection.not_identifiable) == ["Markov"]
    assert selection.not_identifiable["Markov"].missing == "ordered rounds"


def test_a_law_that_knows_misses_scores_as_the_one_that_does_not():
    rng = np.random.default_rng(7)
    rounds = law_rounds(FALLING, 40, 50, 5, rng)
    drafted = np.where(rng.random(2000) < 0.4, 5, 0)
    some = Rounds(rounds.prompt, drafted, np.minimum(rounds.accepted, drafted))
    selection = select((Geometric, HitMiss, Positional, Empirical), some)
    assert [c.name for c in selection.ranking] == ["Positional", "Empirical", "Geometric", "HitMiss"]
    assert contender(selection, HitMiss).held_out == contender(selection, Geometric).held_out
    assert not contender(selection, Empirical).rejected
    assert contender(selection, HitMiss).rejected
    assert selection.simplest.name == "Positional"


def test_a_position_or_an_outcome_that_no_other_prompt_shows_is_not_impossible():
    """One prompt alone drafts and accepts a fourth token; all others accept everything they test."""
    rounds = Rounds([0] * 3 + [1] * 3 + [2] * 3, [3] * 6 + [4] * 3, [3] * 6 + [4, 4, 0])
    selection = select((Geometric, Positional), rounds, folds=3)
    assert all(math.isfinite(c.held_out) for c in selection.ranking)
    assert contender(selection, Positional).held_out == pytest.approx(
        held_out_by_hand_with_carry(rounds).mean(), rel=1e-12
    )
    assert contender(selection, Positional).fit.law.alphas == (8 / 9, 1.0, 1.0, 1.0), "the fit itself is not smoothed"


def held_out_by_hand_with_carry(rounds):
    """Leave one out: the fourth position, where the others never tested it, has their rate of the third."""

    def carried(tally):
        alphas = smoothed_positional(tally).alphas
        return Positional((*alphas, *[alphas[-1]] * (4 - len(alphas))))

    return held_out_by_hand(rounds, carried, 3, 0)


def test_more_folds_than_prompts_leave_out_one_prompt_each():
    rounds = law_rounds(FALLING, 4, 30, 5, np.random.default_rng(8))
    assert select((Geometric, Positional), rounds, folds=50) == select((Geometric, Positional), rounds, folds=4)


def test_prompts_that_tested_nothing_are_left_out():
    rounds = law_rounds(FALLING, 6, 30, 5, np.random.default_rng(9))
    silent = Rounds([*rounds.prompt, 6, 7], [*rounds.drafted, 0, 0], [*rounds.accepted, 0, 0])
    one, other = (select((Geometric, Positional), data) for data in (rounds, silent))
    assert [c.held_out for c in one.ranking] == [c.held_out for c in other.ranking]
    assert one.best.difference == other.best.difference


@pytest.mark.parametrize(
    ("families", "data", "missing"),
    [
        (EVERY, Tally.pooled(10, 40, 12, k=4), "a second prompt"),
        (EVERY, Tally([[9, 5]], [[5, 2]]), "a second prompt"),
        (EVERY, Rounds([0, 1, 1], [0, 2, 2], [0, 1, 2]), "a second prompt"),
        ((Markov,), Tally([[9, 5], [9, 5]], [[5, 2], [5, 2]]), "ordered rounds"),
        ((BetaGeometric,), Tally([[9, 5], [9, 5]], [[5, 2], [5, 2]]), "a second prompt"),
    ],
)
def test_what_data_cannot_choose_at_all_is_refused(families, data, missing):
    with pytest.raises(NotIdentifiable) as raised:
        select(families, data)
    assert raised.value.missing == missing


def test_bad_questions_are_refused():
    tally = Tally([[9, 5], [9, 5]], [[5, 2], [5, 2]])
    with pytest.raises(ValueError, match="folds: found 1, expected a number in"):
        select(EVERY, tally, folds=1)
    with pytest.raises(ValueError, match=r"folds: found 2\.5, expected an integer >= 2"):
        select(EVERY, tally, folds=2.5)
    with pytest.raises(ValueError, match="families: found none, expected at least one"):
        select((), tally)
    with pytest.raises(ValueError, match="law: found <class 'dict'>"):
        select((dict,), tally)
    with pytest.raises(ValueError, match="level: found 95"):
        select(EVERY, tally, level=95)
