"""What is asked of a deployment: requests a second and their tokens, the latency promised, and speculation's taxes."""

import math
from dataclasses import KW_ONLY, dataclass

from specmath.draft import within


@dataclass(frozen=True)
class Traffic:
    """Requests a second, and the mean tokens of a prompt and of an output.

    cached       share of a prompt's tokens whose keys and values are in the prefix cache already
    variation    squared coefficient of variation of the outputs' lengths: 1 as if geometric, 0 all alike

    ValueError for a rate below 0, fewer than one token, and a share outside [0, 1].

    >>> Traffic(8.0, 1000, 300, variation=0).context, Traffic(8.0, 1000, 300).context
    (1150.0, 1300.0)
    """

    rate: float
    prompt: float
    output: float
    _: KW_ONLY
    cached: float = 0.0
    variation: float = 1.0

    def __post_init__(self):
        domains = {"rate": (0,), "prompt": (1,), "output": (1,), "cached": (0, 1), "variation": (0,)}
        for name, domain in domains.items():
            within(name, getattr(self, name), *domain)

    @property
    def context(self):
        """Mean tokens behind a sequence in the batch: P + E[O^2] / (2 E[O]) = P + O (1 + variation) / 2.

        Half of the output where all are alike; long ones are in the batch for longer, and so seen more often.
        """
        return self.prompt + self.output * (1 + self.variation) / 2


@dataclass(frozen=True)
class Slo:
    """Promised seconds: to the first token, per output token after it, of the whole request; None promises nothing.

    percentile None holds the means to them, .95 the 95th percentile of the requests. ValueError for a promise of 0
    or less, and a percentile outside (0, 1).

    >>> Slo(tpot=0.02).promises
    (('tpot', 0.02),)
    """

    ttft: float | None = None
    tpot: float | None = None
    _: KW_ONLY
    e2e: float | None = None
    percentile: float | None = None

    def __post_init__(self):
        for name, seconds in self.promises:
            if within(name, seconds) == 0:
                raise ValueError(f"{name}: found 0, expected seconds above 0, or None for no promise")
        if self.percentile is not None and not 0 < within("percentile", self.percentile, 0, 1) < 1:
            raise ValueError(f"percentile: found {self.percentile}, expected a number inside (0, 1), such as .95")

    @property
    def promises(self):
        """(name, seconds) of what is promised."""
        given = ((name, getattr(self, name)) for name in ("ttft", "tpot", "e2e"))
        return tuple((name, seconds) for name, seconds in given if seconds is not None)


@dataclass(frozen=True)
class Taxes:
    """What an engine pays for having speculation switched on, also where it drafts nothing.

    idle         seconds added to every step that drafts nothing
    idle_share   the same as a share of the step: vLLM issue 49548 reports .066 at 2 concurrent requests, .216 at 189
    cache_lost   share of the prefix-cache hits that are lost
    """

    idle: float = 0.0
    idle_share: float = 0.0
    cache_lost: float = 0.0

    def __post_init__(self):
        for name, high in (("idle", math.inf), ("idle_share", math.inf), ("cache_lost", 1)):
            within(name, getattr(self, name), 0, high)
