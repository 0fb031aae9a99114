"""What a forward, a step and a round cost, and what a table refuses to say."""

import math
from fractions import Fraction

import numpy as np
import pytest

from specmath.cost import PROVENANCES, Linear, Outside, Pair, Ratio, RoundTime, Table
from specmath.draft import Chain, Tree

JAGGED = {1: 0.10, 2: 0.16, 3: 0.155, 5: 0.155, 6: 0.21}


def jagged():
    n = list(JAGGED)
    return Table(n, [1] * 5, [128] * 5, list(JAGGED.values()), provenance="measured")


def test_the_parts_of_a_round_add_up():
    assert RoundTime(Fraction(1, 4), 1, Fraction(1, 2)).total == Fraction(7, 4)


def test_a_linear_forward_pays_for_tokens_and_for_cache_in_every_sequence():
    model = Linear(1.0, 0.5, 0.25)
    assert model.seconds(3) == 2.5
    assert model.seconds(3, batch=4) == 7.0
    assert model.seconds(3, batch=4, context=10) == 17.0
    assert model.seconds(np.array([1, 2]), batch=np.array([[1], [2]])).tolist() == [[1.5, 2.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1.0, 0.5), "base: found -1.0"), ((1.0, math.nan), "per_token: found nan"), ((0, 0), "found 0 and 0")],
)
def test_a_forward_that_takes_no_time_or_less_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Linear(*arguments)


def test_a_forward_over_no_token_is_refused():
    with pytest.raises(ValueError, match=r"n: found 0, expected a number in \[1, infinity\)"):
        Linear(1.0, 0.5).seconds(0)


def test_a_table_gives_back_what_was_measured_and_smooths_nothing():
    table = jagged()
    assert [table.seconds(n, context=128) for n in JAGGED] == list(JAGGED.values())
    assert table.times.tolist() == list(JAGGED.values())


def test_a_table_is_linear_between_two_contexts_in_whatever_order_they_came():
    table = Table([2, 2, 2], [4, 4, 4], [1000, 0, 100], [0.8, 0.2, 0.4], provenance="measured")
    assert table.seconds(2, batch=4, context=50) == pytest.approx(0.3)
    assert table.seconds(2, batch=4, context=550) == pytest.approx(0.6)
    assert table.seconds(2, batch=4, context=1000) == 0.8


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n": 4, "context": 128}, r"n=4, batch=1: found no measurement, expected n in \[1, 2, 3, 5, 6\]"),
        ({"n": 7, "context": 128}, "n=7, batch=1"),
        ({"n": 1, "batch": 2, "context": 128}, r"batch=2: found no measurement, expected batch in \[1\]"),
        ({"n": 1, "context": 129}, "context=129, n=1, batch=1: found no measurement, expected context only 128"),
        ({"n": 1}, "context=0"),
        ({"n": 1, "context": math.nan}, "context=nan"),
    ],
)
def test_a_table_refuses_to_extrapolate_and_names_what_it_has(asked, message):
    with pytest.raises(Outside, match=message) as raised:
        jagged().seconds(**asked)
    assert isinstance(raised.value, ValueError)


def test_a_context_beyond_the_measured_ones_is_refused_on_both_sides():
    table = Table([1, 1], [1, 1], [100, 200], [0.1, 0.2], provenance="measured")
    for context in (99, 201):
        with pytest.raises(Outside, match="expected context 100 to 200"):
            table.seconds(1, context=context)


def test_a_grid_over_a_table_is_nan_where_nothing_was_measured():
    times = jagged().seconds(np.array([1, 4, 5]), context=128)
    assert np.array_equal(times, [0.10, np.nan, 0.155], equal_nan=True)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1, 1], [0, 0], [0.1]), "found shapes .*, expected equal columns"),
        (([], [], [], []), "expected equal columns of a row or more"),
        (([[1]], [[1]], [[0]], [[0.1]]), "expected equal columns"),
        (([1, 1], [1, 1], [0, 0], [0.1, 0.2]), "n=1, batch=1, context=0: found twice"),
        (([1, 2], [1, 1], [0, 0], [0.1, 0.0]), "seconds: found 0.0 in row 1, expected a finite time above 0"),
        (([1], [1], [0], [math.nan]), "seconds: found nan in row 0"),
        (([1], [1], [0], [math.inf]), "seconds: found inf in row 0"),
        (([0], [1], [0], [0.1]), "n: found 0 in row 0, expected an integer >= 1"),
        (([1.5], [1], [0], [0.1]), "n: found 1.5 in row 0"),
        (([1], [0], [0], [0.1]), "batch: found 0 in row 0"),
        (([1], [1], [-1], [0.1]), "context: found -1 in row 0, expected an integer >= 0"),
    ],
)
def test_columns_that_are_no_measurement_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        Table(*columns, provenance="measured")


def test_a_table_cannot_be_changed_through_its_columns():
    seconds = np.array([0.1])
    table = Table([1], [1], [0], seconds, provenance="measured")
    seconds[0] = 9.0
    assert table.seconds(1) == 0.1
    with pytest.raises(ValueError, match="read-only"):
        table.times[0] = 9.0


def test_where_a_number_came_from_is_said_and_a_table_has_no_default():
    assert (Linear(1, 1).provenance, Ratio(0.1).provenance) == ("assumed", "assumed")
    with pytest.raises(TypeError, match="provenance"):
        Table([1], [1], [0], [0.1])
    for make in (
        lambda source: Linear(1, 1, provenance=source),
        lambda source: Ratio(0.1, provenance=source),
        lambda source: Table([1], [1], [0], [0.1], provenance=source),
    ):
        assert [make(source).provenance for source in PROVENANCES] == list(PROVENANCES)
        with pytest.raises(ValueError, match="provenance: found 'guessed', expected one of measured, fitted"):
            make("guessed")


def test_a_pair_is_as_good_as_the_weaker_of_its_models():
    measured, fitted = jagged(), Linear(1, 1, provenance="fitted")
    assert Pair(measured).provenance == "measured"
    assert Pair(measured, fitted).provenance == "fitted"
    assert Pair(fitted, measured).provenance == "fitted"


def test_a_ratio_counts_in_plain_steps():
    assert Ratio(0.25).step() == 1
    assert Ratio(Fraction(1, 20), d=Fraction(1, 50), o=Fraction(1, 10)).round(Chain(5)) == RoundTime(
        Fraction(1, 4), Fraction(11, 10), Fraction(1, 10)
    )
    assert Ratio(np.array([0.1, -0.1])).round(Chain(2)).total[0] == pytest.approx(1.2)
    assert math.isnan(Ratio(np.array([0.1, -0.1])).round(Chain(2)).total[1])


@pytest.mark.parametrize("name", ["c", "d", "o"])
@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_a_negative_or_unknown_cost_is_refused(name, bad):
    with pytest.raises(ValueError, match=rf"{name}: found {bad}, expected a number in \[0, infinity\)"):
        Ratio(**{"c": 0.1, name: bad})


def test_a_pair_drafts_one_token_at_a_time_and_verifies_all_at_once():
    pair = Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), overhead=0.0625)
    assert pair.step() == 1.5
    assert pair.round(Chain(3)) == RoundTime(3 * 0.375, 3.0, 0.0625)
    assert pair.round(Chain(3), batch=2) == RoundTime(3 * 0.5, 5.0, 0.0625)


def test_a_parallel_drafter_makes_all_its_tokens_in_one_forward():
    pair = Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), one_pass=True)
    assert pair.round(Chain(3)).draft == 0.625
    assert pair.round(Chain(0)).draft == 0


def test_without_a_draft_model_drafting_is_free():
    assert Pair(Linear(1.0, 0.5)).round(Chain(3)) == RoundTime(0.0, 3.0, 0.0)


@pytest.mark.parametrize("pair", [Ratio(0.25, d=0.5, o=0.125), Pair(Linear(0.5, 0.5), Linear(0.25, 0), overhead=0.125)])
def test_a_round_without_a_draft_is_a_plain_step_and_the_overhead(pair):
    assert pair.round(Chain(0)).total == pair.step() + 0.125


BY_DRAFTED = (0.0, 0.25, 0.5, 2.0)


def test_an_overhead_by_drafted_tokens_is_paid_by_each_round_for_its_own():
    pair = Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), overhead=np.array(BY_DRAFTED))
    assert [pair.round(Chain(d)).overhead for d in range(4)] == list(BY_DRAFTED)
    assert pair.round(Chain(0)).total == pair.step()
    assert pair.round(Tree((-1, 0, 0))).overhead == BY_DRAFTED[2], "two drafted tokens, one level"
    asked = "overhead of 4 drafted tokens: found no measurement, expected 0 to 3 drafted tokens; measure it first"
    with pytest.raises(Outside, match=asked):
        pair.round(Chain(4))


def test_an_overhead_by_drafted_tokens_over_a_grid_of_depths_equals_its_cells():
    time = Pair(Linear(1.0, 0.5), overhead=list(BY_DRAFTED)).round(Chain([3, 1, 4, -1, 0]))
    assert np.array_equal(time.overhead, [2.0, 0.25, math.nan, math.nan, 0.0], equal_nan=True)
    assert np.array_equal(time.total, [5.0, 2.25, math.nan, math.nan, 1.5], equal_nan=True)
    grid = Pair(Linear(1.0, 0.5, 0.25), overhead=BY_DRAFTED).round(Chain([[1], [2]]), context=np.array([0, 4, 8]))
    assert grid.total.tolist() == [[2.25, 3.25, 4.25], [3.0, 4.0, 5.0]]


def test_an_overhead_by_drafted_tokens_keeps_fractions():
    assert Pair(Linear(1, 1), overhead=[0, Fraction(1, 3)]).round(Chain(1)).overhead == Fraction(1, 3)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([0.0, -1.0], r"overhead\[1\]: found -1.0, expected a number in \[0, infinity\)"),
        ([0.0, math.nan], r"overhead\[1\]: found nan"),
        ([], r"overhead: found shape \(0,\), expected a number, or one for each count of drafted tokens from 0"),
        ([[0.0, 1.0]], r"overhead: found shape \(1, 2\)"),
    ],
)
def test_an_overhead_that_is_none_is_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        Pair(Linear(1.0, 0.5), overhead=bad)


def test_the_models_of_a_pair_see_the_batch_and_the_context():
    columns = [1, 4], [2, 2], [64, 64], [0.5, 0.75]
    pair = Pair(Table(*columns, provenance="measured"))
    assert pair.step(batch=2, context=64) == 0.5
    assert pair.round(Chain(3), batch=2, context=64).verify == 0.75
    with pytest.raises(Outside):
        pair.round(Chain(3), batch=1, context=64)


def test_a_round_over_a_grid_of_depths_equals_its_cells():
    for pair in (Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), one_pass=True), Ratio(0.1, d=0.2)):
        total = pair.round(Chain(np.array([0, 2, 5]))).total
        assert total == pytest.approx([pair.round(Chain(k)).total for k in (0, 2, 5)])


def test_linear_and_ratio_say_the_same_in_their_own_units():
    """c = (0.25 + 0.25) / 2, d = 0.5 / 2, o = 0.25 / 2 in plain steps of two seconds."""
    seconds, steps = Pair(Linear(1.5, 0.5), Linear(0.25, 0.25), overhead=0.25), Ratio(0.25, d=0.25, o=0.125)
    for k in range(6):
        assert seconds.round(Chain(k)).total / seconds.step() == steps.round(Chain(k)).total


def test_a_tree_is_drafted_by_its_depth_and_verified_by_its_size():
    tree = Tree((-1, 0, 0, 1, 1, 2))
    assert Ratio(0.25, d=0.125, o=0.5).round(tree) == RoundTime(0.5, 1.625, 0.5)
    assert Ratio(Fraction(1, 4), d=Fraction(1, 8)).round(tree) == RoundTime(Fraction(1, 2), Fraction(13, 8), 0)


def test_a_published_tree_of_128_nodes_and_depth_10_costs_what_its_speedup_says():
    """Sequoia (Chen et al. 2024), Table 1, C4, greedy: 5.08 tokens per step and 4.04x at c = .5 ms / 24.2 ms.

    A step then costs 1.257 plain steps, of which 10 levels of drafting are .207, so verifying 128 nodes costs 1.05.
    """
    tree = Tree((-1, *range(10), *(0,) * 118))
    assert (tree.size, tree.depth) == (128, 10)
    assert Ratio(0.5 / 24.2, d=0.05 / 128).round(tree).total == pytest.approx(5.08 / 4.04, abs=1e-3)


def test_a_pair_drafts_a_tree_level_by_level_over_the_nodes_with_children():
    """Forwards over 1, 2 and 1 nodes; a leaf is drafted and verified, never run."""
    draft = Table([1, 2], [1, 1], [0, 0], [0.25, 0.375], provenance="measured")
    tree = Tree((-1, 0, 0, 1, 2, 3))
    assert tree.forwards == (1, 2, 1)
    assert Pair(Linear(1.0, 0.5), draft, overhead=0.125).round(tree) == RoundTime(0.875, 4.0, 0.125)
    with pytest.raises(Outside, match="n=3"):
        Pair(Linear(1.0, 0.5), draft).round(Tree.cartesian((3, 1)))


@pytest.mark.parametrize(
    "pair",
    [
        Ratio(0.1, d=0.2, o=0.3),
        Ratio(0.1, d=0.2, one_pass=True),
        Pair(Linear(1.0, 0.5)),
        Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), overhead=0.5),
        Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), one_pass=True),
    ],
)
def test_a_tree_that_is_one_path_costs_what_a_chain_costs(pair):
    for k in range(5):
        assert pair.round(Tree(tuple(range(-1, k)))) == pair.round(Chain(k))


def test_in_one_pass_a_tree_is_one_forward_over_its_levels():
    tree = Tree.cartesian((3, 2))
    assert Ratio(0.25, d=0.125, one_pass=True).round(tree) == RoundTime(0.25, 2.125, 0)
    assert Pair(Linear(1.0, 0.5), Linear(0.25, 0.125), one_pass=True).round(tree) == RoundTime(0.5, 6.0, 0.0)


def test_a_ratio_in_one_pass_pays_for_one_forward_whatever_the_depth():
    cost = Ratio(Fraction(1, 10), d=Fraction(1, 50), one_pass=True)
    assert [cost.round(Chain(k)).draft for k in (0, 1, 9)] == [0, Fraction(1, 10), Fraction(1, 10)]
    assert cost.round(Chain(9)).verify == Fraction(59, 50)
    grid = Ratio(0.1, one_pass=True).round(Chain([0, 1, 9, -1])).draft
    assert np.array_equal(grid, [0, 0.1, 0.1, np.nan], equal_nan=True)


def test_a_ratio_in_one_pass_says_the_same_as_such_a_pair():
    seconds, steps = Pair(Linear(1.5, 0.5), Linear(0.5, 0.0), one_pass=True), Ratio(0.25, d=0.25, one_pass=True)
    for draft in (Chain(0), Chain(1), Chain(5), Tree.cartesian((2, 2))):
        assert seconds.round(draft).total / seconds.step() == steps.round(draft).total


def test_a_cell_that_takes_no_time_is_nan():
    assert np.array_equal(Linear([0, 1], 0).seconds(1), [math.nan, 1], equal_nan=True)
    assert np.array_equal(Linear(0, [0, 1], 5).seconds(1, context=3), [math.nan, 16], equal_nan=True)


def test_a_grid_of_rounds_is_nan_where_a_forward_was_not_measured():
    time = Pair(jagged(), Table([1], [1], [128], [0.02], provenance="measured")).round(Chain([0, 1, 3, 4]), context=128)
    assert np.array_equal(time.verify, [0.10, 0.16, math.nan, 0.155], equal_nan=True)
    assert time.draft == pytest.approx([0, 0.02, 0.06, 0.08])
    parallel = Pair(jagged(), Table([1, 2], [1] * 2, [128] * 2, [0.02, 0.03], provenance="measured"), one_pass=True)
    drafting = parallel.round(Chain([1, 2, 4]), context=128).draft
    assert np.array_equal(drafting, [0.02, 0.03, math.nan], equal_nan=True)
    with pytest.raises(Outside, match="n=4"):
        parallel.round(Chain(4), context=128)
