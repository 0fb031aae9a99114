"""SmolLM2-135M-Instruct in float32 against transformers' own generate: the same greedy tokens."""

import warnings

import pytest

torch = pytest.importorskip("torch")

from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft, Nothing
from validate.loading import load
from validate.model import Model
from validate.sampler import Sampler
from validate.workload import bundled

pytestmark = pytest.mark.model
HOST = Arrays.on("cpu")
TIE = 1e-3  # logits this close are equal to what float32 kernels of different shapes agree on


@pytest.fixture(scope="module")
def smollm():
    return load()


def generated(loaded, ids, budget):
    prompt = torch.tensor([ids])
    with torch.inference_mode():
        output = loaded.network.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=budget, do_sample=False
        )
    return output[0, len(ids) :].tolist()


def top_gap(loaded, ids):
    with torch.inference_mode():
        top = loaded.network(torch.tensor([ids]), logits_to_keep=1).logits[0, -1].topk(2).values
    return float(top[0] - top[1])


def decoded(loaded, drafter, ids, *, k, budget):
    target = Model(loaded, capacity=len(ids) + budget)
    decoder = Decoder(target, drafter, Sampler(), Clock("cpu"), loaded.eos, k)
    generation = decoder.start(ids, budget=budget, seed=0)
    rounds = list(generation.rounds())
    return generation.tokens, rounds


def assert_same_or_tied(loaded, ids, tokens, expected):
    """Identity; or the gap of the top two logits at the first difference is a tie, warned of and so counted."""
    if tokens != expected:
        at = next(i for i, (a, b) in enumerate(zip(tokens, expected, strict=True)) if a != b)
        gap = top_gap(loaded, [*ids, *expected[:at]])
        assert gap < TIE, f"token {at} differs where the top two logits are {gap} apart"
        warnings.warn(f"floating-point tie at token {at}: the top two logits are {gap:.1e} apart", stacklevel=2)


@pytest.mark.parametrize("prompt", bundled(1), ids=lambda p: p.id)
def test_lookup_decoding_gives_the_tokens_of_generate(smollm, prompt):
    ids = smollm.encode(prompt.messages)
    tokens, _ = decoded(smollm, Lookup(HOST, smollm.rows), ids, k=4, budget=24)
    assert_same_or_tied(smollm, ids, tokens, generated(smollm, ids, 24))


@pytest.mark.slow
@pytest.mark.parametrize("prompt", bundled(), ids=lambda p: p.id)
def test_every_bundled_prompt_gives_the_tokens_of_generate(smollm, prompt):
    ids, expected = smollm.encode(prompt.messages), None
    for drafter, k in ((Nothing(HOST, smollm.rows), 0), (Lookup(HOST, smollm.rows), 4)):
        tokens, _ = decoded(smollm, drafter, ids, k=k, budget=64)
        expected = expected or generated(smollm, ids, 64)
        assert_same_or_tied(smollm, ids, tokens, expected)


def test_the_target_as_its_own_draft_is_accepted_whole(smollm):
    ids = smollm.encode(bundled(1)[0].messages)
    draft = ModelDraft(HOST, Model(smollm, capacity=len(ids) + 32), Sampler())
    tokens, rounds = decoded(smollm, draft, ids, k=4, budget=16)
    assert [(r.drafted, r.accepted) for r in rounds] == [(4, 4)] * 3
    assert_same_or_tied(smollm, ids, tokens, generated(smollm, ids, 16))
