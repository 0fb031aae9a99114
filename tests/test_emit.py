"""The flags of a plan: read back as the engines document their options, they say what the plan says."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath.tally import RULES
from tests.pasted import READ, body, dense, notes, options, read_llamacpp
from validate.adapters import llamacpp, sglang, trtllm, vllm
from validate.deployment import METHODS, release

ENGINES = {"vllm": vllm, "sglang": sglang, "llamacpp": llamacpp, "trtllm": trtllm}
SHELLS = {name: engine for name, engine in ENGINES.items() if name != "trtllm"}
OLD_LLAMA = "b8900"
NASTY = 'it\'s "quoted" $HOME `x` \\ {a,b} #no/é'
LOSSY = ["relaxed", "typical", "fly", "threshold", "synth", "simulate", "ensemble", "posterior"]


@dataclass(frozen=True)
class Choice:
    k: int = 3
    method: str | None = "eagle3"
    draft: str | None = "org/head"
    target: str | None = "org/target"
    law: object = None
    name: str = "head"


@dataclass(frozen=True)
class Plan:
    choice: Choice | None = Choice()
    schedule: tuple = ()
    max_batch: int = 64
    tp: int = 4
    draft_tp: int = 4
    max_context: int | None = 8192
    capture: int | None = 256


def plan(*, schedule=(), max_batch=64, tp=4, draft_tp=4, **choice):
    return Plan(Choice(**choice), schedule, max_batch, tp, draft_tp)


def ruled(rule):
    return SimpleNamespace(rule=rule)


@st.composite
def plans(draw):
    """Schedules with gaps and without, open or closed, up and down, k = 0 and k at the planned load among them."""
    schedule, low = [], 1
    for _ in range(draw(st.sampled_from((0, 1, 3, 5)))):
        high = low + draw(st.integers(0, 12))
        schedule.append((low, high, draw(st.integers(0, 5))))
        low = high + draw(st.integers(1, 3))
    if schedule and draw(st.booleans()):
        schedule[-1] = (schedule[-1][0], None, schedule[-1][2])
    max_batch = draw(st.sampled_from((1, 3, 20, 60)))
    ks = dense(schedule, max_batch) if schedule else [draw(st.integers(0, 9))]
    method = draw(st.sampled_from(METHODS))
    return plan(
        schedule=tuple(schedule),
        max_batch=max_batch,
        tp=(tp := draw(st.sampled_from((1, 2, 8)))),
        draft_tp=draw(st.sampled_from((1, tp))),
        k=draw(st.sampled_from(ks)),
        method=method,
        draft=draw(st.sampled_from(("org/draft.gguf", NASTY)))
        if method in ("draft_model", "eagle", "eagle3")
        else None,
        target=draw(st.sampled_from(("org/target", NASTY))),
        law=draw(st.sampled_from([None, *map(ruled, RULES)])),
    )


def expected(given, *, by_batch):
    """What reading back has to give; k is the planned one everywhere where the engine has one for all batches."""
    choice = given.choice
    ks = dense(given.schedule or [(1, None, choice.k)], given.max_batch)
    off = choice.k == 0 or not any(ks)
    ks = [0] * given.max_batch if off else ks if by_batch else [choice.k] * given.max_batch
    method, draft = (None, None) if off else (choice.method, choice.draft)
    return {"ks": ks, "method": method, "draft": draft, "target": choice.target, "tp": given.tp}


def takes_schedule(engine, given):
    ks = dense(given.schedule or [(1, None, given.choice.k)], given.max_batch)
    return {
        "vllm": True,
        "sglang": given.choice.method in ("eagle", "eagle3", "mtp"),
        "llamacpp": False,
        "trtllm": given.choice.method in ("draft_model", "eagle3", "mtp") and ks[0] == max(ks),
    }[engine]


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=400)
@given(given=plans())
def test_what_is_read_back_is_the_plan(engine, given):
    on = given.choice.k and any(dense(given.schedule or [(1, None, given.choice.k)], given.max_batch))
    if on and given.choice.method not in ENGINES[engine].METHODS:
        with pytest.raises(ValueError, match="method: found 'eagle', expected one of"):
            ENGINES[engine].emit(given)
        return
    found = READ[engine](ENGINES[engine].emit(given))
    assert found == expected(given, by_batch=takes_schedule(engine, given))


@given(given=plans())
def test_the_older_llama_says_the_same(given):
    if given.choice.method in llamacpp.OLD_METHODS:
        assert read_llamacpp(llamacpp.emit(given, version=OLD_LLAMA)) == expected(given, by_batch=False)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_a_schedule_that_is_off_by_one_batch_would_be_noticed(engine):
    right, wrong = (plan(schedule=((1, end, 3), (end + 1, None, 0))) for end in (8, 9))
    assert READ[engine](ENGINES[engine].emit(wrong)) != expected(right, by_batch=True)


@pytest.mark.parametrize("engine", ENGINES)
@given(given=plans())
def test_nothing_lossy_is_written(engine, given):
    if given.choice.method in ENGINES[engine].METHODS:
        chosen = replace(given.choice, target="org/target", draft="org/draft")
        written = body(ENGINES[engine].emit(replace(given, choice=chosen))).lower()
        assert not [word for word in LOSSY if word in written]


@pytest.mark.parametrize("engine", SHELLS)
@given(given=plans())
def test_notes_are_lines_that_no_shell_acts_on(engine, given):
    if given.choice.method in ENGINES[engine].METHODS:
        written = ENGINES[engine].emit(given)
        assert all(re.fullmatch(r"# [\w .,:/=+-]*", line) for line in notes(written))
        assert written.startswith("# ") or not notes(written)
        assert max(map(len, notes(written)), default=0) < 250


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("name", ["org/with space", NASTY, "don't; echo stolen", "$(echo stolen)", "-x/'$y'"])
@pytest.mark.parametrize("engine", SHELLS)
def test_a_shell_hands_the_names_over_as_they_are(engine, name, tmp_path):
    stub = (
        'show() { printf "%s\\0" "$@"; }; vllm() { show "$@"; }; python() { show "$@"; }; llama-server() { show "$@"; }'
    )
    written = ENGINES[engine].emit(plan(target=name, draft=name, schedule=((1, 8, 3), (9, None, 0))))
    run = subprocess.run(["bash", "-c", f"{stub}\n{written}"], capture_output=True, text=True, cwd=tmp_path, check=True)
    words = run.stdout.split("\0")
    assert not run.stderr
    assert name in words
    assert words.count(name) == 2 or json.loads(words[words.index("--speculative-config") + 1])["model"] == name
    if engine == "sglang":
        assert json.loads((tmp_path / sglang.FILE).read_text()) == {
            "1": {"candidate_steps": [3]},
            "9": {"candidate_steps": [0]},
        }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "off",
    [
        Plan(None),
        plan(k=0, method=None, draft=None),
        plan(k=0, schedule=((1, None, 0),), method=None),
        plan(schedule=((1, 5, 0), (9, 12, 0))),
    ],
    ids=["no choice", "plain", "k = 0", "k = 0 at every batch"],
)
def test_off_at_every_load_is_no_speculation_at_all(engine, off):
    written = ENGINES[engine].emit(off)
    assert not re.search("spec|draft|ngram", body(written).replace(sglang.FILE, ""))
    assert "Speculation is off at every load" in written


@pytest.mark.parametrize("engine", ENGINES)
def test_off_at_the_planned_load_says_where_the_plan_would_draft(engine):
    written = ENGINES[engine].emit(plan(k=0, schedule=((1, 4, 3), (5, None, 0))))
    assert "spec" not in body(written)
    assert "off at the planned load" in written
    assert "k = 3 at batch 1 to 4, k = 0 at batch 5 to 64" in written


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (plan(k=0, schedule=((1, 4, 3), (5, None, 0))), "no way to switch speculation off while it runs"),
        (plan(schedule=((1, 4, 3), (5, None, 0))), "speculation cannot be switched off while it runs"),
        (plan(schedule=((1, 4, 0), (5, None, 3))), "cannot switch speculation off while it runs"),
        (plan(method="ngram", schedule=((1, 4, 3), (5, None, 0))), "cannot switch speculation off while it runs"),
    ],
)
def test_tensorrt_warns_wherever_k_is_zero(given, words):
    assert words in trtllm.emit(given)


def test_tensorrt_does_not_warn_of_switching_off_what_stays_on():
    assert "switch" not in trtllm.emit(plan())
    assert "switch" not in trtllm.emit(plan(schedule=((1, 4, 2), (5, None, 3))))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_idle_schedule_is_said_to_cost_where_the_engine_follows_one(engine):
    written = ENGINES[engine].emit(plan(schedule=((1, 4, 3), (5, None, 0))))
    assert ("not free" in written) == (engine != "llamacpp")
    assert "not free" not in ENGINES[engine].emit(plan(schedule=((1, 4, 3), (5, None, 1))))


def test_a_schedule_in_vllm_is_merged_and_said_to_be_ignored_with_data_parallelism():
    written = vllm.emit(plan(schedule=((1, 4, 5), (5, 8, 5), (9, 16, 1), (17, None, 2)), k=1))
    config = json.loads(options(written)["--speculative-config"])
    assert config["num_speculative_tokens_per_batch_size"] == [[1, 8, 5], [9, 16, 1], [17, 64, 2]]
    assert config["num_speculative_tokens"] == 5
    assert "ignored with --data-parallel-size above 1" in written
    assert "data-parallel" not in vllm.emit(plan())


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_that_was_assumed_is_said_where_the_engine_runs_another(rule):
    for engine, said in (("vllm", True), ("sglang", True), ("llamacpp", rule != "match"), ("trtllm", True)):
        written = " ".join(notes(ENGINES[engine].emit(plan(law=ruled(rule)))))
        assert ("The prediction" in written) == (said and rule != "one_hot"), engine
        assert rule in ("one_hot", "unknown") or not said or rule in written


@pytest.mark.parametrize(
    ("rule", "method", "vllm_has", "sglang_has"),
    [
        ("standard", "eagle3", {"draft_sample_method": "probabilistic"}, True),
        ("standard", "draft_model", {"draft_sample_method": "probabilistic"}, False),
        ("block", "eagle3", {"draft_sample_method": "probabilistic", "rejection_sample_method": "block"}, False),
        ("standard", "ngram", {}, False),
        ("one_hot", "eagle3", {}, False),
        ("lossy", "eagle3", {}, False),
    ],
)
def test_sampled_drafts_are_asked_for_where_they_were_assumed(rule, method, vllm_has, sglang_has):
    given = plan(law=ruled(rule), method=method)
    config = json.loads(options(vllm.emit(given))["--speculative-config"])
    assert {key: value for key, value in config.items() if key.endswith("_sample_method")} == vllm_has
    assert ("--speculative-use-rejection-sampling" in options(sglang.emit(given))) == sglang_has


def test_sizes_are_captured_on_the_grid_of_vllm():
    grid = [1, 2, 4, *range(8, 256, 8), *range(256, 2000, 16)]
    for size in range(1, 1900):
        assert vllm.captured(size) == min(held for held in grid if held >= size)
    assert options(vllm.emit(replace(plan(), capture=42)))["--max-cudagraph-capture-size"] == "48"


def test_what_is_not_given_is_not_written():
    bare = replace(plan(), max_context=None, capture=None)
    for engine in ENGINES.values():
        written = body(engine.emit(bare))
        assert not re.search(r"context|ctx|max.model.len|max_seq_len|graph", written)
    assert options(llamacpp.emit(plan()))["--ctx-size"] == str(8192 * 64)


@pytest.mark.parametrize("engine", SHELLS)
def test_a_target_without_a_name_is_a_variable(engine):
    written = ENGINES[engine].emit(plan(target=None))
    assert '"$MODEL"' in body(written)
    assert "Set MODEL" in written


@pytest.mark.parametrize(
    ("engine", "known", "unknown"),
    [
        ("vllm", ["0.33.0", "v0.28.1", "0.30", "0.33.1rc2+cu129"], ["0.27.9", "0.34.0", "1.0", "latest", "0"]),
        ("sglang", ["0.5.23", "0.5.20.post1"], ["0.5.19", "0.5.24", "0.6.0", "0.5"]),
        ("llamacpp", ["b10830", "9631", "0.4.1", "v0.1.0-dev"], ["b9000", "b20000", "b1", "0.5.0", "new"]),
        ("trtllm", ["1.3.0rc27", "1.4.0"], ["1.2.1", "1.5.0", "0.21"]),
    ],
)
def test_versions_are_gated(engine, known, unknown):
    for version in known:
        assert body(ENGINES[engine].emit(plan(), version=version)) == body(ENGINES[engine].emit(plan()))
    for version in unknown:
        with pytest.raises(ValueError, match=rf"^{engine} version: found '{version}', expected .* to .*") as error:
            ENGINES[engine].emit(plan(), version=version)
        assert "\n" not in str(error.value)


def test_llama_is_written_per_build():
    drafted = plan(method="draft_model", draft="d.gguf")
    assert "--draft-max 3" in llamacpp.emit(drafted, version="b4200")
    assert "--spec" not in llamacpp.emit(drafted, version="b4200")
    assert "--spec-type draft-simple" in llamacpp.emit(drafted)
    assert "--split-mode row" in llamacpp.emit(drafted, version="b4200")
    for method, version in (("eagle3", OLD_LLAMA), ("ngram", "b8000")):
        with pytest.raises(ValueError, match=f"method: found '{method}', expected one of draft_model"):
            llamacpp.emit(plan(method=method), version=version)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (plan(method=None), r"method: found None, expected one of draft_model, eagle"),
        (plan(method="medusa"), r"method: found 'medusa', expected"),
        (plan(draft=None), r"draft: found none, expected a model id or a path for the method eagle3"),
        (plan(draft_tp=2), r"draft_tp: found 2, expected 1 or that of the target, 4"),
        (plan(max_batch=0), r"max_batch: found 0, expected at least 1"),
        (plan(tp=0), r"tp: found 0, expected at least 1"),
        (plan(target="a\nrm -rf /"), r"target: found 'a\\nrm -rf /', expected a model id"),
        (plan(draft="a\x1b[2J"), r"draft: found 'a\\x1b\[2J', expected"),
        (plan(schedule=((2, None, 3),)), r"schedule: found \[\(2, None, 3\)\], expected ranges from batch 1"),
        (plan(schedule=((1, 8, 3), (8, 9, 1))), r"schedule: found .*, expected ranges"),
        (plan(schedule=((1, None, 3), (9, 12, 1))), r"schedule: found .*, expected ranges"),
        (plan(schedule=((1, 8, -1),)), r"schedule: found .*, expected ranges"),
        (plan(schedule=((1, 8, 3), (12, 9, 1))), r"schedule: found .*, expected ranges"),
    ],
)
def test_a_plan_that_no_engine_could_run_is_refused_in_one_line(given, message):
    for engine in ENGINES.values():
        with pytest.raises(ValueError, match=f"^{message}") as error:
            engine.emit(given)
        assert "\n" not in str(error.value)


def test_a_release_is_compared_number_by_number():
    assert release("x", "0.9.0", "0.8", "0.10") == (0, 9, 0)
    assert release("x", None, "0.8", "0.10") == (0, 10)
    with pytest.raises(ValueError, match=r"x version: found '0.11'"):
        release("x", "0.11", "0.8", "0.10")
