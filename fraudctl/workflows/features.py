"""``features``: from raw tables to the feature table, built once and reused while nothing that matters changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.errors import DataError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.features.definition import FeatureSet
    from fraudctl.tables import Events

_CACHE_VERSION = 1
"""Raised when the normalisation of tables or the meaning of a feature changes: old caches are then built anew."""


@dataclass(frozen=True)
class FeatureTable:
    """The feature table of a project: roles, entities, carried columns, then the features.

    Attributes
    ----------
    frame
        One row per event, sorted by event_time, then event_id.
    features
        What each feature column is.
    known_until
        The latest event_time in the data.
    n_duplicates
        Exact duplicate rows that were dropped.
    fingerprint
        SHA-256 of the data files.
    key
        Digest of everything that the table depends on.
    reused
        Whether it was built before.
    """

    frame: pl.DataFrame
    features: FeatureSet
    known_until: datetime
    n_duplicates: int
    fingerprint: str
    key: str
    reused: bool

    def to_dict(self) -> dict[str, Any]:
        """Give the facts of the table as the document of ``features --json``."""
        return {
            "rows": self.frame.height,
            "known_until": self.known_until,
            "duplicates": self.n_duplicates,
            "data_fingerprint": self.fingerprint,
            "key": self.key,
            "reused": self.reused,
        }


def build_features(project: Project, *, progress: Progress | None = None) -> FeatureTable:
    """Build the project's feature table, or reuse the one built before from the same data and definitions.

    Raises
    ------
    DataError, ProjectError
        As `fraudctl.tables.load_events` and `fraudctl.features.definition.define` do.
    """
    from fraudctl import tables
    from fraudctl.features.definition import define

    progress = progress or Silent()
    files = tables.find_files(project.data.events, root=project.root)
    schema = tables.load_schema(project)
    features = define(project, schema)
    carried = carried_columns(project, features, schema)
    fingerprint = tables.fingerprint(files)
    key = _key(project, features, carried, fingerprint)
    place = project.cache_dir / "features" / f"{key[:32]}.parquet"
    cached = _reuse(place)
    if cached is not None:
        frame, facts = cached
        known_until = datetime.fromisoformat(facts["known_until"])
        return FeatureTable(frame, features, known_until, facts["n_duplicates"], fingerprint, key, reused=True)
    frame, facts = _build(project, features, carried, progress)
    _keep(frame, facts, place)
    known_until = datetime.fromisoformat(facts["known_until"])
    return FeatureTable(frame, features, known_until, facts["n_duplicates"], fingerprint, key, reused=False)


def carried_columns(project: Project, features: FeatureSet, schema: Mapping[str, pl.DataType]) -> list[str]:
    """Give the data columns that travel with the features: for the features, rules, costs, segments and weights."""
    from fraudctl.costs import cost_matrix
    from fraudctl.evaluate import segment_columns
    from fraudctl.features.definition import usable_columns
    from fraudctl.features.rowwise import compile_row_sql

    usable = [*usable_columns(project, schema), *features.names]
    wanted = [*features.carried, *cost_matrix(project.costs).columns]
    wanted += segment_columns(project)
    wanted += [project.data.weight] if project.data.weight else []
    for index, rule in enumerate(project.rules):
        wanted += compile_row_sql(rule.when, allowed=usable, where=f"rules[{index}].when").columns
    present = {*tables_roles(project), *(set(features.names) - set(schema))}
    return [name for name in dict.fromkeys(wanted) if name not in present]


def tables_roles(project: Project) -> set[str]:
    """Give the names of the columns that every feature table of the project has."""
    from fraudctl.tables import ROLES

    return {*ROLES, *project.entities}


def _key(project: Project, features: FeatureSet, carried: Sequence[str], fingerprint: str) -> str:
    settings = {
        "version": _CACHE_VERSION,
        "data": project.data.model_dump(mode="json", exclude={"events"}, fallback=str),
        "entities": project.entities,
        "features": features.digest,
        "carried": list(carried),
        "fingerprint": fingerprint,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _reuse(place: Path) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    from fraudctl import tables

    facts = place.with_suffix(".json")
    try:
        return tables.read_parquet(place), json.loads(facts.read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError):
        return None


def load_project_events(project: Project, features: FeatureSet) -> Events:
    """Load the project's events with every column that travels with its features."""
    from fraudctl import tables

    schema = tables.load_schema(project)
    return tables.load_events(project, columns=carried_columns(project, features, schema))


def _build(
    project: Project, features: FeatureSet, carried: list[str], progress: Progress
) -> tuple[pl.DataFrame, dict[str, Any]]:
    from fraudctl import tables
    from fraudctl.features.batch import build

    progress.stage("Reading events")
    events = tables.load_events(project, columns=carried)
    progress.stage(f"Building {len(features.names)} features for {events.frame.height:,} events")
    frame = build(events, features, timezone=project.data.timezone)
    return frame, {"known_until": events.known_until.isoformat(), "n_duplicates": events.n_duplicates}


def _keep(frame: pl.DataFrame, facts: dict[str, Any], place: Path) -> None:
    from fraudctl import tables

    tables.write_parquet(frame, place)
    tables.write_text(json.dumps(facts), place.with_suffix(".json"))


def write_features(table: FeatureTable, path: Path) -> None:
    """Write the feature table as Parquet: event id and roles first, whole or not at all."""
    from fraudctl import tables

    tables.write_parquet(table.frame, path)


def describe_features(table: FeatureTable) -> list[dict[str, Any]]:
    """Say for each feature what it means, what it takes in, when it is null, and how its values are distributed."""
    n_rows = table.frame.height
    described = []
    for feature in table.features.features:
        values = table.frame[feature.name]
        numeric = values.dtype.is_numeric()
        described.append(
            {
                "name": feature.name,
                "family": feature.family,
                "words": feature.words,
                "entity": feature.entity,
                "dtype": feature.dtype,
                "interval": feature.interval,
                "nulls": feature.nulls,
                "missing_rate": values.null_count() / n_rows,
                "n_distinct": values.n_unique(),
                "p01": values.quantile(0.01) if numeric else None,
                "median": values.median() if numeric else None,
                "p99": values.quantile(0.99) if numeric else None,
            }
        )
    return described
