"""A deployment as it would be with another acceptance or other times, all else kept."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from specmath.draft import Chain
from specmath.law import Law


@dataclass(frozen=True)
class Scaled:
    """A forward model whose time is `factor` times another's; with `beyond`, of what more than one token adds alone."""

    model: Any
    factor: float
    beyond: bool = False

    @property
    def provenance(self):
        """That of the model."""
        return self.model.provenance

    def seconds(self, n, *, batch=1, context=0):
        """Seconds of a forward over n new tokens in each of `batch` sequences."""
        time = self.model.seconds(n, batch=batch, context=context)
        kept = self.model.seconds(1, batch=batch, context=context) if self.beyond else 0.0
        return kept + self.factor * (time - kept)


@dataclass(frozen=True)
class Tilted(Law):
    """A law each of whose conditionals is `factor` times another's, at most 1: a'_i = min(1, factor a_i).

    It drafts what the other drafts, so that S'_i is at most the chance that i were drafted.
    """

    law: Law
    factor: float

    def on(self, draft):
        """The tilted law of rounds that draft this shape."""
        return Tilted(self.law.on(draft), self.factor)

    def survival(self, i):
        """S'_i of rounds that draft i."""
        depths = np.asarray(i)
        return np.vectorize(lambda k: self.curve(int(k))[-1], otypes=[float])(depths)[()]

    def curve(self, k):
        """S'_0, .., S'_k."""
        curve = np.asarray(self.law.curve(k), dtype=float)
        before = np.where(curve[:-1] > 0, curve[:-1], 1.0)
        tilted = np.cumprod(np.minimum(1.0, self.factor * curve[1:] / before))
        reached = np.cumsum(np.asarray(self.law.drafted(k), dtype=float)[::-1])[::-1]
        return np.concatenate([[1.0], np.minimum(tilted, reached[1:])])

    def drafted(self, k):
        """The lengths that the other law drafts."""
        return self.law.drafted(Chain(k).depth)


@dataclass(frozen=True)
class Most:
    """A bound of the batch that is known: what a memory answered."""

    batch: int

    def max_batch(self, context, k):
        """The bound, whatever is asked."""
        return self.batch


def fixed(deployment):
    """The deployment with its GPUs, the bound of its batch and the seconds of a prefill written down as they are."""
    candidate, station = deployment.candidate, deployment.station
    known = {"gpus": candidate.replica_gpus, "memory": Most(deployment.bound[0]), "prefill": station.prefill}
    return replace(deployment, candidate=replace(candidate, **known))


def tilted(deployment, factor):
    """The deployment with the acceptance of every draft, given those before it, times a factor."""
    return _with(deployment, law=Tilted(deployment.candidate.law, factor))


def draft_scaled(deployment, factor):
    """The deployment with the time of its drafting model times a factor."""
    cost = deployment.candidate.cost
    return _with(fixed(deployment), cost=replace(cost, draft=Scaled(cost.draft, factor)))


def target_scaled(deployment, factor):
    """The deployment with the time of the target's decoding steps and verifications times a factor."""
    cost = deployment.candidate.cost
    return _with(fixed(deployment), cost=replace(cost, target=Scaled(cost.target, factor)))


def bandwidth_scaled(deployment, factor):
    """The deployment with the share of its bandwidth that a Roofline target reaches times a factor."""
    cost = deployment.candidate.cost
    reached = cost.target.efficiency
    product, head = (replace(one, bandwidth=one.bandwidth * factor) for one in (reached.product, reached.head))
    reached = replace(reached, product=product, head=head, kv_bandwidth=reached.kv_bandwidth * factor)
    return _with(deployment, cost=replace(cost, target=replace(cost.target, efficiency=reached)))


def verify_scaled(deployment, factor):
    """The deployment with what verifying takes beyond a plain step times a factor."""
    cost = deployment.candidate.cost
    return _with(fixed(deployment), cost=replace(cost, target=Scaled(cost.target, factor, beyond=True)))


def _with(deployment, **changes):
    return replace(deployment, candidate=replace(deployment.candidate, **changes))
