"""Iceberg tables in object stores: their files are copies of objects, fetched once, and read by `pyiceberg` alone.

Every file that a table names (metadata, manifests, data, positions of deleted rows) is an object that `stores` fetches
under the ETag that was listed. What the reader of this version does not tell apart truly is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StaticTable

from fraudctl.disk import stores
from fraudctl.errors import DataError

if TYPE_CHECKING:
    from pyiceberg.table import DataScan


class StoredFiles(FileIO):
    """Gives copies of objects for the addresses in a table; writes and deletes nothing."""

    def new_input(self, location: str) -> InputFile:
        """Return the copy of an object.

        Raises
        ------
        DataError
            The address is in no object store; the object is gone, was replaced, or cannot be fetched.
        """
        if not stores.is_address(location):
            msg = f"{location}: a table in an object store names a file that is in none"
            raise DataError(msg, hint="write a plain copy of the table to the store, and read that")
        return PyArrowFileIO().new_input(str(stores.local(location)))

    def new_output(self, location: str) -> OutputFile:
        """Refuse to write: tables are only read."""
        raise NotImplementedError(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Refuse to delete: tables are only read."""
        raise NotImplementedError(location)


def table_at(address: str) -> StaticTable:
    """Return the table that a metadata file in a store describes."""
    files = StoredFiles()
    metadata = FromInputFile.table_metadata(files.new_input(address))
    return StaticTable(("static-table", address), metadata, address, files, NoopCatalog("static-table"))


def frame_of(table: StaticTable, snapshot_id: int | None) -> pl.LazyFrame:
    """Return the rows of a snapshot, None for a table without one; files are fetched when rows are first asked for.

    A column that is asked for alone is read alone, and batch after batch.
    """
    schema = table.scan(snapshot_id=snapshot_id).projection()
    columns: Any = schema_to_pyarrow(schema, include_field_ids=False)
    kinds = pl.Schema(columns)

    def batches(
        asked: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = kinds.names() if asked is None else asked
        for frame in _read(table.scan(snapshot_id=snapshot_id, selected_fields=tuple(wanted))):
            part = frame.select(pl.col(name).cast(kinds[name]) for name in wanted)
            if n_rows is not None:
                part, n_rows = part.head(n_rows), n_rows - min(n_rows, part.height)
            yield part if predicate is None else part.filter(predicate)

    source: Any = batches
    return pl.io.plugins.register_io_source(source, schema=kinds, is_pure=True)


def _read(scan: DataScan) -> Iterator[pl.DataFrame]:
    """Return the rows of a scan, in batches; its files are fetched first, some at a time."""
    files = {file.file_path for task in scan.plan_files() for file in (task.file, *task.delete_files)}
    stores.fetched(sorted(files))
    for batch in scan.to_arrow_batch_reader():
        yield pl.DataFrame(batch)
