"""The keys of a Hugging Face config.json, read as the fields of a shape.

What a family leaves out of its file is what its configuration class in transformers assumes; the tables below hold
those defaults. A family that is in none is refused: its layers may hold other matrices than those counted here.
"""

from collections.abc import Mapping
from typing import Any

MLA = {"deepseek_v2", "deepseek_v3", "kimi_k2"}
MOE = MLA | {"mixtral", "qwen2_moe", "qwen3_moe", "gpt_oss", "glm4_moe"}
DENSE = {
    "llama",
    "mistral",
    "ministral",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma2",
    "gemma3_text",
    "smollm3",
    "granite",
    "olmo2",
}
TIED = {"gemma2", "gemma3_text", "smollm3"}  # where tie_word_embeddings is left out
ONE_KV_PER_HEAD = {"llama", "phi3", "granite", "olmo2"}  # where num_key_value_heads is left out
HEAD_DIM = {"qwen3": 128, "gpt_oss": 64, "gemma2": 256, "gemma3_text": 256}  # elsewhere hidden_size / heads
EVERY_LAYER_SLIDES = {"mistral", "ministral", "phi3"}
PERIOD = {"gpt_oss": 2, "gemma2": 2, "gemma3_text": 6}  # the last layer of so many attends to everything
EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts")


def shape_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelShape`; ValueError naming the key that is missing, unknown or contradicts another.

    >>> shape_fields({"num_hidden_layers": 2})
    Traceback (most recent call last):
    ValueError: hidden_size: found none in the config, expected an integer of at least 1
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"config: found a {type(config).__name__}, expected the mapping of a config.json")
    text = text_of(config)
    family = text.get("model_type") or "llama"
    if family not in DENSE | MOE:
        known = ", ".join(sorted(DENSE | MOE))
        raise ValueError(f"model_type: found {family!r}, expected one of {known}: give its shape as JSON instead")
    layers = _integer(text, "num_hidden_layers")
    return {
        "name": str(config.get("_name_or_path") or family),
        "layers": layers,
        "hidden": _integer(text, "hidden_size"),
        "heads": _integer(text, "num_attention_heads"),
        "vocab": _integer(text, "vocab_size"),
        "tied": _tied(config, text, family),
        **_attention(text, family),
        **_mlp(text, family, layers),
        **_windows(text, family, layers),
    }


def text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model: its text_config where there is one."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def _integer(text, key, low=1):
    value = text.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        found = "none in the config" if value is None else repr(value)
        raise ValueError(f"{key}: found {found}, expected an integer of at least {low}")
    return value


def _tied(config, text, family):
    """Of the whole model, or of its text part; transformers' default for the family where neither says."""
    said = {place["tie_word_embeddings"] for place in (config, text) if place.get("tie_word_embeddings") is not None}
    if len(said) > 1:
        raise ValueError(
            "tie_word_embeddings: found true and false in a config and its text_config, expected one of them"
        )
    return said.pop() if said else family in TIED


def _attention(text, family):
    if family in MLA or text.get("kv_lora_rank") is not None:
        ranks = {"q_lora_rank": 0 if text.get("q_lora_rank") is None else _integer(text, "q_lora_rank")}
        for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            ranks[key] = _integer(text, key)
        return {"kv_heads": 1, "head_dim": ranks["qk_nope_head_dim"] + ranks["qk_rope_head_dim"], **ranks}
    heads = _integer(text, "num_attention_heads")
    if text.get("num_key_value_heads") is None and family in ONE_KV_PER_HEAD:
        return {"kv_heads": heads, "head_dim": _head_dim(text, family, heads)}
    return {"kv_heads": _integer(text, "num_key_value_heads"), "head_dim": _head_dim(text, family, heads)}


def _head_dim(text, family, heads):
    if text.get("head_dim") is not None:
        return _integer(text, "head_dim")
    if family in HEAD_DIM:
        return HEAD_DIM[family]
    hidden = _integer(text, "hidden_size")
    if hidden % heads:
        raise ValueError(
            f"head_dim: found none, and {heads} heads do not divide hidden_size {hidden}: expected head_dim"
        )
    return hidden // heads


def _mlp(text, family, layers):
    """The fields of the MLPs: dense, or experts with what stands beside them."""
    key = next((key for key in EXPERTS if text.get(key)), EXPERTS[0])
    if family not in MOE and text.get(key):
        raise ValueError(f"{key}: found {text[key]!r} in a {family}, expected none: is model_type right?")
    if family not in MOE:
        return {"intermediate": _integer(text, "intermediate_size")}
    own = "moe_intermediate_size" if family in MOE - {"mixtral", "gpt_oss"} else "intermediate_size"
    width, dense = _integer(text, own), _dense_layers(text, family, layers)
    return {
        "intermediate": _integer(text, "intermediate_size") if dense else 0,
        "experts": _integer(text, key),
        "active": _integer(text, "num_experts_per_tok"),
        "expert_intermediate": width,
        "shared_experts": _shared(text, width),
        "dense_layers": dense,
    }


def _shared(text, width):
    """Shared experts, counted in experts; Qwen gives the width of all of them together."""
    together = text.get("shared_expert_intermediate_size")
    if not together:
        return _integer(text, "n_shared_experts", 0) if text.get("n_shared_experts") is not None else 0
    if together % width:
        found = f"shared_expert_intermediate_size: found {together}"
        raise ValueError(f"{found}, expected a multiple of moe_intermediate_size {width}")
    return together // width


def _dense_layers(text, family, layers):
    """Layers whose MLP is the dense one."""
    if family in ("mixtral", "gpt_oss"):
        return 0
    if family in ("qwen2_moe", "qwen3_moe"):
        step, listed = text.get("decoder_sparse_step") or 1, set(text.get("mlp_only_layers") or ())
        return sum(i in listed or (i + 1) % step > 0 for i in range(layers))
    first, every = _integer(text, "first_k_dense_replace", 0), text.get("moe_layer_freq") or 1
    if first > layers:
        raise ValueError(f"first_k_dense_replace: found {first}, expected at most {layers}, the layers")
    return sum(i < first or i % every > 0 for i in range(layers))


def _windows(text, family, layers):
    """How many layers attend to a window, and how wide it is."""
    window = text.get("sliding_window", 4096 if family in ("mistral", "ministral") else None)
    sliding = _sliding_layers(text, family, layers, window)
    if not sliding:
        return {}
    if not window:
        raise ValueError(f"sliding_window: found none, expected it beside {sliding} layers of sliding_attention")
    return {"sliding_layers": sliding, "sliding_window": _integer({"sliding_window": window}, "sliding_window")}


def _sliding_layers(text, family, layers, window):
    kinds = text.get("layer_types")
    if kinds:
        other = set(kinds) - {"full_attention", "sliding_attention"}
        if other or len(kinds) != layers:
            found = f"found {min(other)!r}" if other else f"found {len(kinds)} for {layers} layers"
            raise ValueError(f"layer_types: {found}, expected full_attention or sliding_attention, one a layer")
        return kinds.count("sliding_attention")
    if family in PERIOD:
        period = text.get("sliding_window_pattern") or PERIOD[family]
        return layers - layers // period
    if text.get("use_sliding_window"):
        return max(layers - _integer(text, "max_window_layers", 0), 0)
    return layers if window and family in EVERY_LAYER_SLIDES else 0
