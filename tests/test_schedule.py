"""k by batch and by rate, hysteresis and the switch-off, against dumb scalar loops."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.schedule import Schedule, by_batch, by_rate, switch_off
from specmath.serving import Station


def Replica(seconds, tau=1.0, prefill=0.0, output=11.0):
    """A station whose drafts are three, or one where tau is at most 2, and accepted alike."""
    k = 1 if tau <= 2 else 3
    return Station(seconds, tau, prefill, output, survival=[1.0] + [(tau - 1) / k] * k)


PLAIN = Replica(tuple(1 + 0.01 * b for b in range(1, 65)))
DRAFTING = Replica(tuple(1.2 + 0.05 * b for b in range(1, 65)), tau=2.0)  # pays until 2 + .02 b = 1.2 + .05 b
times = st.lists(st.floats(0.1, 10), min_size=3, max_size=12).map(tuple)
replicas = st.builds(Replica, times, st.floats(1, 4), st.just(0.05), st.just(10.0))
fleets = st.dictionaries(st.integers(0, 8), replicas, min_size=1, max_size=4)


def fastest(stations, b):
    """The k with the least seconds per token at batch b."""
    able = {k: s.seconds[b - 1] / s.tau for k, s in sorted(stations.items()) if b <= len(s.seconds)}
    return min(able, key=able.__getitem__), able


def flat(ranges):
    return [k for low, high, k in ranges for _ in range(low, high + 1)]


@given(fleets)
def test_the_best_k_is_the_one_a_loop_finds(stations):
    schedule = by_batch(stations)
    assert flat(schedule.best) == [fastest(stations, b)[0] for b in range(1, schedule.best[-1][1] + 1)]


@given(fleets, st.floats(0, 0.5))
def test_hysteresis_loses_at_most_its_threshold_and_never_switches_for_less(stations, threshold):
    schedule = by_batch(stations, threshold)
    for ranges, rising in ((schedule.up, True), (schedule.down, False)):
        ks = flat(ranges)
        for b, k in enumerate(ks, 1):
            best, able = fastest(stations, b)
            assert able[k] <= able[best] * (1 + threshold) * (1 + 1e-9)
            assert schedule.k(b, rising=rising) == k
        walk = list(enumerate(ks, 1))
        for (_, before), (b, after) in pairwise(walk if rising else walk[::-1]):
            able = fastest(stations, b)[1]
            if before != after and before in able:
                assert able[before] > able[after] * (1 + threshold) * (1 - 1e-9)


def test_ranges_cover_every_batch_once():
    schedule = by_batch({0: PLAIN, 3: DRAFTING})
    for ranges in (schedule.up, schedule.down, schedule.best):
        assert ranges[0][0] == 1
        assert ranges[-1][1] == 64
        assert all(one[1] + 1 == other[0] for one, other in pairwise(ranges))


def test_up_switches_late_and_down_switches_late_too():
    schedule = by_batch({0: PLAIN, 3: DRAFTING}, 0.05)
    (_, up, _), (_, best, _), (_, down, _) = schedule.up[0], schedule.best[0], schedule.down[0]
    assert down < best == 26 < up


def test_a_dip_is_scheduled_as_a_dip():
    dip = Replica((1.0, 3.0, 1.0), tau=2.0)
    schedule = by_batch({0: Replica((1.0, 1.0, 1.0)), 2: dip})
    assert schedule.best == ((1, 1, 2), (2, 2, 0), (3, 3, 2))


def test_a_depth_is_no_candidate_beyond_its_largest_batch():
    schedule = by_batch({0: PLAIN, 3: Replica(DRAFTING.seconds[:10], 2.0)})
    assert schedule.best == ((1, 10, 3), (11, 64, 0))


def test_the_switch_off_is_where_tau_plain_steps_take_one_round():
    off = switch_off(DRAFTING, PLAIN)
    assert off.batch == pytest.approx(0.8 / 0.03)
    step, round_time = 1 + 0.01 * off.batch, 1.2 + 0.05 * off.batch
    assert 2 * step == pytest.approx(round_time)
    assert off.batches == ((off.batch, False),)


@pytest.mark.parametrize("prefill", [0.0, 0.05])
def test_the_switch_off_rate_is_where_both_carry_it_at_one_batch(prefill):
    drafting = Replica(DRAFTING.seconds, 2.0, prefill)
    off = switch_off(drafting, PLAIN)
    one, other = (needed(station, off.rate) for station in (drafting, PLAIN))
    assert one == pytest.approx(other, abs=0.002)
    assert needed(drafting, 0.9 * off.rate) < needed(PLAIN, 0.9 * off.rate)
    assert needed(drafting, 1.1 * off.rate) > needed(PLAIN, 1.1 * off.rate)


def test_a_draft_that_prefills_is_switched_off_at_a_lower_rate():
    free, paid = (switch_off(Replica(DRAFTING.seconds, 2.0, prefill), PLAIN) for prefill in (0.0, 0.05))
    assert paid.batch == free.batch
    assert paid.rate < free.rate


def test_every_crossing_is_named_and_the_last_one_counts():
    jagged = Replica((1.0, 3.0, 1.0, 3.0), tau=2.0)
    off = switch_off(jagged, Replica((1.0,) * 4))
    assert off.batches == ((1.5, False), (2.5, True), (3.5, False))
    assert off.batch == 3.5


def test_nothing_to_switch_off():
    never = switch_off(Replica((1.0, 1.0), 2.0), Replica((1.0, 1.0)))
    nowhere = switch_off(Replica((3.0, 3.0), 2.0), Replica((1.0, 1.0)))
    assert (never.batch, never.rate) == (None, None)
    assert (nowhere.batch, nowhere.rate) == (0.0, 0.0)


def test_the_k_of_a_rate_is_the_one_with_the_smallest_batch():
    stations = {0: PLAIN, 3: DRAFTING}
    ranges = by_rate(stations)
    off = switch_off(DRAFTING, PLAIN)
    assert ranges == ((0.0, pytest.approx(off.rate), 3), (pytest.approx(off.rate), max(PLAIN.completions), 0))


@given(fleets)
def test_no_other_k_carries_a_rate_at_a_smaller_batch(stations):
    ranges = by_rate(stations)
    assert ranges[-1][1] == pytest.approx(max(max(s.completions) for s in stations.values()))
    for low, high, k in ranges:
        rate = (low + high) / 2
        batches = {one: needed(station, rate) for one, station in stations.items()}
        assert batches[k] <= min(batches.values()) + 1e-6


def needed(station, rate):
    """The smallest batch, by steps of a thousandth, that carries the rate."""
    b = np.arange(0.001, station.max_batch + 0.0005, 0.001)
    whole = np.arange(1, station.max_batch + 1)
    able = b / np.interp(b, whole, whole / station.completions) >= rate * (1 - 1e-9)
    return float(b[np.argmax(able)]) if able.any() else math.inf


def test_what_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match="threshold: found -1, expected a gain"):
        by_batch({0: PLAIN}, -1)
    with pytest.raises(ValueError, match="stations: found none, expected one per k"):
        by_rate({})


def test_a_batch_beyond_the_last_range_has_its_k():
    assert Schedule(((1, 4, 2),), ((1, 4, 1),), ((1, 4, 2),), 0.0).k(9) == 2
