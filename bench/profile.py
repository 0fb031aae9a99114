"""What it costs to know the acceptance of k = 1..8: one scoring pass, against the decoder run at every k.

The same prompts and drafts in the same run: text is written plainly, scored, and decoded speculatively at every k,
prompt by prompt. The control writes every text twice. Seconds of A over seconds of B; the precision of both beside.
"""

import time
from collections import defaultdict

import numpy as np

from specmath.estimate import ratio
from specmath.replay import Replay
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft, Nothing
from validate.loading import early, load
from validate.model import Model
from validate.offsets import lookup_draft
from validate.sampler import Sampler
from validate.scores import model_draft
from validate.scoring import Scorer
from validate.workload import bundled
from validate.writing import decoded

PER_DOMAIN, TOKENS, DEPTHS, LAYERS = 1, 48, range(1, 9), 27


def main():
    """Both drafts: lookup, which costs nothing, and the target's first layers, which cost nearly a step."""
    target = load()
    models = {"lookup": None, f"early:{LAYERS}": early(target, LAYERS)}
    prompts = bundled(PER_DOMAIN)
    ids = {p.id: target.encode(p.messages) for p in prompts}
    capacity = max(map(len, ids.values())) + TOKENS + max(DEPTHS) + 1
    for name, draft in models.items():
        print(f"draft {name}: {len(prompts)} prompts, {TOKENS} tokens, k = 1..{max(DEPTHS)}, greedy")
        _compare(target, name, draft, prompts, ids, capacity)


def _compare(target, name, draft, prompts, ids, capacity):
    seconds, rounds, texts = defaultdict(float), defaultdict(list), []
    host, common = Arrays.on("cpu"), (Sampler(), Clock("cpu"), target.eos)
    model = Model(target, capacity=capacity)
    plain = Decoder(model, Nothing(host, target.rows), *common, k=0)
    drafter = (
        Lookup(host, target.rows) if draft is None else ModelDraft(host, Model(draft, capacity=capacity), Sampler())
    )
    arms = {k: Decoder(model, drafter, *common, k=k) for k in DEPTHS}
    scorer = Scorer(target, {} if draft is None else {name: draft}, Sampler(), say=print)
    decoded(plain, ids[prompts[0].id], prompts[0], budget=8, seed=0)
    for prompt in prompts:
        for arm in ("written", "written again"):
            texts.append(_timed(seconds, arm, lambda p=prompt: decoded(plain, ids[p.id], p, budget=TOKENS, seed=0)))
        texts.pop()
        for k, decoder in arms.items():
            made = _timed(seconds, "decoded at every k", lambda d=decoder, p=prompt: _rounds(d, ids[p.id]))
            rounds[k].append(made)
    scored = _timed(seconds, "scored", lambda: list(scorer.score(texts)))
    found = lookup_draft(texts, max(DEPTHS), target.rows)
    if draft is not None:
        by_prompt = {s.prompt: s for s in scored}
        found = model_draft([by_prompt[t.prompt] for t in texts], name, "one_hot")
    _report(seconds, Replay(found.ratios), rounds, texts)


def _timed(seconds, arm, work):
    started = time.perf_counter()
    result = work()
    seconds[arm] += time.perf_counter() - started
    return result


def _rounds(decoder, ids):
    return len(list(decoder.start(ids, budget=TOKENS, seed=0).rounds()))


def _report(seconds, replay, rounds, texts):
    written, scored, every = (seconds[arm] for arm in ("written", "scored", "decoded at every k"))
    print(f"  decoded at every k / scored           {every / scored:6.1f}   at least 20 wanted")
    print(f"  decoded at every k / written, scored  {every / (written + scored):6.1f}   at least 5 wanted")
    print(f"  seconds: decoded {every:.1f}, written {written:.1f}, scored {scored:.1f}")
    print(f"  written again / written (control)     {seconds['written again'] / written:6.3f}")
    same = sum(int(np.array_equal(np.rint(replay.rounds(k)), rounds[k])) for k in DEPTHS)
    print(f"  rounds of every prompt equal the decoder's at {same} of {len(DEPTHS)} depths")
    sums, counts = [np.minimum(np.atleast_2d(r)[0], 1).sum() for r in replay.ratios], [t.tokens for t in texts]
    right = ratio(sums, counts)
    print(f"  first drafts right: {right.value:.3f} +- {right.half_width:.3f}, of the same text either way")
