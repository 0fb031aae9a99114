"""The cost table by batch and context: plain steps, where a forward stays flat, and the linear form beside it."""

import numpy as np
import pytest

from specmath.cost import Linear
from tests import runs
from validate.cost_document import cost_document
from validate.costs import Cell, Costs, Sweep


def table(seconds, *, lengths=(1, 2, 3, 5), batches=(1, 4), contexts=(100, 400)):
    """Three equal sweeps of a forward that takes `seconds(n, batch, context)`, the draft's a tenth of it."""
    cells = {
        Cell(model, n, b, c): share * seconds(n, b, c)
        for model, share in (("target", 1.0), ("draft", 0.1))
        for n in (lengths if model == "target" else (1, 2))
        for b in batches
        for c in contexts
    }
    return Costs([Sweep(cells, (1.0, 1.0), (0.0,) * max(lengths))] * 3)


def found(seconds, **shape):
    return cost_document(table(seconds, **shape), "draft", 4, {})


def test_a_linear_machine_is_found_out_exactly():
    truth = Linear(0.02, 0.001, 1e-6)
    fitted = found(lambda n, b, c: truth.seconds(n, batch=b, context=c))["fitted"]["target"]
    assert [fitted[name] for name in ("base", "per_token", "per_kv")] == pytest.approx([0.02, 0.001, 1e-6])
    assert fitted["worst_error"] == pytest.approx(0, abs=1e-9)


def test_a_jagged_machine_shows_its_errors_cell_by_cell():
    jagged = {1: 1.0, 2: 2.0, 3: 1.2, 5: 1.5}
    fitted = found(lambda n, b, c: jagged[n])["fitted"]["target"]
    assert len(fitted["errors"]) == 4 * 2 * 2
    assert fitted["worst_error"] == pytest.approx(np.abs(fitted["errors"]).max())
    assert fitted["worst_error"] > 0.15


def test_no_form_is_fitted_to_too_few_cells():
    assert cost_document(runs.costs(), "lookup", 4, {})["fitted"]["draft"] is None


def test_every_batch_and_context_has_its_own_plain_step():
    steps = found(lambda n, b, c: b * (1 + c / 100) * n**0.5)["plain_steps"]
    assert [(s["batch"], s["context"]) for s in steps] == [(1, 100), (1, 400), (4, 100), (4, 400)]
    for step in steps:
        assert step["v"]["5"] == pytest.approx(5**0.5)
        assert step["c"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("v", "flat_to"),
    [({1: 1, 2: 1.05, 3: 1.1, 5: 1.2}, 3), ({1: 1, 2: 1.5, 3: 1.0, 5: 1.0}, 1), ({1: 1, 2: 1, 3: 1, 5: 1}, 5)],
)
def test_a_forward_is_flat_up_to_the_first_that_costs_more_than_a_tenth(v, flat_to):
    assert {step["flat_to"] for step in found(lambda n, b, c: v[n])["plain_steps"]} == {flat_to}
