"""Texts: logs of traffic, those written on the spot, and what cannot be one."""

import dataclasses
import json

import pytest

pytest.importorskip("torch")

from tests.tiny import llama
from tests.written import GREEDY, HOST
from validate import texts
from validate.clock import Clock
from validate.decoder import Decoder
from validate.drafters import Nothing
from validate.jsonl import Journal
from validate.logged import given, read_logged
from validate.model import Model
from validate.texts import Text, digest
from validate.workload import Prompt
from validate.writing import write


class Words:
    """A tokeniser that numbers words."""

    chat_template = None

    def __call__(self, text, **_):
        return {"input_ids": [int(word) for word in text.split()]}


@pytest.fixture
def target():
    return dataclasses.replace(llama(vocabulary=20, seed=2), tokenizer=Words())


@pytest.fixture
def log(tmp_path):
    def logged(*lines):
        path = tmp_path / "log.jsonl"
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return path

    return logged


def test_logged_traffic_is_read_as_text_and_as_token_ids(log, target):
    path = log(
        {"prompt": "1 2 3", "response": "4 5", "domain": "code", "id": "a"},
        {"messages": [{"role": "user", "content": "7"}], "response": "8 9 8", "end": "eos"},
        {"prompt_ids": [1, 2], "output_ids": [3, 4, 5, 6]},
    )
    a, b, c = read_logged(path, target, 20, print)
    assert (a.prompt, a.domain, a.context, a.output, a.tokens, a.end) == ("a", "code", (1, 2, 3), (4, 5), 1, None)
    assert (b.context, b.output, b.end, b.domain) == ((7,), (8, 9, 8), "eos", "untitled")
    assert (c.context, c.output) == ((1, 2), (3, 4, 5, 6))


def test_a_response_without_a_round_is_left_out(log, target):
    said: list[str] = []
    assert (
        len(
            read_logged(
                log({"prompt": "1", "response": "2"}, {"prompt": "1", "response": "2 3"}), target, 20, said.append
            )
        )
        == 1
    )
    assert said == ["1 of 2 responses are shorter than 2 tokens: left out"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("no json\n", "not JSON"),
        ([1], "found a list"),
        ({"prompt": "1"}, "found no response"),
        ({"response": "1 2"}, "no prompt found"),
        ({"prompt_ids": [], "output_ids": [1, 2]}, "prompt_ids is empty"),
        ({"prompt_ids": [1], "output_ids": [1, 20]}, "found token id 20, expected ids below 20"),
        ({"prompt_ids": [21], "output_ids": [1, 2]}, "found token id 21, expected ids below 20"),
        ({"prompt": "1 20", "response": "1 2"}, "found token id 20, expected ids below 20"),
        ({"prompt_ids": [1], "output_ids": [1, True]}, "expected lists of token ids"),
        ({"prompt": "1", "response": "2 3", "end": "tired"}, "end is 'tired'"),
        ({"prompt": "1", "response": "2 3", "id": "line-1"}, "id 'line-1' is there already"),
    ],
)
def test_a_line_that_is_no_text_is_named(log, target, line, problem):
    path = log({"prompt": "1", "response": "2 3"}, line)
    with pytest.raises(ValueError, match=f"{path}:2: ") as caught:
        read_logged(path, target, 20, print)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_log_without_a_single_round_says_what_was_expected(log, target):
    with pytest.raises(ValueError, match="holds no response of at least 2 tokens"):
        read_logged(log({"prompt": "1", "response": "2"}), target, 20, print)


def test_the_digest_is_of_tokens_and_order():
    one, two = (Text(str(i), "d", (1,), (2, i)) for i in (3, 4))
    assert digest([one, two]) == digest([dataclasses.replace(one, seconds=3.0), two]) != digest([two, one])


@pytest.fixture
def writing(target, tmp_path):
    """Write texts after three prompts, at most so many of them anew."""
    prompts = [Prompt(str(i), "d", ({"role": "user", "content": f"{i} 2 3"},), "") for i in range(3)]

    def call(limit=None):
        model = Model(target, capacity=64)
        plain = Decoder(model, Nothing(HOST, target.rows), GREEDY, Clock("cpu"), target.eos, 0)
        journal = Journal(tmp_path / texts.FILE, texts.FORMAT, texts.VERSION, {"target": "T"})
        found = write(plain, target, prompts, journal, budget=8, seed=0)
        return [text for _, text in zip(range(limit or 3), found, strict=False)]

    return call


@pytest.mark.parametrize("stopped", [1, 2])
def test_writing_that_was_stopped_goes_on_to_the_same_texts(writing, tmp_path, stopped):
    whole = writing()
    (tmp_path / texts.FILE).unlink()
    writing(stopped)
    again = writing()
    assert [dataclasses.replace(t, seconds=None) for t in again] == [
        dataclasses.replace(t, seconds=None) for t in whole
    ]
    assert (tmp_path / texts.FILE).read_text().count("\n") == 4


def test_what_was_written_is_given_back_whole(writing, target, tmp_path):
    assert writing() == given(tmp_path, target, 20) == given(tmp_path / texts.FILE, target, 20)
