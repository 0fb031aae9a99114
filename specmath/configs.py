"""The keys of a Hugging Face config.json, read as the fields of a shape.

What a family leaves out of its file is what its configuration class in transformers assumes; the table holds those
defaults. A family that is not in it is refused: its layers may hold other matrices than those counted here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """How a family writes its shape, and what it leaves out.

    experts is the key with their number, width the key of one expert's width, tied and head_dim and window what holds
    where the key is left out (head_dim 0: hidden_size / heads), kv whether num_key_value_heads may be. Of sliding
    layers either all slide where there is a window, or all but the last of every period.
    """

    experts: str = ""
    width: str = "moe_intermediate_size"
    mla: bool = False
    tied: bool = False
    kv: bool = False
    head_dim: int = 0
    window: int | None = None
    all_slide: bool = False
    period: int = 0


_LLAMA, _QWEN2, _QWEN3 = Family(kv=True), Family(), Family(head_dim=128)
_QWEN_MOE = Family(experts="num_experts")
_MIXTRAL = Family(experts="num_local_experts", width="intermediate_size")
_DEEPSEEK = Family(experts="n_routed_experts", mla=True)
_MISTRAL = Family(window=4096, all_slide=True)
FAMILIES = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "olmo2": _LLAMA,
    "mistral": _MISTRAL,
    "ministral": _MISTRAL,
    "phi3": Family(kv=True, all_slide=True),
    "mimo": _QWEN2,
    "qwen2": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen3": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "smollm3": Family(tied=True),
    "gemma2": Family(tied=True, head_dim=256, window=4096, period=2),
    "gemma3_text": Family(tied=True, head_dim=256, window=4096, period=6),
    "mixtral": _MIXTRAL,
    "minimax_m2": _MIXTRAL,
    "gpt_oss": Family(experts="num_local_experts", width="intermediate_size", head_dim=64, window=128, period=2),
    "qwen2_moe": _QWEN_MOE,
    "qwen3_moe": _QWEN_MOE,
    "qwen3_vl_moe_text": _QWEN_MOE,
    "glm4_moe": Family(experts="n_routed_experts"),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "kimi_k2": _DEEPSEEK,
}
MTP = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
TELLING = {"n_routed_experts": "deepseek_v3", "num_local_experts": "mixtral", "num_experts": "qwen3_moe"}


def shape_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelShape`; ValueError naming the key that is missing, unknown or contradicts another.

    >>> shape_fields({"num_hidden_layers": 2})
    Traceback (most recent call last):
    ValueError: hidden_size: found none in the config, expected an integer of at least 1
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"config: found a {type(config).__name__}, expected the mapping of a config.json")
    text = text_of(config)
    name, family = _family(config, text)
    layers = _integer(text, "num_hidden_layers")
    return {
        "name": str(config.get("_name_or_path") or name),
        "layers": layers,
        "hidden": _integer(text, "hidden_size"),
        "heads": _integer(text, "num_attention_heads"),
        "vocab": _integer(text, "vocab_size"),
        "tied": _tied(config, text, family),
        "mtp": next((text[key] for key in MTP if text.get(key)), 0),
        "positions": text.get("max_position_embeddings") or 0,
        **_attention(text, family),
        **_mlp(text, family, layers),
        **_windows(text, family, layers),
    }


def text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model: its text_config where there is one."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def _family(config, text):
    """By model_type; where there is none, by the key with the number of experts, and else a Llama."""
    told = next((family for key, family in TELLING.items() if text.get(key)), "llama")
    name = text.get("model_type") or config.get("model_type") or told
    if name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"model_type: found {name!r}, expected one of {known}: give its shape as JSON instead")
    family = FAMILIES[name]
    for key, allowed in [("kv_lora_rank", family.mla), *((key, key == family.experts) for key in TELLING)]:
        if text.get(key) and not allowed:
            raise ValueError(f"{key}: found {text[key]!r} in a {name}, expected none: is its model_type right?")
    return name, family


def _integer(text, key, low=1, high=None):
    value = text.get(key)
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value
    if not good or (high is not None and value > high):
        found = "none in the config" if value is None else repr(value)
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{key}: found {found}, expected an integer {limit}")
    return value


def _tied(config, text, family):
    """Of the whole model, or of its text part; transformers' default for the family where neither says."""
    key = "tie_word_embeddings"
    said = {place[key] for place in (config, text) if place.get(key) is not None}
    if said - {True, False} or len(said) > 1:
        found = " and ".join(sorted(map(repr, said)))
        raise ValueError(f"{key}: found {found}, expected true or false, and the same in a config and its text_config")
    return said.pop() if said else family.tied


def _attention(text, family):
    if family.mla:
        ranks = {"q_lora_rank": 0 if text.get("q_lora_rank") is None else _integer(text, "q_lora_rank")}
        for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            ranks[key] = _integer(text, key)
        return {"kv_heads": 1, "head_dim": ranks["qk_nope_head_dim"] + ranks["qk_rope_head_dim"], **ranks}
    heads, key = _integer(text, "num_attention_heads"), "num_key_value_heads"
    kv_heads = heads if family.kv and text.get(key) is None else _integer(text, key)
    if heads % kv_heads:
        raise ValueError(f"{key}: found {kv_heads}, expected a divisor of num_attention_heads {heads}")
    return {"kv_heads": kv_heads, "head_dim": _head_dim(text, family, heads)}


def _head_dim(text, family, heads):
    if text.get("head_dim") is not None or family.head_dim:
        return _integer({"head_dim": family.head_dim} | {k: v for k, v in text.items() if v is not None}, "head_dim")
    hidden = _integer(text, "hidden_size")
    if hidden % heads:
        found = f"head_dim: found none, and num_attention_heads {heads} do not divide hidden_size {hidden}"
        raise ValueError(f"{found}: expected head_dim")
    return hidden // heads


def _mlp(text, family, layers):
    """The fields of the MLPs: dense, or experts with what stands beside them."""
    if not family.experts:
        return {"intermediate": _integer(text, "intermediate_size")}
    width, dense = _integer(text, family.width), _dense_layers(text, layers)
    experts = _integer(text, family.experts)
    return {
        "intermediate": _integer(text, "intermediate_size") if dense else 0,
        "experts": experts,
        "active": _integer(text, "num_experts_per_tok", 1, experts),
        "expert_intermediate": width,
        "shared_experts": _shared(text, width),
        "dense_layers": dense,
    }


def _shared(text, width):
    """Shared experts, counted in experts; Qwen gives the width of all of them together."""
    key = "shared_expert_intermediate_size"
    if not text.get(key):
        return _integer(text, "n_shared_experts", 0) if text.get("n_shared_experts") is not None else 0
    together = _integer(text, key)
    if together % width:
        raise ValueError(f"{key}: found {together}, expected a multiple of moe_intermediate_size {width}")
    return together // width


def _dense_layers(text, layers):
    """Layers whose MLP is the dense one: the first ones (DeepSeek), those between (moe_layer_freq), those listed."""
    first = _integer(text, "first_k_dense_replace", 0, layers) if "first_k_dense_replace" in text else 0
    every, step = text.get("moe_layer_freq") or 1, text.get("decoder_sparse_step") or 1
    listed = text.get("mlp_only_layers") or ()
    return sum(i < first or i % every > 0 or (i + 1) % step > 0 or i in listed for i in range(layers))


def _windows(text, family, layers):
    """How many layers attend to a window, and how wide it is."""
    window = text.get("sliding_window", family.window)
    sliding = _sliding_layers(text, family, layers, window)
    if not sliding:
        return {}
    return {"sliding_layers": sliding, "sliding_window": _integer({"sliding_window": window}, "sliding_window")}


def _sliding_layers(text, family, layers, window):
    kinds = text.get("layer_types")
    if kinds:
        other = set(kinds) - {"full_attention", "sliding_attention"}
        if other or len(kinds) != layers:
            found = f"found {min(other)!r}" if other else f"found {len(kinds)} for {layers} layers"
            raise ValueError(f"layer_types: {found}, expected full_attention or sliding_attention, one a layer")
        return kinds.count("sliding_attention")
    if family.period:
        return layers - layers // _integer({"sliding_window_pattern": family.period} | text, "sliding_window_pattern")
    if text.get("use_sliding_window"):
        return max(layers - _integer(text, "max_window_layers", 0), 0)
    return layers if window and family.all_slide else 0
