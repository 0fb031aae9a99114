"""Attention of a few queries over a cache whose heads are shared, without a copy of the cache for every query head.

PyTorch's kernels take shared heads only without a mask; transformers otherwise repeats keys and values. Here the
queries of the heads that share one are laid side by side instead, which is the same product.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED, LIBRARY = "grouped", "sdpa"
THEIRS = ("softcap", "position_bias")  # what the library refuses, or adds to the mask


def grouped(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """Attention [B, n, heads, head_dim] of queries [B, heads, n, head_dim], as transformers asks for it."""
    batch, heads, n, width = query.shape
    groups = heads // key.shape[1]
    theirs = attention_mask is None or any(options.get(name) is not None for name in THEIRS)
    if theirs or attention_mask.shape[1] > 1 or n == 1 or groups == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    side_by_side = query.reshape(batch, key.shape[1], groups * n, width)
    mask, scale = attention_mask.repeat(1, 1, groups, 1), options.get("scaling")
    found = torch.nn.functional.scaled_dot_product_attention(side_by_side, key, value, attn_mask=mask, scale=scale)
    return found.reshape(batch, heads, n, value.shape[-1]).transpose(1, 2).contiguous(), None


def share_heads(network: Any) -> None:
    """Let a network that attends by PyTorch's own kernels do it this way."""
    if network.config._attn_implementation == LIBRARY:
        network.set_attn_implementation(GROUPED)


AttentionInterface.register(GROUPED, grouped)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
