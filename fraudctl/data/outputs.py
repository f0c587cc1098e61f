"""Files that fraudctl writes for its users: whole or not at all, never over a file that is read.

`files` knows how a file is written so that nothing is lost; here are what may be written where, and the formats.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from fraudctl.data.tables import find_files
from fraudctl.disk import files as disk
from fraudctl.disk import stores
from fraudctl.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from fraudctl.project import Project

ROW_GROUP = 100_000
PAGE_BYTES = 1 << 17
"""Rows per group and bytes per page of a Parquet file: small pages are compressed while the processor holds them."""


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True, mode: int = 0o644) -> Iterator[Path]:
    """Yield a hidden path in the folder of ``path``; it replaces ``path`` if the block succeeds, else it is removed.

    Where ``path`` was made of an address in an object store, the object is written by one request at the end.

    Parameters
    ----------
    durable
        Whether it is flushed to the disk before it has its name; a cache that is verified on reading needs no flush.
    mode
        Permissions of the file.

    Raises
    ------
    UsageError
        The file cannot be written; what was there before is still there.
    """
    address = disk.address_of(path)
    if address is not None and stores.is_address(address):
        with stores.whole_object(address) as temporary:
            yield temporary
        return
    require_writable(path)
    try:
        with disk.whole_file(path, durable=durable, mode=mode) as temporary:
            yield temporary
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} cannot be written: {error.strerror or type(error).__name__}", hint="choose another place"
    )


def require_local(path: Path) -> None:
    """Refuse an address such as ``s3://bucket/x``: as a path it would be a folder called ``s3:`` on this machine.

    Raises
    ------
    UsageError
        The path was made of an address.
    """
    address = disk.address_of(path)
    if address is not None:
        msg = f"{address} is an address; expected a path on this machine"
        raise UsageError(msg, hint="take a local path, and copy what is there from or to the store; or mount the store")


def require_writable(path: Path) -> None:
    """Make the folder of a file that is to be written, and refuse a place where none can be.

    Raises
    ------
    UsageError
        The path is a folder, or its folder cannot be made or written to; or it is an address that is none of an object
        store, or whose store refuses.
    """
    address = disk.address_of(path)
    if address is not None and stores.is_address(address):
        stores.require_reachable(address)
        return
    require_local(path)
    if path.is_dir():
        msg = f"{path} is a folder; expected the path of a file"
        raise UsageError(msg)
    _require_room_for(path)


def _require_room_for(path: Path) -> None:
    """Make the folder that a path is to be in, and refuse one that cannot be made or written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not writable:
        msg = f"{path} cannot be written: its folder is read-only"
        raise UsageError(msg, hint="choose another place")


def require_no_input(path: Path, project: Project | None, *, also: Collection[str] = ()) -> None:
    """Refuse to write over what is read: the events and tables of the project, and files that the command names.

    Raises
    ------
    UsageError
        The path is one of these files, or a folder that holds one.
    """
    address = disk.address_of(path)
    if address is None and not path.exists():
        return
    named: list[tuple[str | tuple[str, ...], Path]] = [(text, Path()) for text in also]
    if project is not None:
        of_project = [project.data.events, *(section.events for section in project.sources.values())]
        named += [(texts, project.root) for texts in of_project]
    read: list[str] = []
    for texts, root in named:
        with contextlib.suppress(DataError):  # reading reports what is missing
            read += find_files(texts, root=root)
    files = [Path(name).resolve() for name in read if address is None and Path(name).is_file()]
    if address in read or any(path.samefile(file) or path.resolve() in file.parents for file in files):
        what = "folder with files that are" if path.is_dir() else "file that is"
        msg = f"{address or path} is a {what} read; writing would replace it"
        raise UsageError(msg, hint="choose another place")


def require_parquet_path(path: Path) -> None:
    """Refuse, before any work is done, a table's path that cannot be written or is not named as Parquet."""
    require_writable(path)
    if path.suffix != ".parquet":
        msg = f"{path}: tables are written as Parquet; expected a name that ends in .parquet"
        raise UsageError(msg)


def write_parquet(frame: pl.DataFrame, path: Path, *, smallest: bool = False, durable: bool = True) -> None:
    """Write a frame as one Parquet file, whole or not at all; ``smallest`` trades time for size."""
    with whole_file(path, durable=durable) as temporary:
        if smallest:
            frame.write_parquet(temporary, compression="zstd", compression_level=19)
            return
        frame.write_parquet(
            temporary, compression="zstd", compression_level=3, row_group_size=ROW_GROUP, data_page_size=PAGE_BYTES
        )


PART = re.compile(r"part-\d{5,}\.parquet")
"""Names of the files of a table that is a folder."""


def require_folder(path: Path) -> None:
    """Refuse, before any work is done, a place where no folder of Parquet files can be written.

    Raises
    ------
    UsageError
        The path is an address or a file, or a folder with anything but such files; or its folder is read-only.
    """
    require_local(path)
    if path.is_file():
        msg = f"{path} is a file; expected the path of a folder: a cluster writes a table as several files"
        raise UsageError(msg, hint="name a folder, or remove the file")
    if path.is_dir() and not all(PART.fullmatch(item.name) for item in path.iterdir()):
        msg = f"{path} is a folder with other files than those of a table; it would be replaced"
        raise UsageError(msg, hint="name a folder that does not exist yet")
    _require_room_for(path)


def publish_folder(prepared: Path, path: Path) -> None:
    """Give a folder of finished files its name; one that is there is replaced, and stays if that fails."""
    try:
        disk.publish_folder(prepared, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_arrow(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as one Arrow file, fast to read again, whole or not at all; it is a cache, and not flushed."""
    with whole_file(path, durable=False) as temporary:
        frame.write_ipc(temporary, compression="uncompressed")


@dataclass(frozen=True)
class Handed:
    """A table or a chunked array of pyarrow, for Polars to take where it lies.

    By this protocol a column of many chunks comes at once, and `pyarrow.compute`, slow to load, is not needed.
    """

    data: pa.Table | pa.ChunkedArray

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream of Arrow's C interface."""
        return self.data.__arrow_c_stream__(requested_schema)


def map_arrow(path: Path) -> pl.DataFrame:
    """Open a file of `write_arrow` where it lies: nothing is copied, and what is not looked at is not read."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        return pl.DataFrame(Handed(pa.ipc.open_file(file).read_all()))


def copy_file(source: Path, path: Path) -> None:
    """Copy a file, whole or not at all."""
    with whole_file(path) as temporary:
        shutil.copyfile(source, temporary)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
