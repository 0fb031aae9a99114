"""Tokens that the target could not have written: what scoring says of them, and whose text it is in the end."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from specmath.sampling import warp
from tests.tiny import llama
from tests.written import text
from validate.profile import origin
from validate.sampler import Sampler
from validate.scoring import Scorer
from validate.texts import Text

VOCABULARY, WIDE = 40, 1000
TRUNCATED = [Sampler(0.7, top_k=12, top_p=0.9), Sampler(1.0, top_k=5), Sampler(1.3, min_p=0.2)]


@pytest.fixture(scope="module", autouse=True)
def one_tokeniser():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validate.scoring.common_vocabulary", lambda target, draft: draft.rows)
        yield


@pytest.fixture(scope="module")
def models():
    """A target and a draft."""
    return [llama(vocabulary=VOCABULARY, seed=1, sharpness=10, noise=noise) for noise in (0.0, 0.3)]


@pytest.fixture(scope="module")
def strange():
    """Texts of tokens that nobody wrote."""
    rng = np.random.default_rng(0)
    sizes = ((3, 30), (9, 12), (5, 21))
    drawn = [[tuple(rng.integers(VOCABULARY, size=n).tolist()) for n in pair] for pair in sizes]
    return [Text(str(i), "d", context, output) for i, (context, output) in enumerate(drawn)]


def laws(loaded, one, sampler):
    """Logits [n, V] after the first output token, from one pass over one text, and their laws."""
    with torch.inference_mode():
        logits = loaded.network(torch.tensor([[*one.context, *one.output]])).logits[0]
    logits = logits[len(one.context) : -1].double().numpy()
    return logits, warp(logits, **dataclasses.asdict(sampler), xp=np)


def scored(models, texts, sampler):
    """(text, score) of each."""
    target, *drafts = models
    found = {s.prompt: s for s in Scorer(target, dict(zip("D", drafts, strict=False)), sampler).score(texts)}
    return [(one, found[one.prompt]) for one in texts]


@pytest.mark.parametrize("sampler", TRUNCATED)
def test_a_token_is_foreign_where_its_law_gives_it_nothing_and_its_gap_is_to_the_border(models, strange, sampler):
    foreign = []
    for one, score in scored(models, strange, sampler):
        logits, p = laws(models[0], one, sampler)
        for j, token in enumerate(one.output[1:]):
            allowed = [logits[j, t] for t in range(VOCABULARY) if p[j, t] > 0]
            assert score.own[j] == (logits[j, token] in allowed)
            assert score.gap[j] == pytest.approx(max(min(allowed) - logits[j, token], 0), abs=1e-4)
        assert (score.gap[~score.own] > 0).all()
        assert (score.gap[score.own] == 0).all()
        assert (score.logp[~score.own] == 0).all()
        foreign += score.own.tolist()
    assert 0.3 < 1 - np.mean(foreign) < 0.95


@pytest.mark.parametrize("sampler", TRUNCATED)
def test_for_a_foreign_token_stands_the_chance_that_a_draft_is_accepted_there(models, strange, sampler):
    """And for a token of the target's own q(x) / p(x), which is above 1 and below."""
    overlaps = []
    for one, score in scored(models, strange, sampler):
        (_, p), (_, q) = (laws(model, one, sampler) for model in models)
        row, overlap = score.drafts["D"], np.minimum(p, q).sum(-1)
        np.testing.assert_allclose(row.ratio[~score.own], overlap[~score.own], atol=1e-4)
        own = np.flatnonzero(score.own)
        tokens = np.array(one.output[1:])[own]
        np.testing.assert_allclose(row.ratio[own] * p[own, tokens], q[own, tokens], atol=1e-5)
        overlaps += overlap[~score.own].tolist()
    assert np.ptp(overlaps) > 0.1


def test_for_a_foreign_token_of_a_greedy_target_stands_whether_the_draft_names_it(models, strange):
    for one, score in scored(models, strange, Sampler()):
        drafted = laws(models[1], one, Sampler())[0].argmax(-1)
        assert (~score.own).sum() > 5
        assert score.drafts["D"].ratio.tolist() == [float(a == b) for a, b in zip(drafted, one.output[1:], strict=True)]


@pytest.fixture(scope="module")
def rounded():
    """A target of many tokens in bfloat16, whose kernels for one token and for many round differently."""
    target = llama(vocabulary=WIDE, seed=1, sharpness=1.5, width=64)
    return dataclasses.replace(target, network=target.network.to(torch.bfloat16))


def of_prompts(target, sampler, count=12):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(WIDE, size=3 + i).tolist() for i in range(count)]
    return [text(target, p, name=str(i), budget=60, seed=i, sampler=sampler) for i, p in enumerate(prompts)]


def held_against(target, texts, sampler):
    return origin([score for _, score in scored([target], texts, sampler)], greedy=False)


TRUNCATED_WIDE = Sampler(1.0, top_k=40, top_p=0.9)


def test_what_a_target_in_half_precision_wrote_is_its_own_although_some_of_it_lies_beyond_the_border(rounded):
    found = held_against(rounded, of_prompts(rounded, TRUNCATED_WIDE), TRUNCATED_WIDE)
    assert found.own
    if not found.ties:
        pytest.skip("the kernels of this machine round one token and many alike")
    assert found.ties < 0.05 * found.tokens
    assert 0 < found.widest_tie < 0.5


def test_what_it_wrote_under_another_sampler_is_not(rounded):
    found = held_against(rounded, of_prompts(rounded, Sampler(1.5), 4), TRUNCATED_WIDE)
    assert not found.own
    assert found.foreign > 0.2 * found.tokens
