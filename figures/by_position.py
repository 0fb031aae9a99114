"""Acceptance lengths of one published draft by depth, and what one alpha would have promised at each."""

import numpy as np

from specmath.acceptance import Geometric
from validate.charts import COLOURS, NEUTRAL, column

# RedHatAI/Llama4-Maverick-17B-128E-Instruct-speculator.eagle3, model card: HumanEval, k = 1..7
LENGTHS = (1.83, 2.45, 2.94, 3.26, 3.47, 3.57, 3.62)
TITLE = "The α of its first token, .83, promises this draft 4.56 tokens per round at k = 7; it gives 3.62"


def draw():
    figure, axes = column(TITLE, 3.2)
    depths = np.arange(1, len(LENGTHS) + 1)
    blue, vermillion, green = COLOURS[:3]
    first, third = (Geometric.from_block_efficiency(LENGTHS[k - 1], k) for k in (1, 3))
    for curve, colour, words, line in (
        (first.block_efficiency(depths), blue, f"one α, {first.alpha:.2f}\nas at k = 1", "-"),
        (third.block_efficiency(depths), green, f"one α, {third.alpha:.2f}\nas fitted at k = 3", "-"),
        (LENGTHS, vermillion, "measured", "o-"),
    ):
        axes.plot(depths, curve, line, color=colour, linewidth=1.2, markersize=4.5)
        axes.text(depths[-1] + 0.2, curve[-1], words.replace("0.", "."), color=colour, fontsize=8, va="center")
    source = "EAGLE3 head for Llama-4-Maverick,\nHumanEval, model card"
    axes.text(depths[-1], 1.5, source, color=NEUTRAL, fontsize=7, ha="right")
    axes.set_xlabel("k [drafted tokens per round]", fontsize=8)
    axes.set_ylabel("block efficiency τ [tokens per round]", fontsize=8)
    axes.set_xlim(0.8, depths[-1] + 0.1)
    axes.set_ylim(1.4, 4.8)
    return figure
