"""The chosen matrix products give what F.linear gives, are the fastest by the clock, and are chosen once."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny import llama
from validate import products
from validate.loading import early
from validate.model import Model
from validate.models import Models, Settings
from validate.products import LINEAR, MANY, PACKED, ROWS, WAYS, Choice, Product, choose, chosen, timed
from validate.sampler import Sampler

MACHINE = {"processor": "one", "threads": 1}
FLIPPED = Choice("flipped")


class FakeTime:
    """A clock that only the products move: so many seconds a call, by way and rows."""

    def __init__(self, monkeypatch, cost):
        self.now, self.calls, self.cost = 0.0, 0, cost
        for name, way in WAYS.items():
            monkeypatch.setitem(products.WAYS, name, self.slowed(name, way))

    def slowed(self, name, way):
        def call(x, weight, bias):
            self.now += self.cost(name, len(x))
            self.calls += 1
            return way(x, weight, bias)

        return call

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECMATH_CACHE", str(tmp_path))
    monkeypatch.setattr(products, "SAMPLE", 2**12)
    return tmp_path


@pytest.fixture
def fast(monkeypatch):
    """Packed as the fastest, from 1 row to MANY."""
    return FakeTime(monkeypatch, lambda way, rows: {"linear": 3.0, "flipped": 2.0, "packed": 1.0}[way])


@pytest.fixture
def flipped(monkeypatch):
    """Flipped as the fastest for at most 4 rows."""
    return FakeTime(monkeypatch, lambda way, rows: 1.0 if way == "flipped" and rows <= 4 else 3.0)


def network(dtype=torch.float32, **options):
    return llama(vocabulary=40, width=32, **options).network.to(dtype)


def given(found):
    """The layers of a network that have a product."""
    return {name for name, layer in found.named_modules() if isinstance(layer.forward, Product)}


def weights(found):
    return [layer.weight.is_mkldnn for layer in found.modules() if type(layer) is torch.nn.Linear]


def picked(*asked):
    return chosen(timed(*asked))


needs_packing = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_every_product_is_the_linear_one_to_rounding_for_any_rows(way, bias, dtype):
    if way == "packed" and (dtype == torch.float64 or not torch.backends.mkldnn.is_available()):
        pytest.skip("no packing of this here")
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 80, bias=bias).to(dtype)
    plain = [(x, layer(x)) for x in inputs(dtype)]
    products._give(layer, tuple(Choice(way, 5 if rows < 5 else 0) for rows in ROWS))
    assert (way == "linear" and isinstance(layer.forward, Product)) or given(layer) == {""}
    for x, expected in plain:
        found = layer(x)
        assert found.shape == expected.shape
        assert found.is_contiguous()
        assert torch.allclose(found, expected, rtol=0, atol=50 * torch.finfo(dtype).eps)
        if len(x.shape) > 1:
            assert not torch.allclose(layer(x.flip(-1)), expected, atol=0.01)


def inputs(dtype):
    """Rows below, at and above those measured, nested, alone, and not contiguous."""
    shapes = [(n, 48) for n in (1, 2, 3, 7, 33, 34, 130)] + [(1, 5, 48), (3, 2, 48), (48,)]
    return [torch.randn(shape, dtype=dtype) for shape in shapes] + [torch.randn(48, 6, dtype=dtype).T]


@needs_packing
@pytest.mark.parametrize("best", WAYS)
def test_the_planted_fastest_is_chosen_whichever_it_is(monkeypatch, best):
    clock = FakeTime(monkeypatch, lambda way, rows: 1.0 if way == best else 2.0)
    assert set(picked((16, 8), torch.float32, clock)) == {Choice(best)}


def test_a_planted_slow_product_is_never_chosen(monkeypatch):
    clock = FakeTime(monkeypatch, lambda way, rows: 1.0 if way == "linear" else 1.5)
    assert picked((16, 8), torch.float32, clock) == (LINEAR,) * len(ROWS)


def test_more_rows_are_given_where_they_take_less(monkeypatch):
    clock = FakeTime(monkeypatch, lambda way, rows: 1.0 if way == "flipped" and rows == 4 else 3.0)
    assert picked((16, 8), torch.float64, clock)[:5] == (*[Choice("flipped", 4)] * 3, FLIPPED, LINEAR)


def test_a_disturbed_timing_does_not_decide(monkeypatch):
    rng = np.random.default_rng(0)
    disturbed = np.where(rng.random(10**4) < 0.3, 50 * rng.random(10**4), 1.0)
    cost = {"linear": 3e-3, "flipped": 2e-3, "packed": 4e-3}
    clock = FakeTime(monkeypatch, lambda way, rows: cost[way] * max(1.0, disturbed[clock.calls]))
    assert {choice.way for choice in picked((16, 8), torch.float32, clock)} == {"flipped"}
    monkeypatch.setattr(products, "_settled", lambda times: len(times) == 1)
    assert {choice.way for choice in picked((16, 8), torch.float32, clock)} != {"flipped"}


def times(**seconds):
    """Of every way over all rows."""
    known = {LINEAR: seconds["linear"], FLIPPED: seconds["flipped"], PACKED: seconds["packed"]}
    return {rows: dict(known) for rows in (*ROWS, MANY)}


def test_a_challenger_has_to_win_by_the_margin():
    assert set(chosen(times(linear=1.0, flipped=0.97, packed=0.96))) == {LINEAR}
    assert set(chosen(times(linear=1.0, flipped=0.94, packed=0.92))) == {FLIPPED}
    assert set(chosen(times(linear=1.0, flipped=0.94, packed=0.88))) == {PACKED}


@pytest.mark.parametrize("rows", [1, MANY])
def test_nothing_is_packed_that_slows_plain_decoding_or_many_rows(rows):
    found = times(linear=1.0, flipped=1.0, packed=0.5)
    assert set(chosen(found)) == {PACKED}
    found[rows][PACKED] = 1.2
    assert set(chosen(found)) == {LINEAR}


@needs_packing
def test_a_network_says_the_same_and_keeps_one_copy_of_its_weights(fast):
    plain, chosen_for = network(), network()
    choose(chosen_for, MACHINE, least=0, clock=fast)
    assert all(weights(chosen_for))
    assert not any(weights(plain))
    ids = torch.randint(40, (2, 7))
    with torch.inference_mode():
        assert torch.allclose(chosen_for(ids).logits, plain(ids).logits, atol=1e-4)


def test_a_float64_network_says_the_same(flipped):
    plain, chosen_for = network(torch.float64), network(torch.float64)
    choose(chosen_for, MACHINE, least=0, clock=flipped)
    assert len(given(chosen_for)) == 15
    for n in (1, 3, 6):
        ids = torch.randint(40, (1, n))
        assert torch.allclose(chosen_for(ids).logits, plain(ids).logits, rtol=0, atol=1e-11)


def test_an_early_exit_shares_the_products_made_before_or_after_it(flipped):
    target = llama(vocabulary=40, width=32)
    before = early(target, 1)
    choose(target.network, MACHINE, least=0, clock=flipped)
    after = early(target, 1)
    assert given(before.network) == given(after.network)
    assert len(given(before.network)) == 8
    head = target.network.lm_head.forward
    choose(before.network, MACHINE, least=0, clock=flipped)
    assert target.network.lm_head.forward is head
    found = [Model(draft, capacity=8).forward([1, 2, 3]) for draft in (before, after)]
    assert torch.equal(*found)


@needs_packing
def test_tied_embeddings_keep_their_own_layout(fast):
    tied = network()
    tied.lm_head.weight = tied.model.embed_tokens.weight
    choose(tied, MACHINE, least=0, clock=fast)
    assert tied.lm_head.weight.is_mkldnn
    assert not tied.model.embed_tokens.weight.is_mkldnn
    assert tied(torch.tensor([[1, 2]])).logits.shape == (1, 2, 40)


def test_small_layers_are_left_alone(fast, cache):
    small = network()
    choose(small, MACHINE, clock=fast)
    assert not given(small)
    assert fast.calls == 0
    assert not list(cache.iterdir())


def test_the_choices_are_measured_once_and_read_from_then_on(flipped, cache):
    first, second = network(), network()
    choose(first, MACHINE, least=0, clock=flipped)
    [kept] = cache.iterdir()
    record = json.loads(kept.read_text())
    assert (record["format"], record["version"], record["key"]["threads"]) == ("specmath.products", 1, 1)
    assert set(record["choices"]) == {"32x32", "16x32", "40x32"}
    calls = flipped.calls
    choose(second, MACHINE, least=0, clock=flipped)
    assert flipped.calls == calls
    assert given(second) == given(first)


def test_what_was_measured_while_others_held_the_cores_is_not_kept(monkeypatch, cache):
    clock = FakeTime(monkeypatch, lambda way, rows: 1.0 if way == "linear" and rows == 1 else 50.0)
    choose(network(), MACHINE, least=0, clock=clock)
    assert clock.calls
    assert not list(cache.iterdir())


def test_a_new_shape_is_added_to_what_is_known(flipped, cache):
    choose(network(), MACHINE, least=0, clock=flipped)
    choose(llama(vocabulary=48, width=32).network, MACHINE, least=0, clock=flipped)
    [kept] = cache.iterdir()
    assert set(json.loads(kept.read_text())["choices"]) == {"32x32", "16x32", "40x32", "48x32"}


@pytest.mark.parametrize("changed", [{"threads": 2}, {"processor": "another"}])
def test_another_machine_or_number_of_threads_is_measured_anew(flipped, cache, changed):
    choose(network(), MACHINE, least=0, clock=flipped)
    calls = flipped.calls
    choose(network(), MACHINE | changed, least=0, clock=flipped)
    assert flipped.calls == 2 * calls
    assert len(list(cache.iterdir())) == 2


def foreign(record):
    return record | {"key": record["key"] | {"processor": "another"}}


DAMAGE = {
    "torn": lambda record: json.dumps(record)[:-9],
    "no object": lambda record: "[]",
    "another version": lambda record: json.dumps(record | {"version": 2}),
    "another machine": lambda record: json.dumps(foreign(record)),
    "unknown way": lambda record: json.dumps(record).replace("flipped", "guessed"),
    "too few rows": lambda record: json.dumps(record | {"choices": {"32x32": [["linear", 0]]}}),
    "half packed": lambda record: json.dumps(record).replace("flipped", "packed"),
    "no shape": lambda record: json.dumps(record).replace("32x32", "32"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_file_is_measured_anew_and_replaced(flipped, cache, damage):
    choose(network(), MACHINE, least=0, clock=flipped)
    [kept], calls = list(cache.iterdir()), flipped.calls
    whole = kept.read_text()
    kept.write_text(DAMAGE[damage](json.loads(whole)))
    choose(network(), MACHINE, least=0, clock=flipped)
    assert flipped.calls == 2 * calls
    assert json.loads(kept.read_text()) == json.loads(whole)


def test_a_cache_that_cannot_be_written_is_no_error(flipped, cache, monkeypatch):
    (cache / "file").write_text("")
    monkeypatch.setenv("SPECMATH_CACHE", str(cache / "file"))
    found = network()
    choose(found, MACHINE, least=0, clock=flipped)
    assert given(found)


def test_on_a_device_nothing_changes(fast):
    elsewhere = network().to("meta")
    choose(elsewhere, MACHINE, least=0, clock=fast)
    assert not given(elsewhere)
    assert fast.calls == 0


def settings(**changed):
    common = {"target": "t", "drafts": ("early:1",), "ks": (2,), "sampler": Sampler(), "budget": 4, "seed": 0}
    return Settings(**common | {"device": "cpu", "dtype": "float32"} | changed)


@pytest.mark.parametrize("products_chosen", [True, False])
def test_models_choose_unless_told_not_to_and_the_record_says_so(monkeypatch, products_chosen):
    seen = []
    monkeypatch.setattr("validate.models.load", lambda name, **place: llama())
    monkeypatch.setattr("validate.models.choose", lambda found, machine: seen.append((found, machine)))
    asked = settings(products=products_chosen)
    models = Models(asked)
    networks = [models.target.network, models.drafts["early:1"].network]
    assert seen == ([(found, asked.machine) for found in networks] if products_chosen else [])
    assert ("products" in asked.machine) is products_chosen


def test_the_record_of_a_gpu_is_as_before(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(get_device_name=lambda device: "a GPU"))
    assert "products" not in settings(device="cuda").machine
