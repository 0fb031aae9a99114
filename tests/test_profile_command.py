"""`specmath profile` from outside: tiny models on disk, text on the spot and from logs, stopped and resumed."""

import json
import pathlib
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests import runs, synthetic
from tests.tiny import saved
from validate import cli, costs
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
    assert resumed | {"source": ""} == whole | {"source": ""}


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
    assert out.startswith("CORPUS-FORCED, MEASURE MORE")
    assert "the text cannot be the target's own" in out.splitlines()[1]


def test_with_costs_every_measured_k_has_its_speedup(command, asked, tmp_path):
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs())
    _, out, _ = command(*asked, "--costs", tmp_path / costs.FILE, "--out", "here", "--json")
    document = json.loads(out)
    model, lookup, _ = document["drafts"]
    assert all(point["speedup"]["value"] > 0 for point in lookup["by_k"])
    assert model["by_k"][0]["speedup"] is None
    assert document["best"]["draft"] == "lookup"


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
