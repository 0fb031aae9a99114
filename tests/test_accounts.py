"""Where the seconds of a run went and which cell leads, on traces whose every number can be worked out by hand."""

from dataclasses import replace

import pytest

from tests import runs, synthetic
from validate import compare, fit
from validate.conclude import run_document

PLAIN, CONTROL, SPEC = ("plain", 0), ("plain", 1), ("spec", 0)


def timed(trace, factor, *, forwards=True):
    """The trace with the seconds of every arm multiplied by factor(line), those of its forwards too or not."""
    done = tuple(replace(line, seconds=line.seconds * factor(line)) for line in trace.done)
    rounds = tuple(replace(line, verify_s=line.verify_s * (factor(line) if forwards else 1)) for line in trace.rounds)
    return replace(trace, done=done, rounds=rounds)


def by_arm(factors):
    return lambda line: factors.get((line.arm, line.repeat), 1.0)


def test_a_plain_step_is_that_of_both_plain_runs():
    """1 s and 3 s a token are 2 s a step: a round of 1.5 s that emits 5 tokens takes .75 of one."""
    trace = timed(runs.trace({f"a-{i}": [(4, 4)] * 3 for i in range(2)}), by_arm({CONTROL: 3.0}))
    found = compare.measured_breakdown(fit.sample_of(trace))
    assert (found.tokens, found.verify, found.overhead) == pytest.approx((5, 0.75, 0))


@pytest.mark.parametrize(
    ("outcomes", "slower", "draft", "dominant"),
    [
        ([(2, 2)] * 10, 0.55, 0.25, "draft"),  # 1.1 + .5 steps: free drafts gain 45 %, a verification of one step 7 %
        ([(1, 1), (1, 0)] * 2 + [(1, 0)], 0.75, 0.0, "acceptance"),  # 1.4 of 2 tokens, 43 %; 1.2 steps, 20 %
        ([(1, 1)] * 9 + [(1, 0)], 1.0, 0.0, "verify"),  # 1.9 of 2 tokens, 5 %; 1.6 steps, 60 %
    ],
)
def test_the_dominant_term_is_that_whose_repair_gains_most(outcomes, slower, draft, dominant):
    sample = fit.sample_of(runs.trace({"a-0": outcomes}, slower=slower, draft=draft))
    assert compare.dominant_term(sample) == dominant


@pytest.mark.parametrize(
    ("control", "bounds"), [(1.0, (0.05, 0.1)), (1.02, (0.05, 0.1)), (1.05, (0.075, 0.1)), (1.2, (0.3, 0.3))]
)
def test_the_bound_of_the_model_error_is_its_own_or_that_of_the_control_and_not_both(control, bounds):
    trace = timed(synthetic.trace({"json": 0.9}), by_arm({PLAIN: control}))
    found = run_document(trace, runs.costs())["model_error"]
    assert [row["bound"] for row in found] == pytest.approx(bounds)


def test_what_is_spent_outside_forwards_is_counted_in_every_arm():
    """20 tokens: 20 s of forwards in 20 s, 20 in 40 and 6 in 12: 46 of 72."""
    trace = timed(runs.trace({"a-0": [(4, 4)] * 4}), by_arm({CONTROL: 2.0, SPEC: 2.0}), forwards=False)
    assert run_document(trace, runs.costs())["outside_forwards"] == pytest.approx(26 / 72)


def test_loops_are_those_of_speculative_outputs():
    """Text of plain decoding that loops, however often, is none."""
    found, loop = synthetic.trace({"json": 0.9}, prompts=4), (1, 2) * 40
    outputs = {PLAIN: loop, CONTROL: loop, SPEC: tuple(range(80))}
    done = tuple(replace(line, tokens=outputs[line.arm, line.repeat]) for line in found.done)
    assert run_document(replace(found, done=done), runs.costs())["domains"]["json"]["loops"] == 0
    once = tuple(replace(line, tokens=loop) if line.key == ("json-1", *SPEC) else line for line in done)
    assert run_document(replace(found, done=once), runs.costs())["domains"]["json"]["loops"] == 0.25


def test_the_cell_of_the_highest_speedup_leads_and_not_that_of_the_most_tokens():
    """The model draft has nearly all accepted, at a plain step for every token."""
    dear = synthetic.trace({"json": 0.95}, draft=1.0, head=runs.header(draft="D"))
    document = runs.study(dear, synthetic.trace({"json": 0.6}), prices=runs.costs(draft=1.0))
    tokens = {point["draft"]: point["block_efficiency"] for point in document["curve"]}
    assert tokens["D"] > 1.5 * tokens["lookup"]
    assert (
        document["draft"] == document["domains"]["json"]["draft"] == document["verdicts"]["json"]["draft"] == "lookup"
    )


def test_plain_decoding_is_held_against_itself_in_each_kind_of_text():
    """Off by 0, 10 and 30 %: 19 of 20 ways up are 28 %, between the second and the worst."""
    off = {"a": 1.0, "b": 1.1, "c": 1.3}
    trace = synthetic.trace(dict.fromkeys(off, 0.9))
    trace = timed(trace, lambda line: off[line.prompt[0]] if line.key[1:] == PLAIN else 1.0)
    control = runs.study(trace)["accuracy"]["control"]
    assert control == pytest.approx({"median": 0.1, "percentile_95": 0.28, "worst": 0.3})
