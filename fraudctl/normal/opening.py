"""Files of one kind as one lazy frame in the normal form: each by its own schema, then held against the others.

Files whose times mean different things (instants in one, local times in another) are brought to instants before they
are joined; columns that are null throughout one file take the type of the others. What else differs is refused.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import polars as pl

from fraudctl.disk import stores
from fraudctl.disk.unreadable import Dialect, too_wide, why_not_csv
from fraudctl.errors import DataError
from fraudctl.normal import files, lake, nested, times
from fraudctl.normal.form import Form
from fraudctl.text.plain import looks_like_value, shown

if TYPE_CHECKING:
    from fraudctl.project.reading import CsvSection

_T = TypeVar("_T")
_RENAMED: Final = re.compile(r"_duplicated_\d+$")
"""What Polars adds to the second column of a name."""
_SOURCE: Final = "\ufdd0file"
_opened: dict[str, Dialect] = {}


def opened(names: Sequence[str], form: Form) -> pl.LazyFrame:
    """Return the files of one table as one frame in the normal form of ``form``.

    Raises
    ------
    DataError
        Files of several kinds, columns that do not fit together, values that the declared notation does not read.
    """
    if any(map(stores.is_address, names)):
        return _from_store(names, form)
    kinds = {files.kind_of(name) or "parquet" for name in names}
    if len(kinds) > 1:
        words = " and partly ".join(sorted(files.words_of(kind) for kind in kinds))
        msg = f"{len(names)} files are partly {words}"
        raise DataError(msg, hint="name files of one format at a time")
    kind = kinds.pop()
    place = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    if kind == "csv":
        frame = form.applied(_csv(names, form), untyped=True, place=place)
    elif kind == "jsonl":
        frame = form.applied(nested.flat(_json_lines(names)), untyped=False, place=place)
    elif kind in {"delta", "iceberg"}:
        frame = form.applied(nested.flat(_lake(names, form)), untyped=False, place=lake.words(names[0]))
    else:
        frame = form.applied(nested.flat(_parquet(names, form)), untyped=False, place=place)
    return form.numbered(frame)


def _from_store(names: Sequence[str], form: Form) -> pl.LazyFrame:
    """Open copies of objects as files of this machine; errors name the objects."""
    copies = [str(path) for path in stores.fetched(names)]
    try:
        return opened(copies, form)
    except DataError as error:
        raise DataError(stores.with_addresses(error.message, names), hint=error.hint) from error


def dialect_of(name: str) -> Dialect:
    """Return the dialect that a CSV file was last opened with, for messages."""
    return _opened.get(name, Dialect("\t" if _is_tsv(name) else ",", "utf-8"))


def _is_tsv(name: str) -> bool:
    return ".tsv" in [suffix.lower() for suffix in Path(name).suffixes]


# Parquet


def _parquet(names: Sequence[str], form: Form) -> pl.LazyFrame:
    """Open Parquet files; decimals that are too wide to be computed with are left out."""
    hive = _hive_schema(names)
    groups = _by_schema(names)
    if len(groups) == 1:
        return _narrow(_scan_parquet(names, hive))
    schemas = [schema for schema, _ in groups]
    agreed = _agreed(schemas)
    if agreed is None:
        return _narrow(_scan_parquet(names, hive))  # refused where it is read, with the file and the column
    parts = [_narrow(_scan_parquet(members, hive)).with_columns(_alike(schema, agreed, form.timezone))
             for schema, members in groups]  # fmt: skip
    first = parts[0].collect_schema().names()
    return pl.concat([part.select(first) for part in parts])


def _scan_parquet(names: Sequence[str], hive: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    if not hive:
        return pl.scan_parquet(list(names), hive_partitioning=False)
    return pl.scan_parquet(list(names), hive_partitioning=True, hive_schema=dict(hive))


def _narrow(frame: pl.LazyFrame) -> pl.LazyFrame:
    wide = too_wide(frame.collect_schema())
    return frame.drop(wide) if wide else frame


def too_wide_columns(names: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the columns of Parquet files that are left out, with their types."""
    schema = _scan_parquet(names[:1], _hive_schema(names[:1])).collect_schema()
    return {name: schema[name] for name in too_wide(schema)}


def _by_schema(names: Sequence[str]) -> list[tuple[pl.Schema, list[str]]]:
    """Group Parquet files by the types of their columns, whatever their order."""
    if len(names) == 1 or any("://" in name for name in names):
        return [(pl.Schema(), list(names))]
    found: dict[frozenset[tuple[str, pl.DataType]], tuple[pl.Schema, list[str]]] = {}
    for name in names:
        try:
            about = _columns_of(name)
        except (pl.exceptions.PolarsError, OSError):
            return [(pl.Schema(), list(names))]  # explained where it is read
        found.setdefault(about.kinds, (about.schema, []))[1].append(name)
    return list(found.values())


class _Columns(NamedTuple):
    """Columns of a Parquet file, in their order and in none."""

    schema: pl.Schema
    kinds: frozenset[tuple[str, pl.DataType]]

    @classmethod
    def of(cls, schema: pl.Schema) -> _Columns:
        kinds = frozenset(schema.items())
        return cls(schema, _kinds.setdefault(kinds, kinds))


class FileStamp(NamedTuple):
    """A file, and what the system says of it: any ordinary change of its content alters one of these."""

    name: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, name: str) -> FileStamp:
        """Return that of a file of this machine."""
        found = os.stat(name)  # noqa: PTH116 - of thousands of files, a Path takes most of the time
        return cls(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


_columns: dict[FileStamp, _Columns] = {}
_heights: dict[FileStamp, int] = {}
_kinds: dict[frozenset[tuple[str, pl.DataType]], frozenset[tuple[str, pl.DataType]]] = {}
"""Each set of columns once: what is one object is compared at once."""
_MOST_FOOTERS: Final = 65_536
"""Files whose footers are remembered; what does not fit is read again."""


def _columns_of(name: str) -> _Columns:
    """Read the columns of a Parquet file; of one that has not changed, once in a process."""
    stamp = FileStamp.of(name)
    found = _columns.get(stamp)
    if found is None:
        found = _Columns.of(pl.Schema(pl.read_parquet_schema(name)))
        _remembered(_columns)[stamp] = found
    return found


def height_of(name: str) -> int:
    """Return the number of rows of a Parquet file of this machine."""
    stamp = FileStamp.of(name)
    found = _heights.get(stamp)
    if found is None:
        found = int(pl.scan_parquet(name, hive_partitioning=False).select(pl.len()).collect().item())
        _remembered(_heights)[stamp] = found
    return found


def _remembered(found: dict[FileStamp, _T]) -> dict[FileStamp, _T]:
    """Return what is remembered, emptied where it is full."""
    if len(found) >= _MOST_FOOTERS:
        found.clear()
    return found


class FileFooter(NamedTuple):
    """What a Parquet file says of itself: its columns and types in their order, and its rows, when it had a stamp."""

    stamp: FileStamp
    schema: pl.Schema
    height: int


def footer_of(name: str) -> FileFooter | None:
    """Return the footer of a Parquet file of this machine; None where the file changes while it is read."""
    stamp = FileStamp.of(name)
    found = FileFooter(stamp, _columns_of(name).schema, height_of(name))
    return found if FileStamp.of(name) == stamp else None


def remember_footers(stamps: Sequence[FileStamp], heights: Sequence[int], schema: pl.Schema) -> None:
    """Take as known what the footers of Parquet files of one schema said when the files had these stamps."""
    columns = _Columns.of(schema)
    for stamp, height in zip(stamps, heights, strict=True):
        _remembered(_columns)[stamp] = columns
        _remembered(_heights)[stamp] = height


def alike(names: Sequence[str]) -> bool:
    """Return whether Parquet files of this machine have the same columns and types, and their folders make none."""
    if files.partitions(list(names)):
        return False
    try:
        return len({_columns_of(name).kinds for name in names}) == 1
    except (pl.exceptions.PolarsError, OSError):
        return False  # explained where they are read


def _agreed(schemas: Sequence[pl.Schema]) -> dict[str, pl.DataType] | None:
    """Return the types that columns of different files can be brought to without loss; None where they cannot."""
    if any(set(schema) != set(schemas[0]) for schema in schemas):
        return None
    out = {}
    for name in schemas[0]:
        kinds = list(dict.fromkeys(schema[name] for schema in schemas if schema[name] != pl.Null))
        if len(kinds) <= 1:
            out[name] = kinds[0] if kinds else pl.Null()
        elif all(isinstance(kind, pl.Datetime) for kind in kinds):
            zoned = any(kind.time_zone is not None for kind in kinds if isinstance(kind, pl.Datetime))
            out[name] = pl.Datetime("us", "UTC" if zoned else None)
        else:
            return None
    return out


def _alike(schema: pl.Schema, agreed: Mapping[str, pl.DataType], timezone: str) -> list[pl.Expr]:
    """Return the expressions that bring the columns of one file to the agreed types."""
    out = []
    for name, kind in agreed.items():
        if schema[name] == kind:
            continue
        if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
            out.append(pl.col(name).map_batches(
                lambda values: times.utc(values, timezone=timezone, role="time"), return_dtype=kind))  # fmt: skip
        else:
            out.append(pl.col(name).cast(kind))
    return out


def _hive_schema(names: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the types of the columns that folders named ``key=value`` make; codes with leading zeros are text."""
    found = files.partitions(list(names))
    return {key: _partition_kind([value for value in values if value is not None]) for key, values in found.items()}


def _partition_kind(values: Collection[str]) -> pl.DataType:
    if values and all(re.fullmatch(r"-?(?:0|[1-9][0-9]{0,17})", value) for value in values):
        return pl.Int64()
    dates = pl.Series(sorted(set(values)), dtype=pl.String)
    if values and dates.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$").all():
        return pl.Date() if not dates.str.to_date("%Y-%m-%d", strict=False).null_count() else pl.String()
    return pl.String()


# CSV


def _csv(names: Sequence[str], form: Form) -> pl.LazyFrame:
    """Open CSV files with every column as text, and the columns of their folders."""
    csv = None if form.reading is None else form.reading.csv
    parts: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        dialect = _dialect(name, csv)
        _opened[name] = dialect
        columns = _scan_csv([name], dialect).collect_schema().names()
        if not columns:
            msg = f"{name}: the file is empty; expected the names of the columns in its first row"
            raise DataError(msg, hint="leave the file out")
        if len(columns) == 1 and (reason := why_not_csv([name], dialect=dialect, beside=names)):
            raise DataError(reason.what, hint=reason.hint)
        parts.setdefault((dialect.separator, *columns), []).append(name)
    for key, members in parts.items():
        _require_header(key[1:], members)
        _refuse_repeated(key[1:], members[0], key[0])
    headers = [key[1:] for key in parts]
    _refuse_differing(headers, list(parts.values()))
    frames = [_with_folders(members, csv).select(_sorted_columns(headers[0], names)) for members in parts.values()]
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _sorted_columns(header: Sequence[str], names: Sequence[str]) -> list[str]:
    return [*header, *(key for key in files.partitions(list(names)) if key not in header)]


def _dialect(name: str, csv: CsvSection | None) -> Dialect:
    separator = csv.separator if csv is not None and csv.separator is not None else ("\t" if _is_tsv(name) else ",")
    return Dialect(separator, "utf-8" if csv is None else csv.encoding, '"' if csv is None else csv.quote)


def _scan_csv(names: Sequence[str], dialect: Dialect, **more: str) -> pl.LazyFrame:
    quote = dialect.quote or None
    if dialect.encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}:
        return pl.scan_csv(
            list(names), infer_schema=False, separator=dialect.separator, quote_char=quote, raise_if_empty=False,
            null_values="", **more,  # type: ignore[arg-type]
        )  # fmt: skip
    frames = []
    for name in names:
        text = files.unpacked(name).decode(dialect.encoding)
        frame = pl.read_csv(
            io.BytesIO(text.encode()), infer_schema=False, separator=dialect.separator, quote_char=quote,
            raise_if_empty=False, null_values="",
        )  # fmt: skip
        key = more.get("include_file_paths")
        frames.append(frame if key is None else frame.with_columns(pl.lit(name).alias(key)))
    return pl.concat(frames).lazy()


def _with_folders(members: Sequence[str], csv: CsvSection | None) -> pl.LazyFrame:
    found = files.partitions(list(members))
    dialect = _dialect(members[0], csv)
    if not found:
        return _scan_csv(members, dialect)
    frame = _scan_csv(members, dialect, include_file_paths=_SOURCE)
    keys = [
        pl.col(_SOURCE).replace_strict(dict(zip(members, values, strict=True)), return_dtype=pl.String).alias(key)
        for key, values in found.items()
    ]
    return frame.with_columns(keys).drop(_SOURCE)


def _require_header(columns: Sequence[str], members: Sequence[str]) -> None:
    """Refuse CSV whose first row is data: its values would pass for names, and be shown as such."""
    odd = sum(map(looks_like_value, columns))
    if odd >= 2 or 3 * odd > len(columns):
        place = members[0] if len(members) == 1 else f"{members[0]} and {len(members) - 1} more"
        msg = f"{place}: {odd} of {len(columns)} column names look like values"
        raise DataError(msg, hint="write the names of the columns into the first row of every file")


def _refuse_repeated(columns: Sequence[str], file: str, separator: str) -> None:
    """Refuse CSV whose header names a column twice: which of the two is meant cannot be known."""
    if not any(_RENAMED.search(name) for name in columns):
        return
    dialect = _opened.get(file, Dialect(separator, "utf-8"))
    head = files.head_of(file, 1 << 20).decode(dialect.encoding, "replace")
    header = next(csv.reader(io.StringIO(head), delimiter=separator, quotechar=dialect.quote or None))
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        msg = f"{file}: the header names {', '.join(map(shown, repeated))} more than once"
        raise DataError(msg, hint="give each column a name of its own")


def _refuse_differing(headers: Sequence[Sequence[str]], members: Sequence[Sequence[str]]) -> None:
    first = set(headers[0])
    for header, group in zip(headers[1:], members[1:], strict=True):
        missing, more = sorted(first - set(header)), sorted(set(header) - first)
        if missing or more:
            which = f"no column {shown(missing[0])}, which" if missing else f"a column {shown(more[0])}, which not"
            msg = f"{group[0]}: has {which} {members[0][0]} has"
            raise DataError(msg, hint="write the files with one schema, or name those that fit")


# JSON lines, Delta and Iceberg tables


def _json_lines(names: Sequence[str]) -> pl.LazyFrame:
    """Open JSON lines: columns that are absent in some rows or files are null there; a file may be without rows."""
    names = [name for name in names if not _no_lines(name)] or _refuse_no_lines(names)
    parts = [pl.scan_ndjson(name, infer_schema_length=None) for name in names]
    frame = parts[0] if len(parts) == 1 else pl.concat(parts, how="diagonal_relaxed")
    found = files.partitions(list(names))
    if not found:
        return frame
    frames = [part.with_columns([pl.lit(values[i], pl.String).alias(key) for key, values in found.items()])
              for i, part in enumerate(parts)]  # fmt: skip
    return pl.concat(frames, how="diagonal_relaxed")


def _no_lines(name: str) -> bool:
    """Return whether a file of JSON lines has no line: a day without events."""
    return not name.lower().endswith(".zst") and "://" not in name and not files.head_of(name, 1 << 12).strip()


def _refuse_no_lines(names: Sequence[str]) -> Sequence[str]:
    place = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    msg = f"{place}: there is no line; expected a JSON object in each"
    raise DataError(msg, hint="an export without rows says nothing of its columns: leave it out")


def _lake(names: Sequence[str], form: Form) -> pl.LazyFrame:
    """Open versions of Delta or Iceberg tables: their logs say which rows of their files are there."""
    if form.event_id is not None and form.event_id.row_number:
        msg = f"{lake.words(names[0])}: its rows have no order, and cannot be numbered"
        raise DataError(msg, hint="name the column that names each event once: [data] event_id")
    frames = [lake.opened(name) for name in names]
    return frames[0] if len(frames) == 1 else pl.concat(frames)
