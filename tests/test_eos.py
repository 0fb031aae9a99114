"""Texts that end by EOS among accepted drafts: the rounds of the decoder, at prices, are those of replay."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from specmath.replay import Replay
from tests import runs
from tests.tiny import llama
from tests.written import GREEDY, HOST, decoded, text
from validate.arms import line_of
from validate.drafters import Lookup, ModelDraft
from validate.fit import predicted_speedup, round_times, sample_of
from validate.lines import DoneLine, PromptLine
from validate.model import Model
from validate.offsets import lookup_draft
from validate.prediction import predict
from validate.pricing import priced
from validate.scores import model_draft
from validate.scoring import Scorer
from validate.study_document import study_document
from validate.trace import Trace

VOCABULARY, EOS, BUDGET, K, C = 12, 4, 60, 4, 0.2
PROMPTS = [[1, 2, 3], [5, 1, 5, 1, 5], [7], [3, 3, 2, 9, 3, 3], [2, 8, 2, 8, 1, 2], [6, 0], [9, 9, 1], [10, 3]]
PRICES = runs.costs(draft=C)


def written(target):
    """Texts that end by EOS, after prompts that hold one already, so that lookup drafts across it."""
    for place, prompt in enumerate(PROMPTS):
        first = text(target, prompt, budget=BUDGET)
        again = text(target, (*first.context, *first.output, *prompt), name=f"a-{place}", domain="a", budget=BUDGET)
        if again.end == "eos" and again.tokens:
            yield replace(again, seconds=float(again.tokens))


def clocked(rounds, prompt, model):
    """The lines of a prompt's rounds, whose times are the table's for what the decoder did."""
    lines, behind = [], False
    for index, made in enumerate(rounds):
        line = line_of(made, {"prompt": prompt, "arm": "spec", "repeat": 0}, index)
        drafting = C * (made.proposed + (behind and made.proposed > 0)) if model else 0.0
        lines.append(replace(line, draft_s=drafting, verify_s=runs.VERIFY[made.proposed + 1], accept_s=0.0))
        behind = 0 < made.proposed == made.accepted
    return lines


def traced(head, decodings):
    """The trace of speculative rounds by text, beside plain ones at table prices."""
    prompts, lines, done = [], [], []
    for one, spec in decodings:
        for arm, repeat in (("plain", 0), ("spec", 0), ("plain", 1)):
            plain = runs.rounds(one.prompt, [(0, 0)] * one.tokens, arm=arm, repeat=repeat)
            made = spec if arm == "spec" else plain
            prompts.append(PromptLine(one.prompt, one.domain, arm, len(one.context), repeat))
            lines += made
            seconds = sum(line.draft_s + line.verify_s for line in made)
            done.append(DoneLine(one.prompt, arm, one.tokens + 1, seconds, 0.1, repeat))
    return Trace(head, tuple(prompts), tuple(lines), tuple(done))


@pytest.fixture(scope="module", params=["D", "lookup"])
def study(request):
    """A trace, the scores of its draft, and the texts: decoded for real, on a clock that is the table."""
    target, draft = (llama(vocabulary=VOCABULARY, seed=5, sharpness=12, eos=(EOS,), noise=n) for n in (0, 0.2))
    texts, model = list(written(target)), request.param == "D"
    drafter = ModelDraft(HOST, Model(draft, capacity=200), GREEDY) if model else Lookup(HOST, VOCABULARY)
    decodings = []
    for one in texts:
        tokens, rounds, _ = decoded(target, drafter, one.context, k=K, budget=BUDGET)
        assert tuple(tokens) == one.output
        decodings.append((one, clocked(rounds, one.prompt, model)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("validate.scoring.common_vocabulary", lambda target, draft: draft.rows)
        scored = {score.prompt: score for score in Scorer(target, {"D": draft}, GREEDY).score(texts)}
    own = model_draft([scored[one.prompt] for one in texts], "D", "one_hot")
    scores = own if model else lookup_draft(texts, K, VOCABULARY)
    return traced(runs.header(draft=request.param, k=K), decodings), scores, texts


def test_the_texts_hold_rounds_that_eos_cut_before_the_last_draft(study):
    cut = [line for line in study[0].rounds if line.proposed]
    assert len(cut) > 1
    assert all((line.end, line.verified > line.drafted) == ("eos", True) for line in cut)


def test_the_rounds_that_ran_cost_what_replay_said_they_would(study):
    found, scores, texts = study
    pair = PRICES.pair(scores.name)
    parts = priced(Replay(scores.ratios), scores, texts, pair, K)
    ran = [round_times(p.spec, pair, K) for p in sample_of(found).prompts]
    assert [len(times) for times in ran] == pytest.approx(parts.rounds)
    for name in ("draft", "verify", "overhead"):
        assert [sum(getattr(time, name) for time in times) for times in ran] == pytest.approx(getattr(parts, name))


def test_tokens_per_round_are_one_number_before_and_after_and_the_model_has_no_error(study):
    found, scores, texts = study
    told = predict(texts, [scores], PRICES, [K], greedy=True)
    document = json.loads(json.dumps(study_document({(scores.name, K): found}, PRICES, told), allow_nan=False))
    tokens = document["curve"][0]["block_efficiency"]
    assert document["acceptance"]["block_efficiency"]["value"] == pytest.approx(tokens)
    assert document["domains"]["a"]["block_efficiency"]["value"] == pytest.approx(tokens)
    assert document["breakdown"]["measured"]["tokens"] == pytest.approx(tokens)
    assert [error["error"] for error in document["model_error"]] == pytest.approx([0, 0], abs=1e-9)
    assert document["total"]["error"] == pytest.approx(0, abs=1e-9)


def test_forgetting_the_drafts_behind_eos_is_an_error_that_is_seen(study):
    """The negative control, and what traces without `proposed` still give."""
    found, scores, _ = study
    old = replace(found, rounds=tuple(replace(line, proposed=None) for line in found.rounds))
    pair = PRICES.pair(scores.name)
    known, forgotten = (predicted_speedup(sample_of(each), pair, k=K).value for each in (found, old))
    assert forgotten != pytest.approx(known, rel=1e-3)
