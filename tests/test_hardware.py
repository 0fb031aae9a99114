"""The catalogue: figures against datasheets in their own units, a source for every value, and names people type."""

import csv
import importlib.resources
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.hardware import GPU_COLUMNS, Gpu, gpu, gpus, model, models, nearest
from specmath.shapes import PRECISIONS, ModelShape

GIB, TB, TFLOP = 2**30, 1e12, 1e12
DATASHEETS = {  # memory, bandwidth, bf16, fp8
    "A100 80 SXM": (80 * GIB, 2039e9, 312 * TFLOP, None),
    "H100 SXM": (80 * GIB, 3.35 * TB, 989 * TFLOP, 1978 * TFLOP),
    "H200 SXM": (141 * GIB, 4.8 * TB, 989 * TFLOP, 1978 * TFLOP),
    "B200 SXM": (180 * GIB, 7.7 * TB, 2250 * TFLOP, 4500 * TFLOP),
    "L4": (24 * GIB, 0.3 * TB, 121 * TFLOP, 242 * TFLOP),
    "MI300X": (192e9, 5.3 * TB, 1307 * TFLOP, 2615 * TFLOP),
    "TPU v6e": (32e9, 1.638 * TB, 918 * TFLOP, None),
}
UNITS = ("bytes", "bytes_per_s", "flops", "ops", "w", "dollars_per_hour")
TEXTS = ("name", "aliases", "vendor", "memory_is", "link_kind", "note", "spec_source", "spec_read", "price_date")
TEXTS += ("price_source", "price_trust", "trust_memory_bandwidth", "trust_flops_link_power", "trust_of_single_values")


def rows(name):
    data = importlib.resources.files("specmath") / "data" / name
    return list(csv.DictReader(data.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("name", DATASHEETS)
def test_figures_are_those_of_the_datasheets(name):
    found = gpu(name)
    assert (found.memory, found.bandwidth, found.bf16, found.fp8) == DATASHEETS[name]


def test_links_are_per_direction():
    assert gpu("h100").link == 450e9
    assert gpu("b200").link == 900e9
    assert gpu("L40S").link == 32e9
    assert gpu("TPU v5e").link == 400e9 / 2
    assert all(
        "direction" in found.link_kind or "no peer" in found.link_kind for found in gpus().values() if found.link
    )


def test_every_value_has_its_trust_source_and_date():
    for found in gpus().values():
        known = {name for name in (*GPU_COLUMNS, "price_range") if getattr(found, name) is not None}
        assert set(found.sources) == known
        for name, said in found.sources.items():
            assert re.fullmatch(r"(read|second-hand|recalled); [^;].+; 20\d\d(-\d\d)?", said), (found.name, name)
    for shape in models().values():
        assert re.fullmatch(r".+; 20\d\d-\d\d", shape.source)
        assert re.fullmatch(r"(read|recalled); tied (read|recalled); weights (read|recalled)", shape.trust)


def test_a_single_value_may_be_weaker_than_its_row():
    assert gpu("mi300x").sources["fp8"].startswith("recalled")
    assert gpu("mi300x").sources["bf16"].startswith("second-hand")


def test_every_column_of_numbers_spells_its_unit():
    for column in rows("gpus.csv")[0]:
        assert column in TEXTS or column.endswith(UNITS), column


def test_prices_are_dated_ranges_and_no_default():
    priced = [found for found in gpus().values() if found.price_range]
    assert len(priced) == 16
    for found in priced:
        price = found.price_range
        assert 0 < price.low <= (price.typical or price.low) <= price.high
        assert re.fullmatch(r"20\d\d(-\d\d)?", price.date)
        assert price.source
        assert price.trust in ("second-hand", "recalled")
    assert gpu("h100").price_range.typical == 2.95
    assert gpu("l4").price_range.typical is None
    assert gpu("b300").price_range is None


def test_no_name_stands_for_two_things():
    assert len(gpus()) == len(models()) == 23
    for name, find in (("gpus.csv", gpu), ("models.csv", model)):
        for row in rows(name):
            for alias in filter(None, (row["name"], *map(str.strip, row["aliases"].split(";")))):
                assert find(alias).name == row["name"], alias


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("h100", "H100 SXM"),
        ("H100", "H100 SXM"),
        ("h100 pcie", "H100 PCIe"),
        ("H100-SXM", "H100 SXM"),
        ("nvidia_h200", "H200 SXM"),
        ("b200", "B200 SXM"),
        ("A100", "A100 80 SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("AMD Instinct MI300X", "MI300X"),
        ("l40s", "L40S"),
    ],
)
def test_devices_by_the_names_people_type(typed, name):
    assert gpu(typed).name == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("llama-3.1-8b-instruct", "Llama-3.1-8B"),
        ("Llama 3.1 70B", "Llama-3.1-70B"),
        ("meta-llama/Llama-3.1-70B-Instruct", "Llama-3.1-70B"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.1-70B"),
        ("Qwen/Qwen3-32B", "Qwen3-32B"),
        ("qwen3-0.6b", "Qwen3-0.6B"),
        ("deepseek-ai/DeepSeek-R1", "DeepSeek-V3"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("SmolLM2-135M-Instruct", "SmolLM2-135M"),
    ],
)
def test_models_by_their_names_and_hub_ids(typed, name):
    assert model(typed).name == name


def test_what_is_given_as_such_is_taken_as_such():
    own = Gpu("own", 1e9, 1e9, 1e9)
    assert gpu(own) is own
    shape = models()["Qwen3-8B"]
    assert model(shape) is shape


@pytest.mark.parametrize(
    ("find", "typed", "near"),
    [
        (gpu, "h1oo", "H100 SXM"),
        (gpu, "H20", "H200 SXM"),
        (gpu, "MI350X", "MI355X"),
        (gpu, "", "H100 SXM"),
        (gpu, None, "H100 SXM"),
        (model, "Qwen3-33B", "Qwen3-32B"),
        (model, "lama-3.1-8b", "Llama-3.1-8B"),
        (model, "mistralai/Mixtral-8x22B-v0.1", "Mixtral-8x7B"),
        (model, "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "DeepSeek-V3"),
    ],
)
def test_an_unknown_name_gets_the_nearest_in_one_line(find, typed, near):
    with pytest.raises(ValueError, match=f"^(gpu|model): found .*{typed or ''}.*, expected a .*{near}") as caught:
        find(typed)
    assert len(str(caught.value).splitlines()) == 1


def test_flops_are_those_of_the_activations():
    h100 = gpu("h100")
    for name in ("bf16", "fp16", "int4", "w8a16", "int4_g32"):
        assert h100.flops(name) == 989e12
    assert h100.flops("fp8") == h100.flops("fp8_block") == h100.fp8
    assert gpu("b200").flops("nvfp4") == 9e15
    assert h100.flops(PRECISIONS["fp8"]) == h100.fp8


@pytest.mark.parametrize(
    ("device", "precision", "has"),
    [("h100", "nvfp4", "bf16, fp16, fp8"), ("a100", "fp8", "bf16, fp16, int8"), ("h100", "fp32", "bf16")],
)
def test_a_device_without_the_units_says_what_it_has(device, precision, has):
    with pytest.raises(
        ValueError, match=f"{precision}: found no .* units in {gpu(device).name}, expected one of {has}"
    ):
        gpu(device).flops(precision)


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan"), "1e12"])
@pytest.mark.parametrize("field", ["memory", "bandwidth", "bf16", "fp8", "link", "power"])
def test_a_device_of_no_positive_figure_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field}: found"):
        replace(gpu("h100"), **{field: value})


@given(st.text(max_size=30))
def test_any_text_gives_a_known_thing_or_one_line(text):
    for find, kind in ((gpu, Gpu), (model, ModelShape)):
        try:
            found = find(text)
        except ValueError as error:
            found = error
        assert isinstance(found, kind) or len(str(found).splitlines()) == 1


def test_nearest_knows_beginnings_and_slips():
    assert nearest("bandwidth", list(GPU_COLUMNS.values()))[0] == "bandwidth_bytes_per_s"
    assert nearest("zzz", list(GPU_COLUMNS.values())) == []
