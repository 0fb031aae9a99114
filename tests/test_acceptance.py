"""Laws of the accepted length: every route to a number agrees, and the numbers are the published ones."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.acceptance import (
    Curve,
    Empirical,
    Geometric,
    HitMiss,
    NotIdentifiable,
    Padded,
    Positional,
    Ranked,
    Tally,
    invert_mean,
)
from specmath.draft import Chain, Tree
from specmath.speedup import speedup

COUNTED = Tally([[50, 30, 10], [40, 20, 9]], [[35, 20, 4], [30, 9, 9]], rounds=[60, 45])
FRACTIONS = st.integers(1, 12).flatmap(lambda d: st.integers(0, d).map(lambda n: Fraction(n, d)))


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
    alpha = Fraction(1 - distance)
    exact = (1 - alpha ** (k + 1)) / (1 - alpha)
    assert Geometric(1 - distance).block_efficiency(k) == pytest.approx(float(exact), rel=1e-12)


def exact_moments(curve):
    """The pmf of a curve of Fractions, and its variance."""
    pmf = [before - after for before, after in zip(curve, [*curve[1:], 0], strict=True)]
    mean = sum(i * mass for i, mass in enumerate(pmf))
    return pmf, sum(mass * (i - mean) ** 2 for i, mass in enumerate(pmf))


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.35, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1 - 2**-53, 1.0])
@pytest.mark.parametrize("k", [0, 1, 5, 64])
def test_the_pmf_and_the_variance_keep_twelve_digits_next_to_one_too(alpha, k):
    powers = [Fraction(alpha) ** i for i in range(k + 1)]
    hits = [1, *(Fraction(1 - 1e-9) * power for power in powers[1:])]
    for law, curve in (
        (Geometric(alpha), powers),
        (Geometric(Fraction(alpha)), powers),
        (Positional([alpha] * k), powers),
        (Ranked((alpha,)), powers),
        (HitMiss(1 - 1e-9, alpha), hits),
    ):
        pmf, variance = exact_moments(curve)
        assert np.asarray(law.pmf(k), dtype=float) == pytest.approx(np.array(pmf, dtype=float), rel=1e-12, abs=0)
        assert float(law.var(k)) == pytest.approx(float(variance), rel=1e-12, abs=0)
    assert Geometric(Fraction(alpha)).pmf(k).tolist() == exact_moments(powers)[0]


def test_the_variance_a_billionth_below_one():
    assert Geometric(1 - 1e-9).var(5) == pytest.approx(5.499999816949378e-08, rel=1e-12)


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


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_grids_of_fractions_stay_exact():
    law = Geometric(np.array([Fraction(1, 2), Fraction(3, 2)], dtype=object))
    good, bad = law.block_efficiency(3)
    assert good == Fraction(15, 8)
    assert math.isnan(bad)
    assert law.pmf(2)[0].tolist() == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)]
    assert HitMiss(Fraction(1, 2), law.alpha).pmf(1)[0].tolist() == [Fraction(3, 4), Fraction(1, 4)]
    assert law.var(1)[0] == Fraction(1, 4)
    assert Geometric(Fraction(1, 2)).survival(np.array([0, 3])).tolist() == [1, Fraction(1, 8)]
    assert HitMiss(Fraction(1, 2), Fraction(1, 2)).block_efficiency(2) == Fraction(11, 8)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_exact_alpha_goes_on_beside_a_bad_depth():
    half = Geometric(Fraction(1, 2)).mean([1, 2, -1])
    assert half[:2].tolist() == [Fraction(1, 2), Fraction(3, 4)]
    assert math.isnan(half[2])
    for law in (HitMiss(1, 1), Geometric(1)):
        found = law.block_efficiency([0, 1, -1])
        assert found[:2].tolist() == [1, 2]
        assert math.isnan(found[2])
    found = speedup(Fraction(4, 5), [0, 1, 4, -1], 0.05)
    assert [float(value) for value in found[:3]] == pytest.approx([1, 1.8 / 1.05, 3.3616 / 1.2])
    assert math.isnan(found[3])
    for alpha in (0, 1):
        assert float(speedup(alpha, [1, -1], 0.1)[0]) == pytest.approx((1 + alpha) / 1.1)


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


def test_rounds_without_drafts_say_nothing_of_alpha():
    with pytest.raises(
        NotIdentifiable, match=r"^alpha cannot be identified: drafts missing; at k = 0 every alpha has "
    ):
        Geometric.from_block_efficiency(1, 0)
    with pytest.raises(ValueError, match=r"tau: found 1.5, expected a number in \[1, 1\]"):
        Geometric.from_block_efficiency(1.5, 0)
    grid = Geometric.from_block_efficiency([1.0, 1.5], [0, 1]).alpha
    assert np.allclose(grid, [np.nan, 0.5], equal_nan=True)


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


MEDUSA = ((0.6, 0.12, 0.06), (0.4, 0.1, 0.06), (0.28, 0.08, 0.05))


def test_medusa_s_cartesian_tree_multiplies_what_each_level_catches():
    law, tree = Ranked(MEDUSA), Tree.cartesian((3, 2, 1))
    by_level = [0.78, 0.78 * 0.5, 0.78 * 0.5 * 0.28]
    assert tree.size == 15
    assert law.on(tree).curve(3) == pytest.approx([1, *by_level])
    assert law.on(tree).block_efficiency(3) == pytest.approx(2.279200, abs=1e-9)
    assert law.on(Tree.cartesian((1, 1, 1))).block_efficiency(3) == pytest.approx(1.907200, abs=1e-9)
    assert law.block_efficiency(3) == pytest.approx(1.907200, abs=1e-9)


def test_a_tree_is_scored_by_the_products_along_its_paths():
    """Fractions throughout: 2/3 and 1/4 for a first and a second child."""
    first, second = Fraction(2, 3), Fraction(1, 4)
    law, tree = Ranked((first, second)), Tree((-1, 0, 0, 1, 2, 2))
    levels = [first + second, first * first + second * first + second * second]
    assert law.on(tree).survivals == tuple(levels)
    assert law.on(tree).block_efficiency(2) == 1 + sum(levels)
    assert law.on(Tree((-1, 0), (0, 1))).survival(1) == second, "an only child may be a second guess"
    assert law.block_efficiency(3) == Geometric(first).block_efficiency(3)
    assert law.on(Chain(3)) is law
    assert law.means(2) == [0, first, first + first**2]
    assert law.curve(2).tolist() == [1, first, first**2]


def test_by_depth_a_chain_goes_along_the_first_column():
    law = Ranked(MEDUSA)
    assert [law.survival(i) for i in range(4)] == pytest.approx([1, 0.6, 0.24, 0.0672])
    assert law.conditional(2) == pytest.approx(0.4)
    with pytest.raises(NotIdentifiable, match="a test of draft 4"):
        law.survival(4)


def test_certain_siblings_do_not_lift_survival_above_one():
    law = Ranked((0.7, 0.1, 0.1, 0.1))
    assert sum((0.7, 0.1, 0.1, 0.1)) <= 1
    assert law.on(Tree.cartesian((4, 4, 4))).block_efficiency(3) == pytest.approx(4, abs=1e-12)
    assert max(law.on(Tree.cartesian((4, 4, 4))).survivals) <= 1


@pytest.mark.parametrize(
    ("acceptances", "message"),
    [
        ((0.6, 0.5), r"acceptances: found 2 that sum to 1.1, expected one or more that sum to at most 1"),
        ((0.6, 1.5), r"acceptances\[1\]: found 1.5, expected a number in \[0, 1\]"),
        (((0.6, 0.3), (0.6, 0.5)), r"acceptances\[1\]: found 2 that sum to 1.1"),
        (((0.6, 0.3), (-0.1,)), r"acceptances\[1\]\[0\]: found -0.1"),
        ((), "acceptances: found 0 that sum to 0, expected one or more"),
        (((0.6,), ()), r"acceptances\[1\]: found 0 that sum to 0"),
    ],
)
def test_siblings_that_cannot_exclude_one_another_are_refused(acceptances, message):
    with pytest.raises(ValueError, match=message):
        Ranked(acceptances)


def test_a_rank_or_a_depth_never_given_is_not_invented():
    with pytest.raises(NotIdentifiable, match="on this tree cannot be identified") as raised:
        Ranked((0.6, 0.2)).on(Tree.cartesian((3,)))
    assert raised.value.missing == "acceptance of rank 3"
    with pytest.raises(NotIdentifiable, match="position 2 cannot be identified: a test of draft 2 missing"):
        Ranked(((0.6, 0.2),)).on(Tree((-1, 0, 1)))


@pytest.mark.parametrize(
    ("alpha", "k", "batch", "padded", "ragged"),
    [(0.8, 5, 5, 1.485546, 3.689280), (0.7, 4, 8, 1.061174, 2.773100), (0.9, 4, 32, 1.035558, 4.095100)],
)
def test_a_padded_batch_keeps_the_least_of_its_accepted_lengths(alpha, k, batch, padded, ragged):
    law = Padded(Geometric(alpha), batch)
    assert law.block_efficiency(k) == pytest.approx(padded, abs=1e-6)
    assert Geometric(alpha**batch).block_efficiency(k) == pytest.approx(padded, abs=1e-6)
    assert Geometric(alpha).block_efficiency(k) == pytest.approx(ragged, abs=1e-6)


def test_a_batch_of_unequal_sequences_multiplies_their_survival():
    law = Padded((Geometric(Fraction(9, 10)), Geometric(Fraction(1, 2))), 2)
    assert law.survival(1) == Fraction(81, 400)
    assert law.block_efficiency(4) == Geometric(Fraction(81, 400)).block_efficiency(4)
    assert Padded([Geometric(0.9)]).block_efficiency(3) == pytest.approx(3.439, abs=1e-12)
    law = Padded(Ranked((0.6, 0.2)), 2).on(Tree((-1, 0, 0)))
    assert law.block_efficiency(1) == pytest.approx(1.64)


def test_a_padded_batch_is_as_long_as_its_longest_draft():
    half = HitMiss(Fraction(1, 2), Fraction(4, 5))
    assert Padded(half, 3).drafted(2).tolist() == [Fraction(1, 8), 0, Fraction(7, 8)]
    assert Padded((half, Geometric(0.5))).drafted(2).tolist() == [0, 0, 1]
    assert Padded(half, 3).survival(1) == Fraction(2, 5) ** 3


@pytest.mark.parametrize(
    ("laws", "batch", "message"),
    [
        ((), 2, "laws: found none, expected one law or more"),
        (Geometric(0.5), 0, r"batch: found 0, expected a number in \[1, infinity\)"),
        (Geometric(0.5), 1.5, "batch: found 1.5, expected an integer >= 1"),
    ],
)
def test_a_batch_of_nothing_is_refused(laws, batch, message):
    with pytest.raises(ValueError, match=message):
        Padded(laws, batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curve(0.7), "survivals: found 0.7, expected one per position, such as (0.7,)"),
        (lambda: Positional(0.7), "alphas: found 0.7, expected one per position, such as (0.7,)"),
        (lambda: Ranked(0.6), "acceptances: found 0.6, expected one per rank, such as (0.7,)"),
        (lambda: Ranked(None), "acceptances: found None, expected one per rank, such as (0.7,)"),
    ],
)
def test_a_number_where_one_per_position_or_rank_is_due_is_refused_with_an_example(make, message):
    with pytest.raises(ValueError) as refusal:
        make()
    assert str(refusal.value) == message
