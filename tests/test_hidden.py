"""The likelihood of ordered rounds under hidden states, against the sum over every path of states."""

import itertools
import math

import numpy as np
import pytest

from specmath.acceptance import Markov
from specmath.hidden import coded, forward, prompt_rows
from specmath.tally import Rounds

EASY_AND_HARD = Markov((0.95, 0.45), ((0.9, 0.1), (0.3, 0.7)))
THREE = Markov((0.9, 0.5, 0.2), ((0.8, 0.1, 0.1), (0.3, 0.6, 0.1), (0.2, 0.3, 0.5)))
OBSERVED = Rounds(["b", "a", "b", "b", "a", "c"], [2, 3, 0, 2, 1, 2], [1, 3, 0, 2, 0, 0])


def positions(drafted, accepted):
    """What the output positions of a round show: a draft accepted, one rejected, or nothing of a coin."""
    return ["accepted"] * accepted + ["rejected" if accepted < drafted else "unseen"]


def by_every_path(law, rounds):
    """P(what one prompt shows), summed over all sequences of states."""
    seen = [what for drafted, accepted in rounds for what in positions(drafted, accepted)]
    chance = {"accepted": lambda a: a, "rejected": lambda a: 1 - a, "unseen": lambda a: 1.0}
    total = 0.0
    for path in itertools.product(range(len(law.alphas)), repeat=len(seen)):
        weight = law.stationary[path[0]]
        for i, state in enumerate(path):
            weight *= chance[seen[i]](law.alphas[state])
            if i:
                weight *= law.transition[path[i - 1]][state]
        total += weight
    return total


@pytest.mark.parametrize("law", [EASY_AND_HARD, THREE], ids=["two states", "three states"])
def test_a_likelihood_is_the_sum_over_all_paths_of_states(law):
    logs = forward(law.alphas, law.transition, law.stationary, coded(OBSERVED))
    by_prompt = [[(2, 1), (0, 0), (2, 2)], [(3, 3), (1, 0)], [(2, 0)]]
    assert np.exp(logs) == pytest.approx([by_every_path(law, rounds) for rounds in by_prompt], rel=1e-13)


def test_what_can_happen_in_two_rounds_has_probability_one():
    k, total = 2, 0.0
    for lengths in itertools.product(range(k + 1), repeat=2):
        rounds = Rounds([0, 0], [k, k], lengths)
        law = EASY_AND_HARD
        total += math.exp(forward(law.alphas, law.transition, law.stationary, coded(rounds)).item())
    assert total == pytest.approx(1, rel=1e-14)


def test_rounds_are_put_in_order_by_prompt_as_their_tally_is():
    assert prompt_rows(OBSERVED).tolist() == [0, 1, 0, 0, 1, 2]
    assert coded(OBSERVED).tolist() == [[4, 1, 5, 0], [7, 2, 0, 0], [2, 0, 0, 0]]
    assert coded(Rounds([], [], [])).shape[0] == 0


def test_the_order_of_the_rounds_matters_here_and_not_to_a_tally():
    one, other = Rounds([0] * 4, [1] * 4, [1, 1, 0, 0]), Rounds([0] * 4, [1] * 4, [1, 0, 1, 0])
    law = Markov((0.95, 0.05), ((0.95, 0.05), (0.05, 0.95)))
    in_runs, mixed = (
        forward(law.alphas, law.transition, law.stationary, coded(rounds)).item() for rounds in (one, other)
    )
    assert in_runs > mixed + 1
    assert np.array_equal(one.tally().accepted, other.tally().accepted)


def test_long_texts_neither_underflow_nor_lose_digits():
    rounds = EASY_AND_HARD.walk(4, np.random.default_rng(1), 1, 5000)
    state, total = np.array(EASY_AND_HARD.stationary), 0.0
    alphas, transition = np.array(EASY_AND_HARD.alphas), np.array(EASY_AND_HARD.transition)
    for accepted in rounds.accepted.tolist():
        for what in positions(4, accepted):
            state = {"accepted": state * alphas, "rejected": state * (1 - alphas), "unseen": state}[what] @ transition
        total += math.log(state.sum())
        state = state / state.sum()
    assert total < -2000
    found = forward(alphas, transition, EASY_AND_HARD.stationary, coded(rounds))
    assert found.tolist() == pytest.approx([total], rel=1e-12)


def test_the_impossible_has_no_likelihood():
    rounds = Rounds([0, 0, 1], [2, 2, 2], [2, 0, 2])
    certain = forward([1.0, 1.0], [[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5], coded(rounds))
    assert certain.tolist() == [-math.inf, 0.0]
