"""Shapes against what is known of the models: published counts, and transformers' own matrices, one by one.

`configs.json` holds the keys of public config.json files that say anything of the shape, as they stand there.
"""

import json
import pathlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.hardware import models
from specmath.shapes import PARTS, PRECISIONS, ModelShape

CONFIGS = json.loads(pathlib.Path(__file__).with_name("configs.json").read_text())
PUBLISHED = {  # parameters as the hub counts them: with norms, biases and routers, a tied matrix once
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
    "Llama-3.1-405B": 405_853_388_800,
    "Llama-3.2-1B": 1_235_814_400,
    "Llama-3.2-3B": 3_212_749_824,
    "Qwen3-0.6B": 596_049_920,
    "Qwen3-1.7B": 1_720_574_976,
    "Qwen3-8B": 8_190_735_360,
    "Qwen3-32B": 32_762_123_264,
    "Qwen3-30B-A3B": 30_532_122_624,
    "Qwen2.5-0.5B": 494_032_768,
    "Qwen2.5-1.5B": 1_543_714_304,
    "Qwen2.5-7B": 7_615_616_512,
    "Qwen2.5-72B": 72_706_203_648,
    "DeepSeek-V3": 671_026_419_200,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "Mixtral-8x7B": 46_702_792_704,
    "Kimi-K2": 1_026e9,
    "Kimi-K2.5": 1_026e9,
    "SmolLM2-135M": 134_515_008,
    "SmolLM2-360M": 361_821_120,
    "SmolLM2-1.7B": 1_711_376_384,
    "Mixtral-8x22B": 140_630_071_296,
    "Qwen3-235B-A22B": 235_093_634_560,
    "Qwen3-Coder-480B-A35B": 480_154_875_392,
}
KV = {  # bytes per token in bf16; reference: 2 x layers x KV heads x head_dim x 2, MLA layers x 576 x 2
    **dict.fromkeys(("Llama-3.1-8B", "Mixtral-8x7B"), 128 * 1024),
    **dict.fromkeys(("Llama-3.1-70B", "Qwen2.5-72B"), 320 * 1024),
    **dict.fromkeys(("Qwen3-0.6B", "Qwen3-1.7B", "Llama-3.2-3B"), 112 * 1024),
    **dict.fromkeys(("DeepSeek-V3", "Kimi-K2", "Kimi-K2.5"), 70_272),
    "Llama-3.1-405B": 504 * 1024,
    "Llama-3.2-1B": 32 * 1024,
    "Qwen3-8B": 144 * 1024,
    "Qwen3-32B": 256 * 1024,
    "Qwen3-30B-A3B": 96 * 1024,
    "Qwen2.5-0.5B": 12 * 1024,
    "Qwen2.5-1.5B": 28 * 1024,
    "Qwen2.5-7B": 56 * 1024,
    "gpt-oss-20b": 48 * 1024,
    "gpt-oss-120b": 72 * 1024,
    "SmolLM2-135M": 22.5 * 1024,
    "SmolLM2-360M": 40 * 1024,
    "SmolLM2-1.7B": 192 * 1024,
}
DENSE = ModelShape("dense", 4, 64, 8, 2, 16, 128, 1000)
MOE = replace(DENSE, experts=8, active=2, expert_intermediate=32, shared_experts=1, dense_layers=1)
MLA = replace(MOE, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16)
SLIDING = replace(DENSE, sliding_layers=3, sliding_window=100)
SHAPES = [DENSE, MOE, MLA, SLIDING, replace(DENSE, tied=True), replace(MLA, q_lora_rank=0)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones_but_for_norms_biases_and_routers(name):
    shape = ModelShape.from_config(CONFIGS[name], name)
    assert shape.parameters <= PUBLISHED[name] * 1.001
    assert shape.parameters == pytest.approx(PUBLISHED[name], rel=1e-3)


@pytest.mark.parametrize("name", KV)
def test_kv_bytes_per_token_are_the_known_ones(name):
    shape = ModelShape.from_config(CONFIGS[name])
    assert shape.kv_bytes() == KV[name]
    assert shape.kv_bytes("fp8") == KV[name] / 2


def test_every_model_of_the_catalogue_is_what_its_config_says():
    for name, shape in models().items():
        read = ModelShape.from_config(CONFIGS[name], name)
        assert replace(read, source=shape.source, trust=shape.trust) == shape
        assert name in PUBLISHED
        assert name in KV


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Llama-3.1-70B", "DeepSeek-V3", "Qwen3-30B-A3B"])
def test_a_wrong_shape_would_be_noticed(name):
    """The control of the two tests above: one layer, one KV head or one expert off is no longer within 0.1 %."""
    shape = models()[name]
    wrong = replace(shape, experts=shape.experts - 1) if shape.moe else replace(shape, layers=shape.layers - 1)
    assert wrong.parameters != pytest.approx(PUBLISHED[name], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("gpt-oss-20b", 3.61), ("gpt-oss-120b", 5.13), ("DeepSeek-V3", 37), ("Kimi-K2", 32), ("Qwen3-235B-A22B", 22)],
)
def test_active_parameters_are_the_published_ones(name, billions):
    """gpt-oss counts the output matrix and not the embedding, as here; the others round to whole billions."""
    active = ModelShape.from_config(CONFIGS[name]).active_parameters / 1e9
    assert active == pytest.approx(billions, rel=0.005 if billions % 1 else 0.025)


@pytest.mark.parametrize(
    ("name", "gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8), ("Kimi-K2.5", 594 / 1.073741824)]
)
def test_bytes_of_checkpoints_with_narrow_experts_alone_are_the_published_ones(name, gib):
    """Model cards; every weight in the declared precision would be 5 to 12 % off."""
    shape = ModelShape.from_config(CONFIGS[name])
    assert shape.weight_bytes() / 2**30 == pytest.approx(gib, rel=0.003)
    assert replace(shape, experts_only=False).weight_bytes() / 2**30 != pytest.approx(gib, rel=0.01)


def test_an_fp8_checkpoint_keeps_its_embedding_and_output_matrix_in_16_bits():
    """9.08 GB on the hub for the 8B in fp8: 6.98 + 2 x 1.05."""
    assert models()["Llama-3.1-8B"].weight_bytes("fp8") == pytest.approx(9.08e9, rel=2e-3)
    assert models()["Llama-3.1-8B"].weight_bytes() == 2 * models()["Llama-3.1-8B"].parameters


@pytest.mark.parametrize("shape", SHAPES)
def test_the_total_is_embedding_head_and_layers(shape):
    one, two = (replace(shape, layers=n, dense_layers=0, sliding_layers=0) for n in (1, 2))
    per_layer = two.parameters - one.parameters
    matrices = one.parameters - per_layer
    assert matrices == shape.head_parameters * (1 if shape.tied else 2)
    mlp = (shape.experts + shape.shared_experts) * shape.expert_parameters if shape.moe else shape.mlp_parameters
    assert per_layer == shape.attention_parameters + mlp
    dense = shape.dense_layers if shape.moe else 0
    expected = matrices + shape.layers * per_layer + dense * (shape.mlp_parameters - mlp)
    assert shape.parameters == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bytes_of_weights_are_two_for_every_parameter_in_16_bits(shape):
    assert shape.weight_bytes("bf16") == 2 * shape.parameters
    assert shape.weight_bytes("fp32") == 4 * shape.parameters
    assert shape.weight_bytes("int4") < shape.weight_bytes("fp8") < shape.weight_bytes("bf16")


def test_attention_is_counted_as_the_matrices_have_it():
    assert DENSE.attention_parameters == 64 * 8 * 16 + 2 * (64 * 2 * 16) + 8 * 16 * 64
    latent = 64 * (32 + 8) + 32 * 8 * (16 + 16) + 8 * 16 * 64
    assert MLA.attention_parameters == 64 * 24 + 24 * 8 * (16 + 8) + latent
    assert replace(MLA, q_lora_rank=0).attention_parameters == 64 * 8 * (16 + 8) + latent


@given(st.integers(1, 200), st.sampled_from(SHAPES), st.sampled_from(sorted(PRECISIONS)))
def test_kv_is_linear_in_layers(layers, shape, precision):
    one, many = (replace(shape, layers=n, dense_layers=0, sliding_layers=0) for n in (1, layers))
    assert many.kv_bytes(precision) == pytest.approx(layers * one.kv_bytes(precision))
    assert many.kv_read(777, precision) == pytest.approx(layers * one.kv_read(777, precision))
    assert many.attention_flops(777) == layers * one.attention_flops(777)


@given(st.integers(0, 10_000), st.sampled_from(SHAPES))
def test_what_is_read_is_the_whole_context_but_for_windows(context, shape):
    read = shape.kv_read(context)
    assert read <= context * shape.kv_bytes()
    if not shape.sliding_layers:
        assert read == context * shape.kv_bytes()
    assert read <= shape.kv_read(context + 1)
    assert shape.windowed(context + 1).kv_read(context) == read
    assert shape.windowed(50).kv_read(context) == shape.kv_read(min(context, 50))


def test_sliding_layers_read_their_window_and_no_more():
    per_layer = SLIDING.kv_bytes() / 4
    assert SLIDING.kv_read([0, 100, 1000]).tolist() == [0, 400 * per_layer, (1000 + 3 * 100) * per_layer]
    assert SLIDING.attention_flops(1000) == 4 * 8 * 16 * 1300
    assert SLIDING.kv_bytes() == DENSE.kv_bytes()


def test_the_attention_core_of_mla_works_in_the_latent():
    assert MLA.attention_flops(10) == 4 * 10 * 2 * 8 * (2 * 32 + 8)
    assert np.array_equal(MLA.kv_read(np.array([1, 2]), "fp8"), [4 * 40, 8 * 40])
    assert (MLA.kv_heads, MLA.head_dim) == (1, 24)


def test_a_head_is_a_layer_the_output_matrix_and_what_joins_the_hidden_states():
    llama = models()["Llama-3.1-8B"]
    layer = llama.attention_parameters + llama.mlp_parameters
    assert llama.head(fusion=0).parameters == layer + llama.head_parameters
    assert llama.head().parameters == layer + llama.head_parameters + 2 * 4096**2
    assert llama.head(fusion=3).weight_bytes() == 2 * (layer + llama.head_parameters + 3 * 4096**2)
    assert llama.head(2).kv_bytes() == 2 * 4096
    assert models()["DeepSeek-V3"].head().moe_layers == 1
    eagle = models()["DeepSeek-V3"].head(dense=True)
    assert (eagle.moe, eagle.mlp_parameters) == (False, 3 * 7168 * 18432)
    assert models()["gpt-oss-20b"].head(dense=True).intermediate == 4 * 2880
    assert llama.head(dense=True) == llama.head()
    assert models()["gpt-oss-20b"].head().kv_read(5000) == 5000 * 2048
    latent = MLA.attention_parameters + 9 * MLA.expert_parameters + MLA.head_parameters
    assert MLA.head(fusion=0).parameters == latent


def test_precision_of_every_part():
    fp8, oss = replace(DENSE, weights="fp8"), models()["gpt-oss-20b"]
    assert [fp8.precision_of(part).name for part in PARTS] == ["fp8"] * 4 + ["bf16"] * 2
    assert [oss.precision_of(part).name for part in PARTS] == ["bf16"] * 2 + ["mxfp4"] + ["bf16"] * 3
    assert oss.precision_of("attention", "fp8").name == "fp8"
    assert DENSE.precision_of("head", "fp32").bytes == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers: found 0"),
        ({"hidden": 64.5}, "hidden: found 64.5"),
        ({"kv_heads": 3}, "kv_heads: found 3, expected a divisor of 8"),
        ({"kv_heads": 0}, "kv_heads: found 0"),
        ({"head_dim": 0}, "head_dim: found 0"),
        ({"intermediate": 0}, "intermediate: found 0"),
        ({"experts": 8}, "active: found 0, expected 1 to 8"),
        ({"experts": 8, "active": 9, "expert_intermediate": 1}, "active: found 9"),
        ({"experts": 8, "active": 2}, "expert_intermediate: found 0"),
        ({"dense_layers": 5}, "dense_layers: found 5"),
        ({"kv_lora_rank": 5, "qk_nope_head_dim": 4}, "v_head_dim: found 0"),
        ({"sliding_layers": 2}, "sliding_window: found 0"),
        ({"sliding_layers": 9, "sliding_window": 8}, "sliding_layers: found 9"),
        ({"weights": "fp7"}, "precision: found 'fp7', expected one of bf16"),
        ({"weights": ["bf16"]}, r"precision: found \['bf16'\]"),
        ({"tied": "no"}, "tied: found 'no'"),
        ({"vocab": True}, "vocab: found True"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(DENSE, **change)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("ask", [lambda: DENSE.kv_read(-1), lambda: DENSE.windowed(0), lambda: DENSE.head(0)])
def test_a_context_or_a_head_that_cannot_be_is_refused(ask):
    with pytest.raises(ValueError, match="found"):
        ask()


def test_an_unknown_part_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="part: found 'norm', expected one of attention, mlp"):
        DENSE.precision_of("norm")


ROUTER = re.compile(r"norm|bias|mlp\.gate\.weight|expert_gate|router|sinks|correction")


def matrices(family, text):
    """Parameters of transformers' own model of a config, built without memory, and the config with its defaults."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    keys = {key: value for key, value in text.items() if key not in ("model_type", "quantization_config")}
    config = transformers.AutoConfig.for_model(family, **keys)
    with torch.device("meta"):
        network = transformers.AutoModelForCausalLM.from_config(config)
    network.tie_weights()
    return sum(p.numel() for name, p in network.named_parameters() if not ROUTER.search(name)), config


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_transformers_own_to_the_last_one(name):
    text = CONFIGS[name].get("text_config", CONFIGS[name])
    family = {"kimi_k2": "deepseek_v3"}.get(text["model_type"], text["model_type"])
    assert ModelShape.from_config(CONFIGS[name]).parameters == matrices(family, text)[0]
