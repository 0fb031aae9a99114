"""Decisions, and how often they are wrong: by simulation of studies whose truth is at the threshold or beside it."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma

from specmath.decision import Decision, decide
from specmath.intervals import Estimate, more_prompts, quotient, ratio
from tests.studies import lengths, pooled_tau


def student_tail(t, degrees):
    """P(T > t), by integrating the density of Student's t."""
    norm = gamma((degrees + 1) / 2) / math.sqrt(degrees * math.pi) / gamma(degrees / 2)
    return quad(lambda x: norm * (1 + x * x / degrees) ** (-(degrees + 1) / 2), t, math.inf)[0]


@pytest.mark.parametrize(("value", "threshold", "verdict"), [(1.2, 1.0, "use"), (1.2, 1.35, "dont_use")])
def test_the_probability_of_being_wrong_is_the_tail_of_student_beyond_the_threshold(value, threshold, verdict):
    estimate = Estimate(value, value - 0.1, value + 0.1, 0.95, 20, "given")
    error = 0.1 / 2.093024
    decision = decide(estimate, threshold)
    assert decision == Decision(verdict, decision.probability_wrong, 0)
    assert decision.probability_wrong == pytest.approx(student_tail(abs(value - threshold) / error, 19), rel=1e-5)


@given(st.floats(0.01, 0.5), st.floats(-0.6, 0.6), st.integers(2, 60), st.sampled_from([0.8, 0.9, 0.95]))
def test_it_is_decided_where_the_interval_excludes_the_threshold_and_nowhere_else(half, offset, prompts, level):
    assume(abs(abs(offset) - half) > 1e-9)
    estimate = Estimate(1 + offset, 1 + offset - half, 1 + offset + half, level, prompts, "given")
    decision = decide(estimate)
    excluded = not estimate.low <= 1 <= estimate.high
    assert (decision.verdict != "measure_more") == excluded == (decision.probability_wrong < (1 - level) / 2)
    assert decision.more_prompts == more_prompts(estimate, 1.0)
    if excluded:
        assert decision.verdict == ("use" if offset > 0 else "dont_use")


def test_at_the_end_of_the_interval_the_probability_is_half_of_what_the_level_leaves():
    estimate = Estimate(1.2, 1.0, 1.4, 0.9, 12, "given")
    assert decide(estimate, 1.0).probability_wrong == pytest.approx(0.05)
    assert decide(estimate, 1.2).probability_wrong == pytest.approx(0.5)


def test_the_longer_side_counts_where_a_bound_cut_the_other():
    cut = Estimate(0.95, 0.85, 1.0, 0.95, 20, "cut at 1")
    whole = Estimate(0.95, 0.85, 1.05, 0.95, 20, "whole")
    assert decide(cut, 0.99).probability_wrong == pytest.approx(decide(whole, 0.99).probability_wrong)
    assert decide(cut, 0.99).more_prompts == decide(whole, 0.99).more_prompts
    assert decide(cut, 0.99).verdict == "measure_more"


def test_without_an_interval_nothing_is_decided_and_the_probability_is_unknown():
    decision = decide(ratio([3], [2]))
    assert (decision.verdict, decision.more_prompts) == ("measure_more", None)
    assert math.isnan(decision.probability_wrong)
    assert decide(Estimate(1.0, 0.9, 1.1, 0.95, 20, "at the threshold")).more_prompts is None


def simulated(truth, studies, level, seed):
    """Speedups of studies of 40 prompts, Beta(7, 3), with a round time that makes the true speedup `truth`."""
    rng = np.random.default_rng(seed)
    round_time = pooled_tau(7, 3, 5) / truth
    for _ in range(studies):
        rounds, pace = np.full(40, 50.0), rng.lognormal(0, 0.3, 40)
        tokens = rounds + lengths(rng.beta(7, 3, 40), 50, 5, rng).sum(axis=1)
        plain = tokens * pace * rng.gamma(25, 1 / 25, 40)
        seconds = round_time * rounds * pace * rng.gamma(25, 1 / 25, 40)
        yield quotient([plain, tokens], [tokens, seconds], level)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_just_below_one_a_study_says_use_no_more_often_than_it_admits(level):
    wrong = (1 - level) / 2
    used = [decide(e).verdict for e in simulated(0.9999, 2000, level, seed=1)].count("use") / 2000
    assert 0.4 * wrong < used < wrong + 0.005
    refused = [decide(e).verdict for e in simulated(1.0001, 2000, level, seed=2)].count("dont_use") / 2000
    assert wrong < refused < 2.2 * wrong, "a speedup is skewed: the tail that keeps plain decoding is the heavier one"
    assert used + refused == pytest.approx(1 - level, abs=0.015)


def test_further_below_one_a_study_hardly_ever_says_use():
    verdicts = [decide(e).verdict for e in simulated(0.93, 1000, 0.8, seed=3)]
    assert verdicts.count("use") / 1000 < 0.02
    assert verdicts.count("dont_use") / 1000 > 0.4


def test_the_probability_is_reached_as_often_as_it_says():
    """With the truth at the threshold, of all studies a share p is wrong in sign with a probability below p."""
    wrong = np.array([decide(e).probability_wrong for e in simulated(0.99999, 2000, 0.95, seed=4) if e.value > 1])
    for p in (0.05, 0.1, 0.25):
        assert np.sum(wrong < p) / 2000 == pytest.approx(p, abs=0.025)
    assert len(wrong) / 2000 == pytest.approx(0.5, abs=0.04), "negative control: deciding by the value alone"


def test_rounds_taken_for_prompts_would_decide_wrongly_far_more_often():
    """Negative control: an interval from 50 rounds of each of 40 prompts as 2000 independent units."""
    rng, used = np.random.default_rng(5), 0
    round_time = pooled_tau(7, 3, 5) / 0.9999
    for _ in range(300):
        tokens = 1 + lengths(rng.beta(7, 3, 40), 50, 5, rng).ravel()
        used += decide(ratio(tokens, np.full(2000, round_time))).verdict == "use"
    assert used / 300 > 0.15


def test_a_number_that_cannot_vary_is_decided_for_certain():
    """Block efficiency at k = 0: an interval of no length, which excludes everything but the value."""
    one = Estimate(1.0, 1.0, 1.0, 0.95, 20, "example")
    assert decide(one, 0.9) == Decision("use", 0.0, 0)
    assert decide(one, 1.1) == Decision("dont_use", 0.0, 0)
    even = decide(one, 1.0)
    assert (even.verdict, even.more_prompts, math.isnan(even.probability_wrong)) == ("measure_more", None, True)


def test_a_number_is_no_estimate_to_decide_on():
    with pytest.raises(ValueError, match=r"^estimate: found 1.2, expected an `Estimate`$"):
        decide(1.2)
