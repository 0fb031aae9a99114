"""A million tokens replayed for k = 1..16, as a thousand texts and as one, beside a control and a scalar loop."""

import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from specmath.replay import Replay

TOKENS, TEXTS, K_MAX, RUNS = 1_000_000, 1_000, 16, 5
LOOPED = 5_000  # tokens of the scalar loop, which is scaled up
SECONDS, MEGABYTES = 2.0, 300


def main():
    """Interleaved runs, medians and their ratios; the peak of memory of a process that does nothing else."""
    arms = {
        "1 text": lambda: every_k(texts(1)),
        "1000 texts": lambda: every_k(texts(TEXTS)),
        "1000 texts (control)": lambda: every_k(texts(TEXTS)),
        "1000 texts, block rule": lambda: every_k(texts(TEXTS), "block"),
        "1000 texts, variances": lambda: [texts(TEXTS).variance(k) for k in range(1, K_MAX + 1)],
        "scalar loop": lambda: [scalar_loop(ratios(LOOPED).tolist(), k) for k in range(1, K_MAX + 1)],
    }
    seconds = {name: [] for name in arms}
    for _ in range(RUNS):
        for name, arm in arms.items():
            started = time.perf_counter()
            arm()
            seconds[name].append(time.perf_counter() - started)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    median["scalar loop"] *= TOKENS / LOOPED
    print(f"{TOKENS:,} tokens, k = 1..{K_MAX}; seconds of A over seconds of B")
    for name in arms:
        print(f"{name:24s} / 1000 texts {median[name] / median['1000 texts']:8.2f}   {median[name]:8.2f} s")
    print(f"target for either: about {SECONDS:.0f} s and {MEGABYTES} MB; peak of a process with both: {peak()} MB")


def ratios(tokens):
    return np.random.default_rng(0).random(tokens) ** 0.3


def texts(count):
    return Replay(np.split(ratios(TOKENS), count))


def every_k(replay, rule="token"):
    return [replay.rounds(k, rule) for k in range(1, K_MAX + 1)]


def scalar_loop(chances, k):
    """Expected rounds from the last token to the first, one start at a time."""
    n = len(chances)
    rounds = [0.0] * (n + 1)
    for j in range(n - 1, -1, -1):
        survival, rest = 1.0, 0.0
        for i in range(j, min(j + k, n)):
            rest += survival * (1 - chances[i]) * rounds[i + 1]
            survival *= chances[i]
        if j + k < n:
            rest += survival * rounds[j + k + 1]
        rounds[j] = 1 + rest
    return rounds[0]


def peak():
    """Megabytes that a process needed at most, the import of numpy and scipy included."""
    command = "from bench import replay; replay.every_k(replay.texts(1)); replay.every_k(replay.texts(1000)); "
    command += "print(replay.megabytes())"
    return int(subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout)


def megabytes():
    """Most memory this process ever held; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
