"""Intervals that survive clustering: a ratio of totals with its prompts as the units.

Rounds of one prompt resemble each other, so prompts are the units of every interval: a count of rounds or
tokens taken as independent trials gives intervals several times too narrow. A ratio of totals sum x / sum y
over P prompts has the standard error

    SE = sqrt( P / (P - 1) * sum_p (x_p - r y_p)^2 ) / sum_p y_p          and r +- t_{P-1} SE

as interval, with Student's t (the linearised ratio estimator of survey sampling: Cochran 1977, section 2.11).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from specmath.draft import Chain, shown, within
from specmath.law import geometric_sum
from specmath.tally import NotIdentifiable

DEGENERATE = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A number, its interval at `level` (NaN, NaN where there is none), and the prompts it rests on."""

    value: float
    low: float
    high: float
    level: float
    prompts: int
    method: str

    @property
    def half_width(self):
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def ratio(numerator, denominator, level=0.95, *, method="ratio of totals", bounds=None):
    """sum(numerator) / sum(denominator), one entry of each per prompt: `quotient` with one pair of columns.

    >>> ratio([1, 3, 2], [2, 4, 2]).value
    0.75
    """
    return quotient([numerator], [denominator], level, method=method, bounds=bounds)


def quotient(numerators, denominators, level=0.95, *, ahead=0, method="ratio of totals", bounds=None):
    """Product over columns i of sum_p x_ip / sum_p y_ip, with its interval clustered by prompt p.

    A speedup is plain seconds / plain tokens times tokens / seconds of the other arm: the columns are taken
    jointly, so what a prompt does to all of them cancels where it should. With `ahead` the interval is for
    the quotient of so many prompts to come, wider by sqrt(1 + P / ahead), and not for the mean.

    bounds (low, high), where the quotient has them, clip the interval. Where every prompt has the same
    quotient there is no spread to go by (all accepted, or none): with bounds the interval is then binomial
    with each prompt as one trial (Clopper and Pearson 1934), one-sided at a bound, where it holds for any
    prompts of equal denominators since E[X] >= P(X = 1) for X in [0, 1]. Where denominators differ it may not:
    if 95 % of prompts have their one test accepted and 5 % have 1000 tests rejected, the ratio is 0.019, but six
    in ten studies of 10 prompts see only the former and put it above 0.74. Without bounds, or with one prompt,
    there is no interval. Prompts that are zero in every column are left out of P. Raises NotIdentifiable where a
    denominator is zero in all of them, ValueError for columns of unequal length or entries that are negative
    or not finite.

    >>> round(quotient([[4, 9], [1, 1]], [[1, 1], [2, 4]]).value, 3)
    2.167
    """
    x, y = columns(numerators, denominators, method)
    within("level", level, DEGENERATE, 1 - DEGENERATE)
    prompts = x.shape[1]
    value, error = (float(cell) for [cell] in linearised(x, y, np.ones((1, prompts))))
    estimate = Estimate(value, math.nan, math.nan, level, prompts, method)
    if error <= DEGENERATE * value:
        return _without_spread(estimate, bounds)
    half = error * student(level, prompts) * math.sqrt(1 + prompts / ahead if ahead else 1)
    return between(estimate, value - half, value + half, bounds, "t interval clustered by prompt")


def difference(x_a, y_a, x_b, y_b, level=0.95, *, method="difference of ratios"):
    """sum x_a / sum y_a - sum x_b / sum y_b over the same prompts, its interval paired by prompt.

    SE = sqrt( P / (P - 1) * sum_p (r_a,p - r_b,p)^2 ) with r_p = (x_p - r y_p) / sum y, and Student's t: what makes a
    prompt easy for both cancels, so that a difference is known far better than either ratio. Where the residuals are
    the same in every prompt, or there is one prompt, there is no interval. Raises as `quotient` does.

    >>> round(difference([9, 4], [10, 10], [8, 2], [10, 10]).value, 12)
    0.15
    """
    x, y = columns([x_a, x_b], [y_a, y_b], method)
    within("level", level, DEGENERATE, 1 - DEGENERATE)
    prompts, totals = x.shape[1], y.sum(axis=1)
    ratios = x.sum(axis=1) / totals
    residual = (x - ratios[:, None] * y) / totals[:, None]
    error = math.sqrt(prompts / max(prompts - 1, 1) * float(np.sum((residual[0] - residual[1]) ** 2)))
    value = float(ratios[0] - ratios[1])
    estimate = Estimate(value, math.nan, math.nan, level, prompts, method)
    if error <= DEGENERATE:
        return _without_spread(estimate, None)
    half = error * student(level, prompts)
    return replace(estimate, low=value - half, high=value + half, method=f"{method}; t interval paired by prompt")


def linearised(x, y, weights):
    """value[R] and standard error[R] of the quotient of columns x, y [C, P] under weights [R, P] of the prompts."""
    prompts, over, under = x.shape[1], weights @ x.T, weights @ y.T
    ratios = over / under
    others = np.stack([np.delete(ratios, i, axis=1).prod(axis=1) for i in range(len(x))])
    influence = sum((others[i] / under[:, i])[:, None] * (x[i] - ratios[:, i, None] * y[i]) for i in range(len(x)))
    variance = prompts / max(prompts - 1, 1) * np.sum(weights * influence**2, axis=1)
    return ratios.prod(axis=1), np.sqrt(variance)


def between(estimate, low, high, bounds, how):
    """The estimate with this interval, cut at the bounds that the quotient has."""
    floor, ceiling = bounds or (0.0, math.inf)
    return replace(estimate, low=max(low, floor), high=min(high, ceiling), method=f"{estimate.method}; {how}")


def more_prompts(estimate, threshold):
    """Prompts still missing until the interval would exclude `threshold`, at the present value and spread.

    The half-width h (of the longer side, where a bound cut the other) shrinks as t_{P-1} / sqrt(P). The answer
    is n - P for the least n > P with h (t_{n-1} / t_{P-1}) sqrt(P / n) < |value - threshold|, and 0 where the
    interval excludes it already. None where no number of prompts is known to do: no interval to go by, or a
    value within a millionth of h of the threshold.

    >>> more_prompts(Estimate(0.7, 0.6, 0.8, 0.95, 20, "example"), 0.65)
    53
    """
    gap = abs(_checked(estimate).value - threshold)
    return _missing(estimate, gap) if gap > 1e-6 * longer_side(estimate) else None


def prompts_needed(estimate, half_width):
    """Prompts still missing until the interval would be the value +- half_width, at the present spread.

    The search of `more_prompts` for a precision instead of a threshold: 0 where the interval is as short
    already, None where there is none to go by. ValueError where half_width is not positive and finite.

    >>> prompts_needed(Estimate(0.7, 0.6, 0.8, 0.95, 20, "example"), 0.02)
    421
    """
    return _missing(_checked(estimate), within("half_width", half_width, DEGENERATE))


def rounds_needed(alpha, k, half_width, level=0.95):
    """Rounds of depth k for alpha +- half_width, if every draft of every round were independent of the others.

    n = z^2 alpha (1 - alpha) / (half_width^2 (1 + alpha + .. + alpha^(k-1))): the information of rounds that are
    censored at k (derived here). Rounds of one prompt are not independent: a measured spread answers
    `prompts_needed`. Arrays broadcast. ValueError for scalars outside 0 < alpha < 1, k >= 1, half_width > 0.

    >>> rounds_needed(0.7, 5, 0.02), rounds_needed(0.7, 5, 0.01)
    (728, 2910)
    """
    alpha, k = within("alpha", alpha, DEGENERATE, 1 - DEGENERATE), Chain(within("k", k, 1)).depth
    half_width = within("half_width", half_width, DEGENERATE)
    z = float(ndtri((1 + within("level", level, DEGENERATE, 1 - DEGENERATE)) / 2))
    rounds = np.ceil(z**2 * alpha * (1 - alpha) / (half_width**2 * (1 + geometric_sum(alpha, np.subtract(k, 1)))))
    return int(rounds) if np.ndim(rounds) == 0 else rounds


def _checked(estimate):
    if not isinstance(estimate, Estimate):
        raise ValueError(f"estimate: found {shown(estimate)}, expected an `Estimate`")
    return estimate


def _missing(estimate, gap):
    """n - P for the least n >= P prompts whose half-width would be below the gap; None without an interval."""
    half, prompts = longer_side(estimate), estimate.prompts
    if math.isnan(half):
        return None
    if half < gap:
        return 0
    spread = half / student(estimate.level, prompts) * math.sqrt(prompts)
    needed = max(prompts + 1, math.ceil((float(ndtri((1 + estimate.level) / 2)) * spread / gap) ** 2))
    while spread * student(estimate.level, needed) / math.sqrt(needed) >= gap:
        needed += 1
    return needed - prompts


def longer_side(estimate):
    """The half-width that counts where a bound has cut the other side."""
    return max(estimate.value - estimate.low, estimate.high - estimate.value)


def columns(numerators, denominators, what):
    """Both sides as floats [columns, prompts], without the prompts that are zero throughout."""
    sides = [[np.asarray(column, dtype=float) for column in side] for side in (numerators, denominators)]
    shapes = [column.shape for side in sides for column in side]
    if len(sides[0]) != len(sides[1]) or {len(shape) for shape in shapes} != {1} or len(set(shapes)) > 1:
        found = " and ".join(map(str, shapes))
        raise ValueError(f"{what}: found shapes {found}, expected one entry of each per prompt")
    x, y = map(np.asarray, sides)
    bad = ~((x >= 0) & (x < math.inf) & (y >= 0) & (y < math.inf))
    if bad.any():
        column, prompt = np.argwhere(bad)[0]
        found = f"{x[column, prompt]} / {y[column, prompt]}"
        raise ValueError(f"{what}: found {found} for prompt {prompt}, expected finite numbers >= 0")
    if not y.any(axis=1).all():
        raise NotIdentifiable("anything to divide by", what, "a denominator is zero in every prompt")
    kept = (x + y).any(axis=0)
    return x[:, kept], y[:, kept]


def student(level, prompts):
    """The quantile of Student's t that makes a two-sided interval over so many prompts."""
    return float(stdtrit(prompts - 1, (1 + level) / 2))


def _without_spread(estimate, bounds):
    """The estimate where one prompt stands alone or all agree exactly: a binomial interval within bounds, or none."""
    if estimate.prompts == 1 or bounds is None:
        why = "one prompt" if estimate.prompts == 1 else "no spread between prompts"
        return replace(estimate, method=f"{estimate.method}; {why}, so no interval")
    floor, ceiling = bounds
    share = (estimate.value - floor) / (ceiling - floor) if ceiling > floor else 0.0
    successes, failures = share * estimate.prompts, (1 - share) * estimate.prompts
    tail = (1 - estimate.level) / (1 if share in (0, 1) else 2)
    low = float(betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0
    low, high = floor + (ceiling - floor) * low, floor + (ceiling - floor) * high
    return between(estimate, low, high, bounds, "no spread, binomial with prompts as trials")
