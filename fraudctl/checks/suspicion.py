"""Checks for leakage: columns that know the outcome, count along with time, or were written after the event."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from fraudctl import tables
from fraudctl.checks.data import Data
from fraudctl.checks.leakage import counts_along, suspects
from fraudctl.checks.report import Finding, Severity
from fraudctl.errors import DataError
from fraudctl.figures import percent
from fraudctl.plain import shown

_IDS = {"separates": "leak-separates", "values": "leak-values", "filled": "leak-filled", "labelled": "leak-labelled"}
LATER_SHARE = 0.9


def check_leakage(data: Data) -> Iterator[Finding]:
    """Judge every column but ignored ones, ids and times of the project, and the label itself."""
    if data.label is None:
        return
    roles = data.role_of
    for name, dtype in data.schema.items():
        role = roles.get(name)
        if dtype.is_nested() or not (role in {None, "raw", "amount"} or (role or "").startswith("entity ")):
            continue
        values = data[name]
        yield from _knows_outcome(data, name, role, values)
        if data.event_time is not None and role in {None, "raw"}:
            yield from _knows_time(name, values, data.event_time, is_feature=role == "raw")
            yield from _comes_later(data, name, values)


def _knows_outcome(data: Data, name: str, role: str | None, values: pl.Series) -> Iterator[Finding]:
    if data.label is None or (role or "").startswith("entity "):
        return
    for item in suspects(values, data.label):
        hint = (
            "is it the amount as it was at the time of the event?"
            if role == "amount"
            else f"if it is known only after the outcome, add {shown(name)} to [data] ignore"
        )
        yield Finding(_IDS[item.kind], "warning", name, item.words, dict(item.figures), hint)


def _knows_time(name: str, values: pl.Series, event_time: pl.Series, *, is_feature: bool) -> Iterator[Finding]:
    if counts_along(values, event_time):
        what = "only counts along with time: its values in a later period were never seen in training"
        severity: Severity = "warning" if is_feature else "info"
        yield Finding("counts-along", severity, name, what, hint=f"add {shown(name)} to [data] ignore")


def _comes_later(data: Data, name: str, values: pl.Series) -> Iterator[Finding]:
    """Find times that nearly always lie after the event: they were written later, and what they say came later."""
    if not (isinstance(values.dtype, pl.Datetime) and data.event_time is not None):
        return
    try:
        later = tables.to_utc(values, timezone=data.project.data.timezone, role="a time") > data.event_time
    except DataError:
        return
    n_filled = len(later) - later.null_count()
    if n_filled and int(later.sum()) > LATER_SHARE * n_filled:
        what = f"{percent(int(later.sum()) / n_filled)} of its times lie after the event: it was written later"
        hint = f"if it tells when the label arrived, set [data] label_time = {shown(name)}; else add it to ignore"
        yield Finding("later-than-event", "info", name, what, {"n_rows": int(later.sum())}, hint)
