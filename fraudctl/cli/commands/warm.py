"""``fraudctl warm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fraudctl.cli.command import command

if TYPE_CHECKING:
    from fraudctl.cli.session import Session


@command("fraudctl warm", "NUMBA_CACHE_DIR=/loops NUMBA_CPU_NAME=x86-64-v3 NUMBA_CPU_FEATURES= fraudctl warm")
def warm(session: Session) -> None:
    """Compile all loops now, so that nothing waits for them later: for an image or a new machine."""
    from fraudctl.workflows.warm import warm_loops

    with session.progress() as progress:
        found = warm_loops(progress=progress)
    session.emit(found)
    where = "beside their modules" if found.cache is None else f"in {found.cache}"
    session.show(f"{found.loops:,} compiled loops {where}, for the processor {found.cpu}")
    if found.missing:
        session.show(f"compiled when they are first used: {', '.join(found.missing)}")
    if found.host:
        session.show(
            "another machine may need other loops: set NUMBA_CPU_NAME, and NUMBA_CPU_FEATURES to nothing, to one that "
            "all have"
        )
