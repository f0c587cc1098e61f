"""Checks of outcomes: how many, how mature, how late, and whether their rate breaks from one week to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime

import polars as pl

from fraudctl.checks.clock import one_class_periods
from fraudctl.checks.data import Data
from fraudctl.checks.label_tables import check_label_tables
from fraudctl.checks.report import Finding, Week, counted
from fraudctl.data import tables
from fraudctl.data.distinct import repeats
from fraudctl.data.labels import CHANGES
from fraudctl.errors import DataError, FraudctlError
from fraudctl.power import FoldPower, power_of
from fraudctl.project import Project
from fraudctl.split import layout_of, make_split
from fraudctl.text.figures import number, percent

MANY_UNKNOWN = 0.5
FEW_FRAUDS = 30
ARRIVED = 0.9
"""Share of labels that should have arrived by the label delay."""
_DAY = 86_400.0
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def check_labels(data: Data) -> Iterator[Finding]:
    """Find too few outcomes, too few frauds, outcomes that do not count yet."""
    label, mature = data.label, data.mature
    if label is None:
        return
    column = data.label_place
    n_frauds, n_legit = int((label == 1).sum()), int((label == 0).sum())
    n_known = n_frauds + n_legit
    if not n_frauds or not n_legit:
        only = "no outcome at all" if not n_known else "only frauds" if n_frauds else "no fraud"
        what = f"{only} in {len(label):,} rows; expected both 1 and 0"
        yield Finding("label-one-class", "error", column, what, {"n_frauds": n_frauds, "n_legit": n_legit})
        return
    n_unknown = len(label) - n_known
    if n_unknown:
        many = n_unknown > MANY_UNKNOWN * len(label)
        share = percent(n_unknown / len(label), 1)
        what = f"{counted(n_unknown, 'event')} without outcome ({share}): neither trained on nor evaluated"
        yield Finding("label-unknown", "warning" if many else "info", column, what, {"n_rows": n_unknown})
    if mature is not None:
        yield from _maturity(column, label, mature)


def _maturity(column: str, label: pl.Series, mature: pl.Series) -> Iterator[Finding]:
    n_mature = int(mature.sum())
    n_immature = len(label) - label.null_count() - n_mature
    n_frauds = int((mature & (label == 1)).sum())
    if not n_mature:
        what = "no outcome is mature: the data span less than the label delay"
        yield Finding("label-immature", "error", column, what, {"n_rows": n_immature}, "is label_delay right?")
        return
    if n_immature:
        what = f"{counted(n_immature, 'outcome')} younger than the label delay: they count once they are older"
        yield Finding("label-immature", "info", column, what, {"n_rows": n_immature})
    if n_frauds < FEW_FRAUDS:
        what = f"{counted(n_frauds, 'mature fraud')} in {n_mature:,} outcomes: too few to learn from or to judge by"
        counts: dict[str, float] = {"n_frauds": n_frauds}
        yield Finding("label-few-frauds", "warning", column, what, counts, "more history is the best remedy")


def check_power(data: Data) -> Iterator[Finding]:
    """Find a test period with too few frauds to show anything, before a model is trained for it."""
    column, until = data.project.data.event_id, data.known_until
    if data.label is None or column not in data.schema or (data.project.data.has_time and until is None):
        return
    nothing = pl.Series([None], dtype=tables.UTC_US)
    times = nothing.new_from_index(0, data.n_rows) if data.event_time is None else data.event_time
    arrived = times + data.project.data.label_delay.timedelta
    if data.label_time is not None:
        arrived = data.label_time.zip_with(data.label_time.is_not_null(), arrived)
    frame = pl.DataFrame({"event_id": data[column], "event_time": times, "label": data.label, "label_time": arrived})
    if data.changes is not None:
        frame = frame.with_columns(data.changes[CHANGES])
    frame = frame.drop_nulls("event_time") if data.project.data.has_time else frame
    rows = data.repeated_ids if frame.height == data.n_rows else repeats(frame["event_id"])
    # rows that repeat another are dropped when events are read
    if len(rows):
        again = rows[~frame["event_id"].gather(rows).is_first_distinct().to_numpy()]
        frame = frame.with_row_index("row").filter(~pl.col("row").is_in(pl.Series(again).implode())).drop("row")
    yield from _check_folds(tables.in_order(frame), data.project, until)
    try:
        found = power_of(frame, data.project, known_until=until)
    except FraudctlError:
        return  # no period can be laid out: `label-immature` and `train` say why
    if found.severity is not None:
        counts = {"n_frauds": found.n_frauds, "n_legit": found.n_legit, "recall_half_width": found.half_width}
        yield Finding("test-few-frauds", found.severity, "split.test", found.sentence, counts, found.hint)


def _check_folds(frame: pl.DataFrame, project: Project, known_until: datetime | None) -> Iterator[Finding]:
    """Find a history that holds no fold to train on, where `train` would refuse. Blocked entities are not looked at."""
    evaluate = project.evaluate.model_copy(update={"block_known": None})
    evaluated = project.model_copy(update={"evaluate": evaluate})
    try:
        layout_of(frame, evaluated, known_until=known_until)
    except FraudctlError:
        return  # `label-immature` says why
    try:
        split = make_split(frame, evaluated, known_until=known_until)
        folds = FoldPower.of(split, frame)
        counts: dict[str, float] = {f"frauds_{number}": n for number, n in enumerate(folds.frauds, start=1)}
        yield Finding("fold-frauds", "warning" if folds.few else "info", "split.folds", folds.sentence, counts)
    except DataError as error:
        hint = (error.hint or "").rpartition("\n")[2]
        yield Finding(
            "split-impossible", "info", "split", f"`fraudctl train` would refuse: {error.message}", {}, hint or None
        )


def label_delays(data: Data) -> dict[str, float]:
    """Give quantiles of the observed delays in days; empty without a label_time."""
    delays = data.delays
    if delays is None or not len(delays):
        return {}
    return {name: round(float(delays.quantile(q, "linear") or 0.0) / _DAY, 3) for name, q in _QUANTILES.items()}


def check_label_time(data: Data) -> Iterator[Finding]:
    """Find labels before their event, labels later than the data, and a delay that does not fit what is observed."""
    if data.project.labels.tables:
        yield from _check_tables(data)
        return
    column, delays = data.project.data.label_time, data.delays
    if column is None or delays is None or data.label is None or data.label_time is None:
        return
    n_early = int((delays < 0).sum())
    if n_early:
        what = f"{counted(n_early, 'label')} before the event; expected none"
        yield Finding("label-time-early", "error", column, what, {"n_rows": n_early}, "are both columns in one zone?")
    n_without = int((data.label.is_not_null() & data.label_time.is_null()).sum())
    if n_without:
        what = f"{counted(n_without, 'outcome')} without a label_time: taken to arrive after label_delay"
        yield Finding("label-time-null", "info", column, what, {"n_rows": n_without})
    n_without = int((data.label.is_null() & data.label_time.is_not_null()).sum())
    if n_without:
        what = f"{counted(n_without, 'event')} with a label_time but no outcome: the time is not used"
        yield Finding("label-time-only", "info", column, what, {"n_rows": n_without})
    n_later = int((data.label_time > data.known_until).sum()) if data.known_until is not None else 0
    if n_later:
        what = f"{counted(n_later, 'label')} later than the latest event: they do not count yet"
        yield Finding("label-time-later", "info", column, what, {"n_rows": n_later})
    if len(delays):
        yield from _delay_fit(data, delays)


def _check_tables(data: Data) -> Iterator[Finding]:
    events, delays = data.event_ids, data.delays
    if events is None or data.changes is None:
        yield from data.verdicts.trouble
        return
    yield from check_label_tables(data.verdicts, events, data.changes)
    if delays is not None and len(delays):
        yield from _delay_fit(data, delays)


def _delay_fit(data: Data, delays: pl.Series) -> Iterator[Finding]:
    horizon = data.project.data.label_delay
    arrived = float((delays <= horizon.seconds).sum()) / len(delays)
    p95 = float(delays.quantile(0.95, "linear") or 0.0) / _DAY
    figures = {"share_arrived": arrived, "p95_days": p95}
    if arrived < ARRIVED:
        within = f"within label_delay = {horizon}; 95 % do within {number(p95)} days"
        what = f"only {percent(arrived)} of the labels arrive {within}"
        hint = f'label_delay = "{max(1, math.ceil(p95))}d" would wait for them'
        yield Finding("label-delay-short", "warning", "data.label_delay", what, figures, hint)
    elif horizon.seconds > 3 * max(1.0, p95) * _DAY:
        what = (
            f"label_delay = {horizon} is far longer than it takes: 95 % of the labels arrive within {number(p95)} days"
        )
        hint = "a shorter one gives fresher training data"
        yield Finding("label-delay-long", "info", "data.label_delay", what, figures, hint)


def weeks(data: Data) -> tuple[Week, ...]:
    """Count events and outcomes by week of the project's zone."""
    if data.event_time is None:
        return ()
    counts = data.hours.group_by(pl.col("at").dt.truncate("1w").dt.date()).agg(
        pl.col("n", "labelled", "ripe", "frauds").sum()
    )
    return tuple(Week(*row) for row in counts.sort("at").iter_rows())


def check_weeks(data: Data, found: tuple[Week, ...]) -> Iterator[Finding]:
    """Find weeks whose fraud rate is surely more than three times, or less than a third of, the usual.

    The usual rate is the median of the other weeks. "Surely" is five Poisson standard errors above the expected count
    with at least ten frauds, or, for less than a third, at least fifteen expected (a chance below one in a thousand).
    """
    column = data.label_place
    odd = set() if data.event_time is None or data.label is None else _one_sided(data)
    ripe = [week for week in found if week.n_mature and week.start not in odd]
    broken = [week for week in ripe if _breaks(week, [other for other in ripe if other is not week])]
    if broken:
        listed = ", ".join(f"{week.start} ({percent(week.fraud_rate or 0.0, 2)})" for week in broken[:5])
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        what = f"the fraud rate breaks in {counted(len(broken), 'week')}: {listed}{more}"
        hint = "a change of labelling, a lost delivery or a real attack? leave out what is not real"
        yield Finding("fraud-rate-break", "warning", column, what, {"n_weeks": len(broken)}, hint)
    if ripe:
        between = [week for week in found if ripe[0].start < week.start < ripe[-1].start and not week.n_labelled]
        if between:
            what = f"{counted(len(between), 'week')} without a single outcome in between"
            yield Finding("weeks-unlabelled", "warning", column, what, {"n_weeks": len(between)}, "are labels missing?")


def _one_sided(data: Data) -> set[date]:
    """Return the weeks with one class only, which `one-class` names: no other week is to be held against them."""
    periods = one_class_periods(data.hours, "1w").filter(pl.col("only").is_not_null())
    return {at.date() for at in periods["at"]}


def _breaks(week: Week, others: list[Week]) -> bool:
    if len(others) < 3:
        return False
    rates = sorted(other.n_frauds / other.n_mature for other in others)
    middle = len(rates) // 2
    usual = rates[middle] if len(rates) % 2 else (rates[middle - 1] + rates[middle]) / 2
    expected = usual * week.n_mature
    surely_more = week.n_frauds >= 10 and week.n_frauds - expected > 5 * math.sqrt(max(expected, 1.0))
    surely_less = expected >= 15
    return (surely_more and week.n_frauds > 3 * expected) or (surely_less and week.n_frauds < expected / 3)
