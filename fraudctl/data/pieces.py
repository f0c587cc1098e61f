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
from collections.abc import Callable, Mapping, Sequence
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
from fraudctl.errors import DataError
from fraudctl.normal import files as finding
from fraudctl.normal import lake, opening
from fraudctl.normal.form import Form

ROWS: Final = 250_000
"""Rows of a piece at most."""
_FOOTERS: Final = "footers"
_FOOTER_SCHEMA: Final = {
    "name": pl.String(), **dict.fromkeys(opening.FileStamp._fields[1:], pl.UInt64()), "height": pl.Int64(),
    "schema": pl.String(),
}  # fmt: skip
"""A row for each file; ``schema`` names the kept table, without rows, that has its columns and types."""


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
    content
        Digest of what changes with the content of the file; None where nobody has looked.
    """

    file: str
    start: int
    height: int
    state: str | None
    content: str | None = None

    def read(self, columns: Sequence[str], *, form: Form | None = None) -> pl.DataFrame:
        """Read columns of the piece in the normal form of its table.

        Raises
        ------
        DataError
            The file cannot be read, or changed since its pieces were counted.
        """
        chosen = tables.scan([self.file], form=form).select(columns).slice(self.start, self.height)
        found = tables.collect(chosen, files=[self.file])
        if self.content is not None and _content_of(state_of(Path(self.file))) != self.content:
            msg = f"{self.file}: changed while the run was under way"
            raise DataError(
                msg, hint="run again when nothing writes the file; a new one is best renamed into its place"
            )
        return found

    def parts(self, rows: int) -> list[FilePiece]:
        """Return the piece in smaller ones of at most ``rows`` rows, which are not kept."""
        stop = self.start + self.height
        return [
            FilePiece(self.file, at, min(rows, stop - at), None, self.content) for at in range(self.start, stop, rows)
        ]


def pieces_of(files: Sequence[str], kept: KeptPieces, *, rows: int = ROWS) -> list[FilePiece] | None:
    """Return the pieces of Parquet files in their order; None for files that are only read together.

    These are objects of a store, versions of a table, other formats, files whose columns or types differ, and folders
    ``key=value`` that make columns.

    Parameters
    ----------
    kept
        Of earlier runs: a footer that was read before is not read again, and those of these files are kept.
    """
    kept.know_footers()
    plain = not any(stores.is_address(name) or "://" in name or lake.is_lake(name) for name in files)
    if not plain or {finding.kind_of(name) for name in files} != {"parquet"} or not opening.alike(files):
        return None
    found = []
    states = {name: state_of(Path(name)) for name in files}
    settled = {name: _settled(Path(name), state, kept.now_ns) for name, state in states.items()}
    kept.note_footers([name for name, state in settled.items() if state is not None])
    for name, state in settled.items():
        n_rows, content = opening.height_of(name), _content_of(states[name])
        for start in range(0, n_rows, rows):
            own = None if state is None else digest(state, start, rows)
            found.append(FilePiece(name, start, min(rows, n_rows - start), own, content))
    return found


def _settled(path: Path, state: Mapping[str, int], now_ns: int) -> str | None:
    return None if max(state["modified"], state["changed"]) >= now_ns - RACY_NS else digest(str(path.absolute()), state)


def _content_of(state: Mapping[str, int]) -> str:
    return digest([state[name] for name in ("size", "inode", "device", "modified")])


def digest(*about: Any) -> str:
    """Return 32 hex of the SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def mapped(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the table of an Arrow file as it lies on disk: what is not looked at takes no memory.

    Parameters
    ----------
    columns
        The columns that are wanted, of which those that there are come in this order; None for all.
    """
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    chosen = table if columns is None else table.select([name for name in columns if name in table.column_names])
    found = pl.from_arrow(chosen, rechunk=False)
    assert isinstance(found, pl.DataFrame)  # noqa: S101 - of a table, it is one
    return found


def _in_arrow(schema: pl.Schema) -> bool:
    """Return whether columns come back from Arrow as they were: it has no integers of 128 bits."""
    import pyarrow as pa

    with contextlib.suppress(pa.lib.ArrowException):
        return pl.DataFrame(pl.DataFrame(schema=schema).to_arrow()).schema == schema
    return False


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
        self._known: frozenset[opening.FileStamp] | None = None
        self._noted: dict[opening.FileStamp, tuple[str, int]] = {}
        self._schemas: dict[str, pl.Schema] = {}

    def path(self, name: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{name}.arrow"

    def read(self, name: str) -> tuple[pl.DataFrame, Mapping[str, Any]] | None:
        """Return a table, mapped and not copied, and the facts about it; None where it is not as it was written."""
        path = self.path(name)
        with contextlib.suppress(OSError):
            before = path.stat()
            facts = self.facts(name)
            found = None if facts is None else (mapped(path), facts)
            after = path.stat()  # another run may have written the table anew since it was verified
            return found if (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns) else None
        return None

    def facts(self, name: str) -> Mapping[str, Any] | None:
        """Return the facts about a table after verifying all of it; None where it is not as it was written."""
        try:
            found = vouched.verified(self.path(name))
        except (vouched.DamagedError, OSError):
            return None
        if found is not None:
            self._used.add(name)
        return found

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

    def know_footers(self) -> None:
        """Take as known what footers said in the run before, of files that have not changed."""
        if self._known is not None:
            return
        found, known = self.read(_FOOTERS), list[opening.FileStamp]()
        for part in [] if found is None else found[0].partition_by("schema", maintain_order=True):
            schema = self.read(part["schema"][0])
            if schema is not None:
                stamps = [opening.FileStamp(*row) for row in part.select(opening.FileStamp._fields).iter_rows()]
                opening.remember_footers(stamps, part["height"].to_list(), schema[0].schema)
                known += stamps
        self._known = frozenset(known)

    def note_footers(self, files: Sequence[str]) -> None:
        """Keep with the next `sweep` what the footers of Parquet files say that have not changed lately."""
        names: dict[int, tuple[pl.Schema, str]] = {}
        for file in files:
            footer = opening.footer_of(file)
            if footer is None:
                continue
            schema = footer.schema
            if id(schema) not in names:  # the schema is held: its id is that of no other one
                names[id(schema)] = schema, f"schema-{digest([[key, str(kind)] for key, kind in schema.items()])}"
            name = names[id(schema)][1]
            self._schemas[name] = schema
            self._noted[footer.stamp] = name, footer.height

    def _write_footers(self) -> None:
        """Write what was noted, unless it was known before; types that no Arrow file holds are not kept."""
        whole = {name for name, kinds in self._schemas.items() if _in_arrow(kinds) and self._has_schema(name, kinds)}
        rows = [(*stamp, height, name) for stamp, (name, height) in self._noted.items() if name in whole]
        if frozenset(opening.FileStamp(*row[:-2]) for row in rows) != self._known:
            self.write(_FOOTERS, pl.DataFrame(rows, schema=_FOOTER_SCHEMA, orient="row"), {})

    def _has_schema(self, name: str, schema: pl.Schema) -> bool:
        """Return whether a table without rows is kept that has the columns; keep it where it is not."""
        found = self.read(name)
        return self.write(name, pl.DataFrame(schema=schema), {}) if found is None else found[0].schema == schema

    def sweep(self, alone: Callable[[], bool] = lambda: True) -> None:
        """Keep what footers said; remove the tables that were neither read nor written, and those of other versions.

        Parameters
        ----------
        alone
            Whether nobody else uses the folder: what another run reads is not removed.
        """
        self._write_footers()
        if not alone():
            return
        with contextlib.suppress(OSError):
            for path in [*self.folder.parent.glob("*/*.arrow"), *self.folder.parent.glob("*/*.json")]:
                if path.parent != self.folder or path.stem not in self._used:
                    path.unlink(missing_ok=True)
            for folder in self.folder.parent.iterdir():
                if folder != self.folder:
                    folder.rmdir()
