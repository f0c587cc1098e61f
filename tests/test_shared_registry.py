"""Models that machines share through an object store: what one writes others have; of two promotions one wins."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from object_store import ObjectStore, running_store
from test_bundle import contents

from fraudctl import registry
from fraudctl.bundle import load_bundle
from fraudctl.disk import shared, stores
from fraudctl.errors import BundleError
from fraudctl.project import Project, load_project
from fraudctl.registry import PromotionError
from fraudctl.workflows.versions import open_bundle, version_of, write_noted

pytest.importorskip("obstore")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOML = """
[project]
name = "shared"
[data]
events = "events.parquet"
event_id = "id"
event_time = "at"
label = "fraud"
label_delay = "5d"
[entities]
holder = "card"
[storage]
endpoint = "{endpoint}"
models = "s3://fraud/team/models/"
"""
Machines = Callable[[str], Project]


@pytest.fixture(scope="module")
def _running() -> Iterator[ObjectStore]:
    with running_store() as found:
        yield found


@pytest.fixture
def store(_running: ObjectStore) -> Iterator[ObjectStore]:
    yield _running
    _running.empty()
    for folder in list(shared._addresses):
        shared.begin(folder, None)


@pytest.fixture
def machine(store: ObjectStore, tmp_path: Path) -> Machines:
    """Make a project in a folder of its own, as on a machine of its own, that shares its models with the others."""

    def made(name: str) -> Project:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "fraudctl.toml").write_text(TOML.format(endpoint=store.endpoint))
        return load_project(folder)

    return made


def written(project: Project, seed: int) -> str:
    made = contents()
    text = TOML.format(endpoint="https://x.example.org")
    made = replace(made, project_file=text, facts={"project": "shared", "seed": seed})
    return write_noted(project, made, event="train", parent=None, by=project.root.name).name


def judged(project: Project, version: str, against: str | None = None) -> None:
    registry.record_gate(
        project.models_dir, version, verdict="pass", reason="passes", compared_with=against, now=NOW, by="ci",
        evidence={"not_own": [], "sections": {}},
    )  # fmt: skip


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_what_one_machine_writes_the_others_have(machine: Machines, store: ObjectStore) -> None:
    a, b = machine("a"), machine("b")
    version = written(a, 1)
    assert version_of(b, "latest") == version
    assert open_bundle(b, "latest").version == version
    assert digest(b.models_dir / version) == digest(a.models_dir / version)
    judged(b, version)
    registry.promote(b.models_dir, version, now=NOW, by="b")
    assert version_of(a, "champion") == version
    other = written(b, 2)
    assert version_of(a, "latest") == other
    assert load_bundle(a.models_dir / other).version == other
    assert registry.history(a.models_dir) == registry.history(b.models_dir)
    assert store.get("team/models/registry.jsonl") == (a.root / "models/registry.jsonl").read_bytes()
    assert version_of(machine("c"), "champion") == version


def test_of_two_promotions_one_wins_and_the_other_says_so(machine: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = machine("a"), machine("b")
    versions = [written(a, 1), written(a, 2)]
    for version in versions:
        judged(a, version)
        assert open_bundle(b, version).version == version
    plain, both, results = stores.replace, threading.Barrier(2, timeout=60), {}

    def late(address: str, content: bytes, *, seen: str | None) -> None:
        both.wait()  # both have read the registry, and neither has written it
        plain(address, content, seen=seen)

    monkeypatch.setattr(stores, "replace", late)

    def promote(project: Project, version: str) -> None:
        try:
            results[version] = registry.promote(project.models_dir, version, now=NOW, by=project.root.name)
        except PromotionError as error:
            results[version] = error

    threads = [threading.Thread(target=promote, args=pair) for pair in zip((a, b), versions, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    lost = [version for version in versions if isinstance(results[version], PromotionError)]
    (won,) = set(versions) - set(lost)
    assert len(lost) == 1
    assert f"noted promote of {won}" in str(results[lost[0]])
    assert f"{lost[0]} was not promoted" in str(results[lost[0]])
    assert registry.champion(a.models_dir) == registry.champion(b.models_dir) == won
    assert [e.event for e in registry.history(b.models_dir)].count("promote") == 1


def test_a_note_that_loses_waits_longer_from_try_to_try(machine: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    project = machine("a")
    version = written(project, 1)
    plain, lost, longest = stores.replace, iter(range(registry._TRIES - 1)), []

    def raced(address: str, content: bytes, *, seen: str | None) -> None:
        if next(lost, None) is not None:
            raise stores.RacedError(address)
        plain(address, content, seen=seen)

    class Longest:
        def uniform(self, low: float, high: float) -> float:
            assert low == 0
            longest.append(high)
            return 0.0

    monkeypatch.setattr(stores, "replace", raced)
    monkeypatch.setattr(registry, "SystemRandom", Longest)
    judged(project, version)
    assert [entry.event for entry in registry.history(project.models_dir)] == ["train", "gate"]
    assert len(longest) == registry._TRIES - 1
    assert longest == sorted(set(longest))


def test_notes_of_many_machines_are_all_kept(machine: Machines) -> None:
    machines = [machine(name) for name in "abc"]
    version = written(machines[0], 1)
    for project in machines:
        open_bundle(project, version)
    threads = [
        threading.Thread(target=lambda p=project: [judged(p, version) for _ in range(4)]) for project in machines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert [entry.event for entry in registry.history(machines[1].models_dir)] == ["train", *["gate"] * 12]


def test_a_version_that_is_only_partly_there_is_none(machine: Machines, store: ObjectStore) -> None:
    a = machine("a")
    version = written(a, 1)
    store.client.delete_object(Bucket="fraud", Key=f"team/models/{version}/manifest.json")
    b = machine("b")
    with pytest.raises(BundleError):
        open_bundle(b, version)
    assert not (b.models_dir / version).exists()


def test_a_log_that_was_cut_or_changed_is_found(machine: Machines, store: ObjectStore) -> None:
    a = machine("a")
    version = written(a, 1)
    judged(a, version)
    whole = store.get("team/models/registry.jsonl")
    first = whole.split(b"\n")[0] + b"\n"
    store.put("team/models/registry.jsonl", first)
    with pytest.raises(BundleError, match="does not go on from the one in"):
        registry.history(a.models_dir)
    store.put("team/models/registry.jsonl", whole.replace(b"pass", b"fail"))
    with pytest.raises(BundleError, match=r"has no valid chain|it, or one before it, was changed"):
        registry.history(machine("b").models_dir)


def test_a_registry_of_before_has_to_be_copied(machine: Machines, store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/fraudctl.toml").write_text(TOML.format(endpoint=store.endpoint).replace("models =", "# models ="))
    alone = load_project(tmp_path / "a")
    version = written(alone, 1)
    a = machine("a")
    with pytest.raises(BundleError, match="and there is none at s3://fraud/team/models"):
        registry.history(a.models_dir)
    for path in (tmp_path / "a/models").rglob("*"):
        if path.is_file():
            store.put(f"team/models/{path.relative_to(tmp_path / 'a/models')}", path.read_bytes())
    assert version_of(a, "latest") == version == version_of(machine("b"), "latest")
