"""What is commonly got wrong about acceptance and speedup: the right number beside the wrong one."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.special import lambertw

from specmath.acceptance import Curve, Geometric, Markov, Padded, Positional, Ranked
from specmath.cost import Ratio
from specmath.draft import Tree
from specmath.speedup import best_k, block_efficiency, break_even, fleet, speedup


def test_accepted_over_drafted_is_not_alpha():
    law = Geometric(0.7)
    assert law.mean(5) / 5 == pytest.approx(0.388234, abs=1e-6)
    taken_for_alpha = Geometric(law.mean(5) / 5)
    assert law.block_efficiency(5) == pytest.approx(2.941170, abs=1e-6)
    assert taken_for_alpha.block_efficiency(5) == pytest.approx(1.629, abs=1e-3)
    assert Geometric(0.7).mean(2) / 2 > law.mean(5) / 5, "it depends on k, and alpha does not"


def test_a_round_accepted_to_its_end_holds_no_rejection():
    """alpha = accepted / (accepted + rejected): a round accepted in full rejects none, and counts none."""
    law = Geometric(Fraction(7, 10))
    accepted, rejected = law.mean(5), 1 - law.survival(5)
    assert accepted / (accepted + rejected) == Fraction(7, 10)
    assert accepted / (accepted + 1) < Fraction(67, 100), "a rejection counted in every round"


def test_acceptance_rates_by_position_are_survival_and_are_not_multiplied_again():
    rates = (0.872, 0.767, 0.672)
    assert Curve(rates).block_efficiency(3) == pytest.approx(3.311)
    assert Positional(rates).block_efficiency(3) == pytest.approx(2.990, abs=1e-3)


def test_c_is_paid_once_per_drafted_token():
    """A published blog formula divides by 1 + c; with c per token it overstates by (1 + k c) / (1 + c)."""
    wrong = block_efficiency(0.8, 4) / (1 + 0.05)
    assert speedup(0.8, 4, 0.05) == pytest.approx(2.801333, abs=1e-6)
    assert wrong / speedup(0.8, 4, 0.05) == pytest.approx(1.2 / 1.05)


def test_tokens_per_round_include_the_recovered_or_bonus_token():
    law = Geometric(0.7)
    assert (law.block_efficiency(5), law.mean(5)) == pytest.approx((2.941170, 1.941170), abs=1e-6)
    assert Geometric.from_block_efficiency(2.941170, 5).alpha == pytest.approx(0.7, abs=1e-6)
    assert Geometric.from_block_efficiency(1.941170, 5).alpha == pytest.approx(0.4922, abs=5e-5), "the bonus left out"


def test_three_siblings_are_not_three_independent_tries():
    """Siblings compete for one token: their acceptances add up and end below 1 - (1 - alpha)^3."""
    star = Tree((-1, 0, 0, 0))
    assert block_efficiency(Ranked((0.6, 0.2, 0.1)), star) == pytest.approx(1.9)
    independent = 1 - (1 - 0.6) ** 3
    assert 1 + independent == pytest.approx(1.936)


def test_w_chains_that_share_a_root_gain_less_than_independent_ones():
    """1 + sum of 1 - (1 - alpha^i)^w counts siblings as independent; each loses to the ones before it."""
    idealised = 1 + sum(1 - (1 - 0.6**i) ** 4 for i in range(1, 6))
    assert idealised == pytest.approx(4.131478, abs=1e-6)
    bundle = Tree.from_paths([[first, *[0] * i] for first in range(4) for i in range(5)])
    first_row, others = (0.6, 0.2, 0.1, 0.05), (0.6,)
    shared = Ranked((first_row, *[others] * 4)).on(bundle).block_efficiency(5)
    assert shared == pytest.approx(1 + sum(first_row) * sum(0.6**i for i in range(5)), abs=1e-12)
    assert shared < 0.8 * idealised


def test_jensen_s_sign_depends_on_what_is_averaged_over():
    """Alpha .95 or .45: kept for a round and averaged by round, by token, or drawn afresh at every position."""
    easy, hard = Fraction(95, 100), Fraction(45, 100)
    by_round, by_token = (fleet([easy, hard], 5, 0, **{weight: 1}) for weight in ("rounds", "tokens"))
    by_position = sum(Positional(path).block_efficiency(5) for path in product((easy, hard), repeat=5)) / 32
    assert by_position == Geometric((easy + hard) / 2).block_efficiency(5)
    assert float(by_position) == pytest.approx(2.941170, abs=1e-9)
    assert float(by_round) == pytest.approx(3.550623, abs=1e-6)
    assert float(by_token) == pytest.approx(2.690523, abs=1e-6)


def test_rounds_do_not_start_in_the_stationary_law():
    law = Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95)))
    accepted = np.array(law.alphas)[:, None] * np.array(law.transition)
    wrong = sum((law.stationary @ np.linalg.matrix_power(accepted, i)).sum() for i in range(6))
    assert law.block_efficiency(5) == pytest.approx(2.719173, abs=1e-6)
    assert wrong == pytest.approx(3.454618, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "c", "optimum", "best"),
    [
        (0.8, 0.05, 7.856654, 8),
        (0.7, 0.1, 4.024536, 4),
        (0.6, 0.02, 5.619476, 6),
        (0.9, 0.01, 24.098654, 24),
        (0.35, 0.1, 1.444282, 1),
        (0.75, 0.02, 9.044403, 9),
        (0.5, 0.2, 1.452143, 1),
    ],
)
def test_the_optimal_depth_lies_on_the_lower_branch_of_lambert_s_function(alpha, c, optimum, best):
    rate = -math.log(alpha)
    argument = -math.exp(-(1 + rate * (1 / c - 1)))
    depths = [(-lambertw(argument, branch).real - 1) / rate - 1 / c for branch in (-1, 0)]
    assert depths[0] == pytest.approx(optimum, abs=1e-6)
    assert depths[1] < 0, "the principal branch gives no depth"
    found = best_k(alpha, c)
    assert found.k == best
    assert found.k in (math.floor(optimum), math.ceil(optimum))
    assert found.speedup == max(speedup(alpha, k, c) for k in (math.floor(optimum), math.ceil(optimum)))


def test_one_plus_alpha_over_one_plus_c_is_a_lower_bound_of_the_best_speedup():
    """Leviathan et al. 2023, Corollary 3.9, says "at least"; it is the value at k = 1."""
    assert speedup(0.8, 1, 0.05) == pytest.approx(1.8 / 1.05)
    assert best_k(0.8, 0.05).speedup == pytest.approx(3.092080, abs=1e-6)


def test_there_is_no_break_even_without_a_depth():
    assert break_even(c=0.1, k=np.array([1, 4, 8])) == pytest.approx([0.1000, 0.2871, 0.4448], abs=5e-5)
    fraction, alpha = 0.1, break_even(c=0.1, k=8)
    assert Geometric(alpha).mean(8) / 8 == pytest.approx(fraction), "in accepted / drafted the break-even is c"
    assert speedup(0.35, 8, 0.1) < 1 < speedup(0.35, 1, 0.1)


def test_the_article_s_two_claims_are_about_two_depths():
    """35 per cent at c = .1 gives 1.2x at k = 1 or 2, and a slowdown at k = 8 with 2 per cent of growth per token."""
    values = [speedup(0.35, k, 0.1) for k in range(1, 9)]
    assert values == pytest.approx([1.227, 1.227, 1.166, 1.093, 1.024, 0.961, 0.905, 0.855], abs=5e-4)
    assert speedup(0.35, 8, Ratio(0.1, d=0.02)) == pytest.approx(0.785, abs=5e-4)


def test_a_fleet_s_speedup_is_not_the_mean_of_its_prompts_speedups():
    """By tokens, as a bill counts; the mean of the two speedups is 32 per cent higher."""
    mean = (speedup(0.95, 5, 0.05) + speedup(0.45, 5, 0.05)) / 2
    assert fleet([0.95, 0.45], 5, 0.05, tokens=1) == pytest.approx(2.690523 / 1.25, abs=1e-6)
    assert mean == pytest.approx(3.550623 / 1.25, abs=1e-6)


@pytest.mark.parametrize(
    ("tokens", "rounds", "ratio"),
    [(10, 3.923533, 3.400007), (100, 34.521404, 34.000075), (500, 170.521703, 170.000374)],
)
def test_a_text_takes_more_rounds_than_its_length_over_tau(tokens, rounds, ratio):
    """f(L) = 1 + sum of P(n) f(L - n): part of the last round is emitted beyond the end."""
    law, expected = Geometric(0.7), [0.0] * 6
    for _ in range(tokens):
        expected.append(1 + sum(mass * expected[-n] for n, mass in enumerate(law.pmf(5), 1)))
    assert expected[-1] == pytest.approx(rounds, abs=1e-6)
    assert tokens / law.block_efficiency(5) == pytest.approx(ratio, abs=1e-6)
    overshoot = (law.var(5) + law.block_efficiency(5) ** 2) / law.block_efficiency(5) - 1
    if tokens > 10:
        assert rounds - ratio == pytest.approx(overshoot / (2 * law.block_efficiency(5)), abs=1e-5)


def test_a_padded_batch_is_not_scored_with_the_alpha_of_one_sequence():
    assert Padded(Geometric(0.8), 5).block_efficiency(5) == pytest.approx(1.485546, abs=1e-6)
    assert Geometric(0.8).block_efficiency(5) == pytest.approx(3.689280, abs=1e-6)


def test_more_accepted_is_not_faster():
    """One draft accepts .82 at c = .11, another .75 at c = .02 (T5 on EnDe, k = 7): the second wins."""
    assert block_efficiency(0.82, 7) > block_efficiency(0.75, 7)
    assert speedup(0.82, 7, 0.11) < speedup(0.75, 7, 0.02)


def test_an_alpha_fitted_at_one_depth_is_not_the_alpha_of_another():
    """Llama-4-Maverick's EAGLE-3 head, HumanEval: .83 at k = 1, and i.i.d. predicts 4.557 at k = 7; measured 3.62."""
    assert Geometric(0.83).block_efficiency(7) == pytest.approx(4.557, abs=5e-4)
    curve = Curve((0.83, 0.62, 0.49, 0.32, 0.21, 0.10, 0.05))
    assert curve.block_efficiency(7) == pytest.approx(3.62)
    assert best_k(curve, 0.1).k < best_k(0.83, 0.1).k, "and it would be drafted too deep"


def test_a_tie_of_depths_goes_to_the_shorter_draft():
    assert speedup(Fraction(1, 2), 1, Fraction(1, 5)) == speedup(Fraction(1, 2), 2, Fraction(1, 5)) == Fraction(5, 4)
    assert best_k(Fraction(1, 2), Fraction(1, 5)).k == 1
