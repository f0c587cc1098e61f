"""Objects within rows: a table and a message have the same columns, whatever is within what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudctl.data import tables
from fraudctl.normal.nested import flat, flat_row

NAMES = st.sampled_from(["a", "b", "c"])
SHAPES = st.recursive(
    st.just(0), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=6
).filter(lambda shape: isinstance(shape, dict))


def filled(draw: Any, shape: Any) -> Any:
    """A value of a shape: a number, an object, or nothing."""
    if not isinstance(shape, dict):
        return draw(st.one_of(st.none(), st.integers(0, 9)))
    if draw(st.integers(0, 4)) == 0:
        return None
    return {name: filled(draw, inner) for name, inner in shape.items()}


def kind(shape: Any) -> Any:
    if not isinstance(shape, dict):
        return pl.Int64()
    return pl.Struct({name: kind(inner) for name, inner in shape.items()})


def paths(shape: dict[str, Any], before: str = "") -> list[str]:
    """The names by the definition: the keys on the way, joined."""
    found: list[str] = []
    for name, inner in shape.items():
        found += paths(inner, f"{before}{name}_") if isinstance(inner, dict) else [f"{before}{name}"]
    return found


def at(row: Any, shape: Any) -> list[Any]:
    """The values of a row in the order of `paths`."""
    if not isinstance(shape, dict):
        return [row]
    return [value for name, inner in shape.items() for value in at(None if row is None else row[name], inner)]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_a_table_and_its_messages_have_the_columns_of_the_definition(
    data: st.DataObject, shape: dict[str, Any]
) -> None:
    rows = [
        {name: filled(data.draw, inner) for name, inner in shape.items()} for _ in range(data.draw(st.integers(1, 4)))
    ]
    schema = {name: kind(inner) for name, inner in shape.items()}
    table = flat(pl.DataFrame(rows, schema=schema).lazy()).collect()
    wanted = paths(shape)
    assert table.columns == wanted
    assert table.rows() == [tuple(at(row, shape)) for row in rows]
    for row, found in zip(rows, table.iter_rows(named=True), strict=True):
        assert flat_row(row, table.columns) == found


def test_a_field_that_would_be_another_column_stays_within_its_object() -> None:
    frame = pl.DataFrame({"card_id": [1], "card": [{"id": 2, "bin": 3}], "shop": [{"id": 4}]})
    found = flat(frame.lazy()).collect()
    assert found.columns == ["card_id", "card", "shop_id"]
    message = {"card_id": 1, "card": {"id": 2, "bin": 3}, "shop": {"id": 4}}
    assert flat_row(message, found.columns) == found.row(0, named=True)


def test_files_of_json_lines_and_parquet_are_read_so(tmp_path: Path) -> None:
    rows = [{"id": 1, "pay": {"amount": 2.5, "by": {"card": "x"}}}, {"id": 2, "pay": None}]
    frame = pl.DataFrame(rows)
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        found = tables.scan([str(tmp_path / name)]).collect()
        assert found.columns == ["id", "pay_amount", "pay_by_card"]
        assert found.rows() == [(1, 2.5, "x"), (2, None, None)]
