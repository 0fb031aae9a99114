"""The closed form and the cost table as JSON objects: keys, numbers by other routes, and verdicts."""

import json
import math

import numpy as np
import pytest

from specmath.speedup import break_even
from tests import runs
from validate.cost_document import cost_document
from validate.document import nulled, significant, speedup_document, times

COMMON = {"schema", "version", "verdict", "reason", "next"}


def as_json(document):
    """Through JSON and back; NaN and infinity are refused."""
    return json.loads(json.dumps(document, allow_nan=False))


def test_the_speedup_object_has_the_keys_of_the_contract_and_no_others():
    document = as_json(speedup_document(0.75, 4, 0.02))
    own = {"inputs", "speedup", "block_efficiency", "accepted_fraction", "variance", "round_time"}
    assert set(document) == COMMON | own | {"survival", "pmf", "best", "break_even", "curve"}
    assert document["schema"] == "specmath.speedup/1"
    assert set(document["inputs"]) == {"alpha", "k", "c", "d", "o"}
    assert set(document["break_even"]) == {"alpha", "c"}
    assert set(document["best"]) == {"k", "speedup"}
    assert set(document["curve"][0]) == {"k", "speedup", "block_efficiency"}


@pytest.mark.parametrize(
    ("alpha", "k", "c", "d", "o"), [(0.75, 4, 0.02, 0, 0), (0.3, 7, 0.1, 0.05, 0.2), (1, 3, 0, 0, 0)]
)
def test_the_numbers_agree_with_sums_over_the_pmf(alpha, k, c, d, o):
    document = as_json(speedup_document(alpha, k, c, d=d, o=o))
    mean = sum(n * p for n, p in enumerate(document["pmf"]))
    assert sum(document["pmf"]) == pytest.approx(1)
    assert document["block_efficiency"] == pytest.approx(1 + mean)
    assert document["accepted_fraction"] == pytest.approx(mean / k)
    assert document["variance"] == pytest.approx(sum(p * (n - mean) ** 2 for n, p in enumerate(document["pmf"])))
    assert document["survival"] == pytest.approx([sum(document["pmf"][i:]) for i in range(k + 1)])
    assert document["speedup"] == pytest.approx((1 + mean) / (1 + k * (c + d) + o))
    assert document["curve"][k]["speedup"] == document["speedup"]


def test_the_best_k_is_the_top_of_the_curve():
    document = speedup_document(0.75, 4, 0.02)
    assert document["best"] == {"k": 9, "speedup": pytest.approx(3.198937, abs=1e-6)}
    assert max(document["curve"], key=lambda point: point["speedup"])["k"] == 9
    assert "k = 9" in document["next"]


def test_at_break_even_the_speedup_is_one_on_either_axis():
    edge = speedup_document(0.6, 3, 0.1, d=0.02, o=0.1)["break_even"]
    assert speedup_document(edge["alpha"], 3, 0.1, d=0.02, o=0.1)["speedup"] == pytest.approx(1)
    assert speedup_document(0.6, 3, edge["c"], d=0.02, o=0.1)["speedup"] == pytest.approx(1)


def test_a_tie_with_plain_decoding_is_no_reason_to_use_it():
    assert speedup_document(0.5, 2, 0.375)["speedup"] == 1
    assert speedup_document(0.5, 2, 0.375)["verdict"] == "dont_use"
    assert speedup_document(0.5, 2, 0.374)["verdict"] == "use"


@pytest.mark.parametrize(
    ("given", "term"),
    [
        ((0.1, 4, 0.02), "acceptance"),
        ((0.95, 4, 0.9), "drafting"),
        ((0.95, 4, 0.0, 0.9), "verification"),
        ((0.95, 4, 0.0, 0.0, 6.0), "overhead"),
    ],
)
def test_the_reason_names_the_term_whose_repair_gains_most(given, term):
    alpha, k, c, d, o = (*given, 0.0, 0.0)[:5]
    assert f"{term} limits it" in speedup_document(alpha, k, c, d=d, o=o)["reason"]


def test_what_is_not_known_at_k_0_is_null():
    document = as_json(speedup_document(0.5, 0, 0.1))
    assert document["accepted_fraction"] is None
    assert document["break_even"] == {"alpha": None, "c": None}
    assert (document["speedup"], document["verdict"]) == (1, "dont_use")


def test_a_break_even_that_does_not_exist_is_null_and_not_mentioned():
    document = as_json(speedup_document(0.5, 2, 5.0))
    assert document["break_even"]["alpha"] is None
    assert "alpha" not in document["next"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"k": -1}, "k"),
        ({"k": 1025}, "k"),
        ({"c": -0.1}, "c"),
        ({"c": math.nan}, "c"),
        ({"c": math.inf}, "c"),
        ({"d": -1.0}, "d"),
        ({"o": math.nan}, "o"),
    ],
)
def test_an_input_out_of_its_domain_is_refused_by_name_in_one_line(given, named):
    with pytest.raises(ValueError, match=rf"^{named}: found") as caught:
        speedup_document(**{"alpha": 0.5, "k": 4, "c": 0.1} | given)
    assert "\n" not in str(caught.value)


def test_the_cost_object_has_the_keys_of_the_contract_and_the_raw_table():
    document = as_json(cost_document(runs.costs(draft=0.1), "D", runs.K, {"processor": "none"}))
    assert COMMON | {"cells", "machine", "drift"} <= set(document)
    assert set(document["cells"][0]) == {"model", "n", "batch", "context", "seconds", "low", "high"}
    found = {(cell["model"], cell["n"], cell["context"]): cell["seconds"] for cell in document["cells"]}
    assert [found["target", n, 0] for n in range(1, 6)] == [runs.STEP * runs.VERIFY[n] for n in range(1, 6)]


def test_the_break_even_of_a_cost_table_is_where_the_closed_form_pays_exactly():
    found = cost_document(runs.costs(draft=0.1), "D", runs.K, {})["plain_steps"][0]
    assert (found["v"]["5"], found["c"]) == (1.5, pytest.approx(0.1))
    assert found["full_acceptance"] == pytest.approx(5 / (1.9 + 0.1)), "and the last token of the round before is read"
    alpha = found["break_even"]
    assert sum(alpha**i for i in range(5)) == pytest.approx(1.9 + 0.1 * alpha**4)
    free = cost_document(runs.costs(), "lookup", runs.K, {})["plain_steps"][0]
    assert free["full_acceptance"] == pytest.approx(5 / 1.5)
    assert free["break_even"] == pytest.approx(break_even(c=0, k=4, o=0.5))


def test_a_cost_table_alone_says_no_where_full_acceptance_would_not_pay_and_else_asks_for_acceptance():
    assert cost_document(runs.costs(draft=0.1), "D", runs.K, {})["verdict"] == "measure_more"
    assert cost_document(runs.costs(draft=1.0), "D", runs.K, {})["verdict"] == "dont_use"


def test_a_machine_that_drifts_is_told_to_measure_again():
    unsteady = runs.costs()
    unsteady.sweeps[:] = [type(s)(s.cells, (1.0, 1.4), s.accept) for s in unsteady.sweeps]
    assert "+40%" in cost_document(unsteady, "lookup", runs.K, {})["next"]


def test_nothing_that_json_cannot_hold_is_left():
    value = {
        "a": math.nan,
        "b": [np.float64(math.inf), np.array([1.0, math.nan])],
        "c": (True, None, "x"),
        3: np.int64(2),
    }
    assert as_json(nulled(value)) == {"a": None, "b": [None, [1.0, None]], "c": [True, None, "x"], "3": 2}


def test_numbers_are_shown_to_three_digits_and_never_in_scientific_notation():
    shown = [significant(x) for x in (0.061234, 1234.5, 62.08, 0.0, 0.000012345, None, math.nan)]
    assert shown == ["0.0612", "1234", "62.1", "0.00", "0.0000123", "–", "–"]
    assert (times(1.416), times(None)) == ("1.42x", "–")
