"""Time per token over the load of one replica: without drafts, at one depth, and with k by batch."""

import numpy as np

from figures.capacity_gain import ALPHA, DEPTHS, GPU, TRAFFIC, eagle
from specmath import Candidate, Slo, plan
from specmath.curves import curves
from specmath.schedule import switch_off
from validate.charts import COLOURS, NEUTRAL, column

K, PROMISE, RATES = 5, 0.02, np.append(np.arange(0.2, 7, 0.4), np.arange(7, 9, 0.1))
TITLE = (
    "At 20 ms per token one replica carries 1.8 requests/s without drafts, 6.1 at k = 5; above 7.7 k = 5 is to be off"
)


def draw():
    figure, axes = column(TITLE, 3.3)
    found = planned()
    plain, fixed = both(found)
    blue, vermillion = COLOURS[:2]
    drawn = zip(curves(fixed.deployment, found.question, RATES), (NEUTRAL, blue, vermillion), strict=True)
    for curve, colour in sorted(drawn, key=lambda one: one[0].name == "fixed"):
        axes.plot(curve.rate, 1e3 * curve.tpot, color=colour, linewidth=1.4)
    for option, colour in ((plain, NEUTRAL), (fixed, blue)):
        place = option.capacity, 1e3 * PROMISE
        axes.plot(*place, "o", color=colour, markersize=5)
        said = {"color": colour, "fontsize": 8, "textcoords": "offset points", "ha": "right"}
        axes.annotate(f"{option.capacity:.1f}", place, (-3, 4), **said)
    axes.axhline(1e3 * PROMISE, color=NEUTRAL, linewidth=0.8, linestyle=":")
    off = switch_off(fixed.deployment.station, plain.deployment.station).rate
    axes.axvline(off, color="black", linewidth=0.6, linestyle="--")
    axes.text(off - 0.1, 1, f"k = {K} off above {off:.1f}", fontsize=8, ha="right")
    axes.text(3, 27, "no drafts", color=NEUTRAL, fontsize=8, ha="right")
    axes.text(7.35, 52, f"k = {K}", color=blue, fontsize=8, ha="right")
    axes.text(8.95, 50, "k by\nbatch", color=vermillion, fontsize=8)
    axes.text(9.55, 1e3 * PROMISE + 0.8, "promised", color=NEUTRAL, fontsize=7, ha="right")
    axes.set_xlabel("load of one replica of 4 GPUs [requests/s]", fontsize=8)
    axes.set_ylabel("mean time per output token [ms]", fontsize=8)
    axes.set_xlim(0, 9.6)
    axes.set_ylim(0, 80)
    return figure


def planned():
    """The plan of the pair at every depth."""
    return plan(Candidate("eagle", ALPHA, eagle(), DEPTHS), TRAFFIC, Slo(tpot=PROMISE), gpu=GPU)


def both(found):
    """The options without drafts and at the one depth."""
    return found.without, next(option for option in found.ranked if option.k == K)
