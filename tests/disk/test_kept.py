"""Kept files: damage anywhere is found, and what was damaged is computed again; nothing is lost to another version."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.disk import kept
from fraudctl.disk.kept import DamagedError, content_hash, facts_place, unchanged, verified, vouch
from fraudctl.documents.sealed import DocumentError, canonical, read_object, seal, unseal

FACTS = {"known_until": "2026-01-01T00:00:00+00:00", "n_duplicates": 3, "notes": ["ü"]}


def is_used(place: Path) -> bool:
    try:
        return verified(place) is not None
    except DamagedError:
        return False


def keep(folder: Path, size: int) -> Path:
    place = folder / "table.parquet"
    place.write_bytes(random.Random(size).randbytes(size))  # noqa: S311 - no secret
    vouch(place, FACTS)
    return place


@pytest.mark.parametrize("size", [1, 7, 8, 12, 13, 1000, (1 << 20) - 1, 1 << 20, 3_000_001, (1 << 24) + 5])
def test_single_bit_flips_are_never_used(tmp_path: Path, size: int) -> None:
    place, draw = keep(tmp_path, size), random.Random(size)  # noqa: S311 - no secret
    assert verified(place) == FACTS
    for file in (place, facts_place(place)):
        content = file.read_bytes()
        for _ in range(40):
            at, bit = draw.randrange(len(content)), draw.randrange(8)
            file.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            assert not is_used(place), (file.name, at, bit)
        file.write_bytes(content)
    assert verified(place) == FACTS


def test_pairs_of_flips_zeros_cuts_and_other_files_are_never_used(tmp_path: Path) -> None:
    place, draw = keep(tmp_path, 400_000), random.Random(1)  # noqa: S311 - no secret
    content = place.read_bytes()
    for _ in range(60):
        changed = bytearray(content)
        for at in draw.sample(range(0, len(content), 8), 2):
            changed[at + 7] ^= 128  # the sign of a number
        place.write_bytes(changed)
        assert not is_used(place)
    for changed in (bytearray(content[:-1]), bytearray(content + b"\0"), bytearray(len(content)), bytearray()):
        place.write_bytes(changed)
        assert not is_used(place)
    place.write_bytes(content)
    for document in (b"", b"{}", b"[]", b"[" * 100_000, b"\xff", canonical({"facts": {}})):
        facts_place(place).write_bytes(document)
        assert not is_used(place)


def test_what_was_not_finished_or_is_of_another_version_is_passed_over_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = keep(tmp_path, 100)
    with monkeypatch.context() as patch:
        patch.setattr(pl, "__version__", "0.0.1")
        assert verified(place) is None
        assert content_hash(place) != kept._document(place)["content"]  # type: ignore[index]
    facts_place(place).unlink()
    assert verified(place) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.text(st.characters(codec="utf-8")), JSON), data=st.data())
def test_a_seal_holds_every_byte(document: dict[str, object], data: st.DataObject) -> None:
    document.pop("sha256", None)
    sealed = seal(document)
    assert canonical(unseal(sealed)) == canonical(document)
    at = data.draw(st.integers(0, len(sealed) - 1))
    for bit in range(8):
        with pytest.raises(DocumentError):
            unseal(sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :])


@given(st.binary(max_size=40))
def test_any_bytes_are_a_document_or_refused(content: bytes) -> None:
    with contextlib.suppress(DocumentError):
        assert isinstance(read_object(content), dict)


def test_what_seems_unchanged_has_its_facts_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = keep(tmp_path, 3_000_000)
    monkeypatch.setattr(kept, "content_hash", None)
    assert unchanged(place) == FACTS
    assert unchanged(tmp_path / "other.parquet") is None


def test_any_writing_into_a_kept_file_is_found_at_a_glance(tmp_path: Path) -> None:
    place = keep(tmp_path, 300_000)
    content = place.read_bytes()
    for at in (0, 150_000, 299_999):
        time.sleep(0.02)  # beyond one tick of the clock of a file system
        place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DamagedError):
            unchanged(place)
    time.sleep(0.02)
    place.write_bytes(content)
    assert unchanged(place) == FACTS


def test_damage_that_no_time_tells_of_is_found_at_the_end_at_a_glance_and_elsewhere_when_it_is_read(
    tmp_path: Path,
) -> None:
    place = keep(tmp_path, 300_000)
    content, old = place.read_bytes(), place.stat()
    for at, glance in ((299_999, False), (0, True)):
        place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        os.utime(place, ns=(old.st_atime_ns, old.st_mtime_ns))
        if glance:
            assert unchanged(place) == FACTS
        else:
            with pytest.raises(DamagedError):
                unchanged(place)
        assert not is_used(place)


def come(folder: Path, number: int) -> None:
    kept.write_numbered(pl.DataFrame({"n": [number]}), folder, number, row_group=100)
    kept.merge_numbered(folder, pl.DataFrame.vstack, row_group=100)


def one_by_one(folder: Path, n: int) -> None:
    for number in range(n):
        come(folder, number)


def all_rows(folder: Path) -> list[int]:
    return pl.concat([pl.read_parquet(path) for _, path in sorted(kept.numbered(folder).items())])["n"].to_list()


def test_tables_that_come_one_by_one_stay_few_and_in_order(tmp_path: Path) -> None:
    for n in range(1, 41):
        come(tmp_path, n - 1)
        assert all_rows(tmp_path) == list(range(n))
        assert len(list(tmp_path.iterdir())) <= n.bit_length() + 1
        assert all(kept.is_numbered(tmp_path, number) for number in range(n))
        assert not kept.is_numbered(tmp_path, n)


def test_what_a_merge_left_behind_counts_once_and_goes_with_the_next(tmp_path: Path) -> None:
    one_by_one(tmp_path, 4)
    left = [kept.write_numbered(pl.DataFrame({"n": [number]}), tmp_path, number, row_group=100) for number in (1, 2)]
    assert all_rows(tmp_path) == [0, 1, 2, 3]
    kept.merge_numbered(tmp_path, pl.DataFrame.vstack, row_group=100)
    assert not any(path.exists() for path in left)
    assert all_rows(tmp_path) == [0, 1, 2, 3]


def test_a_damaged_table_and_one_of_another_form_are_not_merged(tmp_path: Path) -> None:
    damaged = kept.write_numbered(pl.DataFrame({"n": [0, 1]}), tmp_path, 0, row_group=100)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    kept.write_numbered(pl.DataFrame({"n": [2, 3]}), tmp_path, 1, row_group=100)
    kept.merge_numbered(tmp_path, pl.DataFrame.vstack, row_group=100)
    assert len(kept.numbered(tmp_path)) == 2
    kept.write_numbered(pl.DataFrame({"n": ["4"]}), tmp_path, 2, row_group=100)
    kept.write_numbered(pl.DataFrame({"n": [5, 6]}), tmp_path, 3, row_group=100)
    kept.merge_numbered(tmp_path, pl.DataFrame.vstack, row_group=100)
    assert sorted(kept.numbered(tmp_path)) == [0, 1, 2, 3]
