"""A disk that fails at every call of a run of `monitor`: its log keeps what was there, and its files are whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path

from faults.disk import every_fault

from fraudctl.errors import FraudctlError
from fraudctl.monitor.outcome import MonitorResult
from fraudctl.project import Project, parse_project
from fraudctl.workflows.monitor import write_prometheus
from fraudctl.workflows.monitor_log import acknowledge_alarm, read_log, record_run

AT = datetime(2026, 3, 2, tzinfo=UTC)
TEXT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
label = "y"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 5 }
block.legit = { fixed = 1 }
"""
FIRST = MonitorResult(
    project="p", verdict="quiet", reason="nothing moved that matters", exit_code=0, fail_on_drift=False, as_of=AT,
    model="2026-02-01-00000000", timezone="UTC", currency="EUR", decisions=1000, last_decision=AT,
    first_day=date(2026, 2, 1), last_day=date(2026, 3, 1), reference_days=56, series=12, threshold=4.8,
    false_alarms="1 per year", alarms=(), minor=(), limits=(), parity=None, left_out={}, notes=(),
)  # fmt: skip
NEXT = replace(FIRST, decisions=1500, last_decision=AT.replace(hour=6))


def project_in(folder: Path) -> Project:
    return parse_project(TEXT, path=folder / "fraudctl.toml")


def test_no_run_is_lost_and_no_file_is_half_whatever_call_fails(tmp_path: Path) -> None:
    numbers = count()

    def folder() -> Path:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        record_run(project_in(place), FIRST)
        write_prometheus(FIRST, place / "out.prom")
        return place

    def run(place: Path) -> None:
        record_run(project_in(place), NEXT)
        write_prometheus(NEXT, place / "out.prom")

    wanted = folder()
    before = (wanted / "out.prom").read_bytes()
    run(wanted)
    after = (wanted / "out.prom").read_bytes()
    assert before != after
    failed = 0
    for faults, error in every_fault(run, folder, most=60):
        assert error is None or isinstance(error, FraudctlError), (faults.kind, error)
        failed += error is not None or faults.kind == "death"
        found = [item["decisions"] for item in read_log(project_in(faults.folder))]
        assert found in ([1000], [1000, 1500]), (faults.kind, faults.at, found)
        prom = (faults.folder / "out.prom").read_bytes()
        assert prom in (before, after), (faults.kind, faults.at)
        if prom == after:
            assert found == [1000, 1500]  # what is shown stands in the log
        run(faults.folder)  # and the next run is taken
        assert read_log(project_in(faults.folder))[-1]["decisions"] == 1500
    assert failed > 10


def test_a_note_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    from fraudctl.monitor.outcome import MonitorAlarm

    alarm = MonitorAlarm("1a2b3c4d", "data", "blind", "blind")
    numbers = count()

    def folder() -> Path:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        record_run(project_in(place), replace(FIRST, alarms=(alarm,), verdict="act", exit_code=1))
        return place

    def run(place: Path) -> None:
        acknowledge_alarm(project_in(place), "1a2b3c4d", note="known", now=AT, by="ann")

    for faults, error in every_fault(run, folder, most=40):
        assert error is None or isinstance(error, FraudctlError), (faults.kind, error)
        kinds = [item["kind"] for item in read_log(project_in(faults.folder))]
        assert kinds in (["run"], ["run", "note"])
