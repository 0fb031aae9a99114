"""The simulation of serving: traces by hand, laws that hold in every run, textbook queues, and planted mistakes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath import events
from specmath.acceptance import BetaGeometric, Geometric
from specmath.arrivals import Requests, lengths
from specmath.draft import Chain
from specmath.events import simulate
from specmath.finish import rounds_to_emit
from specmath.queueing import BirthDeath
from specmath.replica import Countdown, Replica, Scheduling
from specmath.serving import Slo, Station
from tests.stations import LAW, station

PLAIN = Station([1.0, 1.5, 2.0], 1.0, 0.25, 10)


def rng(seed=0):
    return np.random.default_rng(seed)


def run(one, arrivals, outputs, prompts=None, **how):
    return simulate(one, Requests(arrivals, outputs, prompts), rng=rng(), **how)


def test_two_requests_by_hand():
    """0: prefill to .25, steps of 1; 1 comes at .5, is prefilled in 1.25-2.5, then both decode in steps of 1.5."""
    result = run(PLAIN, [0.0, 0.5], [4, 2])
    assert result.start.tolist() == [0.0, 1.25]
    assert result.first.tolist() == [0.25, 2.5]
    assert result.finish.tolist() == [4.0, 4.0]
    assert result.begin.tolist() == [0.0, 0.25, 1.25, 2.5]
    assert result.seconds.tolist() == [0.25, 1.0, 1.25, 1.5]
    assert result.batch.tolist() == [0, 1, 1, 2]
    assert result.prefilled.tolist() == [1, 0, 1, 0]
    assert result.ttft.tolist() == [0.25, 2.0]
    assert result.e2e.tolist() == [4.0, 3.5]
    assert result.tpot.tolist() == [1.25, 1.5]
    assert result.mean_tpot == pytest.approx((3.75 + 1.5) / 4)
    assert result.itl == pytest.approx((1.0 + 1.25 + 2 * 1.5) / 4)
    assert result.gaps(0.5) == 1.25
    assert result.present_seconds == pytest.approx(7.5)


def test_a_full_batch_lets_wait_and_one_prefill_at_a_time_spreads_them():
    one = Station([1.0], 1.0, 0.25, 10)
    result = run(one, [0.0, 0.0, 0.0], [2, 1, 2])
    assert result.start.tolist() == [0.0, 1.25, 1.5]
    assert result.finish.tolist() == [1.25, 1.5, 2.75]
    slow = run(PLAIN, [0.0, 0.0], [2, 2], scheduling=Scheduling(prefills=1))
    assert slow.first.tolist() == [0.25, 1.5]
    assert slow.finish.tolist() == [1.5, 2.5]
    assert run(PLAIN, [0.0, 0.0], [2, 2]).first.tolist() == [0.5, 0.5]


def test_prefills_in_chunks_share_the_budget_with_what_decodes():
    result = run(PLAIN, [0.0, 0.0], [3, 2], [100, 60], scheduling=Scheduling(budget=81))
    assert result.prefilled.tolist() == [81, 79, 0, 0][: len(result.prefilled)]
    per_token = 0.25 / 80
    assert result.first.tolist() == pytest.approx([160 * per_token] * 2)
    assert result.finish[1] == pytest.approx(160 * per_token + 1.5)
    late = run(PLAIN, [0.0, 0.5], [4, 2], [80, 80], scheduling=Scheduling(budget=81))
    assert late.prefilled.tolist() == [80, 0, 80, 0]
    assert late.seconds.tolist() == pytest.approx([0.25, 1.0, 1.25, 1.5])
    tight = run(PLAIN, [0.0, 0.5], [4, 2], [80, 80], scheduling=Scheduling(budget=80))
    assert tight.prefilled.tolist() == [80, 0, 79, 1, 0]


def test_prefills_alone_stop_the_decoding():
    result = run(PLAIN, [0.0, 0.5], [4, 2], scheduling=Scheduling(alone=True))
    assert result.seconds.tolist() == [0.25, 1.0, 0.25, 1.5, 1.0]
    assert result.batch.tolist() == [0, 1, 0, 2, 1]


def test_long_prompts_take_longer():
    result = run(PLAIN, [0.0, 100.0], [1, 1], [300, 100])
    assert result.e2e.tolist() == pytest.approx([0.375, 0.125])


def test_who_does_not_fit_is_preempted_and_starts_over_with_all_it_has():
    """Two prompts of 4 in 12 tokens: both are in, the second is put out as the tokens run out, and comes back."""
    result = run(Station([1.0, 1.0], 1.0, 1.0, 5), [0.0, 0.0], [5, 5], [4, 4], scheduling=Scheduling(kv_tokens=12))
    assert result.preempted == 1
    assert result.finish[0] < result.finish[1]
    assert result.first.tolist() == [2.0, 2.0]
    assert result.batch.tolist() == [0, 2, 1, 1, 1, 0, 1, 1][: len(result.batch)]
    assert int(result.prefilled.sum()) == 8 + 6  # the prompt, and the two tokens it had


def test_slots_for_drafts_are_taken_before_any_is_accepted():
    """5 tokens each and 4 slots each are 18 of 16: only one decodes. Plainly 5 + 1 each would fit."""
    drafting = Station([1.0, 1.0], 1.0, 1.0, 5, survival=[1.0, 0.0, 0.0, 0.0])
    held, free = (
        run(one, [0.0, 0.0], [5, 5], [4, 4], scheduling=Scheduling(kv_tokens=16))
        for one in (drafting, Station([1.0, 1.0], 1.0, 1.0, 5))
    )
    assert held.batch.tolist()[:2] == [0, 1]
    assert free.batch.tolist()[:2] == [0, 2]


def test_a_schedule_drafts_by_the_load():
    stations = {k: station(k, batch=8) for k in (0, 3)}
    requests = Requests(np.arange(40) * 0.05, np.full(40, 60))
    result = simulate(stations, requests, rng=rng(), scheduling=Scheduling(schedule=((0, 3, 3), (4, 8, 0))))
    assert set(result.k[result.batch.clip(1) <= 3]) == {3}
    assert set(result.k[result.batch > 3]) == {0}
    deciding = result.prefilled == 0
    for k, one in stations.items():
        seen = deciding & (result.k == k)
        assert result.seconds[seen] == pytest.approx(one.seconds[result.batch[seen] - 1])


def test_routers_deal_in_turn_or_to_the_emptiest():
    arrivals = [0.0, 0.1, 0.2, 0.3]
    outputs = [1, 30, 1, 30]
    assert run(PLAIN, arrivals, outputs, replicas=2).replica.tolist() == [0, 1, 0, 1]
    assert run(PLAIN, [0.0, 0.1, 1.0, 1.1], outputs, replicas=2, router="fewest").replica.tolist() == [0, 1, 0, 0]


def test_the_emptiest_is_the_better_choice_where_requests_differ():
    outputs = lengths(100, 12_000, rng(1))
    one = station(0, output=100, batch=8)
    requests = Requests.poisson(4 * 0.85 * one.capacity, outputs, rng=rng(2))
    turn, fewest = (
        simulate(one, requests, rng=rng(), replicas=4, router=router).e2e.mean() for router in ("round_robin", "fewest")
    )
    assert fewest < 0.9 * turn


def test_a_closed_loop_keeps_its_number_in_flight():
    result = simulate(station(3), Requests.closed(7, lengths(50, 300, rng())), rng=rng())
    times = np.concatenate([result.arrival, result.finish])
    order = np.lexsort((np.repeat([1, -1], 300), times))
    present = np.cumsum(np.repeat([1, -1], 300)[order])
    assert present[20:-20].max() <= 7
    busy = np.sort(result.finish)[-7]
    assert result.present_seconds == pytest.approx(7 * busy, rel=0.05)
    assert (np.sort(result.arrival)[7:] == np.sort(result.finish)[: 300 - 7]).all()
    thinking = simulate(station(3), Requests.closed(7, lengths(50, 300, rng()), think=1.0), rng=rng())
    assert thinking.present_seconds < result.present_seconds + 7 * 300


loads = st.builds(
    dict,
    k=st.sampled_from([0, 1, 3]),
    number=st.integers(1, 60),
    rate=st.sampled_from([1.0, 10.0, 100.0]),
    batch=st.sampled_from([1, 3, 64]),
    replicas=st.integers(1, 3),
    router=st.sampled_from(events.ROUTERS),
    scheduling=st.sampled_from(
        [
            Scheduling(),
            Scheduling(prefills=1),
            Scheduling(budget=300),
            Scheduling(kv_tokens=600),
            Scheduling(kv_tokens=2000),
        ]
    ),
    closed=st.booleans(),
    seed=st.integers(0, 99),
)


def drawn(load):
    coins = rng(load["seed"])
    outputs, prompts = coins.geometric(1 / 30, load["number"]), coins.integers(1, 200, load["number"])
    if load["closed"]:
        requests = Requests.closed(3, outputs.clip(1, 200), prompts=prompts)
    else:
        requests = Requests.poisson(load["rate"], outputs.clip(1, 200), rng=coins, prompts=prompts)
    one = station(load["k"], output=30, batch=load["batch"])
    how = {name: load[name] for name in ("replicas", "router", "scheduling")}
    return one, simulate(one, requests, rng=coins, **how)


def check_laws(one, result):
    """What must hold in every run."""
    assert np.isfinite(result.finish).all(), "a request was lost"
    assert (result.arrival <= result.start).all()
    assert (result.start < result.first).all()
    assert (result.first <= result.finish).all()
    assert result.present_seconds == pytest.approx(result.e2e.sum(), rel=1e-9)  # Little's law, L by the clock
    assert result.batch.max() <= one.max_batch
    for which in np.unique(result.at):
        own = result.at == which
        assert (result.begin[own][1:] >= (result.begin + result.iterations * result.seconds)[own][:-1] - 1e-9).all()
    if not result.preempted:
        decoding = float(result.batch * result.iterations @ result.seconds)
        assert decoding == pytest.approx((result.finish - result.first).sum(), rel=1e-9)  # and of those that decode
    rounds = int(result.batch @ result.iterations)
    most = int(np.sum(result.tokens))
    assert math.ceil((most - len(result.tokens)) / one.curves.shape[1]) - result.preempted <= rounds <= most


@settings(max_examples=60)
@given(loads)
def test_littles_law_holds_in_every_run(load):
    one, result = drawn(load)
    check_laws(one, result)


@settings(max_examples=15)
@given(loads)
def test_the_same_seed_gives_the_same_run(load):
    once, again = (drawn(load)[1] for _ in range(2))
    assert np.array_equal(once.finish, again.finish)


def forgets_who_is_prefilled(replica, iterations):
    """Whoever finishes with its first token alone is reported, the rest never join the batch in time."""
    prefilled, finished = REPLICA_END(replica, iterations)
    for request in prefilled:
        if replica.left[request] > 0:
            replica.decoding.join(request)
    return prefilled, finished


def loses_who_waits(replica):
    admitted = REPLICA_ADMIT(replica)
    if replica.waiting:
        replica.waiting.pop()
    return admitted


def holds_more_than_the_batch(replica):
    replica.bound = 10**9
    return REPLICA_ADMIT(replica)


REPLICA_END, REPLICA_ADMIT = Replica.end, Replica._admit


@pytest.mark.parametrize(
    ("method", "bug"),
    [("end", forgets_who_is_prefilled), ("_admit", loses_who_waits), ("_admit", holds_more_than_the_batch)],
)
def test_planted_the_laws_notice_a_wrong_replica(method, bug, monkeypatch):
    requests = Requests.poisson(20.0, lengths(30, 60, rng(1)), rng=rng(2))
    one = Station(np.array([0.02, 0.02, 0.02]), 1.0, 0.01, 30)
    check_laws(one, simulate(one, requests, rng=rng()))
    monkeypatch.setattr(Replica, method, bug)
    with pytest.raises((AssertionError, IndexError, ValueError)):
        check_laws(one, simulate(one, requests, rng=rng()))


def test_planted_a_clock_that_forgets_the_present_is_noticed(monkeypatch):
    monkeypatch.setattr(events._Run, "_arrive", forgetful(events._Run._arrive))
    one = station(0, output=30, batch=3)
    result = simulate(one, Requests.poisson(5.0, lengths(30, 60, rng(1)), rng=rng(2)), rng=rng())
    with pytest.raises(AssertionError):
        check_laws(one, result)


def forgetful(arrive):
    return lambda run, now, request: arrive(run, now, request) * (request % 7 > 0)


def token_by_token(one, arrivals, outputs):
    """When each request ends: every iteration and every token in turn, nothing drawn."""
    left, finish, now, due = list(outputs), [math.nan] * len(outputs), 0.0, list(range(len(outputs)))
    waiting, batch = [], []
    while due or waiting or batch:
        while due and arrivals[due[0]] <= now:
            waiting.append(due.pop(0))
        taken = [waiting.pop(0) for _ in range(min(len(waiting), one.max_batch - len(batch)))]
        if not taken and not batch:
            now = arrivals[due[0]]
            continue
        now += len(taken) * one.prefill + (one.seconds[len(batch) - 1] if batch else 0.0)
        for request in batch + taken:
            left[request] -= 1
            finish[request] = now if left[request] == 0 else math.nan
        batch = [request for request in batch + taken if left[request] > 0]
    return finish


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_a_plain_loop_over_every_token_gives_the_same_run(batch):
    one = Station(0.01 + 0.002 * np.arange(batch), 1.0, 0.013, 20)
    requests = Requests.poisson(0.9 * one.capacity, lengths(20, 300, rng(1)), rng=rng(2))
    expected = token_by_token(one, requests.arrivals.tolist(), requests.outputs.tolist())
    assert simulate(one, requests, rng=rng()).finish == pytest.approx(expected, rel=1e-9)


def test_counting_down_is_keeping_track_of_every_sequence():
    """The heap of finishing iterations against token by token, where acceptance is certain: the same run."""
    outputs, prompts = lengths(40, 400, rng(3)), rng(4).integers(1, 300, 400)
    for k in (0, 2):
        one = Station(np.linspace(0.01, 0.05, 40), k + 1.0, 0.02, 40, survival=[1.0] * (k + 1) if k else None)
        requests = Requests.poisson(15.0, outputs, rng=rng(5), prompts=prompts)
        counted = simulate(one, requests, rng=rng())
        for same in (Scheduling(schedule=((0, 40, k),)), Scheduling(kv_tokens=10**9), Scheduling(budget=10**9)):
            followed = simulate(one, requests, rng=rng(), scheduling=same)
            assert followed.finish == pytest.approx(counted.finish, rel=1e-9)
            assert followed.begin[-1] >= counted.begin[-1]
            assert len(followed.begin) >= len(counted.begin)


def test_countdown_ends_each_in_its_round():
    decoding = Countdown({5: 2, 6: 1, 7: 3})
    decoding.join(5)
    assert decoding.unchanged == 2
    assert decoding.advance(0, 1) == []
    decoding.join(6)
    decoding.join(7)
    assert sorted(decoding.advance(0, 1)) == [5, 6]
    assert (len(decoding), decoding.unchanged, decoding.advance(0, 2)) == (1, 2, [7])


def rounds_of(curve, tokens, number=40_000):
    return events._rounds(np.atleast_2d(curve), np.zeros(number, dtype=int), np.full(number, tokens), rng(1))


@pytest.mark.parametrize("tokens", [1, 5, 60])
def test_rounds_are_drawn_from_their_exact_law(tokens):
    exact = rounds_to_emit(LAW, Chain(3), tokens)
    found = rounds_of(LAW.curve(3), tokens)
    spread = math.sqrt(exact.var / len(found))
    assert abs(found.mean() - exact.mean) <= 4 * spread
    assert found.var() == pytest.approx(exact.var, rel=0.05, abs=1e-9)


def test_planted_a_forgotten_bonus_token_is_noticed(monkeypatch):
    monkeypatch.setattr(
        events, "accepted", lambda curve, kinds, coins: np.maximum(0, ACCEPTED(curve, kinds, coins) - 1)
    )
    exact = rounds_to_emit(LAW, Chain(3), 60)
    assert abs(rounds_of(LAW.curve(3), 60).mean() - exact.mean) > 40 * math.sqrt(exact.var / 40_000)


ACCEPTED = events.accepted


def test_prompts_keep_their_kind():
    law = BetaGeometric(2, 1)
    alphas = np.array([0.1, 0.9])
    curves = Geometric(alphas).curve(4)
    tau = 1 / np.mean(1 / curves.sum(axis=1))
    one = Station([0.01] * 50, float(tau), 0.0, 200, survival=curves)
    result = simulate(one, Requests(np.arange(500) * 1.0, np.full(500, 200)), rng=rng())
    slow = result.tpot > (result.tpot.min() + result.tpot.max()) / 2
    assert result.tpot[slow].mean() / result.tpot[~slow].mean() == pytest.approx(
        Geometric(0.9).block_efficiency(4) / Geometric(0.1).block_efficiency(4), rel=0.03
    )
    assert law.block_efficiency(4) > law.block_efficiency_by_token(4)


def test_one_at_a_time_it_is_the_queue_of_textbooks():
    """Geometric outputs of many short steps, one place: M/M/1 to within a step."""
    one = Station([0.001], 1.0, 0.0, 400)
    outputs = lengths(400, 120_000, rng(1))
    result = simulate(one, Requests.poisson(1.5, outputs, rng=rng(2)), rng=rng()).after(0.02)
    pace = 1 / (0.001 * result.tokens.mean())
    assert result.e2e.mean() == pytest.approx(BirthDeath(1.5, [pace]).sojourn, rel=0.06)


@pytest.mark.parametrize("alike", [True, False])
def test_a_shared_processor_is_insensitive_to_the_law_of_outputs(alike):
    """Steps as long as the batch: processor sharing, sojourn 1 / (1 - load) whatever the outputs' law."""
    one = Station(2e-4 * np.arange(1, 400), 1.0, 0.0, 500, variation=0.0 if alike else 1.0)
    outputs = lengths(500, 30_000, None if alike else rng(1))
    result = simulate(one, Requests.poisson(7.0, outputs, rng=rng(2)), rng=rng()).after(0.05)
    mean = 2e-4 * (result.tokens.mean() - 1)
    rate = (len(result.arrival) - 1) / np.ptp(result.arrival)
    assert result.e2e.mean() == pytest.approx(mean / (1 - rate * mean), rel=0.04)


def test_the_state_dependent_chain_is_the_long_run_of_the_simulation():
    """Short iterations, no prefill: how many are present is the birth-death law, waiting room and all."""
    one = Station(np.hypot(1e-3, 3e-4 * np.arange(1, 9)), 1.0, 0.0, 300)
    outputs = lengths(300, 40_000, rng(1))
    result = simulate(one, Requests.poisson(0.8 * one.capacity, outputs, rng=rng(2)), rng=rng())
    paces = np.arange(1, 9) / ((result.tokens.mean() - 1) * one.seconds)
    rate = (len(outputs) - 1) / np.ptp(result.arrival)
    chain = BirthDeath(rate, paces)
    assert result.e2e.mean() == pytest.approx(chain.sojourn, rel=0.04)
    by_batch = np.bincount(result.batch, result.iterations * result.seconds, minlength=9)[1:] / result.finish.max()
    assert by_batch == pytest.approx(chain.seen[1:], abs=0.02)


def test_records_can_leave_the_first_out_and_say_who_was_served_well():
    result = run(PLAIN, [0.0, 5.0, 10.0, 15.0], [3, 3, 1, 9])
    assert result.after(0.5).arrival.tolist() == [10.0, 15.0]
    assert result.good(Slo(ttft=0.3, tpot=1.0)).tolist() == [True] * 4
    assert result.good(Slo(e2e=3.0)).tolist() == [True, True, True, False]
    assert result.good(Slo()).all()
    assert np.isnan(result.tpot[2])


def test_lengths_have_their_mean():
    assert lengths(2.5, 1000).mean() == 2.5
    assert lengths(120.0, 7).tolist() == [120] * 7
    assert lengths(50, 20_000, rng()).mean() == pytest.approx(50, rel=0.03)
    assert lengths(1, 5, rng()).tolist() == [1] * 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Requests([], []), "outputs: found an array of shape"),
        (lambda: Requests([0.0], [0]), r"outputs\[0\]: found 0, expected an integer >= 1"),
        (lambda: Requests([0.0, 1.0], [2, 2.5]), r"outputs\[1\]: found 2.5"),
        (lambda: Requests([-1.0], [1]), r"arrivals\[0\]: found -1.0, expected a finite time >= 0"),
        (lambda: Requests([0.0, math.nan], [1, 1]), r"arrivals\[1\]: found nan"),
        (lambda: Requests([0.0], [1, 1]), "arrivals: found 1, expected 2 as there are outputs"),
        (lambda: Requests([0.0], [1], [0]), r"prompts\[0\]: found 0"),
        (lambda: Requests(None, [1]), "arrivals, concurrency: found neither given, expected exactly one"),
        (lambda: Requests([0.0], [1], concurrency=1), "arrivals, concurrency: found both given"),
        (lambda: Requests.closed(0, [1]), "concurrency: found 0"),
        (lambda: Requests.closed(1, [1], think=-1), "think: found -1"),
        (lambda: Requests.poisson(-2.0, [1], rng=rng()), "rate: found -2.0"),
        (lambda: Requests.poisson(0.0, [1], rng=rng()), "rate: found 0, expected requests a second above 0"),
        (lambda: Scheduling(budget=0), "budget: found 0"),
        (lambda: Scheduling(schedule=((0, 4),)), "schedule: found"),
        (lambda: Scheduling(schedule=()), "schedule: found"),
        (lambda: run(PLAIN, [0.0], [1], replicas=0), "replicas: found 0"),
        (
            lambda: run(PLAIN, [0.0], [1], router="random"),
            "router: found 'random', expected one of round_robin, fewest",
        ),
        (lambda: simulate(PLAIN, [1, 2], rng=rng()), r"requests: found \[1, 2\], expected Requests"),
        (lambda: simulate(PLAIN, Requests([0.0], [1]), rng=3), "rng: found 3, expected numpy.random.default_rng"),
        (lambda: run(PLAIN, [0.0], [1], scheduling=Scheduling(budget=9)), "prompts: found None, expected tokens"),
        (lambda: run(PLAIN, [0.0], [9], [9], scheduling=Scheduling(kv_tokens=9)), "kv_tokens: found 9, expected 19"),
        (
            lambda: run({0: PLAIN, 1: PLAIN}, [0.0], [1]),
            r"station: found depths \[0, 1\], expected one, or a schedule",
        ),
        (
            lambda: run(PLAIN, [0.0], [1], scheduling=Scheduling(schedule=((0, 9, 4),))),
            r"station: found depths \[0\], expected those of the schedule, \[4\]",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)
