"""Replay of given texts: numbers known from enumeration, the walks they stand for, and what is refused."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specmath.cost import Linear, Outside, Pair, Ratio, Table
from specmath.renewal import Walk
from specmath.replay import Replay
from specmath.tally import NotIdentifiable

EXAMPLE = [0.9, 0.4, 1, 0.75, 0.2, 0.85, 0.6, 0.95]
UNCLIPPED = [1.4, 0.5, 1.1, 0.8, 2, 0.3, 1.2, 0.9]
LONGER = [37 * j % 101 / 100 for j in range(1, 201)]
RUNS = np.where(np.arange(400) // 20 % 2 == 0, 0.95, 0.45)  # 20 easy tokens, 20 hard ones, and so on
MICRO = 5e-7  # half a unit of the last digit of the numbers below


def close(value):
    return pytest.approx(value, abs=MICRO)


def walk(flags, k):
    """How the rounds of one pattern of accepted and rejected cut a text: the tokens of each."""
    lengths, run = [], 0
    for flag in flags:
        over = run == k or not flag
        run += 1
        if over:
            lengths.append(run)
            run = 0
    return lengths + [run] * (run > 0)


# --- known numbers: enumeration of all 2^8 patterns, exact recursions -------------------------------------------------


@pytest.mark.parametrize(
    ("k", "rounds", "variance", "block_efficiency"),
    [
        (1, 5.001960, 0.224676, 1.599373),
        (2, 3.854460, 0.577338, 2.075518),
        (3, 3.652500, 0.628844, 2.190281),
        (4, 3.405000, 0.830635, 2.349486),
        (5, 3.348960, 0.909187, 2.388801),
        (8, 3.300000, 1.045000, 2.424242),
    ],
)
def test_the_worked_example(k, rounds, variance, block_efficiency):
    replay = Replay([EXAMPLE])
    assert replay.rounds(k).tolist() == [close(rounds)]
    assert replay.variance(k).tolist() == [close(variance)]
    assert replay.block_efficiency(k) == close(block_efficiency)


def test_the_worked_example_by_what_ends_its_rounds():
    counters = Replay([EXAMPLE]).counters(3)
    assert (counters.accepted, counters.recovered, counters.bonus) == (close(5.247112), close(2.219848), close(0.53304))
    assert counters.accepted + counters.recovered + counters.bonus == pytest.approx(8, rel=1e-14)
    assert counters.rounds == close(3.6525)
    assert counters.recovered + counters.bonus + counters.cut.sum() == pytest.approx(counters.rounds, rel=1e-14)
    assert counters.conditional.tolist() == [close(0.778919), close(0.599824), close(0.684383)]
    assert Replay([EXAMPLE]).survival(3).tolist() == [1, *np.cumprod(counters.conditional).tolist()]


def test_every_pattern_of_the_worked_example():
    pmf, shares = np.zeros(9), np.zeros(5)
    for flags in itertools.product((0, 1), repeat=8):
        mass = math.prod(a if flag else 1 - a for a, flag in zip(EXAMPLE, flags, strict=True))
        lengths = walk(flags, 3)
        pmf[len(lengths)] += mass
        np.add.at(shares, lengths, mass)
    assert pmf.round(5).tolist() == [0, 0, 0.03672, 0.42177, 0.40970, 0.11663, 0.01446, 0.00072, 0]
    replay = Replay([EXAMPLE])
    assert replay.rounds(3)[0] == pytest.approx(pmf @ np.arange(9), rel=1e-13)
    assert replay.variance(3)[0] == pytest.approx(pmf @ np.arange(9) ** 2 - (pmf @ np.arange(9)) ** 2, rel=1e-12)
    assert replay.lengths(3).tolist() == pytest.approx((shares / shares.sum())[1:].tolist(), rel=1e-13)


@pytest.mark.parametrize(
    ("k", "rounds", "variance"),
    [
        (1, 132.260268, 9.048089),
        (3, 104.873760, 23.470084),
        (5, 100.653772, 30.232807),
        (8, 99.951417, 32.631739),
    ],
)
def test_two_hundred_tokens(k, rounds, variance):
    replay = Replay([LONGER])
    assert replay.rounds(k)[0] == close(rounds)
    assert replay.variance(k)[0] == close(variance)


@pytest.mark.parametrize(("n", "rounds"), [(10, 3.923533), (100, 34.521404), (500, 170.521703)])
def test_a_constant_chance_gives_the_renewal_recursion_of_independent_rounds(n, rounds):
    replay = Replay([[0.7] * n])
    assert replay.rounds(5)[0] == close(rounds)
    assert n != 500 or math.sqrt(replay.variance(5)[0]) == close(8.072194)


@pytest.mark.parametrize(("n", "k", "rounds"), [(4, 2, 2.243), (6, 3, 2.81213)])
def test_the_mean_over_all_texts_of_a_context_free_target_is_that_of_independent_rounds(n, k, rounds):
    p, chance = (0.5, 0.3, 0.2), (0.4, 1.0, 1.0)  # q = (.2, .5, .3), so the mean chance is .7
    texts = list(itertools.product(range(3), repeat=n))
    mass = [math.prod(p[x] for x in text) for text in texts]
    averaged = mass @ Replay([[chance[x] for x in text] for text in texts]).rounds(k)
    assert averaged == close(rounds)
    assert averaged == pytest.approx(Replay([[0.7] * n]).rounds(k)[0], rel=1e-13)


@pytest.mark.parametrize(("k", "rounds"), [(1, 4.6676), (3, 3.3365), (5, 3.2306)])
def test_the_token_that_prefill_produced_is_left_out(k, rounds):
    assert Replay([EXAMPLE[1:]]).rounds(k)[0] == close(rounds)


@pytest.mark.parametrize(("k", "block", "token"), [(1, 4.0, 4.0), (3, 2.5944, 2.92), (5, 2.1896, 2.52), (8, 1.82, 2.4)])
def test_block_verification_needs_fewer_rounds_from_the_same_ratios(k, block, token):
    replay = Replay([UNCLIPPED])
    assert replay.rounds(k, "block")[0] == close(block)
    assert replay.rounds(k)[0] == replay.rounds(k, "token")[0] == close(token)
    assert Replay([np.minimum(UNCLIPPED, 1)]).rounds(k, "block")[0] == close(token), "clipped ratios lose the gain"


def test_the_paper_example_of_block_verification():
    """p = (1/3, 2/3), q = (2/3, 1/3), two drafts: 10/9 accepted by the token rule, 11/9 by the block rule."""
    texts = np.array([[0, 0], [0, 1], [0, 1], [1, 0], [1, 0], *[[1, 1]] * 4])  # as often as the target writes them
    ratios = np.where(texts == 0, 2.0, 0.5)
    for rule, accepted in (("token", 10 / 9), ("block", 11 / 9)):
        curves = [list(Walk(text[None], np.ones(2, dtype=bool), 2, rule).curves(0, 1)) for text in ratios]
        assert np.sum(curves) / 9 - 1 == pytest.approx(accepted, rel=1e-14)


# --- rounds do not start uniformly ------------------------------------------------------------------------------------


def one_round_from_any_start(chances, k):
    """Tokens of a round averaged over all starts alike, the text taken as a circle: what a decoder does not do."""
    curve = np.cumprod([np.roll(chances, -i) for i in range(k)], axis=0)
    return 1 + curve.mean(axis=1).sum()


@pytest.mark.parametrize(
    ("k", "replayed", "uniform", "independent"),
    [
        (3, 2.376337, 2.703000, 2.533),
        (5, 2.715095, 3.449311, 2.941170),
        (8, 2.950600, 4.283023, 3.198821),
    ],
)
def test_rounds_start_where_it_is_hard_more_often(k, replayed, uniform, independent):
    assert Replay([RUNS]).block_efficiency(k) == close(replayed)
    assert one_round_from_any_start(RUNS, k) == close(uniform), "the wrong answer, by uniform starts"
    assert sum(0.7**i for i in range(k + 1)) == close(independent), "and by the mean chance"


def test_persistent_difficulty_approaches_its_exact_block_efficiency():
    """Two states, .95 and .45, autocorrelation .9, k = 5: 2.719173 by linear algebra, 3.454618 from uniform starts."""
    rng = np.random.default_rng(3)
    state = np.cumsum(rng.random(400_000) < 0.05) % 2
    chances = np.where(state, 0.45, 0.95)
    assert Replay([chances]).block_efficiency(5) == pytest.approx(2.719173, abs=0.015)
    assert one_round_from_any_start(chances, 5) == pytest.approx(3.454618, abs=0.03)


# --- walks ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 1), max_size=25), min_size=1, max_size=4), st.integers(0, 8))
def test_greedy_rounds_are_the_walk_itself(texts, k):
    replay, walks = Replay(texts), [walk(text, k) for text in texts]
    assert replay.rounds(k).tolist() == [len(lengths) for lengths in walks]
    assert replay.variance(k).tolist() == [0] * len(texts)
    counted = np.bincount([*itertools.chain(*walks)], minlength=k + 2)[1:]
    if counted.sum():
        assert replay.lengths(k).tolist() == (counted / counted.sum()).tolist()


def recovered_token_drafted_again(flags, k):
    """The planted bug: a rejection after an accepted draft leaves its token to the next round."""
    lengths, run = [], 0
    for flag in flags:
        if run and not flag and run < k:
            lengths.append(run)
            run = 0
        run += 1
        if not flag or run == k + 1:
            lengths.append(run)
            run = 0
    return lengths + [run] * (run > 0)


def test_the_simulated_walk_has_the_mean_and_the_variance():
    rng, n = np.random.default_rng(11), 20_000
    flags = (rng.random((n, 8)) < EXAMPLE).astype(int).tolist()
    replay = Replay([EXAMPLE])
    for k in (1, 3, 5):
        counts = np.array([len(walk(row, k)) for row in flags])
        error = counts.std() / math.sqrt(n)
        assert abs(counts.mean() - replay.rounds(k)[0]) < 4 * error
        assert counts.var() == pytest.approx(replay.variance(k)[0], rel=0.05)
        wrong = np.mean([len(recovered_token_drafted_again(row, k)) for row in flags])
        assert k == 1 or abs(wrong - replay.rounds(k)[0]) > 20 * error


# --- what the numbers are of each other -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.floats(0, 3), max_size=12), min_size=1, max_size=5),
    st.integers(0, 7),
    st.sampled_from(["token", "block"]),
)
def test_lengths_add_up_to_one_and_their_mean_is_the_block_efficiency(texts, k, rule):
    replay = Replay(texts)
    if not any(texts):
        with pytest.raises(NotIdentifiable, match="tokens missing"):
            replay.lengths(k, rule)
        with pytest.raises(NotIdentifiable, match="tokens missing"):
            replay.block_efficiency(k, rule)
        return
    shares = replay.lengths(k, rule)
    assert shares.shape == (k + 1,)
    assert shares.sum() == pytest.approx(1, rel=1e-12)
    assert shares @ np.arange(1, k + 2) == pytest.approx(replay.block_efficiency(k, rule), rel=1e-12)
    assert replay.block_efficiency(k, rule) == pytest.approx(sum(map(len, texts)) / replay.rounds(k, rule).sum())


def test_nothing_drafted_is_a_round_per_token():
    replay = Replay([EXAMPLE, [], [0.5]])
    assert replay.rounds(0).tolist() == [8, 0, 1]
    assert replay.variance(0).tolist() == [0, 0, 0]
    assert replay.block_efficiency(0) == 1
    assert replay.lengths(0).tolist() == [1]
    assert replay.survival(0).tolist() == [1]
    counters = replay.counters(0)
    assert (counters.accepted, counters.recovered, counters.bonus, counters.rounds) == (0, 0, 9, 9)


def test_prompts_do_not_see_each_other():
    texts = [EXAMPLE, [], LONGER, [1.0], EXAMPLE[3:]]
    together, apart = Replay(texts), [Replay([text]) for text in texts]
    assert together.tokens.tolist() == [8, 0, 200, 1, 5]
    for k, rule in itertools.product((0, 1, 4), ("token", "block")):
        assert together.rounds(k, rule) == pytest.approx([replay.rounds(k, rule)[0] for replay in apart], rel=1e-14)
        assert together.variance(k, rule) == pytest.approx([replay.variance(k, rule)[0] for replay in apart], rel=1e-12)
    rounds = sum(replay.rounds(4)[0] for replay in apart)
    assert together.block_efficiency(4) == pytest.approx(214 / rounds, rel=1e-14)


def test_offsets_with_equal_rows_are_no_offsets():
    by_offset, plain = Replay([[EXAMPLE] * 3, [LONGER] * 3]), Replay([EXAMPLE, LONGER])
    assert by_offset.tokens.tolist() == [8, 200]
    for k in (0, 1, 3):
        assert by_offset.rounds(k) == pytest.approx(plain.rounds(k), rel=1e-14)
        assert by_offset.survival(k) == pytest.approx(plain.survival(k), rel=1e-14)


def test_each_offset_counts_at_its_place():
    """Draft 1 is always right, draft 2 never: every round accepts one and emits two, whatever its start."""
    replay = Replay([[[1.0] * 9, [0.0] * 9, [1.0] * 9]])
    assert replay.rounds(1).tolist() == replay.rounds(2).tolist() == replay.rounds(3).tolist() == [5]
    assert replay.survival(3).tolist()[:3] == [1, 1, 0]
    assert Replay([[1.0] * 9]).rounds(2).tolist() == [3], "the first row alone would promise three tokens a round"


# --- survival ---------------------------------------------------------------------------------------------------------


def exact_corpus(n):
    """Every text of a context-dependent target as often as it occurs in 4^n: ratios, and beta, of each."""
    p = {None: (1, 3), 0: (2, 2), 1: (3, 1)}  # quarters, after the token before
    q = {None: (2, 2), 0: (3, 1), 1: (1, 3)}
    ratios, betas = [], []
    for text in itertools.product((0, 1), repeat=n):
        before = (None, *text[:-1])
        times = math.prod(p[b][x] for b, x in zip(before, text, strict=True))
        ratios += [[q[b][x] / p[b][x] for b, x in zip(before, text, strict=True)]] * times
        betas += [[sum(map(min, p[b], q[b])) / 4 for b in before]] * times
    return ratios, betas


def test_beta_changes_nothing_where_every_text_is_seen_as_often_as_it_occurs():
    ratios, betas = exact_corpus(5)
    plain, sharper = Replay(ratios), Replay(ratios, beta=betas)
    for k in (1, 2, 4):
        assert sharper.survival(k) == pytest.approx(plain.survival(k), rel=1e-12)
    assert sharper.survival(1)[1] != pytest.approx(np.mean(betas), rel=1e-3), "it is not the mean over all tokens"
    assert sharper.rounds(3).tolist() == plain.rounds(3).tolist()
    assert sharper.survival(3, "block").tolist() == plain.survival(3, "block").tolist()


def test_beta_takes_noise_out_of_the_survival():
    ratios, betas = exact_corpus(5)
    truth, errors = Replay(ratios).survival(2), []
    rng = np.random.default_rng(2)
    for _ in range(40):
        some = rng.integers(0, len(ratios), 30)
        sample = [[texts[i] for i in some] for texts in (ratios, betas)]
        curves = Replay(sample[0]).survival(2), Replay(sample[0], beta=sample[1]).survival(2)
        errors.append([abs(curve - truth)[1:] for curve in curves])
    plain, sharper = np.mean(errors, axis=0)
    assert np.all(sharper < 0.8 * plain)


def test_beta_by_offset_is_read_at_its_offset():
    replay = Replay([[[1.0] * 8] * 3], beta=[[[1.0] * 8, [0.5] * 8, [0.25] * 8]])
    assert replay.survival(3).tolist() == pytest.approx([1, 1, 0.5, 0.125], rel=1e-14)


def test_survival_by_hand():
    """Token rule: 2.25 starts accept 2, then 1.25 accept .75. Block rule: the first 2 makes up for the .5 behind it."""
    replay = Replay([[2.0, 0.5, 0.5, 1.0]] * 3)
    assert replay.survival(2).tolist() == pytest.approx([1, 8 / 9, 8 / 9 * 0.6], rel=1e-14)
    assert replay.survival(2, "block").tolist() == [1, 1, 1]
    assert replay.counters(2).at_risk.tolist() == pytest.approx([3 * 2.25, 3 * 1.25], rel=1e-14)


def test_survival_where_less_than_one_round_is_expected_to_test():
    for beta in (None, [[0.5, 0.25]]):
        curve = Replay([[0.5, 0.25]], beta=beta).survival(2)
        assert curve == pytest.approx([1, 0.625 / 1.5, 0.625 / 1.5 * 0.125 / 0.5], rel=1e-14)


def test_survival_ends_where_nothing_was_tested_and_zero_stays_zero():
    assert Replay([[1.0, 1.0]]).survival(4).tolist()[:3] == [1, 1, 1]
    assert np.isnan(Replay([[1.0, 1.0]]).survival(4)[3:]).all()
    assert Replay([[0.0, 0.0]]).survival(4).tolist() == [1, 0, 0, 0, 0]
    assert np.isnan(Replay([[]]).survival(2)).tolist() == [False, True, True]
    assert np.isnan(Replay([[0.5, 0.3]], beta=[[0.5, 0.3]]).survival(5)).tolist() == [False] * 3 + [True] * 3


# --- interval and best k ----------------------------------------------------------------------------------------------


def test_the_interval_is_clustered_by_prompt():
    rng = np.random.default_rng(4)
    texts = [np.full(rng.integers(20, 60), alpha) for alpha in rng.beta(7, 3, 40)]
    replay, estimate = Replay(texts), Replay(texts).interval(5)
    rounds = replay.rounds(5)
    assert estimate.value == pytest.approx(replay.block_efficiency(5), rel=1e-14)
    assert (estimate.level, estimate.prompts) == (0.95, 40)
    assert "replayed rounds" in estimate.method
    residual = replay.tokens - estimate.value * rounds
    error = math.sqrt(40 / 39 * residual @ residual) / rounds.sum()
    assert estimate.half_width == pytest.approx(2.022691 * error, rel=1e-6)  # t, 39 degrees of freedom
    assert replay.interval(5, 0.5).half_width < estimate.half_width / 2
    varied = Replay([rng.uniform(0.2, 2, 30) for _ in range(5)])
    assert varied.interval(3, rule="block").value == pytest.approx(varied.block_efficiency(3, "block"), rel=1e-14)
    assert varied.interval(3, rule="block").value > varied.interval(3).value


def test_the_interval_stays_within_what_a_round_can_emit():
    estimate = Replay([[1.0] * 4, [1.0] * 8, [1.0] * 12]).interval(1)
    assert (estimate.value, estimate.high) == (2, 2)
    assert 1 <= estimate.low < 2


@pytest.mark.parametrize("rule", ["token", "block"])
def test_best_k_is_the_best_of_all(rule):
    texts = [2 * np.random.default_rng(7).random(n) for n in (50, 80, 3)]
    replay = Replay(texts)
    for c, d, o in [(0.05, 0, 0), (0.02, 0.01, 0.1), (0.5, 0.3, 0), (0.0, 0.0, 0.0)]:
        by_hand = {0: 1.0}
        for k in range(1, 13):
            by_hand[k] = 133 / replay.rounds(k, rule).sum() / (1 + k * (c + d) + o)
        best = replay.best_k(Ratio(c, d=d, o=o), 12, rule=rule)
        assert best.speedup == pytest.approx(max(by_hand.values()), rel=1e-14)
        assert best.speedup == pytest.approx(by_hand[best.k], rel=1e-14)
        assert all(by_hand[k] < best.speedup * (1 - 1e-12) for k in range(best.k))


def test_best_k_counts_tokens_and_seconds_in_total():
    cost = Pair(Linear(0.5, 0.25, 0.001), Linear(0.125, 0.0), overhead=0.0625)
    best = Replay([[1.0] * 6]).best_k(cost, k_max=2, batch=2, context=100)
    step, two = 0.5 + 0.5 + 0.2, 0.5 + 1.5 + 0.2 + 0.25 + 0.0625
    assert (best.k, best.speedup) == (2, pytest.approx(6 * step / (2 * two), rel=1e-14))


def test_of_depths_that_tie_the_smallest_wins():
    replay = Replay([[1.0] * 4])
    assert (replay.best_k(0, 2).k, replay.best_k(0, 2).speedup) == (1, 2.0)
    assert (replay.best_k(0).k, replay.best_k(0).speedup) == (3, 4.0)
    assert (replay.best_k(1.0).k, replay.best_k(1.0).speedup) == (0, 1.0)
    assert Replay([[0.0] * 4]).best_k(0) == replay.best_k(0, 0) == Replay([[1.0]]).best_k(0)


def test_depths_never_measured_are_no_candidates():
    target = Table([1, 3, 5], [1] * 3, [0] * 3, [1.0, 1.1, 1.2], provenance="measured")
    best = Replay([[1.0] * 30]).best_k(Pair(target))
    assert (best.k, best.speedup) == (4, pytest.approx(5 / 1.2))
    with pytest.raises(Outside):
        Replay([[1.0] * 30]).best_k(Pair(target), batch=2)


def test_best_k_stays_within_the_offsets_given():
    assert Replay([[[1.0] * 30] * 3]).best_k(0.01).k == 3
    assert Replay([[1.0] * 30]).best_k(0.01, 5).k == 5
    assert Replay([[1.0] * 66]).best_k(0).k == 32, "two rounds; one would take 65 drafts, beyond the 64 tried"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ([[0.5], [1.0, math.nan]], "ratios: found nan for prompt 1, token 1, expected q"),
        ([[0.5], [-0.25]], "ratios: found -0.25 for prompt 1, token 0, expected q"),
        (
            [[0.5, 0.5, math.inf]],
            r"found inf for prompt 0, token 2, p\(x\) = 0: the text cannot be the target's own under",
        ),
        ([[[0.5, 0.5], [0.5, -1]]], "found -1.0 for prompt 0, token 1, draft 2, expected"),
        ([[[0.5] * 4, [0.5, 0.5, 0.5, -1]]], "found -1.0 for prompt 0, token 3, draft 2, expected"),
        ([[0.5], [[0.5]]], r"found shapes \(1, 1\) for prompt 1 and \(1,\) for prompt 0, expected all \[n\], or"),
        ([[[0.5], [0.5]], [[0.5]]], r"found shapes \(1, 1\) for prompt 1 and \(2, 1\) for prompt 0"),
        ([0.5, 0.5], r"ratios: found shape \(\) for prompt 0, expected \[n\] or \[K, n\]"),
        ([[[[0.5]]]], r"ratios: found shape \(1, 1, 1\) for prompt 0"),
        ([np.zeros((0, 4))], r"ratios: found shape \(0, 4\) for prompt 0"),
    ],
)
def test_ratios_that_are_none_are_refused_by_their_place(ratios, message):
    with pytest.raises(ValueError, match=message):
        Replay(ratios)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        ([[0.5, 1.5], [0.5]], r"beta: found 1.5 for prompt 0, token 1, expected sum min\(p, q\), a number in \[0, 1\]"),
        ([[0.5, 0.5], [-0.1]], "beta: found -0.1 for prompt 1, token 0"),
        ([[0.5, 0.5], [math.nan]], "beta: found nan for prompt 1, token 0"),
        ([[0.5, 0.5], [0.5, 0.5]], r"beta, ratios: found \(2,\) and \(1,\) for prompt 1, expected the same shape"),
        ([[0.5, 0.5]], r"beta, ratios: found no array and \(1,\) for prompt 1"),
        ([[0.5, 0.5], [0.5], [0.5]], r"beta, ratios: found \(1,\) and no array for prompt 2"),
    ],
)
def test_beta_that_does_not_belong_is_refused(beta, message):
    with pytest.raises(ValueError, match=message):
        Replay([[0.5, 0.5], [1.0]], beta=beta)


@pytest.mark.parametrize(
    "call", ["rounds", "variance", "block_efficiency", "survival", "lengths", "interval", "counters"]
)
@pytest.mark.parametrize(
    ("k", "message"),
    [
        (-1, "k: found -1"),
        (1.5, "k: found 1.5, expected an integer >= 0"),
        ([1, 2], r"k: found \[1, 2\], expected one integer >= 0"),
        (3, "k: found 3, expected at most 2, the offsets"),
    ],
)
def test_a_depth_that_is_none_is_refused(call, k, message):
    with pytest.raises(ValueError, match=message):
        getattr(Replay([[[0.5] * 4] * 2]), call)(k)


@pytest.mark.parametrize("call", ["rounds", "variance", "block_efficiency", "survival", "lengths", "counters"])
def test_a_rule_that_is_none_is_refused(call):
    with pytest.raises(ValueError, match="rule: found 'tree', expected one of token, block"):
        getattr(Replay([[0.5]]), call)(1, "tree")


def test_what_was_given_is_kept_and_cannot_be_changed():
    given_ratios = np.array([0.5, 2.0])
    replay = Replay([given_ratios], beta=[[0.5, 1]])
    given_ratios[0] = 9
    assert [text.tolist() for text in replay.ratios] == [[0.5, 2.0]]
    assert [text.tolist() for text in replay.beta] == [[0.5, 1.0]]
    with pytest.raises(ValueError, match="read-only"):
        replay.ratios[0][0] = 1


def test_no_prompts_and_empty_texts():
    for replay in (Replay([]), Replay([[], []])):
        assert replay.rounds(3).tolist() == [0] * len(replay.tokens)
        assert replay.counters(3).rounds == 0
        with pytest.raises(NotIdentifiable, match=r"^a mean over all texts cannot be identified: tokens missing$"):
            replay.block_efficiency(3)
        with pytest.raises(NotIdentifiable, match=r"^the lengths of rounds cannot be identified: tokens missing$"):
            replay.lengths(3)
        with pytest.raises(NotIdentifiable):
            replay.interval(3)


def test_a_beta_of_no_shape_is_named():
    with pytest.raises(ValueError, match=r"^beta: found shape \(\) for prompt 0"):
        Replay([[0.5]], beta=[0.5])


def test_whole_numbers_are_ratios_too():
    assert Replay([[1, 0, 1]]).ratios[0].dtype == float
    assert Replay([[2, 1]]).rounds(1).tolist() == [1]


class TestStarts:
    """Where rounds start, against every outcome of the coins, one by one."""

    @staticmethod
    def enumerated(ratios, k):
        """(starts, those behind k accepted drafts) [n]: each start's coins branch the text's rounds."""
        rows = np.atleast_2d(ratios)
        n = rows.shape[1]
        starts, full = np.zeros(n), np.zeros(n)

        def walk(at, chance, behind_all):
            if at >= n or not chance:
                return
            starts[at] += chance
            full[at] += chance * behind_all
            survival = chance
            for i in range(k):
                if at + i >= n:
                    return
                a = min(rows[min(i, len(rows) - 1), at + i], 1)
                walk(at + i + 1, survival * (1 - a), False)
                survival *= a
            walk(at + k + 1, survival, True)

        walk(0, 1.0, False)
        return starts, full

    @pytest.mark.parametrize("k", [0, 1, 2, 5])
    @pytest.mark.parametrize("offsets", [None, 5])
    def test_they_are_what_enumeration_finds(self, k, offsets):
        rng = np.random.default_rng(k)
        texts = [rng.uniform(0, 1.5, size=n if offsets is None else (offsets, n)) for n in (1, 2, 7, 9)]
        replay = Replay(texts)
        for text, starts, full in zip(texts, replay.starts(k), replay.full(k), strict=True):
            expected = self.enumerated(text, k)
            np.testing.assert_allclose(starts, expected[0], atol=1e-12)
            np.testing.assert_allclose(full, expected[1] if k else full, atol=1e-12)

    @pytest.mark.parametrize("rule", ["token", "block"])
    def test_their_sum_is_the_expected_rounds(self, rule):
        replay = Replay([np.random.default_rng(3).uniform(0, 2, size=n) for n in (3, 50)])
        for k in (1, 4):
            np.testing.assert_allclose([s.sum() for s in replay.starts(k, rule)], replay.rounds(k, rule))
