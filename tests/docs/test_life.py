"""The story of a model's life is true: the demo prints what the page shows, and its interval is that of the rows."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from recount_life import RECOUNT_LIFE, Decided
from sessions import Ran, asked_in, blocks_of, ran_once, wrong_in

from fraudctl import compare_models, load_project, registry
from fraudctl.report.life import earned
from fraudctl.workflows import life

PAGE = (Path(__file__).parents[2] / "docs" / "life.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)
FIGURE = re.compile(r"€\d+(?:,\d{3})*|\d+ alerts|\d[\d,]*\.\d+")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The demo, run once for all workers."""
    with ran_once(tmp_path_factory, "life", asked_in(BLOCKS)) as found:
        yield found


@pytest.fixture
def told(ran: Ran, tmp_path: Path) -> Ran:
    """A copy of the demo's folder that a test may change, and what each command of the page printed."""
    return Path(shutil.copytree(ran[0] / "life", tmp_path / "life")), ran[1]


def test_the_demo_prints_what_the_page_shows(told: Ran) -> None:
    assert wrong_in(BLOCKS, told[1]) == {}


def test_figures_in_the_text_are_those_that_were_printed() -> None:
    shown = {text for block in BLOCKS for text in FIGURE.findall(block)}
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    found = {*FIGURE.findall(text)}
    assert len(found) > 3
    assert found - shown == set()


def test_an_attack_is_answered_by_a_champion_that_earns_more_and_poison_promotes_nothing(told: Ran) -> None:
    log = registry.history(told[0] / "models")
    first, second = (entry for entry in log if entry.event == "promote")
    assert (first.forced, second.forced) == (True, False)
    assert second.previous == first.version
    assert registry.champion(told[0] / "models") == second.version
    late = [entry for entry in log if entry.event == "gate"][-1]
    assert (late.verdict, late.previous) == ("fail", second.version)
    assert late.version not in {first.version, second.version}


def weeks(folder: Path) -> tuple[datetime, datetime]:
    """Return when the second champion began, and when labels began to lie."""
    world = life._World(None, {}, None)  # type: ignore[arg-type]
    return world.day(life.RETRAINED), world.day(life.POISON)


def decided_by_both(folder: Path, first: str) -> Decided:
    """Have the first model decide on the weeks of the second too."""
    since, until = weeks(folder)
    events = pl.concat([pl.read_parquet(folder / f"transactions{part}.parquet") for part in ("", "_after")])
    inside = pl.col("created_at").is_between(since, until, closed="left")
    events.filter(pl.col("created_at") < since).write_parquet(folder / "before.parquet")
    events.filter(inside).write_parquet(folder / "between.parquet")
    done = run_in(
        folder,
        "score",
        "between.parquet",
        "--history",
        "before.parquet",
        "-o",
        "theirs.parquet",
        "-m",
        first,
        "--quiet",
    )
    assert done.code == 0, done.err
    ours = pl.read_parquet(folder / "decisions" / "second.parquet").select(transaction_id="event_id", ours="action")
    theirs = pl.read_parquet(folder / "theirs.parquet").select(transaction_id="event_id", theirs="action")
    rows = events.filter(inside).unique("transaction_id").join(ours, on="transaction_id")
    rows = rows.join(theirs, on="transaction_id")
    said: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    for part in ("", "_after"):
        for row in pl.read_parquet(folder / f"chargebacks{part}.parquet").iter_rows(named=True):
            said[row["transaction_id"]].append((row["reported_at"], 1))
        for row in pl.read_parquet(folder / f"disputes{part}.parquet").iter_rows(named=True):
            said[row["transaction_id"]].append((row["decided_at"], int(row["outcome"] == "lost")))
    return Decided(rows.to_dicts(), said)


def test_what_the_second_champion_earned_is_recounted_from_rows(told: Ran) -> None:
    folder, printed = told
    first, second = (entry.version for entry in registry.history(folder / "models") if entry.event == "promote")
    since, until = weeks(folder)
    found = compare_models(load_project(folder), second, first, from_time=since, until=until)
    sentence = earned(found)
    assert sentence in " ".join(line.strip() for lines in printed for line in lines)
    rows = decided_by_both(folder, first)
    values: list[Any] = [value for source in sentence.sources for value in source.values]
    for value in values:
        RECOUNT_LIFE[type(value)](value, rows)
    gap = found.differences["savings"]
    assert gap.low is not None
    assert gap.low > 0, "the second champion does not surely earn more"
