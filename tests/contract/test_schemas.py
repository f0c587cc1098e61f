"""What commands print as JSON is what their schemas say: no key beyond them, none without a description."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import run_in
from jsonschema import Draft202012Validator
from worlds import rewrite

from fraudctl.documents.results import as_object, from_json
from fraudctl.evaluate import Evaluation
from fraudctl.features.proof.receipt import TrainingAudit
from fraudctl.project import load_project
from fraudctl.train.summary import TrainingSummary
from fraudctl.workflows.schemas import SchemaKind, json_schema_of
from fraudctl.workflows.train import choose_threshold

RESULTS = [kind for kind in SchemaKind if kind is not SchemaKind.PROJECT]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """A copy of the trained sample."""
    place = tmp_path_factory.mktemp("schemas") / "project"
    shutil.copytree(trained, place)
    rewrite(place, ("[evaluate]\n", '[evaluate]\nsegments = ["channel"]\n'))
    return place


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema of an object below one."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for item in schema.values():
            yield from objects(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from objects(item)


@pytest.mark.parametrize("kind", RESULTS)
def test_a_schema_is_versioned_closed_and_describes_every_key(kind: SchemaKind) -> None:
    schema = json_schema_of(kind)
    Draft202012Validator.check_schema(schema)
    assert str(schema["$id"]).startswith(f"urn:fraudctl:schema:{kind.value}:")
    for item in objects(schema):
        assert item["description"]
        assert item["additionalProperties"] is False or item["additionalProperties"]["description"]
        for key, found in item["properties"].items():
            assert found.get("description"), key
        assert set(item["required"]) <= set(item["properties"])


def test_the_project_file_keeps_its_schema(folder: Path) -> None:
    plain, named = (run_in(folder, "schema", *more) for more in ((), ("--of", "project")))
    assert plain.code == named.code == 0
    assert plain.out == named.out
    assert "costs" in json.loads(plain.out)["properties"]


def require_valid(kind: SchemaKind, document: object) -> None:
    problems = [f"{item.json_path}: {item.message[:200]}" for item in valid(kind).iter_errors(document)]
    assert problems == []


def valid(kind: SchemaKind) -> Draft202012Validator:
    return Draft202012Validator(json_schema_of(kind))


def printed(folder: Path, *args: str) -> Any:
    done = run_in(folder, *args, "--json", "--quiet")
    assert done.code in {0, 1, 5}, done.err
    return json.loads(done.out)


def test_what_commands_print_is_what_their_schemas_say(folder: Path) -> None:
    evaluation = printed(folder, "evaluate")
    require_valid(SchemaKind.EVALUATION, evaluation)
    require_valid(SchemaKind.GATE, evaluation["gate"])
    assert evaluation["by_segment"]["channel"]
    assert evaluation["gate"]["rules"]
    explanation = printed(folder, "explain")
    require_valid(SchemaKind.EXPLANATION, explanation)
    event = str(explanation["errors"][0]["event_id"])
    require_valid(SchemaKind.EVENT, printed(folder, "explain", "--event", event))
    require_valid(SchemaKind.CHECK, printed(folder, "check"))
    first = next(path.name for path in (folder / "models").iterdir() if (path / "manifest.json").exists())
    require_valid(SchemaKind.TRAINING, printed(folder, "threshold"))
    require_valid(SchemaKind.COMPARISON, printed(folder, "compare", first, "latest"))
    card = printed(folder, "models", "card", first)
    require_valid(SchemaKind.CARD, card)
    assert card["evaluation"]["by_segment"] == evaluation["by_segment"]
    own = {key: item for key, item in evaluation.items() if key != "report"}
    assert {item["kind"] for item in own["by_segment"]["channel"]} >= {"value", "rest"}
    assert as_object(from_json(Evaluation, own)) == own
    assert list(valid(SchemaKind.EVALUATION).iter_errors({**evaluation, "new": 1})), "a schema that takes every key"


def test_a_training_result_is_valid_with_all_of_its_parts(folder: Path) -> None:
    found = choose_threshold(load_project(folder))
    whole = replace(found, audit=TrainingAudit(1, 2, 3, 4), timings={"features": 0.5}, peak_memory_mb=1.5)
    require_valid(SchemaKind.TRAINING, as_object(whole))


def test_a_training_summary_is_read_as_it_was_written(folder: Path) -> None:
    manifest = json.loads(next((folder / "models").glob("*/manifest.json")).read_text())
    document = manifest["facts"]["training"]
    assert as_object(from_json(TrainingSummary, document)) == document
    old = {key: item for key, item in document.items() if key not in {"savings_base", "models", "baselines"}}
    read = from_json(TrainingSummary, old)
    assert (read.savings_base, read.models, read.baselines) == (None, 1, {})
