"""Predictions: their value by another route, intervals that hold as often as they say, and what is written down."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.special import stdtrit

from specmath.draft import Chain
from specmath.intervals import quotient
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


def test_a_kind_of_text_is_predicted_by_its_own_texts_alone():
    mixed = replace(draft(), ratios=tuple(np.full(TOKENS, float(i % 2)) for i in range(24)))
    found = prediction.predict(texts(), [mixed], runs.costs(), [K], greedy=True)
    for start, kind in enumerate("ab"):
        own = replace(mixed, ratios=mixed.ratios[start::2])
        alone = prediction.predict(texts()[start::2], [own], runs.costs(), [K], greedy=True)
        assert one(found, kind).speedup.value == pytest.approx(one(alone).speedup.value)
        assert one(found, kind).breakdown.tokens == pytest.approx(one(alone).breakdown.tokens)
        assert one(found, kind).speedup.prompts == 12
    assert one(found, "a").speedup.value < 1 < one(found, "b").speedup.value


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


def test_a_draft_that_finds_one_token_pays_for_accepting_one_whatever_the_deepest_would_cost():
    prices = runs.costs()
    prices.sweeps[:] = [replace(sweep, accept=(0.0, 0.125, 64.0, 64.0, 64.0)) for sweep in prices.sweeps]
    single = replace(draft(), lengths=(np.ones(TOKENS, dtype=int),) * 24)
    found = one(prediction.predict(texts(), [single], prices, [K], greedy=True)).breakdown
    assert 0.1 < found.overhead < 0.125, "the last token of the budget is a plain step"


TERMS = ("_table", "_sweeps", "_run", "_level", "_acceptance", "_coins")


@cache
def planted(prompts, pace=0.0, count=200):
    """Prices and measurement of so many studies with the noise of table and clock planted.

    `pace` is how much verification changes its pace from sweep to sweep and from text to text.
    """
    rng, coins, made = np.random.default_rng(5), draft(prompts), []
    truth = priced(Replay(coins.ratios), coins, texts(prompts), runs.costs().pair("lookup"), K)
    for _ in range(count):
        written, first, again = truth.plain * np.exp(NOISE * rng.normal(size=(3, prompts)))
        spec = truth.seconds * np.exp(NOISE * rng.normal(size=prompts)) * np.exp(pace * rng.normal(size=prompts))
        prices = unsteady(noisy(runs.costs(), rng, 0.02), rng, pace)
        found = prediction._Prices(texts(prompts, seconds=written), coins, prices, K)
        made.append((found, (first + again).sum() / 2 / spec.sum()))
    return made


def forecast_of(prices, terms, *, greedy=True, domain="all"):
    """The forecast with some of its terms only."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(TERMS) - set(terms):
            nothing = [(0.0, 1)] if name == "_acceptance" else (0.0, 1)
            patch.setattr(prediction._Prices, name, lambda *_, nothing=nothing: nothing)
        return prices.forecast(domain, greedy=greedy).speedup


def holding(studies, terms=TERMS):
    """How many of these studies measured inside their interval."""
    found = [(forecast_of(prices, terms), measured) for prices, measured in studies]
    return sum(f.low <= measured <= f.high for f, measured in found)


def unsteady(prices, rng, pace):
    """Every sweep's forwards over several tokens at a pace of its own."""
    paces = np.exp(pace * rng.normal(size=len(prices.sweeps)))
    return Costs(
        [
            replace(s, cells={c: seconds * (p if c.n > 1 else 1) for c, seconds in s.cells.items()})
            for s, p in zip(prices.sweeps, paces, strict=True)
        ]
    )


@pytest.mark.parametrize("prompts", [3, 8, 24])
def test_stated_intervals_hold_at_least_as_often_as_they_say(prompts):
    """200 studies at 95 %: fewer than 182 would happen to an honest interval once in a hundred times."""
    assert holding(planted(prompts)) >= 182


def test_intervals_are_no_wider_than_what_they_are_for():
    """Half-widths over 1.96 standard deviations of what they should hold: 1 for one who knows every spread.

    The noise of the run is s^2 1.5 / n. That of the median over n texts, (pi / 2) s^2 / n, looks like a level that the
    table misses, which makes sqrt(1 + 1.57 / 1.5) = 1.43; the sweeps and Student's t make it 1.6.
    """
    found = [(forecast_of(prices, TERMS), measured) for prices, measured in planted(24)]
    errors = [math.log(measured / f.value) for f, measured in found]
    halves = [math.log(f.high / f.value) for f, _ in found]
    assert 1.4 < np.median(halves) / (1.96 * np.std(errors)) < 1.7


def test_a_verification_that_changes_its_pace_is_covered_because_the_sweeps_show_it():
    """What no plain run shows: without that term fewer would hold."""
    assert holding(planted(24, 0.15)) >= 182
    assert holding(planted(24, 0.15), ("_run", "_level")) < 140


@pytest.mark.parametrize("terms", [("_table",), ("_level",), ()])
def test_without_the_noise_of_the_clock_they_do_not(terms):
    assert holding(planted(24), terms) < 170


def test_a_clock_beside_the_table_widens_the_interval_by_what_it_is_beside_it():
    off = texts(seconds=[1.1 * runs.STEP * TOKENS] * 24)
    found = one(prediction.predict(off, [draft()], runs.costs(), [K], greedy=True)).speedup
    assert math.log(found.high / found.value) == pytest.approx(stdtrit(23, 0.975) * math.log(1.1))


def test_the_clock_of_one_run_and_two_plain_ones_widens_the_interval_by_what_they_spread():
    """log(written / priced) of -.1, -.05, .05, .1: their median is 0, their Qn 2.2219 x .512 x .1."""
    steps, same = np.exp([-0.1, -0.05, 0.05, 0.1]), draft(1)
    coins = replace(same, ratios=same.ratios * 4)
    written = texts(4, seconds=runs.STEP * TOKENS * steps)
    found = one(prediction.predict(written, [coins], runs.costs(), [K], greedy=True)).speedup
    spread = 2.2219 * 0.512 * 0.1
    expected = stdtrit(1.5, 0.975) * spread * math.sqrt(1.5 / 4)
    assert math.log(found.high / found.value) == pytest.approx(expected)


def test_one_text_written_on_a_busy_machine_does_not_make_the_others_doubtful():
    rng = np.random.default_rng(3)
    seconds = runs.STEP * TOKENS * np.exp(NOISE * rng.normal(size=24))
    usual, busy = (
        one(prediction.predict(texts(seconds=s), [draft()], runs.costs(), [K], greedy=True)).speedup
        for s in (seconds, np.where(np.arange(24) == 5, 4.5 * seconds, seconds))
    )
    assert usual.high / usual.low < busy.high / busy.low < 1.3 * (usual.high / usual.low)


def sampled(texts_in_all, kinds, rng):
    """Prices of texts whose acceptance differs, and those of as many others of the same kinds."""
    alphas, noiseless = rng.beta(7, 3, size=(2, texts_in_all)), texts(texts_in_all)
    named = tuple(replace(text, domain=str(i % kinds)) for i, text in enumerate(noiseless))
    for row in alphas:
        ratios = tuple((rng.random(TOKENS) < alpha).astype(float) for alpha in row)
        yield prediction._Prices(named, DraftScores("lookup", "one_hot", ratios), runs.costs(), K)


def of_others(count, texts_in_all, kinds):
    """Forecasts of the first kind where the target samples, and what other texts of it then measured."""
    rng = np.random.default_rng(11)
    for _ in range(count):
        scored, others = sampled(texts_in_all, kinds, rng)
        first = np.arange(texts_in_all) % kinds == 0
        measured = others.parts.plain[first].sum() / others.parts.seconds[first].sum()
        yield forecast_of(scored, ("_acceptance",), greedy=False, domain="0"), measured


@pytest.mark.parametrize("kinds", [1, 2, 7])
def test_where_the_target_samples_intervals_are_for_other_texts_also_of_small_kinds(kinds):
    """28 texts, as few as 4 of a kind, 400 studies: fewer than 369 would happen once in a hundred times."""
    found = list(of_others(400, 28, kinds))
    assert sum(f.low <= measured <= f.high for f, measured in found) >= 369


def test_where_the_target_samples_the_interval_is_that_of_the_quotient_of_texts_to_come():
    scored, _ = sampled(28, 1, np.random.default_rng(2))
    found = scored.forecast("0", greedy=False).speedup
    expected = quotient([scored.parts.plain], [scored.parts.seconds], ahead=28)
    assert math.log(found.high / found.value) == pytest.approx(expected.half_width / expected.value)
    greedy = scored.forecast("0", greedy=True).speedup
    assert greedy.high - greedy.low < 1e-9


def redecoded(prices, rng):
    """The quotient that real coins measure: the rounds of every text drawn one by one, at the table's prices."""
    pair, spec = prices._costs.pair("lookup"), 0.0
    for text, ratios in zip(prices.texts, prices.draft.ratios, strict=True):
        at = 0
        while at < text.tokens:
            depth, taken = min(K, text.tokens - at - 1), 0
            context = len(text.context) + 1 + at
            time = pair.round(Chain(depth), context=context).total if depth else pair.step(context=context)
            while taken < depth and rng.random() < ratios[at + taken]:
                taken += 1
            at, spec = at + taken + 1, spec + time
    return prices.parts.plain.sum() / spec


def of_a_model_draft(means, rng):
    """Prices of texts of kinds with these mean acceptances, every prompt of a kind like the others."""
    ratios = tuple(rng.beta(700 * mean, 700 * (1 - mean), size=TOKENS) for mean in means)
    kinds = {mean: str(i) for i, mean in enumerate(dict.fromkeys(means))}
    named = tuple(replace(t, domain=kinds[mean]) for t, mean in zip(texts(len(means)), means, strict=True))
    return prediction._Prices(named, DraftScores("lookup", "standard", ratios), runs.costs(), K)


@pytest.mark.parametrize(
    "means", [(0.7,) * 8, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3) * 4], ids=["one kind", "seven kinds"]
)
def test_where_the_target_samples_the_coins_of_the_run_are_in_the_interval(means):
    """200 studies: fewer than 182 inside happen once in a hundred times; kinds that differ make it no wider."""
    rng, terms = np.random.default_rng(13), ("_acceptance", "_coins")
    made = [of_a_model_draft(means, rng) for _ in range(200)]
    found = [(forecast_of(prices, terms, greedy=False), redecoded(prices, rng)) for prices in made]
    assert sum(f.low <= measured <= f.high for f, measured in found) >= 182
    errors = [math.log(measured / f.value) for f, measured in found]
    halves = [math.log(f.high / f.value) for f, _ in found]
    assert np.median(halves) / (1.96 * np.std(errors)) < 1.25
    without = [
        (forecast_of(prices, ("_acceptance",), greedy=False), measured)
        for prices, (_, measured) in zip(made, found, strict=True)
    ]
    assert sum(f.low <= measured <= f.high for f, measured in without) < 150


def test_a_kind_without_a_spread_of_its_own_borrows_that_of_all_texts():
    mixed = replace(draft(8), ratios=(np.ones(TOKENS), *draft(7).ratios))
    named = tuple(replace(text, domain="alone" if i == 0 else "others") for i, text in enumerate(texts(8)))
    found = prediction.predict(named, [mixed], runs.costs(), [K], greedy=False)
    together = prediction.predict(texts_of_one_kind(named), [mixed], runs.costs(), [K], greedy=False)
    alone, every = one(found, "alone").speedup, one(together).speedup
    ratio = math.log(alone.high / alone.value) / math.log(every.high / every.value)
    assert ratio == pytest.approx(math.sqrt(8))


def texts_of_one_kind(named):
    return tuple(replace(text, domain="others") for text in named)


def test_texts_without_any_spread_have_no_interval_where_the_target_samples():
    same = replace(draft(4), ratios=(np.ones(TOKENS),) * 4)
    found = one(prediction.predict(texts(4), [same], runs.costs(), [K], greedy=False)).speedup
    assert math.isnan(found.low)


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
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(ValueError, match=r"prediction\.json: found specmath\.prediction version 3, expected"):
        prediction.read(tmp_path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="found nothing version 0"):
        prediction.read(tmp_path)


def test_one_texts_written_prediction_keeps_its_unknown_interval(tmp_path):
    prediction.write(tmp_path, prediction.predict(texts(1), [draft(1)], runs.costs(), [K], greedy=True))
    assert math.isnan(one(prediction.read(tmp_path)).speedup.low)
