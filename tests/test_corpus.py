"""A corpus keeps each text's scores with that text, and goes on with its files only where they are of the same work."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from specmath.replay import Replay
from tests.tiny_study import in_memory, prompts, settings
from validate import trace
from validate.corpus import Corpus
from validate.models import Models
from validate.sampler import Sampler
from validate.study import Study, traces


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch):
    in_memory(monkeypatch)


def corpus(folder, **changed):
    chosen = settings(**{"drafts": ("friend",), **changed})
    return Corpus(Models(chosen), chosen, folder)


def test_every_text_is_replayed_by_its_own_scores(tmp_path):
    """Prompts of two kinds, each of another length, which are scored from the shortest to the longest."""
    asked = prompts(texts=("hello world hello", "lorem ipsum", "abcabcabc", "one two three"))
    chosen = settings(drafts=("acquaintance",), budget=24)
    list(Study(chosen, asked, tmp_path).steps())
    ours = corpus(tmp_path, drafts=("acquaintance",), budget=24)
    texts = list(ours.texts(asked))
    assert len({len(text.context) for text in texts}) == 4
    (draft,) = ours.drafts(texts, {score.prompt: score for score in ours.scores(texts)})
    replay = Replay(draft.ratios)
    found = trace.read(traces(tmp_path, chosen.cells)["acquaintance", 3])
    starts = []
    for place, text in enumerate(texts):
        rounds = [r for r in found.rounds if (r.prompt, r.arm) == (text.prompt, "spec")]
        decoded = [r.context - len(text.context) - 1 for r in rounds]
        assert np.flatnonzero(replay.starts(3)[place]).tolist() == decoded
        starts.append(tuple(decoded))
    assert len(set(starts)) == 4


OTHER = Sampler(temperature=0.5)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sampler": OTHER}, "sampler"),
        ({"sampler": Sampler(top_k=3)}, "sampler"),
        ({"budget": 13}, "tokens"),
        ({"seed": 1}, "seed"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"target": "clone"}, "target"),
    ],
)
def test_texts_of_other_settings_are_not_gone_on_with(tmp_path, changed, problem):
    list(corpus(tmp_path).texts(prompts()))
    with pytest.raises(ValueError, match=rf"texts\.jsonl: found {problem} "):
        list(corpus(tmp_path, **changed).texts(prompts()))


@pytest.mark.parametrize("other", [prompts(3), prompts()[::-1], prompts(texts=("abcabcabd", "b", "c", "d"))])
def test_texts_of_other_prompts_are_not_gone_on_with(tmp_path, other):
    list(corpus(tmp_path).texts(prompts()))
    with pytest.raises(ValueError, match=r"texts\.jsonl: found prompts "):
        list(corpus(tmp_path).texts(other))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sampler": OTHER}, "sampler"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"target": "clone"}, "target"),
        ({"drafts": ("clone",)}, "draft"),
        ({"drafts": ("friend", "clone")}, "draft"),
    ],
)
def test_scores_of_other_settings_are_not_gone_on_with(tmp_path, changed, problem):
    texts = list(corpus(tmp_path).texts(prompts()))
    list(corpus(tmp_path).scores(texts))
    with pytest.raises(ValueError, match=rf"scores\.jsonl: found {problem} "):
        list(corpus(tmp_path, **changed).scores(texts))


@pytest.mark.parametrize("name", ["output", "context", "domain"])
def test_scores_of_other_texts_are_not_gone_on_with(tmp_path, name):
    texts = list(corpus(tmp_path).texts(prompts()))
    list(corpus(tmp_path).scores(texts))
    one = texts[2]
    value = "other" if name == "domain" else (*getattr(one, name)[:-1], (getattr(one, name)[-1] + 1) % 12)
    texts[2] = dataclasses.replace(one, **{name: value})
    with pytest.raises(ValueError, match=r"scores\.jsonl: found texts "):
        list(corpus(tmp_path).scores(texts))


def test_scores_of_another_release_are_not_gone_on_with(tmp_path, monkeypatch):
    texts = list(corpus(tmp_path).texts(prompts()))
    list(corpus(tmp_path).scores(texts))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    with pytest.raises(ValueError, match=r"scores\.jsonl: found versions "):
        list(corpus(tmp_path).scores(texts))
