"""Where the milliseconds of a plain step and of a round go, over the batch."""

from figures.capacity_gain import TRAFFIC, eagle
from specmath import Chain
from validate.charts import COLOURS, NEUTRAL, column

K, BATCHES, FILLS = 4, (1, 16, 64, 128), (*COLOURS[:4], NEUTRAL)
WIDE = 10  # milliseconds of a bar that hold a name
PARTS = {
    "matrices": ("attention", "mlp", "lm_head"),
    "KV": ("kv",),
    "all-reduces": ("allreduce",),
    "drafts": ("draft",),
    "engine": ("kernels", "sampling", "host", "accept"),
}
TITLE = (
    "A round of k = 4 takes 1.15 plain steps at batch 1 and 2.35 at 128: matrices and all-reduces grow with its tokens"
)


def draw():
    figure, axes = column(TITLE, 3.4)
    for i, batch in enumerate(BATCHES):
        for n, place in ((1, 2.4 * i), (K + 1, 2.4 * i + 1)):
            found, left = milliseconds(batch, n), 0.0
            for value, colour in zip(found.values(), FILLS, strict=True):
                axes.barh(place, value, 0.9, left, color=colour, edgecolor="white", linewidth=0.5)
                left += value
            words = f"{left:.1f} ms" + (f", {left / sum(milliseconds(batch, 1).values()):.2f} steps" if n > 1 else "")
            axes.text(left + 0.6, place, words, fontsize=7, va="center")
    _name(axes, milliseconds(BATCHES[-1], K + 1), 2.4 * len(BATCHES) - 1.4)
    axes.set_yticks(
        [2.4 * i + row for i in range(len(BATCHES)) for row in (0, 1)], ["plain", f"k = {K}"] * len(BATCHES)
    )
    for i, batch in enumerate(BATCHES):
        at = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
        axes.text(-0.13, 2.4 * i + 0.5, f"batch {batch}", fontsize=8, **at)
    axes.set_xlabel(f"time of one iteration [ms], {TRAFFIC.context:.0f} tokens of context", fontsize=8)
    axes.set_ylabel("Llama-3.1-70B, EAGLE head, 4 x H100", fontsize=8, labelpad=46)
    axes.set_xlim(0, 90)
    axes.set_ylim(2.4 * len(BATCHES) + 0.2, -0.8)
    return figure


def milliseconds(batch, n):
    """Milliseconds by part of an iteration over n tokens of each sequence: a plain step, or a round where n > 1."""
    cost, at = eagle(), {"batch": batch, "context": TRAFFIC.context}
    found = dict(cost.target.breakdown(n, **at)) | {"draft": 0.0, "accept": 0.0}
    if n > 1:
        time = cost.round(Chain(n - 1), **at)
        found |= {"draft": time.draft, "accept": time.overhead}
    return {name: 1e3 * sum(float(found[part]) for part in parts) for name, parts in PARTS.items()}


def _name(axes, found, place):
    """The names of the parts in the longest bar and below it."""
    left = 0.0
    towards = {"drafts": "right", "engine": "left"}
    for (name, value), colour in zip(found.items(), FILLS, strict=True):
        inside = value > WIDE
        height, shown = (place, "white") if inside else (place + 0.85, colour)
        axes.text(left + value / 2, height, name, color=shown, fontsize=7, ha=towards.get(name, "center"), va="center")
        left += value
