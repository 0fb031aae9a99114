"""What `specmath plan` tells a planner: easy mistakes in one line, and a report that adds up and agrees with itself."""

import json

import pytest

from tests.test_cli import ROOT, command  # noqa: F401 (a fixture)
from tests.test_plan_command import GIVEN, HEAD, LOAD, ON, PROMISE, WORKED, asked  # noqa: F401 (a fixture)
from validate import plan_sections

NAMED = [
    (("--draft", "eagel"), "--draft: found 'eagel', expected lookup, mtp, eagle[:ID]"),
    (("--draft", "Llama-3.2-1"), "like Llama-3.2-1B"),
    (("--draft", "eagle", "--emit", "vllm"), "expected the id or path of its weights: --draft eagle:ID"),
    (("--draft", "sparse:512", "--emit", "sglang"), "sparse:512, which no engine has"),
    (("--percentile", "95"), "--percentile: found 95, expected a share of 1: did you mean 0.95?"),
    (("--price", "none.csv"), "--price: found no file none.csv"),
    (("--idle", "6.6"), "did you mean 0.066?"),
    (("--max-context", "500"), "--max-context: found 500, expected at least the 1300 tokens"),
    (("--draft-tp", "8"), "--draft-tp: found 8, expected at most the target's 4"),
]


@pytest.mark.parametrize(("changed", "named"), NAMED, ids=[" ".join(changed) for changed, _ in NAMED])
def test_what_is_easily_mistaken_is_told_how_to_say_it(command, changed, named):  # noqa: F811
    options = GIVEN | dict(zip(changed[::2], changed[1::2], strict=True))
    code, out, err = command("plan", *(word for pair in options.items() for word in pair))
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1


def test_the_gain_names_the_depth_that_has_it_where_the_answer_is_another(asked, command):  # noqa: F811
    found = asked(*WORKED)[1]
    gain = found["gain"]
    most = min((row for row in found["ranked"] if row["k"]), key=lambda row: row["exact_gpus"])
    assert gain["choice"] == {key: most[key] for key in ("draft", "k", "tp", "gpu")}
    named = f"the requests per GPU with k = {most['k']}"
    answer = command("plan", *WORKED)[1].splitlines()[0]
    assert (named in answer) == (most["k"] != found["choice"]["k"])
    assert " the requests per GPU with" not in command("plan", *WORKED, "--k", 3)[1].splitlines()[0]


def test_what_plays_no_part_is_not_what_it_rests_on(asked):  # noqa: F811
    told = asked(*WORKED)[1]["provenance"]["times"]
    assert "rho" not in told
    assert "allreduce" in told
    small = ("--target", "Qwen3-30B-A3B", "--gpu", "h100", "--tp", 1, "--draft", "mtp", "--alpha", 0.7)
    told = asked(*small, "--rate", 1, "--prompt", 100, "--output", 100)[1]["provenance"]["times"]
    assert "rho" in told
    assert "allreduce" not in told


def test_the_rows_of_memory_are_all_of_it(command):  # noqa: F811
    rows = command("plan", *WORKED)[1].partition("MEMORY OF A GPU\n")[2].partition("\nA sequence")[0].splitlines()
    *parts, total = (float(row.rsplit(maxsplit=2)[1]) for row in rows)
    assert sum(parts) == pytest.approx(total, abs=0.4)


def test_one_gpu_is_one_and_no_price_is_no_column(command):  # noqa: F811
    words = ("--target", "Llama-3.1-8B", "--gpu", "h100", "--tp", 1, "--draft", "lookup", "--alpha", 0.5)
    out = command("plan", *words, "--rate", 1, "--prompt", 500, "--output", 100)[1]
    assert " 1 GPU, 1 without" in out.splitlines()[0]
    assert "$/M" not in out
    assert "weights of the draft" not in out


def test_every_gpu_is_among_the_ranked_that_are_shown(command):  # noqa: F811
    words = ("--target", "Llama-3.1-8B", "--draft", "lookup", "--alpha", 0.5, "--gpu", "h100", "--gpu", "l40s")
    shown = command("plan", *words, *LOAD, "--tpot", "30ms")[1].partition("ALL THAT KEEPS")[2].partition("\n\n")[0]
    assert "L40S" in shown
    assert "H100 SXM" in shown


@pytest.mark.parametrize(("batch", "until"), [(None, "the largest batch"), (96.4, "batch 96")])
def test_nothing_is_said_to_pay_where_drafting_is_advised_against(batch, until):
    off = {"batch": batch, "rate": None}
    best = {"choice": {"k": 2}}
    said = plan_sections._off({"verdict": "dont_use", "drafting": best, "refused": (), "switch_off": off})
    assert f"would come sooner with drafts up to {until}; " in said
    used = plan_sections._off({"verdict": "use", "drafting": best, "refused": (), "switch_off": off})
    assert "would come" not in used


def test_files_are_not_left_out_in_silence(command, tmp_path):  # noqa: F811
    code, _, err = command("plan", *WORKED[:-2], "--tpot", "2ms", "--csv", tmp_path / "all.csv")
    assert code == 1
    assert "nothing to write" in err


def test_a_log_is_simulated_at_the_rate_that_is_asked_for(asked, tmp_path):  # noqa: F811
    log = tmp_path / "log.jsonl"
    rows = [{"arrival_s": i / 2, "prompt_tokens": 1000, "output_tokens": 200 + i % 201} for i in range(600)]
    log.write_text("\n".join(map(json.dumps, rows)))
    words = (*ON, "--draft", HEAD, "--alpha", 0.7, *PROMISE, "--arrivals", log, "--simulate")
    scaled = asked(*words, "--rate", 20)[1]["simulation"]
    assert scaled["arrivals"] == "scaled"
    assert scaled["latency"]["tpot"]["mean"] == pytest.approx(scaled["latency"]["tpot"]["predicted"], rel=0.15)
    alone = asked(*words)[1]["simulation"]
    assert alone["arrivals"] == "given"
    assert alone["latency"]["tpot"]["mean"] < 0.95 * scaled["latency"]["tpot"]["mean"]


def test_flags_name_no_config_as_the_model(command):  # noqa: F811
    config = ROOT / "bench" / "configs" / "qwen3-8b.json"
    words = ("--target", config, "--gpu", "h100", "--tp", 1, "--draft", "lookup", "--alpha", 0.5)
    out = command("plan", *words, *LOAD, "--emit", "vllm")[1].partition("FLAGS OF VLLM")[2]
    assert "# Set MODEL to the target first." in out
    assert str(config) not in out


def test_flags_say_which_precisions_they_leave_out(asked):  # noqa: F811
    planned = (*WORKED, "--emit", "vllm", "--emit", "sglang")
    assert not any("Planned with" in text for text in asked(*planned)[1]["flags"].values())
    for text in asked(*planned, "--weights", "fp8", "--kv", "fp8")[1]["flags"].values():
        assert text.startswith("# Planned with weights in fp8 and the KV cache in fp8: ")
