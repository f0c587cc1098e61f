"""The store: what was written is there again, whatever a killed process left; else it is refused with its place."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.disk.files import Folder, locked
from fraudctl.errors import BundleError, UsageError
from fraudctl.scoring.log import DamagedLogError, Position, batch
from fraudctl.scoring.saved import (
    MARK,
    MARK_APART,
    closed_segments,
    compaction_lock,
    mark_slot,
    read_marks,
    read_state,
    segment_path,
)
from fraudctl.scoring.snapshots import read_snapshot, snapshot_path, write_snapshot
from fraudctl.scoring.store import LOG_SHARE, MOST_SEGMENTS, SMALL_SNAPSHOT, Store, frame

RECORDS = [b"one", b"second", b"the third"]
SECTOR = 512


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def filled(folder: Path, records: list[bytes] = RECORDS) -> Store:
    """A state with a snapshot and one batch for each record."""
    store = Store(folder)
    store.save({"about": b"a", "features": b"f" * 100})
    for item in records:
        store.append([frame(item)])
    return store


def texts(n: int, seed: int, longest: int = 700) -> list[bytes]:
    rng = drawn(seed)
    return [b'["event",%d,"%s"]' % (i, bytes(rng.choices(b"abcxyz", k=rng.randrange(longest)))) for i in range(n)]


def n_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else 0


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def read(folder: Path) -> list[bytes]:
    """Read as `state show` does, which is quicker than opening and goes the same way."""
    return [record for segment in read_state(folder)[1] for record in segment]


def opened(folder: Path) -> list[bytes]:
    with Store(folder) as store:
        parts = store.snapshot()
        assert parts is not None
        return list(store.records())


def test_records_and_parts_come_back(tmp_path: Path) -> None:
    filled(tmp_path).close()
    with Store(tmp_path, durable=True) as store:
        assert store.snapshot() == {"about": b"a", "features": b"f" * 100}
        assert list(store.records()) == RECORDS
        store.append([frame(b"fourth"), frame(b"fifth")])
        assert list(store.records()) == [*RECORDS, b"fourth", b"fifth"]
        assert store.sequence == 5
        assert not store.empty


def test_a_snapshot_takes_the_place_of_the_log_before_it(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        store.save({"about": b"b"})
        assert list(store.records()) == []
        assert store.snapshot() == {"about": b"b"}
    assert len(list(tmp_path.glob("snapshot-*.bin"))) == len(list(tmp_path.glob("log-*.bin"))) == 1
    with Store(tmp_path) as store:
        assert store.sequence == len(RECORDS), "numbers go on"


# ---------------------------------------------------------------- flips


def test_no_flipped_bit_of_a_log_is_used(tmp_path: Path) -> None:
    state, seen = tmp_path / "state", set[str]()
    filled(state, texts(40, seed=1)).close()
    path = segment_path(state, 1)
    sound, rng = path.read_bytes(), drawn(2)
    last = sound.rindex(b'["event",39')
    places = [rng.randrange(len(sound)) for _ in range(700)] + [
        rng.randrange(last - 60, len(sound)) for _ in range(300)
    ]
    for number, place in enumerate(places):
        content = bytearray(sound)
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(BundleError) as caught:
            (read if number % 10 else opened)(state)
        seen.add(type(caught.value).__name__)
    assert "DamagedLogError" in seen
    path.write_bytes(sound)
    assert len(opened(state)) == 40


def test_no_flipped_bit_of_a_snapshot_is_used(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.save({"about": b"abc", "features": os.urandom(2000)})
    path = snapshot_path(tmp_path, 1)
    sound, rng = path.read_bytes(), drawn(3)
    for number, place in enumerate([*range(150), *(rng.randrange(len(sound)) for _ in range(850))]):
        content = bytearray(sound)
        content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        with pytest.raises(BundleError):
            (read if number % 10 else opened)(tmp_path)


def test_the_place_of_the_damage_is_named(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = segment_path(tmp_path, 1)
    content = bytearray(path.read_bytes())
    place = content.index(b"second")
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedLogError, match=r"log-000000000001\.bin is damaged at byte \d+: record 2") as caught:
        Store(tmp_path)
    assert 0 < place - caught.value.at <= 50
    assert caught.value.hint is not None
    assert "state repair" in caught.value.hint


# ---------------------------------------------------------------- the end of the log


@given(cut=st.integers(1, 400), seed=st.integers(0, 50))
def test_a_cut_end_is_forgiven_in_the_last_batch_alone(
    cut: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, records = tmp_path_factory.mktemp("store"), texts(5, seed, longest=60)
    filled(folder, records).close()
    path = segment_path(folder, 1)
    content = path.read_bytes()
    last = len(batch([frame(records[-1])], Position(0, bytes(8)))[0])
    path.write_bytes(content[: len(content) - cut])
    if cut > last:
        with pytest.raises(BundleError, match=r"acknowledged|damaged at byte"):
            opened(folder)
        return
    with Store(folder) as again:
        assert list(again.records()) == records[:-1]
        assert bool(again.notes) == (cut < last)
        again.append([frame(b"next")])
    assert opened(folder) == [*records[:-1], b"next"]


def test_a_log_cut_anywhere_or_gone_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, texts(30, seed=4)).close()
    path = segment_path(tmp_path, 1)
    content = path.read_bytes()
    for length in [0, 1, 14, 15, 16, 100, *drawn(5).choices(range(len(content) * 9 // 10), k=50)]:
        path.write_bytes(content[:length])
        with pytest.raises(BundleError):
            opened(tmp_path)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        opened(tmp_path)


@given(seed=st.integers(0, 10_000), durable=st.booleans())
def test_a_batch_whose_sectors_were_not_written_is_cut_off(
    seed: int, durable: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A loss of power: of the sectors of the last batch any may be missing; what was acknowledged before is there."""
    rng, folder = drawn(seed), tmp_path_factory.mktemp("store")
    records = texts(rng.randrange(1, 6), seed)
    filled(folder, records).close()
    with Store(folder, durable=durable) as store:
        size = segment_path(folder, 1).stat().st_size
        store.append([frame(item) for item in texts(rng.randrange(1, 4), seed + 1, longest=3000)])
    path = segment_path(folder, 1)
    content = bytearray(path.read_bytes())
    sectors = range(size // SECTOR * SECTOR, len(content), SECTOR)
    lost = rng.sample(sectors, rng.randrange(1, len(sectors) + 1))
    for sector in lost:
        start, stop = max(sector, size), min(sector + SECTOR, len(content))
        content[start:stop] = bytes(stop - start)
    path.write_bytes(content)
    with Store(folder) as again:
        assert list(again.records()) == records
        assert again.notes
        again.append([frame(b"next")])
    assert opened(folder) == [*records, b"next"]


def test_zeros_behind_the_log_are_cut_off(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes() + bytes(1500))
    assert opened(tmp_path) == RECORDS


def test_zeros_before_a_later_batch_are_damage(tmp_path: Path) -> None:
    filled(tmp_path, texts(20, seed=6)).close()
    path = segment_path(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[1024:1536] = bytes(512)
    path.write_bytes(content)
    with pytest.raises(DamagedLogError, match="damaged at byte"):
        opened(tmp_path)


def test_without_a_flush_a_restart_of_the_system_may_lose_records_and_says_so(tmp_path: Path) -> None:
    filled(tmp_path).close()
    note = tmp_path / MARK
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fraudctl.scoring.saved._BOOT", b"another!")
        slot = mark_slot(1, 9, durable=False)
    note.write_bytes(slot)
    with Store(tmp_path) as store:
        assert list(store.records()) == RECORDS
        assert any("did not survive the restart" in told for told in store.notes)
    note.write_bytes(mark_slot(1, 9, durable=True))
    with pytest.raises(BundleError, match="records up to 9 were acknowledged"):
        Store(tmp_path)


def test_one_of_two_notes_is_always_whole() -> None:
    content = bytearray(2 * MARK_APART)
    for sequence in range(5):
        slot = mark_slot(1, sequence, durable=True)
        place = (sequence & 1) * MARK_APART
        content[place : place + len(slot)] = slot
    assert [(mark.segment, mark.sequence) for mark in read_marks(bytes(content))] == [(1, 4), (1, 3)]
    content[3] ^= 1
    assert [mark.sequence for mark in read_marks(bytes(content))] == [3]
    assert read_marks(b"") == []


# ---------------------------------------------------------------- segments and snapshots belong together


def test_a_segment_that_is_missing_cut_or_of_another_place_is_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with filled(base) as store:
        for item in (b"a", b"b"):
            store.rotate()
            store.append([frame(item)])
    for number in (1, 2, 3):
        changed = copy(base, tmp_path / "changed")
        segment_path(changed, number).unlink()
        with pytest.raises(BundleError, match="missing"):
            opened(changed)
    changed = copy(base, tmp_path / "changed")
    segment_path(changed, 1).write_bytes(segment_path(changed, 1).read_bytes()[:-2])
    with pytest.raises(DamagedLogError):
        opened(changed)
    changed = copy(base, tmp_path / "changed")
    shutil.copy(segment_path(changed, 3), segment_path(changed, 2))
    with pytest.raises(DamagedLogError, match="under the name of another"):
        opened(changed)


def test_a_snapshot_or_log_of_another_state_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    filled(one).close()
    filled(other).close()
    mixed = copy(one, tmp_path / "mixed")
    shutil.copy(segment_path(other, 1), segment_path(mixed, 1))
    with pytest.raises(DamagedLogError, match="it follows record"):
        opened(mixed)
    mixed = copy(one, tmp_path / "mixed")
    shutil.copy(snapshot_path(other, 1), snapshot_path(mixed, 1))
    with pytest.raises(DamagedLogError, match="it follows record"):
        opened(mixed)


def test_a_log_whose_snapshot_is_gone_is_not_an_empty_state(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.save({"about": b"a"})
    snapshot_path(tmp_path, 1).unlink()
    with pytest.raises(BundleError, match="snapshot that it belongs to is missing"):
        Store(tmp_path)


@pytest.mark.parametrize("number", [1, 9])
def test_a_log_of_another_version_is_refused(tmp_path: Path, number: int) -> None:
    filled(tmp_path).close()
    path = segment_path(tmp_path, 1)
    path.write_bytes(f"fraudctl log {number}\n".encode() + path.read_bytes()[15:])
    with pytest.raises(BundleError, match="not a log that this version") as error:
        Store(tmp_path)
    assert "build the state again from history: `fraudctl state build --force`" in str(error.value.hint)


def test_an_unknown_folder_begins_empty(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "b") as store:
        assert store.empty
        assert store.snapshot() is None
    with Store(tmp_path / "a" / "b") as store:
        store.rotate()
        assert store.empty
    with Store(tmp_path / "a" / "b") as store:
        assert store.empty, "a process that died while it built a state leaves nothing that is in the way"


# ---------------------------------------------------------------- formats before


def written_before(folder: Path, snapshot: bytes) -> None:
    """A state with a snapshot and a log of formats before, as far as these are read."""
    folder.mkdir()
    about = {"parts": [["about", 1, "bytes"]], "sequence": 0, "chain": "00" * 8}
    content = snapshot + json.dumps(about).encode() + b"\na"
    snapshot_path(folder, 1).write_bytes(content + hashlib.sha256(content).digest())
    segment_path(folder, 1).write_bytes(b"fraudctl log 1\n")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_state_of_a_format_before_is_refused_and_its_hint_replaces_it(tmp_path: Path, number: int) -> None:
    written_before(tmp_path / "state", f"fraudctl state {number}\n".encode())
    for look in (Store, read_state, lambda folder: read_snapshot(folder, 1)):
        with pytest.raises(BundleError, match="is not a state that this version of fraudctl can read") as error:
            look(tmp_path / "state")
        assert "build the state again from history: `fraudctl state build --force`" in str(error.value.hint)
    with Store(tmp_path / "state", replacing=True) as store:
        store.replace({"about": b"b"})
    assert opened(tmp_path / "state") == []
    assert read_snapshot(tmp_path / "state", 2).parts == {"about": b"b"}
    assert not snapshot_path(tmp_path / "state", 1).exists()


# ---------------------------------------------------------------- one process at a time


def test_one_process_at_a_time_even_without_the_lock_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="in use"):
        Store(tmp_path)
    (tmp_path / "lock").unlink()
    other_name = tmp_path.with_name("link")
    other_name.symlink_to(tmp_path)
    for path in (tmp_path, other_name, tmp_path / ".." / tmp_path.name):
        with pytest.raises(UsageError, match="in use"):
            Store(path)
    store.close()
    Store(other_name).close()


def test_a_state_that_cannot_be_opened_is_not_held(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = segment_path(tmp_path, 1)
    sound = path.read_bytes()
    path.write_bytes(sound[:-40] + b"x" * 40)
    before = n_open()
    for _ in range(3):
        with pytest.raises(BundleError):
            Store(tmp_path)
    assert n_open() == before
    path.write_bytes(sound)
    assert opened(tmp_path) == RECORDS


def test_one_compaction_at_a_time_even_without_the_lock_file(tmp_path: Path) -> None:
    filled(tmp_path).close()
    held = compaction_lock(tmp_path)
    assert held is not None
    (tmp_path / "compacting").unlink()
    assert compaction_lock(tmp_path) is None
    for handle in held:
        os.close(handle)


def test_nothing_is_compacted_away_while_it_is_being_read(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.close()
    store = Store(tmp_path)
    assert compaction_lock(tmp_path) is None
    assert list(store.records()) == RECORDS
    store.let_compact()
    for handle in compaction_lock(tmp_path) or []:
        os.close(handle)
    store.close()


def test_opening_waits_for_a_compaction_that_a_killed_process_left_behind(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        store.rotate()
        store.append([frame(b"later")])
    left_behind = locked(tmp_path / "compacting")
    assert left_behind is not None
    found: list[Store] = []
    opening = threading.Thread(target=lambda: found.append(Store(tmp_path)))
    opening.start()
    position = read_state(tmp_path)[1][0].end
    files = Folder(tmp_path)
    write_snapshot(files, 2, {"about": b"compacted"}, position)
    files.close()
    segment_path(tmp_path, 1).unlink()
    assert not found
    os.close(left_behind)
    opening.join()
    assert found[0].snapshot() == {"about": b"compacted"}
    assert list(found[0].records()) == [b"later"]
    found[0].close()


def test_closed_segments_are_those_that_nothing_is_added_to(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        assert closed_segments(tmp_path) == (1, [])
        store.rotate()
        assert closed_segments(tmp_path) == (1, [1])


# ---------------------------------------------------------------- a new state in the place of an old one


@pytest.mark.parametrize("damage", ["log", "snapshot", "both", "headless"])
def test_a_damaged_state_can_be_replaced(damage: str, tmp_path: Path) -> None:
    filled(tmp_path).close()
    if damage in {"log", "both"}:
        segment_path(tmp_path, 1).write_bytes(b"not a log")
    if damage in {"snapshot", "both"}:
        snapshot_path(tmp_path, 1).write_bytes(b"not a state")
    if damage == "headless":
        segment_path(tmp_path, 2).write_bytes(b"")
    with pytest.raises(BundleError):
        Store(tmp_path)
    with Store(tmp_path, replacing=True) as store:
        store.replace({"about": b"new"})
        store.append([frame(b"first")])
    with Store(tmp_path) as store:
        assert store.snapshot() == {"about": b"new"}
        assert list(store.records()) == [b"first"]
    assert len(list(tmp_path.glob("snapshot-*.bin"))) == 1


def test_a_moved_folder_is_still_the_same_state(tmp_path: Path) -> None:
    store = filled(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    store.append([frame(b"moved")])
    store.rotate()
    store.append([frame(b"rotated")])
    store.close()
    assert opened(tmp_path / "there") == [*RECORDS, b"moved", b"rotated"]
    assert not (tmp_path / "here").exists()


def test_any_changed_byte_of_a_snapshot_is_found_by_itself(tmp_path: Path) -> None:
    files = Folder(tmp_path)
    write_snapshot(files, 3, {"about": b"abc"}, Position(7, b"12345678"))
    files.close()
    path = snapshot_path(tmp_path, 3)
    content = path.read_bytes()
    assert read_snapshot(tmp_path, 3).position == Position(7, b"12345678")
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with pytest.raises(BundleError):
            read_snapshot(tmp_path, 3)


# ---------------------------------------------------------------- cost in proportion to the work


def test_words_come_back_as_words_and_bytes_as_bytes(tmp_path: Path) -> None:
    words = np.arange(5000, dtype=np.int64)[::2] - 2500
    with Store(tmp_path) as store:
        store.save({"about": b"a", "words": words, "none": np.zeros(0, np.int64), "empty": b""})
    with Store(tmp_path) as store:
        parts = store.snapshot()
    assert parts is not None
    assert list(parts) == ["about", "words", "none", "empty"]
    assert parts["about"] == b"a"
    assert parts["empty"] == b""
    assert np.array_equal(parts["words"], words)
    assert isinstance(parts["none"], np.ndarray)
    assert parts["words"].flags.owndata
    assert parts["words"].flags.writeable, "a state goes on in the memory that it was read to"


def saved_words(folder: Path, *, n_bytes: int) -> Path:
    """A state whose words, with room between them and the parts before, are mapped."""
    with Store(folder) as store:
        store.save({"about": b"a", "words": np.arange(n_bytes // 8), "more": b"m" * 5000, "last": np.arange(200_000)})
    return snapshot_path(folder, 1)


def test_a_snapshot_takes_its_own_memory_and_no_more(tmp_path: Path) -> None:
    n_bytes = 40 << 20
    saved_words(tmp_path, n_bytes=n_bytes)
    code = (
        "import sys, pathlib, resource; from fraudctl.scoring.snapshots import read_snapshot;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "found = read_snapshot(pathlib.Path(sys.argv[1]), 1);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 1.2 * n_bytes


@pytest.mark.parametrize("can_map", [True, False])
def test_large_parts_come_back_and_every_damage_of_them_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_map: bool
) -> None:
    if not can_map:
        monkeypatch.setattr("fraudctl.scoring.snapshots.mapped", lambda *_: None)
    path = saved_words(tmp_path, n_bytes=20 << 20)
    sound, rng, told = path.read_bytes(), drawn(7), list[tuple[int, int]]()
    parts = read_snapshot(tmp_path, 1, lambda done, total: told.append((done, total))).parts
    assert np.array_equal(parts["words"], np.arange((20 << 20) // 8))
    assert np.array_equal(parts["last"], np.arange(200_000))
    assert parts["more"] == b"m" * 5000
    assert parts["words"].flags.writeable
    assert told[-1][0] == told[-1][1] > 20 << 20
    assert told == sorted(told)
    parts["words"][:] = 0
    assert path.read_bytes() == sound, "a state that goes on leaves the snapshot that it was read from as it is"

    block, begin = 8 << 20, sound.index(np.arange(1, 9).tobytes()) - 8
    swapped = sound[:begin] + sound[begin + block : begin + 2 * block] + sound[begin : begin + block]
    places = [*(rng.randrange(len(sound)) for _ in range(12)), begin - 1, begin - 3000, len(sound) - 1]
    flips = [sound[:place] + bytes([sound[place] ^ (1 << rng.randrange(8))]) + sound[place + 1 :] for place in places]
    cuts = [sound[: len(sound) - n] for n in (1, 8, 4096, block)]
    for content in [*flips, *cuts, sound + bytes(8), swapped + sound[begin + 2 * block :]]:
        path.write_bytes(content)
        with pytest.raises(BundleError, match="was changed"):
            read_snapshot(tmp_path, 1)


def test_a_state_that_snapshots_over_its_mapped_file_goes_on(tmp_path: Path) -> None:
    saved_words(tmp_path, n_bytes=20 << 20)
    with Store(tmp_path) as store:
        parts = store.snapshot()
        assert parts is not None
        store.let_compact()
        parts["words"][::7] += 1
        wanted = parts["words"].copy()
        store.save(parts)
        assert len(list(tmp_path.glob("snapshot-*.bin"))) == 1, "the file that is mapped has no name any more"
        assert np.array_equal(parts["words"], wanted)
        parts["words"][:] = 5
    with Store(tmp_path) as store:
        again = store.snapshot()
    assert again is not None
    assert np.array_equal(again["words"], wanted)


def test_a_snapshot_is_due_when_the_log_is_a_sizeable_share_of_it(tmp_path: Path) -> None:
    words = np.zeros((SMALL_SNAPSHOT >> 3) + 1000, np.int64)
    share = words.nbytes // LOG_SHARE
    with Store(tmp_path) as store:
        assert store.snapshot_due, "there is none yet"
        store.save({"about": b"a", "words": words})
        assert store.idle
        assert not store.snapshot_due
        store.append([frame(b"x" * 1000)])
        assert not store.idle
        assert not store.snapshot_due
        store.append([frame(b"x" * (share // 2))])
        store.rotate()
        assert store.idle
        store.append([frame(b"x" * (share // 4))])
        assert not store.snapshot_due
    with Store(tmp_path) as store:
        assert not store.snapshot_due, "what earlier processes logged counts too"
        store.append([frame(b"x" * (share // 4))])
        assert store.snapshot_due
        store.save({"about": b"b", "words": words})
        assert not store.snapshot_due


def test_a_small_snapshot_and_many_segments_are_due_at_once(tmp_path: Path) -> None:
    with filled(tmp_path / "small") as store:
        assert store.snapshot_due
    with Store(tmp_path / "large") as store:
        store.save({"about": b"a", "words": np.zeros((SMALL_SNAPSHOT >> 3) + 1000, np.int64)})
        for _ in range(MOST_SEGMENTS):
            store.rotate()
        assert not store.snapshot_due
        store.rotate()
        assert store.snapshot_due
