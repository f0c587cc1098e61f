"""Small projects and events for the feature tests; a text is parsed once, for hundreds of examples use the same."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudctl.data.tables import Events, normalise
from fraudctl.features import FeatureSet, define
from fraudctl.project import Project, parse_project

HEAD = """
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
amount = "eur"
label = "fraud"
label_time = "known_at"
label_delay = "2d"
timezone = "Europe/Berlin"
ignore = ["scenario"]
[entities]
card = "card_id"
shop = "shop_id"
"""

SCHEMA = {
    "id": pl.Int64, "at": pl.Datetime("us", "UTC"), "eur": pl.Float64, "fraud": pl.Int8,
    "known_at": pl.Datetime("us", "UTC"), "card_id": pl.String, "shop_id": pl.Int32, "status": pl.String,
    "items": pl.Int8, "size": pl.Float64, "online": pl.Boolean, "scenario": pl.Int8,
}  # fmt: skip


def _project(features: str) -> Project:
    return parse_project(HEAD + features, path=Path("fraudctl.toml"))


@functools.cache
def _defined(text: str) -> tuple[Project, FeatureSet]:
    project = _project(text)
    return project, define(project, SCHEMA)


def _events(project: Project, features: FeatureSet, columns: Mapping[str, Any]) -> Events:
    height = len(next(iter(columns.values())))
    data = {name: columns.get(name, [None] * height) for name in SCHEMA}
    raw = pl.DataFrame(data, schema=SCHEMA).lazy()
    return normalise(raw, project=project, files=["events"], columns=features.carried)


@pytest.fixture(scope="session")
def project_of() -> Callable[[str], Project]:
    """Parse a project with these feature sections."""
    return _project


@pytest.fixture(scope="session")
def features_of() -> Callable[[str], FeatureSet]:
    """Define the features of these sections on the schema of the tests."""
    return lambda text: _defined(text)[1]


@pytest.fixture(scope="session")
def events_of() -> Callable[..., Events]:
    """Make events for these sections from raw columns."""
    return lambda text, **columns: _events(*_defined(text), columns)
