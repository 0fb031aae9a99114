"""What `bench.decoding` puts our decoder beside: a plain loop of forwards, transformers' `generate`, flashspec.

An arm takes token ids and how many to add, decodes greedily and gives an Output. Prompt lookup is each one's own:
`generate` looks for the last 2 tokens or 1, flashspec for 3 down to 1. A model draft proposes k
tokens in every round: `generate` is held to that by a constant schedule and no confidence threshold, flashspec by its
strategy of one drafter (its default, lookup of 6 tokens and else 2 drafts, has no counterpart here). flashspec
(github.com/Mattral/FlashSpec) is no dependency of ours.
"""

import logging
from dataclasses import dataclass
from functools import partial

import torch
from transformers import DynamicCache

try:
    import flashspec
    from flashspec.engine import HuggingFaceDrafter, NgramDrafter, TargetModel
except ImportError:
    flashspec = None

FLASHSPEC = "flashspec==0.3.1"


@dataclass(frozen=True)
class Output:
    """Tokens made and forwards of the target they took; seconds of ours after the prefill, and in forwards."""

    tokens: list[int]
    forwards: int
    decode_s: float = 0.0
    verify_s: float = 0.0


def arms(loaded, draft, k):
    """Every arm by name, and why one is left out; `draft` is a network of its own with the target's first layers."""
    found = {"loop plain": partial(_loop, loaded), **_generate_arms(loaded, draft, k)}
    if flashspec is None:
        return found, [f"flashspec: left out, it is not installed: python -m pip install {FLASHSPEC}"]
    logging.getLogger("flashspec").setLevel(logging.ERROR)
    return found | _flashspec_arms(loaded, draft, k), []


@torch.inference_mode()
def _loop(loaded, ids, budget):
    """The library's own cache, the likeliest token, nothing else."""
    cache, fed, tokens = DynamicCache(), ids, []
    while len(tokens) < budget and not loaded.eos & set(tokens[-1:]):
        rows = torch.tensor([fed], device=loaded.network.device)
        logits = loaded.network(input_ids=rows, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        fed = [int(logits[0, -1].argmax())]
        tokens += fed
    return Output(tokens, len(tokens))


def _generate_arms(loaded, draft, k):
    for network in (loaded.network, draft.network):
        network.generation_config.num_assistant_tokens = k
        network.generation_config.num_assistant_tokens_schedule = "constant"
        network.generation_config.assistant_confidence_threshold = 0.0
    options = {
        "plain": {},
        "lookup": {"prompt_lookup_num_tokens": k},
        "assisted": {"assistant_model": draft.network},
        "early exit": {"assistant_early_exit": draft.network.config.num_hidden_layers},
    }
    return {f"generate {name}": partial(_generate, loaded, asked) for name, asked in options.items()}


@torch.inference_mode()
def _generate(loaded, options, ids, budget):
    """The draft's forwards are not counted, nor those of the target that stop early: it is the draft there."""
    target, depth, whole = loaded.network, loaded.network.config.num_hidden_layers, []

    def count(network, _):
        whole.append(network is target and network.config.num_hidden_layers == depth)

    prompt = torch.tensor([ids], device=target.device)
    mask = torch.ones_like(prompt)
    try:
        with target.register_forward_pre_hook(count):
            output = target.generate(prompt, attention_mask=mask, max_new_tokens=budget, do_sample=False, **options)
    finally:
        target.config.num_hidden_layers = depth  # a failure of its early exit leaves the target without its last layers
    return Output(output[0, len(ids) :].tolist(), sum(whole))


def _flashspec_arms(loaded, draft, k):
    """One drafter each; on a CPU it runs on the library's cache, on a GPU on its static one, as one graph a call."""
    device, dtype = loaded.network.device, loaded.network.dtype
    config = flashspec.FlashSpecConfig(
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        drafter_strategy="bandit",
        bandit=flashspec.BanditConfig(n_arms=1),
        sampling=flashspec.SamplingConfig(gamma=k, temperature=0.0),
        eos_token_ids=tuple(loaded.eos),
    )
    drafters = {"lookup": NgramDrafter(), "model": HuggingFaceDrafter(draft.name, device, dtype, 0.0, draft.network)}
    engines = {
        f"flashspec {name}": flashspec.SpeculativeEngine(
            config, [drafter], TargetModel(loaded.name, device, dtype, loaded.network)
        )
        for name, drafter in drafters.items()
    }
    return {name: partial(_flashspec, engine) for name, engine in engines.items()}


def _flashspec(engine, ids, budget):
    result = engine.generate(torch.tensor([ids]), max_new_tokens=budget)
    return Output(result.output_ids[0, : result.n_tokens_generated].tolist(), len(result.arm_steps) + 1)
