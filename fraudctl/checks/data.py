"""The table under check: its columns, one at a time, and the roles that can be read, each failure being a finding."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.checks.label_tables import Opened, ReadTables, delays_of, read_label_tables
from fraudctl.checks.leakage import LeakageOutcomes
from fraudctl.checks.report import Finding
from fraudctl.data import identities, tables, typed
from fraudctl.data.columns import Columns
from fraudctl.data.distinct import Tally, repeats, tally_of_repeats
from fraudctl.data.labels import as_known, resolved
from fraudctl.data.own import outside
from fraudctl.errors import DataError, ProjectError
from fraudctl.metrics.tallies import Counted, count, least_rows
from fraudctl.progress import Progress, Silent, Steps
from fraudctl.project import Project
from fraudctl.text.plain import shown

_STEPS = 15
"""Steps of `fraudctl.checks.run_checks` beside one for each column."""


@dataclass(frozen=True)
class Data:
    """The raw table and what could be read of its roles; None is what the table lacks or could not be read.

    Attributes
    ----------
    event_time, label_time
        µs UTC, shape ``(n_rows,)`` in the order of the files; label_time as the column states it.
    label
        Int8 1, 0 or null.
    trouble
        Findings of the reading itself.
    """

    project: Project
    raw: pl.LazyFrame
    place: str
    n_rows: int
    schema: pl.Schema
    values: Columns
    roles: pl.DataFrame
    event_time: pl.Series | None = None
    label: pl.Series | None = None
    label_time: pl.Series | None = None
    verdicts: ReadTables = field(default_factory=lambda: ReadTables({}, ()))
    changes: pl.DataFrame | None = None
    """Of labels in tables of their own, what `fraudctl.data.labels.resolved` made of them."""
    trouble: tuple[Finding, ...] = field(default=())
    tallies: dict[str, Tally] = field(default_factory=dict)
    texts: dict[str, pl.Series] = field(default_factory=dict)
    """The distinct values of columns of text that are the ids of an entity, where counting gave them."""
    steps: Steps = field(default_factory=lambda: Steps(Silent(), 0))

    def __getitem__(self, name: str) -> pl.Series:
        if name in self.roles.columns:
            return self.roles[name]
        return self.values[name]

    def tally(self, name: str) -> Tally:
        """Count nulls and distinct values of a column, once; NaN counts as null."""
        if name not in self.tallies:
            self.keep(name, self.count(self[name]))
        return self.tallies[name]

    def count(self, values: pl.Series) -> Counted:
        """Count a column, of the data or of ids that are made of them."""
        if values.name == self.project.data.event_id and values.dtype == pl.String:
            return Counted(tally_of_repeats(values, self.repeated_ids))
        return count(values, least_rows=least_rows(len(self.schema)))

    def keep(self, name: str, found: Counted) -> None:
        """Keep how a column was counted, and of the ids of an entity the distinct ones."""
        self.tallies[name] = found.tally
        if found.texts is not None and (name,) in self.id_columns.values():
            self.texts[name] = found.texts

    def distinct_ids(self, entity: str, ids: pl.Series) -> pl.Series:
        """Return the distinct ids of an entity, null aside, of what `ids` gave."""
        key = self.project.entities[entity]
        known = None if key.made else self.texts.get(key.column)
        return ids.drop_nulls().unique() if known is None else known

    @cached_property
    def repeated_ids(self) -> NDArray[np.uint32]:
        """The rows whose event id stands in more than one row; the data must have the column."""
        return repeats(self[str(self.project.data.event_id)])

    @cached_property
    def outcomes(self) -> LeakageOutcomes | None:
        """What columns are held against; None without labels."""
        return None if self.label is None else LeakageOutcomes(self.label)

    @cached_property
    def id_columns(self) -> dict[str, tuple[str, ...]]:
        """The columns of the data that each entity's ids are read from."""
        return id_columns(self.project)

    def ids(self, entity: str) -> pl.Series | None:
        """Return the ids of an entity; None where a column is missing or the SQL is refused.

        Raises
        ------
        DataError
            The columns hold what no id can be.
        """
        columns = self.id_columns.get(entity)
        if columns is None or not set(columns) <= set(self.schema):
            return None
        key = self.project.entities[entity]
        if not key.made:
            return typed.to_id(self[key.column])
        return identities.made_ids(self.project)[entity].ids(self._part)

    def _part(self, name: str) -> pl.Series:
        roles = identities.made_ids(self.project)
        role = next((item.roles[name] for item in roles.values() if name in item.roles), None)
        if role == "event_time" and self.event_time is not None:
            return self.event_time
        if role == "amount" and self.project.data.amount is not None:
            return typed.to_amount(self[self.project.data.amount], part=True)
        return self[name]

    @property
    def role_of(self) -> dict[str, str]:
        """Data column -> its role: event_id, event_time, ..., entity <name>, ignored or raw; others are missing."""
        data = self.project.data
        found = {name: "raw" for name in map(outside, self.project.features.raw) if name in self.schema}
        found |= dict.fromkeys(data.ignore, "ignored")
        for name, columns in self.id_columns.items():
            made = self.project.entities[name].made
            free = [column for column in columns if found.get(column) != "raw" and not (made and column in found)]
            found |= dict.fromkeys(free, f"entity {name}")
        found |= {
            outside(column): role
            for role in ("weight", "exposure_prob", "control_group")
            if (column := getattr(data, role))
        }
        for role in tables.ROLES:
            column = getattr(data, role)
            if column is not None:
                found[column] = role
        return found

    @property
    def label_place(self) -> str:
        """What findings about labels name: the column, or the section with the tables."""
        return self.project.data.label or "labels"

    @property
    def event_ids(self) -> pl.DataFrame | None:
        """``event_id`` and ``event_time`` of all rows; None where one of them cannot be read."""
        column = self.project.data.event_id
        if self.event_time is None or column not in self.schema:
            return None
        try:
            return pl.DataFrame([typed.to_id(self[column]).alias("event_id"), self.event_time.alias("event_time")])
        except DataError:
            return None

    @cached_property
    def known_until(self) -> datetime | None:
        """The latest event_time."""
        latest = None if self.event_time is None else self.event_time.max()
        return latest if isinstance(latest, datetime) else None

    @cached_property
    def delays(self) -> pl.Series | None:
        """Seconds from event to label_time of the outcomes that have one, in ascending order."""
        if self.event_time is None or self.label_time is None or self.label is None:
            return None
        if self.changes is not None:
            events, entries = self.event_ids, self.verdicts.entries()
            return None if events is None or entries is None else delays_of(entries, events).sort()
        delays = (self.label_time - self.event_time).dt.total_seconds()
        return delays.filter(self.label.is_not_null() & delays.is_not_null()).sort()

    @cached_property
    def hours(self) -> pl.DataFrame:
        """Events ``n`` by local hour ``at``, those ``labelled``, the ``ripe`` (mature) ones, ``frauds`` among these.

        Rows without a time are left out; the time must be readable.
        """
        assert self.event_time is not None  # noqa: S101
        local = self.event_time.dt.convert_time_zone(self.project.data.timezone).dt.replace_time_zone(None)
        nothing = pl.Series([None], dtype=pl.Int8)
        label = nothing.new_from_index(0, len(local)) if self.label is None else self.label
        ripe = self.mature if self.mature is not None else label.is_not_null()
        counts = {"at": local.dt.truncate("1h"), "labelled": label.is_not_null(), "ripe": ripe}
        frame = pl.DataFrame({**counts, "frauds": ripe & (label == 1)}).drop_nulls("at")
        return frame.group_by("at").agg(
            n=pl.len().cast(pl.Int64),
            **{name: pl.col(name).sum().cast(pl.Int64) for name in ("labelled", "ripe", "frauds")},
        )

    @cached_property
    def mature(self) -> pl.Series | None:
        """Which rows have an outcome that counts at ``known_until``; None where times or labels cannot be read.

        Without a time in the data every known outcome counts.
        """
        if not self.project.data.has_time and self.label is not None:
            return self.label.is_not_null()
        if self.event_time is None or self.label is None or self.known_until is None:
            return None
        ripe = self.event_time + self.project.data.label_delay.timedelta <= self.known_until
        if self.label_time is not None:
            ripe &= (self.label_time <= self.known_until).fill_null(value=True)
        return (ripe & self.label.is_not_null()).fill_null(value=False)


def role_columns(project: Project) -> dict[str, str]:
    """Give what the project file asks of the data: place in the file -> column."""
    data = project.data
    asked = {f"data.{role}": getattr(data, role) for role in tables.ROLES}
    if project.labels.declined is not None:
        asked["labels.declined.column"] = project.labels.declined.column
    out = {place: column for place, column in asked.items() if column is not None}
    for name, columns in id_columns(project).items():
        out |= {f"entities.{name}" + (f" ({i})" if i else ""): column for i, column in enumerate(columns)}
    return out


def id_columns(project: Project) -> dict[str, tuple[str, ...]]:
    """Return the columns of the data that each entity's ids are read from; of refused SQL none."""
    try:
        return identities.event_columns(project)
    except ProjectError:
        return {name: (key.column,) for name, key in project.entities.items() if not key.made}


def open_data(
    project: Project,
    raw: pl.LazyFrame,
    *,
    place: str,
    verdicts: Opened | None = None,
    progress: Progress | None = None,
) -> Data:
    """Read the role columns of a table; what cannot be read becomes a finding instead of an exception."""
    values = Columns(raw, place=place)
    schema = values.schema
    wanted = [name for name in dict.fromkeys(role_columns(project).values()) if name in schema]
    roles = values.frame(wanted)
    plain = Data(
        project,
        raw,
        place,
        values.n_rows,
        schema,
        values,
        roles,
        steps=Steps(progress or Silent(), _STEPS + len(schema)),
    )
    if plain.n_rows == 0:
        return plain
    trouble: list[Finding] = []
    event_time = _read_time(plain, project.data.event_time, "event_time", trouble)
    label_time = _read_time(plain, project.data.label_time, "label_time", trouble, after=event_time)
    label = _read_label(plain, trouble)
    found = replace(plain, event_time=event_time, label=label, label_time=label_time, trouble=tuple(trouble))
    return _with_tables(found, verdicts) if project.labels.tables else found


def _with_tables(data: Data, opened: Opened | None) -> Data:
    """Return the data with labels from tables of their own, as they were known at the latest event."""
    read = read_label_tables(data.project, opened or {})
    events, entries, rule = data.event_ids, read.entries(), data.project.labels
    data = replace(data, verdicts=read)
    if events is None or entries is None or events["event_time"].null_count() or data.known_until is None:
        return data
    if rule.declined is not None and rule.declined.column not in data.schema:
        return data
    declined = None if rule.declined is None else tables.declined_rows(data.roles, data.project)
    delay = data.project.data.label_delay.us
    changes = resolved(events, entries, delay_us=delay, by_silence=rule.by_silence, declined=declined)
    known = as_known(changes, data.known_until)
    return replace(data, changes=changes, label=known["label"], label_time=known["label_time"])


def _read_time(
    data: Data, column: str | None, role: str, trouble: list[Finding], *, after: pl.Series | None = None
) -> pl.Series | None:
    """Read a column of times as training does; of a label, none is taken for earlier than its event if it need not."""
    if column is None or column not in data.schema:
        return None
    timezone = data.project.data.timezone
    try:
        if after is not None:
            return typed.arrivals(data[column], after, timezone=timezone)
        return tables.to_utc(data[column], timezone=timezone, role=role)
    except DataError as error:
        trouble.append(Finding("time-unreadable", "error", column, error.message, hint=error.hint))
        return None


def _read_label(data: Data, trouble: list[Finding]) -> pl.Series | None:
    column = data.project.data.label
    if column is None or column not in data.schema:
        return None
    try:
        return typed.to_label(data[column], mapping=data.project.data.label_values)
    except DataError as error:
        trouble.append(Finding("label-values", "error", column, error.message, hint=error.hint))
        return None


def missing_columns(data: Data) -> list[Finding]:
    """Find columns that the project file names and the table lacks; a missing ignored column harms nobody."""
    project = data.project
    asked = [*role_columns(project).items()]
    asked += [("features.raw", name) for name in map(outside, project.features.raw) if name not in tables.ROLES]
    weights = {role: getattr(project.data, role) for role in ("weight", "exposure_prob", "control_group")}
    asked += [(f"data.{role}", outside(column)) for role, column in weights.items() if column is not None]
    hint = "correct the name in fraudctl.toml, or the data"
    what = f"no column {{}} among the {len(data.schema)} of the data"
    found = [
        Finding("missing-column", "error", place, what.format(shown(column)), hint=hint)
        for place, column in asked
        if column not in data.schema
    ]
    found += [
        Finding("missing-column", "info", "data.ignore", what.format(shown(column)), hint=hint)
        for column in project.data.ignore
        if column not in data.schema
    ]
    return found
