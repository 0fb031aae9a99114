"""Money and energy: what a million tokens cost, how many GPUs a demand takes, the joules of a token.

    dollars per million tokens   1e6 gpus price / (3600 tokens_per_second utilisation)
    GPUs                         ceil(rate / (capacity utilisation)) per replica
    joules per token             from FLOP / (peak FLOP/s) to seconds, times the power of the board

A price is an input with a date and a source, and nothing here has one of its own.
"""

import datetime
import math
import re
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from specmath.cost import Ratio
from specmath.draft import Tree, shown, whole, within
from specmath.speedup import speedup

JOULES_PER_KWH = 3.6e6
DATE = re.compile(r"\d{4}(-\d\d){0,2}", re.ASCII)


@dataclass(frozen=True)
class Price:
    """Dollars per GPU-hour as somebody listed them on a date; `per_hour` is what is billed.

    per_hour = dollars_per_gpu_hour * overhead. date is YYYY, YYYY-MM, YYYY-MM-DD or a `datetime.date`, source says
    where the price is from. overhead is the bill over the list price (storage, network, idle hours, staff of the
    platform), 1 unless given; real bills are said to be 1.3 to 1.5 times the list. ValueError for a price that is
    not positive, a date that is missing or none, a source that is empty, an overhead below 1.

    >>> Price(3.0, "2026-05", "offer of a provider", overhead=1.5).per_hour
    4.5
    """

    dollars_per_gpu_hour: float
    date: Any
    source: str
    _: KW_ONLY
    overhead: float = 1

    def __post_init__(self):
        _check_dated(self, "dollars_per_gpu_hour")
        one("overhead", self.overhead, 1)

    @property
    def per_hour(self):
        """Dollars billed for one GPU for one hour."""
        return self.dollars_per_gpu_hour * self.overhead


@dataclass(frozen=True)
class Electricity:
    """Dollars per kWh on a date; `per_joule` is what a joule in a GPU costs.

    per_joule = dollars_per_kwh * overhead / 3.6e6, where overhead is the power of the building over that of its boards
    (power usage effectiveness and the hosts), 1 unless given. Raises as `Price` does.

    >>> Electricity(0.09, "2026-05", "contract", overhead=1.2).per_joule * 1e6
    0.03
    """

    dollars_per_kwh: float
    date: Any
    source: str
    _: KW_ONLY
    overhead: float = 1

    def __post_init__(self):
        _check_dated(self, "dollars_per_kwh")
        one("overhead", self.overhead, 1)

    @property
    def per_joule(self):
        """Dollars for a joule that a GPU draws."""
        return self.dollars_per_kwh * self.overhead / JOULES_PER_KWH


def cost_per_million(gpus, price, tokens_per_second, *, utilisation=1):
    """Dollars per million output tokens: 1e6 gpus price / (3600 tokens_per_second utilisation).

    tokens_per_second is what all these GPUs emit together at the load they are planned for: requests per second
    times output tokens. utilisation is the share of the paid hours at that load. Arrays broadcast. ValueError for
    anything that is not positive, a utilisation above 1, a price that is no `Price`.

    >>> cost_per_million(4, Price(3.0, "2026-05", "example"), 2500.0)
    1.3333333333333333
    """
    gpus, tokens = _above("gpus", gpus), _above("tokens_per_second", tokens_per_second)
    share = _above("utilisation", utilisation, 1)
    return dollars_per_million(gpus, priced(price).per_hour, tokens * share)


def dollars_per_million(gpus, per_hour, tokens_per_second):
    """1e6 gpus per_hour / (3600 tokens_per_second), of what is billed per GPU-hour, however it was priced.

    >>> dollars_per_million(4, 4.5, 2500.0)
    2.0
    """
    return 1e6 * gpus * per_hour / (3600 * tokens_per_second)


def gpus_needed(rate, capacity_per_replica, gpus_per_replica=1, *, target_utilisation=0.8):
    """GPUs for a demand, whole replicas of them: ceil(rate / (capacity target_utilisation)) * gpus_per_replica.

    rate and capacity in the same unit (requests or tokens per second), the capacity being the highest rate of one
    replica that keeps the promised latency; target_utilisation, the share of it that is planned with, is .7 to .85
    as a rule. Arrays broadcast. ValueError for a negative rate, and for anything else that is not positive.

    >>> gpus_needed(20.0, 8.2, 4), gpus_needed(20.0, 2.8, 4)
    (16, 36)
    """
    rate, capacity = within("rate", rate), _above("capacity_per_replica", capacity_per_replica)
    replicas = rate / (capacity * _above("target_utilisation", target_utilisation, 1))
    gpus = np.ceil(replicas * (1 - 1e-12)) * whole("gpus_per_replica", gpus_per_replica, 1)
    return int(gpus) if np.ndim(gpus) == 0 else gpus


def operations_factor(law, shape, share, /):
    """Operations per emitted token over those of plain decoding: (k share + k + 1) / tau on a chain.

    share is the FLOPs of the draft for one token over those of the target, 0 for prompt lookup; tau the block
    efficiency. A tree of n nodes has n + 1 tokens verified and those with children drafted from. Where the drafted
    length varies, the mean over the lengths. Exactly 1 at k = 0. Leviathan et al. 2023, Theorem 3.11.

    Energy lies between: it falls with 1 / speedup where a GPU draws the same whatever it does, and grows by this
    factor where all it draws goes into operations.

    >>> from fractions import Fraction
    >>> operations_factor(Fraction(1, 2), 2, Fraction(1, 8))
    Fraction(13, 7)
    """
    share = within("share", share)
    drafted_from = sum(shape.forwards) / max(shape.depth, 1) if isinstance(shape, Tree) else 1
    return 1 / speedup(law, shape, Ratio(share * drafted_from, d=1))


@dataclass(frozen=True)
class Joules:
    """Bounds of the energy of one emitted token: `operations` from below, `time` from above.

    >>> Joules(0.25, 2.0).dollars_per_million(Electricity(0.09, "2026-05", "example", overhead=1.2))
    (0.0075, 0.06)
    """

    operations: Any
    time: Any

    def dollars_per_million(self, electricity):
        """Dollars of electricity per million tokens, (low, high)."""
        if not isinstance(electricity, Electricity):
            raise ValueError(f"electricity: found {shown(electricity)}, expected an `Electricity`, dated")
        return tuple(1e6 * joules * electricity.per_joule for joules in (self.operations, self.time))


def joules_per_token(operations, tokens_per_second, *, power, flops, gpus=1):
    """Energy of one emitted token, bounded by its operations and by its time, as `Joules`.

    operations    operations * power / flops        what they draw on boards at their peak, busy with nothing else
    time          gpus * power / tokens_per_second   the full power of all boards for as long as a token takes

    operations are FLOP per emitted token: about 2 * active parameters, times `operations_factor` with speculation.
    power [W] and flops [FLOP/s] are of one board. Between the bounds only a meter decides. ValueError for anything that
    is not positive, and for operations that would take longer at the peak than the tokens do.

    >>> joules_per_token(1.0e12, 8.0, power=500.0, flops=1.0e15, gpus=2)
    Joules(operations=0.5, time=125.0)
    """
    operations, tokens = one("operations", operations), one("tokens_per_second", tokens_per_second)
    power, flops, gpus = one("power", power), one("flops", flops), one("gpus", gpus)
    if operations * tokens > gpus * flops:
        most = gpus * flops / operations
        raise ValueError(f"tokens_per_second: found {tokens}, expected at most {most:.6g}, what the peak FLOP/s allow")
    return Joules(operations * power / flops, gpus * power / tokens)


def _check_dated(price, amount):
    """A price above 0 with a date and a source; the date is kept as text."""
    one(amount, getattr(price, amount))
    object.__setattr__(price, "date", _dated(price.date))
    if not isinstance(price.source, str) or not price.source.strip():
        raise ValueError(f"source: found {shown(price.source)}, expected text that says where the price is from")


def _dated(date):
    """The date as YYYY, YYYY-MM or YYYY-MM-DD."""
    text = str(date)
    try:
        if not DATE.fullmatch(text):
            raise ValueError(text)
        datetime.date.fromisoformat(f"{text}-01-01"[:10])
    except ValueError:
        expected = "YYYY-MM-DD, YYYY-MM or YYYY: say when the price was seen"
        raise ValueError(f"date: found {shown(date)}, expected {expected}") from None
    return text


def priced(price):
    """The price, which has a date and a source, or ValueError."""
    if not isinstance(price, Price):
        raise ValueError(f"price: found {shown(price)}, expected a `Price` with its date and source")
    return price


def one(name, value, low=None):
    """One finite number of at least `low`, or above 0 without it."""
    if np.ndim(value):
        raise ValueError(f"{name}: found {shown(value)}, expected one number")
    return _above(name, value) if low is None else within(name, value, low)


def _above(name, value, high=math.inf):
    """`within` (0, high]: 0 is outside too."""
    value = within(name, value, 0, high)
    if np.ndim(value):
        return np.where(value > 0, value, math.nan)
    if value == 0:
        domain = f"(0, {high}]" if high < math.inf else "(0, infinity)"
        raise ValueError(f"{name}: found {value}, expected a number in {domain}")
    return value
