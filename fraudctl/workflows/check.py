"""``check``: what is wrong with the data before anything is built on them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fraudctl.errors import FraudctlError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.checks import CheckReport


def check_data(project: Project, *, now: datetime | None = None, progress: Progress | None = None) -> CheckReport:
    """Check the project's data; findings are returned, not raised.

    Parameters
    ----------
    now
        An aware instant; events later than it are a finding. None leaves that check out.

    Raises
    ------
    DataError
        The files are missing or cannot be read at all.
    """
    from fraudctl.checks import run_checks
    from fraudctl.data import tables
    from fraudctl.data.columns import hold

    progress = progress or Silent()
    files = tables.find_files(project.data.events, root=project.root)
    progress.stage("Checking the data")
    progress.update(0, None, "reading")
    place = files[0] if len(files) == 1 else f"{len(files)} files"
    sources = _open_sources(project)
    used, wrong = _defined(project)
    with tables.explained(files):
        raw = hold(tables.scan(files, form=tables.form_of(project)), files=files)
        return run_checks(
            project, raw, place=place, sources=sources, used=used, features=wrong,
            now=now, left_out=tables.left_out(files), behind=tables.left_behind(project.data.events, root=project.root),
            progress=progress,
        )  # fmt: skip


def _open_sources(project: Project) -> dict[str, pl.LazyFrame | FraudctlError]:
    """Open each table of ``[sources]``, or say why it cannot be."""
    from fraudctl.data import tables

    out: dict[str, pl.LazyFrame | FraudctlError] = {}
    for name, section in project.sources.items():
        try:
            files = tables.find_files(section.events, root=project.root, what=f"[sources.{name}] events")
            with tables.explained(files):
                raw = tables.scan(files, form=tables.form_of_source(project, name))
                raw.collect_schema()
            out[name] = raw
        except FraudctlError as error:
            out[name] = error
    return out


def _defined(project: Project) -> tuple[dict[str, list[str]] | None, FraudctlError | None]:
    """Return which columns of other tables the features read; or why features, rules or segments cannot be defined."""
    from fraudctl.workflows.features import load_definitions

    try:
        found = load_definitions(project)
    except FraudctlError as error:
        return None, error
    return {name: list(columns) for name, columns in found.features.sources.items()}, None
