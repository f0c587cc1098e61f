"""``sample``: synthetic tables on disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudctl.errors import UsageError
from fraudctl.project import FILE_NAME

N_EVENTS, DAYS, SEED = 80_000, 120, 7
"""The sample that the project itself ships in ``sample_data/``."""

_LOOKUP = """
# One more feature, as an example of a lookup: whether the customer's latest login within a week succeeded.
[[features.lookup]]
source = "logins"
by = "customer"
columns = ["success"]
max_age = "7d"
"""

_GATE = """
# The floors of the sample: far below what the model reaches, and far above what shuffled scores do.
[gate]
savings = { at_least = 0.30 }
recall = { at_least = 0.30 }
false_positive_rate = { at_most = 0.10 }
confidence = 0.90
min_frauds = 300
"""


@dataclass(frozen=True)
class SampleResult:
    """Where the synthetic tables are, and how many rows and frauds they hold."""

    folder: Path
    transactions: Path
    logins: Path
    project_file: Path
    truth: Path | None
    n_events: int
    n_frauds: int

    def to_dict(self) -> dict[str, Any]:
        """Give the result as the document of ``sample --json``."""
        return dict(vars(self))


def write_sample(
    folder: Path,
    *,
    n_events: int = N_EVENTS,
    days: int = DAYS,
    seed: int = SEED,
    truth: Path | None = None,
    force: bool = False,
) -> SampleResult:
    """Generate synthetic events, and write them as Parquet with the project file that ``init`` proposes for them.

    Raises
    ------
    UsageError
        A file is already there and ``force`` was not given.
    """
    from fraudctl.sample import generate
    from fraudctl.tables import whole_file, write_parquet

    transactions, logins, project_file = (
        folder / name for name in ("transactions.parquet", "logins.parquet", FILE_NAME)
    )
    targets = [transactions, logins, project_file] + ([truth] if truth is not None else [])
    refuse_overwriting(targets, force=force)
    made = generate(n_events=n_events, days=days, seed=seed)
    with contextlib.ExitStack() as stack:  # all of them, or none; the project file gets its name last
        hidden = {path: stack.enter_context(whole_file(path)) for path in [project_file, *targets[:2], *targets[3:]]}
        write_parquet(made.transactions, hidden[transactions], smallest=True)
        write_parquet(made.logins, hidden[logins], smallest=True)
        if truth is not None:
            write_parquet(made.truth, hidden[truth])
        _propose((transactions, hidden[transactions]), (logins, hidden[logins]), hidden[project_file])
    n_frauds = int((made.transactions["is_fraud"] == 1).sum())
    return SampleResult(folder, transactions, logins, project_file, truth, made.transactions.height, n_frauds)


def _propose(transactions: tuple[Path, Path], logins: tuple[Path, Path], project_file: Path) -> None:
    """Write what ``init --source logins=...`` proposes for the sample, with a lookup and a gate.

    Parameters
    ----------
    transactions, logins
        Path that a table will have, and where it is now.
    """
    from fraudctl import tables
    from fraudctl.propose import Flags, propose, render_project

    frame = tables.scan([str(transactions[1])])
    beside = {"logins": (tables.scan([str(logins[1])]), [logins[0].name])}
    flags = Flags(sources=(f"logins={logins[0].name}",))
    proposal = propose(frame, events=(transactions[0].name,), name="sample", flags=flags, sources=beside)
    tables.write_text(render_project(proposal).rstrip() + "\n" + _LOOKUP + _GATE, project_file)


def refuse_overwriting(targets: list[Path], *, force: bool) -> None:
    """Raise a UsageError where a target exists and ``force`` was not given."""
    there = [str(path) for path in targets if path.exists()]
    if there and not force:
        msg = f"{', '.join(there)} exists already"
        raise UsageError(msg, hint="--force replaces it")
