"""Columns that are together the result of the event: one is another plus or minus the amount.

A balance after the event is written when the event is over. Where it equals the balance before it, less the amount, the
pair says whether the money moved: what a score has to be known before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudctl.text.figures import percent
from fraudctl.text.plain import shown

HOLDS: Final = 0.2
"""Share of all events, or of the frauds, in which the sum has to hold."""
_TELLING: Final = 10
"""Events with something left in which the sum has to hold, at least."""
_MOST_ROWS: Final = 20_000
_MOST_COLUMNS: Final = 60
_AFTER: Final = ("new", "after", "post", "closing", "end", "later", "remaining")
_BEFORE: Final = ("old", "before", "prev", "prior", "opening", "start", "pre")


@dataclass(frozen=True)
class EventResult:
    """``after = before + sign * amount`` in a share of the events, to the cent.

    Attributes
    ----------
    share, fraud_share
        Of the events and of the frauds with an amount and both columns in which the sum holds; ``fraud_share`` is None
        where no outcome is known.
    """

    before: str
    after: str
    amount: str
    sign: int
    share: float
    fraud_share: float | None

    @property
    def words(self) -> str:
        """The finding in words."""
        sign = "+" if self.sign > 0 else "-"
        held = f"{percent(self.share)} of the events"
        if self.fraud_share is not None:
            held = f"{percent(self.fraud_share)} of the frauds and {held}"
        return f"equals {shown(self.before)} {sign} {shown(self.amount)} in {held}: it is written after the event"


def find_results(columns: Sequence[pl.Series], amount: pl.Series, label: pl.Series | None) -> tuple[EventResult, ...]:
    """Find the columns that are another one plus or minus the amount.

    Parameters
    ----------
    columns
        Numbers of the events in the order of the file, each of shape ``(n_events,)``; beyond 60 none is looked at.
    amount
        Of the same shape.
    label
        Int8 1, 0 or null; None where it cannot be read.
    """
    columns = [item for item in columns if item.name != amount.name and item.dtype.is_numeric()]
    if not 2 <= len(columns) <= _MOST_COLUMNS:
        return ()
    step = max(1, -(-len(amount) // _MOST_ROWS))
    money = amount.gather_every(step).cast(pl.Float64).fill_null(np.nan).to_numpy()
    fraud = None if label is None else (label.gather_every(step) == 1).fill_null(value=False).to_numpy()
    held = {item.name: item.gather_every(step).cast(pl.Float64).fill_null(np.nan).to_numpy() for item in columns}
    found = [item for pair in itertools.combinations(held, 2) for item in _pair(pair, held, amount.name, money, fraud)]
    best: dict[str, EventResult] = {}
    for item in sorted(found, key=lambda one: -max(one.share, one.fraud_share or 0.0)):
        if item.before not in best:
            best.setdefault(item.after, item)
    return tuple(best.values())


def _pair(
    pair: tuple[str, str],
    held: dict[str, NDArray[np.float64]],
    amount: str,
    money: NDArray[np.float64],
    fraud: NDArray[np.bool_] | None,
) -> Iterator[EventResult]:
    before, after = _in_order(pair)
    with np.errstate(invalid="ignore"):
        known = (money != 0) & np.isfinite(money + held[before] + held[after])
        moved = held[after] - held[before]
        close = 0.005 + 1e-9 * np.abs(held[before])
        for sign in (1, -1):
            holds = known & (np.abs(moved - sign * money) < close)
            frauds = int((known & fraud).sum()) if fraud is not None else 0
            moving = known & (held[after] != 0)  # where nothing is left, many sums hold by chance
            telling = int((holds & moving).sum())
            if _rank(after) < 0 or telling < max(_TELLING, HOLDS / 2 * int(moving.sum())):
                continue
            share = float(holds.sum()) / max(1, int(known.sum()))
            fraud_share = float((holds & fraud).sum()) / frauds if fraud is not None and frauds else None
            if max(share, fraud_share or 0.0) >= HOLDS:
                yield EventResult(before, after, amount, sign, share, fraud_share)


def _in_order(pair: tuple[str, str]) -> tuple[str, str]:
    """Return a pair as before and after: by its names where they say so, else as in the file."""
    ranks = [_rank(name) for name in pair]
    return (pair[1], pair[0]) if ranks[0] > ranks[1] else pair


def _rank(name: str) -> int:
    text = name.lower()
    if any(word in text for word in _AFTER):
        return 1
    return -1 if any(word in text for word in _BEFORE) else 0
