"""v(n), a forward over n tokens over one over a single token, before and after the products are chosen; interleaved.

The same network four times: with the library's own attention, as loaded, as loaded again (the control), and with its
products chosen.
"""

import platform
import sys
import time
from collections import defaultdict

import numpy as np
import torch

from validate.attention import LIBRARY
from validate.loading import load
from validate.model import Model
from validate.models import Settings
from validate.products import choose
from validate.sampler import Sampler

LENGTHS, CONTEXT, SWEEPS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 33), 256, 15
THEIRS, BEFORE, CONTROL, AFTER = "library's attention", "before", "before (control)", "after"


def main():
    """Ratios of medians over sweeps; every sweep takes lengths in a random order and the arms in turn."""
    library, plain, faster = load(), load(), load()
    library.network.set_attn_implementation(LIBRARY)
    machine = Settings(faster.name, (), (), Sampler(), 1, 0, "cpu", "float32").machine
    began = time.perf_counter()
    choose(faster.network, machine)
    print(f"{machine['processor']} {platform.machine()}, {machine['threads']} threads, context {CONTEXT}")
    print(f"choosing or reading the choices, and packing: {time.perf_counter() - began:.1f} s")
    arms = {name: Model(loaded, capacity=CONTEXT + max(LENGTHS)) for name, loaded in _arms(library, plain, faster)}
    seconds, logits = _measure(arms)
    _report(seconds)
    apart = max(float((logits[AFTER, n] - logits[BEFORE, n]).abs().max()) for n in LENGTHS)
    print(f"largest difference of a logit {apart:.1e}, of {float(logits[BEFORE, 1].abs().max()):.0f}")


def _arms(library, plain, faster):
    return (THEIRS, library), (BEFORE, plain), (CONTROL, plain), (AFTER, faster)


def _measure(arms):
    rng = np.random.default_rng(0)
    ids = rng.integers(1000, size=CONTEXT + max(LENGTHS)).tolist()
    for arm in arms.values():
        arm.forward(ids[:CONTEXT], keep=1)
    seconds = defaultdict(list)
    logits = {(name, n): _forward(arms[name], ids, n)[1] for name in arms for n in LENGTHS}
    for _ in range(SWEEPS):
        for n in rng.permutation(LENGTHS).tolist():
            for name in rng.permutation(list(arms)).tolist():
                seconds[name, n].append(_forward(arms[name], ids, n)[0])
        print(".", end="", file=sys.stderr, flush=True)
    return seconds, logits


def _forward(arm, ids, n):
    arm.rewind(CONTEXT)
    started = time.perf_counter()
    logits = arm.forward(ids[CONTEXT : CONTEXT + n])
    return time.perf_counter() - started, torch.clone(logits)


def _report(seconds):
    of = {key: float(np.median(times)) for key, times in seconds.items()}
    print("\n" + " " * 26 + "".join(f"{n:>7}" for n in LENGTHS))
    for name in (THEIRS, BEFORE, CONTROL, AFTER):
        _line(f"v(n), {name}", [of[name, n] / of[name, 1] for n in LENGTHS])
    for name in (THEIRS, CONTROL, AFTER):
        _line(f"{name} / before", [of[name, n] / of[BEFORE, n] for n in LENGTHS])
    print(f"one token: {of[BEFORE, 1] * 1e3:.1f} ms before, {of[AFTER, 1] * 1e3:.1f} ms after")


def _line(name, ratios):
    print(f"{name:26}" + "".join(f"{ratio:7.2f}" for ratio in ratios))
