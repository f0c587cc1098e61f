"""What the engines are told to compute: one small frozen value per feature, without names, words or types."""

from __future__ import annotations

from dataclasses import dataclass

from fraudctl.features.rowwise import RowExpr

DAY_US = 86_400_000_000


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

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


@dataclass(frozen=True)
class RecencySpec:
    """Seconds since something earlier of an entity: event_time before t, label_time at or before t."""

    entity: str
    kind: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that have to be there first."""
        return ()


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


Spec = WindowSpec | LabelSpec | RecencySpec | RowSpec | RawSpec
