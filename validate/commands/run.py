"""`specmath run`: decode for real, fit, compare, and write what was found."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from validate import costs, folder, outcome, page, prediction, report, sections, trace
from validate.console import say, watched
from validate.loading import placement
from validate.models import Settings
from validate.sampler import Sampler
from validate.study import STAGES, Study
from validate.study_document import study_document
from validate.workload import Prompt

try:
    from validate import charts, run_charts
except ModuleNotFoundError:
    charts = None  # type: ignore[assignment]

COMMAND = "run"
REPORT_JSON, REPORT_TEXT, REPORT_PAGE = outcome.RUN

Options = Mapping[str, Any]


def answer(options: dict[str, Any], place: pathlib.Path, prompts: Sequence[Prompt]) -> tuple[dict[str, Any], list[str]]:
    """A run, new or gone on with, from its options: its document and the paths of its files."""
    options["device"], options["dtype"] = placement(options["device"], options["dtype"])
    settings = settings_of(options, drafts=options["draft"], ks=options["k"])
    study = Study(settings, prompts, place, say)
    with folder.resumable(place, COMMAND):
        folder.begin(place, COMMAND, options)
        for _ in watched(study.steps(), STAGES):
            pass
        return _concluded(place, options, settings)


def settings_of(options: Options, *, drafts: Sequence[str], ks: Sequence[int]) -> Settings:
    """The settings that options of the command line ask for."""
    sampler = Sampler(*(options[name] for name in ("temperature", "top_k", "top_p", "min_p")))
    rest = (options[name] for name in ("tokens", "seed", "device", "dtype"))
    return Settings(options["target"], tuple(dict.fromkeys(drafts)), tuple(sorted(set(ks))), sampler, *rest)


def _concluded(place: pathlib.Path, options: Options, settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """What the files of a run show, written beside them; and the paths of all."""
    read = {cell: trace.read(path) for cell, path in trace.traces(place, settings.cells).items()}
    document = study_document(read, costs.read(place / costs.FILE), prediction.read(place))
    made, pictures = _drawn(document)
    made[REPORT_JSON] = json.dumps(document, allow_nan=False, indent=1).encode()
    chart = next((name for name in made if name.endswith(".svg")), "")
    files = [*outcome.sources(place, COMMAND, options), *made, REPORT_TEXT, REPORT_PAGE]
    made[REPORT_TEXT] = report.markdown(document, files, chart).encode()
    made[REPORT_PAGE] = page.page(document, pictures, files)
    for name, content in made.items():
        folder.write(place, name, content)
    return document, [str(place / name) for name in files]


def _drawn(document: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The chart's files and the page's pictures; without matplotlib there are none, and the run is not lost for it."""
    if charts is None:
        say("no chart: matplotlib is not installed (pip install 'specmath[figures]')")
        return {}, {}
    answer = sections.headline(document)
    figure = charts.speedups(document, answer)
    files = {f"{outcome.CHART}.{kind}": charts.rendered(figure, kind) for kind in ("svg", "png")}
    return files, run_charts.pictures(document)
