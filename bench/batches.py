"""Decoding side by side at a set acceptance: tokens per second and speedup by batch and context, with random weights.

What a system costs and how good its draft is are two things. Here each draft is accepted with a set chance, whatever
it says (`lossy_synthetic`; the true rule runs beside it, for its cost), so that the speedup of a cell is that of the
system. The contexts are noise whose length is moved. Cells are kept as they are measured, and not measured again; one
that fits no memory is left out. Plain is measured twice in every cell: the second over the first is the control.
"""

import statistics
import time
from dataclasses import asdict, dataclass

import torch

from specmath import Chain, Geometric
from specmath.acceptor import lossy_synthetic, verify
from specmath.speedup import block_efficiency
from validate import jsonl
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Batch, Decoder
from validate.drafters import ModelDraft, Nothing
from validate.model import Model, out_of_memory
from validate.rows import Request, Row
from validate.sampler import Sampler

FORMAT, VERSION = "specmath.batches", 1
WINDOW = 256


@dataclass(frozen=True)
class Load:
    """The cells: sequences side by side and tokens before them; drafts of a round, and their acceptance."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    contexts: tuple[int, ...] = (128, 2048)
    k: int = 4
    alpha: float = 0.7
    rounds: int = 24
    repeats: int = 3


def measured(models, settings, load, path, ends):
    """The cells measured so far, those of the file and more until the clock reads `ends`; and whether all are there."""
    about = settings.machine | asdict(load) | {"target": settings.target, "draft": settings.drafts[0]}
    about |= {name: list(getattr(load, name)) for name in ("batches", "contexts")}
    journal = jsonl.Journal(path, FORMAT, VERSION, about)
    done = {(cell["batch"], cell["context"]) for cell in journal.records}
    cells = [(batch, context) for context in load.contexts for batch in load.batches]
    for batch, context in cells:
        if (batch, context) in done:
            continue
        if time.monotonic() > ends:
            break
        journal.append({"batch": batch, "context": context} | _cell(models, settings, load, batch, context))
    return journal.records, len(journal.records) == len(cells)


def _cell(models, settings, load, batch, context):
    try:
        return _timed(models, settings, load, batch, context)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return {"left_out": "out of memory"}
    finally:
        if settings.device.startswith("cuda"):
            torch.cuda.empty_cache()


def _timed(models, settings, load, batch, context):
    """Medians over repeats of interleaved arms; the first repeat warms up and does not count."""
    arms = _arms(models, settings, load, batch, context)
    taken = {name: [] for name in arms}
    for repeat in range(load.repeats + 1):
        for name in [*arms][:: 1 if repeat % 2 else -1]:
            pace = _decoded(arms[name], settings, load, batch, context)
            if repeat:
                taken[name].append(pace)
    seconds = {name: statistics.median(column[0] for column in paces) for name, paces in taken.items()}
    tokens = statistics.mean(column[1] for column in taken["speculative"])
    return {
        "seconds_per_token": seconds,
        "speedup": seconds["plain"] / seconds["speculative"],
        "control": seconds["plain again"] / seconds["plain"],
        "block_efficiency": tokens,
        "expected_block_efficiency": float(block_efficiency(Geometric(load.alpha), Chain(load.k))),
        "outside": statistics.median(column[2] for column in taken["plain"]),
    }


def _arms(models, settings, load, batch, context):
    capacity = context + (load.k + 1) * (load.rounds + 1) + 1
    window = WINDOW if settings.device.startswith("cuda") else None
    shaped = {"capacity": capacity, "vocabulary": models.vocabulary, "rows": batch, "window": window}
    target, draft = (Model(loaded, **shaped) for loaded in (models.target, *models.drafts.values()))
    arrays, clock, sampler = Arrays.on(target.device), Clock(settings.device), Sampler()
    plain = Decoder(target, Nothing(arrays, models.vocabulary), sampler, clock, frozenset(), 0)
    drafter = ModelDraft(arrays, draft, sampler)
    speculative = Decoder(target, drafter, sampler, clock, frozenset(), load.k, _synthetic(load.alpha))
    for model in (target, draft):
        model.forward([[0]] * batch, keep=1)
    return {"plain": (plain, ()), "speculative": (speculative, (draft,)), "plain again": (plain, ())}


def _synthetic(alpha):
    def rule(tokens, q, p, u, v, *, xp, drafted):
        verify(tokens, q, p, u, v, xp=xp, drafted=drafted)
        return lossy_synthetic(tokens, p, u, v, rate=alpha, xp=xp, drafted=drafted)

    return rule


def _decoded(arm, settings, load, batch, context):
    """Seconds per token of each sequence, tokens per round, and the share of time outside of models."""
    decoder, drafts = arm
    endless = (load.k + 1) * (load.rounds + 1)
    side_by_side = Batch(decoder)
    for seed in range(batch):
        row = Row(Request([0] * context, endless, seed), frozenset())
        row.commit([0])
        side_by_side.rows.append(row)
    for model in (decoder.target, *drafts):
        model.pretend(context)
    clock = Clock(settings.device)
    started = clock.now()
    inside = sum(_inside(side_by_side.round()) for _ in range(load.rounds))
    seconds = clock.now() - started
    made = sum(row.made - 1 for row in side_by_side.rows) / batch
    return seconds / made, made / load.rounds, 1 - inside / seconds


def _inside(done):
    return done[0][1].draft_s + done[0][1].verify_s
