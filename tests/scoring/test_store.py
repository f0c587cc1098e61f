"""The store: what was written is there again, whatever a killed process left; damage is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import BundleError, UsageError
from fraudctl.scoring.store import (
    Store,
    closed_segments,
    frame,
    locked,
    read_snapshot,
    segment_path,
    snapshot_path,
    write_snapshot,
)

RECORDS = [b"one", b"second", b"the third"]


def filled(folder: Path) -> Store:
    store = Store(folder)
    store.save({"about": b"a", "features": b"f" * 100})
    store.append([frame(item) for item in RECORDS])
    return store


def test_records_and_parts_come_back(tmp_path: Path) -> None:
    filled(tmp_path).close()
    store = Store(tmp_path, durable=True)
    assert store.snapshot() == {"about": b"a", "features": b"f" * 100}
    assert list(store.records()) == RECORDS
    store.append([frame(b"fourth")])
    assert list(store.records()) == [*RECORDS, b"fourth"]
    store.close()


def test_a_snapshot_takes_the_place_of_the_log_before_it(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.save({"about": b"b"})
    assert list(store.records()) == []
    assert store.snapshot() == {"about": b"b"}
    store.close()
    assert len(list(tmp_path.glob("snapshot-*.bin"))) == len(list(tmp_path.glob("log-*.bin"))) == 1


@given(cut=st.integers(1, len(b"".join(frame(item) for item in RECORDS))))
def test_whatever_is_cut_off_the_end_only_the_cut_record_is_lost(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = filled(folder)
    path, whole = segment_path(folder, store.segment), sum(len(frame(item)) for item in RECORDS)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    left, kept = whole - cut, []
    for item in RECORDS:
        left -= len(frame(item))
        kept += [item] if left >= 0 else []
    again = Store(folder)
    assert list(again.records()) == kept
    again.append([frame(b"next")])
    assert list(again.records()) == [*kept, b"next"]
    again.close()


def test_zeros_after_a_loss_of_power_are_cut_off(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = segment_path(tmp_path, store.segment)
    store.close()
    path.write_bytes(path.read_bytes() + bytes(64))
    again = Store(tmp_path)
    assert list(again.records()) == RECORDS
    again.close()


def test_a_changed_byte_in_the_log_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = segment_path(tmp_path, store.segment)
    store.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"second")] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="damaged at byte"):
        Store(tmp_path)


def test_a_cut_in_a_closed_segment_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    closed = segment_path(tmp_path, store.segment)
    store.rotate()
    assert closed_segments(tmp_path)[1] == [store.segment - 1]
    closed.write_bytes(closed.read_bytes()[:-2])
    with pytest.raises(BundleError, match="damaged"):
        list(store.records())
    closed.unlink()
    with pytest.raises(BundleError, match="missing"):
        list(store.records())
    store.close()


def test_any_changed_byte_of_a_snapshot_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path, 3, {"about": b"abc"})
    path = snapshot_path(tmp_path, 3)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with pytest.raises(BundleError):
            read_snapshot(tmp_path, 3)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="in use"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_leftovers_of_a_killed_snapshot_do_no_harm(tmp_path: Path) -> None:
    store = filled(tmp_path)
    number = store.rotate()
    write_snapshot(tmp_path, number, {"about": b"new"})
    store.close()
    (tmp_path / ".snapshot-x.tmp").write_bytes(b"half")
    again = Store(tmp_path)
    assert again.snapshot() == {"about": b"new"}
    assert list(again.records()) == []
    again.close()


def test_a_log_of_another_version_is_refused(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = segment_path(tmp_path, store.segment)
    store.close()
    path.write_bytes(b"fraudctl log 9\n" + path.read_bytes()[15:])
    with pytest.raises(BundleError, match="no log that this version"):
        Store(tmp_path)


def test_nothing_is_compacted_away_while_it_is_being_read(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with pytest.raises(UsageError, match="busy"):
        locked(tmp_path / "compacting", "busy")
    assert list(store.records()) == RECORDS
    store.let_compact()
    os.close(locked(tmp_path / "compacting", "busy"))
    store.close()


def test_opening_waits_for_a_compaction_that_a_killed_process_left_behind(tmp_path: Path) -> None:
    filled(tmp_path).close()
    left_behind = locked(tmp_path / "compacting", "busy")
    opened: list[Store] = []
    opening = threading.Thread(target=lambda: opened.append(Store(tmp_path)))
    opening.start()
    number = 2
    segment_path(tmp_path, number).write_bytes(segment_path(tmp_path, 1).read_bytes()[:15])
    write_snapshot(tmp_path, number, {"about": b"later"})
    segment_path(tmp_path, 1).unlink()
    assert not opened
    os.close(left_behind)
    opening.join()
    assert opened[0].snapshot() == {"about": b"later"}
    assert list(opened[0].records()) == []
    opened[0].close()
