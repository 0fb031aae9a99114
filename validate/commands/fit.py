"""`specmath fit`: acceptance and speedup from what a run wrote, finished or interrupted."""

import pathlib
from typing import Any

from validate import conclude, costs, trace


def answer(source: pathlib.Path) -> dict[str, Any]:
    """The document of a trace.jsonl or of the folder that holds one, with the costs beside it where there are any."""
    path = source / trace.FILE if source.is_dir() else source
    beside = path.with_name(costs.FILE)
    prices = costs.read(beside) if beside.exists() else None
    return conclude.fit_document(trace.read(path), prices, str(source))
