"""Models of a shape without its weights: what a forward costs depends on the shape alone, not on what it says."""

import json
import pathlib
from typing import Any

import torch
import transformers

from validate.attention import share_heads
from validate.loading import Loaded, hush, one_line, require_causal

CONFIG = "config.json"


def dummy(name: str, *, device: str = "cpu", dtype: str = "float32") -> Loaded:
    """A model with random weights from a config.json, a folder that holds one, or the config of a hub id.

    Nothing is downloaded but the config; it has no tokeniser and no EOS. Raises ValueError in one line where there is
    no such config, or it is none of a causal model.
    """
    hush()
    config = _config(name)
    require_causal(name, config)
    with torch.device(device):
        network = one_line(
            name, lambda: transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        )
    share_heads(network)
    text = config.get_text_config()
    return Loaded(
        name=name,
        network=network.eval(),
        tokenizer=None,
        eos=frozenset(),
        context=getattr(text, "max_position_embeddings", None) or 2**31,
        rows=network.get_output_embeddings().weight.shape[0],
    )


def _config(name: str) -> Any:
    path = pathlib.Path(name) / CONFIG if pathlib.Path(name).is_dir() else pathlib.Path(name)
    if path.suffix != ".json":
        return one_line(name, lambda: transformers.AutoConfig.from_pretrained(name))
    try:
        known = json.loads(path.read_text())
        return transformers.AutoConfig.for_model(**known)
    except (OSError, ValueError, TypeError) as problem:
        reason = str(problem).splitlines()[0]
        raise ValueError(
            f"{path}: found no config of a model ({reason}), expected a Hugging Face config.json"
        ) from None
