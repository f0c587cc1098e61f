"""``features``: from raw tables to the feature table, built once and reused while nothing that matters changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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
    features = define(project, tables.load_schema(project))
    carried = carried_columns(project, features)
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


def carried_columns(project: Project, features: FeatureSet) -> list[str]:
    """Give the data columns that travel with the features: for rules, costs, segments, weights and the features."""
    from fraudctl.features.rowwise import compile_row_sql

    made = set(features.names)
    own = {"event_id", "event_time", "amount", "label", "label_time", *project.entities}
    wanted: list[str] = list(features.carried)
    for action in project.costs.actions.values():
        wanted += [cell.column for cell in (action.fraud, action.legit) if cell.column is not None]
    wanted += [rule.by for rule in (project.gate.segments if project.gate else ())]
    wanted += [project.data.weight] if project.data.weight else []
    for index, rule in enumerate(project.rules):
        wanted += compile_row_sql(rule.when, allowed=None, where=f"rules[{index}].when").columns
    return [name for name in dict.fromkeys(wanted) if name not in made | own]


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
