"""Keys of a config.json: every family against transformers' own model of it, and configs that say too little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.configs import FAMILIES
from specmath.shapes import PRECISIONS, ModelShape
from tests.test_shapes import CONFIGS, ROUTER, matrices

SMALL = {"num_hidden_layers": 6, "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2}
SMALL |= {"intermediate_size": 80, "vocab_size": 512}
LATENT = {"q_lora_rank": 20, "kv_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 12}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
DEEPSEEK = {
    **EXPERTS,
    **LATENT,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "first_k_dense_replace": 2,
    "n_group": 1,
    "topk_group": 1,
}
SAID = {  # what a family needs beside the small shape
    "qwen2_moe": {**EXPERTS, "num_experts": 8, "shared_expert_intermediate_size": 72, "mlp_only_layers": [1]},
    "qwen3_moe": {**EXPERTS, "num_experts": 8, "decoder_sparse_step": 4},
    "qwen3_vl_moe_text": {**EXPERTS, "num_experts": 8},
    "glm4_moe": {**EXPERTS, "n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "head_dim": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "minimax_m2": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": DEEPSEEK,
    "phi3": {"pad_token_id": 0},
    "smollm3": {"pad_token_id": 0},
    "ministral": {"head_dim": 8},
}
ELSEWHERE = {"kimi_k2", "mimo"}  # families with code of their own, which transformers has not
SEEING = {"qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text"}  # the language part of a model that sees


def small(family):
    return {"model_type": family, **SMALL, **SAID.get(family, {})}


def quantised(**keys):
    return {**small("llama"), "quantization_config": keys}


def compressed(weights, activations=None):
    return quantised(
        quant_method="compressed-tensors",
        config_groups={"group_0": {"weights": weights, "input_activations": activations}},
    )


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - ELSEWHERE - SEEING))
def test_every_family_has_the_matrices_and_windows_of_transformers(family):
    """What is left out of the config is filled in as transformers does it."""
    shape = ModelShape.from_config(small(family))
    count, theirs = matrices(family, small(family))
    assert shape.parameters == count
    kinds = getattr(theirs, "layer_types", None)
    if kinds:
        assert shape.sliding_layers == kinds.count("sliding_attention")
    if shape.sliding_layers:
        assert shape.sliding_window == theirs.sliding_window


@pytest.mark.parametrize("family", sorted(SEEING))
def test_a_family_that_sees_has_the_matrices_of_its_text_part(family):
    text, whole = small(family), family.removesuffix("_text")
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    inner = {key: value for key, value in text.items() if key != "model_type"} | {"tie_word_embeddings": False}
    config = transformers.AutoConfig.for_model(whole, text_config=inner, tie_word_embeddings=False)
    with torch.device("meta"):
        network = transformers.AutoModelForImageTextToText.from_config(config)
    named = {name: p for name, p in network.named_parameters() if "language_model" in name or "lm_head" in name}
    ours = ModelShape.from_config({"model_type": whole, "text_config": text, "tie_word_embeddings": False})
    assert ours.parameters == sum(p.numel() for name, p in named.items() if not ROUTER.search(name))


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_as_the_config_says(family, tied):
    config = {**small(family), "tie_word_embeddings": tied}
    assert ModelShape.from_config(config).parameters == matrices(family, config)[0]


@pytest.mark.parametrize("family", ["qwen2", "qwen3_moe", "smollm3"])
def test_layers_beyond_the_first_ones_slide_where_the_config_says_so(family):
    said = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 4}
    shape = ModelShape.from_config({**small(family), **said})
    assert (shape.sliding_layers, shape.sliding_window) == (2, 64)
    assert ModelShape.from_config({**small(family), **said, "use_sliding_window": False}).sliding_layers == 0


@given(st.sampled_from(sorted(CONFIGS)), st.randoms())
def test_the_order_of_keys_does_not_matter(name, order):
    keys = list(CONFIGS[name])
    order.shuffle(keys)
    shuffled = {key: CONFIGS[name][key] for key in keys}
    assert ModelShape.from_config(shuffled) == ModelShape.from_config(CONFIGS[name])


@pytest.mark.parametrize("name", ["Kimi-K2.5", "Qwen3-VL-30B-A3B"])
def test_the_text_part_counts_and_the_whole_may_say_more(name):
    text = CONFIGS[name]["text_config"]
    assert ModelShape.from_config(CONFIGS[name], "a") == ModelShape.from_config(
        {**text, "tie_word_embeddings": False}, "a"
    )


def test_a_config_without_a_family_is_known_by_its_experts():
    for name in ("Mixtral-8x7B", "DeepSeek-V3", "Qwen3-30B-A3B", "Llama-3.1-8B"):
        config = {key: value for key, value in CONFIGS[name].items() if key != "model_type"}
        assert ModelShape.from_config(config, name) == ModelShape.from_config(CONFIGS[name], name)


def test_an_old_llama_has_a_kv_head_for_every_head():
    config = {key: value for key, value in small("llama").items() if key != "num_key_value_heads"}
    assert ModelShape.from_config(config).kv_heads == 6


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B", "DeepSeek-V3", "gpt-oss-20b"])
def test_a_key_that_is_missing_is_named(name):
    needed = "num_hidden_layers hidden_size num_attention_heads vocab_size intermediate_size num_experts_per_tok"
    needed += " moe_intermediate_size kv_lora_rank qk_rope_head_dim v_head_dim"
    for key in needed.split():
        config = {k: v for k, v in CONFIGS[name].items() if k != key}
        unused = key == "intermediate_size" and name == "Qwen3-30B-A3B"  # no layer has a dense MLP
        if key not in CONFIGS[name] or unused:
            continue
        with pytest.raises(ValueError, match=f"^{key}: found none in the config, expected an integer") as caught:
            ModelShape.from_config(config)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "config: found a list, expected the mapping"),
        ({"model_type": "mamba", **SMALL}, "model_type: found 'mamba', expected one of deepseek_v2"),
        ({"model_type": "x", "text_config": {**SMALL}}, "model_type: found 'x'"),
        ({**small("llama"), "hidden_size": "48"}, "hidden_size: found '48', expected an integer"),
        ({**small("llama"), "hidden_size": 48.0}, "hidden_size: found 48.0, expected an integer"),
        ({**small("llama"), "vocab_size": True}, "vocab_size: found True"),
        ({**small("llama"), "num_hidden_layers": 0}, "num_hidden_layers: found 0, expected an integer of at least 1"),
        ({**small("llama"), "num_key_value_heads": 4}, "num_key_value_heads: found 4, expected a divisor of num_att"),
        ({**small("qwen2"), "num_key_value_heads": None}, "num_key_value_heads: found none"),
        ({**small("llama"), "num_attention_heads": 5, "num_key_value_heads": 5}, "head_dim: found none, and num_att"),
        ({**small("llama"), "num_experts": 8}, "num_experts: found 8 in a llama, expected none"),
        ({**small("llama"), "kv_lora_rank": 8}, "kv_lora_rank: found 8 in a llama, expected none"),
        ({**small("llama"), "tie_word_embeddings": "no"}, "tie_word_embeddings: found 'no'"),
        (
            {"tie_word_embeddings": True, "text_config": {**small("llama"), "tie_word_embeddings": False}},
            "False and True",
        ),
        (
            {**small("qwen3_moe"), "num_experts_per_tok": 9},
            "num_experts_per_tok: found 9, expected an integer from 1 to 8",
        ),
        ({**small("qwen2_moe"), "shared_expert_intermediate_size": 70}, "shared_expert_intermediate_size: found 70"),
        ({**small("deepseek_v3"), "first_k_dense_replace": 7}, "first_k_dense_replace: found 7, expected .* 0 to 6"),
        ({**small("gpt_oss"), "layer_types": ["full_attention"]}, "layer_types: found 1 for 6 layers"),
        ({**small("gpt_oss"), "layer_types": ["linear_attention"] * 6}, "layer_types: found 'linear_attention'"),
        ({**small("gpt_oss"), "sliding_window": None}, "sliding_window: found none"),
        ({**small("llama"), "torch_dtype": "float8"}, "dtype: found 'float8', expected one of bfloat16"),
        (quantised(quant_method="hqq"), "quantization_config.quant_method: found 'hqq', expected one of fp8"),
        (quantised(bits=4), "quantization_config.quant_method: found 'none'"),
        (quantised(quant_method="gptq", bits=3), "quantization_config.bits: found 3, expected 4 or 8"),
        (quantised(quant_method="modelopt", quant_algo="MIXED_PRECISION"), "quant_algo: found 'MIXED_PRECISION'"),
        (quantised(quant_method="fp8", quant_algo="NVFP4"), "quant_algo: found 'NVFP4' beside fp8"),
        (quantised(quant_method="bitsandbytes"), "load_in_4bit: found False beside load_in_8bit False"),
        (
            compressed({"type": "int", "num_bits": 3}),
            "config_groups: found int weights of 3 bits beside activations of 16",
        ),
        (compressed({"type": "int", "num_bits": 4}, {"num_bits": 8}), "4 bits beside activations of 8"),
        ({**small("llama"), "quantization_config": "fp8"}, "quantization_config: found a str, expected a mapping"),
    ],
)
def test_a_config_that_says_too_little_or_two_things_is_refused_in_one_line(config, message):
    with pytest.raises(ValueError, match=message) as caught:
        ModelShape.from_config(config)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        (small("llama"), "bf16"),
        ({**small("llama"), "torch_dtype": "float16"}, "fp16"),
        ({**small("llama"), "dtype": "float32"}, "fp32"),
        (quantised(quant_method="fp8"), "fp8"),
        (quantised(quant_method="fp8", weight_block_size=[128, 128]), "fp8_block"),
        (quantised(quant_method="gptq", bits=4, group_size=128), "int4"),
        (quantised(quant_method="gptq", bits=4, group_size=32), "int4_g32"),
        (quantised(quant_method="gptq", bits=8), "w8a16"),
        (quantised(quant_method="awq", bits=4), "int4"),
        (quantised(quant_method="bitsandbytes", load_in_4bit=True, load_in_8bit=False), "int4"),
        (quantised(quant_method="bitsandbytes", load_in_8bit=True), "int8"),
        (quantised(quant_method="mxfp4"), "mxfp4"),
        (quantised(quant_method="modelopt", quant_algo="NVFP4"), "nvfp4"),
        (quantised(quant_algo="FP8"), "fp8"),
        (compressed({"type": "float", "num_bits": 8, "strategy": "channel"}, {"num_bits": 8}), "fp8"),
        (compressed({"type": "float", "num_bits": 8, "strategy": "block"}, {"num_bits": 8}), "fp8_block"),
        (compressed({"type": "float", "num_bits": 8}), "w8a16"),
        (compressed({"type": "int", "num_bits": 8}, {"num_bits": 8}), "int8"),
        (compressed({"type": "int", "num_bits": 4, "group_size": 128}), "int4"),
        (compressed({"type": "float", "num_bits": 4, "group_size": 16}, {"num_bits": 4}), "nvfp4"),
        (compressed({"type": "float", "num_bits": 4, "group_size": 32}, {"num_bits": 4}), "mxfp4"),
        (CONFIGS["Qwen3-32B-FP8"], "fp8_block"),
        (CONFIGS["Qwen3-32B-FP8-Static-PerTensor"], "fp8"),
        (CONFIGS["Kimi-K2.5"], "int4_g32"),
        (CONFIGS["Kimi-K2.5-NVFP4"], "nvfp4"),
        (CONFIGS["gpt-oss-20b"], "mxfp4"),
    ],
)
def test_the_declared_precision(config, precision):
    assert ModelShape.from_config(config).weights == precision
    assert precision in PRECISIONS


def test_only_where_the_attention_is_left_out_are_the_experts_alone_narrow():
    alone = {name for name, config in CONFIGS.items() if ModelShape.from_config(config).experts_only}
    assert alone == {"Kimi-K2.5", "Kimi-K2.5-NVFP4", "gpt-oss-20b", "gpt-oss-120b"}
