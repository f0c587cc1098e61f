"""What `fraudctl init` proposes: roles, entities, ignored columns, the label delay and a feature set, with reasons.

Owns the looking at a table and the writing of a commented project file as text. It writes no file, and refuses to
guess: where two columns could have one role, the error names the flag that settles it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.errors import DataError, UsageError
from fraudctl.progress import Progress
from fraudctl.project.reading import EventId
from fraudctl.propose import names, roles
from fraudctl.propose.afterwards import Fresh
from fraudctl.propose.beside import Source, Tables, propose_source, with_sources
from fraudctl.propose.delay import (
    Delay,
    given_delay,
    observed_delay,
    refuse_delay,
    reported_delay,
    usual_delay,
)
from fraudctl.propose.derived import Derived, derived_entities
from fraudctl.propose.encoding import Mapping as Encoded
from fraudctl.propose.extras import Extra, extras_of, of_derived, of_sources
from fraudctl.propose.facts import EntityFacts, entity_facts
from fraudctl.propose.flags import (
    RESERVED,
    Flags,
    check_flags,
    parse_entities,
    parse_label_values,
    parse_labels,
    parse_sources,
)
from fraudctl.propose.label_tables import (
    GivenTable,
    LabelFlags,
    LabelTable,
    ProposedLabels,
    delays_of,
    find_declined,
    propose_tables,
    silence,
)
from fraudctl.propose.plan import FeaturePlan, Setting, by_importance, plan_features
from fraudctl.propose.profile import Table, open_table
from fraudctl.propose.proposal import Clock, Proposal
from fraudctl.propose.questions import Questions
from fraudctl.propose.reading import Look, look
from fraudctl.propose.render import render_project
from fraudctl.propose.rest import NOTHING_LEFT, OWN_VALUES, KnownPast, Remainder, sort_rest, with_entities
from fraudctl.propose.roles import Choice, Entity
from fraudctl.text.plain import shown, shown_all

__all__ = [
    "Flags",
    "GivenTable",
    "Proposal",
    "Questions",
    "look",
    "parse_labels",
    "parse_sources",
    "propose",
    "render_project",
]


def propose(
    raw: pl.LazyFrame,
    *,
    events: tuple[str, ...],
    name: str = "fraud-model",
    flags: Flags | None = None,
    sources: Tables | None = None,
    labels: Mapping[str, GivenTable] | None = None,
    reading: Look | None = None,
    questions: Questions | None = None,
    progress: Progress | None = None,
) -> Proposal:
    """Look at a table and propose a project.

    Parameters
    ----------
    raw
        The table as `fraudctl.data.tables.scan` opens it.
    events
        Its paths as they are to stand in the project file.
    name
        Name of the project.
    flags
        What the user has settled.
    sources
        Tables beside the events, used as of each event.
    labels
        Tables of labels; without them the label is a column of the events.
    reading
        How the files are written; ``raw`` is the table in that normal form.
    questions
        Those that are open already; the refusal has them all.

    Raises
    ------
    UsageError
        A role that no column, or more than one, could have; a flag that names no column; unknown label delay.
    DataError
        An empty table, a label with one class, ids that do not name events, values that a given role cannot have.
    """
    flags = flags or Flags()
    questions = questions or Questions()
    if reading is not None and reading.event_time is not None:
        flags = replace(flags, event_time=reading.event_time)
    table = open_table(raw, place=", ".join(events), progress=progress)
    unsettled = reading is not None and reading.unsettled
    chosen = _roles(table, flags, questions, timed=not flags.random_split and not unsettled, labelled=bool(labels))
    verdicts = _verdict_tables(table, labels or {}, chosen, flags, questions)
    if (
        (unsettled or chosen.event_time is not None)
        and flags.label_delay is None
        and chosen.label_time is None
        and not labels
    ):
        span = _span(table, chosen.event_time) or (reading.span if reading is not None else None)
        _ask_delay(questions, span, _later_times(table, {*chosen.taken, *flags.ignore}, chosen.event_time))
    questions.settle()
    event_time, label, label_time, amount = chosen.event_time, chosen.label, chosen.label_time, chosen.amount
    mapping, costs, event_id, entities, taken = (
        chosen.mapping, chosen.costs, chosen.event_id, chosen.entities, chosen.taken,
    )  # fmt: skip
    assert event_id is not None  # noqa: S101 - a missing one is an open question

    times = _times(table, event_time.column) if event_time else None
    if label is not None:
        outcomes, said = typed.to_label(table[label.column], mapping=mapping), None
        delay = None if times is None else _delay(table, flags, label_time, times, outcomes)
    else:
        assert times is not None  # noqa: S101 - tables of labels need a time, which is an open question
        outcomes, delay, said = _from_tables(table, verdicts, event_id, times, flags)
    clock = None if times is None or delay is None else _clock(table, delay, times, reading)
    used = {*taken, *(item.column for item in entities if not item.made)}
    fresh = None if clock is None else Fresh.of(clock.times, clock.delay.duration.timedelta)
    past = KnownPast(outcomes, times, None if amount is None else amount.column, fresh)
    rest = with_entities(sort_rest(table, taken=used, ignore=flags.ignore, past=past), entities, table)
    derived = () if clock is None else _derived(table, clock, rest, entities, chosen.taken)
    if not entities:
        entities, derived = tuple(item.entity for item in derived), ()
    n_frauds, n_labelled = int((outcomes == 1).sum()), len(outcomes) - outcomes.null_count()
    setting = (
        None if clock is None else _setting(table, clock, rest, amount, calendar=reading is None or reading.calendar)
    )
    plan = _plan(table, clock, entities, rest, setting, has_amount=amount is not None)
    beside = tuple(_beside(sources or {}, table, entities, clock, progress))
    plan = replace(plan, window=with_sources(plan.window, beside))
    return Proposal(
        name=name, events=events, event_id=event_id, event_time=event_time, amount=amount, label=label,
        label_values=mapping, label_time=label_time, clock=clock, entities=entities, costs=costs,
        sources=beside, rest=rest, plan=plan, n_events=table.n_rows, n_frauds=n_frauds, n_labelled=n_labelled,
        notes=(
            *(reading.notes if reading is not None else ()),
            *_copies(table, event_id),
            *_moving(rest),
            *_notes(mapping, amount or next(iter(costs.values()), None), entities, plan, clock, n_frauds),
            *_of_names(table),
        ),
        reading=reading, labels=said,
        extras=(
            *extras_of(table, entities, plan, (item.column for item in rest.ignored), has_amount=amount is not None),
            *of_sources(beside),
            *_histories(derived, plan.payer, setting),
        ),
    )  # fmt: skip


def _derived(
    table: Table, clock: Clock, rest: Remainder, entities: tuple[Entity, ...], taken: list[str]
) -> tuple[Derived, ...]:
    """Return the entities that SQL makes of columns that were known at the event."""
    later = {item.column for item in rest.ignored if item.reason != OWN_VALUES}
    named = {*table.columns, *(item.name for item in entities), *RESERVED}
    return derived_entities(table, clock.times, excluded={*taken, *later}, names_taken=named)


def _histories(derived: tuple[Derived, ...], payer: str | None, setting: Setting | None) -> Iterator[Extra]:
    """Give the features of derived entities, which are measured like others that the columns allow."""
    for item in derived:
        if setting is None:
            return
        extra = of_derived(item.entity, plan_features((item.facts,), NOTHING_LEFT, setting), payer)
        if extra is not None:
            yield extra


def _verdict_tables(
    table: Table, given: Mapping[str, GivenTable], chosen: _Roles, flags: Flags, questions: Questions
) -> tuple[LabelTable, ...]:
    """Propose the tables of labels, as far as it is known what names the events and when they were."""
    if not given or chosen.event_id is None:
        return ()
    with questions.collected():
        if isinstance(chosen.event_id.column, EventId):
            msg = f"{table.place}: tables of labels name events, and no column names each event once"
            likely = [item.name for item in table.columns.values() if names.event_id_rank(item.name)]
            example = shlex.quote((likely or list(table.columns))[0])
            raise UsageError(msg, hint=f"name the column that the tables speak of: --event-id {example}")
        events = _keyed(table, chosen.event_id, None if chosen.event_time is None else chosen.event_time.column)
        values = parse_label_values(flags.label_values)
        told = LabelFlags.of(flags.labels_ids, flags.labels_times, flags.labels_outcomes, values)
        return propose_tables(given, events, told, questions)
    return ()


def _keyed(table: Table, event_id: Choice, event_time: str | None) -> pl.DataFrame:
    """Return ``event_id`` of every row and, where it is known, ``event_time``."""
    ids = typed.to_id(table[event_id.column]).alias("event_id")
    return pl.DataFrame([ids] if event_time is None else [ids, _times(table, event_time).alias("event_time")])


def _from_tables(
    table: Table, found: tuple[LabelTable, ...], event_id: Choice, times: pl.Series, flags: Flags
) -> tuple[pl.Series, Delay, ProposedLabels]:
    """Return the outcomes that tables of labels give at the end of the data, how late they come, and the proposal."""
    events = _keyed(table, event_id, times.name)
    said = ProposedLabels(found, Choice("label_delay", ""), find_declined(table, {event_id.column, times.name}))
    if flags.label_delay is not None:
        delay = given_delay(flags.label_delay)
    else:
        delay = reported_delay(delays_of(said.entries, events))
    said = replace(said, silence=silence(said.entries, events, delay.duration))
    raw = None if said.declined is None else table[said.declined[0].column]
    outcomes = said.outcomes(events, delay.duration, raw)
    if outcomes.n_unique() - bool(outcomes.null_count()) < 2:
        kind = "no outcome at all" if outcomes.null_count() == len(outcomes) else f"only {outcomes.drop_nulls()[0]}"
        msg = f"tables of labels: {kind} is known of {table.n_rows:,} events at the end of the data; expected 1 and 0"
        raise DataError(msg, hint="do the ids and the times of all tables fit together?")
    return outcomes, delay, said


@dataclass
class _Roles:
    """The roles that are settled; None is a role that is open, or that the data lack."""

    event_time: Choice | None = None
    label: Choice | None = None
    mapping: Encoded = field(default_factory=dict)
    label_time: Choice | None = None
    amount: Choice | None = None
    costs: dict[str, Choice] = field(default_factory=dict)
    event_id: Choice | None = None
    entities: tuple[Entity, ...] = ()
    taken: list[str] = field(default_factory=list)


def _roles(table: Table, flags: Flags, questions: Questions, *, timed: bool, labelled: bool = False) -> _Roles:
    """Settle all roles; what a role lacks is asked, and the others are settled without it.

    ``labelled`` says that labels are in tables of their own.
    """
    check_flags(flags, table)
    given = [*_named([flags.event_id, flags.amount, flags.label]), *parse_entities(flags.entities).values()]
    out = _Roles()
    if timed:
        with questions.collected():
            out.event_time = roles.choose_event_time(table, flags)
            out.taken.append(out.event_time.column)
    if not labelled:
        with questions.collected():
            out.label, out.mapping = roles.choose_label(table, flags, taken=[*out.taken, *given])
            out.taken.append(out.label.column)
    if out.event_time is not None and not labelled:
        with questions.collected():
            out.label_time = roles.choose_label_time(table, flags, out.event_time.column)
            out.taken += _named([out.label_time.column if out.label_time else None])
    with questions.collected():
        out.amount = roles.choose_amount(table, flags, taken=[*out.taken, *given])
        out.taken += [out.amount.column] if out.amount else []
    out.costs = roles.choose_costs(table, flags, taken=[*out.taken, *given])
    out.taken += [item.column for item in out.costs.values()]
    with questions.collected():
        out.event_id = roles.choose_event_id(table, flags, taken=[*out.taken, *given])
        out.taken.append(out.event_id.column)
    with questions.collected():
        out.entities = roles.choose_entities(table, flags, taken=out.taken)
    return out


def _span(table: Table, event_time: Choice | None) -> float | None:
    """Return the seconds from the first event to the last."""
    if event_time is None:
        return None
    times = tables.to_utc(table[event_time.column], timezone="UTC", role="event_time")
    span = (times.max() - times.min()) if times.null_count() < len(times) else None  # type: ignore[operator]
    return span.total_seconds() if isinstance(span, timedelta) else None


def _later_times(table: Table, taken: set[str], event_time: Choice | None) -> list[str]:
    """Return the columns with times that never precede the event."""
    times = [name for name, item in table.columns.items() if item.kind == "time" and name not in taken]
    if event_time is None:
        return []
    return [name for name in times if roles.never_precedes(table, name, event_time.column)]


def _ask_delay(questions: Questions, span: float | None, times: list[str]) -> None:
    refusal = refuse_delay(span, times)
    questions.asked.append((refusal.message, refusal.hint or ""))
    questions.flags += ["--label-delay", usual_delay(span)]


def _copies(table: Table, event_id: Choice) -> Iterator[str]:
    """Say how many rows repeat another, where nothing but their number tells them apart."""
    if not (isinstance(event_id.column, EventId) and event_id.column.row_number):
        return
    rows = tables.collect(table.raw, files=[table.place]).hash_rows(seed=0)
    n_copies = len(rows) - rows.n_unique()
    if n_copies:
        yield (
            f"{n_copies:,} rows repeat another in every column, and only their row numbers tell them apart: are they "
            "events, or read twice?"
        )


_UNZONED = Choice("UTC", "the times carry no zone and are read as UTC; set it to where they were written")


def _clock(table: Table, delay: Delay, times: pl.Series, reading: Look | None) -> Clock:
    first, last = _period(times)
    zone = _timezone(table, times.name) if reading is None or reading.zoned else _UNZONED
    return Clock(times, first, last, delay, zone)


def _beside(
    sources: Tables, events: Table, entities: tuple[Entity, ...], clock: Clock | None, progress: Progress | None
) -> Iterator[Source]:
    if sources and clock is None:
        msg = "a source is used as of each event, and these events have no time"
        raise UsageError(msg, hint="leave --source out, or --random-split")
    for name, (raw, paths) in sources.items():
        if clock is not None:
            beside = open_table(raw, place=", ".join(paths), progress=progress)
            yield propose_source(name, beside, paths=paths, events=events, entities=entities, clock=clock)


def _plan(
    table: Table,
    clock: Clock | None,
    entities: tuple[Entity, ...],
    rest: Remainder,
    setting: Setting | None,
    *,
    has_amount: bool,
) -> FeaturePlan:
    if clock is None or setting is None:
        return FeaturePlan(raw=(*(("amount",) if has_amount else ()), *rest.raw), categorical=rest.categorical)
    facts = []
    for item in entities:
        table.steps.begin("measuring entities")
        facts.append(_facts(table, item, clock))
    plan = plan_features(by_importance(facts), rest, setting)
    return replace(plan, one_in=max((item.one_in for item in facts), default=1))


def _setting(table: Table, clock: Clock, rest: Remainder, amount: Choice | None, *, calendar: bool) -> Setting:
    return Setting(
        span=max(1.0, (clock.last - clock.first).total_seconds()),
        delay=float(clock.delay.duration.seconds),
        usual_amount=None if amount is None else _usual_amount(table, amount.column),
        columns=frozenset(table.columns),
        weekdays=calendar and (clock.last - clock.first).days >= 14,
        hours=calendar and _has_hours(clock.times),
        with_hours=frozenset(name for name in rest.times if calendar and _has_hours(_read(table, name))),
    )


def _facts(table: Table, entity: Entity, clock: Clock) -> EntityFacts:
    n_ids = 0 if entity.made else table.columns[entity.column].n_unique
    return entity_facts(entity.name, entity.ids(table), clock.times, n_ids=n_ids)


def _read(table: Table, name: str) -> pl.Series:
    return tables.to_utc(table[name], timezone="UTC", role="a time").drop_nulls()


_SOME: Final = 100_000
"""Times that are looked at before all are, about."""


def _has_hours(times: pl.Series) -> bool:
    """Say whether events have times of the day, on more than one day; where some of them show it, that is enough."""
    some = times.gather_every(max(1, len(times) // _SOME))
    return any(part.dt.hour().n_unique() > 1 and part.dt.date().n_unique() > 1 for part in (some, times))


def _named(columns: list[str | None]) -> list[str]:
    return [name for name in columns if name is not None]


def _times(table: Table, column: str) -> pl.Series:
    times = tables.to_utc(table[column], timezone="UTC", role="event_time")
    if times.null_count():
        msg = f"column {shown(column)} (event_time): {times.null_count()} of {len(times)} times are null"
        raise DataError(msg, hint=f"every event needs its time: fill them, or --ignore {shlex.quote(column)}")
    return times


def _usual_amount(table: Table, column: str) -> float:
    median = typed.to_amount(table[column]).abs().median()
    return float(median) if isinstance(median, (int, float)) else 0.0


def _period(times: pl.Series) -> tuple[datetime, datetime]:
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(
        last, datetime
    ):  # pragma: no cover - times are never null here
        msg = f"column {shown(times.name)} (event_time): no times"
        raise DataError(msg)
    return first, last


def _delay(table: Table, flags: Flags, label_time: Choice | None, times: pl.Series, outcomes: pl.Series) -> Delay:
    if flags.label_delay is not None:
        return given_delay(flags.label_delay)
    if label_time is None:
        raise refuse_delay(None)
    arrived = tables.to_utc(table[label_time.column], timezone="UTC", role="label_time")
    return observed_delay(times, arrived, outcomes)


def _timezone(table: Table, column: str) -> Choice:
    dtype = table.columns[column].dtype
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    if zone is None:
        return _UNZONED
    return Choice(zone, "as the times are written")


def _moving(rest: Remainder) -> Iterator[str]:
    """Name the columns whose later values were hardly trained on, the most moved first."""
    moved = sorted(rest.drifts, key=lambda item: -item.auc)
    if moved:
        listed = shown_all([item.column for item in moved])
        yield f"{listed}: values move with time, so that a later period is not what is trained on; `check` says more"


def _of_names(table: Table) -> Iterator[str]:
    if table.n_odd_names:
        yield (
            f"{table.n_odd_names} of the data's columns have names that look like values of cells, and are left out: "
            "rename those that are to be used"
        )


def _notes(
    mapping: Encoded,
    priced: Choice | None,
    entities: tuple[Entity, ...],
    plan: FeaturePlan,
    clock: Clock | None,
    n_frauds: int,
) -> list[str]:
    notes = []
    if clock is None:
        notes.append("the split is random, as asked for: it says nothing about how a model does in the future")
    if any(value is None for value in mapping.values()):
        notes.append("some label values are read as unknown (see [data.label_values]): never trained on, never scored")
    if priced is None:
        notes.append('no amount was found: costs are fixed per event; amount = "..." in [data] adds it')
    if clock is not None and not entities:
        notes.append("no entity was found, so no history and few features; a line in [entities] adds one")
    elif clock is not None and not plan.window:
        notes.append("the data are too short or too sparse for any window of history")
    if plan.one_in > 1:
        notes.append(
            f"how soon ids come back, by which windows are chosen, was measured on one id in {plan.one_in} of the "
            "entity with the most, with all of their events"
        )
    if clock is not None and (clock.last - clock.first).total_seconds() < 3 * clock.delay.duration.seconds:
        notes.append("the data span less than three label delays: little will be left to train and to test on")
    if n_frauds < 300:
        notes.append(f"only {n_frauds} frauds: intervals will be wide, and a gate will rarely pass")
    return notes
