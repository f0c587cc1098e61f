"""Columns that fraudctl adds to tables, and what a column of the data is called where it bears such a name.

Owns the one list of these names and the rule for collisions: a column of the data that is called like one of them is
known inside as ``"<name> (data)"``; the project file and files use the data's own name, and where a file has both, the
column of the data keeps the longer one. So no column of fraudctl can replace, or be taken for, one of the data.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final

from pydantic import AfterValidator

COLUMNS: Final = frozenset(
    {
        "y_prob", "y_score", "action", "decided_by", "cost", "fold", "event_weight", "fraudctl:order_in_day",
        "fraudctl:order_in_week",
    }
)  # fmt: skip
"""Columns that are added to tables which hold columns of the data too. Names that begin with a dot are as well."""
_SUFFIX: Final = " (data)"
_DOT: Final = "\u00b7"


def inside(name: str) -> str:
    """Return what a column of the data is called inside.

    >>> inside("amount"), inside("action"), inside(".x")
    ('amount', 'action (data)', '·x (data)')
    """
    if name in COLUMNS:
        return name + _SUFFIX
    return f"{_DOT}{name[1:]}{_SUFFIX}" if name.startswith(".") else name


def outside(name: str) -> str:
    """Return what a column is called in the data: `inside` undone.

    >>> outside("action (data)"), outside("·x (data)"), outside("big (data)")
    ('action', '.x', 'big (data)')
    """
    bare = name.removesuffix(_SUFFIX)
    if bare == name:
        return name
    dotted = f".{bare[1:]}"
    if bare.startswith(_DOT) and inside(dotted) == name:
        return dotted
    return bare if bare in COLUMNS else name


def shown_beside(name: str, others: Collection[str]) -> str:
    """Return what a column of the data is called in a file that has columns of fraudctl's own.

    >>> [shown_beside(name, ["action", "model"]) for name in ("cost (data)", "action (data)", "model")]
    ['cost', 'action (data)', 'model (data)']
    """
    bare = outside(name)
    return bare + _SUFFIX if bare in others else bare


DataColumn = Annotated[str, AfterValidator(inside)]
"""The name of a column of the data in the project file, as it is called inside."""
