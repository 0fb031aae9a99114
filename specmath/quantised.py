"""The precision of a checkpoint's weights, from the quantization_config of its config.json.

Weights alone in 8 or 4 bits are w8a16 and int4; those whose products are computed in the narrow format carry its name.
Embedding and output matrix, which most checkpoints leave in 16 bits, are not told apart here.
"""

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


def _quantised(found):
    """By the method's own keys."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{KEY}: found a {type(found).__name__}, expected a mapping")
    method = str(found.get("quant_method", "")).lower()
    readers = {
        "fp8": lambda q: "fp8_block" if q.get("weight_block_size") else "fp8",
        "mxfp4": lambda q: "mxfp4",
        "gptq": _by_bits,
        "awq": _by_bits,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed,
        "modelopt": _modelopt,
        "modelopt_fp4": _modelopt,
    }
    if method not in readers:
        raise ValueError(f"{KEY}.quant_method: found {method!r}, expected one of {', '.join(readers)}")
    return readers[method](found)


def _by_bits(found):
    bits = found.get("bits", found.get("w_bit"))
    if bits not in (4, 8):
        raise ValueError(f"{KEY}.bits: found {bits!r}, expected 4 or 8")
    return "int4" if bits == 4 else "w8a16"


def _bitsandbytes(found):
    wide, narrow = bool(found.get("load_in_8bit")), bool(found.get("load_in_4bit"))
    if wide == narrow:
        raise ValueError(f"{KEY}.load_in_4bit: found {narrow} beside load_in_8bit {wide}, expected one of them")
    return "int8" if wide else "int4"


def _modelopt(found):
    algorithm = str(found.get("quant_algo", "")).upper()
    if algorithm not in MODELOPT:
        raise ValueError(f"{KEY}.quant_algo: found {algorithm!r}, expected one of {', '.join(MODELOPT)}")
    return MODELOPT[algorithm]


def _compressed(found):
    """The first group's weights, and whether the activations are quantised beside them."""
    groups = found.get("config_groups") or {}
    group = next(iter(groups.values()), None) or {}
    weights, activations = group.get("weights") or {}, group.get("input_activations")
    kind, bits = weights.get("type"), weights.get("num_bits")
    if (kind, bits) == ("float", 4) and activations:
        return "nvfp4" if weights.get("group_size") == 16 else "mxfp4"
    if (kind, bits) == ("float", 8) and activations and weights.get("strategy") == "block":
        return "fp8_block"
    known = COMPRESSED.get((kind, bits, bool(activations)))
    if known is None or (activations and activations.get("num_bits") != bits):
        beside = "" if not activations else f" beside activations of {activations.get('num_bits')} bits"
        raise ValueError(
            f"{KEY}.config_groups: found weights of {kind} {bits}{beside}, expected fp8, int8, int4 or fp4"
        )
    return known
