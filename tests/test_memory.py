"""What bounds the batch: weights and caches of both models on the fullest GPU, lookahead slots, the reserve."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.cost import Roofline, Share
from specmath.hardware import gpu, model
from specmath.memory import RESERVE, USABLE, Memory

TARGET = Roofline("Llama-3.1-70B", "h100", tp=4)
KV_8B, KV_70B = 131072, 327680  # bytes per token in bf16


def test_a_target_alone():
    """(.9 x 80 GiB - 3.5 GiB - 70.55e9 x 2 / 4) / (2049 x 320 KiB / 4): by hand."""
    room = 0.9 * 80 * 2**30 - 3.5 * 2**30 - 2 * TARGET.shape.parameters / 4
    assert Memory.of(TARGET).max_batch(2048) == int(room / (2049 * KV_70B / 4)) == 228


def test_a_draft_on_one_gpu_fills_that_gpu():
    """The 8B draft of tensor parallelism 1 has its 16 GB and all of its cache on one of the four."""
    draft = Roofline("Llama-3.1-8B", "h100")
    both = Memory.of(TARGET, draft)
    assert both.draft_weights == pytest.approx(2 * draft.shape.parameters)
    assert both.kv(1) == pytest.approx(KV_70B / 4 + KV_8B)
    assert both.max_batch(2048, k=4) == int(both.room / ((2048 + 5) * (KV_70B / 4 + KV_8B))) == 50
    spread = Memory.of(TARGET, Roofline("Llama-3.1-8B", "h100", tp=4))
    assert spread.max_batch(2048, k=4) > 2 * both.max_batch(2048, k=4)


def test_without_the_draft_nothing_of_it_is_left():
    both, alone = Memory.of(TARGET, Roofline("Llama-3.1-8B", "h100")).without_draft(), Memory.of(TARGET)
    assert both.room == pytest.approx(alone.room)
    assert both.max_batch(2048) == alone.max_batch(2048)


def test_a_draft_that_reads_the_target_itself_holds_nothing():
    sparse = replace(TARGET, shape=model("Llama-3.1-70B").windowed(512))
    assert Memory.of(TARGET, sparse) == replace(Memory.of(TARGET), models=(TARGET,))
    assert Memory.of(TARGET, Share(TARGET, 0.006)).max_batch(2048) == Memory.of(TARGET).max_batch(2048)


def test_a_quantised_copy_that_drafts_has_weights_and_a_whole_cache_of_its_own():
    """fp8 beside bf16, on the same four: half of the weights more, and the cache once more, however little is read."""
    copy = replace(TARGET, weights="fp8")
    both, alone = Memory.of(TARGET, copy), Memory.of(TARGET)
    assert both.draft_weights == copy.weight_bytes / 4
    assert both.room == pytest.approx(alone.room - copy.weight_bytes / 4)
    sparse = Memory.of(TARGET, replace(copy, shape=model("Llama-3.1-70B").windowed(512)))
    assert sparse.kv(4096) == both.kv(4096) == pytest.approx(2 * 4096 * KV_70B / 4)


def test_windows_hold_what_they_read():
    """gpt-oss: every second layer keeps 128 tokens; MLA keeps its latent on every GPU."""
    oss = Roofline("gpt-oss-120b", "b200", weights="mxfp4")
    assert Memory.of(oss).kv(4096) == pytest.approx(18 * 2048 * (4096 + 128))
    mla = Roofline("DeepSeek-V3", "h200", tp=8, weights="fp8")
    assert Memory.of(mla).kv(1) == pytest.approx(70272)


def test_what_does_not_fit_has_no_batch():
    assert Memory.of(Roofline("Llama-3.1-405B", "h100", tp=8)).max_batch(1) == 0
    assert Memory.of(Roofline("Llama-3.1-70B", "h100")).room < 0


DEVICES = st.sampled_from(["h100", "h200", "b200"])
DRAFTS = st.sampled_from(["Llama-3.2-1B", "Llama-3.1-8B", "Qwen3-0.6B"])


@given(DEVICES, DRAFTS, st.integers(1, 20000), st.integers(0, 10))
def test_no_batch_exceeds_the_memory(device, draft, tokens, k):
    """Counted afresh from shapes and bytes: usable memory holds weights, caches with k + 1 slots, and the reserve."""
    target, other = Roofline("Qwen3-32B", device, tp=2), Roofline(draft, device)
    batch = Memory.of(target, other).max_batch(tokens, k=k)

    def held(sequences):
        slots = tokens + (k + 1 if k else 1)
        caches = sequences * slots * (target.shape.kv_bytes() / 2 + other.shape.kv_bytes())
        return caches + target.shape.parameters + 2 * other.shape.parameters + RESERVE

    usable = USABLE * gpu(device).memory
    assert batch == 0 or held(batch) <= usable * (1 + 1e-12)
    assert held(batch + 1) > usable


@pytest.mark.parametrize("wrong", [{"usable": 1.1}, {"usable": -0.1}, {"reserve": -1.0}])
def test_shares_outside_of_their_domain(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: found"):
        Memory.of(TARGET, **wrong)
