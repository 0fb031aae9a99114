"""Drafts that cost nothing: what they propose from every token, against the drafters themselves."""

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.written import HOST, drafts
from validate.drafters import Lookup, NGram
from validate.offsets import NGrams, copyable, lookup_draft, ngram_draft
from validate.texts import Text

VOCABULARY, K = 6, 4


def texts(count=8, *, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(4, 30, size=(count, 2))
    return [
        Text(
            str(i),
            "ab"[i % 2],
            tuple(rng.integers(VOCABULARY, size=a).tolist()),
            tuple(rng.integers(4, size=b).tolist()),
        )
        for i, (a, b) in enumerate(sizes)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_lookup_is_scored_from_every_token_as_a_fresh_one_would_propose(seed):
    found = texts(seed=seed)
    scored = lookup_draft(found, K, VOCABULARY)
    for one, ratios, lengths in zip(found, scored.ratios, scored.lengths, strict=True):
        expected = np.zeros((K, one.tokens))
        for start in range(one.tokens):
            drafter = Lookup(HOST, VOCABULARY)
            drafter.start(one.context)
            proposed = drafts(drafter, [*one.context, *one.output[: start + 1]], K)
            assert lengths[start] == len(proposed)
            for i, draft in enumerate(proposed[: one.tokens - start]):
                expected[i, start + i] = draft == one.output[start + 1 + i]
        np.testing.assert_array_equal(ratios, expected)


def test_n_grams_are_counted_in_the_other_texts_of_the_domain_alone():
    one = Text("one", "a", (1, 2), (3, 1, 2, 3))
    same = Text("same", "a", (0, 1, 2, 4), (1, 2, 4))
    elsewhere = Text("elsewhere", "b", (1, 2, 5), (1, 2, 5, 1, 2, 5))
    draft = NGrams([one, same, elsewhere], VOCABULARY).of(one)
    assert drafts(draft, [0, 1, 2], 3) == [4, 1, 2]
    alone = ngram_draft([one, elsewhere], VOCABULARY)
    assert [lengths.any() for lengths in alone.lengths] == [False, False]


def test_a_text_of_the_same_conversation_teaches_its_draft_nothing():
    """A repeat, or a later turn that holds the answer in its prompt, would give the draft the text itself."""
    one = Text("one", "a", (1, 2), (3, 4, 5, 6))
    repeat = Text("repeat", "a", (1, 2), (3, 4, 5, 6))
    turn = Text("turn", "a", (1, 2, 3, 4, 5, 6, 7), (8, 9))
    other = Text("other", "a", (9, 2, 3), (1, 1, 2))
    knowing = NGrams([one, repeat, turn, other], VOCABULARY)
    assert drafts(knowing.of(one), [1, 2], 3) == [3, 1, 1]
    assert drafts(knowing.of(other), [9, 2, 3], 3) == [4, 5]


@pytest.mark.parametrize("seed", range(3))
def test_an_n_gram_that_forgets_some_texts_is_one_that_never_saw_them(seed):
    rng = np.random.default_rng(seed)
    training = [rng.integers(6, size=rng.integers(1, 12)).tolist() for _ in range(5)]
    rest, whole = NGram(HOST, 5, training[2:]), NGram(HOST, 5, training).without(training[:2])
    for _ in range(200):
        before = rng.integers(6, size=rng.integers(1, 5)).tolist()
        assert whole.after(before) == rest.after(before)


def test_n_grams_prefer_the_longest_memory_then_the_most_frequent_then_the_smallest():
    draft = NGram(HOST, 9, [[1, 2, 3, 4], [5, 2, 3, 6], [5, 2, 3, 6], [3, 8]], order=3)
    assert draft.after([1, 2, 3]) == 4
    assert draft.after([7, 2, 3]) == 6
    assert draft.after([7, 7, 3]) == 6
    assert NGram(HOST, 9, [[3, 8], [3, 7]]).after([3]) == 7
    assert draft.after([7]) is None


def test_n_grams_learn_nothing_from_what_they_decode():
    draft = NGram(HOST, 9, [[1, 2]])
    draft.start([3, 4, 3])
    assert drafts(draft, [3, 4, 3], 2) == []


def test_n_grams_never_propose_an_id_beyond_the_common_vocabulary():
    assert drafts(NGram(HOST, 5, [[1, 7, 2]]), [1], 2) == []


def test_what_could_be_copied_follows_the_latest_of_the_same_three_tokens_in_the_prompt():
    found, right = copyable(Text("p", "d", (1, 2, 3, 4, 0, 1, 2, 3, 5), (1, 2, 3, 5, 1, 2, 3, 4)))
    assert found.tolist() == [False, False, True, False, False, False, True]
    assert right.tolist() == [False, False, True, False, False, False, False]
