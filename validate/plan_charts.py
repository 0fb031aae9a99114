"""The charts of a plan: what a user gets against what a GPU gives, k by batch, and latency over a replica's load."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from validate import folder
from validate.charts import COLOURS, NEUTRAL, panels, rendered
from validate.plan_words import short

HEIGHTS = (3.3, 2.5, 3.1)
PLAIN, STYLES = "no drafts", ("-", "--", ":", "-.")
LABELS = {"plain": (0.6, (-4, 2), "right"), "fixed": (0.45, (-4, 2), "right"), "adaptive": (0.45, (6, -6), "left")}
ARMS = {"plain": PLAIN, "fixed": "k = {k}", "adaptive": "k by batch"}
TICKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
GAINS = (0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
Document = Mapping[str, Any]


def draw(document: Document, path: pathlib.Path) -> None:
    """Write the charts of a plan as one SVG or PNG, whole or not at all."""
    folder.write(path.parent, path.name, rendered(charts(document), path.suffix.removeprefix(".").lower()))


def charts(document: Document) -> Any:
    """Three panels; the trade alone where nothing drafts."""
    drawn = [(_trade_title(document), trade)]
    if document["heat"]:
        drawn += [(_heat_title(document), heat), (_load_title(document), load)]
    figure, axes = panels([title for title, _ in drawn], HEIGHTS[: len(drawn)])
    for (_, panel), place in zip(drawn, axes, strict=True):
        panel(place, document)
    return figure


def trade(axes: Any, document: Document) -> None:
    """A line per draft over the load of a replica, its chosen load as a point; the promise as a line."""
    lines = document["pareto"]
    for i, line in enumerate(lines):
        colour = NEUTRAL if line["draft"] is None else COLOURS[i % len(COLOURS)]
        points = [(x, y) for x, y in zip(line["per_user"], line["per_gpu"], strict=True) if x and y]
        axes.plot(*zip(*points, strict=True), STYLES[i // len(COLOURS) % len(STYLES)], color=colour, linewidth=1.4)
        axes.plot(line["chosen"]["per_user"], line["chosen"]["per_gpu"], "o", color=colour, markersize=5)
    _limits(axes, lines)
    _name_lines(axes, lines)
    promised = document["inputs"]["tpot"]
    if promised:
        axes.axvline(1 / promised, color=NEUTRAL, linewidth=0.8, linestyle=":")
        words = f"promised: {1 / promised:.3g}"
        top = axes.get_xaxis_transform()
        axes.text(1 / promised, 0.99, words, transform=top, fontsize=7, color=NEUTRAL, va="top", bbox=GROUND)
    axes.set_xlabel("tokens/s that a user gets", fontsize=8)
    axes.set_ylabel("tokens/s that a GPU gives", fontsize=8)


def heat(axes: Any, document: Document) -> None:
    """How many times faster a token is by k and batch, where that is 1, and the k of the schedule."""
    found = document["heat"]
    batches, depths = found["batches"], found["k"]
    gain = [[math.nan if value is None else math.log2(value) for value in row] for row in found["gain"]]
    known = [value for row in gain for value in row if value == value]
    spread, places = max(map(abs, known)), range(len(batches))
    mesh = axes.pcolormesh(places, range(len(depths)), gain, cmap="RdBu", vmin=-spread, vmax=spread)
    if len(depths) > 1 and len(batches) > 1:
        pays = axes.contour(places, range(len(depths)), gain, levels=[0.0], colors="black", linewidths=1.2)
        axes.clabel(pays, fmt="1x", fontsize=7)
    chosen = [_row(document["schedule"], batch, depths) for batch in batches]
    axes.step(places, chosen, where="mid", color="#E69F00", linewidth=1.6)
    shown = [i for i in places if batches[i] in TICKS]
    axes.set_xticks(shown, [str(batches[i]) for i in shown])
    axes.set_yticks(range(len(depths)), [str(k) for k in depths])
    axes.set_xlabel("sequences of a replica at work", fontsize=8)
    axes.set_ylabel("k", fontsize=8)
    bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.set_ylim(min(*known, 0.0), max(*known, 0.0))
    ticks = [tick for tick in GAINS if min(*known, 0.0) <= math.log2(tick) <= max(*known, 0.0)]
    bar.set_ticks([math.log2(tick) for tick in ticks], labels=[f"{tick:g}x" for tick in ticks])
    bar.ax.tick_params(labelsize=7)


def load(axes: Any, document: Document) -> None:
    """TPOT over the load of one replica, the promise, and where drafting is to be switched off."""
    k, top, promised = document["drafting"]["choice"]["k"], _top(document), document["inputs"]["tpot"]
    widest = max(curve["rate"][-1] for curve in document["curves"])
    axes.set(ylim=(0, top), xlim=(0, 1.05 * widest))
    for curve, colour in zip(document["curves"], (NEUTRAL, *COLOURS), strict=False):
        points = _milliseconds(curve)
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.4)
        height, (x, y), towards = LABELS[curve["name"]]
        place = next((point for point in reversed(points) if point[1] < height * top), points[0])
        if place[0] < 0.3 * widest:
            x, towards = 6, "left"
        said = {"color": colour, "fontsize": 8, "ha": towards, "bbox": GROUND}
        axes.annotate(ARMS[curve["name"]].format(k=k), place, (x, y), textcoords="offset points", **said)
    if promised:
        axes.axhline(1e3 * promised, color=NEUTRAL, linewidth=0.8, linestyle=":")
        right = axes.get_yaxis_transform()
        words = f"promised: {1e3 * promised:.3g} ms"
        axes.text(
            1.0, 1e3 * promised, words, transform=right, fontsize=7, color=NEUTRAL, ha="right", va="bottom", bbox=GROUND
        )
    if document["switch_off"]["rate"]:
        _cross(axes, document, k)
    axes.set_xlabel("requests/s of a replica", fontsize=8)
    axes.set_ylabel("TPOT [ms]", fontsize=8)


def _cross(axes: Any, document: Document, k: int) -> None:
    """Where one depth stops paying, as far as that is in the frame."""
    off, height = document["switch_off"]["rate"], _crossing(document)
    axes.axvline(off, color="black", linewidth=0.6, linestyle="--")
    if height < axes.get_ylim()[1]:
        axes.plot(off, height, "o", color="black", markerfacecolor="white", markersize=6)
    said = f"k = {k} off above {off:.3g}/s "
    axes.text(off, 0.01 * axes.get_ylim()[1], said, fontsize=7, ha="right", va="bottom", bbox=GROUND)


def _crossing(document: Document) -> float:
    """Milliseconds per token of plain decoding at the load to switch off at; infinite where it carries none."""
    points, off = _milliseconds(document["curves"][0]), document["switch_off"]["rate"]
    for (low, left), (high, right) in pairwise(points):
        if off and low <= off <= high:
            return left + (right - left) * (off - low) / (high - low)
    return math.inf


def _milliseconds(curve: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(x, 1e3 * y) for x, y in zip(curve["rate"], curve["tpot"], strict=True) if y is not None]


def _trade_title(document: Document) -> str:
    best, gain = document["choice"], document["gain"]
    if gain is None or not best["k"]:
        return "What a user gets against what a GPU gives"
    return f"{_short(document, best['draft'])} carries up to {gain['value']:.2f}x the requests per GPU"


def _short(document: Document, name: str) -> str:
    return short(name, document["inputs"]["draft"])


def _heat_title(document: Document) -> str:
    return f"{_short(document, document['heat']['draft'])}: times faster per token, k by batch (line)"


def _load_title(document: Document) -> str:
    off = document["switch_off"]["rate"]
    return "Over the load of one replica" + (f": drafting pays up to {off:.3g} requests/s" if off else "")


def _limits(axes: Any, lines: Sequence[Mapping[str, Any]]) -> None:
    fastest = max(x for line in lines for x in line["per_user"] if x)
    axes.set(xlim=(0, 1.04 * fastest), ylim=(0, None))


def _name_lines(axes: Any, lines: Sequence[Mapping[str, Any]]) -> None:
    """Each line's draft beside the point of its chosen load."""
    names = [line["draft"] for line in lines if line["draft"]]
    low, high = axes.get_ylim()
    order = sorted(range(len(lines)), key=lambda i: lines[i]["chosen"]["per_gpu"])
    last = -math.inf
    for i in order:
        line = lines[i]
        colour = NEUTRAL if line["draft"] is None else COLOURS[i % len(COLOURS)]
        x, y = line["chosen"]["per_user"], line["chosen"]["per_gpu"]
        last = max(y, last + 0.06 * (high - low))
        name = PLAIN if line["draft"] is None else f"{short(line['draft'], names)}, k = {line['k']}"
        left = x > 0.6 * axes.get_xlim()[1]
        away = (-7 if left else 7, 0)
        axes.annotate(
            name,
            (x, last),
            away,
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="center",
            bbox=GROUND,
            ha="right" if left else "left",
            parse_math=False,
        )


def _row(schedule: Sequence[Sequence[int]], batch: int, depths: Sequence[int]) -> float:
    """The row of the k that a batch has; below the first where it drafts nothing."""
    k = next((k for low, high, k in schedule if low <= batch <= high), 0)
    return depths.index(k) if k in depths else -0.5


def _top(document: Document) -> float:
    """The most milliseconds to show: twice the promise, or three times what a light load takes, or a near crossing."""
    promised = document["inputs"]["tpot"]
    least = 1e3 * max(curve["tpot"][0] for curve in document["curves"])
    top = max(2e3 * promised if promised else 0.0, 3 * least)
    crossing = 1.25 * _crossing(document)
    return crossing if top < crossing < 3 * top else top
