"""One prompt in every arm: whose coins it is decoded with, and what its greedy outputs are held against."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.tiny_study import in_memory, prompts, settings
from validate import arms as module
from validate import pairs, prediction
from validate.arms import Arms
from validate.lines import DoneLine
from validate.model import Model
from validate.models import Models
from validate.sampler import Sampler
from validate.study import Study, traces
from validate.texts import Text


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    in_memory(monkeypatch)


def outputs(arms, text, cells):
    """The last line of every arm, by cell: plain, speculative, plain."""
    found = arms.decode(text, cells, backwards=False)
    return {cell: [line for line in lines if isinstance(line, DoneLine)] for cell, lines in found.items()}


def arms_of(texts, **changed):
    chosen = settings(**changed)
    return Arms(Models(chosen), chosen, texts, 64), chosen.cells


def test_every_prompt_is_sampled_with_a_seed_of_its_own_and_both_plain_runs_with_the_same():
    texts = [Text(name, "d", (1, 2, 3), (4, 5)) for name in ("one", "two")]
    arms, cells = arms_of(texts, sampler=Sampler(3.0))
    first, second = (outputs(arms, text, cells)["lookup", 3] for text in texts)
    assert first[0].tokens == first[2].tokens != second[0].tokens == second[2].tokens


@pytest.mark.parametrize("backwards", [False, True])
def test_greedy_outputs_are_held_against_those_of_the_first_arm(monkeypatch, backwards):
    """Kernels for several tokens that answer otherwise: what is drafted for diverges, both plain runs agree."""
    forward = Model.forward

    def otherwise(self, tokens, **options):
        several = self.name == "target" and self.length > 0 and np.shape(tokens)[-1] > 1
        return forward(self, tokens, **options).roll(int(several), dims=-1)

    monkeypatch.setattr(Model, "forward", otherwise)
    text = Text("p", "d", (1, 2, 3), (4, 5))
    arms, cells = arms_of([text], drafts=("clone",), ks=(1, 3))
    found = arms.decode(text, cells, backwards=backwards)
    for lines in found.values():
        done = {(line.arm, line.repeat): line for line in lines if isinstance(line, DoneLine)}
        assert done["plain", 0].tokens == done["plain", 1].tokens != done["spec", 0].tokens
        assert done["plain", 0].divergence is done["plain", 1].divergence is None
        at = done["spec", 0].divergence["at"]
        assert done["spec", 0].tokens[:at] == done["plain", 0].tokens[:at]
        assert done["spec", 0].tokens[at] != done["plain", 0].tokens[at]


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(1.0)])
def test_every_shape_that_is_captured_was_called_before_anything_is_timed(monkeypatch, sampler):
    """Two drafts that are often right and a budget that ends with rounds of fewer drafts than k."""
    monkeypatch.setattr(module, "Model", lambda *of, **shaped: Model(*of, **shaped | {"window": shaped["capacity"]}))
    texts = [Text(str(i), "d", (i, 2, i), (4, 5)) for i in range(3)]
    arms, cells = arms_of(texts, drafts=("friend", "clone", "early:1"), ks=(2, 9), sampler=sampler, budget=30)
    models = [arms._target, *arms._drafts.values()]
    arms.warm()
    warmed = [len(model.graphs) for model in models]
    for text in texts:
        arms.decode(text, cells, backwards=False)
    assert [len(model.graphs) for model in models] == warmed


def test_one_cells_trace_is_enough_for_a_prediction_to_come_too_late(tmp_path):
    chosen = settings(ks=(1, 3))
    list(Study(chosen, prompts(), tmp_path).steps())
    (tmp_path / prediction.FILE).unlink()
    traces(tmp_path, chosen.cells)["lookup", 1].unlink()
    with pytest.raises(ValueError, match=r"found traces and no prediction\.json, which comes before them"):
        list(Study(chosen, prompts(), tmp_path).steps())


def test_forwards_are_warmed_as_far_as_the_context_goes():
    chosen = settings(ks=(3,), budget=2)
    text = Text("p", "d", (1,), (4, 5))
    arms = Arms(Models(chosen), chosen, [text], 3)
    arms.warm()
    assert [
        len(line.tokens)
        for line in arms.decode(text, chosen.cells, backwards=False)["lookup", 3]
        if isinstance(line, DoneLine)
    ] == [2] * 3


@pytest.mark.parametrize("draft", ["lookup", "friend", "early:1"])
def test_what_the_lossless_test_decodes_with_is_what_a_run_decodes_with(monkeypatch, draft):
    """The draft in the target's cache where it is its first layers, and fixed shapes where a run has them."""
    monkeypatch.setattr("validate.models.Settings.machine", {})
    chosen = settings(drafts=(draft,), device="cuda")
    models = Models(chosen)

    def shapes(kind, make):
        found = []

        def model(of, borrowed=None, rows=1, **shaped):
            found.append((of.name, borrowed is not None, shaped))
            return Model(of, capacity=8)

        monkeypatch.setattr(kind, "Model", model)
        make()
        return found

    run = shapes(module, lambda: Arms(models, chosen, [], 20))
    assert shapes(pairs, lambda: pairs.Pair(models, chosen, 20 - chosen.budget)) == run
    assert [lent for _, lent, _ in run] == [False, *([draft == "early:1"] if draft != "lookup" else [])]
