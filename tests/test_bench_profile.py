"""What the bench of the profile counts: the seconds of a few prompts stand for all by their tokens."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

from bench import profile
from tests.written import HOST
from validate.drafters import Lookup
from validate.texts import Text

PHRASE = (11, 12, 13, 14)


def batch(first, *, decoded=None):
    """Two prompts of 9 and 17 tokens that repeat a phrase; four seconds to write each, one to score both."""
    made = [Text(f"p{first + i}", "d", (first + i, *PHRASE), PHRASE * (2 + 2 * i) + (99,)) for i in range(2)]
    record = {"texts": [t.record for t in made], "scores": [], "written": [4.0, 4.0], "scored": 1.0, "again": None}
    if decoded is None:
        return record
    return record | {"again": 4.4, "decoded": [decoded] * 8, "rounds": rounds(made[0])}


def rounds(text):
    """Of lookup from every token, walked for each k."""
    whole, counts = [*text.context, *text.output], []
    for k in profile.DEPTHS:
        drafter, at, count = Lookup(HOST, 100), len(text.context) + 1, 0
        drafter.start(text.context)
        while at < len(whole):
            drafts = drafter.tokens(whole[:at], k)
            agreed = [a == b for a, b in zip(drafts, whole[at:], strict=False)]
            at, count = at + (*agreed, False).index(False) + 1, count + 1
        counts.append(count)
    return counts


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(profile, "BATCH", 2)
    return SimpleNamespace(plan=profile.Plan("lookup", (2, 4, 6), 4, 0.01), vocabulary=100)


def test_the_decoders_seconds_stand_for_all_prompts_by_their_tokens(bench):
    """Decoded: 9 of 52 tokens in 8 x 3 s; written 16 s, scored 2 s."""
    found = profile._found(bench, [batch(0, decoded=3.0), batch(2)])
    assert (found["prompts"], found["prompts_decoded"]) == (4, 1)
    assert found["seconds"] == {"scored": 2.0, "written": 16.0, "decoded": pytest.approx(24 * 52 / 9)}
    assert found["ratios"]["logged"] == pytest.approx(24 * 52 / 9 / 2)
    assert found["ratios"]["written"] == pytest.approx(24 * 52 / 9 / 18)
    assert found["control"] == pytest.approx(1.1)


def test_rounds_that_are_not_the_replayed_ones_are_counted(bench):
    records = [batch(0, decoded=3.0), batch(2)]
    assert profile._found(bench, records)["equal_depths"] == 8
    records[0]["rounds"][2] += 1
    assert profile._found(bench, records)["equal_depths"] == 7


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"ratios": {"logged": 19.9, "written": 5}}, ["logged"]),
        ({"ratios": {"logged": 20, "written": 4.9}}, ["written"]),
        ({"half_width": 0.011}, ["precision"]),
        ({"equal_depths": 7}, ["rounds"]),
    ],
)
def test_every_bound_is_judged(changed, missed):
    found = {"ratios": {"logged": 20, "written": 5}, "half_width": 0.01, "equal_depths": 8} | changed
    assert profile.failures(found, 0.01) == missed


def test_it_ends_at_a_look_where_the_precision_is_reached_and_at_the_last_in_any_case(bench, monkeypatch):
    widths = iter((0.02, 0.01))
    monkeypatch.setattr(profile, "_profile", lambda *_: SimpleNamespace(alpha=SimpleNamespace(half_width=next(widths))))
    assert [profile._known(bench, [batch(0)] * n) for n in (0, 1, 2, 3)] == [False, False, True, True]


def test_the_record_holds_what_was_wanted_and_its_ratios_are_its_seconds():
    record = json.loads((profile.RECORD / "profile_cost.json").read_text())
    for found in record["drafts"]:
        decoded, scored, written = (found["seconds"][part] for part in ("decoded", "scored", "written"))
        assert found["ratios"] == {"logged": decoded / scored, "written": decoded / (scored + written)}
        assert profile.failures(found, 0.01) == []
