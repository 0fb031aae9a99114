"""Rounds until the last text of a fixed batch is finished, where rounds are independent and where stretches last."""

import numpy as np

from figures.persistence import stretches
from specmath.acceptance import Geometric
from specmath.cost import Ratio
from specmath.draft import Chain
from specmath.finish import rounds_to_emit
from specmath.simulate import simulate
from validate.charts import COLOURS, NEUTRAL, column

ALPHA, K, TOKENS, BATCHES = 0.7, 5, 500, 2.0 ** np.arange(7)
TITLE = "A fixed batch waits for its slowest text: one of 500 tokens takes 171 rounds, the last of 32 takes 188"


def draw():
    figure, axes = column(TITLE, 3.3)
    blue, vermillion = COLOURS[:2]
    law = rounds_to_emit(Geometric(ALPHA), Chain(K), TOKENS)
    texts = simulate(stretches(0.95), Chain(K), tokens=TOKENS, requests=64 * 32, rng=np.random.default_rng(7))
    lasting = [texts.finish(Ratio(0), batch=int(batch)).mean() for batch in BATCHES]
    for curve, colour, words in (
        (lasting, vermillion, "stretches of .95 and .45\n(simulated)"),
        (law.slowest(BATCHES), blue, "α .70 everywhere\n(exact)"),
    ):
        axes.plot(BATCHES, curve, "o-", color=colour, linewidth=1.2, markersize=4)
        axes.text(BATCHES[-1] * 1.12, curve[-1], words, color=colour, fontsize=8, va="center")
    average = TOKENS / Geometric(ALPHA).block_efficiency(K)
    axes.axhline(average, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.text(64, average - 2, "tokens / τ, at α .70", color=NEUTRAL, fontsize=7, ha="right", va="top")
    axes.set_xscale("log", base=2)
    axes.set_xticks(BATCHES, [f"{batch:.0f}" for batch in BATCHES])
    axes.set_xlabel("texts in the batch, 500 tokens each, k = 5", fontsize=8)
    axes.set_ylabel("rounds until the last one is done", fontsize=8)
    axes.set_xlim(0.9, 68)
    axes.set_ylim(150, 260)
    return figure
