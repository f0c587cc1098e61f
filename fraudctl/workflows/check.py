"""``check``: what is wrong with the data before anything is built on them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from fraudctl.progress import Progress, Silent
from fraudctl.project import Project

if TYPE_CHECKING:
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
    from fraudctl import tables
    from fraudctl.checks import run_checks

    (progress or Silent()).stage("Checking the data")
    files = tables.find_files(project.data.events, root=project.root)
    place = files[0] if len(files) == 1 else f"{len(files)} files"
    with tables.explained(files):
        return run_checks(project, tables.scan(files), place=place, now=now)
