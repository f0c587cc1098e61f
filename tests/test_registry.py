from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fraudctl import registry
from fraudctl.errors import BundleError, UsageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("a", "b", "c"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "manifest.json").write_text("{}")
    return tmp_path


def gate(models: Path, version: str, verdict: str = "pass", against: str | None = None) -> None:
    registry.record_gate(
        models, version, verdict=verdict, reason=f"says {verdict}", compared_with=against, now=NOW, by="ci"
    )


def promote(models: Path, version: str, force_reason: str | None = None) -> registry.Entry:
    return registry.promote(models, version, now=NOW + timedelta(hours=1), by="ann", force_reason=force_reason)


def test_no_registry_no_champion(tmp_path: Path) -> None:
    assert registry.champion(tmp_path) is None
    assert registry.history(tmp_path) == ()


def test_a_passed_gate_promotes_and_the_log_says_who_when_and_why(models: Path) -> None:
    gate(models, "a")
    entry = promote(models, "a")
    assert (entry.version, entry.previous, entry.forced, entry.reason) == ("a", None, False, "says pass")
    assert (entry.by, entry.at) == ("ann", "2026-03-01T13:00:00+00:00")
    assert registry.champion(models) == "a"
    assert [item.event for item in registry.history(models)] == ["gate", "promote"]


def test_a_gate_says_what_savings_were_measured_against_and_an_old_one_no_longer_promotes(models: Path) -> None:
    gate(models, "a")
    log = models / registry.LOG_NAME
    assert [item.savings_base for item in registry.history(models)] == ["cheapest constant action"]
    line = json.loads(log.read_text())
    del line["savings_base"]
    log.write_text(json.dumps(line) + "\n")
    assert registry.history(models)[0].savings_base == "better of allowing all and blocking all"
    with pytest.raises(UsageError, match="better of allowing all and blocking all, and now are against the cheapest"):
        promote(models, "a")
    assert promote(models, "a", "no time").forced
    gate(models, "b", against="a")
    assert not promote(models, "b").forced


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "none", "refused"])
def test_nothing_but_a_pass_promotes(models: Path, verdict: str) -> None:
    with pytest.raises(UsageError, match="has not been through a gate"):
        promote(models, "a")
    gate(models, "a")
    gate(models, "a", verdict)
    with pytest.raises(UsageError, match=f"latest gate of a says {verdict}"):
        promote(models, "a")
    assert registry.champion(models) is None


def test_force_needs_a_reason_and_is_marked(models: Path) -> None:
    with pytest.raises(UsageError):
        promote(models, "a", force_reason="  ")
    entry = promote(models, "a", force_reason="outage of the old model")
    assert (entry.forced, entry.reason) == (True, "outage of the old model")


def test_the_gate_must_have_met_todays_champion(models: Path) -> None:
    gate(models, "a")
    promote(models, "a")
    gate(models, "b")
    with pytest.raises(UsageError, match="did not compare it with the champion a"):
        promote(models, "b")
    gate(models, "b", against="a")
    assert promote(models, "b").previous == "a"
    with pytest.raises(UsageError, match="champion already"):
        promote(models, "b")


def test_rollback_goes_back_step_by_step(models: Path) -> None:
    for version, before in (("a", None), ("b", "a"), ("c", "b")):
        gate(models, version, against=before)
        promote(models, version)
    back = {"reason": "false alarms", "now": NOW, "by": "bo"}
    assert registry.rollback(models, **back).version == "b"  # type: ignore[arg-type]
    assert registry.rollback(models, **back).version == "a"  # type: ignore[arg-type]
    assert registry.champion(models) == "a"
    with pytest.raises(UsageError, match="no earlier champion"):
        registry.rollback(models, **back)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a reason"):
        registry.rollback(models, reason=" ", now=NOW, by="bo")
    assert [item["event"] for item in registry.to_dict(models)["log"]][-2:] == ["rollback", "rollback"]


def test_only_bundles_that_are_there(models: Path) -> None:
    gate(models, "x")
    with pytest.raises(BundleError, match="no bundle 'x'"):
        promote(models, "x")


def test_a_damaged_log_is_an_error_and_stays_as_it_is(models: Path) -> None:
    gate(models, "a")
    log = models / registry.LOG_NAME
    log.write_text(log.read_text() + '{"event": "promo')
    before = log.read_bytes()
    with pytest.raises(BundleError, match="line 2"):
        promote(models, "a")
    assert log.read_bytes() == before


def test_the_log_only_grows(models: Path) -> None:
    gate(models, "a")
    first = (models / registry.LOG_NAME).read_text()
    promote(models, "a")
    assert (models / registry.LOG_NAME).read_text().startswith(first)
