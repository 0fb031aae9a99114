"""Tokens per round of the best tree and of a chain, by the drafted tokens that the target has to verify."""

import numpy as np

from specmath.acceptance import Ranked
from specmath.tree_search import optimal_trees
from validate.charts import COLOURS, NEUTRAL, column

ACCEPTANCES, MOST = (0.7, 0.15, 0.05, 0.02), 31
TITLE = "15 drafted tokens give 3.32 tokens per round as a chain, which ends at 3.33, and 3.83 as the best tree"


def draw():
    figure, axes = column(TITLE, 3.2)
    law, sizes = Ranked(ACCEPTANCES), np.arange(MOST + 1)
    trees = optimal_trees(ACCEPTANCES, sizes)
    by_tree = [law.on(tree).block_efficiency(tree.depth) for tree in trees]
    by_chain = law.block_efficiency(sizes)
    blue, vermillion = COLOURS[:2]
    limit = 1 / (1 - ACCEPTANCES[0])
    axes.axhline(limit, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.text(MOST, limit + 0.04, "no chain beyond 1 / (1 − .7)", color=NEUTRAL, fontsize=7, ha="right", va="bottom")
    for curve, colour, words, at in (
        (by_chain, vermillion, "chain", (MOST, 3.22)),
        (by_tree, blue, "best tree", (MOST, 4.2)),
    ):
        axes.plot(sizes, curve, "o-", color=colour, linewidth=1, markersize=2.5)
        axes.text(*at, words, color=colour, fontsize=8, ha="right", va="top")
        axes.annotate(
            f"{curve[15]:.2f}", (15, curve[15]), (0, -12), textcoords="offset points", color=colour, fontsize=7
        )
        axes.plot(15, curve[15], "o", color=colour, markersize=5)
    note = "acceptance by child rank .70, .15, .05, .02"
    axes.text(MOST, 1.1, note, color=NEUTRAL, fontsize=7, ha="right")
    axes.set_xlabel("drafted tokens per round, all of them verified", fontsize=8)
    axes.set_ylabel("block efficiency τ [tokens per round]", fontsize=8)
    axes.set_xlim(0, MOST + 0.5)
    axes.set_ylim(1, 4.6)
    return figure
