"""The trace of a run: each round as it happened, in JSON Lines, readable at any moment of a run.

Line 1 is the header. A prompt is then decoded once per arm and repeat: a prompt line, its rounds, a done line
(`validate.lines`).
"""

import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from specmath.acceptance import Rounds
from validate.lines import (
    KINDS,
    ORIGIN,
    DoneLine,
    Header,
    Key,
    Line,
    PromptLine,
    RoundLine,
    build,
    dumps,
    loads,
    record_of,
)

FORMAT, VERSION, FILE = "specmath.trace", 1, "trace.jsonl"
CELLS, NOT_IN_NAMES = "cells", r"[^\w.-]"
_SAME_RUN = ("target", "draft", "k", "sampler", "rule", "seed", "prompts")


class TraceWriteError(OSError):
    """A line could not be written; the message says what the file holds and how to go on."""


@dataclass(frozen=True)
class Trace:
    """A run as read. Prompts without a done line keep their rounds; `unread` counts lines of unknown type."""

    header: Header
    prompts: tuple[PromptLine, ...]
    rounds: tuple[RoundLine, ...]
    done: tuple[DoneLine, ...]
    unread: int = 0

    @property
    def domains(self) -> dict[str, str]:
        """Domain of every prompt, in the order they ran."""
        return {line.prompt: line.domain for line in self.prompts}

    def rounds_of(self, domain: str | None = None, *, arm: str = "spec", repeat: int = 0) -> Rounds:
        """Return the rounds of one arm, of all domains or of one; raises ValueError for an unknown domain."""
        domains = self.domains
        if domain is not None and domain not in domains.values():
            names = ", ".join(dict.fromkeys(domains.values()))
            raise ValueError(f"no domain {domain!r} in the trace; expected one of {names}")
        chosen = [
            (line.prompt, line.drafted, line.accepted)
            for line in self.rounds
            if (line.arm, line.repeat) == (arm, repeat) and domain in (None, domains[line.prompt])
        ]
        prompt, drafted, accepted = zip(*chosen, strict=True) if chosen else ((), (), ())
        return Rounds(prompt, drafted, accepted, rule=self.header.rule)


class Writer:
    """Appends whole lines: each is in the file when `write` returns, and on the disk when its prompt is done.

    Raises FileExistsError where the path already holds something, TraceWriteError where a line does not fit.
    """

    def __init__(self, path: str | os.PathLike, header: Header) -> None:
        if os.path.exists(path) and os.path.getsize(path):
            raise FileExistsError(f"{path} exists already; resume it or choose another path")
        self._open(path, lines=0, finished=frozenset())
        self._append({"format": FORMAT, "version": VERSION} | record_of(header))

    @classmethod
    def resume(cls, path: str | os.PathLike, header: Header, *, runs: int) -> Self:
        """Go on with an interrupted trace; `finished` holds the prompts with all their `runs` done lines.

        The file is cut after the last line at which no prompt was begun and unfinished; half a header is begun anew.
        Raises ValueError where
        another run wrote it, OSError where it cannot be read.
        """
        if _is_torn_header(path):
            os.truncate(path, 0)
            return cls(path, header)
        _check_same_run(path, read(path).header, header)
        size, lines, finished = _finished(path, runs)
        os.truncate(path, size)
        writer = cls.__new__(cls)
        writer._open(path, lines, finished)
        return writer

    def write(self, line: Line) -> None:
        """Append one line."""
        self._append({"type": line.type} | record_of(line))
        if isinstance(line, DoneLine):
            with self._explained():
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is left to be written."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: str | os.PathLike, lines: int, finished: frozenset[str]) -> None:
        self.path, self.finished, self._lines = pathlib.Path(path), finished, lines
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        self._size = self._file.tell()

    def _append(self, record: dict) -> None:
        line = left = dumps(record)
        with self._explained():
            while left:
                left = left[self._file.write(left) :]
        self._size += len(line)
        self._lines += 1

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Cut off half a line and say what is kept."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            self.close()
            kept = f"the {self._lines} lines before are kept there and readable, make room and resume the run"
            raise TraceWriteError(f"cannot write to {self.path} ({error.strerror}); {kept}") from error


def read(path: str | os.PathLike) -> Trace:
    """Read a trace; a last line without its newline is torn and dropped, unknown keys and types are skipped.

    Raises ValueError naming path and line for anything broken before that, for a file that is no trace and for
    another version; OSError where the file cannot be read.
    """
    book = _Book()
    for number, line in _whole_lines(path):
        try:
            book.enter(loads(line))
        except ValueError as problem:
            raise ValueError(f"{path}:{number}: {problem}") from None
    if book.header is None:
        raise ValueError(f"{path} holds no whole line; expected {ORIGIN}")
    prompts, rounds, done = (tuple(book.lines[kind]) for kind in KINDS)
    return Trace(book.header, prompts, rounds, done, unread=book.unread)


def traces(folder: pathlib.Path, cells: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], pathlib.Path]:
    """The trace of each cell: the folder's own where there is one cell, else in a folder by its name."""
    if len(cells) == 1:
        return {cells[0]: folder / FILE}
    return {(draft, k): folder / CELLS / f"{re.sub(NOT_IN_NAMES, '-', draft)}-k{k}" / FILE for draft, k in cells}


class _Book:
    """Lines by type, and what every decoding that is not done has emitted so far."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self.lines: dict[str, list] = {kind: [] for kind in KINDS}
        self.unread = 0
        self._emitted: dict[Key, int] = {}
        self._begun: set[Key] = set()

    def enter(self, record: dict) -> None:
        """Take in one line; raises ValueError where it is incomplete or contradicts those before."""
        kind = KINDS.get(str(record.get("type")))
        if self.header is None:
            self.header = _header(record)
        elif kind is None:
            self.unread += 1
        else:
            line = build(kind, record)
            self._account(line)
            self.lines[line.type].append(line)

    def _account(self, line: Line) -> None:
        """A decoding begins once, goes on while it is open, and ends with the tokens that it emitted."""
        begins = isinstance(line, PromptLine)
        if line.key in self._begun if begins else line.key not in self._emitted:
            raise ValueError(f"a {line.type} line of {line.key}; expected one prompt line, rounds, one done line")
        if begins:
            self._begun.add(line.key)
            self._emitted[line.key] = 0
        if isinstance(line, RoundLine):
            self._emitted[line.key] += line.emitted
        if isinstance(line, DoneLine) and (emitted := self._emitted.pop(line.key)) not in (0, line.tokens_out - 1):
            raise ValueError(f"tokens_out of {line.key} is {line.tokens_out}; expected 1 + {emitted} emitted")


def _whole_lines(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line that has its newline."""
    with open(path, "rb") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if line.endswith(b"\n"))


def _is_torn_header(path: str | os.PathLike) -> bool:
    """Whether the file holds the beginning of a trace's first line and no more, or nothing."""
    start = dumps({"format": FORMAT, "version": VERSION}).rstrip(b"}\n")
    with open(path, "rb") as file:
        found = file.readline()
    return not found.endswith(b"\n") and found.startswith(start[: len(found)])


def _finished(path: str | os.PathLike, runs: int) -> tuple[int, int, frozenset[str]]:
    """Bytes and lines up to where no prompt was unfinished, and the prompts finished by then."""
    size, kept = 0, (0, 0, frozenset[str]())
    done: dict[str, int] = {}
    unfinished: set[str] = set()
    for number, line in _whole_lines(path):
        size += len(line)
        record = loads(line)
        prompt = record.get("prompt", "")
        if record.get("type") == "done":
            done[prompt] = done.get(prompt, 0) + 1
        if record.get("type") in KINDS:
            (unfinished.discard if done.get(prompt, 0) >= runs else unfinished.add)(prompt)
        if not unfinished:
            kept = (size, number, frozenset(done))
    return kept


def _header(record: dict) -> Header:
    if record.get("format") != FORMAT:
        raise ValueError(f"no header of a trace; expected {ORIGIN}")
    if record.get("version") != VERSION:
        found = f"trace version {record.get('version')}, this reads version {VERSION}"
        raise ValueError(f"{found}; read it with the release of specmath that wrote it")
    return build(Header, record)


def _check_same_run(path: str | os.PathLike, found: Header, header: Header) -> None:
    """Refuse to go on with the trace of other settings; machine and versions may differ."""
    given, kept = loads(dumps(record_of(header))), record_of(found)
    for key in _SAME_RUN:
        if kept.get(key) != given.get(key):
            other = f"{path} holds a run with {key} {kept.get(key)!r}, not {given.get(key)!r}"
            raise ValueError(f"{other}; give the same settings or another path")
