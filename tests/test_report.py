"""The same conclusion in a pipe, on a terminal and as Markdown: first line, numbers, order, no escape codes."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tests import runs, synthetic
from validate.conclude import fit_document
from validate.cost_document import cost_document
from validate.document import speedup_document
from validate.report import markdown, plain
from validate.sections import headline, opening, sections
from validate.terminal import show
from validate.words import interval, milliseconds, percent

ESCAPE = "\x1b"


def run(alphas, **how):
    return runs.study(synthetic.trace(alphas, **how))


@pytest.fixture(scope="module")
def mixed():
    return run({"json": 0.9, "prose": 0.05})


@pytest.fixture(
    scope="module",
    params=["run", "thin", "silent", "fit", "empty fit", "cost", "cost with a draft", "speedup", "speedup at 0"],
)
def document(request):
    """Every kind of document, and those with as much unknown as there can be."""
    return {
        "run": lambda: run({"json": 0.9, "prose": 0.05}),
        "thin": lambda: run({"json": 0.9}, prompts=1),
        "silent": lambda: run({"json": 0.9}, hit=0.0),
        "fit": lambda: fit_document(synthetic.trace({"json": 0.9}), runs.costs(), "x"),
        "empty fit": lambda: fit_document(synthetic.trace({"json": 0.9}, hit=0.0), None, "x"),
        "cost": lambda: cost_document(runs.costs(), "lookup", 4, {"processor": "none"}),
        "cost with a draft": lambda: cost_document(runs.costs(draft=0.1), "D", 4, {}),
        "speedup": lambda: speedup_document(0.75, 4, 0.02),
        "speedup at 0": lambda: speedup_document(0.75, 0, 0.02),
    }[request.param]()


def on_a_terminal(document, width=80, files=()):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False)
    show(document, files, console)
    return console.file.getvalue()


def without_codes(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_every_rendering_of_every_document_opens_with_answer_reason_and_next_step(document):
    answer, reason, then = opening(document)
    assert plain(document).splitlines()[:3] == [answer, reason, then]
    assert on_a_terminal(document, width=400).splitlines()[0] == f"{ESCAPE}[1m{answer}{ESCAPE}[0m"
    paragraphs = markdown(document).split("\n\n")
    assert paragraphs[0] == f"# {answer}"
    assert [p.lower() for p in paragraphs[1:3]] == [reason.lower(), then.lower()]


def test_no_rendering_shows_nan_none_or_a_negative_zero(document):
    for text in (plain(document), markdown(document), without_codes(on_a_terminal(document))):
        assert not re.search(r"\bnan\b|\bNone\b|\binf\b|-0\.0+\b(?!\d)", text)


def test_a_pipe_gets_no_escape_codes_and_no_line_is_cut(document):
    text = plain(document, ["a/very/long/path/" * 12])
    assert ESCAPE not in text
    assert "a/very/long/path/" * 12 in text
    assert "…" not in text


def test_markdown_and_pipe_hold_the_same_sections_rows_and_order(document):
    found = sections(document)
    assert re.findall(r"^## (.*)$", markdown(document), re.M) == [section.title for section in found]
    titles = [line for line in plain(document).splitlines() if line in {section.title.upper() for section in found}]
    assert titles == [section.title.upper() for section in found]
    for section in found:
        for row in section.rows:
            assert f"| {' | '.join(row)} |" in markdown(document)


def test_a_narrow_terminal_shows_every_cell_and_keeps_the_first_column_whole(mixed):
    shown = without_codes(on_a_terminal(mixed, width=80))
    assert all(len(line) <= 80 for line in shown.splitlines())
    for section in sections(mixed):
        for row in section.rows:
            assert row[0] in shown


def test_square_brackets_of_a_domain_are_text_and_no_markup():
    document = run({"[bold]json[/bold]": 0.9, "a|b": 0.9})
    assert "[bold]json[/bold]" in without_codes(on_a_terminal(document, width=200))
    assert "| a\\|b |" in markdown(document)


@pytest.mark.parametrize(
    ("alphas", "prompts", "word"),
    [
        ({"json": 0.9}, 6, "USE lookup"),
        ({"json": 0.05}, 6, "DON'T USE lookup"),
        ({"json": 0.3}, 2, "MEASURE MORE of lookup"),
    ],
)
def test_the_first_line_of_a_run_is_the_verdict_with_draft_k_speedup_interval_and_prompts(alphas, prompts, word):
    document = run(alphas, prompts=prompts)
    found = document["speedup"]
    numbers = f"{found['value']:.2f}x ({found['low']:.2f} to {found['high']:.2f})"
    assert headline(document) == f"{word} with k = 4: {numbers} on {prompts} prompts"


def test_a_better_k_that_was_predicted_and_not_run_is_one_sentence_with_its_command():
    document = runs.untried(synthetic.trace({"json": 0.6}, prompts=8), 1, 3.0, 2.9)
    assert headline(document).startswith("USE lookup with k = 4: ")
    best = document["best"]["command"]
    assert "lookup with k = 1 was predicted 3.00x (2.90 to 3.10) over all texts, and lookup with k = 4 " in plain(
        document
    )
    assert f"It was not run; to run it: {best}" in plain(document)
    assert "not run" not in plain(runs.untried(synthetic.trace({"json": 0.6}, prompts=8), 1, 3.0, 1.0))


def test_a_fit_says_that_its_best_k_is_cut_from_the_rounds_that_ran():
    said = "Smaller k are cut from the rounds of k = 4"
    assert said in plain(fit_document(synthetic.trace({"json": 0.9}), runs.costs(), "x"))
    assert said not in plain(fit_document(synthetic.trace({"json": 0.9}), None, "x"))
    shallow = runs.trace({"a-1": [(1, 1)] * 9, "a-2": [(1, 0)] * 9}, head=runs.header(k=1))
    assert said not in plain(fit_document(shallow, runs.costs(), "x"))


def test_the_first_line_of_the_closed_form():
    assert headline(speedup_document(0.75, 4, 0.02)).startswith("USE k = 4: 2.82x (3.05 tokens per round of 1.08 plain")
    assert headline(speedup_document(0.2, 4, 0.2)).startswith("DON'T USE k = 4: 0.69x")


def test_the_first_line_of_a_cost_table():
    found = headline(cost_document(runs.costs(draft=0.1), "D", 4, {}))
    assert found == "MEASURE MORE: v(5) = 1.50 plain steps, c = 0.100 after 0 tokens"


def test_a_cost_table_says_what_its_plain_steps_hold_and_what_accepting_takes():
    """Five tokens at 1.5 s, a token drawn in .5 s: 2.0 of 1.5 are 1.33 plain steps."""
    costs = runs.costs()
    costs.sweeps[:] = [replace(sweep, accept=(0.5, 0.75, 1.0, 1.25, 1.5)) for sweep in costs.sweeps]
    said = plain(cost_document(costs, "lookup", 4, {}), ())
    five = next(line.split() for line in said.splitlines() if line.split()[:4] == ["target", "5", "1", "0"])
    assert five[-1] == "1.33"
    assert "Drawing a token takes 500 ms of every plain step; accepting drafts, of one sequence, 250 ms for 1" in said
    assert "1000 ms for 4 more." in said


def test_the_first_line_of_a_fit():
    assert headline(fit_document(synthetic.trace({"json": 0.9}), None, "x")).startswith("USE: ")
    assert "alpha = " in headline(fit_document(synthetic.trace({"json": 0.9}), None, "x"))


def test_numbers_in_the_markdown_are_those_of_the_json(mixed):
    text = markdown(mixed)
    for domain, found in mixed["domains"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {domain} | ") and "prompts" not in line)
        assert interval(found["speedup"], "x") in row
        assert interval(found["alpha"]) in row
        assert f"{found['block_efficiency']['value']:.2f}" in row
    for found in mixed["model_error"]:
        assert f"| {found['predicted']:.2f}x | {found['measured']:.2f}x | {found['error']:+z.1%} |" in text
    for cell in mixed["costs"]["target"]:
        assert (
            f"| target | {cell['n']} | {cell['batch']} | {cell['context']} | {milliseconds(cell['seconds'])} |" in text
        )


def test_cells_without_an_interval_are_counted_apart(mixed):
    assert "2 of 2 stated intervals hold. Plain" in plain(mixed)
    assert "0 of 0 stated intervals hold, 1 cell without one. Plain" in plain(run({"json": 0.9}, prompts=1))


def test_why_a_domain_does_not_pay_is_said_below_its_table(mixed):
    assert f"prose: {mixed['domains']['prose']['reason']}." in plain(mixed)


def test_alpha_is_told_apart_from_accepted_over_drafted(mixed):
    assert "Accepted / drafted" in plain(mixed)
    assert "alpha is not known" not in plain(mixed)
    assert "Nothing was drafted" in plain(run({"json": 0.9}, hit=0.0))


def test_a_chart_and_files_are_named_where_there_are_any(mixed):
    assert "](speedup.svg)" in markdown(mixed, ["trace.jsonl"], "speedup.svg")
    assert "![" not in markdown(mixed)
    assert "FILES" not in plain(mixed)
    for text in (plain(mixed, ["trace.jsonl"]), markdown(mixed, ["trace.jsonl"])):
        assert text.endswith("trace.jsonl\n")


def test_units_and_unknowns():
    assert milliseconds(0.0621) == "62.1"
    assert (percent(0.0321), percent(-0.00001), percent(0.5, ""), percent(None)) == ("+3.2%", "+0.0%", "50.0%", "–")
    assert interval({"value": 1.416, "low": 1.31, "high": 1.53}, "x") == "1.42x (1.31 to 1.53)"
    assert interval({"value": 1.416, "low": None, "high": None}, "x") == "1.42x"
    assert interval(None) == "–"
