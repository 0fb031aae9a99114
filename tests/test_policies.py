"""Policies of depth: what they draft from each start, what their rounds cost, and the gain of stopping in time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath.cost import Linear, Outside, Pair, Ratio, Table
from specmath.policies import FixedDepth, RateOptimal, Schedule, Threshold
from specmath.replay import Replay
from specmath.tally import NotIdentifiable

EXAMPLE = [0.9, 0.4, 1, 0.75, 0.2, 0.85, 0.6, 0.95]
CHANCES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), max_size=12)


# --- depths against dumb loops ---------------------------------------------------------------------------------------


@given(CHANCES, st.sampled_from([0.0, 0.3, 0.5, 0.95]), st.integers(0, 6))
def test_threshold_stops_after_the_first_doubtful_draft(confidence, threshold, k_max):
    for start, found in enumerate(Threshold([confidence], threshold, k_max)(0)):
        drafted = 0
        while drafted < k_max and start + drafted < len(confidence):
            drafted += 1
            if confidence[start + drafted - 1] < threshold:
                break
        assert found == drafted


@given(CHANCES, st.sampled_from([0.0, 0.1, 0.4, 2.0]), st.integers(0, 6))
def test_rate_optimal_weighs_the_next_draft_against_its_time(chances, c, k_max):
    policy = RateOptimal([chances], Ratio(c, d=0.05, o=3.0), k_max, expected=0.6, rate=1.5)
    for start, found in enumerate(policy(0)):
        drafted, product = 0, 1.0
        while drafted < k_max and start + drafted < len(chances) and product * 0.6 > 1.5 * (c + 0.05):
            product *= chances[start + drafted]
            drafted += 1
        assert found == drafted


def test_policies_by_offset_read_each_draft_from_its_row():
    rows = np.array([[0.9, 0.1, 0.9, 0.9, 0.9], [0.1, 0.9, 0.9, 0.9, 0.1]])
    assert Threshold([rows], 0.5, 4)(0).tolist() == [4, 1, 3, 2, 1]
    assert RateOptimal([rows], 0.3, 4, expected=0.5)(0).tolist() == [4, 1, 3, 2, 1]


def test_a_text_without_tokens_drafts_nothing():
    assert Threshold([[]], 0.5, 3)(0).tolist() == []
    assert RateOptimal([[]], 0.1, 3, expected=0.5)(0).tolist() == []


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["token", "block"])
@pytest.mark.parametrize("k", [0, 1, 3, 9])
def test_a_fixed_depth_is_that_depth(k, rule):
    replay = Replay([[1.4, 0.5, 1.1, 0.8, 2, 0.3, 1.2, 0.9], [], EXAMPLE, [0.5]])
    schedule = replay.schedule(FixedDepth(k), rule)
    assert schedule.by_depth.shape == (4, k + 1)
    assert schedule.rounds == pytest.approx(replay.rounds(k, rule), rel=1e-13)
    assert schedule.drafted == pytest.approx(k * replay.rounds(k, rule), rel=1e-13)
    assert schedule.tokens.tolist() == [8, 0, 8, 1]
    assert schedule.block_efficiency == pytest.approx(replay.block_efficiency(k, rule), rel=1e-13)
    cost = Pair(Linear(0.5, 0.1, 0.001), Linear(0.125, 0.0), overhead=0.01)
    at = {"batch": 3, "context": 50}
    best = replay.best_k(cost, k, rule=rule, **at)
    assert schedule.speedup(cost, **at) <= best.speedup * (1 + 1e-12)
    assert best.k != k or schedule.speedup(cost, **at) == pytest.approx(best.speedup, rel=1e-12)


def test_an_integer_as_policy_is_a_fixed_depth():
    replay = Replay([EXAMPLE, EXAMPLE[:3]])
    for k in (0, 3, np.int64(3)):
        assert np.array_equal(replay.schedule(k).by_depth, replay.schedule(FixedDepth(k)).by_depth)
    with pytest.raises(ValueError, match=r"k: found 1\.5, expected an integer >= 0"):
        replay.schedule(1.5)


def test_depths_of_a_walk_are_counted_where_its_rounds_start():
    """Greedy: rounds at 0 (2 drafts, the second rejected), 2 (none), 3 (3 drafts, all accepted, 1 beyond the end)."""
    replay = Replay([[1, 0, 1, 1, 1], [0, 1]])
    schedule = replay.schedule([[2, 3, 0, 3, 3], 1].__getitem__)
    assert schedule.by_depth.tolist() == [[1, 0, 1, 1], [0, 2, 0, 0]]
    assert schedule.rounds.tolist() == [3, 2]
    assert schedule.drafted.tolist() == [5, 2]
    assert schedule.block_efficiency == 7 / 5


def test_time_is_the_sum_over_the_depths_drafted():
    schedule = Schedule(np.array([6, 2]), np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 0.5]]))
    assert schedule.time(Ratio(0.25, d=0.125, o=0.5)).tolist() == [1.5 + 2 * 2.25, 0.5 * 1.5 + 0.5 * 2.25]
    assert schedule.speedup(Ratio(0.25, d=0.125, o=0.5)) == 8 / 7.875
    assert schedule.speedup(0.5) == 8 / (1.5 + 2.5 * 2)
    seconds = Pair(Linear(1.0, 0.5, 0.25), Linear(0.25, 0.0, 0.125), overhead=0.5)
    plain, deep = 1 + 0.5 * 2 + 0.25 * 2 * 4, 2 * (0.25 + 0.125 * 2 * 4) + 1 + 0.5 * 2 * 3 + 0.25 * 2 * 4 + 0.5
    assert schedule.time(seconds, batch=2, context=4).sum() == 1.5 * (plain + 0.5) + 2.5 * deep
    assert schedule.speedup(seconds, batch=2, context=4) == 8 * plain / (1.5 * (plain + 0.5) + 2.5 * deep)


def test_one_sequence_without_context_is_meant_where_nothing_else_is_said():
    cost = Pair(Linear(1.0, 0.5, 0.25), Linear(0.25, 0.0, 0.125))
    schedule = Schedule(np.array([6]), np.array([[0.0, 0.0, 2.0]]))
    assert schedule.time(cost).tolist() == [2 * (0.5 + 1 + 1.5)]
    assert schedule.speedup(cost) == 6 * 1.5 / 6
    assert RateOptimal([[0.5]], cost, 2).added.tolist() == [0.75 / 1.5] * 2, "in plain steps, of 1.5 seconds"


def test_a_draft_that_just_pays_is_not_made():
    assert RateOptimal([[0.5, 0.5]], 0.25, 4, expected=0.5, rate=2.0)(0).tolist() == [0, 0]
    assert RateOptimal([[0.5, 0.5]], 0.25, 4, expected=0.5, rate=1.0)(0).tolist() == [1, 1]


def test_never_drafting_is_plain_decoding_and_costs_nothing_besides():
    schedule = Replay([EXAMPLE]).schedule(FixedDepth(0))
    assert schedule.time(Ratio(0.1, o=5.0)).tolist() == [8]
    assert schedule.speedup(Ratio(0.1, o=5.0)) == 1


def test_a_depth_that_occurs_must_have_been_measured():
    cost = Pair(Table([1, 3], [1, 1], [0, 0], [1.0, 1.5], provenance="measured"))
    replay = Replay([[1.0] * 4])
    assert replay.schedule(FixedDepth(2)).speedup(cost) == 4 / 3
    with pytest.raises(Outside, match="n=4"):
        replay.schedule(FixedDepth(3)).speedup(cost)


@settings(max_examples=80)
@given(st.data(), st.sampled_from(["token", "block"]))
def test_every_token_is_emitted_once_whatever_the_depths(data, rule):
    texts = data.draw(st.lists(st.lists(st.floats(0, 2), max_size=10), min_size=1, max_size=4))
    depths = [data.draw(st.lists(st.integers(0, 4), min_size=len(t), max_size=len(t))) for t in texts]
    replay = Replay(texts)
    schedule = replay.schedule(lambda prompt: np.array(depths[prompt], dtype=int), rule)
    fewest, most = replay.rounds(4), replay.tokens
    assert np.all(schedule.rounds <= most + 1e-9)
    assert rule == "block" or np.all(schedule.rounds >= fewest - 1e-9)
    assert np.all(schedule.by_depth >= 0)
    assert np.all(schedule.drafted <= 4 * schedule.rounds + 1e-9)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1, 2], r"^policy: found an array of shape \(2,\) for prompt 1, expected integers >= 0, one or 3$"),
        (np.ones((99, 99)), r"^policy: found an array of shape \(99, 99\) for prompt 1, expected integers"),
        ([1.5, 1.0, 1.0], "found 1.5 for prompt 1, expected integers"),
        ([1, -2, 1], "found -2 for prompt 1, expected integers"),
        ([True, False, True], "found True for prompt 1, expected integers"),
        (-1, "found -1 for prompt 1, expected integers"),
        ([1, 3, 1], "k: found 3, expected at most 2, the offsets"),
    ],
)
def test_depths_that_do_not_fit_are_refused(answer, message):
    replay = Replay([np.full((2, 1), 0.5), np.full((2, 3), 0.5)])
    with pytest.raises(ValueError, match=message):
        replay.schedule(lambda prompt: answer if prompt else 1)


def test_a_schedule_needs_a_known_rule_and_tokens():
    with pytest.raises(ValueError, match="rule: found 'tree'"):
        Replay([EXAMPLE]).schedule(FixedDepth(1), "tree")
    for replay in (Replay([]), Replay([[]])):
        schedule = replay.schedule(FixedDepth(1))
        assert schedule.rounds.tolist() == [0] * len(replay.tokens)
        with pytest.raises(NotIdentifiable, match="tokens missing"):
            schedule.speedup(0.1)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedDepth(-1)(0), "k: found -1"),
        (lambda: Threshold([[0.5]], 0.5, -1), "k: found -1"),
        (lambda: Threshold([[0.5], [0.5, math.nan]], 0.5, 3), "confidence: found nan for prompt 1, token 1"),
        (lambda: RateOptimal([[0.5]], 0.1, 1.5), "k: found 1.5"),
        (lambda: RateOptimal([[0.5], [1.5]], 0.1, 3), r"chance: found 1.5 for prompt 1, token 0, expected .* \[0, 1\]"),
        (lambda: RateOptimal([[0.5], [-0.5]], 0.1, 3), "chance: found -0.5 for prompt 1"),
        (lambda: RateOptimal([[]], 0.1, 3), "tokens missing"),
        (
            lambda: Threshold([[0.5]] * 3, 0.5, 2)(3),
            "^confidence: found 3 prompts, expected one for .* prompt 3$",
        ),
        (lambda: RateOptimal([[0.5]], 0.1, 2)(1), "^chance: found 1 prompts, expected one for each: .* prompt 1$"),
    ],
)
def test_what_no_policy_can_be_made_of_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_confidence_may_have_any_scale():
    assert Threshold([[-3.0, 7.0, -math.inf]], -2.0, 3)(0).tolist() == [1, 2, 1]


# --- the rate-optimal policy -----------------------------------------------------------------------------------------


def confident_text(n=400_000):
    """Confidence .98, .8 or .3 with probability .5, .3, .2, independent by token, and right."""
    return np.random.default_rng(0).choice([0.98, 0.8, 0.3], p=[0.5, 0.3, 0.2], size=n)


def test_stopping_in_time_gains_eight_percent_where_confidence_tells():
    """Exact at c = .08: 2.599617 at the best fixed depth, 6; 2.816161 adaptive with at most 12, at s < .285181."""
    chances = confident_text()
    replay = Replay([chances])
    fixed = replay.best_k(0.08, 12)
    policy = RateOptimal([chances], 0.08, 12, expected=0.79).raised(replay)
    adaptive = replay.schedule(policy).speedup(0.08)
    assert (fixed.k, fixed.speedup) == (6, pytest.approx(2.599617, abs=0.008))
    assert adaptive == pytest.approx(2.816161, abs=0.008)
    assert adaptive / fixed.speedup == pytest.approx(2.816161 / 2.599617, abs=0.001)
    assert policy.rate == pytest.approx(adaptive, rel=1e-9)
    assert policy.rate * 0.08 / 0.79 == pytest.approx(0.285181, abs=0.001)
    assert RateOptimal([chances], 0.08, 12).expected == pytest.approx(0.79, abs=0.002)


def test_no_other_threshold_on_the_product_does_better():
    chances = confident_text(50_000)
    replay = Replay([chances])
    policy = RateOptimal([chances], 0.08, 12, expected=0.79).raised(replay)
    best = replay.schedule(policy).speedup(0.08)
    for rate in (0.0, 1.0, 2.0, 2.5, 3.2, 4.0, 6.0):
        other = RateOptimal([chances], 0.08, 12, expected=0.79, rate=rate)
        assert replay.schedule(other).speedup(0.08) <= best * (1 + 1e-4)
    for threshold in (0.5, 0.9):
        assert replay.schedule(Threshold([chances], threshold, 12)).speedup(0.08) < best


def test_stopping_gains_nothing_where_confidence_tells_nothing():
    chances = confident_text(100_000)
    replay = Replay([chances])
    policy = RateOptimal([np.full(100_000, 0.79)], 0.08, 12).raised(replay)
    assert replay.schedule(policy).speedup(0.08) == pytest.approx(replay.best_k(0.08, 12).speedup, rel=1e-4)


def test_where_drafting_never_pays_nothing_is_drafted():
    replay = Replay([[0.1] * 20])
    policy = RateOptimal([[0.9] * 20], 0.5, 4).raised(replay)
    assert policy.k_max == 0
    assert policy(0).tolist() == [0] * 20
    assert replay.schedule(policy).speedup(Ratio(0.5, o=1.0)) == 1
    assert RateOptimal([[0.1] * 20], 0.5, 4).raised(replay)(0).tolist() == [0] * 20


def test_prices_end_where_the_cost_was_not_measured():
    cost = Pair(Table([1, 2, 3, 5], [2] * 4, [7] * 4, [1.0, 1.25, 1.5, 9.0], provenance="measured"))
    policy = RateOptimal([[1.0] * 9], cost, 8, batch=2, context=7)
    assert policy.added.tolist() == [0.25, 0.25]
    assert policy(0).tolist() == [2] * 8 + [1]
    raised = policy.raised(Replay([[1.0] * 9]))
    assert raised.rate == pytest.approx(2.0), "three tokens in 1.5 plain steps"


def test_where_a_higher_rate_does_worse_the_one_before_it_stands():
    """Block verification forgives a doubtful draft, so the product of the chances stops it too early."""
    ratios = np.random.default_rng(1).choice([2.0, 0.4], size=20_000)
    replay = Replay([ratios])
    policy = RateOptimal([np.minimum(ratios, 1)], 0.05, 6)
    found = policy.raised(replay, "block")
    reached = replay.schedule(found, "block").speedup(0.05)
    assert found.rate == 1
    assert replay.schedule(RateOptimal(found.chance, 0.05, 6, rate=reached), "block").speedup(0.05) < reached


def test_where_drafting_never_pays_the_raised_policy_drafts_nothing():
    texts, chances = [[0.1] * 20], [[0.1] * 20]
    raised = RateOptimal(chances, 0.5, 6).raised(Replay(texts))
    assert raised(0).tolist() == [0] * 20
    misled = RateOptimal([[0.9] * 20], 0.5, 6).raised(Replay(texts))
    assert misled(0).tolist() == [0] * 20, "chances that are wrong"
