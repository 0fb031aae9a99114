import math
from dataclasses import replace

import pytest

from tests import runs
from validate import compare, fit

GOOD, BAD, MISS = (4, 4), (4, 0), (0, 0)
PAIR = runs.costs().pair("lookup")


def sample(outcomes, **options):
    return fit.sample_of(runs.trace(outcomes, **options))


def many(rounds, count=6):
    return {f"a-{i}": [*rounds, *[GOOD] * (i % 2)] for i in range(count)}


def test_a_sample_that_gains_is_used_with_the_k_that_ran():
    verdict = compare.decide(sample(many([GOOD, GOOD, MISS])), 4)
    assert (verdict.verdict, verdict.k, verdict.more_prompts) == ("use", 4, 0)


def test_a_verdict_is_on_the_k_that_ran_whatever_another_would_cost():
    """One draft of two is ever accepted, and verifying three tokens costs more than two: k = 2 ran all the same."""
    verdict = compare.decide(sample({f"a-{i}": [(2, 1)] * 9 + [(2, 2)] * (i % 2) for i in range(6)}, slower=0.6), 2)
    assert (verdict.verdict, verdict.k) == ("use", 2)


def test_a_sample_that_loses_is_not_used_and_the_reason_names_the_dominant_term():
    rejected = {f"a-{i}": [BAD] * 20 + [GOOD] * (i % 2) for i in range(6)}
    verdict = compare.decide(sample(rejected), 4)
    assert (verdict.verdict, verdict.k) == ("dont_use", 0)
    assert "acceptance" in verdict.reason


def test_a_slow_verification_is_named_as_such():
    slow = {f"a-{i}": [(1, 1)] * 20 + [MISS] * (i % 2) for i in range(6)}
    assert compare.dominant_term(sample(slow, slower=6.0)) == "verify"


def test_where_every_draft_is_accepted_there_is_nothing_to_gain_in_acceptance_behind_eos():
    """Eighteen tokens in six rounds, half of them cut after one: no round could have emitted more."""
    cut = {f"a-{i}": [GOOD, (4, 1, "eos")] for i in range(3)}
    assert compare.dominant_term(sample(cut, slower=0.7)) == "verify"


def test_an_interval_that_holds_one_asks_for_more_prompts():
    mixed = {f"a-{i}": [GOOD] * 4 if i % 2 else [BAD] * 10 for i in range(4)}
    verdict = compare.decide(sample(mixed), 4)
    assert verdict.verdict == "measure_more"
    assert verdict.more_prompts > 0


def test_one_prompt_is_never_enough():
    assert compare.decide(sample({"a-1": [GOOD] * 9}), 4).verdict == "measure_more"


def test_a_gain_smaller_than_the_controls_own_deviation_is_noise():
    """The second plain run took half the time of the first; the gain over both is under .8."""
    trace = runs.trace({f"a-{i}": [GOOD, MISS] * 4 + [MISS] * (i % 2) for i in range(6)})
    noisy = [
        type(d)(d.prompt, d.arm, d.tokens_out, d.seconds * (0.5 if d.repeat else 1), 0.1, d.repeat) for d in trace.done
    ]
    verdict = compare.decide(fit.sample_of(replace(trace, done=tuple(noisy))), 4)
    assert verdict.verdict == "measure_more"
    assert "plain against plain" in verdict.reason
    assert verdict.more_prompts is None


def test_model_error_is_zero_where_the_clock_is_the_table_and_what_it_is_where_not():
    outcomes = many([GOOD, MISS])
    assert compare.model_error("a", sample(outcomes), PAIR, 4).error == pytest.approx(0, abs=1e-12)
    assert compare.model_error("a", sample(outcomes, slower=1.25), PAIR, 4).error == pytest.approx(0.25)


def test_generalisation_is_fitted_on_one_half_and_measured_on_the_other():
    outcomes = {f"a-{i}": [GOOD if i % 2 == 0 else BAD] * 6 + [MISS] * (i // 2 % 2) for i in range(8)}
    cell = compare.generalise("a", "lookup", sample(outcomes), PAIR, 4)
    assert cell.predicted.value == pytest.approx((24 * 5 + 2) / (24 * 1.5 + 2))
    assert cell.measured.value == pytest.approx((24 + 2) / (24 * 1.5 + 2))
    assert cell.inside is False
    assert cell.error == pytest.approx(122 / 26 - 1)


def test_without_an_interval_there_is_no_saying_inside_or_outside():
    assert compare.generalise("a", "lookup", sample({"a-1": [GOOD], "a-2": [GOOD]}), PAIR, 4).inside is None


def test_the_gap_adds_up_to_the_error():
    predicted, measured = compare.Breakdown(2.0, 0.1, 1.5, 0.02), compare.Breakdown(1.8, 0.15, 1.7, 0.0)
    shares = compare.gap(predicted, measured)
    assert sum(shares.values()) == pytest.approx(math.log(predicted.speedup / measured.speedup))
    assert shares["verify"] > 0 > shares["overhead"]


def test_the_gap_of_equal_accounts_is_nothing():
    same = compare.Breakdown(2.0, 0.1, 1.5, 0.02)
    assert set(compare.gap(same, same).values()) == {0.0}


def test_what_a_plain_step_spends_outside_its_forward_is_no_overhead_of_a_round():
    """All misses, 1.0 in the forward and .03 beside it in every arm: nothing to attribute, and no dominant overhead."""
    trace = runs.trace({f"a-{i}": [MISS] * (5 + i) for i in range(4)})
    rounds = tuple(replace(r, accept_s=0.03) for r in trace.rounds)
    done = tuple(replace(d, seconds=d.seconds * 1.03) for d in trace.done)
    ours = fit.sample_of(replace(trace, rounds=rounds, done=done))
    measured = compare.measured_breakdown(ours)
    assert (measured.verify, measured.overhead) == pytest.approx((1, 0))
    shares = compare.gap(compare.predicted_breakdown(ours, PAIR, 4), measured)
    assert list(shares.values()) == pytest.approx([0, 0, 0, 0], abs=1e-12)


def test_both_accounts_of_a_round_agree_with_the_speedups():
    ours = sample(many([GOOD, (4, 2), MISS]), slower=1.1)
    assert compare.measured_breakdown(ours).speedup == pytest.approx(fit.measured_speedup(ours).value)
    predicted = fit.predicted_speedup(ours, PAIR, k=4).value
    assert compare.predicted_breakdown(ours, PAIR, 4).speedup == pytest.approx(predicted)
