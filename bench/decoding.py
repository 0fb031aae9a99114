"""Our decoder beside transformers' `generate`: same model, prompts, dtype and tokens, interleaved, with a control."""

import time
from collections import defaultdict

import torch

from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, Nothing
from validate.loading import load
from validate.model import Model
from validate.sampler import Sampler
from validate.workload import bundled

PER_DOMAIN, TOKENS, K = 2, 48, 4


def main():
    """Ratios of total seconds, prefill included on both sides; the share of ours spent outside forwards."""
    loaded = load()
    prompts = [loaded.encode(p.messages) for p in bundled(PER_DOMAIN)]
    arms = _arms(loaded, max(map(len, prompts)) + TOKENS)
    seconds, outputs = defaultdict(float), defaultdict(list)
    for arm in arms.values():
        arm(prompts[0])
    for i, prompt in enumerate(prompts):
        for name in [*arms][:: 1 if i % 2 else -1]:
            started = time.perf_counter()
            outputs[name].append(arms[name](prompt))
            seconds[name] += time.perf_counter() - started
    _report(seconds, outputs)


def _arms(loaded, capacity):
    target = Model(loaded, capacity=capacity)
    host = Arrays.on("cpu")
    common = (Sampler(), Clock("cpu"), loaded.eos)
    plain = Decoder(target, Nothing(host, loaded.rows), *common, k=0)
    lookup = Decoder(target, Lookup(host, loaded.rows), *common, k=K)
    return {
        "ours plain": lambda ids: _ours(plain, ids),
        "theirs plain": lambda ids: _theirs(loaded, ids),
        "ours plain (control)": lambda ids: _ours(plain, ids),
        "ours lookup": lambda ids: _ours(lookup, ids),
        "theirs lookup": lambda ids: _theirs(loaded, ids, prompt_lookup_num_tokens=K),
    }


def _ours(decoder, ids):
    generation = decoder.start(ids, budget=TOKENS, seed=0)
    started = time.perf_counter()
    rounds = list(generation.rounds())
    return generation.tokens, (sum(r.verify_s for r in rounds), time.perf_counter() - started)


def _theirs(loaded, ids, **options):
    with torch.inference_mode():
        prompt = torch.tensor([ids])
        output = loaded.network.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False, **options
        )
    return output[0, len(ids) :].tolist(), None


def _report(seconds, outputs):
    same = {
        name: sum(a == b for (a, _), (b, _) in zip(runs, outputs["theirs plain"], strict=True))
        for name, runs in outputs.items()
    }
    print(f"{len(outputs['theirs plain'])} prompts, {TOKENS} tokens, k = {K}; seconds of A over seconds of B")
    for a, b in [
        ("ours plain", "ours plain (control)"),
        ("theirs plain", "ours plain"),
        ("theirs lookup", "ours lookup"),
        ("ours plain", "ours lookup"),
        ("theirs plain", "theirs lookup"),
    ]:
        print(f"{a:22s} / {b:22s} {seconds[a] / seconds[b]:5.3f}   ({seconds[a]:.1f} s / {seconds[b]:.1f} s)")
    for name in ("ours plain", "ours lookup"):
        forwards, whole = (sum(column) for column in zip(*(times for _, times in outputs[name]), strict=True))
        outside = 1 - forwards / whole
        print(f"{name}: {outside:.2%} of the time outside model forwards")
    print("token-identical to generate:", ", ".join(f"{name} {n}/{len(outputs[name])}" for name, n in same.items()))
