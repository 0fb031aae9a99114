"""A causal language model as forward(tokens) and rewind(length), for one sequence or several side by side."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import cache_utils

from validate.cache import Layer, Place, Store
from validate.graphs import Graphs
from validate.loading import Loaded
from validate.masks import masks

ALLOCATION = "can't allocate memory"
REWINDABLE_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class NotRewindable(ValueError):
    """The model carries state that cannot be taken back after a rejected draft."""


class Model:
    """Sequences through a causal language model, with a cache that is rewound by moving a length.

    `rows` sequences have a slot each; `lengths[slot]` is the number of tokens whose keys and values are in the cache.
    `vocabulary` cuts the logits to the first ids where a target and its draft share fewer than they compute. A model
    that is the first layers of another borrows that one's cache: what one wrote the other has read. With a `window`
    the forwards of rounds have fixed shapes that see a multiple of so many positions: each is one CUDA graph on such a
    device, and the same without it elsewhere.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        capacity: int,
        vocabulary: int | None = None,
        rows: int = 1,
        borrowed: "Model | None" = None,
        window: int | None = None,
    ) -> None:
        refuse_if_not_rewindable(loaded)
        self.name = loaded.name
        self.vocabulary = vocabulary or loaded.rows
        self.capacity = capacity
        self.device = loaded.network.device
        self.lengths = [0] * rows
        self._lender = borrowed
        self._network = loaded.network
        self._place = Place()
        self.graphs = Graphs() if window else None
        self._window = window or 1
        depth = loaded.network.config.get_text_config().num_hidden_layers
        own = [] if borrowed else [Store(rows, capacity) for _ in range(depth)]
        self._stores: list[Store] = borrowed._stores[:depth] if borrowed else own
        self._cache = cache_utils.Cache(layers=[Layer(store, self._place) for store in self._stores])

    @property
    def length(self) -> int:
        """Tokens in the cache of the first slot."""
        return self.lengths[0]

    @property
    def borrows(self) -> bool:
        """Whether its cache is another model's."""
        return self._lender is not None

    @torch.inference_mode()
    def forward(
        self, tokens: Any, *, keep: int = 0, slot: int = 0, counts: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Append n tokens to the sequence of a slot; logits [n, vocabulary], of the last `keep` alone if given.

        Nested tokens [B, n] append to the slots from `slot` on, for logits [B, n, vocabulary]; of row r only the first
        `counts[r]` are kept if that is given, the others are padding. Logits are float32 at least. Raises ValueError
        where a sequence would outgrow the capacity.
        """
        ids = torch.as_tensor(tokens, device=self.device)
        rows = ids if ids.ndim > 1 else ids[None]
        slots = slice(slot, slot + len(rows))
        starts, kept = self.lengths[slots], counts or [rows.shape[1]] * len(rows)
        ends = [start + count for start, count in zip(starts, kept, strict=True)]
        if max(ends) > self.capacity:
            raise ValueError(f"{self.name}: {max(ends)} tokens do not fit a capacity of {self.capacity}")
        if self.graphs is not None and ids.ndim > 1:
            run = partial(_forward, keep=keep)
            logits = self.replayed(keep, run, rows, rows.shape[1])[: len(rows)]
        elif min(starts) == max(starts) and starts[0] + rows.shape[1] <= self.capacity:
            logits = self._even(rows, slots, keep)
        else:
            stop = self._stop(slots, rows.shape[1])
            logits = self.at(rows, self._starts(slots), slots=slots, stop=stop, keep=keep)
        self.lengths[slots] = ends
        return logits if ids.ndim > 1 else logits[0]

    def rewind(self, length: int, slot: int = 0) -> None:
        """Forget every token of a slot after the first `length`; no tensor is touched."""
        if not 0 <= length <= self.agreed(length, slot):
            raise ValueError(f"{self.name}: cannot rewind {self.lengths[slot]} tokens to {length}")
        self.lengths[slot] = length

    @torch.inference_mode()
    def clear(self, slot: int) -> None:
        """Empty a slot for another sequence; a NaN left there would reach it, weighed by the zeros of a mask."""
        for store in self._stores:
            store.clear(slot)
        self.lengths[slot] = 0

    def agreed(self, length: int, slot: int = 0) -> int:
        """How many of the first `length` tokens of a slot are in the cache."""
        return min(length, max(self.lengths[slot], self._lender.lengths[slot] if self._lender else 0))

    def advance(self, counts: Sequence[int]) -> None:
        """Count tokens that `replayed` wrote to the first slots."""
        for slot, count in enumerate(counts):
            self.lengths[slot] += count

    @torch.inference_mode()
    def move(self, source: int, slot: int) -> None:
        """The sequence of one slot goes on in another."""
        if not self.borrows:
            for store in self._stores:
                store.move(source, slot, self.lengths[source])
        self.lengths[slot] = self.lengths[source]

    @torch.inference_mode()
    def pretend(self, length: int) -> None:
        """Go on as if every slot had read `length` tokens, noise standing in for those not read: for timing alone."""
        if self._stores[0].keys is None or not 0 <= length <= self.capacity:
            raise ValueError(f"{self.name}: cannot pretend {length} of {self.capacity} tokens before the first forward")
        for store in self._stores:
            store.fill()
        self.lengths = [length] * len(self.lengths)

    def _even(self, ids: torch.Tensor, slots: slice, keep: int) -> torch.Tensor:
        """Rows of one length: the library's own masks and positions, behind what is in the cache."""
        self._place.even(slots, self.lengths[slots.start], ids.shape[1])
        return self._logits(ids, keep)

    @torch.inference_mode()
    def replayed(self, name: Hashable, run: Callable[..., Any], ids: torch.Tensor, n: int, *more: torch.Tensor) -> Any:
        """run(at, ids, starts, *more) over n tokens of each row in all, at few shapes, `at` being `Model.at` for them.

        Rows fill up to a power of two, with slots that have nothing to lose.
        """
        assert self.graphs is not None
        rows = min(1 << (len(ids) - 1).bit_length(), len(self.lengths))
        slots = slice(0, rows)
        stop = min(-(-self._stop(slots, n) // self._window) * self._window, self.capacity + 1)
        key, at = (name, rows, ids.shape[1], n, stop), partial(self.at, slots=slots, stop=stop)
        wide, *others = (torch.nn.functional.pad(given, (0, 0, 0, rows - len(given))) for given in (ids, *more))
        return self.graphs(key, partial(run, at), wide, self._starts(slots), *others)

    def at(self, ids: torch.Tensor, starts: torch.Tensor, *, slots: slice, stop: int, keep: int) -> torch.Tensor:
        """Logits of tokens [B, n] behind `starts` [B] of the slots, reading `stop` positions; no length is moved.

        Padding beyond the capacity lands behind it. Nothing here waits for the device.
        """
        at = (starts[:, None] + torch.arange(ids.shape[1], device=self.device)).clamp(max=self.capacity)
        self._place.ragged(slots, at, stop)
        positions = at.clamp(max=self.capacity - 1)
        return self._logits(ids, keep, position_ids=positions, attention_mask=masks(self._network, at, stop))

    def _starts(self, slots: slice) -> torch.Tensor:
        return torch.tensor(self.lengths[slots], device=self.device)

    def _stop(self, slots: slice, n: int) -> int:
        """Positions that n more tokens of the slots need to see, and the one of padding beyond the capacity."""
        return min(max(self.lengths[slots]) + n, self.capacity + 1)

    def _logits(self, ids: torch.Tensor, keep: int, **placed: Any) -> torch.Tensor:
        output = self._network(
            input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=keep, **placed
        )
        logits = output.logits[..., : self.vocabulary]
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _forward(at: Callable[..., torch.Tensor], ids: torch.Tensor, starts: torch.Tensor, *, keep: int) -> torch.Tensor:
    return at(ids, starts, keep=keep)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or on the host."""
    return isinstance(error, torch.OutOfMemoryError) or ALLOCATION in str(error)


def refuse_if_not_rewindable(loaded: Loaded) -> None:
    """Raise NotRewindable, naming the model, where a rejected token would leave a trace in its state."""
    config = loaded.network.config.get_text_config()
    strange = set(getattr(config, "layer_types", None) or ()) - REWINDABLE_LAYERS
    if strange or loaded.network._is_stateful:
        state = ", ".join(sorted(strange)) or "recurrent"
        raise NotRewindable(
            f"{loaded.name} ({type(loaded.network).__name__}) keeps {state} state that cannot be rewound after a "
            "rejected draft; expected a model with attention layers only"
        )
