"""The precision of a checkpoint's weights, from the quantization_config of its config.json.

Weights alone in 8 or 4 bits are w8a16 and int4; those whose products are computed in the narrow format carry its name.
"""

import re
from collections.abc import Mapping
from typing import Any

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
MODELOPT = {"FP8": "fp8", "NVFP4": "nvfp4", "W4A16_AWQ": "int4"}
COMPRESSED: dict[tuple[Any, Any, bool], str] = {  # type, bits, are activations narrow?
    ("float", 8, True): "fp8",
    ("float", 8, False): "w8a16",
    ("int", 8, True): "int8",
    ("int", 8, False): "w8a16",
    ("int", 4, False): "int4",
}
KEY = "quantization_config"
LEFT_OUT = ("modules_to_not_convert", "ignore", "exclude_modules")
ATTENTION = re.compile(r"self_attn(\W*$|\.[qkvo]\w*_proj)")


def weights_of(*places: Mapping[str, Any]) -> str:
    """The name in `specmath.shapes.PRECISIONS` that the first of the mappings to say anything declares; else bf16.

    Raises ValueError naming the key for a method or a width that is none of them.

    >>> weights_of({"quantization_config": {"quant_method": "awq", "bits": 4}})
    'int4'
    """
    for place in places:
        if place.get(KEY):
            return _quantised(place[KEY])
    said = (place.get("dtype") or place.get("torch_dtype") for place in places)
    declared = next((dtype for dtype in said if dtype), "bfloat16")
    if declared not in DTYPES:
        raise ValueError(f"dtype: found {declared!r}, expected one of {', '.join(DTYPES)}")
    return DTYPES[declared]


def leaves_attention(*places: Mapping[str, Any]) -> bool:
    """Whether the quantisation leaves the matrices of the attention in 16 bits, as gpt-oss and Kimi-K2.5 do.

    >>> leaves_attention({"quantization_config": {"ignore": ["lm_head", "re:.*self_attn.*"]}})
    True
    """
    found: Mapping[str, Any] = next((place[KEY] for place in places if place.get(KEY)), {})
    return any(ATTENTION.search(str(module)) for key in LEFT_OUT for module in found.get(key) or ())


def _quantised(found):
    """By the method's own keys."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{KEY}: found a {type(found).__name__}, expected a mapping")
    method = found.get("quant_method") or ("modelopt" if "quant_algo" in found else "none")
    readers = {
        "fp8": lambda q: "fp8_block" if q.get("weight_block_size") else "fp8",
        "mxfp4": lambda q: "mxfp4",
        "gptq": _by_bits,
        "awq": _by_bits,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed,
        "modelopt": _modelopt,
    }
    if method not in readers:
        raise ValueError(f"{KEY}.quant_method: found {method!r}, expected one of {', '.join(readers)}")
    if "quant_algo" in found and method != "modelopt":
        raise ValueError(
            f"{KEY}.quant_algo: found {found['quant_algo']!r} beside {method}, expected it of modelopt alone"
        )
    return readers[method](found)


def _by_bits(found):
    bits = found.get("bits", found.get("w_bit"))
    if bits not in (4, 8):
        raise ValueError(f"{KEY}.bits: found {bits!r}, expected 4 or 8")
    return _int4(found.get("group_size", found.get("q_group_size"))) if bits == 4 else "w8a16"


def _int4(group):
    """By the weights that share a scale: 128 of them by default."""
    return "int4_g32" if group == 32 else "int4"


def _bitsandbytes(found):
    wide, narrow = bool(found.get("load_in_8bit")), bool(found.get("load_in_4bit"))
    if wide == narrow:
        raise ValueError(f"{KEY}.load_in_4bit: found {narrow} beside load_in_8bit {wide}, expected one of them")
    return "int8" if wide else "int4"


def _modelopt(found):
    algorithm = str(found.get("quant_algo", "none")).upper()
    if algorithm not in MODELOPT:
        raise ValueError(f"{KEY}.quant_algo: found {algorithm!r}, expected one of {', '.join(MODELOPT)}")
    return MODELOPT[algorithm]


def _compressed(found):
    """The first group's weights, and whether the activations are quantised beside them."""
    group = next(iter((found.get("config_groups") or {}).values()), None) or {}
    weights, activations = group.get("weights") or {}, group.get("input_activations")
    kind, bits, size = weights.get("type"), weights.get("num_bits"), weights.get("group_size")
    beside = activations.get("num_bits") if activations else 16
    if beside not in (16, bits):
        beside = f"{bits} bits beside activations of {beside}"
        raise ValueError(f"{KEY}.config_groups: found {kind} weights of {beside}, expected as many, or 16")
    if (kind, bits) == ("float", 4) and activations:
        return "nvfp4" if size == 16 else "mxfp4"
    if (kind, bits) == ("float", 8) and activations and weights.get("strategy") == "block":
        return "fp8_block"
    known = COMPRESSED.get((kind, bits, bool(activations)))
    if known is None:
        found = f"found {kind} weights of {bits} bits beside activations of {beside}"
        raise ValueError(f"{KEY}.config_groups: {found}, expected fp8, int8 or int4, or fp4 beside 4")
    return _int4(size) if known == "int4" else known
