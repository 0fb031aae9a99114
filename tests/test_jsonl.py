"""A journal is whole at any moment: torn lines, other work and full disks."""

import errno
import json

import pytest

from validate.jsonl import Journal, read

IDENTITY = {"target": "T", "k": [1, 2]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work.jsonl"


def journal(path, **changed):
    return Journal(path, "specmath.work", 1, IDENTITY | changed)


def test_records_come_back_in_order_and_work_goes_on_behind_them(path):
    journal(path).append({"a": 1})
    again = journal(path)
    assert again.records == [{"a": 1}]
    again.append({"a": 2})
    assert read(path, "specmath.work", 1) == (IDENTITY, [{"a": 1}, {"a": 2}])


@pytest.mark.parametrize("kept", range(1, 16))
def test_a_file_cut_anywhere_goes_on_from_its_last_whole_line(path, kept):
    first = journal(path)
    for number in range(3):
        first.append({"number": number})
    data = path.read_bytes()
    size = len(data) * kept // 16
    path.write_bytes(data[:size])
    again = journal(path)
    assert [r["number"] for r in again.records] == list(range(max(data[:size].count(b"\n") - 1, 0)))
    for number in range(len(again.records), 3):
        again.append({"number": number})
    assert path.read_bytes() == data


@pytest.mark.parametrize("changed", [{"target": "U"}, {"k": [1]}, {"more": 1}])
def test_other_work_is_refused_by_what_differs_and_left_as_it_is(path, changed):
    journal(path).append({"a": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=next(iter(changed))) as caught:
        journal(path, **changed)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_another_version_and_another_format_are_refused(path):
    journal(path)
    for name, version in (("specmath.work", 2), ("specmath.play", 1)):
        with pytest.raises(ValueError, match=f"expected {name} version {version}"):
            read(path, name, version)


def test_a_broken_line_before_the_last_is_named(path):
    journal(path).append({"a": 1})
    path.write_bytes(path.read_bytes().replace(b'{"a":1}', b'{"a":') + b'{"a":2}\n')
    with pytest.raises(ValueError, match=f"{path}:2: "):
        journal(path)


def test_a_full_disk_leaves_what_was_there_readable(path, monkeypatch):
    work = journal(path)
    work.append({"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*1 records before are kept"):
        work.append({"a": 2})
    monkeypatch.undo()
    assert read(path, "specmath.work", 1)[1] == [{"a": 1}]
    work.append({"a": 3})
    assert [json.loads(line) for line in path.read_text().splitlines()][1:] == [{"a": 1}, {"a": 3}]
