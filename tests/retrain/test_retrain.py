"""The order of retraining: every step once, whatever dies; when nothing is done; what may be promoted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faults.disk import Faults, every_fault, faulty
from retraining import FIRST, TOML, World, copied, played, small_contents

from fraudctl import registry, runs
from fraudctl.bundle import BundleContents, load_bundle
from fraudctl.checks.report import Finding
from fraudctl.errors import BundleError, DataError, FraudctlError, UsageError
from fraudctl.project import parse_project
from fraudctl.workflows import retrain
from fraudctl.workflows.retrain import acknowledge_failures, retrain_model
from fraudctl.workflows.retrained import RetrainResult
from fraudctl.workflows.situation import DueRule


@pytest.fixture(scope="module")
def made() -> BundleContents:
    return small_contents()


@pytest.fixture
def world(made: BundleContents, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "project").mkdir()
    with played(World(tmp_path / "project", made)) as found:
        yield found


def bundles(world: World) -> dict[str, bytes]:
    models = world.project.models_dir
    return {str(path.relative_to(models)): path.read_bytes() for path in models.glob("2*/*")}


def steps(result: RetrainResult) -> list[str]:
    return [item.step for item in result.steps]


def test_a_better_model_becomes_the_champion_and_the_registry_says_on_what_evidence(world: World) -> None:
    champion = world.crown()
    result = world.retrain(promote=True, refit=True)
    assert (result.outcome, result.exit_code, result.champion) == ("promoted", 0, champion)
    assert steps(result) == ["inputs", "check", "train", "gate", "refit", "promote", "end"]
    last = world.log[-1]
    assert (last.event, last.version, last.previous) == ("promote", result.version, champion)
    assert last.version == registry.champion(world.project.models_dir)
    evidence: Any = last.evidence
    assert evidence["verdict"] == "pass"
    gated = result.steps[3].facts["version"]
    assert evidence["judged"] == {
        "period": {"from": "a", "until": "b"}, "events": 900, "frauds": 300, "evaluation": "1" * 64, "report": "2" * 64,
        "refit_of": gated, "agreement": 0.995,
    }  # fmt: skip
    assert gated != result.version
    assert "995 of 1,000" in result.sentence


@pytest.mark.parametrize(("verdict", "outcome", "code"), [
    ("fail", "gate failed", 1), ("inconclusive", "inconclusive", 5), ("refused", "refused", 2),
])  # fmt: skip
def test_a_gate_that_does_not_pass_promotes_nothing(world: World, verdict: str, outcome: str, code: int) -> None:
    champion, world.verdict = world.crown(), verdict
    result = world.retrain(promote=True)
    assert (result.outcome, result.exit_code) == (outcome, code)
    assert registry.champion(world.project.models_dir) == champion
    again = world.retrain(promote=True)
    assert (again.outcome, again.exit_code) == (outcome, code)
    assert "nothing was done" in again.sentence
    assert world.calls == ["check", "train", "gate"]


def test_data_with_errors_are_not_trained_on(world: World) -> None:
    world.errors = (Finding("labels", "error", "is_fraud", "holds 3 other values"),)
    result = world.retrain()
    assert (result.outcome, result.exit_code, world.calls) == ("check failed", 1, ["check"])
    assert "is_fraud: holds 3 other values" in result.sentence


def finished(world: World, wanted: dict[str, bytes], version: str, champion: str) -> None:
    """Check that after a fault the same call ends as it does without one: promoted once, the same bytes."""
    models = world.project.models_dir
    assert registry.champion(models) in {champion, version}
    result = world.retrain(promote=True, refit=True)
    assert result.exit_code == 0, result
    assert registry.champion(models) == version
    assert world.promotions() == [champion, version]
    assert bundles(world) == wanted
    assert world.calls.count("train") <= 1
    runs.history(world.project.runs_dir)
    assert not list(world.project.runs_dir.rglob(".*.tmp")), "left over"


@pytest.mark.parametrize("kind", ["death", "full"])
def test_whatever_call_to_the_disk_is_the_last_the_next_run_ends_as_if_nothing_had_been(
    world: World, tmp_path: Path, kind: str
) -> None:
    champion = world.crown()
    calm = copied(world, tmp_path / "calm")
    with played(calm):
        version = calm.retrain(promote=True, refit=True).version or ""
    wanted, place = bundles(calm), tmp_path / "run"

    def folder() -> Path:
        return copied(world, place).folder

    def run(at: Path) -> None:
        with played(replace(world, folder=at, calls=[])) as now:
            now.retrain(promote=True, refit=True)

    n = 0
    for _, error in every_fault(run, folder, kinds=(kind,), most=30):
        n += 1
        assert error is None or isinstance(error, (FraudctlError, OSError)), error
        with played(replace(world, folder=place, calls=[])) as now:
            finished(now, wanted, version, champion)
    assert n >= 30


def test_what_was_done_before_a_death_is_not_done_again(world: World, tmp_path: Path) -> None:
    world.crown()

    def folder() -> Path:
        return copied(world, tmp_path / "run").folder

    with faulty(Faults(folder())) as counted, played(replace(world, folder=counted.folder, calls=[])) as now:
        now.retrain(promote=True)
    done: set[tuple[str, ...]] = set()
    for at in range(2, len(counted.names), 6):
        with played(replace(world, folder=folder(), calls=[])) as now:
            with faulty(Faults(now.folder, at, "death")):
                now.retrain(promote=True)
            before = runs.history(now.project.runs_dir)
            receipts = {item.step for item in before[-1].receipts} if before else set()
            now.calls.clear()
            now.retrain(promote=True)
            assert not receipts & {*now.calls}
            done.add(tuple(now.calls))
    assert {(), ("check", "train", "gate"), ("train", "gate"), ("gate",)} <= done


def test_one_run_at_a_time(world: World) -> None:
    with runs.locked(world.project.runs_dir) as free:
        assert free
        result = world.retrain(promote=True)
        assert (result.outcome, result.exit_code, world.calls) == ("running", 0, [])
        with pytest.raises(UsageError, match="under way"):
            acknowledge_failures(world.project, note="x")
    assert world.retrain(promote=True).outcome == "promoted"


def test_two_failed_gates_in_a_row_stop_the_schedule_until_a_person_acknowledges_them(world: World) -> None:
    world.crown()
    world.verdict = "fail"
    for day in (1, 2):
        world.known_until, world.data = FIRST + timedelta(days=100 + day), f"{day}" * 64
        assert world.retrain(promote=True).outcome == "gate failed"
    world.known_until, world.data, world.verdict = FIRST + timedelta(days=103), "3" * 64, "pass"
    stopped = world.retrain(promote=True)
    assert (stopped.outcome, stopped.exit_code) == ("stopped", 1)
    assert "acknowledge" in stopped.sentence
    with pytest.raises(UsageError, match="needs a note"):
        acknowledge_failures(world.project, note=" ", now=FIRST)
    acknowledge_failures(world.project, note="a feed was late", now=FIRST, by="Ada")
    assert world.retrain(promote=True).outcome == "promoted"
    with pytest.raises(UsageError, match="no failed gate"):
        acknowledge_failures(world.project, note="again", now=FIRST)
    noted = runs.history(world.project.runs_dir)[1].facts("acknowledged")
    assert noted == {"note": "a feed was late"}


def test_an_inconclusive_gate_between_two_failed_ones_stops_nothing(world: World) -> None:
    world.crown()
    for day, world.verdict in enumerate(["fail", "inconclusive", "fail"], start=1):
        world.known_until, world.data = FIRST + timedelta(days=100 + day), f"{day}" * 64
        assert world.retrain(promote=True).outcome != "stopped"
    assert runs.failures_in_a_row(runs.history(world.project.runs_dir)) == 1


def test_one_promotion_per_label_delay_by_the_time_of_the_data(world: World) -> None:
    world.crown()
    assert world.retrain(promote=True).outcome == "promoted"
    first = world.known_until
    world.known_until, world.data = first + timedelta(days=13), "5" * 64
    soon = world.retrain(promote=True)
    assert (soon.outcome, soon.exit_code) == ("not due", 0)
    assert "one promotion per label delay (14d)" in soon.sentence
    assert world.retrain().outcome == "passed"  # a candidate may be trained at any time
    world.known_until, world.data = first + timedelta(days=14), "6" * 64
    assert world.retrain(promote=True).outcome == "promoted"
    assert len(world.promotions()) == 3


def test_nothing_is_done_on_the_data_of_the_champion_or_where_no_comparison_is_possible(world: World) -> None:
    world.crown()
    world.retrain(promote=True)
    same = world.retrain(promote=True)
    assert (same.outcome, same.exit_code) == ("not due", 0)
    assert "was trained on these data" in same.sentence
    world.known_until -= timedelta(days=10)
    world.data = "7" * 64
    assert "could not be compared" in world.retrain().sentence


def test_a_rolled_back_model_is_not_promoted_again_on_the_same_inputs(world: World) -> None:
    champion = world.crown()
    version = world.retrain(promote=True).version
    registry.rollback(world.project.models_dir, reason="alerts doubled", now=FIRST, by="Ada")
    again = world.retrain(promote=True)
    assert "since then" in again.sentence
    assert registry.champion(world.project.models_dir) == champion
    assert world.promotions() == [champion, version]


def test_a_run_on_other_data_is_given_up_and_resume_says_what_changed(world: World, tmp_path: Path) -> None:
    world.crown()
    with faulty(Faults(world.folder, 60, "death")):
        world.retrain(promote=True)
    begun = runs.history(world.project.runs_dir)[-1]
    assert not begun.ended
    world.data = "8" * 64
    with pytest.raises(DataError, match=r"1 file of the data \(events.parquet\)"):
        world.retrain(resume=True)
    assert world.retrain(promote=True).outcome == "promoted"
    assert runs.history(world.project.runs_dir)[0].facts("end")["outcome"] == "superseded"
    nothing = world.retrain(resume=True)
    assert (nothing.outcome, nothing.exit_code) == ("not due", 0)


def test_resume_goes_on_as_the_run_was_asked(world: World) -> None:
    champion = world.crown()
    with faulty(Faults(world.folder, 60, "death")):
        world.retrain(promote=True)
    result = world.retrain(resume=True)
    assert result.outcome == "promoted"
    assert world.promotions() == [champion, result.version]


def test_data_that_change_during_a_run_end_it(world: World) -> None:
    champion, world.changes = world.crown(), True
    with pytest.raises(DataError, match="changed while run 0001"):
        world.retrain(promote=True)
    assert registry.champion(world.project.models_dir) == champion
    assert runs.history(world.project.runs_dir)[-1].get("train") is None


def test_a_champion_whose_folder_is_gone_is_never_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from fraudctl.workflows import situation

    champion = world.crown()
    shutil.rmtree(world.project.models_dir / champion)
    monkeypatch.setattr(retrain, "look", lambda project: situation._champion(project))
    with pytest.raises(BundleError, match="folder of the champion") as caught:
        world.retrain(promote=True)
    assert champion in (caught.value.hint or "")
    assert registry.champion(world.project.models_dir) == champion


def test_a_champion_made_by_hand_meanwhile_is_not_replaced_unseen(world: World) -> None:
    world.crown()
    with faulty(Faults(world.folder, 60, "death")):
        world.retrain(promote=True)
    other = world.write(FIRST + timedelta(days=1), "9" * 64)
    registry.promote(world.project.models_dir, other, now=FIRST, by="Ada", force_reason="an attack")
    result = world.retrain()
    assert result.champion == other
    assert runs.history(world.project.runs_dir)[0].facts("end")["outcome"] == "superseded"


def test_a_gate_without_a_rule_on_the_champion_promotes_over_none(world: World) -> None:
    world.crown()
    text = TOML.replace('champion = { metric = "savings", no_worse_than = 0.02 }', "")
    project = parse_project(text, path=world.folder / "fraudctl.toml")
    with pytest.raises(UsageError, match="no rule on the champion"):
        retrain_model(project, promote=True)
    with pytest.raises(UsageError, match=r"no \[gate\]"):
        retrain_model(parse_project(TOML.split("[gate]")[0], path=world.folder / "fraudctl.toml"))


def test_a_dry_run_writes_nothing(world: World) -> None:
    world.crown()
    planned = world.retrain(dry_run=True, promote=True, refit=True)
    assert planned.sentence.startswith("would check, train, gate, refit, promote as of 2026-04-16")
    assert not world.project.runs_dir.exists()
    assert "asked 400" in world.retrain(dry_run=True, conditions=("frauds=400",)).sentence


def test_conditions(world: World) -> None:
    world.crown()  # its data end 44 days after its as_of; the present ones 46 days later
    due = {"age=46d": True, "age=47d": False, "frauds=40": True, "frauds=41": False, "always": True}
    for text, holds in due.items():
        assert DueRule.parse(text).asked(world.look(world.project))[0] is holds, text
    assert world.retrain(conditions=("age=47d", "frauds=41")).outcome == "not due"
    assert world.calls == []
    assert world.retrain(conditions=("age=47d", "frauds=40")).outcome == "passed"
    for text in ("age=soon", "age=0d", "age=0s", "frauds=0", "frauds=many", "drift", "age"):
        with pytest.raises(UsageError, match=f"--if {text}"):
            DueRule.parse(text)


def test_a_changed_or_removed_receipt_is_found(world: World) -> None:
    world.crown()
    world.retrain(promote=True)
    world.known_until, world.data = world.known_until + timedelta(days=20), "5" * 64
    world.retrain(promote=True)
    first, second = sorted(path for path in world.project.runs_dir.iterdir() if path.is_dir())
    receipt = first / "04-gate.json"
    content = receipt.read_bytes()
    receipt.write_bytes(content.replace(b'"pass"', b'"fail"'))
    with pytest.raises(BundleError, match=r"04-gate.json: was changed"):
        world.retrain()
    receipt.unlink()
    with pytest.raises(BundleError, match="does not follow"):
        world.retrain()
    receipt.write_bytes(content)
    world.retrain()
    last = max(first.iterdir())
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(BundleError, match="does not follow"):  # the next run began after it
        runs.history(world.project.runs_dir)
    last.write_bytes(kept)
    shutil.rmtree(first)
    with pytest.raises(BundleError, match="run 0001 is missing"):
        runs.history(world.project.runs_dir)
    assert second.is_dir()


def test_the_same_inputs_write_the_same_bundle(world: World, tmp_path: Path) -> None:
    version = world.write(FIRST, "a" * 64)
    other = replace(world, folder=tmp_path / "other")
    other.folder.mkdir()
    assert other.write(FIRST, "a" * 64) == version
    assert load_bundle(other.project.models_dir / version).facts["data_fingerprint"] == "a" * 64


def test_an_alarm_of_harm_starts_a_run_that_may_promote(world: World) -> None:
    world.crown()
    never = world.retrain(conditions=("monitor",), promote=True)
    assert (never.outcome, never.exit_code) == ("not due", 0)
    assert "it has not run yet" in never.sentence
    world.watch()
    assert "no open alarm" in world.retrain(conditions=("monitor",), promote=True).sentence
    world.watch("harm", "drift")
    done = world.retrain(conditions=("monitor",), promote=True)
    assert done.outcome == "promoted"
    assert "harm: harm moved" in done.conditions[0]


def test_drift_starts_a_training_and_never_a_promotion(world: World) -> None:
    champion = world.crown()
    world.watch("drift")
    done = world.retrain(conditions=("monitor",), promote=True)
    assert (done.outcome, done.exit_code) == ("passed", 0)
    assert "never a promotion" in done.conditions[-1]
    assert registry.champion(world.project.models_dir) == champion
    by_age = world.retrain(conditions=("monitor", "age=1d"), promote=True)  # another reason, too
    assert by_age.outcome == "promoted"


def test_an_acknowledged_alarm_starts_nothing(world: World) -> None:
    world.crown()
    world.watch("harm")
    world.acknowledge("harm")
    assert world.retrain(conditions=("monitor",)).outcome == "not due"
    world.watch("harm", noted=True)
    assert world.retrain(conditions=("monitor",)).outcome == "not due"


def test_nothing_is_promoted_while_the_data_are_in_alarm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    champion = world.crown()
    world.watch("data")
    stopped = world.retrain(promote=True)
    assert (stopped.outcome, stopped.exit_code, world.calls) == ("data alarm", 1, [])
    assert "data moved" in stopped.sentence
    assert world.retrain(conditions=("monitor",)).outcome == "not due"  # nor does it start a training
    world.acknowledge("data")
    real = world.evaluate

    def alarmed(*args: Any, **options: Any) -> None:
        real(*args, **options)
        world.watch("data", again="-2")

    monkeypatch.setattr(retrain, "evaluate_model", alarmed)  # the alarm comes while the run is under way
    late = world.retrain(promote=True)
    assert (late.outcome, late.exit_code) == ("data alarm", 1)
    assert registry.champion(world.project.models_dir) == champion
