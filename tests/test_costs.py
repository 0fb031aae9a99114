import json

import pytest

from specmath.cost import Outside
from specmath.draft import Chain
from validate import costs
from validate.costs import Cell, Costs, Sweep

OLD = [json.dumps({"format": "specmath.costs", "version": version}) for version in (1, 2)]


def sweep(scale=1.0, *, accept=(0.001, 0.0015, 0.003)):
    seconds = {("target", 1): 1.0, ("target", 2): 1.6, ("target", 3): 1.5, ("draft", 1): 0.25, ("draft", 2): 0.5}
    cells = {
        Cell(model, n, 1, context): scale * (value + context / 1000)
        for (model, n), value in seconds.items()
        for context in (100, 200)
    }
    return Sweep(cells, (1.0, 1.1), accept)


def write(path, found):
    costs.journal(path, {"target": "T"}).append(costs.record(found))


def test_a_costs_file_gives_back_its_sweeps(tmp_path):
    path = tmp_path / "costs.jsonl"
    for scale in (1.0, 2.0):
        write(path, sweep(scale))
    assert costs.read(path).sweeps == [sweep(1.0), sweep(2.0)]


def test_sweeps_over_different_cells_are_no_table(tmp_path):
    path = tmp_path / "costs.jsonl"
    write(path, sweep())
    whole = sweep()
    write(path, Sweep(dict(list(whole.cells.items())[1:]), whole.control, whole.accept))
    with pytest.raises(ValueError, match=r"costs\.jsonl:3: found other shapes than in line 2, expected the same"):
        costs.read(path)


def test_sweeps_that_accepted_other_drafts_are_no_table(tmp_path):
    path = tmp_path / "costs.jsonl"
    write(path, sweep())
    write(path, sweep(accept=(0.001, 0.003)))
    with pytest.raises(ValueError, match=r"costs\.jsonl:3: found other shapes than in line 2, expected the same"):
        costs.read(path)


def test_the_table_holds_medians_and_keeps_the_jags():
    pair = Costs([sweep(1.0), sweep(1.0), sweep(50.0)]).pair("draft")
    drawing = 0.001
    forwards = [pair.target.seconds(n, context=100) - drawing for n in (1, 2, 3)]
    assert forwards == pytest.approx([1.1, 1.7, 1.6])
    assert pair.draft.seconds(1, context=150) - drawing == pytest.approx(0.4)


def test_the_overhead_is_what_accepting_so_many_drafts_costs_beyond_one_token():
    found = Costs([sweep(), sweep(accept=(0.002, 0.009, 0.006)), sweep()])
    assert found.overheads == pytest.approx([0, 0.0005, 0.002])
    assert found.overhead == found.overheads[-1]
    assert Costs([sweep(accept=(0.003, 0.004, 0.001))]).overheads == pytest.approx([0, 0.001, 0])


def test_every_round_pays_for_accepting_its_own_drafts():
    pair = Costs([sweep()]).pair("draft")
    assert [pair.round(Chain(d), context=100).overhead for d in range(3)] == pytest.approx([0, 0.0005, 0.002])
    with pytest.raises(Outside, match="overhead of 3 drafted tokens: found no measurement, expected 0 to 2"):
        Costs([sweep()]).pair("lookup")._beyond(3)


def test_the_drift_is_the_repeated_cells_second_time_over_its_first():
    assert Costs([sweep()] * 3).drift == pytest.approx(1.1)


def test_rows_carry_quartiles_around_the_median():
    row = Costs([sweep(s) for s in (1.0, 2.0, 3.0)]).rows()[0]
    assert (row["model"], row["n"], row["context"]) == ("draft", 1, 100)
    assert row["low"] < row["seconds"] < row["high"]


def test_a_draft_that_was_not_timed_has_no_price_and_is_never_taken_for_free():
    target_only = Costs([Sweep({c: s for c, s in sweep().cells.items() if c.model == "target"}, (1, 1), (0, 0))])
    with pytest.raises(ValueError, match="found times of target, expected those of draft"):
        target_only.pair("draft")
    assert target_only.pair("lookup").draft is None


def test_doubling_a_cell_doubles_that_cell():
    cell = Cell("target", 2, 1, 100)
    before, after = (found.times() for found in (Costs([sweep()]), Costs([sweep()]).doubled(cell)))
    assert {c for c in before if before[c] != after[c]} == {cell}
    assert after[cell] == 2 * before[cell]


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "costs.jsonl"
    write(path, sweep())
    with path.open("a") as file:
        file.write('{"cells": [["targ')
    assert costs.read(path).sweeps == [sweep()]


@pytest.mark.parametrize("left", ["", '{"format": "specm'])
def test_a_file_that_a_full_disk_left_without_a_line_holds_no_sweep(tmp_path, left):
    path = tmp_path / "costs.jsonl"
    path.write_text(left)
    assert costs.read(path).sweeps == []


@pytest.mark.parametrize("broken", ["{}", '{"cells": [], "control": [1, 1], "accept": []}'])
def test_a_broken_line_is_named_by_its_number(tmp_path, broken):
    path = tmp_path / "costs.jsonl"
    write(path, sweep())
    with path.open("a") as file:
        file.write(broken + "\n")
    with pytest.raises(ValueError, match=r"costs\.jsonl:3: found no sweep"):
        costs.read(path)


@pytest.mark.parametrize("head", [*OLD, "hello", "[]"])
def test_another_version_or_format_is_refused_in_one_line(tmp_path, head):
    path = tmp_path / "costs.jsonl"
    path.write_text(head + "\n")
    with pytest.raises(ValueError, match=r"expected specmath\.costs version 3|found no JSON object") as caught:
        costs.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("borrowing", [True, False])
def test_a_draft_in_the_targets_cache_pays_one_token_where_another_pays_two(borrowing):
    cells = {Cell("early:1", n, 1, context): float(10 * n + context) for n in (1, 2) for context in (0, 5)}
    sweeps = [Sweep(cells, (1.0, 1.0), (0.5, 1.0))]
    table = Costs(sweeps, {"borrowing": ["early:1"] if borrowing else ["early:2"]}).table("early:1")
    found = {(n, context): float(table.seconds(n, context=context)) for n in (1, 2) for context in (0, 5)}
    late = (10.5, 15.5) if borrowing else (20.5, 25.5)
    assert found == {(1, 0): 10.5, (1, 5): 15.5, (2, 0): late[0], (2, 5): late[1]}
