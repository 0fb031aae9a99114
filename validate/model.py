"""A causal language model as forward(tokens) and rewind(length)."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import cache_utils

from validate.loading import Loaded

ALLOCATION = "can't allocate memory"
REWINDABLE_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


class NotRewindable(ValueError):
    """The model carries state that cannot be taken back after a rejected draft."""


class Model:
    """Sequences of one length through a causal language model, with a cache that is rewound by moving a length.

    `length` is the number of tokens whose keys and values are in the cache. `vocabulary` cuts the logits
    to the first ids where a target and its draft share fewer than they compute.
    """

    def __init__(self, loaded: Loaded, *, capacity: int, vocabulary: int | None = None) -> None:
        refuse_if_not_rewindable(loaded)
        self.name = loaded.name
        self.vocabulary = vocabulary or loaded.rows
        self.capacity = capacity
        self.device = loaded.network.device
        self._network = loaded.network
        self._layers = [_Layer(capacity) for _ in range(_depth(loaded.network))]
        self._cache = cache_utils.Cache(layers=list(self._layers))

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self._layers[0].length

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int] | Sequence[Sequence[int]], *, keep: int = 0) -> torch.Tensor:
        """Append n tokens to the sequence; float32 logits [n, vocabulary], of the last `keep` alone if given.

        Nested tokens [batch][n] append to as many sequences at once, for logits [batch, n, vocabulary]; their number
        may change where the length is 0. Raises ValueError where the sequence would outgrow the capacity.
        """
        ids = torch.tensor(tokens, device=self.device)
        needed = self.length + ids.shape[-1]
        if needed > self.capacity:
            raise ValueError(f"{self.name}: {needed} tokens do not fit a capacity of {self.capacity}")
        rows = ids if ids.ndim > 1 else ids[None]
        output = self._network(input_ids=rows, past_key_values=self._cache, use_cache=True, logits_to_keep=keep)
        logits = output.logits[..., : self.vocabulary].float()
        return logits if ids.ndim > 1 else logits[0]

    def rewind(self, length: int) -> None:
        """Forget every token after the first `length`; no tensor is touched."""
        if not 0 <= length <= self.length:
            raise ValueError(f"{self.name}: cannot rewind {self.length} tokens to {length}")
        for layer in self._layers:
            layer.length = length

    @torch.inference_mode()
    def pretend(self, length: int) -> None:
        """Go on as if `length` tokens had been read, noise standing in for those that were not: for timing alone."""
        if self._layers[0].keys is None or not 0 <= length <= self.capacity:
            raise ValueError(f"{self.name}: cannot pretend {length} of {self.capacity} tokens before the first forward")
        for layer in self._layers:
            layer.pretend(length)


class _Layer(cache_utils.CacheLayerMixin):
    """Keys and values [batch, heads, capacity, head_dim] of which the first `length` positions count."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0
        self._noisy = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate for shapes, dtype and device of the first states that come."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            torch.zeros(*states.shape[:2], self.capacity, states.shape[3], dtype=states.dtype, device=states.device)
            for states in (key_states, value_states)
        )
        self.is_initialized, self._noisy = True, False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values behind the length; views of all that count now."""
        rows = key_states.shape[0]
        if self.keys is None or (not self.length and self.keys.shape[0] < rows):
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        end = self.length + key_states.shape[2]
        self.keys[:rows, :, self.length : end] = key_states
        self.values[:rows, :, self.length : end] = value_states
        self.length = end
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def pretend(self, length: int) -> None:
        """Noise in every position once, from then on a matter of the length."""
        if not self._noisy:
            for states in (self.keys, self.values):
                assert states is not None
                states.normal_()
        self._noisy, self.length = True, length

    def get_mask_sizes(self, query_length: int | torch.Tensor) -> tuple[int, int]:
        """Length and offset of the mask; transformers 5.0 gives the positions, later releases their number."""
        new = query_length if isinstance(query_length, int) else len(query_length)
        return self.length + new, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity

    def get_max_cache_shape(self) -> int:
        """The name of get_max_length in transformers 5.0."""
        return self.capacity


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


def _depth(network: Any) -> int:
    return network.config.get_text_config().num_hidden_layers
