"""`specmath fit`: acceptance and speedup from what a run wrote, finished or interrupted."""

import json
import pathlib
from typing import Any

from validate import conclude, costs, folder, trace

BELOW, NAMED = ("*", "*/*", "*/*/*"), 24


def answer(source: pathlib.Path) -> dict[str, Any]:
    """The document of a trace.jsonl or of the folder that holds one, with the costs beside it where there are any."""
    if not source.exists():
        raise ValueError(f"{source}: found no file or folder, expected a {trace.FILE} or {_EXPECTED}: check the path")
    path = _trace_of(source) if source.is_dir() else source
    beside = [place / costs.FILE for place in (path.parent, path.parent.parent.parent)]
    prices = next((costs.read(file) for file in beside if file.exists()), None)
    return conclude.fit_document(trace.read(path), prices, str(source))


_EXPECTED = "the folder of a specmath run"


def _trace_of(place: pathlib.Path) -> pathlib.Path:
    """The trace of a folder; ValueError where there is none in it, with the command that reads what there is."""
    if (place / trace.FILE).exists():
        return place / trace.FILE
    below = sorted(path.parent for way in BELOW for path in place.glob(f"{way}/{trace.FILE}"))
    if below:
        found = "a trace" if len(below) == 1 else f"{len(below)} traces"
        commands = ", or ".join(f"specmath fit {path}" for path in below[:NAMED])
        others = f", or another of {len(below)}" if len(below) > NAMED else ""
        raise ValueError(f"{place}: found {found} below it, expected one in it: {commands}{others}")
    raise ValueError(f"{place}: {_kind(place)}")


def _kind(place: pathlib.Path) -> str:
    """What a folder without a trace is, and what reads it."""
    settings = place / folder.SETTINGS
    command = json.loads(settings.read_text()).get("command") if settings.is_file() else None
    if command == "profile":
        return f"found a profile, expected a run: read {place / 'profile.md'}, or specmath profile --resume {place}"
    if command == "run":
        return f"found a run without a trace yet, expected one: specmath run --resume {place}"
    return f"found no {trace.FILE}, expected {_EXPECTED}: choose another"
