"""Counts: what each container accepts, refuses and can answer."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.acceptance import Empirical
from specmath.tally import RULES, NotIdentifiable, Pooled, Rounds, Tally

ROUNDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 6)).map(
        lambda r: (r[0], r[1], min(r[1], r[2]))
    ),
    min_size=1,
)


def count_by_hand(rounds, k):
    """Dumb loops: per prompt, the times draft i was tested and the times it was accepted."""
    prompts = list(dict.fromkeys(prompt for prompt, _, _ in rounds))
    at_risk = [[0] * k for _ in prompts]
    accepted = [[0] * k for _ in prompts]
    for prompt, drafted, kept in rounds:
        row = prompts.index(prompt)
        for i in range(min(drafted, k)):
            at_risk[row][i] += 1
            if i >= kept:
                break
            accepted[row][i] += 1
    return at_risk, accepted, [sum(p == prompt for p, _, _ in rounds) for prompt in prompts]


@given(ROUNDS, st.none() | st.integers(0, 8))
def test_rounds_and_a_loop_count_equivalently(rounds, k):
    tally = Rounds(*zip(*rounds, strict=True)).tally(k)
    depth = max(drafted for _, drafted, _ in rounds) if k is None else k
    at_risk, accepted, totals = count_by_hand(rounds, depth)
    assert tally.at_risk.tolist() == at_risk
    assert tally.accepted.tolist() == accepted
    assert tally.rounds.tolist() == totals


def test_a_round_that_ran_out_of_drafts_is_censored_and_not_a_rejection():
    rejected, censored = Rounds([0], [3], [1]).tally(3), Rounds([0], [1], [1]).tally(3)
    assert rejected.rejections.tolist() == [1]
    assert censored.rejections.tolist() == [0]
    assert censored.at_risk.tolist() == [[1, 0, 0]]


def test_cutting_at_k_forgets_the_rejections_behind_it():
    tally = Rounds([0, 0], [4, 4], [2, 0]).tally(2)
    assert (tally.k, tally.rejections.tolist(), tally.at_risk.tolist()) == (2, [1], [[2, 1]])


def test_prompts_keep_the_order_of_their_first_appearance():
    tally = Rounds(["z", "a", "z"], [1, 1, 1], [1, 0, 1]).tally()
    assert tally.accepted.tolist() == [[2], [0]]


def test_rounds_that_never_drafted_are_rounds_too():
    tally = Rounds([1, 1], [0, 0], [0, 0]).tally()
    assert (tally.k, tally.rounds.tolist(), tally.hits.tolist(), tally.trials.tolist()) == (0, [2], [0], [0])


def test_the_rule_travels_with_the_counts():
    assert Rounds([0], [1], [1], rule="match").tally().rule == "match"
    for rule in RULES:
        assert Tally([[1]], [[0]], rule=rule).rule == rule
    with pytest.raises(ValueError, match="rule: found 'greedy', expected one of standard, one_hot"):
        Tally([[1]], [[0]], rule="greedy")


def test_rounds_default_to_those_that_tested_a_first_draft():
    assert Tally([[5, 2]], [[2, 1]]).rounds.tolist() == [5]
    assert Tally([[5, 2]], [[2, 1]], rounds=[9]).rounds.tolist() == [9]


def test_totals_of_a_tally_follow_from_its_cells():
    tally = Tally([[5, 2], [3, 0]], [[2, 1], [0, 0]], rounds=[6, 3])
    assert tally.trials.tolist() == [7, 3]
    assert tally.successes.tolist() == [3, 0]
    assert tally.rejections.tolist() == [4, 3]
    assert tally.hits.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("at_risk", "accepted", "rounds", "message"),
    [
        ([[4, 2]], [[2, 3]], None, r"accepted: found 3 in cell \[0, 1\], expected at most at_risk = 2"),
        ([[4, 3]], [[2, 1]], None, r"at_risk of the next position: found 3 in cell \[0, 0\], .* accepted = 2"),
        ([[4, 2]], [[2, 1]], [3], r"at_risk: found 4 in cell \[0, 0\], expected at most rounds = 3"),
        ([[4, 3]], [[4, -1]], None, r"accepted: found -1 in cell \[0, 1\], expected a count"),
        ([[4.5]], [[1]], None, "at_risk: found .*, expected a count"),
        ([[float("nan")]], [[1]], None, "at_risk: found .*, expected a count"),
        ([["a"]], [[1]], None, "at_risk: found entries of type <U1, expected counts"),
        ([4, 2], [2, 1], None, "at_risk: found 1 axes, expected 2"),
        ([[4, 2]], [[2]], None, r"accepted: found shape \(1, 1\), expected \(1, 2\)"),
        ([[4]], [[2]], [4, 4], r"rounds: found shape \(2,\), expected \(1,\)"),
        ([[], []], [[], []], None, "rounds: found none"),
    ],
)
def test_impossible_counts_are_refused_with_the_cell(at_risk, accepted, rounds, message):
    with pytest.raises(ValueError, match=message):
        Tally(at_risk, accepted, rounds=rounds)


def test_counters_that_arrive_as_floats_are_counts():
    assert Tally([[4.0]], [[2.0]]).at_risk.dtype.kind == "i"


def test_counts_cannot_be_changed_afterwards_nor_through_the_array_given():
    given_counts = np.array([[4]])
    tally = Tally(given_counts, [[2]])
    given_counts[0, 0] = 9
    assert tally.at_risk.tolist() == [[4]]
    for counts in (tally.at_risk, tally.accepted, tally.rounds):
        with pytest.raises(ValueError, match="read-only"):
            counts[0] = 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0], [2], [3]), r"accepted: found 3 in cell \[0\], expected at most drafted = 2"),
        (([0, 1], [2], [1]), r"prompt: found shape \(2,\), expected \(1,\)"),
        (([0], [2, 2], [1]), r"accepted: found shape \(1,\), expected \(2,\)"),
    ],
)
def test_impossible_rounds_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        Rounds(*columns)


def test_totals_know_whether_every_round_drafted_k():
    assert Tally.pooled(10, 40, 12, k=4, rule="standard") == Pooled(10, 40, 12, k=4, rule="standard")
    assert Pooled(10, 40, 12, k=4).full
    assert not Pooled(10, 39, 12, k=4).full


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ((10, 40, 41), "accepted: found 41, expected at most drafted = 40"),
        ((10, 41, 12), "drafted: found 41, expected at most rounds times k = 40"),
        ((-1, 0, 0), "rounds: found -1, expected a count"),
    ],
)
def test_impossible_totals_are_refused(totals, message):
    with pytest.raises(ValueError, match=message):
        Tally.pooled(*totals, k=4, rule="unknown")


def test_totals_hold_no_positions_and_say_so():
    with pytest.raises(NotIdentifiable) as raised:
        Empirical(Tally.pooled(10, 40, 12, k=4, rule="unknown")).survival(1)
    assert raised.value.missing == "per-position counts"
    assert isinstance(raised.value, ValueError)


def test_what_is_not_identifiable_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(NotIdentifiable("rounds", "alpha", "send some")))
    assert (error.missing, str(error)) == ("rounds", "alpha cannot be identified: rounds missing; send some")
