import pytest

torch = pytest.importorskip("torch")

import transformers

from tests import tiny
from validate.loading import Loaded
from validate.model import Model, NotRewindable

PROMPT = [1, 5, 2, 7, 3, 3, 0, 6]


def logits_of(loaded, tokens):
    with torch.inference_mode():
        return loaded.network(torch.tensor([tokens])).logits[0]


def test_forward_in_pieces_equals_one_forward():
    loaded = tiny.llama()
    model = Model(loaded, capacity=16)
    pieces = torch.cat([model.forward(PROMPT[:3]), model.forward(PROMPT[3:4]), model.forward(PROMPT[4:])])
    torch.testing.assert_close(pieces, logits_of(loaded, PROMPT))
    assert model.length == len(PROMPT)


def test_after_a_rewind_the_next_logits_are_those_of_a_fresh_prefill():
    loaded = tiny.llama()
    model = Model(loaded, capacity=32)
    model.forward(PROMPT)
    model.forward([4, 4, 4])
    model.rewind(5)
    torch.testing.assert_close(model.forward([2, 6]), logits_of(loaded, [*PROMPT[:5], 2, 6])[-2:])
    assert model.length == 7


def test_a_rewind_touches_no_tensor():
    model = Model(tiny.llama(), capacity=16)
    model.forward(PROMPT)
    before = [store.keys.clone() for store in model._stores]
    model.rewind(2)
    assert all(torch.equal(store.keys, kept) for store, kept in zip(model._stores, before, strict=True))


def test_keep_gives_the_last_rows_alone():
    loaded = tiny.llama()
    kept = Model(loaded, capacity=16).forward(PROMPT, keep=1)
    torch.testing.assert_close(kept, logits_of(loaded, PROMPT)[-1:])


def test_a_sliding_window_survives_a_rewind():
    config = transformers.MistralConfig(
        vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4, max_position_embeddings=64, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    loaded = Loaded("sliding", transformers.MistralForCausalLM(config).eval(), None, frozenset(), 64, 8)
    model = Model(loaded, capacity=32)
    model.forward(PROMPT)
    model.forward([4, 4, 4])
    model.rewind(len(PROMPT))
    torch.testing.assert_close(model.forward([2, 6]), logits_of(loaded, [*PROMPT, 2, 6])[-2:])


def test_a_recurrent_model_is_refused_by_name():
    with pytest.raises(NotRewindable, match="tiny-mamba"):
        Model(tiny.mamba(), capacity=16)


def test_a_hybrid_model_is_refused_by_its_layers():
    loaded = tiny.llama()
    loaded.network.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(NotRewindable, match=r"tiny-0 .*linear_attention"):
        Model(loaded, capacity=16)


def test_a_vocabulary_cut_drops_the_padded_rows():
    loaded = tiny.llama()
    model = Model(loaded, capacity=16, vocabulary=6)
    torch.testing.assert_close(model.forward(PROMPT[:2]), logits_of(loaded, PROMPT[:2])[:, :6])


@pytest.mark.parametrize("length", [-1, 9])
def test_a_rewind_beyond_the_cache_is_refused(length):
    model = Model(tiny.llama(), capacity=16)
    model.forward(PROMPT)
    with pytest.raises(ValueError, match="cannot rewind 8 tokens"):
        model.rewind(length)


def test_more_tokens_than_the_capacity_are_refused_and_nothing_is_lost():
    model = Model(tiny.llama(), capacity=9)
    model.forward(PROMPT)
    with pytest.raises(ValueError, match="10 tokens do not fit a capacity of 9"):
        model.forward([1, 2])
    assert model.length == len(PROMPT)
