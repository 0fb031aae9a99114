"""A study on a tiny real model: what it writes and when, how it resumes, and what it refuses."""

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from tests.tiny_study import in_memory, prompts, settings
from validate import costs, prediction, trace
from validate.arms import Arms
from validate.console import Step
from validate.corpus import Corpus
from validate.decoder import Decoder
from validate.fit import sample_of
from validate.measure import CostBench, Shapes
from validate.model import Model
from validate.models import Models
from validate.sampler import Sampler
from validate.scoring import Scorer
from validate.study import Study, traces
from validate.study_document import study_document
from validate.texts import FILE as TEXTS
from validate.texts import Text
from validate.trace import FILE as TRACE
from validate.workload import Prompt

SEVERAL = {"drafts": ("lookup", "ngram", "friend"), "ks": (1, 3)}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    in_memory(monkeypatch)


def run(folder, *, stop=None, count=4, **changed):
    """The steps of a study, the first `stop` of them."""
    return list(itertools.islice(Study(settings(**changed), prompts(count), folder).steps(), stop))


def decoded(steps):
    return [step.name.split()[0] for step in steps if step.stage == "decoded"]


def document(folder, **changed):
    paths = traces(folder, settings(**changed).cells)
    read = {cell: trace.read(path) for cell, path in paths.items()}
    return study_document(read, costs.read(folder / costs.FILE), prediction.read(folder))


def without_times(path):
    timed = {"seconds", "prefill_s", "draft_s", "verify_s", "accept_s"}
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("draft", ["lookup", "friend", "clone"])
def test_a_study_leaves_texts_costs_a_prediction_and_a_trace_of_every_prompt_in_every_arm(tmp_path, draft):
    assert decoded(run(tmp_path, drafts=(draft,))) == ["p-0", "p-1", "p-2", "p-3"]
    sample = sample_of(trace.read(tmp_path / TRACE))
    assert [p.prompt for p in sample.prompts] == ["p-0", "p-1", "p-2", "p-3"]
    assert len(costs.read(tmp_path / costs.FILE).sweeps) == 12
    assert {f.domain for f in prediction.read(tmp_path).forecasts} == {"d0", "d1", "all"}
    assert len((tmp_path / TEXTS).read_text().splitlines()) == 5


def test_several_cells_have_a_trace_each_with_the_same_plain_arms(tmp_path):
    run(tmp_path, **SEVERAL)
    paths = traces(tmp_path, settings(**SEVERAL).cells)
    assert sorted(path.parent.name for path in paths.values()) == [
        f"{draft}-k{k}" for draft in ("friend", "lookup", "ngram") for k in (1, 3)
    ]
    read = {cell: trace.read(path) for cell, path in paths.items()}
    assert {(cell, t.header.draft, t.header.k) for cell, t in read.items()} == {(c, *c) for c in paths}
    plain = [[d for d in t.done if d.arm == "plain"] for t in read.values()]
    assert all(found == plain[0] for found in plain)


def test_the_document_of_a_study_has_every_cell_and_what_the_replay_foresaw(tmp_path):
    """Greedy: the tokens per round of every cell were known before it ran, to the last digit."""
    run(tmp_path, **SEVERAL)
    found = document(tmp_path, **SEVERAL)
    assert {(c["domain"], c["draft"], c["k"]) for c in found["cells"]} == set(
        itertools.product(("d0", "d1"), ("lookup", "ngram", "friend"), (1, 3))
    )
    assert len(found["cells"]) == 12
    for cell in found["cells"]:
        assert cell["gap"]["acceptance"] == pytest.approx(0, abs=1e-9)
        assert sum(cell["gap"].values()) == pytest.approx(np.log(1 + cell["error"]))
    assert set(found["verdicts"]) == {"d0", "d1"}
    assert set(found["laws"]) == {f"{draft}, k = {k}" for draft in ("lookup", "ngram", "friend") for k in (1, 3)}


def test_a_prediction_of_another_texts_acceptance_is_found_out(tmp_path):
    """The negative control of the test above: one coin wrong, and acceptance no longer adds up to nothing."""
    draft = SEVERAL["drafts"][2]
    original = Corpus.drafts

    def spoilt(self, texts, scores):
        found = original(self, texts, scores)
        found[2].ratios[0][:] = 1 - found[2].ratios[0]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Corpus, "drafts", spoilt)
        run(tmp_path, **SEVERAL)
    wrong = [c for c in document(tmp_path, **SEVERAL)["cells"] if abs(c["gap"]["acceptance"]) > 1e-9]
    assert {(c["domain"], c["draft"]) for c in wrong} == {("d0", draft)}


def test_the_prediction_is_written_before_anything_is_drafted_and_never_again(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Arms, "decode", refused)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, **SEVERAL)
    before = (tmp_path / prediction.FILE).read_bytes()
    assert not any(trace.read(path).rounds for path in traces(tmp_path, settings(**SEVERAL).cells).values())
    run(tmp_path, **SEVERAL)
    assert (tmp_path / prediction.FILE).read_bytes() == before


@pytest.mark.parametrize("name", prediction.SOURCES)
def test_a_prediction_is_held_against_nothing_but_what_it_was_made_from(tmp_path, name):
    """Texts, scores or costs with one digit changed, or none at all."""
    run(tmp_path, drafts=("friend",))
    path = tmp_path / name
    whole = path.read_text()
    at = max(whole.rfind(digit) for digit in "123456789")
    path.write_text(whole[:at] + str(int(whole[at]) - 1) + whole[at + 1 :])
    with pytest.raises(ValueError, match=rf"prediction\.json: found one that was made from another {name}, expected"):
        prediction.read(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=f"made from another {name}"):
        prediction.read(tmp_path)


def test_what_was_not_predicted_is_not_run(tmp_path):
    """A shallower study's prediction knows nothing of a deeper k, even where its costs are those of the deeper one."""
    run(tmp_path, ks=(1, 3))
    path = tmp_path / prediction.FILE
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"forecasts": [f for f in found["forecasts"] if f["k"] != 3]}))
    with pytest.raises(ValueError, match="found none of lookup with k = 3 on all, expected one: start anew"):
        run(tmp_path, ks=(1, 3))


def test_costs_of_another_machine_or_depth_are_not_gone_on_with(tmp_path, monkeypatch):
    run(tmp_path, stop=1)
    with pytest.raises(ValueError, match=r"costs\.jsonl: found lengths \[1, 2, 3, 4\], expected \[1, 2, 3\]"):
        run(tmp_path, ks=(2,))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.raises(
        ValueError, match=r"costs\.jsonl: written with \d+ threads, this process has 99: set OMP_NUM_THREADS="
    ):
        run(tmp_path)


def test_a_prediction_is_never_made_after_the_run(tmp_path):
    run(tmp_path)
    (tmp_path / prediction.FILE).unlink()
    with pytest.raises(ValueError, match=r"found traces and no prediction\.json, which comes before them"):
        run(tmp_path)


def test_a_kind_of_text_named_like_all_of_them_is_refused(tmp_path):
    named = Prompt("p", "all", ({"role": "user", "content": "abc"},), "here")
    with pytest.raises(ValueError, match="prompt 'p': found domain 'all', the name of all together; rename it"):
        Study(settings(), [*prompts(), named], tmp_path)


@pytest.mark.parametrize("draft", ["lookup", "friend"])
def test_greedy_arms_make_the_same_tokens(tmp_path, draft):
    run(tmp_path, drafts=(draft,))
    done = trace.read(tmp_path / TRACE).done
    assert len({(d.prompt, d.tokens) for d in done}) == 4
    assert {d.divergence for d in done} == {None}


def test_the_clone_of_the_target_is_accepted_whole(tmp_path):
    run(tmp_path, drafts=("clone",))
    rounds = [r for r in trace.read(tmp_path / TRACE).rounds if r.arm == "spec"]
    assert all(r.accepted == r.drafted for r in rounds)
    assert sum(r.drafted for r in rounds) > 0


def test_arms_alternate_which_plain_run_comes_first(tmp_path):
    run(tmp_path)
    order = [(line.prompt, line.arm, line.repeat) for line in trace.read(tmp_path / TRACE).prompts]
    assert order[:3] == [("p-0", "plain", 0), ("p-0", "spec", 0), ("p-0", "plain", 1)]
    assert order[6:9] == [("p-2", "plain", 1), ("p-2", "spec", 0), ("p-2", "plain", 0)]
    starts = {(name, repeat) for name, _, repeat in order[::3]}
    assert starts == {("p-0", 0), ("p-1", 0), ("p-2", 1), ("p-3", 1)}, "both orders in every kind of text"


def test_sampled_rounds_record_the_overlap_of_the_laws(tmp_path):
    run(tmp_path, drafts=("friend",), sampler=Sampler(temperature=1.0))
    written = trace.read(tmp_path / TRACE)
    assert written.header.rule == "standard"
    assert all(len(r.beta) == min(r.accepted + 1, r.drafted) for r in written.rounds)


def test_a_study_stopped_after_any_step_resumes_to_that_of_an_uninterrupted_one(tmp_path):
    steps = run(tmp_path / "whole", **SEVERAL)
    cells = settings(**SEVERAL).cells
    whole = {cell: without_times(path) for cell, path in traces(tmp_path / "whole", cells).items()}
    for stop in range(1, len(steps), 5):
        place = tmp_path / str(stop)
        run(place, stop=stop, **SEVERAL)
        run(place, **SEVERAL)
        assert {cell: without_times(path) for cell, path in traces(place, cells).items()} == whole
        assert [f.breakdown.tokens for f in prediction.read(place).forecasts] == [
            f.breakdown.tokens for f in prediction.read(tmp_path / "whole").forecasts
        ]


def test_a_prompt_that_was_written_to_some_cells_only_is_decoded_for_the_others(tmp_path, monkeypatch):
    steps = run(tmp_path / "whole", **SEVERAL)
    cells = settings(**SEVERAL).cells
    write, seen = trace.Writer.write, []

    def torn(self, line):
        seen.append(line)
        if len(seen) == 100:
            raise KeyboardInterrupt
        write(self, line)

    with monkeypatch.context() as broken:
        broken.setattr(trace.Writer, "write", torn)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "torn", **SEVERAL)
    assert len(run(tmp_path / "torn", **SEVERAL)) <= len(steps)
    for cell, path in traces(tmp_path / "torn", cells).items():
        assert without_times(path) == without_times(traces(tmp_path / "whole", cells)[cell])


@pytest.mark.parametrize("budget", [2, 5])
def test_a_budget_below_the_warm_up_is_enough(tmp_path, budget):
    assert decoded(run(tmp_path, budget=budget)) == ["p-0", "p-1", "p-2", "p-3"]


@pytest.mark.parametrize("bad", [{"top_p": 0}, {"temperature": float("nan")}, {"min_p": 1}, {"top_k": -1}])
def test_a_sampler_out_of_its_domain_is_refused_before_anything_is_written(bad):
    with pytest.raises(ValueError, match="expected"):
        Sampler(**bad)


def test_another_studys_files_are_not_gone_on_with(tmp_path):
    run(tmp_path)
    for changed in ({"budget": 13}, {"seed": 1}, {"drafts": ("friend",)}):
        with pytest.raises(ValueError, match=r"\.jsonl: found "):
            run(tmp_path, **changed)
    head, *lines = (tmp_path / TRACE).read_text().splitlines(keepends=True)
    (tmp_path / TRACE).write_text("".join([json.dumps(json.loads(head) | {"k": 2}) + "\n", *lines]))
    with pytest.raises(ValueError, match=r"trace\.jsonl"):
        run(tmp_path)


def test_a_prompt_longer_than_the_context_is_named_before_anything_runs(tmp_path):
    long = Prompt("novel", "d0", ({"role": "user", "content": "x" * 250},), "here")
    with pytest.raises(
        ValueError, match="prompt 'novel' has 250 tokens; with 12 new ones and a draft it exceeds the context of 256"
    ):
        Study(settings(), [*prompts(), long], tmp_path)
    assert not (tmp_path / TRACE).exists()


def test_a_divergence_is_located_and_its_logit_gap_recorded():
    """The gap equals that of an independent forward over the prompt and the tokens in common."""
    arms = Arms(Models(settings()), settings(), [Text("p", "d", (1, 2, 3), (5, 7, 2))], 12)
    found = arms._divergence([1, 2, 3], [5, 7, 9], [5, 7, 2])
    assert found["at"] == 2
    network = tiny.llama(vocabulary=12, seed=1).network
    top = network(torch.tensor([[1, 2, 3, 5, 7]])).logits[0, -1].detach().topk(2).values
    assert found["gap"] == pytest.approx(float(top[0] - top[1]), abs=1e-5)


def bench(shapes, say=print, **changed):
    chosen = settings(**{"drafts": ("friend",), **changed})
    return CostBench(Models(chosen), chosen, shapes, say)


def test_the_cost_bench_times_every_cell_after_its_own_context(monkeypatch):
    lengths, forward = [], Model.forward

    def watched(self, tokens, **options):
        before = self.length
        logits = forward(self, tokens, **options)
        lengths.append((self.name, logits.shape[0] if logits.ndim > 2 else 1, len(tokens[0]), before))
        return logits

    ready = bench(Shapes((1, 3), (5, 40), (1, 4)))
    monkeypatch.setattr(Model, "forward", watched)
    swept = ready.sweep()
    assert {(c.model, c.n) for c in swept.cells} == {*(("target", n) for n in (1, 3)), ("friend", 1), ("friend", 2)}
    assert all(seconds > 0 for seconds in swept.cells.values())
    timed = {(c.model, c.batch, c.n, c.context) for c in ready.cells}
    assert timed == {*itertools.product(["target"], (1, 4), (1, 3), (5, 40))} | {
        *itertools.product(["friend"], (1, 4), (1, 2), (5, 40))
    }
    assert set(lengths) == timed


def test_a_batch_that_fits_no_memory_is_left_out_and_said(monkeypatch):
    said, forward = [], Model.forward

    def small(self, tokens, **options):
        if len(tokens) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tokens, **options)

    monkeypatch.setattr(Model, "forward", small)
    ready = bench(Shapes((1, 3), (5,), (1, 4, 16)), said.append)
    assert {cell.batch for cell in ready.sweep().cells} == {1, 4}
    assert said == ["out of memory with 16 sequences side by side; left out"]
    with pytest.raises(ValueError, match="out of memory for 8 sequences"):
        bench(Shapes((1, 3), (5,), (8, 16)), said.append)


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=1.0), Sampler(temperature=0.7, top_p=0.9)])
def test_what_is_timed_for_accepting_a_draft_is_accepting_all_of_it(monkeypatch, sampler):
    """Beta is summed over tested drafts, so that a rejected one would be cheaper than those that pay."""
    judged, judge = [], Decoder.judge
    monkeypatch.setattr(Decoder, "judge", lambda *given: judged.append(judge(*given)) or judged[-1])
    bench(Shapes((1, 3), (5,)), sampler=sampler).sweep()
    assert [(len(one.emitted), one.accepted) for [one] in judged] == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_sweeps_say_under_which_sampler_accepting_was_timed():
    sampler = Sampler(temperature=0.7, top_p=0.9)
    sampled = bench(Shapes((1, 3), (5,)), sampler=sampler).measured["sampler"]
    assert sampled == {"temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.0}
    assert bench(Shapes((1, 3), (5,))).measured["sampler"] == asdict(Sampler())


def test_a_context_that_the_models_do_not_hold_is_refused():
    with pytest.raises(
        ValueError, match="--context: found 254, expected at most 253: the models hold 256 tokens and 3 come after"
    ):
        bench(Shapes((1, 3), (5, 254)))


def test_costs_of_a_study_span_the_contexts_of_its_prompts(tmp_path):
    run(tmp_path, stop=1, drafts=("friend",))
    cells = costs.read(tmp_path / costs.FILE).sweeps[0].cells
    assert {c.context for c in cells} == {9, 15 + 12}
    assert {(c.model, c.n) for c in cells} == {("target", n) for n in (1, 2, 3, 4)} | {("friend", 1), ("friend", 2)}
    assert costs.read(tmp_path / costs.FILE).measured["sampler"] == asdict(Sampler())


def test_steps_tell_their_stages(tmp_path):
    stages = list(dict.fromkeys(step.stage for step in run(tmp_path)))
    assert stages == ["text", "costs", "scored", "decoded"]
    assert isinstance(run(tmp_path)[0], Step)


def test_a_finished_prompt_is_not_decoded_again(tmp_path, monkeypatch):
    run(tmp_path, stop=len(run(tmp_path / "count")) - 2)
    asked, decode = [], Arms.decode

    def watched(self, text, cells, **options):
        asked.append(text.prompt)
        return decode(self, text, cells, **options)

    monkeypatch.setattr(Arms, "decode", watched)
    assert decoded(run(tmp_path)) == asked == ["p-2", "p-3"]


def test_scores_are_not_made_twice(tmp_path, monkeypatch):
    run(tmp_path, drafts=("friend",))
    kept = (tmp_path / "scores.jsonl").read_bytes()
    monkeypatch.setattr(Scorer, "_batch", None)
    run(tmp_path, drafts=("friend",))
    assert (tmp_path / "scores.jsonl").read_bytes() == kept


@pytest.mark.parametrize("culprit", ["target", "friend"])
def test_logits_that_are_no_numbers_stop_the_run_with_prompt_position_and_model_named(tmp_path, monkeypatch, culprit):
    """In the run alone, after everything before it went well; on the host and where no device would be asked."""
    run(tmp_path, stop=18, drafts=("friend",))
    forward = Model.forward

    def broken(self, tokens, **options):
        logits = forward(self, tokens, **options)
        return logits * float("nan") if self.name == culprit and self.length > 20 else logits

    monkeypatch.setattr(Model, "forward", broken)
    with pytest.raises(ValueError, match=rf"prompt 'p-\d', position \d+: the logits of {culprit} hold NaN"):
        run(tmp_path, drafts=("friend",))


def test_logits_that_are_no_numbers_stop_the_writing_of_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(CostBench, "sweep", lambda self: None)
    forward = Model.forward
    monkeypatch.setattr(Model, "forward", lambda self, *a, **k: forward(self, *a, **k) * float("inf"))
    with pytest.raises(ValueError, match="prompt 'p-0', position 9: the logits of target hold NaN or infinity"):
        run(tmp_path)
