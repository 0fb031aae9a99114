"""An append-only journal in JSON Lines: a versioned first line, then one record per line, whole at any moment."""

import json
import os
import pathlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

HEAD, THREADS = ("format", "version"), "threads"


class Journal:
    """Records of one piece of work: those already in the file, and each new one the moment it is there.

    Line 1 is {"format", "version", **identity}. Half a line left by a crash is cut off on opening. Raises ValueError
    where the file is of another format, version or identity or has a broken line; OSError, saying what is kept, where
    a record cannot be written.
    """

    def __init__(self, path: str | os.PathLike, format: str, version: int, identity: Mapping[str, Any]) -> None:
        self.path = pathlib.Path(path)
        self.records: list[dict[str, Any]] = []
        head = {"format": format, "version": version, **json.loads(json.dumps(identity))}
        whole = _whole(self.path) if self.path.exists() else []
        if whole:
            found, self.records = read(self.path, format, version)
            _same(self.path, found, head)
        self._size = sum(map(len, whole))
        if self.path.exists():
            os.truncate(self.path, self._size)
        if not whole:
            self._write(head)

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; it is in the file when this returns."""
        self._write(record)
        self.records.append(record)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, self._size)
            kept = f"the {len(self.records)} records before are kept there and readable, make room and resume"
            raise OSError(f"cannot write to {self.path} ({error.strerror}); {kept}") from error
        self._size += len(line)


def read(path: str | os.PathLike, format: str, version: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The identity in the first line and the records; a torn last line is dropped.

    Raises ValueError naming path and line for another format or version and for a broken line.
    """
    lines = [_record(line, f"{path}:{number}") for number, line in enumerate(_whole(pathlib.Path(path)), 1)]
    head = lines[0] if lines else {}
    if (head.get("format"), head.get("version")) != (format, version):
        raise ValueError(f"{path}: found {_kind(head)}, expected {format} version {version}: give another file")
    return {name: value for name, value in head.items() if name not in HEAD}, lines[1:]


def _kind(head: Mapping[str, Any]) -> str:
    """What a file is by its first line."""
    if "format" in head:
        return f"{head['format']} version {head.get('version')}"
    return f"a first line of {', '.join(head)[:60]}" if head else "no whole line"


def _whole(path: pathlib.Path) -> list[bytes]:
    """Lines that end."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{place}: found no JSON object, expected one per line: restore the file or start anew")
    return found


def _same(path: pathlib.Path, found: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """Refuse to go on with the work of another identity, naming the first difference."""
    expected = {name: value for name, value in head.items() if name not in HEAD}
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            was, asked = (json.dumps(side.get(name))[:60] for side in (found, expected))
            if name == THREADS:
                mend = f"set OMP_NUM_THREADS={was}, or start a new one"
                raise ValueError(f"{path}: written with {was} threads, this process has {asked}: {mend}")
            raise ValueError(f"{path}: found {name} {was}, expected {asked}: keep its options or start a new one")
