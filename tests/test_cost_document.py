"""The cost table by batch and context: plain steps, where a forward stays flat, and the linear form beside it."""

from dataclasses import replace

import numpy as np
import pytest

from specmath.cost import Linear
from tests import runs
from validate.cost_document import _break_even, cost_document
from validate.costs import Cell, Costs, Sweep
from validate.document import nulled


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


def priced(accept, draft="draft", **shape):
    """Forwards of one second per token and sequence, so that drawing and accepting show."""
    costs = table(lambda n, b, c: n * b, **shape)
    costs.sweeps[:] = [replace(sweep, accept=accept) for sweep in costs.sweeps]
    return cost_document(costs, draft, 4, {})


def test_plain_steps_are_those_that_rounds_are_priced_at():
    """Drawing a token takes .5 s after every forward, of the draft too."""
    found = priced((0.5, 0.5, 0.5, 0.5, 0.5))["plain_steps"]
    assert [at["v"]["5"] for at in found if at["batch"] == 1] == pytest.approx([5.5 / 1.5] * 2)
    assert [at["c"] for at in found if at["batch"] == 4] == pytest.approx([0.9 / 4.5] * 2)


def test_a_round_of_k_pays_for_accepting_k_and_not_for_the_deepest():
    """k = 4: accepting four drafts takes 1 s, accepting the eight of the deepest 64 s."""
    found = priced((0.0, 0.25, 0.5, 0.75, 1.0, 8.0, 16.0, 32.0, 64.0), "lookup", lengths=(1, 2, 3, 5, 9))
    assert found["plain_steps"][0]["full_acceptance"] == pytest.approx(5 / (5 + 1))
    assert (found["overhead"], found["overheads"][4], found["overhead_batch"]) == (64.0, 1.0, 1)


def test_at_full_acceptance_the_draft_model_catches_up_in_every_round_and_to_break_even_in_a_share_of_them():
    """Target 1 s flat, draft .1 s a token: a round of four takes 1.4, and .1 more after a full one."""
    for at in found(lambda n, b, c: 1.0 if n > 2 else float(n))["plain_steps"]:
        assert at["full_acceptance"] == pytest.approx(5 / 1.5)
        assert sum(at["break_even"] ** i for i in range(5)) == pytest.approx(1.4 + 0.1 * at["break_even"] ** 4)


@pytest.mark.parametrize(
    ("spent", "late", "alpha"), [(5.0, 0.0, 1.0), (4.9, 0.2, None), (0.9, 0.5, 0.0), (4.0, 1.0, 1.0)]
)
def test_the_break_even_ends_where_full_acceptance_does(spent, late, alpha):
    assert nulled(_break_even(4, spent, late)) == (alpha if alpha is None else pytest.approx(alpha))


def spread(costs, drift):
    costs.sweeps[:] = [replace(sweep, control=(1.0, drift)) for sweep in costs.sweeps]
    return costs


def test_a_table_is_hopeless_only_where_no_k_at_no_batch_or_context_could_pay():
    """v(2) = 1.05 and v(33) = 50: all of 32 drafts lose, one gains."""
    steep = {1: 1.0, 2: 1.05, 33: 50.0}
    document = cost_document(table(lambda n, b, c: steep[n], lengths=(1, 2, 33)), "draft", 32, {})
    assert document["verdict"] == "measure_more"
    assert [at["k"] for at in document["plain_steps"][0]["by_k"]] == [1, 32]
    ratio = {at["k"]: at["full_acceptance"] for at in document["plain_steps"][0]["by_k"]}
    assert ratio == {1: pytest.approx(2 / (1.05 + 0.1 + 0.005)), 32: pytest.approx(33 / (50 + 3.2 + 0.005))}
    assert "it would be 0.62x; k = 1 pays from alpha = 0.1" in document["reason"]
    only_long = cost_document(table(lambda n, b, c: n if c < 200 else 1.0), "lookup", 4, {})
    assert only_long["verdict"] == "measure_more"
    hopeless = cost_document(table(lambda n, b, c: float(n) ** 2), "lookup", 4, {})
    assert (hopeless["verdict"], hopeless["next"]) == ("dont_use", "decode plainly, or choose a cheaper draft")


@pytest.mark.parametrize("drift", [0.8, 1.2])
def test_a_table_whose_control_drifted_decides_nothing(drift):
    found = cost_document(spread(table(lambda n, b, c: float(n) ** 2), drift), "lookup", 4, {})
    assert found["verdict"] == "measure_more"
    assert f"the same cell drifted by {drift - 1:+.0%}" in found["next"]
