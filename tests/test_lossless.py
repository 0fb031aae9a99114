"""The lossless test: honest decoders pass, every lossy rule and wild bug is found, and both rates are as stated."""

import itertools

import numpy as np
import pytest
from scipy import stats

from specmath import acceptor
from specmath.sampling import warp
from tests.toy_decoders import HONEST, WRONG, observed, toy
from validate.betting import BY_CONTEXT, ContextBet, PooledBet, context_wealth
from validate.directions import Observations, directions
from validate.lossless import GreedyTest, SampledTest
from validate.mismatch import Mismatch, faults_of, mismatch
from validate.power import deviating, power

SAMPLE = 30_000  # tokens at which the power at total variation .03 is .9 or more
LONGER = {"T4 bfloat16 drawn, float32 shown": 200_000}


def run(found, rule, tokens, seed, *, stop=True, rounds=2000):
    rng, test = np.random.default_rng(seed), SampledTest()
    while test.tokens < tokens and not (stop and test.failed):
        test.observe(observed(found, rounds, rng, rule))
    return test


# --- the level ---------------------------------------------------------------------------------------------------


def test_of_200_honest_decoders_no_more_fail_than_five_per_cent_allow():
    """Looked at after every token; more than 17 have a chance of .011 at exactly .05."""
    tests = [run(toy(seed=seed), HONEST, 1, 1000 + seed, rounds=1000) for seed in range(200)]
    assert sum(test.tokens for test in tests) > 300_000
    assert sum(test.failed for test in tests) <= 17
    for level in (0.1, 0.2, 0.5):
        assert sum(test.p_value <= level for test in tests) <= stats.binom.ppf(0.99, 200, level)
    assert all(test.failed == (test.p_value <= 0.05) for test in tests)


@pytest.mark.slow
def test_of_200_honest_decoders_of_the_whole_sample_no_more_fail_than_five_per_cent_allow():
    alarms = sum(run(toy(seed=seed), HONEST, SAMPLE, 2000 + seed).failed for seed in range(200))
    print(f"{alarms} of 200 honest decoders fail in {SAMPLE} tokens")
    assert alarms <= 17


def test_a_truncated_law_gives_an_honest_decoder_no_fault():
    test = run(toy(top_p=0.8, temperature=0.7), HONEST, 5000, 0)
    assert (test.failed, test.faults) == (False, [])


def _next_factors(seen):
    """Every bet's factors for every next token [V, concentrations], after the same history."""
    history, vocabulary = seen[np.arange(len(seen) - 1)], seen.p.shape[1]
    for token in range(vocabulary):
        last = seen[np.array([len(seen) - 1])]
        last = Observations(
            last.contexts, last.p, np.array([token]), last.suspects, last.previous, np.minimum(last.position, 2)
        )
        bets = {name: PooledBet() for name in directions(history)}
        found = {}
        for name, bins in directions(history).items():
            bets[name].observe(bins)
            found[name] = bets[name].observe(directions(last)[name])[0]
        context = ContextBet()
        numbers = {c: i for i, c in enumerate(dict.fromkeys([*history.contexts.tolist(), *last.contexts.tolist()]))}
        context.observe(np.array([numbers[c] for c in history.contexts.tolist()]), history.p, history.tokens)
        again = np.array([numbers[c] for c in last.contexts.tolist()])
        found["by context"] = context.observe(again, last.p, last.tokens)[0]
        yield found


@pytest.mark.parametrize("vocabulary", [5, 40])
def test_every_bet_is_fair_whatever_it_has_learned(vocabulary):
    """The mean of the factor under p is 1 exactly: what makes the level hold; 40 tokens is more than a head."""
    seen = observed(toy(vocabulary=vocabulary, prompts=1), 60, np.random.default_rng(3), WRONG["lenience .7"])
    p = seen.p[-1]
    factors = list(_next_factors(seen))
    for name in factors[0]:
        means = sum(p[x] * np.exp(factors[x][name]) for x in range(vocabulary))
        np.testing.assert_allclose(means, 1, atol=1e-12, err_msg=name)


def test_an_unfair_bet_would_be_noticed():
    seen = observed(toy(prompts=1), 60, np.random.default_rng(3))
    bins = directions(seen)["rank"]
    honest, unfair = PooledBet(), PooledBet()
    fair = honest.observe(bins)
    more = unfair.observe(type(bins)(bins.a, bins.pi * 0.9))
    assert more.sum() > fair.sum() + 1


def test_the_order_of_batches_is_no_matter():
    seen = observed(toy(), 500, np.random.default_rng(0), WRONG["lenience .9"])
    whole, pieces = SampledTest(), SampledTest()
    whole.observe(seen)
    for start in range(0, len(seen), 37):
        pieces.observe(seen[start : start + 37])
    assert whole.p_value == pytest.approx(pieces.p_value)
    assert (whole.tokens, whole.contexts, whole.found) == (pieces.tokens, pieces.contexts, pieces.found)


def test_the_closed_form_of_the_bets_by_context_is_the_product_of_their_factors():
    seen = observed(toy(), 400, np.random.default_rng(0))
    bet, numbers = ContextBet(), np.unique(seen.contexts, return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")  # numbered as they come
    product = bet.observe(numbers[order], seen.p[order], seen.tokens[order]).sum(axis=0)
    np.testing.assert_allclose(context_wealth(bet.counts, bet.laws).sum(axis=0), product, atol=1e-7)
    assert len(product) == len(BY_CONTEXT)


# --- the power ---------------------------------------------------------------------------------------------------


def laws_of(found):
    laws = found.warp(found.target).reshape(-1, found.vocabulary)
    return np.pad(laws, ((0, 0), (0, 1)))


@pytest.mark.parametrize("tv", [0.01, 0.03, 0.1])
def test_a_deviating_law_is_a_law_at_that_distance(tv):
    laws = laws_of(toy(spread=1.0))
    found = deviating(laws, tv, np.random.default_rng(0), 20)
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    distance = abs(found - laws).sum(axis=-1) / 2
    assert (distance <= 1.02 * tv).all()
    assert np.mean(distance) > 0.98 * tv
    assert (found[..., -1] == 0).all()


def test_a_certain_law_has_nowhere_to_go():
    certain = np.array([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(deviating(certain, 0.03, np.random.default_rng(0)), certain[None])


@pytest.mark.parametrize(("vocabulary", "prompts"), [(6, 8), (8, 6), (12, 4)])
def test_the_power_at_three_points_is_nine_tenths_at_the_stated_sample(vocabulary, prompts):
    laws = laws_of(toy(vocabulary=vocabulary, prompts=prompts))
    counts = np.full(len(laws), SAMPLE // len(laws))
    bar = -np.log(0.025)
    assert power(counts, laws, 0.03, bar) >= 0.9
    assert power(counts, laws, 0.0, bar) <= 0.05
    assert power(counts // 6, laws, 0.03, bar) < 0.3


def test_the_stated_power_is_that_of_reaching_the_alarm_by_contexts_alone():
    """They have half of the first wealth."""
    test, law = SampledTest(false_alarm=0.1), np.full((2000, 4), 0.25)
    test.observe(Observations(np.zeros(2000, int), law, np.arange(2000) % 4))
    stated = power(np.array([2000]), np.pad(law[:1], ((0, 0), (0, 1))), 0.03, np.log(20))
    assert 0.05 < test.finding().power[0.03] < 0.95
    assert test.finding().power[0.03] == pytest.approx(stated, abs=0.01)


def found_share(tokens, tv, runs):
    """How many of so many decoders, each wrong in its own way, the whole test finds."""
    hits = 0
    for seed in range(runs):
        rng, laws = np.random.default_rng(seed), laws_of(toy(seed=seed))
        wrong = deviating(laws, tv, rng)[0]
        contexts = rng.integers(len(laws), size=tokens)
        drawn = acceptor.draw(wrong[contexts], rng.random(tokens), xp=np)
        test = SampledTest()
        test.observe(Observations(contexts, laws[contexts, :-1], drawn))
        hits += test.failed
    return hits / runs


def test_the_whole_test_finds_what_the_stated_power_says():
    assert found_share(SAMPLE, 0.03, 12) >= 0.9


@pytest.mark.slow
def test_the_stated_power_is_no_more_than_the_true_one():
    laws = laws_of(toy())
    for tokens in (10_000, 15_000, 20_000, SAMPLE):
        stated = power(np.full(len(laws), tokens // len(laws)), laws, 0.03, -np.log(0.025))
        true = found_share(tokens, 0.03, 200)
        assert stated <= true + 2.6 * np.sqrt((stated * (1 - stated) + true * (1 - true)) / 200)
        print(f"{tokens} tokens: stated {stated:.3f}, found {true:.3f}")


def test_too_small_a_sample_cannot_tell_and_says_how_much_more_it_takes():
    short = run(toy(), HONEST, 5000, 0).finding()
    assert (short.verdict, short.tokens < short.needed < 40_000) == ("cannot_tell", True)
    enough = run(toy(), HONEST, short.needed, 0).finding()
    assert (enough.verdict, enough.needed, enough.power[0.03] >= 0.9) == ("pass", None, True)
    assert list(enough.power.values()) == sorted(enough.power.values())


# --- what is found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG)
def test_a_lossy_rule_or_a_bug_is_found(name):
    tokens = LONGER.get(name, SAMPLE)
    test = run(toy(), WRONG[name], tokens, 1)
    assert test.failed
    assert test.found <= tokens


@pytest.mark.slow
def test_tokens_until_each_is_found():
    for name, rule in WRONG.items():
        found = sorted(run(toy(), rule, 400_000, seed).found for seed in range(21))
        print(f"| {name} | {found[10]:,} | {found[-1]:,} |")
        assert found[10] <= LONGER.get(name, SAMPLE)


def never_twice(n, wrong, seed=0, vocabulary=2000):
    """A text of a large vocabulary that meets no context twice; a share of the tokens comes from the draft."""
    rng = np.random.default_rng(seed)
    raw = 3 * rng.standard_normal((n, vocabulary))
    p, q = (warp(logits, xp=np) for logits in (raw, raw + rng.standard_normal(raw.shape)))
    law = np.where(rng.random((n, 1)) < wrong, q, p)
    return Observations(np.arange(n), p, acceptor.draw(law, rng.random(n), xp=np), {"the draft": q})


def test_where_no_context_comes_twice_a_lean_towards_the_draft_is_found():
    test = SampledTest()
    test.observe(never_twice(3000, 0.3))
    assert test.failed
    found = test.finding()
    assert (found.leading, found.verdict) == ("towards the draft", "fail")


def test_where_no_context_comes_twice_a_pass_is_not_to_be_had():
    test = SampledTest()
    test.observe(never_twice(1500, 0.0))
    found = test.finding()
    assert (found.verdict, found.power[0.03], found.needed, found.contexts) == ("cannot_tell", 0.0, None, 1500)
    assert list(found.leaning.values()) == sorted(found.leaning.values())
    assert found.leaning[0.01] < 0.5 < found.leaning[0.1] == 1.0


def test_the_stated_power_towards_the_draft_is_that_of_decoders_that_follow_it():
    stated, rates = SampledTest(), {}
    stated.observe(never_twice(2000, 0.0))
    seen = never_twice(2000, 0.0)
    distance = np.mean(abs(seen.p - seen.suspects["the draft"]).sum(axis=1)) / 2
    power = stated.finding().leaning
    for tv in (0.03, 0.05):
        rates[tv] = np.mean([fails(never_twice(2000, tv / distance, seed, 200)) for seed in range(12)])
    assert rates[0.05] >= power[0.05] - 0.2
    assert rates[0.03] >= power[0.03] - 0.3


def fails(seen):
    test = SampledTest()
    test.observe(seen)
    return test.failed


@pytest.mark.parametrize(("token", "why"), [(2, "probability 0"), (3, "not among"), (-1, "not among")])
def test_one_impossible_token_is_enough(token, why):
    test = SampledTest()
    test.observe(Observations(np.zeros(3, int), np.array([[0.5, 0.5, 0.0]] * 3), np.array([0, token, 1])))
    assert (test.found, test.tokens, len(test.faults)) == (2, 3, 1)
    assert why in test.faults[0]
    assert test.finding().verdict == "fail"


def test_an_impossible_token_within_rounding_is_a_tie():
    test = SampledTest()
    tied = np.array([False, True, False])
    law = np.array([[0.5, 0.5, 0.0]] * 3)
    test.observe(Observations(np.zeros(3, int), law, np.array([0, 2, 1]), tied=tied))
    assert (test.failed, test.ties, test.faults) == (False, 1, [])


def test_a_plain_decoder_that_fails_too_leaves_nothing_to_say():
    test = run(toy(), WRONG["lenience .7"], SAMPLE, 0)
    assert test.finding(drifts=True).verdict == "cannot_tell"


def test_the_worst_context_is_the_one_that_is_wrong():
    rng, law = np.random.default_rng(0), np.full((6, 4), 0.25)
    wrong = np.where(np.arange(6)[:, None] == 3, [0.45, 0.05, 0.25, 0.25], law)
    contexts = rng.integers(6, size=6000)
    test = SampledTest()
    test.observe(Observations(contexts, law[contexts], acceptor.draw(wrong[contexts], rng.random(6000), xp=np)))
    context, deviation = test.finding().worst
    assert context == 3
    assert deviation == pytest.approx(0.2, abs=0.05)


def test_a_false_alarm_rate_is_between_0_and_1():
    with pytest.raises(ValueError, match="false_alarm: found 0"):
        SampledTest(false_alarm=0)


# --- impossible texts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        ([1, 2, 3, 4], "4 tokens where the budget is 3"),
        ([1, 9, 2], "behind the end-of-text"),
        ([1, 2], "ends after 2 of 3"),
        ([1, -1, 2], "id -1"),
        ([1, 10, 2], "id 10"),
    ],
)
def test_an_impossible_text_is_a_fault(tokens, fault):
    """T28, T29."""
    (found,) = faults_of(tokens, eos={9}, budget=3, vocabulary=10)
    assert fault in found


@pytest.mark.parametrize("tokens", [[1, 2, 3], [1, 9], [9], [1, 2, 9]])
def test_a_possible_text_is_none(tokens):
    assert faults_of(tokens, eos={9}, budget=3, vocabulary=10) == []


# --- greedy ------------------------------------------------------------------------------------------------------


PLAIN = [3, 1, 4, 1, 5, 9, 2, 6] * 5


def logits(gap):
    """The plain decoder's token first, the other behind it by a gap, at the scale of a real model's logits."""

    def row(prefix):
        found = np.full(12, -20.0)
        found[PLAIN[len(prefix)]], found[11] = 18.0, 18.0 - gap
        return found

    return row


def planted(gap, *, dtype="bfloat16", drift=0, wrong=10):
    """At token 20 speculation says 11 in `wrong` of 10 prompts, the plain decoder, run again, in `drift` of them."""
    test, other = GreedyTest(dtype), [*PLAIN[:20], 11, *PLAIN[21:]]
    for i in range(10):
        plain = [PLAIN, other if i < drift else PLAIN]
        test.compare(i, plain, [other if i < wrong else PLAIN] * 2, logits(gap))
    return test.finding()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_T31_ties_and_defects_are_told_apart(dtype):
    tie = {"float32": 2.0**-18, "bfloat16": 0.125, "float16": 2.0**-6}[dtype]
    tied, broken = planted(tie, dtype=dtype), planted(4.0, dtype=dtype)
    assert (tied.verdict, tied.ties, tied.structural) == ("pass", 20, 0)
    assert (broken.verdict, broken.ties, broken.structural) == ("fail", 0, 20)
    assert broken.worst == (0, 4.0)


def test_T31_an_engine_that_drifts_by_itself_is_not_blamed_on_speculation():
    assert planted(4.0, drift=10).verdict == "cannot_tell"
    assert planted(4.0, drift=10).drift
    assert planted(4.0, drift=9, wrong=8).verdict == "cannot_tell"


def test_T31_speculation_that_differs_far_more_often_than_the_engine_drifts_is_blamed():
    assert planted(4.0, drift=1, wrong=10).verdict == "fail"


def test_equal_greedy_texts_pass_with_the_power_their_length_gives():
    found = planted(4.0, wrong=0)
    assert (found.verdict, found.tokens) == ("pass", 10 * len(PLAIN))
    assert found.power[0.01] == pytest.approx(1 - 0.99**400)


def test_few_greedy_tokens_cannot_tell():
    test = GreedyTest("float32")
    test.compare("a", [PLAIN], [PLAIN], logits(1.0))
    found = test.finding()
    assert (found.verdict, found.tokens, found.needed) == ("cannot_tell", 40, 76)


def test_a_fault_fails_whatever_the_tokens():
    test = GreedyTest("float32")
    test.fault("has id -1 at token 3, which is none")
    assert test.finding().verdict == "fail"


@pytest.mark.parametrize("text", [PLAIN[:5], [*PLAIN[:5], -1], [*PLAIN[:5], 99]])
def test_a_text_cut_short_or_an_id_that_is_none_is_no_tie(text):
    assert mismatch(PLAIN, text, logits(0.0)) == Mismatch(5, np.inf, 20.0)


def test_a_token_far_from_the_top_is_no_tie_even_where_the_top_two_are():
    row = np.array([5.0, 5.0, 1.0])
    gaps = [mismatch([0], [x], lambda prefix: row).gap for x in (1, 2)]
    assert gaps == [0.0, 4.0]


def test_equal_texts_have_no_mismatch():
    assert mismatch(PLAIN, list(PLAIN), logits(1.0)) is None


def test_ties_scale_with_the_dtype():
    gaps = [2.0**-k for k in range(1, 25)]
    widest = [max(g for g in gaps if Mismatch(0, g, 16.0).tied(d)) for d in ("bfloat16", "float16", "float32")]
    assert all(a > b for a, b in itertools.pairwise(widest))
