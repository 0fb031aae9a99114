"""The command from outside: exit codes, one line for bad input, one object for --json, and runs that are stopped."""

import errno
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from tests import runs, synthetic
from validate import cli, costs, prediction, trace
from validate.console import Step

ROOT = pathlib.Path(__file__).parent.parent
CLOSED = ("speedup", "--alpha", "0.75", "--k", "4", "--c", "0.02")


@pytest.fixture
def command(capsys):
    """Run the command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return ended.value.code, *capsys.readouterr()

    return call


def one_object(text):
    """The JSON object that is all of the text; NaN and infinity are refused."""

    def refuse(constant):
        raise AssertionError(f"{constant} in JSON")

    assert text.count("\n") == 1
    return json.loads(text, parse_constant=refuse)


def fresh(*code_or_arguments, module="validate"):
    return subprocess.run(
        [sys.executable, *(["-m", module] if module else []), *code_or_arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "", "NO_COLOR": ""},
    )


def test_the_closed_form_answers_first_gives_its_reason_and_says_what_next(command):
    code, out, err = command(*CLOSED)
    answer, reason, then = out.splitlines()[:3]
    assert (code, err) == (0, "")
    assert answer.startswith("USE k = 4: 2.82x")
    assert reason.startswith("because a round emits 3.05 tokens and costs 1.08 plain steps")
    assert then.startswith("next: draft k = 9 for 3.20x")


def test_a_negative_answer_is_an_answer(command):
    code, out, _ = command("speedup", "--alpha", "0.1", "--k", "8", "--c", "0.3")
    assert code == 0
    assert out.startswith("DON'T USE k = 8: ")


def test_json_is_one_object_on_stdout_and_nothing_else(command):
    code, out, err = command(*CLOSED, "--json")
    assert (code, err) == (0, "")
    assert one_object(out)["speedup"] == pytest.approx(2.8247975)


def test_the_command_alone_shows_its_subcommands(command):
    code, out, _ = command()
    assert code == 0
    assert all(name in out for name in ("speedup", "run", "profile", "cost", "fit", "lossless", "plan"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--alpha", "1.5", "--k", "4", "--c", "0.1"), "alpha: found 1.5, expected a number in [0, 1]"),
        (("--alpha", "-0.5", "--k", "4", "--c", "0.1"), "alpha: found -0.5"),
        (("--alpha", "nan", "--k", "4", "--c", "0.1"), "alpha: found nan"),
        (("--alpha", "0.5", "--k", "-1", "--c", "0.1"), "k: found -1"),
        (("--alpha", "0.5", "--k", "4", "--c", "-0.1"), "c: found -0.1"),
        (("--alpha", "0.5", "--k", "4", "--c", "nan"), "c: found nan"),
        (("--alpha", "0.5", "--k", "4", "--c", "inf"), "c: found inf"),
        (("--alpha", "0.5", "--k", "4", "--c", "0", "--o", "-1"), "o: found -1.0"),
        (("--alpha", "much", "--k", "4", "--c", "0.1"), "--alpha"),
        (("--alpha", "0.5", "--k", "1.5", "--c", "0.1"), "--k"),
        (("--alpha", "0.5", "--k", "4"), "--c"),
        (("--alpha", "0.5", "--k", "4", "--c", "0.1", "--beta", "1"), "--beta"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(command, arguments, named):
    code, out, err = command("speedup", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("specmath: ")
    assert named in err
    assert err.count("\n") == 1


def test_a_command_that_does_not_exist_is_one_line(command):
    code, _, err = command("speedpu")
    assert code == 2
    assert "speedpu" in err
    assert err.count("\n") == 1


def test_the_closed_form_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['specmath', *'speedup --alpha .5 --k 4 --c 0'.split()]\n"
        "from validate.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    )
    loaded = set(fresh("-c", code, module=None).stdout.splitlines()[-1].split())
    assert "specmath.speedup" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "scipy", "scipy.stats", "scipy.special", "rich.console"}


def test_fit_loads_no_torch(tmp_path):
    synthetic.write_trace(tmp_path / trace.FILE, synthetic.trace({"json": 0.9}, prompts=2, rounds=5))
    code = (
        f"import sys; sys.argv = ['specmath', 'fit', {str(tmp_path)!r}]\n"
        "from validate.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    )
    loaded = set(fresh("-c", code, module=None).stdout.splitlines()[-1].split())
    assert "specmath.estimate" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "scipy.stats"}


def test_a_pipe_gets_no_escape_codes_and_the_module_is_the_command():
    done = fresh(*CLOSED)
    assert done.returncode == 0
    assert done.stdout.startswith("USE k = 4")
    assert "\x1b" not in done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    """The files of a finished run."""
    synthetic.write_trace(tmp_path / trace.FILE, synthetic.trace({"json": 0.9, "prose": 0.05}))
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs())
    return tmp_path


def test_fit_reads_a_folder_with_its_costs_and_a_trace_alone(command, folder):
    code, out, _ = command("fit", folder, "--json")
    document = one_object(out)
    assert (code, document["schema"], document["source"]) == (0, "specmath.fit/1", str(folder))
    assert set(document["best"]) == {"k", "speedup", "cut_from", "exact"}
    (folder / costs.FILE).unlink()
    code, out, _ = command("fit", folder / trace.FILE, "--json")
    assert (code, one_object(out)["best"]) == (0, None)


def test_fit_reads_an_interrupted_trace_as_far_as_it_goes(command, folder):
    path = folder / trace.FILE
    path.write_bytes(path.read_bytes()[:-3000])
    code, out, _ = command("fit", folder, "--json")
    document = one_object(out)
    assert code == 0
    assert document["prompts"]["finished"] == 11
    assert document["speedup"]["prompts"] == 11


@pytest.mark.parametrize("missing", ["nowhere", "nowhere/trace.jsonl"])
def test_a_source_that_is_not_there_is_named(command, tmp_path, missing):
    code, _, err = command("fit", tmp_path / missing)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"specmath: {tmp_path / missing}")


def test_a_trace_of_another_version_is_refused(command, folder):
    path = folder / trace.FILE
    path.write_text(path.read_text().replace('"version":1', '"version":2', 1))
    code, _, err = command("fit", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "version 2" in err


class FakeStudy:
    """Writes a made-up run prompt by prompt; `stop` is raised, once, after the first of them."""

    whole = synthetic.trace({"json": 0.9, "prose": 0.05}, prompts=3)
    stop: BaseException | None = None
    seen: tuple = ()

    def __init__(self, settings, prompts, folder, say):
        FakeStudy.seen = (settings, prompts, folder)
        self.folder = folder

    def steps(self):
        cell, path, prices = ("lookup", 4), self.folder / trace.FILE, runs.costs()
        if not path.exists():
            synthetic.write_costs(self.folder / costs.FILE, prices)
            prediction.write(self.folder, runs.predicted({cell: self.whole}, prices))
        head, domains = self.whole.header, self.whole.domains
        resume = path.exists()
        with trace.Writer.resume(path, head, runs=3) if resume else trace.Writer(path, head) as writer:
            for number, name in enumerate(domains, 1):
                if name in writer.finished:
                    continue
                for begun in (line for line in self.whole.prompts if line.prompt == name):
                    for line in (begun, *self.whole.rounds, *self.whole.done):
                        if line.key == begun.key and (line is begun or line.type != "prompt"):
                            writer.write(line)
                yield Step("decoded", number, len(domains), f"{name} ({domains[name]})")
                stop, FakeStudy.stop = FakeStudy.stop, None
                if stop:
                    raise stop


@pytest.fixture
def study(monkeypatch, tmp_path):
    """A command line whose study is made up, in a folder of its own."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("validate.commands.run.Study", FakeStudy)
    monkeypatch.setattr(FakeStudy, "stop", None)
    monkeypatch.setattr(
        "validate.ahead.names", SimpleNamespace(target=lambda *_, **__: None, draft=lambda *_, **__: None)
    )
    return FakeStudy


def test_a_run_writes_its_files_and_prints_the_verdict(command, study, tmp_path):
    code, out, err = command("run", "--out", "here")
    assert code == 0
    assert out.splitlines()[0].split()[0] in ("USE", "DON'T", "MEASURE")
    written = {path.name for path in (tmp_path / "here").iterdir()}
    assert written >= {"trace.jsonl", "costs.jsonl", "report.json", "report.md"}
    assert not [name for name in written if name.endswith(".new")]
    assert (tmp_path / "here" / "report.md").read_text().startswith(f"# {out.splitlines()[0]}\n")
    steps = [line.partition(", stage 4 of 4")[0] for line in err.splitlines()[1:]]
    assert steps == [f"decoded {i}/6 {d}-{n} ({d})" for i, (d, n) in enumerate(_order(), 1)]


def _order():
    return [(domain, n) for domain in ("json", "prose") for n in range(3)]


def test_a_run_draws_its_chart_where_matplotlib_is_installed(command, study, tmp_path):
    pytest.importorskip("matplotlib")
    command("run", "--out", "here")
    assert (tmp_path / "here" / "speedup.svg").read_text().startswith("<?xml")
    assert (tmp_path / "here" / "speedup.png").read_bytes().startswith(b"\x89PNG")
    assert "](speedup.svg)" in (tmp_path / "here" / "report.md").read_text()


def test_a_run_without_matplotlib_loses_the_chart_and_nothing_else(command, study, tmp_path, monkeypatch):
    monkeypatch.setattr("validate.commands.run.charts", None)
    code, out, err = command("run", "--out", "here")
    assert code == 0
    assert "specmath[figures]" in err
    assert "speedup.svg" not in out
    assert (tmp_path / "here" / "report.json").exists()


def test_the_json_of_a_run_is_what_the_folder_holds(command, study, tmp_path):
    code, out, _ = command("run", "--out", "here", "--json")
    assert code == 0
    assert one_object(out) == json.loads((tmp_path / "here" / "report.json").read_text())


def test_a_run_without_a_folder_makes_one_named_by_the_time(command, study, tmp_path):
    command("run")
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("20")


def test_options_reach_the_study(command, study, tmp_path):
    lines = [{"prompt": f"text {i}", "domain": "ab"[i % 2]} for i in range(6)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sampling = ("--temperature", "0.7", "--top-k", "5", "--top-p", "0.9", "--min-p", "0.1")
    size = ("--k", "3", "--k", "1", "--tokens", "9", "--seed", "4", "--per-domain", "2", "--prompts", "mine.jsonl")
    command(
        "run",
        "--target",
        "T",
        "--draft",
        "D",
        "--draft",
        "lookup",
        *size,
        *sampling,
        "--device",
        "cpu",
        "--out",
        "here",
    )
    settings, prompts, _ = study.seen
    assert (settings.target, settings.drafts, settings.ks) == ("T", ("D", "lookup"), (1, 3))
    assert (settings.budget, settings.seed) == (9, 4)
    assert (settings.sampler.temperature, settings.sampler.top_k) == (0.7, 5)
    assert (settings.sampler.top_p, settings.sampler.min_p) == (0.9, 0.1)
    assert (settings.device, settings.dtype) == ("cpu", "float32")
    assert [prompt.text for prompt in prompts] == ["text 0", "text 1", "text 2", "text 3"]


def test_the_bundled_target_is_the_one_that_loading_bundles():
    loading = pytest.importorskip("validate.loading")
    assert cli.BUNDLED == loading.BUNDLED


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [(KeyboardInterrupt(), 130, "interrupted"), (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left")],
)
def test_a_run_that_is_stopped_says_what_is_kept_and_its_own_way_back(command, study, monkeypatch, stop, code, said):
    monkeypatch.setattr(study, "stop", stop)
    ended, out, err = command("run", "--out", "here", "--tokens", "9")
    assert (ended, out) == (code, "")
    last = err.splitlines()[-1]
    assert said in last
    assert last.endswith("what was done is kept, go on with: specmath run --resume here")

    ended, out, err = command("run", "--resume", "here")
    assert ended == 0
    assert "on 6 prompts" in out.splitlines()[0]
    assert err.splitlines()[1].startswith("decoded 2/6 json-1")
    assert study.seen[0].budget == 9


def test_the_verdict_of_a_resumed_run_is_that_of_one_that_was_not_stopped(command, study, monkeypatch):
    _, whole, _ = command("run", "--out", "one", "--json")
    monkeypatch.setattr(study, "stop", KeyboardInterrupt())
    command("run", "--out", "two")
    _, resumed, _ = command("run", "--resume", "two", "--json")
    assert one_object(resumed)["speedup"] == one_object(whole)["speedup"]
    assert one_object(resumed)["verdicts"] == one_object(whole)["verdicts"]


def test_a_run_is_resumed_with_its_own_options_only(command, study):
    command("run", "--out", "here")
    code, _, err = command("run", "--resume", "here", "--tokens", "5")
    assert code == 2
    assert "--tokens" in err
    code, _, err = command("run", "--resume", "elsewhere")
    assert code == 2
    assert "elsewhere" in err


def test_a_second_run_into_the_same_folder_is_refused_before_anything_is_loaded(command, study):
    command("run", "--out", "here")
    study.seen = ()
    code, _, err = command("run", "--out", "here")
    assert (code, study.seen) == (2, ())
    assert "--resume here" in err


def test_a_broken_prompts_file_is_refused_by_line_and_leaves_no_folder(command, study, tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
    for name, said in (("mine.jsonl", "mine.jsonl:2: "), ("none.jsonl", "none.jsonl")):
        code, _, err = command("run", "--prompts", name, "--out", "here")
        assert code == 2
        assert said in err.splitlines()[-1]
        assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--k", "0"),
        ("--tokens", "1"),
        ("--temperature", "-1"),
        ("--device", "abacus"),
        ("--dtype", "int3"),
        ("--per-domain", "99"),
    ],
)
def test_options_of_a_run_out_of_their_domain_are_refused(command, study, arguments):
    code, _, err = command("run", "--out", "here", *arguments)
    assert code == 2
    assert err.splitlines()[-1].startswith("specmath: ")
    assert not pathlib.Path("here").exists()


def test_a_model_that_is_not_there_is_one_line_and_leaves_no_folder(command, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    code, out, err = command("run", "--target", "./no/such/model", "--out", "here")
    assert (code, out) == (2, "")
    assert "./no/such/model" in err.splitlines()[-1]
    assert not pathlib.Path("here").exists()


@pytest.mark.parametrize("subcommand", ["run", "profile", "cost"])
def test_without_torch_the_line_says_what_to_install(subcommand):
    code = f"import sys; sys.modules['torch'] = None; sys.argv = ['specmath', '{subcommand}']\n"
    done = fresh("-c", f"{code}from validate.cli import main\nmain()", module=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "specmath: torch is not installed; this needs: pip install 'specmath[validate]'\n"


class FakeBench:
    """Always the same sweep; `stop` is raised, once, instead of the second."""

    contexts = (0, 1000)
    stop: BaseException | None = None
    swept = 0

    def __init__(self, models, settings, shapes, say):
        self.measured = {"drafts": list(settings.drafts), "contexts": self.contexts}
        self.measured |= {"sampler": asdict(settings.sampler)}

    def warm(self):
        """Nothing to warm."""

    def sweep(self):
        """One of the made-up costs."""
        FakeBench.swept += 1
        if FakeBench.swept == 2 and FakeBench.stop:
            raise FakeBench.stop
        return runs.costs(draft=0.1).sweeps[0]


@pytest.fixture
def bench(monkeypatch):
    pytest.importorskip("torch")
    asked = []
    monkeypatch.setattr(
        "validate.ahead.names", SimpleNamespace(target=lambda *_, **__: None, draft=lambda *_, **__: None)
    )
    monkeypatch.setattr("validate.commands.cost.Models", lambda settings: SimpleNamespace(context=4096))
    monkeypatch.setattr("validate.commands.cost.CostBench", lambda *given: asked.append(given[2]) or FakeBench(*given))
    return asked


def test_cost_takes_the_sampler_that_accepting_is_timed_under(command, bench, tmp_path):
    asked = ("cost", "--device", "cpu", "--repeats", "1", "--out", tmp_path / costs.FILE)
    sampler = ("--temperature", "0.7", "--top-k", "9", "--top-p", "0.9", "--min-p", "0.1")
    _, out, _ = command(*asked, *sampler, "--json")
    expected = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.1}
    assert one_object(out)["sampler"] == costs.read(tmp_path / costs.FILE).measured["sampler"] == expected
    code, _, err = command(*asked)
    assert code == 2
    assert 'found sampler {"temperature": 0.7' in err.splitlines()[-1]
    assert command("cost", "--device", "cpu", "--top-p", "0")[0] == 2


def test_cost_without_k_or_lengths_measures_what_larger_k_need_and_asks_about_four(command, bench):
    _, out, _ = command("cost", "--device", "cpu", "--repeats", "1", "--json")
    assert list(bench[0].lengths) == [*range(1, 10), 13, 17, 25, 33]
    assert one_object(out)["k"] == 4


def test_cost_answers_for_the_k_that_was_asked_for_among_its_lengths(command, bench):
    _, out, _ = command("cost", "--k", "2", "--lengths", "1-5", "--device", "cpu", "--repeats", "1", "--json")
    assert one_object(out)["k"] == 2
    code, _, err = command("cost", "--k", "3", "--lengths", "1,2,5", "--device", "cpu", "--repeats", "1")
    assert (code, err.splitlines()[-1]) == (
        2,
        "specmath: --lengths: found '1,2,5', expected 4 among them for --k 3: add it",
    )


def test_cost_prints_the_table_and_json_its_object(command, bench):
    code, out, err = command("cost", "--draft", "D", "--device", "cpu", "--repeats", "3")
    assert code == 0
    assert out.startswith("MEASURE MORE: v(5) = 1.50 plain steps, c = 0.100")
    assert err.splitlines()[1:] == [f"measured {i}/3 sweep" for i in (1, 2, 3)]
    code, out, _ = command("cost", "--device", "cpu", "--repeats", "1", "--json")
    assert (code, one_object(out)["schema"]) == (0, "specmath.cost/1")


def test_cost_says_where_its_sweeps_are_how_to_use_them_and_when_nothing_was_measured(command, bench, tmp_path):
    path = tmp_path / costs.FILE
    asked = ("cost", "--draft", "D", "--device", "cpu", "--repeats", "2")
    _, out, err = command(*asked, "--out", path)
    assert f"--draft D --text LOG --costs {path}\n" in out
    assert out.splitlines()[-2:] == ["FILES", str(path)]
    assert "nothing to measure" not in err
    _, again, err = command(*asked, "--out", path)
    assert again == out
    assert f"nothing to measure: {path} holds 2 sweeps, which are read" in err.splitlines()
    _, out, _ = command(*asked)
    assert "--text LOG --costs FILE, with --out FILE here\n" in out
    assert "FILES" not in out


def test_cost_measures_the_lengths_and_contexts_that_were_asked_for(command, bench):
    command("cost", "--k", "2", "--context", "64", "--device", "cpu", "--repeats", "1")
    command("cost", "--lengths", "2,5", "--context", "64, 128", "--device", "cpu", "--repeats", "1")
    assert [(list(shapes.lengths), shapes.contexts) for shapes in bench] == [
        ([1, 2, 3], [64]),
        ([1, 2, 5], [64, 128]),
    ]


def test_a_measurement_that_was_stopped_goes_on_where_it_was(command, bench, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeBench, "swept", 0)
    monkeypatch.setattr(FakeBench, "stop", KeyboardInterrupt())
    asked = ("cost", "--device", "cpu", "--repeats", "4", "--out", tmp_path / costs.FILE)
    assert command(*asked)[0] == 130
    assert len(costs.read(tmp_path / costs.FILE).sweeps) == 1
    code, _, err = command(*asked)
    assert code == 0
    assert err.splitlines()[1:] == [f"measured {i}/4 sweep" for i in (2, 3, 4)]
    assert len(costs.read(tmp_path / costs.FILE).sweeps) == 4


def test_sweeps_of_other_shapes_are_not_gone_on_with(command, bench, tmp_path, monkeypatch):
    asked = ("cost", "--device", "cpu", "--repeats", "1", "--out", tmp_path / costs.FILE)
    command(*asked)
    monkeypatch.setattr(FakeBench, "contexts", (0, 2000))
    code, _, err = command(*asked)
    assert code == 2
    assert "costs.jsonl: found contexts [0, 1000], expected [0, 2000]: keep its options" in err.splitlines()[-1]


def test_sweeps_of_another_draft_are_not_gone_on_with(command, bench, tmp_path):
    asked = ("cost", "--device", "cpu", "--repeats", "1", "--out", tmp_path / costs.FILE)
    command(*asked)
    code, _, err = command(*asked, "--draft", "D")
    assert code == 2
    assert 'found drafts ["lookup"], expected ["D"]' in err.splitlines()[-1]


def test_cost_takes_ranges_and_batches(command, bench):
    command("cost", "--lengths", "1-5", "--batches", "4,2", "--device", "cpu", "--repeats", "1")
    assert (bench[0].lengths, bench[0].contexts, bench[0].batches) == ([1, 2, 3, 4, 5], [128, 512], [1, 2, 4])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lengths", "1,x"),
        ("--lengths", "3-"),
        ("--lengths", "1-2-3"),
        ("--batches", "0"),
        ("--lengths", "0,2"),
        ("--context", ""),
        ("--lengths", "1"),
    ],
)
def test_lengths_that_are_none_are_refused(command, bench, arguments):
    code, _, err = command("cost", "--device", "cpu", *arguments)
    assert code == 2
    assert arguments[0] in err
