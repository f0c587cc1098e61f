"""Whatever the columns of the data are called, the numbers are the same: no name of fraudctl's own is in the way."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in
from hypothesis import given
from hypothesis import strategies as st

import fraudctl
from fraudctl.data import own
from fraudctl.data.tables import ROLES
from fraudctl.errors import ProjectError
from fraudctl.features.rows.read import compile_row_sql
from fraudctl.policy.constant import ORDER
from fraudctl.scoring.decider import answer_schema
from fraudctl.weights import WEIGHT

ROOT = Path(fraudctl.__file__).parent

OUTPUT = [name for name in answer_schema(pl.String()) if name != "event_id"]
OWN = sorted({*own.COLUMNS, *OUTPUT, ".n", ".row", ".missed", ".label", ".known_fraud_rate", "n", "row", "key", "value",
              "text", "len", "index", "code", "segment", "weight", "features", "policy_report", "day"})  # fmt: skip
NEUTRAL = [f"x{i}" for i in range(len(OWN))]

TOML = """
[project]
name = "own"
[data]
events = "transactions.parquet"
event_id = "transaction_id"
event_time = "created_at"
amount = "amount"
label = "is_fraud"
label_time = "label_available_at"
label_delay = "14d"
[entities]
merchant = "merchant_id"
[features]
raw = [RAW]
categorical = [TEXTS]
[features.columns]
twice = "2 * \\"COST\\""
[[features.window]]
by = "merchant"
windows = ["1d"]
aggregates = ["count"AGGREGATE]
[split]
as_of = "2025-12-09"
test = "20d"
folds = 2
[train]
trials = 0
iterations = 12
threads = 1
[costs.actions]
allow.fraud = { column = "COST", rate = 0.1 }
review.fraud = { fixed = 4 }
review.legit = { fixed = 4 }
block.legit = { fixed = 60 }
[[rules]]
name = "large"
when = "\\"COST\\" > 300"
action = "review"
[evaluate]
segments = ["SEGMENT"]
replicates = 100
"""


def test_the_list_has_every_column_that_is_added_to_columns_of_the_data() -> None:
    """The builders of such tables: decisions, order of arrival, fold predictions."""
    assert {"y_prob", "action", "decided_by", "cost"} <= own.COLUMNS, "Replay.decided"
    assert {*ORDER.values(), WEIGHT, "y_score", "fold"} <= own.COLUMNS
    added = re.compile(r"""pl\.Series\(\s*["']([^"']+)["']|\.alias\(\s*["']([^"']+)["']""")
    for module in ("evaluate/replay.py", "evaluate/run.py", "policy/constant.py", "train/fit.py"):
        names = {a or b for a, b in added.findall((ROOT / module).read_text(encoding="utf-8"))}
        assert names <= own.COLUMNS | set(ROLES) | {"lead"}, module


def test_names_go_in_and_out_and_none_is_taken() -> None:
    every = [*OWN, *NEUTRAL, "amount", "big (data)", "action (data) (data)", "·x"]
    assert [own.outside(own.inside(name)) for name in every] == every
    assert not {own.inside(name) for name in every} & own.COLUMNS
    assert len({own.inside(name) for name in every}) == len(every)


@given(name=st.text(max_size=8))
def test_any_name_comes_out_as_it_went_in(name: str) -> None:
    assert own.outside(own.inside(name)) == name or name.endswith(" (data)")


@pytest.mark.parametrize("name", sorted(own.COLUMNS))
def test_expressions_read_the_column_of_the_data_and_never_fraudctls(name: str) -> None:
    assert compile_row_sql(f'"{name}" + 1', allowed=[own.inside(name)], where="x").columns == (own.inside(name),)
    with pytest.raises(ProjectError, match="no column"):
        compile_row_sql(f'"{name}"', allowed=[name], where="x")


def make(folder: Path, names: list[str]) -> Path:
    """A project whose raw columns bear these names; their values depend on their place alone."""
    folder.mkdir()
    assert run_in(folder, "sample", ".", "--events", "20000", "--quiet").code == 0
    events = pl.read_parquet(folder / "transactions.parquet").unique(maintain_order=True)
    events = events.select(
        "transaction_id", "created_at", "amount", "is_fraud", "label_available_at", "merchant_id", "channel", "category"
    )  # fmt: skip
    amount, texts = pl.col("amount").fill_null(0.0).abs(), itertools.cycle(["channel", "category"])
    more = [
        (amount + i if i % 2 == 0 else pl.col(next(texts)).str.slice(0, 3 + i % 5)).alias(name)
        for i, name in enumerate(names)
    ]
    events.select(pl.all().exclude("channel", "category"), *more).write_parquet(folder / "transactions.parquet")
    aggregate = f', "mean({names[2]})"' if names[2].isidentifier() else ""
    filled = {
        "RAW": ", ".join(f'"{name}"' for name in names), "TEXTS": ", ".join(f'"{name}"' for name in names[1::2]),
        "COST": names[0], "SEGMENT": names[1], "AGGREGATE": aggregate,
    }  # fmt: skip
    toml = re.sub("RAW|TEXTS|COST|SEGMENT|AGGREGATE", lambda match: filled[match[0]], TOML)
    (folder / "fraudctl.toml").write_text(toml)
    done = run_in(folder, "train", "--quiet")
    assert done.code == 0, done.err
    return folder


def arranged() -> list[str]:
    """The names, with `cost` as the cost column and `action` as the segment."""
    first = ["cost", "action", "y_prob"]
    return [*first, *(name for name in OWN if name not in first)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("own")
    return make(folder / "neutral", NEUTRAL), make(folder / "own", arranged())


def numbers(document: Any) -> Any:
    """The numbers of a document, without names, versions and times of building."""
    if isinstance(document, dict):
        return {key: numbers(value) for key, value in document.items() if key not in {"method", "report", "model"}}
    if isinstance(document, list):
        return [numbers(item) for item in document]
    return None if isinstance(document, str) else document


def test_features_evaluation_and_explanation_do_not_depend_on_names(pair: tuple[Path, Path]) -> None:
    found = []
    for folder, names in zip(pair, (NEUTRAL, arranged()), strict=True):
        assert run_in(folder, "features", "-o", "f.parquet", "--quiet").code == 0
        table = pl.read_parquet(folder / "f.parquet")
        evaluated = run_in(folder, "evaluate", "--predictions", "p.parquet", "--json", "--quiet")
        assert evaluated.code == 0, evaluated.err
        explained = run_in(folder, "explain", "--sample", "1000", "--json", "--quiet")
        assert explained.code == 0, explained.err
        metrics = evaluated.json["metrics"]
        segments = next(iter(evaluated.json["by_segment"].values()))
        found.append(
            (
                table.select(names).to_numpy().tolist()[:200],
                pl.read_parquet(folder / "p.parquet").select("y_prob", "action", "cost").rows(),
                *map(numbers, (metrics, segments, explained.json["totals"], explained.json["errors"])),
            )
        )  # fmt: skip
    for ours, theirs in zip(*found, strict=True):
        assert ours == theirs


def test_scoring_a_file_and_a_stream_does_not_depend_on_names(pair: tuple[Path, Path]) -> None:
    found = []
    for folder, names in zip(pair, (NEUTRAL, arranged()), strict=True):
        events = pl.read_parquet(folder / "transactions.parquet").sort("created_at").tail(30)
        events.write_parquet(folder / "new.parquet")
        args = ("--reasons", "none", "--with-features", "--quiet")
        done = run_in(folder, "score", "new.parquet", "-o", "s.parquet", *args)
        assert done.code == 0, done.err
        scored = pl.read_parquet(folder / "s.parquet")
        lines = events.drop("is_fraud", "label_available_at").write_ndjson().encode()
        stream = run_in(folder, "score", "-", *args, sent=lines)
        answers = [json.loads(line) for line in stream.out.splitlines()]
        assert [item["probability"] for item in answers] == scored["probability"].to_list(), stream.err
        beside = [f"{name} (data)" if name in OUTPUT else name for name in names]
        assert [[item["features"][name] for name in names] for item in answers] == scored.select(
            beside
        ).to_numpy().tolist()
        found.append((scored.select("probability", "action").rows(), scored.select(beside).rows()))
    assert found[0] == found[1]


def test_features_and_entities_of_the_project_may_not_be_called_like_fraudctls_columns(pair: tuple[Path, Path]) -> None:
    folder = pair[0]
    toml = folder / "fraudctl.toml"
    text = toml.read_text()
    try:
        for old, new in (("twice =", "cost ="), ("merchant =", "action =")):
            toml.write_text(text.replace(old, new).replace('by = "merchant"', f'by = "{new.split()[0]}"'))
            refused = run_in(folder, "features", "-o", "x.parquet", "--quiet")
            assert refused.code == 2, refused.err
            assert "that fraudctl adds to tables" in refused.err or "no entity" in refused.err
    finally:
        toml.write_text(text)
