"""Held-out pairs: a category or a number that moves with time is the first line of `check`; its repaired twin is not.

Nothing was tuned on these seeds, nor on the shapes of `drift_pairs`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from drift_pairs import FINE, MOVES, Pair, pair, project_text

from fraudctl.checks import CheckReport, run_checks
from fraudctl.project import parse_project

SEEDS = range(9_000, 9_004)
NAMES = {"column-drift", "counts-along"}


def check(found: Pair, frame: pl.DataFrame) -> CheckReport:
    return run_checks(parse_project(project_text(found), path=Path("fraudctl.toml")), frame.lazy())


def named(report: CheckReport) -> list[str]:
    return [item.where for item in report.findings if item.id in NAMES]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", MOVES)
def test_what_moves_is_the_first_line_and_its_repaired_twin_is_not_named(kind: str, seed: int) -> None:
    found = pair(kind, seed)
    assert found.broken is not None
    assert sorted(found.broken[found.column].to_list()) == sorted(found.repaired[found.column].to_list())
    first = check(found, found.broken).findings[0]
    assert (first.id in NAMES, first.where, first.severity) == (True, found.column, "warning")
    assert named(check(found, found.repaired)) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", FINE)
def test_what_comes_back_or_hardly_moves_is_not_named(kind: str, seed: int) -> None:
    found = pair(kind, seed)
    assert named(check(found, found.repaired)) == []
