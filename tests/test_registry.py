from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraudctl import registry
from fraudctl.errors import BundleError, UsageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("a", "b", "c"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "manifest.json").write_text("{}")
    return tmp_path


RULES = {"gate": "g", "costs": "c"}


def gate(
    models: Path, version: str, verdict: str = "pass", against: str | None = None, not_own: tuple[str, ...] = ()
) -> None:
    evidence = {"not_own": list(not_own), "sections": RULES}
    registry.record_gate(
        models, version, verdict=verdict, reason=f"says {verdict}", compared_with=against, now=NOW, by="ci",
        evidence=evidence,
    )  # fmt: skip


def promote(
    models: Path, version: str, force_reason: str | None = None, sections: dict[str, str] | None = None
) -> registry.Entry:
    return registry.promote(
        models, version, now=NOW + timedelta(hours=1), by="ann", force_reason=force_reason, sections=sections
    )  # fmt: skip


def written(models: Path, version: str, parent: str | None = None) -> None:
    registry.record_written(
        models, version, event="threshold" if parent else "train", parent=parent, now=NOW, by="ci"
    )  # fmt: skip


def latest(models: Path, *there: str) -> str:
    return registry.latest(registry.history(models), there)


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
    del line["savings_base"], line["chain"]
    log.write_text(json.dumps(line) + "\n")
    (models / registry.HEAD_NAME).unlink()
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
    back = {"reason": "false positives", "now": NOW, "by": "bo"}
    assert registry.rollback(models, **back).version == "b"  # type: ignore[arg-type]
    assert registry.rollback(models, **back).version == "a"  # type: ignore[arg-type]
    assert registry.champion(models) == "a"
    with pytest.raises(UsageError, match="no earlier champion"):
        registry.rollback(models, **back)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs a reason"):
        registry.rollback(models, reason=" ", now=NOW, by="bo")
    assert [item.event for item in registry.history(models)][-2:] == ["rollback", "rollback"]


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


def test_a_gate_that_was_chosen_by_hand_counts_neither_for_nor_against(models: Path) -> None:
    gate(models, "a", not_own=("the period was chosen by hand",))
    with pytest.raises(UsageError, match="does not count: the period was chosen by hand"):
        promote(models, "a")
    gate(models, "a", "fail")
    gate(models, "a", not_own=("the period was chosen by hand",))
    with pytest.raises(UsageError, match=r"latest gate of a says fail.*a later gate passed"):
        promote(models, "a")
    entry = promote(models, "a", force_reason="agreed")
    assert entry.evidence is not None
    assert (entry.forced, entry.reason, len(entry.evidence["objections"])) == (True, "agreed", 2)
    gate(models, "b", against="a")
    gate(models, "b", "fail", against="a", not_own=("other scores",))
    assert not promote(models, "b").forced


def test_rules_that_changed_after_the_gate_are_an_objection(models: Path) -> None:
    gate(models, "a")
    with pytest.raises(UsageError, match=r"\[gate\] of the project file changed after the gate of a"):
        promote(models, "a", sections={**RULES, "gate": "weaker"})
    assert not promote(models, "a", sections=RULES).forced


def test_a_gate_noted_without_evidence_needs_another_one(models: Path) -> None:
    registry.record_gate(models, "a", verdict="pass", reason="", compared_with=None, now=NOW, by="ci")
    with pytest.raises(UsageError, match="by an earlier fraudctl"):
        promote(models, "a")


def test_latest_is_what_was_written_last_whatever_its_name(models: Path) -> None:
    for version in ("random-00000000", "2026-03-01-aaaaaaaa", "2025-01-01-bbbbbbbb"):
        written(models, version)
    names = ["2025-01-01-bbbbbbbb", "2026-03-01-aaaaaaaa", "random-00000000"]
    assert latest(models, *names) == names[0]
    written(models, names[1], parent=names[0])
    assert latest(models, *names) == names[1]
    written(models, names[2])  # the same bytes again
    assert latest(models, *names) == names[2]
    assert latest(models, *names[:2]) == names[1], "a bundle that was deleted is passed over"
    assert latest(models, *names, "2030-01-01-ffffffff") == names[2], "what the log does not know is older"


def test_without_the_log_one_version_is_the_latest_and_two_are_ambiguous(models: Path) -> None:
    assert latest(models, "a") == "a"
    with pytest.raises(BundleError, match=r"ambiguous.*a, b") as error:
        latest(models, "a", "b")
    assert "--model b" in str(error.value.hint)
    with pytest.raises(BundleError, match="no bundle"):
        latest(models)


NASTY = "line \u2028 and \u2029 and \x85 and \r and \n and \x0b\x0c\x1c\x1d\x1e and \x00 and \udc80"


@given(st.lists(st.text(st.characters(), min_size=1), min_size=1, max_size=5))
@example([NASTY])
def test_any_reason_is_one_line_of_json_and_comes_back(reasons: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        for reason in reasons:
            registry.record_gate(models, "a", verdict="fail", reason=reason, compared_with=None, now=NOW, by=reason)
        lines = (models / registry.LOG_NAME).read_bytes().split(b"\n")
        assert [json.loads(line)["reason"] for line in lines[:-1]] == reasons
        assert [item.reason for item in registry.history(models)] == reasons


@pytest.fixture
def three(models: Path) -> Path:
    """A log of five lines, the first two of a fraudctl that knew no chain."""
    old = {"at": "t", "event": "gate", "version": "a", "by": "x", "reason": "old", "previous": None, "verdict": "pass"}
    (models / registry.LOG_NAME).write_text(json.dumps(old) + "\n" + json.dumps({**old, "version": "b"}) + "\n")
    assert [item.version for item in registry.history(models)] == ["a", "b"]
    for version in ("a", "b", "c"):
        gate(models, version)
    return models


def test_no_flipped_bit_is_used(three: Path) -> None:
    log = three / registry.LOG_NAME
    content, before = log.read_bytes(), registry.history(three)
    for name in (registry.LOG_NAME, registry.HEAD_NAME):
        whole = (three / name).read_bytes()
        for bit in range(0, 8 * len(whole), 11):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            (three / name).write_bytes(changed)
            with pytest.raises(BundleError):
                registry.history(three)
        (three / name).write_bytes(whole)
    assert (log.read_bytes(), registry.history(three)) == (content, before)


@pytest.mark.parametrize("gone", range(5))
def test_a_removed_line_is_found(three: Path, gone: int) -> None:
    log = three / registry.LOG_NAME
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(BundleError, match=r"line \d") as error:
        registry.history(three)
    assert str(three) in error.value.message
    with pytest.raises(BundleError):
        gate(three, "a")
    log.unlink()
    with pytest.raises(BundleError, match="is missing: the log had 5 lines"):
        registry.history(three)


@pytest.mark.parametrize("place", range(5))
def test_an_altered_line_is_found(three: Path, place: int) -> None:
    log = three / registry.LOG_NAME
    lines = log.read_bytes().splitlines(keepends=True)
    lines[place] = lines[place].replace(b"pass", b"fail")
    log.write_bytes(b"".join(lines))
    with pytest.raises(BundleError, match=r"line \d"):
        registry.champion(three)


def test_concurrent_writers_lose_no_line_even_without_the_lock_file(models: Path) -> None:
    code = (
        "import sys, pathlib, datetime; from fraudctl import registry\n"
        "models = pathlib.Path(sys.argv[1])\n"
        "for i in range(10):\n"
        "    (models / '.registry.lock').unlink(missing_ok=True)\n"
        "    registry.record_written(models, f'{sys.argv[2]}-{i}', event='train', parent=None,\n"
        "        now=datetime.datetime.now(datetime.UTC), by='x')\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(models), name]) for name in "abc"]
    try:
        assert [writer.wait(timeout=300) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
    assert len(registry.history(models)) == 30


def test_nothing_is_lost_when_the_disk_is_full(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate(models, "a")
    before = (models / registry.LOG_NAME).read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="cannot be written"):
        gate(models, "b")
    assert (models / registry.LOG_NAME).read_bytes() == before
    assert len(registry.history(models)) == 1


def test_the_log_only_grows(models: Path) -> None:
    gate(models, "a")
    first = (models / registry.LOG_NAME).read_text()
    promote(models, "a")
    assert (models / registry.LOG_NAME).read_text().startswith(first)
