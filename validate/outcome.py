"""What finished work left in its folder: its files, and its report as long as nothing it was made from is newer."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from validate import costs, prediction, scores, texts
from validate.document import version
from validate.folder import SETTINGS
from validate.trace import traces

CHART = "speedup"
RUN, PROFILE = ("report.json", "report.md", "report.html"), ("profile.json", "profile.md")
OUTSIDE = ("prompts", "text", "costs")

Options = Mapping[str, Any]


def sources(place: pathlib.Path, command: str, options: Options) -> list[str]:
    """The files that a report is made from, in the order they come to be."""
    if command == "profile":
        return [*([] if options["text"] else [texts.FILE]), scores.FILE, SETTINGS]
    cells = [(draft, k) for draft in dict.fromkeys(options["draft"]) for k in sorted(set(options["k"]))]
    found = [str(path.relative_to(place)) for path in traces(place, cells).values()]
    return [texts.FILE, scores.FILE, costs.FILE, prediction.FILE, *found, SETTINGS]


def finished(place: pathlib.Path, command: str, options: Options) -> tuple[dict[str, Any], list[str]] | None:
    """The report of a folder in which nothing is left to do, and the paths of its files; None where something is."""
    reports, made_from = PROFILE if command == "profile" else RUN, sources(place, command, options)
    if not all((place / name).is_file() for name in (*reports, *made_from)):
        return None
    newest = max(path.stat().st_mtime_ns for path in (*(place / name for name in made_from), *_outside(options)))
    if newest > min((place / name).stat().st_mtime_ns for name in reports):
        return None
    document = json.loads((place / reports[0]).read_text())
    charts = [f"{CHART}.{kind}" for kind in ("svg", "png") if (place / f"{CHART}.{kind}").is_file()]
    files = [str(place / name) for name in (*made_from, *charts, *reports)]
    return (document, files) if document["version"] == version() else None


def _outside(options: Options) -> Iterator[pathlib.Path]:
    """Files that the options name and that are there."""
    for name in OUTSIDE:
        path = pathlib.Path(options.get(name) or "")
        if path.is_file():
            yield path
