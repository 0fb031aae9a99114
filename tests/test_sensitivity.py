"""What an answer hangs on: every row is the plan asked again with that one input changed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath import (
    Candidate,
    Geometric,
    HitMiss,
    Linear,
    Pair,
    Positional,
    Roofline,
    Slo,
    Traffic,
    check_acceptance,
    plan,
)
from specmath.candidates import Deployment, Operation
from specmath.varied import Scaled, Tilted, bandwidth_scaled

TARGET, SMALL = Linear(0.015, 8e-5, 4e-8), Linear(0.002, 1e-6, 1e-9)
CANDIDATE = Candidate("small", Geometric(0.6), Pair(TARGET, SMALL), 3, gpus=4, prefill=0.05)
TRAFFIC, SLO = Traffic(20.0, 1000, 300), Slo(tpot=0.02)


def ask(candidate=CANDIDATE, traffic=TRAFFIC, slo=SLO, price=2.0):
    return plan(candidate, traffic, slo, gpu="H100 SXM", price=price)


def dollars(found, price=2.0):
    """Dollars per million tokens of what drafts, before rounding up."""
    traffic = found.question.traffic
    return 1e6 * found.drafting.exact_gpus * price / (3600 * traffic.rate * traffic.output)


def rows(found, spread=0.1):
    return {row.name: row for row in found.sensitivities(spread)}


CHANGED = {
    "alpha": lambda f: ask(replace(CANDIDATE, law=Geometric(0.6 * f))),
    "draft time": lambda f: ask(replace(CANDIDATE, cost=Pair(TARGET, Linear(0.002 * f, 1e-6 * f, 1e-9 * f)))),
    "target time": lambda f: ask(replace(CANDIDATE, cost=Pair(Linear(0.015 * f, 8e-5 * f, 4e-8 * f), SMALL))),
    "verify time": lambda f: ask(replace(CANDIDATE, cost=Pair(Beyond(f), SMALL))),
    "prompt": lambda f: ask(traffic=Traffic(20.0, 1000 * f, 300)),
    "output": lambda f: ask(traffic=Traffic(20.0, 1000, 300 * f)),
    "rate": lambda f: ask(traffic=Traffic(20.0 * f, 1000, 300)),
}


class Beyond(Linear):
    """The target, of whose forwards what more than one token adds is scaled."""

    def __init__(self, factor):
        super().__init__(0.015, 8e-5, 4e-8)
        object.__setattr__(self, "factor", factor)

    def seconds(self, n, *, batch=1, context=0):
        return super().seconds(1, batch=batch, context=context) + self.factor * 8e-5 * (n - 1) * batch


@pytest.mark.parametrize("name", CHANGED)
def test_a_row_is_the_plan_asked_again(name):
    row = rows(ask())[name]
    assert row.base == pytest.approx(dollars(ask()))
    assert row.low == pytest.approx(dollars(CHANGED[name](0.9)), rel=1e-6)
    assert row.high == pytest.approx(dollars(CHANGED[name](1.1)), rel=1e-6)
    assert row.unit == "dollars per million tokens"


def test_rows_come_largest_first_and_the_price_is_linear():
    found = ask().sensitivities()
    assert [row.swing for row in found] == sorted((row.swing for row in found), reverse=True)
    price = rows(ask())["price"]
    assert (price.low, price.high) == (pytest.approx(0.9 * price.base), pytest.approx(1.1 * price.base))


def test_without_a_price_gpus_are_counted_and_the_rate_counts():
    found = rows(ask(price=None))
    assert "price" not in found
    assert found["rate"].unit == "GPUs"
    assert found["rate"].high == pytest.approx(1.1 * found["rate"].base)


def test_a_promise_that_breaks_is_infinite_and_first():
    first = ask(slo=Slo(tpot=0.0105)).sensitivities()[0]
    assert first.swing == math.inf


def test_plain_decoding_hangs_on_neither_draft_nor_alpha():
    found = plan(replace(CANDIDATE, k=0), TRAFFIC, SLO, gpu="H100 SXM")
    assert {row.name for row in found.sensitivities()} == {"rate", "prompt", "output", "target time"}


def test_bandwidth_is_that_of_weights_and_of_caches():
    """Ten per cent more of it: a step whose caches are most of it takes nearly a tenth less."""
    target = Roofline("Llama-3.1-8B", "h100")
    one = Deployment(Candidate("none", None, Pair(target), 0), 0, Traffic(1.0, 100_000, 300), Operation())
    more = bandwidth_scaled(one, 1.1).candidate.cost.target
    at = {"batch": 32, "context": 100_000}
    assert target.breakdown(1, **at)["kv"] > 0.8 * target.seconds(1, **at)
    assert more.seconds(1, **at) == pytest.approx(target.seconds(1, **at) / 1.1, rel=0.02)


def test_of_a_roofline_the_bandwidth_is_varied():
    target = Roofline("Llama-3.1-8B", "H100 SXM")
    eagle = Candidate("eagle", 0.7, Pair(target, Roofline(target.shape.head(), "H100 SXM").drafting()), 3)
    found = rows(plan(eagle, TRAFFIC, SLO, gpu="H100 SXM"))
    assert found["bandwidth efficiency"].low > found["bandwidth efficiency"].base > found["bandwidth efficiency"].high


@pytest.mark.parametrize("spread", [0, 1, -0.1])
def test_a_spread_that_is_none_is_refused(spread):
    with pytest.raises(ValueError, match=f"spread: found {spread}"):
        ask().sensitivities(spread)


LAWS = st.one_of(
    st.floats(0, 1).map(Geometric),
    st.builds(HitMiss, st.floats(0, 1), st.floats(0, 1)),
    st.lists(st.floats(0, 1), min_size=6, max_size=6).map(Positional),
)


@given(LAWS, st.floats(0.5, 2), st.integers(1, 6))
def test_a_tilted_law_is_a_law(law, factor, k):
    tilted = Tilted(law, factor)
    assert np.all(np.diff(tilted.curve(k)) <= 1e-12)
    assert tilted.block_efficiency(k) <= (factor if factor > 1 else 1) ** k * law.block_efficiency(k) * (1 + 1e-9)
    assert Tilted(law, 1.0).curve(k) == pytest.approx(law.curve(k))
    assert [tilted.survival(i) for i in range(k + 1)] == pytest.approx(list(tilted.curve(k)))


def test_tilting_multiplies_the_conditionals():
    assert Tilted(Geometric(0.5), 1.2).curve(3) == pytest.approx(Geometric(0.6).curve(3))
    assert Tilted(Geometric(0.9), 2.0).curve(3) == pytest.approx([1, 1, 1, 1])
    assert Tilted(HitMiss(0.4, 0.5), 3.0).curve(2) == pytest.approx([1, 0.4, 0.4])  # what was drafted, at most
    check_acceptance(Tilted(Geometric(0.5), 1.2), 4)


def test_a_scaled_model_scales_all_or_what_is_beyond_a_step():
    assert Scaled(TARGET, 2.0).seconds(3) == pytest.approx(2 * TARGET.seconds(3))
    assert Scaled(TARGET, 2.0, beyond=True).seconds(1) == pytest.approx(TARGET.seconds(1))
    assert Scaled(TARGET, 2.0, beyond=True).seconds(3) == pytest.approx(2 * TARGET.seconds(3) - TARGET.seconds(1))
