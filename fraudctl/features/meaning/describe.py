"""What there is to say about features: meaning, interval and null rule, and how their values are distributed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import polars as pl

from fraudctl.documents.types import JsonObject
from fraudctl.features.meaning.definition import Feature, FeatureSet

SCHEMA_VERSION = 1
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


@dataclass(frozen=True)
class Distribution:
    """How the values of one feature lie.

    Attributes
    ----------
    missing_rate
        Share of nulls.
    n_distinct
        Different values that are not null.
    mean, std, low, high
        Of numbers and truth values (as 0 and 1); None for categories and where there is no value; ``std`` has ddof 1.
    quantiles
        Values at `QUANTILES` of numbers, each one of the feature's values (nearest rank); empty otherwise.
    """

    missing_rate: float
    n_distinct: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class FeatureDescription:
    """One feature in words, and its distribution where a table was given."""

    name: str
    family: str
    entity: str | None
    dtype: str
    words: str
    interval: str
    nulls: str
    distribution: Distribution | None


@dataclass(frozen=True)
class Description:
    """All features of a set, in the model's order; ``n_events`` is that of the table, or None without one."""

    features: tuple[FeatureDescription, ...]
    n_events: int | None

    def to_dict(self) -> JsonObject:
        """Return it as what JSON can hold."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def describe(
    features: FeatureSet, column: Callable[[str], pl.Series] | None = None, *, n_events: int | None = None
) -> Description:
    """Describe features, and the distribution of their values where they are given.

    Parameters
    ----------
    features
        From `definition.define`.
    column
        Gives the values of a feature, one at a time, as `batch.build` computes them.
    n_events
        How many there are.
    """
    return Description(tuple(_described(feature, column) for feature in features.features), n_events)


def _described(feature: Feature, column: Callable[[str], pl.Series] | None) -> FeatureDescription:
    return FeatureDescription(
        feature.name, feature.family, feature.entity, feature.dtype, feature.words, feature.interval, feature.nulls,
        None if column is None else distribution(column(feature.name)),
    )  # fmt: skip


def distribution(values: pl.Series) -> Distribution:
    """Measure how the values of a series lie.

    >>> found = distribution(pl.Series([1.0, 2.0, 3.0, None]))
    >>> found.missing_rate, found.mean, found.quantiles[2]
    (0.25, 2.0, 2.0)
    """
    present = values.drop_nulls()
    missing_rate = values.null_count() / len(values) if len(values) else 0.0
    if present.is_empty() or not (present.dtype.is_numeric() or present.dtype == pl.Boolean):
        return Distribution(missing_rate, present.n_unique(), None, None, None, None, ())
    numbers = present.cast(pl.Float64).sort()
    ranks = [math.ceil(share * len(numbers)) - 1 for share in QUANTILES]
    std = numbers.std() if len(numbers) > 1 else None
    return Distribution(
        missing_rate, present.n_unique(), float(numbers.to_numpy().mean()), std if isinstance(std, float) else None,
        float(numbers[0]), float(numbers[-1]), tuple(float(numbers[rank]) for rank in ranks),
    )  # fmt: skip
