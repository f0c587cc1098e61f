"""Checks for leakage: columns that know the outcome, count along with time, or were written after the event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from fraudctl.checks.data import Data
from fraudctl.checks.drift import TimeDrift, TimeDrifts
from fraudctl.checks.leakage import Along, LeakageSuspect
from fraudctl.checks.report import Finding, Severity
from fraudctl.checks.results import find_results
from fraudctl.checks.sentinels import Sentinel, sentinel
from fraudctl.data import tables, typed
from fraudctl.errors import DataError
from fraudctl.metrics.tallies import Counted
from fraudctl.text.figures import percent
from fraudctl.text.plain import shown

_IDS = {"separates": "leak-separates", "values": "leak-values", "filled": "leak-filled", "labelled": "leak-labelled"}
LATER_SHARE = 0.9


@dataclass(frozen=True)
class SuspicionLook:
    """What one column alone gives away."""

    suspects: tuple[LeakageSuspect, ...] = ()
    counts_along: bool = False
    drift: TimeDrift | None = None
    sentinel: Sentinel | None = None


def look(data: Data) -> dict[str, SuspicionLook]:
    """Look at every column once: count its values, and judge those that could be leakage."""
    roles, found = data.role_of, {}
    outcomes = data.outcomes
    along = None if data.event_time is None else Along(data.event_time)
    drifts = None if data.event_time is None or data.label is None else TimeDrifts(data.event_time, data.label)

    def one(values: pl.Series) -> tuple[Counted, SuspicionLook]:
        counted, role = data.count(values), roles.get(values.name)
        if outcomes is None or not _is_judged(values.dtype, role):
            return counted, SuspicionLook()
        is_id, is_free = (role or "").startswith("entity "), role in {None, "raw"}
        suspects = () if is_id else outcomes.suspects(values)
        rises = along is not None and is_free and along.rises_or_falls(values)
        drift = drifts.judge(values) if drifts is not None and is_free and not rises else None
        odd = sentinel(values, counted) if is_free or is_id or role == "amount" else None
        return counted, SuspicionLook(tuple(suspects), rises, drift, odd)

    for name, (counted, seen) in data.values.each(data.schema.names(), one):
        data.steps.begin("looking at columns")
        data.keep(name, counted)
        found[name] = seen
    return found


def _is_judged(dtype: pl.DataType, role: str | None) -> bool:
    return not dtype.is_nested() and (role in {None, "raw", "amount"} or (role or "").startswith("entity "))


def check_leakage(data: Data, looks: Mapping[str, SuspicionLook]) -> Iterator[Finding]:
    """Judge every column but ignored ones, ids and times of the project, and the label itself."""
    if data.label is None:
        return
    roles = data.role_of
    for name, dtype in data.schema.items():
        role = roles.get(name)
        if not _is_judged(dtype, role):
            continue
        yield from _knows_outcome(name, role, looks[name])
        yield from _sentinel(name, looks[name])
        if data.event_time is not None and role in {None, "raw"}:
            yield from _knows_time(name, looks[name], n_features=len(data.project.features.raw) if role == "raw" else 0)
            yield from _comes_later(data, name, dtype)


def check_results(data: Data) -> Iterator[Finding]:
    """Find columns that are another one plus or minus the amount: what the event left behind."""
    amount, roles = data.project.data.amount, data.role_of
    if amount is None or amount not in data.schema:
        return
    names = [name for name in data.schema if roles.get(name) in {None, "raw"} and data.schema[name].is_numeric()]
    try:
        money = typed.to_amount(data[amount], part=True)
    except DataError:
        return  # `check_amount` reports it
    for item in find_results([data[name] for name in names], money.alias(amount), data.label):
        both = all(roles.get(name) == "raw" for name in (item.before, item.after))
        figures = {"share": item.share} | ({} if item.fraud_share is None else {"fraud_share": item.fraud_share})
        hint = f"add {shown(item.after)} to [data] ignore: a score has to be given before it is known"
        used = roles.get(item.after) == "raw"
        yield Finding("event-result", "warning" if both or used else "info", item.after, item.words, figures, hint)


def _knows_outcome(name: str, role: str | None, found: SuspicionLook) -> Iterator[Finding]:
    for item in found.suspects:
        hint = (
            "is it the amount as it was at the time of the event?"
            if role == "amount"
            else f"if it is known only after the outcome, add {shown(name)} to [data] ignore"
        )
        yield Finding(_IDS[item.kind], "warning", name, item.words, dict(item.figures), hint)


def _sentinel(name: str, found: SuspicionLook) -> Iterator[Finding]:
    odd = found.sentinel
    if odd is not None:
        counts: dict[str, float] = {"n_rows": odd.n_rows, "share": odd.share}
        value = f'"{odd.value}"' if odd.kind == "word" else odd.value
        hint = f"if so, [data] missing_in = {{ {shown(name)} = [{value}] }} reads it as null"
        yield Finding("sentinel", "info", name, odd.words, counts, hint)


def _knows_time(name: str, found: SuspicionLook, *, n_features: int) -> Iterator[Finding]:
    severity: Severity = "warning" if n_features else "info"
    if found.drift is not None:
        share = f" It is one of {n_features} columns that the model takes as they are" if n_features else ""
        figures = {"auc": found.drift.auc, "auc_before": found.drift.before, "auc_after": found.drift.after}
        counts = {key: value for key, value in figures.items() if value is not None}
        hint = f"take {shown(name)} out of [features] raw unless its values come back; was one class sorted by it?"
        yield Finding("column-drift", severity, name, f"{found.drift.words}.{share}".rstrip("."), counts, hint)
    if found.counts_along:
        what = "only counts along with time: its values in a later period were never seen in training"
        yield Finding("counts-along", severity, name, what, hint=f"add {shown(name)} to [data] ignore")


def _comes_later(data: Data, name: str, dtype: pl.DataType) -> Iterator[Finding]:
    """Find times that nearly always lie after the event: they were written later, and what they say came later."""
    if not (isinstance(dtype, pl.Datetime) and data.event_time is not None):
        return
    try:
        later = tables.to_utc(data[name], timezone=data.project.data.timezone, role="a time") > data.event_time
    except DataError:
        return
    n_filled = len(later) - later.null_count()
    if n_filled and int(later.sum()) > LATER_SHARE * n_filled:
        what = f"{percent(int(later.sum()) / n_filled)} of its times lie after the event: it was written later"
        hint = f"if it tells when the label arrived, set [data] label_time = {shown(name)}; else add it to ignore"
        yield Finding("later-than-event", "info", name, what, {"n_rows": int(later.sum())}, hint)
