"""`specmath plan` from outside: its numbers are the plan's own, its files are read back, and bad input is one line."""

import csv
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from specmath.candidates import Candidate, Operation
from specmath.cost import Pair, Roofline, Share
from specmath.efficiency import efficiency
from specmath.plan import plan
from specmath.serving import Slo, Traffic
from tests.pasted import READ, dense
from tests.test_cli import ROOT, command, one_object  # noqa: F401 (a fixture)
from validate import plan_charts

TARGET, HEAD = "meta-llama/Llama-3.1-70B-Instruct", "eagle:org/head"
ON = ("--target", TARGET, "--gpu", "h100", "--tp", 4)
LOAD = ("--rate", 20, "--prompt", 1000, "--output", 300)
PROMISE = ("--tpot", "20ms")
PRICE = ("--price", 3, "--price-date", "2026-11")
WORKED = (*ON, "--draft", HEAD, "--alpha", 0.7, *LOAD, *PROMISE)
KEYS = {
    "schema",
    "version",
    "verdict",
    "reason",
    "next",
    "choice",
    "gpus",
    "batch",
    "tpot",
    "ttft",
    "tokens_per_second",
}
KEYS |= {"cost_per_million", "without", "binding", "switch_off", "schedule", "ranked", "memory", "provenance", "flags"}
SAME = ("choice", "gpus", "batch", "tpot", "ttft", "tokens_per_second", "cost_per_million")


@pytest.fixture
def asked(command):  # noqa: F811
    """Run `specmath plan --json`: exit code and object."""

    def call(*arguments):
        code, out, err = command("plan", *arguments, "--json")
        assert not err, err
        return code, one_object(out)

    return call


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """The worked example, planned once, with its files."""
    folder = tmp_path_factory.mktemp("plan")
    files = ("--csv", folder / "plans.csv", "--plot", folder / "plan.svg")
    drafts = ("--draft", HEAD, "--draft", "lookup", "--alpha", 0.7, "--alpha", 0.4)
    engines = ("--emit", "vllm@0.33", "--emit", "sglang")
    words = ("plan", *ON, *drafts, *LOAD, *PROMISE, *PRICE, *engines, *files, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "validate", *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return one_object(done.stdout), folder


def by_hand(*, tps=(4,), operation=None):
    """The same plan from the library's own parts."""
    candidates = []
    for tp in tps:
        target = Roofline(TARGET, "h100", tp=tp, efficiency=efficiency("h100", tp=tp, engine="vllm"))
        head = Roofline(target.shape.head(), "h100", tp=tp).drafting()
        accept = target.efficiency.accept
        candidates += [
            Candidate(HEAD, 0.7, Pair(target, head, overhead=accept), range(1, 9)),
            Candidate("lookup", 0.4, Pair(target, Share(target, 0.006), one_pass=True, overhead=accept), range(1, 9)),
        ]
    given = {"operation": operation} if operation else {}
    return plan(candidates, Traffic(20, 1000, 300), Slo(tpot=0.02), gpu="h100", price=3.0, **given)


def test_the_numbers_are_those_of_the_plan(worked):
    found, plan = worked[0], by_hand()
    for key in ("gpus", "batch", "tpot", "ttft", "tokens_per_second", "cost_per_million", "binding"):
        assert found[key] == getattr(plan, key), key
        assert found["without"][key] == getattr(plan.without, key), key
    assert found["choice"] == {"draft": plan.choice.name, "k": plan.choice.k, "tp": 4, "gpu": "H100 SXM"}
    assert found["schedule"] == [list(entry) for entry in plan.schedule]
    assert found["switch_off"]["batch"] == plan.switch_off.batch
    assert found["gain"]["value"] == plan.gain
    assert [(row["draft"], row["k"], row["gpus"]) for row in found["ranked"]] == [
        (option.name if option.k else None, option.k, option.gpus) for option in plan.ranked
    ]


def test_under_a_promise_capacity_gains_far_more_than_a_step(worked):
    """2.9x against 1.1x at a promise of 60 ms in the worked example this follows: the same shape, other times."""
    found = worked[0]
    assert found["verdict"] == "use"
    assert 2.4 < found["gain"]["value"] < 4.5
    loose = plan_of("--tpot", "60ms")
    assert 1.0 < loose["gain"]["value"] < 1.4
    assert found["gpus"] < 0.5 * found["without"]["gpus"]


def plan_of(*changed):
    """The worked example with other options, in a process of its own so that a module fixture can be compared."""
    words = [str(word) for word in ("plan", *ON, "--draft", HEAD, "--alpha", 0.7, *LOAD, *changed, "--json")]
    done = subprocess.run(
        [sys.executable, "-m", "validate", *words], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return one_object(done.stdout)


def test_json_has_the_agreed_keys_and_units(worked):
    found = worked[0]
    assert found["schema"] == "specmath.plan/1"
    assert found.keys() >= KEYS
    assert found["without"].keys() >= set(SAME)
    assert found["drafting"].keys() == found["without"].keys()
    assert found["schedule"][0][0] == 1
    assert found["flags"].keys() == {"vllm", "sglang"}
    assert 0.001 < found["tpot"] < 0.02
    assert found["provenance"]["price"]["H100 SXM"]["date"] == "2026-11"
    assert found["provenance"]["times"]["host"]["kind"] == "assumed"
    assert found["memory"]["weights"] == pytest.approx(141e9 / 4, rel=0.01)


def test_parts_of_a_step_are_all_of_it(worked):
    step = worked[0]["step"]
    target = Roofline(TARGET, "h100", tp=4)
    assert sum(step["plain"].values()) == pytest.approx(target.seconds(1, batch=step["batch"], context=step["context"]))
    verify = target.seconds(step["k"] + 1, batch=step["batch"], context=step["context"])
    rest = {name: seconds for name, seconds in step["round"].items() if name not in ("draft", "accepting")}
    assert sum(rest.values()) == pytest.approx(verify)


def test_the_csv_has_every_ranked_plan(worked):
    found, folder = worked
    with (folder / "plans.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["draft"] or None, int(row["k"]), float(row["tpot"])) for row in rows] == [
        (row["draft"], row["k"], row["tpot"]) for row in found["ranked"]
    ]


def test_the_plot_is_whole_and_the_same_for_the_same_plan(worked, tmp_path):
    found, folder = worked
    drawn = (folder / "plan.svg").read_bytes()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert {path.name for path in folder.iterdir()} == {"plans.csv", "plan.svg"}
    plan_charts.draw(found, tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == drawn
    plan_charts.draw(found, tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_the_flags_do_what_the_plan_says_at_every_batch(worked):
    found = worked[0]
    most = found["max_batch"]
    for engine, text in found["flags"].items():
        read = READ[engine](text)
        assert (read["target"], read["draft"], read["method"], read["tp"]) == (TARGET, "org/head", "eagle", 4)
        assert len(read["ks"]) == most
    assert READ["vllm"](found["flags"]["vllm"])["ks"] == dense(found["schedule"], most)


def test_the_answer_comes_first_with_its_reason_and_what_to_do(command):  # noqa: F811
    code, out, err = command("plan", *WORKED, *PRICE, "--emit", "vllm")
    answer, reason, then = out.splitlines()[:3]
    assert (code, err) == (0, "")
    assert answer.startswith("USE eagle with k = ")
    assert "GPUs" in answer
    assert "$" in answer
    assert reason.startswith("because TPOT holds plain decoding to ")
    assert then.startswith("next: paste the flags of vllm below; alpha is taken as given, measure it: ")
    for title in ("ANSWER", "WHERE A STEP GOES", "MEMORY OF A GPU", "K BY BATCH", "WHAT IT HANGS ON", "BY LOAD"):
        assert f"\n{title}\n" in out
    assert "vllm serve" in out
    assert "nan" not in out.lower().replace("tenant", "")


def test_the_command_of_the_readme_gives_what_the_readme_shows(command):  # noqa: F811
    shown = (ROOT / "README.md").read_text().partition("### Before you buy")[2].partition("\n### ")[0]
    words, answer = re.search(r"\n    specmath (plan .*?[^\\])\n\n```\n(.*?)\n", shown, re.DOTALL).groups()
    code, out, _ = command(*shlex.split(words.replace("\\\n", " ")))
    assert code == 0
    assert out.splitlines()[0] == answer


def test_the_readme_says_what_is_left_where_plain_decoding_chooses_its_gpus(asked):
    readme = " ".join((ROOT / "README.md").read_text().split())
    freely = [word for word in map(str, ON) if word not in ("--tp", "4")]
    _, found = asked(*freely, "--draft", "eagle", "--alpha", 0.7, *LOAD, *PROMISE)
    plain = found["without"]
    left = f"takes {plain['gpus']} GPUs, and {found['gain']['value']:.2f} times is left"
    assert f"without it plain decoding runs on eight, {left}" in readme
    assert next(row["tp"] for row in found["ranked"] if not row["k"]) == 8


def test_a_draft_that_does_not_pay_is_an_answer(asked):
    code, found = asked(*ON, "--draft", "lookup", "--alpha", 0.02, *LOAD, "--tpot", "100ms")
    assert (code, found["verdict"]) == (0, "dont_use")
    assert found["choice"] == {"draft": None, "k": 0, "tp": 4, "gpu": "H100 SXM"}
    assert found["gain"]["value"] < 1


def test_a_promise_below_one_step_is_infeasible_with_the_bound_and_the_bound_can_be_kept(asked, command):  # noqa: F811
    code, found = asked(*WORKED[:-2], "--tpot", "2ms")
    assert (code, found["verdict"], found["choice"]) == (1, "infeasible", None)
    assert found["binding"] == "TPOT"
    assert found.keys() >= KEYS
    bound = found["least"]
    assert asked(*WORKED[:-2], "--tpot", f"{1.02e3 * bound:.4f}ms")[1]["verdict"] == "use"
    assert asked(*WORKED[:-2], "--tpot", f"{0.98e3 * bound:.4f}ms")[1]["verdict"] == "infeasible"
    code, out, _ = command("plan", *WORKED[:-2], "--tpot", "2ms")
    assert code == 1
    assert out.startswith("INFEASIBLE: TPOT binds, ")


def test_a_model_that_fits_nowhere_is_infeasible_by_memory(asked):
    code, found = asked("--target", "Llama-3.1-405B", "--gpu", "l4", "--draft", "mtp", "--alpha", 0.7, *LOAD)
    assert (code, found["binding"], found["least"]) == (1, "memory", None)


def test_weights_that_do_not_fit_are_lifted_by_what_fits(asked):
    small = ("--target", TARGET, "--gpu", "h100", "--draft", HEAD, "--alpha", 0.7, *LOAD, "--tpot", "50ms")
    code, found = asked(*small, "--tp", 1)
    assert (code, found["binding"]) == (1, "memory")
    assert "tp 2, tp 4, tp 8 or fp8 weights would lift it" in found["next"]
    assert asked(*small, "--tp", 2)[0] == asked(*small, "--tp", 1, "--weights", "fp8")[0] == 0


def test_the_alpha_that_is_needed_is_where_drafting_begins_to_pay(asked):
    code, found = asked(*ON, "--draft", HEAD, *LOAD, *PROMISE, "--whatif", "alpha")
    assert (code, found["verdict"], found["drafting"]) == (0, "measure_more", None)
    (needed,) = found["whatif"]
    gains = {}
    for factor in (0.95, 1.05):
        law = ("--alpha", factor * needed["value"], "--k", needed["k"])
        gains[factor] = asked(*ON, "--draft", HEAD, *LOAD, *PROMISE, *law)[1]["gain"]["value"]
    assert gains[0.95] < 1 < gains[1.05]


def test_no_acceptance_is_refused_with_how_to_get_it(command):  # noqa: F811
    code, out, err = command("plan", *ON, "--draft", "lookup", *LOAD)
    assert (code, out) == (2, "")
    assert "acceptance of lookup: found none" in err
    assert f"specmath profile --target {TARGET} --draft lookup --json" in err
    code, _, err = command("plan", *ON, "--draft", HEAD, "--draft", "lookup", "--alpha", "lookup=.5", *LOAD)
    assert code == 2
    assert f"--survival {HEAD}=S1,S2" in err
    assert err.count("\n") == 1


BAD = [
    (("--target", "Llama-3.1-7B"), "Llama-3.1-8B"),
    (("--gpu", "h10"), "H100 SXM"),
    (("--rate", "-1"), "rate: found -1"),
    (("--rate", "0"), "rate: found 0"),
    (("--output", "0"), "output: found 0"),
    (("--prompt", "nan"), "prompt: found nan"),
    (("--tp", "3"), "tp: found 3, expected a divisor of the 64 heads"),
    (("--alpha", "70"), "did you mean 0.7?"),
    (("--alpha", "other=.7"), "expected one of eagle:org/head"),
    (("--survival", ".5,.6"), "survivals[1]: found 0.6"),
    (("--acceptance", "missing.json"), "found no file missing.json"),
    (("--tpot", "20"), "did you mean 20ms?"),
    (("--tpot", "0ms"), "--tpot: found '0ms'"),
    (("--tpot", "-5ms"), "--tpot: found '-5ms'"),
    (("--percentile", "1"), "percentile: found 1"),
    (("--utilisation", "0"), "utilisation: found 0"),
    (("--max-batch", "0"), "max_batch: found 0"),
    (("--k", "0"), "--k: found '0'"),
    (("--weights", "fp5"), "precision: found 'fp5'"),
    (("--price", "3"), "expected --price-date"),
    (("--price", "h200=3", "--price-date", "2026"), "found none for H100 SXM"),
    (("--price", "-3", "--price-date", "2026"), "expected dollars per GPU-hour above 0"),
    (("--price", "3", "--price-date", "soon"), "--price-date: found 'soon'"),
    (("--emit", "vlm"), "--emit: found 'vlm', expected one of vllm"),
    (("--emit", "vllm@0.1"), "vllm version: found '0.1'"),
    (("--emit", "llamacpp"), "method: found 'eagle'"),
    (("--whatif", "price"), "--whatif: found 'price'"),
    (("--draft-tp", "x"), "--draft-tp: found 'x'"),
    (("--costs", "missing.jsonl"), "--costs: found no file missing.jsonl"),
    (("--arrivals", "missing.jsonl"), "found no file missing.jsonl"),
    (("--plot", "out.pdf"), "--plot: found out.pdf"),
    (("--csv", "nowhere/out.csv"), "--csv: found no folder nowhere"),
    (("--engine", "tgi"), "--engine"),
]
GIVEN = {
    "--target": TARGET,
    "--gpu": "h100",
    "--tp": 4,
    "--draft": HEAD,
    "--alpha": 0.7,
    "--rate": 20,
    "--prompt": 1000,
}
GIVEN |= {"--output": 300, "--tpot": "20ms"}


@pytest.mark.parametrize(("changed", "named"), BAD, ids=[" ".join(changed) for changed, _ in BAD])
def test_bad_input_is_one_line(command, changed, named):  # noqa: F811
    options = GIVEN | dict(zip(changed[::2], changed[1::2], strict=True))
    if {"--survival", "--acceptance"} & set(changed):
        del options["--alpha"]
    code, out, err = command("plan", *(word for pair in options.items() for word in pair))
    assert (code, out) == (2, ""), out[:200]
    assert err.startswith("specmath: ")
    assert named in err
    assert err.count("\n") == 1


def test_a_missing_option_is_named(command):  # noqa: F811
    for left_out, named in (("--rate", "--rate: found none"), ("--gpu", "--gpu"), ("--draft", "--draft")):
        options = {name: value for name, value in GIVEN.items() if name != left_out}
        code, _, err = command("plan", *(word for pair in options.items() for word in pair))
        assert code == 2
        assert named in err


def test_planning_loads_nothing_heavy():
    words = ["plan", *map(str, WORKED), "--json"]
    code = (
        f"import sys; sys.argv = ['specmath', *{words!r}]\n"
        "from validate.cli import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "specmath.plan" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "huggingface_hub", "scipy.stats"}


def test_what_is_asked_for_reaches_the_plan(asked):
    found = asked(*WORKED, "--max-batch", 8, "--utilisation", 0.5)[1]
    plan = by_hand(operation=Operation(0.5, 8))
    assert (found["gpus"], found["tpot"], found["max_batch"]) == (plan.gpus, plan.tpot, 8)
    both = asked(*(word for word in WORKED if word not in ("--tp", 4)), "--tp", "4,8")[1]
    assert {row["tp"] for row in both["ranked"]} == {4, 8}
    small = asked(*WORKED, "--kv", "fp8")[1]
    assert small["memory"]["kv_per_sequence"] == pytest.approx(found["memory"]["kv_per_sequence"] / 2, rel=0.01)


@pytest.mark.slow
def test_a_promise_to_all_but_a_few_takes_more_and_keeps_it(command):  # noqa: F811
    code, out, err = command("plan", *WORKED, "--k", 3, "--percentile", 0.95, "--json")
    tail = one_object(out)
    assert code == 0
    assert "percentiles" in err
    assert tail["gpus"] > plan_of(*PROMISE, "--k", 3)["gpus"]
    assert tail["percentiles"]["p95"]["tpot"] <= 0.02


def test_a_simulation_agrees_with_the_plan(asked, tmp_path):
    log = tmp_path / "log.jsonl"
    rows = [{"arrival_s": i / 20, "prompt_tokens": 1000, "output_tokens": 200 + i % 201} for i in range(600)]
    log.write_text("\n".join(map(json.dumps, rows)))
    drawn = asked(*WORKED, "--simulate")[1]["simulation"]
    assert (drawn["arrivals"], drawn["replicas"], drawn["lengths"]) == ("poisson", 1, "drawn")
    for name in ("tpot", "e2e"):
        assert drawn["latency"][name]["mean"] == pytest.approx(drawn["latency"][name]["predicted"], rel=0.08)
        assert drawn["latency"][name]["p50"] < drawn["latency"][name]["p95"] < drawn["latency"][name]["p99"]
    given = asked(*ON, "--draft", HEAD, "--alpha", 0.7, *PROMISE, "--arrivals", log, "--simulate")[1]
    assert (given["inputs"]["rate"], given["inputs"]["prompt"]) == (pytest.approx(20), 1000)
    assert given["simulation"]["arrivals"] == "given"
    assert given["simulation"]["replicas"] == given["replicas"]
    assert 0 <= given["simulation"]["kept"] <= 1
