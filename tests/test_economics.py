"""Dollars, GPUs and joules: the worked examples, what must be linear or monotone, and the line for a bad input."""

import datetime
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.acceptance import HitMiss, Ranked
from specmath.cost import Ratio
from specmath.draft import Tree
from specmath.economics import (
    Electricity,
    Joules,
    Price,
    cost_per_million,
    gpus_needed,
    joules_per_token,
    operations_factor,
)
from specmath.speedup import block_efficiency, speedup

POSITIVE = st.floats(1e-3, 1e6)
SHARES = st.floats(0.01, 1)
H100 = Price(3.0, "2026-05", "worked example")
# Requests per second and dollars per million output tokens, both rounded: Llama-3.1-70B on 4 x H100 at $3, 300 output
# tokens, at a TPOT of 15 to 60 ms without (first rows) and with an EAGLE head.
ROWS = [
    (2.8, 3.91),
    (4.8, 2.30),
    (6.1, 1.81),
    (7.8, 1.43),
    (9.2, 1.20),
    (7.1, 1.56),
    (8.2, 1.35),
    (8.9, 1.25),
    (9.3, 1.20),
    (9.9, 1.13),
    (10.3, 1.08),
]


def price(dollars, **others):
    return Price(dollars, "2026-05-20", "test", **others)


@pytest.mark.parametrize(("rate", "dollars"), ROWS)
def test_the_dollars_of_the_worked_example_follow_from_its_rates(rate, dollars):
    """As far as both are given: a rate of 8.2 is one of 8.15 to 8.25."""
    low, high = (cost_per_million(4, H100, 300 * (rate + shift)) for shift in (0.05, -0.05))
    assert low - 0.005 <= dollars <= high + 0.005


def test_per_million_is_what_an_hour_costs_over_what_an_hour_makes():
    tokens_per_hour = 0
    for _ in range(3600):
        tokens_per_hour += 8.2 * 300
    assert cost_per_million(4, H100, 8.2 * 300) == pytest.approx(12 / (tokens_per_hour / 1e6))
    assert cost_per_million(4, H100, 8.2 * 300) == pytest.approx(1.355, abs=5e-4)


@given(POSITIVE, POSITIVE, st.integers(1, 64), SHARES, st.floats(1, 3), st.floats(1.001, 100))
def test_dollars_are_linear_in_price_gpus_and_overhead_and_never_rise_with_capacity(
    dollars, tokens, gpus, share, overhead, factor
):
    base = cost_per_million(gpus, price(dollars), tokens, utilisation=share)
    assert cost_per_million(gpus, price(dollars * factor), tokens, utilisation=share) == pytest.approx(base * factor)
    assert cost_per_million(gpus * 3, price(dollars), tokens, utilisation=share) == pytest.approx(base * 3)
    billed = cost_per_million(gpus, price(dollars, overhead=overhead), tokens, utilisation=share)
    assert billed == pytest.approx(base * overhead)
    assert cost_per_million(gpus, price(dollars), tokens * factor, utilisation=share) < base
    assert cost_per_million(gpus, price(dollars), tokens) * (1 - 1e-12) <= base


def test_loads_and_candidates_broadcast():
    grid = cost_per_million(np.array([[4], [8]]), H100, np.array([1000.0, 0.0, 2000.0]))
    assert grid.shape == (2, 3)
    assert np.isnan(grid[:, 1]).all()
    assert grid[1, 2] == cost_per_million(8, H100, 2000.0)


@given(st.floats(0, 1e4), st.floats(0.01, 100), st.integers(1, 16), SHARES)
def test_gpus_are_the_fewest_whole_replicas_that_stay_within_the_target(rate, capacity, replica, share):
    gpus = gpus_needed(rate, capacity, replica, target_utilisation=share)
    replicas, rest = divmod(gpus, replica)
    assert rest == 0
    assert rate <= replicas * capacity * share * (1 + 1e-9)
    assert replicas == 0 or rate > (replicas - 1) * capacity * share * (1 - 1e-9)


@given(st.floats(0.01, 1e4), st.floats(0.01, 100), st.integers(1, 16), st.floats(1, 10))
def test_more_capacity_never_takes_more_gpus_and_more_traffic_never_fewer(rate, capacity, replica, factor):
    gpus = gpus_needed(rate, capacity, replica)
    assert gpus_needed(rate, capacity * factor, replica) <= gpus <= gpus_needed(rate * factor, capacity, replica)


def test_a_demand_that_fits_exactly_takes_no_replica_for_rounding():
    for replicas in range(1, 300):
        assert gpus_needed(replicas * 0.7, 1.0, target_utilisation=0.7) == replicas
        assert gpus_needed(replicas * (8.2 * 0.8), 8.2, 4) == 4 * replicas
    assert gpus_needed(7.0001, 10, target_utilisation=0.7) == 2, "negative control: a little more than fits"


def test_without_and_with_speculation_at_twenty_milliseconds():
    """100 requests per second: 45 replicas of 4 without, 16 with; the ratio is the gain in capacity, 2.9."""
    without, speculative = gpus_needed(100, np.array([2.8, 8.2]), 4)
    assert (without, speculative) == (180, 64)


@pytest.mark.parametrize(("alpha", "k", "share"), [(0.8, 5, 0.02), (0.6, 2, 0.0), (0.9, 10, 0.11), (0.7, 0, 0.5)])
def test_operations_are_those_of_theorem_3_11(alpha, k, share):
    """Leviathan et al. 2023: (1 - alpha) (k c + k + 1) / (1 - alpha^(k + 1))."""
    stated = (1 - alpha) * (k * share + k + 1) / (1 - alpha ** (k + 1))
    assert operations_factor(alpha, k, share) == pytest.approx(stated, rel=1e-12)


@pytest.mark.parametrize(("alpha", "k", "stated"), [(0.8, 5, 1.63), (0.9, 10, 1.60)])
def test_operations_of_a_free_draft_are_those_of_the_paper_s_table(alpha, k, stated):
    assert operations_factor(alpha, k, 0) == pytest.approx(stated, abs=0.005)


def test_operations_of_a_tree_count_what_is_forwarded_and_not_its_levels():
    """Five nodes, of which two and the root have children: 3 tokens through the draft, 6 through the target."""
    law, tree = Ranked((0.5, 0.25)), Tree((-1, 0, 0, 1, 1, 2))
    assert operations_factor(law, tree, 0.1) == pytest.approx((3 * 0.1 + 6) / block_efficiency(law, tree))
    assert operations_factor(law, tree, 0.1) != pytest.approx(1 / speedup(law, tree, Ratio(0.1, d=1))), "by levels"


def test_rounds_that_draft_nothing_do_no_more_than_a_plain_step():
    """Half of the rounds draft 4: 5 tokens verified against 1, tau = 1 + h (alpha + .. + alpha^4)."""
    assert operations_factor(HitMiss(0.5, 0.5), 4, 0) == pytest.approx((0.5 * 5 + 0.5) / (1 + 0.5 * 0.9375))


@given(st.floats(0.01, 0.99), st.integers(0, 12), st.floats(0, 1))
def test_speculation_never_does_fewer_operations(alpha, k, share):
    assert operations_factor(alpha, k, share) >= 1 - 1e-12


def test_joules_by_hand():
    """4 H100 at 700 W and 989 TFLOP/s, 70.6e9 parameters, 2460 tokens/s: .0999 J of operations, 1.138 J of time."""
    joules = joules_per_token(2 * 70.6e9, 2460.0, power=700.0, flops=989e12, gpus=4)
    assert joules.operations == pytest.approx(0.09994, abs=1e-5)
    assert joules.time == pytest.approx(1.1382, abs=1e-4)
    low, high = joules.dollars_per_million(Electricity(0.10, "2026-05", "test", overhead=1.3))
    assert (low, high) == pytest.approx((joules.operations / 3.6 * 0.13, joules.time / 3.6 * 0.13))


@given(st.floats(1e9, 1e12), st.floats(1e13, 1e16), st.floats(10, 2000), st.integers(1, 16), st.floats(1e-6, 1))
def test_energy_by_operations_is_never_above_power_times_time(operations, flops, power, gpus, busy):
    """The two meet where the boards do nothing but operations at their peak."""
    joules = joules_per_token(operations, busy * gpus * flops / operations, power=power, flops=flops, gpus=gpus)
    assert joules.operations == pytest.approx(joules.time * busy, rel=1e-9)
    assert joules.operations <= joules.time * (1 + 1e-9)


def test_more_tokens_than_the_peak_allows_are_refused():
    with pytest.raises(ValueError, match=r"^tokens_per_second: found 11.0, expected at most 10, what the peak FLOP/s"):
        joules_per_token(1e12, 11.0, power=500, flops=1e13)


def test_a_price_keeps_the_date_and_source_it_was_given():
    assert (H100.date, H100.source, H100.per_hour) == ("2026-05", "worked example", 3.0)
    assert Price(2, datetime.date(2026, 5, 20), "list").date == "2026-05-20"
    assert Price(2, "2026", "list").date == "2026"
    assert Price(Fraction(3), "2026-05", "list", overhead=Fraction(3, 2)).per_hour == Fraction(9, 2)


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "2026-13", "2026-02-30", "05/2026", 20260520, "2026-05-20T10", math.nan]
)
def test_a_price_without_a_date_is_none(date):
    with pytest.raises(ValueError, match=r"^date: found .*, expected YYYY-MM-DD, YYYY-MM or YYYY: say when") as raised:
        Price(3.0, date, "test")
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"^date: "):
        Electricity(0.1, date, "test")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Price(3.0, "2026-05", " "), "source: found ' ', expected text that says where the price is from"),
        (lambda: Price(3.0, "2026-05", None), "source: found None, expected text"),
        (lambda: Price(0, "2026-05", "x"), r"dollars_per_gpu_hour: found 0, expected a number in \(0, infinity\)"),
        (lambda: Price("3", "2026-05", "x"), "dollars_per_gpu_hour: found '3', expected a number"),
        (lambda: Price([3, 4], "2026-05", "x"), r"dollars_per_gpu_hour: found \[3, 4\], expected one number"),
        (lambda: Price(3, "2026-05", "x", overhead=0.9), "overhead: found 0.9, expected a number in "),
        (lambda: cost_per_million(4, 3.0, 1000), "price: found 3.0, expected a `Price` with its date and source"),
        (lambda: cost_per_million(0, H100, 1000), r"gpus: found 0, expected a number in \(0, infinity\)"),
        (lambda: cost_per_million(4, H100, 0), "tokens_per_second: found 0, expected a number in "),
        (lambda: cost_per_million(4, H100, math.inf), "tokens_per_second: found inf, expected a number in "),
        (lambda: cost_per_million(4, H100, 1, utilisation=1.1), "utilisation: found 1.1, expected a number in "),
        (lambda: cost_per_million(4, H100, 1, utilisation=0), r"utilisation: found 0, expected a number in \(0, 1\]"),
        (lambda: gpus_needed(-1, 1), r"rate: found -1, expected a number in \[0, infinity\)"),
        (lambda: gpus_needed(1, 0), "capacity_per_replica: found 0, expected a number in "),
        (lambda: gpus_needed(1, 1, 1.5), "gpus_per_replica: found 1.5, expected an integer >= 1"),
        (lambda: operations_factor(0.5, 2, -0.1), "share: found -0.1, expected a number in "),
        (lambda: joules_per_token(1e9, 10, power=None, flops=1e15), "power: found None, expected a number in "),
        (lambda: Joules(1, 2).dollars_per_million(0.1), "electricity: found 0.1, expected an `Electricity`, dated"),
    ],
)
def test_a_bad_input_gets_one_line(call, line):
    with pytest.raises(ValueError, match=f"^{line}") as raised:
        call()
    assert "\n" not in str(raised.value)
