"""Evaluations of the speedup per second: the best depth over a grid of alpha and c, every depth tried in each cell."""

import itertools
import statistics
import time

import numpy as np

from specmath import best_k
from specmath.speedup import TIE

K_MAX, CELLS, RUNS = 64, 300, 9
LOOP_CELLS = 20  # the loop is timed on a corner of the grid
TARGET = 5e6


def main():
    """Interleaved runs, medians: the library, the same again as control, and loops over every cell and depth."""
    alpha, c = np.linspace(0, 0.99, CELLS), np.linspace(0, 0.5, CELLS)
    ways = {
        "best_k": lambda: best_k(alpha[:, None], c, k_max=K_MAX),
        "best_k (control)": lambda: best_k(alpha[:, None], c, k_max=K_MAX),
        "best_k, every cell given": lambda: best_k(*np.broadcast_arrays(alpha[:, None], c), k_max=K_MAX),
        "loop": lambda: loop(alpha[:LOOP_CELLS], c[:LOOP_CELLS]),
    }
    seconds = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _, (name, way) in itertools.product(range(RUNS), ways.items()):
        started = time.perf_counter()
        way()
        seconds[name].append(time.perf_counter() - started)
    rate = {
        name: (LOOP_CELLS if name == "loop" else CELLS) ** 2 * (K_MAX + 1) / statistics.median(times)
        for name, times in seconds.items()
    }
    for name, value in rate.items():
        goal = f"   (target: at least {TARGET / 1e6:.0f})" if name == "best_k" else ""
        print(f"{name:26s} {value / 1e6:8.2f} million a second   {value / rate['loop']:7.1f} x the loop{goal}")


def loop(alphas, cs):
    """The same best depths cell by cell in plain Python."""
    return [best_of_cell(alpha, c) for alpha in alphas.tolist() for c in cs.tolist()]


def best_of_cell(alpha, c):
    best, value, tau, power = 0, 1.0, 1.0, 1.0
    for k in range(1, K_MAX + 1):
        power *= alpha
        tau += power
        if tau / (1 + k * c) > value * (1 + TIE):
            best, value = k, tau / (1 + k * c)
    return best
