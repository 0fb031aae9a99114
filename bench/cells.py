"""Twenty-four cells fixed in cells.json before they were run: speedup predicted before any speculation, and measured.

Under half an hour on a quiet machine. What was done lies in runs/cells and is not done again; the record goes
to figures/data/cells.json. The control is plain decoding against itself, by kind of text, in the same run.
"""

import json
import pathlib

import torch

from validate import costs, folder, prediction, trace
from validate.console import say, watched
from validate.models import Settings
from validate.sampler import Sampler
from validate.study import Study, traces, versions
from validate.study_document import study_document
from validate.workload import bundled

FIXED = pathlib.Path(__file__).with_name("cells.json")
PLACE = pathlib.Path("runs/cells")
RECORD = pathlib.Path(__file__).parent.parent / "figures" / "data"
MEDIAN, WORST, CONTROL_FACTOR, HOLDING = 0.02, 0.06, 1.5, 20
SMALL = ("texts.jsonl", "scores.jsonl", "costs.jsonl")  # what the prediction was made from; the notebook makes it again
KEPT = ("cells", "totals", "curve", "accuracy", "control", "costs", "laws", "divergences", "provenance", "predicted_at")


def main():
    """Run what is not run yet, print the cells, write the record."""
    fixed = json.loads(FIXED.read_text())
    torch.set_num_threads(fixed["threads"])
    sampler = Sampler(temperature=fixed["temperature"])
    cells = tuple(fixed["drafts"]), tuple(fixed["k"])
    settings = Settings(fixed["target"], *cells, sampler, fixed["tokens"], fixed["seed"], "cpu", "float32")
    prompts = [p for p in bundled(fixed["per_domain"]) if p.domain in fixed["domains"]]
    for _ in watched(Study(settings, prompts, PLACE, say).steps()):
        pass
    read = {cell: trace.read(path) for cell, path in traces(PLACE, settings.cells).items()}
    document = study_document(read, costs.read(PLACE / costs.FILE), prediction.read(PLACE))
    record = {"fixed": fixed, "versions": versions(), **{name: document[name] for name in KEPT}}
    (RECORD / "cells").mkdir(parents=True, exist_ok=True)
    for name in SMALL:
        folder.write(RECORD / "cells", name, (PLACE / name).read_bytes())
    folder.write(RECORD, "cells.json", json.dumps(record, allow_nan=False, indent=1).encode())
    _report(document)


def _report(document):
    for cell in document["cells"]:
        predicted, measured = cell["predicted"], cell["measured"]
        inside = "inside" if cell["inside"] else "OUTSIDE"
        name = f"{cell['domain']:<8} {cell['draft']:<9} k = {cell['k']}"
        low, high = predicted["low"], predicted["high"]
        values = f"{predicted['value']:.3f} ({low:.3f} to {high:.3f})  measured {measured['value']:.3f}"
        print(f"{name}  predicted {values}  {cell['error']:+6.1%}  {inside}")
    found = document["accuracy"]
    noise = found["control"]
    median, worst = max(MEDIAN, CONTROL_FACTOR * noise["median"]), max(WORST, CONTROL_FACTOR * noise["worst"])
    print(f"median |error|    {found['median_error']:6.1%}   at most {median:.1%} wanted")
    print(f"worst |error|     {found['worst_error']:6.1%}   at most {worst:.1%} wanted")
    print(f"intervals hold    {found['inside']:3} of {found['judged']}   at least {HOLDING} wanted")
    print(f"plain against itself by kind of text: median {noise['median']:.1%}, worst {noise['worst']:.1%}")
