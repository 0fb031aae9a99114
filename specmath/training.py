"""When training a draft pays back: dollars once and at every refresh, against GPUs that are no longer needed.

    months    cost / (saving - refresh / every),    saving = gpus price 730 (1 - before / after)
    tokens    C tps0 / (1 / before - 1 / after)

Capacities before and after are compared at the same promised latency, never at the same batch: speculation can lower
the batch that fits.
"""

import math
from dataclasses import KW_ONLY, dataclass

from specmath.economics import Price, one, priced

HOURS_PER_MONTH = 730  # 8760 / 12


@dataclass(frozen=True)
class Training:
    """What a draft costs before it saves anything, in `dollars`.

    dollars = gpu_hours price + tokens per_million / 1e6 + evaluation + engineering: the GPUs that train and extract
    hidden states, the text that the target regenerates at its `cost_per_million`, and two sums that people cost.

    >>> Training(80, Price(3, "2026-05", "example"), engineering=15_000).dollars
    15240.0
    """

    gpu_hours: float
    price: Price
    _: KW_ONLY
    tokens: float = 0
    per_million: float = 0
    evaluation: float = 0
    engineering: float = 0

    def __post_init__(self):
        priced(self.price)
        for name in ("gpu_hours", "tokens", "per_million", "evaluation", "engineering"):
            one(name, getattr(self, name), 0)

    @property
    def dollars(self):
        """The sum of it all."""
        text = self.tokens * self.per_million / 1e6
        return self.gpu_hours * self.price.per_hour + text + self.evaluation + self.engineering


def saving(gpus, price, before, after):
    """Dollars a month that fewer GPUs cost: gpus price 730 (1 - before / after).

    gpus are those that serve the demand now; before and after are capacities per GPU at the same promised latency
    (requests per second, say). Negative where the capacity falls. GPUs that come in whole replicas save in steps:
    `gpus_needed` twice says which.

    >>> saving(8, Price(3.0, "2026-05", "example"), 1.5, 2.0)
    4380.0
    """
    gpus, before, after = one("gpus", gpus), one("before", before), one("after", after)
    return gpus * priced(price).per_hour * HOURS_PER_MONTH * (1 - before / after)


def payback(cost, saving, *, refresh=0, every=math.inf):
    """Months until a cost is earned: cost / (saving - refresh / every), infinite where nothing is left over.

    cost [dollars] once, saving [dollars a month], refresh [dollars] again every so many months, as a draft ages with
    the traffic. `payback(refresh, saving)` is therefore the shortest cadence that does not lose money.

    >>> payback(15_000, 2000), payback(15_000, 2000, refresh=1500, every=3), payback(15_000, -1)
    (7.5, 10.0, inf)
    """
    cost, refresh = one("cost", cost, 0), one("refresh", refresh, 0)
    every = every if every == math.inf else one("every", every)
    net = one("saving", saving, -math.inf) - refresh / every
    return cost / net if net > 0 else math.inf


def refresh_every(refresh, decay):
    """The cadence, in months, at which refreshes and what they prevent cost least together: sqrt(2 refresh / decay).

    refresh [dollars] is one retraining, decay the dollars a month by which the monthly saving falls with every month
    of age. Cadence m costs refresh / m + decay m / 2 a month, least at this m. Infinite where nothing decays.
    Derived here; the square root of the economic order quantity (Harris 1913).

    >>> refresh_every(1200, 150)
    4.0
    """
    refresh, decay = one("refresh", refresh, 0), one("decay", decay, 0)
    return math.sqrt(2 * refresh / decay) if decay else math.inf


def break_even_traffic(cost, per_request, before, after, *, months):
    """Requests a month that earn a cost within so many months: cost / (months per_request (1 - before / after)).

    per_request [dollars] is what a request costs before; before and after are capacities per GPU at the same promised
    latency. With `months` the time until the next refresh, it is the traffic below which a draft is not worth
    keeping up. Infinite where the capacity does not rise.

    >>> break_even_traffic(15_000, 0.0005, 1.5, 2.0, months=6)
    20000000.0
    """
    cost, per_request, months = one("cost", cost, 0), one("per_request", per_request), one("months", months)
    before, after = one("before", before), one("after", after)
    return cost / (months * per_request * (1 - before / after)) if after > before else math.inf


def payback_tokens(gpu_seconds, tokens_per_gpu_second, before, after):
    """Tokens after which a training has saved the GPU time it took: C tps0 / (1 / before - 1 / after).

    C the GPU-seconds of the training, tps0 the tokens per GPU-second of plain decoding, before and after the speedups
    over it (1 for no speculation). Infinite where the speedup does not rise; Fractions stay. Derived here.

    >>> from fractions import Fraction
    >>> payback_tokens(100 * 3600, 40, Fraction("1.2"), Fraction("2.8"))
    Fraction(30240000, 1)
    """
    training, rate = one("gpu_seconds", gpu_seconds, 0), one("tokens_per_gpu_second", tokens_per_gpu_second)
    before, after = one("before", before), one("after", after)
    return training * rate / (1 / before - 1 / after) if after > before else math.inf
