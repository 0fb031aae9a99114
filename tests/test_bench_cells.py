"""The bounds on the twenty-four cells: fixed, widened by the control alone, recorded, and none of them dropped."""

import json

import pytest

pytest.importorskip("torch")

from bench import cells


def accuracy(median=0.01, worst=0.05, inside=24, *, control=(0.0, 0.0)):
    noise = {"median": control[0], "percentile_95": control[1], "worst": 2 * control[1]}
    return {"median_error": median, "worst_error": worst, "inside": inside, "control": noise}


def failing(found):
    return {name for name, bound in cells.bounds(found).items() if not bound["holds"]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (accuracy(), set()),
        (accuracy(0.02, 0.06, 20), set()),
        (accuracy(0.021), {"median_error"}),
        (accuracy(0.021, control=(0.014, 0.0)), set()),
        (accuracy(0.021, control=(0.013, 0.5)), {"median_error"}),
        (accuracy(worst=0.061), {"worst_error"}),
        (accuracy(worst=0.061, control=(0.0, 0.041)), set()),
        (accuracy(worst=0.061, control=(0.5, 0.039)), {"worst_error"}),
        (accuracy(inside=19, control=(9.0, 9.0)), {"inside"}),
        (accuracy(0.03, 0.07, 0), {"median_error", "worst_error", "inside"}),
    ],
)
def test_each_figure_has_its_own_bound_and_only_errors_are_widened(found, expected):
    assert failing(found) == expected


def test_the_record_holds_every_fixed_cell_once_and_its_bounds():
    fixed, record = (json.loads(path.read_text()) for path in (cells.FIXED, cells.RECORD / "cells.json"))
    asked = {(d, n, k) for d in fixed["domains"] for n in fixed["drafts"] for k in fixed["k"]}
    assert record["fixed"] == fixed
    assert len(asked) == len(record["cells"]) == 24
    assert {(c["domain"], c["draft"], c["k"]) for c in record["cells"]} == asked
    assert record["bounds"] == cells.bounds(record["accuracy"])
    assert record["accuracy"]["inside"] == sum(bool(cell["inside"]) for cell in record["cells"])
    assert record["accuracy"]["worst_error"] == max(abs(cell["error"]) for cell in record["cells"])


def test_the_accuracy_of_the_record_is_that_of_its_cells():
    record = json.loads((cells.RECORD / "cells.json").read_text())
    errors = []
    for cell in record["cells"]:
        predicted, measured = cell["predicted"], cell["measured"]["value"]
        assert cell["inside"] is (predicted["low"] <= measured <= predicted["high"])
        assert cell["error"] == pytest.approx(predicted["value"] / measured - 1)
        errors.append(abs(predicted["value"] / measured - 1))
    said, (*_, worst) = record["accuracy"], sorted(errors)
    assert (said["cells"], said["judged"]) == (24, 24)
    assert said["inside"] == sum(cell["inside"] for cell in record["cells"])
    assert said["median_error"] == pytest.approx(sum(sorted(errors)[11:13]) / 2)
    assert said["worst_error"] == pytest.approx(worst)


def test_the_report_says_what_holds_and_what_does_not(capsys):
    record = json.loads((cells.RECORD / "cells.json").read_text())
    cells._report(record["cells"], cells.bounds(accuracy(0.021, 0.05, 19)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 27
    assert lines[-3:] == [
        "median error: 2.1%, at most 2.0% wanted, or 2.0% for a control of 0.0%: FAILS",
        "worst error: 5.0%, at most 6.0% wanted, or 6.0% for a control of 0.0%: holds",
        "inside: 19, at least 20 wanted: FAILS",
    ]
