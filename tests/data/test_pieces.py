"""What is kept of files from run to run: what their footers say, and that ids of pieces are distinct."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudctl.data.kept_keys import distinct_keys
from fraudctl.data.pieces import FilePiece, KeptPieces, pieces_of
from fraudctl.disk import kept as vouched
from fraudctl.disk.files import in_use
from fraudctl.errors import DataError
from fraudctl.normal import opening

LATER = 10**19
"""An instant at which every file has been there for long."""


class Runs:
    """Runs one after the other, each of a process that remembers nothing; which footers each reads is noted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.read, self._patch = folder, list[str](), monkeypatch
        own = pl.read_parquet_schema

        def noted(name: str) -> object:
            self.read.append(Path(name).name)
            return own(name)

        monkeypatch.setattr(pl, "read_parquet_schema", noted)

    def pieces(self, meanwhile: Callable[[], object] = lambda: None) -> list[FilePiece] | None:
        """Return the pieces; ``meanwhile`` happens before the end of the run."""
        self._patch.setattr(opening, "_columns", {})
        self._patch.setattr(opening, "_heights", {})
        self.read.clear()
        kept = KeptPieces(self.folder / "kept", now_ns=LATER)
        found = pieces_of(sorted(map(str, self.folder.glob("*.parquet"))), kept)
        meanwhile()
        kept.sweep()
        return found


def write(path: Path, n: int, **more: object) -> None:
    """Write a file; its time of writing differs from that of every other."""
    pl.DataFrame({"x": range(n), **{name: [value] * n for name, value in more.items()}}).write_parquet(path)
    os.utime(path, ns=(n * 10**9, n * 10**9))


def test_a_footer_is_read_again_only_where_its_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n in (("a", 3), ("b", 5)):
        write(tmp_path / f"{name}.parquet", n, kind=pl.Series(["u"], dtype=pl.Enum(["u"]))[0])
    runs = Runs(tmp_path, monkeypatch)
    first = runs.pieces()
    assert sorted(runs.read) == ["a.parquet", "b.parquet"]
    assert runs.pieces() == first
    assert runs.read == []
    write(tmp_path / "c.parquet", 7, kind="u")
    third = runs.pieces()
    assert runs.read == ["c.parquet"]
    assert first is not None
    assert third is not None
    assert [piece.height for piece in third] == [3, 5, 7]
    assert third[:2] == first
    write(tmp_path / "a.parquet", 4, kind="u")
    changed = runs.pieces()
    assert runs.read == ["a.parquet"]
    assert changed is not None
    assert [piece.height for piece in changed] == [4, 5, 7]


@pytest.mark.parametrize("now", [{"more": 1.0}, {"kind": "u", "more": "text"}, None])
def test_a_file_that_changes_or_goes_during_a_run_is_not_taken_for_what_it_was(
    now: dict[str, object] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, beside = tmp_path / "b.parquet", tmp_path / "a.parquet"
    write(beside, 3)
    write(place, 5)
    runs = Runs(tmp_path, monkeypatch)
    assert runs.pieces(place.unlink if now is None else lambda: write(place, 9, **now)) is not None
    found = runs.pieces()
    assert (None if found is None else [piece.height for piece in found]) == ([3] if now is None else None)
    write(place, 11)
    again = runs.pieces()
    assert again is not None
    assert [piece.height for piece in again] == [3, 11]


def test_files_that_differ_have_no_pieces_whatever_was_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", 3)
    runs = Runs(tmp_path, monkeypatch)
    assert runs.pieces() is not None
    write(tmp_path / "b.parquet", 5, more=1.0)
    assert runs.pieces() is None


@pytest.mark.parametrize("part", ["footers", "schema"])
def test_footers_whose_table_is_damaged_are_read(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.parquet", 3)
    runs = Runs(tmp_path, monkeypatch)
    first = runs.pieces()
    for path in (tmp_path / "kept").rglob(f"{part}*.arrow"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    assert runs.pieces() == first
    assert runs.read == ["a.parquet"]
    assert runs.pieces() == first
    assert runs.read == []


def test_types_that_no_arrow_file_holds_are_read_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"x": pl.Series([1], dtype=pl.Int128)}).write_parquet(tmp_path / "a.parquet")
    runs = Runs(tmp_path, monkeypatch)
    first = runs.pieces()
    assert first is not None
    assert runs.pieces() == first
    assert runs.read == ["a.parquet"]


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("how", ["shrinks", "replaced", "gone", "touched"])
def test_a_file_that_changes_during_a_run_is_refused(small: bool, how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, 9)
    (found,) = pieces_of([str(path)], KeptPieces(tmp_path / "kept", now_ns=LATER)) or []
    piece = found.parts(4)[1] if small else found
    assert piece.read(["x"])["x"].to_list() == list(range(9))[piece.start : piece.start + piece.height]
    if how == "gone":
        path.unlink()
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        write(tmp_path / "b.parquet", 7 if how == "shrinks" else 9)
        (tmp_path / "b.parquet").replace(path)
    with pytest.raises(DataError, match="cannot be read" if how == "gone" else "a.parquet: changed while the run was"):
        piece.read(["x"])


def test_nothing_is_removed_while_another_run_uses_it(tmp_path: Path) -> None:
    frame, other = pl.DataFrame({"x": [1]}), KeptPieces(tmp_path / "kept", now_ns=LATER)
    with in_use(tmp_path):
        assert other.write("a", frame, {})
        with in_use(tmp_path) as alone:
            KeptPieces(tmp_path / "kept", now_ns=LATER).sweep(alone)
        assert other.read("a") is not None
    with in_use(tmp_path) as alone:
        KeptPieces(tmp_path / "kept", now_ns=LATER).sweep(alone)
    assert other.read("a") is None


def test_a_table_that_is_written_anew_while_it_is_verified_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, own = KeptPieces(tmp_path, now_ns=LATER), vouched.verified
    kept.write("a", pl.DataFrame({"x": [1]}), {"sum": 1})

    def verified(path: Path) -> object:
        found = own(path)
        kept.write("a", pl.DataFrame({"x": [2]}), {"sum": 2})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(vouched, "verified", verified)
        assert kept.read("a") is None
    found = kept.read("a")
    assert found is not None
    assert (found[0]["x"].to_list(), found[1]["sum"]) == ([2], 2)


PIECE = st.lists(st.integers(0, 400), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdefgh-"), PIECE), max_size=8), min_size=1, max_size=5))
def test_distinct_keys_are_those_of_all_pieces(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[str, list[int]]]]
) -> None:
    folder, contents = tmp_path_factory.mktemp("kept"), dict[str, list[int]]()
    for run in runs:
        kept = KeptPieces(folder, now_ns=0)
        pieces = {}
        for at, (name, keys) in enumerate(run):
            own = keys if name == "-" else contents.setdefault(name, keys)  # a name has the same keys in every run
            pieces[f"-{at}" if name == "-" else name] = np.array(own, dtype=np.uint64)
        every = np.concatenate([np.zeros(0, np.uint64), *pieces.values()])
        found = distinct_keys({name: keys.copy for name, keys in pieces.items()}, kept, "keys")
        assert found == (len(np.unique(every)) == len(every))
        kept.sweep()
