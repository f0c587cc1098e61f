"""The sample that the project ships is what ``fraudctl sample`` makes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
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
