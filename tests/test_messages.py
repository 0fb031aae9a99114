"""What a new user does wrong, and the one line that says what was found, what was expected and what to do."""

import errno
import json
import pathlib
import sys
import types

import pytest

pytest.importorskip("huggingface_hub")

from tests import runs, synthetic
from validate import ahead, cli, costs, folder, jsonl, names, trace
from validate.console import Step, watched
from validate.workload import UNTITLED, read_prompts

CLOSED = ("speedup", "--alpha", ".75", "--c", ".02")
HELP = 80


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Run the command in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(command, monkeypatch):
    """The one line of what is refused before the module that imports PyTorch is touched."""
    pytest.importorskip("torch")
    for name in ("run", "profile", "cost", "lossless"):
        monkeypatch.setitem(sys.modules, f"validate.commands.{name}", None)

    def call(*arguments):
        before = set(pathlib.Path.cwd().rglob("*"))
        code, out, err = command(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert set(pathlib.Path.cwd().rglob("*")) == before
        return err

    return call


def write(name, *lines):
    pathlib.Path(name).write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))


def test_a_folder_with_files_of_others_is_not_written_into(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    for subcommand in ("run", "profile"):
        said = refused(subcommand, "--out", "mine")
        assert "found files of others in mine, expected a new or empty folder: choose another --out" in said


def test_an_empty_folder_is_written_into(tmp_path):
    assert folder.new(tmp_path, "run") == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_found_before_the_model(refused):
    write("my.jsonl", "")
    for place in ("my.jsonl", "my.jsonl/below", "/proc/foo"):
        said = refused("run", "--out", place)
        assert said.startswith(f"specmath: cannot create {place} (")
        assert said.endswith("): choose another --out\n")


def test_a_file_of_sweeps_that_cannot_be_created_is_found_before_the_model(refused, tmp_path):
    (tmp_path / "there").mkdir()
    for place in ("nodir/x", "there"):
        said = refused("cost", "--out", place)
        assert f"cannot create {tmp_path / place} (" in said
        assert said.endswith("): choose another --out\n")


def test_sweeps_are_not_added_to_a_file_that_holds_none(refused):
    write("mine.jsonl", {"prompt": "a"})
    assert "mine.jsonl: found a first line of prompt, expected specmath.costs version 3" in refused(
        "cost", "--out", "mine.jsonl"
    )


def test_nothing_is_said_to_be_kept_where_nothing_is(tmp_path, capsys):
    with pytest.raises(SystemExit), folder.resumable(tmp_path / "here", "run"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert capsys.readouterr().err == "specmath: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--prompts", "no.jsonl"), "--prompts: found no file no.jsonl, expected JSON Lines of prompts"),
        (("run", "--prompts", "."), "--prompts: found a folder, ., expected JSON Lines of prompts"),
        (("run", "--prompts", "bad.jsonl"), "bad.jsonl:1: not JSON"),
        (("run", "--prompts", "generated:foo"), "generated: found 'foo', expected some of json, template"),
        (("run", "--prompts", "hub:foo"), "hub:foo: found no such data set, expected one of humaneval"),
        (("run", "--draft", "early:x"), "--draft early:x: found 'x', expected a number of layers, like early:20"),
        (("run", "--draft", "early:0"), "--draft early:0: found '0', expected a number of layers, like early:20"),
        (("run", "--device", "abacus"), "device: found 'abacus', expected cpu, cuda or cuda:N"),
        (("run", "--top-p", "0"), "top_p"),
        (("profile", "--text", "no.jsonl"), "--text: found no file {here}/no.jsonl, expected JSON Lines of"),
        (("profile", "--text", "empty.jsonl"), "empty.jsonl holds no text; expected"),
        (("profile", "--text", "bad.jsonl"), "bad.jsonl:1: not JSON"),
        (("profile", "--text", "prompts.jsonl"), "prompts.jsonl:1: found no response"),
        (
            ("profile", "--text", "."),
            "--text: found no texts.jsonl in {here}, expected the folder of a run or a profile",
        ),
        (("profile", "--text", "a.jsonl", "--prompts", "b.jsonl"), "--prompts: found beside --text"),
        (("profile", "--costs", "no.jsonl"), "--costs: found no file {here}/no.jsonl, expected sweeps"),
        (("profile", "--costs", "."), "--costs: found a folder, {here}, expected sweeps"),
        (("profile", "--costs", "empty.jsonl"), "empty.jsonl holds no sweep, expected one or more: measure"),
        (("profile", "--costs", "prompts.jsonl"), "prompts.jsonl: found a first line of prompt, expected specmath.cos"),
        (("run", "--resume", "nowhere"), "nowhere: found no settings.json, expected the folder of a run"),
        (("profile", "--resume", "nowhere"), "nowhere: found no settings.json"),
        (("cost", "--lengths", "a"), "--lengths: found 'a', expected whole numbers"),
        (("lossless", "--draft", "ngram"), "--draft: found 'ngram', expected lookup, early:N or a model"),
        (("lossless", "--prompts", "no.jsonl"), "--prompts: found no file no.jsonl, expected JSON Lines of prompts"),
        (
            ("run", "--target", "./nodir"),
            "no model './nodir' to load (there is no such file or folder); expected 'Smol",
        ),
        (("run", "--draft", "no/such/dir"), "expected lookup, ngram, early:N, 'SmolLM2-135M-Instruct', a directory"),
        (("cost", "--target", "no.json", "--dummy-weights"), "no model 'no.json' to load"),
    ],
)
def test_what_can_be_judged_without_a_model_is_judged_before_one(refused, tmp_path, arguments, said):
    write("bad.jsonl", "{no\n")
    write("empty.jsonl", "")
    write("prompts.jsonl", {"prompt": "a"})
    assert said.replace("{here}", str(tmp_path)) in refused(*arguments)


def test_no_torch_is_imported_for_it(tmp_path):
    from tests.test_cli import fresh

    for arguments in (["cost", "--lengths", "a"], ["run", "--resume", "nowhere"], ["profile", "--text", "nowhere"]):
        code = (
            f"import sys; sys.argv = ['specmath', *{arguments}]\n"
            "from validate.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
        )
        assert not set(fresh("-c", code, module=None).stdout.split()) & {"torch", "transformers"}


def test_a_missing_package_of_data_sets_is_said_at_once(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "specmath[hub]" in refused("run", "--prompts", "hub:gsm8k")


class Hub:
    """A hub that answers as told."""

    def __init__(self, answer):
        self.answer = answer

    def model_info(self, name, timeout):
        if self.answer:
            raise self.answer


@pytest.fixture
def hub(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)

    def answers(error):
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(error))

    return answers


def test_a_hub_id_is_asked_for_once_and_a_draft_has_other_names_too(refused, hub):
    hub(RuntimeError("Name or service not known"))
    said = refused("run", "--draft", "foo")
    assert "no model 'foo' to load (no file or folder, and the hub cannot be asked: Name or service" in said
    assert "expected lookup, ngram, early:N, 'SmolLM2-135M-Instruct', a directory" in said
    assert "lookup" not in refused("run", "--target", "foo")


def test_a_hub_that_answers_otherwise_leaves_it_to_the_loading(hub):
    errors = pytest.importorskip("huggingface_hub.errors")
    httpx = types.SimpleNamespace(headers={}, request=None, status_code=500)
    for found in (None, errors.HfHubHTTPError("server error", response=httpx)):
        hub(found)
        assert names.target("somebody/something") is None


def test_a_draft_deeper_than_the_target_is_told_its_depth():
    pytest.importorskip("torch")
    from tests.tiny import llama
    from validate.loading import early

    with pytest.raises(ValueError, match=r"early:99: found 99 layers, tiny-0 has 2: expected early:1$"):
        early(llama(), 99)


def test_another_number_of_threads_is_mended_by_the_environment(tmp_path):
    jsonl.Journal(tmp_path / "x.jsonl", "f", 1, {"threads": 2})
    with pytest.raises(ValueError, match="written with 2 threads, this process has 1: set OMP_NUM_THREADS=2, or"):
        jsonl.Journal(tmp_path / "x.jsonl", "f", 1, {"threads": 1})


@pytest.fixture
def trace_in(tmp_path):
    def make(place):
        (tmp_path / place).mkdir(parents=True)
        synthetic.write_trace(tmp_path / place / trace.FILE, synthetic.trace({"json": 0.9}, prompts=2, rounds=5))

    return make


def test_fit_names_the_command_of_every_cell(command, trace_in):
    trace_in("r2/cells/lookup-k2")
    code, _, err = command("fit", "r2")
    assert (code, err.count("\n")) == (2, 1)
    assert "r2: found a trace below it, expected one in it: specmath fit r2/cells/lookup-k2" in err
    trace_in("r2/cells/ngram-k2")
    _, _, err = command("fit", "r2")
    assert "r2: found 2 traces below it, expected one in it: specmath fit r2/cells/lookup-k2, or" in err
    assert err.endswith("specmath fit r2/cells/ngram-k2\n")


def test_fit_says_what_kind_of_folder_it_is_and_what_reads_it(command):
    for kind, said in (
        ("profile", "p1: found a profile, expected a run: read p1/profile.md, or specmath profile --resume p1"),
        ("run", "p1: found a run without a trace yet, expected one: specmath run --resume p1"),
    ):
        pathlib.Path("p1").mkdir(exist_ok=True)
        write("p1/settings.json", {"command": kind})
        assert said in command("fit", "p1")[2]
    pathlib.Path("others").mkdir()
    assert "others: found no trace.jsonl, expected the folder of a specmath run" in command("fit", "others")[2]
    code, _, err = command("fit", "gone")
    assert (code, err.count("\n")) == (2, 1)
    assert "gone: found no file or folder, expected a trace.jsonl or the folder of a specmath run" in err


def test_a_context_beyond_the_models_names_the_option_and_the_limit(command, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("validate.commands.cost.Models", lambda settings: types.SimpleNamespace(context=4096))
    code, _, err = command("cost", "--context", "9000", "--device", "cpu")
    assert code == 2
    assert "--context: found 9000, expected at most 4063: the models hold 4096 tokens" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--k", "0"), "--k: found 0, expected at least 1, as in: specmath run"),
        (("run", "--top-p", "7"), "--top-p: found 7, expected at most 1"),
        ((*CLOSED, "--d", "x"), "--d: found x, expected a number, as in: specmath speedup --alpha .75 --c .02"),
        ((*CLOSED, "--k=1.5"), "--k: found 1.5, expected a whole number"),
        (("run", "--dtype", "int3"), "--dtype: found int3, expected one of 'float32', 'bfloat16', 'float16'"),
        (("speedup", "--alpha", ".5"), "found no --c, expected it, as in: specmath speedup --alpha .75 --c .02"),
        (("fit",), "found no source, expected it, as in: specmath fit runs/"),
        (
            ("frob",),
            "found 'frob', expected one of speedup, run, profile, cost, fit, lossless, plan, as in: specmath speedup",
        ),
        (("run", "--text", "x"), "found --text, expected some of --target, --draft, --prompts"),
        (("--frob",), "found --frob, expected one of speedup, run"),
        (("run", "--prompts"), "--prompts: found nothing after it, expected a value, as in: specmath run"),
        ((*CLOSED, "more"), "unexpected extra argument"),
        ((*CLOSED, "--k", "4", "--k", "5"), "--k: found 4, 5, expected it once"),
        ((*CLOSED, "--c=.3"), "--c: found .02, .3, expected it once"),
        (("speedup", "--alpha", "75", "--c", "0"), "alpha: found 75, expected a number in [0, 1]: did you mean 0.75?"),
    ],
)
def test_options_that_are_wrong_are_told_by_what_was_found_and_expected(command, arguments, said):
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_options_that_may_be_repeated_still_are(command):
    code, _, err = command("run", "--k", "2", "--k", "4", "--prompts", "no.jsonl")
    assert (code, "no.jsonl" in err) == (2, True)


def test_without_a_k_the_best_leads(command):
    code, out, _ = command(*CLOSED)
    assert code == 0
    assert out.startswith("USE k = 9: 3.20x")
    assert "keep k = 9, the best from 1 to 64" in out
    assert json.loads(command(*CLOSED, "--json")[1])["inputs"]["k"] == 9


def test_a_best_k_at_the_edge_of_the_search_is_called_so(command):
    _, out, _ = command("speedup", "--alpha", "1", "--c", ".02")
    assert out.startswith("USE k = 64, the deepest looked at: ")
    assert "64 (the deepest looked at)" in out
    assert "more may pay" in out.splitlines()[2]


def test_where_no_k_pays_the_best_is_none(command):
    code, out, _ = command("speedup", "--alpha", ".1", "--c", ".5")
    assert code == 0
    assert out.startswith("DON'T USE: no k from 1 to 64 pays")
    assert json.loads(command("speedup", "--alpha", ".1", "--c", ".5", "--json")[1])["inputs"]["k"] == 0


def test_the_help_fits_a_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(HELP))
    _, out, _ = command("--help")
    assert "..." not in out.partition("Commands:")[2]
    assert max(map(len, out.splitlines())) <= HELP


def test_progress_says_which_stage_and_how_long_is_left(capsys):
    steps = [Step("text", n, 100, f"p{n}") for n in range(1, 7)] + [Step("scored", 1, 2, "p1")]
    clock = iter([0, 0.0001, 10, 20, 30, 40, 50])  # the first two lay there
    assert list(watched(steps, ("text", "scored"), lambda: next(clock))) == steps
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [f"text {n}/100 p{n}, stage 1 of 2" for n in (1, 2, 3)]
    assert lines[3] == "text 4/100 p4, stage 1 of 2, 16 min left"
    assert lines[6] == "scored 1/2 p1, stage 2 of 2"


def test_one_stage_has_no_place_and_its_last_step_leaves_no_time(capsys):
    clock = iter([0, 10, 20, 30])
    list(watched([Step("measured", n, 4, "sweep") for n in range(1, 5)], ("measured",), lambda: next(clock)))
    assert capsys.readouterr().err.splitlines()[2:] == ["measured 3/4 sweep, 10 s left", "measured 4/4 sweep"]


def test_it_is_said_beforehand_how_long_the_loading_may_take(command, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "validate.commands.run", types.SimpleNamespace(answer=lambda *_: ({}, [])))
    monkeypatch.setattr(names, "bundled_gguf", lambda: None)
    *_, err = command("run", "--json")
    assert err.startswith("loading PyTorch and SmolLM2-135M-Instruct, which may take a minute")


def test_a_text_without_a_domain_is_untitled(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}')
    assert [prompt.domain for prompt in read_prompts(tmp_path / "p.jsonl")] == [UNTITLED] == ["untitled"]


def test_the_costs_of_a_finished_profile_are_taken_beside_resume_and_no_other_option_is(refused, tmp_path):
    sampler = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0}
    folder.begin(tmp_path / "p1", "profile", {"costs": None, "text": None, "prompts": None, **sampler})
    assert "--costs: found no file" in refused("profile", "--resume", "p1", "--costs", "no.jsonl")
    assert "--tokens: found beside --resume" in refused("profile", "--resume", "p1", "--tokens", "9")


def test_an_empty_costs_file_with_a_head_holds_no_sweep_either(tmp_path):
    synthetic.write_costs(tmp_path / costs.FILE, runs.costs())
    assert ahead.priced(tmp_path / costs.FILE) is None
    head = (tmp_path / costs.FILE).read_text().splitlines(keepends=True)[0]
    (tmp_path / costs.FILE).write_text(head)
    with pytest.raises(ValueError, match="holds no sweep"):
        ahead.priced(tmp_path / costs.FILE)
