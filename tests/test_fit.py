from dataclasses import replace

import numpy as np
import pytest

from tests import runs
from validate import fit

ALWAYS, NEVER, MISS = (4, 4), (4, 0), (0, 0)


def sample(**outcomes):
    return fit.sample_of(runs.trace({name.replace("_", "-"): o for name, o in outcomes.items()}))


def test_alpha_is_accepted_over_accepted_and_rejected_never_over_drafted():
    fitted = fit.fit(sample(a_1=[(4, 1), (4, 4), (4, 0), MISS]).rounds, 4)
    assert fitted.alpha.value == 5 / 7
    assert fitted.accepted / fitted.drafted == 5 / 12


def test_block_efficiency_counts_the_rounds_that_drafted_nothing():
    fitted = fit.fit(sample(a_1=[(4, 3), MISS, MISS, (4, 0)]).rounds, 4)
    assert fitted.block_efficiency.value == 1 + 3 / 4
    assert fitted.hit == 0.5


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
