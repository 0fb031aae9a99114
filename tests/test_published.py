"""Published numbers, each with its source: where a formula is known to miss, the test states the miss."""

import numpy as np
import pytest

from specmath.acceptance import Curve, Empirical, Geometric, Padded, Positional, Tally
from specmath.cost import Linear, Pair, Ratio, Table
from specmath.draft import Chain
from specmath.speedup import best_k, block_efficiency, break_even, evaluate, speedup


# Public runbook "Qwen3.8-27B-NVFP4 + MTP on DGX Spark, vLLM 0.27.1": accepted per position / drafts, per thousand.
@pytest.mark.parametrize(
    ("survivors", "tau", "accepted_fraction", "reported"),
    [
        ((872, 767, 672), 3.311, 0.7703, (3.31, 77.0)),
        ((624, 412, 260, 186, 113, 73, 56), 2.724, 0.2463, (2.73, 24.7)),
    ],
)
def test_real_counters_give_the_block_efficiency_their_server_logged(survivors, tau, accepted_fraction, reported):
    k = len(survivors)
    law = Empirical(Tally([[1000, *survivors[:-1]]], [survivors]))
    assert law.block_efficiency(k) == pytest.approx(tau, abs=1e-9)
    assert law.mean(k) / k == pytest.approx(accepted_fraction, abs=5e-5)
    assert law.block_efficiency(k) == pytest.approx(reported[0], abs=0.01)
    assert 100 * law.mean(k) / k == pytest.approx(reported[1], abs=0.1)
    by_position = Positional([law.conditional(i) for i in range(1, k + 1)])
    assert by_position.block_efficiency(k) == pytest.approx(tau, abs=1e-9)
    assert Positional([s / 1000 for s in survivors]).block_efficiency(k) < tau - 0.2, "survival taken as conditional"


def test_a_server_log_line_adds_up():
    """vLLM PR 16665 prints per-position rates .543, .357, .264 beside a mean acceptance length of 2.16."""
    conditionals = [0.543, 0.357 / 0.543, 0.264 / 0.357]
    assert Positional(conditionals).block_efficiency(3) == pytest.approx(2.16, abs=0.005)


def test_vllm_s_counters_add_up_and_a_quarter_accepted_wins():
    """vLLM PR 24243: MiniCPM with EAGLE-3 on an RTX 4090, 10 at a time, six drafts a round, 215.84 s to 133.24 s.

    By position .58 .34 .22 .15 .11 (the sixth is not printed).
    """
    tally = Tally.pooled(43_221, 259_326, 63_669, k=6)
    tau = 1 + tally.accepted / tally.rounds
    assert tally.full
    assert tau == pytest.approx(2.4731, abs=5e-5)
    assert tally.accepted / tally.drafted == pytest.approx(0.245517, abs=5e-7)
    assert tau == pytest.approx(1 + 6 * 0.245517, abs=1e-5), "AL = 1 + k r"
    sixth = tau - Curve((0.58, 0.34, 0.22, 0.15, 0.11)).block_efficiency(5)
    assert 0.05 < sixth < 0.11, "what is left for the sixth falls in with the five"
    round_time = tau / (215.84 / 133.24)
    assert round_time == pytest.approx(1.527, abs=5e-4)
    law = Geometric.from_block_efficiency(tau, 6)
    assert speedup(law, 6, Ratio(0, o=round_time - 1)) == pytest.approx(1.62, abs=5e-3)


# EAGLE (Li et al. 2024): n-alpha on MT-bench, conditional on what came before.
@pytest.mark.parametrize(("alphas", "tau"), [((0.79, 0.74, 0.72, 0.73), 3.1028), ((0.75, 0.69, 0.65, 0.64), 2.8192)])
def test_conditionals_by_position_give_the_chain_s_block_efficiency(alphas, tau):
    assert Positional(alphas).block_efficiency(4) == pytest.approx(tau, abs=5e-5)


# RedHatAI/Llama4-Maverick-17B-128E-Instruct-speculator.eagle3, model card: acceptance length on HumanEval at k = 1..7.
MAVERICK = (1.83, 2.45, 2.94, 3.26, 3.47, 3.57, 3.62)


def test_the_maverick_curve_gives_its_survival_and_the_alpha_fitted_at_each_k():
    survival = np.diff((1, *MAVERICK))
    assert survival == pytest.approx([0.83, 0.62, 0.49, 0.32, 0.21, 0.10, 0.05], abs=1e-9)
    conditionals = [Positional(survival / np.array([1, *survival[:-1]])).conditional(i) for i in range(1, 8)]
    assert conditionals == pytest.approx([0.83, 0.747, 0.790, 0.653, 0.656, 0.476, 0.5], abs=5e-4)
    fitted = Geometric.from_block_efficiency(np.array(MAVERICK), np.arange(1, 8)).alpha
    assert fitted == pytest.approx([0.8300, 0.8038, 0.7973, 0.7843, 0.7736, 0.7615, 0.7520], abs=5e-5)
    fraction = (np.array(MAVERICK) - 1) / np.arange(1, 8)
    assert fraction == pytest.approx([0.83, 0.725, 0.6467, 0.565, 0.494, 0.4283, 0.3743], abs=5e-5)


def test_an_alpha_fitted_at_a_short_draft_overstates_a_long_one():
    assert Geometric(0.83).block_efficiency(7) == pytest.approx(4.557, abs=5e-4)
    assert Geometric(0.83).block_efficiency(7) > 1.25 * MAVERICK[-1]


# P-EAGLE (vLLM blog, 2026-03-13): acceptance lengths at K = 3 and K = 7; P-EAGLE's three tasks, then EAGLE-3's.
@pytest.mark.parametrize(
    ("at_3", "at_7", "predicted", "error"),
    [
        (3.02, 3.94, 4.352, 10.4),
        (2.87, 3.38, 3.941, 16.6),
        (2.87, 3.70, 3.941, 6.5),
        (2.65, 3.03, 3.401, 12.2),
        (2.24, 2.59, 2.569, -0.8),
        (2.70, 3.27, 3.517, 7.6),
    ],
)
def test_an_iid_extrapolation_from_k_3_to_k_7_misses_by_up_to_17_per_cent(at_3, at_7, predicted, error):
    tau = Geometric.from_block_efficiency(at_3, 3).block_efficiency(7)
    assert tau == pytest.approx(predicted, abs=5e-4)
    assert 100 * (tau / at_7 - 1) == pytest.approx(error, abs=0.06)


# Chen et al. 2023, Table 1, Chinchilla 70B, XSum with nucleus .8, K = 4, per token: target 14.1 ms, draft 1.8 ms,
# speculative 7.52 ms, beside a printed 1.92x that those times do not make.
@pytest.mark.parametrize(("ratio", "tau", "alpha"), [(14.1 / 7.52, 2.8324, 0.7112), (1.92, 2.9004, 0.7236)])
def test_chinchilla_s_times_imply_an_alpha_of_071_to_072(ratio, tau, alpha):
    cost = Pair(Linear(14.1e-3, 0), Linear(1.8e-3, 0))
    round_time = cost.round(Chain(4)).total
    implied = Geometric.from_block_efficiency(ratio * round_time / cost.step(), 4)
    assert implied.block_efficiency(4) == pytest.approx(tau, abs=1e-4)
    assert implied.alpha == pytest.approx(alpha, abs=1e-4)
    assert 0.705 < implied.alpha < 0.730
    assert speedup(implied, 4, cost) == pytest.approx(ratio)
    assert 14.1 / 7.52 < 1.88, "the times contradict the printed 1.92"


# Gloeckle et al. 2024: tokens per step of 2, 3 and 4 prediction heads; k = heads - 1 drafts.
@pytest.mark.parametrize(
    ("taus", "alphas"), [((1.94, 2.78, 3.50), (0.940, 0.925, 0.912)), ((1.88, 2.57, 3.12), (0.880, 0.849, 0.836))]
)
def test_multi_token_heads_imply_their_alpha(taus, alphas):
    assert Geometric.from_block_efficiency(np.array(taus), np.arange(1, 4)).alpha == pytest.approx(alphas, abs=5e-4)


# Model cards nebius/EAGLE3-Llama-3.3-70B: acceptance length at K = 7 on MT-bench, HumanEval, GSM8K, two heads.
@pytest.mark.parametrize(
    ("taus", "alphas"), [((2.88, 3.62, 3.29), (0.666, 0.752, 0.717)), ((3.89, 5.08, 5.01), (0.777, 0.865, 0.860))]
)
def test_a_better_trained_head_gains_eleven_to_fourteen_points_of_alpha(taus, alphas):
    assert Geometric.from_block_efficiency(np.array(taus), 7).alpha == pytest.approx(alphas, abs=5e-4)


def test_a_bigram_draft_at_no_cost_gains_a_quarter():
    """Leviathan et al. 2023: bigram draft, alpha about 0.2 on EnDe, k = 3, c about 0: 1.25x."""
    assert speedup(0.2, 3, 0) == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize(
    ("alpha", "k", "operations"),
    [
        (0.6, 2, 1.530612),
        (0.7, 3, 1.579155),
        (0.8, 2, 1.229508),
        (0.8, 5, 1.626334),
        (0.9, 2, 1.107011),
        (0.9, 10, 1.603056),
    ],
)
def test_a_free_draft_still_multiplies_the_target_s_operations(alpha, k, operations):
    """Leviathan et al. 2023, Theorem 3.11 and Table 1 (1.63 and 1.60): (k + 1) / tau, never below 1."""
    assert (k + 1) / block_efficiency(alpha, k) == pytest.approx(operations, abs=1e-6)
    assert (k + 1) / block_efficiency(1.0, k) == 1


# Leviathan et al. 2023, Table 2 (T5-XXL, TPU-v4, batch 1): k, alpha, measured speedup; c of the small, base and large
# draft (.02, .04, .11 as recalled from appendix A.3); then tau, the formula's speedup and its best k, computed.
T5 = [
    (7, 0.75, 3.4, 0.02, 3.5995, 3.1575, 9),
    (7, 0.80, 2.8, 0.04, 4.1611, 3.2509, 9),
    (7, 0.82, 1.7, 0.11, 4.4199, 2.4971, 6),
    (7, 0.62, 2.6, 0.02, 2.5741, 2.2580, 6),
    (5, 0.68, 2.4, 0.04, 2.8160, 2.3467, 6),
    (3, 0.71, 1.4, 0.11, 2.5720, 1.9338, 4),
    (5, 0.65, 3.1, 0.02, 2.6417, 2.4015, 7),
    (5, 0.73, 3.0, 0.04, 3.1432, 2.6193, 7),
    (3, 0.74, 2.2, 0.11, 2.6928, 2.0247, 4),
    (5, 0.53, 2.3, 0.02, 2.0805, 1.8914, 5),
    (3, 0.55, 2.2, 0.04, 2.0189, 1.8026, 4),
    (3, 0.56, 1.7, 0.11, 2.0492, 1.5408, 3),
]


@pytest.mark.parametrize(("k", "alpha", "measured", "c", "tau", "value", "best"), T5)
def test_the_t5_rows_follow_from_alpha_k_and_c(k, alpha, measured, c, tau, value, best):
    assert block_efficiency(alpha, k) == pytest.approx(tau, abs=5e-5)
    assert speedup(alpha, k, c) == pytest.approx(value, abs=5e-5)
    assert best_k(alpha, c).k == best


def test_the_formula_gives_the_expected_column_but_for_the_large_sampled_draft():
    """The paper's own expected speedups, as recalled; T5-large at T = 1 (rows 5 and 11) it puts above its formula."""
    expected = (3.2, 3.3, 2.5, 2.3, 2.4, 2.0, 2.4, 2.6, 2.0, 1.9, 1.8, 1.6)
    missed = [row for row, (k, a, _, c, *_) in enumerate(T5) if abs(speedup(a, k, c) - expected[row]) > 0.055]
    assert missed == [5, 11]


# Leviathan et al. 2023, Table 5: lenience 1, .5, .3, .1 for T5-small on EnDe at T = 1, c = .015.
@pytest.mark.parametrize(
    ("alpha", "measured", "value"), [(0.62, 2.5, 2.330), (0.71, 3.1, 2.939), (0.76, 3.6, 3.446), (0.84, 5.0, 4.789)]
)
def test_the_lenient_rows_measure_a_little_above_the_best_formula(alpha, measured, value):
    assert best_k(alpha, 0.015).speedup == pytest.approx(value, abs=5e-4)
    assert 1.03 < measured / value < 1.08


def test_four_t5_rows_measure_above_the_ceiling_of_a_free_draft():
    """No c >= 0 explains them: the baseline's implementation or the i.i.d. assumption must."""
    above = [row for row, (k, alpha, measured, *_) in enumerate(T5) if measured > block_efficiency(alpha, k)]
    assert above == [3, 6, 9, 10]


def test_the_most_accepted_draft_is_not_the_fastest():
    small, _, large = T5[:3]
    assert large[1] > small[1]
    assert large[2] < small[2]


# MagicDec (Chen et al. 2024), Table 1, times in ms: k, k T_D, T_V, tokens per round, T_AR and T_SD per
# token, speedup; then c, v, alpha.
MAGICDEC = [
    (3, 44.11, 45.12, 3.00, 36.62, 30.32, 1.21, 0.4015, 1.2321, 0.8105),
    (2, 29.06, 42.02, 2.53, 35.13, 28.70, 1.22, 0.4136, 1.1961, 0.8342),
    (3, 58.33, 74.85, 3.14, 62.92, 42.96, 1.46, 0.3090, 1.1896, 0.8404),
    (3, 15.09, 18.30, 2.82, 17.32, 12.16, 1.42, 0.2904, 1.0566, 0.7701),
    (3, 14.20, 15.64, 2.98, 14.85, 10.29, 1.44, 0.3187, 1.0532, 0.8062),
    (4, 23.63, 27.90, 3.37, 26.17, 15.58, 1.68, 0.2257, 1.0661, 0.8013),
]


@pytest.mark.parametrize(("k", "drafting", "verify", "tau", "step", "token", "measured", "c", "v", "alpha"), MAGICDEC)
def test_the_magicdec_rows_come_out_at_most_three_and_a_half_per_cent_high(
    k, drafting, verify, tau, step, token, measured, c, v, alpha
):
    law = Geometric.from_block_efficiency(tau, k)
    target = Table([1, k + 1], [1, 1], [0, 0], [step / 1e3, verify / 1e3], provenance="measured")
    cost = Pair(target, Table([1], [1], [0], [drafting / k / 1e3], provenance="measured"))
    assert law.alpha == pytest.approx(alpha, abs=5e-5)
    assert cost.round(Chain(k)).draft / cost.step() / k == pytest.approx(c, abs=6e-5)
    assert cost.round(Chain(k)).verify / cost.step() == pytest.approx(v, abs=6e-5)
    assert 1.00 <= speedup(law, k, cost) / measured <= 1.035, "what it leaves out is the overhead"
    overhead = tau * token / 1e3 - cost.round(Chain(k)).total
    assert 0.027 <= round(overhead / cost.step(), 3) <= 0.056
    assert speedup(law, k, Pair(cost.target, cost.draft, overhead=overhead)) == pytest.approx(measured, abs=0.006)
    assert speedup(law, k, cost) == pytest.approx(speedup(law, k, Ratio(c, d=(v - 1) / k)), rel=1e-3)


# Spec-Bench leaderboard (hemingkx/Spec-Bench, batch 1, greedy, FP16): mean accepted tokens, which count the bonus,
# and speedup; a round's time in plain steps is their quotient. A100 with Vicuna-13B, then SpS of Vicuna-7B by GPU.
@pytest.mark.parametrize(
    ("accepted_tokens", "measured", "round_time"),
    [
        (5.71, 3.02, 1.891),
        (4.43, 2.46, 1.801),
        (2.39, 1.80, 1.328),
        (1.67, 1.56, 1.071),
        (2.19, 1.54, 1.422),
        (2.28, 1.79, 1.274),
        (2.28, 1.52, 1.500),
    ],
    ids=["EAGLE-3", "EAGLE-2", "Medusa", "PLD", "SpS", "SpS, 3090", "SpS, A100"],
)
def test_spec_bench_s_quotients_are_round_times(accepted_tokens, measured, round_time):
    law = Geometric.from_block_efficiency(accepted_tokens, 10)
    found = evaluate(law, 10, Ratio(0, o=round_time - 1))
    assert found.block_efficiency == pytest.approx(accepted_tokens)
    assert found.speedup == pytest.approx(measured, abs=2e-3)


def test_acceptance_belongs_to_the_models_and_round_time_to_the_machine():
    """Spec-Bench, SpS of Vicuna-7B: 2.28 tokens a round on either GPU, 1.79x on a 3090, 1.52x on an A100."""
    assert 2.28 / 1.52 - 2.28 / 1.79 > 0.2


# llama.cpp: PR 2926 (70B + 7B, CPU), PR 10455 (32B + 3B, M4 Pro), issue 5877 (8B + 1B, RTX 3060): n_predict, drafted,
# accepted, k; then accepted per cent, tau, drafted per round, speedup and round time.
@pytest.mark.parametrize(
    ("predicted", "drafted", "accepted", "k", "percent", "tau", "per_round", "measured", "round_time"),
    [
        (129, 132, 47, 8, 35.6, 1.573, 1.61, 0.519 / 0.44, 1.334),
        (371, 912, 313, 16, 34.3, 6.397, 15.72, 0.98, 6.53),
        (673, 730, 526, 5, 72.1, 4.578, 4.97, 55.47 / 32.49, 2.68),
    ],
    ids=["PR 2926", "PR 10455", "issue 5877"],
)
def test_llama_cpp_s_counts_are_tokens_per_round(
    predicted, drafted, accepted, k, percent, tau, per_round, measured, round_time
):
    """Every predicted token that was not an accepted draft closed a round: rounds = n_predict - n_accept."""
    tally = Tally.pooled(predicted - accepted, drafted, accepted, k=k)
    assert 1 + tally.accepted / tally.rounds == pytest.approx(predicted / (predicted - accepted))
    assert 1 + tally.accepted / tally.rounds == pytest.approx(tau, abs=5e-4)
    assert 100 * accepted / drafted == pytest.approx(percent, abs=0.05)
    assert drafted / tally.rounds == pytest.approx(per_round, abs=5e-3)
    assert tau / measured == pytest.approx(round_time, abs=5e-3)
    pays = accepted / drafted > (round_time - 1) / per_round
    assert pays == (measured > 1), "it pays iff the accepted fraction exceeds what a drafted token costs"


def test_c_is_not_the_ratio_of_parameters():
    """llama.cpp issue 3649, A100: a 160M draft takes 1.49 ms beside 13.19 ms of a 7B, .113 where .023 was hoped for."""
    c = 1.49 / 13.19
    assert c == pytest.approx(0.113, abs=5e-4)
    assert best_k(0.7, 0.16 / 7).speedup > 1.35 * best_k(0.7, c).speedup


# Gloeckle et al. 2024: tokens per step and speedup of 2, 3 and 4 heads, on code and on prose.
@pytest.mark.parametrize(
    ("taus", "measured", "round_times"),
    [
        ((1.94, 2.78, 3.50), (1.85, 2.54, 3.05), (1.05, 1.09, 1.15)),
        ((1.88, 2.57, 3.12), (1.79, 2.35, 2.74), (1.05, 1.09, 1.14)),
    ],
)
def test_a_head_more_costs_a_twentieth_of_a_step(taus, measured, round_times):
    assert np.divide(taus, measured) == pytest.approx(round_times, abs=6e-3)


@pytest.mark.parametrize(("alpha", "round_time"), [(0.85, 1.028), (0.90, 1.056)])
def test_deepseek_s_second_token_leaves_little_for_overhead(alpha, round_time):
    """DeepSeek-V3 reports 85 to 90 per cent of second tokens accepted, and 1.8x."""
    assert speedup(alpha, 1, Ratio(0, o=round_time - 1)) == pytest.approx(1.8, abs=1e-3)


def test_sequoia_verifies_128_nodes_for_a_twentieth_of_a_step():
    """Chen et al. 2024, Table 1, C4 at T = 0: 5.08 tokens a round, 4.04x, depth 10, draft .5 ms beside 24.2 ms."""
    round_time, c = 5.08 / 4.04, 0.5 / 24.2
    assert round_time == pytest.approx(1.257, abs=5e-4)
    assert round_time - 10 * c == pytest.approx(1.05, abs=5e-3)


def test_a_synthetic_alpha_of_095_shows_three_quarters_of_a_step_of_overhead():
    """BentoML's handbook: vLLM with synthetic acceptance .95 and k = 5 ran about 3x, where a free draft gives 5.30."""
    assert speedup(0.95, 5, 0) == pytest.approx(5.30, abs=5e-3)
    assert speedup(0.95, 5, Ratio(0, o=0.75)) == pytest.approx(3, abs=0.05)


def test_an_iid_alpha_from_one_draft_understates_six_here():
    """arXiv 2607.17283: accepted/drafted 69.7 per cent at K = 1 and 37.8 at K = 6; i.i.d. gives 33.9."""
    assert 100 * Geometric(0.697).mean(6) / 6 == pytest.approx(33.9, abs=0.05)
    assert Geometric.from_block_efficiency(1 + 6 * 0.378, 6).alpha > 0.72


def test_five_padded_sequences_keep_a_token_and_a_half():
    """BASS (Qian et al. 2024) remarks: .8^5 = .33, about 1.5 tokens a round."""
    assert Padded(Geometric(0.8), 5).survival(1) == pytest.approx(0.33, abs=5e-3)
    assert Padded(Geometric(0.8), 5).block_efficiency(5) == pytest.approx(1.5, abs=0.05)


# The article "Speculative Decoding: The Mathematics of Acceptance Rate": what each sentence needs to be true.
@pytest.mark.parametrize(
    ("alpha", "k", "cost", "value"),
    [
        *[(0.35, k, c, 1.20) for k, c in ((1, 0.125), (2, 0.1135), (3, 0.0876), (4, 0.0688), (5, 0.0559))],
        *[(0.35, k, 0.1, value) for k, value in enumerate((1.227, 1.227, 1.166, 1.093, 1.024, 0.961, 0.905, 0.855), 1)],
        (0.35, 5, 0.12, 0.960),
        (0.35, 1, Ratio(0.1, o=0.1), 1.125),
        (0.35, 5, Ratio(0.1, o=0.1), 0.960),
        (0.35, 5, Ratio(0.1, d=0.02), 0.960),
        (0.35, 8, Ratio(0.1, d=0.02), 0.785),
        (0.40, 3, 0.1, 1.249),
        (0.40, 5, 0.1, 1.107),
        (0.35, 5, 0.02, 1.396),
        (0.75, 4, 0.0224, 2.8),
        (0.75, 5, 0.0349, 2.8),
        (0.75, 6, 0.0396, 2.8),
        (0.75, 7, 0.0408, 2.8),
        (0.75, 8, 0.0402, 2.8),
        (0.75, 5, 1 / 700, 3.265),
        (0.75, 7, 1 / 700, 3.564),
        (0.75, 5, 0.035, 2.798),
    ],
)
def test_the_article_s_speedups_hold_at_these_costs(alpha, k, cost, value):
    assert speedup(alpha, k, cost) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("alpha", "c", "k", "value"),
    [
        (0.75, 1 / 700, 18, 3.883),
        (0.75, 0.1, None, 2.192),
        (0.70, 0.02, 8, 2.758),
        (0.35, 0.035, 2, 1.376),
        (0.75, 0.035, 7, 2.891),
    ],
)
def test_the_article_s_best_cases(alpha, c, k, value):
    best = best_k(alpha, c)
    assert best.speedup == pytest.approx(value, abs=1e-3)
    assert k in (None, best.k)


@pytest.mark.parametrize(
    ("k", "c", "d", "alpha"),
    [
        (7, 0.10, 0, 0.4123),
        (5, 0.13, 0, 0.3963),
        (4, 0.16, 0, 0.3962),
        (8, 0.085, 0, 0.4049),
        (5, 0.02, 0, 0.0909),
        (5, 0.20, 0.05, 0.5710),
    ],
)
def test_a_forty_per_cent_threshold_belongs_to_one_draft_at_one_depth(k, c, d, alpha):
    assert break_even(c=c, d=d, k=k) == pytest.approx(alpha, abs=1e-4)


@pytest.mark.parametrize(("k", "c", "value"), [(3, 0.1, 1.577), (5, 0.1, 1.833)])
def test_thirty_five_per_cent_read_as_the_accepted_fraction_is_another_claim(k, c, value):
    law = Geometric.from_block_efficiency(1 + 0.35 * k, k)
    assert speedup(law, k, c) == pytest.approx(value, abs=1e-3)
    assert Geometric.from_block_efficiency(1 + 0.35 * 5, 5).alpha == pytest.approx(0.669, abs=5e-4)
    assert Geometric(0.35).mean(5) / 5 == pytest.approx(0.107, abs=1e-3)
    assert speedup(Geometric.from_block_efficiency(1 + 0.75 * 5, 5), 5, 0.1) == pytest.approx(3.167, abs=1e-3)


@pytest.mark.parametrize(
    ("c", "k", "alpha"),
    [
        (0.02, 4, 0.7811),
        (0.02, 5, 0.7516),
        (0.02, 7, 0.7316),
        (0.02, 8, 0.7294),
        (0.02, 9, 0.7296),
        (0.05, 5, 0.807),
        (0.05, 7, 0.791),
    ],
)
def test_three_times_as_fast_needs_this_alpha(c, k, alpha):
    assert Geometric.from_block_efficiency(3 * (1 + k * c), k).alpha == pytest.approx(alpha, abs=5e-4)
    assert speedup(alpha, k, c) == pytest.approx(3, abs=5e-3)
