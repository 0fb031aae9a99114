"""The decoder against transformers' `generate`, exact model laws, and planted bugs. Txx: bugs seen in the wild."""

import itertools
from collections import Counter
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import array_api_compat.torch
from scipy import stats

from specmath import acceptor
from tests import tiny
from validate import decoder as decoder_module
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft, Nothing, Proposal
from validate.model import Model
from validate.rows import Request, Streams
from validate.sampler import Sampler

PROMPT = [1, 5, 2, 7, 3, 3, 0, 6]
HOST, TORCH = Arrays.on("cpu"), Arrays(array_api_compat.torch, "cpu")
GREEDY, SAMPLED = Sampler(), Sampler(temperature=1.0)


def make(target, draft="nothing", *, k=4, sampler=GREEDY, eos=None, arrays=HOST):
    model = Model(target, capacity=128)
    drafters = {"nothing": Nothing, "lookup": partial(Lookup, longest=2, shortest=1)}
    if draft in drafters:
        drafter = drafters[draft](arrays, target.rows)
    else:
        drafter = ModelDraft(arrays, Model(draft, capacity=128), sampler)
    return Decoder(model, drafter, sampler, Clock("cpu"), target.eos if eos is None else eos, k)


def run(decoder, *, budget=24, seed=0, prompt=PROMPT):
    generation = decoder.start(prompt, budget=budget, seed=seed)
    rounds = list(generation.rounds())
    return generation, rounds


def reference(loaded, budget=24, prompt=PROMPT):
    output = loaded.network.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=budget, do_sample=False
    )
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("draft", ["nothing", "lookup", "model", "stranger"])
@pytest.mark.parametrize("arrays", [HOST, TORCH], ids=["numpy", "torch"])
def test_greedy_tokens_are_those_of_generate(arrays, draft, k):
    """T14, T15, T17."""
    target = tiny.llama(vocabulary=12, seed=1)
    drafts = {"model": tiny.llama(vocabulary=12, seed=1, noise=0.2), "stranger": tiny.llama(vocabulary=12, seed=9)}
    generation, _ = run(make(target, drafts.get(draft, draft), k=k, arrays=arrays))
    assert generation.tokens == reference(target)


def test_the_target_as_its_own_draft_is_accepted_whole():
    target = tiny.llama(vocabulary=12, seed=1)
    _, rounds = run(make(target, target, k=4), budget=26)
    assert [(r.drafted, r.accepted, len(r.emitted)) for r in rounds] == [(4, 4, 5)] * 5


@pytest.mark.parametrize("sampler", [GREEDY, SAMPLED])
def test_a_round_emits_what_it_accepted_and_one_token(sampler):
    """T9, T13."""
    _, rounds = run(make(tiny.llama(), tiny.llama(noise=0.3), sampler=sampler), budget=60)
    assert all(0 <= r.accepted <= r.drafted and len(r.emitted) == r.accepted + 1 for r in rounds)
    assert 0 < sum(r.accepted for r in rounds) < sum(r.drafted for r in rounds)


@pytest.mark.parametrize("draft", ["lookup", "model"])
def test_after_every_round_the_cache_is_that_of_the_committed_text(draft):
    """T16: length one short of the committed text, and next logits equal to a fresh prefill's."""
    target = tiny.llama(seed=2)
    decoder = make(target, tiny.llama(seed=2, noise=0.3) if draft == "model" else draft, sampler=SAMPLED)
    generation = decoder.start(PROMPT, budget=40, seed=3)
    for _ in generation.rounds():
        committed = PROMPT + generation.tokens
        assert decoder.target.length == len(committed) - 1
        fresh = target.network(torch.tensor([committed])).logits[0, -1]
        torch.testing.assert_close(decoder.target.forward(committed[-1:])[-1], fresh)
        decoder.target.rewind(len(committed) - 1)


@pytest.mark.parametrize("budget", range(1, 8))
def test_the_budget_is_met_exactly(budget):
    """T28: a budget of 1 with k = 5 yields one token."""
    target = tiny.llama(seed=1)
    generation, rounds = run(make(target, target, k=5), budget=budget)
    assert len(generation.tokens) == budget
    assert generation.end == "budget"
    assert sum(len(r.emitted) for r in rounds) == budget - 1


def test_eos_inside_the_accepted_block_ends_the_text_and_censors_the_round():
    """T28: tokens after EOS are dropped, and the drafts behind it count neither as drafted nor as rejected."""
    target = tiny.llama(vocabulary=12, seed=1)
    tokens = reference(target)
    at = next(i for i in range(2, 6) if tokens[i] not in tokens[:i])
    decoder = make(target, target, k=8, eos=frozenset(tokens[at : at + 1]))
    generation, rounds = run(decoder)
    assert generation.tokens == tokens[: at + 1]
    assert [(r.drafted, r.accepted, len(r.emitted), r.end) for r in rounds] == [(at, at, at, "eos")]
    assert [r.proposed for r in rounds] == [8]
    assert decoder.target.length == len(PROMPT) + at


def test_eos_as_first_token_needs_no_round():
    target = tiny.llama(vocabulary=12, seed=1)
    generation, rounds = run(make(target, target, eos=frozenset(reference(target)[:1])))
    assert len(generation.tokens) == 1
    assert rounds == []


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others():
    """T10."""
    decoder = make(tiny.llama(sharpness=5), tiny.llama(sharpness=5, noise=0.3), sampler=SAMPLED)
    first, again, other = (run(decoder, seed=seed)[0].tokens for seed in (7, 7, 8))
    assert first == again != other


def test_a_drafted_round_records_the_overlap_of_its_laws():
    """beta = sum_x min(p, q) at every tested draft, from fresh forwards of both models."""
    target, draft = tiny.llama(sharpness=10), tiny.llama(sharpness=10, noise=0.3)
    generation, rounds = run(make(target, draft, sampler=SAMPLED), budget=30)
    text = torch.tensor([PROMPT + generation.tokens])
    p, q = (torch.softmax(m.network(text).logits[0], -1) for m in (target, draft))
    overlap = torch.minimum(p, q).sum(-1).tolist()
    for r in rounds:
        tested = min(r.accepted + 1, r.drafted)
        assert r.beta == pytest.approx(overlap[r.context - 1 : r.context - 1 + tested], abs=1e-5)


def test_a_greedy_round_has_no_overlap_to_record():
    _, rounds = run(make(tiny.llama(), "lookup"))
    assert {r.beta for r in rounds} == {None}


def test_a_prompt_that_does_not_fit_is_refused_with_its_size():
    with pytest.raises(ValueError, match="prompt of 100 tokens and 40 new ones"):
        make(tiny.llama()).start([1] * 100, budget=40, seed=0)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="prompt is empty"):
        make(tiny.llama()).start([], budget=4, seed=0)


# The law at temperature 1: 2500 seeded texts of three tokens against the model's own exact joint law.

TEXTS, ROWS = 2500, 50
VOCABULARY = 6


def exact_law(loaded):
    """Joint law of three tokens after a prompt, from one forward per prefix."""
    texts = list(itertools.product(range(VOCABULARY), repeat=3))
    with torch.inference_mode():
        logits = loaded.network(torch.tensor([[*PROMPT_SMALL, *t] for t in texts])).logits.double()
    rows = torch.softmax(logits, -1)[:, len(PROMPT_SMALL) - 1 : -1]
    picked = torch.gather(rows, 2, torch.tensor(texts)[..., None])[..., 0]
    return dict(zip(texts, picked.prod(-1).tolist(), strict=True))


PROMPT_SMALL = [1, 5, 2]


def p_value(decoder, law):
    """Pearson's chi-square of the drawn texts; texts expected fewer than five times share a cell."""
    asked = (Request(PROMPT_SMALL, 3, seed, SAMPLED) for seed in range(TEXTS))
    counts = Counter(tuple(row.tokens) for _, row in decoder.decode(asked))
    common = [t for t in law if TEXTS * law[t] >= 5]
    observed = [counts[t] for t in common]
    expected = [TEXTS * law[t] for t in common]
    observed.append(TEXTS - sum(observed))
    expected.append(TEXTS - sum(expected))
    return stats.chisquare(observed, expected).pvalue


def recover_from_the_target(p, q, *, xp):
    """Planted bug: the recovered token is drawn from p instead of the residual."""
    return p


class ArgmaxDraftSoftmaxRow(ModelDraft):
    """T2, planted: the draft is the argmax, the row it reports is the softmax."""

    def propose(self, rows, ks):
        honest = super().propose(rows, ks)
        return Proposal(honest.q[:, :1].argmax(-1), honest.q[:, :1], [min(k, 1) for k in ks])


def sampled_decoder(kind=ModelDraft, arrays=TORCH):
    target = tiny.llama(vocabulary=VOCABULARY, sharpness=12)
    draft = Model(tiny.llama(vocabulary=VOCABULARY, sharpness=12, noise=0.35), capacity=64, rows=ROWS)
    model = Model(target, capacity=64, rows=ROWS)
    decoder = Decoder(model, kind(arrays, draft, SAMPLED), SAMPLED, Clock("cpu"), frozenset(), 2)
    return decoder, exact_law(target)


def test_sampled_texts_have_the_targets_law():
    assert p_value(*sampled_decoder()) > 0.01


def test_the_law_test_catches_a_recovered_token_drawn_from_p(monkeypatch):
    monkeypatch.setattr(acceptor.chain, "residual", recover_from_the_target)
    assert decoder_module.verify.__globals__["residual"] is recover_from_the_target
    assert p_value(*sampled_decoder()) < 1e-6


def test_the_law_test_catches_an_argmax_draft_that_reports_a_softmax_row():
    assert p_value(*sampled_decoder(ArgmaxDraftSoftmaxRow)) < 1e-6


def test_lookup_drafts_leave_the_sampled_law_alone():
    target = tiny.llama(vocabulary=VOCABULARY, sharpness=12)
    drafter = Lookup(HOST, VOCABULARY, longest=1, shortest=1)
    decoder = Decoder(Model(target, capacity=64, rows=ROWS), drafter, SAMPLED, Clock("cpu"), frozenset(), 2)
    assert p_value(decoder, exact_law(target)) > 0.01


def test_streams_of_uniforms_are_apart():
    """T5: draft, accept and recover never share a draw."""
    streams = Streams.seeded(0)
    draws = np.concatenate([s.random(100) for s in (streams.draft, streams.accept, streams.recover)])
    assert len(set(draws)) == 300


def test_the_decoder_judges_with_the_acceptor_that_is_proved():
    assert decoder_module.verify is acceptor.verify


def test_probabilities_stay_in_host_memory_on_a_cpu_and_on_the_device_elsewhere():
    assert Arrays.on("cpu").xp is np
    assert Arrays.on("cuda:0") == Arrays(array_api_compat.torch, "cuda:0")


@pytest.mark.parametrize("sampler", [GREEDY, SAMPLED, Sampler(0.7, top_k=4, top_p=0.9)], ids=["0", "1", "0.7"])
def test_numpy_and_torch_decode_the_same_tokens(sampler):
    target, draft = tiny.llama(sharpness=10), tiny.llama(sharpness=10, noise=0.3)
    both = [run(make(target, draft, sampler=sampler, arrays=a), budget=60)[0].tokens for a in (HOST, TORCH)]
    assert both[0] == both[1]
