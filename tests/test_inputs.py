"""Files of a planner: what is read from good ones, and the one line for bad ones."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from specmath.hardware import GPU_COLUMNS, gpu, gpus, models
from specmath.shapes import ModelShape
from tests.test_configs import small
from tests.test_shapes import CONFIGS
from validate.inputs import read_gpu, read_model, read_prices, read_requests

GPU = {"name": "mine", "memory_bytes": 64e9, "bandwidth_bytes_per_s": 2e12, "bf16_flops": 5e14}
PRICE = {"gpu": "h100", "dollars_per_hour": 2.5, "date": "2026-11"}
ROW = {"arrival_s": 0.5, "prompt_tokens": 10, "output_tokens": 20}


@pytest.fixture
def write(tmp_path):
    """A file of a name, from a text or from what JSON holds."""

    def into(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return into


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_names_of_the_catalogue_need_no_file():
    assert read_gpu("h100") == gpu("h100")
    assert read_model("Qwen/Qwen3-32B") == models()["Qwen3-32B"]


def test_a_device_of_ones_own(write):
    own = read_gpu(write("mine.json", {**GPU, "link_bytes_per_s": 1e11, "link_kind": "PCIe", "fp8_flops": None}))
    assert (own.name, own.memory, own.bandwidth, own.bf16, own.link) == ("mine", 64e9, 2e12, 5e14, 1e11)
    assert own.fp8 is None
    assert set(own.sources) == {"memory", "bandwidth", "bf16", "link"}
    assert own.sources["memory"].startswith("given; ")


@pytest.mark.parametrize("name", sorted(gpus()))
def test_a_device_of_the_catalogue_written_out_reads_back(write, name):
    """Roundtrip through the columns that a user writes."""
    found = gpus()[name]
    columns = {key: getattr(found, field) for field, key in GPU_COLUMNS.items()}
    again = read_gpu(write("gpu.json", {**columns, "name": name, "link_kind": found.link_kind}))
    assert replace(again, price_range=found.price_range) == found


def test_a_config_its_folder_and_a_shape_of_ones_own(write):
    path = write("some-model/config.json", CONFIGS["Qwen3-30B-A3B"])
    found = read_model(path)
    assert found == read_model(path.removesuffix("/config.json"))
    assert (found.name, found.parameters, found.source) == ("some-model", models()["Qwen3-30B-A3B"].parameters, path)
    shape = models()["DeepSeek-V3"]
    assert (
        read_model(write("shape.json", {f.name: getattr(shape, f.name) for f in fields(ModelShape) if f.init})) == shape
    )


def test_a_file_named_otherwise_gives_its_name_to_the_model(write):
    assert read_model(write("tiny-7.json", small("llama"))).name == "tiny-7"


def test_the_precision_that_stands_in_a_file_beside_the_config(write):
    path = write("quantised/config.json", small("llama"))
    assert read_model(path).weights == "bf16"
    said = {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}
    write("quantised/hf_quant_config.json", {"producer": {"name": "modelopt"}, "quantization": said})
    assert read_model(path).weights == "nvfp4"


def test_a_hub_id_is_read_from_the_cache(write, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    path = write("cached.json", small("qwen3"))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: path if file == "config.json" else None)
    found = read_model("someone/some-model")
    assert found.name == "someone/some-model"
    assert found.source == "config.json of someone/some-model on the Hugging Face hub"
    write("cached.json", {**small("qwen3"), "model_type": "mamba"})
    with pytest.raises(ValueError, match=r"config.json of someone/some-model: model_type: found 'mamba'"):
        read_model("someone/some-model")


@pytest.mark.parametrize("there", [("config.json",), ("config.json", "hf_quant_config.json")])
def test_a_hub_id_is_downloaded_config_and_nothing_else(write, monkeypatch, there):
    hub = pytest.importorskip("huggingface_hub")
    write("config.json", small("llama"))
    folder = write("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}).rpartition("/")[0]
    asked = []

    class Api:
        def model_info(self, name, timeout):
            files = [type("File", (), {"rfilename": file}) for file in (*there, "model.safetensors")]
            return type("Info", (), {"siblings": files})

    def download(name, file):
        asked.append(file)
        return f"{folder}/{file}"

    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: None)
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert read_model("someone/else").weights == ("fp8" if len(there) == 2 else "bf16")
    assert sorted(asked) == sorted(there)


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    class Api:
        def model_info(self, name, timeout):
            raise ConnectionError("no route\nRetrying")

    monkeypatch.setattr(hub, "HfApi", Api)
    with pytest.raises(ValueError, match=r"^model: found no 'nobody/none' on the hub \(no route\), expected a name"):
        read_model("nobody/none")


@pytest.mark.parametrize(
    ("read", "name", "content", "message"),
    [
        (read_gpu, "g.json", "{", "g.json: found no JSON"),
        (read_gpu, "g.json", [], "g.json: found a list, expected one JSON object"),
        (read_gpu, "g.json", {**GPU, "bandwidth": 1}, "found the key 'bandwidth', expected one like bandwidth_bytes_p"),
        (read_gpu, "g.json", {**GPU, "memory_gb": 1}, "found the key 'memory_gb', expected one like memory_bytes"),
        (read_gpu, "g.json", {"name": "x", "memory_bytes": 1}, "found no bandwidth_bytes_per_s, expected it beside"),
        (read_gpu, "g.json", {**GPU, "bf16_flops": -1}, "bf16_flops: found -1, expected a number above 0"),
        (read_gpu, "g.json", {**GPU, "bf16_flops": "fast"}, "bf16_flops: found 'fast', expected a number above 0"),
        (read_gpu, "g.json", {**GPU, "name": 7}, "name: found 7, expected a text"),
        (read_model, "m/config.json", {"model_type": "llama"}, "config.json: num_hidden_layers: found none"),
        (read_model, "m.json", {"layers": 2}, "m.json: shape: found no name"),
        (
            read_model,
            "m.json",
            {"layers": 2, "head": 3},
            "m.json: shape: found the key 'head', expected one like heads",
        ),
        (
            read_model,
            "m.json",
            {"name": "x", "layers": 2, "hidden": 8, "heads": 2, "vocab": 10, "kv_heads": 3},
            "m.json: head_dim: found 0",
        ),
        (
            read_prices,
            "p.json",
            {"gpu": "h100", "dollars_per_hour": 2},
            "price 1: found no date, expected it beside gpu",
        ),
        (read_prices, "p.csv", "gpu,dollars_per_hour,date\nh100,2.5,\n", "p.csv:2: found no date"),
        (read_prices, "p.json", {**PRICE, "gpu": "h1000"}, "price 1: gpu: found 'h1000', expected a device .* H100"),
        (
            read_prices,
            "p.json",
            {**PRICE, "dollars_per_hour": 0},
            "dollars_per_hour: found 0, expected a number above 0",
        ),
        (
            read_prices,
            "p.json",
            {**PRICE, "date": "last week"},
            "date: found 'last week', expected one like 2026-11-05",
        ),
        (read_prices, "p.json", {**PRICE, "date": "202"}, "date: found '202'"),
        (read_prices, "p.json", {**PRICE, "date": "2026-13"}, "date: found '2026-13'"),
        (read_prices, "p.json", {**PRICE, "price": 1}, "found the key 'price', expected one like"),
        (read_prices, "p.json", [PRICE, {**PRICE, "gpu": "H100 SXM"}], "price 2: found H100 SXM twice"),
        (read_prices, "p.json", [], "p.json: found no prices"),
        (read_prices, "p.json", ["h100"], "found a str as price 1, expected an object"),
        (read_requests, "r.jsonl", "", "r.jsonl: found no requests"),
        (read_requests, "r.jsonl", lines(ROW) + "\n{", "r.jsonl:2: found no JSON"),
        (read_requests, "r.jsonl", lines(ROW, 3), "r.jsonl:2: found a int, expected an object"),
        (
            read_requests,
            "r.jsonl",
            lines({**ROW, "output_tokens": 0}),
            "output_tokens: found 0, expected an integer of",
        ),
        (
            read_requests,
            "r.jsonl",
            lines({**ROW, "prompt_tokens": 1.5}),
            "prompt_tokens: found 1.5, expected an integer",
        ),
        (read_requests, "r.jsonl", lines({**ROW, "arrival_s": "now"}), "arrival_s: found 'now', expected seconds"),
        (read_requests, "r.jsonl", lines({**ROW, "arrival_s": float("nan")}), "arrival_s: found nan, expected seconds"),
        (
            read_requests,
            "r.jsonl",
            lines(ROW, {"prompt_tokens": 1, "output_tokens": 1}),
            "r.jsonl:2: found no arrival_s, expected it in every line or in none",
        ),
        (
            read_requests,
            "r.jsonl",
            lines({"arrival_ms": 1, "prompt_tokens": 1, "output_tokens": 1}),
            "found arrival_ms, prompt_tokens, output_tokens, expected arrival_s",
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_line(write, read, name, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(write(name, content))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_gpu, "./none.json", "gpu: found no file ./none.json, expected one, or a name"),
        (read_gpu, "h101", "gpu: found 'h101', expected a device of the catalogue, like H100"),
        (read_model, "none.json", "model: found no file none.json"),
        (read_model, "lama-3.1-8b", "model: found 'lama-3.1-8b', expected a model of the catalogue, like Llama-3.1-8B"),
        (read_prices, "none.csv", "prices: found no file none.csv"),
        (read_requests, ".", "requests: found a folder, ., expected a file"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(read, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) == 1


def test_prices_by_the_name_of_the_device(write):
    found = read_prices(
        write("p.csv", "\ufeffgpu,dollars_per_hour,date,source\nh100,2.95,2026-05-20,an index\nL4,.7,2026,\n")
    )
    assert {name: price.dollars_per_hour for name, price in found.items()} == {"H100 SXM": 2.95, "L4": 0.7}
    assert (found["H100 SXM"].date, found["H100 SXM"].source) == ("2026-05-20", "an index")
    assert read_prices(write("p.json", PRICE))["H100 SXM"].dollars_per_hour == 2.5
    own = read_prices(write("p.json", [PRICE, {**PRICE, "gpu": "Mine"}]), own=["mine"])
    assert set(own) == {"H100 SXM", "mine"}


def test_requests_are_sorted_by_arrival_and_begin_at_zero(write):
    rows = [{**ROW, "arrival_s": at, "prompt_tokens": tokens, "user": "x"} for at, tokens in ((1e9 + 3, 7), (1e9, 5))]
    found = read_requests(write("r.jsonl", lines(*rows) + "\n\n"))
    assert np.array_equal(found.arrivals, [0, 3])
    assert np.array_equal(found.prompt_tokens, [5, 7])
    assert np.array_equal(found.output_tokens, [20, 20])


def test_a_log_without_arrivals_gives_lengths_in_its_order(write):
    found = read_requests(write("r.jsonl", lines(*({"prompt_tokens": n, "output_tokens": 1} for n in (9, 3, 5)))))
    assert found.arrivals is None
    assert found.prompt_tokens.tolist() == [9, 3, 5]


def test_reading_needs_no_torch(write):
    path = write("config.json", small("llama"))
    code = "import sys; from validate import inputs; "
    code += f"inputs.read_model({path!r}); inputs.read_gpu('h100'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "validate.inputs" in loaded
    assert not loaded & {"torch", "transformers", "huggingface_hub", "scipy", "matplotlib"}
