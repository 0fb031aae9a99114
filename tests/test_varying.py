"""Acceptance that varies: which mean is taken decides whether it helps, and where rounds start decides by how much."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import hyp2f1

from specmath.acceptance import BetaGeometric, Geometric, Markov
from specmath.draft import Chain
from specmath.varying import beta_nodes, stationary

THIRDS = st.integers(1, 30).map(lambda n: Fraction(n, 3))


# Beta(a, b), k: by round, at the mean alpha, by token; exact values.
MEANS = [
    (7, 3, 5, 3.115385, 2.941170, 2.861093),
    (1.4, 0.6, 5, 3.531872, 2.941170, 2.698052),
    (2, 2, 4, 2.142857, 1.937500, 1.872008),
    (14, 6, 7, 3.305041, 3.141173, 3.092966),
]


@pytest.mark.parametrize(("a", "b", "k", "by_round", "at_the_mean", "by_token"), MEANS)
def test_prompts_that_differ_help_by_round_and_hurt_by_token(a, b, k, by_round, at_the_mean, by_token):
    law = BetaGeometric(a, b)
    assert law.block_efficiency(k) == pytest.approx(by_round, abs=1e-6)
    assert Geometric(a / (a + b)).block_efficiency(k) == pytest.approx(at_the_mean, abs=1e-6)
    assert law.block_efficiency_by_token(k) == pytest.approx(by_token, abs=1e-6)
    assert by_token < at_the_mean < by_round


@given(THIRDS, THIRDS, st.integers(0, 12))
def test_the_curve_is_that_of_the_moments_of_beta_exactly(a, b, k):
    law = BetaGeometric(a, b)
    moments = [math.prod((a + s) / (a + b + s) for s in range(i)) for i in range(k + 1)]
    assert law.curve(k).tolist() == moments
    assert law.survival(k) == moments[k]
    assert law.block_efficiency(k) == sum(moments)
    assert b == 1 or sum(moments) == ((a + k) * moments[k] - (a + b - 1)) / (1 - b), "the sum telescopes"
    assert law.means(k) == [sum(moments[1 : i + 1]) for i in range(k + 1)]
    assert all(law.conditional(i) == moments[i] / moments[i - 1] for i in range(1, k + 1))


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.05), (1e-3, 2), (3, 0.2), (1, 1), (7, 3), (1000, 400), (1e5, 3e4)])
def test_by_token_one_draft_is_the_hypergeometric_function(a, b):
    """k = 1: E[1 / (1 + alpha)] = 2F1(1, a; a + b; -1)."""
    assert BetaGeometric(a, b).block_efficiency_by_token(1) == pytest.approx(1 / hyp2f1(1, a, a + b, -1), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.05), (0.5, 0.5), (1.4, 0.6), (3, 0.2), (7, 3), (40, 2)])
@pytest.mark.parametrize("k", [2, 5, 64])
def test_by_token_equals_adaptive_quadrature(a, b, k):
    def integral(function):
        return quad(function, 0, 1, weight="alg", wvar=(a - 1, b - 1), epsabs=1e-13, epsrel=1e-13, limit=500)[0]

    expected = integral(lambda x: 1.0) / integral(lambda x: 1 / sum(x**i for i in range(k + 1)))
    assert BetaGeometric(a, b).block_efficiency_by_token(k) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("a", "b"), [(1e-6, 1e-6), (1e-6, 1), (1, 1e-6), (0.05, 20), (7, 3), (1e6, 1), (1e6, 1e6)])
def test_the_nodes_of_a_beta_law_have_its_moments(a, b):
    alpha, weight = beta_nodes(a, b)
    assert weight.sum() == pytest.approx(1, rel=1e-13)
    assert weight @ alpha == pytest.approx(a / (a + b), rel=1e-12)
    assert weight @ alpha**2 == pytest.approx(a / (a + b) * (a + 1) / (a + b + 1), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1e8, 1e8), (3e9, 2e8), (1e10, 3e10)])
def test_the_nodes_close_in_on_a_law_that_is_nearly_one_alpha(a, b):
    alpha, weight = beta_nodes(a, b)
    mean = a / (a + b)
    assert weight @ alpha == pytest.approx(mean, rel=1e-12)
    assert weight @ (alpha - mean) ** 2 == pytest.approx(mean * (1 - mean) / (a + b + 1), rel=1e-4)
    assert np.sum(weight > weight.max() / 100) > 100, "nodes where the mass is"


def test_a_coarse_grid_would_miss_the_mean_by_token():
    """Negative control: midpoints of a hundred bins, where the density has no bound at 1."""
    alpha = (np.arange(100) + 0.5) / 100
    weight = alpha**0.4 * (1 - alpha) ** -0.4
    coarse = weight.sum() / (weight / Geometric(alpha).block_efficiency(5)).sum()
    assert abs(coarse - BetaGeometric(1.4, 0.6).block_efficiency_by_token(5)) > 4e-4


def test_prompts_that_hardly_differ_are_one_prompt_and_prompts_that_differ_most_are_two():
    alike, apart = BetaGeometric(7e7, 3e7), BetaGeometric(7e-7, 3e-7)
    for tau in (alike.block_efficiency(5), alike.block_efficiency_by_token(5)):
        assert tau == pytest.approx(2.941170, abs=1e-6)
    assert apart.block_efficiency(5) == pytest.approx(0.7 * 6 + 0.3 * 1, rel=1e-5)
    assert apart.block_efficiency_by_token(5) == pytest.approx(1 / (0.7 / 6 + 0.3 / 1), rel=1e-5)


def test_a_grid_of_prompts_equals_its_cells_and_a_bad_cell_is_nan():
    a, b, k = np.array([[7.0], [2.0], [0.0]]), np.array([3.0, -1.0]), 5
    law, good = BetaGeometric(a, b), [BetaGeometric(7.0, 3.0), BetaGeometric(2.0, 3.0)]
    for method in ("block_efficiency", "block_efficiency_by_token", "survival", "mean", "conditional"):
        grid = getattr(law, method)(k)
        assert grid[:2, 0] == pytest.approx([getattr(cell, method)(k) for cell in good]), method
        assert np.isnan(grid[2]).all(), method
        assert np.isnan(grid[:, 1]).all(), method
    assert np.isnan(BetaGeometric([0.0, 2.0], 2.0).mean(0)).tolist() == [True, False]
    assert law.means(2)[2][:2, 0] == pytest.approx([cell.mean(2) for cell in good])
    assert good[0].block_efficiency_by_token([0, 1, 5]) == pytest.approx(
        [good[0].block_efficiency_by_token(n) for n in (0, 1, 5)]
    )
    assert good[0].survival([0, 1, 5]).tolist() == [good[0].survival(n) for n in (0, 1, 5)]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (0, 1, "a: found 0, expected a number above 0"),
        (1, 0.0, "b: found 0, expected a number above 0"),
        (-1, 1, r"a: found -1, expected a number in \[0, infinity\)"),
        (1, math.inf, "b: found inf"),
    ],
)
def test_parameters_of_no_beta_law_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        BetaGeometric(a, b)


def test_prompts_are_drawn_from_the_beta_law():
    alphas = BetaGeometric(Fraction(7), Fraction(3)).alphas(np.random.default_rng(0), 200_000)
    assert alphas.mean() == pytest.approx(0.7, abs=0.002)
    assert alphas.var() == pytest.approx(0.7 * 0.3 / 11, rel=0.02)


def stretches(persistence, easy=0.95, hard=0.45):
    stay = (1 + persistence) / 2
    return Markov((easy, hard), ((stay, 1 - stay), (1 - stay, stay)))


# Persistence of the state, tokens per round at k = 5, share of starts in the easy state, and tau were they half.
PERSISTENCE = [
    (0.0, 2.941170, 0.500000, 2.941170),
    (0.5, 2.835282, 0.344698, 3.161549),
    (0.9, 2.719173, 0.265731, 3.454618),
    (0.98, 2.696155, 0.256037, 3.530578),
    (-0.5, 2.997215, 0.681401, None),
]


@pytest.mark.parametrize(("persistence", "tau", "easy", "stationary_start"), PERSISTENCE)
def test_rounds_start_in_hard_stretches(persistence, tau, easy, stationary_start):
    law = stretches(persistence)
    assert law.stationary == pytest.approx([0.5, 0.5])
    assert law.start(5)[0] == pytest.approx(easy, abs=1e-6)
    assert law.block_efficiency(5) == pytest.approx(tau, abs=1e-6)
    if stationary_start is not None:
        wrong = start_anywhere(law, 5)
        assert wrong == pytest.approx(stationary_start, abs=1e-6), "the wrong start law has the wrong known value"
        assert persistence == 0 or wrong > tau + 0.3


def start_anywhere(law, k):
    """Tokens per round were rounds to start in the stationary law: what rounds do not."""
    accepted = np.array(law.alphas)[:, None] * np.array(law.transition)
    return sum((law.stationary @ np.linalg.matrix_power(accepted, i)).sum() for i in range(k + 1))


def test_the_more_a_state_persists_the_fewer_tokens_though_later_drafts_are_accepted_more():
    laws = [stretches(persistence) for persistence in (0.0, 0.3, 0.6, 0.9, 0.99, 0.9999)]
    assert all(more.block_efficiency(5) < less.block_efficiency(5) for less, more in pairwise(laws))
    easy, hard = (Geometric(alpha).block_efficiency(5) for alpha in (0.95, 0.45))
    assert laws[-1].block_efficiency(5) == pytest.approx(2 / (1 / easy + 1 / hard), abs=1e-3), "prompts, by token"
    conditionals = laws[3].on(Chain(5)).conditional(np.arange(1, 6))
    assert all(later > earlier for earlier, later in pairwise(conditionals)), "survivorship"


@pytest.mark.parametrize("k", [0, 1, 2, 5, 9])
def test_the_start_law_reproduces_itself_round_by_round(k):
    """What a round of depth k started with pi0 leaves behind is pi0 again, position by position."""
    law = Markov((0.9, 0.6, 0.1), ((0.7, 0.2, 0.1), (0.0, 0.5, 0.5), (0.4, 0.0, 0.6)))
    transition, left, here = np.array(law.transition), np.zeros(3), law.start(k)
    for _ in range(k):
        left += (here * (1 - np.array(law.alphas))) @ transition
        here = (here * np.array(law.alphas)) @ transition
    assert left + here @ transition == pytest.approx(law.start(k), abs=1e-14)
    assert law.start(k).sum() == pytest.approx(1)


def test_fractions_give_an_exact_start_law():
    nine = Fraction(9, 10)
    law = Markov((Fraction(1), Fraction(0)), ((nine, 1 - nine), (1 - nine, nine)))
    assert law.stationary.tolist() == [Fraction(1, 2), Fraction(1, 2)]
    assert law.start(1).tolist() == [Fraction(5, 14), Fraction(9, 14)]
    assert law.block_efficiency(1) == Fraction(19, 14)
    assert law.survival(1) == Fraction(5, 14)
    mixed = Markov((Fraction(1), 0.0), law.transition)
    assert mixed.block_efficiency(1) == pytest.approx(19 / 14)
    assert type(Markov((1, 0), ((0, 1), (1, 0))).block_efficiency(2)) is Fraction


@given(st.lists(st.integers(1, 9), min_size=9, max_size=9), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_floats_are_the_rounded_fractions(counts, tenths):
    rows = [tuple(Fraction(n, sum(row)) for n in row) for row in (counts[:3], counts[3:6], counts[6:])]
    exact = Markov(tuple(Fraction(n, 10) for n in tenths), tuple(rows))
    law = Markov([float(alpha) for alpha in exact.alphas], [[float(p) for p in row] for row in rows])
    assert law.block_efficiency(3) == pytest.approx(float(exact.block_efficiency(3)), rel=1e-13)
    pi, transition = exact.stationary, np.array(rows, dtype=object)
    assert (pi @ transition).tolist() == pi.tolist()
    assert pi.sum() == 1


def test_one_state_is_the_geometric_law():
    assert Markov((Fraction(7, 10),), ((Fraction(1),),)).block_efficiency(5) == Geometric(Fraction(7, 10)).mean(5) + 1
    assert Markov(np.array([0.7]), np.array([[1.0]])).block_efficiency(5) == pytest.approx(2.941170, abs=1e-9)


@pytest.mark.parametrize(
    ("alphas", "transition", "message"),
    [
        ((0.5, 1.5), ((0.5, 0.5), (0.5, 0.5)), r"alphas\[1\]: found 1.5"),
        ((0.5, 0.5), ((0.5, 0.5), (0.5, -0.5)), r"transition\[1\]\[1\]: found -0.5"),
        ((0.5, 0.5), ((0.5, 0.5), (0.5, 0.4)), r"transition\[1\]: found a sum of 0.9, expected 1"),
        ((0.5, 0.5), ((1.0,),), r"transition: found rows of \[1\], expected 2 of 2, a state per alpha"),
        ((0.5, 0.5), ((0.5, 0.5), (1.0,)), r"found rows of \[2, 1\], expected 2 of 2"),
        ((), (), r"found rows of \[\], expected 0 of 0, a state per alpha"),
        ((0.5, 0.5), ((1, 0), (0, 1)), "transition: found state 1 never reached from 0"),
        ((0.5, 0.5), ((0.5, 0.5), (0, 1)), "found state 0 never reached from 1, expected every state reached from"),
    ],
)
def test_what_is_no_transition_matrix_is_refused_by_name(alphas, transition, message):
    with pytest.raises(ValueError, match=message):
        Markov(alphas, transition)


def test_rounds_whose_first_state_decides_for_ever_have_no_start_law():
    """All accepted, a round of one draft takes two positions: where states alternate, it never meets the other."""
    law = Markov((1, 1), ((0, 1), (1, 0)))
    assert law.block_efficiency(2) == 3
    with pytest.raises(ValueError, match="start law: found states that no round leads out of, expected one"):
        law.block_efficiency(1)


def test_states_that_no_round_starts_in_are_no_obstacle():
    law = Markov((1, 0), ((0, 1), (1, 0)))
    assert law.start(1).tolist() == [1, 0]
    assert law.start(4).tolist() == [1, 0]
    assert law.block_efficiency(4) == 2


@pytest.mark.parametrize("states", [2, 3, 7, 8, 15])
def test_the_last_state_of_a_ring_is_reached_from_the_first(states):
    ring = np.roll(np.eye(states, dtype=int), 1, axis=1)
    assert Markov([0.5] * states, ring).stationary == pytest.approx([1 / states] * states)
    with pytest.raises(ValueError, match="found state 0 never reached from 1"):
        Markov([0.5] * states, [*ring[:-1], ring[-2]])


@pytest.mark.parametrize(
    ("matrix", "law"),
    [
        (((0.0, 1.0), (1.0, 0.0)), (0.5, 0.5)),
        (((1.0, 0.0), (0.5, 0.5)), (1.0, 0.0)),
        (((0.5, 0.5), (0.0, 1.0)), (0.0, 1.0)),
        (((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)), (1 / 3, 1 / 3, 1 / 3)),
        (((0.5, 0.5, 0.0), (0.0, 0.75, 0.25), (0.0, 0.5, 0.5)), (0.0, 2 / 3, 1 / 3)),
    ],
)
def test_a_long_run_law_is_found_where_there_is_one(matrix, law):
    assert stationary(np.array(matrix)) == pytest.approx(law, abs=1e-15)
    exact = stationary(np.vectorize(Fraction, otypes=[object])(matrix))
    assert (exact @ np.array(matrix, dtype=object)).astype(float) == pytest.approx(law, abs=1e-15)


def test_a_walk_has_the_rounds_of_the_start_law_in_order():
    law, texts, rounds = stretches(0.9), 300, 900
    walked = law.walk(4, np.random.default_rng(5), texts, rounds)
    assert walked.drafted.tolist() == [4] * (texts * rounds)
    assert walked.prompt.tolist() == np.repeat(np.arange(texts), rounds).tolist()
    lengths = walked.accepted.reshape(texts, rounds)
    late = 1 + lengths[:, 100:].mean(axis=1)
    error = late.std() / math.sqrt(texts)
    assert abs(late.mean() - law.block_efficiency(4)) < 4 * error
    assert late.mean() < start_anywhere(law, 4) - 20 * error, "negative control"
    first = 1 + lengths[:, 0]
    assert abs(first.mean() - start_anywhere(law, 4)) < 4 * first.std() / math.sqrt(texts), "texts start anywhere"
    follow = np.corrcoef(lengths[:, 100:-1].ravel(), lengths[:, 101:].ravel())[0, 1]
    assert follow > 0.1, "rounds follow one another"
    shuffled = np.random.default_rng(1).permutation(lengths[:, 100:].ravel())
    assert abs(np.corrcoef(shuffled[:-1], shuffled[1:])[0, 1]) < 0.01, "negative control"


def test_a_walk_without_drafts_is_a_plain_step_a_round():
    walked = stretches(0.9).walk(0, np.random.default_rng(0), 2, 3)
    assert walked.accepted.tolist() == walked.drafted.tolist() == [0] * 6


def test_a_walk_through_certain_states_is_known_by_heart():
    """States alternate, one always accepted and one never: accept, reject, accept, reject."""
    walked = Markov((1, 0), ((0, 1), (1, 0))).walk(3, np.random.default_rng(0), 20, 6)
    late = walked.accepted.reshape(20, 6)[:, 1:]
    assert (late == 1).all()


def test_three_states_are_walked_as_the_formula_says():
    law = Markov((1.0, 0.6, 0.1), ((0.6, 0.3, 0.1), (0.1, 0.6, 0.3), (0.3, 0.1, 0.6)))
    rounds = law.walk(4, np.random.default_rng(3), 2000, 50)
    seen = np.bincount(rounds.accepted, minlength=5) / rounds.accepted.size
    assert seen == pytest.approx(law.pmf(4), abs=0.006)
    two_states_of_it = Markov((1.0, 0.6), ((0.6, 0.4), (0.4, 0.6)))
    assert np.abs(seen - two_states_of_it.pmf(4)).max() > 0.1, "negative control: the hard state left out"


def test_a_grid_of_depths_leaves_a_markov_law_as_it_is_and_each_cell_has_its_own_starts():
    law = Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95)))
    assert law.on(Chain([1, 5])) is law
    assert law.block_efficiency([1, 5]).tolist() == [law.block_efficiency(1), law.block_efficiency(5)]
