"""Prompts of different difficulty at one mean alpha: it depends on what every prompt has equally many of."""

import numpy as np

from specmath.acceptance import BetaGeometric, Geometric
from validate.charts import COLOURS, NEUTRAL, column

MEAN, K, WIDEST = 0.7, 5, 1.0
TITLE = "Prompts that differ help per round and cost per token: at mean α .7 and k = 5, 2.94 becomes 3.53 or 2.70"


def draw():
    figure, axes = column(TITLE, 3.3)
    spread = np.linspace(0.005, 0.32, 64)
    of_the_law = law(MEAN * (1 - MEAN) / spread**2 - 1)
    by_round, by_token = of_the_law.block_efficiency(K), of_the_law.block_efficiency_by_token(K)
    blue, vermillion = COLOURS[:2]
    even = Geometric(MEAN).block_efficiency(K)
    axes.axhline(even, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.text(0.318, even + 0.02, "all prompts alike", color=NEUTRAL, fontsize=7, ha="right", va="bottom")
    axes.plot(spread, by_round, color=blue, linewidth=1.4)
    axes.text(0.19, 3.36, "as many rounds\nfrom every prompt", color=blue, fontsize=8, ha="right")
    axes.plot(spread, by_token, color=vermillion, linewidth=1.4)
    axes.text(0.19, 2.63, "as many tokens\nfrom every prompt", color=vermillion, fontsize=8, ha="right", va="center")
    wide = law(2)
    at = np.sqrt(MEAN * (1 - MEAN) / 3)
    for value, colour in ((wide.block_efficiency(K), blue), (wide.block_efficiency_by_token(K), vermillion)):
        axes.plot(at, value, "o", color=colour, markersize=5)
        below = {"xytext": (-2, -13), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{value:.2f}", (at, value), color=colour, fontsize=7, **below)
    axes.set_xlabel("standard deviation of α between prompts (Beta law)", fontsize=8)
    axes.set_ylabel("block efficiency τ [tokens per round]", fontsize=8)
    axes.set_xlim(0, 0.32)
    axes.set_ylim(2.4, 3.9)
    return figure


def law(concentration):
    """The Beta law of that mean with a + b as given."""
    return BetaGeometric(MEAN * concentration, (1 - MEAN) * concentration)
