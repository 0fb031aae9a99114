"""Bandwidth of `acceptor.verify` over a large batch and vocabulary, beside a copy on the same device in the same run.

Counted are the rows that rounds must read, once each: p where the round ends, and q there if a draft was rejected. A
copy counts what it reads and what it writes. numpy on a CPU; on a GPU torch, launched call by call and as one graph.
"""

import statistics
from dataclasses import dataclass

import numpy as np
import torch

from specmath.acceptor import verify
from validate.arrays import Arrays
from validate.clock import Clock

TARGET = 0.6
GRAPH = "verify, as one graph"


@dataclass(frozen=True)
class Size:
    """Rounds at once, drafts of each and tokens of the vocabulary; how often, and over what a copy is measured."""

    batch: int = 64
    k: int = 8
    vocabulary: int = 128_000
    runs: int = 15
    copied: int = 2**28


def main():
    """Every device there is."""
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            print("cuda: skipped, PyTorch sees none here")
        else:
            report(measured(device, Size()))


def measured(device, size):
    """The record of one device: median seconds and bytes of every arm, interleaved, and its bandwidth over a copy's."""
    arrays = Arrays.on(device)
    rounds = _rounds(arrays, size)
    arms, moved = _arms(arrays, rounds, size), _bytes(arrays, rounds)
    seconds = _seconds(arms, Clock(device), size.runs)
    pace = {name: (2 * size.copied if name == "copy" else moved) / time for name, time in seconds.items()}
    return {
        "device": torch.cuda.get_device_name(device) if arrays.xp is not np else device,
        "batch": size.batch,
        "k": size.k,
        "vocabulary": size.vocabulary,
        "dtype": "float32",
        "bytes": moved,
        "seconds": seconds,
        "bandwidth": pace,
        "share": {name: value / pace["copy"] for name, value in pace.items() if name != "copy"},
        "control": seconds["verify (control)"] / seconds["verify"],
    }


def report(record):
    """Shares of the copy's bandwidth, the control, and what was wanted on a GPU."""
    shape = f"batch {record['batch']}, k {record['k']}, {record['vocabulary']:,} tokens, {record['dtype']}"
    print(f"{record['device']}: {shape}, {record['bytes'] / 1e6:.1f} MB to read")
    for name, seconds in record["seconds"].items():
        share = f"{record['share'][name]:7.1%} of the copy" if name in record["share"] else ""
        print(f"  {name:22s} {seconds * 1e3:8.2f} ms {record['bandwidth'][name] / 1e9:8.1f} GB/s  {share}")
    print(f"  control / verify {record['control']:.3f}   (target on a GPU: at least {TARGET:.0%} of the copy)")


def _rounds(arrays, size):
    """Laws in single precision and tokens, a part of them rejected in every slot."""
    rng = np.random.default_rng(0)
    shape = size.batch, size.k
    laws = (rng.random((size.batch, n, size.vocabulary), dtype=np.float32) for n in (size.k, size.k + 1))
    q, p = (arrays.xp.asarray(law / law.sum(-1, keepdims=True), device=arrays.device) for law in laws)
    tokens = arrays.tokens(rng.integers(0, size.vocabulary, shape))
    return tokens, q, p, arrays.uniforms(rng.random(shape)), arrays.uniforms(rng.random(size.batch))


def _bytes(arrays, rounds):
    tokens, _, p, *_ = rounds
    rejected = int((verify(*rounds, xp=arrays.xp).accepted < tokens.shape[-1]).sum())
    return (tokens.shape[0] + rejected) * p.shape[-1] * p.itemsize


def _arms(arrays, rounds, size):
    """What is run, by name."""
    here, there = (arrays.uniforms(np.ones(size.copied // 8)) for _ in range(2))

    def judge():
        return verify(*rounds, xp=arrays.xp)

    def copy():
        there[...] = here

    graph = {} if arrays.xp is np else {GRAPH: _captured(judge)}
    return {"verify": judge, "verify (control)": judge, **graph, "copy": copy}


def _captured(work):
    """The launches of one call, to be replayed together; some calls before, as capturing wants it."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def _seconds(arms, clock, runs):
    """Medians of interleaved runs after one that does not count."""
    seconds = {name: [] for name in arms}
    for run in range(runs + 1):
        for name in [*arms][:: 1 if run % 2 else -1]:
            started = clock.now()
            arms[name]()
            took = clock.now() - started
            if run:
                seconds[name].append(took)
    return {name: statistics.median(times) for name, times in seconds.items()}
