"""Replay equals decoding: from one scoring pass, the rounds that the real decoder makes, for every draft and k."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import chi2

torch = pytest.importorskip("torch")

from specmath.replay import Replay
from tests.tiny import llama
from tests.written import GREEDY, HOST, decoded, text
from validate.drafters import Lookup, ModelDraft
from validate.model import Model
from validate.offsets import NGrams, lookup_draft, ngram_draft
from validate.sampler import Sampler
from validate.scores import model_draft
from validate.scoring import Scorer
from validate.texts import Text

VOCABULARY, DEEPEST = 12, 8
PROMPTS = [[1, 2, 3], [5, 1, 5, 1, 5], [7], [3, 3, 2, 9, 3, 3], [2, 8, 2, 8, 1, 2]]
DRAFTS = ("model", "lookup", "ngram")


@pytest.fixture(scope="module", autouse=True)
def one_tokeniser():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validate.scoring.common_vocabulary", lambda target, draft: draft.rows)
        yield


@pytest.fixture(scope="module", params=[(), (4,)], ids=["to the budget", "to EOS"])
def target(request):
    return llama(vocabulary=VOCABULARY, seed=5, sharpness=12, eos=request.param)


@pytest.fixture(scope="module")
def draft():
    return llama(vocabulary=VOCABULARY, seed=5, sharpness=12, noise=0.4)


@pytest.fixture(scope="module")
def texts(target):
    found = [text(target, p, name=str(i), budget=40) for i, p in enumerate(PROMPTS)]
    return [t for t in found if t.tokens]


def scored(target, draft, texts, sampler=GREEDY):
    by_prompt = {s.prompt: s for s in Scorer(target, {"model": draft}, sampler).score(texts)}
    return [by_prompt[t.prompt] for t in texts]


@pytest.fixture(scope="module")
def drafts(target, draft, texts):
    found = model_draft(scored(target, draft, texts), "model", "one_hot")
    return {
        "model": found,
        "lookup": lookup_draft(texts, DEEPEST, VOCABULARY),
        "ngram": ngram_draft(texts, VOCABULARY),
    }


def drafter(name, draft, texts, one):
    if name == "lookup":
        return Lookup(HOST, VOCABULARY)
    if name == "ngram":
        return NGrams(texts, VOCABULARY).of(one)
    return ModelDraft(HOST, Model(draft, capacity=200), GREEDY)


def boundaries(one, rounds):
    """Places of the tokens after the first at which a round of the decoder started."""
    return [r.context - len(one.context) - 1 for r in rounds]


def replayed(scores, place, k):
    starts = Replay(scores.ratios).starts(k)[place]
    assert set(starts.tolist()) <= {0.0, 1.0}
    return np.flatnonzero(starts).tolist()


@pytest.mark.parametrize("k", range(1, DEEPEST + 1))
@pytest.mark.parametrize("name", DRAFTS)
def test_greedy_rounds_are_the_decoders_own_one_for_one(target, draft, texts, drafts, name, k):
    for place, one in enumerate(texts):
        tokens, rounds, _ = decoded(target, drafter(name, draft, texts, one), one.context, k=k, budget=40)
        assert tuple(tokens) == one.output
        assert replayed(drafts[name], place, k) == boundaries(one, rounds)


@pytest.mark.parametrize("name", DRAFTS)
def test_the_texts_tell_drafts_apart_that_accept_and_that_do_not(drafts, name):
    """Else the identity above would hold of anything."""
    share = np.concatenate([np.atleast_2d(r)[0] for r in drafts[name].ratios]).mean()
    assert 0.1 < share < 0.95


def test_a_lookup_replayed_as_if_it_depended_on_the_tokens_alone_is_caught(target, draft, texts, drafts):
    flat = dataclasses.replace(drafts["lookup"], ratios=tuple(r[0] for r in drafts["lookup"].ratios))
    assert differs(target, draft, texts, flat, "lookup")


def test_scores_shifted_by_one_token_are_caught(target, draft, texts, drafts):
    shifted = dataclasses.replace(drafts["model"], ratios=tuple(np.roll(r, 1) for r in drafts["model"].ratios))
    assert differs(target, draft, texts, shifted, "model")


def test_a_text_with_one_token_of_somebody_else_is_caught(target, draft, texts):
    at = 3
    other = [
        dataclasses.replace(t, output=(*t.output[:at], (t.output[at] + 1) % VOCABULARY, *t.output[at + 1 :]))
        for t in texts
        if t.tokens > at
    ]
    assert not all(score.own.all() for score in scored(target, draft, other))


def differs(target, draft, texts, scores, name):
    """Whether the replay of these scores is not the decoder's at some prompt."""
    runs = [decoded(target, drafter(name, draft, texts, one), one.context, k=4, budget=40)[1] for one in texts]
    return any(replayed(scores, i, 4) != boundaries(t, r) for i, (t, r) in enumerate(zip(texts, runs, strict=True)))


K, BUDGET = 3, 24
WHOLE, TRUNCATED = Sampler(1.0), Sampler(1.2, top_k=6, top_p=0.9)


@pytest.fixture(scope="module", params=[(WHOLE, 420), (TRUNCATED, 160)], ids=["the whole law", "a truncated one"])
def sampled(request):
    """Some thousands of sampled rounds: (observed lengths, starts) and the ratios of every text."""
    sampler, count = request.param
    return decode_sampled(count, sampler)


def decode_sampled(count, sampler=WHOLE):
    target, draft = (llama(vocabulary=VOCABULARY, seed=5, sharpness=8, noise=noise) for noise in (0.0, 0.5))
    model = ModelDraft(HOST, Model(draft, capacity=64), sampler)
    texts, rounds = [], []
    for i in range(count):
        tokens, made, _ = decoded(target, model, PROMPTS[i % 5], k=K, budget=BUDGET, seed=i, sampler=sampler)
        texts.append(Text(str(i), "d", tuple(PROMPTS[i % 5]), tuple(tokens), "budget"))
        rounds.append([(start, r.emitted) for start, r in zip(boundaries(texts[-1], made), made, strict=True)])
    return rounds, model_draft(scored(target, draft, texts, sampler), "model", "standard").ratios


def goodness(rounds, ratios):
    """p-value of all round lengths, each against the law it had given the text and where it started.

    The rounds of a text are no independent draws, but each is one given those before it: their deviations add up like
    independent ones, with the covariances of the laws they were drawn from.
    """
    laws, counts = [], np.zeros(K + 1)
    for made, row in zip(rounds, ratios, strict=True):
        for start, emitted in made:
            counts[len(emitted) - 1] += 1
            laws.append(law_of_a_round(row[start:], min(K, len(row) - start - 1)))
    laws = np.array(laws)
    off = (counts - laws.sum(axis=0))[:-1]
    covariance = (np.diag(laws.sum(axis=0)) - laws.T @ laws)[:-1, :-1]
    return chi2.sf(off @ np.linalg.solve(covariance, off), K)


def law_of_a_round(ratios, depth):
    """P(it emits n tokens), n = 1..K + 1, by the dumbest loop."""
    law, survival = np.zeros(K + 1), 1.0
    for i, ratio in enumerate(ratios[:depth]):
        law[i] = survival * (1 - min(ratio, 1))
        survival *= min(ratio, 1)
    law[depth] = survival
    return law


def test_sampled_rounds_have_the_replayed_law(sampled):
    rounds, ratios = sampled
    assert sum(map(len, rounds)) > 1400
    assert goodness(rounds, ratios) > 1e-3


@pytest.mark.parametrize(
    "planted",
    [
        lambda r: 1 / np.maximum(r, 1e-9),
        lambda r: np.minimum(r, 1) * 0.85,
        lambda r: np.append(1.0, r[:-1]),
        lambda r: r**0.5,
    ],
    ids=["p and q swapped", "accepted too rarely", "the prefill's token counted in", "another temperature"],
)
def test_and_sampled_rounds_have_no_other_law(sampled, planted):
    rounds, ratios = sampled
    assert goodness(rounds, [planted(row) for row in ratios]) < 1e-6


@pytest.mark.slow
def test_a_hundred_thousand_sampled_rounds_have_the_replayed_law():
    rounds, ratios = decode_sampled(13_000)
    assert sum(map(len, rounds)) > 100_000
    assert goodness(rounds, ratios) > 1e-3
    assert goodness(rounds, [np.minimum(row, 1) * 0.98 for row in ratios]) < 1e-6
