"""``fraudctl dashboard`` on files: what it reads, writes, prints and refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in

from .conftest import HARM, MONDAY, TEXT, make_decisions

EVENTS = ["event_id", "event_time", "amount", "label", "label_time", "channel"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its events, and decisions as `score -o` writes them."""
    place = tmp_path_factory.mktemp("dashboard")
    rows = make_decisions(12, 150)
    (place / "fraudctl.toml").write_text(TEXT + HARM)
    rows.select(EVENTS).write_parquet(place / "events.parquet")
    kind = pl.struct(pl.lit("expected_cost").alias("kind")).alias("decided_by")
    decided = rows.select("event_id", pl.col("y_prob").alias("probability"), "action", kind, "policy", "model")
    decided.write_parquet(place / "decisions.parquet")
    return place


def test_the_page_and_the_same_figures_as_json(folder: Path) -> None:
    done = run_in(folder, "dashboard", "decisions.parquet", "--by", "channel", "--json")
    assert done.code == 0, done.err
    found = done.json
    page = (folder / "reports" / "dashboard.html").read_text(encoding="utf-8")
    assert found["light"] in page.lower()
    assert len(found["performance"]["cohorts"]) == 12
    assert {item["name"] for item in found["performance"]["groups"]} == {"web", "shop", "=app"}
    day = (MONDAY + timedelta(weeks=8)).date() - timedelta(days=1)
    args = ("dashboard", "decisions.parquet", "-o", "past.html", "--as-of", f"{day}", "--period", "4w", "--json")
    first = run_in(folder, *args)
    past = first.json
    assert len(past["performance"]["cohorts"]) == 4
    assert past["performance"]["cohorts"][-1]["until_day"] == f"{day + timedelta(days=1)}"
    bytes_then = (folder / "past.html").read_bytes()
    assert run_in(folder, *args).out == first.out
    assert (folder / "past.html").read_bytes() == bytes_then


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ([], 3, "no decisions are named, and the project has no folder state"),
        (["decisions.parquet", "--period", "3d"], 2, "shorter than a week"),
        (["decisions.parquet", "--period", "1y"], 2, "--period: '1y' is not a duration"),
        (["decisions.parquet", "--period", "36h"], 2, "no whole number of days"),
        (["decisions.parquet", "-o", "page.pdf"], 2, "expected one that ends in .html"),
        (["decisions.parquet", "--by", "colour"], 3, "--by 'colour': the data have no such column"),
        (["decisions.parquet", "--as-of", "2020-01-01"], 3, "no decision on an event up to"),
        (["nowhere.parquet"], 3, "nowhere.parquet"),
        (["decisions.parquet", "--role", "challengr"], 2, "challengr"),
    ],
)
def test_what_is_refused(folder: Path, args: list[str], code: int, said: str) -> None:
    named = [] if "-o" in args else ["-o", "x.html"]
    done = run_in(folder, "dashboard", *args, *named)
    assert (done.code, said in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert not (folder / "x.html").exists()
