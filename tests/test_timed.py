"""What is timed and what is not: a made-up machine, on which work takes whole seconds that are known beforehand."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.tiny_study import in_memory, prompts, settings
from validate import costs, trace
from validate.clock import Clock
from validate.commands import cost
from validate.corpus import Corpus
from validate.decoder import Decoder
from validate.measure import CostBench, Shapes
from validate.model import Model
from validate.models import Models
from validate.sampler import Sampler
from validate.study import Study, traces

DRAWN, JUDGED, FOREVER = 10_000, 100, 1_000_000
SHAPES = Shapes((1, 3), (5, 40), (1, 4))


class Machine:
    """Its time moves with forwards, acceptances and drawn tokens alone; `done` are the shapes of the forwards.

    A forward takes `creep` longer than the one before, and FOREVER longer where it is the first of its shape if the
    machine is `cold`, or where nothing was read before if it has slow `prefills`.
    """

    def __init__(self):
        self.time, self.creep, self.cold, self.prefills = 0, 0, False, False
        self.done, self.seen = [], set()

    def first(self, what):
        """FOREVER for the first of anything on a cold machine."""
        new, _ = what not in self.seen, self.seen.add(what)
        return FOREVER * (self.cold and new)

    def forward(self, name, batch, n, context, rows):
        shape = (name, n, batch, context)
        self.time += price(*shape, rows) + self.creep * len(self.done) + self.first(shape)
        self.time += FOREVER * (self.prefills and not context)
        self.done.append(shape)


def price(name, n, batch, context, rows):
    """Seconds of a forward whose logits have so many rows."""
    return 1 + context + 2 * batch * n + 50 * rows


@pytest.fixture
def machine(monkeypatch):
    made, forward, judge, generator = Machine(), Model.forward, Decoder.judge, np.random.default_rng

    def run(self, tokens, **options):
        context, logits = self.length, forward(self, tokens, **options)
        batch = len(tokens) if logits.ndim > 2 else 1
        made.forward(self.name, batch, self.length - context, context, logits.shape[-2])
        return logits

    def judged(self, logits, *rest):
        made.time += JUDGED * logits.shape[1] + made.first((self.drafter.name, self.k))
        return judge(self, logits, *rest)

    class Slow:
        """A generator that takes its time."""

        def __init__(self, *seed):
            self._generator = generator(*seed)

        def __getattr__(self, name):
            made.time += DRAWN * (name == "integers")
            return getattr(self._generator, name)

    in_memory(monkeypatch)
    monkeypatch.setattr(Clock, "now", lambda self: made.time)
    monkeypatch.setattr(Model, "forward", run)
    monkeypatch.setattr(Decoder, "judge", judged)
    monkeypatch.setattr(np.random, "default_rng", Slow)
    return made


@pytest.fixture
def bench(machine):
    chosen = settings(drafts=("friend",))
    made = CostBench(Models(chosen), chosen, SHAPES)
    machine.done.clear()
    return made


def study(folder, *, stop=None, **changed):
    """The steps of a study, the first `stop` of them."""
    return list(itertools.islice(Study(settings(**changed), prompts(), folder).steps(), stop))


def swept(folder):
    return costs.read(folder / costs.FILE).sweeps


def test_a_cell_is_its_forward_alone_with_the_logits_that_a_round_needs(bench):
    """All rows of the target, which verifies; the last of a draft; tokens are drawn before."""
    found = bench.sweep().cells
    assert len(found) == 16
    for cell, seconds in found.items():
        assert seconds == price(*cell, rows=cell.n if cell.model == "target" else 1)


def test_accepting_is_timed_from_one_row_to_those_of_the_deepest_draft(bench):
    accept = bench.sweep().accept
    assert (accept[0], accept[-1]) == (JUDGED, JUDGED * 4)


def test_the_control_is_a_second_forward_at_the_end_of_the_sweep(bench, machine):
    machine.creep = 1
    found = bench.sweep()
    first, again = found.control
    at = machine.done.index(machine.done[-1])
    assert len(machine.done) == len(found.cells) + 1
    assert first == found.cells[costs.Cell(*machine.done[-1])]
    assert again - first == len(machine.done) - 1 - at > 0


def test_every_sweep_has_an_order_of_its_own(bench, machine):
    orders = []
    for _ in range(3):
        machine.done.clear()
        bench.sweep()
        orders.append(tuple(machine.done[:-1]))
    assert len(set(orders)) == 3
    assert len(set(map(frozenset, orders))) == 1


def test_warming_a_bench_runs_every_shape(bench, machine):
    bench.warm()
    assert {costs.Cell(*shape) for shape in machine.done} == set(bench.cells)


@pytest.mark.parametrize("stop", [None, 2])
def test_no_sweep_of_a_study_is_the_first_of_its_shapes_also_where_it_goes_on(tmp_path, machine, monkeypatch, stop):
    monkeypatch.setattr("validate.study.SWEEPS", 2)
    machine.cold = True
    study(tmp_path, stop=stop, drafts=("friend",))
    machine.seen.clear()
    study(tmp_path, drafts=("friend",))
    assert len(swept(tmp_path)) == len(prompts())
    assert max(max(sweep.cells.values()) for sweep in swept(tmp_path)) < FOREVER


def test_no_sweep_of_the_cost_command_is_the_first_of_its_shapes_also_where_it_goes_on(tmp_path, machine):
    machine.cold = True
    options = {"target": "target", "draft": "friend", "device": "cpu", "dtype": None, "dummy_weights": False}
    for repeats in (2, 4):
        machine.seen.clear()
        cost.answer(
            options | {"repeats": repeats, "out": tmp_path / costs.FILE} | vars(Sampler()), 1, [1, 2], [5, 40], [1]
        )
    assert len(swept(tmp_path)) == 4
    assert max(max(sweep.cells.values()) for sweep in swept(tmp_path)) < FOREVER


def test_no_round_of_a_run_is_the_first_of_its_cell(tmp_path, machine):
    machine.cold = True
    several = {"drafts": ("lookup", "ngram", "friend"), "ks": (1, 3)}
    study(tmp_path, **several)
    for path in traces(tmp_path, settings(**several).cells).values():
        rounds = trace.read(path).rounds
        assert rounds
        assert max(r.accept_s for r in rounds) < FOREVER


@pytest.mark.parametrize("draft", ["lookup", "friend"])
def test_the_prefill_is_in_no_arms_seconds(tmp_path, machine, draft):
    machine.prefills = True
    study(tmp_path, drafts=(draft,))
    found = trace.read(next(iter(traces(tmp_path, settings(drafts=(draft,)).cells).values())))
    assert len(found.done) == 3 * len(prompts())
    for line in found.done:
        rounds = [r for r in found.rounds if r.key == line.key]
        assert line.seconds == sum(r.draft_s + r.verify_s + r.accept_s for r in rounds)
        assert line.seconds < FOREVER < line.prefill_s


def test_the_prefill_is_not_in_the_seconds_of_a_text(tmp_path, machine):
    machine.prefills = True
    chosen = settings()
    texts = Corpus(Models(chosen), chosen, tmp_path).texts(prompts())
    assert [0 < text.seconds < FOREVER for text in texts] == [True] * len(prompts())
    assert len((tmp_path / "texts.jsonl").read_text().splitlines()) == 1 + len(prompts())
