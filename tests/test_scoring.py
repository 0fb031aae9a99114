"""One batched pass says of every token what a pass of its own would say, and stops where it cannot."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from specmath.sampling import warp
from tests.tiny import llama, mamba
from tests.written import text
from validate.loading import early
from validate.model import Model, NotRewindable
from validate.sampler import Sampler
from validate.scores import TILTS
from validate.scoring import Scorer

VOCABULARY = 40
SAMPLERS = [Sampler(), Sampler(1.0), Sampler(0.7, top_k=12, top_p=0.9)]


@pytest.fixture(scope="module", autouse=True)
def one_tokeniser():
    """Tiny models have no tokeniser to compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validate.scoring.common_vocabulary", lambda target, draft: VOCABULARY)
        yield


@pytest.fixture(scope="module")
def target():
    return llama(vocabulary=VOCABULARY, seed=1)


@pytest.fixture(scope="module")
def draft():
    return llama(vocabulary=VOCABULARY, seed=1, noise=0.1)


@pytest.fixture(scope="module")
def texts(target):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(VOCABULARY, size=n).tolist() for n in (3, 9, 10, 4, 17, 12)]
    return [text(target, p, name=str(i), budget=5 + 3 * i) for i, p in enumerate(prompts)]


def alone(loaded, one, sampler):
    """Laws [n, V] of the tokens after the first, from one pass over one text."""
    with torch.inference_mode():
        logits = loaded.network(torch.tensor([[*one.context, *one.output]])).logits[0]
    logits = logits[len(one.context) : -1].double().numpy()
    return logits, warp(logits, **dataclasses.asdict(sampler), xp=np)


def evidence(p, chance, tilt):
    """sum log(p(x)^t / sum_y p(y) p(y)^t), a loop over the tokens."""
    means = [sum(y ** (1 + tilt) for y in row if y > 0) for row in p]
    return sum(tilt * np.log(x) - np.log(mean) for x, mean in zip(chance, means, strict=True))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cells", [VOCABULARY, 7 * VOCABULARY, 1 << 20])
def test_a_batch_in_pieces_says_what_each_text_alone_says(target, draft, texts, sampler, cells):
    scores = list(Scorer(target, {"D": draft}, sampler, cells=cells).score(texts))
    assert {s.prompt for s in scores} == {t.prompt for t in texts}
    for score in scores:
        one = texts[int(score.prompt)]
        logits, p = alone(target, one, sampler)
        _, q = alone(draft, one, sampler)
        at = np.arange(one.tokens), np.array(one.output[1:])
        own = p[at] > 0
        np.testing.assert_array_equal(score.own, own)
        np.testing.assert_allclose(score.logp[own], np.log(p[at][own]), atol=1e-4)
        least = np.where(p > 0, logits, np.inf).min(-1)
        np.testing.assert_allclose(score.gap, np.maximum(least - logits[at], 0), atol=1e-4)
        log = np.log(np.where(p > 0, p, 1))
        np.testing.assert_allclose(score.entropy, -(p * log).sum(-1), atol=1e-4)
        np.testing.assert_allclose(score.varentropy, (p * log**2).sum(-1) - (p * log).sum(-1) ** 2, atol=1e-3)
        np.testing.assert_allclose(score.evidence, [evidence(p[own], p[at][own], t) for t in TILTS], atol=1e-3)
        row = score.drafts["D"]
        np.testing.assert_allclose(row.ratio[own], q[at][own] / p[at][own], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(row.beta, np.minimum(p, q).sum(-1), atol=1e-4)


def test_what_a_target_wrote_greedily_is_its_own_and_what_it_did_not_is_not(target, texts):
    first = texts[2]
    changed = dataclasses.replace(first, output=(*first.output[:4], (first.output[4] + 1) % VOCABULARY))
    whole, other = Scorer(target, {}, Sampler()).score([first]), Scorer(target, {}, Sampler()).score([changed])
    assert next(whole).own.all()
    found = next(other)
    assert found.own.tolist() == [True, True, True, False]
    assert found.gap[-1] > 0


@pytest.mark.parametrize(
    ("sampler", "tied"),
    [
        (Sampler(), [False, True, False, False]),
        (Sampler(1.0, top_k=2), [False, False, True, False]),
        (Sampler(1.0, top_p=0.7524), [False, False, True, False]),
        (Sampler(1.0, min_p=0.3678), [False, False, True, False]),
        (Sampler(1.0), [False] * 4),
    ],
    ids=["greedy", "top-k", "top-p", "min-p", "whole"],
)
def test_a_token_at_the_border_of_a_law_ties_and_one_beyond_it_does_not(target, sampler, tied):
    """Rounding decides on which side of the border a token falls; without that the target's own text is foreign."""
    raw = torch.tensor([[4.0, 3.9996, 2.9992, 1.5] if not sampler.temperature else [4.0, 3.0, 2.9996, 1.5]])
    scorer = Scorer(target, {}, sampler)
    at = torch.arange(4)[None, :, None]
    rows = raw[:, None, :].expand(1, 4, 4)
    own = torch.as_tensor(warp(raw[0].numpy(), **dataclasses.asdict(sampler), xp=np) > 0)[None]
    assert scorer._tied(rows, at, own)[0].tolist() == tied


@pytest.mark.parametrize("role", ["target", "draft"])
def test_logits_that_are_no_numbers_are_named_with_prompt_and_position(target, texts, role):
    broken = llama(vocabulary=VOCABULARY, seed=3)
    token = next(t for t in texts[4].output[:-1] if t not in texts[4].context)
    with torch.no_grad():
        broken.network.model.embed_tokens.weight[token] = float("nan")
    models = (broken, {}) if role == "target" else (target, {"D": broken})
    with pytest.raises(
        ValueError, match=r"logits of tiny-3 hold NaN or infinity at prompt '4', position (\d+)"
    ) as caught:
        list(Scorer(*models, Sampler()).score([texts[4]]))
    position = int(str(caught.value).partition("position ")[2].partition(";")[0])
    assert [*texts[4].context, *texts[4].output].index(token) == position


def test_out_of_memory_halves_the_batch_says_so_and_changes_nothing(target, texts, monkeypatch):
    expected = {s.prompt: s.entropy for s in Scorer(target, {}, Sampler(1.0)).score(texts)}
    forward, said = Model.forward, []

    def small(self, tokens, **options):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError("no memory")
        return forward(self, tokens, **options)

    monkeypatch.setattr(Model, "forward", small)
    found = {s.prompt: s.entropy for s in Scorer(target, {}, Sampler(1.0), say=said.append).score(texts)}
    assert said[0].startswith("out of memory with ")
    assert said[-1].endswith("going on with 1")
    for prompt, entropy in expected.items():
        np.testing.assert_allclose(found[prompt], entropy, atol=1e-5)


@pytest.mark.parametrize(("limit", "rows"), [(9, [8]), (5, [8, 4]), (2, [8, 4, 2]), (1, [8, 4, 2, 1])])
def test_out_of_memory_halves_until_it_fits_and_no_further(target, texts, monkeypatch, limit, rows):
    forward, said = Model.forward, []

    def small(self, tokens, **options):
        if len(tokens) > limit:
            raise torch.OutOfMemoryError("no memory")
        return forward(self, tokens, **options)

    monkeypatch.setattr(Model, "forward", small)
    alike = [dataclasses.replace(texts[0], prompt=str(i)) for i in range(20)]
    assert len(list(Scorer(target, {}, Sampler(), say=said.append).score(alike))) == 20
    before = [16, *rows[:-1]]
    assert said == [
        f"out of memory with {a} texts side by side; going on with {b}" for a, b in zip(before, rows, strict=True)
    ]


def test_a_text_that_fits_no_memory_alone_is_named(target, texts, monkeypatch):
    def never(self, tokens, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(Model, "forward", never)
    with pytest.raises(ValueError, match="out of memory for prompt '0' of 8 tokens alone"):
        list(Scorer(target, {}, Sampler(), say=lambda _: None).score(texts[:1]))


def test_no_piece_holds_more_logits_than_allowed(target, texts, monkeypatch):
    forward, seen = Model.forward, []

    def watched(self, tokens, **options):
        logits = forward(self, tokens, **options)
        seen.append(logits.numel())
        return logits

    monkeypatch.setattr(Model, "forward", watched)
    cells = 8 * VOCABULARY
    list(Scorer(target, {}, Sampler(), cells=cells).score(texts))
    assert max(seen) <= cells


def test_a_model_with_a_state_that_cannot_be_rewound_is_refused(texts):
    with pytest.raises(NotRewindable, match="tiny-mamba"):
        list(Scorer(mamba(), {}, Sampler()).score(texts[:1]))


def test_mean_beta_is_how_often_the_real_coin_accepts(target, draft, texts):
    """And the frequency of draws that agree, which a careless estimate would take, is another number."""
    one = texts[5]
    (score,) = Scorer(target, {"D": draft}, Sampler(1.0)).score([one])
    (_, p), (_, q) = (alone(m, one, Sampler(1.0)) for m in (target, draft))
    rng, trials = np.random.default_rng(0), 4000
    accepted = agreed = 0
    for pj, qj in zip(p, q, strict=True):
        drafts, others = rng.choice(VOCABULARY, trials, p=qj), rng.choice(VOCABULARY, trials, p=pj)
        accepted += (rng.random(trials) * qj[drafts] < pj[drafts]).mean()
        agreed += (drafts == others).mean()
    beta, error = score.drafts["D"].beta.mean(), 4 * (0.25 / trials / one.tokens) ** 0.5
    assert abs(accepted / one.tokens - beta) < error
    assert abs(agreed / one.tokens - beta) > error


def test_an_early_exit_is_the_first_layers_under_the_same_head(target):
    cut, ids = early(target, 1), torch.tensor([[1, 2, 3]])
    network = target.network
    with torch.inference_mode():
        hidden = network.model(ids, output_hidden_states=True).hidden_states[1]
        expected = network.lm_head(network.model.norm(hidden))
        torch.testing.assert_close(cut.network(ids).logits, expected)
        assert len(network.model.layers) == network.config.num_hidden_layers == 2
    assert cut.network.lm_head is network.lm_head
    assert (cut.name, cut.network.config.num_hidden_layers) == ("early:1", 1)
    for layers in (0, 2):
        with pytest.raises(ValueError, match=f"early:{layers}: found {layers} layers, tiny-1 has 2: expected early:1"):
            early(target, layers)
