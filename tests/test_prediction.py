"""Predictions: their value by another route, intervals that hold as often as they say, and what is written down."""

import math
from dataclasses import replace

import numpy as np
import pytest

from specmath.replay import Replay
from tests import runs
from validate import prediction
from validate.costs import Costs
from validate.pricing import priced
from validate.scores import DraftScores
from validate.texts import Text

K, TOKENS, NOISE = 3, 30, 0.04


def texts(count=24, *, seconds=None, tokens=TOKENS):
    """Texts of two domains; by default each took exactly its price, a second a token."""
    times = seconds if seconds is not None else [runs.STEP * tokens] * count
    return tuple(
        Text(f"p{i}", "ab"[i % 2], (1,) * 100, (2,) * (tokens + 1), "budget", float(times[i])) for i in range(count)
    )


def draft(count=24, *, alpha=0.7, seed=0, tokens=TOKENS, name="lookup"):
    """Coins of a greedy draft that drafts at every token."""
    rng = np.random.default_rng(seed)
    return DraftScores(name, "one_hot", tuple((rng.random(tokens) < alpha).astype(float) for _ in range(count)))


def noisy(prices, rng, spread):
    """The same sweeps with every time off by its own factor."""
    return Costs(
        [
            replace(s, cells={c: seconds * math.exp(spread * rng.normal()) for c, seconds in s.cells.items()})
            for s in prices.sweeps * 10
        ]
    )


def one(found, domain="all", k=K):
    return found.of(domain, "lookup", k)


def test_the_value_is_the_quotient_of_priced_seconds_and_of_its_own_breakdown():
    found = one(prediction.predict(texts(), [draft()], runs.costs(), [K], greedy=True))
    parts = priced(Replay(draft().ratios), draft(), texts(), runs.costs().pair("lookup"), K)
    assert found.speedup.value == pytest.approx(parts.plain.sum() / parts.seconds.sum())
    assert found.breakdown.speedup == pytest.approx(found.speedup.value)
    assert found.breakdown.tokens == pytest.approx(TOKENS * 24 / Replay(draft().ratios).rounds(K).sum())


def test_domains_share_the_whole():
    found = prediction.predict(texts(), [draft()], runs.costs(), [1, K], greedy=True)
    assert {(f.domain, f.k) for f in found.forecasts} == {(d, k) for d in ("a", "b", "all") for k in (1, K)}
    values = sorted(one(found, d).speedup.value for d in "ab")
    assert values[0] <= one(found).speedup.value <= values[1]
    with pytest.raises(ValueError, match="found none of lookup with k = 9 on a"):
        one(found, "a", 9)


def test_a_table_without_noise_and_a_clock_that_keeps_to_it_leave_no_doubt():
    found = one(prediction.predict(texts(), [draft()], runs.costs(), [K], greedy=True)).speedup
    assert found.high / found.low == pytest.approx(1, abs=1e-9)


def test_redrawn_sweeps_are_priced_as_if_each_had_been_a_table_of_its_own():
    prices = noisy(runs.costs(), np.random.default_rng(1), 0.1)
    quick = prediction._Prices(texts(), draft(), prices, K)
    draws = np.random.default_rng(0).integers(len(prices.sweeps), size=(prediction.REDRAWN, len(prices.sweeps)))
    for i in (0, 7, 399):
        table = Costs([prices.sweeps[j] for j in draws[i]]).pair("lookup")
        parts = priced(Replay(draft().ratios), draft(), texts(), table, K)
        assert quick._redrawn[0][i] == pytest.approx(parts.plain)
        assert quick._redrawn[1][i] == pytest.approx(parts.seconds)


def studies(count, terms=("_table", "_sweeps", "_run", "_level"), *, pace=0.0):
    """How many of so many studies, with the noise of table and clock planted, measured inside their interval.

    `pace` is how much verification changes its pace from sweep to sweep and from text to text.
    """
    rng, inside = np.random.default_rng(5), 0
    coins, prompts = draft(), 24
    truth = priced(Replay(coins.ratios), coins, texts(), runs.costs().pair("lookup"), K)
    for _ in range(count):
        written, first, again = truth.plain * np.exp(NOISE * rng.normal(size=(3, prompts)))
        spec = truth.seconds * np.exp(NOISE * rng.normal(size=prompts)) * np.exp(pace * rng.normal(size=prompts))
        prices = unsteady(noisy(runs.costs(), rng, 0.02), rng, pace)
        found = prediction._Prices(texts(seconds=written), coins, prices, K)
        with pytest.MonkeyPatch.context() as patch:
            for name in {"_table", "_sweeps", "_run", "_level"} - set(terms):
                patch.setattr(prediction._Prices, name, lambda *_: 0.0)
            forecast = found.forecast("all", greedy=True).speedup
        measured = (first + again).sum() / 2 / spec.sum()
        inside += forecast.low <= measured <= forecast.high
    return inside


def unsteady(prices, rng, pace):
    """Every sweep's forwards over several tokens at a pace of its own."""
    paces = np.exp(pace * rng.normal(size=len(prices.sweeps)))
    return Costs(
        [
            replace(s, cells={c: seconds * (p if c.n > 1 else 1) for c, seconds in s.cells.items()})
            for s, p in zip(prices.sweeps, paces, strict=True)
        ]
    )


def test_stated_intervals_hold_at_least_as_often_as_they_say():
    """200 studies at 95 %: fewer than 182 would happen to an honest interval once in a hundred times."""
    assert studies(200) >= 182


def test_a_verification_that_changes_its_pace_is_covered_because_the_sweeps_show_it():
    """What no plain run shows: without that term fewer would hold."""
    assert studies(200, pace=0.15) >= 182
    assert studies(100, ("_run", "_level"), pace=0.15) < 70


@pytest.mark.parametrize("terms", [("_table",), ("_level",), ()])
def test_without_the_noise_of_the_clock_they_do_not(terms):
    assert studies(100, terms) < 85


def test_a_clock_beside_the_table_widens_the_interval_by_what_it_is_beside_it():
    off = texts(seconds=[1.1 * runs.STEP * TOKENS] * 24)
    found = one(prediction.predict(off, [draft()], runs.costs(), [K], greedy=True)).speedup
    t = prediction.student(0.95, 24)
    assert math.log(found.high / found.value) == pytest.approx(t * math.log(1.1))


def test_one_text_written_on_a_busy_machine_does_not_make_the_others_doubtful():
    rng = np.random.default_rng(3)
    seconds = runs.STEP * TOKENS * np.exp(NOISE * rng.normal(size=24))
    usual, busy = (
        one(prediction.predict(texts(seconds=s), [draft()], runs.costs(), [K], greedy=True)).speedup
        for s in (seconds, np.where(np.arange(24) == 5, 4.5 * seconds, seconds))
    )
    assert usual.high / usual.low < busy.high / busy.low < 1.3 * (usual.high / usual.low)


def test_where_the_target_samples_acceptance_is_in_doubt_as_well():
    sampled, greedy = (
        one(prediction.predict(texts(), [draft()], runs.costs(), [K], greedy=g)).speedup for g in (False, True)
    )
    assert sampled.value == greedy.value
    assert sampled.high - sampled.low > 0.05
    assert greedy.high - greedy.low < 1e-9


def test_one_text_has_a_value_and_no_interval():
    found = one(prediction.predict(texts(1), [draft(1)], runs.costs(), [K], greedy=True)).speedup
    assert found.value > 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_written_prediction_reads_back_the_same_and_another_version_is_refused(tmp_path):
    found = prediction.predict(texts(), [draft()], runs.costs(), [K], greedy=True)
    prediction.write(tmp_path, found)
    assert prediction.read(tmp_path) == found
    path = tmp_path / prediction.FILE
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match=r"prediction\.json: found specmath\.prediction version 2, expected"):
        prediction.read(tmp_path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="found nothing version 0"):
        prediction.read(tmp_path)


def test_one_texts_written_prediction_keeps_its_unknown_interval(tmp_path):
    prediction.write(tmp_path, prediction.predict(texts(1), [draft(1)], runs.costs(), [K], greedy=True))
    assert math.isnan(one(prediction.read(tmp_path)).speedup.low)
