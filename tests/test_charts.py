"""The chart of a run: what is drawn where, and that it can be read."""

import io

import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tests import runs, synthetic
from validate.charts import MEASURED, NAME, PREDICTED, rendered, speedups
from validate.sections import headline


def run(alphas, **how):
    return runs.study(synthetic.trace(alphas, **how))


def chart(document):
    return speedups(document, headline(document))


def marks(figure, colour, symbol):
    """(x, row) of every mark of a colour."""
    lines = [line for line in figure.axes[0].lines if line.get_color() == colour and line.get_marker() == symbol]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines]


@pytest.fixture(scope="module")
def mixed():
    return run({"json": 0.9, "prose": 0.05, "a kind of text with a long name": 0.5})


def test_every_row_has_both_speedups_at_their_values(mixed):
    figure = chart(mixed)
    cells = [*mixed["cells"], mixed["total"]]
    for side, colour, symbol in (("predicted", PREDICTED, "o"), ("measured", MEASURED, "s")):
        drawn = marks(figure, colour, symbol)
        assert [x for x, _ in drawn] == pytest.approx([cell[side]["value"] for cell in cells])
        assert [round(row) for _, row in drawn] == [0, 1, 2, 3]


def test_plain_decoding_is_a_line_at_1_inside_the_frame(mixed):
    axes = chart(mixed).axes[0]
    assert any(list(line.get_xdata()) == [1.0, 1.0] for line in axes.lines)
    low, high = axes.get_xlim()
    assert low < 1 < high


def test_the_title_is_the_answer_and_the_axis_has_its_unit(mixed):
    figure = chart(mixed)
    assert figure.get_suptitle().replace("\n", " ") == headline(mixed)
    assert "seconds per token" in figure.axes[0].get_xlabel()


def test_names_too_long_for_the_margin_are_cut_with_an_ellipsis(mixed):
    names = [label.get_text() for label in chart(mixed).axes[0].get_yticklabels()]
    assert names[:2] == ["json", "prose"]
    assert names[2].endswith("…")
    assert len(names[2]) == NAME
    assert names[-1] == "all"


def test_an_interval_beyond_the_frame_ends_in_an_arrow_and_does_not_shrink_the_rest(mixed):
    wide = {**mixed, "cells": [dict(cell) for cell in mixed["cells"]]}
    wide["cells"][0]["measured"] = dict(wide["cells"][0]["measured"], low=-50.0, high=90.0)
    figure = chart(wide)
    low, high = figure.axes[0].get_xlim()
    assert high < 10
    assert marks(figure, MEASURED, ">") == [(high, pytest.approx(0, abs=0.5))]
    assert marks(figure, MEASURED, "<") == [(low, pytest.approx(0, abs=0.5))]
    assert not marks(chart(mixed), PREDICTED, "<")


def test_of_several_cells_each_kind_of_text_shows_the_one_that_leads_there():
    slow = synthetic.trace({"json": 0.9, "prose": 0.05}, head=runs.header(draft="D"), draft=0.1, seed=1)
    document = runs.study(synthetic.trace({"json": 0.9, "prose": 0.05}, seed=1), slow, prices=runs.costs(draft=0.1))
    assert len(document["cells"]) == 4
    figure = chart(document)
    assert [x for x, _ in marks(figure, MEASURED, "s")] == pytest.approx(
        [*(document["domains"][d]["speedup"]["value"] for d in ("json", "prose")), document["speedup"]["value"]]
    )


def test_nothing_drawn_leaves_the_figure(mixed):
    figure = chart(mixed)
    figure.draw_without_rendering()
    frame = figure.bbox
    for text in (*figure.axes[0].texts, *figure.axes[0].get_yticklabels(), figure._suptitle):
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0 <= box.x1 <= frame.x1 + 1, text.get_text()
        assert frame.y0 - 1 <= box.y0 <= box.y1 <= frame.y1 + 1, text.get_text()


def test_the_png_shows_both_colours_and_the_svg_is_the_same_each_time(mixed):
    image = imread(io.BytesIO(rendered(chart(mixed), "png")))[..., :3]
    for colour in (PREDICTED, MEASURED):
        assert (abs(image - to_rgb(colour)).max(axis=-1) < 0.02).sum() > 100
    assert rendered(chart(mixed), "svg").startswith(b"<?xml")
    assert rendered(chart(mixed), "svg") == rendered(chart(mixed), "svg")


def test_a_name_that_looks_like_mathematics_is_drawn_as_it_stands():
    figure = chart(run({"costs $5 or $": 0.9, "a_$^": 0.5}))
    rendered(figure, "png")
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels][:2] == ["costs $5 or $", "a_$^"]
    assert not any(label.get_parse_math() for label in labels)
