"""From the sections of a project file to named specs; the only place that knows how features are named."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from fraudctl.errors import ProjectError
from fraudctl.features.meaning.specs import (
    HourSpec,
    LabelSpec,
    LinkSpec,
    LookupSpec,
    PairSpec,
    RatioSpec,
    RawSpec,
    RecencySpec,
    RowSpec,
    SourceWindowSpec,
    Spec,
    WindowSpec,
)
from fraudctl.features.rows.read import RowExpr, compile_row_sql
from fraudctl.own import inside
from fraudctl.plain import shown, shown_all
from fraudctl.project import Project
from fraudctl.project.features import WindowSection
from fraudctl.project.types import Aggregate, PositiveDuration

NUMERIC_KINDS = frozenset({"sum", "mean", "std", "min", "max", "median", "mad"})
WINDOW_KINDS = frozenset({"count", "nunique"}) | NUMERIC_KINDS
LABEL_KINDS = frozenset(
    {
        "known_count",
        "fraud_count",
        "fraud_rate",
        "smoothed_rate",
        "seconds_since_first_fraud",
        "seconds_since_last_fraud",
    }
)
RECENCY_KINDS = frozenset(
    {
        "seconds_since_last",
        "seconds_since_first",
        "seconds_since_last_known_fraud",
        "seconds_since_fraud_run_began",
    }
)
PAIR_KINDS = frozenset({"first_time", "count", "seconds_since_last"})
LINK_KINDS = frozenset({"component_size", "component_age_seconds", "component_fraud_rate", "degree"})
HOUR_KINDS = frozenset({"hour_distance", "hour_concentration"})
_PER_TIME = frozenset({"count", "sum"})


@dataclass(frozen=True)
class Draft:
    """A feature by name, family, entity and spec; without its type and words."""

    name: str
    family: str
    entity: str | None
    spec: Spec


def near(name: str, known: Collection[str]) -> str:
    """Say which known name is nearest, or which there are."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {shown(close[0])}?" if close else f"; there are {shown_all(known)}"


def drafts(project: Project, columns: Collection[str], sources: Mapping[str, Collection[str]]) -> list[Draft]:
    """Give all features that the project asks for, and those they are built on, in the order of the model.

    Parameters
    ----------
    columns
        Names of data columns, entities and roles that features may use.
    sources
        For each other table, the names of its columns and entities that features may use.

    Raises
    ------
    ProjectError
        Unknown entities, columns or aggregates; SQL that is refused.
    """
    names = [draft.name for draft in _Reader(project, columns, sources, ()).without_sql()] + list(
        project.features.columns
    )
    reader = _Reader(project, columns, sources, names)
    return [*reader.without_sql(), *reader.row_level()]


def window_name(entity: str, aggregate: Aggregate, window: str, *, tag: str | None = None) -> str:
    """Name a window feature: ``card_count_1h``, ``card_mean_amount_7d``, ``card_declined_count_1h``."""
    parts = [entity, *([tag] if tag else []), aggregate.kind, *([aggregate.column] if aggregate.column else []), window]
    return "_".join(parts)


class _Reader:
    """One pass over the sections. Without ``names`` (of features), SQL is passed over: that pass only finds names."""

    def __init__(
        self,
        project: Project,
        columns: Collection[str],
        sources: Mapping[str, Collection[str]],
        names: Collection[str],
    ) -> None:
        self.sources = sources
        self.project = project
        self.features = project.features
        self.columns = columns
        self.known = [*columns, *names]
        self.finding_names = not names

    def without_sql(self) -> Iterator[Draft]:
        yield from self.raw()
        windows = list(self.windows())
        yield from windows
        yield from self.labels()
        yield from self.recencies()
        yield from self.pairs()
        yield from self.trends(windows)
        yield from self.hours()
        yield from self.links()
        yield from self.lookups()

    def raw(self) -> Iterator[Draft]:
        usable = [name for name in self.columns if name != "event_time" and name not in self.project.entities]
        for i, name in enumerate(self.features.raw):
            column = "amount" if name == self.project.data.amount else name
            if column not in usable:
                msg = f"features.raw[{i}]: no column {shown(name)} that may be a feature{near(name, usable)}"
                raise ProjectError(msg)
            yield Draft(column, "raw", None, RawSpec(column))

    def windows(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.window):
            place = f"features.window[{i}]"
            self._check_entities(section.by, f"{place}.by")
            if section.source is not None:
                yield from self.source_windows(section, section.source, place)
                continue
            where = None
            if section.where is not None and not self.finding_names:
                where = self._sql(section.where, self.known, f"{place}.where")
            columns = [self._checked(item, WINDOW_KINDS, f"{place}.aggregates") for item in section.aggregates]
            for entity in section.by:
                for length in section.windows:
                    for aggregate, column in zip(section.aggregates, columns, strict=True):
                        name = window_name(entity, Aggregate(aggregate.kind, column), str(length), tag=section.name)
                        spec = WindowSpec(entity, length.us, aggregate.kind, column, where, section.include_current)
                        yield Draft(name, "window", entity, spec)

    def source_windows(self, section: WindowSection, source: str, place: str) -> Iterator[Draft]:
        known = self._source(source, section.by, place)
        where = None if section.where is None else self._sql(section.where, known, f"{place}.where")
        for item in section.aggregates:
            self._checked(item, WINDOW_KINDS, f"{place}.aggregates", known=known)
        tag = source if section.name is None else f"{source}_{section.name}"
        for entity in section.by:
            for length in section.windows:
                for item in section.aggregates:
                    spec = SourceWindowSpec(source, entity, length.us, item.kind, item.column, where)
                    yield Draft(window_name(entity, item, str(length), tag=tag), "window", entity, spec)

    def lookups(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.lookup):
            place = f"features.lookup[{i}]"
            self._check_entities(section.by, f"{place}.by")
            known = self._source(section.source, section.by, place)
            for column in section.columns:
                if column not in known or column in self.project.entities or column == "event_time":
                    usable = [name for name in known if name not in self.project.entities and name != "event_time"]
                    msg = (
                        f"{place}.columns: no column {shown(column)} in source {section.source!r}{near(column, usable)}"
                    )
                    raise ProjectError(msg)
                for entity in section.by:
                    age = None if section.max_age is None else section.max_age.us
                    spec = LookupSpec(section.source, entity, column, age)
                    yield Draft(f"{entity}_{section.source}_{column}", "lookup", entity, spec)

    def _source(self, source: str, entities: Collection[str], place: str) -> Collection[str]:
        """Give the columns of a source that features may use, entities among them."""
        if source not in self.sources:
            msg = f"{place}.source: no source {source!r}{near(source, list(self.sources))}"
            raise ProjectError(msg, hint=f"describe the table in [sources.{source}]")
        for entity in entities:
            if entity not in self.sources[source]:
                msg = f"{place}.by: source {source!r} has no entity {entity!r}"
                raise ProjectError(msg, hint=f"name its column in [sources.{source}] entities")
        return self.sources[source]

    def labels(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.labels):
            self._check_entities(section.by, f"features.labels[{i}].by")
            for aggregate in section.aggregates:
                self._checked(aggregate, LABEL_KINDS, f"features.labels[{i}].aggregates")
            for entity in section.by:
                for length in section.windows:
                    for item in section.aggregates:
                        strength = section.prior_strength if item.kind == "smoothed_rate" else 0.0
                        spec = LabelSpec(entity, length.us, item.kind, strength)
                        yield Draft(f"{entity}_{item.kind}_{length}", "labels", entity, spec)

    def recencies(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.recency):
            self._check_entities(section.by, f"features.recency[{i}].by")
            for aggregate in section.aggregates:
                self._checked(aggregate, RECENCY_KINDS, f"features.recency[{i}].aggregates")
            for entity in section.by:
                for item in section.aggregates:
                    gap = section.run_gap.us if item.kind == "seconds_since_fraud_run_began" else 0
                    yield Draft(f"{entity}_{item.kind}", "recency", entity, RecencySpec(entity, item.kind, gap))

    def pairs(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.pairs):
            self._check_two(section.of, f"features.pairs[{i}].of")
            for item in section.aggregates:
                self._checked(item, PAIR_KINDS, f"features.pairs[{i}].aggregates")
                yield Draft("_".join([*section.of, item.kind]), "pairs", section.of[0], PairSpec(section.of, item.kind))

    def links(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.links):
            self._check_two(section.of, f"features.links[{i}].of")
            for item in section.aggregates:
                self._checked(item, LINK_KINDS, f"features.links[{i}].aggregates")
                spec = LinkSpec(section.of, item.kind, section.hub)
                yield Draft("_".join([*section.of, item.kind]), "links", section.of[0], spec)

    def _check_two(self, names: tuple[str, str], place: str) -> None:
        self._check_entities(names, place)
        if names[0] == names[1]:
            msg = f"{place}: {names[0]!r} twice; expected two entities"
            raise ProjectError(msg)

    def trends(self, windows: list[Draft]) -> Iterator[Draft]:
        """Yield trends, after the windows that they need and the model does not have."""
        there: dict[Spec, str] = {draft.spec: draft.name for draft in windows}
        for i, section in enumerate(self.features.trend):
            place = f"features.trend[{i}]"
            self._check_entities(section.by, f"{place}.by")
            for entity in section.by:
                for aggregate in section.aggregates:
                    column = self._checked(aggregate, WINDOW_KINDS, f"{place}.aggregates")
                    full = Aggregate(aggregate.kind, column)
                    ends: list[str] = []
                    for length in (section.short, section.long):
                        spec = WindowSpec(entity, length.us, aggregate.kind, column)
                        if spec not in there:
                            there[spec] = f".{window_name(entity, full, str(length))}"
                            yield Draft(there[spec], "window", entity, spec)
                        ends.append(there[spec])
                    factor = section.long.seconds / section.short.seconds if aggregate.kind in _PER_TIME else 1.0
                    name = _trend_name(entity, full, section.short, section.long)
                    yield Draft(name, "trend", entity, RatioSpec(ends[0], ends[1], factor))

    def hours(self) -> Iterator[Draft]:
        for i, section in enumerate(self.features.hours):
            self._check_entities(section.by, f"features.hours[{i}].by")
            for aggregate in section.aggregates:
                self._checked(aggregate, HOUR_KINDS, f"features.hours[{i}].aggregates")
            for entity in section.by:
                for length in section.windows:
                    for item in section.aggregates:
                        name = f"{entity}_{item.kind}_{length}"
                        yield Draft(name, "hours", entity, HourSpec(entity, length.us, item.kind))

    def row_level(self) -> Iterator[Draft]:
        for name, text in self.features.columns.items():
            expr = self._sql(text, self.known, f"features.columns.{name}")
            if len(expr.columns) == 1 and expr.columns[0] in self.project.entities and expr.bare:
                msg = f"features.columns.{name}: is the id of entity {shown(expr.columns[0])}, and so never a feature"
                raise ProjectError(msg)
            yield Draft(name, "column", None, RowSpec(expr))

    # ------------------------------------------------------------ checks

    def _check_entities(self, names: Collection[str], place: str) -> None:
        for name in names:
            if name not in self.project.entities:
                msg = f"{place}: no entity {name!r}{near(name, list(self.project.entities))}"
                raise ProjectError(msg)

    def _checked(
        self, aggregate: Aggregate, kinds: Collection[str], place: str, *, known: Collection[str] | None = None
    ) -> str | None:
        """Give the column of an aggregate under the name it is known by, or raise."""
        kind, column = aggregate.kind, aggregate.column
        if kind not in kinds:
            msg = f"{place}: no aggregate {kind!r}{near(kind, sorted(kinds))}"
            raise ProjectError(msg)
        takes_column = kind in NUMERIC_KINDS or kind == "nunique"
        if takes_column != (column is not None):
            wanted = f"a column, such as {kind}(amount)" if takes_column else f"no column: {kind}"
            msg = f"{place}: {str(aggregate)!r}; {kind} takes {wanted}"
            raise ProjectError(msg)
        if column is None or (self.finding_names and known is None):
            return column
        known_as = column if known is not None else self._roles().get(column, inside(column))
        known = self.known if known is None else known
        if column not in known and known_as not in known:
            msg = f"{place}: {str(aggregate)!r}; no column {shown(column)} that a feature may use{near(column, known)}"
            raise ProjectError(msg, hint=self._later(column))
        return column if column in known and inside(column) == column else known_as

    def _roles(self) -> dict[str, str]:
        """Give raw column name -> the name that it is known by, for entities and roles that may be used."""
        names = {column: name for name, column in self.project.entities.items()}
        if self.project.data.amount is not None:
            names[self.project.data.amount] = "amount"
        if self.project.data.event_time is not None:
            names[self.project.data.event_time] = "event_time"
        return names

    def _later(self, column: str) -> str | None:
        data = self.project.data
        if column == "event_time" and not data.has_time:
            return "[data] has no event_time, so nothing can depend on it"
        if column in {data.label, data.label_time, "label", "label_time", *data.ignore}:
            return f"{shown(column)} is known only after the outcome, or ignored, and so never part of a feature"
        return None

    def _sql(self, text: str, allowed: Collection[str], where: str) -> RowExpr:
        """Read SQL; point from a raw column name to the role that it is known by."""
        try:
            return compile_row_sql(text, allowed=allowed, where=where)
        except ProjectError as error:
            data = self.project.data
            roles = self._roles()
            for column in [*roles, data.label, data.label_time, "label", "label_time", *data.ignore]:
                if column is not None and f"no column {shown(column)}" in error.message:
                    known = (
                        f"the column {shown(column)} is known as {roles[column]!r} here" if column in roles else None
                    )
                    raise ProjectError(error.message, hint=known or self._later(column)) from error
            raise


def _trend_name(entity: str, aggregate: Aggregate, short: PositiveDuration, long: PositiveDuration) -> str:
    return window_name(f"{entity}_trend", aggregate, f"{short}_{long}")
