"""The bench of decoders: every arm runs and says `generate`'s tokens, ratios are those of the seconds."""

import pytest

torch = pytest.importorskip("torch")

from bench import decoding, peers
from tests import tiny
from validate.loading import early

PROMPTS = [[1, 5, 2, 7, 3, 3, 0, 6], [4, 4, 9, 1, 4, 4], [2, 8, 2, 8, 2]]
BUDGET = 20
KINDS = {"plain", "lookup", "model"}


def arms(k=3):
    """Of a tiny target and its own first layer."""
    loaded = tiny.llama(vocabulary=12, seed=1)
    others, left_out = peers.arms(loaded, early(loaded, 1), k)
    return decoding.our_arms(loaded, early(loaded, 1), 64, k) | decoding.usable(others, PROMPTS[0]), left_out


def seconds(**changed):
    """Planted: every arm takes 1 s and then 3 s, unless changed."""
    names = {name for a, b, _ in decoding.RATIOS for name in (a, b)}
    return {name: [1.0, 3.0] for name in names} | {name.replace("_", " "): s for name, s in changed.items()}


def ratios(lines):
    width = 43  # of two names and the stroke between them
    return {line[:width]: line[width:].split() for line in list(lines)[1:]}


def test_every_arm_says_the_tokens_of_generate():
    found, left_out = arms()
    taken, outputs = decoding.timed(found, PROMPTS, BUDGET)
    assert {"loop plain", "generate plain", "generate lookup", "generate assisted", "generate early exit"} <= set(found)
    assert {f"ours {kind}{again}" for kind in KINDS for again in ("", " (control)")} <= set(found)
    assert bool(left_out) is not bool({"flashspec lookup", "flashspec model"} & set(found))
    for name, made in outputs.items():
        assert [o.tokens for o in made] == [o.tokens for o in outputs[decoding.REFERENCE]], name
        assert all(len(o.tokens) == BUDGET for o in made)
        assert len(taken[name]) == len(PROMPTS)
    assert all(o.forwards == BUDGET for name in ("ours plain", "loop plain", "generate plain") for o in outputs[name])
    forwards = {name: [o.forwards for o in made] for name, made in outputs.items()}
    assert forwards["generate early exit"] == forwards["generate assisted"]
    assert max(forwards["generate assisted"] + forwards["ours model"]) < BUDGET
    assert all(0 < o.verify_s < o.decode_s for o in outputs["ours lookup"])
    assert list(decoding.time_lines(taken, outputs, "cpu"))


def test_a_model_draft_proposes_k_in_every_round_of_generate(monkeypatch):
    """No schedule and no threshold: forwards of the draft's one layer, other than the first, come k at a time."""
    loaded = tiny.llama(vocabulary=12, seed=1)
    draft, calls = early(loaded, 1), []
    others, _ = peers.arms(loaded, draft, 3)
    forward = type(draft.network).forward

    def counted(self, *args, **options):
        calls.append(self is draft.network)
        return forward(self, *args, **options)

    monkeypatch.setattr(type(draft.network), "forward", counted)
    others["generate assisted"](PROMPTS[0], BUDGET)
    rounds = "".join("d" if drafting else "t" for drafting in calls).split("t")[:-1]
    assert len(rounds) > 3
    assert {len(r) for r in rounds[:-2]} == {3}


def test_ratios_are_total_seconds_over_total_seconds_with_the_range_by_prompt():
    planted = seconds(generate_lookup=[3.0, 3.0], ours_lookup=[1.0, 3.0])
    found = ratios(decoding.ratio_lines(planted, "cpu"))
    said = found[f"{'generate lookup':25s} / {'ours lookup':15s}"]
    assert said[:4] == ["1.500", "(1.00", "to", "3.00)"]
    assert " ".join(said[4:]) == "6.0 s / 4.0 s (target: at least 1.3)"
    assert found[f"{'ours lookup (control)':25s} / {'ours lookup':15s}"][0] == "1.000"


def test_another_device_has_other_targets_and_an_arm_left_out_has_no_line():
    planted = {name: s for name, s in seconds().items() if not name.startswith("flashspec")}
    lines = list(decoding.ratio_lines(planted, "cuda:0"))
    assert sum("at least 3)" in line for line in lines) == 3
    assert not [line for line in lines if "flashspec" in line]


def test_what_is_outside_forwards_and_before_the_first_token():
    made = [peers.Output([1, 2], 2, decode_s=4.0, verify_s=3.0), peers.Output([1, 2], 2, decode_s=1.0, verify_s=1.0)]
    outputs, planted = {"ours plain": made, "ours lookup": made}, {"ours plain": [5.0, 5.0], "ours lookup": [5.0, 1.0]}
    first, _ = decoding.time_lines(planted, outputs, "cpu")
    assert first.startswith("ours plain: prefill 50.0% of its time; of the rest 20.00% outside model forwards")


def test_a_text_that_differs_is_counted_and_a_peer_that_fails_is_named(capsys):
    outputs = {decoding.REFERENCE: [peers.Output([1, 2], 2), peers.Output([3, 4], 2)]}
    outputs |= {"ours plain": [peers.Output([1, 2], 2), peers.Output([3, 5], 2)]}
    line = list(decoding.text_lines(outputs))[1]
    assert line.partition("1/2")[2] == " texts identical to generate plain, 1.00 tokens a forward"

    def broken(ids, budget):
        raise RuntimeError("no such kernel\nand more")

    assert decoding.usable({"peer": broken}, PROMPTS[0]) == {}
    assert capsys.readouterr().out == "peer: left out, it does not run here: RuntimeError: no such kernel\n"


def test_a_peer_that_is_not_installed_is_skipped_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(peers, "flashspec", None)
    found, left_out = arms()
    assert left_out == ["flashspec: left out, it is not installed: python -m pip install flashspec==0.3.1"]
    assert not [name for name in found if name.startswith("flashspec")]
