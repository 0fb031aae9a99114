from dataclasses import replace

import numpy as np
import pytest

from specmath.estimate import ratio
from tests import runs
from validate import fit

ALWAYS, NEVER, MISS = (4, 4), (4, 0), (0, 0)
CUT = (4, 1, "eos")  # EOS is the first of four drafts


def sample(**outcomes):
    return fit.sample_of(runs.trace({name.replace("_", "-"): o for name, o in outcomes.items()}))


def fitted_on(**outcomes):
    return fit.fit(sample(**outcomes).lines, "one_hot", 4)


def test_alpha_is_accepted_over_accepted_and_rejected_never_over_drafted():
    fitted = fitted_on(a_1=[(4, 1), (4, 4), (4, 0), MISS])
    assert fitted.alpha.value == 5 / 7
    assert fitted.accepted / fitted.drafted == 5 / 12


def test_block_efficiency_counts_the_rounds_that_drafted_nothing():
    fitted = fitted_on(a_1=[(4, 3), MISS, MISS, (4, 0)])
    assert fitted.block_efficiency.value == 1 + 3 / 4
    assert fitted.hit == 0.5


def test_tokens_per_round_are_those_emitted_and_a_bonus_behind_eos_is_none():
    """Eleven tokens in three rounds; 1 + accepted / rounds would be 4."""
    fitted = fitted_on(a_1=[ALWAYS, ALWAYS, CUT])
    assert fitted.block_efficiency.value == pytest.approx(11 / 3)
    assert (fitted.drafted, fitted.accepted, fitted.alpha.value) == (9, 9, 1)


def test_tokens_per_round_have_an_interval_by_prompt_and_count_a_last_round_of_one_token():
    fitted = fitted_on(a_1=[ALWAYS, MISS], a_2=[NEVER, NEVER, CUT], a_3=[(4, 2)])
    assert fitted.block_efficiency == ratio([6, 3, 3], [2, 3, 1], method="tokens / rounds", bounds=(1.0, 5.0))
    assert fitted.rounds == 5


def test_a_round_that_eos_cut_is_priced_at_the_drafts_that_were_verified():
    pair = runs.costs(draft=0.1).pair("D")
    trace = runs.trace({"a-1": [ALWAYS, CUT]}, draft=0.1, head=runs.header(draft="D"))
    run = fit.sample_of(trace).prompts[0].spec
    assert [t.verify for t in fit.round_times(run, pair, 4)] == pytest.approx([1.5, 1.5])
    assert [t.draft for t in fit.round_times(run, pair, 4)] == pytest.approx([0.4, 0.5])
    assert [t.verify for t in fit.round_times(run, pair, 2)] == pytest.approx([2.0, 2.0])


def test_cut_at_a_smaller_k_a_round_that_eos_ended_emits_no_more_than_it_did():
    """EOS the fourth of four: cut at 2 the round would have emitted two and the bonus; EOS the first: one."""
    deep, shallow = (sample(a_1=[(4, kept, "eos")]).prompts[0].spec.rounds[0] for kept in (4, 1))
    pair = runs.costs().pair("lookup")
    assert [fit.plain_seconds(line, pair, 2) for line in (deep, shallow)] == [3, 1]


def test_rounds_at_the_prices_they_were_paid_predict_what_was_measured():
    ours = sample(a_1=[ALWAYS, MISS, (4, 2)], a_2=[NEVER, (2, 2), MISS])
    predicted = fit.predicted_speedup(ours, runs.costs().pair("lookup"), k=4).value
    assert predicted == pytest.approx(fit.measured_speedup(ours).value, rel=1e-12)
    assert predicted == pytest.approx((5 + 1 + 3 + 1 + 3 + 1) / (1.5 + 1 + 1.5 + 1.5 + 2 + 1))


def test_a_round_without_a_draft_costs_a_plain_step():
    assert fit.predicted_speedup(sample(a_1=[MISS] * 5), runs.costs().pair("lookup"), k=4).value == 1


def test_the_overhead_of_a_draft_is_paid_by_rounds_that_drafted():
    pair = replace(runs.costs().pair("lookup"), overhead=0.5)
    assert fit.predicted_speedup(sample(a_1=[MISS, ALWAYS]), pair, k=4).value == pytest.approx(6 / (1 + 2))


def test_a_round_pays_the_overhead_of_what_it_drafted_itself():
    pair = replace(runs.costs().pair("lookup"), overhead=(9.0, 0.125, 0.25, 0.5, 1.0))
    (of,) = sample(a_1=[(1, 1), MISS, (4, 0), (2, 2)]).prompts
    assert [time.overhead for time in fit.round_times(of.spec, pair, 4)] == [0.125, 0.0, 1.0, 0.25]
    assert [time.overhead for time in fit.round_times(of.spec, pair, 2)] == [0.125, 0.0, 0.25, 0.25]


def test_a_round_cut_at_k_is_fully_accepted_where_its_first_k_drafts_were():
    trace = runs.trace({"a-1": [(4, 2), (4, 2)]}, draft=0.1, head=runs.header(draft="D"))
    times = fit.round_times(fit.sample_of(trace).prompts[0].spec, runs.costs(draft=0.1).pair("D"), 2)
    assert [t.draft for t in times] == pytest.approx([0.2, 0.3])


def test_cut_at_a_smaller_k_a_round_emits_and_costs_less():
    ours = sample(a_1=[ALWAYS, NEVER])
    assert fit.predicted_speedup(ours, runs.costs().pair("lookup"), k=2).value == pytest.approx((3 + 1) / (2.0 + 2.0))


def played(accepted, k):
    """Rounds of k drafts over a text, of which the draft has the tokens marked 1 right."""
    at, outcomes = 0, []
    while at < len(accepted):
        kept = next((i for i, right in enumerate(accepted[at : at + k]) if not right), k)
        outcomes.append((k, kept))
        at += kept + 1
    return outcomes


@pytest.mark.parametrize(("text", "low", "high"), [([1] * 12 + [0] * 12, 0.89, 0.93), ([1], 0.99, 1.01)])
def test_a_cut_is_exact_only_where_stretches_do_not_alternate(text, low, high):
    """Of a smaller k: the rounds of the k that ran begin more often in what is hard."""
    ran, exact = (sample(a_1=played(text * (720 // len(text)), k)) for k in (4, 1))
    pair = runs.costs().pair("lookup")
    cut = fit.predicted_speedup(ran, pair, k=1).value
    assert low < cut / fit.measured_speedup(exact).value < high


def test_the_clock_and_not_the_table_is_measured():
    slow = fit.sample_of(runs.trace({"a-1": [ALWAYS] * 4}, slower=2.0))
    assert fit.measured_speedup(slow).value == pytest.approx(5 / 3)


def test_after_a_full_acceptance_the_draft_model_catches_up_on_its_last_token():
    trace = runs.trace({"a-1": [(4, 4), (4, 0), (4, 4)]}, draft=0.1, head=runs.header(draft="D"))
    pair = runs.costs(draft=0.1).pair("D")
    times = fit.round_times(fit.sample_of(trace).prompts[0].spec, pair, 4)
    assert [t.draft for t in times] == pytest.approx([0.4, 0.5, 0.4])


def test_the_control_is_plain_against_plain():
    assert fit.control_ratio(sample(a_1=[ALWAYS], a_2=[MISS])) == 1


def test_prompts_without_all_their_arms_are_left_out():
    trace = runs.trace({"a-1": [ALWAYS], "a-2": [ALWAYS]})
    torn = type(trace)(trace.header, trace.prompts, trace.rounds, trace.done[:-1])
    assert [p.prompt for p in fit.sample_of(torn).prompts] == ["a-1"]


def test_halves_alternate_within_each_domain():
    ours = sample(a_1=[MISS], b_1=[MISS], a_2=[MISS], a_3=[MISS], b_2=[MISS])
    fitted_on, held_out = ours.halves()
    assert [p.prompt for p in fitted_on.prompts] == ["a-1", "b-1", "a-3"]
    assert [p.prompt for p in held_out.prompts] == ["a-2", "b-2"]


def simulated(rng, prompts, level):
    """Prompts whose acceptance differs: Beta(7, 3) each, 30 rounds of four drafts."""
    alphas = rng.beta(7, 3, size=prompts) * level
    accepted = np.minimum(rng.geometric(1 - alphas[:, None], size=(prompts, 30)) - 1, 4)
    return {f"a-{i}": [(4, int(a)) for a in row] for i, row in enumerate(accepted)}


@pytest.mark.parametrize(("bias", "least", "most"), [(1.0, 0.90, 0.99), (0.8, 0.0, 0.75)])
def test_the_interval_for_the_other_half_covers_it_and_a_biased_half_is_caught(bias, least, most):
    """95 % nominal over 200 runs of 8 + 8 prompts; the control fits on prompts that accept a fifth less."""
    rng, pair, covered = np.random.default_rng(0), runs.costs().pair("lookup"), 0
    for _ in range(200):
        fitted_on = fit.sample_of(runs.trace(simulated(rng, 8, bias)))
        held_out = fit.sample_of(runs.trace(simulated(rng, 8, 1.0)))
        predicted = fit.predicted_speedup(fitted_on, pair, k=4, ahead=8)
        covered += predicted.low <= fit.measured_speedup(held_out).value <= predicted.high
    assert least <= covered / 200 <= most
