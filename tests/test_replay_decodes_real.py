"""On a real model too: the replayed rounds of every prompt, draft and k are the decoder's, one for one."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from specmath.replay import Replay
from tests.written import HOST, decoded, text
from validate.drafters import Lookup, ModelDraft
from validate.lines import TIE_LOGITS
from validate.loading import early, load
from validate.model import Model
from validate.offsets import NGrams, lookup_draft, ngram_draft
from validate.sampler import Sampler
from validate.scores import model_draft
from validate.scoring import Scorer
from validate.workload import bundled

pytestmark = [pytest.mark.model, pytest.mark.slow]
TOKENS, LAYERS, DEEPEST = 32, 27, 8


@pytest.fixture(scope="module")
def target():
    return load()


@pytest.fixture(scope="module")
def texts(target):
    return [
        dataclasses.replace(text(target, target.encode(p.messages), name=p.id, budget=TOKENS), domain="all")
        for p in bundled(1)
    ]


@pytest.fixture(scope="module")
def scores(target, texts):
    found = {s.prompt: s for s in Scorer(target, {"early": early(target, LAYERS)}, Sampler()).score(texts)}
    return [found[t.prompt] for t in texts]


def drafter(name, target, texts, one):
    if name == "lookup":
        return Lookup(HOST, target.rows)
    if name == "ngram":
        return NGrams(texts, target.rows).of(one)
    cut = early(target, LAYERS)
    return ModelDraft(HOST, Model(cut, capacity=len(one.context) + TOKENS + DEEPEST + 1), Sampler())


@pytest.mark.parametrize(
    ("name", "k"),
    [(name, k) for name in ("lookup", "ngram") for k in range(1, DEEPEST + 1)] + [("early", k) for k in (1, 3, 8)],
)
def test_greedy_rounds_are_the_decoders_own(target, texts, scores, name, k):
    """A draft's argmax may tie as well as the target's: then rounds part there, which the gap must show."""
    found = {
        "lookup": lambda: lookup_draft(texts, DEEPEST, target.rows),
        "ngram": lambda: ngram_draft(texts, target.rows),
        "early": lambda: model_draft(scores, "early", "one_hot"),
    }[name]()
    starts = Replay(found.ratios).starts(k)
    for place, one in enumerate(texts):
        tokens, rounds, _ = decoded(target, drafter(name, target, texts, one), one.context, k=k, budget=TOKENS)
        boundaries = [r.context - len(one.context) - 1 for r in rounds]
        if tuple(tokens) == one.output:
            assert np.flatnonzero(starts[place]).tolist() == boundaries
        else:
            at = next(i for i, pair in enumerate(zip(tokens, one.output, strict=True)) if pair[0] != pair[1])
            assert gap(target, one, at) < TIE_LOGITS["float32"]


def gap(target, one, at):
    """Of the top two logits where the outputs part."""
    with torch.inference_mode():
        ids = torch.tensor([[*one.context, *one.output[:at]]])
        top = target.network(ids, logits_to_keep=1).logits[0, -1].topk(2).values
    return float(top[0] - top[1])


def test_the_text_is_the_targets_own_to_ties(scores):
    gaps = np.concatenate([s.gap[~s.own] for s in scores])
    assert (gaps < TIE_LOGITS["float32"]).all()
