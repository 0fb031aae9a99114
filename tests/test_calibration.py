"""Parameters fitted to times: planted factors come back with their intervals, what is not seen stays, bad input."""

from dataclasses import replace

import numpy as np
import pytest

from specmath.calibration import calibrate, fit_factors, scaled
from specmath.cost import Roofline, Table
from specmath.hardware import model

LENGTHS, BATCHES, CONTEXTS = (1, 4), (1, 8, 64, 256), (128, 2048, 16384)
CELLS = np.array([(n, b, c) for n in LENGTHS for b in BATCHES for c in CONTEXTS])
PLANTED = {"bandwidth": 0.8, "host": 1.8, "kv_bandwidth": 0.9, "flops": 0.7}


def table(roofline, noise=0.0, seed=0):
    coins = np.random.default_rng(seed).normal(0, noise, len(CELLS))
    seconds = [roofline.seconds(int(n), batch=int(b), context=int(c)) for n, b, c in CELLS]
    return Table(*CELLS.T, np.array(seconds) * np.exp(coins), provenance="measured")


@pytest.fixture(scope="module")
def start():
    return Roofline("Llama-3.1-8B", "h100")


@pytest.fixture(scope="module")
def machine(start):
    return replace(start, efficiency=scaled(start.efficiency, PLANTED, "planted"))


def test_planted_factors_are_found(start, machine):
    fitted, found = calibrate(start, table(machine, 0.01))
    for name, value in PLANTED.items():
        factor = found.factors[name]
        assert factor.low < value < factor.high or abs(factor.value / value - 1) < 0.03, (name, factor)
    assert found.error < 0.012
    assert found.error < found.held_out < 0.03
    wrong = np.mean(
        [abs(start.seconds(1, batch=b, context=500) / machine.seconds(1, batch=b, context=500) - 1) for b in BATCHES]
    )
    right = np.mean(
        [abs(fitted.seconds(1, batch=b, context=500) / machine.seconds(1, batch=b, context=500) - 1) for b in BATCHES]
    )
    assert right < 0.02 < 0.15 < wrong


def test_what_was_fitted_says_so(start, machine):
    fitted, _ = calibrate(start, table(machine), ("host", "bandwidth"))
    assert fitted.efficiency.origin("host") == ("fitted", "a measured table")
    assert fitted.efficiency.origin("attention")[0] == "measured"
    assert fitted.provenance == "fitted"
    assert fitted.calibrated


def test_experts_need_a_fitted_rho_to_count_as_calibrated(machine):
    moe = Roofline(model("Qwen3-30B-A3B"), "h100")
    once, _ = calibrate(moe, table(moe), ("host",))
    assert not once.calibrated
    both, _ = calibrate(moe, table(moe), ("host", "rho"))
    assert both.calibrated


def test_a_parameter_nothing_depends_on_stays(start):
    found = fit_factors(lambda factors: np.array([1.0, 2.0]), [1.0, 2.0], ("host", "flops"))
    assert found.factors["flops"].value == pytest.approx(1.0)
    assert found.factors["flops"].high > 1.0


@pytest.mark.parametrize(
    ("times", "message"),
    [([1.0], "found 1 times, expected 2 or more"), ([1.0, -1.0], "found -1.0, expected times above 0")],
)
def test_times_that_cannot_be_fitted(times, message):
    with pytest.raises(ValueError, match=message):
        fit_factors(lambda factors: np.array(times), times, ("host", "flops"))
