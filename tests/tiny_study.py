"""Studies on tiny real models that are made in memory: settings, prompts, and how a model is loaded."""

from tests import tiny
from validate.loading import Loaded
from validate.models import Settings
from validate.sampler import Sampler
from validate.workload import Prompt

VOCABULARY = 12
MODELS = {"target": {}, "friend": {"noise": 0.2}, "acquaintance": {"noise": 0.5}, "clone": {}}
TEXTS = ("abcabcabc", "one two one two", "lorem ipsum", "zzzzyzzzz", "hello world hello")


class Letters:
    """A tokeniser of one token per letter, modulo the vocabulary."""

    chat_template = None

    def __call__(self, text, **options):
        return {"input_ids": [ord(letter) % VOCABULARY for letter in text]}

    def get_vocab(self):
        return {str(i): i for i in range(VOCABULARY)}

    def __len__(self):
        return VOCABULARY


def load(name, **_):
    """The model of a name, as `validate.loading.load` gives one."""
    loaded = tiny.llama(vocabulary=VOCABULARY, seed=1, **MODELS[name])
    return Loaded(name, loaded.network, Letters(), loaded.eos, loaded.context, loaded.rows)


def in_memory(monkeypatch):
    """From here on models are these."""
    monkeypatch.setattr("validate.models.load", load)
    monkeypatch.setattr("validate.loading.load", load)


def settings(**changed):
    known = {"target": "target", "drafts": ("lookup",), "ks": (3,), "sampler": Sampler(), "budget": 12, "seed": 0}
    return Settings(**{**known, "device": "cpu", "dtype": "float32"} | changed)


def prompts(count=4, *, texts=TEXTS):
    """Prompts of two kinds in turn."""
    return [Prompt(f"p-{i}", f"d{i % 2}", ({"role": "user", "content": texts[i]},), "here") for i in range(count)]
