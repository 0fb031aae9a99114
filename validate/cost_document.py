"""The cost table of a target and a draft, as the JSON object of `specmath cost`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from specmath.speedup import break_even
from validate.costs import TARGET, Costs
from validate.document import envelope, nulled, significant, times

DRIFT_BOUND = 0.1
PARAMETERS = 3
FLAT = 1.1  # plain steps that a forward over several tokens may take and still cost "the time of one"


def cost_document(costs: Costs, draft: str, k: int, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The table as measured, never smoothed, in plain steps at each batch and context, and beside it a linear form.

    "dont_use" where not even full acceptance of k drafts would pay after the shortest context, else
    "measure_more": a cost table knows nothing of acceptance.
    """
    roles = {TARGET: TARGET, draft: "draft"}
    cells = [row | {"model": roles[row["model"]]} for row in costs.rows() if row["model"] in roles]
    places = sorted({(cell["batch"], cell["context"]) for cell in cells})
    steps = [_plain_steps(cells, place, k, costs.overhead) for place in places]
    verdict = "dont_use" if steps[0]["full_acceptance"] <= 1 else "measure_more"
    reason, then = _what_it_takes(steps[0], k), _measure_next(verdict, costs.drift)
    return nulled(
        envelope("cost", verdict, reason, then)
        | {"draft": draft, "cells": cells, "machine": machine, "drift": costs.drift, "overhead": costs.overhead}
        | {"k": k, "plain_steps": steps, "fitted": _fitted(cells)}
    )


def _plain_steps(cells: Sequence[Mapping[str, Any]], place: tuple[int, int], k: int, overhead: float) -> dict[str, Any]:
    """At one batch and context: v(n) by n, c, and what k drafts could at most gain and must accept to break even."""
    target, draft = (
        {
            cell["n"]: cell["seconds"]
            for cell in cells
            if (cell["model"], cell["batch"], cell["context"]) == (model, *place)
        }
        for model in ("target", "draft")
    )
    v = {n: seconds / target[1] for n, seconds in target.items()}
    c = draft[1] / target[1] if draft else 0.0
    beyond = max(v[k + 1] + overhead / target[1] - 1, 0.0)
    alpha = break_even(c=c, k=k, o=beyond)
    full = (k + 1) / (1 + beyond + k * c)
    flat = max(n for n, steps in v.items() if all(v[m] <= FLAT for m in v if m <= n))
    return {
        "batch": place[0],
        "context": place[1],
        "v": v,
        "flat_to": flat,
        "c": c,
        "full_acceptance": full,
        "break_even": alpha,
    }


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
    most = f"were all k = {k} drafts accepted in every round, it would be {times(steps['full_acceptance'])}"
    return most if steps["full_acceptance"] <= 1 else f"{most}; alpha = {significant(steps['break_even'])} breaks even"


def _measure_next(verdict: str, drift: float) -> str:
    if abs(drift - 1) > DRIFT_BOUND:
        return f"measure again on a quieter machine: the same cell drifted by {drift - 1:+.0%} within a sweep"
    if verdict == "dont_use":
        return "decode plainly, or choose a cheaper draft or a smaller k"
    return "measure the acceptance on your own prompts: specmath run --prompts FILE"
