"""Answers are found however long ago they were given, in bounded memory, and kept apart from the numbers' text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.errors import BundleError
from fraudctl.scoring import answers
from fraudctl.scoring.answers import Answered, Answers, answers_path, write_answers

IDS = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.text(max_size=6))


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
            assert len(found) <= 3
        again = Answers(folder)
        for at, key in enumerate(ids):
            assert found.get(key) == item(str(at))
            assert again.get(key) == item(str(at))
            other = str(key) if isinstance(key, int) else None
            if other is not None and other not in ids:
                assert found.get(other) is None, "the number 5 is not the text 5"


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
    answers_path(tmp_path, 1).unlink()
    assert found.get(1) is None
    assert found.get(2) == item("b")
    answers_path(tmp_path, 2).write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="cannot be read"):
        Answers(tmp_path)


def test_only_the_owner_reads_answers(tmp_path: Path) -> None:
    write_answers([(1, item("a"))], tmp_path, 1)
    assert answers_path(tmp_path, 1).stat().st_mode & 0o077 == 0
