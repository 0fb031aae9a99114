"""`specmath profile` from outside: tiny models on disk, text on the spot and from logs, stopped and resumed."""

import json
import pathlib
import shlex
import sys
from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests import runs, synthetic
from tests.tiny import saved
from validate import cli, costs
from validate.costs import Costs
from validate.sampler import Sampler
from validate.scoring import Scorer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A target and a draft, as folders that `load` reads, and a file of prompts."""
    return saved(tmp_path_factory.mktemp("models"))


@pytest.fixture
def command(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, target="target"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["profile", *(("--target", str(models / target)) if target else ()), *map(str, arguments)])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def asked(models):
    """Options of a profile of three drafts."""
    drafts = ("--draft", models / "draft", "--draft", "lookup", "--draft", "early:1")
    return (*drafts, "--prompts", models / "prompts.jsonl", "--tokens", "12", "--k", "3", "--device", "cpu")


def test_the_first_line_is_the_answer_and_the_contract_holds(command, asked):
    code, out, _ = command(*asked, "--out", "here")
    assert code == 0
    assert out.startswith("MEASURE MORE of ")
    assert "tokens per round, alpha " in out.splitlines()[0]
    document = json.loads(pathlib.Path("here/profile.json").read_text())
    assert document["schema"] == "specmath.profile/1"
    assert set(document["text"]) == {"prompts", "tokens", "sha256"}
    assert [d["name"] for d in document["drafts"]][1:] == ["lookup", "early:1"]
    for draft in document["drafts"]:
        assert set(draft) >= {"name", "rule", "alpha", "by_k", "by_domain", "copyable_share"}
        assert [point["k"] for point in draft["by_k"]] == [1, 2, 3]
        assert set(draft["by_domain"]["a"]["block_efficiency"]) == {"1", "2", "3"}
    assert document["own_text"]["own"] is True


def test_json_is_one_object_and_that_of_the_folder(command, asked):
    _, out, _ = command(*asked, "--out", "here", "--json")
    assert json.loads(out) == json.loads(pathlib.Path("here/profile.json").read_text())


@pytest.mark.parametrize("stopped_at", ["texts", "scores"])
@pytest.mark.parametrize("after", [0, 2, 5])
def test_a_profile_that_is_stopped_goes_on_to_the_same_result(command, asked, monkeypatch, stopped_at, after):
    _, whole, _ = command(*asked, "--out", "whole", "--json")
    seen = []

    def stop(journal, record):
        if journal.path.name == f"{stopped_at}.jsonl" and len(journal.records) == after:
            raise KeyboardInterrupt
        seen.append(record)
        return append(journal, record)

    from validate.jsonl import Journal

    append = Journal.append
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        code, out, err = command(*asked, "--out", "here")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].endswith("go on with: specmath profile --resume here")
    code, resumed, _ = command("--resume", "here", "--json", target=None)
    whole, resumed = json.loads(whole), json.loads(resumed)
    elsewhere = {"source": "", "next": whole["next"].replace("whole", "here")}
    assert resumed | {"source": ""} == whole | elsewhere


def test_a_log_of_the_target_is_profiled_without_decoding(command, asked, models, monkeypatch):
    command(*asked, "--out", "here")
    written = [json.loads(line) for line in pathlib.Path("here/texts.jsonl").read_text().splitlines()[1:]]
    with open("log.jsonl", "w") as log:
        for text in written:
            line = {"prompt_ids": text["context"], "output_ids": text["output"], "id": text["prompt"], "end": "budget"}
            log.write(json.dumps(line | {"domain": text["domain"]}) + "\n")
    drafts = ("--draft", models / "draft", "--draft", "lookup", "--draft", "early:1", "--k", "3", "--device", "cpu")
    monkeypatch.delattr("validate.decoder.Generation.rounds")
    code, out, _ = command(*drafts, "--text", "log.jsonl", "--out", "again", "--json")
    assert code == 0
    whole, again = json.loads(pathlib.Path("here/profile.json").read_text()), json.loads(out)
    assert again["drafts"] == whole["drafts"]
    assert again["text"] == whole["text"]


def test_text_that_is_not_the_targets_own_is_called_so(command, models):
    with open("log.jsonl", "w") as log:
        for i in range(4):
            log.write(
                json.dumps({"prompt": f"w{i}", "response": " ".join(f"w{j % 30}" for j in range(i, i + 20))}) + "\n"
            )
    _, out, _ = command("--draft", "lookup", "--text", "log.jsonl", "--device", "cpu", "--out", "here")
    assert out.startswith("NOT THE TARGET'S OWN TEXT: MEASURE MORE")
    assert "the text cannot be the target's own" in out.splitlines()[1]


def test_with_costs_every_measured_k_has_its_speedup(command, asked, tmp_path):
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs())
    _, out, _ = command(*asked, "--costs", tmp_path / costs.FILE, "--out", "here", "--json")
    document = json.loads(out)
    model, lookup, _ = document["drafts"]
    assert all(point["speedup"]["value"] > 0 for point in lookup["by_k"])
    assert model["by_k"][0]["speedup"] is None
    assert document["best"]["draft"] == "lookup"


def of_target(models, **changed):
    """What a costs file of this target says of itself."""
    known = {"target": str(models / "target"), "device": "H100", "dtype": "bfloat16", "dummy_weights": False}
    return known | {"sampler": asdict(Sampler())} | changed


def document_at(command, asked, path, measured, *arguments):
    """The profile's document at the made-up prices, said to be so measured."""
    found = runs.costs()
    synthetic.write_costs(path, Costs(found.sweeps, measured))
    code, out, _ = command(*asked, "--costs", path, "--out", "here", "--json", *arguments)
    assert code == 0
    return json.loads(out)


def test_a_profile_says_whose_prices_it_used_and_a_machine_may_be_another(command, asked, models, tmp_path):
    document = document_at(command, asked, tmp_path / costs.FILE, of_target(models))
    assert document["prices"] == of_target(models)
    assert "at the prices of the cost table" in document["reason"]
    line = f"Prices of {models / 'target'} on H100 in bfloat16; temperature = 0, top_k = 0, top_p = 1, min_p = 0."
    assert line in pathlib.Path("here/profile.md").read_text().replace("\\", "")


def test_a_profile_without_costs_has_no_prices(command, asked):
    document = json.loads(command(*asked, "--out", "here", "--json")[1])
    assert document["prices"] is None
    assert "Prices of" not in pathlib.Path("here/profile.md").read_text()


HOT = {"temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.0}


@pytest.mark.parametrize(
    ("changed", "arguments", "said"),
    [
        ({"target": "another"}, (), "of another and not of {target}"),
        ({"sampler": HOT}, (), "under --temperature 0.7 --top-p 0.9 and not greedy"),
        ({}, ("--temperature", "0.7", "--top-p", "0.9"), "under greedy and not --temperature 0.7 --top-p 0.9"),
        ({"target": None}, (), "of an unknown target and not of {target}"),
        ({"target": "B", "sampler": None}, (), "of B and not of {target}, and under an unknown sampler and not greedy"),
        ({"target": "a.json", "dummy_weights": True}, (), None),
        ({"sampler": asdict(Sampler()) | {"top_k": 5}}, (), None),
    ],
)
def test_prices_of_another_target_or_sampler_decide_nothing(command, asked, models, tmp_path, changed, arguments, said):
    document = document_at(command, asked, tmp_path / costs.FILE, of_target(models, **changed), *arguments)
    assert document["best"]["speedup"]["value"] > 0
    if said is None:
        assert " at the prices of the cost table" in document["reason"]
        return
    assert f"x at prices that are {said.format(target=models / 'target')}" in document["reason"]
    assert document["verdict"] == "measure_more"
    models_of = f"specmath cost --target {models / 'target'} --draft {models / 'draft'} --k 3 "
    assert document["next"].startswith(" ".join(filter(None, (models_of.strip(), *arguments, "--context "))))
    assert "--out own-costs.jsonl, then specmath profile --resume here --costs own-costs.jsonl" in document["next"]


def test_the_next_step_of_a_profile_is_a_command_that_runs(command, asked, models, tmp_path, capsys):
    document = document_at(command, asked, tmp_path / costs.FILE, of_target(models, target="another"))
    line = shlex.split(document["next"].split("specmath ")[1].split(", then")[0])
    with pytest.raises(SystemExit) as ended:
        cli.main([*line, "--device", "cpu", "--repeats", "1"])
    assert ended.value.code == 0
    capsys.readouterr()
    _, out, _ = command(*asked, "--costs", "own-costs.jsonl", "--out", "again", "--json")
    assert "at prices that are" not in json.loads(out)["reason"]


def test_a_profile_that_is_scored_takes_its_prices_later(command, asked, tmp_path, monkeypatch):
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs())
    _, whole, _ = command(*asked, "--costs", tmp_path / costs.FILE, "--out", "whole", "--json")
    command(*asked, "--out", "here")
    monkeypatch.delattr("validate.decoder.Generation.rounds")
    monkeypatch.delattr("validate.scoring.Scorer._checked")
    code, out, _ = command("--resume", "here", "--costs", tmp_path / costs.FILE, "--json", target=None)
    assert code == 0
    assert json.loads(out)["best"] == json.loads(whole)["best"]
    monkeypatch.setitem(sys.modules, "validate.commands.profile", None)
    code, again, err = command("--resume", "here", "--json", target=None)
    assert (code, again, err) == (0, out, "")


def test_a_draft_is_priced_by_its_own_forwards_and_by_no_others(command, asked, models, tmp_path):
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs(draft=0.1, name=str(models / "draft")))
    _, out, _ = command(*asked, "--costs", tmp_path / costs.FILE, "--out", "here", "--json")
    priced = {d["name"]: d["by_k"][0]["speedup"] is not None for d in json.loads(out)["drafts"]}
    assert priced == {str(models / "draft"): True, "lookup": True, "early:1": False}


@pytest.mark.parametrize(("step", "by_hand"), [(0.1, 11 / 9.9), (0.5, 11 / 13.5)])
def test_a_model_draft_pays_for_its_own_forwards(command, models, tmp_path, step, by_hand):
    """The target drafts for itself, k = 1: 11 tokens in 5 rounds of 1.6 steps and a plain one, 4 of them after a full
    round, whose forward takes in two tokens: 11 / (9 + 9 c)."""
    name = str(models / "target")
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs(draft=step, name=name))
    asked = ("--draft", name, "--prompts", models / "prompts.jsonl", "--tokens", "12", "--k", "1", "--device", "cpu")
    _, out, _ = command(*asked, "--costs", tmp_path / costs.FILE, "--out", "here", "--json")
    (point,) = json.loads(out)["drafts"][0]["by_k"]
    assert point["speedup"]["value"] == pytest.approx(by_hand)


def test_logits_that_are_no_numbers_stop_with_one_line(command, asked, monkeypatch):
    score = Scorer._checked

    def broken(self, name, logits, batch, start):
        spoilt = logits.clone()
        spoilt[0, 0, 0] = float("nan")
        return score(self, name, spoilt, batch, start)

    monkeypatch.setattr(Scorer, "_checked", broken)
    code, out, err = command(*asked, "--out", "here")
    assert (code, out) == (2, "")
    assert "hold NaN or infinity at prompt 'p" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--draft", "early:9"), "early:9"),
        (("--draft", "early:x"), "early:x"),
        (("--draft", "nowhere/at/all"), "nowhere/at/all"),
        (("--text", "nothing.jsonl"), "nothing.jsonl"),
        (("--costs", "nothing.jsonl"), "nothing.jsonl"),
        (("--text", "a.jsonl", "--prompts", "b.jsonl"), "--prompts: found beside --text"),
    ],
)
def test_what_is_not_there_is_one_line(command, options, problem):
    code, out, err = command(*options, "--device", "cpu", "--out", "here")
    assert (code, out) == (2, "")
    assert problem in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("specmath: ")
