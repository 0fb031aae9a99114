"""Every figure is drawn by the script of its name, and what is committed is what the script draws."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from figures import (
    block_verification,
    by_position,
    by_prompt,
    capacity_gain,
    load_curves,
    persistence,
    step_parts,
    tree_or_chain,
)
from specmath import Chain, Geometric, best_k, break_even
from specmath.acceptance import Ranked
from specmath.finish import rounds_to_emit
from specmath.schedule import switch_off
from specmath.tree_search import optimal_tree
from validate.charts import rendered

FIGURES = pathlib.Path(__file__).parent.parent / "figures"
NAMES = sorted(path.stem for path in FIGURES.glob("*.py") if not path.stem.startswith("__"))
PINNED = re.search(r"^matplotlib==(\S+)$", (FIGURES.parent / "constraints.txt").read_text(), re.MULTILINE)[1]
LARGEST = 200_000


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A fresh drawing of all figures, in which a glyph that the font lacks is an error."""
    folder = tmp_path_factory.mktemp("figures")
    command = [sys.executable, "-W", "error::UserWarning", "-m", "figures", str(folder)]
    run = subprocess.run(command, cwd=FIGURES.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "findfont" not in run.stderr
    return folder


def title(name):
    """The claim of a figure, on one line with plain spaces."""
    return re.sub(r"\s+", " ", importlib.import_module(f"figures.{name}").TITLE)


def test_there_are_figures():
    assert NAMES


def test_every_script_has_its_pictures_and_every_picture_its_script(drawn):
    expected = {f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")}
    assert {path.name for path in drawn.iterdir()} == expected
    assert {path.name for path in FIGURES.iterdir() if path.suffix in (".svg", ".png")} == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_svg_is_what_the_script_draws(drawn, name):
    committed, fresh = (folder / f"{name}.svg" for folder in (FIGURES, drawn))
    same = committed.read_bytes() == fresh.read_bytes()
    assert same, f"{name}.svg is not what matplotlib {PINNED}, the pinned one, draws now: run make figures"


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_png_shows_what_the_script_draws(drawn, name):
    committed, fresh = (np.asarray(Image.open(folder / f"{name}.png")) for folder in (FIGURES, drawn))
    assert np.array_equal(committed, fresh), f"{name}.png differs from a fresh one: run make figures"


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_small_fits_a_column_and_knows_no_date(name):
    svg = (FIGURES / f"{name}.svg").read_text()
    assert all((FIGURES / f"{name}.{kind}").stat().st_size < LARGEST for kind in ("svg", "png"))
    assert float(re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)[1]) <= 4.5 * 72
    assert "<dc:date>" not in svg
    assert f"v{PINNED}" in svg


@pytest.mark.parametrize("name", NAMES)
def test_drawing_again_gives_the_same_bytes_and_another_title_others(name, monkeypatch):
    module = importlib.import_module(f"figures.{name}")
    first = rendered(module.draw(), "svg")
    assert rendered(module.draw(), "svg") == first
    monkeypatch.setattr(module, "TITLE", "another claim")
    assert rendered(module.draw(), "svg") != first


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_makes_its_claim_in_the_title_and_names_both_axes(name):
    figure = importlib.import_module(f"figures.{name}").draw()
    axes = figure.axes[0]
    assert re.sub(r"\s+", " ", figure.get_suptitle()) == title(name)
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert axes.get_legend() is None


@pytest.mark.parametrize("name", NAMES)
def test_no_label_of_a_figure_lies_on_another(name):
    figure = importlib.import_module(f"figures.{name}").draw()
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    names = sorted(boxes)
    overlaps = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if boxes[a].overlaps(boxes[b])]
    assert overlaps == []


def test_the_title_of_speedup_by_k_quotes_the_best_depths():
    best = {alpha: best_k(alpha, 0.05).k for alpha in (0.35, 0.85)}
    assert f"from {best[0.35]} at α .35 to {best[0.85]} at α .85" in title("speedup_by_k")


def test_the_title_of_break_even_says_where_the_article_is_right():
    curves = {cost: break_even(c=cost, k=np.arange(1, 11)) for cost in (0.05, 0.10)}
    first = 1 + int(np.argmax(curves[0.10] >= 0.4))
    assert curves[0.05].max() < 0.4
    assert f"holds for a 10 % draft from k = {first}, and for a 5 % draft at no k up to 10" in title("break_even")


def test_the_title_of_one_alpha_quotes_both_readings_of_35_per_cent():
    fraction = sum(0.35**i for i in range(1, 6)) / 5
    alpha = Geometric.from_block_efficiency(1 + 0.35 * 5, 5).alpha
    assert f"it is {fraction:.3f} accepted / drafted".replace("0.", ".") in title("one_alpha")
    assert f"α {alpha:.3f}".replace("0.", ".") in title("one_alpha")


def test_the_title_of_by_position_quotes_the_promise_and_the_measured_length():
    first, last = by_position.LENGTHS[0] - 1, by_position.LENGTHS[-1]
    promise = Geometric(first).block_efficiency(7)
    assert f"α of its first token, {first:.2f}".replace("0.", ".") in title("by_position")
    assert f"promises this draft {promise:.2f} tokens per round at k = 7; it gives {last:.2f}" in title("by_position")


def test_the_title_of_by_prompt_quotes_both_ways_of_counting():
    law, alike = by_prompt.law(2), Geometric(0.7).block_efficiency(5)
    both = law.block_efficiency(5), law.block_efficiency_by_token(5)
    assert "{:.2f} becomes {:.2f} or {:.2f}".format(alike, *both) in title("by_prompt")


def test_the_title_of_persistence_quotes_mixed_text_and_stretches():
    mixed, lasting = (persistence.stretches(rho).on(Chain(5)).block_efficiency(5) for rho in (0, 0.98))
    assert f"gives {mixed:.2f} tokens per round if mixed, {lasting:.2f} in stretches" in title("persistence")


@pytest.mark.parametrize(("rho", "tau"), [(0, 2.941170), (0.5, 3.161549), (0.9, 3.454618), (0.98, 3.530578)])
def test_rounds_that_start_anywhere_are_drawn_as_wrong_as_they_are(rho, tau):
    assert persistence.anywhere(persistence.stretches(rho)) == pytest.approx(tau, abs=1e-6)


def test_the_title_of_tree_or_chain_quotes_both_at_15_drafts():
    law, tree = Ranked(tree_or_chain.ACCEPTANCES), optimal_tree(tree_or_chain.ACCEPTANCES, 15)
    chain, limit, best = law.block_efficiency(15), 1 / 0.3, law.on(tree).block_efficiency(tree.depth)
    claim = f"give {chain:.2f} tokens per round as a chain, which ends at {limit:.2f}, and {best:.2f} as the best tree"
    assert claim in title("tree_or_chain")


def test_the_title_of_block_verification_quotes_both_rules():
    token, block, bound = block_verification.accepted()
    assert token[[1, 3, 5]] == pytest.approx([1.19, 1.7731, 2.058819], abs=1e-6)
    assert block[[1, 3, 5]] == pytest.approx([1.25, 2.1141, 2.7485], abs=1e-6)
    assert np.all(token <= block + 1e-12)
    assert np.all(block <= bound + 1e-12)
    keep = "keep {:.2f} instead of {:.2f} at k = 2, and {:.2f} instead of {:.2f} at k = 6"
    assert keep.format(block[1], token[1], block[5], token[5]) in title("block_verification")


def test_the_title_of_slowest_quotes_one_text_and_the_last_of_32():
    law = rounds_to_emit(Geometric(0.7), Chain(5), 500)
    claim = f"one of 500 tokens takes {law.mean:.0f} rounds, the last of 32 takes {law.slowest(32):.0f}"
    assert claim in title("slowest")


def test_the_claim_of_the_cells_is_that_of_their_record():
    module = importlib.import_module("figures.predicted_measured")
    found = json.loads(module.RECORD.read_text())["accuracy"]
    for value in (found["median_error"], found["worst_error"]):
        assert f"{100 * value:.1f} %" in module.TITLE
    assert f"{found['cells']} cells" in module.TITLE


def test_the_title_of_capacity_gain_quotes_both_gains_at_both_promises():
    (carried, step), (later, then) = capacity_gain.gains(capacity_gain.QUOTED)
    claim = "Promised {} ms per token, a step is {:.1f}x as fast and a GPU carries {:.1f}x the requests"
    assert claim.format(capacity_gain.QUOTED[0], step, carried) in title("capacity_gain")
    assert f"at {capacity_gain.QUOTED[1]} ms {then:.1f}x and {later:.1f}x" in title("capacity_gain")


def test_promised_less_than_a_plain_step_only_drafts_serve():
    assert 0.0165 < capacity_gain.eagle().step(batch=1, context=capacity_gain.TRAFFIC.context) < 0.017


def test_the_title_of_load_curves_quotes_what_is_carried_and_where_to_switch_off():
    plain, fixed = load_curves.both(load_curves.planned())
    off = switch_off(fixed.deployment.station, plain.deployment.station)
    assert f"carries {plain.capacity:.1f} requests/s without drafts, {fixed.capacity:.1f} at k = 5" in title(
        "load_curves"
    )
    assert f"above {off.rate:.1f} k = 5 is to be off" in title("load_curves")


def test_the_title_of_step_parts_quotes_rounds_in_plain_steps_and_its_bars_are_whole():
    cost = capacity_gain.eagle()
    for batch in step_parts.BATCHES:
        at = {"batch": batch, "context": capacity_gain.TRAFFIC.context}
        step, whole = cost.step(**at), cost.round(Chain(step_parts.K), **at).total
        assert sum(step_parts.milliseconds(batch, 1).values()) == pytest.approx(1e3 * step)
        assert sum(step_parts.milliseconds(batch, step_parts.K + 1).values()) == pytest.approx(1e3 * whole)
        if batch in (1, 128):
            assert re.search(rf"\b{whole / step:.2f} (plain steps )?at (batch )?{batch}:?\b", title("step_parts"))
