"""The birth-death chain: textbook queues to the last digit, a dumb simulation, and ciw as a stranger's word."""

import math
from fractions import Fraction

import ciw
import numpy as np
import pytest

from specmath.queueing import BirthDeath, wait_factor


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9, 0.999])
def test_one_server_is_the_geometric_law_of_textbooks(load):
    queue = BirthDeath(load, [1.0])
    assert [queue.probability(n) for n in range(6)] == pytest.approx(
        [(1 - load) * load**n for n in range(6)], rel=1e-12
    )
    assert queue.number == pytest.approx(load / (1 - load), rel=1e-12)
    assert queue.sojourn == pytest.approx(1 / (1 - load), rel=1e-12)
    assert queue.wait == pytest.approx(load / (1 - load), rel=1e-12)
    assert queue.utilisation == pytest.approx(load, rel=1e-12)
    assert queue.waits_longer(2.0) == pytest.approx(load * math.exp(-2 * (1 - load)), rel=1e-12)


def erlang_c(servers, offered):
    offered = Fraction(offered)
    top = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return float(top / (sum(offered**n / math.factorial(n) for n in range(servers)) + top))


@pytest.mark.parametrize(("servers", "load"), [(2, 0.5), (4, 0.85), (30, 0.95), (150, 0.9)])
def test_many_servers_wait_by_erlangs_formula(servers, load):
    mu, rate = 0.5, load * servers * 0.5
    queue = BirthDeath(rate, mu * np.arange(1, servers + 1))
    waits = erlang_c(servers, rate / mu)
    assert queue.busy == pytest.approx(waits, rel=1e-9)
    assert queue.wait == pytest.approx(waits / (servers * mu - rate), rel=1e-9)
    assert queue.working == pytest.approx(rate / mu, rel=1e-9)
    assert queue.waits_longer(0.7) == pytest.approx(waits * math.exp(-(servers * mu - rate) * 0.7), rel=1e-9)


def test_without_a_waiting_room_it_is_erlangs_loss_formula():
    queue = BirthDeath(1.0, [1.0, 2.0], room=0)
    assert queue.lost == pytest.approx(1 / 5)
    assert queue.throughput == pytest.approx(4 / 5)
    assert queue.wait == 0
    assert queue.probability(3) == 0


def test_a_full_room_turns_away_and_its_waits_are_erlang():
    load, room = 2.0, 3
    queue = BirthDeath(load, [1.0], room=room)
    weights = load ** np.arange(room + 2)
    assert queue.law == pytest.approx(weights / weights.sum())
    assert queue.wait == pytest.approx(queue.waiting / (load * (1 - queue.lost)))
    seconds = np.linspace(0, 60, 60_001)
    assert np.trapezoid(queue.waits_longer(seconds), seconds) == pytest.approx(queue.wait, rel=1e-4)


def test_a_long_room_is_almost_no_limit():
    bounded, free = BirthDeath(0.9, [1.0], room=400), BirthDeath(0.9, [1.0])
    assert bounded.waits_longer([0.0, 5.0, 40.0]) == pytest.approx(free.waits_longer([0.0, 5.0, 40.0]), rel=1e-6)


def test_infinitely_many_servers_are_poisson():
    queue = BirthDeath(3.0, np.arange(1, 200) * 1.0)
    assert queue.law[:10] == pytest.approx([math.exp(-3) * 3**n / math.factorial(n) for n in range(10)])


def test_a_shared_processor_has_the_sojourn_of_one_server_whatever_the_places():
    for places in (1, 7, 300):
        assert BirthDeath(0.8, np.full(places, 1.0)).sojourn == pytest.approx(5.0, rel=1e-12)


def test_a_grid_of_loads_is_each_load():
    paces, rates = [1.0, 1.7, 1.9], np.array([0.0, 0.4, 1.8])
    grid = BirthDeath(rates, paces)
    for i, rate in enumerate(rates.tolist()):
        alone = BirthDeath(rate, paces)
        assert (grid.number[i], grid.waiting[i], grid.busy[i]) == pytest.approx(
            (alone.number, alone.waiting, alone.busy)
        )
    assert math.isnan(BirthDeath(np.array([2.0]), paces).number[0])


def jump(rate, paces, room, arrivals, rng):
    """(mean number, share lost): the same chain event by event, in a plain loop."""
    present, now, area, lost, left = 0, 0.0, 0.0, 0, arrivals
    while left:
        pace = paces[min(present, len(paces)) - 1] if present else 0.0
        wait = rng.exponential(1 / (rate + pace))
        area, now = area + present * wait, now + wait
        if rng.random() * (rate + pace) < pace:
            present -= 1
        else:
            left -= 1
            full = room is not None and present == len(paces) + room
            present, lost = present + (not full), lost + full
    return area / now, lost / arrivals


PACES = (1.0, 1.5, 1.6, 2.4, 2.5)  # jagged, as measured steps are


@pytest.mark.parametrize(("rate", "room"), [(1.4, None), (2.0, None), (2.2, 4)])
def test_the_chain_is_what_a_plain_loop_of_events_gives(rate, room):
    number, lost = jump(rate, PACES, room, 120_000, np.random.default_rng(1))
    queue = BirthDeath(rate, PACES, room)
    assert number == pytest.approx(queue.number, rel=0.03)
    assert lost == pytest.approx(queue.lost, abs=0.004)


def test_a_dropped_waiting_room_would_be_noticed():
    number, _ = jump(2.0, PACES, None, 120_000, np.random.default_rng(1))
    assert number != pytest.approx(BirthDeath(2.0, PACES, 0).number, rel=0.2)


def served(arrival, service, servers, seconds, node=ciw.Node):
    """(waiting times, times spent) of the customers of one node of ciw."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(arrival)],
        service_distributions=[service],
        number_of_servers=[servers],
    )
    ciw.seed(3)
    run = ciw.Simulation(network, node_class=node)
    run.simulate_until_max_time(seconds)
    records = run.get_all_records()[500:]
    times = np.array([(record.waiting_time, record.exit_date - record.arrival_date) for record in records])
    return times.mean(axis=0).tolist()


def test_ciw_waits_as_long_before_four_servers():
    wait, spent = served(3.0, ciw.dists.Exponential(1.0), 4, 25_000)
    queue = BirthDeath(3.0, [1.0, 2.0, 3.0, 4.0])
    assert wait == pytest.approx(queue.wait, rel=0.08)
    assert spent == pytest.approx(queue.sojourn, rel=0.04)


@pytest.mark.parametrize("service", [ciw.dists.Exponential(1.0), ciw.dists.Deterministic(1.0)])
def test_ciw_shares_a_processor_as_the_chain_does_whatever_the_law_of_service(service):
    _, spent = served(0.7, service, math.inf, 60_000, ciw.PSNode)
    assert spent == pytest.approx(BirthDeath(0.7, [1.0]).sojourn, rel=0.06)


@pytest.mark.parametrize("load", [0.6, 0.85])
def test_ciw_agrees_that_service_times_all_alike_wait_about_half(load):
    wait, _ = served(4 * load, ciw.dists.Deterministic(1.0), 4, 20_000)
    exponential = BirthDeath(4 * load, [1.0, 2.0, 3.0, 4.0]).wait
    assert wait == pytest.approx(exponential * wait_factor(4, load, 0.0), rel=0.06)
    assert wait != pytest.approx(exponential, rel=0.3)


def test_the_factor_of_one_server_is_pollaczeks():
    assert [wait_factor(1, 0.7, variation) for variation in (0.0, 0.5, 1.0, 3.0)] == [0.5, 0.75, 1.0, 2.0]
    assert wait_factor(100, 0.01, 0.0) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, [1.0]), "rate: found -1.0, expected a number in"),
        ((1.0, [1.0]), r"rate: found 1.0, expected below completions\[-1\] = 1.0, or a limit to the room"),
        ((0.5, []), "completions: found an array of shape"),
        ((0.5, [1.0, 0.0]), r"completions\[1\]: found 0.0, expected a finite number above 0"),
        ((0.5, [math.nan]), r"completions\[0\]: found nan"),
        ((0.5, [1.0], -1), "room: found -1"),
        ((0.5, [1.0], 1.5), "room: found 1.5, expected an integer"),
    ],
)
def test_what_is_no_queue_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        BirthDeath(*arguments)
    assert "\n" not in str(raised.value)
