"""A study on a tiny real model: what it writes, how it resumes, and what it refuses."""

import itertools
import json

import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from validate import costs, study, trace
from validate.fit import sample_of
from validate.loading import Loaded
from validate.model import Model
from validate.sampler import Sampler
from validate.study import COSTS, TRACE, Settings, Study
from validate.workload import Prompt


class Letters:
    """A tokeniser of one token per letter, modulo the vocabulary."""

    chat_template = None

    def __call__(self, text, **options):
        return {"input_ids": [ord(letter) % 12 for letter in text]}

    def get_vocab(self):
        return {str(i): i for i in range(12)}

    def __len__(self):
        return 12


MODELS = {"target": {}, "friend": {"noise": 0.2}, "clone": {}}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    def load(name, **where):
        loaded = tiny.llama(vocabulary=12, seed=1, **MODELS[name])
        return Loaded(name, loaded.network, Letters(), loaded.eos, loaded.context, loaded.rows)

    monkeypatch.setattr(study, "load", load)
    monkeypatch.setattr("validate.loading.load", load)


def settings(**changed):
    known = {"target": "target", "draft": "lookup", "k": 3, "sampler": Sampler(), "budget": 12, "seed": 0}
    return Settings(**{**known, "device": "cpu", "dtype": "float32"} | changed)


def prompts(count=4):
    texts = ("abcabcabc", "one two one two", "lorem ipsum", "zzzzyzzzz", "hello world hello")
    return [Prompt(f"p-{i}", f"d{i % 2}", ({"role": "user", "content": texts[i]},), "here") for i in range(count)]


def run(folder, *, resume=False, stop=None, **changed):
    steps = Study(settings(**changed), prompts(), folder).run(resume=resume)
    return [p.id for p in itertools.islice(steps, stop)]


def without_times(path):
    timed = {"seconds", "prefill_s", "draft_s", "verify_s", "accept_s"}
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("draft", ["lookup", "friend", "clone"])
def test_a_study_leaves_a_trace_of_every_prompt_in_every_arm_and_a_sweep_of_costs_for_each(tmp_path, draft):
    assert run(tmp_path, draft=draft) == ["p-0", "p-1", "p-2", "p-3"]
    sample = sample_of(trace.read(tmp_path / TRACE))
    assert [p.prompt for p in sample.prompts] == ["p-0", "p-1", "p-2", "p-3"]
    assert len(costs.read(tmp_path / COSTS).sweeps) == 4


@pytest.mark.parametrize("draft", ["lookup", "friend"])
def test_greedy_arms_make_the_same_tokens(tmp_path, draft):
    run(tmp_path, draft=draft)
    done = trace.read(tmp_path / TRACE).done
    assert len({(d.prompt, d.tokens) for d in done}) == 4
    assert {d.divergence for d in done} == {None}


def test_the_clone_of_the_target_is_accepted_whole(tmp_path):
    run(tmp_path, draft="clone")
    rounds = [r for r in trace.read(tmp_path / TRACE).rounds if r.arm == "spec"]
    assert all(r.accepted == r.drafted for r in rounds)
    assert sum(r.drafted for r in rounds) > 0


def test_arms_alternate_which_plain_run_comes_first(tmp_path):
    run(tmp_path)
    order = [(line.prompt, line.arm, line.repeat) for line in trace.read(tmp_path / TRACE).prompts]
    assert order[:3] == [("p-0", "plain", 0), ("p-0", "spec", 0), ("p-0", "plain", 1)]
    assert order[3:6] == [("p-1", "plain", 1), ("p-1", "spec", 0), ("p-1", "plain", 0)]


def test_sampled_rounds_record_the_overlap_of_the_laws(tmp_path):
    run(tmp_path, draft="friend", sampler=Sampler(temperature=1.0))
    written = trace.read(tmp_path / TRACE)
    assert written.header.rule == "standard"
    assert all(len(r.beta) == min(r.accepted + 1, r.drafted) for r in written.rounds)


def test_an_interrupted_study_resumes_to_the_trace_of_an_uninterrupted_one(tmp_path):
    run(tmp_path / "whole")
    assert run(tmp_path / "torn", stop=2) == ["p-0", "p-1"]
    with (tmp_path / "torn" / TRACE).open("a") as file:
        file.write('{"type":"prompt","prompt":"p-2","domain":"d0","arm":"plain","tokens_in":11}\n{"type":"rou')
    assert run(tmp_path / "torn", resume=True) == ["p-2", "p-3"]
    assert without_times(tmp_path / "torn" / TRACE) == without_times(tmp_path / "whole" / TRACE)


def test_a_run_interrupted_before_its_first_sweep_still_gets_its_costs(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Study, "_sweep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert run(tmp_path, resume=True) == ["p-1", "p-2", "p-3"]
    assert len(costs.read(tmp_path / COSTS).sweeps) == 4


@pytest.mark.parametrize("budget", [2, 5])
def test_a_budget_below_the_warm_up_is_enough(tmp_path, budget):
    assert run(tmp_path, budget=budget) == ["p-0", "p-1", "p-2", "p-3"]


@pytest.mark.parametrize("bad", [{"top_p": 0}, {"temperature": float("nan")}, {"min_p": 1}, {"top_k": -1}])
def test_a_sampler_out_of_its_domain_is_refused_before_anything_is_written(bad):
    with pytest.raises(ValueError, match="expected"):
        Sampler(**bad)


def test_another_runs_trace_is_not_gone_on_with(tmp_path):
    run(tmp_path, stop=1)
    for changed in ({"k": 2}, {"budget": 13}, {"seed": 1}):
        with pytest.raises(ValueError, match=r"trace\.jsonl"):
            run(tmp_path, resume=True, **changed)


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    run(tmp_path, stop=1)
    with pytest.raises(FileExistsError):
        run(tmp_path)


def test_a_prompt_longer_than_the_context_is_named_before_anything_runs(tmp_path):
    long = Prompt("novel", "d0", ({"role": "user", "content": "x" * 250},), "here")
    with pytest.raises(
        ValueError, match="prompt 'novel' has 250 tokens; with 12 new ones and a draft it exceeds the context of 256"
    ):
        Study(settings(), [*prompts(), long], tmp_path)
    assert not (tmp_path / TRACE).exists()


def test_a_divergence_is_located_and_its_logit_gap_recorded(tmp_path):
    """The gap equals that of an independent forward over the prompt and the tokens in common."""
    plain = Study(settings(), prompts(1), tmp_path)
    reference = [5, 7, 2]
    found = plain._divergence([1, 2, 3], [5, 7, 9], reference)
    assert found["at"] == 2
    network = tiny.llama(vocabulary=12, seed=1).network
    top = network(torch.tensor([[1, 2, 3, 5, 7]])).logits[0, -1].detach().topk(2).values
    assert found["gap"] == pytest.approx(float(top[0] - top[1]), abs=1e-5)


def test_the_cost_bench_times_every_cell_and_rewinds(tmp_path):
    ready = Study(settings(draft="friend"), prompts(), tmp_path)
    bench = ready._warm_bench()
    swept = bench.sweep()
    assert {(c.model, c.n) for c in swept.cells} == {("target", n) for n in (1, 2, 3, 4)} | {("draft", 1), ("draft", 2)}
    assert all(seconds > 0 for seconds in swept.cells.values())
    assert {(key[2], model.length) for key, model in bench._models.items()} == {(9, 9), (27, 27)}


def test_the_cost_bench_times_several_sequences_at_once(monkeypatch):
    seen = []
    forward = Model.forward

    def watched(self, tokens, **options):
        logits = forward(self, tokens, **options)
        seen.append(tuple(logits.shape[:2]))
        return logits

    bench = study.cost_bench(settings(draft="friend"), [1, 3], [5], [1, 4])
    monkeypatch.setattr(Model, "forward", watched)
    cells = bench.sweep().cells
    assert {(c.model, c.n, c.batch) for c in cells} == {
        *(("target", n, b) for n in (1, 3) for b in (1, 4)),
        *(("draft", n, b) for n in (1, 2) for b in (1, 4)),
    }
    assert {(4, 3), (1, 3)} <= set(seen)
