"""The optimal tree by dynamic programme, beside itself (control) and beside best-first search in plain Python."""

import heapq
import math
import statistics
import time

from specmath.draft import Tree
from specmath.tree_search import optimal_tree

RUNS = 15
SIZE, DEPTH, TARGET = 128, 12, 0.050
ACCEPTANCES = {
    "4 ranks": (0.7, 0.15, 0.05, 0.02),
    "32 ranks": tuple(0.35 * 0.65**rank for rank in range(32)),
}


def main():
    """Interleaved runs; medians, their ratios, and the tokens per round that both trees reach."""
    for name, row in ACCEPTANCES.items():
        arms = {
            "dynamic programme": lambda row=row: optimal_tree(row, SIZE, DEPTH),
            "dynamic programme (control)": lambda row=row: optimal_tree(row, SIZE, DEPTH),
            "best-first search": lambda row=row: best_first(row, SIZE, DEPTH),
        }
        seconds, trees = _run(arms)
        base, control, search = (statistics.median(times) for times in seconds.values())
        print(f"{name}: {SIZE} drafts, {DEPTH} levels, {base * 1e3:.1f} ms   (target: at most {TARGET * 1e3:.0f} ms)")
        print(f"  control / dynamic programme           {control / base:5.2f}")
        print(f"  best-first search / dynamic programme {search / base:5.2f}   ({search * 1e3:.2f} ms)")
        print("  tokens per round: " + ", ".join(f"{arm} {_tokens(tree, row):.6f}" for arm, tree in trees.items()))


def best_first(acceptances, size, depth=math.inf):
    """The nodes of highest value one by one, each opening its first child and its next sibling (EAGLE-2's rerank)."""
    paths, heap = [], [(-acceptances[0], (0,))] if depth else []
    while heap and len(paths) < size:
        negative, path = heapq.heappop(heap)
        paths.append(path)
        if len(path) < depth:
            heapq.heappush(heap, (negative * acceptances[0], (*path, 0)))
        if path[-1] + 1 < len(acceptances):
            above = negative / acceptances[path[-1]] if acceptances[path[-1]] else 0
            heapq.heappush(heap, (above * acceptances[path[-1] + 1], (*path[:-1], path[-1] + 1)))
    return Tree.from_paths(paths)


def _run(arms):
    seconds, trees = {name: [] for name in arms}, {}
    for run in range(RUNS + 1):
        for name, arm in arms.items():
            started = time.perf_counter()
            trees[name] = arm()
            if run:
                seconds[name].append(time.perf_counter() - started)
    return seconds, trees


def _tokens(tree, row):
    return 1 + sum(math.prod(row[rank] for rank in path) for path in tree.choices)
