"""Real but tiny transformers for the decoder's tests: seconds to run, no weights to fetch."""

import json

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from validate.loading import Loaded


def llama(*, vocabulary=8, seed=0, sharpness=30.0, eos=(), noise=0.0, context=256, width=16):
    """A random Llama of two layers; `noise` perturbs its weights, which makes a draft that mostly agrees."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=list(eos) or None,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    network = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        network.lm_head.weight *= sharpness
        for weight in network.parameters():
            weight += noise * weight.std() * torch.randn_like(weight)
    return Loaded(f"tiny-{seed}", network, None, frozenset(eos), context, vocabulary)


def mamba():
    """A random recurrent model, whose state cannot be taken back."""
    config = transformers.MambaConfig(
        vocab_size=8, hidden_size=16, state_size=4, num_hidden_layers=1, eos_token_id=None, bos_token_id=None
    )
    return Loaded("tiny-mamba", transformers.MambaForCausalLM(config).eval(), None, frozenset(), 256, 8)


def saved(place):
    """A target and a draft with the same word tokeniser in folders of that name, and prompts; what holds them."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(30)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    for name, noise in (("target", 0.0), ("draft", 0.2)):
        llama(vocabulary=30, seed=4, noise=noise).network.save_pretrained(place / name)
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(place / name)
    prompts = [{"prompt": f"w{i} w{i + 1} w{i}", "domain": "ab"[i % 2], "id": f"p{i}"} for i in range(6)]
    (place / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    return place
