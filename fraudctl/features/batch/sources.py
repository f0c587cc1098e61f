"""Other tables as of the event: bringing them into form, and finding their rows that an event may see.

A row becomes usable at its ``known_time`` or its ``event_time``, whichever is later; events see rows that were usable
strictly before them.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fraudctl.data import identities
from fraudctl.data.tables import to_utc
from fraudctl.data.typed import to_id
from fraudctl.errors import DataError
from fraudctl.features.batch import groups
from fraudctl.features.batch.groups import Array, History, Queries, Workers
from fraudctl.project.sources import SourceSection
from fraudctl.text.plain import shown, shown_all


def normalise_source(
    raw: pl.LazyFrame,
    section: SourceSection,
    *,
    name: str,
    timezone: str,
    columns: Collection[str],
    ordered: bool = True,
) -> pl.DataFrame:
    """Return the columns of another table their roles.

    Parameters
    ----------
    raw
        The table as it is on disk.
    section
        Its ``[sources.NAME]``.
    timezone
        Reads times without a zone.
    columns
        Further columns to keep: `FeatureSet.sources` of that name.
    ordered
        Whether rows are sorted; else they stay as they are, for who only counts.

    Returns
    -------
    ``event_time``, ``usable_time`` (µs UTC), one column per entity under the entity's name, and the kept columns; in
    the order of times and, at one instant, of contents, so that the order of rows in the file does not matter.

    Raises
    ------
    DataError
        A column that is missing or of a type that its role cannot have, or a time that is null.
    """
    wanted = _SourceColumns.of(raw, section, name=name, timezone=timezone, columns=columns)
    out = wanted.roles(raw.select(wanted.names).collect())
    wanted.refuse_null_times(out["event_time"].null_count())
    return in_order(out) if ordered else out


def in_order(source: pl.DataFrame) -> pl.DataFrame:
    """Return rows of another table, all or those of some entities, in the order of times, then of contents."""
    return source.sort(source.columns, nulls_last=False)


def spill_source(
    raw: pl.LazyFrame, section: SourceSection, *, name: str, timezone: str, columns: Collection[str], folder: Path,
    rows: int,
) -> list[Path]:  # fmt: skip
    """Write what `normalise_source` gives to files of about ``rows`` rows in ``folder``, in the order of the file.

    Raises
    ------
    DataError
        As `normalise_source` does.
    """
    wanted = _SourceColumns.of(raw, section, name=name, timezone=timezone, columns=columns)
    place, n_null = Path(tempfile.mkdtemp(dir=folder)), 0
    files: list[Path] = []
    batches = raw.select(wanted.names).collect_batches(chunk_size=rows, maintain_order=True)
    for batch in itertools.chain([raw.select(wanted.names).head(0).collect()], batches):
        found = wanted.roles(batch)
        n_null += found["event_time"].null_count()
        files.append(place / f"{len(files)}.arrow")
        found.write_ipc(files[-1], compression="uncompressed")
    wanted.refuse_null_times(n_null)
    return files


@dataclass(frozen=True)
class _SourceColumns:
    """What is read of another table: times, the columns that ids are made of, and those to keep."""

    section: SourceSection
    name: str
    timezone: str
    times: list[str]
    made: Mapping[str, identities.Made]
    columns: Collection[str]

    @classmethod
    def of(
        cls, raw: pl.LazyFrame, section: SourceSection, *, name: str, timezone: str, columns: Collection[str]
    ) -> _SourceColumns:
        """Name what is read; a column that is missing is a `DataError`."""
        times = [section.event_time, *([section.known_time] if section.known_time else [])]
        made = identities.made_in(section.entities, f"sources.{name}.entities", timezone)
        found, schema = cls(section, name, timezone, times, made, columns), raw.collect_schema()
        missing = sorted(set(found.names) - set(schema))
        if missing:
            msg = f"sources.{name}: no column {', '.join(map(shown, missing))}; the table has {shown_all(schema)}"
            raise DataError(msg)
        return found

    @property
    def names(self) -> list[str]:
        """Every column that is read, once."""
        ids = identities.flat(identities.id_columns(self.section.entities, self.made))
        return list(dict.fromkeys([*self.times, *ids, *self.columns]))

    def roles(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows of the table as `normalise_source` does, in their order; null times stay null."""
        role = f"sources.{self.name}"
        happened, *known = (to_utc(frame[column], timezone=self.timezone, role=role) for column in self.times)
        usable = pl.select(pl.max_horizontal(happened, *known)).to_series() if known else happened
        entities = [
            (self.made[entity].ids(frame.get_column) if entity in self.made else to_id(frame[key.column])).alias(entity)
            for entity, key in self.section.entities.items()
        ]
        kept = [_plain(frame[column]) for column in self.columns]
        return pl.DataFrame([happened.alias("event_time"), usable.alias("usable_time"), *entities, *kept])

    def refuse_null_times(self, n: int) -> None:
        """Raise a `DataError` where times are null."""
        if n:
            msg = f"sources.{self.name}: {n} times are null in {shown(self.section.event_time)}"
            raise DataError(msg)


def _plain(values: pl.Series) -> pl.Series:
    if values.dtype.is_float() or isinstance(values.dtype, pl.Decimal):
        values = values.cast(pl.Float64)
        return values.set(~values.is_finite().fill_null(value=True), None)
    return values.cast(pl.String) if values.dtype == pl.Categorical or isinstance(values.dtype, pl.Enum) else values


def of_moments(kind: str, moments: pl.Series, times: Array, timezone: str) -> pl.Series:
    """Return what dates or times of other tables give at events: ``seconds_since``, ``hour`` or ``same_second``.

    Parameters
    ----------
    moments
        Shape (n,): those without a zone are local to ``timezone``; a local time that happens twice is the earlier one,
        one that never happens is null. A date is its first instant.
    times
        Shape (n,): µs UTC of the events.
    """
    local = moments.cast(pl.Datetime("us")) if moments.dtype == pl.Date else moments
    if isinstance(local.dtype, pl.Datetime) and local.dtype.time_zone is None:
        local = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    if kind == "hour":
        return local.dt.convert_time_zone(timezone).dt.hour()
    at = local.dt.epoch("us").fill_null(0).to_numpy()
    found = at // 1_000_000 == times // 1_000_000 if kind == "same_second" else (times - at) / 1e6
    return pl.Series(found).set(local.is_null(), None)


@dataclass(frozen=True)
class SourceHistory:
    """Rows of another table by entity: the events that ask, the history by µs of use, and its µs of validity."""

    queries: Queries
    history: History
    valid_from: Array


def source_history(
    events: pl.DataFrame, times: Array, source: pl.DataFrame, entity: str, *, workers: Workers
) -> SourceHistory:
    """Group events and rows of another table by the same entity."""
    n = events.height
    codes, n_codes = groups.codes_of(pl.concat([events[entity], source[entity]]))
    queries = groups.queries_of(np.ascontiguousarray(codes[:n]), n_codes, times, workers=workers)
    usable = source["usable_time"].dt.epoch("us").to_numpy()
    rows = np.flatnonzero(codes[n:] >= 0).astype(groups.POSITION)
    rows = rows[np.argsort(usable[rows], kind="stable")]
    inner = groups.queries_of(codes[n:][rows], n_codes, usable[rows], workers=workers)
    rows = rows[inner.order]
    padding = np.full(queries.n_groups - n_codes, len(rows), np.int64)
    history = History(rows, np.concatenate([inner.starts, padding]), usable[rows], queries.nowhere)
    return SourceHistory(queries, history, source["event_time"].dt.epoch("us").to_numpy()[rows])


def masked(found: SourceHistory, mask: Array) -> SourceHistory:
    """Leave only the rows of the history (by row of the source) whose mask is true."""
    kept = mask[found.history.rows]
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    old = found.history
    history = History(old.rows[kept], before[old.starts], old.times[kept], old.current)
    return SourceHistory(found.queries, history, found.valid_from[kept])


def latest_rows(found: SourceHistory, max_age_us: int | None) -> Array:
    """Find, for each query, the row with the latest validity among those usable before it; -1 where there is none.

    Of rows valid from one instant, the last in the order of `normalise_source` counts.
    """
    from fraudctl.features.batch import kernels

    ranges = groups.event_ranges(found.queries, found.history, [], workers=groups.Workers(1))
    out = np.empty(len(found.queries.order), np.int64)
    kernels.latest(
        found.valid_from, found.history.rows, found.history.starts, found.queries.times, found.queries.starts,
        ranges.hi, groups.FOREVER if max_age_us is None else max_age_us, out, 0, found.queries.n_groups,
    )  # fmt: skip
    return out
