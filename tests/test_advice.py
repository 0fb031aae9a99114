"""What to do next: sentences, and commands that the command line takes as they are."""

import re
import shlex

import pytest
import typer

from specmath.intervals import Estimate
from tests import runs
from validate import cli
from validate.advice import plan, profile_command, route, run_command, then
from validate.compare import Verdict
from validate.workload import bundled, digest, interleaved

HEAD = runs.header()
RUN = "specmath run --target T --draft lookup --k 4"


def verdict(word, more=0, prompts=4):
    speedup = Estimate(1.2, 0.9, 1.5, 0.95, prompts, "made up")
    return Verdict(word, {"dont_use": 0}.get(word, 4), more, speedup, "")


def parsed(command):
    """The options that the command line reads from a command, ended by a blank or the line."""
    program, name, *words = shlex.split(command)
    assert program == "specmath"
    return typer.main.get_command(cli.app).commands[name].make_context(name, words).params


def bundled_head(count, **changed):
    return runs.header(prompts=digest(interleaved(bundled(count))), **changed)


def test_more_prompts_are_a_command_that_says_how_many_of_each_kind():
    assert then(verdict("measure_more", 3), HEAD, 1) == f"decode 3 more prompts: {RUN} --prompts FILE --per-domain 7"
    two = then(verdict("measure_more", 3, prompts=8), HEAD, 2)
    assert two == f"decode 3 more prompts: {RUN} --prompts FILE --per-domain 6"


@pytest.mark.parametrize(("more", "words", "count"), [(None, "more", 8), (5000, "over 1000 more", 1004)])
def test_where_nobody_knows_how_many_it_is_twice_as_many_and_never_more_than_a_thousand(more, words, count):
    asked = then(verdict("measure_more", more), HEAD, 1)
    assert asked == f"decode {words} prompts: {RUN} --prompts FILE --per-domain {count}"


def test_a_draft_that_loses_is_answered_by_a_profile_of_others():
    lost = then(verdict("dont_use"), runs.header(draft="D"), 1)
    assert lost.startswith(
        "decode plainly, or see whether another draft or k pays: specmath profile --target T --draft D"
    )
    assert parsed(lost.partition(": ")[2])["draft"] == ["D", "lookup", "ngram"]
    assert then(verdict("use"), HEAD, 1) == "turn it on with k = 4"


def test_the_settings_of_the_run_are_in_the_command_and_the_command_line_takes_it():
    sampler = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.0, "max_tokens": 96}
    head = runs.header(target="my models/T", draft="early:3", k=5, sampler=sampler, seed=7)
    for command in (run_command([head], 9), profile_command(head, ["early:3"])):
        found = parsed(command)
        assert (found["target"], found["draft"], found["seed"]) == ("my models/T", ["early:3"], 7)
        assert (found["temperature"], found["top_k"], found["top_p"], found["tokens"]) == (0.7, 5, 0.9, 96)
        assert "--min-p" not in command
    assert (parsed(run_command([head], 9))["k"], parsed(run_command([head], 9))["per_domain"]) == ([5], 9)


def test_several_cells_are_one_command():
    cells = [runs.header(draft=draft, k=k) for draft in ("lookup", "D") for k in (2, 4)]
    assert (parsed(run_command(cells))["draft"], parsed(run_command(cells))["k"]) == (["lookup", "D"], [2, 4])


@pytest.mark.parametrize(
    ("head", "asked", "prompts", "count"),
    [
        (bundled_head(4), None, None, 4),
        (bundled_head(2), 8, None, 8),
        (bundled_head(4), 9, "FILE", 9),
        (HEAD, 8, "FILE", 8),
        (HEAD, None, "FILE", None),
    ],
)
def test_the_bundled_prompts_need_no_file_while_there_are_enough(head, asked, prompts, count):
    found = parsed(run_command([head], asked))
    assert (found["prompts"], found["per_domain"]) == (prompts, count)


def test_where_the_kinds_disagree_each_is_named_and_the_command_serves_the_one_that_lacks_most():
    verdicts = {"json": verdict("use"), "qa": verdict("measure_more", 3), "prose": verdict("measure_more", 29)}
    assert route(verdict("use"), verdicts | {"chat": verdict("dont_use")}, HEAD) == (
        "use it for json, not for chat, and decode 3 more prompts of qa and 29 more prompts of prose to decide there: "
        f"{RUN} --prompts FILE --per-domain 33"
    )


def test_where_every_kind_is_undecided_the_next_step_begins_with_what_to_decode():
    """The kinds hold one prompt each: the mix may be decided, none of them is."""
    verdicts = {kind: verdict("measure_more", None, prompts=1) for kind in ("code", "json")}
    undecided = route(verdict("measure_more", 3), verdicts | {"qa": verdict("use")}, HEAD)
    assert undecided.startswith(
        "use it for qa, and decode more prompts of code and more prompts of json to decide there:"
    )
    lost = route(verdict("dont_use"), verdicts, HEAD)
    assert lost.startswith("do not use it on this mix of texts, and decode more prompts of code")


def test_a_plan_ends_in_its_command():
    found = {
        "qa": {"verdict": "measure_more", "k": 4, "more_prompts": 2, "draft": "D"},
        "json": {"verdict": "use", "k": 4, "more_prompts": 0, "draft": "D"},
        "chat": {"verdict": "measure_more", "k": 4, "more_prompts": None, "draft": "lookup"},
        "prose": {"verdict": "dont_use", "k": 0, "more_prompts": 0, "draft": "lookup"},
    }
    heads = [runs.header(draft=draft) for draft in ("lookup", "D")]
    made = plan(found, dict.fromkeys(found, 4), heads)
    assert made.startswith(
        "use D with k = 4 for json; decode plainly for prose; decode more prompts of qa (2 more), chat: "
    )
    assert parsed(re.search("specmath run .*", made)[0])["per_domain"] == 8
    assert plan({"json": found["json"]}, {"json": 4}, heads) == "use D with k = 4 for json"
