"""The alpha and the cost that are needed are where the plan itself turns over."""

import math
from dataclasses import replace

import pytest

from specmath import Candidate, Geometric, Linear, Pair, Slo, Traffic, plan
from specmath.candidates import Deployment
from specmath.inverse import needed_alpha, needed_cost
from specmath.load import Question, exact_gpus, limit
from specmath.varied import draft_scaled

GPU, TRAFFIC = "H100 SXM", Traffic(20.0, 1000, 300)
TARGET, SMALL = Linear(0.015, 8e-5, 4e-8), Linear(0.002, 1e-6, 1e-9)
CANDIDATE = Candidate("small", None, Pair(TARGET, SMALL), (2, 4), gpus=4)
QUESTION = Question(TRAFFIC, Slo(tpot=0.025), GPU)


def gpus(candidate, k, question=QUESTION):
    """GPUs before rounding up."""
    one = Deployment(candidate, k, question.traffic, question.operation)
    return exact_gpus(limit(one, question.slo), question)


def test_at_the_needed_alpha_drafting_takes_as_many_gpus_as_plain_decoding():
    needed = needed_alpha(CANDIDATE, QUESTION)
    at, below = (gpus(replace(CANDIDATE, law=Geometric(needed.value - d)), needed.k) for d in (0, 1e-4))
    assert at == pytest.approx(gpus(CANDIDATE.plain(), 0), rel=1e-6)
    assert below > at * (1 + 1e-6)


def test_no_other_depth_asks_for_less():
    needed = needed_alpha(CANDIDATE, QUESTION)
    alone = [needed_alpha(replace(CANDIDATE, k=k), QUESTION).value for k in (2, 4)]
    assert needed.value == min(alone)
    assert needed.k == (2, 4)[alone.index(min(alone))]


def test_the_alpha_for_a_count_of_gpus_is_where_the_plan_first_needs_so_many():
    needed = needed_alpha(CANDIDATE, QUESTION, gpus=16)
    at, below = (
        plan(replace(CANDIDATE, law=Geometric(needed.value + d), k=needed.k), TRAFFIC, QUESTION.slo, gpu=GPU)
        for d in (1e-6, -1e-4)
    )
    assert at.drafting.gpus == 16
    assert below.drafting.gpus > 16


def test_where_plain_decoding_breaks_the_promise_the_alpha_needed_is_that_which_keeps_it():
    tight = replace(QUESTION, slo=Slo(tpot=0.014))
    needed = needed_alpha(CANDIDATE, tight)
    assert gpus(CANDIDATE.plain(), 0, tight) == math.inf
    assert gpus(replace(CANDIDATE, law=Geometric(needed.value + 1e-4)), needed.k, tight) < math.inf
    assert gpus(replace(CANDIDATE, law=Geometric(needed.value - 1e-4)), needed.k, tight) == math.inf


def test_what_no_alpha_can_do_is_nan():
    dear = replace(CANDIDATE, cost=Pair(TARGET, Linear(0.1, 0)))
    for needed in (needed_alpha(dear, QUESTION), needed_alpha(CANDIDATE, QUESTION, gpus=4)):
        assert math.isnan(needed.value)
        assert needed.k is None
        assert not needed.possible


def test_at_the_needed_cost_drafting_takes_as_many_gpus_as_plain_decoding():
    given = replace(CANDIDATE, law=Geometric(0.6))
    needed = needed_cost(given, QUESTION)
    one = Deployment(given, needed.k, TRAFFIC, QUESTION.operation)
    at, above = (exact_gpus(limit(draft_scaled(one, needed.value * f), QUESTION.slo), QUESTION) for f in (1, 1.001))
    assert at == pytest.approx(gpus(given.plain(), 0), rel=1e-6)
    assert above > at
    step = TARGET.seconds(1, context=TRAFFIC.context)
    assert needed.ratio == pytest.approx(needed.value * SMALL.seconds(1, context=TRAFFIC.context) / step)


def test_a_cost_that_never_does_is_nan_and_one_that_always_does_infinite():
    hopeless = replace(CANDIDATE, law=Geometric(0.0))
    assert math.isnan(needed_cost(hopeless, QUESTION).value)
    free = replace(CANDIDATE, law=Geometric(0.6), cost=Pair(TARGET, Linear(1e-9, 0)))
    assert needed_cost(free, QUESTION).value == math.inf


def test_a_draft_without_a_model_has_no_cost_to_solve_for():
    with pytest.raises(ValueError, match="cost of small: found no drafting model, expected one"):
        needed_cost(replace(CANDIDATE, law=Geometric(0.6), cost=Pair(TARGET)), QUESTION)


def test_a_plan_asks_for_the_best_that_drafts():
    found = plan(replace(CANDIDATE, law=Geometric(0.7)), TRAFFIC, QUESTION.slo, gpu=GPU)
    assert found.needed_alpha() == needed_alpha(CANDIDATE, QUESTION)
    assert found.needed_cost(gpus=24) == needed_cost(replace(CANDIDATE, law=Geometric(0.7)), QUESTION, gpus=24)
    plain = plan(replace(CANDIDATE, k=0), TRAFFIC, QUESTION.slo, gpu=GPU)
    assert plain.needed_alpha() is None
    assert plain.needed_cost() is None
    assert plain.curves() is None
