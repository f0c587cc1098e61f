"""Where the money goes: losses by segment and by entity, and how concentrated they are.

Owns the tables of money lost; nothing here is tested for chance (that is `fraudctl.explain.slices`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.data.own import COLUMNS, inside
from fraudctl.data.tables import ROLES
from fraudctl.explain.scene import Scene
from fraudctl.progress import Watch, unwatched
from fraudctl.text.wording import level_text
from fraudctl.weights import weight_columns

MAX_LEVELS: Final = 30
TOP: Final = 8
TOP_COLUMNS: Final = 4


@dataclass(frozen=True)
class Loss:
    """Money lost within one value of a column."""

    value: str
    """The value, as text."""
    n_events: int
    """Events with it."""
    n_frauds: int
    """Frauds among them."""
    n_missed: int
    """Frauds among them that were allowed."""
    missed_cost: float
    """Money lost on these."""
    n_false_alarms: int
    """Legitimate events among them that were alerted."""
    false_alarm_cost: float
    """Money lost on these."""
    cost: float
    """Money lost on both kinds of error."""


@dataclass(frozen=True)
class SegmentTable:
    """Losses by the values of a column, the costliest first.

    Attributes
    ----------
    words
        What the column is called.
    lift
        Largest ratio of a value's share of the loss to its share of the events, among values with 5 % of the loss.
    """

    column: str
    """Column of the data."""
    words: str
    rows: tuple[Loss, ...]
    """Its values, the costliest first."""
    lift: float


@dataclass(frozen=True)
class EntityTable:
    """The entity values that cost most.

    Attributes
    ----------
    share_of_top
        Share of all money lost on errors that the listed values carry.
    half_of_loss
        Fewest values that together carry half of it.
    concentration
        (n, share of the loss of the n costliest values), for n = 1, 2, 5, 10, ... up to all.
    """

    entity: str
    """Name of the entity."""
    rows: tuple[Loss, ...]
    """The costliest ids."""
    n_values: int
    """Different ids."""
    share_of_top: float
    half_of_loss: int
    concentration: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Money:
    """Losses by segment and by entity."""

    segments: tuple[SegmentTable, ...]
    """Columns by whose values losses differ most."""
    entities: tuple[EntityTable, ...]
    """Entities."""


def find_money(scene: Scene, *, watch: Watch = unwatched) -> Money:
    """Tabulate losses over every column with few values, and over the entities; each is told to ``watch`` before."""
    flags = pl.DataFrame(
        {".missed": scene.missed, ".false": scene.false_alarm, ".cost": scene.cost, ".fraud": scene.y_true}
    )
    frame = scene.scored.hstack(flags)
    words = {item.name: item.words or item.name for item in scene.features}

    def segment(column: str) -> SegmentTable | None:
        watch(column)
        return _segment(frame, column, words.get(column, column))

    def entity(name: str) -> EntityTable:
        watch(name)
        return _entity(frame, name)

    watch("columns with few values")
    segments = [segment(column) for column in segment_columns(scene)]
    told = sorted((item for item in segments if item is not None), key=lambda item: -item.lift)
    return Money(tuple(told[:TOP_COLUMNS]), tuple(map(entity, scene.entities)))


def segment_columns(scene: Scene) -> list[str]:
    """Return the columns whose values name segments: text, booleans and integers with 2 to 30 values."""
    ignored = map(inside, scene.project.data.ignore)
    taken = {*ROLES, *COLUMNS, *scene.entities, *ignored, *scene.clock_features, *weight_columns(scene.project)}
    histories = {item.name for item in scene.features if item.entity is not None}
    kinds = (pl.String, pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
    names = [name for name, dtype in scene.scored.schema.items() if name not in taken | histories and dtype in kinds]
    return [name for name in names if 2 <= scene.scored[name].n_unique() <= MAX_LEVELS]


def group_sums(key: pl.Series, columns: dict[str, npt.NDArray[Any]]) -> pl.DataFrame:
    """Sum columns by key in the order of the rows, so that not even a bit depends on threads.

    Returns ``key`` (each value once, null too), ``n`` (Int64), and the sums; integers stay integers.
    """
    code = key.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    size = int(code.max(initial=0)) + 1
    first = pl.DataFrame({"code": code, "key": key}).unique("code", keep="first").sort("code")
    present = first["code"].to_numpy()
    out = {"key": first["key"], "n": pl.Series(np.bincount(code, minlength=size)[present])}
    for name, values in columns.items():
        total = np.bincount(code, values, minlength=size)[present]
        out[name] = pl.Series(total if values.dtype.kind == "f" else total.astype(np.int64))
    return pl.DataFrame(out)


def _losses(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    missed, false, cost = (frame[name].to_numpy() for name in (".missed", ".false", ".cost"))
    sums = group_sums(
        frame[column],
        {
            "frauds": frame[".fraud"].to_numpy(),
            "missed": missed,
            "missed_cost": np.where(missed, cost, 0.0),
            "false": false,
            "false_cost": np.where(false, cost, 0.0),
            "cost": cost,
        },
    )
    named = sums.with_columns(text=level_text(sums["key"]))
    return named.sort(["cost", "text"], descending=[True, False])


def _loss(row: dict[str, object]) -> Loss:
    keys = ("text", "n", "frauds", "missed", "missed_cost", "false", "false_cost", "cost")
    return Loss(*(row[key] for key in keys))  # type: ignore[arg-type]


def _segment(frame: pl.DataFrame, column: str, words: str) -> SegmentTable | None:
    table = _losses(frame, column)
    total = float(table["cost"].to_numpy().sum())
    if total <= 0:
        return None
    share = table["cost"].to_numpy() / total
    lift = np.where(share >= 0.05, share / (table["n"].to_numpy() / frame.height), 0.0)
    return SegmentTable(column, words, tuple(_loss(row) for row in table.head(TOP).to_dicts()), float(lift.max()))


def _entity(frame: pl.DataFrame, name: str) -> EntityTable:
    errors = frame.filter(pl.col(".missed") | pl.col(".false"), pl.col(name).is_not_null())
    worst = group_sums(errors[name], {"cost": errors[".cost"].to_numpy()}).sort(
        ["cost", "key"], descending=[True, False]
    )
    money = worst["cost"].to_numpy()
    total = float(money.sum())
    reached = np.cumsum(money) >= 0.5 * total
    half = int(np.argmax(reached)) + 1 if total > 0 else 0
    top = worst.head(TOP)["key"]
    rows = _losses(frame.filter(pl.col(name).is_in(top.implode())), name)
    share = float(money[:TOP].sum()) / total if total > 0 else 0.0
    n_values = frame[name].drop_nulls().n_unique()
    steps = tuple((n, float(money[:n].sum() / total)) for n in _steps(len(money))) if total > 0 else ()
    return EntityTable(name, tuple(_loss(row) for row in rows.to_dicts()), n_values, share, half, steps)


def _steps(n: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50 and so on below n, and n itself."""
    return [*(m * 10**k for k in range(9) for m in (1, 2, 5) if m * 10**k < n), *([n] if n else [])]
