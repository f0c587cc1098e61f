"""``init``: from data to a commented project file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudctl.project import FILE_NAME, parse_project
from fraudctl.workflows.sample import refuse_overwriting

if TYPE_CHECKING:
    from fraudctl.propose import Flags, Proposal


@dataclass(frozen=True)
class InitResult:
    """The project file that was written, and the proposal behind it."""

    path: Path
    proposal: Proposal

    def to_dict(self) -> dict[str, Any]:
        """Give the result as the document of ``init --json``."""
        return {"project_file": str(self.path), **self.proposal.to_dict()}


def init_project(data: list[str], *, place: Path, flags: Flags, force: bool = False) -> InitResult:
    """Look at the data, propose a project, and write its file.

    Parameters
    ----------
    data
        Files, globs or folders of the events table, relative to the working directory.
    place
        The project file to write, or its folder.
    flags
        What the user has settled.

    Raises
    ------
    UsageError
        The file exists and ``force`` was not given, or the data leave a choice that a flag must settle.
    DataError
        The data are missing, unreadable or unusable.
    """
    from fraudctl import tables
    from fraudctl.propose import parse_sources, propose, render_project

    path = (place if place.suffix == ".toml" else place / FILE_NAME).resolve()
    refuse_overwriting([path], force=force)
    files = tables.find_files(tuple(data), root=Path.cwd(), what="DATA")
    beside = {
        name: (tables.scan(tables.find_files(text, root=Path.cwd(), what=f"--source {name}")), [_seen_from(path, text)])
        for name, text in parse_sources(flags.sources).items()
    }
    events = tuple(_seen_from(path, text) for text in data)
    proposal = propose(tables.scan(files), events=events, name=path.parent.name, flags=flags, sources=beside)
    text = render_project(proposal)
    parse_project(text, path=path)
    tables.write_text(text, path)
    return InitResult(path, proposal)


def _seen_from(project_file: Path, text: str) -> str:
    """Give a path of the working directory as it is to stand in the project file."""
    return text if "://" in text else os.path.relpath(Path.cwd() / text, project_file.parent)
