"""Laws of the accepted length: every route to a number agrees, and the numbers are the published ones."""

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.acceptance import Empirical, Geometric, HitMiss, Law, NotIdentifiable, Positional, Tally, invert_mean

COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])
LAWS = {
    "geometric": (Geometric(0.7), 5),
    "geometric, long": (Geometric(0.97), 40),
    "nothing accepted": (Geometric(0.0), 3),
    "all accepted": (Geometric(1.0), 3),
    "by position": (Positional((0.83, 0.7, 0.9, 0.0, 0.4)), 5),
    "hit or miss": (HitMiss(0.4, 0.8), 5),
    "never a hit": (HitMiss(0.0, 0.8), 4),
    "as counted": (Empirical(COUNTED), 3),
    "no draft": (Geometric(0.7), 0),
}
FRACTIONS = st.integers(1, 12).flatmap(lambda d: st.integers(0, d).map(lambda n: Fraction(n, d)))


def check_acceptance(law, k, draws=100_000):
    """Every claim a law makes, checked against the others; takes any object with the methods of `Law`."""
    curve = [float(law.survival(i)) for i in range(k + 1)]
    assert curve[0] == 1, "S_0 is 1"
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(curve)), "S falls in [0, 1]"
    assert np.allclose(np.asarray(law.survival(np.arange(k + 1)), dtype=float), curve), "arrays of i are the same S"
    for i in range(1, k + 1):
        assert curve[i - 1] == 0 or math.isclose(law.conditional(i) * curve[i - 1], curve[i], abs_tol=1e-15)
    pmf, lengths = np.asarray(law.pmf(k), dtype=float), np.arange(k + 1)
    assert pmf.shape == (k + 1,)
    assert math.isclose(pmf.sum(), 1)
    assert np.all(pmf >= -1e-15)
    mean = float(law.mean(k))
    assert math.isclose(mean, sum(curve[1:]), abs_tol=1e-12), "the mean is the sum of S"
    assert math.isclose(mean, pmf @ lengths, abs_tol=1e-12), "the mean is the mean of the pmf"
    assert math.isclose(law.block_efficiency(k), 1 + mean)
    assert math.isclose(law.var(k), pmf @ lengths**2 - mean**2, abs_tol=1e-9), "the variance is that of the pmf"
    weights = np.asarray(law.drafted(k), dtype=float)
    assert weights.shape == (k + 1,)
    assert math.isclose(weights.sum(), 1)
    assert k == 0 or curve[1] <= 1 - weights[0] + 1e-12, "nothing is accepted where nothing was drafted"
    sample = law.sample(k, np.random.default_rng(7), draws)
    assert sample.shape == (draws,)
    seen = np.bincount(sample, minlength=k + 1) / draws
    assert np.all(np.abs(seen - pmf) <= 5 * np.sqrt(pmf * (1 - pmf) / draws) + 1e-12), "simulation has the pmf"


@pytest.mark.parametrize("name", LAWS)
def test_every_route_to_a_number_agrees(name):
    check_acceptance(*LAWS[name])


class StartsBelowOne(Geometric):
    def survival(self, i):
        return self.alpha ** (i + 1)


class Rises(Positional):
    def survival(self, i):
        return 1 - np.asarray([0, 0.5, 0.2, 0.6])[i]


class CountsTheBonus(Geometric):
    def mean(self, k):
        return super().mean(k) + 1


class MultipliesSurvivalTwice(Positional):
    def mean(self, k):
        return sum(math.prod(float(self.survival(j)) for j in range(1, i + 1)) for i in range(1, k + 1))


class ForgetsTheCensoring(Geometric):
    def pmf(self, k):
        return np.array([self.alpha**i * (1 - self.alpha) for i in range(k + 1)])


class SamplesUniformly(Geometric):
    def sample(self, k, rng, size=None):
        return rng.integers(0, k + 1, size)


class SamplesOneMore(Geometric):
    def sample(self, k, rng, size=None):
        return np.minimum(super().sample(k, rng, size) + (rng.random(size) < 0.05), k)


class DraftsNothing(Geometric):
    def drafted(self, k):
        return np.eye(k + 1)[0]


@pytest.mark.parametrize(
    "law",
    [
        StartsBelowOne(0.7),
        Rises((0.5, 0.5, 0.5)),
        CountsTheBonus(0.7),
        MultipliesSurvivalTwice((0.7, 0.6, 0.5)),
        ForgetsTheCensoring(0.7),
        SamplesUniformly(0.7),
        SamplesOneMore(0.7),
        DraftsNothing(0.7),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_planted_wrong_law_is_caught(law):
    with pytest.raises(AssertionError):
        check_acceptance(law, 3)


class Halving(Law):
    """Somebody else's law: one method."""

    def survival(self, i):
        return 0.5 ** np.asarray(i)


def test_a_law_of_ones_own_needs_survival_alone():
    check_acceptance(Halving(), 6)
    assert math.isclose(Halving().block_efficiency(6), Geometric(0.5).block_efficiency(6))
    assert Halving().block_efficiency(np.array([0, 1, 2])).tolist() == [1, 1.5, 1.75]


@pytest.mark.parametrize(
    ("alpha", "k", "tau", "variance"),
    [
        (0.8, 5, 3.689280, 3.864093),
        (0.9, 10, 6.861894, 14.252066),
        (0.7, 5, 2.941170, 3.310189),
        (0.35, 4, 1.530381, 0.755614),
        (0.75, 7, 3.599548, 5.832864),
        (0.6, 4, 2.305600, 1.962609),
    ],
)
def test_tokens_per_round_and_their_variance_have_the_known_values(alpha, k, tau, variance):
    assert Geometric(alpha).block_efficiency(k) == pytest.approx(tau, abs=1e-6)
    assert Geometric(alpha).var(k) == pytest.approx(variance, abs=1e-6)


def test_the_pmf_piles_the_censored_rounds_up_at_k():
    assert Geometric(0.8).pmf(5) == pytest.approx([0.2, 0.16, 0.128, 0.1024, 0.08192, 0.32768], abs=1e-12)


@given(FRACTIONS, st.integers(0, 12))
def test_fractions_give_the_exact_sum_of_powers(alpha, k):
    law, powers = Geometric(alpha), [alpha**i for i in range(k + 1)]
    assert law.block_efficiency(k) == sum(powers)
    assert alpha == 1 or sum(powers) == (1 - alpha ** (k + 1)) / (1 - alpha)
    second = sum((2 * i + 1) * power for i, power in enumerate(powers))
    assert law.var(k) == second - sum(powers) ** 2
    assert sum(law.pmf(k)) == 1
    assert isinstance(law.block_efficiency(k), Fraction | int)


@given(st.floats(0, 1), st.integers(0, 60))
def test_floats_are_the_rounded_fractions(alpha, k):
    exact = sum(Fraction(alpha) ** i for i in range(k + 1))
    assert Geometric(alpha).block_efficiency(k) == pytest.approx(float(exact), rel=1e-13)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12, 2**-53])
@pytest.mark.parametrize("k", [1, 7, 64, 1000])
def test_alpha_next_to_one_keeps_twelve_digits(distance, k):
    exact = sum(Fraction(1 - distance) ** i for i in range(k + 1))
    assert Geometric(1 - distance).block_efficiency(k) == pytest.approx(float(exact), rel=1e-12)


@given(st.integers(0, 1000))
def test_alpha_at_its_ends(k):
    assert Geometric(1.0).block_efficiency(k) == k + 1
    assert Geometric(0.0).block_efficiency(k) == 1


@given(st.floats(0, 1))
def test_nothing_drafted_is_one_token_a_round(alpha):
    assert Geometric(alpha).block_efficiency(0) == 1
    assert HitMiss(0.5, alpha).block_efficiency(0) == 1


def test_very_long_drafts_reach_the_limit():
    assert Geometric(0.7).block_efficiency(10**9) == pytest.approx(1 / 0.3, rel=1e-14)


def test_a_grid_equals_its_cells():
    alpha, k = np.array([[0.0], [0.35], [0.999999], [1.0]]), np.array([0, 1, 5])
    cells = [[Geometric(a).block_efficiency(int(n)) for n in k] for a in alpha[:, 0]]
    assert np.allclose(Geometric(alpha).block_efficiency(k), cells, rtol=1e-14)
    cells = [[HitMiss(0.4, a).block_efficiency(int(n)) for n in k] for a in alpha[:, 0]]
    assert np.allclose(HitMiss(np.array(0.4), alpha).block_efficiency(k), cells, rtol=1e-14)
    law, column = Geometric(alpha[:, 0]), 1
    assert np.allclose(law.pmf(4)[column], Geometric(0.35).pmf(4))
    assert law.var(4)[column] == pytest.approx(Geometric(0.35).var(4))
    assert HitMiss(np.array([0.0, 0.4]), 0.8).drafted(2).tolist() == [[1, 0, 0], [0.6, 0, 0.4]]


def test_a_bad_cell_of_a_grid_is_nan_in_everything_and_leaves_its_neighbour_alone():
    law, neighbour = Geometric([0.5, 1.5]), Geometric(0.5)
    for method in ("block_efficiency", "survival", "var", "mean"):
        for k in (0, 3):
            good, bad = getattr(law, method)(k)
            assert good == getattr(neighbour, method)(k)
            assert math.isnan(bad)
    assert np.isnan(law.pmf(2)).tolist() == [[False] * 3, [True] * 3]
    assert np.array_equal(neighbour.block_efficiency([2, -1]), [1.75, np.nan], equal_nan=True)
    assert np.array_equal(Positional((0.5, 0.5)).block_efficiency([2, -1]), [1.75, np.nan], equal_nan=True)


def test_grids_of_fractions_stay_exact():
    law = Geometric(np.array([Fraction(1, 2), Fraction(3, 2)], dtype=object))
    good, bad = law.block_efficiency(3)
    assert good == Fraction(15, 8)
    assert math.isnan(bad)
    assert Geometric(Fraction(1, 2)).survival(np.array([0, 3])).tolist() == [1, Fraction(1, 8)]
    assert HitMiss(Fraction(1, 2), Fraction(1, 2)).block_efficiency(2) == Fraction(11, 8)


@pytest.mark.parametrize(
    "make", [Geometric, lambda a: HitMiss(0.5, a), lambda h: HitMiss(h, 0.5), lambda a: Positional((a,))]
)
@pytest.mark.parametrize("bad", [-0.01, 1.01, 35, math.nan])
def test_a_probability_out_of_range_is_refused_with_its_domain(make, bad):
    with pytest.raises(ValueError, match=r"(alpha|h|alphas\[0\]): found .*, expected a number in \[0, 1\]"):
        make(bad)


@pytest.mark.parametrize("k", [-1, 1.5])
def test_a_depth_that_counts_no_tokens_is_refused(k):
    for method in ("survival", "pmf", "mean", "var", "block_efficiency", "drafted", "conditional"):
        with pytest.raises(ValueError, match=r"^k: found"):
            getattr(Geometric(0.5), method)(k)


def test_five_numbers_that_all_go_by_acceptance_rate_differ():
    law = Geometric(0.7)
    assert law.conditional(5) == 0.7
    assert [law.survival(i) for i in range(1, 6)] == pytest.approx([0.7, 0.49, 0.343, 0.2401, 0.16807], abs=1e-12)
    assert law.mean(5) / 5 == pytest.approx(0.388234, abs=1e-6)
    assert law.block_efficiency(5) == pytest.approx(2.941170, abs=1e-6)
    assert law.mean(5) == pytest.approx(1.941170, abs=1e-6)


# Public runbook "Qwen3.8-27B-NVFP4 + MTP on DGX Spark, vLLM 0.27.1": accepted per position / drafts, per thousand.
@pytest.mark.parametrize(
    ("survivors", "tau", "accepted_fraction", "reported"),
    [
        ((872, 767, 672), 3.311, 0.7703, (3.31, 77.0)),
        ((624, 412, 260, 186, 113, 73, 56), 2.724, 0.2463, (2.73, 24.7)),
    ],
)
def test_real_counters_give_the_block_efficiency_their_server_logged(survivors, tau, accepted_fraction, reported):
    k = len(survivors)
    law = Empirical(Tally([[1000, *survivors[:-1]]], [survivors]))
    assert law.block_efficiency(k) == pytest.approx(tau, abs=1e-9)
    assert law.mean(k) / k == pytest.approx(accepted_fraction, abs=5e-5)
    assert law.block_efficiency(k) == pytest.approx(reported[0], abs=0.01)
    assert 100 * law.mean(k) / k == pytest.approx(reported[1], abs=0.1)
    by_position = Positional([law.conditional(i) for i in range(1, k + 1)])
    assert by_position.block_efficiency(k) == pytest.approx(tau, abs=1e-9)
    assert Positional([s / 1000 for s in survivors]).block_efficiency(k) < tau - 0.2, "survival taken as conditional"


def test_a_server_log_line_adds_up():
    """vLLM PR 16665 prints per-position rates .543, .357, .264 beside a mean acceptance length of 2.16."""
    conditionals = [0.543, 0.357 / 0.543, 0.264 / 0.357]
    assert Positional(conditionals).block_efficiency(3) == pytest.approx(2.16, abs=0.005)


# EAGLE (Li et al. 2024): n-alpha on MT-bench, conditional on what came before.
@pytest.mark.parametrize(("alphas", "tau"), [((0.79, 0.74, 0.72, 0.73), 3.1028), ((0.75, 0.69, 0.65, 0.64), 2.8192)])
def test_conditionals_by_position_give_the_chain_s_block_efficiency(alphas, tau):
    assert Positional(alphas).block_efficiency(4) == pytest.approx(tau, abs=5e-5)


def test_difficulty_drawn_afresh_at_every_position_leaves_only_its_mean():
    easy, hard, k = Fraction(95, 100), Fraction(45, 100), 5
    cases = [Positional(alphas).block_efficiency(k) for alphas in product((easy, hard), repeat=k)]
    assert sum(cases) / len(cases) == Geometric((easy + hard) / 2).block_efficiency(k)


def test_difficulty_kept_within_a_round_helps_by_round_and_hurts_by_token():
    easy, hard = (Geometric(alpha).block_efficiency(5) for alpha in (0.95, 0.45))
    assert (easy + hard) / 2 == pytest.approx(3.550623, abs=1e-6)
    assert 2 / (1 / easy + 1 / hard) == pytest.approx(2.690523, abs=1e-6)


@given(st.floats(0, 1), st.integers(1, 64))
def test_block_efficiency_and_alpha_roundtrip(alpha, k):
    tau = Geometric(alpha).block_efficiency(k)
    back = Geometric.from_block_efficiency(tau, k)
    assert back.alpha == pytest.approx(alpha, abs=1e-12)
    assert back.block_efficiency(k) == pytest.approx(tau, rel=1e-14)


def test_only_block_efficiencies_between_one_and_k_plus_one_can_be_inverted():
    for tau in (0.99, 5.01, math.nan):
        with pytest.raises(ValueError, match=r"tau: found .*, expected a number in \[1, 5\]"):
            Geometric.from_block_efficiency(tau, 4)
    grid = Geometric.from_block_efficiency(np.array([0.5, 1.0, 3.3616, 5.0, 6.0]), 4).alpha
    assert np.allclose(grid, [np.nan, 0, 0.8, 1, np.nan], equal_nan=True)
    assert math.isnan(invert_mean(0.0, 0))


# RedHatAI/Llama4-Maverick-17B-128E-Instruct-speculator.eagle3, model card: acceptance length on HumanEval at k = 1..7.
MAVERICK = (1.83, 2.45, 2.94, 3.26, 3.47, 3.57, 3.62)


def test_the_maverick_curve_gives_its_survival_and_the_alpha_fitted_at_each_k():
    survival = np.diff((1, *MAVERICK))
    assert survival == pytest.approx([0.83, 0.62, 0.49, 0.32, 0.21, 0.10, 0.05], abs=1e-9)
    conditionals = [Positional(survival / np.array([1, *survival[:-1]])).conditional(i) for i in range(1, 8)]
    assert conditionals == pytest.approx([0.83, 0.747, 0.790, 0.653, 0.656, 0.476, 0.5], abs=5e-4)
    fitted = Geometric.from_block_efficiency(np.array(MAVERICK), np.arange(1, 8)).alpha
    assert fitted == pytest.approx([0.8300, 0.8038, 0.7973, 0.7843, 0.7736, 0.7615, 0.7520], abs=5e-5)
    fraction = (np.array(MAVERICK) - 1) / np.arange(1, 8)
    assert fraction == pytest.approx([0.83, 0.725, 0.6467, 0.565, 0.494, 0.4283, 0.3743], abs=5e-5)


def test_an_alpha_fitted_at_a_short_draft_overstates_a_long_one():
    assert Geometric(0.83).block_efficiency(7) == pytest.approx(4.557, abs=5e-4)
    assert Geometric(0.83).block_efficiency(7) > 1.25 * MAVERICK[-1]


# P-EAGLE (vLLM blog, 2026-03-13): acceptance lengths at K = 3 and K = 7; P-EAGLE's three tasks, then EAGLE-3's.
@pytest.mark.parametrize(
    ("at_3", "at_7", "predicted", "error"),
    [
        (3.02, 3.94, 4.352, 10.4),
        (2.87, 3.38, 3.941, 16.6),
        (2.87, 3.70, 3.941, 6.5),
        (2.65, 3.03, 3.401, 12.2),
        (2.24, 2.59, 2.569, -0.8),
        (2.70, 3.27, 3.517, 7.6),
    ],
)
def test_an_iid_extrapolation_from_k_3_to_k_7_misses_by_up_to_17_per_cent(at_3, at_7, predicted, error):
    tau = Geometric.from_block_efficiency(at_3, 3).block_efficiency(7)
    assert tau == pytest.approx(predicted, abs=5e-4)
    assert 100 * (tau / at_7 - 1) == pytest.approx(error, abs=0.06)


@pytest.mark.parametrize("tau", [2.8324, 2.9004])
def test_chinchilla_s_loops_imply_an_alpha_of_071_to_072(tau):
    """Chen et al. 2023, Table 1, K = 4: tokens per loop implied by the times, and by the printed ratio."""
    assert 0.705 < Geometric.from_block_efficiency(tau, 4).alpha < 0.730


# Gloeckle et al. 2024: tokens per step of 2, 3 and 4 prediction heads; k = heads - 1 drafts.
@pytest.mark.parametrize(
    ("taus", "alphas"), [((1.94, 2.78, 3.50), (0.940, 0.925, 0.912)), ((1.88, 2.57, 3.12), (0.880, 0.849, 0.836))]
)
def test_multi_token_heads_imply_their_alpha(taus, alphas):
    assert Geometric.from_block_efficiency(np.array(taus), np.arange(1, 4)).alpha == pytest.approx(alphas, abs=5e-4)


# Model cards nebius/EAGLE3-Llama-3.3-70B: acceptance length at K = 7 on MT-bench, HumanEval, GSM8K, two heads.
@pytest.mark.parametrize(
    ("taus", "alphas"), [((2.88, 3.62, 3.29), (0.666, 0.752, 0.717)), ((3.89, 5.08, 5.01), (0.777, 0.865, 0.860))]
)
def test_a_better_trained_head_gains_eleven_to_fourteen_points_of_alpha(taus, alphas):
    assert Geometric.from_block_efficiency(np.array(taus), 7).alpha == pytest.approx(alphas, abs=5e-4)


def test_a_position_never_given_is_not_invented():
    law = Positional((0.9, 0.8))
    with pytest.raises(NotIdentifiable, match="position 3 cannot be identified: a test of draft 3") as raised:
        law.survival(3)
    assert raised.value.missing == "a test of draft 3"
    for method in ("block_efficiency", "pmf", "mean", "var"):
        with pytest.raises(NotIdentifiable):
            getattr(law, method)(3)


def test_a_hit_or_miss_law_is_the_geometric_one_thinned():
    law = HitMiss(0.4, 0.8)
    assert law.block_efficiency(5) == pytest.approx(2.075712, abs=1e-6)
    assert [law.survival(i) for i in range(3)] == pytest.approx([1, 0.32, 0.256])
    assert law.survival(np.arange(3)) == pytest.approx([1, 0.32, 0.256])
    assert law.conditional(1) == pytest.approx(0.32)
    assert law.conditional(2) == pytest.approx(0.8)
    assert law.drafted(5) == pytest.approx([0.6, 0, 0, 0, 0, 0.4])
    assert HitMiss(1.0, 0.8).block_efficiency(5) == Geometric(0.8).block_efficiency(5)


def test_every_other_law_drafts_what_it_is_asked_for():
    assert Geometric(0.8).drafted(3).tolist() == [0, 0, 0, 1]
    assert Geometric(0.8).drafted(0).tolist() == [1]


def test_the_empirical_law_multiplies_the_share_of_hits_with_the_conditionals():
    law = Empirical(COUNTED)
    assert law.hit == 90 / 105
    assert law.survival(2) == pytest.approx(90 / 105 * 65 / 90 * 29 / 50)
    assert law.drafted(3) == pytest.approx([15 / 105, 0, 0, 90 / 105])


def draw_rounds_with_varying_drafts(alpha, rounds, rng):
    """Drafted lengths 0..6 that know nothing of the acceptance, accepted lengths of a geometric law."""
    drafted = rng.integers(0, 7, rounds)
    return drafted, np.minimum(rng.geometric(1 - alpha, rounds) - 1, drafted)


def test_the_empirical_law_is_not_fooled_by_drafts_that_ended_early():
    drafted, accepted = draw_rounds_with_varying_drafts(0.8, 40_000, np.random.default_rng(3))
    positions = np.arange(6)
    at_risk = (np.minimum(accepted + 1, drafted)[:, None] > positions).sum(axis=0)
    law = Empirical(Tally([at_risk], [(accepted[:, None] > positions).sum(axis=0)], rounds=[40_000]))
    expected = [law.hit * 0.8**i for i in range(1, 7)]
    assert [law.survival(i) for i in range(1, 7)] == pytest.approx(expected, abs=0.015)
    uncensored = [(accepted >= i).mean() for i in range(1, 7)]
    assert uncensored[4] < expected[4] - 0.1, "negative control: counted as rejected, short drafts sink the curve"


def test_the_empirical_law_ends_where_nothing_was_at_risk():
    law = Empirical(Tally([[10, 4, 0, 0]], [[4, 2, 0, 0]]))
    assert law.survival(2) == pytest.approx(0.2)
    with pytest.raises(NotIdentifiable, match="a test of draft 3 missing"):
        law.survival(3)
    with pytest.raises(NotIdentifiable, match="position 3"):
        law.block_efficiency(5)


def test_a_curve_that_reached_zero_stays_there_within_what_was_drafted():
    law = Empirical(Tally([[10, 4, 0]], [[4, 0, 0]]))
    assert [law.survival(i) for i in range(4)] == [1, 0.4, 0, 0]
    assert math.isnan(law.conditional(3))
    with pytest.raises(NotIdentifiable):
        law.survival(4)


def test_no_rounds_and_no_hits_identify_nothing():
    with pytest.raises(NotIdentifiable, match="rounds missing"):
        Empirical(Tally([[0]], [[0]])).survival(1)
    with pytest.raises(NotIdentifiable, match="a test of draft 1 missing"):
        Empirical(Tally([[0]], [[0]], rounds=[8])).survival(1)


class Zeros:
    """A generator whose every uniform is exactly 0, which random() may give."""

    def random(self, size):
        return np.zeros(size)


def test_a_uniform_of_zero_never_accepts_what_cannot_be():
    assert Geometric(0.0).sample(3, Zeros(), 2).tolist() == [0, 0]
    assert Positional((0.5, 0.0, 0.5)).sample(3, Zeros(), 1).tolist() == [1]


def test_samples_take_any_size():
    rng = np.random.default_rng(0)
    assert Geometric(0.5).sample(4, rng, (2, 3)).shape == (2, 3)
    assert np.ndim(Geometric(0.5).sample(4, rng)) == 0
