"""The charts of a run's page: prediction against measurement, acceptance, speedup against k, costs, where time went."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from validate.charts import COLOURS, NEUTRAL, PREDICTED, column, rendered, speedups

SQUARE, LOW, HIGH = 4.2, 2.6, 3.4
PARTS = {"draft": "#E69F00", "verify": "#56B4E9", "overhead": "#999999"}
GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
Document = Mapping[str, Any]


def pictures(document: Document) -> dict[str, bytes]:
    """Every chart of a run as SVG, by name; those that have nothing to show are left out."""
    drawn: dict[str, Callable[[Document], Any]] = {
        "speedup": lambda found: speedups(found, "Speedup by kind of text, where each was predicted to be fastest"),
        "predicted": predicted_and_measured,
        "alpha": alphas,
        "survival": survivals,
        "k": by_k,
        "costs": verification,
        "time": time_spent,
    }
    figures = {name: draw(document) for name, draw in drawn.items()}
    return {name: rendered(figure, "svg") for name, figure in figures.items() if figure is not None}


def predicted_and_measured(document: Document, title: str = "") -> Any:
    """Every cell as a point with the interval of its prediction; on the line the prediction was exact."""
    found = document["accuracy"]
    named = f"Predicted before the run, measured: median |error| {found['median_error']:.1%} of {found['cells']} cells"
    figure, axes = column(title or named, SQUARE)
    drafts = list(dict.fromkeys(cell["draft"] for cell in document["cells"]))
    ends = [cell[side]["value"] for cell in document["cells"] for side in ("predicted", "measured")]
    low, high = 0.92 * min(ends), 1.08 * max(ends)
    axes.plot((low, high), (low, high), color=NEUTRAL, linewidth=1)
    for draft, colour, marker in zip(drafts, _cycle(COLOURS, drafts), _cycle("osD^v", drafts), strict=True):
        cells = [cell for cell in document["cells"] if cell["draft"] == draft]
        for cell in cells:
            _cell(axes, cell, colour, marker, (low, high))
        last = max(cells, key=lambda cell: cell["measured"]["value"])
        place = last["predicted"]["value"], last["measured"]["value"]
        axes.annotate(draft, place, (-6, 6), textcoords="offset points", color=colour, fontsize=8, ha="right")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes, low, high)
    axes.set(xlim=(low, high), ylim=(low, high))
    _name_worst(axes, max(document["cells"], key=lambda cell: abs(cell["error"])))
    axes.set_xlabel("speedup predicted, with its 95 % interval", fontsize=8)
    axes.set_ylabel("speedup measured", fontsize=8)
    return figure


def _cell(axes: Any, cell: Mapping[str, Any], colour: str, marker: str, frame: tuple[float, float]) -> None:
    """One cell with the interval of its prediction, an arrow where that leaves the frame."""
    (low, high), y = _ends(cell["predicted"]), cell["measured"]["value"]
    axes.plot((max(low, frame[0]), min(high, frame[1])), (y, y), color=colour, linewidth=0.7, alpha=0.6)
    for beyond, end, arrow in ((low < frame[0], frame[0], "<"), (high > frame[1], frame[1], ">")):
        if beyond:
            axes.plot(end, y, marker=arrow, color=colour, markersize=3, clip_on=False)
    axes.plot(cell["predicted"]["value"], y, marker, color=colour, markersize=4)


def _name_worst(axes: Any, cell: Mapping[str, Any]) -> None:
    """Which cell was missed most, and by how much, in the corner that has no cells."""
    said = f"missed most: {cell['domain']}, {cell['draft']},\nk = {cell['k']}: {cell['error']:+.1%}"
    corner = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    axes.text(0.98, 0.03, said, color=NEUTRAL, fontsize=7, parse_math=False, **corner)


def alphas(document: Document) -> Any:
    """alpha of each kind of text with its interval, in the cell that leads there."""
    known = {name: found["alpha"] for name, found in document["domains"].items() if found["alpha"]}
    if not known:
        return None
    figure, axes = column("alpha, the chance that a tested draft is accepted", 1.2 + 0.32 * len(known))
    for row, found in enumerate(known.values()):
        axes.plot(_ends(found), (row, row), color=PREDICTED, linewidth=1.5)
        axes.plot(found["value"], row, "o", color=PREDICTED, markersize=5)
    axes.set_yticks(range(len(known)), list(known), fontsize=8, parse_math=False)
    axes.set(xlim=(0, 1.02), ylim=(len(known) - 0.5, -0.5))
    axes.set_xlabel("alpha, 95 % interval by prompt", fontsize=8)
    return figure


def survivals(document: Document) -> Any:
    """The chance that the first i drafts are all accepted, by kind of text."""
    known = {name: [s for s in found["survival"] if s is not None] for name, found in document["domains"].items()}
    known = {name: values for name, values in known.items() if len(values) > 1}
    if not known:
        return None
    figure, axes = column("Survival: the first i drafts all accepted", HIGH)
    deepest = max(map(len, known.values())) - 1
    heights = _apart([values[-1] for values in known.values()], 0.055)
    for (name, values), colour, height in zip(known.items(), _cycle(COLOURS, known), heights, strict=True):
        axes.plot(range(len(values)), values, "o-", color=colour, markersize=3, linewidth=1.2)
        axes.text(deepest + 0.1, height, name, color=colour, fontsize=8, va="center", parse_math=False, bbox=GROUND)
    axes.set(xlim=(0, deepest * 1.3 + 0.3), ylim=(0, 1.05), xticks=range(deepest + 1))
    axes.set_xlabel("i [drafts of a round]", fontsize=8)
    axes.set_ylabel("share of rounds that tested them", fontsize=8)
    return figure


def by_k(document: Document) -> Any:
    """Speedup against k: predicted for every k as a line, measured where it ran as a square."""
    curve, drafts = document["curve"], list(dict.fromkeys(point["draft"] for point in document["curve"]))
    figure, axes = column("Speedup against k: predicted (lines) and measured (squares)", HIGH)
    axes.axhline(1.0, color=NEUTRAL, linewidth=1)
    for draft, colour in zip(drafts, _cycle(COLOURS, drafts), strict=True):
        points = [point for point in curve if point["draft"] == draft]
        k, values = [p["k"] for p in points], [p["predicted"]["value"] for p in points]
        axes.plot(k, values, color=colour, linewidth=1.2)
        low, high = zip(*(_ends(p["predicted"]) for p in points), strict=True)
        axes.fill_between(k, low, high, color=colour, alpha=0.15, linewidth=0)
        for cell in (cell for cell in document["totals"] if cell["draft"] == draft):
            axes.plot(cell["k"], cell["measured"]["value"], "s", color=colour, markersize=5)
    _name_drafts(axes, curve, drafts)
    axes.set_xticks(sorted({p["k"] for p in curve}))
    axes.set_xlabel("k [tokens drafted per round]; band: 95 % interval", fontsize=8)
    axes.set_ylabel("speedup over plain decoding", fontsize=8)
    return figure


def _name_drafts(axes: Any, curve: Sequence[Mapping[str, Any]], drafts: Sequence[str]) -> None:
    """Each line's draft at its end."""
    deepest = max(point["k"] for point in curve)
    ends = [next(p for p in reversed(curve) if p["draft"] == draft)["predicted"]["value"] for draft in drafts]
    low, high = axes.get_ylim()
    heights = _apart(ends, 0.06 * (high - low))
    for draft, colour, height in zip(drafts, _cycle(COLOURS, drafts), heights, strict=True):
        axes.text(deepest + 0.1, height, draft, color=colour, fontsize=8, va="center", parse_math=False, bbox=GROUND)
    axes.set_xlim(0.8, deepest * 1.25 + 0.3)


def verification(document: Document) -> Any:
    """v(n): a forward over n tokens in plain steps, after each context."""
    cells = document["costs"]["target"]
    places = sorted({(cell["batch"], cell["context"]) for cell in cells})
    figure, axes = column("v(n): verifying n tokens in one forward", LOW)
    for place, colour in zip(places, _cycle(COLOURS, places), strict=True):
        mine = sorted((c for c in cells if (c["batch"], c["context"]) == place), key=lambda c: c["n"])
        step = mine[0]["seconds"]
        axes.plot([c["n"] for c in mine], [c["seconds"] / step for c in mine], "o-", color=colour, markersize=3)
        low, high = ([c[end] / step for c in mine] for end in ("low", "high"))
        axes.fill_between([c["n"] for c in mine], low, high, color=colour, alpha=0.2, linewidth=0)
    _name_places(axes, cells, places)
    axes.set_xlabel("n [tokens]; band: quartiles", fontsize=8)
    axes.set_ylabel("plain steps", fontsize=8)
    axes.set(ylim=(0, None), xticks=sorted({cell["n"] for cell in cells}))
    return figure


def _name_places(axes: Any, cells: Sequence[Mapping[str, Any]], places: Sequence[tuple[int, int]]) -> None:
    """Each line's context at its end."""
    last, first = (pick(cell["n"] for cell in cells) for pick in (max, min))
    at = {(c["batch"], c["context"], c["n"]): c["seconds"] for c in cells}
    ends = [at[(*place, last)] / at[(*place, first)] for place in places]
    heights = _apart(ends, 0.09 * axes.get_ylim()[1])
    for (_, context), colour, height in zip(places, _cycle(COLOURS, places), heights, strict=True):
        said = f"after {context} tokens"
        axes.text(last + 0.03 * (last - first), height, said, color=colour, fontsize=7, va="center")
    axes.set_xlim(first - 0.05 * (last - first), last + 0.3 * (last - first))


def time_spent(document: Document) -> Any:
    """A mean round of the leading cell in plain steps, by the table and by the clock."""
    figure, axes = column("Where a round's time goes [plain steps]", 1.7)
    sides = (("predicted", "at table prices"), ("measured", "by the clock"))
    for row, (side, _) in enumerate(sides):
        left = 0.0
        for part, colour in PARTS.items():
            width = max(document["breakdown"][side][part], 0.0)
            axes.barh(row, width, left=left, color=colour, height=0.6)
            if width > 0.12:
                axes.text(left + width / 2, row, part, ha="center", va="center", fontsize=7)
            left += width
    axes.set_yticks(range(len(sides)), [name for _, name in sides], fontsize=8)
    axes.set_xlabel("plain steps of the target", fontsize=8)
    axes.invert_yaxis()
    return figure


def _cycle(values: Sequence[str], items: Any) -> list[str]:
    return [values[i % len(values)] for i in range(len(items))]


def _ends(found: Mapping[str, Any]) -> tuple[float, float]:
    """An interval, or the value twice where there is none."""
    value = found["value"]
    return (value, value) if found["low"] is None else (found["low"], found["high"])


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Heights for labels, moved up where two would touch."""
    placed: dict[int, float] = {}
    last = -float("inf")
    for place in sorted(range(len(heights)), key=heights.__getitem__):
        last = placed[place] = max(heights[place], last + least)
    return [placed[i] for i in range(len(heights))]


def _plain_ticks(axes: Any, low: float, high: float) -> None:
    """Numbers like 0.5 and 1.5 on a logarithmic axis."""
    ticks = [tick for tick in (0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8) if low <= tick <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
