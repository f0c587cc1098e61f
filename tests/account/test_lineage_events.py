"""The log as OpenLineage events: the structure that the specification asks for, and what the log says."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from retraining import FIRST, World, played, small_contents

from fraudctl import registry
from fraudctl.workflows.account import write_lineage

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def events(tmp_path: Path) -> tuple[World, list[dict[str, Any]]]:
    """A log with a training, promotions, a gate, a refit and a rollback, and its events."""
    (tmp_path / "project").mkdir()
    columns = [["id", "String"], ["at", ["Datetime", "us", "UTC"]]]
    made = replace(small_contents(), features={"features": [], "schema": {"events": columns}})
    with played(World(tmp_path / "project", made)) as world:
        world.crown()
        world.retrain(promote=True, refit=True)
        registry.rollback(world.project.models_dir, reason="alerts doubled", now=NOW + timedelta(days=1), by="Ada")
        result = write_lineage(world.project)
        assert (result.events, result.missing) == (len(world.log), ())
        found = [json.loads(line) for line in result.path.read_text().splitlines()]
        before = result.path.read_bytes()
        write_lineage(world.project)
        assert result.path.read_bytes() == before
    return world, found


def facets(item: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return all facets below an event."""
    if isinstance(item, list):
        return [found for part in item for found in facets(part)]
    if not isinstance(item, dict):
        return []
    own = list(item.get("facets", {}).items())
    return own + [found for key, part in item.items() if key != "facets" for found in facets(part)]


def test_every_event_has_what_the_specification_asks_for(events: tuple[World, list[dict[str, Any]]]) -> None:
    _, found = events
    for event in found:
        assert set(event) == {"eventTime", "eventType", "producer", "schemaURL", "run", "job", "inputs", "outputs"}
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert event["eventType"] == "COMPLETE"
        assert re.match(
            r"https://openlineage\.io/spec/\d+-\d+-\d+/OpenLineage\.json#/\$defs/RunEvent$", event["schemaURL"]
        )
        assert re.match(r"[a-z]+:", event["producer"])
        uuid.UUID(event["run"]["runId"])
        for dataset in (*event["inputs"], *event["outputs"]):
            assert {"namespace", "name"} <= set(dataset)
        for _, facet in facets(event):
            assert {"_producer", "_schemaURL"} <= set(facet)
        kind = event["job"]["facets"]["jobType"]
        assert {"processingType", "integration"} <= set(kind)
    assert len({event["run"]["runId"] for event in found}) == len(found)


SPEC = os.environ.get("OPENLINEAGE_SPEC", "")
"""Folder ``spec`` of a copy of OpenLineage, whose schemas are not part of this project."""


@pytest.mark.skipif(not SPEC, reason="OPENLINEAGE_SPEC names no folder with the published schemas")
def test_the_events_and_their_facets_are_valid_by_the_published_schemas(
    events: tuple[World, list[dict[str, Any]]],
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")

    def read(path: Path) -> tuple[str, Any]:
        schema = json.loads(path.read_text())
        return schema["$id"], referencing.Resource.from_contents(schema)

    files = {
        path.name: read(path) for path in [Path(SPEC) / "OpenLineage.json", *(Path(SPEC) / "facets").glob("*.json")]
    }
    known = referencing.Registry().with_resources(files.values())

    def require_valid(item: Any, url: str) -> None:
        place, _, pointer = url.partition("#")
        name = f"{files[place.rsplit('/', 1)[-1]][0]}#{pointer}"
        jsonschema.Draft202012Validator({"$ref": name}, registry=known).validate(item)

    n_facets = 0
    for event in events[1]:
        require_valid(event, event["schemaURL"])
        for _, facet in facets(event):
            if facet["_schemaURL"].startswith("https://openlineage.io/"):
                require_valid(facet, facet["_schemaURL"])
                n_facets += 1
    assert n_facets > len(events[1])


def test_the_events_say_what_the_log_says(events: tuple[World, list[dict[str, Any]]]) -> None:
    world, found = events
    assert [event["job"]["name"] for event in found] == [f"fraudctl.{entry.event}" for entry in world.log]
    for entry, event in zip(world.log, found, strict=True):
        decision = event["run"]["facets"]["fraudctl_decision"]
        assert (decision["by"], decision["reason"]) == (entry.by, entry.reason)
        names = [dataset["name"] for dataset in event["outputs"]]
        if entry.event in ("train", "refit"):
            assert names == [f"models/{entry.version}"]
            data = event["inputs"][0]
            assert data["name"] == "events.parquet"
            assert len(data["facets"]["version"]["datasetVersion"]) == 64
            assert [(item["name"], item["type"]) for item in data["facets"]["schema"]["fields"]] == [
                ("id", "String"),
                ("at", "Datetime"),
            ]
        if entry.event in ("promote", "rollback"):
            assert names == ["champion"]
            assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == entry.version
        if entry.event == "gate":
            assert decision["verdict"] == "pass"
            assert names == [f"evaluation-{entry.version}"]


def test_a_bundle_that_is_gone_is_named(tmp_path: Path) -> None:
    import shutil

    (tmp_path / "project").mkdir()
    with played(World(tmp_path / "project", small_contents())) as world:
        version = world.write(FIRST, "a" * 64)
        shutil.rmtree(world.project.models_dir / version)
        result = write_lineage(world.project, tmp_path / "out.ndjson")
    assert result.missing == (version,)
    (event,) = [json.loads(line) for line in result.path.read_text().splitlines()]
    assert "version" not in event["inputs"][0]["facets"]
