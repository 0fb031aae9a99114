"""The base of the laws: three routes to every number agree, on every shape and at every limit."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from specmath.acceptance import (
    BetaGeometric,
    Curve,
    Empirical,
    Geometric,
    HitMiss,
    Law,
    Markov,
    NotIdentifiable,
    Padded,
    Positional,
    Ranked,
    Tally,
)
from specmath.cost import Ratio
from specmath.draft import Chain, Tree
from specmath.speedup import block_efficiency, speedup

BUSHY = Tree((-1, 0, 0, 0, 1, 1, 2, 4, 4))
PATH = Tree((-1, 0, 1, 2))
STAY = ((0.95, 0.05), (0.05, 0.95))


def by_loop(conditionals):
    """Tokens per round of a chain, by one product after the other."""
    tokens, reached = 1, 1
    for alpha in conditionals:
        reached *= alpha
        tokens += reached
    return tokens


def by_enumeration(row, tree, node=0):
    """Tokens per round on a tree: at each accepted node one child at most is accepted, by its rank."""
    depth = 0
    for child in tree.children[node]:
        depth += row(tree.depths[child], tree.ranks[child]) * by_enumeration(row, tree, child)
    return 1 + depth


def by_integral(a, b, k):
    """Tokens per round over prompts with equal rounds."""
    weight = quad(lambda x: 1, 0, 1, weight="alg", wvar=(a - 1, b - 1))[0]
    return quad(lambda x: by_loop([x] * k), 0, 1, weight="alg", wvar=(a - 1, b - 1), epsabs=1e-13)[0] / weight


def by_positions(alphas, transition, k):
    """Tokens per round as positions per round start, in the chain of (state, drafts accepted so far)."""
    states = len(alphas)
    moves = np.zeros((states * (k + 1),) * 2)
    for (i, j), accepted in itertools.product(np.ndindex(states, states), range(k + 1)):
        kept = alphas[i] if accepted < k else 0
        if accepted < k:
            moves[i * (k + 1) + accepted, j * (k + 1) + accepted + 1] += kept * transition[i][j]
        moves[i * (k + 1) + accepted, j * (k + 1)] += (1 - kept) * transition[i][j]
    values, vectors = np.linalg.eig(moves.T)
    law = np.real(vectors[:, np.argmin(abs(values - 1))])
    return law.sum() / law[:: k + 1].sum()


def by_least(laws, k):
    """Tokens per round of a batch, by every combination of accepted lengths."""
    tokens = 0
    for lengths in itertools.product(range(k + 1), repeat=len(laws)):
        tokens += math.prod(float(law.pmf(k)[i]) for law, i in zip(laws, lengths, strict=True)) * (1 + min(lengths))
    return tokens


ROW, ROWS = (0.6, 0.2, 0.1), ((0.6, 0.2, 0.1), (0.5, 0.3), (0.4, 0.3))
CASES = {
    "geometric": (Geometric(0.8), Chain(5), by_loop([0.8] * 5)),
    "geometric on a path": (Geometric(0.8), PATH, by_loop([0.8] * 3)),
    "nothing accepted": (Geometric(0.0), Chain(5), 1),
    "all accepted": (Geometric(1.0), Chain(5), 6),
    "nothing drafted": (Geometric(0.8), Chain(0), 1),
    "by position": (Positional((0.9, 0.7, 0.0, 0.5)), Chain(4), by_loop([0.9, 0.7, 0.0, 0.5])),
    "by curve": (Curve((0.9, 0.6, 0.6)), PATH, 1 + 0.9 + 0.6 + 0.6),
    "hit or miss": (HitMiss(0.4, 0.8), Chain(5), 0.6 + 0.4 * by_loop([0.8] * 5)),
    "never a hit": (HitMiss(0.0, 0.8), Chain(5), 1),
    "as counted": (Empirical(Tally([[80, 40]], [[40, 30]], rounds=[100])), Chain(2), 1.7),
    "prompts differ": (BetaGeometric(7, 3), Chain(5), by_integral(7, 3, 5)),
    "prompts differ, on a path": (BetaGeometric(1.4, 0.6), PATH, by_integral(1.4, 0.6, 3)),
    "easy or hopeless prompts": (BetaGeometric(0.05, 0.05), Chain(64), by_integral(0.05, 0.05, 64)),
    "stretches": (Markov((0.95, 0.45), STAY), Chain(5), by_positions((0.95, 0.45), STAY, 5)),
    "stretches, on a path": (Markov((0.95, 0.45), STAY), PATH, by_positions((0.95, 0.45), STAY, 3)),
    "stretches, nothing drafted": (Markov((0.95, 0.45), STAY), Chain(0), 1),
    "stretches, all accepted": (Markov((1.0, 1.0), STAY), Chain(4), 5),
    "stretches, nothing accepted": (Markov((0.0, 0.0), STAY), Chain(4), 1),
    "certain and hopeless stretches": (Markov((1.0, 0.0), STAY), Chain(3), by_positions((1.0, 0.0), STAY, 3)),
    "three states": (
        Markov((0.9, 0.6, 0.1), ((0.7, 0.2, 0.1), (0.0, 0.5, 0.5), (0.4, 0.0, 0.6))),
        Chain(4),
        by_positions((0.9, 0.6, 0.1), ((0.7, 0.2, 0.1), (0.0, 0.5, 0.5), (0.4, 0.0, 0.6)), 4),
    ),
    "ranked, on a chain": (Ranked(ROW), Chain(4), by_loop([0.6] * 4)),
    "ranked, on a tree": (Ranked(ROW), BUSHY, by_enumeration(lambda depth, rank: ROW[rank], BUSHY)),
    "ranked by depth": (Ranked(ROWS), BUSHY, by_enumeration(lambda depth, rank: ROWS[depth - 1][rank], BUSHY)),
    "ranked, on a root alone": (Ranked(ROW), Tree((-1,)), 1),
    "second guesses only": (Ranked(ROW), Tree((-1, 0, 1), (0, 1, 0)), 1 + 0.2 + 0.2 * 0.6),
    "padded": (Padded(Geometric(0.8), 3), Chain(4), by_least([Geometric(0.8)] * 3, 4)),
    "padded, unequal": (
        Padded((Geometric(0.9), HitMiss(0.5, 0.7), Positional((0.9, 0.4, 0.7)))),
        Chain(3),
        by_least([Geometric(0.9), HitMiss(0.5, 0.7), Positional((0.9, 0.4, 0.7))], 3),
    ),
    "stretches of a padded batch": (
        Markov((0.95, 0.45), STAY).beside(Markov((0.9, 0.2), ((0.6, 0.4), (0.1, 0.9)))),
        Chain(4),
        by_positions(np.kron((0.95, 0.45), (0.9, 0.2)), np.kron(STAY, ((0.6, 0.4), (0.1, 0.9))), 4),
    ),
    "padded trees": (Padded(Ranked(ROW), 2), BUSHY, by_least([Ranked(ROW).on(BUSHY)] * 2, BUSHY.depth)),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_form_sum_over_the_pmf_oracle_and_simulation_agree(name):
    law, shape, oracle = CASES[name]
    on, k = law.on(shape), shape.depth
    tau, lengths, pmf = float(block_efficiency(law, shape)), np.arange(k + 1), np.asarray(on.pmf(k), dtype=float)
    assert tau == pytest.approx(oracle, rel=1e-9)
    assert tau == pytest.approx(1 + pmf @ lengths, rel=1e-12)
    drawn = 1 + on.sample(k, np.random.default_rng(11), 40_000)
    assert abs(drawn.mean() - tau) <= 5 * math.sqrt(float(on.var(k)) / len(drawn)) + 1e-12
    assert speedup(law, shape, 0.0) == pytest.approx(tau, rel=1e-12), "at c = 0 a round is a plain step"
    assert speedup(law, shape, Ratio(0.25)) <= tau


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (Geometric(0.8), Geometric(0.79)),
        (BetaGeometric(7, 3), BetaGeometric(6.9, 3.1)),
        (Markov((0.95, 0.45), STAY), Markov((0.95, 0.45), ((0.94, 0.06), (0.06, 0.94)))),
    ],
    ids=["geometric", "prompts differ", "stretches"],
)
def test_the_third_route_notices_a_law_that_is_off_by_little(law, wrong):
    """Negative control: a hundred times the samples tell laws apart that differ by one per cent of a token."""
    drawn = 1 + law.sample(5, np.random.default_rng(11), 4_000_000)
    assert abs(drawn.mean() - wrong.block_efficiency(5)) > 5 * math.sqrt(law.var(5) / len(drawn))


LIMITS = {
    "geometric": (Geometric(0.7), 1 / 0.3),
    "by position": (lambda k: Positional([0.7] * k), 1 / 0.3),
    "by curve": (lambda k: Curve([0.5] * k), None),
    "hit or miss": (HitMiss(0.5, 0.7), 1 + 0.5 * 0.7 / 0.3),
    "prompts differ": (BetaGeometric(2, 3), 4 / 2),
    "stretches": (Markov((0.95, 0.45), STAY), 1 / 0.3),
    "ranked": (Ranked((0.7, 0.1)), 1 / 0.3),
    "padded": (Padded(Geometric(0.7), 3), 1 / (1 - 0.343)),
}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("k", [10**4, pytest.param(10**6, marks=pytest.mark.slow)])
def test_very_long_drafts_reach_their_limit(name, k):
    """Without an end every round ends at a rejection: in the long run tokens per round are tokens per rejection."""
    law, limit = LIMITS[name]
    law = law if isinstance(law, Law) else law(k)
    tolerance = 1 / k**2 * 10 + 1e-12 if name == "prompts differ" else 1e-12
    assert law.block_efficiency(k) == pytest.approx(limit or 1 + k / 2, rel=tolerance)
    assert law.pmf(k).sum() == pytest.approx(1)
    assert len(law.sample(k, np.random.default_rng(0), 3)) == 3


def test_by_token_a_very_long_draft_leaves_the_mean_rejection():
    """1 / tau(alpha) tends to 1 - alpha, so tau by token to (a + b) / b, whatever k."""
    assert BetaGeometric(2, 3).block_efficiency_by_token(10**6) == pytest.approx(5 / 3, rel=1e-12)


NEAR = 1 - 1e-9
EXACT_NEAR = Fraction(NEAR)


@pytest.mark.parametrize("k", [1, 7, 64])
@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda k: Geometric(NEAR), lambda k: Geometric(EXACT_NEAR)),
        (lambda k: Positional([NEAR] * k), lambda k: Geometric(EXACT_NEAR)),
        (lambda k: HitMiss(NEAR, NEAR), lambda k: HitMiss(EXACT_NEAR, EXACT_NEAR)),
        (lambda k: BetaGeometric(1e9, 1.0), lambda k: BetaGeometric(Fraction(10**9), Fraction(1))),
        (lambda k: Ranked((NEAR,)), lambda k: Ranked((EXACT_NEAR,))),
        (lambda k: Padded(Geometric(NEAR), 5), lambda k: Padded(Geometric(EXACT_NEAR), 5)),
        (
            lambda k: Markov((NEAR, 0.5), ((NEAR, 1 - NEAR), (0.5, 0.5))),
            lambda k: Markov(
                (EXACT_NEAR, Fraction(1, 2)), ((EXACT_NEAR, 1 - EXACT_NEAR), (Fraction(1, 2), Fraction(1, 2)))
            ),
        ),
    ],
    ids=["geometric", "by position", "hit or miss", "prompts differ", "ranked", "padded", "stretches"],
)
def test_acceptance_within_a_billionth_of_one_keeps_twelve_digits(make, exact, k):
    value = exact(k).block_efficiency(k)
    assert isinstance(value, Fraction)
    assert float(make(k).block_efficiency(k)) == pytest.approx(float(value), rel=1e-12)
    assert type(block_efficiency(exact(k), k)) is Fraction


def test_only_ranks_say_how_siblings_are_accepted():
    for law in (Geometric(0.8), BetaGeometric(7, 3), Markov((0.95, 0.45), STAY), Positional((0.9,) * 3)):
        for tree in (BUSHY, Tree((-1, 0, 0)), Tree((-1, 0), (0, 1))):
            with pytest.raises(NotIdentifiable, match="accepted length on a tree cannot be identified") as raised:
                law.on(tree)
            assert raised.value.missing == "acceptance by child rank"
        assert block_efficiency(law, PATH) == block_efficiency(law, 3)


def test_a_curve_says_nothing_in_a_cell_without_a_law_or_a_depth():
    for law in (HitMiss([0.5, 0.9, 1.5], 0.8), HitMiss(0.8, [0.5, 0.9, 1.5]), Geometric([0.5, 0.9, 1.5])):
        for found in (law.curve(2), law.pmf(2), law.pmf(0), law.survival(0)[:, None]):
            assert np.isnan(found).tolist() == [[False] * found.shape[1]] * 2 + [[True] * found.shape[1]]
    for law in (Geometric(1.0), Geometric(Fraction(1)), HitMiss(1.0, 1.0), Positional((1.0,))):
        assert np.isnan(np.asarray(law.survival([1, -1]), dtype=float)).tolist() == [False, True]


def test_only_positions_from_the_first_have_a_conditional():
    laws = (Geometric(0.5), Positional((0.5, 0.5)), HitMiss(1, 0.5), Curve((0.5, 0.25)), BetaGeometric(1.0, 1.0))
    for law in laws:
        assert np.isnan(law.conditional([0, 1, -1])).tolist() == [True, False, True]
        assert law.conditional([0, 1])[1] == law.conditional(1) == 0.5
        with pytest.raises(ValueError, match=r"^i: found 0, expected a number in \[1, infinity\)$"):
            law.conditional(0)


def test_a_position_that_is_missing_is_noticed_beside_a_bad_cell():
    with pytest.raises(NotIdentifiable, match="a test of draft 3"):
        Positional((0.5, 0.5)).survival([3, -1])


@dataclass(frozen=True)
class Walks(Geometric):
    """A law of one's own that remembers, and says so by its walk alone."""

    def walk(self, k, rng, prompts, rounds):
        raise NotImplementedError


def test_rounds_are_independent_unless_prompts_keep_an_alpha_or_texts_a_state():
    independent = (Geometric(0.5), HitMiss(0.5, 0.5), Ranked((0.5,)), Padded((Geometric(0.5), Curve((0.5,))), 2))
    assert all(law.independent_rounds for law in independent)
    remember = (BetaGeometric(7, 3), Markov((0.95, 0.45), STAY), Walks(0.5))
    padded = (Padded(BetaGeometric(7, 3), 2), Padded((Geometric(0.5), Padded(BetaGeometric(7, 3)))))
    assert not any(law.independent_rounds for law in remember + padded)


def padded_by_hand(law, k, texts, rounds, rng):
    """Tokens per round of two texts of their own states, which end each round at the lesser accepted length."""
    alphas, move = np.array(law.alphas), np.cumsum(law.transition, axis=1)
    state, tokens = rng.integers(0, 2, (2, texts)), 0
    for n in range(rounds + 100):
        running = np.full(texts, True)
        for draft in range(k + 1):
            tokens += running.sum() if n >= 100 else 0
            kept = running & np.all(rng.random((2, texts)) < alphas[state], axis=0) & (draft < k)
            after = np.sum(rng.random((2, texts))[..., None] >= move[state][..., :-1], axis=-1)
            state, running = np.where(running, after, state), kept
    return tokens / (texts * rounds)


def test_the_rounds_of_a_padded_batch_of_stretches_start_where_its_shortest_ended():
    law = Markov((0.95, 0.45), STAY)
    together = law.beside(law)
    by_hand = padded_by_hand(law, 5, 2000, 200, np.random.default_rng(8))
    assert together.block_efficiency(5) == pytest.approx(1.863536, abs=1e-6)
    assert by_hand == pytest.approx(1.863536, abs=0.015)
    assert abs(by_hand - np.sum(law.curve(5) ** 2)) > 0.1, "negative control: lone starts"
    same = Markov((Fraction(1, 2),), ((1,),)).beside(Markov((Fraction(1, 3),), ((1,),)))
    assert (same.alphas, same.transition) == ((Fraction(1, 6),), ((1,),))


@pytest.mark.parametrize("laws", [Walks(0.5), (Geometric(0.5), Walks(0.5))])
def test_a_padded_batch_refuses_laws_whose_rounds_start_where_others_ended(laws):
    with pytest.raises(
        NotIdentifiable, match=r"^the start .* a law of all texts at once missing; .* Markov.beside"
    ) as e:
        Padded(laws, 2)
    assert "\n" not in str(e.value)


def test_an_array_is_named_by_its_shape_on_one_line():
    for make in (lambda: Positional((np.eye(2),)), lambda: Padded(Geometric(0.5), np.eye(2))):
        with pytest.raises(ValueError, match=r"found an array of shape \(2, 2\), expected .*$") as raised:
            make()
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"alphas\[0\]: found \[array\(.*\)\], expected") as raised:
        Positional(([np.eye(2)],))
    assert "\n" not in str(raised.value)


def test_what_depends_on_the_depth_is_said_for_each_depth_of_a_grid():
    law, depths = Markov((0.95, 0.45), STAY), np.array([[0, 1], [5, 5]])
    cells = [[law.on(Chain(int(k))).block_efficiency(int(k)) for k in row] for row in depths]
    assert law.block_efficiency(depths) == pytest.approx(np.array(cells))
    assert law.on(Chain(depths)) is law
    assert speedup(law, depths, 0.1) == pytest.approx(np.array(cells) / (1 + 0.1 * depths))
    assert [float(value) for value in law.means(5)] == pytest.approx([law.mean(k) for k in range(6)])


def test_means_end_where_positions_do():
    assert Positional((0.5, 0.5)).means(9) == [0, 0.5, 0.75]
    assert Empirical(Tally([[4, 2]], [[2, 1]])).means(1) == [0, 0.5]
    assert Geometric(Fraction(1, 2)).means(2) == [0, Fraction(1, 2), Fraction(3, 4)]
    assert HitMiss(0.5, 0.5).means(2) == [0, 0.25, 0.375]


def test_a_curve_is_what_an_engine_logs_by_position():
    law = Curve((0.872, 0.767, 0.672))
    assert law.survival(np.array([0, 1, 3])).tolist() == [1, 0.872, 0.672]
    assert law.conditional(2) == 0.767 / 0.872
    assert law.curve(2).tolist() == [1, 0.872, 0.767]
    assert Curve([Fraction(1, 2), Fraction(1, 3)]).block_efficiency(2) == Fraction(11, 6)
    assert Curve((0.5, 0.5 + 1e-15)).survivals == (0.5, 0.5), "rounding is no rise"
    assert Curve(()).block_efficiency(0) == 1
    with pytest.raises(NotIdentifiable, match="position 4 cannot be identified: a test of draft 4 missing; only 3"):
        law.curve(7)


@pytest.mark.parametrize(
    ("survivals", "message"),
    [
        ((0.5, 0.6), r"survivals\[1\]: found 0.6, expected at most the 0.5 before it"),
        ((1.5,), r"survivals\[0\]: found 1.5, expected a number in \[0, 1\]"),
        (([0.5, 0.6],), r"survivals\[0\]: found \[0.5, 0.6\], expected a number in \[0, 1\]"),
    ],
)
def test_a_curve_that_is_none_is_refused(survivals, message):
    with pytest.raises(ValueError, match=message):
        Curve(survivals)


@dataclass(frozen=True)
class OnlySurvival(Law):
    """The least a law of one's own needs; alpha may be an array."""

    alpha: Any

    def survival(self, i):
        return self.alpha**i


@dataclass(frozen=True)
class WorseWhenDeeper(Law):
    """A law that depends on the depth, said by `on` alone."""

    def on(self, draft):
        return Geometric(1 / (1 + draft.depth))

    def survival(self, i):
        return self.on(Chain(i)).survival(i)


def test_a_law_that_gives_survival_alone_has_its_lengths_on_the_last_axis():
    law = OnlySurvival(np.array([0.5, 0.25, 0.0]))
    assert law.pmf(2).tolist() == [[0.5, 0.25, 0.25], [0.75, 0.1875, 0.0625], [1, 0, 0]]
    assert law.mean(2).tolist() == [0.75, 0.3125, 0]
    assert np.isnan(law.conditional(2)).tolist() == [False, False, True]
    assert law.conditional(2)[:2].tolist() == [0.5, 0.25]


def test_every_number_of_a_law_that_depends_on_the_depth_is_that_of_the_depth():
    law = WorseWhenDeeper()
    assert law.curve(3).tolist() == [1, 1 / 4, 1 / 16, 1 / 64]
    assert law.mean(3) == 1 / 4 + 1 / 16 + 1 / 64
    assert law.means(2) == [0, 1 / 2, 1 / 3 + 1 / 9]


def test_laws_keep_their_parameters_as_they_were_checked():
    assert HitMiss([0.5, 1.5], [-1.0, 0.5]).h.tolist()[0] == 0.5
    assert np.isnan(HitMiss([0.5, 1.5], 0.5).survival(1)).tolist() == [False, True]
    assert np.isnan(HitMiss(0.5, [-1.0, 0.5]).survival(1)).tolist() == [True, False]
    for law in (
        Positional([0.5, np.float64(0.25)]),
        Markov([0.5, 0.25], [[0.5, 0.5], [0.5, 0.5]]),
        Ranked([0.5, 0.25]),
        Padded(Geometric(0.5), np.int64(2)),
    ):
        again = type(law)(*(getattr(law, name) for name in law.__dataclass_fields__))
        assert (law, hash(law)) == (again, hash(again)), "lists become tuples"
    assert repr(Padded(Geometric(0.5), np.int64(2))) == "Padded(laws=(Geometric(alpha=0.5),), batch=2)"
    with pytest.raises(ValueError, match=r"^laws: found none, expected one law or more$"):
        Padded(())


def test_a_batch_of_lookups_with_arrays_drafts_what_each_cell_drafts_alone():
    hits = [0.4, 0.7]
    together = Padded(HitMiss(np.array(hits), 0.8), 2).drafted(3)
    assert together.tolist() == [Padded(HitMiss(h, 0.8), 2).drafted(3).tolist() for h in hits]
    assert together[0] == pytest.approx([0.36, 0, 0, 0.64])
