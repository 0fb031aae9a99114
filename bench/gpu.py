"""Large shapes with random weights, where there is a GPU; without one nothing is run and it is said.

Cost tables: forwards of the target over n tokens and of the draft over one or two, over batch and context: v(n), c, and
how far a forward over several tokens costs the time of one. Then whole rounds at a set acceptance, side by side
(bench/batches.py), the share of a copy's bandwidth that plain decoding of one sequence has, and that of the acceptor
(bench/acceptor.py). Shapes: config.json of Qwen/Qwen3-8B, Qwen3-32B, Qwen3-0.6B and
meta-llama/Llama-3.1-8B, Llama-3.2-1B on the Hugging Face hub, in `configs`. The forwards of rounds are
CUDA graphs.

Sweeps and cells go to runs/gpu as they are taken and are not taken again; a call stops before ten minutes, the next
goes on. What is finished becomes a record under figures/data, with the machine, the versions and the date.
"""

import json
import pathlib
import time
from dataclasses import asdict
from datetime import UTC, datetime

import torch

from bench import acceptor, batches
from bench.batches import Load
from validate import costs, folder
from validate.cost_document import cost_document
from validate.costs import Costs
from validate.measure import CostBench, Shapes
from validate.models import Models, Settings
from validate.sampler import Sampler
from validate.study import versions

CONFIGS, PLACE = pathlib.Path(__file__).with_name("configs"), pathlib.Path("runs/gpu")
RECORDS = pathlib.Path(__file__).parent.parent / "figures" / "data"
PAIRS = (("qwen3-8b", "qwen3-0.6b"), ("llama-3.1-8b", "llama-3.2-1b"), ("qwen3-32b", "qwen3-0.6b"))
SHAPES = Shapes((*range(1, 10), 13, 17, 25, 33), (128, 1024, 4096), (1, 2, 4, 8, 16, 32, 64, 128))
SWEEPS, SECONDS, K = 5, 540, 4


def main():
    """Every pair, as far as the time of one call goes."""
    if not torch.cuda.is_available():
        print("skipped: PyTorch sees no CUDA here")
        return
    ends = time.monotonic() + SECONDS
    acceptor.report(rule := judged("cuda", acceptor.Size(), RECORDS))
    for target, draft in PAIRS:
        settings = settings_of(target, draft, "cuda", "bfloat16")
        record = measured(settings, SHAPES, PLACE, RECORDS, ends)
        print(f"{target} and {draft}: {_found(record) if record else 'not finished: call make gpu again'}")
        torch.cuda.empty_cache()
        record = side_by_side(settings, Load(), (PLACE, RECORDS), ends, rule["bandwidth"]["copy"])
        print(f"side by side: {_paces(record) if record else 'not finished: call make gpu again'}")
        torch.cuda.empty_cache()


def settings_of(target, draft, device, dtype):
    """Two shapes by the names of their configs."""
    target, draft = (str(CONFIGS / f"{name}.json") for name in (target, draft))
    return Settings(target, (draft,), (K,), Sampler(), 1, 0, device, dtype, dummy_weights=True)


def measured(settings, shapes, place, records, ends):
    """The record of one pair, once its sweeps are complete; None where the time ended before."""
    name = _name(settings)
    path = records / f"cost-{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    place.mkdir(parents=True, exist_ok=True)
    if time.monotonic() > ends:
        return None
    bench = CostBench(Models(settings), settings, shapes)
    journal = costs.journal(place / f"{name}.jsonl", bench.measured)
    if len(journal.records) < SWEEPS:
        bench.warm()
        while len(journal.records) < SWEEPS and time.monotonic() < ends:
            journal.append(costs.record(bench.sweep()))
    if len(journal.records) < SWEEPS:
        return None
    draft = pathlib.Path(settings.drafts[0]).stem
    taken = Costs(costs.of_records(journal.records, journal.path), bench.measured)
    record = cost_document(taken, settings.drafts[0], K, settings.machine | {"weights": "dummy"})
    return kept(path, record | {"target": name.removesuffix(f"-{draft}"), "draft": draft})


def judged(device, size, records):
    """The record of the acceptance rule's bandwidth beside a copy's, measured where there is none yet."""
    path = records / "acceptor.json"
    return json.loads(path.read_text()) if path.exists() else kept(path, acceptor.measured(device, size))


def side_by_side(settings, load, places, ends, copied):
    """The record of rounds at a set acceptance, once all cells are there; None where the time ended before."""
    place, records = places
    name = f"batches-{_name(settings)}"
    path = records / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    if time.monotonic() > ends:
        return None
    place.mkdir(parents=True, exist_ok=True)
    models = Models(settings)
    cells, complete = batches.measured(models, settings, load, place / f"{name}.jsonl", ends)
    if not complete:
        return None
    weights = read(models.target.network)
    alone = next(cell for cell in cells if cell["batch"] == 1)
    share = weights / alone["seconds_per_token"]["plain"] / copied
    record = asdict(load) | {"cells": cells, "weights": weights, "share_of_copy": share} | settings.machine
    return kept(path, record)


def read(network):
    """Bytes of weights that a forward over one token reads: all but a table of embeddings that is not the head too."""
    table, head = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    weights = (weight for weight in network.parameters() if weight is not table or table is head)
    return sum(weight.numel() * weight.element_size() for weight in weights)


def kept(path, record):
    """A record, written with its versions and its date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = record | {"versions": versions(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    folder.write(path.parent, path.name, json.dumps(whole, allow_nan=False).encode())
    return whole


def _name(settings):
    return "-".join(pathlib.Path(model).stem for model in (settings.target, *settings.drafts))


def _paces(record):
    """The bandwidth of plain decoding, and the speedup at the smallest and the largest batch of each context."""
    cells = [cell for cell in record["cells"] if "speedup" in cell]
    ends = (1, max(cell["batch"] for cell in cells))
    said = (
        f"batch {cell['batch']}, context {cell['context']}: {cell['speedup']:.2f}x"
        for cell in cells
        if cell["batch"] in ends
    )
    return f"plain decoding reads at {record['share_of_copy']:.0%} of a copy; " + "; ".join(said)


def _found(record):
    """v(5), c and how flat the forward is, at the smallest and the largest batch."""
    ends = record["plain_steps"][0], record["plain_steps"][-1]
    said = (f"batch {at['batch']}: v(5) {at['v']['5']:.2f}, c {at['c']:.2f}, flat to {at['flat_to']}" for at in ends)
    return "; ".join(said)


if __name__ == "__main__":
    main()
