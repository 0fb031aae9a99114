"""One alpha and the three numbers it makes at k = 5, each of which somebody calls the acceptance rate."""

import numpy as np

from specmath.acceptance import Geometric
from validate.charts import COLOURS, NEUTRAL, column

K, READ = 5, 0.35
TITLE = "“35 %” names two drafts: as α, at k = 5, it is .107 accepted / drafted; as accepted / drafted it is α .669"


def draw():
    figure, axes = column(TITLE, 3.5)
    alpha = np.linspace(0, 1, 201)
    law, other = Geometric(alpha), Geometric.from_block_efficiency(1 + K * READ, K).alpha
    blue, vermillion, green = COLOURS[:3]
    for curve, colour, label, at, tilt in (
        (alpha, NEUTRAL, "α itself", (0.5, 0.53), 38),
        (law.mean(K) / K, vermillion, "accepted\n/ drafted", (0.72, 0.56), 0),
        (law.survival(K), blue, "survival S₅", (0.86, 0.16), 0),
    ):
        axes.plot(alpha, curve, color=colour, linewidth=1.4)
        axes.text(*at, label, color=colour, fontsize=8, rotation=tilt, ha="center")
    axes.plot((READ, READ, 0), (0, READ, READ), color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.plot((READ, other, other), (READ, READ, 0), color=green, linewidth=0.8, linestyle=":")
    axes.text(READ - 0.02, READ + 0.01, "read as α", color=NEUTRAL, fontsize=7, ha="right")
    axes.text(other + 0.02, 0.03, f"α {other:.3f}".replace("0.", "."), color=NEUTRAL, fontsize=7)
    _point(axes, READ, Geometric(READ).mean(K) / K, (5, -9), "left")
    _point(axes, other, READ, (-5, 4), "right")
    axes.set_xlabel("α [accepted / tested drafts], at k = 5", fontsize=8)
    axes.set_ylabel("share of drafts", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    right = axes.secondary_yaxis("right", functions=(lambda share: 1 + K * share, lambda tau: (tau - 1) / K))
    right.set_ylabel("block efficiency τ [tokens per round]\nof the vermillion curve", fontsize=8, color=vermillion)
    right.tick_params(labelsize=8, colors=vermillion)
    return figure


def _point(axes, alpha, share, offset, side):
    """A reading of 35 % on the curve of accepted / drafted, and its tokens per round."""
    axes.plot(alpha, share, "o", color=COLOURS[1], markersize=5)
    text = f"{share:.3f}".replace("0.", ".") + f", τ {1 + K * share:.2f}"
    style = {"textcoords": "offset points", "fontsize": 7, "color": COLOURS[1], "ha": side}
    axes.annotate(text, (alpha, share), offset, **style)
