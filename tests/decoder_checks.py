"""The claims that a decoder is put to, its rows side by side; the toys' laws are known exactly.

A check gives the probability that a true decoder does as badly or worse: 1 where the claim holds exactly, 0 where it
does not, between them a p-value.
"""

from functools import partial

import numpy as np
import pytest
import torch

from specmath.acceptor import verify
from tests.toys import (
    CAPACITY,
    GREEDY,
    SAMPLED,
    Forced,
    Scripted,
    Watched,
    decoder_of,
    joint_law,
    p_value,
    played,
    remembering,
    tokens,
    under,
)
from validate import drafters
from validate.decoder import Batch
from validate.processors import Allowed, Penalties
from validate.rows import Request, Row
from validate.sampler import Sampler

PROMPTS = ([1, 2], [2, 0, 1, 1, 2])
SEEN = 4  # tokens whose joint law is tested
WARPS = {
    "temperature": Sampler(0.3),
    "top_k": Sampler(1.0, top_k=2),
    "top_p": Sampler(1.0, top_p=0.7),
    "min_p": Sampler(1.0, min_p=0.4),
}
PENALTIES = Penalties(repetition=1.6, presence=0.5, frequency=1.2)
ALTERNATING = Allowed(lambda output: [x for x in range(3) if not output or x != output[-1]])


def requests(n, *, kinds, prompts=PROMPTS, budget=5):
    """n requests of each kind, which is (sampler, processors), of several lengths and budgets."""
    asked = []
    for i in range(n * len(kinds)):
        sampler, processors = kinds[i % len(kinds)]
        turn = i // len(kinds)
        asked.append(Request(prompts[turn % len(prompts)], budget + turn % 3, i, sampler, processors))
    return asked


def held(laws, *, rows=32, n=1000, k=2, draft=None, vocabulary=3, **settings):
    """The smallest p-value, times their number, of the texts of each kind and prompt; `laws` gives each kind's law."""
    target = remembering(vocabulary)
    decoder = decoder_of(target, draft or remembering(vocabulary, noise=0.9), rows=rows, k=k, **settings)
    asked, values = requests(n, kinds=list(laws)), []
    made = tokens(decoder, asked)
    for (sampler, processors), law in laws.items():
        for prompt in PROMPTS:
            mine = [
                text[:SEEN]
                for text, r in zip(made, asked, strict=True)
                if (r.sampler, r.processors, r.prompt) == (sampler, processors, prompt)
            ]
            values.append(p_value(mine, joint_law(target, prompt, SEEN, partial(law, prompt=prompt))))
    return min(1.0, len(values) * min(values))


def penalised(sampler, penalties):
    """The law under penalties, written down token by token."""

    def law(logits, output, prompt):
        changed = logits.copy()
        for x in {*prompt, *output}:
            changed[x] *= 1 / penalties.repetition if changed[x] > 0 else penalties.repetition
        for x in set(output):
            changed[x] -= penalties.presence + penalties.frequency * output.count(x)
        return sampler(changed, xp=np)

    return law


def masked(sampler, grammar):
    """The law over what a grammar allows."""

    def law(logits, output, prompt):
        allowed = np.isin(np.arange(len(logits)), list(grammar.after(output)))
        return sampler(np.where(allowed, logits, -np.inf), xp=np)

    return law


def sampled_law(**settings):
    """T25: sampled drafts of a model, accepted to different lengths in rows of different lengths."""
    return held({(SAMPLED, ()): under(SAMPLED)}, **settings)


def sampled_law_of_more(**settings):
    """T3: what changes little takes more texts."""
    return sampled_law(n=2400, **settings)


def own_laws(**settings):
    """T11: greedy, cold, cut by top-p, and penalised rows in one batch obey each their own law."""
    laws = {(sampler, ()): under(sampler) for sampler in (GREEDY, *WARPS.values())}
    return held({**laws, (SAMPLED, (PENALTIES,)): penalised(SAMPLED, PENALTIES)}, **{"n": 250} | settings)


def penalised_law(**settings):
    """T19."""
    return held({(SAMPLED, (PENALTIES,)): penalised(SAMPLED, PENALTIES)}, **settings)


def masked_law(**settings):
    """T20."""
    return held({(SAMPLED, (ALTERNATING,)): masked(SAMPLED, ALTERNATING)}, **settings)


def lookup_law(**settings):
    """T29: drafts of different depths in a batch, some of none."""
    return held({(SAMPLED, ()): under(SAMPLED)}, draft="lookup", **settings)


# --- what holds exactly ----------------------------------------------------------------------------------------------

LENGTHS = ([1], [2, 0, 3, 1, 1, 2, 0], [3, 2, 1], [0] * 12, [1, 2, 0, 3, 1, 2, 0, 3], [2, 2])


def mixed_requests(n=7, budget=10):
    """Rows of different prompts, budgets, seeds and laws."""
    kinds = [(SAMPLED, ()), (GREEDY, ()), (Sampler(0.7, top_k=3), ()), (SAMPLED, (PENALTIES,))]
    return requests(-(-n // len(kinds)), kinds=kinds, prompts=LENGTHS, budget=budget)[:n]


def alone_and_together():
    """T10: the tokens and the rounds of a request are the same alone and in any batch, place and order."""
    target, asked = remembering(), mixed_requests(16, budget=6)
    for draft in (remembering(noise=0.9), "lookup", "ngram", "nothing"):
        alone = [played(decoder_of(target, draft, k=5, eos={3}), [request])[0] for request in asked]
        for rows in (2, 8):
            assert played(decoder_of(target, draft, rows=rows, k=5, eos={3}), asked) == alone
            assert played(decoder_of(target, draft, rows=rows, k=5, eos={3}), asked[::-1]) == alone[::-1]
    return 1.0


def greedy_text(target, prompt, length):
    """What a target says by whole forwards, the first of the largest logits; no cache, no decoder."""
    text = list(prompt)
    with torch.inference_mode():
        for _ in range(length):
            logits = target.network(torch.tensor([text])).logits[0, -1].tolist()
            text.append(logits.index(max(logits)))
    return text[len(prompt) :]


PATTERNS = [(drafted, right) for drafted in range(5) for right in range(drafted + 1)]


def pattern(row):
    """(k, right): every acceptance pattern in turn, different from row to row."""
    return PATTERNS[(4 * row.made + 7 * len(row.request.prompt)) % len(PATTERNS)]


def plain_text(target=None, *, rows=4, k=4):
    """T17: greedy tokens are those of whole forwards, whatever the draft."""
    target = target or remembering()
    for draft in (remembering(noise=0.9), "lookup", "ngram", "nothing"):
        asked = requests(7, kinds=[(GREEDY, ())], prompts=LENGTHS, budget=12)
        for request, text in zip(asked, tokens(decoder_of(target, draft, rows=rows, k=k), asked), strict=True):
            assert text == greedy_text(target, request.prompt, request.budget)
    return 1.0


def state(target=None, draft=None, *, rows=3, plan=pattern, eos=()):
    """T12, T15, T16: after any pattern the caches hold the committed text, at its positions and with its logits."""
    target, draft = target or remembering(), draft or remembering(noise=0.9)
    asked = requests(6, kinds=[(GREEDY, ())], prompts=LENGTHS, budget=14)
    known = {tuple(request.prompt): greedy_text(target, request.prompt, 20) for request in asked}
    shape = {"rows": rows, "kind": Watched, "k": 4, "eos": eos}
    for drafter in (
        Scripted(target.rows, known, plan),
        Forced(Watched(draft, capacity=CAPACITY, rows=rows), known, plan),
    ):
        batch, waiting, over = Batch(decoder_of(target, drafter, **shape)), list(asked), []
        watched = batch.decoder.target
        while waiting or batch.rows:
            while waiting and batch.free:
                over.append(batch.add(Row(waiting.pop(), batch.decoder.eos)))
            before, watched.fed = [len(row.committed) for row in batch.rows], []
            batch.round()
            assert [start for _, start, _ in watched.fed] == [length - 1 for length in before]
            for slot, row in enumerate(batch.rows):
                assert watched.lengths[slot] == len(row.committed) - 1
                assert watched.texts[slot][: watched.lengths[slot]] == row.committed[:-1]
        for row in over:
            assert row.tokens == until(known[tuple(row.request.prompt)][: row.request.budget], eos)
    return 1.0


def until(text, eos):
    """A text up to its first EOS."""
    return text[: next((i + 1 for i, token in enumerate(text) if token in eos), len(text))]


def counting(*, rows=3):
    """T9, T13, T28: what is emitted, drafted, accepted and censored, by hand from the drafts that were told."""
    for seed in range(5):
        target, eos = remembering(seed=seed), {2}
        asked = requests(9, kinds=[(GREEDY, ())], prompts=LENGTHS, budget=1)
        asked += requests(12, kinds=[(GREEDY, ())], prompts=LENGTHS, budget=12)
        known = {tuple(request.prompt): greedy_text(target, request.prompt, 20) for request in asked}
        decoder = decoder_of(target, Scripted(target.rows, known, pattern), rows=rows, k=4, eos=eos)
        for request, (text, rounds) in zip(asked, played(decoder, asked), strict=True):
            assert text == until(known[tuple(request.prompt)][: request.budget], eos)
            assert rounds == list(told(request, text, eos))
    return 1.0


def told(request, true, eos):
    """The rounds that `pattern` makes of a text."""
    made = 1
    while made < len(true):
        row = Row(request, frozenset())
        row.commit(true[:made])
        depth, right = pattern(row)
        depth = min(depth, request.budget - made - 1)
        right = min(right, depth)
        emitted = tuple(true[made : made + right + 1])
        cut = len(emitted) <= right
        context, made = len(request.prompt) + made, made + len(emitted)
        end = None if made < len(true) else "eos" if true[-1] in eos else "budget"
        yield context, depth, len(emitted) if cut else depth, right if not cut else len(emitted), emitted, end


def rows_as_sampled():
    """T4: every row of q that is judged is, bit for bit, the one that its token was drawn from."""
    drawn, judged, true = [], [], drafters.draw

    def watching(weights, v, *, xp):
        drawn.append(weights.copy())
        return true(weights, v, xp=xp)

    def rule(drafts, q, *rest, xp, drafted):
        judged.append((q.copy(), list(drafted)))
        return verify(drafts, q, *rest, xp=xp, drafted=drafted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafters, "draw", watching)
        tokens(decoder_of(remembering(), remembering(noise=0.9), rows=3, rule=rule), mixed_requests())
    for q, counts in judged:
        steps = [drawn.pop(0) for _ in range(q.shape[1])]
        for r, count in enumerate(counts):
            assert all(np.array_equal(steps[i][r], q[r, i]) for i in range(count))
    assert not drawn
    return 1.0


def tie_is_first(dtype="float64"):
    """T14: of exactly equal logits the first wins, in plain decoding and in a batch of drafts."""
    target = tied(dtype)
    plain = [greedy_text(target, prompt, 12) for prompt in LENGTHS]
    for draft in ("nothing", "ngram", "lookup", target, remembering(noise=2.0)):
        asked = [Request(prompt, 12) for prompt in LENGTHS]
        made = played(decoder_of(target, draft, rows=3, k=3), asked)
        assert [text for text, _ in made] == plain
        if draft is target:
            assert all(drafted == accepted for _, rounds in made for _, _, drafted, accepted, *_ in rounds)
    return 1.0


def tied(dtype):
    """A toy whose logits are few whole numbers, so that the largest are often equal, in any precision."""
    target = remembering()
    target.network.table = torch.round(2 * target.network.table).to(getattr(torch, dtype))
    return target


def known_ids():
    """T29: a draft of fewer and of more ids than the target, cut to those that both have."""
    shorter, longer = remembering(3), remembering(5, seed=1)
    for target, draft in ((remembering(4), shorter), (shorter, longer)):
        cut = min(target.rows, draft.rows)
        decoder = decoder_of(target, draft, rows=3, vocabulary=cut)
        made = tokens(decoder, requests(12, kinds=[(SAMPLED, ())]))
        assert {token for text in made for token in text} == set(range(cut))
    return 1.0


CHECKS = {
    check.__name__: check
    for check in (
        sampled_law,
        sampled_law_of_more,
        own_laws,
        penalised_law,
        masked_law,
        lookup_law,
        alone_and_together,
        plain_text,
        state,
        counting,
        rows_as_sampled,
        tie_is_first,
        known_ids,
    )
}
