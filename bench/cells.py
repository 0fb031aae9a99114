"""Twenty-four cells fixed in cells.json before they were run: speedup predicted before any speculation, and measured.

Under half an hour on a quiet machine. What was done lies in runs/cells and is not done again; the record goes
to figures/data/cells.json. The control is plain decoding against itself, by kind of text, in the same run: an error
bound below 1.5 times what the clock alone does is widened to that, which the record says. Exits with 1 where one of
the bounds does not hold.
"""

import json
import pathlib
import sys

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
    record["bounds"] = bounds(document["accuracy"])
    (RECORD / "cells").mkdir(parents=True, exist_ok=True)
    for name in SMALL:
        folder.write(RECORD / "cells", name, (PLACE / name).read_bytes())
    folder.write(RECORD, "cells.json", json.dumps(record, allow_nan=False, indent=1).encode())
    _report(document["cells"], record["bounds"])
    if not all(bound["holds"] for bound in record["bounds"].values()):
        sys.exit(1)


def bounds(accuracy):
    """By figure: what was found, what was wanted, what that was widened to by the control, and whether it holds."""
    control = accuracy["control"]
    errors = {"median_error": (MEDIAN, control["median"]), "worst_error": (WORST, control["percentile_95"])}
    found = {name: _at_most(accuracy[name], *bound) for name, bound in errors.items()}
    inside = accuracy["inside"]
    return found | {"inside": {"found": inside, "wanted": HOLDING, "bound": HOLDING, "holds": inside >= HOLDING}}


def _at_most(found, wanted, noise):
    bound = max(wanted, CONTROL_FACTOR * noise)
    return {"found": found, "wanted": wanted, "control": noise, "bound": bound, "holds": found <= bound}


def _report(cells, found):
    for cell in cells:
        predicted, measured = cell["predicted"], cell["measured"]
        inside = "inside" if cell["inside"] else "OUTSIDE"
        name = f"{cell['domain']:<8} {cell['draft']:<9} k = {cell['k']}"
        low, high = predicted["low"], predicted["high"]
        values = f"{predicted['value']:.3f} ({low:.3f} to {high:.3f})  measured {measured['value']:.3f}"
        print(f"{name}  predicted {values}  {cell['error']:+6.1%}  {inside}")
    for name, of in found.items():
        print(f"{name.replace('_', ' ')}: {_bound(of)}: {'holds' if of['holds'] else 'FAILS'}")


def _bound(of):
    if "control" not in of:
        return f"{of['found']}, at least {of['wanted']} wanted"
    figure, wanted, control, bound = (f"{of[part]:.1%}" for part in ("found", "wanted", "control", "bound"))
    return f"{figure}, at most {wanted} wanted, or {bound} for a control of {control}"


if __name__ == "__main__":
    main()
