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
