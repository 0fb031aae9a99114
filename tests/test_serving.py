"""The load fixed point and what goes beyond it, held against the simulation; what is refused, and planted mistakes."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath.acceptance import BetaGeometric, Geometric, HitMiss
from specmath.arrivals import Requests, lengths
from specmath.cost import Linear, Pair, Ratio, Roofline, Share, Table
from specmath.draft import Chain
from specmath.events import simulate
from specmath.finish import rounds_to_emit
from specmath.law import invert_mean
from specmath.memory import Memory
from specmath.replica import Scheduling
from specmath.serving import Overloaded, Slo, Station, Taxes, Traffic, capacity, closed_loop, goodput, steady, strain
from specmath.stay import Stay
from tests.stations import LAW, errors, seconds, served, station

TRAFFIC = Traffic(4.0, 1000, 300)
PAIR = Pair(Linear(0.015, 5e-5, 1e-8), Linear(0.001, 1e-6))
CASES = [(k, variation, load) for k in (0, 3) for variation in (1.0, 0.0) for load in (0.3, 0.6, 0.85)]


@pytest.mark.parametrize(("k", "variation", "load"), CASES)
def test_mean_latency_is_that_of_the_simulation(k, variation, load):
    result, found = served(station(k, variation=variation), load, 15_000)
    off = errors(found, result)
    assert abs(off["e2e"]) < 0.02
    assert abs(off["tpot"]) < 0.02
    assert abs(off["ttft"]) < 0.03
    assert found.itl == pytest.approx(result.itl, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "within"),
    [
        ({"prefill": 0.3, "output": 100}, 0.05),  # prefills take 80 % of the time
        ({"prefill": 0.063, "output": 300, "batch": 16}, 0.05),  # requests wait for a place
        ({"prefill": 0.0, "output": 60}, 0.02),
        ({"prefill": 0.02, "output": 1000, "batch": 64}, 0.05),
    ],
)
@pytest.mark.parametrize("k", [0, 3])
def test_it_holds_where_prefills_or_the_waiting_room_dominate(shape, within, k):
    for variation in (1.0, 0.0):
        result, found = served(station(k, variation=variation, **shape), 0.8, 12_000)
        assert abs(errors(found, result)["e2e"]) < within


REAL = {  # target, draft, tp, prompt, output, error: prefills take 6 % to 94 % of the time of a full replica
    "chat": ("Llama-3.1-70B", "Llama-3.2-1B", 4, 1000, 300, 0.03),
    "long answers": ("Llama-3.1-8B", "Llama-3.2-1B", 1, 200, 600, 0.03),
    "full batches": ("Qwen3-32B", "Qwen3-0.6B", 2, 4000, 100, 0.05),
    "nothing but prefills": ("Llama-3.1-70B", "Llama-3.2-1B", 4, 4000, 60, 0.15),
}


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("name", REAL)
def test_it_holds_for_replicas_of_real_models_up_to_85_percent(name, k):
    target, draft, tp, prompt, output, within = REAL[name]
    cost = Pair(Roofline(target, "h100", tp=tp), Roofline(draft, "h100").drafting())
    most = min(256, Memory.of(cost.target, cost.draft).max_batch(prompt + output / 2, k))
    for variation in (1.0, 0.0):
        traffic = Traffic(1.0, prompt, output, variation=variation)
        one = Station.of(cost, LAW if k else None, k, traffic, max_batch=most)
        for load in (0.3, 0.85):
            result, found = served(one, load, 12_000)
            assert abs(errors(found, result)["e2e"]) < within


@pytest.mark.parametrize("output", [1, 2, 10])
def test_where_prefills_are_nearly_all_more_load_is_slower_and_tails_are_beyond_the_mean(output):
    """No more are bunched than have a place: else the chain would be empty as the load nears what is completed."""
    one = station(0, prefill=0.28, output=output, batch=128, variation=0.0)
    loads = [steady(one, load * one.capacity) for load in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)]
    for less, more in pairwise(loads):
        assert less.tpot <= more.tpot
        assert less.e2e < more.e2e
        assert less.e2e < less.at(0.95).e2e < more.at(0.95).e2e


def test_plain_load_formula_misses_what_the_phases_of_a_stay_explain():
    one = station(3)
    result, found = served(one, 0.8, 15_000)
    batch = one.places(found.rate)
    share = found.rate * one.prefill
    plain = one.iteration(batch) / (one.tau * (1 - share))
    assert plain < result.mean_tpot * 0.97
    assert abs(found.tpot / result.mean_tpot - 1) < 0.02


def without_bonus(one):
    mean = one.tau - 1
    return replace(one, tau=max(1.0, mean), survival=None)


def prefilled_twice(one):
    return replace(one, prefill=2 * one.prefill)


def alone(one):
    return replace(one, seconds=np.full(one.max_batch, one.seconds[0]))


@pytest.mark.parametrize("bug", [without_bonus, prefilled_twice, alone])
def test_planted_a_wrong_station_is_noticed(bug):
    one = station(3)
    result, found = served(one, 0.6, 8_000)
    wrong = steady(bug(replace(one, output=float(result.tokens.mean()))), found.rate)
    assert isinstance(wrong, Overloaded) or abs(errors(wrong, result)["e2e"]) > 0.05


def no_waiting(monkeypatch):
    monkeypatch.setattr(Stay, "wait", 0.0)


def no_residual(monkeypatch):
    monkeypatch.setattr(Stay, "residual", 0.0)


def no_stalls(monkeypatch):
    monkeypatch.setattr(Stay, "_rounds", lambda stay, mean: stay.station.rounds * stay.station.among)


@pytest.mark.parametrize(
    ("bug", "latency", "batch"), [(no_waiting, "ttft", 16), (no_residual, "ttft", 256), (no_stalls, "tpot", 256)]
)
def test_planted_a_missing_phase_is_noticed(bug, latency, batch, monkeypatch):
    one = station(0, batch=batch)
    result, found = served(one, 0.85, 8_000)
    assert abs(errors(found, result)[latency]) < 0.12
    bug(monkeypatch)
    wrong = steady(replace(one, output=float(result.tokens.mean())), found.rate)
    assert abs(errors(wrong, result)[latency]) > 0.15


def plain_model(batch, n=1, context=450, host=6e-3):
    """70B in bf16 on four H100: matrices by the 2-norm of memory and compute, caches, all-reduces, launches, host."""
    layers, hidden, heads, kv_heads, dim, inner, vocab = 80, 8192, 64, 8, 128, 28672, 128256
    gpus, bandwidth, flops = 4, 3.35e12, 989e12
    tokens = np.asarray(batch, dtype=float) * n
    attention = hidden * dim * (heads + 2 * kv_heads) + heads * dim * hidden
    matrices = (layers * attention, layers * 3 * hidden * inner, hidden * vocab)
    read = sum(np.hypot(2 * p / (gpus * bandwidth * 0.85), 2 * p * tokens / (gpus * flops * 0.78)) for p in matrices)
    cache = 4 * kv_heads * dim * context * (tokens / n) * layers / (gpus * bandwidth * 0.92)
    core = 4 * heads * dim * context * tokens * layers / (gpus * flops * 0.5)
    reduce = 2 * layers * (5e-6 + 2 * tokens * hidden / 190e9)
    return read + np.maximum(cache, core) + reduce + layers * 9 * 2.2e-6 + host


PUBLISHED = {  # requests a second: mean latency of an independent simulation, and of the plain load formula
    1: (2.57, 2.56),
    2: (2.65, 2.62),
    4: (2.81, 2.77),
    8: (3.18, 3.11),
    10: (3.40, 3.32),
    14: (3.95, 3.85),
    18: (4.65, 4.60),
}


def reference():
    """The station behind `PUBLISHED`: prompts of 230, 120 tokens out, a prefill that adds no host time of its own."""
    return Station(plain_model(np.arange(1, 257)), 1.0, float(plain_model(1, 230, 115, host=0.0)), 120)


def plain_formula(one, rate):
    """E2E = T/2 + Tp / (1 - rate Tp) + O T / (1 - rate Tp) where rate [Tp + O T(B) / B] = 1, by bisection."""
    low, high = 1e-9, float(one.max_batch)
    for _ in range(60):
        batch = (low + high) / 2
        step = float(np.interp(batch, np.arange(1, one.max_batch + 1), one.seconds))
        low, high = (batch, high) if rate * (one.prefill + one.output * step / batch) > 1 else (low, batch)
    left = 1 - rate * one.prefill
    return step / 2 + one.prefill / left + one.output * step / left, batch


def test_the_reference_numbers_of_the_plain_formula_and_of_a_simulation():
    one = reference()
    assert plain_model(np.array([1, 16, 64, 256]), context=2048, host=1e-3) * 1e3 == pytest.approx(
        [15.66, 16.70, 20.29, 37.64], abs=0.01
    )
    for rate, (simulated, formula) in PUBLISHED.items():
        assert plain_formula(one, rate)[0] == pytest.approx(formula, rel=0.01)
        assert steady(one, rate).e2e == pytest.approx(simulated, rel=0.02)
    assert plain_formula(one, 8)[1] == pytest.approx(24.9, rel=0.01)


def test_our_simulation_gives_the_reference_simulation():
    one, rng = reference(), np.random.default_rng(0)
    for rate in (4, 14):
        requests = Requests.poisson(rate, lengths(120, 20_000, rng), rng=rng)
        result = simulate(one, requests, rng=rng, scheduling=Scheduling(prefills=4)).after(0.1)
        assert result.e2e.mean() == pytest.approx(PUBLISHED[rate][0], rel=0.025)


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_in_the_limit_of_a_shared_processor_it_is_exact(load):
    pace = 1e-4
    one = Station(pace * np.arange(1, 2001), 1.0, 0.0, 10_000)
    assert one.capacity == pytest.approx(1 / (pace * 9999), rel=1e-3)
    assert steady(one, load * one.capacity).e2e == pytest.approx(pace * 9999 / (1 - load), rel=1e-3)


def test_of_a_memory_bound_step_nobody_slows_anybody():
    one = Station(np.full(4000, 0.01), 1.0, 0.0, 1001)
    found = steady(one, 50.0)
    assert found.tpot == pytest.approx(0.01, rel=1e-12)
    assert found.e2e == pytest.approx(0.01 * (1000 + 1.5), rel=1e-9)
    assert found.batch == pytest.approx(50 * 0.01 * 1001, rel=1e-6)


def test_with_one_place_and_prefills_alone_it_is_pollaczeks_queue():
    found = steady(Station([1.0], 1.0, 2.0, 1, variation=0), 0.25)
    assert found.waiting == pytest.approx(0.25 * 2**2 / (2 * (1 - 0.5)), rel=1e-6)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("output", [2, 9, 60, 400])
def test_rounds_are_the_exact_ones_of_a_finite_text(k, output):
    one = Station([0.1], LAW.block_efficiency(k), 0.0, output, survival=LAW.curve(k), variation=0)
    exact = rounds_to_emit(LAW, Chain(k), output - 1).mean
    assert one.rounds == pytest.approx(exact, rel=1e-6 if output > 50 else 0.1)


def test_rounds_of_geometric_outputs_are_the_sum_over_their_lengths():
    one = Station([0.1], LAW.block_efficiency(3), 0.0, 8, survival=LAW.curve(3))
    chances = 1 / 8 * (7 / 8) ** np.arange(250)
    rounds = [0.0] + [rounds_to_emit(LAW, Chain(3), tokens).mean for tokens in range(1, 250)]
    assert one.rounds == pytest.approx(float(chances @ rounds), rel=1e-9)


def test_an_output_of_one_token_is_its_prefill():
    found = steady(Station([0.01], 1.0, 0.5, 1), 0.4)
    assert (found.tpot, found.itl) == (0.0, 0.0)
    assert found.e2e == pytest.approx(found.ttft)


def test_the_fixed_point_is_the_smallest_batch_that_keeps_up():
    one = Station([1.0, 1.0, 4.0, 4.2, 4.3], 1.0, 0.0, 101, variation=0)
    assert one.completions[1] > 2 * one.completions[2]  # jagged: a hump at 2
    assert one.peak[0] == 2
    assert one.places(0.5 * one.completions[0] + 0.5 * one.completions[1]) == pytest.approx(1.5)
    assert one.places(one.completions[2]) < 1  # not 3, which completes no more
    assert one.places(one.completions.max() * 1.01) is None
    dense = station(0)
    rates = np.linspace(0.1, 0.99, 20) * dense.capacity
    for rate in rates:
        b = dense.places(rate)
        assert rate * (b * dense.prefill + (dense.rounds + 1) * np.interp(b, np.arange(1, 257), dense.shared)) == (
            pytest.approx(b, rel=1e-3)
        )


def test_an_overload_says_what_is_completed_and_what_binds():
    found = steady(station(0, output=400, batch=8), 100.0)
    assert found == Overloaded(100.0, station(0, output=400, batch=8).capacity, "max_batch")
    assert steady(station(0, prefill=0.5), 100.0).binding == "prefill"
    assert steady(Station(0.01 * np.arange(1, 9), 1.0, 0.0, 100), 100.0).binding == "iteration"
    cliff = np.append(np.full(64, 0.02), np.full(8, 0.08))
    assert steady(Station(cliff, 1.0, 0.0, 100), 100.0).binding == "batch above 64"
    assert Station(cliff, 1.0, 0.0, 100).capped(64).capacity > 3 * Station(cliff, 1.0, 0.0, 100).capacity


@pytest.mark.parametrize("k", [0, 3])
def test_latencies_rise_with_the_load_and_begin_at_a_request_alone(k):
    one = station(k)
    states = [steady(one, load * one.capacity) for load in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)]
    for name in ("ttft", "tpot", "e2e", "batch", "itl"):
        values = [getattr(state, name) for state in states]
        assert values == sorted(values)
    assert states[0].ttft == pytest.approx(one.prefill, rel=1e-3)
    assert states[0].e2e == pytest.approx(one.prefill + one.rounds * one.seconds[0], rel=1e-3)


def test_with_speculation_the_gap_between_deliveries_is_not_the_time_per_token():
    without, speculating = (steady(station(k), 8.0) for k in (0, 3))
    assert without.itl == pytest.approx(without.tpot)
    assert speculating.itl > 2 * speculating.tpot
    assert speculating.tpot < without.tpot
    assert speculating.itl > without.itl
    assert speculating.batch < without.batch  # requests leave sooner: a gain on top


def test_littles_law_holds_between_the_means():
    for k in (0, 3):
        found = steady(station(k), 10.0)
        residual = found._stay.residual
        assert found.batch == pytest.approx(10.0 * (found.e2e - found.waiting - residual), rel=1e-6)


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("variation", [0.0, 1.0])
def test_percentiles_are_those_of_the_simulation(k, variation):
    result, found = served(station(k, variation=variation), 0.6, 20_000)
    for share in (0.5, 0.95, 0.99):
        at = found.at(share)
        assert at.ttft == pytest.approx(np.quantile(result.ttft, share), rel=0.06)
        assert at.tpot == pytest.approx(np.nanquantile(result.tpot, share), rel=0.1)
        assert at.e2e == pytest.approx(np.quantile(result.e2e, share), rel=0.08)
        assert at.itl == pytest.approx(result.gaps(share), rel=0.05)


def test_percentiles_rise_and_surround_the_mean():
    found = steady(station(3), 8.0)
    for name in ("ttft", "tpot", "itl", "e2e"):
        values = [getattr(found.at(share), name) for share in (0.05, 0.5, 0.95, 0.99)]
        assert values == sorted(values)
        assert values[0] < getattr(found, name) < values[-1]
    for name in ("ttft", "itl", "e2e"):
        assert float(np.mean(getattr(found.requests, name))) == pytest.approx(getattr(found, name), rel=0.03)


def test_goodput_counts_the_requests_that_keep_every_promise():
    one, slo = station(3), Slo(ttft=0.12, tpot=0.02)
    result, found = served(one, 0.6, 15_000)
    kept = goodput(replace(one, output=float(result.tokens.mean())), found.rate, slo)
    assert 0.05 < result.good(slo).mean() < 0.95
    assert kept / found.rate == pytest.approx(result.good(slo).mean(), abs=0.03)
    assert goodput(one, 10.0, Slo()) == 10.0
    assert goodput(one, 10 * one.capacity, slo) == 0.0


@pytest.mark.parametrize("slo", [Slo(tpot=0.025), Slo(ttft=0.08), Slo(e2e=3.0), Slo(tpot=0.03, ttft=0.1)])
def test_capacity_is_the_last_rate_that_keeps_the_promise(slo):
    for k in (0, 3):
        rate, state = capacity(station(k), slo)
        assert strain(state, slo) == pytest.approx(1.0, abs=1e-5)
        assert strain(state, slo) <= 1
        assert strain(steady(station(k), rate * 1.001), slo) > 1


def test_capacity_by_percentile_is_lower_than_by_mean_and_nothing_keeps_the_impossible():
    one = station(3)
    by_mean = capacity(one, Slo(tpot=0.02))[0]
    by_tail, state = capacity(one, Slo(tpot=0.02, percentile=0.95))
    assert 0 < by_tail < by_mean
    assert state.at(0.95).tpot <= 0.02
    assert capacity(one, Slo(tpot=0.001)) == (0.0, None)
    assert capacity(one)[0] == pytest.approx(one.capacity)
    assert capacity(one, Slo(tpot=10.0, ttft=1e9, e2e=1e9))[0] == pytest.approx(one.capacity)


@pytest.mark.parametrize(("k", "variation"), [(0, 1.0), (3, 1.0), (3, 0.0)])
@pytest.mark.parametrize(("concurrency", "batch"), [(4, 256), (64, 256), (64, 16)])
def test_a_closed_loop_is_that_of_the_simulation(k, variation, concurrency, batch):
    one, rng = station(k, batch=batch, variation=variation), np.random.default_rng(5)
    outputs = lengths(120, max(2500, 40 * concurrency), rng if variation else None)
    one = replace(one, output=float(outputs.mean()))
    result = simulate(one, Requests.closed(concurrency, outputs), rng=rng)
    kept = np.argsort(result.arrival, kind="stable")[5 * concurrency : -3 * concurrency]
    found = closed_loop(one, concurrency)
    span = np.sort(result.finish)[[len(outputs) // 5, -len(outputs) // 5]]
    assert found.rate == pytest.approx(0.6 * len(outputs) / (span[1] - span[0]), rel=0.02)
    assert found.e2e == pytest.approx(result.e2e[kept].mean(), rel=0.02)
    assert found.ttft == pytest.approx(result.ttft[kept].mean(), rel=0.03 if variation else 0.1)
    tpot = (result.finish - result.first)[kept].sum() / (result.tokens[kept] - 1).sum()
    assert found.tpot == pytest.approx(tpot, rel=0.02)


@pytest.mark.parametrize("together", [1, 8])
def test_a_closed_loop_of_equal_outputs_marches_in_step(together):
    one = station(0, output=200, variation=0.0)
    result = simulate(
        one,
        Requests.closed(64, np.full(2560, 200)),
        rng=np.random.default_rng(0),
        scheduling=Scheduling(prefills=together),
    )
    kept = np.argsort(result.arrival, kind="stable")[320:-192]
    found = closed_loop(one, 64, together=together)
    assert found.tpot == pytest.approx(np.mean(result.tpot[kept]), rel=1e-3)
    assert found.ttft == pytest.approx(np.mean(result.ttft[kept]), rel=5e-3)
    assert closed_loop(one, 64, together=together, waves=40).ttft == pytest.approx(result.ttft.mean(), rel=0.1)


def test_in_a_closed_loop_who_finds_no_place_waits():
    one = station(0, batch=16)
    assert closed_loop(one, 16).waiting == 0
    more = closed_loop(one, 48)
    assert more.waiting == pytest.approx(32 / more.rate)
    assert (more.tpot, more.rate) == (closed_loop(one, 16).tpot, closed_loop(one, 16).rate)
    assert more.e2e * more.rate == pytest.approx(48)
    with pytest.raises(ValueError, match="percentile: found a closed loop"):
        more.at(0.95)


def test_a_station_is_priced_by_the_cost_at_its_mean_context():
    plain, drafting = (Station.of(PAIR, LAW, k, TRAFFIC, max_batch=32) for k in (0, 3))
    batches = np.arange(1, 33)
    assert plain.seconds == pytest.approx(PAIR.step(batch=batches, context=1300))
    assert drafting.seconds == pytest.approx(PAIR.round(Chain(3), batch=batches, context=1300).total)
    alike = Station.of(PAIR, LAW, 0, replace(TRAFFIC, variation=0), max_batch=32)
    assert alike.seconds == pytest.approx(PAIR.step(batch=batches, context=1150))
    assert drafting.tau == pytest.approx(LAW.block_efficiency(3))
    assert plain.prefill == pytest.approx(0.015 + 5e-5 * 1000)
    assert drafting.prefill == pytest.approx(plain.prefill + 0.001 + 1e-6 * 1000)
    assert Station.of(PAIR, 0.7, 3, TRAFFIC, max_batch=32).rounds == drafting.rounds
    assert Station.of(Pair(PAIR.target), LAW, 3, TRAFFIC, max_batch=2).prefill == plain.prefill
    assert Station.of(Ratio(0.1), LAW, 3, TRAFFIC, max_batch=2, prefill=2.0).seconds.tolist() == pytest.approx(
        [1.3] * 2
    )


class Prefilling(Linear):
    """A model that says what a prefill takes."""

    def prefill(self, tokens, *, batch=1, context=0):
        return 1e-4 * tokens + 1e-9 * tokens * context


def test_a_prompt_that_comes_to_an_idle_replica_waits_for_the_weights_too():
    """Beside decoding it would not: there the iteration reads them anyway."""
    cost = Pair(Roofline("Llama-3.1-8B", "h100"), Roofline("Llama-3.2-1B", "h100").drafting())
    one = Station.of(cost, LAW, 3, Traffic(1.0, 100, 300), max_batch=64)
    assert steady(one, 0.0).ttft == pytest.approx(cost.target.prefill(100) + cost.draft.prefill(100))
    assert one.prefill < 0.6 * steady(one, 0.0).ttft


def test_a_prefix_cache_shortens_the_prefill_and_losing_it_lengthens_it():
    cost = Pair(Prefilling(0.015, 5e-5, 1e-8))
    cached = replace(TRAFFIC, cached=0.8)
    assert Station.of(cost, None, 0, TRAFFIC, max_batch=1).prefill == pytest.approx(0.1)
    assert Station.of(cost, None, 0, cached, max_batch=1).prefill == pytest.approx(0.02 + 1e-9 * 200 * 800)
    lost = Station.of(cost, LAW, 3, cached, max_batch=1, taxes=Taxes(cache_lost=0.5))
    assert lost.prefill == pytest.approx(0.06 + 1e-9 * 600 * 400)


def test_speculation_that_drafts_nothing_still_costs():
    free, taxed = (
        Station.of(PAIR, LAW, 0, TRAFFIC, max_batch=64, taxes=taxes) for taxes in (Taxes(), Taxes(idle_share=0.216))
    )
    assert taxed.seconds == pytest.approx(1.216 * free.seconds)
    assert steady(taxed, 2.0).tpot > 1.21 * steady(free, 2.0).tpot
    assert Station.of(PAIR, LAW, 0, TRAFFIC, max_batch=1, taxes=Taxes(idle=0.001)).seconds[0] == pytest.approx(
        free.seconds[0] + 0.001
    )
    assert np.array_equal(
        Station.of(PAIR, LAW, 3, TRAFFIC, max_batch=8, taxes=Taxes(idle=0.1, idle_share=1)).seconds,
        Station.of(PAIR, LAW, 3, TRAFFIC, max_batch=8).seconds,
    )


def measured(batches):
    return Pair(
        Table([1] * len(batches), batches, [1300] * len(batches), [0.01 * b for b in batches], provenance="measured")
    )


def test_of_a_table_only_the_batches_between_measured_ones_are_known():
    one = Station.of(measured([1, 4, 8]), None, 0, TRAFFIC, max_batch=32, prefill=0.1)
    assert one.seconds == pytest.approx(0.01 * np.arange(1, 9))
    assert one.binding == "measured batches"
    assert Station.of(measured([1, 4, 8]), None, 0, TRAFFIC, max_batch=8, prefill=0.1).binding == "max_batch"
    with pytest.raises(ValueError, match="seconds: found no time of an iteration with 1 sequence"):
        Station.of(measured([4, 8]), None, 0, TRAFFIC, max_batch=8, prefill=0.1)


def test_prompts_that_differ_take_the_rounds_of_each():
    law = BetaGeometric(7, 3)
    one = Station.of(PAIR, law, 3, TRAFFIC, max_batch=8)
    assert one.tau == pytest.approx(law.block_efficiency_by_token(3))
    alphas = np.random.default_rng(0).beta(7, 3, 4000)
    taus = Geometric(alphas).block_efficiency(3)
    assert one.rounds == pytest.approx(299 * np.mean(1 / taus) + 0.5, rel=0.02)
    spread, alike = (steady(replace(of, variation=0.0), 1.0).requests.tpot for of in (one, one_kind(one)))
    assert np.std(spread) > 3 * np.std(alike)


def one_kind(one):
    """The same station with prompts that do not differ."""
    alpha = invert_mean(one.tau - 1, 3)
    return replace(one, survival=Geometric(alpha).curve(3))


def test_lookup_pays_for_the_lengths_it_drafts():
    law = HitMiss(0.4, 0.8)
    one = Station.of(Pair(PAIR.target), law, 5, TRAFFIC, max_batch=4)
    assert one.tau == pytest.approx(law.block_efficiency(5))
    assert one.seconds[0] < Station.of(Pair(PAIR.target), Geometric(0.8), 5, TRAFFIC, max_batch=4).seconds[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Traffic(-1, 10, 10), r"rate: found -1, expected a number in \[0, infinity\)"),
        (lambda: Traffic(1, 10, 0), r"output: found 0, expected a number in \[1, infinity\)"),
        (lambda: Traffic(1, 0, 10), "prompt: found 0"),
        (lambda: Traffic(1, 10, 10, cached=1.5), r"cached: found 1.5, expected a number in \[0, 1\]"),
        (lambda: Traffic(math.nan, 10, 10), "rate: found nan"),
        (lambda: Traffic(1, "ten", 10), "prompt: found 'ten'"),
        (lambda: Slo(tpot=0), "tpot: found 0, expected seconds above 0"),
        (lambda: Slo(ttft=-1), "ttft: found -1"),
        (lambda: Slo(tpot=1, percentile=95), "percentile: found 95"),
        (lambda: Slo(tpot=1, percentile=1), "percentile: found 1, expected a number inside"),
        (lambda: Taxes(cache_lost=2), "cache_lost: found 2"),
        (lambda: Station([], 1, 0, 10), "seconds: found an array of shape"),
        (lambda: Station([0.1, 0.0], 1, 0, 10), r"seconds\[1\]: found 0.0, expected a finite time above 0"),
        (lambda: Station([0.1], 0.5, 0, 10), "tau: found 0.5"),
        (lambda: Station([0.1], 1, -1, 10), "prefill: found -1"),
        (lambda: Station([0.1], 1, 0, 0), "output: found 0"),
        (lambda: Station([0.1], 1.5, 0, 10, survival=[1, 0.7, 0.49]), "tau: found 1.5, expected 2.19, as the survival"),
        (lambda: Station([0.1], 1.5, 0, 10, survival=[0.7, 0.49]), "survival: found"),
        (lambda: steady(station(0), -1.0), "rate: found -1.0"),
        (lambda: closed_loop(station(0), 0), "concurrency: found 0"),
        (lambda: Station.of(Ratio(0.1), LAW, 3, TRAFFIC, max_batch=2), "prefill: found None and a cost without"),
        (lambda: Station.of(PAIR, LAW, 3, TRAFFIC, max_batch=0), "max_batch: found 0"),
        (lambda: Station.of(PAIR, LAW, -1, TRAFFIC, max_batch=1), "k: found -1"),
        (lambda: steady(station(0), 1.0).at(1.5), "percentile: found 1.5"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


stations = st.builds(
    lambda steps, prefill, output, variation, k: Station(
        np.cumsum(steps) * 1e-3,
        LAW.block_efficiency(k),
        prefill,
        output,
        survival=LAW.curve(k),
        variation=variation,
    ),
    steps=st.lists(st.integers(0, 9), min_size=1, max_size=40).map(lambda rest: [9, *rest]),
    prefill=st.sampled_from([0.0, 0.01, 0.5]),
    output=st.sampled_from([1.5, 8, 90]),
    variation=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    k=st.integers(0, 4),
)


@settings(max_examples=80)
@given(stations, st.sampled_from([0.0, 0.3, 0.8, 0.99]))
def test_every_phase_takes_time_and_twice_the_times_are_twice_the_latency(one, load):
    found = steady(one, load * one.capacity)
    twice = replace(one, seconds=2 * one.seconds, prefill=2 * one.prefill)
    slower = steady(twice, load * twice.capacity)
    assert twice.capacity == pytest.approx(one.capacity / 2)
    for name in ("ttft", "tpot", "itl", "e2e", "waiting"):
        value = getattr(found, name)
        assert 0 <= value < math.inf
        assert getattr(slower, name) == pytest.approx(2 * value, rel=1e-6, abs=1e-12)
        assert name == "waiting" or 0 <= getattr(found.at(0.95), name) < math.inf
    assert slower.batch == pytest.approx(found.batch, rel=1e-6, abs=1e-9)
    assert found.ttft >= one.prefill


def test_the_step_times_of_these_tests_are_in_range():
    assert seconds(0)[[0, 63, 255]] == pytest.approx([0.0155, 0.018, 0.030], rel=0.1)


def test_a_draft_in_the_targets_own_cache_needs_no_prefill():
    """Self-speculation with a sparse cache, and prompt lookup: the target's prefill is all there is."""
    target = Roofline("Llama-3.1-8B", "H100 SXM")
    sparse = replace(target, shape=target.shape.windowed(512)).drafting()
    small = Roofline("Llama-3.2-1B", "H100 SXM").drafting()
    at = {"max_batch": 32}
    alone, own, other = (
        Station.of(Pair(target, draft), LAW, 3, TRAFFIC, **at).prefill for draft in (None, sparse, small)
    )
    assert own == alone
    assert other > 1.05 * alone
    assert Station.of(Pair(target, Share(target, 0.006), one_pass=True), LAW, 3, TRAFFIC, **at).prefill == alone


def test_an_iteration_for_a_prompt_alone_reads_the_weights_too():
    """What a prefill adds to others is less than what it takes alone, by about the reading of the weights."""
    target = Roofline("Llama-3.1-70B", "H100 SXM", tp=4)
    station = Station.of(Pair(target), None, 0, TRAFFIC, max_batch=64)
    whole = target.prefill(TRAFFIC.prompt)
    assert station.prefill + station.alone == pytest.approx(whole)
    assert 0.3 * target.seconds(1) < station.alone < target.seconds(1)
    assert steady(station, 1e-6).ttft == pytest.approx(whole, rel=0.02)
