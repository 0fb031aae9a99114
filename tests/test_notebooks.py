"""Every notebook runs, shows what a fresh run shows, defines no function, and quotes right numbers."""

import ast
import copy
import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from specmath import Chain, Geometric, Ratio, best_k, break_even, speedup
from specmath.acceptance import BetaGeometric, Curve, Markov, Ranked
from specmath.replay import Replay
from specmath.tree_search import optimal_trees

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS, LARGEST = 60, 300_000
REFRESH = "run jupyter nbconvert --to notebook --execute --inplace on it"

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(notebook, folder):
    """The notebook after a fresh run in that folder; CellExecutionError where a cell raises."""
    fresh = copy.deepcopy(notebook)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(fresh, timeout=SECONDS, kernel_name="python3", resources=resources).execute()


def texts(notebook):
    """What every code cell shows as text: printed lines joined, then plain results."""
    return {cell.id: _text(cell.outputs) for cell in code_cells(notebook)}


def _text(outputs):
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    return [printed, *(output.data["text/plain"] for output in outputs if "data" in output)]


def defined(source):
    """Names of the functions, lambdas and classes that a cell defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
    return [getattr(node, "name", "lambda") for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def differing(stored, fresh):
    """Ids of the cells whose stored text is not that of the fresh run."""
    before, after = texts(stored), texts(fresh)
    return [cell for cell in before if before[cell] != after[cell]]


def notebook_of(source):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id="only")])


def words(path):
    """The prose of a notebook, on one line."""
    notebook = nbformat.read(path, as_version=4)
    return re.sub(r"\s+", " ", " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))


def prose():
    return words(FOLDER / "01_acceptance_rate.ipynb")


def prose_beyond():
    return words(FOLDER / "02_beyond_iid.ipynb")


def test_there_are_notebooks():
    assert NOTEBOOKS


@every_notebook
def test_a_notebook_runs_and_shows_what_it_has_stored(path):
    stored = nbformat.read(path, as_version=4)
    assert differing(stored, executed(stored, FOLDER)) == [], f"{path.name} is stale: {REFRESH}"


@every_notebook
def test_a_notebook_is_valid_small_and_executed_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < LARGEST


@every_notebook
def test_a_notebook_defines_no_function(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert defined(cell.source) == [], f"{path.name}, cell {cell.id}: a function belongs into a module"


@every_notebook
def test_every_picture_and_notebook_that_the_prose_points_at_is_there(path):
    for target in re.findall(r"\]\(([^)#]+)\)", words(path)):
        assert (FOLDER / target).is_file(), f"{path.name} points at {target}"


@pytest.mark.parametrize(
    "source", ["def f(x):\n    return x", "g = lambda: 1", "class A:\n    pass", "if 1:\n    def h(): 0"]
)
def test_a_function_in_a_cell_would_be_noticed(source):
    assert defined(source)


def test_a_cell_that_raises_would_be_noticed(tmp_path):
    with pytest.raises(CellExecutionError, match="planted"):
        executed(notebook_of("raise ValueError('planted')"), tmp_path)


@every_notebook
def test_a_stale_output_would_be_noticed(path):
    stored = nbformat.read(path, as_version=4)
    for cell in code_cells(stored):
        for output in cell.outputs:
            stale = copy.deepcopy(stored)
            (twin,) = (c for c in stale.cells if c.id == cell.id)
            index = cell.outputs.index(output)
            if output.output_type == "stream":
                twin.outputs[index].text += "1"
            else:
                twin.outputs[index].data["text/plain"] += "1"
            assert differing(stale, stored) == [cell.id]


def test_printed_lines_are_compared_whole_however_the_kernel_cut_them():
    whole, cut = notebook_of("0"), notebook_of("0")
    whole.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="a\nb\n")]
    cut.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=line) for line in ("a\n", "b\n")]
    assert differing(whole, cut) == []


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("an accepted fraction of {:.3f}", sum(0.35**i for i in range(1, 6)) / 5),
        ("it comes from $\\alpha = {:.3f}$", Geometric.from_block_efficiency(1 + 0.35 * 5, 5).alpha),
        ("At $k = 1$ or 2 the pair gains {:.3f}", speedup(0.35, 1, 0.10)),
        ("At $k = 1$ or 2 the pair gains {:.3f}", speedup(0.35, 2, 0.10)),
        ("The same draft at $k = 7$ is at {:.3f}", speedup(0.35, 7, 0.10)),
        ("there the threshold is {:.3f}", break_even(c=0.10, k=7)),
        ("at $k = 8$ it is {:.3f}", break_even(c=0.10, k=8)),
        ("Thresholds from {:.2f}", break_even(c=0.02, k=1)),
        ("to {:.2f}: no single one", break_even(c=0.20, k=10)),
    ],
)
def test_the_prose_on_acceptance_quotes_the_number_that_the_library_gives(sentence, value):
    assert sentence.format(value).replace("0.", ".") in prose()


def test_the_articles_first_sentence_is_about_a_tuned_k_and_its_second_about_a_fixed_one():
    by_k = [round(speedup(0.35, k, 0.10), 3) for k in range(1, 9)]
    assert by_k == [1.227, 1.227, 1.166, 1.093, 1.024, 0.961, 0.905, 0.855]
    assert best_k(0.35, 0.10).k == 1
    assert speedup(0.35, 5, Ratio(0.10, d=0.02)) < 1 < speedup(0.35, 5, 0.10)
    assert all(0.4 <= break_even(c=cost, k=k) <= 0.45 for cost, k in ((0.10, 7), (0.10, 8), (0.085, 8)))
    assert 0.08 < break_even(alpha=0.4, k=8) < break_even(alpha=0.4, k=7) < 0.10


LENGTHS = (1.83, 2.45, 2.94, 3.26, 3.47, 3.57, 3.62)  # of the model card that the second notebook names
PERSISTENT = Markov((0.95, 0.45), ((0.95, 0.05), (0.05, 0.95)))


def from_anywhere(law, k):
    """Tokens per round from a start that is any position of the text."""
    shares, tau = [float(share) for share in law.stationary], 1.0
    for _ in range(k):
        kept = [share * alpha for share, alpha in zip(shares, law.alphas, strict=True)]
        tau += sum(kept)
        shares = [sum(of * row[j] for of, row in zip(kept, law.transition, strict=True)) for j in range(len(kept))]
    return tau


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("The fitted $\\alpha$ falls from {:.2f}", Geometric.from_block_efficiency(LENGTHS[0], 1).alpha),
        ("falls from .83 to {:.2f} as $k$ grows", Geometric.from_block_efficiency(LENGTHS[6], 7).alpha),
        ("start anywhere ({:.2f} at", from_anywhere(PERSISTENT, 5)),
        ("at $\\rho$ = .9 instead of {:.2f})", PERSISTENT.on(Chain(5)).block_efficiency(5)),
        ("towards $1 / (1 - .7) = {:.2f}$", 1 / (1 - 0.7)),
    ],
)
def test_the_prose_beyond_one_alpha_quotes_the_number_that_the_library_gives(sentence, value):
    assert re.sub(r"\b0\.", ".", sentence.format(value)) in prose_beyond()


def test_the_published_draft_is_drafted_too_deep_from_one_alpha_and_not_from_its_curve():
    assert "a planner who knows only $k = 1$ drafts too deep and promises too much" in prose_beyond()
    curve, cost = Curve(tuple(b - a for a, b in zip((1, *LENGTHS), LENGTHS, strict=False))), Ratio(0.03, d=0.01)
    best = best_k(curve, cost, k_max=7)
    for k in (1, 3):
        planned = best_k(Geometric.from_block_efficiency(LENGTHS[k - 1], k), cost, k_max=7)
        assert planned.k > best.k
        assert planned.speedup > best.speedup > speedup(curve, planned.k, cost)


def test_prompts_that_differ_help_by_round_and_hurt_by_token():
    assert "Does the difference help or hurt? Both" in prose_beyond()
    for a, b, k in ((14, 6, 7), (7, 3, 5), (1.4, 0.6, 5), (2, 2, 4)):
        law = BetaGeometric(a, b)
        alike = Geometric(a / (a + b)).block_efficiency(k)
        assert law.block_efficiency(k) > alike > law.block_efficiency_by_token(k)


def test_the_best_tree_of_up_to_five_drafts_is_the_chain_and_trees_gain_less_as_verification_costs_more():
    assert "Up to five drafted tokens the best tree *is* the chain" in prose_beyond()
    ranked = Ranked((0.7, 0.15, 0.05, 0.02))
    trees = optimal_trees(ranked.acceptances, range(1, 32))
    assert [tree.is_chain for tree in trees[:6]] == [True] * 5 + [False]
    gains = []
    for d in (0.005, 0.04):
        cost = Ratio(0.05, d=d)
        gains.append(max(speedup(ranked, tree, cost) for tree in trees) / best_k(ranked, cost, k_max=31).speedup)
    assert gains[0] > 1.15
    assert 1 < gains[1] < 1.03


def test_endless_stretches_are_two_kinds_of_prompts_counted_by_token():
    assert "this is the section before: two kinds of prompts, counted by token" in prose_beyond()
    endless = Markov((0.95, 0.45), ((1 - 1e-6, 1e-6), (1e-6, 1 - 1e-6))).on(Chain(5)).block_efficiency(5)
    by_token = 2 / sum(1 / Geometric(alpha).block_efficiency(5) for alpha in (0.95, 0.45))
    assert endless == pytest.approx(by_token, abs=1e-4)
    assert by_token == pytest.approx(2.690523, abs=1e-6)


def test_the_replayed_text_has_the_rounds_of_its_recursion():
    chances = [0.95 if j // 20 % 2 == 0 else 0.45 for j in range(400)]
    found = [Replay([chances]).block_efficiency(k) for k in (3, 5, 8)]
    assert found == pytest.approx([2.376337, 2.715095, 2.950600], abs=1e-6)
