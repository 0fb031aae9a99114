"""`specmath lossless` on small models: exit codes, words, and decoders broken on purpose."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from tests.decoder_mutants import MUTANTS, with_request
from tests.lossy_rules import RULES
from validate import cli, drafters, laws, pairs
from validate import decoder as decoder_module
from validate.arrays import Arrays
from validate.decoder import Decoder
from validate.directions import DRAFT
from validate.drafters import Lookup
from validate.laws import Laws
from validate.lossless import GreedyTest
from validate.mismatch import mismatch
from validate.models import Models, Settings
from validate.observing import STALE, Observer
from validate.pairs import SPEC, Pair
from validate.sampler import Sampler

SAMPLED = ("--temperature", 1, "--tokens", 4)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tiny.saved(tmp_path_factory.mktemp("models"))


@pytest.fixture
def command(capsys, models):
    """Run `specmath lossless` on the small pair in this process: exit code, stdout, stderr."""

    def call(*options, draft=models / "draft"):
        pair = "--target", models / "target", "--draft", draft, "--prompts", models / "prompts.jsonl"
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in ("lossless", *pair, *options)])
        return ended.value.code, *capsys.readouterr()

    return call


def document(out):
    assert out.count("\n") == 1
    return json.loads(out)


KEYS = {"schema", "version", "verdict", "reason", "next", "mode", "tokens", "contexts", "false_alarm", "power", "worst"}


def test_greedy_texts_equal_to_plain_ones_pass(command):
    code, out, err = command("--per-domain", 2, "--tokens", 24)
    answer, reason, then = out.splitlines()[:3]
    assert code == 0
    assert answer.startswith("PASS: ")
    assert reason.startswith("because 96 tokens in 4 texts are those of plain decoding")
    assert then.startswith("next: use it")
    assert "compared 4/4" in err


def test_json_is_one_object_with_the_agreed_keys(command):
    code, out, _ = command("--per-domain", 2, "--json")
    found = document(out)
    assert (code, found["schema"], found["mode"], found["verdict"]) == (0, "specmath.lossless/1", "greedy", "pass")
    assert found.keys() >= KEYS | {"ties", "structural"}
    assert found["power"]["0.03"] > 0.9
    assert (found["ties"], found["structural"], found["worst"]) == (0, 0, None)


def test_too_few_sampled_tokens_cannot_tell_exit_with_3_and_say_how_many_it_takes(command):
    code, out, _ = command(*SAMPLED, "--sample", 400, "--tv", "0.2", "--json")
    found = document(out)
    assert (code, found["verdict"], found["mode"], found["structural"]) == (3, "cannot_tell", "sampled", 0)
    assert found["needed"] > found["tokens"] >= 400
    assert f"--sample {found['needed']}" in found["next"]
    assert found["p_value"] > 0.05


def test_a_law_far_off_would_be_found_in_few_tokens_so_that_its_absence_is_a_pass(command):
    code, out, _ = command(*SAMPLED, "--top-k", 2, "--sample", 600, "--tv", "0.3")
    assert code == 0
    assert out.startswith("PASS: ")
    assert "because " in out


@pytest.mark.parametrize("draft", ["lookup", "early:1"])
def test_other_drafts_are_tested_too(command, draft):
    code, out, _ = command(*SAMPLED, "--sample", 100, "--json", draft=draft)
    assert (code, document(out)["draft"]) == (3, draft)


# --- decoders broken on purpose ------------------------------------------------------------------------------------


def sampled(command, *options):
    code, out, _ = command(*SAMPLED, "--sample", 6000, *options, "--json")
    found = document(out)
    return code, found["verdict"], found


def test_a_lenient_rule_is_found(command, monkeypatch):
    monkeypatch.setattr(pairs, "Decoder", partial(Decoder, rule=RULES["lenience .7"]))
    code, verdict, found = sampled(command)
    assert (code, verdict) == (1, "fail")
    assert found["found"] < 6000
    assert found["leading"] == "towards the draft"
    assert "no law of the target's gives these tokens" in found["reason"]


def test_T02_an_argmax_draft_with_its_softmax_row_is_found(command):
    with MUTANTS["T2 argmax draft, softmax row (transformers #32867)"].in_place():
        assert sampled(command)[:2] == (1, "fail")


def test_T03_a_target_judged_without_its_truncation_emits_what_it_cannot(command, monkeypatch):
    """The decoder draws from the whole law, top-k 3 was asked for: the first token outside is enough."""

    true = Pair.texts

    def lopsided(self, arm, requests):
        whole = [replace(request, sampler=Sampler(temperature=1.0)) for request in requests]
        return true(self, arm, whole if arm == SPEC else requests)

    monkeypatch.setattr(Pair, "texts", lopsided)
    code, verdict, found = sampled(command, "--top-k", 3)
    assert (code, verdict) == (1, "fail")
    assert "has probability 0 there" in found["reason"]
    assert found["found"] < 100


def test_T16_a_cache_that_keeps_a_rejected_draft_is_found(command):
    with MUTANTS["T16 the cache one too long"].in_place():
        code, out, _ = command("--per-domain", 3, "--tokens", 24)
    assert code == 1
    assert out.startswith("FAIL: ")
    assert "differ from plain decoding by no tie" in out


def changed_texts(monkeypatch, change):
    real = Pair.texts

    def texts(self, arm, requests):
        return [change(text) if arm == SPEC else text for text in real(self, arm, requests)]

    monkeypatch.setattr(Pair, "texts", texts)


def test_T28_a_text_longer_than_its_budget_is_a_fault(command, monkeypatch):
    changed_texts(monkeypatch, lambda text: [*text, 1])
    code, out, _ = command("--per-domain", 1, "--tokens", 8, "--json")
    assert (code, "9 tokens where the budget is 8" in document(out)["reason"]) == (1, True)


def test_T29_an_id_that_is_none_is_a_fault(command, monkeypatch):
    changed_texts(monkeypatch, lambda text: [*text[:-1], -1])
    code, _, found = sampled(command)
    assert (code, "id -1" in found["reason"]) == (1, True)


def test_a_plain_decoder_that_is_as_wrong_leaves_speculation_without_blame(command, monkeypatch):
    colder = Sampler(temperature=0.5)

    def wrong(rows, arrays, logits, *rest):
        return drafters.laws([with_request(row, sampler=colder) for row in rows], arrays, logits, *rest)

    monkeypatch.setattr(decoder_module, "laws", wrong)
    code, verdict, found = sampled(command)
    assert (code, verdict, found["drift"]) == (3, "cannot_tell", True)
    assert "plain decoding fails the same test" in found["reason"]


def plain_and_all(monkeypatch, plain, spec):
    """Both arms changed, each in its own way."""
    real = Pair.texts

    def texts(self, arm, requests):
        return [(spec if arm == SPEC else plain)(text) for text in real(self, arm, requests)]

    monkeypatch.setattr(Pair, "texts", texts)


def test_a_fault_of_the_first_texts_is_no_blame_where_plain_decoding_has_it_too(command, monkeypatch):
    plain_and_all(monkeypatch, lambda text: [*text, 1], lambda text: [*text, 1])
    code, verdict, found = sampled(command)
    assert (code, verdict, found["drift"], found["found"]) == (3, "cannot_tell", True, 0)


def test_an_impossible_text_is_not_excused_by_a_plain_decoder_whose_law_is_off(command, monkeypatch):
    plain_and_all(monkeypatch, lambda text: [text[0]] * len(text), lambda text: [*text[:-1], -1])
    code, verdict, found = sampled(command)
    assert (code, verdict, found["drift"], "id -1" in found["reason"]) == (1, "fail", False, True)


def differing(plain, spec, prompts=10):
    """Each prompt twice either way; so many differ structurally, from one run to the next or from plain ones."""
    test = GreedyTest("float32")
    for i in range(prompts):
        second, both = [1, 2, int(i < plain)], [1, 2, int(i < spec)]
        test.compare(i, [[1, 2, 0], second], [both, both], lambda prefix: np.array([9.0, 1.0, 1.0]))
    return test.finding()


def test_a_prompt_decoded_twice_is_no_more_evidence_against_speculation_than_once():
    """7 of 10 prompts against 3: p = .089; counted as 14 of 20 texts against 3 of 10 it would be .045."""
    assert (differing(3, 7).verdict, differing(3, 7).structural) == ("cannot_tell", 14)
    assert differing(3, 10).verdict == "fail"
    assert differing(10, 1).verdict == "cannot_tell", "it differs less than the engine from itself"


def test_a_masked_token_does_not_make_a_tie_of_every_gap():
    row = np.array([18.0, 14.0, -20.0, np.finfo(np.float32).min])
    found = mismatch([0], [1], lambda prefix: row)
    assert (found.scale, found.tied("bfloat16")) == (20.0, False)
    scored, logits = Laws(tiny.llama(), 4, Sampler(1.0, top_k=1)), row[None].astype(np.float32)
    assert scored.tied(logits, np.array([1])).tolist() == [False]


def pair_of(models, draft, k=4):
    settings = Settings(str(models / "target"), (draft,), (k,), Sampler(1.0), 4, 0, "cpu", "float32")
    return Pair(Models(settings), settings, 8)


def test_texts_are_made_side_by_side_as_far_as_the_logits_of_a_verification_are_bounded(models, monkeypatch):
    assert pair_of(models, "lookup").rows == pairs.ROWS
    for k, rows in ((4, 6), (9, 3), (99, 1)):
        monkeypatch.setattr(pairs, "CELLS", 5 * 30 * 6)
        assert pair_of(models, "lookup", k).rows == rows


def test_early_exit_drafts_in_the_targets_cache_as_in_a_run(models, monkeypatch):
    made = []
    monkeypatch.setattr(pairs, "ModelDraft", lambda arrays, model, sampler: made.append(model))
    pair_of(models, "early:1")
    pair_of(models, str(models / "draft"))
    assert [model.borrows for model in made] == [True, False]


# --- what is observed ----------------------------------------------------------------------------------------------


def test_laws_are_those_of_one_forward_over_each_text_alone():
    loaded, sampler = tiny.llama(seed=3), Sampler(0.8, top_p=0.9)
    scored, texts = Laws(loaded, 8, sampler), [[1, 2, 3], [4], [5, 6]]
    rows = scored.law(scored.logits([[7, 0]] * 3, texts))
    alone = [
        torch.softmax(loaded.network(torch.tensor([[7, 0, *t]])).logits[0, 1:-1] / 0.8, -1).detach() for t in texts
    ]
    assert rows.shape == (6, 8)
    kept = rows > 0
    whole = torch.cat(alone).numpy()
    np.testing.assert_allclose(
        rows, np.where(kept, whole, 0) / np.where(kept, whole, 0).sum(1, keepdims=True), rtol=1e-4
    )


def test_texts_of_prompts_of_any_length_score_alike_in_forwards_of_any_size(monkeypatch):
    scored = Laws(tiny.llama(seed=3), 8, Sampler(1.0))
    prompts, texts = [[7], [1, 2, 3, 4, 5], [6, 0], [6, 0]], [[1, 2, 3], [4], [5, 6, 7, 0], [2]]
    alone = np.concatenate([scored.logits([prompt], [text]) for prompt, text in zip(prompts, texts, strict=True)])
    for cells in (laws.CELLS, 80, 1):
        monkeypatch.setattr(laws, "CELLS", cells)
        np.testing.assert_allclose(scored.logits(prompts, texts), alone, atol=1e-4)


@pytest.mark.parametrize("cells", [1, 80, 200, 10**6])
def test_no_forward_of_several_texts_has_more_logits_than_stated(monkeypatch, cells):
    loaded, seen = tiny.llama(seed=3), []
    network = loaded.network
    network.register_forward_hook(lambda _, __, output: seen.append(output.logits.shape))
    monkeypatch.setattr(laws, "CELLS", cells)
    texts = [[1] * (1 + n % 3) for n in range(9)]
    Laws(loaded, 8, Sampler(1.0)).logits([[2] * (1 + n % 2) for n in range(9)], texts)
    assert sum(shape[0] for shape in seen) == len(texts)
    assert all(shape[0] == 1 or shape.numel() <= cells for shape in seen)
    assert len(seen) == {1: 9, 10**6: 1}.get(cells, len(seen))


def test_a_token_just_outside_the_truncation_is_tied_and_one_far_outside_is_not():
    scored = Laws(tiny.llama(), 8, Sampler(1.0, top_k=2))
    logits = np.zeros((2, 8), np.float32) - 30
    logits[:, :3] = [[20.0, 19.0, 19.0 - 2e-5], [20.0, 19.0, 18.0]]
    assert scored.law(logits)[:, 2].tolist() == [0, 0]
    assert scored.tied(logits, np.array([2, 2])).tolist() == [True, False]


PROMPTS = [1, 2], [1, 2], [1, 2, 1]


def observer(lookup=None):
    loaded = tiny.llama(seed=3)
    sampler = Sampler(1.0)
    draft = None if lookup else Laws(tiny.llama(seed=3, noise=0.3), 8, sampler)
    return Observer(Laws(loaded, 8, sampler), 8, PROMPTS, draft=draft, lookup=lookup)


def test_a_context_is_a_prompt_and_the_tokens_after_it():
    watching = observer()
    (first,) = watching.observe([(0, [3, 4]), (0, [3, 5]), (0, [])])
    (second,) = watching.observe([(1, [3])])
    assert first.contexts.tolist() == [0, 1, 0, 1]
    assert second.contexts.tolist() == [2]
    assert watching.context(1) == (0, (3,))
    assert first.position.tolist() == [0, 1, 0, 1]
    assert first.previous.tolist() == [2, 3, 2, 3]
    np.testing.assert_allclose(first.p[0], first.p[2], rtol=1e-5)


def test_the_row_before_is_that_of_the_same_text():
    (seen,) = observer().observe([(0, [3, 4]), (1, [5, 6, 7])])
    stale = seen.suspects[STALE]
    np.testing.assert_array_equal(stale[[0, 2]], seen.p[[0, 2]])
    np.testing.assert_array_equal(stale[[1, 3, 4]], seen.p[[0, 2, 3]])


def test_a_lookup_draft_is_a_certain_law_where_something_is_found():
    lookup = Lookup(Arrays(np, "cpu"), 8, longest=1, shortest=1)
    (seen,) = observer(lookup).observe([(2, [2, 3])])
    drafted = seen.suspects[DRAFT]
    assert drafted[:2].argmax(axis=1).tolist() == [2, 1]
    assert drafted[:2].max(axis=1).tolist() == [1, 1]


def test_logits_that_are_no_numbers_name_the_model():
    loaded = tiny.llama(seed=3)
    with torch.no_grad():
        loaded.network.lm_head.weight[0] = torch.nan
    with pytest.raises(ValueError, match="the logits of tiny-3 hold NaN"):
        Laws(loaded, 8, Sampler(1.0)).logits([[1]], [[2, 3]])
