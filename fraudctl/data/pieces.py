"""Pieces of the files of a table, read one after the other, and what was made of each, kept until its file changes.

Owns the way to read a table of many Parquet files with bounded memory, and a folder of what was made of single
pieces. A piece is known by what the system says of its file; what changed within `prints.RACY_NS` before it was read is
not kept, as a later change could carry the same time. What was kept is verified before it is used, and made again where
it is damaged or gone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraudctl.data import tables
from fraudctl.disk import kept as vouched
from fraudctl.disk import stores
from fraudctl.disk.files import whole_file
from fraudctl.disk.prints import RACY_NS, state_of
from fraudctl.normal import files as finding
from fraudctl.normal import lake, opening
from fraudctl.normal.form import Form

ROWS: Final = 250_000
"""Rows of a piece at most."""


@dataclass(frozen=True)
class FilePiece:
    """Some rows of one file.

    Attributes
    ----------
    file
        Where they are.
    start, height
        Number of the first row, from 0, and of rows.
    state
        Digest of what the system says of the file and of where the piece lies in it; None where the file changed so
        lately that a later change could go unseen.
    """

    file: str
    start: int
    height: int
    state: str | None

    def read(self, columns: Sequence[str], *, form: Form | None = None) -> pl.DataFrame:
        """Read columns of the piece in the normal form of its table."""
        chosen = tables.scan([self.file], form=form).select(columns).slice(self.start, self.height)
        return tables.collect(chosen, files=[self.file])

    def parts(self, rows: int) -> list[FilePiece]:
        """Return the piece in smaller ones of at most ``rows`` rows, which are not kept."""
        stop = self.start + self.height
        return [FilePiece(self.file, at, min(rows, stop - at), None) for at in range(self.start, stop, rows)]


def pieces_of(files: Sequence[str], *, now_ns: int, rows: int = ROWS) -> list[FilePiece] | None:
    """Return the pieces of Parquet files in their order; None for files that are only read together.

    These are objects of a store, versions of a table, other formats, files whose columns or types differ, and folders
    ``key=value`` that make columns.

    Parameters
    ----------
    now_ns
        Nanoseconds since 1970, taken before the files are read.
    """
    plain = not any(stores.is_address(name) or "://" in name or lake.is_lake(name) for name in files)
    if not plain or {finding.kind_of(name) for name in files} != {"parquet"} or not opening.alike(files):
        return None
    found = []
    for name in files:
        state = _settled(Path(name), now_ns)
        n_rows = opening.height_of(name)
        for start in range(0, n_rows, rows):
            own = None if state is None else digest(state, start, rows)
            found.append(FilePiece(name, start, min(rows, n_rows - start), own))
    return found


def _settled(path: Path, now_ns: int) -> str | None:
    state = state_of(path)
    return None if max(state["modified"], state["changed"]) >= now_ns - RACY_NS else digest(str(path.absolute()), state)


def digest(*about: Any) -> str:
    """Return 32 hex of the SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def mapped(path: Path) -> pl.DataFrame:
    """Return the table of an Arrow file as it lies on disk: what is not looked at takes no memory."""
    import pyarrow as pa

    found = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
    assert isinstance(found, pl.DataFrame)  # noqa: S101 - of a table, it is one
    return found


@functools.cache
def code_digest() -> str:
    """Return 16 hex of the SHA-256 of the source of this package: what other code made is made again.

    The versions of Polars and NumPy are part of it: hashes of ids are theirs, and are compared between pieces.
    """
    root = Path(__file__).parents[1]
    found = hashlib.sha256(f"{pl.__version__} {np.__version__}".encode())
    for path in sorted(root.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


class KeptPieces:
    """Tables that were made of pieces, by name; whatever was not used since the folder was opened can be removed.

    Parameters
    ----------
    folder
        Where they lie, in a folder of its own for the source of this package.
    now_ns
        Nanoseconds since 1970, taken before any file is read.
    """

    def __init__(self, folder: Path, *, now_ns: int) -> None:
        self.folder, self.now_ns = folder / code_digest(), now_ns
        self._used: set[str] = set()

    def path(self, name: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{name}.arrow"

    def read(self, name: str) -> tuple[pl.DataFrame, Mapping[str, Any]] | None:
        """Return a table, mapped and not copied, and the facts about it; None where it is not as it was written."""
        try:
            facts = vouched.verified(self.path(name))
            if facts is None:
                return None
            found = mapped(self.path(name))
        except (vouched.DamagedError, OSError):
            return None
        self._used.add(name)
        return found, facts

    def write(self, name: str, frame: pl.DataFrame, facts: Mapping[str, Any]) -> bool:
        """Keep a table with facts about it; False where there is no room for it."""

        def write(path: Path) -> None:
            with whole_file(path, durable=False) as temporary:
                frame.write_ipc(temporary, compression="uncompressed")

        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            vouched.keep(self.path(name), write=write, facts=lambda: facts)
            self._used.add(name)
            return True
        return False

    def sweep(self) -> None:
        """Remove the tables that were neither read nor written, and those of other versions."""
        with contextlib.suppress(OSError):
            for path in [*self.folder.parent.glob("*/*.arrow"), *self.folder.parent.glob("*/*.json")]:
                if path.parent != self.folder or path.stem not in self._used:
                    path.unlink(missing_ok=True)
            for folder in self.folder.parent.iterdir():
                if folder != self.folder:
                    folder.rmdir()
