"""What more training data buys a draft: acceptance against the number of training samples, never far beyond them.

    alpha(N) = a_inf - A N^-b,    A >= 0, b > 0       or the same of logit(alpha)

is fitted to acceptance counted at four or more sizes, N/8 to N by doubling as a rule. An interval holds every value
that some curve reaches whose weighted squares exceed the least by no more than chance allows, b left open (a profile of
the likelihood). A ceiling can often not be told from growth with log N: then it is not identified, and what lies ahead
is wide.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import chdtrc, expit, fdtrc, logit, ndtri

from specmath.draft import shown, whole, within
from specmath.intervals import DEGENERATE, Estimate, student
from specmath.power_law import STEEP, STRAIGHT, PowerLaw, edge
from specmath.tally import NotIdentifiable, Rounds, Tally

REACH = 4  # times the largest size: further than that nothing is said
SIZES = 4
PROMPTS = 5  # per size, for the covariance between sizes to be known: intervals then cover within 2 % of their level
SCALES = ("alpha", "logit")


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """The curve that fits the acceptance at `sizes` best; made by `LearningCurve.fit`.

    sizes[m] training samples, ascending; alphas[m] accepted / tested; level of the intervals; misfit, the chance that
    counts of a true curve lie as far from the best one as these do (chi-square): where it is tiny, acceptance does
    not follow such a curve, or trainings of one size differ by more than `noise`.
    """

    sizes: Any
    alphas: Any
    level: float
    scale: str
    prompts: int
    method: str
    law: PowerLaw = field(repr=False)
    limit: float = field(repr=False)

    @classmethod
    def fit(cls, data, *, level=0.95, scale="alpha", position=None, noise=0.0):
        """The curve of `data`, one entry per training size: (N, accepted, tested) or (N, Tally).

        Weights of counts are binomial: every tested draft an independent trial, which drafts of one prompt are not.
        Tallies have their prompts as units. Equally many in all of them are taken for the same prompts in the same
        order, so that what makes a prompt easy for every draft is no noise of the curve's shape; otherwise the sizes
        are independent. position i fits the conditional acceptance of draft i (1 is the first), None that of all
        drafts together, as a geometric law has it. noise is the standard deviation of alpha from one training to
        another of the same size, which counts of one training do not show. scale "logit" fits logit(alpha).

        Tokens per round come from one curve per position through the survival product, not from the mean alpha:
        `Positional([curve.alpha(N).value for curve in curves]).block_efficiency(k)`.

        ValueError for fewer than 4 sizes, a size twice, counts that cannot be. NotIdentifiable where nothing was
        tested, or with fewer prompts than 5 per size.

        >>> curve = LearningCurve.fit([(1000 * 4**i, 80_000 - 20_000 // 2**i, 100_000) for i in range(5)])
        >>> round(curve.a_inf.value, 4), round(curve.b.value, 4), round(curve.alpha(1_024_000).value, 5)
        (0.8, 0.5, 0.79375)
        """
        within("level", level, DEGENERATE, 1 - DEGENERATE)
        if scale not in SCALES:
            raise ValueError(f"scale: found {shown(scale)}, expected {' or '.join(SCALES)}")
        sizes, accepted, tested = _columns(data, position)
        alphas, covariance, prompts, method = _observed(accepted, tested)
        covariance += within("noise", noise) ** 2 * np.eye(len(sizes))
        y, covariance = _scaled(scale, alphas, covariance, tested)
        law = PowerLaw(sizes / sizes[0], y, np.linalg.inv(covariance))
        limit = law.best[3] + _critical(level, [len(column) for column in tested], law.best[3])
        return cls(sizes, alphas, level, scale, prompts, method, law, limit)

    @property
    def misfit(self):
        """P(squares > those of the best curve): chi-square, or Hotelling's T-square where prompts are the units."""
        free, squares = self.law.freedom, self.law.best[3]
        if self.prompts == 1:
            return float(chdtrc(free, squares))
        others = self.prompts - free
        return float(fdtrc(free, others, squares * others / (free * (self.prompts - 1))))

    @property
    def a_inf(self):
        """The acceptance that no amount of such data passes, at most 1, an `Estimate`.

        NotIdentifiable where growth with log N, without end, is within the limit. Of studies in which it is not, those
        that barely exclude it miss more often than the level says; a miss is stated in 1 - level of all.
        """
        self._refuse("a_inf", STRAIGHT)
        return self._value_at(math.inf, "a_inf")

    @property
    def b(self):
        """The exponent, an `Estimate`. NotIdentifiable as a_inf, and where growth may have ended by the second size."""
        self._refuse("b", STRAIGHT, STEEP)
        return self._estimate("b", self.law.best[0], self._exponents[0], self._exponents[-1])

    @property
    def A(self):
        """The factor of N^-b on the curve's scale, an `Estimate`, as uncertain as N^b is; NotIdentifiable as b."""
        self._refuse("A", STRAIGHT, STEEP)
        (b, _, slope, _), scale = self.law.best, self.sizes[0] ** self._exponents
        low, high = self.law.factors(self._exponents, self.limit)
        return self._estimate("A", slope / b * self.sizes[0] ** b, (scale * low).min(), (scale * high).max())

    def alpha(self, size):
        """The acceptance after training on so many samples, an `Estimate`; the interval is for the curve's value.

        ValueError for a size below the smallest one measured or beyond 4 times the largest.
        """
        first, furthest = float(self.sizes[0]), REACH * float(self.sizes[-1])
        if not first <= within("size", size) <= furthest:
            expected = f"{first:.12g} to {furthest:.12g}, {REACH} times the data"
            raise ValueError(f"size: found {size}, expected {expected}: train on more to see further")
        return self._value_at(size / first, "alpha")

    def data_needed(self, alpha):
        """Training samples at which the curve reaches an alpha, an `Estimate`.

        An end of the interval is 0 where the smallest size may have been enough, and infinite where 4 times the
        largest may not be. ValueError for an alpha that the curve has not within those sizes; NotIdentifiable where
        it does not rise at all.
        """
        if self.law.best[2] == 0:
            raise NotIdentifiable("any growth over these sizes", "the data that an alpha needs")
        furthest = REACH * float(self.sizes[-1] / self.sizes[0])
        lowest, highest = (self._linked(self.law.at(x)) for x in (1.0, furthest))
        if not lowest <= within("alpha", alpha, 0, 1) <= highest:
            expected = f"{lowest:.6g} to {highest:.6g}, what the curve reaches within {REACH} times the data"
            raise ValueError(f"alpha: found {alpha}, expected {expected}: train on more to see further")
        target, first = self._unlinked(alpha), float(self.sizes[0])
        value = edge(lambda x: self.law.at(x) <= target, 1.0, furthest)
        low = edge(lambda x: self._values(x)[1] >= target, value, 1.0)
        high = edge(lambda x: self._values(x)[0] <= target, value, furthest)
        ends = 0.0 if low == 1 else low * first, math.inf if high == furthest else high * first
        return self._estimate("data needed", value * first, *ends)

    @cached_property
    def _exponents(self):
        """Exponents of the curves within the limit."""
        return self.law.exponents(self.limit)

    def _values(self, x):
        """The lowest and the highest value of these curves at x times the smallest size."""
        return self.law.values(x, self._exponents, self.limit)

    def _refuse(self, what, *ends):
        """Raises where an exponent at one of these ends is within the limit too."""
        if STRAIGHT in ends and self.law.squares(STRAIGHT)[0] <= self.limit:
            raise NotIdentifiable("curvature", what, "growth with log N, without end, fits as well: add sizes or tests")
        if STEEP in ends and self.law.squares(STEEP)[0] <= self.limit:
            raise NotIdentifiable("growth after the second size", what, "add sizes below the smallest")

    def _value_at(self, x, what):
        """The estimate of the acceptance at x times the smallest size."""
        found = self._linked(np.array([self.law.at(x), *self._values(x)]))
        return self._estimate(what, *np.clip(found, 0, 1))

    def _estimate(self, what, value, low, high):
        method = f"{what} of a_inf - A N^-b; profile interval, {self.method}"
        return Estimate(float(value), float(low), float(high), self.level, self.prompts, method)

    def _linked(self, value):
        """From the curve's scale to alpha."""
        return expit(value) if self.scale == "logit" else value

    def _unlinked(self, alpha):
        return logit(alpha) if self.scale == "logit" else alpha


def _columns(data, position):
    """sizes[m] ascending and, for each, accepted[P] and tested[P]."""
    data = list(data)
    read = sorted((_entry(entry, position) for entry in data), key=lambda entry: entry[0])
    rules = sorted({entry[1].rule for entry in data if isinstance(entry[1], Tally | Rounds)})
    if len(rules) > 1:
        raise ValueError(f"data: found the rules {' and '.join(rules)}, expected one rule at every size")
    sizes = np.array([size for size, _, _ in read], dtype=float)
    if len(sizes) < SIZES:
        raise ValueError(f"data: found {len(sizes)} sizes, expected at least {SIZES}, each twice the one before, say")
    twice = sizes[1:][np.diff(sizes) == 0]
    if len(twice):
        raise ValueError(f"data: found size {twice[0]:.12g} twice, expected one entry for each")
    for size, _, tested in read:
        if not tested.any():
            raise NotIdentifiable("a tested draft", f"alpha at size {size:.12g}")
    return sizes, [accepted for _, accepted, _ in read], [tested for _, _, tested in read]


def _entry(entry, position):
    """(size, accepted[P], tested[P]) of one entry as it was given."""
    match entry:
        case (size, Rounds() as rounds):
            return _entry((size, rounds.tally()), position)
        case (size, Tally() as tally) if position is None:
            accepted, tested = tally.successes, tally.trials
        case (size, Tally() as tally):
            i = whole("position", position, 1) - 1
            if i >= tally.k:
                raise ValueError(f"position: found {position}, expected at most {tally.k}, the depth at size {size}")
            accepted, tested = tally.accepted[:, i], tally.at_risk[:, i]
        case (size, accepted, tested):
            accepted, tested = np.array([whole("accepted", accepted)]), np.array([whole("tested", tested)])
            if accepted > tested:
                raise ValueError(f"accepted: found {accepted[0]}, expected at most tested = {tested[0]} at size {size}")
        case _:
            raise ValueError(f"data: found {shown(entry)}, expected (N, accepted, tested) or (N, Tally)")
    if np.ndim(size):
        raise ValueError(f"size: found {shown(size)}, expected one number")
    return within("size", size, 1), accepted, tested


def _observed(accepted, tested):
    """alphas[m], their covariance [m, m], the prompts behind them, and in words how they were weighted."""
    totals = np.array([(x.sum(), y.sum()) for x, y in zip(accepted, tested, strict=True)], dtype=float).T
    alphas, smooth = totals[0] / totals[1], (totals[0] + 0.5) / (totals[1] + 1)
    binomial = smooth * (1 - smooth) / totals[1]
    prompts = sorted({len(column) for column in tested})
    if prompts == [1]:
        return alphas, np.diag(binomial), 1, "binomial weights, drafts as trials"
    if prompts[0] == 1:
        raise ValueError(f"data: found 1 prompt and {prompts[-1]}, expected prompts at every size or at none")
    paired = len(prompts) == 1
    if prompts[0] < PROMPTS * len(alphas):
        expected = f"{prompts[0]} prompts, at least {PROMPTS * len(alphas)} needed for {len(alphas)} sizes"
        raise NotIdentifiable("more prompts", "how acceptance varies between prompts", expected)
    away = [(x - a * y) / y.sum() for a, x, y in zip(alphas, accepted, tested, strict=True)]
    spread = [row * math.sqrt(len(row) / (len(row) - 1)) for row in away]
    covariance = np.array(spread) @ np.array(spread).T if paired else np.diag([row @ row for row in spread])
    covariance += np.diag(np.maximum(binomial - np.diag(covariance), 0))
    return alphas, covariance, prompts[0], "prompts as units" + (", the same at every size" if paired else "")


def _scaled(scale, alphas, covariance, tested):
    """Observations and covariance on the scale of the curve; a logit keeps half a test off 0 and 1."""
    if scale == "alpha":
        return alphas, covariance
    total = np.array([column.sum() for column in tested])
    alphas = (alphas * total + 0.5) / (total + 1)
    slope = 1 / (alphas * (1 - alphas))
    return logit(alphas), covariance * np.outer(slope, slope)


def _critical(level, prompts, squares):
    """What squares may exceed the least by: a normal value's square, or Student's where prompts are the units.

    Where the covariance is estimated from P prompts that all m sizes share, P + 2 - m degrees of freedom are left, and
    the estimated weights make squares too large by (P - 1 + least squares) / (P + 2 - m) (Rao 1959).
    """
    if max(prompts) == 1:
        return float(ndtri((1 + level) / 2)) ** 2
    if len(set(prompts)) > 1:
        return student(level, min(prompts)) ** 2
    freedom = prompts[0] + 2 - len(prompts)
    return student(level, freedom + 1) ** 2 * (prompts[0] - 1 + squares) / freedom
