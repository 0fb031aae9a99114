"""The roofline: worked examples, dimensions, the staircase of CUDA graphs, experts, and kernels that were measured."""

import csv
import math
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath import best_k, speedup
from specmath.cost import Pair, Roofline, Share
from specmath.efficiency import Efficiency, Product, efficiency
from specmath.hardware import gpu, gpus, model, models
from specmath.roofline import coverage, padded, smooth_maximum
from tests.worked import constants, pair

BATCHES = (1, 16, 64, 128, 256)
DEPTHS = (1, 2, 3, 4, 5, 7)
WORKED = {  # target, GPU, tp, draft, its tp, alpha: plain step [ms], best k, its speedup at each batch (context 2048)
    ("Llama-3.1-70B", "H100 SXM", 4, "Llama-3.1-8B", 1, 0.80): (
        (15.66, 16.70, 20.29, 25.62, 37.64), (2, 2, 1, 1, 1), (1.37, 1.26, 1.08, 0.95, 0.84)),
    ("Llama-3.1-70B", "H100 SXM", 4, "Llama-3.2-1B", 1, 0.70): (
        (15.66, 16.70, 20.29, 25.62, 37.64), (4, 4, 2, 1, 1), (2.05, 1.87, 1.48, 1.25, 1.11)),
    ("Llama-3.1-70B", "H100 SXM", 4, "head", 4, 0.70): (
        (15.66, 16.70, 20.29, 25.62, 37.64), (7, 5, 3, 2, 1), (2.54, 2.32, 1.78, 1.47, 1.25)),
    ("Llama-3.1-70B", "H200 SXM", 2, "Llama-3.1-8B", 1, 0.80): (
        (20.50, 21.84, 26.82, 34.86), (4, 3, 2, 1), (1.78, 1.63, 1.27, 1.10)),
    ("Llama-3.1-70B", "A100 80 SXM", 4, "Llama-3.2-1B", 1, 0.70): (
        (23.70, 25.38, 32.19, 43.89), (4, 3, 2, 1), (2.09, 1.82, 1.29, 1.11)),
    ("Qwen3-32B", "H100 SXM", 2, "Qwen3-0.6B", 1, 0.62): (
        (14.23, 15.63, 20.33, 27.10, 41.89), (3, 2, 1, 1, 1), (1.79, 1.52, 1.20, 1.05, 0.94)),
    ("Qwen3-32B", "H200 SXM", 1, "Qwen3-0.6B", 1, 0.62): (
        (18.07, 19.95, 26.60, 36.76), (4, 3, 2, 1), (1.94, 1.70, 1.29, 1.14)),
}  # fmt: skip


@pytest.mark.parametrize("setup", WORKED, ids=lambda s: f"{s[0]} {s[2]} x {s[1]}, {s[3]}")
def test_worked_examples(setup):
    target, device, tp, draft, draft_tp, alpha = setup
    cost = pair(target, device, tp, draft, draft_tp)
    for batch, step, k, gain in zip(BATCHES, *WORKED[setup], strict=False):
        found = {depth: speedup(alpha, depth, cost, batch=batch, context=2048) for depth in DEPTHS}
        best = max(found, key=found.__getitem__)
        assert cost.step(batch=batch, context=2048) * 1e3 == pytest.approx(step, abs=0.0051)
        assert (best, round(found[best], 2)) == (k, pytest.approx(gain, abs=0.0101))


def test_verification_over_a_plain_step():
    target = pair("Llama-3.1-70B", "H100 SXM", 4, "Llama-3.2-1B", 1).target
    ratios = [
        target.seconds(5, batch=b, context=2048) / target.seconds(1, batch=b, context=2048)
        for b in (1, 16, 32, 64, 128, 256)
    ]
    assert np.round(ratios, 2).tolist() == [1.00, 1.08, 1.20, 1.49, 1.97, 2.50]


def test_experts_make_verification_dip_and_recover():
    """DeepSeek-V3 in fp8 on 8 x H200, one MTP layer, alpha .85: the dip at batch 8, and v(2) there."""
    shape = model("DeepSeek-V3")
    own = {"tp": 8, "weights": "fp8", "kv": "fp8"}
    run = constants("H200 SXM", 8, "fp8", kernels=14)
    cost = Pair(
        Roofline(shape, "H200 SXM", efficiency=run, **own),
        Roofline(shape.head(fusion=0), "H200 SXM", efficiency=replace(run, host=0.1e-3), **own),
    )
    found = [speedup(0.85, 1, cost, batch=b, context=2048) for b in (1, 8, 32, 128, 256)]
    assert np.round(found, 2).tolist() == [1.54, 1.25, 1.40, 1.71, 1.66]
    target = cost.target
    ratio = target.seconds(2, batch=8, context=2048) / target.seconds(1, batch=8, context=2048)
    assert round(ratio, 2) == 1.45


def test_coverage_of_experts():
    assert [coverage(8, 2, 5), coverage(256, 8, 5), coverage(128, 8, 5)] == pytest.approx(
        [6.101562, 37.576912, 35.302856], abs=1e-6
    )
    assert np.round(coverage(256, 8, np.array([1, 8, 64, 128])), 1).tolist() == [8.0, 57.4, 222.4, 251.6]


@given(st.integers(2, 64), st.integers(1, 8), st.floats(0, 2), st.floats(1, 200))
def test_coverage_keeps_its_bounds(experts, active, skew, tokens):
    active = min(active, experts)
    found = coverage(experts, active, tokens, skew)
    assert active * (1 - 1e-9) <= found <= experts * (1 + 1e-9)
    assert found <= coverage(experts, active, tokens) * (1 + 1e-9)  # popular experts are shared: fewer are touched


def test_popular_experts_are_counted_one_by_one():
    """8 experts, 2 active, popularity as 1 / rank^.5: p_e = 2 e^-.5 / sum, and 1 - (1 - p_e)^5 of each."""
    weights = [rank**-0.5 for rank in range(1, 9)]
    touched = 0.0
    for weight in weights:
        touched += 1 - (1 - 2 * weight / sum(weights)) ** 5
    assert coverage(8, 2, 5, 0.5) == pytest.approx(touched)
    assert touched < coverage(8, 2, 5) - 0.05


def test_correlated_tokens_touch_fewer_experts():
    shape = model("Qwen3-30B-A3B")
    alone = efficiency("H100 SXM")
    one, all_alike = (
        Roofline(shape, "h100", efficiency=alone),
        Roofline(shape, "h100", efficiency=replace(alone, rho=0.0)),
    )
    assert one.seconds(1, batch=4) == all_alike.seconds(1, batch=4)
    assert one.breakdown(4, batch=4)["mlp"] > 1.5 * all_alike.breakdown(4, batch=4)["mlp"]
    assert all_alike.breakdown(4, batch=4)["mlp"] == pytest.approx(all_alike.breakdown(1, batch=4)["mlp"], rel=0.02)


def test_a_prompt_whose_tokens_agree_reads_few_experts():
    shape, alone = model("Qwen3-30B-A3B"), efficiency("H100 SXM")
    alike = Roofline(shape, "h100", efficiency=replace(alone, rho=0.0)).prefill(100)
    assert Roofline(shape, "h100", efficiency=alone).prefill(100) > 2 * alike


def test_a_captured_graph_runs_its_padding_too():
    """9 tokens run in the graph of 16: products and all-reduces as of 16, the caches of 9."""
    target = Roofline("Llama-3.1-70B", "h100", tp=4)
    nine, sixteen, more = (target.breakdown(1, batch=batch, context=1000) for batch in (9, 16, 17))
    for part in ("attention", "mlp", "allreduce"):
        assert nine[part] == sixteen[part] < more[part]
    assert nine["kv"] < sixteen["kv"]


def test_choosing_a_token_moves_its_logits():
    """64 x 4 positions of 128,256 logits, 10 bytes each, over 3.35 TB/s."""
    part = Roofline("Llama-3.1-70B", "h100", tp=4).breakdown(4, batch=64)["sampling"]
    assert part == pytest.approx(64 * 4 * 128256 * 10 / 3.35e12)


def bare(peak=math.inf, **others):
    """An efficiency of nothing but bandwidth and FLOP at their peaks."""
    fixed = dict.fromkeys(("kernels", "host", "per_sequence", "eager", "sampled"), 0.0)
    return Efficiency(
        Product(1.0, 1.0), Product(1.0, 1.0), **(fixed | {"sharpness": peak, "kv_bandwidth": 1.0} | others)
    )


@given(
    st.sampled_from([name for name, shape in models().items() if not shape.mla]),
    st.floats(0.5, 4),
    st.integers(1, 4096),
)
def test_bandwidth_divides_memory_bound_time(name, factor, context):
    device = gpu("H200 SXM")
    faster = replace(device, bandwidth=device.bandwidth * factor)
    slow, fast = (Roofline(name, which, efficiency=bare()).seconds(1, context=context) for which in (device, faster))
    assert slow / fast == pytest.approx(factor, rel=1e-9)  # not with MLA: 128 heads share a latent, which costs FLOP


@given(st.floats(0.5, 4))
def test_flops_divide_compute_bound_time(factor):
    device = gpu("H100 SXM")
    faster = replace(device, bf16=device.bf16 * factor)
    slow, fast = (
        Roofline("Llama-3.1-8B", which, efficiency=bare(capture=0)).prefill(8192) for which in (device, faster)
    )
    assert slow / fast == pytest.approx(factor, rel=0.02)  # one prompt's output matrix stays bound by memory


def test_a_plain_step_is_its_bytes():
    shape = model("Llama-3.1-70B")
    step = Roofline(shape, "h100", tp=4, efficiency=bare()).seconds(1, batch=8, context=1000)
    read = 2 * (shape.parameters - shape.head_parameters) + 8 * 1000 * shape.kv_bytes()  # the embedding is looked up
    assert step == pytest.approx(read / (4 * 3.35e12), rel=1e-9)


def test_the_knee_is_where_flops_meet_bytes():
    """F(bf16) 2 / (2 BW) = 295.22 tokens on an H100 at its peaks: below it v = 1, above it v grows as the tokens."""
    target = Roofline("Llama-3.1-70B", "h100", efficiency=bare(capture=0))
    mlp = [target.breakdown(n)["mlp"] for n in (1, 295, 296, 592)]
    assert mlp[0] == mlp[1] < mlp[2]
    assert mlp[3] / mlp[0] == pytest.approx(592 / 295.22, rel=1e-4)


def test_cached_keys_are_read_once_however_many_tokens_are_new():
    target = Roofline("Llama-3.1-8B", "h100")
    kv = [target.breakdown(n, batch=8, context=4000)["kv"] for n in (1, 2, 5, 9)]
    assert kv == [kv[0]] * 4
    assert target.breakdown(1, batch=16, context=4000)["kv"] > 1.5 * kv[0]


def test_verification_needs_logits_at_every_position_and_a_prefill_at_one():
    target = Roofline("Llama-3.1-8B", "h100", efficiency=bare())
    assert target.breakdown(512)["lm_head"] > 1.7 * target.breakdown(1)["lm_head"]
    verify, prefill = target.seconds(2048), target.prefill(2048)
    head = 2 * 2048 * target.shape.head_parameters / 989e12
    assert verify - prefill == pytest.approx(head - 2 * target.shape.head_parameters / 3.35e12, rel=1e-6)


def test_a_mixed_iteration_reads_the_weights_once():
    target = Roofline("Llama-3.1-70B", "h100", tp=4)
    step, prefill = target.seconds(1, batch=32, context=2000), target.prefill(512)
    both = target.mixed(1, batch=32, context=2000, tokens=512)
    assert max(step, prefill) < both < step + prefill - 0.5 * target.breakdown(1)["mlp"]


def test_tokens_are_padded_to_captured_sizes():
    counts = np.array([1, 2, 3, 4, 5, 8, 9, 250, 256, 257, 512, 513])
    assert padded(counts, 512).tolist() == [1, 2, 4, 4, 8, 8, 16, 256, 256, 272, 512, 513]
    assert padded(np.array([17, 20]), 20).tolist() == [20, 20]


def test_steps_are_a_staircase_with_a_cliff():
    """Within one captured size nothing changes but the KV; beyond the last the small model waits for launches."""
    target = Roofline("Qwen3-1.7B", "h100")
    inside = target.seconds(1, batch=np.arange(9, 17))
    assert np.ptp(inside) < 2e-5
    assert target.seconds(1, batch=513) - target.seconds(1, batch=512) > 1e-3
    assert target.seconds(1, batch=513) == pytest.approx(28 * 0.29e-3 + 1.2e-3, rel=0.01)


def test_parts_add_up_and_keep_the_shape_of_arrays():
    target = (
        Roofline("gpt-oss-120b", "h200", tp=2, weights="mxfp4")
        if False
        else Roofline("gpt-oss-120b", "b200", weights="mxfp4")
    )
    batch, context = np.arange(1, 65)[:, None], np.array([0, 500, 4000])
    parts = target.breakdown(3, batch=batch, context=context)
    total = target.seconds(3, batch=batch, context=context)
    assert total.shape == (64, 3)
    assert total == pytest.approx(sum(np.broadcast_to(part, (64, 3)) for part in parts.values()))
    assert total[7, 1] == pytest.approx(target.seconds(3, batch=8, context=500))


@given(st.sampled_from(sorted(models())), st.integers(1, 9), st.integers(1, 64), st.integers(0, 8192))
def test_more_work_never_takes_less(name, n, batch, context):
    target = Roofline(name, "b200")
    here = target.seconds(n, batch=batch, context=context)
    assert 0 < here <= target.seconds(n + 1, batch=batch, context=context)
    assert here <= target.seconds(n, batch=batch + 1, context=context)
    assert here <= target.seconds(n, batch=batch, context=context + 100)


def test_a_sparse_cache_drafts_for_itself():
    """Self-speculation on 100k tokens: the same weights, the cache cut to 512; it pays where KV is most of a step."""
    shape = model("Llama-3.1-8B")
    target = Roofline(shape, "h100", tp=8)
    cost = Pair(target, Roofline(shape.windowed(512), "h100", tp=8).drafting())
    assert best_k(0.85, cost, k_max=8, batch=32, context=100_000).speedup > 1.6
    assert best_k(0.85, cost, k_max=8, batch=32, context=500).speedup < 1.1  # the host alone drafts in less


def test_lookup_is_a_share_of_the_verification():
    target = Roofline("Llama-3.1-8B", "h100")
    cost = Pair(target, Share(target, 0.006), one_pass=True)
    assert speedup(0.5, 3, cost) == pytest.approx(
        1.875 * target.seconds(1) / (target.seconds(4) + 0.006 * target.seconds(3))
    )


def test_a_slow_link_is_most_of_a_step():
    pcie = Roofline("Llama-3.1-70B", "l40s", tp=8).breakdown(1, batch=64)
    assert pcie["allreduce"] > sum(pcie.values()) / 2


def test_weights_without_units_are_multiplied_in_bf16():
    """An H100 has no fp4: gpt-oss reads a quarter of the bytes and multiplies as fast as bf16."""
    own = bare(capture=0)
    narrow, wide = (Roofline("gpt-oss-20b", "h100", weights=name, efficiency=own) for name in ("mxfp4", "bf16"))
    assert narrow.seconds(1) < 0.6 * wide.seconds(1)
    assert narrow.breakdown(8192)["mlp"] == pytest.approx(wide.breakdown(8192)["mlp"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Roofline("Llama-3.1-70B", "h100", tp=3), "tp: found 3, expected a divisor of the 64 heads"),
        (lambda: Roofline("Llama-3.1-8B", "h100", tp=0), "tp: found 0"),
        (lambda: Roofline("Llama-3.1-8B", "h100", weights="fp7"), "precision: found 'fp7'"),
        (
            lambda: Roofline("Llama-3.1-8B", "h1000"),
            "gpu: found 'h1000', expected a device of the catalogue, like H100",
        ),
        (
            lambda: Roofline("Llama-3.1-80B", "h100"),
            "model: found 'Llama-3.1-80B', expected a model of the catalogue, like Llama-3.1",
        ),
        (lambda: Roofline("Llama-3.1-8B", "h100").seconds(0), "n: found 0"),
        (lambda: Roofline("Llama-3.1-8B", "h100").seconds(1, batch=0), "batch: found 0"),
        (lambda: efficiency("h100", engine="vlm"), "engine: found 'vlm', expected one of vllm"),
    ],
)
def test_what_cannot_be_timed_is_said_in_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as found:
        wrong()
    assert "\n" not in str(found.value)


def kernels(kind):
    text = (resources.files("specmath") / "data" / "kernels.csv").read_text()
    return [row for row in csv.DictReader(text.splitlines()) if row["kind"] == kind]


def test_products_against_kernels_that_the_reduction_never_saw():
    """8192 x 8192 at up to 128 tokens, nine sets of kernels: the times follow from two other sizes of matrix."""
    errors = []
    for row in kernels("gemm_latency"):
        tokens, form = int(row["size"]), {"bf16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}[row["precision"]]
        if tokens > 128 or (row["gpu"], tokens) == ("L40S", 1):
            continue
        product, device = efficiency(row["gpu"], row["precision"]).product, gpu(row["gpu"])
        memory = 8192 * 8192 * form / (device.bandwidth * product.bandwidth)
        compute = 2 * 8192 * 8192 * tokens / (device.flops(row["precision"]) * product.flops)
        errors.append((product.fixed + smooth_maximum(memory, compute, 4)) * 1e6 / float(row["latency_us"]) - 1)
    assert len(errors) == 38
    assert np.median(np.abs(errors)) < 0.08


def test_allreduce_against_messages_between_its_two_ends():
    errors = [
        (e.allreduce + float(row["size"]) / e.allreduce_bandwidth) * 1e6 / float(row["latency_us"]) - 1
        for row in kernels("allreduce_graph")
        for e in [efficiency(row["gpu"], tp=int(row["gpus"]))]
    ]
    assert np.median(np.abs(errors)) < 0.15


def test_reductions_that_were_not_measured_are_those_of_a_link_of_their_speed():
    amd = gpu("MI300X")
    full, half, measured = (
        efficiency(device, tp=8) for device in (amd, replace(amd, link=amd.link / 2), gpu("H100 SXM"))
    )
    assert full.allreduce_bandwidth == pytest.approx(2 * half.allreduce_bandwidth)
    assert full.allreduce_bandwidth / measured.allreduce_bandwidth == pytest.approx(amd.link / gpu("H100 SXM").link)
    assert full.allreduce == half.allreduce == measured.allreduce
    assert efficiency("A10G", tp=4).allreduce_bandwidth == efficiency("L40S", tp=4).allreduce_bandwidth


def test_every_number_says_where_it_is_from():
    known, unknown = efficiency("H100 SXM"), efficiency("MI300X")
    assert known.origin("product")[0] == known.origin("attention")[0] == "measured"
    assert known.origin("host")[0] == unknown.origin("product")[0] == "assumed"
    assert Roofline("Llama-3.1-8B", "h100").provenance == "assumed"
    assert not Roofline("DeepSeek-V3", "h200", tp=8, weights="fp8").calibrated


@pytest.mark.parametrize("name", sorted(gpus()))
def test_every_device_has_times(name):
    step = Roofline("Llama-3.2-1B", name).seconds(1, context=1000)
    assert 2.4e9 / gpu(name).bandwidth < step < 2.4e9 / gpu(name).bandwidth * 1.7 + 5e-3
