"""Accepted drafts per round of one pair of laws under three rules, exactly, summed over every draft of k tokens."""

import numpy as np

from validate.charts import COLOURS, NEUTRAL, column

P, Q, DEEPEST = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3]), 8
TITLE = "Judged as a block, the same drafts keep 1.25 instead of 1.19 at k = 2, and 2.75 instead of 2.06 at k = 6"


def draw():
    figure, axes = column(TITLE, 3.2)
    depths = np.arange(1, DEEPEST + 1)
    blue, vermillion = COLOURS[:2]
    token, block, bound = accepted()
    for curve, colour, words, line in (
        (bound, NEUTRAL, "bound with the whole\ndraft known ahead", "--"),
        (block, blue, "as a block", "o-"),
        (token, vermillion, "token by token", "o-"),
    ):
        axes.plot(depths, curve, line, color=colour, linewidth=1.2, markersize=4)
        axes.text(DEEPEST + 0.15, curve[-1], words, color=colour, fontsize=8, va="center")
    note = "p = (.5, .3, .2), q = (.2, .5, .3) at every position"
    axes.text(DEEPEST, 0.1, note, color=NEUTRAL, fontsize=7, ha="right")
    axes.set_xlabel("k [drafted tokens per round]", fontsize=8)
    axes.set_ylabel("accepted drafts per round", fontsize=8)
    axes.set_xlim(0.8, DEEPEST + 0.1)
    axes.set_ylim(0, 4.2)
    return figure


def accepted():
    """Mean accepted length at k = 1..DEEPEST: token rule, block rule, and with p and q of whole drafts known."""
    mass_q, mass_p, token, weight = (np.ones(1) for _ in range(4))
    gains = []
    for _ in range(DEEPEST):
        mass_q, mass_p = np.outer(mass_q, Q).ravel(), np.outer(mass_p, P).ravel()
        token = np.outer(token, np.minimum(P / Q, 1)).ravel()
        weight = np.minimum(np.outer(weight, P / Q).ravel(), 1)
        gains.append((mass_q @ token, mass_q @ weight, np.minimum(mass_p, mass_q).sum()))
    return np.cumsum(gains, axis=0).T
