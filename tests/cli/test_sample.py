"""The sample that the project ships is what ``fraudctl sample`` makes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from command_line import run_in
from polars.testing import assert_frame_equal

SHIPPED = Path(__file__).parents[2] / "sample_data"


def test_the_shipped_sample_is_the_output_of_the_command(tmp_path: Path) -> None:
    done = run_in(tmp_path, "sample", "here", "--json", "--quiet")
    assert done.code == 0, done.err
    for name in ("transactions.parquet", "logins.parquet"):
        made, shipped = (pl.read_parquet(folder / name) for folder in (tmp_path / "here", SHIPPED))
        assert_frame_equal(made, shipped, check_exact=True)
    assert (tmp_path / "here" / "fraudctl.toml").read_text() == (SHIPPED / "fraudctl.toml").read_text()
    assert run_in(tmp_path, "sample", "here").code == 2  # nothing is overwritten unasked


@pytest.mark.parametrize("length", ["0w", "0d"])
def test_no_weeks_after_it_are_refused(tmp_path: Path, length: str) -> None:
    done = run_in(tmp_path, "sample", "here", "--after", length)
    assert done.code == 2
    assert "no length of time" in done.err
    assert not (tmp_path / "here").exists()


def test_weeks_after_it_are_further_files_that_the_project_reads(tmp_path: Path) -> None:
    small = ("--events", "2000", "--days", "40", "--label-tables")
    assert run_in(tmp_path, "sample", "plain", *small).code == 0
    done = run_in(
        tmp_path, "sample", "life", *small, "--after", "6w", "--change", "clock", "--change", "attack=2025-11-20",
        "--change", "volume=5w", "--truth", "truth.parquet",
    )  # fmt: skip
    assert done.code == 0, done.err
    truth = json.loads((tmp_path / "life" / "changes.json").read_text())
    begins = [(change["name"], change["from"]) for change in truth["changes"]]
    assert (truth["start"], truth["until"]) == ("2025-10-25", "2025-12-06")
    assert begins == [("clock", "2025-11-15"), ("attack", "2025-11-20"), ("volume", "2025-11-29")]
    for name in ("transactions", "logins", "chargebacks", "disputes", "verdicts", "customer_reports", "tc40"):
        plain, life, after = (
            pl.read_parquet(tmp_path / place)
            for place in (f"plain/{name}.parquet", f"life/{name}.parquet", f"life/{name}_after.parquet")
        )
        assert_frame_equal(life, plain, check_exact=True)
        assert after.height
        assert f'"{name}*.parquet"' in (tmp_path / "life" / "fraudctl.toml").read_text()
    frauds = pl.read_parquet(tmp_path / "truth.parquet")
    assert "new_attack" in frauds["pattern"].to_list()
    checked = run_in(tmp_path, "features", "--project", "life", "--json", "--quiet")
    assert checked.code == 0, checked.err
    both = [pl.read_parquet(tmp_path / "life" / f"transactions{part}.parquet") for part in ("", "_after")]
    assert json.loads(checked.out)["rows"] == pl.concat(both)["transaction_id"].n_unique()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--change", "clock"), "--after"),
        (("--after", "6w", "--change", "storm"), "storm"),
        (("--after", "6w", "--change", "clock", "--change", "clock=2w"), "clock"),
        (("--after", "6w", "--change", "clock=7w"), "2026"),
        (("--after", "6w", "--change", "clock=soon"), "soon"),
        (("--after", "3d"), "14"),
    ],
)
def test_changes_that_cannot_be_planted_are_refused(tmp_path: Path, options: tuple[str, ...], named: str) -> None:
    done = run_in(tmp_path, "sample", "here", "--events", "1000", *options)
    assert done.code == 2
    assert named in done.err
    assert not (tmp_path / "here" / "transactions.parquet").exists()
