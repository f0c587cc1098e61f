"""The card of a model says what its bundle and the log say, and nothing that the log does not vouch for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import run_in
from recount_card import recount_card

from fraudctl.project import load_project
from fraudctl.report.card import card_document
from fraudctl.workflows.account import verify_models, write_card


def version_of(project: Path) -> str:
    (found,) = (path.name for path in (project / "models").iterdir() if path.is_dir())
    return found


def card_of(project: Path, *args: str) -> Any:
    done = run_in(project, "models", "card", *args, "--json", "--quiet")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_each_figure_of_the_card_is_that_of_the_bundle_or_of_the_log(judged: Path) -> None:
    card = write_card(load_project(judged), write=False).card
    assert recount_card(card_document(card), judged) >= 10


def test_the_card_has_the_owners_words_and_says_which_are_missing(project: Path) -> None:
    card = card_of(project)
    words = {item["key"]: item["text"] for item in card["words"]}
    assert words["owner"] == "Payments risk"
    assert "[card] materiality" in card["missing"]
    assert "[card] owner" not in card["missing"]
    page, markdown = (Path(path).read_text() for path in card["pages"])
    assert "payments &lt;before&gt; they" in page
    assert "\\|" in markdown
    assert "compliant" not in page.lower()
    strict = run_in(project, "models", "card", "--strict", "--quiet")
    assert strict.code == 1


def test_a_card_without_missing_parts_is_complete(project: Path) -> None:
    keys = {item["key"] for item in card_of(project)["words"] if item["text"] is None}
    path = project / "fraudctl.toml"
    path.write_text(path.read_text() + "".join(f'{key} = "words"\n' for key in sorted(keys)))
    assert card_of(project)["missing"] == []
    assert run_in(project, "models", "card", "--strict", "--quiet").code == 0


def test_an_evaluation_that_the_log_does_not_know_is_not_in_the_card(project: Path) -> None:
    path = project / "reports" / f"evaluation-{version_of(project)}.json"
    assert card_of(project)["evaluation"]["metrics"]["recall"]
    document = json.loads(path.read_text())
    document["metrics"]["recall"]["value"] = 0.99
    path.write_text(json.dumps(document))
    assert card_of(project)["evaluation"] is None
    warned = run_in(project, "models", "card")
    assert "that the log of the registry knows; the card goes without it" in warned.err
    given = run_in(project, "models", "card", "--evaluation", str(path), "--quiet")
    assert given.code == 4
    assert "hint:" in given.err
    path.write_text("{}")
    assert run_in(project, "models", "card", "--evaluation", str(path), "--quiet").code == 3


def test_the_card_says_who_made_it_the_champion_and_on_what(project: Path) -> None:
    assert "Nobody has made it the champion." in Path(card_of(project)["pages"][1]).read_text()
    version = version_of(project)
    assert run_in(project, "models", "promote", version, "--force", "the first champion", "--quiet").code == 0
    found = write_card(load_project(project), write=False).card
    assert recount_card(card_document(found), project) >= 14
    said = " ".join(card_document(found).sentences())
    assert "made it the champion on 20" in said
    assert "as the first one" in said
    assert found.gate is not None
    assert str(found.gate.evaluation) in said


def test_without_a_gate_the_card_says_so(project: Path) -> None:
    shutil.rmtree(project / "reports")
    log = project / "models" / "registry.jsonl"
    log.write_bytes(log.read_bytes().split(b"\n")[0] + b"\n")
    (project / "models" / ".registry.head").unlink()
    card = card_of(project)
    assert (card["gate"], card["gates"], card["evaluation"]) == (None, 0, None)
    assert "No gate has judged this version." in Path(card["pages"][0]).read_text()


def damage_log(project: Path) -> str:
    log = project / "models" / "registry.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"trained"', b'"learned"', 1))
    return "models/registry.jsonl"


def damage_bundle(project: Path) -> str:
    path = project / "models" / version_of(project) / "model.cbm"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    return f"models/{version_of(project)}"


def damage_predictions(project: Path) -> str:
    (project / "models" / version_of(project) / "predictions.parquet").unlink()
    return f"models/{version_of(project)}"


def damage_report(project: Path) -> str:
    path = project / "reports" / f"evaluation-{version_of(project)}.html"
    path.write_text(path.read_text().replace("recall", "recoil"))
    return f"reports/{path.name}"


def damage_evaluation(project: Path) -> str:
    path = project / "reports" / f"evaluation-{version_of(project)}.json"
    path.write_text(path.read_text().replace('"frauds": ', '"frauds": 1', 1))
    return f"reports/{path.name}"


@pytest.mark.parametrize(
    "damage",
    [damage_log, damage_bundle, damage_predictions, damage_report, damage_evaluation],
    ids=lambda f: f.__name__,
)
def test_whatever_was_changed_is_found(project: Path, damage: Any) -> None:
    assert verify_models(load_project(project)).sound
    name = damage(project)
    done = run_in(project, "models", "verify", "--json", "--quiet")
    assert done.code == 4
    found = json.loads(done.out)
    assert found["sound"] is False
    assert [item["name"] for item in found["items"] if item["found"] not in {"sound", "unknown"}] == [name]


def test_a_champion_whose_bundle_is_gone_is_missing(project: Path) -> None:
    version = version_of(project)
    assert run_in(project, "models", "promote", version, "--force", "a test", "--quiet").code == 0
    shutil.rmtree(project / "models" / version)
    done = run_in(project, "models", "verify", "--json", "--quiet")
    assert done.code == 4
    assert ("missing", f"models/{version}") in {(item["found"], item["name"]) for item in json.loads(done.out)["items"]}
