"""The renewal equations: the banded solve is the scalar loop, the sum over all outcomes, and exact where it can be."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specmath import renewal
from specmath.renewal import Walk, accepted, ahead, endings, expected, lay, marked, starts, variance

# --- oracles: one start at a time, plain loops ---------------------------------------------------------------------


def round_law(ratios, j, k, rule="token"):
    """{tokens left of the text after the round: probability} for a round from token j; ratios[i][j] by offset."""
    n, law = len(ratios[0]), {}
    survival = product = 1
    for i in range(k):
        if j + i >= n:
            break
        ratio = ratios[min(i, len(ratios) - 1)][j + i]
        product = product * ratio
        after = survival * min(1, ratio) if rule == "token" else min(survival, product)
        law[j + i + 1] = law.get(j + i + 1, 0) + survival - after
        survival = after
    end = min(j + k + 1, n)
    law[end] = law.get(end, 0) + survival
    return law


def scalar_loop(ratios, k, rule="token", depth=None):
    """Expected rounds and their variance from every token: E[T^2] = 1 + 2 E[rest] + E[rest^2]."""
    n = len(ratios[0])
    f, m = [0] * (n + 1), [0] * (n + 1)
    for j in range(n - 1, -1, -1):
        law = round_law(ratios, j, k if depth is None else depth[j], rule)
        rest = sum(mass * f[after] for after, mass in law.items())
        f[j] = 1 + rest
        m[j] = 1 + 2 * rest + sum(mass * m[after] for after, mass in law.items())
    return f[:n], [second - mean**2 for second, mean in zip(m, f, strict=True)][:n]


def outcomes(chances, k):
    """(probability, [(start, tokens, last one was accepted)]) for every pattern of accepted and rejected."""
    for flags in itertools.product((0, 1), repeat=len(chances)):
        mass = math.prod(a if flag else 1 - a for a, flag in zip(chances, flags, strict=True))
        yield mass, walk(flags, k)


def walk(flags, k):
    """The rounds of one pattern, token by token."""
    rounds, start, run = [], 0, 0
    for j, flag in enumerate(flags):
        over = run == k or not flag
        run += 1
        if over or j == len(flags) - 1:
            rounds.append((start, run, not over))
            start, run = j + 1, 0
    return rounds


def walk_over(texts, k, rule="token"):
    """The walk over the texts [K, n] laid end to end, and where each begins."""
    inside, first = marked([text.shape[1] for text in texts])
    return Walk(lay(texts, inside), inside, k, rule), first


def one(ratios, k, rule="token"):
    return walk_over([np.atleast_2d(np.array(ratios))], k, rule)[0]


RATIOS = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 3))
TEXTS = st.lists(st.lists(RATIOS, max_size=30), max_size=5)
EXAMPLE = [0.9, 0.4, 1, 0.75, 0.2, 0.85, 0.6, 0.95]


# --- the equations -------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(TEXTS, st.integers(0, 12), st.sampled_from(["token", "block"]))
def test_the_banded_solve_is_the_scalar_loop(texts, k, rule):
    laid, first = walk_over([np.array([text]) for text in texts], k, rule)
    rounds = expected(laid)
    spread = variance(laid, rounds)
    for text, start in zip(texts, first, strict=True):
        mean, second = scalar_loop([text], k, rule)
        here = slice(start, start + len(text))
        assert np.allclose(rounds[here], mean, rtol=1e-12)
        assert np.allclose(spread[here], second, rtol=1e-9, atol=1e-10)
    assert not rounds[~laid.inside].any()
    assert not spread[~laid.inside].any()


@settings(max_examples=60)
@given(st.data(), st.integers(1, 5), st.sampled_from(["token", "block"]))
def test_the_offset_in_the_round_picks_the_row(data, k, rule):
    n = data.draw(st.integers(0, 12))
    rows = data.draw(st.lists(st.lists(RATIOS, min_size=n, max_size=n), min_size=k, max_size=k))
    laid = one(rows, k, rule)
    mean, second = scalar_loop(rows, k, rule)
    rounds = expected(laid)
    assert np.allclose(rounds[:n], mean, rtol=1e-12)
    assert np.allclose(variance(laid, rounds)[:n], second, rtol=1e-9, atol=1e-10)


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["token", "block"]))
def test_a_depth_of_its_own_for_every_start(data, rule):
    ratios = data.draw(st.lists(RATIOS, min_size=1, max_size=20))
    depth = data.draw(st.lists(st.integers(0, 6), min_size=len(ratios), max_size=len(ratios)))
    fixed = one([ratios], max(depth), rule)
    laid = Walk(fixed.ratios, fixed.inside, fixed.k, rule, np.array([*depth, 0, 0]))
    assert np.allclose(expected(laid)[: len(ratios)], scalar_loop([ratios], None, rule, depth)[0], rtol=1e-12)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5, 9])
def test_the_sum_over_all_outcomes(k):
    laid, first = walk_over([np.array([EXAMPLE])], k)
    mean, second, u = 0, 0, np.zeros(10)
    ended, cut = np.zeros(k + 2), np.zeros(k + 2)
    for mass, rounds in outcomes(EXAMPLE, k):
        mean, second = mean + mass * len(rounds), second + mass * len(rounds) ** 2
        for start, tokens, ran_over in rounds:
            u[start] += mass
            (cut if ran_over else ended)[tokens] += mass
    rounds = expected(laid)
    assert rounds[0] == pytest.approx(mean, rel=1e-13)
    assert variance(laid, rounds)[0] == pytest.approx(second - mean**2, rel=1e-12, abs=1e-13)
    assert np.allclose(starts(laid, first), u, rtol=1e-13, atol=1e-16)
    assert np.allclose(endings(laid, u), (ended, cut), rtol=1e-13, atol=1e-16)


@settings(max_examples=100)
@given(TEXTS, st.integers(0, 8), st.sampled_from(["token", "block"]))
def test_forward_and_backward_agree(texts, k, rule):
    laid, first = walk_over([np.array([text]) for text in texts], k, rule)
    u, rounds = starts(laid, first), expected(laid)
    assert u.sum() == pytest.approx(rounds[first].sum(), rel=1e-12)
    ended, cut = endings(laid, u)
    assert ended.shape == cut.shape == (k + 2,)
    assert ended.sum() + cut.sum() == pytest.approx(u.sum(), rel=1e-12)
    assert np.arange(k + 2) @ (ended + cut) == pytest.approx(sum(map(len, texts)), rel=1e-12)
    assert ended[0] == cut[0] == cut[-1] == 0


@given(st.lists(st.lists(st.integers(0, 1), max_size=30), min_size=1, max_size=5), st.integers(0, 9))
def test_coins_of_0_and_1_give_the_walk_itself_to_the_last_bit(texts, k):
    laid, first = walk_over([np.array([text], dtype=float) for text in texts], k)
    rounds, u = expected(laid), starts(laid, first)
    assert rounds[first].tolist() == [len(walk(text, k)) for text in texts]
    assert not variance(laid, rounds).any()
    walked = [start + int(begin) for begin, text in zip(first, texts, strict=True) for start, _, _ in walk(text, k)]
    assert np.flatnonzero(u).tolist() == walked
    assert set(u.tolist()) <= {0.0, 1.0}


# --- windows, marks and texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 7, 40, 100])
@pytest.mark.parametrize("rule", ["token", "block"])
@pytest.mark.parametrize("k", [0, 1, 4, 11])
def test_the_size_of_a_window_changes_nothing(k, rule, cells, monkeypatch):
    rng = np.random.default_rng(5)
    laid, first = walk_over([3 * rng.random((1, n)) ** 2 for n in (0, 1, 40, 2, 0, 17)], k, rule)
    chances = np.minimum(laid.ratios, 1)

    def everything():
        rounds, u = expected(laid), starts(laid, first)
        return [rounds, variance(laid, rounds), u, *endings(laid, u), accepted(laid, u, chances)]

    whole = everything()
    assert len(laid.windows()) == 1
    monkeypatch.setattr(renewal, "CELLS", cells)
    assert len(laid.windows()) > 1
    assert all(np.allclose(part, found, rtol=1e-13) for part, found in zip(whole, everything(), strict=True))


@given(st.integers(0, 50), st.integers(0, 9), st.integers(1, 60))
def test_windows_cover_every_place_once_within_their_cells(places, k, cells):
    laid = Walk(np.zeros((1, places)), np.ones(places, dtype=bool), k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renewal, "CELLS", cells)
        windows = laid.windows()
    assert [j for start, stop in windows for j in range(start, stop)] == list(range(places))
    assert all((stop - start) * (k + 2) <= max(cells, (k + 1) * (k + 2)) for start, stop in windows)


@given(TEXTS, st.integers(0, 8))
def test_texts_laid_end_to_end_are_the_texts_one_by_one(texts, k):
    laid, first = walk_over([np.array([text]) for text in texts], k)
    u = starts(laid, first)
    for text, start in zip(texts, first, strict=True):
        alone = one([text], k)
        here = slice(start, start + len(text) + 2)
        assert np.allclose(expected(laid)[here], expected(alone), rtol=1e-13)
        assert np.allclose(u[here], starts(alone, np.array([0])), rtol=1e-13)


def test_two_marks_stand_behind_each_text():
    inside, first = marked([2, 0, 1])
    assert first.tolist() == [0, 4, 6]
    assert inside.tolist() == [True, True, False, False, False, False, True, False, False]
    laid = lay([np.array([[1, 2], [3, 4]]), np.zeros((2, 0)), np.array([[5], [6]])], inside)
    assert laid.tolist() == [[1, 2, 0, 0, 0, 0, 5, 0, 0], [3, 4, 0, 0, 0, 0, 6, 0, 0]]


def test_no_texts_at_all():
    laid, first = walk_over([], 3)
    assert laid.ratios.shape == (1, 0)
    assert expected(laid).shape == starts(laid, first).shape == (0,)
    assert [part.tolist() for part in endings(laid, starts(laid, first))] == [[0] * 5] * 2


def test_a_row_is_continued_by_zeros():
    row = np.array([1.0, 2.0, 3.0])
    assert ahead(row, 1, 3).tolist() == [2, 3]
    assert ahead(row, 1, 6).tolist() == [2, 3, 0, 0, 0]
    assert ahead(row, 4, 6).tolist() == [0, 0]
    assert ahead(np.array([True]), 0, 2).dtype == bool


# --- curves --------------------------------------------------------------------------------------------------------


def test_curves_of_fractions_stay_fractions():
    ratios = np.array([[Fraction(1, 2), Fraction(3, 1), Fraction(1, 4)]], dtype=object)
    token, block = (np.array(list(one(ratios, 3, rule).curves(0, 3))).T.tolist() for rule in ("token", "block"))
    half, eighth = Fraction(1, 2), Fraction(1, 8)
    assert token == [[1, half, half, eighth], [1, 1, Fraction(1, 4), 0], [1, Fraction(1, 4), 0, 0]]
    assert block == [[1, half, half, Fraction(3, 8)], [1, 1, Fraction(3, 4), 0], [1, Fraction(1, 4), 0, 0]]
    assert all(isinstance(entry, Fraction) for curve in (token[0], block[0]) for entry in curve[1:])
    laws = np.array(list(one(ratios, 3).lengths(0, 3))).T.tolist()
    assert laws == [
        [half, 0, 3 * eighth, eighth],
        [0, Fraction(3, 4), Fraction(1, 4), 0],
        [3 * half / 2, half / 2, 0, 0],
    ]


@given(st.lists(RATIOS, min_size=1, max_size=12), st.integers(0, 12))
@example([1.0, 5e-324], 2)
@example([5e-324, 1e308, 1e308], 3)
def test_the_block_rule_keeps_at_least_what_the_token_rule_keeps(ratios, k):
    token, block = (np.array(list(one([ratios], k, rule).curves(0, len(ratios)))) for rule in ("token", "block"))
    assert np.all(block >= token * (1 - 1e-12))
    assert np.all(np.diff(block, axis=0) <= 0)
    assert np.array_equal(token[: min(k, 1) + 1], block[: min(k, 1) + 1])


def test_the_token_rule_is_meant_where_none_is_named():
    ratios = lay([np.array([[2.0, 0.5]])], marked([2])[0])
    assert [float(s[0]) for s in Walk(ratios, marked([2])[0], 2).curves(0, 1)] == [1, 1, 0.5]


def test_ratios_beyond_the_largest_float_come_back():
    curve = [float(s[0]) for s in one([[1e200, 1e200, 0.5, 1e-200, 1e-200, 0.0]], 6, "block").curves(0, 1)]
    assert curve[:5] == [1, 1, 1, 1, 1]
    assert curve[5:] == pytest.approx([0.5, 0])
    curve = [float(s[0]) for s in one([[1e300] * 9 + [1e-300] * 9 + [0.25, 4.0]], 20, "block").curves(0, 1)]
    assert curve == pytest.approx([1] * 19 + [0.25, 0.25], rel=1e-12)
    assert [float(s[0]) for s in one([[1e-300, 1e-300, 1e300, 1e300]], 4, "block").curves(0, 1)][2:] == [0, 0, 0]
    assert [float(s[0]) for s in one([[1e200, 1e200, 0.0, 1e300]], 4, "block").curves(0, 1)] == [1, 1, 1, 0, 0]


def test_accepted_drafts_by_offset():
    chances = np.array([EXAMPLE])
    laid, first = walk_over([chances], 3)
    u = starts(laid, first)
    ended, cut = endings(laid, u)
    tested = np.cumsum((ended + cut)[::-1])[::-1][1:-1]
    by_offset = accepted(laid, u, laid.ratios)
    assert np.allclose(by_offset, tested - ended[1:-1], rtol=1e-13)
    assert by_offset.sum() == pytest.approx(5.247112, abs=1e-9)
    rows = lay([np.array([[1.0] * 8, [0.0] * 8, [0.5] * 8])], laid.inside)
    assert np.allclose(accepted(laid, u, rows), tested * [1, 0, 0.5], rtol=1e-13)


# --- long texts ----------------------------------------------------------------------------------------------------


def test_the_variance_of_a_long_text_loses_no_digits():
    """Far from its ends it grows by the same for every token; a difference of squares would lose it all by 1e6."""
    quarter = 150_000
    laid = one([[0.7] * (4 * quarter)], 5)
    rounds = expected(laid)
    spread = variance(laid, rounds)[[0, quarter, 2 * quarter, 3 * quarter]]
    growth = -np.diff(spread)
    tau, var = 2.94117, 3.3101890311  # of the geometric law at alpha .7, k 5
    assert np.allclose(growth, quarter * var / tau**3, rtol=1e-9)
    assert rounds[0] == pytest.approx(4 * quarter / tau + 0.521329, abs=1e-4)
