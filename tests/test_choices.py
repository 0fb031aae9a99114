"""What a plan chooses from: drafts by name, their acceptance as given or as printed elsewhere, measured costs."""

import json

import numpy as np
import pytest

from specmath.acceptance import Curve, Geometric, HitMiss
from specmath.calibration import scaled
from specmath.cost import Roofline
from specmath.efficiency import efficiency
from specmath.hardware import gpu, model
from specmath.serving import Traffic
from tests import synthetic
from tests.test_cli import command, one_object  # noqa: F401 (a fixture)
from validate import trace
from validate.acceptances import Observed, acceptances
from validate.candidates import System, candidates, draft_of
from validate.costs import Cell, Costs, Sweep

BIG, TRAFFIC = model("Llama-3.1-70B"), Traffic(20, 1000, 300)


def chosen(*names, law=0.7, **given):
    system = System(BIG, (gpu("h100"),), "bf16", **given)
    drafts = [draft_of(name, BIG) for name in names]
    drafts = [type(d)(d.name, d.method, d.id, d.shape, law, (1, 2, 3)) for d in drafts]
    return candidates(drafts, system, TRAFFIC, "org/target")


@pytest.mark.parametrize(
    ("name", "method", "id", "layers", "fusion"),
    [
        ("eagle", "eagle", None, 1, 2),
        ("eagle:org/head", "eagle", "org/head", 1, 2),
        ("eagle3:org/head", "eagle3", "org/head", 1, 3),
        ("mtp", "mtp", None, 1, 2),
        ("Llama-3.2-1B", "draft_model", "Llama-3.2-1B", 16, 0),
        ("sparse:512", None, None, 80, 0),
    ],
)
def test_a_draft_is_what_its_name_says(name, method, id, layers, fusion):
    draft = draft_of(name, BIG)
    assert (draft.method, draft.id, draft.shape.layers, draft.shape.fusion) == (method, id, layers, fusion)


def test_lookup_drafts_for_a_share_of_a_verification():
    (found,) = chosen("lookup", tps=(4,))
    verify = found.cost.target.seconds(4, batch=8, context=1000)
    drafting = found.cost.draft.seconds(4, batch=8, context=1000)
    assert drafting == pytest.approx(0.006 * verify)
    assert (found.method, found.target, found.cost.one_pass) == ("ngram", "org/target", True)


@pytest.mark.parametrize("name", ["ngram", "early:4", "mtp:2", "sparse:0", "sparse:x", "sparse", "Llama-9"])
def test_what_is_no_draft_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=r"found .*expected") as refused:
        draft_of(name, BIG)
    assert "\n" not in str(refused.value)


def test_parallelisms_that_hold_no_sequence_are_left_out():
    assert [one.replica_gpus for one in chosen("mtp")] == [2, 4, 8]
    assert [one.replica_gpus for one in chosen("mtp", tps=(1, 8))] == [1, 8]
    small = System(BIG, (gpu("l4"),), "bf16").parallelisms(gpu("l4"), 1000)
    assert small == (8,)


def test_a_draft_has_a_parallelism_of_its_own_up_to_the_targets():
    names = {one.name: one.cost.draft.tp for one in chosen("mtp", tps=(4,), draft_tps=(1, 4, 8))}
    assert names == {"mtp (on 1)": 1, "mtp (on 4)": 4}
    assert [one.cost.draft.tp for one in chosen("mtp", tps=(4,), draft_tps=(1,))] == [1]
    assert [one.cost.draft.tp for one in chosen("mtp", tps=(4,))] == [4]


def test_a_draft_pays_the_host_of_a_draft_pass_and_the_engine_that_of_a_step():
    reached = efficiency("h100", tp=4, engine="sglang")
    (found,) = chosen("mtp", tps=(4,), engine="sglang")
    assert found.cost.target.efficiency.host == reached.host != efficiency("h100", tp=4).host
    assert found.cost.draft.efficiency.host == reached.draft_pass
    assert found.cost.overhead == reached.accept


def test_acceptance_is_given_by_place_by_name_or_by_position():
    names = ["eagle3:org/head", "lookup"]
    by_place = acceptances(names, [".8", ".4"])
    assert [by_place[name].law for name in names] == [Geometric(0.8), Geometric(0.4)]
    by_name = acceptances(names, ["lookup=.4"], ["eagle3=.8,.6,.5"])
    assert by_name[names[0]].law == Curve((0.8, 0.6, 0.5))
    assert by_name["lookup"].law == Geometric(0.4)
    assert acceptances(names, ["org/head=.8"]).keys() == {names[0]}


@pytest.mark.parametrize(
    ("alphas", "survivals", "said"),
    [
        ([".8"], [], "found 1 without a draft's name for 2 drafts"),
        (["x=.8"], [], "the draft 'x'"),
        (["lookup=2"], [], r"did you mean 0.02\?"),
        (["lookup=1.5"], [], "expected a number in"),
        (["lookup=much"], [], "'much'"),
        ([], [".8,.6"], "expected DRAFT=VALUE"),
        (["lookup=.5"], ["lookup=.5,.4"], "a second acceptance of lookup"),
    ],
)
def test_what_is_no_acceptance_is_refused(alphas, survivals, said):
    with pytest.raises(ValueError, match=said):
        acceptances(["mtp", "lookup"], alphas, survivals)


def interval(value, low, high):
    return {"value": value, "low": low, "high": high, "level": 0.95, "prompts": 20, "method": "m"}


def profile(tmp_path, **survivals):
    drafts = [
        {
            "name": name,
            "rule": "standard",
            "alpha": interval(curve[1], curve[1] - 0.05, curve[1] + 0.05),
            "survival": curve,
        }
        for name, curve in survivals.items()
    ]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"schema": "specmath.profile/1", "drafts": drafts}))
    return path


def test_a_profile_gives_the_survival_of_every_draft_it_scored(tmp_path):
    path = profile(tmp_path, lookup=[1.0, 0.5, 0.3], small=[1.0, 0.8, 0.7])
    found = acceptances(["lookup", "small", "mtp"], [], [], [str(path)])
    assert found.keys() == {"lookup", "small"}
    assert found["small"].law == Observed((0.8, 0.7), "standard")
    assert found["small"].law.rule == "standard"
    assert found["lookup"].alpha["low"] == pytest.approx(0.45)
    with pytest.raises(ValueError, match=r"found lookup, small in .*, expected mtp, eagle"):
        acceptances(["mtp", "eagle"], [], [], [str(path)])


def test_a_profile_of_one_draft_is_that_of_the_draft_it_is_given_to(tmp_path):
    path = profile(tmp_path, small=[1.0, 0.8, 0.7])
    found = acceptances(["mtp", "lookup"], [], [], [f"mtp={path}"])
    assert found["mtp"].law == Observed((0.8, 0.7), "standard")


@pytest.mark.parametrize("hit", [1.0, 0.5])
def test_what_fit_prints_is_read_as_it_was_fitted(command, tmp_path, hit):  # noqa: F811
    synthetic.write_trace(tmp_path / trace.FILE, synthetic.trace({"json": 0.8}, prompts=12, rounds=40, hit=hit))
    out = command("fit", tmp_path, "--json")[1]
    (tmp_path / "fit.json").write_text(out)
    fitted = one_object(out)
    law = acceptances(["lookup"], [], [], [str(tmp_path / "fit.json")])["lookup"].law
    if hit < 1:
        assert law == HitMiss(**fitted["law"]["params"])
        assert law.h == pytest.approx(hit, abs=0.1)
    else:
        assert [law.survival(i) for i in range(3)] == fitted["survival"][:3]


@pytest.mark.parametrize("text", ["[1]", "{}", '{"schema": "specmath.speedup/1"}', "no"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"expected the JSON of specmath profile, fit or run"):
        acceptances(["mtp"], [], [], [str(tmp_path / "other.json")])


LENGTHS, BATCHES, CONTEXTS = (1, 2, 3, 4), (1, 8, 32), (512, 2048)
SMALL = ("--target", "Llama-3.1-8B", "--gpu", "h100", "--draft", "lookup", "--alpha", 0.6, "--k", "1-3")
LOAD = ("--rate", 20, "--prompt", 1000, "--output", 300, "--tpot", "30ms")


def swept(tmp_path, forward):
    """A file of sweeps of an 8B target, its forwards as `forward` says."""
    cells = {
        Cell("target", n, batch, context): float(forward(n, batch=batch, context=context))
        for n in LENGTHS
        for batch in BATCHES
        for context in CONTEXTS
    }
    path = tmp_path / "costs.jsonl"
    found = Costs([Sweep(cells, (1.0, 1.0), (0.0,) * 4)], {"target": "Llama-3.1-8B", "device": "cuda"})
    synthetic.write_costs(path, found)
    return path


def slow(n, *, batch=1, context=0):
    """A forward that no roofline has."""
    return 0.004 + 0.0005 * n + 0.0001 * batch + 1e-6 * context


def test_measured_costs_take_the_place_of_the_roofline(command, tmp_path):  # noqa: F811
    path = swept(tmp_path, slow)
    code, out, err = command("plan", *SMALL, *LOAD, "--costs", path, "--json")
    assert not err
    found = one_object(out)
    assert (code, found["confidence"], found["provenance"]["target"]) == (0, "high", "measured")
    step = found["step"]
    assert step["plain"]["forward"] == pytest.approx(slow(1, batch=step["batch"], context=1300))
    assert found["max_batch"] <= 32
    assert found["memory"]["weights"] == pytest.approx(16.06e9, rel=0.01)
    code, _, err = command("plan", *SMALL, *LOAD, "--costs", path, "--tp", 2)
    assert code == 2
    assert "measured on one GPU" in err
    code, _, err = command("plan", *SMALL, "--rate", 1, "--prompt", 9000, "--output", 10, "--costs", path)
    assert code == 2
    assert "--costs: context=9010" in err
    assert "expected context 512 to 2048" in err
    assert "specmath cost --context around 9010 tokens" in err


@pytest.mark.parametrize("option", ["--costs", "--calibrate"])
def test_sweeps_of_another_shape_are_refused_and_those_of_this_one_named(command, tmp_path, option):  # noqa: F811
    path = swept(tmp_path, slow)
    other = ("--target", "Llama-3.2-1B", *SMALL[2:])
    code, out, err = command("plan", *other, *LOAD, "--tp", 1, option, path)
    assert (code, out) == (2, "")
    assert f"{option}: found sweeps of Llama-3.1-8B, expected those of Llama-3.2-1B" in err
    alias = ("--target", "meta-llama/Llama-3.1-8B-Instruct", *SMALL[2:])
    code, out, _ = command("plan", *alias, *LOAD, "--tp", 1, option, path)
    assert code == 0
    assert "sweeps" in out.partition("WHAT IT RESTS ON")[2]
    assert "Llama-3.1-8B, " in out.partition("WHAT IT RESTS ON")[2]


def test_a_roofline_is_calibrated_to_sweeps(command, tmp_path):  # noqa: F811
    """Sweeps of products that reach 0.7 of the bandwidth, and of a host that takes twice its time, are found again."""
    truth = scaled(efficiency("h100"), {"bandwidth": 0.7, "host": 2.0}, "planted")
    path = swept(tmp_path, Roofline("Llama-3.1-8B", "h100", efficiency=truth).seconds)
    found = one_object(command("plan", *SMALL, *LOAD, "--tp", 1, "--calibrate", path, "--json")[1])
    step = found["step"]
    planted = Roofline("Llama-3.1-8B", "h100", efficiency=truth).seconds(1, batch=step["batch"], context=1300)
    assert sum(step["plain"].values()) == pytest.approx(planted, rel=0.02)
    assert found["provenance"]["target"] == "fitted"
    assert found["confidence"] == "high"
    assert found["provenance"]["calibration"]["error"] < 0.02
    plain = one_object(command("plan", *SMALL, *LOAD, "--tp", 1, "--json")[1])
    assert sum(plain["step"]["plain"].values()) < 0.85 * planted


def test_the_interval_of_alpha_becomes_one_of_the_gain_and_may_leave_it_open(command, tmp_path):  # noqa: F811
    path = profile(tmp_path, lookup=[1.0, 0.5, 0.25, 0.125])
    words = ("plan", "--target", "Llama-3.1-70B", "--gpu", "h100", "--tp", 4, "--draft", "lookup", *LOAD[:-2])
    sure = one_object(command(*words, "--tpot", "20ms", "--acceptance", path, "--json")[1])
    assert sure["gain"]["low"] < sure["gain"]["value"] < sure["gain"]["high"]
    assert (sure["verdict"], sure["gain"]["prompts"]) == ("use", 20)
    weak = profile(tmp_path, lookup=[1.0, 0.11, 0.01, 0.0])
    open_ = one_object(command(*words, "--tpot", "60ms", "--acceptance", weak, "--json")[1])
    assert open_["verdict"] == "measure_more"
    ends = [("--survival", f"lookup={0.11 + off},{0.1 * (0.11 + off)}") for off in (-0.05, 0.05)]
    at_ends = [one_object(command(*words, "--tpot", "60ms", *end, "--json")[1])["verdict"] for end in ends]
    assert at_ends == ["dont_use", "use"]


def test_a_device_of_ones_own_has_a_price_by_its_name(command, tmp_path):  # noqa: F811
    own = {"name": "Mine", "memory_bytes": 96e9, "bandwidth_bytes_per_s": 2e12, "bf16_flops": 5e14}
    (tmp_path / "mine.json").write_text(json.dumps(own))
    words = ("--target", "Llama-3.1-8B", "--draft", "mtp", "--alpha", 0.7, *LOAD, "--tp", 1)
    price = ("--price", "mine=1.5", "--price", "h100=3", "--price-date", "2026-11")
    gpus = ("--gpu", tmp_path / "mine.json", "--gpu", "h100")
    found = one_object(command("plan", *words, *gpus, *price, "--json")[1])
    assert {row["gpu"] for row in found["ranked"]} == {"Mine", "H100 SXM"}
    for row in found["ranked"]:
        dollars = {"Mine": 1.5, "H100 SXM": 3.0}[row["gpu"]]
        assert row["cost_per_million"] == pytest.approx(row["gpus"] * dollars / 3600 / (20 * 300) * 1e6)
    costs = [row["cost_per_million"] for row in found["ranked"]]
    assert costs == sorted(costs)
    alone = one_object(command("plan", *words, *gpus, "--json")[1])
    assert any("Without prices H100 SXM and Mine are ranked by their number" in line for line in alone["headroom"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "Llama-3.1-70B", "--gpu", "h100", "--tp", 2), "The KV cache holds"),
        (("--target", "Llama-3.1-70B", "--gpu", "h100", "--tp", 4, "--k", "8"), "CUDA graphs: "),
        (("--target", "Qwen3-30B-A3B", "--gpu", "h100", "--tp", 8), "above the 4 KV heads: each is kept 2 times"),
        (("--target", "Qwen3-30B-A3B", "--gpu", "h100", "--tp", 1), "How tokens share experts is assumed"),
        (("--target", "Llama-3.1-8B", "--gpu", "l40s", "--tp", 2), "All-reduces go over PCIe"),
    ],
)
def test_edges_are_warned_of(command, options, said):  # noqa: F811
    words = ("--draft", "mtp", "--alpha", 0.7, "--rate", 5, "--prompt", 4000, "--output", 500)
    found = one_object(command("plan", *options, *words, "--json")[1])
    assert any(said in line for line in found["headroom"]), found["headroom"]


def test_nothing_is_warned_of_far_from_the_edges(command):  # noqa: F811
    words = ("--target", "Llama-3.1-8B", "--gpu", "h100", "--tp", 1, "--draft", "eagle", "--alpha", 0.7, "--k", 1)
    load = ("--rate", 1, "--prompt", 500, "--output", 100, "--max-batch", 64)
    assert one_object(command("plan", *words, *load, "--json")[1])["headroom"] == []


def test_heat_is_tau_over_the_time_of_a_round(command):  # noqa: F811
    words = ("--target", "Llama-3.1-8B", "--gpu", "h100", "--tp", 1, "--draft", "mtp", "--alpha", 0.7, *LOAD)
    heat = one_object(command("plan", *words, "--json")[1])["heat"]
    (found,) = [one for one in chosen_small() if one.name == "mtp"]
    batch = heat["batches"][4]
    for i, k in ((0, 1), (2, 3)):
        at = {"batch": batch, "context": 1300}
        rounds = k * found.cost.draft.seconds(1, **at) + found.cost.target.seconds(k + 1, **at) + found.cost.overhead
        tau = (1 - 0.7 ** (k + 1)) / 0.3
        assert heat["gain"][i][4] == pytest.approx(tau * found.cost.target.seconds(1, **at) / rounds)
    assert np.shape(heat["gain"]) == (len(heat["k"]), len(heat["batches"]))


def chosen_small():
    shape = model("Llama-3.1-8B")
    draft = draft_of("mtp", shape)
    system = System(shape, (gpu("h100"),), "bf16", tps=(1,))
    return candidates([type(draft)(draft.name, draft.method, None, draft.shape, 0.7, (1,))], system, TRAFFIC, None)
