"""Fits: closed forms and numerical maxima, the parameters they recover, and what data cannot give."""

import math

import numpy as np
import pytest
from scipy.special import betaln

from specmath.acceptance import BetaGeometric, Empirical, Geometric, HitMiss, Markov, Positional
from specmath.fitting import fit
from specmath.intervals import ratio
from specmath.likelihood import log_likelihoods
from specmath.tally import NotIdentifiable, Rounds, Tally
from tests.studies import coverage, draw_rounds, draw_tally, law_rounds

PERSISTENT = Markov((0.95, 0.45), ((0.95, 0.05), (0.1, 0.9)))
MARKOV_TRUTH = {"alphas[0]": 0.95, "alphas[1]": 0.45, "transition[0][1]": 0.05, "transition[1][0]": 0.1}
COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])


def likelihood_by_hand(tally, conditionals, h):
    """Log-likelihood of every test and every hit or miss, by loops."""
    total = 0.0
    for tested, accepted in zip(tally.at_risk.tolist(), tally.accepted.tolist(), strict=True):
        for n, a, rate in zip(tested, accepted, conditionals, strict=True):
            total += a * math.log(rate) + (n - a) * math.log(1 - rate)
    if h is not None:
        hits, rounds = int(tally.hits.sum()), int(tally.rounds.sum())
        total += hits * math.log(h) + (rounds - hits) * math.log(1 - h)
    return total


def test_fits_are_the_closed_forms_and_no_neighbour_is_likelier():
    a, by_position, h = 107 / 159, [65 / 90, 29 / 50, 13 / 19], 90 / 105
    fits = {law: fit(law, COUNTED) for law in (Geometric, Positional, HitMiss, Empirical)}
    assert fits[Geometric].law == Geometric(a)
    assert fits[Positional].law.alphas == pytest.approx(by_position)
    assert fits[HitMiss].law == HitMiss(h, a)
    assert fits[Empirical].law.survival(3) == pytest.approx(h * math.prod(by_position))
    assert [f.parameters for f in fits.values()] == [1, 3, 2, 4]
    assert {f.rounds for f in fits.values()} == {105}
    for law, rates, hit in (
        (Geometric, [a] * 3, None),
        (Positional, by_position, None),
        (HitMiss, [a] * 3, h),
        (Empirical, by_position, h),
    ):
        best = fits[law].log_likelihood
        assert best == pytest.approx(likelihood_by_hand(COUNTED, rates, hit), rel=1e-12)
        for shift in (-0.01, 0.01):
            assert best > likelihood_by_hand(COUNTED, [rate + shift for rate in rates], hit)
            assert hit is None or best > likelihood_by_hand(COUNTED, rates, hit + shift)


def test_certain_outcomes_have_likelihood_one():
    assert fit(Geometric, Tally([[5, 5]], [[5, 5]])).log_likelihood == 0
    assert fit(HitMiss, Tally([[5]], [[0]])).log_likelihood == 0


def test_a_fit_by_position_ends_where_the_tests_end():
    fitted = fit(Positional, Tally([[10, 4, 0]], [[4, 0, 0]])).law
    assert fitted.alphas == (0.4, 0.0)
    with pytest.raises(NotIdentifiable):
        fitted.survival(3)


@pytest.mark.parametrize(
    "law", [Geometric(0.8), Positional((0.9, 0.7, 0.5, 0.6)), HitMiss(0.4, 0.8)], ids=lambda law: type(law).__name__
)
def test_a_law_is_recovered_from_its_own_rounds(law):
    rng, rounds = np.random.default_rng(6), 40_000
    drafted = rng.choice(5, rounds, p=np.asarray(law.drafted(4), dtype=float))
    given_hit = np.array([law.survival(i) for i in range(1, 5)]) / (1 - law.drafted(4)[0])
    accepted = np.minimum((rng.random(rounds)[:, None] < given_hit).sum(axis=1), drafted)
    observed = Rounds(np.arange(rounds) % 40, drafted, accepted)
    refitted = fit(type(law), observed).law
    for i in range(1, 5):
        assert refitted.survival(i) == pytest.approx(law.survival(i), abs=0.015)
        assert fit(Empirical, observed).law.survival(i) == pytest.approx(law.survival(i), abs=0.015)


def test_a_family_that_is_not_known_is_refused():
    with pytest.raises(
        ValueError, match=r"law: found .*, expected Geometric, Positional, HitMiss, Empirical, BetaGeometric or Markov"
    ):
        fit(dict, COUNTED)


def test_every_parameter_of_a_closed_form_is_a_ratio_with_its_interval():
    found = {law: fit(law, COUNTED).intervals for law in (Geometric, Positional, HitMiss, Empirical)}
    assert [list(intervals) for intervals in found.values()] == [
        ["alpha"],
        ["alphas[0]", "alphas[1]", "alphas[2]"],
        ["h", "alpha"],
        ["h", "alphas[0]", "alphas[1]", "alphas[2]"],
    ]
    second = ratio(COUNTED.accepted[:, 1], COUNTED.at_risk[:, 1], bounds=(0, 1))
    assert (found[Positional]["alphas[1]"].low, found[Positional]["alphas[1]"].high) == (second.low, second.high)
    hits = ratio(COUNTED.hits, COUNTED.rounds, 0.8, bounds=(0, 1))
    at_80 = fit(HitMiss, COUNTED, 0.8).intervals["h"]
    assert (at_80.low, at_80.high, at_80.level) == (hits.low, hits.high, 0.8)


def test_a_beta_fit_is_the_likeliest_and_its_parameters_are_inside_their_intervals():
    tally = draw_tally(np.random.default_rng(3).beta(7, 3, 200), 50, 5, np.random.default_rng(4))
    found = fit(BetaGeometric, tally)
    for name, truth in (("a", 7), ("b", 3)):
        estimate = found.intervals[name]
        assert estimate.value == getattr(found.law, name)
        assert estimate.low <= truth <= estimate.high
        assert 1.3 < estimate.high / estimate.low < 2
        assert estimate.method == f"maximum likelihood of {name}; sandwich interval clustered by prompt"
    a, b = found.law.a, found.law.b
    likelihood = np.sum(betaln(a + tally.successes, b + tally.rejections) - betaln(a, b))
    assert found.log_likelihood == pytest.approx(likelihood, rel=1e-12)
    for factor in (0.99, 1.01):
        assert log_likelihoods(BetaGeometric(factor * a, b), tally).sum() < likelihood
        assert log_likelihoods(BetaGeometric(a, factor * b), tally).sum() < likelihood


def test_prompts_that_do_not_differ_leave_the_spread_of_a_beta_law_open():
    found = fit(BetaGeometric, law_rounds(Geometric(0.7), 40, 50, 5, np.random.default_rng(5)))
    assert found.law.a / (found.law.a + found.law.b) == pytest.approx(0.7, abs=0.02)
    assert found.law.a > 50
    assert not found.intervals["a"].high < 1000, "no upper bound worth the name"
    assert (
        found.log_likelihood
        - fit(Geometric, law_rounds(Geometric(0.7), 40, 50, 5, np.random.default_rng(5))).log_likelihood
        < 1
    )


def test_prompts_of_a_beta_fit_need_not_be_as_long_as_each_other_or_say_anything():
    rng = np.random.default_rng(6)
    alphas, lengths = rng.beta(7, 3, 300), rng.integers(1, 60, 300)
    parts = [draw_rounds([alpha], n, 5, rng).accepted for alpha, n in zip(alphas, lengths, strict=True)]
    rounds = Rounds(np.repeat(np.arange(300), lengths), np.full(lengths.sum(), 5), np.concatenate(parts))
    found = fit(BetaGeometric, rounds)
    assert found.intervals["a"].low <= 7 <= found.intervals["a"].high
    silent = Rounds([*rounds.prompt, 300], [*rounds.drafted, 0], [*rounds.accepted, 0])
    again = fit(BetaGeometric, silent)
    assert again.law == found.law
    assert again.intervals["a"].prompts == 300


def test_a_markov_fit_recovers_what_made_the_rounds_easy_state_first():
    rounds = PERSISTENT.walk(5, np.random.default_rng(7), 60, 80)
    found = fit(Markov, rounds)
    assert list(found.intervals) == list(MARKOV_TRUTH)
    for name, truth in MARKOV_TRUTH.items():
        estimate = found.intervals[name]
        assert estimate.low <= truth <= estimate.high, name
        assert estimate.high - estimate.low < 0.1
    assert found.law.alphas[0] > found.law.alphas[1]
    assert [sum(row) for row in found.law.transition] == pytest.approx([1, 1])
    assert found.law.transition[0][1] == found.intervals["transition[0][1]"].value
    assert found.log_likelihood >= log_likelihoods(PERSISTENT, rounds).sum()
    assert found.law.block_efficiency(5) == pytest.approx(1 + rounds.accepted.mean(), abs=0.03)


def test_a_markov_fit_of_unequal_drafts_counts_the_rounds_that_drafted_nothing():
    """Mostly nothing drafted: the state moves on in every round, with or without a draft."""
    rng, law, rows = np.random.default_rng(8), PERSISTENT, []
    transition = np.array(law.transition)
    for prompt in range(60):
        state = int(rng.random() > law.stationary[0])
        for drafted in rng.choice([0, 0, 0, 0, 5], 200).tolist():
            accepted = 0
            while accepted < drafted and rng.random() < law.alphas[state]:
                accepted += 1
                state = int(rng.random() > transition[state, 0])
            state = int(rng.random() > transition[state, 0])
            rows.append((prompt, drafted, accepted))
    found = fit(Markov, Rounds(*np.array(rows).T))
    for name, truth in MARKOV_TRUTH.items():
        assert found.intervals[name].low <= truth <= found.intervals[name].high, name
    prompt, drafted, accepted = np.array(rows).T
    some = drafted > 0
    dropped = fit(Markov, Rounds(prompt[some], drafted[some], accepted[some]))
    assert dropped.intervals["transition[1][0]"].low > 0.1, "negative control: rounds without a draft left out"


def test_a_markov_fit_whose_search_crosses_over_still_names_the_easy_state_first():
    """Output positions that nearly alternate: the search begins with the easy state first and ends with it second."""
    accepted = [1, 2, 1, 1, 1, 3, 2, 1, 1, 2, 1, 1, 1]
    rounds = Rounds([0] * 13, [3] * 13, accepted)
    found = fit(Markov, rounds)
    assert found.law.alphas == pytest.approx((1, 0), abs=1e-3)
    assert found.law.transition[1] == pytest.approx((1, 0), abs=1e-3)
    assert found.law.transition[0][1] == pytest.approx(0.7, abs=0.02)
    assert found.intervals["transition[1][0]"].value == found.law.transition[1][0]
    again = log_likelihoods(found.law, rounds).sum()
    assert found.log_likelihood == again > log_likelihoods(Geometric(18 / 30), rounds).sum()


def test_shuffled_rounds_lose_what_a_markov_law_is_fitted_to():
    rng = np.random.default_rng(9)
    rounds = PERSISTENT.walk(1, rng, 60, 80)
    order = rng.permutation(len(rounds.accepted)) % 80
    shuffled = Rounds(rounds.prompt, rounds.drafted, rounds.accepted[np.argsort(rounds.prompt * 80 + order)])
    gain = [fit(Markov, data).log_likelihood - fit(Geometric, data).log_likelihood for data in (rounds, shuffled)]
    assert gain[0] > 200
    assert gain[1] < gain[0] / 5, "negative control"


def test_states_that_do_not_differ_leave_the_transition_open():
    found = fit(Markov, law_rounds(Geometric(0.7), 40, 50, 5, np.random.default_rng(10)))
    assert found.law.block_efficiency(5) == pytest.approx(2.94, abs=0.1)
    leave = found.intervals["transition[0][1]"]
    assert not leave.high - leave.low < 0.5, "no interval, or one that says nothing"


def test_one_prompt_has_a_markov_law_and_no_interval():
    found = fit(Markov, PERSISTENT.walk(5, np.random.default_rng(11), 1, 2000))
    assert found.law.alphas == pytest.approx((0.95, 0.45), abs=0.05)
    assert all(math.isnan(estimate.low) for estimate in found.intervals.values())
    assert "undetermined, so no interval" in found.intervals["alphas[0]"].method


def test_all_accepted_is_fitted_by_every_family_without_a_warning():
    rounds = Rounds(np.repeat(np.arange(4), 20), np.full(80, 3), np.full(80, 3))
    assert fit(BetaGeometric, rounds).law.mean(3) == pytest.approx(3, abs=1e-3)
    assert fit(Markov, rounds).law.mean(3) == pytest.approx(3, abs=1e-3)
    assert math.isnan(fit(BetaGeometric, rounds).intervals["b"].low)


@pytest.mark.parametrize(
    ("family", "data", "missing"),
    [
        (Markov, COUNTED, "ordered rounds"),
        (Markov, Rounds([0, 1], [0, 0], [0, 0]), "a tested draft"),
        (BetaGeometric, Tally([[50, 30]], [[30, 20]]), "a second prompt"),
        (BetaGeometric, Tally([[50, 30], [0, 0]], [[30, 20], [0, 0]], rounds=[50, 9]), "a second prompt"),
        (BetaGeometric, Rounds([0, 1], [0, 0], [0, 0]), "a tested draft"),
        (Positional, Rounds([0, 1], [0, 0], [0, 0]), "a tested draft"),
        (Geometric, Tally.pooled(10, 0, 0, k=0), "a tested draft"),
        (Geometric, Tally.pooled(10, 0, 0, k=5), "a tested draft"),
        (Geometric, Tally.pooled(0, 0, 0, k=0), "rounds"),
    ],
)
def test_what_the_data_cannot_give_is_named(family, data, missing):
    with pytest.raises(NotIdentifiable) as raised:
        fit(family, data)
    assert raised.value.missing == missing


def covered(family, truth, draw, studies):
    """Share of the studies whose interval holds each parameter."""
    fits = [fit(family, draw()).intervals for _ in range(studies)]
    return {name: coverage([found[name] for found in fits], value) for name, value in truth.items()}


@pytest.mark.parametrize(("a", "b"), [(7, 3), (1.4, 0.6)])
def test_intervals_of_a_beta_fit_cover_its_parameters(a, b):
    rng = np.random.default_rng(12)
    found = covered(BetaGeometric, {"a": a, "b": b}, lambda: draw_tally(rng.beta(a, b, 40), 50, 5, rng), 200)
    assert all(0.9 <= share <= 0.98 for share in found.values()), found


@pytest.mark.slow
def test_intervals_of_a_markov_fit_cover_its_parameters():
    rng = np.random.default_rng(13)
    found = covered(Markov, MARKOV_TRUTH, lambda: PERSISTENT.walk(5, rng, 40, 50), 200)
    assert all(0.9 <= share <= 0.98 for share in found.values()), found
