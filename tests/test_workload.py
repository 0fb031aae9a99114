"""Bundled prompts and prompt files: what is in them, what is refused, and how they are split and seeded."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from validate.workload import (
    DOMAINS,
    Prompt,
    bundled,
    digest,
    halves,
    interleaved,
    is_loop,
    read_prompts,
    repeats,
    seed_of,
)


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def shingles(text, n=8):
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def tokens_of(prompt):
    return len(prompt.text) / 4


@pytest.fixture
def file(tmp_path):
    return tmp_path / "prompts.jsonl"


class TestBundled:
    def test_there_are_eight_prompts_in_each_of_seven_domains(self):
        assert Counter(prompt.domain for prompt in bundled()) == dict.fromkeys(DOMAINS, 8)

    def test_fewer_per_domain_are_the_first_of_each(self):
        ids = [prompt.id for prompt in bundled()]
        assert [prompt.id for prompt in bundled(3)] == [i for i in ids if int(i.split("-")[1]) <= 3]

    @pytest.mark.parametrize("count", [0, -1, 9])
    def test_more_or_fewer_than_there_are_is_refused(self, count):
        with pytest.raises(ValueError, match=f"^{count} prompts per domain asked; expected 1 to 8, [^\n]*$"):
            bundled(count)

    def test_every_row_names_a_source_that_no_other_row_has(self):
        sources = [prompt.source for prompt in bundled()]
        assert len(set(sources)) == len(sources) == 56
        assert all("Apache-2.0: " in source for source in sources)

    def test_no_two_prompts_share_a_run_of_eight_words(self):
        prompts = [(prompt.id, shingles(prompt.text)) for prompt in bundled()]
        shared = [(a, b) for i, (a, x) in enumerate(prompts) for b, y in prompts[:i] if x & y]
        assert shared == []

    def test_the_check_for_shared_words_sees_a_copied_sentence(self):
        first, second = bundled(2)[:2]
        assert shingles(first.text) & shingles(f"{second.text} {first.text}")

    def test_lengths_are_60_to_350_tokens_and_spread_in_every_domain(self):
        for domain in DOMAINS:
            lengths = [tokens_of(prompt) for prompt in bundled() if prompt.domain == domain]
            assert 55 <= min(lengths) < 115
            assert 190 < max(lengths) <= 352

    def test_the_two_halves_are_alike_in_length(self):
        fit, held_out = halves(bundled())
        assert 0.8 < sum(map(tokens_of, fit)) / sum(map(tokens_of, held_out)) < 1.25


class TestReading:
    def test_a_prompt_becomes_one_user_message(self, file):
        (prompt,) = read_prompts(write(file, {"prompt": "Why?", "domain": "qa", "id": "a", "source": "me"}))
        assert prompt == Prompt("a", "qa", ({"role": "user", "content": "Why?"},), "me")

    def test_of_several_turns_only_the_first_is_taken(self, file):
        (prompt,) = read_prompts(write(file, {"turns": ["First.", "Second."]}))
        assert prompt.messages == ({"role": "user", "content": "First."},)

    def test_messages_are_taken_whole(self, file):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?", "name": "x"}]
        (prompt,) = read_prompts(write(file, {"messages": messages}))
        assert [dict(m) for m in prompt.messages] == [{k: m[k] for k in ("role", "content")} for m in messages]
        assert prompt.text == "Be brief.\n\nWhy?"

    def test_a_question_file_of_the_usual_kind_is_read_unchanged(self, file):
        (prompt,) = read_prompts(write(file, {"question_id": 81, "category": "writing", "turns": ["a", "b"], "x": 1}))
        assert (prompt.id, prompt.domain, prompt.text) == ("81", "writing", "a")

    def test_domain_id_and_source_have_defaults(self, file):
        (prompt,) = read_prompts(write(file, {"prompt": "Why?", "id": None}))
        assert (prompt.domain, len(prompt.id), prompt.source) == ("untitled", 12, str(file))

    def test_a_default_id_belongs_to_the_text_and_not_to_its_line(self, file):
        before = {p.text: p.id for p in read_prompts(write(file, {"prompt": "a"}, {"prompt": "b"}))}
        after = {p.text: p.id for p in read_prompts(write(file, {"prompt": "b"}, {"prompt": "a"}))}
        assert before == after
        assert before["a"] != before["b"]

    def test_blank_lines_byte_order_mark_and_carriage_returns_do_not_disturb(self, file):
        file.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n  \n{"prompt": "b"}')
        assert [prompt.text for prompt in read_prompts(file)] == ["a", "b"]

    def test_a_line_separator_within_a_text_does_not_end_the_line(self, file):
        file.write_bytes('{"prompt": "one\u2028two\x85three"}\n'.encode())
        assert read_prompts(file)[0].text == "one\u2028two\x85three"

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('{"prompt": "a"', "not JSON (Expecting ',' delimiter: column 15 (char 14)); expected one object per line"),
            ("plain text", "not JSON (Expecting value: column 1 (char 0)); expected one object per line"),
            ("[1]", 'found a list; expected one object per line with "prompt", "turns" or "messages"'),
            ('"text"', "found a str; expected one object per line"),
            ('{"text": "a"}', 'no prompt found; expected one object per line with "prompt", "turns" or "messages"'),
            ('{"prompt": null}', "no prompt found"),
            ('{"prompt": 3}', "a prompt of type int; expected a text"),
            ('{"prompt": " "}', "an empty prompt; expected a text"),
            ('{"prompt": "\\ud800"}', "half a surrogate pair"),
            ('{"turns": []}', "a prompt of type list; expected a text"),
            ('{"turns": [1]}', "a prompt of type int; expected a text"),
            ('{"messages": [{"role": "user"}]}', "a prompt of type NoneType; expected a text"),
            ('{"messages": [{"content": "a"}]}', 'a message without "role"'),
            ('{"messages": [{"role": "user", "content": "a"}, 1]}', 'a message without "role"'),
            (
                '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
                'the last message is from "assistant"; expected the user\'s, drop the answer',
            ),
            ('{"prompt": "a", "id": [1]}', '"id" is a list; expected a text'),
            ('{"prompt": "a", "domain": true}', '"domain" is a bool; expected a text'),
            ('{"prompt": "a", "id": "same"}', 'id "same" is already on line 1; a prompt counts once'),
            ('{"prompt": "first"}', "the same text is already on line 1; a prompt counts once"),
        ],
    )
    def test_a_broken_line_is_named_by_number(self, file, line, problem):
        write(file, {"prompt": "first", "id": "same"}, "", line, {"prompt": "last"})
        with pytest.raises(ValueError) as caught:
            read_prompts(file)
        assert str(caught.value).startswith(f"{file}:3: {problem}")
        assert "\n" not in str(caught.value)

    def test_bytes_that_are_no_utf8_are_named_by_line(self, file):
        file.write_bytes(b'{"prompt": "a"}\n{"prompt": "\xff"}\n')
        with pytest.raises(ValueError, match=r":2: not UTF-8 \(byte 13\); expected one object per line"):
            read_prompts(file)

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_a_file_without_prompts_is_refused(self, file, content):
        file.write_text(content)
        with pytest.raises(
            ValueError, match=r'prompts.jsonl holds no prompts; expected one object per line with "prom'
        ):
            read_prompts(file)

    def test_a_missing_file_is_named(self, file):
        with pytest.raises(FileNotFoundError, match=r"prompts\.jsonl"):
            read_prompts(file)


class TestHalves:
    def test_each_domain_alternates_in_its_own_order(self):
        prompts = [Prompt(f"{d}{i}", d, (), "") for i in range(3) for d in "ab"]
        fit, held_out = halves(prompts)
        assert [p.id for p in fit] == ["a0", "b0", "a2", "b2"]
        assert [p.id for p in held_out] == ["a1", "b1"]

    @given(st.lists(st.sampled_from("abc")))
    def test_every_prompt_is_in_exactly_one_half_and_no_domain_is_lopsided(self, domains):
        prompts = [Prompt(str(i), d, (), "") for i, d in enumerate(domains)]
        fit, held_out = halves(prompts)
        assert sorted(p.id for p in fit + held_out) == sorted(p.id for p in prompts)
        for domain in "abc":
            sizes = [sum(p.domain == domain for p in half) for half in (fit, held_out)]
            assert sizes[0] - sizes[1] in (0, 1)


class TestDigestAndSeeds:
    def test_the_digest_of_a_prompt_is_fixed_for_good(self):
        prompt = Prompt("a", "qa", ({"role": "user", "content": "Wieso, Zoë?"},), "anywhere")
        canonical = rb'[["a", "qa", [["user", "Wieso, Zo\u00eb?"]]]]'
        assert digest([prompt]) == hashlib.sha256(canonical).hexdigest()

    def test_the_digest_sees_text_id_domain_and_order_but_not_the_source(self):
        first, second = Prompt("a", "d", ({"role": "user", "content": "x"},), "s"), Prompt("b", "d", (), "s")
        changed = [
            [second, first],
            [first],
            [Prompt("c", "d", first.messages, "s"), second],
            [Prompt("a", "e", first.messages, "s"), second],
            [Prompt("a", "d", ({"role": "user", "content": "y"},), "s"), second],
        ]
        assert len({digest([first, second]), *map(digest, changed)}) == 6
        assert digest([Prompt("a", "d", first.messages, "other"), second]) == digest([first, second])

    def test_the_seed_of_a_prompt_is_fixed_for_good_and_fits_every_generator(self):
        first_bytes = hashlib.sha256(b'[7, "code-1"]').digest()[:8]
        assert seed_of(7, "code-1") == int.from_bytes(first_bytes, "big") // 2
        np.random.SeedSequence(seed_of(7, "code-1"))

    def test_seeds_differ_by_prompt_and_by_run_and_do_not_run_together(self):
        seeds = {seed_of(run, i) for run in (1, 11, 111) for i in ("1", "11", "1-1", *[p.id for p in bundled()])}
        assert len(seeds) == 3 * 59
        assert all(0 <= seed < 2**63 for seed in seeds)

    def test_seeds_do_not_depend_on_the_order_of_the_prompts(self, file):
        rows = [{"prompt": text} for text in "abc"]
        forward = {p.text: seed_of(0, p.id) for p in read_prompts(write(file, *rows))}
        backward = {p.text: seed_of(0, p.id) for p in read_prompts(write(file, *rows[::-1]))}
        assert forward == backward


class TestLoops:
    @given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 4))
    def test_repeats_counts_the_windows_seen_before(self, tokens, n):
        seen, again = [], 0
        for i in range(len(tokens) - n + 1):
            again += tokens[i : i + n] in seen
            seen.append(tokens[i : i + n])
        assert repeats(tokens, n) == pytest.approx(again / len(seen) if seen else 0)

    def test_distinct_tokens_do_not_repeat_and_arrays_are_as_good_as_lists(self):
        assert repeats(range(100)) == repeats(np.arange(100)) == 0
        assert repeats(np.zeros(108, dtype=int)) == pytest.approx(1 - 1 / 101)

    def test_an_output_is_a_loop_above_thirty_percent(self):
        """Of 100 windows, a tail that repeats the first 30 + 7 tokens makes 30 repeats, one more makes 31."""
        assert not is_loop([*range(70), *range(37)])
        assert is_loop([*range(69), *range(38)])


def test_interleaved_domains_take_turns_and_keep_their_own_order():
    known = [("a-1", "a"), ("a-2", "a"), ("b-1", "b"), ("a-3", "a"), ("b-2", "b")]
    prompts = [Prompt(name, domain, ({"role": "user", "content": name},), "") for name, domain in known]
    assert [p.id for p in interleaved(prompts)] == ["a-1", "b-1", "a-2", "b-2", "a-3"]
    before, after = ({p.id for p in halves(given)[0]} for given in (prompts, interleaved(prompts)))
    assert before == after
