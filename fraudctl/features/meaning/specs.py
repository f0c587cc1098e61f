"""What the engines are told to compute: one small frozen value per feature, without names, words or types."""

from __future__ import annotations

from dataclasses import dataclass

from fraudctl.features.rows.read import RowExpr


@dataclass(frozen=True)
class WindowSpec:
    """An aggregate over earlier events of an entity, event_time in ``(t - window, t)``."""

    entity: str
    window_us: int
    kind: str
    column: str | None = None
    where: RowExpr | None = None
    include_current: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        own = () if self.column is None else (self.column,)
        return own if self.where is None else (*own, *self.where.columns)


@dataclass(frozen=True)
class LabelSpec:
    """An aggregate over labels of an entity's earlier events, label_time in ``(t - window, t]``."""

    entity: str
    window_us: int
    kind: str
    prior_strength: float = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class RecencySpec:
    """Seconds since something earlier of an entity: event_time before t, label_time at or before t."""

    entity: str
    kind: str
    gap_us: int = 0

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class PairSpec:
    """What is known of earlier events that share two entities with this one."""

    entities: tuple[str, str]
    kind: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class LinkSpec:
    """What is known of the entities that this one is linked with; see `links`."""

    entities: tuple[str, str]
    kind: str
    hub: int

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class SourceWindowSpec:
    """An aggregate over rows of another table about the same entity, known in ``(t - window, t)``."""

    source: str
    entity: str
    window_us: int
    kind: str
    column: str | None = None
    where: RowExpr | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the events that have to be there first; those of the source always are."""
        return ()

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of the source that are used."""
        own = () if self.column is None else (self.column,)
        return own if self.where is None else (*own, *self.where.columns)


@dataclass(frozen=True)
class LookupSpec:
    """An attribute of an entity in another table: that of the latest valid row that was known before t."""

    source: str
    entity: str
    column: str
    max_age_us: int | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the events that have to be there first; those of the source always are."""
        return ()

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of the source that are used."""
        return (self.column,)


@dataclass(frozen=True)
class HourSpec:
    """The local hour of the event against those of the entity's earlier events, event_time in ``(t - window, t)``."""

    entity: str
    window_us: int
    kind: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class RatioSpec:
    """One feature over another, times a factor; null where the lower one is null or 0."""

    upper: str
    lower: str
    factor: float

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return (self.upper, self.lower)


@dataclass(frozen=True)
class RowSpec:
    """A row-level expression."""

    expr: RowExpr

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return self.expr.columns


@dataclass(frozen=True)
class RawSpec:
    """A column of the data as it is."""

    column: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return (self.column,)


Spec = (
    WindowSpec
    | LabelSpec
    | RecencySpec
    | PairSpec
    | LinkSpec
    | SourceWindowSpec
    | LookupSpec
    | HourSpec
    | RatioSpec
    | RowSpec
    | RawSpec
)

FROZEN: dict[type, tuple[str, tuple[str, ...]]] = {
    WindowSpec: ("WindowSpec", ("entity", "window_us", "kind", "column", "where", "include_current")),
    LabelSpec: ("LabelSpec", ("entity", "window_us", "kind", "prior_strength")),
    RecencySpec: ("RecencySpec", ("entity", "kind", "gap_us")),
    PairSpec: ("PairSpec", ("entities", "kind")),
    LinkSpec: ("LinkSpec", ("entities", "kind", "hub")),
    SourceWindowSpec: ("SourceWindowSpec", ("source", "entity", "window_us", "kind", "column", "where")),
    LookupSpec: ("LookupSpec", ("source", "entity", "column", "max_age_us")),
    HourSpec: ("HourSpec", ("entity", "window_us", "kind")),
    RatioSpec: ("RatioSpec", ("upper", "lower", "factor")),
    RawSpec: ("RawSpec", ("column",)),
}
"""Name and fields of a spec in the text that digests are taken of; a row-level spec is its SQL."""


def grouped_by(spec: Spec) -> tuple[str, ...]:
    """Give the entities by which the events are grouped for a feature; none where they are not."""
    if isinstance(spec, PairSpec):
        return spec.entities
    return (spec.entity,) if isinstance(spec, (WindowSpec, LabelSpec, RecencySpec, HourSpec)) else ()
