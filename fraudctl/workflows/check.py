"""``check``: what is wrong with the data before anything is built on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from fraudctl.errors import FraudctlError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project

if TYPE_CHECKING:
    import polars as pl

    from fraudctl.checks import CheckReport
    from fraudctl.normal.form import Form


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
    files = tables.event_files(project)
    progress.stage("Checking the data")
    progress.update(0, None, "reading")
    place = files[0] if len(files) == 1 else f"{len(files)} files"
    sources = _open_sources(project)
    used, wrong = _defined(project)
    with tables.explained(files):
        raw = hold(tables.scan(files, form=tables.form_of(project)), files=files)
        return run_checks(
            project, raw, place=place, sources=sources, verdicts=_open_labels(project), used=used, features=wrong,
            now=now, left_out=tables.left_out(files), behind=tables.left_behind(project.data.events, root=project.root),
            progress=progress,
        )  # fmt: skip


def _open_sources(project: Project) -> dict[str, pl.LazyFrame | FraudctlError]:
    """Open each table of ``[sources]``, or say why it cannot be."""
    from fraudctl.data import tables

    return {
        name: _opened(partial(tables.source_files, project, name), partial(tables.form_of_source, project, name))
        for name, section in project.sources.items()
    }


def _open_labels(project: Project) -> dict[str, pl.LazyFrame | FraudctlError]:
    """Open each table of ``[labels]``, or say why it cannot be."""
    from fraudctl.data import tables
    from fraudctl.data.entries import form_of_labels

    return {
        name: _opened(partial(tables.label_files, project, name), partial(form_of_labels, project, name))
        for name, section in project.labels.tables.items()
    }


def _opened(find: Callable[[], list[str]], form: Callable[[], Form]) -> pl.LazyFrame | FraudctlError:
    from fraudctl.data import tables

    try:
        files = find()
        with tables.explained(files):
            raw = tables.scan(files, form=form())
            raw.collect_schema()
    except FraudctlError as error:
        return error
    return raw


def _defined(project: Project) -> tuple[dict[str, list[str]] | None, FraudctlError | None]:
    """Return which columns of other tables the features read; or why features, rules or segments cannot be defined."""
    from fraudctl.workflows.definitions import load_definitions

    try:
        found = load_definitions(project)
    except FraudctlError as error:
        return None, error
    return {name: list(columns) for name, columns in found.features.sources.items()}, None
