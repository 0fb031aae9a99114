"""Every figure is drawn by the script of its name, and what is committed is what the script draws."""

import importlib
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from specmath import Geometric, best_k, break_even
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
