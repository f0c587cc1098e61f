"""Delta and Iceberg tables: which version is read, which of its rows are there, and what is refused.

Files of such a table hold rows that were deleted or replaced since; only its log says which rows are there. A table is
known by an address with its version, ``delta:///data/events#12`` or ``iceberg:///data/events/metadata/3.json#77``, so
that whatever reads it, and its fingerprint, mean the same rows. The newest version is looked up once and holds until
`begin`, which loading a project file calls: one command reads one version, whatever is written meanwhile.

Owns no data: Polars reads the files, `deltalake` and `pyiceberg` (extra ``lake``) the logs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import numpy as np
import polars as pl

from fraudctl.disk import stores
from fraudctl.errors import DataError

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyiceberg.table import StaticTable
    from pyiceberg.table.snapshots import Snapshot

    from fraudctl.arrays import IntArray

AsOf = int | datetime
"""A version: the number of a Delta commit, the id of an Iceberg snapshot, or an instant: what held then."""
_Version = tuple[Callable[[], pl.LazyFrame], pl.Schema, list[str]]
"""What opens the files of a version, its columns, and what else its fingerprint is taken of."""
DELTA: Final = "delta://"
ICEBERG: Final = "iceberg://"
_METADATA: Final = ".metadata.json"
_HINT: Final = "install the extra: pip install 'fraudctl[lake]'"
_EMPTY: Final = "empty"
"""Version of an Iceberg table that was made and never written to."""
_READABLE: Final = frozenset({"deletionVectors", "timestampNtz", "variantType", "variantType-preview"})
"""Features of Delta that change what a reader has to do, and that are read."""
_MAPPED: Final = 2
"""Version of Delta's reader protocol that stands for renamed and dropped columns."""
_FILE: Final = "\ufdd0file"
_ROW: Final = "\ufdd0row"
_NUMBER: Final = re.compile(r"v?(\d+)")


def begin() -> None:
    """Look up the newest version of tables from now on: what was found before holds no longer."""
    _pinned.cache_clear()
    _opened.cache_clear()


def is_lake(name: str) -> bool:
    """Return whether a name of a file is the address of a Delta or Iceberg table.

    >>> is_lake("delta:///data/events#12"), is_lake("/data/events.parquet")
    (True, False)
    """
    return name.startswith((DELTA, ICEBERG))


def version_of(name: str) -> str:
    """Return the version that an address names.

    >>> version_of("delta:///data/events#12")
    '12'
    """
    return name.rpartition("#")[2]


def words(name: str) -> str:
    """Return what messages call a table.

    >>> words("delta:///data/events#12")
    '/data/events (Delta, version 12)'
    """
    title, word = ("Delta", "version") if name.startswith(DELTA) else ("Iceberg", "snapshot")
    return f"{_place(name)} ({title}, {word} {version_of(name)})"


def _place(name: str) -> str:
    return name.partition("://")[2].rpartition("#")[0]


def lake_of(path: Path, *, as_of: AsOf | None = None) -> str | None:
    """Return the address of the Delta or Iceberg table at a path; None where there is none.

    Parameters
    ----------
    path
        Folder of a table, or a metadata file of Iceberg.
    as_of
        Version that is read; by default the newest one.

    Raises
    ------
    DataError
        The extra is not installed; the table is damaged, has no such version, or nothing says which is the newest.
    """
    if path.name.endswith(_METADATA) and path.is_file():
        return _pinned(ICEBERG, str(path.absolute()), as_of)
    if not path.is_dir():
        return None
    if (path / "_delta_log").is_dir():
        return _pinned(DELTA, str(path.absolute()), as_of)
    if any((path / "metadata").glob(f"*{_METADATA}")):
        return _pinned(ICEBERG, str(_newest_metadata(path.absolute())), as_of)
    return None


def lake_in_store(address: str, objects: Collection[str], *, as_of: AsOf | None = None) -> str | None:
    """Return what `lake_of` does for an address of an object store, below which these objects are."""
    if address.endswith(_METADATA) and address in objects:
        return _pinned(ICEBERG, address, as_of)
    if any(item.startswith(f"{address}/_delta_log/") for item in objects):
        return _pinned(DELTA, address, as_of)
    folder = f"{address}/metadata/"
    names = [item.removeprefix(folder) for item in objects if item.startswith(folder) and item.endswith(_METADATA)]
    if not any("/" not in name for name in names):
        return None
    hint = stores.read(f"{folder}version-hint.text") if f"{folder}version-hint.text" in objects else None
    said = None if hint is None else hint[0].decode("utf-8", errors="replace")
    newest = _newest_of([name for name in names if "/" not in name], said, address)
    return _pinned(ICEBERG, f"{folder}{newest}", as_of)


def kind_at(path: Path) -> str | None:
    """Return whether a folder is a "Delta" or an "Iceberg" table, without a look into it; None where it is neither."""
    if (path / "_delta_log").is_dir():
        return "Delta"
    return "Iceberg" if any((path / "metadata").glob(f"*{_METADATA}")) else None


@functools.lru_cache(maxsize=256)
def _pinned(scheme: str, place: str, as_of: AsOf | None) -> str:
    if scheme == DELTA:
        return f"{DELTA}{place}#{_delta_version(place, as_of)}"
    return f"{ICEBERG}{place}#{_iceberg_version(place, as_of)}"


def opened(name: str) -> pl.LazyFrame:
    """Open the version of a table that an address names.

    Raises
    ------
    DataError
        The extra is not installed; the table is damaged, or uses something that cannot be read without bringing back
        rows that were deleted.
    """
    return _opened(name)[0]()


def fingerprint(name: str) -> str:
    """Return a SHA-256 of which rows an address names: the id, version, schema and files of the table.

    Files of such a table are never changed, so their names, sizes and deletion vectors stand for their bytes. The place
    of the table does not matter.
    """
    return _opened(name)[1]


@functools.lru_cache(maxsize=64)
def _opened(name: str) -> tuple[Callable[[], pl.LazyFrame], str]:
    """Return what opens the files of a version, and its fingerprint, for which only the log is read."""
    make, schema, facts = _open_delta(name) if name.startswith(DELTA) else _open_iceberg(name)
    text = "\n".join([name.partition("://")[0], version_of(name), str(dict(schema)), *facts])
    return make, hashlib.sha256(text.encode()).hexdigest()


def _module(module: str, place: str, title: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        msg = f"{place} is {_a(title)} table, and {module.partition('.')[0]} is not installed"
        raise DataError(msg, hint=_HINT) from error


def _a(title: str) -> str:
    return f"an {title}" if title[0] in "AEIOU" else f"a {title}"


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise a DataError for what the readers of logs raise, whose texts may hold values and are not shown."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except BaseException as error:
        if not _of_a_reader(error):
            raise
        msg = f"{what}: its log cannot be read ({type(error).__name__})"
        hint = "the table may be damaged, moved, or vacuumed past this version; open it with the tool that writes it"
        raise DataError(msg, hint=hint) from error


def _of_a_reader(error: BaseException) -> bool:
    if type(error).__name__ == "PanicException":  # of deltalake, for folders with brackets in their names
        return True
    names = ("deltalake", "_internal", "pyiceberg", "polars", "pydantic")
    return isinstance(error, (OSError, ValueError)) or type(error).__module__.startswith(names)


# Delta


def _delta(place: str, version: int | None = None) -> DeltaTable:
    options = stores.options_of(place) if stores.is_address(place) else None
    table: DeltaTable = _module("deltalake", place, "Delta").DeltaTable(place, version=version, storage_options=options)
    return table


def _delta_version(place: str, as_of: AsOf | None) -> int:
    what = f"{place} (Delta)"
    with _explained(what):
        newest = _delta(place)
        last = newest.version()
    if as_of is None:
        return last
    if isinstance(as_of, int):
        if not 0 <= as_of <= last:
            raise _no_version(what, f"no version {as_of}", f"it has 0 to {last}")
        with _explained(f"{place} (Delta, version {as_of})"):
            return _delta(place, as_of).version()
    with _explained(what):
        commits = [(item.get("timestamp"), item["version"]) for item in newest.history()]
    times = {version: time for time, version in commits if time is not None}
    if len(times) < len(commits):
        msg = f"{what}: its log does not say when versions were written"
        raise DataError(msg, hint=f"give table_as_of the number of a version, at most {last}")
    found = [version for version, time in times.items() if time <= as_of.timestamp() * 1000]
    if not found:
        first = datetime.fromtimestamp(min(times.values()) / 1000, UTC)
        raise _no_version(what, f"no version as old as {as_of.isoformat()}", f"the first is of {first.isoformat()}")
    return int(max(found))


def _no_version(what: str, missing: str, there: str) -> DataError:
    return DataError(
        f"{what} has {missing}; {there}", hint="correct table_as_of, or leave it out for the newest version"
    )


def _open_delta(name: str) -> _Version:
    what = words(name)
    with _explained(what):
        table = _delta(_place(name), int(version_of(name)))
        protocol = table.protocol()
        _refuse_features(what, protocol.min_reader_version, set(protocol.reader_features or ()))
        schema = pl.scan_delta(table).collect_schema()
        files = _delta_files(table, _place(name))
        removed = _removed_rows(table, files, what)
        facts = [f"{file} {size}" for file, size in sorted(zip(files["file"], files["size_bytes"], strict=True))]
        gone = [f"{file} {hashlib.sha256(rows.tobytes()).hexdigest()}" for file, rows in sorted(removed.items())]
        return partial(_delta_frame, files, removed, schema), schema, [str(table.metadata().id), *facts, *gone]


def _delta_files(table: DeltaTable, place: str) -> pl.DataFrame:
    """Return the files of a version: ``file`` (below the table), ``path``, ``size_bytes`` and ``partition``.

    Addresses are not asked of the library: it escapes the folder of the table in them, which then is not found.
    """
    added = pl.DataFrame(table.get_add_actions())
    partition = pl.col("partition") if "partition" in added.columns else pl.lit(None).alias("partition")
    file = pl.col("path").map_elements(unquote, return_dtype=pl.String)
    path = pl.when(file.str.contains("^[a-z]+://")).then(file).otherwise(pl.lit(f"{place}/") + file)
    return added.select(file.alias("file"), path.alias("path"), "size_bytes", partition)


def _removed_rows(table: DeltaTable, files: pl.DataFrame, what: str) -> dict[str, IntArray]:
    """Return the numbers of the rows of each file that a deletion vector removes, by the name of the file."""
    found, root = pl.DataFrame(table.deletion_vectors()), table.table_uri.rstrip("/") + "/"
    pairs = zip(found["filepath"], found["selection_vector"], strict=True)
    removed = {unquote(path.removeprefix(root)): np.flatnonzero(~kept.to_numpy()) for path, kept in pairs}
    if not removed.keys() <= set(files["file"]):
        msg = f"{what}: rows are deleted from files that its log does not name so; they would come back"
        raise DataError(msg, hint="write a plain copy of the table, such as CREATE TABLE ... AS SELECT, and read that")
    return removed


def _delta_frame(files: pl.DataFrame, removed: Mapping[str, IntArray], schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of files that are not removed, with the columns of the table as it is in this version."""
    kind = files.schema["partition"]
    keys = [field.name for field in kind.fields if field.name in schema] if isinstance(kind, pl.Struct) else []
    inside = pl.Schema({name: kind for name, kind in schema.items() if name not in keys})
    if files.height and stores.is_address(files["path"][0]):
        copies = [str(path) for path in stores.fetched(files["path"].to_list())]
        files = files.with_columns(pl.Series("path", copies, dtype=pl.String))
    parts = [pl.LazyFrame(schema=schema)]
    whole = files.filter(~pl.col("file").is_in(list(removed)))
    if whole.height:
        frame = _scan(whole["path"].to_list(), inside, include_file_paths=_FILE)
        values = [
            pl.col(_FILE)
            .replace_strict(whole["path"], whole["partition"].struct.field(key).cast(schema[key]))
            .alias(key)
            for key in keys
        ]
        parts.append(frame.with_columns(values).select(schema.names()))
    for row in files.filter(pl.col("file").is_in(list(removed))).iter_rows(named=True):
        gone = pl.LazyFrame({_ROW: pl.Series(removed[row["file"]], dtype=pl.UInt32)})
        frame = _scan([row["path"]], inside, row_index_name=_ROW).join(gone, on=_ROW, how="anti")
        values = [pl.lit(row["partition"][key]).cast(schema[key]).alias(key) for key in keys]
        parts.append(frame.with_columns(values).select(schema.names()))
    return parts[1] if len(parts) == 2 else pl.concat(parts)


def _scan(paths: list[str], schema: pl.Schema, **more: str) -> pl.LazyFrame:
    """Open files of a table whose columns may have been added and widened since they were written."""
    casts = pl.ScanCastOptions(
        integer_cast="upcast", float_cast="upcast", datetime_cast=["nanosecond-downcast", "convert-timezone"],
        missing_struct_fields="insert", extra_struct_fields="ignore",
    )  # fmt: skip
    return pl.scan_parquet(
        paths, schema=schema, glob=False, hive_partitioning=False, missing_columns="insert", extra_columns="ignore",
        cast_options=casts, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _refuse_features(what: str, reader: int, features: set[str]) -> None:
    """Refuse what changes the meaning of files and is not read: above all renamed and dropped columns."""
    unread = sorted(features - _READABLE) or (["columnMapping"] if reader == _MAPPED else [])
    if unread:
        msg = f"{what}: uses {', '.join(unread)}, which this reader does not know"
        raise DataError(msg, hint="write a plain copy of the table, such as CREATE TABLE ... AS SELECT, and read that")


# Iceberg


def _newest_metadata(path: Path) -> Path:
    """Return the metadata file that says what the table in a folder is now."""
    folder, said = path / "metadata", None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        said = (folder / "version-hint.text").read_text()
    return folder / _newest_of([item.name for item in folder.glob(f"*{_METADATA}")], said, str(path))


def _newest_of(names: Sequence[str], said: str | None, place: str) -> str:
    """Return the metadata file that says what a table is now: by the text of the hint, else that of the highest number.

    Raises
    ------
    DataError
        Nothing says which it is.
    """
    said = "" if said is None else said.strip()
    named = [name for name in names if name in {said, f"v{said}{_METADATA}", f"{said}{_METADATA}"}]
    if len(named) == 1:
        return named[0]
    numbers = {name: int(number[1]) if (number := _NUMBER.match(name)) else -1 for name in names}
    highest = max(numbers.values())
    newest = sorted(name for name, number in numbers.items() if number == highest)
    if len(newest) > 1 or highest < 0:
        msg = f"{place} (Iceberg): nothing says which is the newest of {', '.join(newest)}"
        raise DataError(msg, hint="name the metadata file that the catalog points to, instead of the folder")
    return newest[0]


def _iceberg(place: str) -> StaticTable:
    module = _module("pyiceberg.table", place, "Iceberg")
    if stores.is_address(place):
        from fraudctl.normal.iceberg_objects import table_at

        return table_at(place)
    table: StaticTable = module.StaticTable.from_metadata(place)
    return table


def _iceberg_version(place: str, as_of: AsOf | None) -> str:
    what = f"{place} (Iceberg)"
    with _explained(what):
        table = _iceberg(place)
        if as_of is None:
            current = table.current_snapshot()
            return _EMPTY if current is None else str(current.snapshot_id)
        if isinstance(as_of, int):
            found = table.snapshot_by_id(as_of)
        else:
            found = table.snapshot_as_of_timestamp(int(as_of.timestamp() * 1000))
        n_snapshots = len(table.metadata.snapshots)
    if found is None:
        asked = as_of if isinstance(as_of, int) else f"as old as {as_of.isoformat()}"
        raise _no_version(what, f"no snapshot {asked}", f"{n_snapshots} are kept")
    return str(found.snapshot_id)


def _open_iceberg(name: str) -> _Version:
    version, what = version_of(name), words(name)
    with _explained(what):
        table = _iceberg(_place(name))
        if version == _EMPTY:
            frame = _iceberg_frame(table, None)
            return frame, frame().collect_schema(), [str(table.metadata.table_uuid)]
        snapshot = table.snapshot_by_id(int(version))
        if snapshot is None:
            msg = f"{what}: there is no such snapshot"
            raise DataError(msg, hint="it may have expired; name another one")
        _refuse_deletes(what, table, snapshot)
        current = table.current_snapshot()
        newest = current is not None and current.snapshot_id == snapshot.snapshot_id
        frame = _iceberg_frame(table, None if newest else snapshot.snapshot_id)
        return frame, frame().collect_schema(), [str(table.metadata.table_uuid)]


def _iceberg_frame(table: StaticTable, snapshot_id: int | None) -> Callable[[], pl.LazyFrame]:
    """Return what opens the rows of a snapshot; None stands for the present one."""
    if stores.is_address(table.metadata_location):
        from fraudctl.normal.iceberg_objects import frame_of

        return frame_of(table, snapshot_id).lazy
    return pl.scan_iceberg(table, snapshot_id=snapshot_id).lazy


def _refuse_deletes(what: str, table: StaticTable, snapshot: Snapshot) -> None:
    """Refuse deletes that readers of files do not apply, or not surely: such rows would come back."""
    from pyiceberg.manifest import DataFileContent, FileFormat, ManifestContent

    hint = "compact the table first (rewrite_data_files), and read it then"
    for manifest in snapshot.manifests(table.io):
        if manifest.content != ManifestContent.DELETES:
            continue
        for entry in manifest.fetch_manifest_entry(table.io):
            if entry.data_file.content == DataFileContent.EQUALITY_DELETES:
                msg = f"{what}: rows are deleted by value (equality deletes), which this reader does not know"
                raise DataError(msg, hint=hint)
            vector = entry.data_file.file_format == FileFormat.PUFFIN
            if vector and stores.is_address(table.metadata_location):
                msg = f"{what}: rows are deleted by vectors in Puffin files, which are not read from object stores"
                raise DataError(msg, hint=f"{hint}; or copy the table to a folder")
