"""The trace: what is written is read again, at any moment of a run, and nothing else is taken for a trace."""

import json
import os
import time
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specmath.acceptance import Rounds
from validate.lines import DoneLine, Header, PromptLine, RoundLine
from validate.trace import Trace, TraceWriteError, Writer, read

HEADER = Header(
    target="target/model",
    draft="lookup",
    k=4,
    sampler={"temperature": 0.0, "top_k": 0, "top_p": 1.0},
    rule="one_hot",
    seed=7,
    machine={"cpu": "x86", "threads": 2},
    versions={"specmath": "0.1.0"},
)
CONTRACT = {
    "prompt": {"type", "prompt", "domain", "arm", "tokens_in"},
    "round": {
        "type",
        "prompt",
        "arm",
        "round",
        "context",
        "drafted",
        "accepted",
        "emitted",
        "beta",
        "draft_s",
        "verify_s",
        "accept_s",
        "end",
    },
    "done": {"type", "prompt", "arm", "tokens_out", "seconds"},
}


def a_round(prompt="a", arm="spec", index=0, drafted=4, accepted=2, repeat=0, **changes):
    values = {"context": 10, "emitted": accepted + 1, "beta": None, "end": None} | changes
    times = {"draft_s": 0.001, "verify_s": 0.02, "accept_s": 1e-4}
    return RoundLine(prompt, arm, index, drafted=drafted, accepted=accepted, repeat=repeat, **times | values)


def a_decoding(prompt="a", domain="code", arm="spec", accepted=(2, 0), repeat=0):
    """Prompt line, rounds with so many drafts accepted, done line."""
    drafted = 4 if arm == "spec" else 0
    rounds = [a_round(prompt, arm, i, drafted, n, repeat) for i, n in enumerate(accepted)]
    done = DoneLine(prompt, arm, 1 + sum(r.emitted for r in rounds), 0.5, 0.05, repeat)
    return [PromptLine(prompt, domain, arm, 12, repeat), *rounds, done]


def a_prompt(prompt, domain="code", accepted=(2, 0)):
    """All three decodings of one prompt: plain, its control, speculative."""
    return [
        *a_decoding(prompt, domain, "plain", (0,)),
        *a_decoding(prompt, domain, "plain", (0,), repeat=1),
        *a_decoding(prompt, domain, "spec", accepted),
    ]


def write(path, lines, header=HEADER):
    with Writer(path, header) as writer:
        for line in lines:
            writer.write(line)
    return path


def lines_of(trace):
    return [*trace.prompts, *trace.rounds, *trace.done]


def by_type(lines):
    return [line for kind in (PromptLine, RoundLine, DoneLine) for line in lines if isinstance(line, kind)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.jsonl"


class TestFormat:
    def test_a_trace_has_exactly_the_keys_of_the_contract(self, path):
        done = replace(a_decoding()[-1], prefill_s=None)
        write(path, [*a_decoding()[:-1], done])
        header, *records = map(json.loads, path.read_text().splitlines())
        assert list(header.items())[:2] == [("format", "specmath.trace"), ("version", 1)]
        names = ["target", "draft", "k", "sampler", "rule", "seed", "machine", "versions"]
        assert {name: header[name] for name in names} == {n: v for n, v in asdict(HEADER).items() if n != "prompts"}
        assert set(header) == {"format", "version", *names}
        assert all(set(record) == CONTRACT[record["type"]] for record in records)

    def test_a_control_and_the_time_of_the_prefill_are_added_where_there_are_any(self, path):
        write(path, a_decoding(arm="plain", accepted=(0,), repeat=1))
        assert all(record["repeat"] == 1 for record in map(json.loads, path.read_text().splitlines()[1:]))
        assert json.loads(path.read_text().splitlines()[-1])["prefill_s"] == 0.05

    def test_one_line_per_round_without_blanks(self, path):
        write(path, [a_decoding()[0], a_round(beta=(0.5, 0.25, 1.0), end="budget")])
        assert path.read_text().splitlines()[2] == (
            '{"type":"round","prompt":"a","arm":"spec","round":0,"context":10,"drafted":4,"accepted":2,"emitted":3,'
            '"beta":[0.5,0.25,1.0],"draft_s":0.001,"verify_s":0.02,"accept_s":0.0001,"end":"budget"}'
        )


seconds = st.floats(0, 1e6)
ids = st.text(max_size=5)


@st.composite
def rounds(draw, prompt, arm, repeat, index):
    drafted = draw(st.integers(0, 8))
    accepted = draw(st.integers(0, drafted))
    cut = accepted == drafted and draw(st.booleans())
    end = draw(st.sampled_from(["eos", "budget"] if cut else [None, "eos", "budget"]))
    beta = draw(st.none() | st.lists(st.floats(0, 1), max_size=drafted).map(tuple))
    rest = {name: draw(seconds) for name in ("draft_s", "verify_s", "accept_s")}
    rest["proposed"] = draw(st.none() | st.integers(drafted, drafted + 3 if cut else drafted))
    context, emitted = draw(st.integers(1, 10**6)), accepted + (not cut)
    return RoundLine(prompt, arm, index, context, drafted, accepted, emitted, beta, end=end, repeat=repeat, **rest)


@st.composite
def runs(draw):
    """Any decodings one after the other, the last of them perhaps not done."""
    lines = []
    keys = draw(
        st.lists(st.tuples(ids, st.sampled_from(["plain", "spec"]), st.integers(0, 2)), unique=True, max_size=4)
    )
    for prompt, arm, repeat in keys:
        some = [draw(rounds(prompt, arm, repeat, i)) for i in range(draw(st.integers(0, 3)))]
        out = 1 + sum(r.emitted for r in some)
        tokens = draw(st.none() | st.lists(st.integers(0, 10**6), min_size=out, max_size=out).map(tuple))
        divergence = draw(st.none() | st.dictionaries(ids, seconds, max_size=2))
        times = draw(seconds), draw(st.none() | seconds)
        done = DoneLine(prompt, arm, out, *times, repeat, tokens=tokens, divergence=divergence)
        lines += [PromptLine(prompt, draw(ids), arm, draw(st.integers(0, 9999)), repeat), *some, done]
    return lines if draw(st.booleans()) else lines[:-1]


class TestReading:
    @given(lines=runs(), seed=st.integers(0, 2**63), digest=st.none() | ids)
    def test_what_is_written_is_read_again(self, tmp_path_factory, lines, seed, digest):
        header = replace(HEADER, seed=seed, prompts=digest)
        trace = read(write(tmp_path_factory.mktemp("run") / "trace.jsonl", lines, header))
        assert trace.header == header
        assert lines_of(trace) == by_type(lines)
        assert trace.unread == 0

    def test_the_rounds_of_an_unfinished_prompt_are_kept(self, path):
        trace = read(write(path, a_decoding()[:-1]))
        assert (len(trace.rounds), len(trace.done)) == (2, 0)

    def test_every_line_is_readable_as_soon_as_it_is_written(self, path):
        lines = a_prompt("a")
        with Writer(path, HEADER) as writer:
            for n, line in enumerate(lines, start=1):
                writer.write(line)
                assert lines_of(read(path)) == by_type(lines[:n])

    def test_a_file_cut_at_any_byte_gives_the_lines_that_were_whole(self, path):
        lines = a_decoding()
        data = write(path, lines).read_bytes()
        header_end = data.index(b"\n") + 1
        for size in range(header_end, len(data)):
            path.write_bytes(data[:size])
            whole = data[header_end:size].count(b"\n")
            assert lines_of(read(path)) == by_type(lines[:whole])

    def test_keys_and_line_types_of_a_later_release_are_skipped_and_counted(self, path):
        write(path, a_decoding())
        records = [json.loads(line) | {"later": 1} for line in path.read_text().splitlines()]
        records.insert(2, {"type": "note", "text": "hot"})
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        trace = read(path)
        assert lines_of(trace) == by_type(a_decoding())
        assert trace.unread == 1

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"accepted": 5, "emitted": 6}, "accepted is 5; expected at most drafted, 4"),
            ({"accepted": -1, "emitted": 0}, "accepted is -1; expected a whole number >= 0"),
            ({"drafted": 4.0}, "drafted is 4.0; expected a whole number >= 0"),
            ({"context": True}, "context is True; expected a whole number >= 0"),
            ({"round": None}, "round is None; expected a whole number >= 0"),
            ({"emitted": 4}, "emitted is 4 with 2 of 4 accepted; expected accepted + 1"),
            ({"emitted": 2}, "emitted is 2 with 2 of 4 accepted; expected accepted + 1"),
            ({"emitted": 2, "end": "eos"}, "emitted is 2 with 2 of 4 accepted; expected accepted + 1"),
            ({"proposed": 3}, "proposed is 3 with 4 drafted; expected as many, or more in a round cut by its end"),
            ({"proposed": 5}, "proposed is 5 with 4 drafted; expected as many, or more in a round cut by its end"),
            ({"proposed": 4.0}, "proposed is 4.0; expected a whole number >= 0"),
            ({"end": "length"}, 'end is \'length\'; expected null, "eos" or "budget"'),
            ({"verify_s": -0.1}, "verify_s is -0.1; expected seconds >= 0"),
            ({"draft_s": None}, "draft_s is None; expected seconds >= 0"),
            ({"accept_s": float("nan")}, "accept_s is nan; expected seconds >= 0"),
            ({"beta": 0.5}, "beta is 0.5; expected a list of numbers or null"),
            ({"beta": ["x"]}, "beta is ('x',); expected a list of numbers or null"),
            ({"arm": "both"}, "arm is 'both'; expected one of plain, spec"),
            ({"prompt": 3}, "prompt is 3; expected a text"),
            ({"prompt": "b"}, "a round line of ('b', 'spec', 0); expected one prompt line, rounds, one done line"),
            ({"repeat": 1}, "a round line of ('a', 'spec', 1); expected one prompt line"),
        ],
    )
    def test_a_round_that_cannot_be_is_refused_by_line(self, path, change, problem):
        assert self.refusal(path, 3, change).startswith(f"{path}:3: {problem}")

    @pytest.mark.parametrize(
        ("number", "change", "problem"),
        [
            (2, {"domain": None}, "domain is None; expected a text"),
            (2, {"tokens_in": -1}, "tokens_in is -1; expected a whole number"),
            (5, {"tokens_out": 4}, "tokens_out of ('a', 'spec', 0) is 4; expected 1 + 4 emitted"),
            (5, {"seconds": "1"}, "seconds is '1'; expected seconds >= 0"),
            (5, {"prefill_s": -1}, "prefill_s is -1; expected seconds >= 0"),
            (1, {"k": -1}, "k is -1; expected a whole number >= 0"),
            (1, {"rule": None}, "rule is None; expected a text"),
        ],
    )
    def test_other_lines_that_cannot_be_are_refused_by_line(self, path, number, change, problem):
        assert self.refusal(path, number, change).startswith(f"{path}:{number}: {problem}")

    def refusal(self, path, number, change):
        """The one line that a decoding with this change in its line `number` is refused with."""
        texts = write(path, a_decoding()).read_text().splitlines()
        texts[number - 1] = json.dumps(json.loads(texts[number - 1]) | change)
        path.write_text("\n".join(texts) + "\n")
        with pytest.raises(ValueError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("key", sorted(CONTRACT["round"] - {"type"}))
    def test_a_missing_key_is_named(self, path, key):
        texts = write(path, a_decoding()).read_text().splitlines()
        record = json.loads(texts[2])
        del record[key]
        path.write_text("\n".join([*texts[:2], json.dumps(record), *texts[3:]]) + "\n")
        with pytest.raises(ValueError, match=f'jsonl:3: "{key}" is missing; expected it in every RoundLine'):
            read(path)

    @pytest.mark.parametrize("broken", ['{"type":"rou', "", "\0\0", "[]", "\x80"])
    def test_a_broken_line_before_the_last_is_named_by_number(self, path, broken):
        texts = write(path, a_decoding()).read_text().splitlines()
        path.write_text("\n".join([*texts[:3], broken, *texts[3:]]) + "\n", encoding="latin-1")
        with pytest.raises(ValueError, match=r"jsonl:4: .*expected one object per line, as specmath run wrote them$"):
            read(path)

    @pytest.mark.parametrize("lines", [a_decoding() * 2, [*a_decoding(), a_round()], [*a_decoding(), a_decoding()[-1]]])
    def test_a_decoding_happens_once(self, path, lines):
        with pytest.raises(ValueError, match=r"jsonl:6: a \w+ line of .*; expected one prompt line, rounds, one done"):
            read(write(path, lines))

    def test_an_arm_may_leave_out_its_rounds_but_not_some_of_them(self, path):
        begin, first, _, done = a_decoding()
        assert read(write(path, [begin, done])).done == (done,)
        path.unlink()
        with pytest.raises(ValueError, match=r"tokens_out .* is 5; expected 1 \+ 3 emitted"):
            read(write(path, [begin, first, done]))

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ("", "holds no whole line; expected one object per line"),
            ('{"format":"specmath.tr', "holds no whole line; expected one object per line"),
            ("prompt,text\n", ":1: not JSON; expected one object per line, as specmath run wrote them"),
            ('{"prompt": "a"}\n', ":1: no header of a trace; expected one object per line"),
            ('{"format":"specmath.trace","version":2}\n', ":1: trace version 2, this reads version 1; read it with"),
            ('{"format":"specmath.trace"}\n', ":1: trace version None, this reads version 1"),
            ('{"format":"specmath.trace","version":1}\n', ':1: "target" is missing; expected it in every Header'),
        ],
    )
    def test_what_is_no_trace_of_this_version_is_refused_in_one_line(self, path, content, problem):
        path.write_text(content)
        with pytest.raises(ValueError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}{' ' if problem[0] != ':' else ''}{problem}")
        assert "\n" not in str(caught.value)

    def test_a_hundred_thousand_rounds_are_read_in_seconds(self, path, record_property):
        """The time is reported, not asserted."""
        lines = [PromptLine("a", "code", "spec", 12), *(a_round(index=i) for i in range(100_000))]
        write(path, lines)
        start = time.perf_counter()
        assert len(read(path).rounds) == 100_000
        took = time.perf_counter() - start
        record_property("seconds", took)
        print(f"100,000 rounds, {path.stat().st_size:,} bytes, read in {took:.2f} s")


class TestRounds:
    def trace(self, path):
        cut = [PromptLine("c", "qa", "spec", 9), a_round("c", drafted=2, accepted=2, emitted=2, end="eos")]
        return read(write(path, [*a_prompt("a"), *a_prompt("b", "qa", (4, 1)), *cut]))

    def test_they_are_those_of_the_speculative_arm_in_order(self, path):
        found = self.trace(path).rounds_of()
        assert isinstance(found, Rounds)
        assert found.prompt.tolist() == ["a", "a", "b", "b", "c"]
        assert found.drafted.tolist() == [4, 4, 4, 4, 2]
        assert found.accepted.tolist() == [2, 0, 4, 1, 2]
        assert found.rule == "one_hot"

    def test_they_can_be_those_of_one_domain_or_of_another_arm(self, path):
        trace = self.trace(path)
        assert trace.rounds_of("code").prompt.tolist() == ["a", "a"]
        assert trace.rounds_of(arm="plain", repeat=1).drafted.tolist() == [0, 0]
        assert trace.rounds_of(arm="plain", repeat=2).prompt.size == 0
        assert trace.domains == {"a": "code", "b": "qa", "c": "qa"}

    def test_drafts_behind_the_end_were_verified_and_say_nothing_of_acceptance(self, path):
        cut = a_round(drafted=2, accepted=2, emitted=2, end="eos", proposed=4)
        found = read(write(path, [a_decoding()[0], cut]))
        assert '"proposed":4' in path.read_text()
        assert (found.rounds[0].verified, found.rounds_of().drafted.tolist()) == (4, [2])
        assert a_round().verified == 4

    def test_a_round_cut_by_the_end_of_its_text_is_censored_and_no_rejection(self, path):
        tally = self.trace(path).rounds_of("qa").tally()
        assert tally.rejections.tolist() == [1, 0]

    def test_an_unknown_domain_is_refused_with_those_there_are(self, path):
        with pytest.raises(ValueError, match="no domain 'verse' in the trace; expected one of code, qa"):
            self.trace(path).rounds_of("verse")

    def test_a_trace_without_rounds_has_no_rounds(self):
        assert Trace(HEADER, (), (), ()).rounds_of().prompt.size == 0


class FullAfter:
    """A file on a disk with room for so many bytes more: it writes what fits, then fails."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        part = data[: self.room]
        if not part:
            raise OSError(28, "No space left on device")
        self.room -= len(part)
        return self.file.write(part)


def write_until_full(path, lines, room):
    """A trace on a disk with so many bytes left after the header."""
    with Writer(path, HEADER) as writer:
        writer._file = FullAfter(writer._file, room)
        for line in lines:
            writer.write(line)


class TestWriting:
    def test_a_path_that_holds_something_is_never_written_over(self, path):
        path.write_text("precious")
        with pytest.raises(FileExistsError, match="exists already; resume it or choose another path"):
            Writer(path, HEADER)
        assert path.read_text() == "precious"

    def test_numbers_that_json_does_not_have_are_refused_and_leave_no_trace(self, path):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write(path, [], replace(HEADER, machine={"load": float("nan")}))
        assert path.stat().st_size == 0

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_a_full_disk_is_told_in_one_line(self):
        with pytest.raises(TraceWriteError) as caught:
            Writer("/dev/full", HEADER)
        assert str(caught.value) == (
            "cannot write to /dev/full (No space left on device); the 0 lines before are kept there and readable, "
            "make room and resume the run"
        )
        assert isinstance(caught.value.__cause__, OSError)

    @pytest.mark.parametrize("room", range(0, 400, 7))
    def test_a_disk_that_fills_within_a_line_keeps_the_lines_before(self, path, room):
        lines = [PromptLine("a", "code", "spec", 12), *(a_round(index=i) for i in range(5))]
        with pytest.raises(TraceWriteError) as caught:
            write_until_full(path, lines, room)
        kept = path.read_text()
        assert kept.endswith("\n")
        assert f"the {len(kept.splitlines())} lines before are kept there and readable" in str(caught.value)
        assert lines_of(read(path)) == by_type(lines)[: len(kept.splitlines()) - 1]

    def test_a_failure_to_reach_the_disk_is_told_too(self, path, monkeypatch):
        def fail(_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(TraceWriteError, match=r"\(Input/output error\); the 5 lines before are kept"):
            write(path, a_decoding())
        assert lines_of(read(path)) == by_type(a_decoding())

    def test_only_the_end_of_a_decoding_waits_for_the_disk(self, path, monkeypatch):
        calls = []
        monkeypatch.setattr(os, "fsync", calls.append)
        write(path, a_prompt("a"))
        assert len(calls) == 3


class TestResuming:
    def resume(self, path, header=HEADER):
        return Writer.resume(path, header, runs=3)

    def test_a_run_cut_at_any_byte_goes_on_to_the_same_trace(self, path):
        prompts = {name: a_prompt(name) for name in "abc"}
        data = write(path, [line for lines in prompts.values() for line in lines]).read_bytes()
        sizes = range(0, len(data) + 1, 13)
        for size in [*sizes, len(data)]:
            path.write_bytes(data[:size])
            with self.resume(path) as writer:
                for name in prompts.keys() - writer.finished:
                    assert f'"prompt":"{name}"'.encode() not in path.read_bytes()
                for name in sorted(prompts.keys() - writer.finished):
                    for line in prompts[name]:
                        writer.write(line)
            assert path.read_bytes() == data

    def test_half_a_line_that_is_no_header_is_left_as_it_is(self, path):
        path.write_text("precious")
        with pytest.raises(ValueError, match="holds no whole line"):
            self.resume(path)
        assert path.read_text() == "precious"

    def test_a_prompt_is_finished_when_all_its_runs_are_done(self, path):
        write(path, [*a_prompt("a"), *a_prompt("b")[:-1]])
        with self.resume(path) as writer:
            assert writer.finished == {"a"}
        assert read(path).domains == {"a": "code"}

    def test_of_prompts_that_run_through_one_another_none_is_left_half_done(self, path):
        a, b = a_prompt("a"), a_prompt("b")
        write(path, [*a_prompt("z"), a[0], *b, *a[1:-1]])
        with self.resume(path) as writer:
            assert writer.finished == {"z"}
        assert lines_of(read(path)) == by_type(a_prompt("z"))

    def test_a_trace_that_is_complete_is_left_as_it_is(self, path):
        before = write(path, a_prompt("a")).read_bytes()
        self.resume(path).close()
        assert path.read_bytes() == before

    def test_an_empty_file_is_begun_anew(self, path):
        path.touch()
        with self.resume(path) as writer:
            assert writer.finished == frozenset()
        assert read(path).header == HEADER

    @pytest.mark.parametrize(
        "change",
        [
            {"k": 5},
            {"target": "x"},
            {"draft": "x"},
            {"rule": "match"},
            {"seed": 8},
            {"prompts": "x"},
            {"sampler": HEADER.sampler | {"temperature": 1.0}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_the_trace_of_another_run_is_refused_and_left_as_it_is(self, path, change):
        before = write(path, a_prompt("a")[:-1]).read_bytes()
        (key, value), kept = *change.items(), getattr(HEADER, next(iter(change)))
        with pytest.raises(ValueError) as caught:
            self.resume(path, replace(HEADER, **change))
        assert str(caught.value) == (
            f"{path} holds a run with {key} {kept!r}, not {value!r}; give the same settings or another path"
        )
        assert path.read_bytes() == before

    def test_another_machine_or_version_may_go_on_and_tuples_are_lists(self, path):
        header = replace(HEADER, sampler={"stop": (1, 2)})
        write(path, a_prompt("a"), header)
        before = path.read_bytes()
        with self.resume(path, replace(header, machine="other", versions={})) as writer:
            assert writer.finished == {"a"}
        assert path.read_bytes() == before

    @pytest.mark.parametrize("content", ["a file of somebody else", "and one\nwith lines\n"])
    def test_what_is_no_trace_is_left_as_it_is(self, path, content):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"expected one object per line, as specmath run wrote them"):
            self.resume(path)
        assert path.read_text() == content

    def test_a_missing_file_is_named(self, path):
        with pytest.raises(FileNotFoundError, match=r"trace\.jsonl"):
            self.resume(path)

    def test_after_a_full_disk_the_run_goes_on_where_it_was(self, path):
        size_of_a = len(write(path, a_prompt("a")).read_bytes()) - len(path.read_bytes().splitlines(True)[0])
        path.unlink()
        with pytest.raises(TraceWriteError):
            write_until_full(path, [*a_prompt("a"), *a_prompt("b")], size_of_a + 250)
        with self.resume(path) as writer:
            assert writer.finished == {"a"}
            for line in a_prompt("b"):
                writer.write(line)
        assert lines_of(read(path)) == by_type([*a_prompt("a"), *a_prompt("b")])
