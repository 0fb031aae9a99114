"""The bandwidth of the acceptance rule: the bytes of the rows that rounds read, and a whole record."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench import acceptor, gpu
from validate.arrays import Arrays

SIZE = acceptor.Size(batch=6, k=2, vocabulary=50, runs=3, copied=2**12)


def rounds(tokens):
    """Laws under which token 0 is always accepted, and -1 never."""
    batch, k = np.shape(tokens)
    p, q = np.full((batch, k + 1, 5), 0.2, np.float32), np.full((batch, k, 5), 0.2, np.float32)
    return np.array(tokens), q, p, np.zeros((batch, k)), np.zeros(batch)


@pytest.mark.parametrize(("tokens", "rows"), [([[0, 0]], 1), ([[0, -1]], 2), ([[-1, 0], [0, 0], [0, -1]], 5)])
def test_a_rejection_reads_a_row_of_p_and_one_of_q_and_a_bonus_one_of_p(tokens, rows):
    assert acceptor._bytes(Arrays.on("cpu"), rounds(tokens)) == rows * 5 * 4


def test_the_record_divides_bytes_by_seconds_and_shares_are_of_the_copy(monkeypatch, capsys):
    seconds = {"verify": 2.0, "verify (control)": 2.2, "copy": 0.5}
    monkeypatch.setattr(acceptor, "_seconds", lambda *_: seconds)
    record = acceptor.measured("cpu", SIZE)
    assert record["bandwidth"] == {
        "verify": record["bytes"] / 2,
        "verify (control)": record["bytes"] / 2.2,
        "copy": 2**14,
    }
    assert record["share"]["verify"] == pytest.approx(record["bytes"] / 2 / 2**14)
    assert set(record["share"]) == {"verify", "verify (control)"}
    assert record["control"] == pytest.approx(1.1)
    acceptor.report(record)
    assert "control / verify 1.100" in capsys.readouterr().out


def test_the_gpu_bench_leaves_a_record_and_does_not_measure_again(tmp_path):
    """Its whole way, on the CPU."""
    record = gpu.judged("cpu", SIZE, tmp_path)
    assert record["versions"]["torch"] == torch.__version__
    assert (record["batch"], record["k"], record["vocabulary"]) == (6, 2, 50)
    assert all(time > 0 for time in record["seconds"].values())
    assert gpu.judged("nowhere", SIZE, tmp_path) == record == json.loads((tmp_path / "acceptor.json").read_text())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_replays_the_rule_as_one_graph():
    assert acceptor.GRAPH in acceptor.measured("cuda", SIZE)["share"]
