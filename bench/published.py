"""Published speedups over batch and load against the roofline, no time fitted: `python -m bench published`.

Llama-3.1-8B with an EAGLE head (arXiv 2601.11580, figure 1): a batch starts together, prompts first, as that study's
simulator has it, and its acceptance lengths are given. Their data are called acc_eagle while its README says EAGLE-3,
so there are three readings: as given; without CNN/DailyMail, where the two heads differ most; and acceptance lengths
read off the row of batch 1, which leaves the times alone to be judged. The sparse models: with experts drawn
independently, and with their correlation fitted. vLLM's chart over queries per second of 2024: `bench/engine_2024.py`.
"""

import csv
import pathlib
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from specmath import Chain, Pair, Roofline
from specmath.efficiency import efficiency
from specmath.hardware import model

ROWS = pathlib.Path(__file__).parent / "data" / "published.csv"
K, FUSED = 3, {"eagle": 2, "eagle3": 3}
CORRELATIONS = np.linspace(0, 1, 21)


def rows(source):
    """The rows of one source, in their order."""
    with ROWS.open() as file:
        return [row for row in csv.DictReader(file) if row["source_id"] == source]


def pair(row, weights, kv="bf16", rho=1.0):
    """The costs of a row's target and head."""
    shape, run = model(row["model"]), {"tp": int(row["n_gpu"])}
    target = replace(efficiency(row["hardware"], weights, **run), rho=rho)
    draft = efficiency(row["hardware"], **run).drafting()
    return Pair(
        Roofline(shape, row["hardware"], weights=weights, kv=kv, efficiency=target, **run),
        Roofline(shape.head(fusion=FUSED[row["method"]], dense=True), row["hardware"], efficiency=draft, **run),
        overhead=target.accept,
    )


def together(row, tau):
    """The speedup of a batch that starts together: all prompts, then plain steps, or rounds of tau tokens."""
    cost, batch = pair(row, "bf16"), int(row["load"])
    prompt, output = float(row["prompt_tokens"]), float(row["output_tokens"])
    at = {"batch": batch, "context": prompt + output / 2}
    first = cost.target.prefill(prompt, batch=batch)
    plain = first + (output - 1) * cost.step(**at)
    drafting = first + cost.draft.prefill(prompt, batch=batch)
    return plain / (drafting + (output - 1) / tau * cost.round(Chain(K), **at).total)


def dense():
    """(name, errors) of each reading over the dense rows."""
    given = rows("SDB")
    measured = np.array([float(row["speedup"]) for row in given])
    lengths = np.array([float(row["accept_len"]) for row in given])
    found = np.array([together(row, tau) for row, tau in zip(given, lengths, strict=True)])
    first = {row["dataset"]: _length_at_one(row) for row in given if row["load"] == "1"}
    later = np.array([row["load"] != "1" for row in given])
    refound = np.array([together(row, first[row["dataset"]]) for row in given])
    other = np.array([row["dataset"] != "CNN/DailyMail" for row in given])
    yield "acceptance lengths as given", (found / measured - 1)
    yield "as given, without CNN/DailyMail", (found / measured - 1)[other]
    yield "lengths from the row of batch 1, at 16, 64, 128", (refound / measured - 1)[later]


def least(errors):
    """The least mean |error| that any one change of the times at each batch reaches, data sets being shifted alike."""
    given = rows("SDB")
    batches = np.array([int(row["load"]) for row in given])
    scales = np.linspace(0.7, 1.3, 601)
    each = [
        np.abs(np.outer(scales, 1 + errors[batches == batch]) - 1).mean(axis=1).min() for batch in np.unique(batches)
    ]
    return float(np.mean(each))


def _length_at_one(row):
    """The tokens per round at which the times give the speedup that was measured at batch 1."""
    return float(brentq(lambda tau: together(row, tau) - float(row["speedup"]), 1, K + 1))


def sparse(source, weights, kv, context, tau=None):
    """(rho, tau, predicted) with rho 1 and with the rho that fits best; tau is fitted where it is not published."""
    chosen = [row for row in rows(source) if "fp8" not in row["draft"]]
    measured = np.array([float(row["speedup"]) for row in chosen])

    def at(rho):
        gains = np.array([_gain(row, pair(row, weights, kv, rho), context) for row in chosen])
        length = tau or float(np.median(measured / gains))
        return rho, length, gains * length, float(np.abs(gains * length / measured - 1).mean())

    return measured, at(1.0), min((at(float(rho)) for rho in CORRELATIONS), key=lambda found: found[-1])


def _gain(row, cost, context):
    at = {"batch": int(row["load"]), "context": context}
    return cost.step(**at) / cost.round(Chain(K), **at).total


def main():
    """The tables."""
    readings = list(dense())
    for name, errors in readings:
        print(f"{name}: {_error(np.abs(errors).mean())}, bias {errors.mean():+.1%}, {len(errors)} rows")
    print(f"the least that a change of the times alike for all data sets reaches: {least(readings[0][1]):.1%}")
    for row in rows("SDB"):
        found, was = together(row, float(row["accept_len"])), float(row["speedup"])
        where = f"  {row['dataset']:14} batch {row['load']:>3}"
        print(f"{where}  measured {was:.2f}  predicted {found:.2f}  {found / was - 1:+.1%}")
    for name, arguments in (
        ("Kimi-K2.5 on 4 MI355X, acceptance not published", ("AMD-Kimi", "mxfp4", "bf16", 1536)),
        ("gpt-oss-20b on a B200, 2.70 tokens per round", ("P-EAGLE", "mxfp4", "fp8", 500, 2.7)),
    ):
        measured, *found = sparse(*arguments)
        print(f"{name}: measured {_each(measured)}")
        for (rho, tau, predicted, error), word in zip(found, ("independent experts", "rho fitted"), strict=True):
            print(f"  {word}: rho {rho:.2f}, tau {tau:.2f}: {_each(predicted)}, {_error(error)}")


def _error(value):
    return f"mean |error| {value:.1%}"


def _each(values):
    return " ".join(f"{value:.2f}" for value in values)
