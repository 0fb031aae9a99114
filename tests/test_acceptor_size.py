"""Memory of the acceptance rule: rows of the vocabulary where the round ends, never one per drafted token."""

import tracemalloc

import numpy as np
import pytest

from specmath import acceptor
from specmath.acceptor import chain

K, VOCABULARY = 8, 128_000


def arguments(batch, k, vocabulary):
    """Single-precision laws, and as many rounds that reject in each slot as in any other."""
    rng = np.random.default_rng(3)
    q, p = (weights / weights.sum() for weights in rng.random((2, vocabulary), dtype=np.float32))
    tokens, u = np.zeros((batch, k), np.int64), np.zeros((batch, k))
    tokens[np.arange(batch), np.arange(batch) % k] = -1
    return tokens, np.tile(q, (batch, k, 1)), np.tile(p, (batch, k + 1, 1)), u, rng.random(batch)


def peak(*sizes):
    """Bytes that `verify` holds at most, over those of its arguments."""
    given = arguments(*sizes)
    tracemalloc.start()
    try:
        verdict = acceptor.verify(*given, xp=np)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert verdict.accepted.tolist() == (np.arange(sizes[0]) % sizes[1]).tolist()
    return most


def bounds(batch):
    """A copy of q in single precision; three rows a round in double."""
    return batch * K * VOCABULARY * np.float32().nbytes, 3.1 * batch * VOCABULARY * np.float64().nbytes


def growth(batch=4, vocabulary=20_000, few=2, many=80):
    """Bytes that every entry of another row of q costs."""
    more = peak(batch, many, vocabulary) - peak(batch, few, vocabulary)
    return more / (batch * (many - few) * vocabulary)


@pytest.mark.parametrize("batch", [8, 64])
def test_the_peak_is_three_rows_a_round_and_less_than_a_copy_of_q(batch):
    assert peak(batch, K, VOCABULARY) < min(bounds(batch))


def test_more_drafts_take_no_more_memory():
    assert growth() < 0.02


PLANTED = {"mask": lambda q: q > 0, "copy": np.copy, "double": lambda q: q.astype(np.float64)}


def plant(monkeypatch, temporary):
    """Make a temporary of the shape of q, and drop it at once."""

    def judged(tokens, q, *rest):
        temporary(q)
        return at_tokens(tokens, q, *rest)

    at_tokens = chain.at_tokens
    monkeypatch.setattr(chain, "at_tokens", judged)


@pytest.mark.parametrize("temporary", PLANTED.values(), ids=PLANTED)
def test_a_planted_temporary_of_the_shape_of_q_grows_with_the_drafts(monkeypatch, temporary):
    plant(monkeypatch, temporary)
    assert growth() > 0.5


@pytest.mark.parametrize("temporary", ["copy", "double"])
def test_a_planted_copy_is_beyond_the_bounds(monkeypatch, temporary):
    plant(monkeypatch, PLANTED[temporary])
    assert peak(8, K, VOCABULARY) > max(bounds(8))
