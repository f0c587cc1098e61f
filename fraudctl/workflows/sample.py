"""``sample``: synthetic tables on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudctl.errors import UsageError


@dataclass(frozen=True)
class SampleResult:
    """Where the synthetic tables are, and how many rows and frauds they hold."""

    folder: Path
    transactions: Path
    logins: Path
    truth: Path | None
    n_events: int
    n_frauds: int

    def to_dict(self) -> dict[str, Any]:
        """Give the result as the document of ``sample --json``."""
        return dict(vars(self))


def write_sample(
    folder: Path, *, n_events: int, days: int, seed: int, truth: Path | None = None, force: bool = False
) -> SampleResult:
    """Generate synthetic events and write them as Parquet into ``folder``.

    Raises
    ------
    UsageError
        A file is already there and ``force`` was not given.
    """
    from fraudctl.sample import generate
    from fraudctl.tables import write_parquet

    transactions, logins = folder / "transactions.parquet", folder / "logins.parquet"
    targets = [transactions, logins] + ([truth] if truth is not None else [])
    refuse_overwriting(targets, force=force)
    made = generate(n_events=n_events, days=days, seed=seed)
    write_parquet(made.transactions, transactions, smallest=True)
    write_parquet(made.logins, logins, smallest=True)
    if truth is not None:
        write_parquet(made.truth, truth)
    n_frauds = int((made.transactions["is_fraud"] == 1).sum())
    return SampleResult(folder, transactions, logins, truth, made.transactions.height, n_frauds)


def refuse_overwriting(targets: list[Path], *, force: bool) -> None:
    """Raise a UsageError where a target exists and ``force`` was not given."""
    there = [str(path) for path in targets if path.exists()]
    if there and not force:
        msg = f"{', '.join(there)} exists already"
        raise UsageError(msg, hint="--force replaces it")
