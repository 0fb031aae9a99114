"""The document of a profile, leaf by leaf, against counts made by hand and rounds walked one by one."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from specmath.cost import Linear, Pair, Table
from specmath.estimate import difference, quotient, ratio
from validate.profile_document import Scored, profile_document
from validate.sampler import Sampler
from validate.scores import TILTS, DraftScores, Score
from validate.texts import Text

K = 3
TEXTS = (  # the first goes round in circles; 3 of 35 tokens follow where the same three stand in the prompt
    Text("a1", "a", (20, 21, 22, 23, 24), (7,) * 21, "budget"),
    Text("b1", "b", (10, 11, 12, 13, 14, 15), (10, 11, 12, 13, 14, 30), "eos"),
    Text("a2", "a", (1, 2, 3, 4, 5, 6), (9, 1, 2, 3, 4, 7, 8), "budget"),
    Text("b2", "b", tuple(range(1000, 1200)), (1, 2, 3, 4, 5), "budget"),
)
COPYABLE = {("b1", 2), ("b1", 3), ("a2", 3)}
AGREES = ([1] * 10 + [0, 1] * 5, [1, 0, 0, 1, 0], [1, 1, 0, 1, 0, 1], [1, 0, 1, 1])
FOUND = (  # what lookup drafts from each token: right or wrong, one by one
    ["", "", "1", *["111"] * 3, "110", "0", "1", *["11"] * 5, "10", "0", "111", "11", "1", ""],
    ["", "", "11", "1", "0"],
    ["0", "", "10", "1", "", "0"],
    ["", "0", "1", ""],
)
RNG = np.random.default_rng(5)
RATIOS = tuple(RNG.lognormal(0.2, 0.8, size=t.tokens) for t in TEXTS)
BETAS = tuple(RNG.uniform(0.3, 0.9, size=t.tokens) for t in TEXTS)

TARGET = Linear(0.75, 0.25, 0.001)
PRICES = {
    "M": Pair(TARGET, Linear(0.3, 0.05), overhead=0.0625),
    "lookup": Pair(
        Table([1, 2, 3] * 2, [1] * 6, [0] * 3 + [999] * 3, [1, 1.1, 1.3, 2, 2.1, 2.3], provenance="measured")
    ),
}


def by_start(drafts):
    """Ratios [K, n] and lengths [n] of a draft that is fixed where the round starts."""
    ratios = np.zeros((K, len(drafts)))
    for start, coins in enumerate(drafts):
        for i, coin in enumerate(coins):
            ratios[i, start + i] = int(coin)
    return ratios, np.array([len(coins) for coins in drafts])


def scores(*, foreign=False):
    """One token ties, or is foreign; e is exp(2) over all."""
    found = []
    for text in TEXTS:
        n, odd = text.tokens, np.arange(text.tokens) == (1 if text.prompt == "a2" else -1)
        level = {"logp": np.full(n, -1.0), "entropy": np.full(n, 1.5), "varentropy": np.full(n, 0.25)}
        whose = {"own": ~odd, "tied": odd & (not foreign), "gap": np.where(odd, 0.125, 0.0)}
        found.append(Score(text.prompt, **level, **whose, evidence=np.full(len(TILTS), 0.5), drafts={}))
    return tuple(found)


def scored(mode="greedy", **how):
    """A model draft with known coins and a lookup, on the four texts."""
    coins = tuple(np.array(c, dtype=float) for c in AGREES) if mode == "greedy" else RATIOS
    ratios, lengths = zip(*map(by_start, FOUND), strict=True)
    drafts = (
        DraftScores("M", "standard", coins, coins if mode == "greedy" else BETAS),
        DraftScores("lookup", "one_hot", ratios, None, lengths),
    )
    return Scored("T", Sampler(0.0 if mode == "greedy" else 1.0), TEXTS, scores(**how), drafts)


def document(mode="greedy", prices=PRICES, **how):
    found = profile_document(scored(mode, **how), prices, K, "here")
    return json.loads(json.dumps(found, allow_nan=False))


@pytest.fixture(scope="module", params=["greedy", "sampled"])
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def found(mode):
    return document(mode)


def numbers(estimate):
    """Value, interval and prompts, NaN where unknown, whether of the JSON or not."""
    values = estimate if isinstance(estimate, dict) else vars(estimate)
    return [math.nan if values[name] is None else values[name] for name in ("value", "low", "high", "prompts")]


def same(found, expected):
    """Whether two estimates say the same."""
    if found is None or expected is None:
        return found is expected
    return numbers(found) == pytest.approx(numbers(expected), rel=1e-9, nan_ok=True)


def walked(rows, k, block=False):
    """Chance [n, 2] that a round starts at each token, not behind a full one or behind one; tested, held by offset."""
    n = len(rows[0])
    starts, tested, held = np.zeros((n + k + 2, 2)), np.zeros(k), np.zeros(k)
    starts[0, 0] = 1
    for at in range(n):
        here, survival, product = starts[at].sum(), 1.0, 1.0
        for i in range(k):
            if at + i >= n:
                break
            coin = rows[min(i, len(rows) - 1)][at + i]
            product *= coin
            after = min(survival, product) if block else survival * min(coin, 1)
            starts[at + i + 1, 0] += here * (survival - after)
            tested[i] += here * survival
            held[i] += here * after
            survival = after
        else:
            starts[at + k + 1, 1] += here * survival
    return starts[:n], tested, held


def rows_of(draft):
    """By text the rows of ratios, and how much there is to draft from each token."""
    lengths = draft.lengths or [[K] * t.tokens for t in TEXTS]
    return [(np.atleast_2d(r), length) for r, length in zip(draft.ratios, lengths, strict=True)]


def rounds(draft, k, block=False):
    """Expected rounds of every text."""
    return [walked(rows, k, block)[0].sum() for rows, _ in rows_of(draft)]


def seconds(draft, pair, k):
    """Seconds of every text's rounds, and of its plain steps."""
    spent, plain = [], []
    for text, (rows, lengths) in zip(TEXTS, rows_of(draft), strict=True):
        total, places = 0.0, [len(text.context) + 1 + at for at in range(text.tokens)]
        for at, chances in enumerate(walked(rows, k)[0]):
            depth = min(k, lengths[at], text.tokens - 1 - at if text.end == "budget" else k)
            for late, chance in enumerate(chances):
                time = pair.target.seconds(depth + 1, context=places[at]) + (pair.overhead if depth else 0)
                if pair.draft and depth:
                    time += (depth - 1) * pair.draft.seconds(1) + pair.draft.seconds(1 + late)
                total += chance * time
        spent.append(total)
        plain.append(sum(pair.target.seconds(1, context=place) for place in places))
    return spent, plain


def columns(draft, mode, texts=TEXTS):
    """What alpha divides, by text: chances over tokens, by offset accepted over tested drafts."""
    if draft.name == "M":
        chances = AGREES if mode == "greedy" else BETAS
        chosen = [sum(c) for c, t in zip(chances, TEXTS, strict=True) if t in texts]
        return chosen, [t.tokens for t in texts]
    over, under = [], []
    for text, (rows, lengths) in zip(TEXTS, rows_of(draft), strict=True):
        n, at = text.tokens, 0
        counts = [0, 0]
        while at < n:
            taken = 0
            while taken < min(lengths[at], K, n - at):
                counts[1] += 1
                if not rows[taken][at + taken]:
                    break
                counts[0] += 1
                taken += 1
            at += taken + 1
        if text in texts:
            over.append(counts[0])
            under.append(counts[1])
    return over, under


def share(draft, mode, pick):
    """Acceptance of first drafts over the tokens that `pick(text, j)` picks; None where none was drafted."""
    sums, counts = [], []
    for i, text in enumerate(TEXTS):
        if draft.name == "M":
            chances = (AGREES if mode == "greedy" else BETAS)[i]
            chosen = [chances[j] for j in range(text.tokens) if pick(text, j)]
        else:
            chosen = [int(FOUND[i][j][0]) for j in range(text.tokens) if pick(text, j) and FOUND[i][j]]
        sums.append(sum(chosen))
        counts.append(len(chosen))
    return ratio(sums, counts, bounds=(0, 1)) if any(counts) else None


def test_alpha_and_what_it_is_over_parts_by_hand():
    """Of the greedy model draft: agreements over tokens, counted in AGREES."""
    model = document()["drafts"][0]
    assert model["alpha"]["value"] == pytest.approx(24 / 35)
    assert model["without_loops"]["value"] == pytest.approx(9 / 15)
    assert {d: of["alpha"]["value"] for d, of in model["by_domain"].items()} == pytest.approx(
        {"a": 19 / 26, "b": 5 / 9}
    )
    assert [(at["band"], at["alpha"] and at["alpha"]["value"]) for at in model["by_position"]] == [
        ("1–16", pytest.approx(22 / 31)),
        ("17–32", pytest.approx(2 / 4)),
        ("33–64", None),
        ("65–128", None),
        ("129+", None),
    ]
    assert [(at["band"], at["alpha"]["value"]) for at in model["by_context"]] == [
        ("1–128", pytest.approx(21 / 31)),
        ("129–512", pytest.approx(3 / 4)),
    ]
    assert model["copyable_share"] == pytest.approx(3 / 35)
    assert model["copyable"]["alpha"]["value"] == pytest.approx(2 / 3)
    assert model["copyable"]["others"]["value"] == pytest.approx(22 / 32)


def test_tokens_per_round_by_hand():
    """k = 1: of the model draft 11, 3, 4 and 2 rounds of 20, 5, 6 and 4 tokens; of lookup 4 and 3 on kind b.

    The residuals of 1.75 per round are 3/4, -1/4, -1 and 1/2; Student's t of four texts is 3.18.
    """
    model, lookup = document()["drafts"]
    assert model["by_k"][0]["block_efficiency"]["value"] == pytest.approx(35 / (11 + 3 + 4 + 2))
    assert model["by_k"][0]["block_efficiency"]["low"] == pytest.approx(1.75 - 3.182446 * 2.5**0.5 / 20)
    assert model["by_k"][0]["block_efficiency"]["high"] == 2.0
    assert model["by_domain"]["b"]["block_efficiency"]["1"]["value"] == pytest.approx(9 / (3 + 2))
    assert lookup["by_domain"]["b"]["block_efficiency"]["1"]["value"] == pytest.approx(9 / (4 + 3))


@pytest.mark.parametrize("place", [0, 1])
class TestOfADraft:
    """Every leaf of one draft, greedy and sampled."""

    @pytest.fixture
    def draft(self, mode, place):
        return scored(mode).drafts[place]

    @pytest.fixture
    def said(self, found, place):
        return found["drafts"][place]

    def test_its_name_and_rule(self, said, draft):
        assert (said["name"], said["rule"]) == (draft.name, draft.rule)

    def test_alpha(self, said, draft, mode):
        assert same(said["alpha"], ratio(*columns(draft, mode), bounds=(0, 1)))

    def test_tokens_per_round_at_every_k(self, said, draft):
        assert [point["k"] for point in said["by_k"]] == [1, 2, 3]
        for point in said["by_k"]:
            k, tokens = point["k"], [t.tokens for t in TEXTS]
            assert same(point["block_efficiency"], ratio(tokens, rounds(draft, k), bounds=(1, k + 1)))

    def test_speedups_at_its_own_prices(self, said, draft):
        """The table of lookup lacks the forward over four tokens."""
        measured = {"M": (1, 2, 3), "lookup": (1, 2)}[draft.name]
        for point in said["by_k"]:
            if point["k"] not in measured:
                assert point["speedup"] is None
                continue
            spent, plain = seconds(draft, PRICES[draft.name], point["k"])
            assert same(point["speedup"], quotient([plain], [spent]))

    def test_what_block_verification_gains(self, said, draft, mode):
        """Nothing at k = 1, more with every draft; greedily, and of a lookup, there is no law to gain from."""
        gains = [point["block_gain"] for point in said["by_k"]]
        if (mode, draft.name) != ("sampled", "M"):
            assert gains == [None] * 3
            return
        assert gains[0]["value"] == pytest.approx(1)
        for k in (2, 3):
            assert same(gains[k - 1], ratio(rounds(draft, k), rounds(draft, k, block=True)))
        assert 1.01 < gains[1]["value"] < gains[2]["value"]

    def test_survival_by_position(self, said, draft):
        tested, held = sum(np.array(walked(rows, K)[1:]) for rows, _ in rows_of(draft))
        assert said["survival"] == pytest.approx([1, *np.cumprod(held / tested)])
        assert said["survival"][0] > said["survival"][1] > said["survival"][3]

    def test_kinds_of_text(self, said, draft, mode):
        assert list(said["by_domain"]) == ["a", "b"]
        for domain, of in said["by_domain"].items():
            texts = [t for t in TEXTS if t.domain == domain]
            assert (of["prompts"], of["loops"]) == (2, {"a": 1, "b": 0}[domain])
            assert same(of["alpha"], ratio(*columns(draft, mode, texts), bounds=(0, 1)))
            for k in (1, 2, 3):
                count = [r for r, t in zip(rounds(draft, k), TEXTS, strict=True) if t in texts]
                expected = ratio([t.tokens for t in texts], count, bounds=(1, k + 1))
                assert same(of["block_efficiency"][str(k)], expected)

    def test_places_in_the_response(self, said, draft, mode):
        bands = {"1–16": (0, 16), "17–32": (16, 32), "33–64": (32, 64), "65–128": (64, 128), "129+": (128, 9999)}
        assert [at["band"] for at in said["by_position"]] == list(bands)
        for at in said["by_position"]:
            first, last = bands[at["band"]]
            assert same(at["alpha"], share(draft, mode, lambda t, j, a=first, b=last: a <= j < b))

    def test_lengths_of_the_prompt(self, said, draft, mode):
        bands = {"1–128": [t for t in TEXTS if t.prompt != "b2"], "129–512": [TEXTS[3]]}
        assert [at["band"] for at in said["by_context"]] == list(bands)
        for at in said["by_context"]:
            assert same(at["alpha"], ratio(*columns(draft, mode, bands[at["band"]]), bounds=(0, 1)))

    def test_what_could_be_copied(self, said, draft, mode):
        assert said["copyable_share"] == pytest.approx(3 / 35)
        assert same(said["copyable"]["alpha"], share(draft, mode, lambda t, j: (t.prompt, j) in COPYABLE))
        assert same(said["copyable"]["others"], share(draft, mode, lambda t, j: (t.prompt, j) not in COPYABLE))

    def test_texts_that_go_round_in_circles_are_left_out(self, said, draft, mode):
        assert same(said["without_loops"], ratio(*columns(draft, mode, TEXTS[1:]), bounds=(0, 1)))


def compared(mode, texts):
    """The difference of alpha, the higher one first."""
    sides = {draft.name: columns(draft, mode, texts) for draft in scored(mode).drafts}
    a, b = sorted(sides, key=lambda name: -sum(sides[name][0]) / sum(sides[name][1]))
    return a, b, difference(*sides[a], *sides[b])


def test_drafts_are_compared_on_all_texts_and_within_each_kind(found, mode):
    kinds = {"all": TEXTS, "a": [TEXTS[0], TEXTS[2]], "b": [TEXTS[1], TEXTS[3]]}
    said = {"all": found["pairs"], **found["pairs_by_domain"]}
    assert list(said) == list(kinds)
    for kind, (pair,) in said.items():
        a, b, expected = compared(mode, kinds[kind])
        assert (pair["a"], pair["b"]) == (a, b)
        assert same(pair["difference"], replace(expected, low=max(expected.low, -1.0), high=min(expected.high, 1.0)))


def test_texts_loops_and_stops_are_counted(found, mode):
    assert (found["target"], found["source"]) == ("T", "here")
    assert found["sampler"] == {"temperature": float(mode == "sampled"), "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert (found["text"]["prompts"], found["text"]["tokens"]) == (4, 35)
    assert found["loops"] == {"texts": 1, "of": 4}
    assert found["stopped_early"] == 1


def test_the_hash_is_that_of_the_texts(mode):
    given = scored(mode)
    shorter = replace(given, texts=(*TEXTS[:3], replace(TEXTS[3], output=(1, 2, 3, 4, 6))))
    hashes = [profile_document(s, {}, K, "")["text"]["sha256"] for s in (given, given, shorter)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_whose_text_it_is(found, mode):
    """log p lies half a nat above its mean at each of 34 tokens of the target's own; 35 varentropies of 1/4."""
    z = None if mode == "greedy" else pytest.approx(34 * 0.5 / (35 * 0.25) ** 0.5)
    assert found["own_text"] == {
        "tokens": 35,
        "foreign": 0,
        "ties": 1,
        "widest_tie": 0.125,
        "z": z,
        "log_evidence": pytest.approx(2.0),
        "own": True,
    }


def test_foreign_tokens_are_counted(mode):
    own = document(mode, foreign=True)["own_text"]
    assert (own["foreign"], own["ties"], own["widest_tie"], own["own"]) == (1, 0, 0.0, False)


def test_the_best_is_the_fastest_where_prices_are_known_and_else_the_one_of_most_tokens():
    """The model draft emits more tokens and is dearer."""
    paid, unpaid = document()["best"], document(prices={})["best"]
    assert (paid["draft"], paid["k"], unpaid["draft"], unpaid["k"]) == ("lookup", 2, "M", 3)
    model, lookup = document()["drafts"]
    assert same(paid["speedup"], lookup["by_k"][1]["speedup"])
    assert same(paid["block_efficiency"], lookup["by_k"][1]["block_efficiency"])
    assert unpaid["speedup"] is None
    assert same(unpaid["block_efficiency"], model["by_k"][2]["block_efficiency"])


def test_a_draft_without_a_price_is_not_the_fastest():
    assert document(prices={"lookup": PRICES["lookup"]})["best"]["draft"] == "lookup"
    assert document(prices={"M": PRICES["M"]})["best"]["draft"] == "M"


def dear(overhead):
    """Prices of the model draft alone, with so many seconds besides in every round."""
    return {"M": replace(PRICES["M"], overhead=overhead)}


@pytest.mark.parametrize(
    ("overhead", "holds", "verdict"),
    [
        (0.0, lambda s: s["low"] > 1, "use"),
        (0.0625, lambda s: s["low"] < 1 < s["value"], "measure_more"),
        (0.3, lambda s: s["value"] < 1 < s["high"], "measure_more"),
        (0.6, lambda s: s["high"] < 1, "dont_use"),
    ],
    ids=["gains", "seems to gain", "seems to lose", "loses"],
)
def test_the_interval_decides(overhead, holds, verdict):
    found = document(prices=dear(overhead))
    assert holds(found["best"]["speedup"])
    assert found["verdict"] == verdict


def test_without_prices_nothing_is_decided():
    found = document(prices={})
    assert (found["verdict"], found["best"]["speedup"]) == ("measure_more", None)


@pytest.mark.parametrize("overhead", [0.0, 0.6])
def test_foreign_text_decides_nothing(overhead):
    assert document(prices=dear(overhead), foreign=True)["verdict"] == "measure_more"
