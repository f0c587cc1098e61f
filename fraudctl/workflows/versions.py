"""Which model is meant: `latest`, `champion`, a version or a path; and what was written when.

Every command opens bundles here, says which one it took, and warns where a newer one exists.
"""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import BundleError, UsageError
from fraudctl.progress import Progress
from fraudctl.project import Project

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle, BundleContents
    from fraudctl.registry import WrittenBy

LATEST = "latest"
CHAMPION = "champion"


def open_bundle(
    project: Project, reference: str, *, progress: Progress | None = None, role: str = "model", newer: bool = True
) -> Bundle:
    """Find and check a bundle, and refuse one of another project.

    Parameters
    ----------
    reference
        ``latest`` (what was written last, by the registry's log), ``champion``, a version or a path.
    progress
        Gets a note on which version was taken, and a warning where a newer one exists; None gets neither.
    role
        What the note calls the model.
    newer
        Whether to warn of a newer version.

    Raises
    ------
    UsageError
        The reference is empty.
    BundleError
        The bundle is missing, damaged or of another project; or `latest` is ambiguous.
    """
    from fraudctl.bundle import find_bundle, load_bundle

    if not reference:
        msg = "the name of a model is empty"
        raise UsageError(msg, hint="give a version, a path, `latest` or `champion`")
    bundle = load_bundle(find_bundle(version_of(project, reference), project.models_dir)).within(project)
    name = bundle.facts.get("project")
    if name != project.project.name:
        msg = f"bundle {bundle.version} is of project {name!r}; this is {project.project.name!r}"
        raise BundleError(msg, hint="name another model with --model, or another project with --project")
    if progress is not None:
        called = "" if reference == bundle.version else f" ({reference})"
        progress.note(f"{role}: {bundle.version}{called}")
        if newer:
            warn_of_newer(project, [bundle.version], progress, by_order=reference == LATEST)
    return bundle


def warn_of_newer(project: Project, taken: list[str], progress: Progress, *, by_order: bool = False) -> None:
    """Warn where another version was written later than those taken.

    Parameters
    ----------
    by_order
        Whether one was taken as `latest`: then versions that the log does not know are named too.
    """
    from fraudctl import registry

    versions = _versions(project)
    try:
        unknown, written = registry.in_order_of_writing(registry.history(project.models_dir), versions)
    except BundleError as error:  # a version that is named needs no log; that it is damaged must be known
        progress.warn(f"{error.message}; whether a newer model exists is not known")
        return
    if written and written[-1] not in taken:
        progress.warn(f"{written[-1]} was written later than {' and '.join(taken)}, and is not used here")
    others = [name for name in unknown if name not in taken]
    if others and by_order:
        progress.warn(
            f"the log of {project.models_dir.name}/ does not say when {', '.join(others)} was written; "
            "`latest` counts it as older than what the log knows"
        )


def _versions(project: Project) -> list[str]:
    from fraudctl.bundle import list_bundles

    return [path.name for path in list_bundles(project.models_dir)]


def version_of(project: Project, reference: str) -> str:
    """Return the version behind ``latest`` or ``champion``; other references stand for themselves."""
    from fraudctl import registry

    if reference == CHAMPION:
        version = registry.champion(project.models_dir)
        if version is None:
            msg = "no model has been promoted to champion"
            raise BundleError(msg, hint="`fraudctl models promote VERSION` makes one the champion")
        return version
    if reference != LATEST:
        return reference
    try:
        return registry.latest(registry.history(project.models_dir), _versions(project))
    except BundleError as error:
        raise BundleError(f"{project.models_dir}: {error.message}", hint=error.hint) from error


def write_noted(
    project: Project,
    contents: BundleContents,
    *,
    event: WrittenBy,
    parent: str | None,
    by: str | None = None,
) -> Path:
    """Write a bundle and note it in the registry's log; from then on it is `latest`. Return its folder.

    The log is written first: a process that dies in between leaves an entry whose bundle is missing, which `latest`
    passes over, and never a bundle whose place in the order of writing is unknown.

    Raises
    ------
    BundleError
        The bundle cannot be written, or the log is damaged.
    UsageError
        The log cannot be written.
    """
    from fraudctl import registry
    from fraudctl.bundle import write_bundle

    def note(version: str) -> None:
        registry.record_written(
            project.models_dir, version, event=event, parent=parent, now=datetime.now(UTC), by=by or user_name()
        )

    return write_bundle(project.models_dir, contents, announce=note)


def user_name() -> str:
    """Return the name of the user, or "unknown" where the system has none (a container without accounts)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
