"""The texts that codes in the logs stand for, of columns whose latest value is an answer.

Logs hold codes (`values.code_of`). A text is kept while an event that brought it can be the latest one of a window,
and as long again for events that come late; one that is gone is null.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from fraudctl.features.batch.groups import Array
from fraudctl.features.online.log_words import NO_CODE
from fraudctl.features.online.values import code_of

Kept = tuple[str, int]
"""A text, and the latest time at which an event brought it."""
OBJECT = 200
"""Bytes of a text with its code and its entry in a dictionary."""


class Texts:
    """Texts by their code, those that were brought last at the end.

    Parameters
    ----------
    windows
        Column -> the longest window over its texts, in µs.
    places
        Name of a column -> its place in a row.
    """

    def __init__(self, windows: Mapping[str, int], places: Mapping[str, int]) -> None:
        self.kept: OrderedDict[int, Kept] = OrderedDict()
        self.columns = tuple(windows)
        self._places = tuple(places[name] for name in windows)
        self._kept_us = 2 * max(windows.values(), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the texts take, by estimate."""
        return OBJECT * len(self.kept)

    def take(self, row: list[Any], time: int) -> None:
        """Keep the texts of an event; ``time`` is not before that of any event that was taken earlier."""
        for place in self._places:
            if row[place] is not None:
                self._keep(row[place], time)

    def take_all(self, table: pl.DataFrame, times: Array) -> None:
        """Keep the texts of a history in the order of time, as far as later events can see them."""
        if not self.columns or not len(times):
            return
        first = int(times.searchsorted(int(times[-1]) - self._kept_us, side="right"))
        time = pl.Series("time", times[first:])
        found = [
            table[first:].select(text=name).with_columns(time).drop_nulls("text").group_by("text").agg(pl.max("time"))
            for name in self.columns
        ]
        for text, when in pl.concat(found).group_by("text").agg(pl.max("time")).sort("time", "text").iter_rows():
            self._keep(text, when)

    def _keep(self, text: str, time: int) -> None:
        code = code_of(text)
        self.kept[code] = text, time
        self.kept.move_to_end(code)

    def forget(self, now: int, *, most: int) -> None:
        """Drop up to ``most`` texts that no window reaches any more."""
        for _ in range(most):
            code = next(iter(self.kept), None)
            if code is None or self.kept[code][1] > now - self._kept_us:
                break
            del self.kept[code]

    def of(self, code: int) -> str | None:
        """Return the text of a code; None for null, and for a text that is gone."""
        found = None if code == NO_CODE else self.kept.get(code)
        return None if found is None else found[0]

    def taken(self, answers: Array, at: int) -> str | None:
        """Return the text whose code is the pattern of an answer, and leave NaN in its place."""
        code = int(answers.view(np.int64)[at])
        answers[at] = math.nan
        return self.of(code)

    def saved(self) -> list[list[Any]]:
        """Return the texts as JSON values, in their order."""
        return [[text, time] for text, time in self.kept.values()]

    def restore(self, saved: Iterable[tuple[str, int]]) -> None:
        """Take the texts that `saved` returned."""
        self.kept = OrderedDict((code_of(text), (text, time)) for text, time in saved)
