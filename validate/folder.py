"""The folder of a run: its settings, files written whole or not at all, and how to go on after a stop."""

import json
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from validate.console import say

SETTINGS, VERSION = "settings.json", 2
STOPPED, INTERRUPTED = 1, 130


def new(out: pathlib.Path | None, command: str) -> pathlib.Path:
    """The folder of a new run, by default runs/TIME; ValueError where it holds anything or cannot be created."""
    folder = out or pathlib.Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if (folder / SETTINGS).exists():
        again = f"specmath {command} --resume {folder}"
        raise ValueError(f"{folder} holds a run; expected a new folder, or go on with: {again}")
    with _created(folder):
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            others = any(folder.iterdir())
        finally:
            for place in missing:
                with suppress(OSError):
                    place.rmdir()
    if others:
        expected = "expected a new or empty folder: choose another --out, or --resume one of ours"
        raise ValueError(f"found files of others in {folder}, {expected}")
    return folder


def openable(path: pathlib.Path) -> None:
    """ValueError for a file that cannot be written; one that is not there is not left there."""
    new = not path.exists()
    with _created(path), path.open("ab"):
        pass
    if new:
        path.unlink()


def begin(folder: pathlib.Path, command: str, options: Mapping[str, Any]) -> None:
    """Keep the options that a run begins with, or goes on with."""
    if (folder / SETTINGS).exists() and begun(folder, command) == options:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, SETTINGS, json.dumps({"command": command, "version": VERSION, **options}).encode())


def begun(folder: pathlib.Path, command: str) -> dict[str, Any]:
    """The options that a run began with; ValueError where the folder holds none of this command."""
    if not (folder / SETTINGS).is_file():
        raise ValueError(f"{folder}: found no {SETTINGS}, expected the folder of a run of specmath {command}")
    options = json.loads((folder / SETTINGS).read_text())
    found = options.pop("command", None)
    if found != command:
        raise ValueError(
            f"{folder}: found a run of {found!r}, expected one of {command!r}; resume it with that command"
        )
    version = options.pop("version", 1)
    if version != VERSION:
        raise ValueError(f"{folder}: found settings of version {version}, expected {VERSION}: start anew")
    return options


def write(folder: pathlib.Path, name: str, content: bytes) -> None:
    """A file whole or not at all."""
    aside = folder / f".{name}.new"
    try:
        aside.write_bytes(content)
        aside.replace(folder / name)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def resumable(folder: pathlib.Path, command: str) -> Iterator[None]:
    """Where the run is stopped, say what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"specmath: interrupted{_kept(folder, command)}")
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        say(f"specmath: {error}{_kept(folder, command)}")
        raise SystemExit(STOPPED) from None


def _kept(folder: pathlib.Path, command: str) -> str:
    if not (folder / SETTINGS).exists():
        return ""
    return f"; what was done is kept, go on with: specmath {command} --resume {folder}"


@contextmanager
def _created(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot create {path} ({error.strerror}): choose another --out") from None
