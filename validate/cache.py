"""Keys and values of sequences side by side, each in its slot: written where a place says, forgotten by a length."""

from typing import Any

import torch
from transformers import cache_utils


class Place:
    """Where a forward writes: `slots` of the cache, from `start` on in all of them, or `at` [B, n] in each; `stop`
    positions are read.
    """

    slots: slice
    start: int | None
    at: torch.Tensor
    stop: int

    def even(self, slots: slice, start: int, n: int) -> None:
        """n tokens behind `start` in every slot."""
        self.slots, self.start, self.stop = slots, start, start + n

    def ragged(self, slots: slice, at: torch.Tensor, stop: int) -> None:
        """Each token at a position of its own."""
        self.slots, self.start, self.at, self.stop = slots, None, at, stop


class Store:
    """Keys and values [rows, heads, capacity + 1, head_dim] of one layer; the last position takes what is padding."""

    def __init__(self, rows: int, capacity: int) -> None:
        self._shape = rows, capacity + 1
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self._noisy = False

    def write(self, place: Place, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put new states [B, heads, n, head_dim] where the place says; views of all that it reads."""
        if self.keys is None or self.values is None:
            self.keys, self.values = map(self._empty, (keys, values))
        return _written(self.keys, keys, place), _written(self.values, values, place)

    def move(self, source: int, slot: int, length: int) -> None:
        """Copy the first positions of one slot to another."""
        for states in (self.keys, self.values):
            if states is not None:
                states[slot, :, :length] = states[source, :, :length]

    def clear(self, slot: int) -> None:
        """Zeros in one slot."""
        for states in (self.keys, self.values):
            if states is not None:
                states[slot] = 0

    def fill(self) -> None:
        """Noise in every position, once."""
        if not self._noisy:
            for states in (self.keys, self.values):
                assert states is not None
                states.normal_()
        self._noisy = True

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        rows, positions = self._shape
        return torch.zeros(rows, like.shape[1], positions, like.shape[3], dtype=like.dtype, device=like.device)


class Layer(cache_utils.CacheLayerMixin):
    """A store at a place, as the layer of a transformers cache."""

    is_sliding = False

    def __init__(self, store: Store, place: Place) -> None:
        super().__init__()
        self.store, self.place = store, place

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """The store allocates when it is first written."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values; views of all that count now."""
        return self.store.write(self.place, key_states, value_states)

    def get_mask_sizes(self, query_length: int | torch.Tensor) -> tuple[int, int]:
        """Length and offset of the mask of rows of one length."""
        return self.place.stop, 0

    def get_seq_length(self) -> int:
        """Tokens before those of this forward, in rows of one length."""
        return self.place.start or 0

    def get_max_length(self) -> int:
        """Positions that count."""
        return self.place.stop

    def get_max_cache_shape(self) -> int:
        """The name of get_max_length in transformers 5.0."""
        return self.place.stop


def _written(states: torch.Tensor, new: torch.Tensor, place: Place) -> torch.Tensor:
    if place.start is not None:
        states[place.slots, :, place.start : place.stop] = new
    else:
        rows = torch.arange(place.slots.start, place.slots.stop, device=states.device)
        states[rows[:, None], :, place.at] = new.transpose(1, 2)
    return states[place.slots, :, : place.stop]
