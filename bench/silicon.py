"""TPOT of measured serving rows against the roofline: `python -m bench silicon`, or `python -m bench.silicon FILE`.

The rows (NVIDIA's, from the wheel aiconfigurator-core 0.12.0, Apache-2.0: a fixed half of its aggregate rows of three
models) are closed loops of fixed lengths without speculation. Two tables: nothing fitted to the rows; and factors on
the parameters fitted to all other groups (model, GPU, engine, weights), each group predicted by the rest. What the
rows do not say is taken from the engines: checkpoints of fp8 and nvfp4 keep an fp8 cache, one of block scales and of
bf16 a bf16 cache; an iteration holds 8,192 tokens of prompts at most.
"""

import csv
import pathlib
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from specmath import Roofline
from specmath.calibration import fit_factors, scaled
from specmath.efficiency import efficiency
from specmath.memory import Memory
from specmath.serving import Station, closed_loop

ROWS = pathlib.Path(__file__).parent / "data" / "silicon.csv"
CACHE = {"fp8": "fp8", "nvfp4": "fp8"}
BUDGET = 8192
FITTED = ("bandwidth", "flops", "fixed", "host")


def rows(path=ROWS):
    """The measured rows, their numbers read."""
    with pathlib.Path(path).open() as file:
        found = list(csv.DictReader(file))
    whole = ("tp", "prompt_tokens", "output_tokens", "concurrency")
    return [row | {name: int(row[name]) for name in whole} | {"tpot": float(row["tpot_ms"]) / 1e3} for row in found]


def roofline(row):
    """The forward of a row's model as its engine runs it."""
    run = efficiency(row["gpu"], row["weights"], tp=row["tp"], engine=row["engine"])
    forms = {"weights": row["weights"], "kv": CACHE.get(row["weights"], "bf16")}
    return Roofline(row["model"], row["gpu"], tp=row["tp"], efficiency=run, **forms)


def predicted(row, target):
    """(seconds per output token, seconds to the first) of so many requests in flight at once, for ever."""
    prompt, output, flight = row["prompt_tokens"], row["output_tokens"], row["concurrency"]
    at = {"context": prompt + output / 2}
    batch = min(flight, max(1, Memory.of(target).max_batch(prompt + output)))
    seconds = target.seconds(1, batch=np.arange(1, batch + 1), **at)
    if target.efficiency.prefill_first:
        return waves(float(seconds[-1]), target.prefill(prompt), batch, output)
    prompts = max(1.0, min(1 + batch / output, BUDGET / prompt))
    both = target.mixed(1, batch=batch, tokens=prompt, prompts=prompts, **at)
    added = (both - float(seconds[-1])) / prompts
    found = closed_loop(Station(seconds, 1.0, added, output, variation=0), flight)
    return found.tpot, found.ttft


def waves(step, prefill, batch, output):
    """Where waiting prompts stop the decoding and outputs are all alike: all prompts in turn, then all steps together.

    The mean request waits for half of the prompts before its own is done, and for the other half after.
    """
    return step + prefill * (batch - 1) / (2 * (output - 1)), prefill * (batch + 1) / 2


def group(row):
    """What is left out together."""
    return row["model"], row["gpu"], row["engine"], row["weights"]


def errors(found, given):
    """Predicted over measured TPOT, less 1."""
    return np.array(found) / np.array([row["tpot"] for row in given]) - 1


def uncalibrated(given):
    """Errors with nothing fitted to the rows."""
    return errors([predicted(row, roofline(row))[0] for row in given], given)


def first_token(given):
    """The same of the time to the first token, which hangs on how requests bunch."""
    found = np.array([predicted(row, roofline(row))[1] for row in given])
    return found * 1e3 / np.array([float(row["ttft_ms"]) for row in given]) - 1


def calibrated(given):
    """Errors of each group with factors fitted to all others, and the factors of all together.

    Every group weighs the same, as its rows err alike. The fits take log(predicted) as linear in the logarithms of the
    factors, around the defaults; what is left out is then predicted by the model itself.
    """
    models = [roofline(row) for row in given]
    base, slopes = _slopes(given, models)
    found, groups = np.zeros(len(given)), np.array(["|".join(group(row)) for row in given])
    for left_out in dict.fromkeys(groups):
        kept = groups != left_out
        factors = _fit([row for row, keep in zip(given, kept, strict=True) if keep], base[kept], slopes[kept])
        for i in np.flatnonzero(~kept):
            found[i] = predicted(given[i], _with(models[i], factors))[0]
    return errors(found, given), _fit(given, base, slopes)


def _slopes(given, models, step=0.1):
    """log(predicted) with the defaults, and its slopes in the logarithm of each factor: [rows], [rows, factors]."""

    def logs(factors):
        pairs = zip(given, models, strict=True)
        return np.log([predicted(row, _with(model, factors))[0] for row, model in pairs])

    up, down = ([logs({name: factor}) for name in FITTED] for factor in (np.exp(step), np.exp(-step)))
    return logs({}), (np.array(up) - np.array(down)).T / (2 * step)


def _fit(given, base, slopes):
    measured = [row["tpot"] for row in given]

    def at(factors):
        return np.exp(base + slopes @ np.log([factors[name] for name in FITTED]))

    sizes = Counter(map(group, given))
    weights = [sizes[group(row)] ** -0.5 for row in given]
    found = fit_factors(at, measured, FITTED, weights=weights)
    return {name: factor.value for name, factor in found.factors.items()}


def _with(model, factors):
    return replace(model, efficiency=scaled(model.efficiency, factors, "measured serving rows"))


def table(name, found, given):
    """The error of each group, worst first, and of all."""
    by_group = defaultdict(list)
    for row, error in zip(given, found, strict=True):
        by_group[group(row)].append(error)
    worst = max(np.abs(own).mean() for own in by_group.values())
    overall = f"mean {np.abs(found).mean():.1%}, median {np.median(np.abs(found)):.1%}, worst group {worst:.1%}"
    print(f"{name}: |error of TPOT| {overall}, {len(given)} rows")
    for key, own in sorted(by_group.items(), key=lambda entry: -np.abs(entry[1]).mean()):
        print(f"  {' '.join(key):46} {len(own):4} rows  mean {np.abs(own).mean():6.1%}  bias {np.median(own):+6.1%}")


def main(path=ROWS):
    """Both tables; the second where there are groups to leave out."""
    given = rows(path)
    table("nothing fitted", uncalibrated(given), given)
    print(f"time to the first token: median |error| {np.median(np.abs(first_token(given))):.0%}")
    if len(set(map(group, given))) < 2:
        return
    found, factors = calibrated(given)
    table("each group predicted by the others", found, given)
    print("factors fitted to all: " + ", ".join(f"{name} {value:.2f}" for name, value in factors.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
