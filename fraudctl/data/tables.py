"""The only place that reads tables.

Owns: finding files, reading Parquet and CSV, giving columns their roles, normalising time to microseconds UTC,
dropping exact duplicates, and fingerprints of data. It refuses what the rest could only misread: a time without
meaning, two rows with one id, labels that are neither 1, 0 nor null.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from fraudctl.data import identities, located, typed
from fraudctl.data.distinct import repeats
from fraudctl.data.labels import as_known, resolved, timed
from fraudctl.data.own import outside
from fraudctl.disk import stores
from fraudctl.disk.files import no_room
from fraudctl.disk.unreadable import MOST_DIGITS, UnreadableReason, why_not_csv, why_not_parquet
from fraudctl.errors import DataError
from fraudctl.normal import files as finding
from fraudctl.normal import lake, opening, times
from fraudctl.normal.form import Form
from fraudctl.progress import Watch, unwatched
from fraudctl.project import Project
from fraudctl.project.entities import EntityKey
from fraudctl.text.plain import shown, shown_all

ROLES = ("event_id", "event_time", "amount", "label", "label_time")
"""Names under which the columns with a role are known everywhere behind this module."""

find_files = located.find_files
given_files = located.given_files
event_files = located.event_files
source_files = located.source_files
label_files = located.label_files
decision_files = located.decision_files
left_behind = located.left_behind

UTC_US = times.UTC_US
to_utc = times.utc
are_iso = times.are_iso


@dataclass(frozen=True)
class Events:
    """The events of a project, normalised.

    Attributes
    ----------
    frame
        Columns in this order: ``event_id``; ``event_time`` (µs UTC, never null; null throughout where the data
        have no time); ``amount`` (Float64, finite or null;
        only where the project declares one); ``label`` (Int8: 1, 0 or null); ``label_time`` (µs UTC, null where and
        only where ``label`` is, or the data have no time); where labels are in tables of their own, all changes of the
        label (`fraudctl.data.labels.CHANGES`), and label and label_time as they were known at ``known_until``; one
        column per entity under the entity's name; the carried data columns.
        Sorted by ``event_time``, then ``event_id``.
    newest
        The latest event_time: nothing later is known. None where the data have no time.
    n_duplicates
        Rows dropped because they repeat another in every column.
    """

    frame: pl.DataFrame
    newest: datetime | None
    n_duplicates: int

    @property
    def known_until(self) -> datetime:
        """The latest event_time, where the data have a time; else a ValueError."""
        return timed(self.newest)


def form_of(project: Project) -> Form:
    """Return the normal form of a project's events: what is declared of them, and which columns are text.

    An id that is text in one table of ``[sources]`` and an integer in another is text in all of them.
    """
    base = own_form(project)
    keys = (project.entities[name] for name in _agreed(project))
    return replace(base, agreed=frozenset(key.column for key in keys if not key.made))


def form_of_source(project: Project, name: str) -> Form:
    """Return the normal form of a table of ``[sources]``."""
    section = project.sources[name]
    named = _agreed(project)
    agreed = frozenset(key.column for entity, key in section.entities.items() if entity in named and not key.made)
    return replace(source_form(project, name), agreed=agreed)


def form_to_score(project: Project, trained: Mapping[str, pl.DataType]) -> Form:
    """Return the normal form of new events, whose columns are what they were in training.

    Parameters
    ----------
    trained
        Columns and types of the data that the model was trained on.
    """
    return form_of(project).as_trained(trained)


def own_form(project: Project) -> Form:
    """Return what `form_of` does without a look at other tables."""
    data = project.data
    ids = frozenset({str(data.event_id), *_text_ids(identities.event_columns(project), project)})
    categories = frozenset(map(outside, project.features.categorical))
    clocks = frozenset(name for name in (data.event_time, data.label_time) if name is not None)
    return Form(data, data.timezone, data.event_time, data.event_id, ids, categories, clocks=clocks,
                timed=data.untimed == "leave out")  # fmt: skip


def _text_ids(columns: Mapping[str, tuple[str, ...]], project: Project) -> Iterator[str]:
    """Yield the columns of ids that are text in files without types: parts of made ids unless they are features."""
    raw = set(map(outside, project.features.raw))
    for name, parts in columns.items():
        yield from (part for part in parts if not project.entities[name].made or part not in raw)


def source_form(project: Project, name: str) -> Form:
    """Return what `form_of_source` does without a look at other tables."""
    section = project.sources[name]
    clocks = frozenset(column for column in (section.event_time, section.known_time) if column is not None)
    ids = frozenset(identities.flat(identities.source_columns(project, name)))
    return Form(section, project.data.timezone, section.event_time, None, ids, clocks=clocks)


def _agreed(project: Project) -> frozenset[str]:
    """Return the entities whose ids have different types in different tables."""
    if not project.sources:
        return frozenset()
    found: dict[str, set[pl.DataType]] = {}

    def note(entity: str, schema: Mapping[str, pl.DataType], key: EntityKey) -> None:
        if key.made:
            found.setdefault(entity, set()).add(pl.String())
        elif key.column in schema and schema[key.column] != pl.Null:
            kind = schema[key.column]
            found.setdefault(entity, set()).add(pl.Int64() if kind.is_numeric() else pl.String())

    tables = [(partial(event_files, project), own_form(project), project.entities)]
    for name, section in project.sources.items():
        tables.append((partial(source_files, project, name), source_form(project, name), section.entities))
    for find, form, entities in tables:
        try:
            schema = scan(find(), form=form).collect_schema()
        except DataError:
            continue  # whoever reads the table says what is wrong
        for entity, key in entities.items():
            note(entity, schema, key)
    return frozenset(entity for entity, types in found.items() if len(types) > 1)


def scan(files: Collection[str], *, form: Form | None = None) -> pl.LazyFrame:
    """Open the files of one table as one lazy frame in its normal form; folders ``key=value`` become columns.

    Parameters
    ----------
    form
        What is declared of the table; None declares nothing.

    Raises
    ------
    DataError
        A file that is not readable as what its name says, files whose columns do not fit together, a name of a
        column with a NUL character, or a value that the declared notation does not read.
    """
    names = list(files)
    with explained(names):
        frame = opening.opened(names, form or Form())
        held = [place for place, name in enumerate(frame.collect_schema(), start=1) if "\0" in name]
    if held:  # such a name ends the process where Arrow hands a table on
        msg = f"{names[0]}: the name of column {held[0]} holds a NUL character"
        raise DataError(msg, hint="rename the column")
    return frame


def left_out(files: Collection[str]) -> dict[str, pl.DataType]:
    """Return the columns of Parquet files that `scan` leaves out, with their types."""
    names = list(files)
    if finding.kind_of(names[0]) != "parquet":
        return {}
    with explained(names):
        return opening.too_wide_columns(stores.on_disk(names))


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
    place = f"{len(files)} files such as {files[0]}" if len(files) > 1 else _named(files[0])
    try:
        yield
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError, OSError) as error:
        kind = type(error).__name__
        if isinstance(error, pl.exceptions.PanicException) and "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        full = no_room(error)
        if full is not None:  # what is computed while files are read may be written at once
            raise full from error
        found = _why(files)
        if found is not None:
            raise DataError(found.what, hint=found.hint) from error
        if isinstance(error, (pl.exceptions.SchemaError, pl.exceptions.ColumnNotFoundError)):
            msg = f"{place}: the files do not have the same columns and types ({kind})"
            raise DataError(msg, hint="write them with one schema, or name them one by one") from error
        kind = finding.words_of(finding.kind_of(files[0]))
        msg = f"{place}: cannot be read as {kind} ({type(error).__name__})"
        raise DataError(msg, hint="the file may be truncated or of another format; write it again") from error


def _why(files: Sequence[str]) -> UnreadableReason | None:
    try:
        copies = stores.on_disk(files)
        kind = finding.kind_of(copies[0])
        if kind == "csv":
            reason = why_not_csv(copies, dialect=opening.dialect_of(copies[0]))
        else:
            reason = why_not_parquet(copies) if kind in {"parquet", None} else None
        objects = [name for name in files if stores.is_address(name)]
        return reason._replace(what=stores.with_addresses(reason.what, objects)) if reason is not None else None
    except OSError:
        return None


def load_schema(project: Project) -> pl.Schema:
    """Return the columns and types of the project's data files."""
    return scan(event_files(project), form=form_of(project)).collect_schema()


def load_events(
    project: Project,
    *,
    columns: Collection[str] = (),
    entries: pl.DataFrame | None = None,
    watch: Watch = unwatched,
) -> Events:
    """Load the project's events with their roles, normalised as `Events` says.

    Parameters
    ----------
    columns
        Further data columns to carry along under their own names.
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own.
    watch
        Called with the name of each step before it begins.

    Raises
    ------
    DataError
        Missing or unreadable files, no rows, missing columns, columns of a type that the role cannot have, null ids or
        times, one id with differing rows, labels beyond 1, 0 and null, a label_time before its event_time.
    """
    files = event_files(project)
    raw = scan(files, form=form_of(project))
    return normalise(raw, project=project, files=files, columns=columns, entries=entries, watch=watch)


def normalise(
    raw: pl.LazyFrame,
    *,
    project: Project,
    files: Collection[str],
    columns: Collection[str],
    entries: pl.DataFrame | None = None,
    ordered: bool = True,
    watch: Watch = unwatched,
) -> Events:
    """Return the columns of a raw table their roles; see `load_events`.

    Parameters
    ----------
    entries
        What `fraudctl.data.entries.load_entries` returns, where labels are in tables of their own.
    ordered
        Whether rows are sorted; else they stay as they are, for who only counts.
    """
    schema = raw.collect_schema()
    wanted = wanted_columns(project, columns)
    require_columns(wanted, schema, where=place(files))
    watch("columns")
    frame = collect(raw.select(list(dict.fromkeys(wanted))), files=files)
    refuse_no_rows(frame.height, files)
    watch("ids that stand twice")
    frame, n_duplicates = drop_duplicates(frame, raw, project.data.event_id, files)
    watch("roles of columns")
    out = with_roles(frame, project, columns, entries=entries)
    watch("order of time")
    out = in_order(out) if ordered else out
    check_label_times(out)
    newest: datetime | None = out["event_time"].max()  # type: ignore[assignment]
    return Events(as_known(out, newest), newest, n_duplicates)


def refuse_no_rows(n_rows: int, files: Collection[str]) -> None:
    """Raise a DataError where a table has no rows."""
    if n_rows == 0:
        msg = f"{place(files)}: the table has no rows"
        raise DataError(msg)


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by event_time, then event_id, unless that is the order already."""
    times, ids = frame["event_time"], frame["event_id"]
    if times.null_count():
        return frame.sort("event_id")  # the data have no time
    if times.is_sorted() and ids.is_sorted():
        return frame
    after = (times > times.shift(1)) | ((times == times.shift(1)) & (ids > ids.shift(1)))
    return frame if after[1:].all() else frame.sort("event_time", "event_id")


_SOME: Final = 1_000
"""Ids that are compared before all are."""


def rising(ids: pl.Series) -> bool:
    """Return whether each id is larger than the one before, so that none can be there twice."""
    return all(bool((part > part.shift(1))[1:].all()) for part in (ids.head(_SOME), ids))


def place(files: Collection[str]) -> str:
    """Name one file, or the first of several."""
    names = list(files)
    first = _named(names[0])
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def _named(name: str) -> str:
    return lake.words(name) if lake.is_lake(name) else name


def wanted_columns(project: Project, columns: Collection[str]) -> list[str]:
    """Return the raw columns behind roles, entities and carried columns."""
    data = project.data
    roles = [data.event_id, data.event_time, data.amount, data.label, data.label_time]
    if project.labels.declined is not None:
        roles.append(project.labels.declined.column)
    return [name for name in roles if name is not None] + [
        *identities.flat(identities.event_columns(project)),
        *map(outside, columns),
    ]


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
    odd = text.filter((text < "!") | (text > "\x7f"))  # all others begin with a sign that is no space
    odd = odd.filter(odd.str.head(1).is_in(["", *BLANK]))
    return ids.null_count() + int((odd.str.strip_chars(BLANK) == "").sum())


def refuse_empty_ids(ids: pl.Series, *, where: str) -> None:
    """Raise a DataError where an id names nothing."""
    count = n_empty(ids)
    if count:
        msg = f"{where}: {count} event ids are null or empty; expected every event to have one"
        raise DataError(msg, hint="give each event an id of its own, or leave these rows out")


def refuse_differing(raw: pl.LazyFrame, repeated: pl.Series, event_id: str, files: Collection[str]) -> None:
    """Raise a DataError where rows of one id (of those that ``repeated`` names) differ in any column of the file."""
    rows = collect(raw.filter(has_id(event_id, repeated)), files=files)
    refuse_differing_rows(rows, event_id)


def has_id(event_id: str, ids: pl.Series) -> pl.Expr:
    """Return an expression of raw rows: whether their id is one of these."""
    return pl.col(event_id).cast(ids.dtype).is_in(ids.implode())


def refuse_differing_rows(rows: pl.DataFrame, event_id: str) -> None:
    """Raise a DataError where raw rows of one id differ."""
    n_differing = rows.unique()[event_id].is_duplicated().sum()
    if n_differing:
        msg = (
            f"column {shown(event_id)}: {n_differing} rows share their event id with a row that differs from them; "
            "expected one id to name one event"
        )
        raise DataError(msg, hint="choose the column that names each event once, or repair the rows")


def with_roles(
    frame: pl.DataFrame,
    project: Project,
    columns: Collection[str],
    *,
    part: bool = False,
    entries: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the columns of a raw table, or of ``part`` of one, their roles; see `Events`."""
    data = project.data
    event_time = _event_time(frame, project)
    out = [typed.to_id(frame[data.event_id]).alias("event_id"), event_time.alias("event_time")]
    if data.amount is not None:
        out.append(typed.to_amount(frame[data.amount], part=part).alias("amount"))
    out += _labels(frame, project, out[0], event_time, entries)
    out += _entities(frame, project, {series.name: series for series in out})
    taken = {series.name for series in out}
    out += [typed.plain(frame[outside(name)]).alias(name) for name in columns if name not in taken]
    return pl.DataFrame(out)


def _entities(frame: pl.DataFrame, project: Project, roles: Mapping[str, pl.Series]) -> Iterator[pl.Series]:
    """Yield the ids of every entity, under its name."""
    made = identities.made_ids(project)
    for name, key in project.entities.items():
        if name in made:
            of = made[name].roles
            held = {part: roles[of[part]] if part in of else frame[part] for part in made[name].parts}
            yield made[name].ids(held.__getitem__).alias(name)
        else:
            yield typed.to_id(frame[key.column]).alias(name)


def _labels(
    frame: pl.DataFrame, project: Project, event_id: pl.Series, event_time: pl.Series, entries: pl.DataFrame | None
) -> list[pl.Series]:
    """Return label and label_time, and all changes of the label where labels are in tables of their own."""
    data = project.data
    if data.label is not None:
        label = typed.to_label(frame[data.label], mapping=data.label_values)
        return [label.alias("label"), _label_time(frame, project, event_time, label).alias("label_time")]
    if entries is None:
        msg = "the labels are in tables of their own, and no entries were given"
        raise ValueError(msg)
    events = pl.DataFrame([event_id, event_time.alias("event_time")])
    silence, declined = project.labels.by_silence, declined_rows(frame, project)
    return resolved(events, entries, delay_us=data.label_delay.us, by_silence=silence, declined=declined).get_columns()


def declined_rows(frame: pl.DataFrame, project: Project) -> pl.Series | None:
    """Return which events were declined, as ``[labels] declined`` says, never null; None where it says nothing."""
    section = project.labels.declined
    if section is None:
        return None
    return typed.as_text(frame[section.column]).is_in(list(section.texts)).fill_null(value=False).alias("declined")


def _event_time(frame: pl.DataFrame, project: Project) -> pl.Series:
    column = project.data.event_time
    if column is None:
        return pl.Series("event_time", [None], dtype=UTC_US).new_from_index(0, frame.height)
    times = to_utc(frame[column], timezone=project.data.timezone, role="event_time")
    if times.null_count():
        msg = f"column {shown(column)}: {times.null_count()} times are null; every event needs its time"
        raise DataError(msg)
    return times


def _label_time(frame: pl.DataFrame, project: Project, event_time: pl.Series, label: pl.Series) -> pl.Series:
    arrived = event_time + project.data.label_delay.timedelta
    if project.data.label_time is not None:
        stated = typed.arrivals(frame[project.data.label_time], event_time, timezone=project.data.timezone)
        arrived = stated.zip_with(stated.is_not_null(), arrived)
    return arrived.set(label.is_null(), None)


def check_label_times(frame: pl.DataFrame) -> None:
    """Raise a DataError where labels arrived before their event."""
    early = frame.filter(pl.col("label_time") < pl.col("event_time")).height
    if early:
        msg = f"label_time: {early} labels arrived before their event; expected none"
        raise DataError(msg, hint="are both columns in the same time zone?")


def fingerprint(files: Collection[str]) -> str:
    """Return the SHA-256 of the files' bytes in the given order.

    An object of a store stands for its bytes by address, size, ETag and version; a Delta or Iceberg table by its id,
    version, schema and files. A file behind another URL is hashed as a table.
    """
    digest = hashlib.sha256()
    for name in files:
        if lake.is_lake(name) or stores.is_address(name):
            digest.update(bytes.fromhex(lake.fingerprint(name) if lake.is_lake(name) else stores.known(name).sha256))
            continue
        if "://" in name:
            digest.update(collect(scan([name]), files=[name]).hash_rows(seed=0).to_numpy().tobytes())
            continue
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
