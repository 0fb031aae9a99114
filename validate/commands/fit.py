"""`specmath fit`: acceptance and speedup from what a run wrote, finished or interrupted."""

import pathlib
from typing import Any

from validate import conclude, costs, trace


def answer(source: pathlib.Path) -> dict[str, Any]:
    """The document of a trace.jsonl or of the folder that holds one, with the costs beside it where there are any."""
    path = _trace_of(source) if source.is_dir() else source
    beside = [folder / costs.FILE for folder in (path.parent, path.parent.parent.parent)]
    prices = next((costs.read(file) for file in beside if file.exists()), None)
    return conclude.fit_document(trace.read(path), prices, str(source))


def _trace_of(folder: pathlib.Path) -> pathlib.Path:
    """The trace of a folder; ValueError where it is a study of several."""
    several = sorted(folder.glob(f"*/*/{trace.FILE}"))
    if not (folder / trace.FILE).exists() and several:
        names = ", ".join(str(path.parent.relative_to(folder)) for path in several)
        raise ValueError(f"{folder}: found {len(several)} traces, expected one: choose a folder below it, {names}")
    return folder / trace.FILE
