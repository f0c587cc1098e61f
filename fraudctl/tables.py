"""The only place that reads tables.

Owns: finding files, reading Parquet and CSV, giving columns their roles, normalising time to microseconds UTC,
dropping exact duplicates, and fingerprints of data. It refuses what the rest could only misread: a time without
meaning, two rows with one id, labels that are neither 1, 0 nor null.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from fraudctl.distinct import repeats
from fraudctl.errors import DataError
from fraudctl.money import refuse_beyond
from fraudctl.own import outside
from fraudctl.plain import looks_like_value, shown, shown_all
from fraudctl.project import Project
from fraudctl.unreadable import MOST_DIGITS, TROUBLE, Reason, too_wide, why_not_csv, why_not_parquet

if TYPE_CHECKING:
    pass

ROLES = ("event_id", "event_time", "amount", "label", "label_time")
"""Names under which the columns with a role are known everywhere behind this module."""

UTC_US = pl.Datetime("us", "UTC")

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the time of every event of a project without an event_time. It orders nothing and is shown to nobody."""
_ISO_DATE = r"^\s*\d{4}-\d{2}-\d{2}"
"""What a time in text starts with: of other notations nobody can say which number is the day."""
_CSV_SUFFIXES = {".csv", ".tsv", ".gz"}


def moment(value: datetime) -> str | None:
    """Give an instant as ISO 8601, or None where it only stands for a time that the data do not have."""
    return None if value == NO_TIME else value.isoformat()


@dataclass(frozen=True)
class Events:
    """The events of a project, normalised.

    Attributes
    ----------
    frame
        Columns in this order: ``event_id``; ``event_time`` (µs UTC, never null, `NO_TIME` throughout where the data
        have none); ``amount`` (Float64, finite or null;
        only where the project declares one); ``label`` (Int8: 1, 0 or null); ``label_time`` (µs UTC, null where and
        only where ``label`` is); one column per entity under the entity's name; the carried data columns.
        Sorted by ``event_time``, then ``event_id``.
    known_until
        The latest event_time: nothing later is known.
    n_duplicates
        Rows dropped because they repeat another in every column.
    """

    frame: pl.DataFrame
    known_until: datetime
    n_duplicates: int


def find_files(events: str | tuple[str, ...], *, root: Path, what: str = "[data] events") -> list[str]:
    """Give the files behind one or several paths, globs or folders, sorted within each; URLs are passed on as they are.

    Raises
    ------
    DataError
        A path that does not exist, or a glob or folder without a single file.
    """
    found: list[str] = []
    for text in (events,) if isinstance(events, str) else events:
        found.extend([text] if "://" in text else _local_files(text, root, what))
    return found


def _local_files(text: str, root: Path, what: str) -> list[str]:
    path = root / text
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.suffix in {".parquet", ".csv"})
    else:
        base = Path(path.anchor)
        files = sorted(base.glob(str(path.relative_to(base)))) if any(sign in text for sign in "*?[") else []
    if not files:
        kind = "no Parquet or CSV file in the folder" if path.is_dir() else "no such file"
        msg = f"{kind}: {path}"
        raise DataError(msg, hint=f"{what} takes a file, a glob or a folder, relative to {root}")
    return [str(file) for file in files]


def scan(files: Collection[str]) -> pl.LazyFrame:
    """Open Parquet or CSV files as one lazy frame; folders named ``key=value`` become columns.

    Raises
    ------
    DataError
        A file that is not readable as what its name says, files whose columns do not fit together, or a name of a
        column with a NUL character.
    """
    names = list(files)
    with explained(names):
        if len({_is_csv(name) for name in names}) > 1:
            msg = f"{len(names)} files are partly CSV and partly Parquet"
            raise DataError(msg, hint="name files of one format at a time")
        frame = _scan_csv(names) if _is_csv(names[0]) else _scan_parquet(names)
        held = [place for place, name in enumerate(frame.collect_schema(), start=1) if "\0" in name]
    if held:  # such a name ends the process where Arrow hands a table on
        msg = f"{names[0]}: the name of column {held[0]} holds a NUL character"
        raise DataError(msg, hint="rename the column")
    return frame


def _scan_parquet(names: list[str]) -> pl.LazyFrame:
    """Open Parquet files; decimals that are too wide to be computed with are left out, see `require_columns`."""
    frame = pl.scan_parquet(names, hive_partitioning=any("=" in name for name in names))
    wide = too_wide(frame.collect_schema())
    return frame.drop(wide) if wide else frame


def left_out(files: Collection[str]) -> dict[str, pl.DataType]:
    """Return the columns of Parquet files that `scan` leaves out, with their types."""
    names = list(files)
    if _is_csv(names[0]):
        return {}
    with explained(names):
        schema = pl.scan_parquet(names, hive_partitioning=any("=" in name for name in names)).collect_schema()
    return {name: schema[name] for name in too_wide(schema)}


def _separator(names: Sequence[str]) -> str:
    return "\t" if ".tsv" in names[0] else ","


def _scan_csv(names: list[str]) -> pl.LazyFrame:
    """Open CSV files with the types that all their rows have; these are found once, not at every look at a column."""
    separator = _separator(names)
    first = pl.scan_csv(names, try_parse_dates=True, infer_schema_length=None, separator=separator)
    schema = first.collect_schema()
    if len(schema) == 1 and (reason := why_not_csv(names, separator=separator, schema=None)) is not None:
        raise DataError(reason.what, hint=reason.hint)
    _require_header(schema.names(), names)
    _refuse_repeated(schema.names(), names[0], separator)
    times = [name for name, kind in schema.items() if kind.is_temporal()]
    if times:  # Polars reads other notations too, and takes 02/03 for the second of March: these stay text
        texts = pl.scan_csv(names, infer_schema=False, separator=separator).select(times)
        iso = texts.select(pl.all().str.contains(_ISO_DATE).all()).collect().row(0, named=True)
        schema.update({name: pl.String() for name in times if not iso[name] or not _parses(first, name)})
    return pl.scan_csv(names, try_parse_dates=True, schema=schema, separator=separator)


def _parses(frame: pl.LazyFrame, column: str) -> bool:
    """Say whether all texts of a column are the times that they were taken for by the first of them."""
    try:
        frame.select(pl.col(column).null_count()).collect()
    except pl.exceptions.ComputeError:
        return False
    return True


def _require_header(columns: Sequence[str], files: Collection[str]) -> None:
    """Refuse CSV whose first row is data: its values would pass for names, and be shown as such."""
    odd = sum(map(looks_like_value, columns))
    if odd >= 2 or 3 * odd > len(columns):
        msg = f"{place(files)}: {odd} of {len(columns)} column names look like values"
        raise DataError(msg, hint="write the names of the columns into the first row of every file")


_RENAMED = re.compile(r"_duplicated_\d+$")
"""What Polars adds to the second column of a name."""


def _refuse_repeated(columns: Sequence[str], file: str, separator: str) -> None:
    """Refuse CSV whose header names a column twice: which of the two is meant cannot be known."""
    if not any(_RENAMED.search(name) for name in columns):
        return
    header = pl.scan_csv(file, has_header=False, n_rows=1, infer_schema=False, separator=separator).collect().row(0)
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        msg = f"{file}: the header names {', '.join(map(shown, repeated))} more than once"
        raise DataError(msg, hint="give each column a name of its own")


def _is_csv(name: str) -> bool:
    path = Path(name)
    return path.suffix != ".parquet" and bool(_CSV_SUFFIXES & set(path.suffixes))


def collect(frame: pl.LazyFrame, *, files: Collection[str]) -> pl.DataFrame:
    """Collect a lazy frame over ``files``, with trouble in them explained as a DataError."""
    with explained(list(files)):
        return frame.collect()


def read_parquet(path: Path, *, columns: list[str] | None = None) -> pl.DataFrame:
    """Read one Parquet file whole; a missing, damaged or ill-typed file is a DataError."""
    if not path.is_file():
        msg = f"no such file: {path}"
        raise DataError(msg)
    return collect(scan([str(path)]).select(columns if columns is not None else pl.all()), files=[str(path)])


@contextlib.contextmanager
def explained(files: list[str]) -> Iterator[None]:
    """Turn trouble with files into a DataError without Polars' text, which may carry cell values."""
    place = files[0] if len(files) == 1 else f"{len(files)} files such as {files[0]}"
    try:
        yield
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError, OSError) as error:
        kind = type(error).__name__
        if isinstance(error, pl.exceptions.PanicException) and "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        found = _why(files)
        if found is not None:
            raise DataError(found.what, hint=found.hint) from error
        if isinstance(error, (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError)):
            msg = f"{place}: the files do not have the same columns and types ({kind})"
            raise DataError(msg, hint="write them with one schema, or name them one by one") from error
        msg = f"{place}: cannot be read as {'CSV' if _is_csv(files[0]) else 'Parquet'} ({kind})"
        raise DataError(msg, hint="the file may be truncated or of another format; write it again") from error


def _why(files: Sequence[str]) -> Reason | None:
    try:
        if not _is_csv(files[0]):
            return why_not_parquet(files)
        separator = _separator(files)
        try:
            frame = pl.scan_csv(list(files), try_parse_dates=True, infer_schema_length=None, separator=separator)
            schema: pl.Schema | None = frame.collect_schema()
        except TROUBLE:
            schema = None
        return why_not_csv(files, separator=separator, schema=schema)
    except OSError:
        return None


def load_schema(project: Project) -> pl.Schema:
    """Give the columns and types of the project's data files."""
    return scan(find_files(project.data.events, root=project.root)).collect_schema()


def load_events(project: Project, *, columns: Collection[str] = ()) -> Events:
    """Load the project's events with their roles, normalised as `Events` says.

    Parameters
    ----------
    columns
        Data columns to carry along under their own names, beside roles and entities.

    Raises
    ------
    DataError
        Missing or unreadable files, no rows, missing columns, columns of a type that the role cannot have, null ids or
        times, one id with differing rows, labels beyond 1, 0 and null, a label_time before its event_time.
    """
    files = find_files(project.data.events, root=project.root)
    return normalise(scan(files), project=project, files=files, columns=columns)


def normalise(raw: pl.LazyFrame, *, project: Project, files: Collection[str], columns: Collection[str]) -> Events:
    """Give the columns of a raw table their roles; see `load_events`."""
    schema = raw.collect_schema()
    wanted = wanted_columns(project, columns)
    require_columns(wanted, schema, where=place(files))
    frame = collect(raw.select(list(dict.fromkeys(wanted))), files=files)
    if frame.height == 0:
        msg = f"{place(files)}: the table has no rows"
        raise DataError(msg)
    frame, n_duplicates = drop_duplicates(frame, raw, project.data.event_id, files)
    out = in_order(with_roles(frame, project, columns))
    check_label_times(out)
    known_until = out["event_time"][-1]
    return Events(out, known_until, n_duplicates)


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by event_time, then event_id, unless that is the order already."""
    times, ids = frame["event_time"], frame["event_id"]
    if times.is_sorted() and ids.is_sorted():
        return frame
    after = (times > times.shift(1)) | ((times == times.shift(1)) & (ids > ids.shift(1)))
    return frame if after[1:].all() else frame.sort("event_time", "event_id")


def rising(ids: pl.Series) -> bool:
    """Say whether each id is larger than the one before, so that none can be there twice."""
    return bool((ids > ids.shift(1))[1:].all())


def place(files: Collection[str]) -> str:
    """Name one file, or the first of several."""
    names = list(files)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def wanted_columns(project: Project, columns: Collection[str]) -> list[str]:
    """Give the raw columns behind roles, entities and carried columns."""
    data = project.data
    roles = [data.event_id, data.event_time, data.amount, data.label, data.label_time]
    return [name for name in roles if name is not None] + [*project.entities.values(), *map(outside, columns)]


def require_columns(wanted: Collection[str], schema: pl.Schema, *, where: str) -> None:
    """Raise a DataError that names the columns which are not there."""
    missing = sorted(set(wanted) - set(schema))
    if missing:
        msg = f"{where}: no column {', '.join(map(shown, missing))}; the table has {shown_all(schema)}"
        hint = "correct the name in fraudctl.toml, or the file"
        raise DataError(msg, hint=f"{hint}; decimals of more than {MOST_DIGITS} digits are left out: cast them there")


def drop_duplicates(
    frame: pl.DataFrame, raw: pl.LazyFrame, event_id: str, files: Collection[str]
) -> tuple[pl.DataFrame, int]:
    """Drop rows that repeat another in all columns of the file; one id with differing rows is an error."""
    ids = frame[event_id]
    refuse_empty_ids(ids, where=f"column {shown(event_id)}")
    rows = np.empty(0, np.uint32) if rising(ids) else repeats(ids)
    if not len(rows):
        return frame, 0
    again = ids.gather(rows)
    refuse_differing(raw, again.unique(), event_id, files)
    kept = np.ones(frame.height, np.bool_)
    kept[rows[~again.is_first_distinct().to_numpy()]] = False
    return frame.filter(pl.Series(kept)), int(frame.height - kept.sum())


BLANK = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    + "".join(map(chr, range(0x2000, 0x200B)))
    + "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that `str.isspace` counts as space; a text of these alone names nothing."""


def n_empty(ids: pl.Series) -> int:
    """Return how many ids name nothing: null, empty text, text of spaces alone.

    >>> n_empty(pl.Series(["a", "", " ", None]))
    3
    """
    if ids.dtype not in (pl.String, pl.Categorical) and not isinstance(ids.dtype, pl.Enum):
        return ids.null_count()
    text = ids.cast(pl.String)
    odd = text.filter(text.str.head(1).is_in(["", *BLANK]))
    return ids.null_count() + int((odd.str.strip_chars(BLANK) == "").sum())


def refuse_empty_ids(ids: pl.Series, *, where: str) -> None:
    """Raise a DataError where an id names nothing."""
    count = n_empty(ids)
    if count:
        msg = f"{where}: {count} event ids are null or empty; expected every event to have one"
        raise DataError(msg, hint="give each event an id of its own, or leave these rows out")


def refuse_differing(raw: pl.LazyFrame, repeated: pl.Series, event_id: str, files: Collection[str]) -> None:
    """Raise a DataError where rows of one id (of those that ``repeated`` names) differ in any column of the file."""
    rows = collect(raw.filter(pl.col(event_id).cast(repeated.dtype).is_in(repeated.implode())), files=files)
    n_differing = rows.unique()[event_id].is_duplicated().sum()
    if n_differing:
        msg = (
            f"column {shown(event_id)}: {n_differing} rows share their event id with a row that differs from them; "
            "expected one id to name one event"
        )
        raise DataError(msg, hint="choose the column that names each event once, or repair the rows")


def with_roles(frame: pl.DataFrame, project: Project, columns: Collection[str], *, part: bool = False) -> pl.DataFrame:
    """Give the columns of a raw table, or of ``part`` of one, their roles; see `Events`."""
    data = project.data
    event_time = _event_time(frame, project)
    label = to_label(frame[data.label], mapping=data.label_values)
    out = [_to_id(frame[data.event_id]).alias("event_id"), event_time.alias("event_time")]
    if data.amount is not None:
        out.append(to_amount(frame[data.amount], part=part).alias("amount"))
    out += [label.alias("label"), _label_time(frame, project, event_time, label).alias("label_time")]
    out += [to_entity(frame[column]).alias(name) for name, column in project.entities.items()]
    taken = {series.name for series in out}
    out += [_plain(frame[outside(name)]).alias(name) for name in columns if name not in taken]
    return pl.DataFrame(out)


def _event_time(frame: pl.DataFrame, project: Project) -> pl.Series:
    column = project.data.event_time
    if column is None:
        return pl.Series("event_time", [NO_TIME], dtype=UTC_US).new_from_index(0, frame.height)
    times = to_utc(frame[column], timezone=project.data.timezone, role="event_time")
    if times.null_count():
        msg = f"column {shown(column)}: {times.null_count()} times are null; every event needs its time"
        raise DataError(msg)
    return times


def to_utc(times: pl.Series, *, timezone: str, role: str) -> pl.Series:
    """Normalise instants to microseconds UTC; times without a zone are read in ``timezone``.

    A local time that happens twice (when clocks go back) is taken as the earlier; one that never happens is an error.
    """
    dtype = times.dtype
    if dtype == pl.String:
        times = _parse_times(times, role)
    elif dtype == pl.Date:
        times = times.cast(pl.Datetime("us"))
    elif not isinstance(dtype, pl.Datetime):
        msg = f"column {shown(times.name)} ({role}): is {dtype}; expected a timestamp, a date or ISO 8601 text"
        hint = "a row number or a count is no time; convert seconds since 1970 with a timestamp cast when writing"
        raise DataError(msg, hint=hint)
    if isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None:
        return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    local = times.dt.cast_time_unit("us")
    if timezone == "UTC":
        return local.dt.replace_time_zone("UTC")
    zoned = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    lost = zoned.null_count() - local.null_count()
    if lost:
        msg = f"column {shown(times.name)} ({role}): {lost} times do not exist in {timezone} (clocks went forward)"
        raise DataError(msg, hint="are the times in another zone? set [data] timezone")
    return zoned.dt.convert_time_zone("UTC")


def _parse_times(times: pl.Series, role: str) -> pl.Series:
    iso = times.set(~times.str.contains(_ISO_DATE), None)
    try:
        parsed = iso.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.ComputeError:
        parsed = pl.Series(times.name, [None] * len(times), dtype=pl.Datetime("us"))
    lost = parsed.null_count() - times.null_count()
    if lost:
        msg = f"column {shown(times.name)} ({role}): {lost} of {len(times)} texts are not ISO 8601 times"
        raise DataError(
            msg, hint="write them as 2026-01-31 23:59:00, year first, and a zone as +00:00 or Z right behind"
        )
    return parsed


def to_label(values: pl.Series, *, mapping: Mapping[str, int | None]) -> pl.Series:
    """Normalise outcomes to Int8 1, 0 or null, through ``mapping`` (text of the value -> 1, 0, None) where given."""
    if mapping:
        text = _as_text(values)
        unknown = text.filter(text.is_not_null() & ~text.is_in(list(mapping)))
        if len(unknown):
            msg = f"column {shown(values.name)} (label): {len(unknown)} values are not in [data.label_values]"
            raise DataError(msg, hint='map every value to 1, 0 or "unknown"')
        return text.replace_strict(mapping, default=None, return_dtype=pl.Int8)
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        msg = f"column {shown(values.name)} (label): is {values.dtype}; expected 1, 0 or null"
        raise DataError(
            msg, hint='map its values in [data.label_values], such as fraud = 1, legit = 0, open = "unknown"'
        )
    numbers = values if values.dtype.is_integer() else values.cast(pl.Float64).fill_nan(None)
    odd = int(((numbers != 0) & (numbers != 1)).sum())
    if odd:
        msg = f"column {shown(values.name)} (label): {odd} of {len(values)} values are neither 1, 0 nor null"
        raise DataError(msg, hint='map them in [data.label_values], such as 2 = "unknown"')
    return numbers.cast(pl.Int8)


def _as_text(values: pl.Series) -> pl.Series:
    """Give the text of each value; integral floats are written as integers, as a file with nulls may hold them."""
    if values.dtype.is_float():
        whole = values.cast(pl.Int64, strict=False)
        if ((whole.cast(pl.Float64) == values) | values.is_null()).all():
            values = whole
    return values.cast(pl.String)


def to_amount(values: pl.Series, *, part: bool = False) -> pl.Series:
    """Normalise amounts to Float64; NaN and infinities become null.

    A column (no ``part``) without any amount, or with one larger than `fraudctl.money.LARGEST`, is an error.
    """
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        msg = f"column {shown(values.name)} (amount): is {values.dtype}; expected a number"
        raise DataError(msg)
    amounts = _finite(values.cast(pl.Float64))
    refuse_beyond(amounts.to_numpy(), where=f"column {shown(values.name)} (amount)")
    if amounts.null_count() == len(amounts) and not part:
        msg = f"column {shown(values.name)} (amount): all {len(amounts)} values are null"
        raise DataError(msg, hint="name another column in [data] amount, or leave it out where costs need none")
    return amounts


def to_entity(values: pl.Series) -> pl.Series:
    """Normalise entity ids to Int64 or String; nulls stay null. Floats must be whole numbers."""
    dtype = values.dtype
    if dtype.is_float():
        values = values.fill_nan(None)
        whole = values.cast(pl.Int64, strict=False)
        n_broken = int((whole.is_null() & values.is_not_null()).sum()) + int((whole.cast(dtype) != values).sum())
        if n_broken:
            msg = (
                f"column {shown(values.name)} (entity): {n_broken} ids are not whole numbers; expected integers or text"
            )
            raise DataError(msg)
        return whole
    return _to_id(values)


def _to_id(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128):
        return values.cast(pl.Int64)
    if dtype in (pl.String, pl.Categorical, pl.Null) or dtype.is_integer() or isinstance(dtype, pl.Enum):
        return values.cast(pl.String)
    msg = f"column {shown(values.name)}: is {dtype}; expected integers or text as ids"
    raise DataError(msg)


def _finite(values: pl.Series) -> pl.Series:
    return values.set(~values.is_finite().fill_null(value=True), None)


def _plain(values: pl.Series) -> pl.Series:
    """Give a carried column a plain type: text for categories, finite floats."""
    if values.dtype == pl.Categorical or isinstance(values.dtype, pl.Enum):
        return values.cast(pl.String)
    if isinstance(values.dtype, pl.Decimal):
        return values.cast(pl.Float64)
    return _finite(values) if values.dtype.is_float() else values


def _label_time(frame: pl.DataFrame, project: Project, event_time: pl.Series, label: pl.Series) -> pl.Series:
    arrived = event_time + project.data.label_delay.timedelta
    if project.data.label_time is not None:
        stated = to_utc(frame[project.data.label_time], timezone=project.data.timezone, role="label_time")
        arrived = stated.zip_with(stated.is_not_null(), arrived)
    return arrived.set(label.is_null(), None)


def check_label_times(frame: pl.DataFrame) -> None:
    """Raise a DataError where labels arrived before their event."""
    early = frame.filter(pl.col("label_time") < pl.col("event_time")).height
    if early:
        msg = f"label_time: {early} labels arrived before their event; expected none"
        raise DataError(msg, hint="are both columns in the same time zone?")


def fingerprint(files: Collection[str]) -> str:
    """Give the SHA-256 of the files' bytes in the given order; files behind a URL count by their content as a table."""
    digest = hashlib.sha256()
    for name in files:
        if "://" in name:
            digest.update(collect(scan([name]), files=[name]).hash_rows(seed=0).to_numpy().tobytes())
            continue
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
