"""Shapes without weights: the parameters of known models, and what a cost table of them is."""

import json
import pathlib
import time

import pytest

torch = pytest.importorskip("torch")

from bench import gpu
from bench.acceptor import Size
from bench.batches import Load
from tests.tiny import llama
from validate import cli, costs
from validate.dummy import dummy
from validate.measure import Shapes

CONFIGS = pathlib.Path(gpu.__file__).with_name("configs")
BILLIONS = {"qwen3-8b": 8.190, "qwen3-32b": 32.761, "qwen3-0.6b": 0.596, "llama-3.1-8b": 8.030, "llama-3.2-1b": 1.236}


@pytest.fixture
def config(tmp_path):
    """A llama of two small layers."""
    shape = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 16}
    shape |= {"num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 64}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(shape))
    return path


@pytest.mark.parametrize("name", BILLIONS)
def test_the_shapes_have_the_parameters_of_their_models(name):
    """Published counts; built where tensors have a shape and no memory, tied embeddings counted once."""
    network = dummy(str(CONFIGS / f"{name}.json"), device="meta", dtype="bfloat16").network
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(BILLIONS[name], rel=2e-4)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


def test_a_dummy_has_numbers_and_the_rotations_of_a_loaded_model(config):
    model = dummy(str(config))
    network = model.network
    assert all(torch.isfinite(p).all() for p in network.parameters())
    frequencies = network.model.rotary_emb.inv_freq
    assert torch.allclose(frequencies, 10000.0 ** (-torch.arange(0, 8, 2) / 8))
    assert (model.rows, model.context, model.eos) == (50, 64, frozenset())


def test_a_folder_is_as_good_as_its_config_and_something_else_is_one_line(config):
    assert dummy(str(config.parent)).rows == 50
    config.write_text('{"model_type": "abacus"}')
    with pytest.raises(ValueError, match=r"config\.json: found no config of a model .*, expected a Hugging Face"):
        dummy(str(config))
    with pytest.raises(ValueError, match=r"none\.json: found no config of a model .*No such file"):
        dummy(str(config.with_name("none.json")))


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code, *capsys.readouterr()


def test_the_cost_command_measures_shapes_that_have_no_weights(config, capsys, tmp_path):
    asked = ("cost", "--target", config, "--dummy-weights", "--draft", "early:1", "--k", "2", "--context", "8")
    code, out, _ = run(capsys, *asked, "--batches", "1,2", "--repeats", "2", "--out", tmp_path / "c.jsonl", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["machine"]["weights"] == "dummy"
    assert {(c["model"], c["n"], c["batch"]) for c in found["cells"]} == {
        *(("target", n, b) for n in (1, 2, 3) for b in (1, 2)),
        *(("draft", n, b) for n in (1, 2) for b in (1, 2)),
    }
    assert costs.read(tmp_path / "c.jsonl").measured["dummy_weights"] is True


def test_the_gpu_bench_is_skipped_cleanly_without_one(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main()
    assert capsys.readouterr().out == "skipped: PyTorch sees no CUDA here\n"


def test_the_gpu_bench_stops_at_its_time_goes_on_and_leaves_a_record(config, tmp_path, monkeypatch):
    """Its whole way, on the CPU and on a small shape."""
    monkeypatch.setattr(gpu, "CONFIGS", config.parent)
    settings = gpu.settings_of("config", "config", "cpu", "float32")
    places = (Shapes((1, 2, 5), (8,), (1, 2)), tmp_path / "runs", tmp_path / "data")
    assert gpu.measured(settings, *places, ends=time.monotonic() - 1) is None
    record = gpu.measured(settings, *places, ends=time.monotonic() + 60)
    assert record["date"]
    assert record["versions"]["torch"] == torch.__version__
    assert {at["batch"] for at in record["plain_steps"]} == {1, 2}
    assert len(costs.read(tmp_path / "runs" / "config-config.jsonl").sweeps) == gpu.SWEEPS
    assert gpu.measured(settings, *places, ends=0) == json.loads(json.dumps(record))
    assert gpu._found(record).startswith("batch 1: v(5) ")


def test_rounds_side_by_side_leave_a_record_beside_the_bandwidth_of_a_copy(config, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "CONFIGS", config.parent)
    settings = gpu.settings_of("config", "config", "cpu", "float32")
    size = Size(batch=2, k=2, vocabulary=50, runs=2, copied=2**16)
    copied = gpu.judged("cpu", size, tmp_path)["bandwidth"]["copy"]
    load, places = Load((1, 2), (8,), rounds=4, repeats=1), (tmp_path / "runs", tmp_path)
    assert gpu.side_by_side(settings, load, places, 0, copied) is None
    record = gpu.side_by_side(settings, load, places, time.monotonic() + 60, copied)
    weights = gpu.read(dummy(settings.target).network)
    alone = record["cells"][0]["seconds_per_token"]["plain"]
    assert record["share_of_copy"] == pytest.approx(weights / alone / copied)
    assert gpu.side_by_side(settings, load, places, 0, copied) == json.loads(json.dumps(record))
    assert "batch 2, context 8: " in gpu._paces(record)


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_embeddings_is_read_by_a_token_only_where_it_is_the_head(tied):
    """A head, and two layers with half a matrix for keys and values each; norms of 32."""
    network = llama(vocabulary=40, width=32).network
    if tied:
        network.lm_head.weight = network.model.embed_tokens.weight
    layer = 32 * 32 * (1 + 1 + 0.5 + 0.5) + 3 * 32 * 32 + 2 * 32
    assert gpu.read(network) == 4 * (40 * 32 + 2 * layer + 32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_batch_beyond_the_memory_is_left_out_on_a_gpu(config, tmp_path):
    settings = gpu.settings_of("qwen3-0.6b", "qwen3-0.6b", "cuda", "bfloat16")
    record = gpu.measured(settings, Shapes((1, 5), (128, 32768), (1, 4096)), tmp_path, tmp_path, time.monotonic() + 200)
    assert {at["batch"] for at in record["plain_steps"]} == {1}
