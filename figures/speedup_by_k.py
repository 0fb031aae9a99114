"""Speedup against the drafts per round: every acceptance has its own best k, and too deep a draft loses."""

import numpy as np

from specmath.speedup import best_k, speedup
from validate.charts import COLOURS, NEUTRAL, column

ALPHAS, C, DEEPEST = (0.35, 0.5, 0.65, 0.75, 0.85), 0.05, 16
TITLE = "The best k moves with acceptance, from 2 at α .35 to 10 at α .85; drafting deeper than it is slower"


def draw():
    figure, axes = column(TITLE, 3.3)
    depths = np.arange(DEEPEST + 1)
    for alpha, colour in zip(ALPHAS, COLOURS, strict=True):
        curve, best = speedup(alpha, depths, C), best_k(alpha, C)
        axes.plot(depths, curve, color=colour, linewidth=1.2, marker="o", markersize=2)
        axes.plot(best.k, best.speedup, color=colour, marker="o", markersize=6)
        axes.text(best.k, best.speedup - 0.09, f"k = {best.k}", color=colour, fontsize=7, ha="center", va="top")
        label = f"α = {alpha:.2f}".replace("0.", ".")
        axes.text(DEEPEST + 0.3, curve[-1], label, color=colour, fontsize=8, va="center")
    axes.axhline(1, color=NEUTRAL, linewidth=1)
    axes.text(4, 0.97, "plain decoding", color=NEUTRAL, fontsize=7, ha="center", va="top")
    axes.set_xlabel("k [drafted tokens per round], at c = .05, v = 1, o = 0", fontsize=8)
    axes.set_ylabel("speedup [plain time per token / speculative]", fontsize=8)
    axes.set_xlim(0, DEEPEST)
    axes.set_ylim(0.75, 4)
    return figure
