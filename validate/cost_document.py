"""The cost table of a target and a draft, as the JSON object of `specmath cost`."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq, nnls

from specmath.cost import Pair
from specmath.draft import Chain
from validate.costs import TARGET, Costs
from validate.document import envelope, nulled, significant, times

DRIFT_BOUND = 0.1
PARAMETERS = 3
FLAT = 1.1  # plain steps that a forward over several tokens may take and still cost "the time of one"


def cost_document(
    costs: Costs, draft: str, k: int, machine: Mapping[str, Any], kept: str | None = None
) -> dict[str, Any]:
    """The table as measured, never smoothed, in plain steps at each batch and context, and beside it a linear form.

    "dont_use" where not even full acceptance of any k that was measured would pay, at any batch or context, and the
    control cell kept its time; else "measure_more": a cost table knows nothing of acceptance. Drawing and accepting
    (drawing, overheads) are timed for one sequence and priced so at every batch.
    """
    roles = {TARGET: TARGET, draft: "draft"}
    cells = [row | {"model": roles[row["model"]]} for row in costs.rows() if row["model"] in roles]
    places = sorted({(cell["batch"], cell["context"]) for cell in cells})
    pair, lengths = costs.pair(draft), sorted({cell["n"] for cell in cells if cell["model"] == TARGET})
    steps = [_plain_steps(pair, lengths, place, k) for place in places]
    steady = abs(costs.drift - 1) <= DRIFT_BOUND
    hopeless = steady and all(at["full_acceptance"] <= 1 for step in steps for at in step["by_k"])
    verdict = "dont_use" if hopeless else "measure_more"
    reason, then = _what_it_takes(steps[0], k), _measure_next(verdict, costs, draft, kept)
    return nulled(
        envelope("cost", verdict, reason, then)
        | {"draft": draft, "cells": cells, "machine": machine, "drift": costs.drift}
        | {"drawing": costs.drawing, "overhead": costs.overhead, "overheads": costs.overheads, "overhead_batch": 1}
        | {"sampler": costs.measured.get("sampler")}
        | {"k": k, "plain_steps": steps, "fitted": _fitted(cells)}
    )


def _plain_steps(pair: Pair, lengths: Sequence[int], place: tuple[int, int], k: int) -> dict[str, Any]:
    """At one batch and context: v(n) by n, c, and what k drafts could at most gain and must accept to break even.

    Prices are those of the pair, the token drawn after each forward among them. A draft model reads its own last
    token late where all k drafts were accepted, and only there: at full acceptance every round begins with a forward
    over two tokens, and to break even a share alpha^k of them does.
    """
    at: dict[str, int] = {"batch": place[0], "context": place[1]}
    step = pair.step(**at)
    v = {n: pair.target.seconds(n, **at) / step for n in lengths}
    depths = sorted({k, *(n - 1 for n in lengths if n > 1)})
    by_k = [{"k": depth} | _worth(pair, at, depth) for depth in depths]
    return {
        **at,
        "v": v,
        "flat_to": max(n for n, steps in v.items() if all(v[m] <= FLAT for m in v if m <= n)),
        "c": pair.draft.seconds(1, **at) / step if pair.draft else 0.0,
        **_worth(pair, at, k),
        "by_k": by_k,
    }


def _worth(pair: Pair, at: Mapping[str, int], k: int) -> dict[str, float]:
    """What k drafts gain if all are accepted, and the alpha at which they begin to gain."""
    step = pair.step(**at)
    one, two = (pair.draft.seconds(n, **at) / step for n in (1, 2)) if pair.draft else (0.0, 0.0)
    spent, late = pair.round(Chain(k), **at).total / step, two - one
    return {"full_acceptance": (k + 1) / (spent + late), "break_even": _break_even(k, spent, late)}


def _break_even(k: int, spent: float, late: float) -> float:
    """The alpha of 1 + alpha + .. + alpha^k = spent + late alpha^k, in plain steps; NaN where full acceptance loses."""

    def gain(alpha: float) -> float:
        return sum(alpha**i for i in range(k + 1)) - late * alpha**k - spent

    if gain(1.0) < 0:
        return math.nan
    return brentq(gain, 0.0, 1.0) if gain(0.0) < 0 else 0.0


def _fitted(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """base + per_token n batch + per_kv batch context for each model, its errors beside it; nothing rests on it.

    Non-negative least squares of relative errors; None where there are no more cells than parameters.
    """
    found = {}
    for model in ("target", "draft"):
        mine = [cell for cell in cells if cell["model"] == model]
        found[model] = _linear(mine) if len(mine) > PARAMETERS else None
    return found


def _linear(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    n, batch, context, seconds = (np.array([c[x] for c in cells]) for x in ("n", "batch", "context", "seconds"))
    features = np.stack([np.ones(len(cells)), n * batch, batch * context], axis=1)
    scale = features.max(axis=0)
    parameters = nnls(features / scale / seconds[:, None], np.ones(len(cells)))[0] / scale
    errors = features @ parameters / seconds - 1
    named = dict(zip(("base", "per_token", "per_kv"), parameters.tolist(), strict=True))
    return named | {"errors": errors, "median_error": np.median(abs(errors)), "worst_error": abs(errors).max()}


def _what_it_takes(steps: Mapping[str, Any], k: int) -> str:
    """What k drafts could gain, and the k that begins to pay at the lowest acceptance."""
    most = f"were all k = {k} drafts accepted in every round, it would be {times(steps['full_acceptance'])}"
    paying = [at for at in steps["by_k"] if at["full_acceptance"] > 1]
    if steps["full_acceptance"] > 1:
        most += f", and alpha = {significant(steps['break_even'])} breaks even"
    easiest = min(paying, key=lambda at: at["break_even"], default=None)
    if easiest is None or easiest["k"] == k:
        return most
    return f"{most}; k = {easiest['k']} pays from alpha = {significant(easiest['break_even'])}"


def _measure_next(verdict: str, costs: Costs, draft: str, kept: str | None) -> str:
    """A quieter machine, another draft, or the acceptance of one's own text at these prices."""
    if abs(costs.drift - 1) > DRIFT_BOUND:
        return f"measure again on a quieter machine: the same cell drifted by {costs.drift - 1:+.0%} within a sweep"
    if verdict == "dont_use":
        return "decode plainly, or choose a cheaper draft"
    file = kept or "FILE, with --out FILE here"
    target = "TARGET" if costs.measured.get("dummy_weights") else costs.measured.get("target", "TARGET")
    scored = shlex.join(["specmath", "profile", "--target", target, "--draft", draft])
    return f"score what the target wrote at these prices: {scored} --text LOG --costs {file}"
