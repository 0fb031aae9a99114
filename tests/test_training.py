"""Payback: the worked examples, two routes to the same break-even, and no saving that is never paid back."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.economics import Price, cost_per_million, gpus_needed
from specmath.training import (
    HOURS_PER_MONTH,
    Training,
    break_even_traffic,
    payback,
    payback_tokens,
    refresh_every,
    saving,
)

PRICE = Price(3, "2026-05", "worked example")
DAYS = HOURS_PER_MONTH / 24
POSITIVE = st.floats(0.01, 1e6)


def test_eighty_gpu_hours_are_back_in_four_days():
    """80 GPU-hours at $3, capacity 1.6 to 1.8, 8 GPUs ($17,520 a month): saves $1,947, back in 3.7 days."""
    monthly = saving(8, PRICE, 1.6, 1.8)
    assert 8 * 3 * HOURS_PER_MONTH == 17_520
    assert monthly == pytest.approx(1947, abs=0.5)
    assert Training(80, PRICE).dollars == 240
    assert payback(Training(80, PRICE).dollars, monthly) * DAYS == pytest.approx(3.75, abs=0.01)


def test_with_engineers_it_takes_eight_months_and_on_four_times_the_fleet_two():
    cost = Training(80, PRICE, engineering=15_000).dollars
    assert payback(cost, saving(8, PRICE, 1.6, 1.8)) == pytest.approx(7.8, abs=0.05)
    assert payback(cost, saving(32, PRICE, 1.6, 1.8)) == pytest.approx(2.0, abs=0.05)


def test_payback_in_tokens_is_exact():
    """100 GPU-hours, 40 tokens per GPU-second, from a speedup of 1.2 to one of 2.8: 30.24 million."""
    exact = payback_tokens(100 * 3600, 40, Fraction("1.2"), Fraction("2.8"))
    assert exact == 30_240_000
    assert payback_tokens(100 * 3600, 40, 1.2, 2.8) == pytest.approx(30.24e6, rel=1e-12)


@given(POSITIVE, POSITIVE, st.floats(0.5, 4), st.floats(1.01, 4))
def test_after_the_payback_in_tokens_training_and_serving_took_no_longer_than_serving_before(
    seconds, rate, before, factor
):
    tokens = payback_tokens(seconds, rate, before, before * factor)
    assert seconds + tokens / (rate * before * factor) == pytest.approx(tokens / (rate * before), rel=1e-6)


@given(POSITIVE, POSITIVE, st.floats(0.1, 10), st.floats(0.1, 1))
def test_without_a_saving_nothing_is_ever_paid_back(cost, rate, before, factor):
    after = before * factor
    assert payback(cost, 0) == payback(cost, -cost) == math.inf
    assert payback(cost, min(saving(8, PRICE, before, after), 0)) == math.inf
    assert payback_tokens(cost, rate, before, after) == math.inf
    assert break_even_traffic(cost, rate, before, after, months=6) == math.inf


@given(POSITIVE, POSITIVE, POSITIVE, st.floats(0.1, 60))
def test_a_refresh_delays_payback_and_one_as_often_as_it_is_earned_prevents_it(cost, monthly, refresh, every):
    plain = payback(cost, monthly)
    delayed = payback(cost, monthly, refresh=refresh, every=every)
    shortest = payback(refresh, monthly)
    assert delayed >= plain
    assert (delayed < math.inf) == (monthly - refresh / every > 0)
    assert payback(cost, monthly, refresh=refresh, every=shortest * 1.01) < math.inf
    assert payback(cost, monthly, refresh=refresh, every=shortest * 0.99) == math.inf


def test_payback_month_by_month():
    """$12,000 once, $2,000 saved a month, $1,500 again every 3 months, spread over them: earned in month 8."""
    earned, months = -12_000.0, 0
    while earned < 0:
        earned, months = earned + 2000 - 1500 / 3, months + 1
    assert payback(12_000, 2000, refresh=1500, every=3) == months == 8


@given(POSITIVE, POSITIVE)
def test_no_other_cadence_costs_less(refresh, decay):
    best = refresh_every(refresh, decay)
    bills = [refresh / month + decay * month / 2 for month in (0.8 * best, best, 1.25 * best)]
    assert bills[1] < min(bills[0], bills[2])


def test_a_draft_that_does_not_age_is_never_refreshed():
    assert refresh_every(1000, 0) == math.inf


@given(POSITIVE, st.floats(1e-6, 1), st.floats(0.1, 10), st.floats(1.01, 5), st.floats(0.1, 60))
def test_break_even_traffic_earns_the_cost_in_exactly_its_months(cost, per_request, before, factor, months):
    traffic = break_even_traffic(cost, per_request, before, before * factor, months=months)
    assert payback(cost, traffic * per_request * (1 - 1 / factor)) == pytest.approx(months, rel=1e-9)


def test_a_bill_by_the_month_and_one_by_the_request_save_the_same():
    """Requests that fill 8 GPUs of capacity 1.6 at full use: both give the saving in dollars a month."""
    per_request = cost_per_million(1, PRICE, 1.6) / 1e6
    requests = 8 * 1.6 * 3600 * HOURS_PER_MONTH
    monthly = saving(8, PRICE, 1.6, 1.8)
    assert requests * per_request * (1 - 1.6 / 1.8) == pytest.approx(monthly)
    assert break_even_traffic(monthly * 2, per_request, 1.6, 1.8, months=2) == pytest.approx(requests)


def test_whole_replicas_save_in_steps():
    """Replicas of 4: a ninth more capacity saves none of 8 GPUs, though a ninth of the bill is what `saving` says."""
    assert gpus_needed(12, 8.0, 4) == gpus_needed(12, 9.0, 4) == 8
    assert saving(8, PRICE, 8.0, 9.0) > 0


def test_the_cost_of_a_training_adds_up():
    priced = Price(3, "2026-05", "worked example", overhead=1.5)
    training = Training(80, priced, tokens=50e6, per_million=1.35, evaluation=100, engineering=15_000)
    assert training.dollars == pytest.approx(80 * 4.5 + 67.5 + 15_100)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Training(-1, PRICE), r"gpu_hours: found -1, expected a number in \[0, infinity\)"),
        (lambda: Training(80, 3.0), "price: found 3.0, expected a `Price` with its date and source"),
        (lambda: Training(80, PRICE, engineering=math.nan), "engineering: found nan, expected a number"),
        (lambda: saving(0, PRICE, 1, 2), r"gpus: found 0, expected a number in \(0, infinity\)"),
        (lambda: saving(8, PRICE, 1, 0), "after: found 0, expected a number in "),
        (lambda: saving(8, 3, 1, 2), "price: found 3, expected a `Price`"),
        (lambda: payback(-1, 2), "cost: found -1, expected a number in "),
        (lambda: payback(1, math.nan), "saving: found nan, expected a number in "),
        (lambda: payback(1, 2, refresh=1, every=0), "every: found 0, expected a number in "),
        (lambda: payback([1], 2), r"cost: found \[1\], expected one number"),
        (lambda: refresh_every(1, -1), "decay: found -1, expected a number in "),
        (lambda: break_even_traffic(1, 0, 1, 2, months=1), "per_request: found 0, expected a number in "),
        (lambda: break_even_traffic(1, 1, 1, 2, months=0), "months: found 0, expected a number in "),
        (lambda: payback_tokens(1, 0, 1, 2), "tokens_per_gpu_second: found 0, expected a number in "),
    ],
)
def test_a_bad_input_gets_one_line(call, line):
    with pytest.raises(ValueError, match=f"^{line}") as raised:
        call()
    assert "\n" not in str(raised.value)
