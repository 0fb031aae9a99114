"""What a study concludes from several cells: which leads, what to do with each kind of text, how good it was."""

import json
from dataclasses import replace

import pytest

from tests import runs, synthetic
from validate.prediction import Prediction
from validate.report import plain
from validate.study_document import study_document

ALPHAS = {"json": 0.9, "prose": 0.05, "qa": 0.5}


def trace(name="lookup", **how):
    return synthetic.trace(ALPHAS, head=runs.header(draft=name), **{"seed": 1, **how})


@pytest.fixture(scope="module")
def two():
    """Lookup, and a model draft that accepts alike and costs a tenth of a step for each token."""
    prices = runs.costs(draft=0.1)
    return json.loads(json.dumps(runs.study(trace(), trace("D", draft=0.1, seed=2), prices=prices), allow_nan=False))


def test_the_keys_of_the_contract(two):
    assert two["schema"] == "specmath.run/1"
    assert set(two["cells"][0]) >= {"domain", "draft", "k", "predicted", "measured", "error", "inside"}
    assert set(two["total"]) == {"predicted", "measured", "error", "inside"}
    assert set(two["gap"]) == {"acceptance", "draft", "verify", "overhead"}
    assert {"target", "draft", "overhead"} <= set(two["costs"])
    for found in two["verdicts"].values():
        assert {"verdict", "k", "more_prompts"} <= set(found)


def test_every_cell_is_there_by_domain_draft_and_k(two):
    cells = {(c["domain"], c["draft"], c["k"]) for c in two["cells"]}
    assert cells == {(domain, draft, 4) for domain in ALPHAS for draft in ("lookup", "D")}
    assert {(t["domain"], t["draft"]) for t in two["totals"]} == {("all", "lookup"), ("all", "D")}


def test_the_cell_that_was_predicted_fastest_leads_and_not_the_one_that_measured_so():
    """The slower prediction got a lucky clock: the verdict is still on the one chosen beforehand."""
    lucky = trace("D", draft=0.1, seed=1, slower=0.5)
    document = runs.study(trace(), lucky, prices=runs.costs(draft=0.1))
    assert (document["draft"], document["provenance"]["draft"]) == ("lookup", "lookup")
    totals = {t["draft"]: t["measured"]["value"] for t in document["totals"]}
    assert totals["D"] > totals["lookup"] == document["speedup"]["value"]


def test_verdict_k_and_measurement_are_of_the_cell_that_ran_and_the_best_k_is_a_prediction():
    document = runs.untried(trace(), 2, 3.0, 2.9)
    assert document["verdicts"]["json"]["k"] == document["domains"]["json"]["k"] == document["k"] == 4
    assert document["best"] == {
        "draft": "lookup",
        "k": 2,
        "predicted": {"value": 3.0, "low": 2.9, "high": 3.1, "level": 0.95, "prompts": 1, "method": "made up"},
        "command": "specmath run --target T --draft lookup --k 2 --prompts FILE",
    }


@pytest.mark.parametrize("low", [1.0, float("nan")])
def test_a_best_k_that_cannot_be_told_from_the_one_that_ran_is_no_reason_to_run_it(low):
    assert runs.untried(trace(), 2, 3.0, low)["best"]["command"] is None
    assert runs.study(trace())["best"]["command"] is None


def test_what_to_do_names_draft_depth_and_kind_of_text(two):
    assert "use lookup with k = 4 for json" in two["next"]
    assert "decode plainly for prose" in two["next"]
    alone = runs.study(trace())
    assert "use it for json" in alone["next"]


def test_predictions_that_are_right_have_no_error_and_no_gap(two):
    for cell in (cell for cell in two["cells"] if cell["draft"] == "lookup"):
        assert cell["error"] == pytest.approx(0, abs=1e-9)
        assert all(part == pytest.approx(0, abs=1e-9) for part in cell["gap"].values())
    assert (two["accuracy"]["inside"], two["accuracy"]["judged"]) == (6, 6)


def test_what_only_the_table_pays_is_found_in_drafting(two):
    """The made-up clock of the model draft leaves out the token it has to read after a full acceptance."""
    for cell in (cell for cell in two["cells"] if cell["draft"] == "D" and cell["domain"] == "json"):
        assert cell["error"] < -0.01
        assert cell["gap"]["draft"] == pytest.approx(sum(cell["gap"].values()))


def test_a_clock_that_is_slower_than_predicted_is_an_error_of_verification_and_falls_outside():
    """The negative control: 60 % slower verification is 60 % of error, found where it is."""
    slow, prices = trace(slower=1.6), runs.costs()
    told = runs.predicted({("lookup", 4): slow}, prices)
    sure = Prediction(tuple(replace(f, speedup=_narrow(f.speedup)) for f in told.forecasts), told.made)
    document = study_document({("lookup", 4): slow}, prices, sure)
    assert [cell["error"] for cell in document["cells"]] == pytest.approx([0.6] * 3)
    assert document["accuracy"]["inside"] == 0
    assert document["accuracy"]["worst_error"] == pytest.approx(0.6)
    for cell in document["cells"]:
        assert max(cell["gap"], key=lambda name: abs(cell["gap"][name])) == "verify"
    [row] = [line.split() for line in plain(document).splitlines() if line.split()[:3] == ["json", "lookup", "4"]]
    assert row[-4:-1] == ["+60.0%", "no", "verify"]


def _narrow(found):
    return replace(found, low=0.99 * found.value, high=1.01 * found.value)


def test_the_halves_are_kept_apart_under_their_own_name(two):
    assert set(two["held_out"]) == {"cells", "total", "gap"}
    assert two["held_out"]["total"]["measured"]["prompts"] == 9
    assert two["total"]["measured"]["prompts"] == 18


def test_the_law_that_was_chosen_is_shown_with_those_that_were_not(two):
    found = two["laws"]["lookup, k = 4"]
    assert {c["law"] for c in found["ranking"]} == {"Geometric", "Positional", "BetaGeometric", "Markov"}
    assert found["chosen"] in {c["law"] for c in found["ranking"] if not c["rejected"]}
    assert all(not name.startswith("_") for c in found["ranking"] for name in c["params"])


def test_a_law_cannot_be_chosen_where_nothing_was_tested():
    document = runs.study(trace(hit=0.0))
    assert document["laws"]["lookup, k = 4"]["chosen"] is None
    assert document["laws"]["lookup, k = 4"]["missing"]


def test_prompts_that_differ_reject_one_alpha():
    """Planted: half of the prompts at .95, half at .2, of one kind."""
    mixed = synthetic.trace({"a": 0.95, "b": 0.2}, prompts=12, seed=3)
    document = runs.study(replace(mixed, prompts=tuple(replace(p, domain="one") for p in mixed.prompts)))
    ranking = {c["law"]: c for c in document["laws"]["lookup, k = 4"]["ranking"]}
    assert ranking["Geometric"]["rejected"]
    assert document["laws"]["lookup, k = 4"]["chosen"] != "Geometric"
