import math
import time
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from bench import batches
from bench.batches import Load
from tests.tiny import llama
from validate.model import Model
from validate.models import Settings
from validate.sampler import Sampler

LOAD = Load(batches=(1, 4), contexts=(8, 40), k=3, alpha=0.6, rounds=60, repeats=2)


Pair = SimpleNamespace(  # two tiny models, as `Models` has them
    target=llama(vocabulary=16), vocabulary=16, drafts={"draft": llama(vocabulary=16, seed=3, width=8)}
)


def settings():
    return Settings("target", ("draft",), (3,), Sampler(), 1, 0, "cpu", "float32")


def test_every_cell_is_measured_once_and_accepts_as_was_set(tmp_path, monkeypatch):
    path = tmp_path / "cells.jsonl"
    cells, complete = batches.measured(Pair, settings(), LOAD, path, ends=math.inf)
    assert complete
    assert [(cell["batch"], cell["context"]) for cell in cells] == [(1, 8), (4, 8), (1, 40), (4, 40)]
    for cell in cells:
        expected = sum(0.6**i for i in range(4))
        assert cell["expected_block_efficiency"] == pytest.approx(expected)
        assert cell["block_efficiency"] == pytest.approx(expected, abs=0.35)
        assert cell["speedup"] > 0
        assert cell["seconds_per_token"].keys() == {"plain", "speculative", "plain again"}
    monkeypatch.setattr(batches, "_cell", lambda *_: pytest.fail("measured again"))
    assert batches.measured(Pair, settings(), LOAD, path, ends=math.inf) == (cells, True)


def test_a_cell_is_medians_of_interleaved_repeats_the_first_of_which_does_not_count(monkeypatch):
    order, paces = [], {"plain": [9, 4, 6, 5], "speculative": [9, 2, 1, 3], "plain again": [9, 5, 7, 6]}

    def decoded(arm, *_):
        order.append(arm)
        return paces[arm].pop(0), 2.5 if arm == "speculative" else 1.0, 0.25

    monkeypatch.setattr(batches, "_arms", lambda *_: {name: name for name in paces})
    monkeypatch.setattr(batches, "_decoded", decoded)
    found = batches._timed(Pair, settings(), Load(repeats=3, k=3, alpha=0.5), 1, 8)
    assert found["seconds_per_token"] == {"plain": 5, "speculative": 2, "plain again": 6}
    assert (found["speedup"], found["control"], found["block_efficiency"]) == (2.5, 1.2, 2.5)
    assert (found["expected_block_efficiency"], found["outside"]) == (1.875, 0.25)
    assert order[3:6] == order[2::-1] == order[8:5:-1]


def test_seconds_are_a_token_of_each_sequence_and_what_is_no_forward_is_outside(monkeypatch):
    """Of 4 sequences, k + 1 tokens a round; a round of 3 s, 2 of them in forwards; the clock is read twice."""
    load, now = Load(k=3, alpha=1.0, rounds=5), iter([0.0, 15.0])
    arms = batches._arms(Pair, settings(), load, 4, 8)
    monkeypatch.setattr(batches, "Clock", lambda device: SimpleNamespace(now=lambda: next(now)))
    monkeypatch.setattr(batches, "_inside", lambda done: 2.0)
    assert batches._decoded(arms["speculative"], settings(), load, 4, 8) == (0.75, 4.0, pytest.approx(1 / 3))


def test_a_call_stops_at_its_time_and_the_next_goes_on(tmp_path):
    path = tmp_path / "cells.jsonl"
    assert batches.measured(Pair, settings(), LOAD, path, ends=time.monotonic() - 1) == ([], False)


def test_a_cell_that_fits_no_memory_is_left_out_and_named(tmp_path, monkeypatch):
    forward = Model.forward

    def small(self, tokens, **options):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError
        return forward(self, tokens, **options)

    monkeypatch.setattr(Model, "forward", small)
    cells, complete = batches.measured(Pair, settings(), LOAD, tmp_path / "cells.jsonl", ends=math.inf)
    assert complete
    assert [cell.get("left_out") for cell in cells] == [None, "out of memory"] * 2
