"""``dashboard``: decisions and outcomes to one page, and the same figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

from fraudctl.errors import DataError, UsageError
from fraudctl.monitor.dashboard import Dashboard, MonitorRun, MonitorRunAlarm
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project
from fraudctl.text.plain import shown, shown_all

STATE = "state"
"""Folder of the project where decisions are looked for by default."""
LEAST_DAYS = 7
ROLES = ("champion", "challenger")


@dataclass(frozen=True)
class DashboardResult:
    """A dashboard and where it was written."""

    JSON: ClassVar = ("*dashboard", "page")

    dashboard: Dashboard
    """The dashboard."""
    page: Path | None = None
    """The HTML page; null where none was written."""

    def _repr_html_(self) -> str:
        """Show the dashboard in a notebook."""
        from fraudctl.report.render import dashboard_notebook

        return dashboard_notebook(self.dashboard)


def make_dashboard(
    project: Project,
    decisions: Sequence[str | Path] = (),
    *,
    output: Path | None = None,
    write: bool = True,
    period_days: int = 182,
    by: str | None = None,
    as_of: datetime | date | None = None,
    role: str = "champion",
    progress: Progress | None = None,
) -> DashboardResult:
    """Make the dashboard of a project from decisions and their outcomes.

    Parameters
    ----------
    decisions
        The folder of a state, or Parquet files of decisions; by default the folder ``state`` of the project.
    output
        The page; by default ``reports/dashboard.html``.
    write
        Whether to write it.
    period_days
        Days before ``as_of`` that are shown.
    by
        Column of the data, or ``model`` or ``action`` of decisions, to group by.
    as_of
        Nothing later is known; a day without a time means its end. By default the latest event of data and decisions.
    role
        Of a log that holds champion and challenger.

    Raises
    ------
    UsageError
        The period is shorter than a week, there is no such role, or the page would not be HTML.
    DataError
        There are no decisions, or they or their outcomes cannot be read.
    BundleError
        The log of models or that of runs of `monitor` is damaged.
    """
    from fraudctl import registry
    from fraudctl.data import outputs
    from fraudctl.monitor.dashboard import dashboard
    from fraudctl.report.render import dashboard_report
    from fraudctl.workflows.evidence import promised_savings
    from fraudctl.workflows.logged import read_logged, with_outcomes

    if period_days < LEAST_DAYS:
        msg = f"a period of {period_days} days is shorter than a week"
        raise UsageError(msg, hint="--period takes a length such as 26w or 90d")
    if role not in ROLES:
        msg = f"--role {role!r} is neither champion nor challenger"
        raise UsageError(msg)
    page = project.reports_dir / "dashboard.html" if output is None else output
    if page.suffix.lower() not in (".html", ".htm"):
        msg = f"{page} is no name of a page; expected one that ends in .html"
        raise UsageError(msg)
    progress = progress or Silent()
    progress.stage("Reading decisions and outcomes")
    logged = read_logged(project, _places(project, decisions), role=role)
    logged, known_until = with_outcomes(project, logged, columns=_columns(project, by), entities=list(project.entities))
    at = known_until if as_of is None else min(_instant(as_of, project), known_until)
    progress.stage("Judging")
    board = dashboard(
        logged.frame,
        project,
        at,
        period_days=period_days,
        by=by,
        entries=registry.history(project.models_dir),
        runs=_runs(project),
        n_repeated=logged.n_repeated,
        promised=promised_savings(project, logged.frame.filter(logged.frame["event_time"] <= at)["model"]),
    )
    if not write:
        return DashboardResult(board)
    progress.stage("Drawing")
    outputs.write_text(dashboard_report(board), page)
    return DashboardResult(board, page)


def _places(project: Project, decisions: Sequence[str | Path]) -> list[str | Path]:
    if decisions:
        return list(decisions)
    folder = project.root / STATE
    if not folder.is_dir():
        msg = f"no decisions are named, and the project has no folder {STATE}"
        raise DataError(
            msg, hint="`fraudctl dashboard decisions.parquet`, or name the folder of a state of `fraudctl serve`"
        )
    return [folder]


def _runs(project: Project) -> list[MonitorRun]:
    """Return the runs of `monitor` on this project, oldest first."""
    from fraudctl.errors import BundleError
    from fraudctl.workflows.monitor_log import read_log

    found = []
    for item in read_log(project):
        if item["kind"] != "run":
            continue
        try:
            alarms = tuple(
                MonitorRunAlarm(alarm["id"], alarm["tier"], alarm["what"], bool(alarm["noted"]))
                for alarm in item["alarms"]
            )
            found.append(MonitorRun(datetime.fromisoformat(item["as_of"]), alarms))
        except (KeyError, TypeError, ValueError) as error:
            msg = "the log of runs of `monitor` holds a run that this fraudctl does not know"
            raise BundleError(msg, hint="`fraudctl monitor` of the same version reads it") from error
    return sorted(found, key=lambda run: run.as_of)


def _columns(project: Project, by: str | None) -> list[str]:
    """Return the data columns that costs, weights and groups are read from."""
    from fraudctl.costs import cost_matrix
    from fraudctl.monitor.decisions import COLUMNS

    names = [*cost_matrix(project.costs).columns]
    if project.data.weight is not None:
        names.append(project.data.weight)
    if by is not None and by not in COLUMNS:
        _require_by(project, by)
        names.append(by)
    return list(dict.fromkeys(names))


def _require_by(project: Project, by: str) -> None:
    from fraudctl.data.tables import load_schema
    from fraudctl.features.meaning.near import near

    known = load_schema(project)
    if by not in known:
        msg = f"--by {shown(by)}: the data have no such column{near(by, list(known))}"
        raise DataError(msg, hint=f"name one of {shown_all(list(known), most=8)}")


def _instant(as_of: datetime | date, project: Project) -> datetime:
    """Return an instant; a day means its end, and a time without a zone is local."""
    zone = ZoneInfo(project.data.timezone)
    if not isinstance(as_of, datetime):
        return datetime.combine(as_of, time(23, 59, 59, 999_999), tzinfo=zone)
    return as_of if as_of.tzinfo is not None else as_of.replace(tzinfo=zone)
