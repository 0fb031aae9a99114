"""Texts from elsewhere: logged traffic of prompts and responses, and the folders of earlier work."""

import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from validate.jsonl import read
from validate.texts import FILE, FORMAT, VERSION, Text, of_record
from validate.workload import UNTITLED, messages_of

if TYPE_CHECKING:
    from validate.loading import Loaded

SHORTEST = 2
_EXPECTED = 'expected "prompt" or "messages" with "response", or "prompt_ids" with "output_ids"'


def judge(path: pathlib.Path) -> None:
    """ValueError for what can be no text, as far as that shows without a model."""
    source = _file(path)
    if _ours(source):
        read_own(source)
    elif not list(_records(source)):
        raise ValueError(f"{path} holds no text; {_EXPECTED}")


def read_logged(path: str | pathlib.Path, target: "Loaded", vocabulary: int, say: Callable[[str], None]) -> list[Text]:
    """Texts of logged traffic, JSON Lines of prompt and response, as text or as token ids below `vocabulary`.

    {"prompt" | "turns" | "messages", "response"} is rendered by the target's template and its tokeniser;
    {"prompt_ids", "output_ids"} is taken as it is; "id", "domain" and "end" are optional. Responses of fewer than two
    tokens make no round and are left out, which `say` is told. Raises ValueError naming path and line for anything
    else.
    """
    texts: dict[str, Text] = {}
    for number, record in _records(path):
        with _named(path, number):
            text = _known(_text(record, target, f"line-{number}"), vocabulary)
            if text.prompt in texts:
                raise ValueError(f"id {text.prompt!r} is there already; rename one of them")
        texts[text.prompt] = text
    found = [text for text in texts.values() if len(text.output) >= SHORTEST]
    if not found:
        raise ValueError(f"{path} holds no response of at least {SHORTEST} tokens; {_EXPECTED}")
    if len(found) < len(texts):
        say(f"{len(texts) - len(found)} of {len(texts)} responses are shorter than {SHORTEST} tokens: left out")
    return found


def given(path: pathlib.Path, target: "Loaded", vocabulary: int, say: Callable[[str], None] = print) -> list[Text]:
    """The texts of a profile's folder or file as they were written, or else of a log."""
    source = _file(path)
    if not _ours(source):
        return read_logged(source, target, vocabulary, say)
    return [_known(text, vocabulary) for text in read_own(source)]


def read_own(path: pathlib.Path) -> list[Text]:
    """Texts that specmath wrote."""
    return [of_record(line) for line in read(path, FORMAT, VERSION)[1]]


def _file(path: pathlib.Path) -> pathlib.Path:
    """The file itself, or that of a folder."""
    source = path / FILE if path.is_dir() else path
    if source.is_file():
        return source
    if path.is_dir():
        raise ValueError(f"--text: found no {FILE} in {path}, expected the folder of a run or a profile")
    raise ValueError(f"--text: found no file {path}, expected JSON Lines of prompt and response, or a run's folder")


def _ours(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        return FORMAT.encode() in file.readline()


def _records(path: str | pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not blank; ValueError for one that can be no text."""
    for number, line in enumerate(pathlib.Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            with _named(path, number):
                record = _record(line)
            yield number, record


@contextmanager
def _named(path: str | pathlib.Path, number: int) -> Iterator[None]:
    """What is wrong with a line, with its place."""
    try:
        yield
    except ValueError as problem:
        raise ValueError(f"{path}:{number}: {problem}") from None


def _known(text: Text, vocabulary: int) -> Text:
    """The text, unless it holds a token that not all models know."""
    highest = max(text.context + text.output)
    if highest >= vocabulary:
        raise ValueError(
            f"found token id {highest}, expected ids below {vocabulary}, which target and drafts have in common: "
            "leave the text out, or the draft"
        )
    return text


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise ValueError(f"not JSON; {_EXPECTED}") from None
    if not isinstance(found, dict):
        raise ValueError(f"found a {type(found).__name__}; {_EXPECTED}")
    end = found.get("end")
    if end not in (None, "eos", "budget"):
        raise ValueError(f'end is {end!r}; expected "eos", "budget" or null')
    if "output_ids" in found:
        _ids(found)
    elif not isinstance(found.get("response"), str):
        raise ValueError(f"found no response; {_EXPECTED}")
    else:
        messages_of(found)
    return found


def _text(found: Mapping[str, Any], target: "Loaded", name: str) -> Text:
    context, output = _ids(found) if "output_ids" in found else _encoded(found, target)
    return Text(str(found.get("id", name)), str(found.get("domain", UNTITLED)), context, output, found.get("end"))


def _ids(found: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sides = [found.get("prompt_ids"), found["output_ids"]]
    for side in sides:
        if not isinstance(side, list) or not all(type(i) is int and i >= 0 for i in side):
            raise ValueError(f"found {str(side)[:40]}, expected lists of token ids")
    if not sides[0]:
        raise ValueError("prompt_ids is empty; expected at least one token")
    return tuple(sides[0]), tuple(sides[1])


def _encoded(found: Mapping[str, Any], target: "Loaded") -> tuple[tuple[int, ...], tuple[int, ...]]:
    output = target.tokenizer(found["response"], add_special_tokens=False)["input_ids"]
    return tuple(target.encode(messages_of(found))), tuple(output)
