import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import tiny
from tests.written import HOST, drafts, row
from validate.drafters import Lookup, ModelDraft, Nothing
from validate.model import Model
from validate.sampler import Sampler

SAMPLED = Sampler(temperature=1.0)


def proposed(text, k, **sizes):
    drafter = Lookup(HOST, 100, **sizes)
    drafter.start(text[:1])
    return drafts(drafter, text, k)


def oracle(text, k, longest, shortest):
    """Scan backwards for the longest suffix that stands earlier."""
    for n in range(longest, shortest - 1, -1):
        for end in range(len(text) - 1, n - 1, -1):
            if text[end - n : end] == text[-n:]:
                return text[end : end + k]
    return []


def test_lookup_proposes_what_followed_the_latest_match():
    assert proposed([1, 2, 3, 1, 2, 4, 9, 1, 2], 3) == [4, 9, 1]


def test_lookup_prefers_the_longest_match():
    assert proposed([5, 1, 2, 7, 0, 1, 2, 8, 5, 1, 2], 2) == [7, 0]


def test_lookup_without_a_match_drafts_nothing():
    proposal = Lookup(HOST, 100)
    proposal.start([1, 2])
    assert drafts(proposal, [1, 2, 3, 4], 4) == []
    assert proposal.propose([row([1, 2, 3, 4])], [4]).q.shape == (1, 0, 100)


def test_lookup_stops_at_the_end_of_the_text():
    assert proposed([7, 7, 7, 7], 4) == [7]


def test_lookup_equals_a_scan_of_the_text():
    rng = np.random.default_rng(1)
    for _ in range(200):
        text = rng.integers(3, size=30).tolist()
        assert proposed(text, 5, longest=4, shortest=1) == oracle(text, 5, 4, 1)


def test_lookup_grows_with_the_text_as_if_it_had_been_given_at_once():
    text = np.random.default_rng(2).integers(4, size=60).tolist()
    growing = Lookup(HOST, 100)
    growing.start(text[:3])
    for end in range(3, 60, 2):
        assert drafts(growing, text[:end], 4) == oracle(text[:end], 4, 3, 2)


def test_lookup_forgets_between_prompts():
    drafter = Lookup(HOST, 100)
    drafter.start([1, 2, 3, 4])
    drafter.start([9, 9])
    assert drafts(drafter, [9, 8, 1, 2], 4) == []


def test_lookup_never_proposes_an_id_that_the_models_do_not_share():
    drafter = Lookup(HOST, 5)
    drafter.start([1, 2, 9, 3])
    assert drafts(drafter, [1, 2, 9, 3, 1, 2], 3) == []


def test_lookup_rows_are_one_hot():
    drafter = Lookup(HOST, 6)
    drafter.start([1])
    proposal = drafter.propose([row([1, 2, 3, 1, 2])], [2])
    assert proposal.q[0].tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]


def test_nothing_drafts_nothing():
    assert Nothing(HOST, 7).propose([row([1])], [4]).q.shape == (1, 0, 7)


def fresh_rows(loaded, text, tokens):
    with torch.inference_mode():
        logits = loaded.network(torch.tensor([[*text, *tokens]])).logits[0, len(text) - 1 : -1]
    return torch.softmax(logits, dim=-1)


def test_a_model_draft_reports_the_rows_it_drew_from():
    loaded = tiny.llama(sharpness=10)
    drafter = ModelDraft(HOST, Model(loaded, capacity=64), SAMPLED)
    text = [1, 2, 3]
    drafter.start(text)
    proposal = drafter.propose([row(text, seed=3, sampler=SAMPLED)], [4])
    np.testing.assert_allclose(proposal.q[0], fresh_rows(loaded, text, proposal.tokens[0]), atol=1e-6)


@pytest.mark.parametrize("accepted", [0, 2, 4])
def test_a_model_draft_after_any_acceptance_sees_the_committed_text(accepted):
    """T12: after a full acceptance the last drafted token, which the draft has never read, is fed to it."""
    loaded = tiny.llama(sharpness=10)
    drafter = ModelDraft(HOST, Model(loaded, capacity=64), SAMPLED)
    text = [1, 2, 3]
    drafter.start(text)
    first = drafter.propose([row(text, seed=4, sampler=SAMPLED)], [4])
    text = [*text, *first.tokens[0, :accepted].tolist(), 5]
    second = drafter.propose([row(text, seed=5, sampler=SAMPLED)], [3])
    np.testing.assert_allclose(second.q[0], fresh_rows(loaded, text, second.tokens[0]), atol=1e-6)
