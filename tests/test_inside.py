"""A measurement is inside where the predicted interval holds its value, whatever its own interval."""

import pytest

pytest.importorskip("torch")

from specmath.estimate import Estimate
from validate.compare import Comparison

SHARP, WIDE = (Estimate(value, value - half, value + half, 0.95, 8, "") for value, half in ((1.0, 0.01), (1.1, 0.2)))


def test_a_sharp_prediction_misses_though_the_measurement_is_wide():
    assert Comparison("a", "lookup", 4, SHARP, WIDE).inside is False


def test_a_wide_prediction_holds_a_sharp_measurement_elsewhere():
    assert Comparison("a", "lookup", 4, WIDE, SHARP).inside is True
