"""What a policy asks of one event at a time: which rules hold, and in which segment it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.data.own import inside
from fraudctl.errors import BundleError, FraudctlError
from fraudctl.features.meaning.definition import POLARS_TYPES, FeatureSet
from fraudctl.features.rows.compile import compile_row
from fraudctl.features.rows.read import RowExpr, compile_row_sql
from fraudctl.policy import Policy
from fraudctl.policy.segments import as_text
from fraudctl.project.decisions import SEGMENTS
from fraudctl.scoring.events import EPOCH
from fraudctl.scoring.schema import DataSchema

if TYPE_CHECKING:
    from fraudctl.features.online import OnlineRow


class Conditions:
    """The conditions of a policy's rules and the expression of its segments, ready for single events.

    Parameters
    ----------
    policy
        The frozen one.
    features
        Of the bundle; expressions may use any of them.
    schema
        Types of the data columns that they may use too.
    """

    def __init__(self, policy: Policy, features: FeatureSet, schema: DataSchema) -> None:
        self._zone = ZoneInfo(policy.timezone)
        self._at = {feature.name: at for at, feature in enumerate(features.features)}
        roles = {"event_time": pl.Datetime("us", "UTC"), **features.types.get("", {})}
        data = {inside(name): dtype for name, dtype in schema.events.items()}
        self._types = {**data, **roles, **{f.name: POLARS_TYPES[f.dtype] for f in features.features}}
        self._dtypes = {feature.name: feature.dtype for feature in features.features}
        rules = [_compiled(rule.when, self._types, f"rule {rule.name!r}") for rule in policy.rules]
        own = policy.segments if policy.segments is not None and policy.segments.thresholds else None
        segments = [] if own is None else [_compiled(own.by, self._types, SEGMENTS)]
        used = tuple(dict.fromkeys(name for item in (*rules, *segments) for name in item.columns))
        self.readable = frozenset(self._types)
        """Columns that they may read: roles, entities, data columns and features."""
        self._used = used
        seen = {name: _as_seen(dtype) for name, dtype in self._types.items()}
        places = {name: place for place, name in enumerate(used)}
        self._functions = [compile_row(rule, seen, places) for rule in rules]
        self._segment = compile_row(segments[0], seen, places) if segments else None

    def holds(self, event: Mapping[str, Any], row: OnlineRow) -> list[bool]:
        """State for each rule whether its condition is true of an event; null is false."""
        if not self._functions:
            return []
        values = [self._value(name, event, row) for name in self._used]
        return [function(values) is True for function in self._functions]

    def segment(self, event: Mapping[str, Any], row: OnlineRow) -> str | None:
        """Return the segment of an event as text; None if it has none, or if no segment has its own thresholds."""
        if self._segment is None:
            return None
        return as_text(self._segment([self._value(name, event, row) for name in self._used]))

    def _value(self, name: str, event: Mapping[str, Any], row: OnlineRow) -> Any:
        """Return a feature, or what the event holds; times as they are on the wall in the project's zone."""
        at = self._at.get(name)
        if at is not None:
            return typed(row, name, self._dtypes[name], at)
        value = event.get(name)
        if name == "event_time":
            value = EPOCH + timedelta(microseconds=event[name])
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(self._zone).replace(tzinfo=None)
        return value


def typed(row: OnlineRow, name: str, dtype: str, at: int) -> float | int | str | bool | None:
    """Return the value of the feature at position ``at`` of a row in the feature's own type."""
    if dtype == "category":
        return row.categories[name]
    value = float(row.numbers[at])
    if math.isnan(value):
        return None
    if dtype == "float":
        return value
    return value != 0.0 if dtype == "bool" else int(value)


def _as_seen(dtype: pl.DataType) -> pl.DataType:
    return pl.Datetime(dtype.time_unit) if isinstance(dtype, pl.Datetime) else dtype


def _compiled(text: str, types: Mapping[str, pl.DataType], where: str) -> RowExpr:
    try:
        return compile_row_sql(text, allowed=types, where=where)
    except FraudctlError as error:
        msg = f"the policy of the bundle cannot be read: {error.message}"
        raise BundleError(msg, hint="train again, or run `fraudctl threshold`") from error
