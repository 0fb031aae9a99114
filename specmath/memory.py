"""Which batch fits: weights of both models, KV of both with the slots that drafts need, a reserve, on the fullest GPU.

    room = usable x memory - reserve - weights / tp - draft weights / draft tp            [bytes, per GPU]
    batch <= room / (KV of a sequence / shards + draft KV of it / its shards)

A sequence holds its tokens and k + 1 lookahead slots, which are reserved before drafts are known to be accepted.
"""

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from specmath.cost import Roofline, Share
from specmath.draft import whole, within

RESERVE = 3.5 * 2**30  # activations, graphs, buffers of the engine, per GPU: aiconfigurator 0.12.0's rule
USABLE = 0.9  # gpu_memory_utilization of vLLM


@dataclass(frozen=True)
class Memory:
    """Bytes of one replica on its fullest GPU: what is fixed, and what each token of a sequence adds.

    room is what the KV caches may take; kv(tokens) bytes of one sequence of so many tokens. Of Rooflines: `Memory.of`.

    >>> Memory(room=1000.0, per_token=2.0).max_batch(100, k=4)
    4
    """

    _: KW_ONLY
    room: float
    per_token: float = 0.0
    draft_per_token: float = 0.0
    weights: float = 0.0
    draft_weights: float = 0.0
    reserve: float = 0.0
    total: float = math.inf
    models: tuple[Any, ...] = ()

    @classmethod
    def of(cls, target, draft=None, *, usable=USABLE, reserve=RESERVE):
        """The memory of a target Roofline and, where a model drafts, of the draft's, on the target's GPU.

        A draft that reads the target's own weights and cache (a sparse one of the same shape and weights) adds nothing.
        """
        gpu, own = target.gpu.memory, holds(target, draft)
        weights, drafts = target.weight_bytes / target.tp, draft.weight_bytes / draft.tp if own else 0.0
        room = within("usable", usable, 0, 1) * gpu - within("reserve", reserve) - weights - drafts
        return cls(
            room=room,
            per_token=_per_token(target),
            draft_per_token=_per_token(draft) if own else 0.0,
            weights=weights,
            draft_weights=drafts,
            reserve=reserve,
            total=gpu,
            models=(target, draft) if own else (target,),
        )

    def kv(self, tokens):
        """Bytes of the KV caches of one sequence of so many tokens on a GPU; of windowed layers, the window."""
        if not self.models:
            return tokens * (self.per_token + self.draft_per_token)
        return sum(_whole(model).kv_read(tokens, model.kv) / model.kv_shards for model in self.models)

    def max_batch(self, tokens, k=0) -> int:
        """Sequences of so many tokens each that fit, with k + 1 slots where k tokens are drafted; 0 where none does."""
        slots = tokens + (whole("k", k) + 1 if k else 1)
        held = self.kv(slots)
        if self.room <= 0:
            return 0
        return int(self.room // held) if held and self.room < math.inf else 10**9

    def without_draft(self) -> "Memory":
        """The same replica decoding plainly: the draft's weights and cache are not there."""
        return replace(
            self,
            room=self.room + self.draft_weights,
            draft_per_token=0.0,
            draft_weights=0.0,
            models=self.models[:1],
        )


def holds(target, draft) -> bool:
    """Whether a draft has weights and a cache of its own, which its prefill fills.

    A share of the target's time has none, nor has a sparse cache of the same shape in the same precision.
    """
    if draft is None or isinstance(draft, Share):
        return False
    if not isinstance(target, Roofline) or not isinstance(draft, Roofline):
        return True
    if (draft.weights, draft.shape.layers) != (target.weights, target.shape.layers):
        return True
    return replace(draft.shape, sparse=0, name="") != replace(target.shape, sparse=0, name="")


def _per_token(model):
    return model.shape.kv_bytes(model.kv) / model.kv_shards


def _whole(model):
    """The shape with all of its cache: a sparse draft reads less than it keeps."""
    return replace(model.shape, sparse=0) if model.shape.sparse else model.shape
