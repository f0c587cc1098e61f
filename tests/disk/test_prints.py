from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fraudctl.data import tables
from fraudctl.disk import prints
from fraudctl.disk.prints import Prints

LATER = 1 << 62
"""A time at which every file has long been as it is."""


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text(f"a\n{i}\n")
    return [str(tmp_path / f"{i}.csv") for i in range(3)]


def opened(place: Path, *, now_ns: int = LATER) -> Prints:
    return Prints(place / "prints.json", now_ns=now_ns)


def test_the_fingerprint_is_that_of_all_bytes_whether_it_is_remembered_or_not(tmp_path: Path, data: list[str]) -> None:
    for _ in range(3):
        known = opened(tmp_path)
        assert known.fingerprint(data) == tables.fingerprint(data)
        assert known.fingerprint(data[:1]) == tables.fingerprint(data[:1])
        known.remember()


def test_what_is_remembered_is_not_read(tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path)
    found = first.fingerprint(data)
    first.remember()
    monkeypatch.setattr(prints.hashlib, "file_digest", None)
    assert opened(tmp_path).fingerprint(data) == found


@pytest.mark.parametrize("how", ["content", "same size, time put back", "another file"])
def test_any_change_of_a_file_is_seen(tmp_path: Path, data: list[str], how: str) -> None:
    first = opened(tmp_path)
    before = first.fingerprint(data)
    first.remember()
    path, old = Path(data[1]), Path(data[1]).stat()
    time.sleep(0.02)  # beyond one tick of the clock of a file system
    if how == "content":
        path.write_text("a\n1\n2\n")
    elif how == "another file":
        (tmp_path / "new").write_text("a\n7\n")
        (tmp_path / "new").replace(path)
    else:
        path.write_text("a\n7\n")
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert opened(tmp_path).fingerprint(data) == tables.fingerprint(data) != before


def test_files_that_changed_just_now_are_read_again(tmp_path: Path, data: list[str]) -> None:
    known = opened(tmp_path, now_ns=time.time_ns())
    known.fingerprint(data)
    known.remember()
    assert not (tmp_path / "prints.json").exists()


def test_a_damaged_memory_remembers_nothing(tmp_path: Path, data: list[str]) -> None:
    first = opened(tmp_path)
    first.fingerprint(data)
    first.remember()
    place = tmp_path / "prints.json"
    content = place.read_bytes()
    for at in range(0, len(content), 7):
        place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert opened(tmp_path).fingerprint(data) == tables.fingerprint(data)
