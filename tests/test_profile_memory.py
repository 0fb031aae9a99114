"""Scoring holds what it says however long the texts and however wide the vocabulary."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")

GIGABYTE, LIMIT = 1 << 30, 4
SCORE = """
import resource
import numpy as np
from tests.tiny import llama
from validate import scoring
from validate.sampler import Sampler
from validate.texts import Text

scoring.common_vocabulary = lambda target, draft: 49_152
rng = np.random.default_rng(0)
texts = [
    Text(str(i), "d", tuple(rng.integers(49_152, size=50).tolist()), tuple(rng.integers(49_152, size=n).tolist()))
    for i, n in enumerate([201] * {texts} + [2001] * {long})
]
models = [llama(vocabulary=49_152, seed=seed, context=4096) for seed in (0, 1)]
scorer = scoring.Scorer(models[0], {{"draft": models[1]}}, Sampler(1.0))
tokens = sum(len(score.logp) for score in scorer.score(texts))
print(tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(texts, long):
    done = subprocess.run(
        [sys.executable, "-c", SCORE.format(texts=texts, long=long)], capture_output=True, text=True, check=True
    )
    tokens, peak_bytes = map(int, done.stdout.split())
    return tokens, peak_bytes


@pytest.mark.slow
def test_a_hundred_thousand_tokens_of_a_49k_vocabulary_stay_under_4_gb():
    tokens, most = peak(texts=450, long=5)
    assert tokens == 100_000
    assert most < LIMIT * GIGABYTE
    print(f"peak {most / GIGABYTE:.2f} GB")


def test_memory_does_not_grow_with_the_text():
    """Logits of the long text alone would take 800 MB in double precision."""
    few, many = peak(texts=1, long=0)[1], peak(texts=0, long=1)[1]
    assert many - few < GIGABYTE / 2
