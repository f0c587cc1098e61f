"""Rules beside the model, for one event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from fraudctl.errors import BundleError, FraudctlError
from fraudctl.features.definition import POLARS_TYPES, FeatureSet
from fraudctl.features.rowwise import RowExpr, compile_row_sql
from fraudctl.policy import PolicyRule
from fraudctl.scoring.schema import DataSchema

if TYPE_CHECKING:
    from fraudctl.features.online import OnlineRow


class Conditions:
    """The conditions of a policy's rules, ready for single events.

    Parameters
    ----------
    rules
        Of the frozen policy.
    features
        Of the bundle; a rule may use any of them.
    schema
        Types of the data columns that a rule may use too.
    """

    def __init__(self, rules: Sequence[PolicyRule], features: FeatureSet, schema: DataSchema, *, timezone: str) -> None:
        self._timezone = timezone
        self._at = {feature.name: at for at, feature in enumerate(features.features)}
        roles = {"event_time": pl.Datetime("us", "UTC"), **features.types.get("", {})}
        self._types = {**schema.events, **roles, **{f.name: POLARS_TYPES[f.dtype] for f in features.features}}
        self._dtypes = {feature.name: feature.dtype for feature in features.features}
        self._rules = [_compiled(rule, self._types) for rule in rules]
        used = dict.fromkeys(name for rule in self._rules for name in rule.columns)
        self.data_columns = tuple(name for name in used if name not in self._at and name not in roles)
        """Data columns that rules read beside roles, entities and features."""
        self._used = tuple(used)

    def holds(self, event: Mapping[str, Any], row: OnlineRow) -> list[bool]:
        """Say for each rule whether its condition is true of an event; null is false."""
        if not self._rules:
            return []
        from fraudctl.scoring.decider import typed

        values = {}
        for name in self._used:
            at = self._at.get(name)
            value = event.get(name) if at is None else typed(row, name, self._dtypes[name], at)
            series = pl.Series(name, [value], dtype=pl.Int64 if name == "event_time" else self._types[name])
            values[name] = series.cast(self._types[name])
        frame = pl.DataFrame(values)
        return [rule.apply(frame, timezone=self._timezone)[0] is True for rule in self._rules]


def _compiled(rule: PolicyRule, types: Mapping[str, pl.DataType]) -> RowExpr:
    try:
        return compile_row_sql(rule.when, allowed=types, where=f"rule {rule.name!r}")
    except FraudctlError as error:
        msg = f"a rule of the bundle cannot be read: {error.message}"
        raise BundleError(msg, hint="train again, or run `fraudctl threshold`") from error
