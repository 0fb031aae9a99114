"""The chart of a run: speedup by kind of text, predicted before any speculation and measured.

Drawn without a display, for a column of about 4.5 inches; the one module that imports matplotlib.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")  # of Okabe and Ito, those that text can have
PREDICTED, MEASURED, NEUTRAL = *COLOURS[:2], "#555555"
WIDTH, ROW, FRAME = 4.5, 0.42, 1.35
NAME, TITLE, PANEL_TITLE = 16, 60, 54
APART = 0.16
REACH = 2.0


def speedups(document: Mapping[str, Any], title: str) -> Figure:
    """One row per kind of text and one for all: both speedups with their intervals, and plain decoding as a line.

    Intervals that reach beyond the frame end in an arrow; the frame holds every value.
    """
    cells = _cells(document)
    figure, axes = column(title, FRAME + ROW * len(cells))
    low, high = _frame(cells)
    axes.set_xlim(low, high)
    axes.set_ylim(len(cells) - 0.5, -0.9)
    _furnish(axes, cells)
    for row, cell in enumerate(cells):
        _point(axes, cell["predicted"], row - APART, PREDICTED, "o")
        _point(axes, cell["measured"], row + APART, MEASURED, "s")
    _name(axes, cells[0])
    return figure


def column(title: str, height: float) -> tuple[Figure, Axes]:
    """An empty figure of column width and so many inches, its claim as title, and its axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, TITLE), fontsize=9, x=0.01, ha="left", parse_math=False)
    axes = figure.add_subplot()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def panels(titles: Sequence[str], heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """An empty figure of column width, panels of so many inches below each other, each with its claim as title."""
    figure = Figure(figsize=(WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    found = figure.subplots(len(titles), 1, height_ratios=heights, squeeze=False)[:, 0].tolist()
    for axes, title in zip(found, titles, strict=True):
        axes.set_title(textwrap.fill(title, PANEL_TITLE), fontsize=9, loc="left", parse_math=False)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of an "svg" or a "png" file, the same for the same figure."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "specmath"}):
        figure.savefig(buffer, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _cells(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What to draw, row by row: each kind of text in the cell that leads there, and all in the one that leads."""
    lead = {domain: (found["draft"], found["k"]) for domain, found in document["domains"].items()}
    own = [cell for cell in document["cells"] if lead[cell["domain"]] == (cell["draft"], cell["k"])]
    return [*own, {"domain": "all"} | document["total"]]


def _frame(cells: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Limits that hold 1, every value, and intervals up to so many times the spread of these."""
    found = [cell[side] for cell in cells for side in ("predicted", "measured") if cell[side]]
    values = [1.0, *(side["value"] for side in found)]
    ends = [end for side in found for end in (side["low"], side["high"]) if end is not None]
    least, most = min(values), max(values)
    spread = max(most - least, 0.2)
    left = max(min([least, *ends]), least - spread * REACH / 2, 0.0)
    right = min(max([most, *ends]), most + spread * REACH / 2)
    margin = 0.05 * max(right - left, spread)
    return max(left - margin, 0.0), right + margin


def _furnish(axes: Axes, cells: Sequence[Mapping[str, Any]]) -> None:
    """Names, units, and the line of plain decoding."""
    names = [c["domain"] if len(c["domain"]) <= NAME else f"{c['domain'][: NAME - 1]}…" for c in cells]
    axes.set_yticks(range(len(cells)), names, fontsize=8, parse_math=False)
    axes.set_xlabel("speedup [plain seconds per token / speculative]", fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.axvline(1.0, color=NEUTRAL, linewidth=1)
    axes.axhline(len(cells) - 1.5, color=NEUTRAL, linewidth=0.5, alpha=0.5)
    top = axes.get_xaxis_transform()
    axes.text(1.0, 1.01, "plain decoding", transform=top, color=NEUTRAL, fontsize=7, ha="center", va="bottom")


def _point(axes: Axes, found: Mapping[str, Any] | None, row: float, colour: str, marker: str) -> None:
    """A value with its interval, an arrow where the interval leaves the frame; nothing where it is unknown."""
    if found is None:
        return
    left, right = axes.get_xlim()
    if found["low"] is not None:
        ends = max(found["low"], left), min(found["high"], right)
        axes.plot(ends, (row, row), color=colour, linewidth=1.5, solid_capstyle="butt")
        for cut, end, arrow in ((found["low"] < left, left, "<"), (found["high"] > right, right, ">")):
            if cut:
                axes.plot(end, row, marker=arrow, color=colour, markersize=5, clip_on=False)
    face = "white" if marker == "o" else colour
    axes.plot(found["value"], row, marker=marker, color=colour, markerfacecolor=face, markersize=5)


def _name(axes: Axes, first: Mapping[str, Any]) -> None:
    """Say at the first row which mark is which."""
    left, right = axes.get_xlim()
    for text, side, row, colour in (
        ("predicted before the run", "predicted", -APART - 0.32, PREDICTED),
        ("measured", "measured", APART + 0.3, MEASURED),
    ):
        if first[side]:
            x = first[side]["value"]
            towards = ("left", "center", "right")[min(int(3 * (x - left) / (right - left)), 2)]
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(x, row, text, color=colour, fontsize=7, ha=towards, va="center", bbox=ground)
