"""The acceptance at which k drafts exactly pay: where "below 40 % it is slower" is true, and where it is not."""

import numpy as np

from specmath.speedup import break_even
from validate.charts import COLOURS, NEUTRAL, column

COSTS, DEEPEST, CLAIMED = (0.02, 0.05, 0.10, 0.20), 10, 0.40
TITLE = "“Below 40 % it is slower” holds for a 10 % draft from k = 7, and for a 5 % draft at no k up to 10"


def draw():
    figure, axes = column(TITLE, 3.3)
    depths = np.arange(1, DEEPEST + 1)
    axes.axhline(CLAIMED, color=NEUTRAL, linewidth=1, linestyle="--")
    for cost, colour in zip(COSTS, COLOURS, strict=False):
        curve = break_even(c=cost, k=depths)
        axes.plot(depths, curve, color=colour, linewidth=1.2)
        for true, face in ((curve >= CLAIMED, colour), (curve < CLAIMED, "white")):
            axes.plot(depths[true], curve[true], "o", color=colour, markerfacecolor=face, markersize=4.5)
        label = f"c + d = {cost:.2f}".replace("0.", ".")
        axes.text(DEEPEST + 0.3, curve[-1], label, color=colour, fontsize=8, va="center")
    axes.text(1, 0.66, "●  the sentence is true", color=NEUTRAL, fontsize=7, va="center")
    axes.text(1, 0.62, "○  false: some α below 40 % is faster", color=NEUTRAL, fontsize=7, va="center")
    axes.text(DEEPEST + 0.3, CLAIMED, "α = 40 %", color=NEUTRAL, fontsize=8, va="center")
    seven, eight = (f"{break_even(alpha=CLAIMED, k=k):.3f}".replace("0.", ".") for k in (7, 8))
    exact = f"40 % exactly at c + d = {seven} (k = 7), {eight} (k = 8)"
    axes.text(DEEPEST, 0.03, exact, color=NEUTRAL, fontsize=7, ha="right", va="center")
    axes.set_xlabel("k [drafted tokens per round], at o = 0; c + d in plain steps", fontsize=8)
    axes.set_ylabel("break-even α [accepted / tested drafts]", fontsize=8)
    axes.set_xlim(0.8, DEEPEST + 0.1)
    axes.set_ylim(0, 0.7)
    return figure
