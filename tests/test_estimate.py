"""Estimates: the right estimand, and beside it the number that a common mistake gives."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from specmath.acceptance import BetaGeometric, Empirical, Geometric, HitMiss, Markov, Positional
from specmath.estimate import (
    alpha,
    block_efficiency,
    fit,
    log_likelihoods,
    quotient,
    rao_blackwell,
    ratio,
    speedup,
)
from specmath.selection import select
from specmath.tally import NotIdentifiable, Rounds, Tally
from tests.studies import draw_tally, lengths, pooled_alpha, pooled_tau

COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])


def test_pooled_over_unequal_prompts_alpha_is_weighted_by_their_tests():
    assert (pooled_alpha(7, 3, 5), pooled_tau(7, 3, 5)) == pytest.approx((0.733333, 3.115385), abs=1e-6)
    rng = np.random.default_rng(1)
    estimate = alpha(draw_tally(rng.beta(7, 3, 20_000), 50, 5, rng))
    assert estimate.value == pytest.approx(0.733333, abs=0.003)
    assert abs(estimate.value - 0.7) > 0.03


def test_over_equal_prompts_the_clustered_interval_is_no_wider_than_needed():
    rng = np.random.default_rng(5)
    estimates = [alpha(draw_tally(np.full(40, 0.7), 50, 5, rng)) for _ in range(300)]
    predicted = math.sqrt(0.7 * 0.3 / (40 * 50 * sum(0.7**i for i in range(5))))
    half = float(np.mean([e.half_width for e in estimates]))
    assert half == pytest.approx(float(stdtrit(39, 0.975)) * predicted, rel=0.05)


@pytest.mark.parametrize(
    ("true", "k", "deviation", "fraction"),
    [(0.7, 5, 0.01946, 0.3882), (0.35, 5, 0.02726, 0.1071), (0.9, 7, 0.00929, 0.6708)],
)
def test_the_censored_estimate_finds_alpha_and_accepted_over_drafted_does_not(true, k, deviation, fraction):
    rng = np.random.default_rng(2)
    tallies = [draw_tally([true], 200, k, rng) for _ in range(2000)]
    values = np.array([alpha(t).value for t in tallies])
    assert values.mean() == pytest.approx(true, abs=0.003)
    assert values.std() == pytest.approx(deviation, rel=0.06)
    accepted_fraction = np.mean([t.successes.sum() / (200 * k) for t in tallies])
    assert accepted_fraction == pytest.approx(fraction, abs=0.002)
    assert abs(accepted_fraction - true) > 8 * deviation, "negative control: accepted / drafted"


def test_drafts_of_varying_length_leave_alpha_alone():
    rng = np.random.default_rng(4)
    drafted = rng.integers(0, 8, 30_000)
    accepted = np.minimum(rng.geometric(0.3, 30_000) - 1, drafted)
    estimate = alpha(Rounds(rng.integers(0, 50, 30_000), drafted, accepted))
    assert estimate.low <= 0.7 <= estimate.high
    assert estimate.half_width < 0.01


def test_alpha_is_accepted_over_accepted_and_rejected():
    estimate = alpha(COUNTED)
    assert estimate.value == (59 + 48) / (90 + 69)
    assert estimate.value == COUNTED.successes.sum() / (COUNTED.successes.sum() + COUNTED.rejections.sum())
    assert (estimate.level, estimate.prompts) == (0.95, 2)
    assert "clustered by prompt" in estimate.method


def test_block_efficiency_counts_every_round_as_it_ran():
    estimate = block_efficiency(COUNTED)
    assert estimate.value == pytest.approx(1 + 107 / 105, rel=1e-15)
    assert 1 <= estimate.low < estimate.value < estimate.high <= 4


def test_rounds_estimate_like_their_tally():
    rounds = Rounds([0, 0, 1, 1, 1], [3, 2, 3, 0, 1], [1, 2, 3, 0, 0])
    assert alpha(rounds) == alpha(rounds.tally())
    assert block_efficiency(rounds) == block_efficiency(rounds.tally())
    assert fit(Geometric, rounds).law == fit(Geometric, rounds.tally()).law


def test_prompts_that_say_nothing_are_not_counted_as_prompts():
    assert ratio([1, 0, 2, 0], [2, 0, 3, 0]) == ratio([1, 2], [2, 3])
    silent = Tally([[4, 2], [0, 0], [3, 1]], [[2, 1], [0, 0], [1, 0]], rounds=[4, 9, 3])
    assert alpha(silent).prompts == 2
    assert block_efficiency(silent).prompts == 3


def test_one_prompt_has_a_value_and_no_interval_and_says_why():
    estimate = alpha(Tally([[10, 5]], [[5, 2]]))
    assert estimate.value == 7 / 15
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert "one prompt" in estimate.method


def test_intervals_stay_inside_what_is_possible():
    estimate = alpha(Tally([[10], [1]], [[10], [0]]))
    assert (estimate.low, estimate.high) == (0, 1)
    estimate = block_efficiency(Tally([[10], [1]], [[10], [0]]))
    assert (estimate.low, estimate.high) == (1, 2)


@pytest.mark.parametrize("prompts", [2, 20])
def test_all_or_nothing_accepted_is_bounded_as_if_prompts_were_trials(prompts):
    every = Tally(np.full((prompts, 2), 9), np.full((prompts, 2), 9))
    none = Tally([[9, 0]] * prompts, [[0, 0]] * prompts)
    assert alpha(every).value == 1
    assert alpha(every).high == 1
    assert alpha(every).low == pytest.approx(0.05 ** (1 / prompts), rel=1e-9)
    assert (alpha(none).value, alpha(none).low) == (0, 0)
    assert alpha(none).high == pytest.approx(1 - 0.05 ** (1 / prompts), rel=1e-9)
    assert block_efficiency(every).low == pytest.approx(1 + 2 * 0.05 ** (1 / prompts), rel=1e-9)
    assert "no spread" in alpha(every).method


def test_prompts_that_agree_to_the_token_do_not_make_an_interval_of_no_width():
    estimate = alpha(Tally([[10]] * 4, [[5]] * 4))
    assert estimate.low == pytest.approx(0.0676, abs=5e-5)  # Clopper-Pearson, 2 of 4
    assert estimate.high == pytest.approx(0.9324, abs=5e-5)


def test_a_one_sided_bound_holds_where_the_truth_is_just_below_one():
    """Prompts with at most one rejection: the bound must miss in at most 5 of 100 studies."""
    rng = np.random.default_rng(8)
    truth, covered = 0.99, []
    for _ in range(1000):
        accepted = 10 - (rng.random(20) < 0.1)
        if accepted.min() == 10:
            covered.append(alpha(Tally([[10]] * 20, accepted[:, None])).low <= truth)
        else:
            covered.append(True)
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("ask", [alpha, block_efficiency, lambda t, level: fit(BetaGeometric, t, level)])
@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_a_level_that_is_no_probability_is_refused(ask, level):
    with pytest.raises(ValueError, match="level: found"):
        ask(COUNTED, level)


def test_nothing_tested_identifies_no_alpha_but_a_block_efficiency_of_one():
    tally = Rounds([0, 1], [0, 0], [0, 0]).tally()
    assert block_efficiency(tally).value == 1
    for answer in (lambda: alpha(tally), lambda: fit(Geometric, tally), lambda: fit(Empirical, tally)):
        with pytest.raises(NotIdentifiable):
            answer()
    with pytest.raises(NotIdentifiable, match="anything to divide by"):
        block_efficiency(Tally([[0]], [[0]]))


def test_totals_give_the_block_efficiency_that_the_engine_logged():
    """vLLM PR 24243: 43,221 proposals of 6, 63,669 accepted; length 2.4731, rate 0.2455, yet 1.62 times as fast."""
    totals = Tally.pooled(43_221, 259_326, 63_669, k=6, rule="unknown")
    assert block_efficiency(totals).value == pytest.approx(2.4731, abs=5e-5)
    assert (block_efficiency(totals).value - 1) / 6 == pytest.approx(0.245517, abs=5e-7)
    assert math.isnan(block_efficiency(totals).low)


def test_full_totals_identify_a_geometric_alpha_and_no_interval():
    totals = Tally.pooled(43_221, 259_326, 63_669, k=6, rule="unknown")
    estimate = alpha(totals)
    assert Geometric(estimate.value).block_efficiency(6) == pytest.approx(block_efficiency(totals).value)
    assert math.isnan(estimate.low)
    assert "no prompts" in estimate.method
    assert fit(Geometric, totals).law == Geometric(estimate.value)
    assert math.isnan(fit(Geometric, totals).log_likelihood)


FULL, RAGGED, EMPTY = Tally.pooled(10, 40, 12, k=4), Tally.pooled(10, 39, 12, k=4), Tally.pooled(0, 0, 0, k=4)


@pytest.mark.parametrize(
    ("ask", "missing"),
    [
        (lambda: alpha(RAGGED), "per-position counts"),
        (lambda: fit(Geometric, RAGGED), "per-position counts"),
        (lambda: fit(Positional, FULL), "per-position counts"),
        (lambda: fit(Empirical, FULL), "per-position counts"),
        (lambda: fit(HitMiss, FULL), "per-position counts"),
        (lambda: fit(BetaGeometric, FULL), "a second prompt"),
        (lambda: fit(Markov, FULL), "ordered rounds"),
        (lambda: log_likelihoods(Geometric(0.7), FULL), "per-position counts"),
        (lambda: log_likelihoods(BetaGeometric(7, 3), FULL), "per-position counts"),
        (lambda: log_likelihoods(Markov((0.9, 0.4), ((0.9, 0.1), (0.1, 0.9))), FULL), "ordered rounds"),
        (lambda: select([Geometric, BetaGeometric], FULL), "a second prompt"),
        (lambda: alpha(EMPTY), "rounds"),
        (lambda: block_efficiency(EMPTY), "anything to divide by"),
    ],
)
def test_what_totals_cannot_answer_is_refused_with_what_is_missing(ask, missing):
    with pytest.raises(NotIdentifiable) as raised:
        ask()
    assert raised.value.missing == missing


def test_rounds_taken_as_ending_in_a_rejection_each_give_too_low_an_alpha():
    """The censoring at k: a round that accepted all it drafted met no rejection."""
    tally = draw_tally(np.full(2000, 0.7), 50, 5, np.random.default_rng(14))
    assert alpha(tally).value == pytest.approx(0.7, abs=0.002)
    uncensored = tally.successes.sum() / (tally.successes.sum() + tally.rounds.sum())
    assert uncensored == pytest.approx(1 - 1 / 2.94117, abs=0.002), "negative control: 0.660"


def test_rates_by_position_are_survivals_and_multiplying_them_again_is_wrong():
    """Counters of a 3-token MTP draft (vLLM 0.27.1, a public DGX Spark runbook): tau 3.31 and 77.0 % accepted."""
    at_risk = np.round(1000 * np.array([1, 0.872, 0.767]))
    tally = Tally([at_risk], [[872, 767, 672]])
    law = fit(Positional, tally).law
    assert law.alphas == pytest.approx((0.872, 767 / 872, 672 / 767))
    assert law.block_efficiency(3) == pytest.approx(block_efficiency(tally).value) == pytest.approx(3.311)
    assert law.mean(3) / 3 == pytest.approx(0.770, abs=5e-4)
    rates = tally.accepted[0] / 1000
    assert Positional(rates).block_efficiency(3) == pytest.approx(2.9903, abs=5e-5), "negative control"


def test_block_efficiency_counts_the_recovered_or_bonus_token_of_every_round():
    tally = draw_tally(np.full(2000, 0.7), 50, 5, np.random.default_rng(15))
    assert block_efficiency(tally).value == pytest.approx(2.94117, abs=0.02)
    without = tally.successes.sum() / tally.rounds.sum()
    assert without == pytest.approx(1.94117, abs=0.02), "negative control: accepted length without it"


def test_a_speedup_is_the_quotient_of_both_arms_and_its_columns_are_joint():
    plain_seconds, plain_tokens, seconds, tokens = [3, 5, 8], [30, 40, 50], [1, 2, 3], [31, 40, 49]
    estimate = speedup(plain_seconds, plain_tokens, seconds, tokens)
    assert estimate.value == pytest.approx(16 / 120 / (6 / 120))
    assert (estimate.low, estimate.high) == pytest.approx(
        (lambda e: (e.low, e.high))(quotient([plain_seconds, tokens], [plain_tokens, seconds]))
    )
    assert estimate.method == "plain seconds per token / seconds per token; t interval clustered by prompt"


def test_a_fleet_speeds_up_by_total_tokens_over_total_time_and_not_by_the_mean_of_its_prompts():
    """Two kinds of prompts of equal length, alpha .95 and .45 at k = 5: 2.690523 tokens a step, their mean 3.55."""
    tau = np.array([Geometric(a).block_efficiency(5) for a in (0.95, 0.45)] * 10)
    tokens = np.full(20, 500.0)
    estimate = speedup(tokens, tokens, tokens / tau, tokens)
    assert estimate.value == pytest.approx(2.690523, abs=5e-7)
    assert np.mean(tau) == pytest.approx(3.550623, abs=5e-7)
    assert estimate.high < np.mean(tau), "negative control: the mean of the speedups by prompt"


def softmax_pairs(rng, contexts, vocabulary=50):
    """Random laws of a target and of a draft that knows its logits up to noise."""

    def softmax(logits):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    logits = 2 * rng.normal(size=(contexts, vocabulary))
    return softmax(logits), softmax(logits + rng.normal(size=logits.shape))


def test_chances_have_the_mean_of_their_coins_and_a_twentieth_of_the_variance():
    rng = np.random.default_rng(16)
    p, q = softmax_pairs(rng, 20_000)
    drawn = (rng.random((20_000, 1)) < np.cumsum(q, axis=1)).argmax(axis=1)[:, None]
    one_draft = np.minimum(1, np.take_along_axis(p / q, drawn, axis=1))[:, 0]
    coins = (rng.random(20_000) < one_draft).astype(float)
    betas = np.minimum(p, q).sum(axis=1)
    variances = [values.var() for values in (betas, one_draft, coins)]
    assert variances == pytest.approx([0.0106, 0.0936, 0.2205], rel=0.05)
    assert betas.mean() == pytest.approx(coins.mean(), abs=0.01) == pytest.approx(one_draft.mean(), abs=0.007)
    by_prompt = np.split(betas, 40)
    tossed = ratio([part.sum() for part in np.split(coins, 40)], [500] * 40)
    assert tossed.half_width / rao_blackwell(by_prompt).half_width == pytest.approx(math.sqrt(20), rel=0.25)


def test_chances_behind_a_rejection_answer_another_question():
    """Prompts from Beta(7, 3): tested positions give .7333, whole blocks, rejected tails included, give .7."""
    rng = np.random.default_rng(17)
    alphas = rng.beta(7, 3, 4000)
    tested = np.minimum(lengths(alphas, 50, 5, rng) + 1, 5)
    reached = rao_blackwell([np.full(n, a) for n, a in zip(tested.sum(axis=1), alphas, strict=True)])
    assert reached.low <= pooled_alpha(7, 3, 5) <= reached.high
    assert reached.half_width < 0.006
    blocks = rao_blackwell([np.full(250, a) for a in alphas])
    assert blocks.low <= 0.7 <= blocks.high
    assert blocks.high < reached.low, "negative control"


def test_the_chance_of_a_greedy_draft_is_what_the_target_gives_its_token():
    rng = np.random.default_rng(18)
    p, q = softmax_pairs(rng, 20_000)
    drafted = q.argmax(axis=1)
    sampled = (rng.random((20_000, 1)) < np.cumsum(p, axis=1)).argmax(axis=1)
    accepted = np.mean(sampled == drafted)
    one_hot = np.eye(50)[drafted]
    assert rao_blackwell([np.minimum(p, one_hot).sum(axis=1)]).value == pytest.approx(accepted, abs=0.01)
    soft = rao_blackwell([np.minimum(p, q).sum(axis=1)]).value
    assert soft - accepted > 0.15, "negative control: sum min(p, q) of a draft that was not sampled from q"


def test_chances_are_clustered_by_prompt_and_prompts_without_any_do_not_count():
    betas = [[0.9, 0.7], [], [0.5, 0.8, 0.6]]
    estimate = rao_blackwell(betas)
    assert (estimate.value, estimate.prompts) == (pytest.approx(0.7), 2)
    assert (estimate.low, estimate.high) == (lambda e: (e.low, e.high))(ratio([1.6, 1.9], [2, 3], bounds=(0, 1)))
    assert "mean acceptance probability" in estimate.method


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([[0.5], [0.2, 1.5]], r"betas: found 1.5 for prompt 1, expected a list of numbers in \[0, 1\]"),
        ([[math.nan]], "betas: found nan for prompt 0"),
        ([0.5, 0.6], "betas: found 0 axes for prompt 0"),
    ],
)
def test_chances_that_are_none_are_refused(betas, message):
    with pytest.raises(ValueError, match=message):
        rao_blackwell(betas)


def test_no_chances_identify_nothing():
    with pytest.raises(NotIdentifiable, match="anything to divide by"):
        rao_blackwell([[], []])


def test_totals_without_a_draft_have_no_alpha():
    with pytest.raises(NotIdentifiable, match="nothing drafted in 10 rounds of k=0") as raised:
        alpha(Tally.pooled(10, 0, 0, k=0))
    assert raised.value.missing == "a tested draft"
