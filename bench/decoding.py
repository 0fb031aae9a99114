"""Our decoder beside its peers: same weights, prompts, dtype, tokens and k, interleaved, with a control for each kind.

Greedy, alone in its batch. Seconds are of whole texts, prefill included on both sides, since `generate` does not give
it apart; its share of ours is printed. The peers have their own copy of the weights, with the library's attention
and products, so that nothing done to our copy is done to theirs. Lookup looks for the last 3 tokens down to 1 here, as
the peers do, instead of our 3 or 2. Five to eight minutes on two cores of a quiet machine.
"""

import time
from collections import defaultdict
from functools import partial

from bench import peers
from bench.peers import Output
from validate.arrays import Arrays
from validate.attention import LIBRARY
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft, Nothing
from validate.loading import early, load, placement
from validate.model import Model
from validate.models import Settings
from validate.products import choose
from validate.sampler import Sampler
from validate.workload import bundled

DOMAINS, PER_DOMAIN, TOKENS, K, LAYERS = ("code", "json", "chat", "verse"), 1, 64, 4, 27
WARM_TOKENS = 8
REFERENCE = "generate plain"
RATIOS = (
    ("ours plain (control)", "ours plain", {}),
    ("ours lookup (control)", "ours lookup", {}),
    ("ours model (control)", "ours model", {}),
    ("ours early exit (control)", "ours early exit", {}),
    ("loop plain", "ours plain", {}),
    ("generate plain", "ours plain", {}),
    ("generate lookup", "ours lookup", {"cpu": 1.3, "cuda": 3}),
    ("generate assisted", "ours model", {"cpu": 1.3, "cuda": 3}),
    ("generate early exit", "ours early exit", {"cpu": 1.3, "cuda": 3}),
    ("ours model", "ours early exit", {}),
    ("flashspec lookup", "ours lookup", {"cpu": 1, "cuda": 1}),
    ("flashspec model", "ours model", {"cpu": 1, "cuda": 1}),
    ("ours plain", "ours lookup", {}),
    ("generate plain", "generate lookup", {}),
)
OUTSIDE = {"cpu": 0.03, "cuda": 0.05}


def main():
    """Ratios of total seconds, the share of ours spent outside forwards, and how many texts are `generate`'s."""
    device, dtype = placement()
    ours, theirs = (load(device=device, dtype=dtype) for _ in range(2))
    theirs.network.set_attn_implementation(LIBRARY)
    choose(ours.network, Settings(ours.name, (), (), Sampler(), 1, 0, device, dtype).machine)
    prompts = [ours.encode(p.messages) for p in bundled(PER_DOMAIN) if p.domain in DOMAINS]
    capacity = max(map(len, prompts)) + TOKENS
    others, left_out = peers.arms(theirs, early(theirs, LAYERS), K)
    print(f"{len(prompts)} prompts, {TOKENS} tokens, k = {K}, model draft early:{LAYERS}, {dtype} on {device}")
    for line in left_out:
        print(line)
    arms = our_arms(ours, early(ours, LAYERS), capacity, K)
    on_gpu = device.startswith("cuda")  # where every shape is captured when it is first met: the same texts once before
    for arm in arms.values():
        for prompt in prompts if on_gpu else prompts[:1]:
            arm(prompt, TOKENS if on_gpu else WARM_TOKENS)
    arms |= usable(others, prompts[0])
    seconds, outputs = timed(arms, prompts, TOKENS)
    for line in (*ratio_lines(seconds, device), *time_lines(seconds, outputs, device), *text_lines(outputs)):
        print(line)


def our_arms(loaded, draft, capacity, k):
    """Plain, lookup, model draft and early exit, each twice: the second is the control."""
    device = loaded.network.device
    shaped = {"capacity": capacity, "window": capacity if device.type == "cuda" else None}
    target, arrays, sampler = Model(loaded, **shaped), Arrays.on(device), Sampler()
    drafters = {
        "plain": (Nothing(arrays, loaded.rows), 0),
        "lookup": (Lookup(arrays, loaded.rows, shortest=1), k),
        "model": (ModelDraft(arrays, Model(draft, **shaped), sampler), k),
        "early exit": (ModelDraft(arrays, Model(draft, **shaped, borrowed=target), sampler), k),
    }
    arms = {}
    for name, (drafter, depth) in drafters.items():
        decoder = Decoder(target, drafter, sampler, Clock(str(device)), loaded.eos, depth)
        arms[f"ours {name}"] = arms[f"ours {name} (control)"] = partial(_ours, decoder)
    return arms


def usable(others, prompt):
    """The arms that run here, warmed up; of another it is said in a line why not."""
    found = {}
    for name, arm in others.items():
        try:
            arm(prompt, WARM_TOKENS)
        except Exception as error:  # whatever a peer raises, the others are still measured
            print(f"{name}: left out, it does not run here: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        else:
            found[name] = arm
    return found


def timed(arms, prompts, budget):
    """Seconds and outputs of every arm, by prompt; the order of the arms turns from prompt to prompt."""
    seconds, outputs = defaultdict(list), defaultdict(list)
    for i, prompt in enumerate(prompts):
        for name in [*arms][:: 1 if i % 2 else -1]:
            started = time.perf_counter()
            outputs[name].append(arms[name](prompt, budget))
            seconds[name].append(time.perf_counter() - started)
    return seconds, outputs


def ratio_lines(seconds, device):
    """Total seconds of one arm over another's, the range by prompt beside it, and what was wanted."""
    yield "seconds of A over seconds of B, all prompts (lowest and highest of a prompt)"
    for a, b, wanted in RATIOS:
        if a in seconds and b in seconds:
            of, over = sum(seconds[a]), sum(seconds[b])
            each = [x / y for x, y in zip(seconds[a], seconds[b], strict=True)]
            kind = device.partition(":")[0]
            goal = f"   (target: at least {wanted[kind]:g})" if wanted else ""
            spread = f"({min(each):.2f} to {max(each):.2f})"
            yield f"{a:25s} / {b:15s} {of / over:6.3f}  {spread:15s} {of:6.1f} s / {over:6.1f} s{goal}"


def time_lines(seconds, outputs, device):
    """Where our time goes: before the first token, and after it outside the target's forwards."""
    wanted = OUTSIDE[device.partition(":")[0]]
    for name in ("ours plain", "ours lookup"):
        whole, decoding = sum(seconds[name]), sum(o.decode_s for o in outputs[name])
        outside = 1 - sum(o.verify_s for o in outputs[name]) / decoding
        prefill = 1 - decoding / whole
        goal = f"   (target: below {wanted:.0%})"
        yield f"{name}: prefill {prefill:.1%} of its time; of the rest {outside:.2%} outside model forwards{goal}"


def text_lines(outputs):
    """Texts that are the reference's token by token, and tokens for each forward of the target."""
    for name, made in outputs.items():
        same = sum(o.tokens == r.tokens for o, r in zip(made, outputs[REFERENCE], strict=True))
        rate = sum(len(o.tokens) for o in made) / sum(o.forwards for o in made)
        yield f"{name:25s} {same}/{len(made)} texts identical to {REFERENCE}, {rate:.2f} tokens a forward"


def _ours(decoder, ids, budget):
    generation = decoder.start(ids, budget=budget, seed=0)
    started = time.perf_counter()
    rounds = list(generation.rounds())
    decode_s = time.perf_counter() - started
    return Output(generation.tokens, len(rounds) + 1, decode_s, sum(r.verify_s for r in rounds))
