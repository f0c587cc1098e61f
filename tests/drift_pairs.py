"""Pairs of files: one in which a column's values move with time so that a model fails later, and its repaired twin.

Each kind of pair is a way in which such data come about: sorting by category, one vocabulary after another, ids that
grow, a slow change of the mix. The twin has the same values with the same outcomes in another order, so that nothing
but the movement is gone. Kinds that are fine (seasons, weekdays, growth, a rare new category) have no broken file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

Rng = np.random.Generator
START: Final = datetime(2022, 3, 1)


@dataclass(frozen=True)
class Pair:
    """Two files of one world, and the column that moves in the first; ``repaired`` alone where nothing is wrong."""

    kind: str
    column: str
    broken: pl.DataFrame | None
    repaired: pl.DataFrame


def _base(rng: Rng, n: int, days: int) -> dict[str, np.ndarray]:
    """Events in the order of time, of which one in ten is fraud, with two honest signals."""
    y = (rng.random(n) < 0.1).astype(int)
    return {
        "seconds": np.sort(rng.integers(0, days * 86_400, n)), "y": y,
        "amount": (rng.gamma(2, 40, n) * (1 + y)).round(2),
        "hint": (rng.normal(0, 1, n) + 0.7 * y).round(3),
    }  # fmt: skip


def _frame(base: dict[str, np.ndarray], column: str, values: np.ndarray) -> pl.DataFrame:
    times = [START + timedelta(seconds=int(s)) for s in base["seconds"]]
    held = {name: values for name, values in base.items() if name != "seconds"}
    return pl.DataFrame({"id": np.arange(len(times)), "at": times, **held, column: values})


def _shuffled(rng: Rng, values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same values, and the same of each outcome, in any order: what they say of fraud stays, when they come not."""
    out = values.copy()
    for side in (0, 1):
        rows = np.flatnonzero(y == side)
        out[rows] = rng.permutation(values[rows])
    return out


def _words(rng: Rng, n: int) -> np.ndarray:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return np.unique(["".join(rng.choice(letters, 6)) for _ in range(n)])


def _one_class_sorted(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """Legitimate rows in alphabetical order over the year, as a database gives them without an ORDER BY time."""
    values = rng.choice(_words(rng, int(rng.integers(6, 40))), len(base["y"]))
    rows = np.flatnonzero(base["y"] == 0)
    values[rows] = np.sort(values[rows])
    return values


def _replaced(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """One vocabulary gives way to another between two dates: codes of a new processor."""
    share = np.linspace(0, 1, len(base["y"]))
    begin = rng.uniform(0.6, 0.75)
    new = rng.random(len(share)) < np.clip((share - begin) / 0.1, 0, 1)
    old, young = _words(rng, 8), np.char.add("v2_", _words(rng, 8))
    return np.where(new, rng.choice(young, len(share)), rng.choice(old, len(share)))


def _only_new(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """A release number: each of twelve for a month, then never again."""
    n = len(base["y"])
    edges = np.sort(rng.uniform(0, 1, 11))
    return np.array([f"r{i:02d}" for i in np.searchsorted(edges, np.linspace(0, 1, n))])


def _growing_ids(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """A number of the customer, given as they join: the later the event, the larger the newest."""
    n = len(base["y"])
    newest = 1_000 + 60 * np.arange(n)
    return (newest * rng.beta(rng.uniform(6, 12), 1, n)).astype(np.int64)


def _mixture(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers whose level climbs by several of their own spreads over the time."""
    n = len(base["y"])
    return (rng.normal(0, 1, n) + np.linspace(0, rng.uniform(5, 9), n)).round(2)


def _frauds_sorted(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """Frauds alone come sorted, as an investigator's list does."""
    values = rng.choice(_words(rng, 12), len(base["y"]))
    rows = np.flatnonzero(base["y"] == 1)
    values[rows] = np.sort(values[rows])
    return values


def _weekdays(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    return np.array([f"{START + timedelta(seconds=int(s)):%A}" for s in base["seconds"]])


def _seasons(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """What is bought follows the time of the year, in each of two years; every category comes back."""
    phase = 2 * np.pi * base["seconds"] / (365.25 * 86_400)
    warm = rng.random(len(phase)) < 0.5 + 0.4 * np.sin(phase + rng.uniform(0, 6))
    return np.where(
        warm, rng.choice(["garden", "travel", "ice"], len(phase)), rng.choice(["heat", "gifts", "ski"], len(phase))
    )


def _growth(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """One channel grows from a fifth to half, as apps do."""
    share = np.linspace(0.2, 0.5, len(base["y"]))
    return np.where(rng.random(len(share)) < share, "app", rng.choice(["web", "pos"], len(share)))


def _rare_newcomer(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """A new category takes a tenth of the events in the last quarter."""
    late = np.linspace(0, 1, len(base["y"])) > 0.75
    return np.where(late & (rng.random(len(late)) < 0.1), "new", rng.choice(_words(rng, 6), len(late)))


def _inflation(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """Prices rise by an eighth over the time, far less than they differ."""
    n = len(base["y"])
    return (rng.lognormal(3, 0.6, n) * np.linspace(1, 1.125, n)).round(2)


def _sporadic(rng: Rng, base: dict[str, np.ndarray]) -> np.ndarray:
    """Campaigns: each code is used for a week, again and again over the time."""
    week = base["seconds"] // (7 * 86_400)
    of_week = rng.integers(0, 5, int(week.max()) + 1)
    return np.array([f"c{i}" for i in of_week[week]])


MOVES: Final[dict[str, Callable[[Rng, dict[str, np.ndarray]], np.ndarray]]] = {
    "legitimate rows in alphabetical order": _one_class_sorted,
    "frauds in alphabetical order": _frauds_sorted,
    "one vocabulary after another": _replaced,
    "new categories only": _only_new,
    "ids that grow": _growing_ids,
    "a level that climbs": _mixture,
}
"""Kinds that have to be named, and whose repaired twin must not be."""
FINE: Final[dict[str, Callable[[Rng, dict[str, np.ndarray]], np.ndarray]]] = {
    "weekdays": _weekdays,
    "seasons": _seasons,
    "a channel that grows": _growth,
    "a rare newcomer": _rare_newcomer,
    "inflation": _inflation,
    "campaigns": _sporadic,
}
"""Kinds that move, and that later periods have been trained on all the same."""


def pair(kind: str, seed: int, *, n: int = 5_000) -> Pair:
    """Return the pair of a kind; data span two years where they are fine, and ten months to two years where not."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    days = 730 if kind in FINE else int(rng.integers(300, 730))
    base = _base(rng, n, days)
    column = str(rng.choice(["category", "code", "kind", "level"]))
    values = {**MOVES, **FINE}[kind](rng, base)
    twin = _shuffled(rng, values, base["y"])
    if kind in FINE:
        return Pair(kind, column, None, _frame(base, column, values))
    return Pair(kind, column, _frame(base, column, values), _frame(base, column, twin))


def project_text(pair_: Pair) -> str:
    """The project file of a pair: all columns are features."""
    is_text = pair_.repaired.schema[pair_.column] == pl.String
    return f"""
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "amount"
label = "y"
label_delay = "7d"
[features]
raw = ["amount", "hint", "{pair_.column}"]
categorical = {[pair_.column] if is_text else []}
"""
