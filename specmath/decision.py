"""What to do about a measured speedup, and how often that is wrong."""

import math
from dataclasses import dataclass

from scipy.special import stdtr

from specmath.intervals import longer_side, more_prompts, student


@dataclass(frozen=True)
class Decision:
    """use, dont_use or measure_more; how often a study like this one is wrong about it; the prompts missing.

    more_prompts is 0 where it is decided, and None where no number of prompts is known to decide it.
    """

    verdict: str
    probability_wrong: float
    more_prompts: int | None


def decide(estimate, threshold=1.0):
    """Above or below the threshold, if the interval of the estimate says so: a `Decision`.

    probability_wrong = P(T > |value - threshold| / SE), T with Student's t of P - 1 degrees of freedom and SE what
    the longer side of the interval implies: were the truth at the threshold, or on its other side, a study as
    large would end this far on this side with at most this probability. It is the one-sided p-value of the sign,
    not the probability, given these data, that the sign is wrong. A decision is taken where it is below
    (1 - level) / 2, which is where the interval excludes the threshold: of all studies with the truth on the
    other side, at most that share decides wrongly. For surer decisions, estimate at a higher level.

    That is as exact as the t interval. A speedup is skewed, and at 95 % in studies of 20 to 40 prompts whose true
    speedup is 1 (simulated, alphas from Beta laws) 1 to 2 % say use and 3 to 7 % say dont_use, for 2.5 % each: it
    errs towards plain decoding.

    Without an interval nothing is decided and the probability is unknown, NaN. Where the interval has no length (a
    number that cannot vary) any threshold but the value itself is decided, and the probability is 0.

    >>> from specmath.intervals import Estimate
    >>> decision = decide(Estimate(1.2, 1.1, 1.3, 0.95, 20, "example"))
    >>> decision.verdict, round(decision.probability_wrong, 9)
    ('use', 0.000250507)
    """
    missing = more_prompts(estimate, threshold)
    sides = "use" if estimate.value > threshold else "dont_use"
    return Decision("measure_more" if missing != 0 else sides, _wrong(estimate, threshold), missing)


def _wrong(estimate, threshold):
    """The tail of Student's t beyond the distance of the value from the threshold."""
    half, gap = longer_side(estimate), abs(estimate.value - threshold)
    if not half > 0:
        return 0.0 if half == 0 and gap > 0 else math.nan
    distance = gap / half * student(estimate.level, estimate.prompts)
    return float(stdtr(estimate.prompts - 1, -distance))
