"""`specmath run` from outside, on tiny models on disk: several drafts and depths, stopped anywhere, and its page."""

import dataclasses
import errno
import json
import os
import pathlib
import sys

import pytest

torch = pytest.importorskip("torch")

from tests.tiny import saved
from validate import cli, trace
from validate.jsonl import Journal
from validate.trace import Writer

NO_TIMES = dict.fromkeys(("draft_s", "verify_s", "accept_s"), 0.0)
CELLS = {(domain, draft, k) for domain in "ab" for draft in ("lookup", "ngram", "early:1") for k in (1, 3)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A target and prompts."""
    return saved(tmp_path_factory.mktemp("models"))


@pytest.fixture
def command(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def asked(models):
    """Options of a run of three drafts at two depths."""
    drafts = ("--draft", "lookup", "--draft", "ngram", "--draft", "early:1", "--k", "1", "--k", "3")
    prompts = ("--prompts", models / "prompts.jsonl", "--tokens", "10", "--device", "cpu")
    return ("run", "--target", models / "target", *drafts, *prompts)


def report(folder):
    return json.loads(pathlib.Path(folder, "report.json").read_text())


def without_clock(document):
    """What a run found that does not hang on its times; which cell leads, and what is said of it, does."""
    acceptance = {(c["domain"], c["draft"], c["k"]): c["gap"]["acceptance"] for c in document["cells"]}
    tokens = {(point["draft"], point["k"]): point["block_efficiency"] for point in document["curve"]}
    return acceptance, tokens, document["laws"], document["divergences"], document["left_out"]


def counts(folder):
    """Every round of every cell: who drafted how many after what, how many were accepted and which were emitted."""
    paths = sorted(pathlib.Path(folder).glob("cells/*/trace.jsonl"))
    return {path.parent.name: [dataclasses.replace(r, **NO_TIMES) for r in trace.read(path).rounds] for path in paths}


def test_every_cell_was_predicted_and_run_and_the_page_says_so(command, asked):
    code, out, err = command(*asked, "--out", "here")
    assert code == 0
    document = report("here")
    assert {(c["domain"], c["draft"], c["k"]) for c in document["cells"]} == CELLS
    assert out.splitlines()[0].split()[0] in ("USE", "DON'T", "MEASURE")
    stages = list(dict.fromkeys(line.split()[0] for line in err.splitlines()[1:] if "/" in line))
    assert stages == ["text", "costs", "scored", "decoded"]
    page = pathlib.Path("here/report.html").read_text()
    assert f"<h1>{out.splitlines()[0]}".replace("'", "&#x27;") in page.replace("'", "&#x27;")
    listed = [line for line in out.splitlines() if line.startswith("here/")]
    assert all(pathlib.Path(name).exists() for name in listed)
    assert len([name for name in listed if name.endswith("trace.jsonl")]) == 6


def test_greedy_acceptance_was_known_exactly_before_the_run(command, asked):
    command(*asked, "--out", "here")
    assert all(abs(c["gap"]["acceptance"]) < 1e-9 for c in report("here")["cells"])


@pytest.mark.parametrize(
    ("kind", "after", "stop"),
    [
        (Journal, 3, KeyboardInterrupt()),
        (Journal, 14, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (Journal, 22, KeyboardInterrupt()),
        (Writer, 40, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (Writer, 400, KeyboardInterrupt()),
    ],
)
def test_a_run_stopped_anywhere_keeps_what_it_had_and_resumes_to_the_same(
    command, asked, monkeypatch, kind, after, stop
):
    monkeypatch.setattr("validate.commands.run.charts", None)
    command(*asked, "--out", "whole")
    name, seen = {Journal: "append", Writer: "write"}[kind], []
    original = getattr(kind, name)

    def stopping(self, line):
        seen.append(line)
        if len(seen) == after:
            raise stop
        return original(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, stopping)
        code, out, err = command(*asked, "--out", "here")
    assert (code, out) == (130 if isinstance(stop, KeyboardInterrupt) else 1, "")
    assert err.splitlines()[-1].endswith("go on with: specmath run --resume here")
    prediction = pathlib.Path("here/prediction.json")
    before = prediction.read_bytes() if prediction.exists() else None
    assert (before is not None) == (kind is Writer)
    assert command("run", "--resume", "here")[0] == 0
    assert without_clock(report("here")) == without_clock(report("whole"))
    assert counts("here") == counts("whole")
    assert len(counts("here")) == len(CELLS) / 2
    assert before in (None, prediction.read_bytes())


def test_fit_reads_one_cell_and_names_them_where_there_are_several(command, asked, monkeypatch):
    monkeypatch.setattr("validate.commands.run.charts", None)
    command(*asked, "--out", "here")
    code, _, err = command("fit", "here")
    assert code == 2
    assert "found 6 traces below it, expected one in it: specmath fit here/cells/early-1-k1, or specmath fit" in err
    code, out, _ = command("fit", "here/cells/early-1-k3", "--json")
    assert code == 0
    assert json.loads(out)["best"]["speedup"] >= 1


def test_a_finished_run_prints_its_report_without_a_model(command, asked, monkeypatch):
    _, finished, _ = command(*asked, "--out", "here")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "validate.commands.run", None)
        code, again, err = command("run", "--resume", "here")
        assert (code, again, err) == (0, finished, "")
        _, as_json, _ = command("run", "--resume", "here", "--json")
        assert json.loads(as_json) == report("here")


@pytest.mark.parametrize("source", ["texts.jsonl", "cells/lookup-k3/trace.jsonl"])
def test_a_report_older_than_what_it_was_made_from_is_made_again(command, asked, source):
    command(*asked, "--out", "here")
    path = pathlib.Path("here", source)
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))
    _, _, err = command("run", "--resume", "here")
    assert err.startswith("loading PyTorch")


def test_a_run_that_was_stopped_late_is_not_taken_for_finished(command, asked):
    command(*asked, "--out", "here")
    pathlib.Path("here/report.html").unlink()
    command("run", "--resume", "here")
    assert pathlib.Path("here/report.html").exists()


def test_settings_of_an_older_release_are_refused(command, asked, monkeypatch):
    monkeypatch.setattr("validate.commands.run.charts", None)
    command(*asked, "--out", "here")
    path = pathlib.Path("here/settings.json")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "version"}))
    code, _, err = command("run", "--resume", "here")
    assert code == 2
    assert err.endswith("found settings of version 1, expected 2: start anew\n")


def test_sampled_runs_are_predicted_with_their_acceptance_in_doubt(command, asked):
    code, *_ = command(*asked, "--temperature", "1", "--out", "here")
    assert code == 0
    cells = report("here")["cells"]
    assert {(c["domain"], c["draft"], c["k"]) for c in cells} == CELLS
    assert any(abs(c["gap"]["acceptance"]) > 1e-6 for c in cells)
