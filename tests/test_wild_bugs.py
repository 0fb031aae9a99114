"""Defects of real speculative decoders that concern the acceptance rule, by their number: each is made again here and
caught, and the true rules pass the same check. Bugs that are mutants as well are shared with `mutants.py`.
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from scipy import stats

from specmath import acceptor, sampling
from specmath.acceptor import chain
from specmath.draft import Tree
from tests.mutants import (
    CASES,
    MUTANTS,
    TRUE,
    Decoder,
    TreeDecoder,
    check_acceptance,
    check_boundary,
    check_law,
    check_rounding,
    check_tree_law,
    coin_used_twice,
    different_children_with_q,
    one_hot,
    sampled_p_value,
    sampler_match,
    softmax_of_residual,
    top_children_with_q,
    tree_as_chain,
    verify_as_one_hot,
)
from tests.strategies import (
    LIBRARIES,
    Pair,
    accepted_survival,
    different_children,
    enumerate_rounds,
    enumerate_trees,
    joint_law,
    random_round,
    spread_pair,
    top_children,
)

HALF_AND_FULL = ("float16", "float32", "float64")  # the array API standard has no half precision
CHAIN_RULES = {"token": acceptor.verify, "block": acceptor.verify_block, "tree": tree_as_chain}
every_rule = pytest.mark.parametrize("rule", CHAIN_RULES.values(), ids=CHAIN_RULES)


def fails(check, decoder):
    try:
        check(decoder)
    except AssertionError:
        return True
    return False


def argmax_drafts(pair, length):
    return pair.argmax_drafts(length)


def shown_one_hot(rule):
    """The rule, shown one-hot rows whatever the draft reports."""

    def judged(tokens, q, p, u, v, **rest):
        return rule(tokens, one_hot(tokens, q.shape[-1]), p, u, v, **rest)

    return judged


# --- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [3, 5, 8])
def test_T01_residual_through_softmax(vocabulary, monkeypatch):
    assert sampled_p_value(vocabulary=vocabulary) > 0.01
    assert not MUTANTS["softmax of the residual (transformers PR 28508)"].survives()
    monkeypatch.setattr(chain, "residual", softmax_of_residual)
    assert sampled_p_value(vocabulary=vocabulary) < 1e-6


@every_rule
def test_T02_greedy_draft_with_the_softmax_row(rule):
    assert fails(check_law, Decoder(rule, argmax_drafts))
    check_law(Decoder(shown_one_hot(rule), argmax_drafts))


@every_rule
def test_T14_the_first_draft_is_verified_like_every_other(rule):
    assert not MUTANTS["first token committed unverified (lattice #243)"].survives()
    p = np.array([[0.0, 1.0], [1.0, 0.0]])
    for row in ([1.0, 0.0], [0.5, 0.5]):
        verdict = rule(np.array([0]), np.array([row]), p, np.zeros(1), np.array(0.5), xp=np)
        assert (verdict.tokens.tolist(), int(verdict.accepted)) == ([1, -1], 0)


@pytest.mark.parametrize(
    ("library", "dtype"),
    [(library, dtype) for library in LIBRARIES for dtype in HALF_AND_FULL[library == "strict" :]],
)
def test_T14_of_equal_logits_the_first_wins_in_the_draft_and_in_plain_decoding(library, dtype):
    xp, convert = LIBRARIES[library]
    exact = np.array([1.0, 3.0, 3.0 + 1e-4, 0.0])  # a tie in half precision alone
    logits = np.stack([exact, exact]).astype(dtype)
    first = next(x for x in range(4) if logits[0, x] == logits[0].max())  # the oracle is first-wins too
    assert first == (1 if dtype == "float16" else 2)
    p = sampling.warp(convert(logits), temperature=0, xp=xp)
    coins = convert(np.array([0.5])), convert(np.array(0.5))
    verdict = acceptor.verify(convert(np.array([first])), p[:1, :], p, *coins, xp=xp)
    assert np.asarray(verdict.tokens).tolist() == [first, first]
    last = int(3 - logits[0][::-1].argmax())
    if dtype == "float16":  # what a draft that takes the last of equals proposes is not what plain decoding says
        verdict = acceptor.verify(convert(np.array([last])), p[:1, :], p, *coins, xp=xp)
        assert np.asarray(verdict.tokens).tolist() == [first, -1]


def test_T21_top_k_children_are_exact_one_hot_and_not_with_the_drafts_own_probabilities():
    check_tree_law(TreeDecoder(children=top_children))
    check_tree_law(TreeDecoder(children=different_children))
    assert fails(check_tree_law, TreeDecoder(children=top_children_with_q))
    assert fails(check_tree_law, TreeDecoder(children=different_children_with_q))


def test_T21_top_k_children_are_accepted_by_rank_as_sequential_renormalisation_has_it():
    pair, star = spread_pair(4, 1, 4), Tree((-1, 0, 0, 0))
    rounds = enumerate_trees(pair, star, acceptor.verify_tree, top_children)
    p, left = pair.p[()], Fraction(1)
    order = sorted(range(4), key=lambda x: -pair.q[()][x])
    for child, x in enumerate(order[:3], 1):
        accepted = sum(mass for (walk, _), mass in rounds.items() if walk == (child,))
        assert accepted == left * (p[x] / left) == p[x]
        left -= p[x]


def test_T22_the_order_of_branches_leaves_the_law_alone():
    for pair in (spread_pair(1, 1, 4), spread_pair(2, 1, 3)):
        accepted = set()
        for ranks in ((0, 0, 1, 2), (0, 2, 1, 0), (0, 1, 2, 0)):
            shape = Tree((-1, 0, 0, 0), ranks)
            rounds = enumerate_trees(pair, shape, acceptor.verify_tree, by_node)
            assert joint_law(pair, rounds) == pair.target_law()
            accepted.add(accepted_survival(rounds, 1))
        assert len(accepted) > 1  # how often a draft is accepted may change


def by_node(pair, prefix, earlier, child):
    """Three different drafts: the law rolled by one place for each, the last one deterministic."""
    law = pair.q[prefix]
    row = law[child:] + law[:child] if child < 3 else tuple(Fraction(x == 2) for x in range(len(law)))
    return row, row


def test_T23_a_beam_is_deterministic_and_needs_one_hot_rows():
    def likeliest_path(pair, length):
        return {max(pair.drafts(length).items(), key=lambda item: item[1])[0]: 1}

    assert fails(check_law, Decoder(drafts=likeliest_path))
    check_law(Decoder(verify_as_one_hot, likeliest_path))
    assert fails(check_law, Decoder(acceptor.verify_block, likeliest_path))
    check_law(Decoder(shown_one_hot(acceptor.verify_block), likeliest_path))


def test_T24_emitting_the_targets_own_draw_is_exact_and_a_fresh_draw_on_mismatch_is_not():
    def accepts_sum_p_q(pair, i):
        return pair.survival(i, lambda p, q: p * q)

    check_law(Decoder(sampler_match))
    check_acceptance(Decoder(sampler_match), accepts_sum_p_q)
    bug = MUTANTS["fresh draw on mismatch (mlx-swift-lm PR 459)"]
    assert not bug.survives()
    pair = spread_pair(1, 1, 3)
    p, q = pair.p[()], pair.q[()]
    match = sum(a * b for a, b in zip(p, q, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "residual", bug.replaced["residual"])
        rounds = bug.decoder.rounds(pair)
    first = [sum(mass for (_, text), mass in rounds.items() if text[0] == y) for y in range(3)]
    assert first == [p[y] * q[y] + (1 - match) * p[y] for y in range(3)]


def test_T26_a_sampled_draft_verified_one_hot_is_lossless_at_a_lower_alpha():
    check_law(Decoder(verify_as_one_hot))
    for pair in CASES:
        ignored = accepted_survival(Decoder(verify_as_one_hot).rounds(pair), 1)
        used = accepted_survival(Decoder().rounds(pair), 1)
        assert ignored == sum(a * b for a, b in zip(pair.p[()], pair.q[()], strict=True))
        assert used == sum(map(min, pair.p[()], pair.q[()])) >= ignored
    assert fails(check_acceptance, Decoder(verify_as_one_hot))  # so the alpha of one rule is not the other's


# --- randomness and floating point ---------------------------------------------------------------------------------


@pytest.mark.parametrize("couple", ["draft, accept", "draft, recover", "accept, recover"])
@every_rule
def test_T05_noise_shared_between_two_steps_breaks_the_law(rule, couple):
    assert sampled_p_value(rule, couple=couple) < 1e-6


@every_rule
def test_T05_independent_noise_keeps_it_and_so_does_shared_noise_under_sampler_match(rule):
    assert sampled_p_value(rule) > 0.01
    assert sampled_p_value(sampler_match, couple="draft, accept") > 0.01


def test_T06_the_accept_coin_again_for_the_final_draw():
    assert not MUTANTS["u reused as v (sglang PR 7231)"].survives()
    assert sampled_p_value(coin_used_twice) < 1e-6


@every_rule
def test_T07_zero_probability_token_at_u_zero(rule):
    check_boundary(Decoder(rule))
    assert not MUTANTS["<= for < (sglang #35771)"].survives()


def test_T07_zero_probability_token_at_u_zero_among_siblings():
    q, p = np.full((2, 4), 0.25), np.array([[0.0, 0.0, 1.0, 0.0]] * 3)
    for u in (0.0, 5e-324, np.finfo(np.float32).tiny):
        for dtype in (np.float16, np.float32, np.float64):
            rows = q.astype(dtype), p.astype(dtype), np.full(2, u), np.array(0.5)
            star = acceptor.verify_tree(Tree((-1, 0, 0)), np.array([0, 1]), *rows, xp=np)
            seq = acceptor.verify_k_seq(np.array([0, 1]), rows[0][0], *rows[1:], rho=1.5, xp=np)
            assert star.tokens.tolist() == seq.tokens.tolist() == [2, -1]


def numpy_in(dtype):
    return np, lambda array: array if array.dtype == int else array.astype(dtype)


def torch_in(dtype):
    xp, convert = LIBRARIES.get("torch") or pytest.skip("needs torch")
    return xp, lambda array: convert(array) if array.dtype == int else convert(array).to(getattr(xp, dtype))


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        (numpy_in, "float16"),
        (numpy_in, "float32"),
        (numpy_in, "float64"),
        (torch_in, "bfloat16"),
        (torch_in, "float16"),
    ],
)
@every_rule
def test_T08_uniforms_that_rounded_to_one_in_every_dtype(rule, library, dtype):
    xp, cast = library(dtype)
    weights = np.array([0.0, 0.1, 0.3, 0.0, 0.6, 0.0, 0.0])
    q, p = np.tile(weights[::-1], (1, 2, 1)), np.tile(weights, (1, 3, 1))
    for tokens in ([1, 2], [4, 4], [2, 4]):
        arrays = map(cast, (np.array([tokens]), q, p, np.ones((1, 2)), np.ones(1)))
        verdict = rule(*arrays, xp=xp)
        emitted = verdict.tokens[0, : int(verdict.accepted[0]) + 1].tolist()
        assert all(weights[token] > 0 for token in emitted)
    assert not MUTANTS["draw unclipped (sglang PR 30822)"].survives()


@every_rule
def test_T27_no_residual_mass_falls_back_to_p(rule):
    check_rounding(Decoder(rule))
    assert not MUTANTS["no fallback without residual mass"].survives()


@pytest.mark.parametrize("filled", [np.nan, -np.inf])
@every_rule
def test_T27_a_row_that_is_no_law_raises_by_its_number_and_yields_no_token(rule, filled):
    q, p = np.full((3, 1, 4), 0.25), np.full((3, 2, 4), 0.25)
    p[2] = filled
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="row 2 of 3"):
        rule(np.zeros((3, 1), int), q, p, np.full((3, 1), 0.5), np.full(3, 0.5), xp=np)
    logits = np.zeros((3, 4))
    logits[2] = filled
    with pytest.raises(ValueError, match="row 2 of 3: no finite largest logit"):
        sampling.warp(logits, xp=np)


# --- state: masks, ragged batches, vocabularies --------------------------------------------------------------------


def masked(pair, allowed=(0, 1)):
    """The pair whose target is its law over the allowed tokens, renormalised."""

    def law(row):
        kept = [mass if x in allowed else 0 for x, mass in enumerate(row)]
        return tuple(Fraction(mass) / sum(kept) for mass in kept)

    return replace(pair, p={x: law(row) for x, row in pair.p.items()})


def with_unmasked_rows(which):
    """The mask reaches the rows of p but some: what is drawn there comes from the plain rows."""

    def decode(pair, rule):
        bare = {x: row for x, row in pair.p.items() if which(len(x), pair.k)}
        return enumerate_rounds(replace(pair, p={**masked(pair).p, **bare}), rule, pair.drafts(pair.k), pair.k)

    return decode


@every_rule
def test_T20_a_mask_applied_to_p_before_the_ratio_keeps_the_masked_law_and_an_unmasked_row_does_not(rule):
    pair = spread_pair(5, 2, 3)
    right = masked(pair)
    assert joint_law(right, enumerate_rounds(right, rule, pair.drafts(2), 2)) == right.target_law()
    forms = {"bonus": lambda n, k: n == k, "first": lambda n, k: n == 0, "all but the first": lambda n, k: n > 0}
    for which in forms.values():
        rounds = with_unmasked_rows(which)(pair, rule)
        assert any(2 in text for (_, text) in rounds)  # a forbidden token is emitted
        assert joint_law(right, rounds) != right.target_law()


def test_T20_a_mask_on_the_residual_alone_lets_invalid_drafts_through(monkeypatch):
    pair = spread_pair(5, 2, 3)
    right = masked(pair)

    def masked_residual(p, q, *, xp):
        law = TRUE["residual"](p, q, xp=xp) * np.array([1, 1, 0])
        return np.where(law.sum(-1, keepdims=True) > 0, law, np.array([1, 1, 0]))

    monkeypatch.setattr(chain, "residual", masked_residual)
    rounds = enumerate_rounds(pair, acceptor.verify, pair.drafts(2), 2)
    assert any(2 in text for (_, text) in rounds)
    assert joint_law(right, rounds) != right.target_law()


@every_rule
def test_T20_invalid_drafts_are_rejected_at_every_u(rule):
    p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    q = np.array([[0.0, 0.0, 1.0]])
    for u in (0.0, 0.5, 1.0):
        assert int(rule(np.array([2]), q, p, np.array([u]), np.array(0.1), xp=np).accepted) == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_T20_a_row_whose_mask_could_not_be_made_fails_closed(library, monkeypatch):
    xp, convert = LIBRARIES[library]
    logits = np.zeros((2, 2, 4), np.float32)
    logits[1, 0] = -np.inf
    with pytest.raises(ValueError, match=r"row 2 of 4: .*a token unmasked"):
        sampling.warp(convert(logits), xp=xp)
    monkeypatch.setattr(sampling, "HOST_MEMORY", None)
    with np.errstate(invalid="ignore"):
        p = sampling.warp(convert(logits), xp=xp)
    q, coins = convert(np.full((2, 1, 4), 0.25, np.float32)), (convert(np.zeros((2, 1))), convert(np.zeros(2)))
    for rule in (acceptor.verify, acceptor.verify_block):
        verdict = rule(convert(np.zeros((2, 1), int)), q, p, *coins, xp=xp)
        assert np.asarray(verdict.tokens).tolist() == [[0, 0], [-1, -1]]


@every_rule
def test_T29_ragged_drafts_in_one_batch_emit_ids_of_the_vocabulary_only(rule):
    rng = np.random.default_rng(10)
    *arrays, drafted = random_round(rng, (400,), 5, 7)
    arrays[2] = np.where(np.isnan(arrays[2]), 1 / 7, arrays[2])
    verdict = rule(*arrays, xp=np, drafted=drafted)
    count = np.arange(6) <= verdict.accepted[:, None]
    assert ((verdict.tokens >= 0) & (verdict.tokens < 7)).tolist() == count.tolist()
    assert np.all(verdict.accepted <= drafted)
    assert not MUTANTS["padding verified as drafted"].survives()


D2T = (3, 0)  # the draft's two tokens in the target's vocabulary of four


def small_vocabulary_pair():
    """A draft over two tokens, its rows scattered over the target's four."""
    pair = spread_pair(6, 2, 4)
    q = {x: (row[0] / (row[0] + row[1]), 0, 0, row[1] / (row[0] + row[1])) for x, row in pair.q.items()}
    return replace(pair, q=q)


@every_rule
def test_T29_a_smaller_draft_vocabulary_goes_through_its_map(rule):
    pair = small_vocabulary_pair()
    assert joint_law(pair, enumerate_rounds(pair, rule, pair.drafts(2), 2)) == pair.target_law()

    def unmapped(tokens, q, p, u, v, **rest):
        """The draft's own ids reach the rule beside rows in the target's vocabulary."""
        own = np.where(tokens == D2T[0], 0, np.where(tokens == D2T[1], 1, tokens))
        return rule(own, q, p, u, v, **rest)

    wrong = enumerate_rounds(pair, unmapped, pair.drafts(2), 2)
    assert joint_law(pair, wrong) != pair.target_law()


@every_rule
def test_T29_a_larger_draft_vocabulary_is_cut_and_its_own_tokens_are_rejected(rule):
    p = spread_pair(7, 1, 3).p
    wide = (Fraction(1, 6), Fraction(1, 6), Fraction(1, 3), Fraction(1, 3))  # the last id is unknown to the target
    pair = Pair(1, 3, None, {**p, (3,): p[()]}, {(): wide[:3]})
    drafts = {(x,): wide[x] for x in range(4)}
    assert joint_law(pair, enumerate_rounds(pair, rule, drafts, 1)) == pair.target_law()

    def clamped(tokens, q, p, u, v, **rest):
        return rule(np.minimum(tokens, 2), q, p, u, v, **rest)

    assert joint_law(pair, enumerate_rounds(pair, clamped, drafts, 1)) != pair.target_law()


# --- counting ------------------------------------------------------------------------------------------------------


def rounds_of_every_rule(batch=300, k=4, vocabulary=6):
    """(what is drafted at most, verdict) of random rounds under every rule there is."""
    rng = np.random.default_rng(12)
    *arrays, drafted = random_round(rng, (batch,), k, vocabulary)
    for rule in CHAIN_RULES.values():
        rows = [np.where(np.isnan(a), 1 / vocabulary, a) if a.dtype == float else a for a in arrays]
        yield drafted, rule(*rows, xp=np, drafted=drafted)
    tokens, q, p, u, v = rows
    shape = Tree((-1, 0, 0, 1, 1))
    yield 2 + 0 * drafted, acceptor.verify_tree(shape, tokens, q, p, u, v, xp=np)
    yield 1 + 0 * drafted, acceptor.verify_k_seq(tokens, q[:, 0], p, u, v, rho=4.0, xp=np)
    yield k + 0 * drafted, acceptor.lossy_lenience(tokens, q, p, u, v, lenience=0.5, xp=np)
    yield k + 0 * drafted, acceptor.lossy_typical(tokens, p, v, epsilon=0.2, delta=0.4, xp=np)


def accepts_at_most_what_was_drafted(drafted, verdict):
    return bool(np.all((verdict.accepted >= 0) & (verdict.accepted <= drafted)))


def emits_one_more_than_it_accepts(drafted, verdict):
    return bool(np.all(np.sum(verdict.tokens >= 0, axis=-1) == verdict.accepted + 1))


@pytest.mark.parametrize("claim", [accepts_at_most_what_was_drafted, emits_one_more_than_it_accepts])
def test_T09_T13_every_rule_counts_its_tokens_right(claim):
    assert all(claim(drafted, verdict) for drafted, verdict in rounds_of_every_rule())


def test_T09_a_bonus_counted_as_a_draft_is_caught():
    for drafted, verdict in rounds_of_every_rule():
        counted = replace(verdict, accepted=np.sum(verdict.tokens >= 0, axis=-1))
        assert not accepts_at_most_what_was_drafted(drafted, counted)


def test_T13_a_token_dropped_after_the_first_mismatch_is_caught():
    for drafted, verdict in rounds_of_every_rule():
        at_mismatch = (np.arange(verdict.tokens.shape[-1]) == verdict.accepted[:, None]) & (verdict.accepted < drafted)[
            :, None
        ]
        dropped = replace(verdict, tokens=np.where(at_mismatch, -1, verdict.tokens))
        assert not emits_one_more_than_it_accepts(drafted, dropped)


def test_T13_an_all_greedy_batch_emits_the_targets_argmax_after_the_first_mismatch():
    logits = np.random.default_rng(3).normal(size=(50, 4, 6))
    p = sampling.warp(logits, temperature=0, xp=np)
    plain = logits.argmax(-1)
    tokens = np.where(np.random.default_rng(4).random((50, 3)) < 0.6, plain[:, :3], (plain[:, :3] + 1) % 6)
    q = one_hot(tokens, 6, float)
    for rule in CHAIN_RULES.values():
        verdict = rule(tokens, q, p, np.full((50, 3), 0.999), np.full(50, 0.5), xp=np)
        for row, accepted in enumerate(verdict.accepted):
            assert verdict.tokens[row, : accepted + 1].tolist() == plain[row, : accepted + 1].tolist()


# --- not bugs: lossy on purpose ------------------------------------------------------------------------------------

TOY_P, TOY_Q, ROUNDS = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.2, 0.4, 0.3, 0.1]), 20_000


def threshold_below_one(tokens, q, p, u, v, *, xp):
    """An accept threshold as SGLang has it: u below p / threshold, against a one-hot draft."""
    return acceptor.verify(tokens, one_hot(tokens, 4, float) * 0.6, p, u, v, xp=xp)


def synthetic(tokens, q, p, u, v, *, xp):
    """Accepts at a set rate, whatever was drafted, as synthetic acceptance does in benchmarks."""
    return acceptor.verify(np.where(u < 0.7, tokens, -1), 0 * q, p, 0 * u, v, xp=xp)


def ensemble(tokens, q, p, u, v, *, xp):
    """The target mixed with the draft, as an ensemble weight does."""
    return acceptor.verify(tokens, q, 0.7 * p + 0.3 * TOY_Q, u, v, xp=xp)


LOSSY_MODES = {
    "lenience": partial(acceptor.lossy_lenience, lenience=0.7),
    "typical": lambda tokens, q, p, u, v, *, xp: acceptor.lossy_typical(tokens, p, v, epsilon=0.09, delta=0.3, xp=xp),
    "accept threshold": threshold_below_one,
    "synthetic": synthetic,
    "ensemble": ensemble,
}


def chi_square_from_outside(rule, seed=5):
    """p-value of the first emitted token of ROUNDS rounds against the target's law: what a black box shows."""
    rng = np.random.default_rng(seed)
    tokens = acceptor.draw(np.tile(TOY_Q, (ROUNDS, 1, 1)), rng.random((ROUNDS, 1)), xp=np)
    rows = np.tile(TOY_Q, (ROUNDS, 1, 1)), np.tile(TOY_P, (ROUNDS, 2, 1))
    emitted = rule(tokens, *rows, rng.random((ROUNDS, 1)), rng.random(ROUNDS), xp=np).tokens[:, 0]
    return stats.chisquare(np.bincount(emitted, minlength=4), ROUNDS * TOY_P).pvalue


@pytest.mark.parametrize("mode", LOSSY_MODES)
def test_T30_a_lossy_mode_is_detected_from_outside_at_size_one_in_a_million(mode):
    assert chi_square_from_outside(LOSSY_MODES[mode]) < 1e-6


@every_rule
def test_T30_an_exact_rule_is_not_detected_and_the_test_has_its_size(rule):
    p_values = [chi_square_from_outside(rule, seed) for seed in range(40)]
    assert min(p_values) > 1e-6
    assert sum(value < 0.05 for value in p_values) <= 7  # Binomial(40, .05) exceeds 7 once in 700
