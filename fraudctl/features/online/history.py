"""Build the state after a whole history at once: columns by the batch engine, logs by compiled loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from fraudctl.arrays import as_read
from fraudctl.data.labels import last_change, spells
from fraudctl.data.tables import Events
from fraudctl.features.batch.build import build
from fraudctl.features.batch.groups import Array
from fraudctl.features.batch.hooks import CIRCLE
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.online import arena, intake, pairs
from fraudctl.features.online.log_words import NO_CODE
from fraudctl.features.online.others import Other
from fraudctl.features.online.reading import Seen
from fraudctl.features.online.state import OnlineFeatures
from fraudctl.features.online.tracks import COSINE, LABELS, MINUTE, SINE, Inputs
from fraudctl.features.online.values import code_of
from fraudctl.features.online.verdicts import Verdicts
from fraudctl.progress import Watch
from fraudctl.text.figures import whole

Progress = Callable[[str, int, int], None]
Tell = Callable[[int], object]
"""Told how many rows of a part of the work are done."""
_PART = 1 << 16
_TOLD = 1 << 18
"""Events, ids or outcomes after which is told how many were taken in."""


def take_history(
    state: OnlineFeatures, frame: pl.DataFrame, sources: Mapping[str, pl.DataFrame], progress: Progress
) -> None:
    """Fill a new state with a history, up to its last event.

    The events of the last instant wait, as they do for those that come at the same instant; outcomes and rows that had
    not become known by then are expected.
    """
    if frame.height == 0:
        for name, source in sources.items():
            _expect_rows(state, name, source)
        return
    times = _micros(frame["event_time"])
    until = int(times[-1])
    table = _with_features(state, frame, sources, lambda name, _done, _of: progress(name, 0, 4))
    progress("columns", 1, 4)
    state.texts.take_all(table, times)
    own, codes = _brought(state.plan.inputs[""], table, state.timezone, lambda n: progress(f"{n} columns", 1, 4))
    slots = _event_slots(state, frame, times, lambda what: progress(what, 1, 4))
    before = int(np.searchsorted(times, until))
    layout, links = state.plan.layout, state.plan.links
    tracks, decays, hops = state.tracks[""], state.plan.decays, state.plan.hops

    def take(stop: int, at: int) -> int:
        return intake.take_events(
            state.heap, layout, tracks, links, decays, hops, slots[:before], own[:before], codes[:before],
            as_read(times[:stop]), until, at,
        )  # fmt: skip

    _in_parts(state, before, take, lambda n: progress(f"{whole(n)} events", 1, 4))
    state.now, state.n_events = until, frame.height
    progress("events", 2, 4)
    number = _remember(state, frame["event_id"], times, slots, lambda n: progress(f"{whole(n)} ids", 2, 4))
    _pend(state, frame, own, codes, range(before, frame.height), number)
    if state.plan.needs_labels:
        _take_labels(state, frame, times, slots, number, lambda n: progress(f"{whole(n)} outcomes", 2, 4))
    progress("outcomes", 3, 4)
    for name, source in sources.items():
        if name in state.others:
            _take_source(state, name, source, until, lambda what: progress(what, 3, 4))
    progress("other tables", 4, 4)


def _micros(times: pl.Series) -> Array:
    return np.ascontiguousarray(times.dt.epoch("us").fill_null(0).to_numpy())


def _in_full(state: OnlineFeatures, n: int, work: Callable[[int], int], *, first: int = 0) -> None:
    """Call a loop from ``first`` on until it reaches the end; each time that it stops, lengthen the heap."""
    at = work(first)
    while at < n:
        state.lengthen()
        at = work(at)


def _in_parts(state: OnlineFeatures, n: int, take: Callable[[int, int], int], tell: Tell) -> None:
    """Call a loop, given the end and the begin of a part, for parts of all rows; tell before each how many are done."""
    for first in range(0, n, _TOLD):
        tell(first)
        stop = min(first + _TOLD, n)
        _in_full(state, stop, partial(take, stop), first=first)


# ---------------------------------------------------------------- columns


def _with_features(
    state: OnlineFeatures, frame: pl.DataFrame, sources: Mapping[str, pl.DataFrame], progress: Progress
) -> pl.DataFrame:
    """Return the frame with the features that go into logs, each as of its event."""
    inputs = state.plan.inputs[""]
    used = {*inputs.numbers, *inputs.codes, *(name for expr in inputs.wheres.values() for name in expr.columns)}
    steps = {step.name: step for step in state.features.steps}
    wanted = [name for name in steps if name in used and not _is_column(state.features, name)]
    closure: set[str] = set()
    edge = list(wanted)
    while edge:
        name = edge.pop()
        if name in steps and name not in closure:
            closure.add(name)
            edge += steps[name].spec.needs
    if not closure:
        return frame
    fewer = replace(
        state.features,
        features=tuple(replace(steps[name], hidden=False) for name in wanted),
        steps=tuple(step for step in state.features.steps if step.name in closure),
        stages=tuple(kept for stage in state.features.stages if (kept := tuple(n for n in stage if n in closure))),
    )
    events = Events(frame, frame["event_time"][-1], 0)
    return build(events, fewer, timezone=state.timezone, sources=sources, progress=progress)


def _is_column(features: FeatureSet, name: str) -> bool:
    """Return whether a feature is a column that is used as it is."""
    step = features[name]
    return step.is_column and step.dtype != "category"


def _brought(inputs: Inputs, table: pl.DataFrame, timezone: str, tell: Tell) -> tuple[Array, Array]:
    """Return the numbers (n, n_numbers) and codes (n, n_codes) that rows add to logs."""
    minutes = None
    if MINUTE in inputs.numbers or COSINE in inputs.numbers:
        local = table["event_time"].dt.convert_time_zone(timezone).dt
        minutes = (local.hour().cast(pl.Int64) * 60 + local.minute()).to_numpy()
    own = np.empty((table.height, len(inputs.numbers)), np.float64)
    for i, name in enumerate(inputs.numbers):
        tell(i)
        if minutes is not None and name in (MINUTE, COSINE, SINE):
            own[:, i] = minutes if name == MINUTE else CIRCLE[0 if name == COSINE else 1][minutes]
        else:
            own[:, i] = table[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
    codes = np.empty((table.height, len(inputs.codes)), np.int64)
    for i, name in enumerate(inputs.codes):
        tell(len(inputs.numbers) + i)
        if name.startswith("where "):
            met = inputs.wheres[name.removeprefix("where ")].apply(table, timezone=timezone)
            codes[:, i] = met.fill_null(value=False).to_numpy()
        else:
            codes[:, i] = codes_of(table[name])
    return own, codes


def codes_of(values: pl.Series) -> Array:
    """Return the code of each value of a column, as `values.code_of` does for one."""
    dtype = values.dtype
    if dtype.is_integer() or dtype == pl.Boolean:
        return values.cast(pl.Int64).fill_null(NO_CODE).to_numpy()
    if dtype.is_float():
        bits = (np.nan_to_num(values.to_numpy()) + 0.0).view(np.int64)
        return np.where(values.is_null() | values.is_nan(), NO_CODE, bits)
    if dtype == pl.Null:
        return np.full(len(values), NO_CODE, np.int64)
    unique = values.unique().drop_nulls()
    known = {value: code_of(value) for value in unique.to_list()}
    codes = pl.DataFrame({"value": unique, "code": pl.Series([known[v] for v in unique.to_list()], dtype=pl.Int64)})
    found = values.to_frame("value").join(codes, on="value", how="left", maintain_order="left")["code"]
    return found.fill_null(NO_CODE).to_numpy()


# ---------------------------------------------------------------- slots


def _event_slots(state: OnlineFeatures, frame: pl.DataFrame, times: Array, watch: Watch) -> Array:
    """Return each event's slots, (n, n_spaces), after making them; NULL where nothing of an old event counts any more.

    An event still counts for an entity whose windows reach its time or that of its outcome, or while its outcome may
    come.
    """
    out = np.full((frame.height, len(state.plan.spaces)), arena.NULL, np.int64)
    last = frame.select(last_change(frame.columns).dt.epoch("us").fill_null(arena.NEVER)).to_series()
    until, arrived = int(times[-1]), last.to_numpy()
    may_come = times > until - state.wait_us if state.plan.needs_labels else np.zeros(len(times), np.bool_)
    for number, space in enumerate(state.plan.spaces):
        if len(space.names) == 1:
            values = frame[space.names[0]]
            within, labels_within = state.plan.lookback.of(space.names[0])
            counts = may_come | (times > until - within) | ((arrived > until - labels_within) & (labels_within > 0))
            values = values if space.kept else values.set(pl.Series(~counts), None)
            out[:, number] = _slots(state, number, values, partial(_ids_told, watch, space.names[0]))
    if len(state.pairs):
        _make_pairs(state, out, lambda n: watch(f"pairs of {whole(n)} events"))
    return out


def _ids_told(watch: Watch, entity: str, n: int) -> None:
    watch(f"{whole(n)} ids of {entity}")


def _make_pairs(state: OnlineFeatures, slots: Array, tell: Tell) -> None:
    """Write the pairs of all events, a part at a time, so that the index grows with them."""
    for start in range(0, len(slots), _PART):
        stop = min(start + _PART, len(slots))
        if start % _TOLD == 0:
            tell(start)
        index = state.pair_index.require(state.heap, (stop - start) * len(state.pairs))
        at = pairs.make_all(state.heap, index, state.pairs, slots, start, stop)
        while at < stop:
            state.lengthen()
            at = pairs.make_all(state.heap, index, state.pairs, slots, at, stop)


def _slots(state: OnlineFeatures, number: int, values: pl.Series, tell: Tell) -> Array:
    """Return the slot of each value, NULL for null; slots that are not there are made."""
    tell(0)
    there = state.slots[number]
    unique = values.unique(maintain_order=True).drop_nulls()
    every = unique.to_list()
    new = [value for value in every if value not in there] if there else every
    made = np.zeros(len(new), np.int64)
    layout, space = state.plan.layout, state.spaces_at[number]
    _in_parts(state, len(new), lambda stop, at: arena.new_slots(state.heap, layout, space, made[:stop], at), tell)
    tell(len(new))
    there.add_all(new, made.tolist())
    of = made if new is every else np.array([there[value] for value in every], dtype=np.int64)
    slots = pl.DataFrame({"value": unique, "slot": of}).with_columns(pl.col("value").cast(values.dtype))
    tell(len(every))
    found = values.to_frame("value").join(slots, on="value", how="left", maintain_order="left")["slot"]
    return found.fill_null(arena.NULL).to_numpy()


# ---------------------------------------------------------------- events, outcomes, other tables


def _remember(state: OnlineFeatures, ids: pl.Series, times: Array, slots: Array, tell: Tell) -> int:
    """Keep records of the events that wait for outcomes; return the number of row 0 (also if it has no record)."""
    first = int(np.searchsorted(times, times[-1] - state.wait_us, side="right"))
    hashes = [b""]
    for start in range(first, len(ids), _TOLD):
        tell(start - first)
        hashes.append(state.ledger.hashed_all(ids[start : start + _TOLD].to_list()))
    state.ledger.add_all(b"".join(hashes), times[first:], slots[first:])
    return -first


def _pend(state: OnlineFeatures, frame: pl.DataFrame, own: Array, codes: Array, rows: range, number: int) -> None:
    """Keep the events of the last instant as pending; they count from the next instant on."""
    ids = frame["event_id"]
    for at in rows:
        row: list[Any] = [None] * state.reader.width
        for entity in state.features.entities:
            row[state.reader.places[entity]] = frame[entity][at]
        time = int(_micros(frame["event_time"][at : at + 1])[0])
        state.pending.append((Seen(time, row, own[at].copy(), codes[at].copy()), number + at, ids[at]))


def _take_labels(
    state: OnlineFeatures, frame: pl.DataFrame, times: Array, slots: Array, number: int, tell: Tell
) -> None:
    """Apply the outcomes that had arrived, and schedule the others."""
    if state.verdicts is not None:
        _take_verdicts(state, state.verdicts, frame, times, slots, number, tell)
        return
    rows = np.flatnonzero(frame["label_time"].is_not_null().to_numpy())
    arrived = _micros(frame["label_time"])[rows]
    due = np.maximum(arrived, times[rows] + 1)
    order = np.lexsort((arrived, due))
    rows, arrived, due = rows[order], arrived[order], due[order]
    outcomes = frame["label"].fill_null(0).to_numpy()[rows]
    n = int(np.searchsorted(due, state.now, side="right"))
    happened = times[rows[:n]].astype(np.float64)
    own = np.stack([np.where(outcomes[:n] == 1, happened, np.nan), happened], axis=1)
    layout, links, tracks, of_rows = state.plan.layout, state.plan.links, state.tracks[LABELS], slots[rows[:n]]
    arrivals = arrived[:n]

    def take(stop: int, at: int) -> int:
        return intake.take_labels(
            state.heap, layout, tracks, links, of_rows[:stop], own, arrivals[:stop], state.now, at
        )

    _in_parts(state, n, take, tell)
    state.ledger.settle_all(rows[:n] + number)
    for row, label, time in zip(rows[n:].tolist(), outcomes[n:].tolist(), arrived[n:].tolist(), strict=True):
        if row + number < 0:
            state.ledger.keep_waiting(row + number, int(times[row]), slots[row])
        state.expect(row + number, int(label), time)


def _take_verdicts(
    state: OnlineFeatures,
    verdicts: Verdicts,
    frame: pl.DataFrame,
    times: Array,
    slots: Array,
    number: int,
    tell: Tell,
) -> None:
    """Take in, of labels that may change, the change that was known of each event, and expect the others."""
    until, delay = state.now, state.label_delay_us
    changes = spells(frame)
    row, label = changes["row"].to_numpy().astype(np.int64), changes["label"].to_numpy()
    since, ended = _micros(changes["since"]), changes["until"].dt.epoch("us").fill_null(arena.LATER).to_numpy()
    first = np.append(True, row[1:] != row[:-1])[: len(row)]
    silent = first & (label == 0) & (since == times[row] + delay) & verdicts.by_silence
    ended = np.where(ended == arena.LATER, ended, np.maximum(ended, times[row] + 1))
    counts = (np.maximum(since, times[row] + 1) <= until) & (ended > until)
    at = np.flatnonzero(counts)
    at = at[np.argsort(since[at], kind="stable")]
    happened = times[row[at]].astype(np.float64)
    own = np.stack([np.where(label[at] == 1, happened, np.nan), happened], axis=1)
    layout, links, tracks = state.plan.layout, state.plan.links, state.tracks[LABELS]
    of_rows, arrivals = slots[row[at]], since[at]

    def take(stop: int, i: int) -> int:
        return intake.take_labels(state.heap, layout, tracks, links, of_rows[:stop], own, arrivals[:stop], until, i)

    _in_parts(state, len(at), take, tell)
    known = dict(zip(row[at].tolist(), zip(arrivals.tolist(), label[at].tolist(), strict=True), strict=True))
    begins = np.full(len(times), arena.LATER, np.int64)
    begins[row[first]] = since[first]
    declined = np.flatnonzero(begins > times + delay)
    for one in declined[declined + number >= 0].tolist():
        verdicts.decline(one + number)
    state.ledger.settle_all(row[at][silent[at]] + number)
    later = np.unique(row[np.maximum(since, times[row] + 1) > until])
    spoken = np.unique(row[~silent])
    wanted = spoken[(spoken + number >= 0) | np.isin(spoken, later)]
    keep = ~silent & np.isin(row, wanted)
    for one in wanted[wanted + number < 0].tolist():
        state.ledger.keep_waiting(one + number, int(times[one]), slots[one])
    verdicts.declined.update((declined[np.isin(declined, wanted)] + number).tolist())
    for one, time, outcome in zip(row[keep].tolist(), since[keep].tolist(), label[keep].tolist(), strict=True):
        verdicts.add(one + number, time, outcome)
    for one in wanted.tolist():
        if one in known:
            verdicts.applied[one + number] = known[one]
    for one, time in zip(row[keep].tolist(), since[keep].tolist(), strict=True):
        if max(time, int(times[one]) + 1) > until:
            state.expect_change(one + number, time)
    verdicts.silent = max(0, int(np.searchsorted(times, until - max(delay, 1), side="right")) + number)


def _take_source(state: OnlineFeatures, name: str, source: pl.DataFrame, until: int, watch: Watch) -> None:
    """Add the rows of another table that later events may see, and schedule rows that are not usable yet."""
    usable = _micros(source["usable_time"])
    known = usable < until
    _look_up(state.others[name], source.filter(pl.Series(known)), lambda n: watch(f"{whole(n)} rows of {name}"))
    rows = np.flatnonzero(known & (usable > until - state.plan.lookback.rows_within_us.get(name, 0)))
    rows = rows[np.argsort(usable[rows], kind="stable")]
    recent, times = source[rows.tolist()] if len(rows) else source.clear(), usable[rows]
    own, codes = _brought(state.plan.inputs[name], recent, state.timezone, lambda n: watch(f"{n} columns of {name}"))
    slots = np.full((len(rows), len(state.plan.spaces)), arena.NULL, np.int64)
    for number, space in enumerate(state.plan.spaces):
        if len(space.names) == 1 and space.names[0] in recent.columns:
            slots[:, number] = _slots(state, number, recent[space.names[0]], partial(_ids_told, watch, name))
    layout, tracks = state.plan.layout, state.tracks[name]
    _in_full(
        state,
        len(rows),
        lambda at: intake.take_rows(state.heap, layout, tracks, slots, own, codes, times, until, at),
    )
    _expect_rows(state, name, source.filter(pl.Series(~known)))


def _expect_rows(state: OnlineFeatures, name: str, source: pl.DataFrame) -> None:
    """Keep rows of another table until they become usable."""
    for row in source.iter_rows(named=True):
        state.source(name, row)


def _look_up(other: Other, known: pl.DataFrame, tell: Tell) -> None:
    """Keep the last row, in the order of the table, of each value of an entity."""
    for entity in other.latest:
        last = known.filter(pl.col(entity).is_not_null()).unique(subset=[entity], keep="last", maintain_order=True)
        for n, row in enumerate(last.iter_rows(named=True)):
            if n % _TOLD == 0:
                tell(n)
            other.keep(other.read(row), only=entity)
