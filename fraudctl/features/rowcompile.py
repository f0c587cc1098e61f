"""Row-level expressions for single events: the SQL of `rowwise`, compiled to a Python function of one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from fraudctl.features.rowwise import RowExpr

RowFunction = Callable[[Sequence[Any]], Any]
"""From the values of a row, by place, to the value of the expression; None is null."""


def compile_row(expr: RowExpr, types: Mapping[str, pl.DataType], places: Mapping[str, int]) -> RowFunction:
    """Give a function of one row that answers as ``expr.apply`` does for a frame of that row."""
    return by_polars(expr, types, places)


def by_polars(expr: RowExpr, types: Mapping[str, pl.DataType], places: Mapping[str, int]) -> RowFunction:
    """Give a function that lets Polars answer, on a frame of one row."""
    inputs = [(name, types[name], places[name]) for name in expr.columns]

    def answer(row: Sequence[Any]) -> Any:
        series = [pl.Series(name, [row[place]], dtype=dtype) for name, dtype, place in inputs]
        return expr.apply(pl.DataFrame(series) if series else pl.DataFrame({"": [0]}))[0]

    return answer
