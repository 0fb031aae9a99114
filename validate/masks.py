"""Which positions of the cache each token of ragged rows may see, by the kind of attention of a layer."""

from typing import Any

import torch

from validate.attention import GROUPED, LIBRARY

OWN_MASKS = {"bloom", "gpt_neo"}  # by where the cache ends, the same for all rows, whatever mask is given


def masks(network: Any, at: torch.Tensor, stop: int) -> Any:
    """Masks [B, 1, n, stop] for tokens at positions `at` [B, n]; by kind where a network's layers differ.

    True where a position is seen; as numbers to be added where the network computes its attention itself. Raises
    ValueError for a network that takes no such mask.
    """
    config = network.config.get_text_config()
    if config.model_type in OWN_MASKS or getattr(config, "alibi", False):
        raise ValueError(f"{type(network).__name__} makes its own masks; expected one sequence at a time")
    kinds = sorted(set(getattr(config, "layer_types", None) or [_kind(config)]))
    seen = torch.arange(stop, device=at.device)
    found = {kind: _form(network, _visible(kind, config, seen, at[:, None, :, None])) for kind in kinds}
    return found if len(kinds) > 1 else found[kinds[0]]


def _kind(config: Any) -> str:
    return "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"


def _visible(kind: str, config: Any, seen: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    behind = seen <= at
    if kind == "sliding_attention":
        return behind & (seen > at - config.sliding_window)
    if kind == "chunked_attention":
        return behind & (seen // config.attention_chunk_size == at // config.attention_chunk_size)
    return behind


def _form(network: Any, visible: torch.Tensor) -> torch.Tensor:
    if network.config._attn_implementation in (GROUPED, LIBRARY):
        return visible
    least = torch.finfo(network.dtype).min
    return torch.zeros(visible.shape, dtype=network.dtype, device=visible.device).masked_fill(~visible, least)
