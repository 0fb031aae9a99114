"""What drafting gains under a promised time per token: requests per GPU, and beside it the speedup of a step."""

import numpy as np

from specmath import Candidate, Operation, Pair, Roofline, Slo, Traffic, best_k
from specmath.candidates import deployments
from specmath.load import limit
from validate.charts import COLOURS, NEUTRAL, column

GPU, ALPHA, DEPTHS = "H100 SXM", 0.7, range(1, 9)
TRAFFIC = Traffic(20.0, 1000, 300)
QUOTED = 20, 40
PROMISES = np.append(np.arange(17.5, 25, 0.5), np.arange(26, 61, 2))
TITLE = "Promised 20 ms per token, a step is 2.3x as fast and a GPU carries 3.6x the requests; at 40 ms 1.5x and 1.3x"


def draw():
    figure, axes = column(TITLE, 3.5)
    found = gains(PROMISES)
    blue, vermillion = COLOURS[:2]
    axes.axhline(1, color=NEUTRAL, linewidth=1)
    places = {blue: ((6, 2), (0, -11)), vermillion: ((-6, -10), (0, 5))}
    for curve, (colour, ends) in zip(found.T, places.items(), strict=True):
        axes.plot(PROMISES, curve, color=colour, linewidth=1.4)
        for promise, (x, y) in zip(QUOTED, ends, strict=True):
            value = float(curve[promise == PROMISES][0])
            axes.plot(promise, value, "o", color=colour, markersize=4.5)
            said = {"color": colour, "fontsize": 8, "textcoords": "offset points"}
            axes.annotate(f"{value:.2f}x", (promise, value), (x, y), ha="right" if x < 0 else "left", **said)
    axes.text(21.5, 4.2, "requests that a GPU carries, with drafts / without", color=blue, fontsize=8)
    axes.text(27, 2.1, "plain step / round per token,\nat the batch of plain decoding", color=vermillion, fontsize=8)
    axes.text(12.4, 1.05, "under 17 ms\nonly with\ndrafts", color=NEUTRAL, fontsize=7)
    axes.set_yscale("log")
    axes.set_yticks((1, 1.5, 2, 3, 5, 8), ("1x", "1.5x", "2x", "3x", "5x", "8x"))
    axes.minorticks_off()
    axes.set_xlabel("promised mean time per output token [ms]", fontsize=8)
    axes.set_ylabel("gain of the best k", fontsize=8)
    axes.set_xlim(12, 60)
    axes.set_ylim(0.95, 11)
    return figure


def eagle():
    """Llama-3.1-70B with an EAGLE head, both on four GPUs."""
    target = Roofline("Llama-3.1-70B", GPU, tp=4)
    head = Roofline(target.shape.head(), GPU, tp=4).drafting()
    return Pair(target, head, overhead=target.efficiency.accept)


def gains(promises):
    """Under each promised TPOT [ms] (requests per GPU with drafts / without, speedup at plain decoding's batch)."""
    cost = eagle()
    replicas = deployments(Candidate("eagle", ALPHA, cost, DEPTHS), TRAFFIC, Operation())
    found = []
    for milliseconds in promises:
        limits = [limit(one, Slo(tpot=1e-3 * milliseconds)) for one in replicas]
        plain = next(one for one in limits if not one.deployment.k)
        carried = max(one.rate for one in limits if one.deployment.k) / plain.rate
        at = {"batch": plain.state.batch, "context": TRAFFIC.context}
        found.append((carried, best_k(ALPHA, cost, k_max=max(DEPTHS), **at).speedup))
    return np.array(found)
