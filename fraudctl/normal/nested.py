"""Objects within rows as columns of their own: ``payment.amount`` is the column ``payment_amount``.

Owns the names, the same for files (JSON lines, Parquet) and for messages. A field whose name would be that of another
column stays within its object, which then is a column that no feature can use, as lists are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import polars as pl


def flat(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a table with the fields of its structures as columns, in their place.

    >>> rows = pl.DataFrame({"id": [1], "card": [{"bin": "4111", "of": {"country": "DE"}}]})
    >>> flat(rows.lazy()).collect().rows(named=True)
    [{'id': 1, 'card_bin': '4111', 'card_of_country': 'DE'}]
    """
    schema = frame.collect_schema()
    if not any(isinstance(kind, pl.Struct) for kind in schema.values()):
        return frame
    leaves = {name: list(_leaves(pl.col(name), name, kind)) for name, kind in schema.items()}
    told = [name for found in leaves.values() for name, _ in found]
    columns = []
    for name, found in leaves.items():
        clash = found[0][0] != name and any(told.count(leaf) > 1 for leaf, _ in found)
        columns += [pl.col(name)] if clash else [values.alias(leaf) for leaf, values in found]
    return frame.select(columns)


def _leaves(values: pl.Expr, name: str, kind: pl.DataType) -> Iterator[tuple[str, pl.Expr]]:
    if not isinstance(kind, pl.Struct) or not kind.fields:
        yield name, values
        return
    for field in kind.fields:
        inner = field.dtype if isinstance(field.dtype, pl.DataType) else field.dtype()
        yield from _leaves(values.struct.field(field.name), f"{name}_{field.name}", inner)


def flat_row(row: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    """Return one message as `flat` does a table; an object that is null has null fields.

    Parameters
    ----------
    known
        The columns of the table; what makes none of them is left as it is, to be refused.

    >>> flat_row({"id": 1, "card": {"bin": "4111"}, "shop": None}, {"id", "card_bin", "shop_id"})
    {'id': 1, 'card_bin': '4111', 'shop_id': None}
    """
    odd = [name for name, value in row.items() if name not in known and (value is None or type(value) is dict)]
    if not odd:
        return row
    out: dict[str, object] = {}
    for name, value in row.items():
        below = [column for column in known if column.startswith(f"{name}_")] if name in odd else []
        if not below:
            out[name] = value
        elif value is None:
            out |= dict.fromkeys(column for column in below if column not in row)
        else:
            out |= flat_row({f"{name}_{key}": inner for key, inner in value.items()}, known)
    return out
