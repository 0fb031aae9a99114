"""The rounds that a text takes: the exact law against its recursion, its asymptotes and simulation."""

import math
from functools import cache

import numpy as np
import pytest

from specmath.acceptance import (
    BetaGeometric,
    Geometric,
    HitMiss,
    Markov,
    NotIdentifiable,
    Padded,
    Positional,
    Ranked,
)
from specmath.draft import Chain, Tree
from specmath.finish import RoundsToEmit, overshoot, rounds_to_emit
from specmath.simulate import simulate

LAWS = {
    "geometric": (Geometric(0.7), Chain(5)),
    "no draft": (Geometric(0.7), Chain(0)),
    "nothing accepted": (Geometric(0.0), Chain(3)),
    "all accepted": (Geometric(1.0), Chain(3)),
    "deep": (Geometric(0.9), Chain(64)),
    "by position": (Positional((0.9, 0.5, 0.8)), Chain(3)),
    "hit or miss": (HitMiss(0.4, 0.8), Chain(5)),
    "a tree": (Ranked((0.6, 0.2)), Tree((-1, 0, 0, 1, 1, 3))),
}


def expected_rounds(pmf, tokens):
    """The oracle: f(L) = 1 + sum over n of P(n) f(L - n), one number at a time."""

    @cache
    def f(left):
        return 0.0 if left <= 0 else 1 + sum(float(mass) * f(left - i - 1) for i, mass in enumerate(pmf))

    return f(tokens)


@pytest.mark.parametrize("tokens", [1, 2, 7, 60])
@pytest.mark.parametrize("name", LAWS)
def test_the_mean_is_that_of_the_recursion(name, tokens):
    law, shape = LAWS[name]
    found = rounds_to_emit(law, shape, tokens)
    assert found.mean == pytest.approx(expected_rounds(law.on(shape).pmf(shape.depth), tokens), rel=1e-12)
    assert found.pmf.sum() == pytest.approx(1)
    assert found.mean == pytest.approx(found.pmf @ np.arange(len(found.pmf)))
    assert found.var == pytest.approx(found.pmf @ np.arange(len(found.pmf)) ** 2 - found.mean**2, abs=1e-9)


@pytest.mark.parametrize(("tokens", "mean"), [(10, 3.923533), (100, 34.521404), (500, 170.521703)])
def test_the_rounds_of_a_text_at_alpha_70_per_cent_and_k_5(tokens, mean):
    assert rounds_to_emit(Geometric(0.7), Chain(5), tokens).mean == pytest.approx(mean, abs=1e-6)


def test_the_spread_of_a_text_and_the_slowest_of_a_batch():
    found = rounds_to_emit(Geometric(0.7), Chain(5), 500)
    assert math.sqrt(found.var) == pytest.approx(8.072194, abs=1e-6)
    assert found.slowest(8) == pytest.approx(182.193200, abs=1e-6)
    assert found.slowest(np.array([1, 8, 32])) == pytest.approx([170.521703, 182.193200, 187.685984], abs=1e-6)


def test_tokens_over_tau_is_not_the_mean_and_the_overshoot_is_the_difference():
    law, shape = Geometric(0.7), Chain(5)
    assert overshoot(law, shape) == pytest.approx(0.521329, abs=1e-6)
    for tokens in (100, 500):
        mean, naive = rounds_to_emit(law, shape, tokens).mean, tokens / law.block_efficiency(5)
        assert mean - naive == pytest.approx(overshoot(law, shape), abs=1e-9)
    assert naive == pytest.approx(170.000374, abs=1e-6)


@pytest.mark.parametrize("name", ["geometric", "no draft", "nothing accepted", "by position", "hit or miss", "a tree"])
def test_the_overshoot_is_the_limit_for_every_law_whose_lengths_have_no_common_step(name):
    law, shape = LAWS[name]
    naive = 300 / law.on(shape).block_efficiency(shape.depth)
    assert rounds_to_emit(law, shape, 300).mean - naive == pytest.approx(overshoot(law, shape), abs=1e-9)


def test_where_every_round_emits_four_the_rounds_are_certain():
    found = rounds_to_emit(Geometric(1.0), Chain(3), 10)
    assert (found.mean, found.var, found.slowest(100)) == (3, 0, 3)
    assert found.pmf[3] == 1


def test_the_slowest_is_the_mean_maximum_of_the_law():
    law = RoundsToEmit(np.array([1.0, 0.75, 0.25]))  # 1, 2, 3 with probability 1/4, 1/2, 1/4
    assert law.slowest(1) == law.mean == 2
    assert law.slowest(2) == pytest.approx(1 * 1 / 16 + 2 * (9 - 1) / 16 + 3 * 7 / 16)


@pytest.mark.parametrize("name", LAWS)
def test_simulated_texts_have_the_law(name):
    law, shape = LAWS[name]
    texts = simulate(law, shape, tokens=40, requests=20_000, rng=np.random.default_rng(17))
    exact = rounds_to_emit(law, shape, 40).pmf
    seen = np.bincount(texts.rounds, minlength=len(exact)) / 20_000
    assert np.all(np.abs(seen - exact) <= 5 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-12)


@pytest.mark.parametrize(
    "law",
    [
        BetaGeometric(7, 3),
        Markov((0.9, 0.5), ((0.9, 0.1), (0.1, 0.9))),
        Padded(BetaGeometric(1.4, 0.6), 2),
        Padded((Geometric(0.5), Padded(BetaGeometric(7, 3)))),
    ],
)
@pytest.mark.parametrize("of", [overshoot, lambda law, shape: rounds_to_emit(law, shape, 10)])
def test_laws_whose_rounds_depend_on_one_another_are_refused(law, of):
    with pytest.raises(
        NotIdentifiable, match=r"the rounds of a text .* independent rounds missing; simulate draws them"
    ):
        of(law, Chain(4))


@pytest.mark.parametrize(
    "law", [Geometric([0.5, 0.6]), HitMiss(0.5, np.array([0.5, 0.6])), Padded(HitMiss([0.5, 0.6], 0.5), 2)]
)
def test_a_grid_of_laws_or_depths_is_refused(law):
    with pytest.raises(ValueError, match=r"^law: found 2 laws in a grid, expected one$"):
        rounds_to_emit(law, Chain(5), 10)
    for of in (lambda law, shape: rounds_to_emit(law, shape, 10), overshoot):
        with pytest.raises(ValueError, match=r"^k: found an array of shape \(2,\), expected an integer >= 0$"):
            of(Geometric(0.5), Chain([1, 2]))


def test_where_lengths_share_a_step_the_overshoot_has_no_limit_but_a_mean():
    law, shape = Geometric(1.0), Chain(3)
    beyond = [rounds_to_emit(law, shape, tokens).mean - tokens / 4 for tokens in (100, 101, 102, 103)]
    assert beyond == [0, 0.75, 0.5, 0.25]
    assert overshoot(law, shape) == sum(beyond) / 4


@pytest.mark.parametrize("tokens", [0, -3, 2.5])
def test_a_text_has_a_whole_number_of_tokens(tokens):
    with pytest.raises(ValueError, match=f"tokens: found {tokens}, expected"):
        rounds_to_emit(Geometric(0.5), Chain(2), tokens)


def test_a_batch_has_a_request_or_more():
    with pytest.raises(ValueError, match="requests: found 0, expected a number in"):
        rounds_to_emit(Geometric(0.5), Chain(2), 5).slowest(0)
