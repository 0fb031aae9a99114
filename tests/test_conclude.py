"""What is concluded from a run with planted acceptance and prices: verdicts, keys, and what an interruption leaves."""

import json
import math
from dataclasses import replace

import pytest

from tests import runs, synthetic
from validate.conclude import fit_document, run_document
from validate.costs import Costs

INTERVAL = {"value", "low", "high", "level", "prompts", "method"}
COMMON = {"schema", "version", "verdict", "reason", "next"}


def as_json(document):
    """Through JSON and back; NaN and infinity are refused."""
    return json.loads(json.dumps(document, allow_nan=False))


@pytest.fixture(scope="module")
def mixed():
    """Text that repeats itself, and text that does not: speculation pays for the one alone."""
    return as_json(run_document(synthetic.trace({"json": 0.9, "prose": 0.05}, seed=1), runs.costs()))


def test_the_run_object_has_the_keys_of_the_contract(mixed):
    assert COMMON | {"control", "cells", "total", "costs", "gap", "verdicts"} <= set(mixed)
    assert mixed["schema"] == "specmath.run/1"
    assert set(mixed["control"]) == {"aa_ratio"}
    assert set(mixed["cells"][0]) == {"domain", "draft", "k", "predicted", "measured", "error", "inside"}
    assert set(mixed["cells"][0]["predicted"]) == set(mixed["cells"][0]["measured"]) == INTERVAL
    assert {"predicted", "measured", "error"} <= set(mixed["total"])
    assert {"target", "draft", "overhead", "overheads"} <= set(mixed["costs"])
    assert {"n", "batch", "context", "seconds"} <= set(mixed["costs"]["target"][0])
    assert set(mixed["gap"]) == {"acceptance", "draft", "verify", "overhead"}
    assert set(mixed["verdicts"]["json"]) == {"verdict", "k", "more_prompts"}


def test_the_verdict_of_each_domain_follows_its_planted_acceptance(mixed):
    assert mixed["verdicts"]["json"] == {"verdict": "use", "k": 4, "more_prompts": 0}
    assert mixed["verdicts"]["prose"] == {"verdict": "dont_use", "k": 0, "more_prompts": 0}
    assert "use it for json" in mixed["next"]
    assert "not for prose" in mixed["next"]


def test_the_planted_alpha_lies_in_its_interval_and_is_not_the_accepted_fraction(mixed):
    for domain, alpha in (("json", 0.9), ("prose", 0.05)):
        found = mixed["domains"][domain]
        assert found["alpha"]["low"] <= alpha <= found["alpha"]["high"]
        assert found["accepted_fraction"] == pytest.approx(found["accepted"] / found["drafted"])
        assert found["alpha"]["value"] > found["accepted_fraction"]


def test_the_speedup_is_the_one_of_the_planted_prices(mixed):
    for domain in ("json", "prose"):
        found = mixed["domains"][domain]
        tau = 1 + found["accepted"] / found["rounds"]
        assert found["speedup"]["value"] == pytest.approx(tau / runs.VERIFY[5])


def test_where_the_clock_keeps_to_the_table_the_model_has_no_error(mixed):
    assert [found["domain"] for found in mixed["model_error"]] == ["all", "json", "prose"]
    for found in mixed["model_error"]:
        assert found["error"] == pytest.approx(0, abs=1e-9)
        assert found["within"]
    assert mixed["control"]["aa_ratio"] == pytest.approx(1)
    assert mixed["outside_forwards"] == pytest.approx(0)


def test_a_clock_that_is_slower_than_the_table_exceeds_the_bound_of_the_model_error():
    document = run_document(synthetic.trace({"json": 0.9}, slower=1.2), runs.costs())
    total = document["model_error"][0]
    assert total["error"] == pytest.approx(0.2)
    assert (total["bound"], total["within"]) == (0.05, False)


def test_the_gap_adds_up_to_the_error_of_the_total(mixed):
    assert sum(mixed["gap"].values()) == pytest.approx(math.log(1 + mixed["total"]["error"]))


def test_the_breakdown_multiplies_out_to_the_speedup(mixed):
    found = mixed["breakdown"]["measured"]
    speedup = found["tokens"] / (found["draft"] + found["verify"] + found["overhead"])
    assert speedup == pytest.approx(mixed["speedup"]["value"])


def test_one_prompt_of_each_kind_holds_nothing_out_and_decides_nothing():
    document = as_json(run_document(synthetic.trace({"json": 0.9, "prose": 0.05}, prompts=1), runs.costs()))
    for cell in (*document["cells"], document["total"]):
        assert cell["predicted"]["value"] is not None
        assert (cell["measured"], cell["error"], cell["inside"]) == (None, None, None)
    assert document["gap"] == {"acceptance": None, "draft": None, "verify": None, "overhead": None}
    assert {v["verdict"] for v in document["verdicts"].values()} == {"measure_more"}
    assert document["verdicts"]["json"]["more_prompts"] is None


def test_lookup_that_never_finds_anything_leaves_alpha_unknown_and_not_zero():
    document = as_json(run_document(synthetic.trace({"prose": 0.5}, hit=0.0), runs.costs()))
    found = document["domains"]["prose"]
    assert (found["alpha"], found["law"], found["accepted_fraction"]) == (None, None, None)
    assert (found["hit_share"], found["survival"]) == (0.0, [1.0, None, None, None, None])
    assert found["speedup"]["value"] == pytest.approx(1)
    assert document["verdict"] == "measure_more"


def test_when_the_kinds_agree_the_next_step_is_one_for_all():
    assert run_document(synthetic.trace({"a": 0.9, "b": 0.9}), runs.costs())["next"] == "turn it on with k = 4"
    assert run_document(synthetic.trace({"a": 0.05, "b": 0.05}), runs.costs())["next"].startswith("decode plainly")


@pytest.mark.parametrize(("gap", "tie"), [(1e-5, True), (3.0, False)])
def test_a_divergence_without_a_tie_is_told_apart(gap, tie):
    found = synthetic.trace({"json": 0.9}, prompts=2)
    apart = replace(found.done[1], divergence={"at": 3, "gap": gap})
    document = run_document(replace(found, done=(found.done[0], apart, *found.done[2:])), runs.costs())
    assert document["divergences"]["apart"][0]["tie"] is tie


def test_divergences_are_counted_apart_under_greedy_and_not_expected_under_sampling():
    found = synthetic.trace({"json": 0.9}, prompts=2)
    apart = replace(found.done[1], divergence={"at": 3, "gap": 1e-6})
    greedy = run_document(replace(found, done=(found.done[0], apart, *found.done[2:])), runs.costs())["divergences"]
    assert (greedy["compared"], greedy["identical"]) == (4, 3)
    assert greedy["apart"] == [{"prompt": "json-0", "arm": "spec", "repeat": 0, "at": 3, "gap": 1e-6, "tie": True}]
    sampled = replace(found, header=runs.header(sampler={"temperature": 1.0}))
    assert run_document(sampled, runs.costs())["divergences"] is None


def test_outputs_that_loop_are_counted():
    found = synthetic.trace({"json": 0.9}, prompts=2)
    looping = {"json-0": (1, 2) * 40, "json-1": tuple(range(80))}
    done = tuple(replace(line, tokens=looping[line.prompt]) for line in found.done)
    assert run_document(replace(found, done=done), runs.costs())["domains"]["json"]["loops"] == 0.5


def test_prompts_that_are_not_finished_are_left_out_by_name():
    found = synthetic.trace({"json": 0.9}, prompts=3)
    document = run_document(replace(found, done=found.done[:-1]), runs.costs())
    assert document["left_out"] == ["json-2"]
    assert document["domains"]["json"]["prompts"] == 2


def test_a_run_without_a_finished_prompt_or_without_costs_is_refused():
    found = synthetic.trace({"json": 0.9}, prompts=1)
    for trace, costs in ((replace(found, done=()), runs.costs()), (found, Costs())):
        with pytest.raises(ValueError, match="--resume"):
            run_document(trace, costs)


def test_the_fit_object_has_the_keys_of_the_contract():
    document = as_json(fit_document(synthetic.trace({"json": 0.8}), runs.costs(), "x"))
    own = {"source", "rule", "law", "alpha", "block_efficiency", "survival", "rounds", "drafted", "accepted"}
    assert COMMON | own | {"not_identifiable", "speedup", "best", "unread_lines"} <= set(document)
    assert set(document["law"]) == {"name", "params"}
    assert set(document["alpha"]) == set(document["speedup"]) == INTERVAL
    assert document["not_identifiable"] == []


def test_the_law_has_misses_where_some_rounds_drafted_nothing():
    assert fit_document(synthetic.trace({"json": 0.8}), None, "x")["law"]["name"] == "Geometric"
    law = fit_document(synthetic.trace({"json": 0.8}, hit=0.5), None, "x")["law"]
    assert law["name"] == "HitMiss"
    assert law["params"]["alpha"] == pytest.approx(0.8, abs=0.06)


def test_the_best_k_is_that_of_the_cut_rounds_at_the_measured_prices():
    found = synthetic.trace({"json": 0.5}, prompts=8)
    best = fit_document(found, runs.costs(), "x")["best"]
    pairs = [(line.drafted, line.accepted) for line in found.rounds if line.arm == "spec"]

    def speedup(k):
        return sum(min(a, k) + 1 for _, a in pairs) / sum(runs.VERIFY[min(d, k) + 1] for d, _ in pairs)

    assert best["k"] == max(range(5), key=speedup)
    assert best["speedup"] == pytest.approx(speedup(best["k"]))


def test_where_no_cut_pays_the_best_k_is_0_at_exactly_1():
    best = fit_document(synthetic.trace({"prose": 0.01}), runs.costs(), "x")["best"]
    assert best.items() >= {"k": 0, "speedup": 1.0}.items()


def test_the_best_k_says_which_rounds_it_was_cut_from_and_what_answers_exactly():
    best = fit_document(synthetic.trace({"json": 0.5}), runs.costs(), "x")["best"]
    assert (best["cut_from"], best["exact"]) == (4, "specmath profile --target T --draft lookup --k 4 --prompts FILE")


def test_without_costs_there_is_a_verdict_from_the_clock_and_no_best_k():
    document = fit_document(synthetic.trace({"json": 0.9}), None, "x")
    assert (document["verdict"], document["best"]) == ("use", None)


def test_rounds_of_an_unfinished_prompt_count_for_acceptance_and_not_for_speedup():
    found = synthetic.trace({"json": 0.9}, prompts=3)
    cut = replace(found, done=found.done[:6])
    whole, interrupted = (fit_document(trace, None, "x") for trace in (found, cut))
    assert interrupted["rounds"] == whole["rounds"]
    assert interrupted["speedup"]["prompts"] == 2
    assert interrupted["prompts"] == {"finished": 2, "begun": 3}


def test_with_no_prompt_finished_there_is_acceptance_and_the_way_to_go_on():
    found = synthetic.trace({"json": 0.9}, prompts=2)
    document = as_json(fit_document(replace(found, done=()), None, "runs/x/trace.jsonl"))
    assert (document["verdict"], document["speedup"], document["best"]) == ("measure_more", None, None)
    assert document["alpha"]["value"] > 0.8
    assert document["next"].endswith("specmath run --resume runs/x")


def test_a_trace_that_holds_no_round_says_what_is_missing():
    found = synthetic.trace({"json": 0.9}, prompts=1)
    document = as_json(fit_document(replace(found, rounds=(), done=()), None, "x"))
    assert (document["alpha"], document["block_efficiency"], document["rounds"]) == (None, None, 0)
    assert {"what", "missing", "how"} == set(document["not_identifiable"][0])
