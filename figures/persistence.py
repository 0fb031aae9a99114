"""Easy and hard stretches of a text: the longer they last, the fewer tokens a round emits."""

import numpy as np

from specmath.acceptance import Geometric, Markov
from specmath.draft import Chain
from validate.charts import COLOURS, NEUTRAL, column

ALPHAS, K, LONGEST = (0.95, 0.45), 5, 0.98
TITLE = "With half of the text at α .95 and half at .45, k = 5 gives 2.94 tokens per round if mixed, 2.70 in stretches"


def draw():
    figure, axes = column(TITLE, 3.3)
    persistence = np.append(np.arange(-0.9, 0.96, 0.05), LONGEST)
    laws = [stretches(rho) for rho in persistence]
    blue, vermillion = COLOURS[:2]
    mixed = Geometric(np.mean(ALPHAS)).block_efficiency(K)
    axes.axhline(mixed, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.text(0.98, mixed + 0.02, "one α of .70", color=NEUTRAL, fontsize=7, ha="right", va="bottom")
    right = [law.on(Chain(K)).block_efficiency(K) for law in laws]
    axes.plot(persistence, right, color=blue, linewidth=1.4)
    axes.text(0.6, 2.62, "rounds start where\nthe last one ended", color=blue, fontsize=8, ha="center", va="top")
    axes.plot(persistence, [anywhere(law) for law in laws], color=vermillion, linewidth=1.4)
    axes.text(0.32, 3.34, "wrong: as if rounds\nstarted anywhere", color=vermillion, fontsize=8, ha="right")
    axes.plot(LONGEST, right[-1], "o", color=blue, markersize=5, clip_on=False)
    axes.text(LONGEST + 0.04, right[-1], f"{right[-1]:.2f}", color=blue, fontsize=7, va="center")
    axes.set_xlabel("correlation of difficulty between neighbouring positions", fontsize=8)
    axes.set_ylabel("block efficiency τ [tokens per round]", fontsize=8)
    axes.set_xlim(-1, 1)
    axes.set_xticks((-1, -0.5, 0, 0.5, 1))
    axes.set_ylim(2.3, 3.6)
    return figure


def stretches(rho):
    """Two states of equal share whose neighbours correlate by rho."""
    stay = (1 + rho) / 2
    return Markov(ALPHAS, ((stay, 1 - stay), (1 - stay, stay)))


def anywhere(law):
    """Tokens per round from a start drawn from all positions alike, which no decoder does."""
    state, tau = np.full(2, 0.5), 1.0
    for _ in range(K):
        state = state * law.alphas
        tau += state.sum()
        state = state @ np.array(law.transition)
    return tau
