"""Named parameters of a roofline fitted to measured times: factors on the defaults, with intervals and held-out errors.

Each parameter is multiplied by a factor; the sum of squares of log(predicted / measured) is least, with a prior that a
factor lies within e^{+-PRIOR} of 1, so that what the measurements say nothing about stays as it was.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtri

from specmath.efficiency import Efficiency, Product
from specmath.roofline import Roofline

PRIOR = 0.5
NOISE, LEAST_NOISE = 0.1, 1e-4  # the prior weighs as one measurement: of this error at first, then of the error found
OF_PRODUCTS = {"bandwidth": ("product", "head"), "flops": ("product", "head"), "fixed": ("product", "head")}
OF_ONE_TABLE = ("bandwidth", "flops", "kv_bandwidth", "host")  # one model on one GPU cannot tell its fixed times apart
PARAMETERS = ("bandwidth", "flops", "fixed", "kv_bandwidth", "attention", "allreduce", "allreduce_bandwidth", "host")


@dataclass(frozen=True)
class Factor:
    """A parameter's factor on its default, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Factors by parameter, and the mean of |predicted / measured - 1|: fitted, and each row left out in turn."""

    factors: Mapping[str, Factor]
    error: float
    held_out: float | None = None

    def apply(self, efficiency: Efficiency, source: str) -> Efficiency:
        """An efficiency with the factors on it, said to be fitted to `source`."""
        return scaled(efficiency, {name: factor.value for name, factor in self.factors.items()}, source)


def scaled(efficiency: Efficiency, factors: Mapping[str, float], source: str) -> Efficiency:
    """Parameters multiplied by factors; "bandwidth", "flops" and "fixed" are those of the matrix products.

    >>> from specmath.efficiency import efficiency
    >>> scaled(efficiency("H100 SXM"), {"host": 2.0}, "a test").host
    0.0024
    """
    values: dict[str, Any] = {}
    for name, factor in factors.items():
        for owner in OF_PRODUCTS.get(name, ()):
            product: Product = values.get(owner, getattr(efficiency, owner))
            values[owner] = replace(product, **{name: getattr(product, name) * factor})
        if name not in OF_PRODUCTS:
            value = getattr(efficiency, name) * factor
            values[name] = min(value, 1.0) if name == "rho" else value
    return efficiency.fitted(source, **values)


def fit_factors(
    predict: Callable, measured, names: Sequence[str] = PARAMETERS, *, weights: Any = 1.0, level=0.95
) -> Calibration:
    """Factors with which predict(factors) [seconds, array] is nearest to the measured seconds.

    weights multiply the logarithms: 1 / sqrt(n) for n measurements that err alike and shall count as one.
    Raises ValueError for fewer measurements than parameters, or a time that is not above 0.
    """
    target = np.asarray(measured, dtype=float)
    if target.ndim != 1 or len(target) < len(names):
        raise ValueError(f"measured: found {target.size} times, expected {len(names)} or more for as many parameters")
    if not (target > 0).all():
        raise ValueError(f"measured: found {target.min()}, expected times above 0")

    def residuals(logs, noise):
        predicted = predict(dict(zip(names, np.exp(logs), strict=True)))
        return np.concatenate([np.log(predicted / target) * weights, logs / PRIOR * noise])

    logs, spread = np.zeros(len(names)), NOISE
    for _ in range(2):
        found = least_squares(residuals, logs, args=(spread,))
        logs, error = found.x, found.fun[: len(target)]
        free = float(np.sum(np.broadcast_to(weights, target.shape) ** 2)) - len(names)
        spread = max(math.sqrt(float(error @ error) / max(free, 1.0)), LEAST_NOISE)
    widths = ndtri((1 + level) / 2) * spread * np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
    factors = {
        name: Factor(math.exp(x), math.exp(x - w), math.exp(x + w))
        for name, x, w in zip(names, found.x.tolist(), widths.tolist(), strict=True)
    }
    return Calibration(factors, float(np.mean(np.abs(np.expm1(error / weights)))))


def calibrate(roofline: Roofline, table: Any, names: Sequence[str] = OF_ONE_TABLE) -> tuple[Roofline, Calibration]:
    """A roofline fitted to a measured `Table`, and how well: its error, and that on each row left out."""
    rows = np.stack([table.n, table.batch, table.context, table.times])

    def fitted(kept):
        return fit_factors(lambda factors: _times(roofline, factors, kept), kept[3], names)

    def missed(row):
        factors = {name: factor.value for name, factor in fitted(np.delete(rows, row, axis=1)).factors.items()}
        return abs(float(_times(roofline, factors, rows[:, [row]])[0] / rows[3, row]) - 1)

    found = fitted(rows)
    held_out = float(np.mean([missed(row) for row in range(rows.shape[1])])) if rows.shape[1] > len(names) else None
    result = replace(found, held_out=held_out)
    return replace(roofline, efficiency=result.apply(roofline.efficiency, "a measured table")), result


def _times(roofline, factors, rows):
    model = replace(roofline, efficiency=scaled(roofline.efficiency, factors, "a measured table"))
    return np.asarray(model.seconds(rows[0], batch=rows[1], context=rows[2]))
