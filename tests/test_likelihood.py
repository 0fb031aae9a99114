"""Likelihoods by prompt, coin for coin; the numerical maximum and its covariance, against closed forms."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit

from specmath.acceptance import BetaGeometric, Empirical, Geometric, HitMiss, Markov, Positional
from specmath.fitting import fit
from specmath.likelihood import BOX, log_likelihoods, maximise, sandwich
from specmath.regimes import Stopping
from specmath.tally import NotIdentifiable, Rounds, Tally
from tests.studies import draw_tally

OBSERVED = Rounds([0, 0, 1, 1, 1, 2], [3, 2, 3, 0, 1, 0], [1, 2, 3, 0, 0, 0])


def coin_by_coin(rounds, prompt, alphas, h=None):
    """Probability of what one prompt shows, round by round and draft by draft."""
    probability = 1.0
    for name, drafted, accepted in zip(
        *(a.tolist() for a in (rounds.prompt, rounds.drafted, rounds.accepted)), strict=True
    ):
        if name != prompt:
            continue
        if h is not None:
            probability *= h if drafted else 1 - h
        for i in range(accepted):
            probability *= alphas[i]
        if accepted < drafted:
            probability *= 1 - alphas[accepted]
    return probability


@pytest.mark.parametrize(
    ("law", "alphas", "h"),
    [
        (Geometric(0.7), [0.7] * 3, None),
        (Positional((0.9, 0.6, 0.3)), [0.9, 0.6, 0.3], None),
        (HitMiss(0.4, 0.7), [0.7] * 3, 0.4),
        (Empirical(Tally([[9, 6, 3]], [[6, 4, 1]], rounds=[12])), [2 / 3, 2 / 3, 1 / 3], 0.75),
    ],
    ids=lambda value: type(value).__name__,
)
def test_independent_rounds_multiply_coin_by_coin(law, alphas, h):
    expected = [math.log(coin_by_coin(OBSERVED, prompt, alphas, h)) for prompt in range(3)]
    assert log_likelihoods(law, OBSERVED).tolist() == pytest.approx(expected, rel=1e-13)
    assert log_likelihoods(law, OBSERVED.tally()).tolist() == pytest.approx(expected, rel=1e-13)
    drafts_only = [math.log(coin_by_coin(OBSERVED, prompt, alphas)) for prompt in range(3)]
    assert log_likelihoods(law, OBSERVED, misses=False).tolist() == pytest.approx(drafts_only, rel=1e-13)


def test_a_prompt_with_an_alpha_of_its_own_is_integrated_over_it():
    law, (a, b) = BetaGeometric(7, 3), (7, 3)
    norm = math.factorial(a + b - 1) / math.factorial(a - 1) / math.factorial(b - 1)
    for prompt, found in enumerate(log_likelihoods(law, OBSERVED).tolist()):
        area, _ = quad(
            lambda x, p=prompt: norm * x ** (a - 1) * (1 - x) ** (b - 1) * coin_by_coin(OBSERVED, p, [x] * 3), 0, 1
        )
        assert math.exp(found) == pytest.approx(area, rel=1e-10)


def test_hidden_states_that_do_not_differ_are_no_states():
    law = Markov((0.7, 0.7), ((0.9, 0.1), (0.4, 0.6)))
    assert log_likelihoods(law, OBSERVED) == pytest.approx(log_likelihoods(Geometric(0.7), OBSERVED))
    each_alone = Markov((1.0, 0.4), ((0.5, 0.5), (0.5, 0.5)))
    assert log_likelihoods(each_alone, OBSERVED) == pytest.approx(log_likelihoods(Geometric(0.7), OBSERVED))


def test_the_impossible_has_likelihood_minus_infinity_and_never_nan():
    accepted = Tally([[2, 2], [2, 0]], [[2, 2], [0, 0]])
    assert log_likelihoods(Geometric(1.0), accepted).tolist() == [0, -math.inf]
    assert log_likelihoods(Geometric(0.0), accepted).tolist() == [-math.inf, 0]
    assert log_likelihoods(Positional((0.0, 0.5)), accepted).tolist() == [-math.inf, 0]
    assert log_likelihoods(HitMiss(0.0, 0.5), accepted).tolist() == [-math.inf, -math.inf]
    assert log_likelihoods(HitMiss(1.0, 0.5), Tally([[0]], [[0]], rounds=[3])).tolist() == [-math.inf]


def test_positions_beyond_a_law_are_not_made_up():
    with pytest.raises(NotIdentifiable, match="acceptance at position 3"):
        log_likelihoods(Positional((0.9, 0.8)), OBSERVED)
    with pytest.raises(NotIdentifiable) as raised:
        log_likelihoods(Markov((0.9, 0.4), ((0.9, 0.1), (0.1, 0.9))), OBSERVED.tally())
    assert raised.value.missing == "ordered rounds"


@pytest.mark.parametrize("family", [Geometric, Positional, HitMiss, Empirical, BetaGeometric, Markov])
def test_a_fit_carries_the_likelihood_of_its_law(family):
    rounds = Markov((0.9, 0.5), ((0.8, 0.2), (0.2, 0.8))).walk(3, np.random.default_rng(1), 8, 40)
    found = fit(family, rounds)
    assert found.log_likelihood == pytest.approx(log_likelihoods(found.law, rounds).sum(), rel=1e-12)
    assert found.parameters == len(found.intervals)
    assert found.rounds == 320


def logits_by_prompt(tally):
    """The geometric likelihood by prompt, over the logit of alpha."""

    def by_prompt(theta):
        alpha = expit(theta[0])
        return tally.successes * math.log(alpha) + tally.rejections * math.log1p(-alpha)

    return by_prompt


def test_the_numerical_maximum_and_its_sandwich_are_the_ratio_and_its_linearised_error():
    """For one alpha both have closed forms: the ratio of totals, and its standard error over alpha (1 - alpha)."""
    tally = draw_tally([0.9, 0.7, 0.5, 0.8, 0.6], 40, 4, np.random.default_rng(2))
    closed = fit(Geometric, tally).intervals["alpha"]
    theta = maximise(logits_by_prompt(tally), [(0.0,), (3.0,)])
    assert expit(theta[0]) == pytest.approx(closed.value, abs=1e-7)
    at = np.array([logit(closed.value)])
    error = math.sqrt(sandwich(logits_by_prompt(tally), at).item()) * closed.value * (1 - closed.value)
    t = closed.half_width / error
    assert t == pytest.approx(2.776445, abs=1e-4)  # Student's t, 97.5 %, 4 degrees of freedom


def test_the_best_of_several_starts_wins():
    def two_hills(theta):
        return np.array([math.exp(-((theta[0] + 3) ** 2)) + 2 * math.exp(-((theta[0] - 3) ** 2))])

    assert maximise(two_hills, [(-2.0,)]) == pytest.approx([-3], abs=1e-3)
    assert maximise(two_hills, [(-2.0,), (2.0,)]) == pytest.approx([3], abs=1e-3)


def test_a_sandwich_of_two_parameters_is_the_product_of_its_parts():
    points = np.array([[0.3, 1.0], [-0.4, 2.0], [0.5, 1.5], [0.1, 0.7]])
    metric = np.array([[2.0, 0.5], [0.5, 1.0]])

    def by_prompt(theta):
        return np.array([-0.5 * (x - theta) @ metric @ (x - theta) for x in points])

    mean = points.mean(axis=0)
    assert maximise(by_prompt, [(0.0, 0.0)]) == pytest.approx(mean, abs=1e-6)
    assert sandwich(by_prompt, mean) == pytest.approx(np.cov(points.T) / 4, abs=1e-7)


def test_what_no_curvature_determines_has_no_covariance():
    def ridge(theta):
        return np.array([-((theta[0] + theta[1] - x) ** 2) for x in (0.0, 1.0, 2.0)])

    assert np.isnan(sandwich(ridge, np.array([0.5, 0.5]))).all()
    assert np.isnan(sandwich(lambda theta: np.array([-(theta[0] ** 2)]), np.array([0.0]))).all(), "one prompt"


def test_a_parameter_at_the_edge_of_the_box_has_no_covariance_and_the_others_keep_theirs():
    def uphill(theta):
        return np.array([theta[0] - (theta[1] - x) ** 2 for x in (0.0, 1.0, 5.0)])

    theta = maximise(uphill, [(0.0, 0.0)])
    assert theta == pytest.approx([BOX, 2], abs=1e-5)
    covariance = sandwich(uphill, theta)
    assert np.isnan(covariance[0]).all()
    assert np.isnan(covariance[1, 0])
    assert covariance[1, 1] == pytest.approx(7 / 3, rel=1e-5)
    assert np.isnan(sandwich(lambda theta: theta[0] * np.ones(3), np.array([BOX]))).all()


def test_a_law_that_drafts_lengths_between_is_refused():
    """Its curve mixes drafts that were rejected with drafts that were not made."""
    tally = Tally([[4, 2, 1]], [[2, 1, 1]])
    with pytest.raises(ValueError, match="law: found a Stopping that may draft less than k=3, expected 0 or all of k"):
        log_likelihoods(Stopping((0.9, 0.4), (0.5, 0.5), 0.5), tally)
    steady = log_likelihoods(Stopping((0.9, 0.4), (0.5, 0.5)), tally)
    assert steady == pytest.approx(log_likelihoods(Geometric(0.65), tally))
    assert np.isfinite(log_likelihoods(HitMiss(0.5, 0.5), tally)).all()
