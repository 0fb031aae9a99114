"""Three curves over the load: each point is the station's own steady state, and adaptive k follows the better one."""

from dataclasses import replace

import numpy as np
import pytest

from specmath import Candidate, Geometric, Linear, Operation, Pair, Slo, Traffic, plan
from specmath.candidates import Deployment, loaded
from specmath.curves import adaptive, curves
from specmath.load import Question
from specmath.serving import Station, goodput, steady

TARGET, SMALL = Linear(0.015, 1.6e-4, 4e-8), Linear(0.002, 1e-6, 1e-9)
CANDIDATE = Candidate("small", Geometric(0.6), Pair(TARGET, SMALL), (1, 2, 4), gpus=4, prefill=0.005)
TRAFFIC, SLO = Traffic(20.0, 1000, 300), Slo(tpot=0.03)
QUESTION = Question(TRAFFIC, SLO, "H100 SXM", operation=Operation(threshold=0.0))
ONE = Deployment(CANDIDATE, 4, TRAFFIC, QUESTION.operation)
RATES = np.linspace(0.2, 14, 12)


def drawn(deployment=ONE, question=QUESTION, rates=RATES):
    return {curve.name: curve for curve in curves(deployment, question, rates)}


def test_every_point_is_the_steady_state_of_a_station():
    found = drawn()
    for name, station in (("plain", ONE.plain().station), ("fixed", ONE.station)):
        for i, rate in enumerate(RATES):
            state = steady(station, rate)
            if rate < station.capacity:
                assert found[name].tpot[i] == state.tpot
                assert found[name].batch[i] == state.batch
            else:
                assert np.isnan(found[name].e2e[i])
                assert found[name].goodput[i] == 0


def test_goodput_is_the_rate_of_the_requests_that_keep_the_promise():
    for curve, station in ((drawn()["plain"], ONE.plain().station), (drawn()["fixed"], ONE.station)):
        assert list(curve.goodput) == [goodput(station, rate, SLO) for rate in RATES]
        assert 0 < curve.goodput[np.isfinite(curve.tpot)][-1] < curve.rate[-1]


def test_fixed_and_plain_cross_and_adaptive_keeps_to_the_better():
    found = drawn()
    ahead = found["fixed"].tpot < found["plain"].tpot
    assert ahead[0]
    assert not ahead[np.isfinite(found["fixed"].tpot)][-1]
    assert np.all(found["adaptive"].tpot[ahead] <= found["fixed"].tpot[ahead] * (1 + 1e-9))
    late = np.isfinite(found["plain"].tpot)
    assert np.all(found["adaptive"].tpot[late] <= found["plain"].tpot[late] * (1 + 1e-9))


def test_an_adaptive_station_at_one_depth_has_the_latency_of_that_depth():
    station = ONE.station
    token = adaptive({0: Station(100 * station.seconds, 1.0, station.prefill, station.output), 4: station}, 0.0)
    for rate in (0.5, 4.0):
        one, other = steady(token, rate), steady(station, rate)
        assert one.tpot == pytest.approx(other.tpot, rel=0.01)
        assert one.batch == pytest.approx(other.batch, rel=0.01)


def test_by_default_the_load_goes_up_to_what_the_best_carries():
    found = plan(CANDIDATE, TRAFFIC, SLO, gpu="H100 SXM").curves()
    most = max(one.station.capacity for one in loaded(ONE).values())
    assert found[0].rate[0] > 0
    assert 0.9 * most < found[0].rate[-1] < most * 1.001


def test_outputs_of_one_token_have_nothing_to_adapt():
    short = replace(ONE, traffic=Traffic(1.0, 100, 1))
    found = drawn(short, replace(QUESTION, traffic=short.traffic), np.array([0.1]))
    assert found["adaptive"].tpot == found["plain"].tpot == 0


def test_adaptive_pays_the_prefill_of_the_depths_that_it_runs():
    """A depth that the schedule never takes has a dear prefill, which plays no part."""
    seconds = np.linspace(0.01, 0.02, 32)
    cheap, good = Station(seconds, 1.0, 0.01, 100), Station(seconds * 1.2, 2.0, 0.012, 100, survival=[1, 1])
    dear = Station(seconds * 9, 2.5, 0.5, 100, survival=[1, 1, 0.5])
    assert adaptive({0: cheap, 1: good, 2: dear}, 0.03).prefill == 0.012
