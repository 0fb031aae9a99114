"""Killed without a word, or out of room: what was done is there, half a line is not, and the rest follows."""

import dataclasses
import errno
import json
import multiprocessing
import os
import pathlib
import signal

import pytest

torch = pytest.importorskip("torch")

from tests.tiny import saved
from validate import cli, costs, folder, trace
from validate.commands import run
from validate.jsonl import Journal
from validate.trace import Writer

NO_TIMES = dict.fromkeys(("draft_s", "verify_s", "accept_s"), 0.0)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.test_killed"])
HALF = b'{"prompt":"p'


def specmath(arguments, place, moment=None):
    """The command in a process of its own; at the moment, (file, writes to it), half a line more and it is killed."""
    left = list(moment or ())

    def after(name, path):
        if left and name == left[0]:
            left[1] -= 1
            if not left[1]:
                with open(path, "ab") as file:
                    file.write(HALF)
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(original, names):
        def call(*given):
            original(*given)
            after(*names(*given))

        return call

    os.chdir(place)
    run.charts = None
    Journal.append = watched(Journal.append, lambda journal, _: (journal.path.name, journal.path))
    Writer.write = watched(Writer.write, lambda writer, _: (writer.path.name, writer.path))
    folder.write = watched(folder.write, lambda at, name, _: (name, at / f".{name}.new"))
    cli.main(arguments)


def ended(arguments, place, moment=None):
    """How the command ended."""
    process = PROCESSES.Process(target=specmath, args=([str(a) for a in arguments], place, moment))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A target, a draft and prompts."""
    return saved(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def asked(models):
    """Options that run and profile share, of sampled text: its coins have to be the same again."""
    drafts = ("--target", models / "target", "--draft", models / "draft", "--draft", "lookup", "--k", "3")
    return (*drafts, "--prompts", models / "prompts.jsonl", "--tokens", "10", "--temperature", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def whole(asked, tmp_path_factory):
    """The folder in which `run` and `profile` lie that nothing stopped."""
    place = tmp_path_factory.mktemp("whole")
    for command in ("run", "profile"):
        assert ended([command, *asked, "--out", command], place) == 0
    return place


def rounds(place):
    """Every round of every cell without its times."""
    paths = sorted(place.glob("cells/*/trace.jsonl"))
    return {path.parent.name: [dataclasses.replace(r, **NO_TIMES) for r in trace.read(path).rounds] for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        ("settings.json", 1),
        ("texts.jsonl", 2),
        ("costs.jsonl", 8),
        ("scores.jsonl", 3),
        ("prediction.json", 1),
        ("trace.jsonl", 1),
        ("trace.jsonl", 100),
        ("report.json", 1),
    ],
    ids=lambda moment: "-".join(map(str, moment)),
)
def test_a_killed_run_goes_on_to_the_same_rounds_under_the_same_prediction(asked, whole, tmp_path, moment):
    here = tmp_path / "here"
    assert ended(["run", *asked, "--out", "here"], tmp_path, moment) == -signal.SIGKILL
    prediction = here / "prediction.json"
    before = prediction.read_bytes() if prediction.exists() else None
    assert (before is None) == (moment[0] in ("settings.json", "texts.jsonl", "costs.jsonl", "scores.jsonl"))
    assert ended(["run", "--resume", "here"], tmp_path) == 0
    assert before in (None, prediction.read_bytes())
    assert rounds(here) == rounds(whole / "run")
    assert len(rounds(here)) == 2
    assert all(rounds(here).values())
    assert [line for path in here.rglob("*.jsonl") for line in path.read_bytes().splitlines() if line == HALF] == []


@pytest.mark.slow
@pytest.mark.parametrize("moment", [("settings.json", 1), ("texts.jsonl", 4), ("scores.jsonl", 2), ("profile.json", 1)])
def test_a_killed_profile_goes_on_to_the_same_answer(asked, whole, tmp_path, moment):
    assert ended(["profile", *asked, "--out", "here"], tmp_path, moment) == -signal.SIGKILL
    assert ended(["profile", "--resume", "here"], tmp_path) == 0
    found, expected = (json.loads((p / "profile.json").read_text()) for p in (tmp_path / "here", whole / "profile"))
    elsewhere = {"source": found["source"], "next": expected["next"].replace("--resume profile", "--resume here")}
    assert found == expected | elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("sweeps", [1, 3])
def test_killed_costs_keep_their_sweeps_and_get_the_others(models, tmp_path, sweeps):
    file = tmp_path / costs.FILE
    options = ("--target", models / "target", "--draft", models / "draft", "--k", "2", "--context", "8,16")
    again = ["cost", *options, "--repeats", "5", "--device", "cpu", "--out", file]
    assert ended(again, tmp_path, (costs.FILE, sweeps)) == -signal.SIGKILL
    kept = file.read_bytes().removesuffix(HALF)
    assert len(kept.splitlines()) == 1 + sweeps
    assert ended(again, tmp_path) == 0
    assert file.read_bytes().startswith(kept)
    assert len(costs.read(file).sweeps) == 5


@pytest.mark.parametrize(("after", "name", "kept"), [(0, "texts", 0), (4, "texts", 3), (9, "scores", 1)])
def test_a_profile_without_room_says_what_is_kept_and_how_to_go_on(
    asked, tmp_path, monkeypatch, capsys, after, name, kept
):
    """Two files begin with a line of their own, between them the six texts."""
    written, fsync = [], os.fsync

    def full(file):
        written.append(file)
        if len(written) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    def command(*arguments):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["profile", *map(str, arguments)])
        return stopped.value.code, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, out, err = command(*asked, "--out", "here")
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert f"cannot write to here/{name}.jsonl (No space left on device); the {kept} records before are kept" in last
    assert last.endswith("go on with: specmath profile --resume here")
    file = pathlib.Path(f"here/{name}.jsonl")
    assert len(file.read_bytes().splitlines()) == (1 + kept if after else 0)
    assert command("--resume", "here")[0] == 0
    assert len(file.read_bytes().splitlines()) == 7
