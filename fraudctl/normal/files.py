"""The files of a table: which are taken, which are left out and named, of what kind each is.

In a folder, or behind a glob, what begins with a dot or an underscore is left out, as writers of tables mean it
(``_temporary``, ``.ipynb_checkpoints``, ``_SUCCESS``). A file of a kind that cannot be read is left out too. Both are
named by `Found.left_out`. Folders of Delta and Iceberg tables are no plain Parquet.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal
from urllib.parse import unquote

from fraudctl.disk import stores
from fraudctl.errors import DataError
from fraudctl.normal import lake

Kind = Literal["parquet", "csv", "jsonl", "delta", "iceberg"]
_SUFFIXES: Final[dict[str, Kind]] = {
    ".parquet": "parquet", ".parq": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
_PACKED: Final = frozenset({".gz", ".zst"})
_WORDS: Final = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON lines", "delta": "Delta", "iceberg": "Iceberg"}
_SIDE: Final = frozenset({".crc", ".md", ".html", ".pdf"})
NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Found:
    """Files of one table, sorted, and what was left out of a folder or glob, relative to it."""

    files: list[str]
    left_out: tuple[str, ...] = ()


def kind_of(name: str) -> Kind | None:
    """Return the kind of a file by its first bytes, else by its name; None where it is of no kind that can be read."""
    if lake.is_lake(name):
        return "delta" if name.startswith(lake.DELTA) else "iceberg"
    if "://" not in name and os.path.isfile(name):  # noqa: PTH113 - of thousands of files, a Path takes most of the time
        with open(name, "rb", buffering=0) as file:  # noqa: PTH123
            if file.read(4) == b"PAR1":
                return "parquet"
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    found = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    return found if found is not None else _worn(suffixes)


def _worn(suffixes: list[str]) -> Kind | None:
    """Return the kind of a name such as ``part.csv.2024``, whose last suffix says nothing."""
    known = [_SUFFIXES[suffix] for suffix in suffixes if suffix in _SUFFIXES]
    return known[-1] if known else None


def words_of(kind: Kind | None) -> str:
    """Return what a kind is called."""
    return "Parquet" if kind is None else _WORDS[kind]


def find(text: str, *, root: Path, what: str, as_of: lake.AsOf | None = None) -> Found:
    """Return the files behind a path, glob or folder; a URL is passed on as it is.

    Parameters
    ----------
    as_of
        Version of a Delta or Iceberg table that is read; by default the newest one.

    Raises
    ------
    DataError
        There is none; the files are of several kinds; a version was asked for, and it is no table that has any.
    """
    path = root / text
    if "://" not in text and (table := lake.lake_of(path, as_of=as_of)) is not None:
        return Found([table])
    if stores.is_address(text):
        return _in_store(text, what, as_of)
    if as_of is not None and not lake.is_lake(text):
        raise _no_table(text)
    if "://" in text:
        return Found([text])
    if path.is_file():
        return Found([str(path)])
    if path.is_dir():
        found = _sorted_out(path, (item for item in path.rglob("*") if item.is_file()), pattern="")
    elif any(sign in text for sign in "*?["):
        base = Path(path.anchor)
        pattern = str(path.relative_to(base))
        fixed = Path(*_until_sign(path))
        found = _sorted_out(fixed, (item for item in base.glob(pattern) if item.is_file()), pattern=text)
    else:
        found = Found([])
    if not found.files:
        kind = "no Parquet, CSV or JSON lines file in the folder" if path.is_dir() else "no such file"
        msg = f"{kind}: {path}"
        raise DataError(msg, hint=f"{what} takes a file, a glob or a folder, relative to {root}")
    return found


def _no_table(text: str) -> DataError:
    return DataError(
        f"{text}: is neither a Delta nor an Iceberg table, and has no version that table_as_of could name",
        hint="leave table_as_of out, or name the folder of a table",
    )


def _in_store(address: str, what: str, as_of: lake.AsOf | None) -> Found:
    """Return the objects behind an address, sorted out as files of a folder are; or the version of the table there."""
    objects = stores.found(address)
    folder = address.rstrip("/")
    table = lake.lake_in_store(folder, {item.address for item in objects}, as_of=as_of)
    if table is not None:
        return Found([table])
    if as_of is not None:
        raise _no_table(address)
    if len(objects) == 1 and objects[0].address == address:
        return Found([address])
    fixed = address.rstrip("/") + "/"
    if any(sign in address for sign in "*?["):
        fixed = "/".join(_until(address.split("/"))) + "/"
    inner = {item.address: PurePosixPath(item.address.removeprefix(fixed)) for item in objects if item.size}
    for path in inner.values():
        if "_delta_log" in path.parts or path.name.endswith(".metadata.json"):
            kind = "Delta" if "_delta_log" in path.parts else "Iceberg"
            msg = f"{address}: holds files of a table of {kind}, with rows that were deleted or replaced since"
            raise DataError(msg, hint="name the folder of the table itself")
    found = _taken(fixed, inner, pattern=address)
    if not found.files:
        msg = f"no Parquet, CSV or JSON lines object at {address}"
        raise DataError(msg, hint=f"{what} takes the address of an object, a glob or a folder")
    return found


def _taken(fixed: str, inner: Mapping[str, PurePosixPath], *, pattern: str) -> Found:
    """Part objects into those that are read and those that are left out, by their names."""
    hidden = {
        name: any(part[0] in "._" and f"/{part[0]}" not in f"/{pattern}" for part in path.parts)
        for name, path in inner.items()
    }
    taken = [name for name in inner if not hidden[name] and kind_of(name) is not None]
    left = [str(path) for name, path in inner.items() if name not in taken and path.suffix.lower() not in _SIDE]
    _refuse_kinds(fixed, map(kind_of, taken))
    return Found(taken, tuple(left))


def _until(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if any(sign in part for sign in "*?["):
            return
        yield part


def _until_sign(path: Path) -> Iterator[str]:
    for part in path.parts:
        if any(sign in part for sign in "*?["):
            return
        yield part


def _sorted_out(folder: Path, items: Iterator[Path], *, pattern: str) -> Found:
    taken: dict[str, Kind] = {}
    left: list[str] = []
    plain: set[tuple[str, ...]] = set()
    depth = len(folder.parts)
    for item in sorted(items, key=lambda path: path.parts):
        inner, name = item.parts[depth:], str(item)
        if inner[:-1] not in plain:
            _refuse_tables(folder, inner[:-1])
            plain.add(inner[:-1])
        hidden = any(part[0] in "._" and f"/{part[0]}" not in f"/{pattern}" for part in inner)
        kind = None if hidden else kind_of(name)
        if kind is not None:
            taken[name] = kind
        elif item.stat().st_size and item.suffix.lower() not in _SIDE:  # _SUCCESS and the like are empty
            left.append("/".join(inner))
    _refuse_kinds(str(folder), taken.values())
    return Found(list(taken), tuple(left))


def _refuse_tables(folder: Path, inner: tuple[str, ...]) -> None:
    """Raise a DataError where a folder, or one between it and ``inner``, is a Delta or Iceberg table."""
    for n in range(len(inner), -1, -1):
        parent = folder.joinpath(*inner[:n])
        if lake.kind_at(parent) is not None:
            _refuse_inside(parent)


def _refuse_kinds(folder: str, taken: Iterable[Kind | None]) -> None:
    kinds = [words_of(kind) for kind in taken]
    if len(set(kinds)) > 1:
        counts = ", ".join(f"{kinds.count(word)} {word}" for word in sorted(set(kinds)))
        msg = f"{folder}: files of several kinds: {counts}"
        raise DataError(msg, hint="name files of one kind, by a glob such as *.parquet")


def _refuse_inside(folder: Path) -> None:
    msg = f"{folder} is a {lake.kind_at(folder)} table: its files hold rows that were deleted or replaced since"
    raise DataError(msg, hint="name the folder of the table itself")


def partitions(names: list[str]) -> dict[str, list[str | None]]:
    """Return the columns that folders named ``key=value`` make: key -> value of each file."""
    found = [_keys(name) for name in names]
    keys = list(dict.fromkeys(key for item in found for key in item))
    return {key: [item.get(key) for item in found] for key in keys}


def _keys(name: str) -> dict[str, str | None]:
    if "=" not in name:
        return {}
    parts = [part.partition("=") for part in Path(name).parts[:-1] if "=" in part]
    return {key: None if value == NULL_PARTITION else unquote(value) for key, _, value in parts if key}


def head_of(name: str, size: int) -> bytes:
    """Return the first bytes of a file, decompressed where it is gzip; none where it is packed otherwise."""
    with Path(name).open("rb") as file:
        start = file.read(2)
    if start == b"\x1f\x8b":
        with gzip.open(name) as packed:
            return packed.read(size)
    if name.lower().endswith(".zst"):
        return b""
    with Path(name).open("rb") as file:
        return file.read(size)


def unpacked(name: str) -> bytes:
    """Return the bytes of a file, decompressed where its name says gzip."""
    data = Path(name).read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
