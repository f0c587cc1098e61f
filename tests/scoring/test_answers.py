"""Answers are found however long ago they were given, in bounded memory, and kept apart from the numbers' text."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.disk.kept import numbered
from fraudctl.errors import BundleError
from fraudctl.scoring import answers
from fraudctl.scoring.answers import ANSWERS, Answered, Answers, verify_answers, write_answers

IDS = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.text(max_size=6))


def path_of(folder: Path, segment: int) -> Path:
    return numbered(folder / ANSWERS)[segment]


def item(text: str) -> Answered:
    return Answered(b'{"id":1}', f'{{"answer":"{text}"}}'.encode(), "f" * 64, ("fee",))


@given(ids=st.lists(IDS, unique_by=lambda key: (type(key), key), max_size=60), size=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_every_answer_is_found_and_memory_holds_no_more_than_the_open_segment_and_some(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int | str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "REMEMBERED", 3)
        found = Answers(folder)
        for segment, start in enumerate(range(0, len(ids), size)):
            part = [(key, item(str(start + at))) for at, key in enumerate(ids[start : start + size])]
            for key, answer in part:
                found.add(key, answer)
            assert len(found) <= size + 3
            found.rotated()
            write_answers(part, folder, segment)
            found.exported()
            found.merge()
            assert len(found) <= 3
        again = Answers(folder)
        assert len(numbered(folder / ANSWERS)) <= 2 + len(ids).bit_length()
        for at, key in enumerate(ids):
            assert found.get(key) == item(str(at))
            assert again.get(key) == item(str(at))
            other = str(key) if isinstance(key, int) else None
            if other is not None and other not in ids:
                assert found.get(other) is None, "the number 5 is not the text 5"


def test_the_newest_of_two_answers_is_found_after_files_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "REMEMBERED", 0)
    found = Answers(tmp_path)
    for segment in range(9):
        found.add(5, item(str(segment)))
        found.rotated()
        write_answers([(5, item(str(segment))), (f"other {segment}", item("x"))], tmp_path, segment)
        found.exported()
        found.merge()
        for source in (found, Answers(tmp_path)):
            source.fetch([])  # what was fetched before is not asked again
            assert source.get(5) == item(str(segment))
            source.fetch([5, "other 0"])
            assert (source.get(5), source.get("other 0")) == (item(str(segment)), item("x"))
    assert sum(map(verify_answers, numbered(tmp_path / ANSWERS).values())) == 18


def test_without_a_folder_only_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "REMEMBERED", 3)
    found = Answers()
    for key in range(10):
        found.add(key, item(str(key)))
    assert [found.get(key) is not None for key in range(10)] == [False] * 7 + [True] * 3


def test_what_stands_in_no_file_yet_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "REMEMBERED", 3)
    found = Answers(tmp_path)
    for key in range(10):
        found.add(key, item(str(key)))
    assert all(found.get(key) is not None for key in range(10))


def test_a_damaged_file_is_refused_and_a_removed_one_sets_the_horizon(tmp_path: Path) -> None:
    write_answers([(1, item("a"))], tmp_path, 1)
    write_answers([(2, item("b"))], tmp_path, 2)
    found = Answers(tmp_path)
    path_of(tmp_path, 1).unlink()
    assert found.get(1) is None
    assert found.get(2) == item("b")
    path_of(tmp_path, 2).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="not what was written"):
        Answers(tmp_path)


def test_only_the_owner_reads_answers(tmp_path: Path) -> None:
    write_answers([(1, item("a"))], tmp_path, 1)
    assert path_of(tmp_path, 1).stat().st_mode & 0o077 == 0


def test_no_bit_of_an_answer_can_change_unnoticed(tmp_path: Path) -> None:
    ids: list[int | str] = [1, 2, "1"]
    rows = [(key, item(str(at))) for at, key in enumerate(ids)]
    write_answers(rows, tmp_path, 1)
    path = path_of(tmp_path, 1)
    content = path.read_bytes()

    def one_by_one() -> list[Answered | None]:
        found = Answers(tmp_path)
        return [found.get(key) for key, _ in rows]

    def at_once() -> list[Answered | None]:
        found = Answers(tmp_path)
        found.fetch(ids)
        return [found.get(key) for key in ids]

    assert one_by_one() == at_once() == [answer for _, answer in rows]
    for at in range(0, len(content), 9):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        with pytest.raises(BundleError, match="not what was written") as raised:
            Answers(tmp_path)
        assert str(path) in raised.value.message
        with pytest.raises(BundleError, match="not what was written"):
            verify_answers(path)


def test_a_change_of_an_open_file_is_found_when_its_row_is_used(tmp_path: Path) -> None:
    write_answers([(1, item("a")), (2, item("b"))], tmp_path, 1)
    found, path = Answers(tmp_path), path_of(tmp_path, 1)
    changed = pl.read_parquet(path).with_columns(answer=pl.lit('{"answer":"c"}'))
    changed.write_parquet(path)
    with pytest.raises(BundleError, match="not what was written"):
        found.get(1)
    with pytest.raises(BundleError, match="not what was written"):
        found.fetch([2])


def test_answers_of_earlier_versions_are_read(tmp_path: Path) -> None:
    write_answers([(1, item("a"))], tmp_path, 1)
    path = path_of(tmp_path, 1)
    old = path.with_name("000000000002.parquet")
    pl.read_parquet(path).drop("digest").write_parquet(old)
    path.unlink()
    assert Answers(tmp_path).get(1) == item("a")
    assert verify_answers(old) == 1
