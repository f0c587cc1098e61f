"""Data quality, label maturity and leakage suspects: everything about the data that could make a model dishonest.

Owns the checks behind `fraudctl check`. They look at the raw table, so that one run lists all that is wrong where
loading would stop at the first error; they change nothing and print no cell value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial

import polars as pl

from fraudctl.checks.clock import check_clock
from fraudctl.checks.data import Data, missing_columns, open_data
from fraudctl.checks.labels import check_label_time, check_labels, check_power, check_weeks, label_delays, weeks
from fraudctl.checks.report import CheckReport, ColumnFacts, Finding, Severity, Week, worst_first
from fraudctl.checks.sources import check_sources
from fraudctl.checks.structure import (
    check_amount,
    check_columns,
    check_copies,
    check_decisions,
    check_entities,
    check_event_id,
    check_exposure,
    check_weight,
)
from fraudctl.checks.suspicion import check_leakage, check_results, look
from fraudctl.checks.times import check_times
from fraudctl.errors import FraudctlError
from fraudctl.progress import Progress
from fraudctl.project import Project
from fraudctl.text.plain import shown

__all__ = ["CheckReport", "ColumnFacts", "Finding", "Severity", "Week", "run_checks"]

_MOST_NAMED = 5


def left_out_note(names: Collection[str]) -> str:
    """Say which files of a folder were not read."""
    told = ", ".join(map(shown, list(names)[:_MOST_NAMED])) + (" and more" if len(names) > _MOST_NAMED else "")
    return f"{len(names)} files of the folder are hidden or of an unknown kind, and are left out: {told}"


_NARROWER = "cast it to a decimal of at most 38 digits, or to a float, when writing the file"


def run_checks(
    project: Project,
    raw: pl.LazyFrame,
    *,
    place: str = "data",
    sources: Mapping[str, pl.LazyFrame | FraudctlError] | None = None,
    verdicts: Mapping[str, pl.LazyFrame | FraudctlError] | None = None,
    used: Mapping[str, Collection[str]] | None = None,
    features: FraudctlError | None = None,
    now: datetime | None = None,
    left_out: Mapping[str, pl.DataType] | None = None,
    behind: Collection[str] = (),
    progress: Progress | None = None,
) -> CheckReport:
    """Check a raw table against its project.

    Parameters
    ----------
    project
        The project whose roles, entities, label delay and features the table has to serve.
    raw
        The table as `fraudctl.data.tables.scan` opens it.
    place
        What messages call it.
    sources
        By name: each table of ``[sources]`` as `fraudctl.data.tables.scan` opens it, or why it cannot be opened.
    verdicts
        By name: each table of ``[labels]``, likewise.
    used
        By name: the columns of these tables that features read; None where the features cannot be defined.
    features
        Why the features, rules or segments cannot be defined, if so.
    now
        An aware instant; events later than it are a finding. None leaves that check out.
    left_out
        Column -> type of those that the files hold and ``raw`` lacks, since their type cannot be read.
    behind
        Files of the folder that are not read.

    Returns
    -------
    CheckReport
        Errors are returned, not raised; the caller decides about exit codes.

    Raises
    ------
    DataError
        Only where the files themselves cannot be read.
    """
    data = open_data(project, raw, place=place, verdicts=verdicts, progress=progress)
    if data.n_rows == 0:
        empty = Finding("no-rows", "error", place, "the table has no rows", {"n_rows": 0})
        return CheckReport(worst_first([*missing_columns(data), empty]), 0)
    calendar = weeks(data)
    missing = missing_columns(data)
    findings = [*missing, *data.trouble, *_all_checks(data, now)]
    data.steps.begin("weeks")
    findings += check_weeks(data, calendar)
    data.steps.begin("tables of [sources]")
    beside = [*check_sources(data, sources or {}, used=used, now=now)]
    findings += beside
    findings += [
        Finding("column-left-out", "info", name, f"is {kind}, which cannot be read; it is left out", hint=_NARROWER)
        for name, kind in (left_out or {}).items()
    ]
    if behind:
        hint = "rename them, or name the files by a glob"
        findings.append(
            Finding("files-left-out", "warning", place, left_out_note(behind), {"n_files": len(behind)}, hint)
        )
    if features is not None and not any(item.severity == "error" for item in [*missing, *beside]):
        findings.append(Finding("features-undefined", "error", "features", features.message, hint=features.hint))
    data.steps.begin("frauds of the test period")
    findings += check_power(data)
    label, mature, times = data.label, data.mature, data.event_time
    n_labelled = None if label is None else len(label) - label.null_count()
    n_mature = None if mature is None else int(mature.sum())
    first = None if times is None else times.min()
    return CheckReport(
        findings=worst_first(findings),
        n_events=data.n_rows,
        first=first if isinstance(first, datetime) else None,
        last=data.known_until,
        n_labelled=n_labelled,
        n_frauds=None if label is None else int((label == 1).sum()),
        n_mature=n_mature,
        n_immature=None if n_labelled is None or n_mature is None else n_labelled - n_mature,
        label_delays=label_delays(data),
        weeks=calendar,
        columns=tuple(_facts(data)),
    )


def _all_checks(data: Data, now: datetime | None) -> Iterator[Finding]:
    checks: tuple[tuple[str, Callable[[Data], Iterator[Finding]]], ...] = (
        ("event ids", check_event_id),
        ("times", partial(check_times, now=now)),
        ("outcomes", check_labels),
        ("times of outcomes", check_label_time),
        ("amounts", check_amount),
        ("entities", check_entities),
        ("weights", check_weight),
        ("exposure", check_exposure),
        ("decisions", check_decisions),
    )
    looks = look(data)
    yield from _told(data, checks)
    yield from check_columns(data)
    yield from check_leakage(data, looks)
    yield from _told(
        data, (("copies of rows", check_copies), ("results of events", check_results), ("clocks", check_clock))
    )


def _told(data: Data, checks: Iterable[tuple[str, Callable[[Data], Iterable[Finding]]]]) -> Iterator[Finding]:
    """Do one check after the other, and say which."""
    for what, check in checks:
        data.steps.begin(what)
        yield from check(data)


def _facts(data: Data) -> Iterator[ColumnFacts]:
    roles = data.role_of
    for name, dtype in data.schema.items():
        found = data.tally(name)
        yield ColumnFacts(name, str(dtype), roles.get(name, ""), found.n_null, found.n_unique)
