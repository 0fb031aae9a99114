"""Fixed shapes: the same tokens as forwards one by one. What a GPU would capture is what runs here, uncaptured."""

import gc
import weakref
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import array_api_compat.torch
import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from specmath import sampling
from tests import tiny
from tests.toys import decoder_of, other
from tests.written import HOST
from validate import graphs
from validate.arrays import Arrays
from validate.attention import grouped, share_heads
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Lookup, ModelDraft
from validate.graphs import WARM_UPS, Graphs
from validate.loading import early
from validate.model import Model
from validate.rows import Request
from validate.sampler import Sampler

SAMPLED, TRUNCATED, GREEDY = Sampler(temperature=1.0), Sampler(0.7, top_k=5, top_p=0.9), Sampler()
VOCABULARY, CAPACITY, K = 12, 64, 3


def pair(dtype="float64"):
    made = [tiny.llama(vocabulary=VOCABULARY, seed=1, sharpness=10, noise=noise) for noise in (0, 0.2)]
    for loaded in made:
        loaded.network.to(getattr(torch, dtype))
    return made


def requests(samplers=(SAMPLED,)):
    prompts = [[1, 2, 3][: 1 + i % 3] + [i % VOCABULARY] * (i % 4) for i in range(12)]
    return [Request(p, 4 + 3 * (i % 5), i, samplers[i % len(samplers)]) for i, p in enumerate(prompts)]


def decoder(draft, *, rows=1, window=None, arrays=HOST, device="cpu", dtype="float64"):
    target, other = pair(dtype)
    for loaded in (target, other):
        loaded.network.to(device)
    shaped = {"capacity": CAPACITY, "rows": rows, "window": window}
    model = Model(target, **shaped)
    drafters = {
        "model": lambda: ModelDraft(arrays, Model(other, **shaped), SAMPLED),
        "early": lambda: ModelDraft(arrays, Model(early(target, 1), **shaped, borrowed=model), SAMPLED),
        "lookup": lambda: Lookup(arrays, VOCABULARY, longest=2, shortest=1),
    }
    return Decoder(model, drafters[draft](), SAMPLED, Clock(device), frozenset([4]), K)


def texts(made, asked):
    return {number: row.tokens for number, row in made.decode(asked)}


@pytest.mark.parametrize("samplers", [(SAMPLED,), (GREEDY,), (SAMPLED, GREEDY, TRUNCATED)], ids=["1", "0", "mixed"])
@pytest.mark.parametrize("draft", ["model", "early", "lookup"])
@pytest.mark.parametrize("arrays", [HOST, Arrays(array_api_compat.torch, "cpu")], ids=["numpy", "torch"])
def test_fixed_shapes_give_the_tokens_of_forwards_one_by_one(arrays, draft, samplers):
    asked = requests(samplers)
    expected = texts(decoder(draft), asked)
    for rows, window in ((1, CAPACITY), (3, 16), (8, 16)):
        assert texts(decoder(draft, rows=rows, window=window, arrays=arrays), asked) == expected


def test_the_drafting_loop_is_one_function_per_batch_depth_and_window():
    made = decoder("model", rows=4, window=CAPACITY, arrays=Arrays(array_api_compat.torch, "cpu"))
    asked = [Request([1, 2, 3], 12, seed) for seed in range(4)]
    texts(made, asked)
    captured = {key[0] for key in made.drafter._model.graphs._known}
    assert captured <= {(GREEDY, depth) for depth in range(1, K + 1)}
    texts(made, asked)
    assert {key[0] for key in made.drafter._model.graphs._known} == captured


def test_a_borrowed_cache_is_the_targets_own_and_is_never_prefilled():
    made = decoder("early")
    draft = made.drafter._model
    assert draft.borrows
    assert draft._stores[0] is made.target._stores[0]
    fed = []
    forward = Model.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Model, "forward", lambda self, tokens, **o: fed.append((self, len(tokens))) or forward(self, tokens, **o)
        )
        texts(made, [Request([1, 2, 3, 5, 6], 10, 0)])
    assert {n for model, n in fed if model is draft} == {1}


def test_after_a_round_in_a_borrowed_cache_the_next_logits_are_those_of_a_fresh_prefill():
    made = decoder("early")
    generation = made.start([1, 2, 3], budget=30, seed=3)
    for _ in generation.rounds():
        committed = [1, 2, 3, *generation.tokens]
        fresh = made.target._network(torch.tensor([committed])).logits[0, -1]
        torch.testing.assert_close(made.target.forward(committed[-1:])[-1], fresh)
        made.target.rewind(len(committed) - 1)


def test_a_buffer_holds_the_latest_inputs_of_its_shape():
    graphs = Graphs()
    for value in (1.0, 2.0):
        assert graphs("double", lambda x: 2 * x, torch.tensor([value])).tolist() == [2 * value]
    assert len(graphs) == 1


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 3])
def test_shared_heads_attend_as_the_library_has_it(groups, n):
    config = {"vocabulary": 8, "seed": 3, "width": 32}
    plain, shared = tiny.llama(**config), tiny.llama(**config)
    for loaded in (plain, shared):
        attention = loaded.network.model.layers[0].self_attn
        assert attention.num_key_value_groups == 2
    share_heads(shared.network)
    assert shared.network.config._attn_implementation == "grouped"
    models = [Model(loaded, capacity=32, rows=groups) for loaded in (plain, shared)]
    tokens = [[(5 * r + i) % 8 for i in range(6)] for r in range(groups)]
    for model in models:
        model.forward(tokens)
        for slot in range(groups):
            model.rewind(6 - slot % 3, slot)
    following = [[(r + i) % 8 for i in range(n)] for r in range(groups)]
    torch.testing.assert_close(models[0].forward(following), models[1].forward(following))


DEVICE = Arrays(array_api_compat.torch, "cpu")


@pytest.fixture
def as_on_a_device(monkeypatch):
    """No row is looked at before its round is over, as where memory is a device's own."""
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)


@pytest.mark.parametrize("window", [None, 16])
def test_on_a_device_too_a_draft_that_gives_no_numbers_is_named(as_on_a_device, window):
    """Its tokens are -1 then, which an embedding would not survive there."""
    made = decoder("model", rows=2, window=window, arrays=DEVICE)
    with torch.no_grad():
        made.drafter._model._network.lm_head.weight[3] = torch.nan
    made.drafter.name = "the draft"
    with pytest.raises(ValueError, match="the logits of the draft hold NaN or infinity"):
        texts(made, [Request([1, 2, 3], 12, seed, SAMPLED) for seed in range(2)])


class Queued(TorchDispatchMode):
    """Fails where a value is asked for, or copied from the host, or where a shape hangs on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero", "equal", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(func.name().startswith(f"aten::{name}") for name in self.WAITS), func
        if func.name().startswith("aten::index"):
            picked = args[1] if isinstance(args[1], list | tuple) else ()
            assert all(index is None or index.dtype != torch.bool for index in picked), func
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("sampler", [SAMPLED, GREEDY, TRUNCATED, Sampler(0.9, min_p=0.1)])
@pytest.mark.parametrize("draft", ["model", "early"])
def test_nothing_in_a_captured_function_waits_for_the_device(as_on_a_device, monkeypatch, draft, sampler):
    called, call = [], graphs._Captured.__call__

    def watched(self, function, *inputs):
        def queued(*given):
            called.append(len(given))
            with Queued():
                return function(*given)

        return call(self, queued, *inputs)

    monkeypatch.setattr(graphs._Captured, "__call__", watched)
    texts(decoder(draft, rows=4, window=16, arrays=DEVICE), requests((sampler,)))
    assert set(called) == {2, 3}


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x[x > 0],
        lambda x: x * float(x.sum()),
        lambda x: x + torch.tensor(1.0),
        lambda x: x if x.sum() > 0 else -x,
    ],
    ids=["mask", "number", "copy", "branch"],
)
def test_what_waits_for_a_device_is_noticed(waits):
    with pytest.raises(AssertionError, match="aten"), Queued():
        waits(torch.ones(3))


def test_slots_that_fill_up_a_shape_keep_their_text_and_widen_nothing():
    model = Model(pair()[0], capacity=CAPACITY, rows=4, window=16)
    model.forward([5] * 40, slot=3)
    before = model._stores[0].keys[3, :, :CAPACITY].clone()
    model.forward([[1], [2], [3]])
    [(*_, stop)] = model.graphs._known
    assert stop == 16
    assert torch.equal(model._stores[0].keys[3, :, :CAPACITY], before)
    assert model.lengths == [1, 1, 1, 40]


def test_a_shape_is_not_for_slots_further_on():
    fixed, free = (Model(pair()[0], capacity=CAPACITY, rows=3, window=window) for window in (16, None))
    for model in (fixed, free):
        for slot in range(3):
            model.forward([1, 2, 3, 5][: slot + 2], slot=slot)
    tokens = [[7, 8], [9, 1]]
    torch.testing.assert_close(fixed.forward(tokens, slot=1), free.forward(tokens, slot=1))
    assert fixed.lengths == free.lengths == [2, 5, 6]


def test_a_network_that_makes_its_own_masks_is_decoded_without_fixed_shapes():
    target = other("gpt_neo")
    made, expected = (
        decoder_of(target, ModelDraft(HOST, Model(target, capacity=CAPACITY, window=window), GREEDY), kind=kind)
        for window, kind in ((16, partial(Model, window=16)), (None, Model))
    )
    asked = [Request([1, 2, 3], 8)]
    assert texts(made, asked) == texts(expected, asked)


@pytest.mark.parametrize("shape", [(2, 3), (2, 0)])
def test_numbers_are_sent_to_a_gpu_from_memory_that_it_reads_by_itself(monkeypatch, shape):
    """Anything else is waited for, and with it all that was queued before."""
    sent, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: sent.append("pinned") or self)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, **how: sent.append((str(device), how)) or to(self, "cpu")
    )
    coins = torch.rand(shape, dtype=torch.float64)
    found = Arrays(array_api_compat.torch, "cuda:1").uniforms(coins.numpy())
    assert torch.equal(found, coins)
    assert sent == (["pinned", ("cuda:1", {"non_blocking": True})] if shape[1] else [("cuda:1", {})])


@pytest.mark.parametrize(("n", "heads"), [(3, 2), (1, 2), (3, 1)])
def test_keys_and_values_reach_the_kernel_as_the_cache_has_them(monkeypatch, n, heads):
    """One head for the queries of several, of another width than theirs and under a scale of its own."""
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, n, 8), torch.randn(2, heads, 6, 8), torch.randn(2, heads, 6, 5)
    mask = (torch.rand(2, 1, n, 6) > 0.3) | (torch.arange(6) == 0)
    module = SimpleNamespace(num_key_value_groups=4 // heads, is_causal=True)
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    kernel, given = torch.nn.functional.scaled_dot_product_attention, []

    def watched(query, key, value, **options):
        given.append((key.data_ptr(), value.data_ptr()))
        return kernel(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    found, _ = grouped(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(found, expected)
    assert given == [(key.data_ptr(), value.data_ptr())]


def test_what_is_no_plain_attention_is_left_to_the_library():
    query, key, bias = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 4, 3, 6)
    given = SimpleNamespace(num_key_value_groups=2), query, key, key, torch.ones(1, 1, 3, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="does not support `softcap`"):
        grouped(*given, softcap=30.0)
    expected, _ = sdpa_attention_forward(*given, position_bias=bias)
    torch.testing.assert_close(grouped(*given, position_bias=bias)[0], expected)


def test_a_model_that_is_done_with_leaves_its_memory_at_once():
    """Not when Python next looks for cycles: the next one may need all of it."""
    made = decoder("model", rows=2, window=16)
    texts(made, requests()[:2])
    stores = [weakref.ref(model._stores[0]) for model in (made.target, made.drafter._model)]
    gc.disable()
    try:
        del made
        assert [store() for store in stores] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", [{"capacity": 8, "rows": 2}, {"capacity": 32, "rows": 1}])
def test_a_borrowed_cache_of_another_shape_is_refused(shape):
    """Padding behind one's own capacity would land in the lender's text."""
    target, _ = pair()
    lender = Model(target, capacity=32, rows=2)
    with pytest.raises(ValueError, match=r"early:1: found \d rows of \d+ tokens, tiny-1 lends 2 rows of 32 tokens"):
        Model(early(target, 1), **shape, borrowed=lender)


class Cuda:
    """What `torch.cuda` does around a capture: which device and stream are current, and that one that fails stays."""

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(self, fails):
        self.now, self.fails, self.on = "usual stream", fails, []

    def Stream(self):
        return SimpleNamespace(wait_stream=lambda other: None)

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: None)

    def current_stream(self):
        return SimpleNamespace(wait_stream=lambda other: None, name=self.now)

    def set_stream(self, stream):
        self.now = stream.name

    @contextmanager
    def device(self, device):
        self.on.append(device)
        try:
            yield
        finally:
            self.on.pop()

    @contextmanager
    def stream(self, stream):
        assert self.on
        yield

    @contextmanager
    def graph(self, graph, *, pool, stream):
        assert self.on
        before, self.now = self.now, "stream of the capture"
        try:
            yield
        finally:
            if self.fails:
                raise RuntimeError("operation failed due to a previous error during capture")
            self.now = before


@pytest.mark.parametrize("fails", [True, False])
def test_a_capture_is_on_its_inputs_device_and_leaves_the_stream_as_it_was(monkeypatch, fails):
    cuda, calls = Cuda(fails), []

    def work(x):
        calls.append(x)
        if fails and len(calls) > WARM_UPS:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        return x

    made = graphs._Captured(work, (torch.zeros(1),), None)
    monkeypatch.setattr(torch, "cuda", cuda)
    if fails:
        with pytest.warns(UserWarning, match="no CUDA graph of this model .operation not permitted.;"):
            assert made._captured(work, None) is None
    else:
        assert made._captured(work, None) is not None
    assert cuda.now == "usual stream"
    assert not cuda.on


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("draft", ["model", "early", "lookup"])
def test_captured_graphs_on_a_gpu_give_the_tokens_of_numpy(draft):
    device = Arrays.on("cuda")
    for samplers in ((SAMPLED,), (SAMPLED, GREEDY)):
        asked = requests(samplers)
        expected = texts(decoder(draft), asked)
        made = decoder(draft, rows=4, window=16, arrays=device, device="cuda")
        assert texts(made, asked) == expected
