"""Which column plays which role: event id, time, amount, outcome, its arrival, and the parties to a transaction.

Owns the rule that nothing is guessed: a role goes to the only plausible column, with the reason in words; where two
are plausible, or none, a UsageError names the flag that settles it. Columns given by a flag are taken, but must be
able to bear the role.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.data.distinct import repeats, tally
from fraudctl.data.identities import Getter, Made
from fraudctl.errors import DataError, UsageError
from fraudctl.normal.form import joined, text_of
from fraudctl.project.entities import EntityKey
from fraudctl.project.reading import EventId
from fraudctl.propose import names
from fraudctl.propose.encoding import Mapping, encoding, given_encoding, has_few_words
from fraudctl.propose.flags import RESERVED, ROW_NUMBER, Flags, parse_entities, parse_label_values
from fraudctl.propose.profile import ProfiledColumn, Table, may_hold_ids
from fraudctl.text.figures import number, percent
from fraudctl.text.plain import shown, shown_all

MAX_ENTITIES = 5
FEW_VALUES = 50
"""An entity with at most as many ids may be a category of the model, too."""
DOMINANT = 0.2
"""Share of the events that one id of an entity may hold."""
_RARE = 0.8
"""Share of distinct ids from which most of them are new."""
_RETURNS = 0.01
FEW_RETURNS = 20
"""Share and number of events whose id was there before, at least."""
_FEW_TIMES = 20
"""Different values that a clock has at least."""
_OWN_ID = 3
"""Rank of a name that is nothing but the id of the event."""
_WORDS = "say what each means: --label-value WORD=1 --label-value WORD=0 (or WORD=unknown)"
_FIRST_LOOK, _MANY = 100, 200_000
"""Repeated ids that are looked at before all are, and how many there have to be for that."""


@dataclass(frozen=True)
class Choice:
    """A column chosen for a role, with the reason in words."""

    column: str
    reason: str


@dataclass(frozen=True)
class Entity:
    """An entity: its name in features, its column, and why.

    ``parts`` are the columns that are it together; ``sql`` makes it of its column.
    """

    name: str
    column: str
    reason: str
    parts: tuple[str, ...] = ()
    sql: str = ""

    @property
    def made(self) -> bool:
        """Whether no column holds its ids."""
        return bool(self.parts or self.sql)

    def ids(self, table: Table) -> pl.Series:
        """Return its id of every event, shape ``(n_events,)``."""
        if self.sql:
            return self.ids_by_sql(lambda name: table[name])
        return _joined_ids(table, self.parts) if self.parts else typed.to_id(table[self.column])

    def ids_by_sql(self, column: Getter) -> pl.Series:
        """Return what its SQL makes of each value that ``column`` gives."""
        return Made(EntityKey(sql=self.sql), "init", {}, "UTC").ids(column)


def choose_event_time(table: Table, flags: Flags) -> Choice:
    """Choose the instant of the event among timestamps, dates and ISO 8601 texts without nulls."""
    if flags.event_time is not None:
        column = table.columns[flags.event_time]
        if column.kind != "time":
            _refuse_no_clock(table, [column])
        return Choice(column.name, "the time of the event")
    taken = {*flags.ignore, flags.label_time}
    times = [item for item in table.columns.values() if item.kind == "time" and item.name not in taken]
    ranked = [(names.event_time_rank(item.name), item.name) for item in times if not item.n_null and item.n_unique > 1]
    best = _best(ranked)
    if len(best) == 1:
        only = "the only time without gaps" if len(ranked) == 1 else "the only one whose name says the event's time"
        return Choice(best[0], only)
    if best:
        _refuse_two("the time of the event", best, "--event-time")
    if len(times) == 1 and _is_clock(table, times[0]):
        return Choice(times[0].name, "the only time in the data, without gaps, and its values are those of a clock")
    if times:
        listed = shown_all([item.name for item in times])
        msg = f"{table.place}: no column is surely the time of the event; times here: {listed}"
        example = next((item.name for item in times if not item.n_null), times[0].name)
        raise UsageError(msg, hint=f"name it: --event-time {example} (it may hold no nulls)")
    open_columns = [item for item in table.columns.values() if item.name not in taken]
    return _refuse_no_clock(table, [item for item in open_columns if names.looks_like_time(item.name)])


def _is_clock(table: Table, column: ProfiledColumn) -> bool:
    """Say whether the only time of the data is that of the event, whatever its name says of it.

    It has no gaps, and its values are in order or mostly of their own, with times of the day: a date of birth or of a
    contract is neither. Names that speak of the outcome or of a person's or contract's dates are no clock.
    """
    if column.n_null or column.n_unique < _FEW_TIMES or not names.may_be_event_time(column.name):
        return False
    times = tables.to_utc(table[column.name], timezone="UTC", role="event_time")
    with_hours = times.dt.time().n_unique() > 1
    return times.is_sorted() or times.is_sorted(descending=True) or (with_hours and column.unique_share > 0.5)


def _refuse_no_clock(table: Table, columns: list[ProfiledColumn]) -> NoReturn:
    hint = (
        f"name it, and how it is written, such as {_time_flags(table, columns)}; where there is none, --random-split "
        "asks for a split by chance, which says nothing about the future"
    )
    if not columns:
        msg = f"{table.place}: no column holds a time; everything here depends on when an event happened"
        raise UsageError(msg, hint=hint)
    told = "; ".join(f"column {shown(item.name)} {_why_no_clock(table, item)}" for item in columns)
    msg = f"{table.place}: no time of the event: {told}; expected a timestamp, a date or ISO 8601 text"
    raise UsageError(msg, hint=hint)


def _time_flags(table: Table, columns: list[ProfiledColumn]) -> str:
    """Return flags for a column that may be a time: of those named so the first, else the one of the most values."""
    open_columns = columns or [item for item in table.columns.values() if item.kind != "other"]
    best = max(open_columns, key=lambda item: (not item.n_null, item.n_unique), default=None)
    chosen = "event_time" if best is None else shlex.quote((columns[0] if columns else best).name)
    if best is not None and (columns[0] if columns else best).dtype.is_numeric():
        return f"--event-time {chosen} --time-unit s --time-origin unknown"
    return f'--event-time {chosen} --time-format "%d/%m/%Y %H:%M"'


def _why_no_clock(table: Table, column: ProfiledColumn) -> str:
    what = f"is {column.dtype}"
    if not column.dtype.is_numeric() or not column.n_filled:
        return what
    values = table[column.name].drop_nulls().cast(pl.Float64)
    low, high = float(values.min() or 0.0), float(values.max() or 0.0)  # type: ignore[arg-type]
    if column.n_unique == column.n_rows and high - low == column.n_rows - 1:
        return f"{what} and numbers the rows: a row number is no clock"
    for unit, factor in (("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if 6e8 * factor <= low and high <= 4e9 * factor:
            return f"{what} and looks like {unit} since 1970: cast it to a timestamp when writing"
    return f"{what}: a count or an offset without a date is no clock"


def choose_label(table: Table, flags: Flags, *, taken: Iterable[str]) -> tuple[Choice, Mapping]:
    """Choose the outcome among columns whose name says so and whose values are 1, 0 and null, or map to them."""
    given = parse_label_values(flags.label_values)
    if flags.label is not None:
        choice = Choice(flags.label, "given by --label")
        mapping: Mapping | None = encoding(table[choice.column])
        if given:
            mapping = given_encoding(table[choice.column], given)
    elif given:
        choice = _named_label(table, taken={*taken, *flags.ignore})
        mapping = given_encoding(table[choice.column], given)
    else:
        choice, mapping = _find_label(table, taken={*taken, *flags.ignore})
    if mapping is None:
        column = table.columns[choice.column]
        msg = (
            f"column {shown(choice.column)} (label): {column.dtype} with {column.n_unique} distinct values that are "
            "not surely fraud, legitimate and unknown; expected 1, 0 and null"
        )
        raise UsageError(msg, hint=_WORDS)
    outcomes = typed.to_label(table[choice.column], mapping=mapping).drop_nulls()
    if outcomes.n_unique() < 2:
        found = f"only {outcomes[0]}" if len(outcomes) else "no outcome at all"
        msg = f"column {shown(choice.column)} (label): {found} in {table.n_rows} rows; expected both 1 and 0"
        raise DataError(msg, hint="add the frauds (or the legitimate events), or leave that column out with --ignore")
    return choice, mapping


def _label_names(table: Table, taken: set[str | None]) -> list[str]:
    """Return the columns of the highest rank that are named as the outcome."""
    kinds = {"bool", "whole", "number", "text"}
    open_columns = [item for item in table.columns.values() if item.name not in taken and item.kind in kinds]
    return _best([(names.label_rank(item.name), item.name) for item in open_columns])


def _named_label(table: Table, *, taken: set[str | None]) -> Choice:
    """Choose the outcome by its name alone, for words that flags explain."""
    best = _label_names(table, taken)
    if len(best) > 1:
        _refuse_two("the outcome", best, "--label")
    if not best:
        msg = f"{table.place}: no column is named as the outcome, whose words --label-value explains"
        raise UsageError(msg, hint=f"name it: --label {_label_example(table, taken)}")
    return Choice(best[0], "its name is that of an outcome")


def _find_label(table: Table, *, taken: set[str | None]) -> tuple[Choice, Mapping | None]:
    ranked, mappings = [], {}
    for item in table.columns.values():
        rank = names.label_rank(item.name)
        if rank and item.name not in taken and item.kind in {"bool", "whole", "number", "text"}:
            mapping = encoding(table[item.name])
            if mapping is not None:
                ranked.append((rank, item.name))
                mappings[item.name] = mapping
    best = _best(ranked)
    if not best:
        msg = f"{table.place}: no column is surely the outcome (1 fraud, 0 legitimate, null unknown)"
        worded = [name for name in _label_names(table, taken) if has_few_words(table[name])]
        if not worded:
            hint = f"name it: --label {_label_example(table, taken)}; where outcomes are in tables of their own, name "
            hint += "each, such as --labels chargebacks=chargebacks.csv"
            raise UsageError(msg, hint=hint)
        msg += f"; {shown(worded[0])} is named as one, and holds words that are not known"
        raise UsageError(msg, hint=_WORDS)
    if len(best) > 1:
        _refuse_two("the outcome", best, "--label")
    return Choice(best[0], "its name and its values are those of an outcome"), mappings[best[0]]


def _label_example(table: Table, taken: set[str | None]) -> str:
    """Return the column that may be the outcome: of two values that can be mapped, else of the fewest values."""
    open_columns = [item for item in table.columns.values() if item.name not in taken and item.n_unique >= 2]
    fits = [item for item in open_columns if item.n_unique == 2 and encoding(table[item.name]) is not None]
    fewest = sorted(fits or open_columns, key=lambda item: item.n_unique)
    return shlex.quote(fewest[0].name) if fewest else "is_fraud"


def choose_label_time(table: Table, flags: Flags, event_time: str) -> Choice | None:
    """Choose the arrival of the label among times whose name speaks of the outcome and that never precede the event."""
    if flags.label_time is not None:
        if table.columns[flags.label_time].kind != "time":
            dtype = table.columns[flags.label_time].dtype
            msg = f"--label-time: column {shown(flags.label_time)} is {dtype}; expected a time"
            raise UsageError(msg, hint="without a column of times give --label-delay instead")
        return Choice(flags.label_time, "given by --label-time")
    taken = {event_time, *flags.ignore}
    candidates = [
        item.name
        for item in table.columns.values()
        if item.kind == "time" and item.name not in taken and item.n_filled and _speaks_of_label(item.name)
    ]
    candidates = [name for name in candidates if never_precedes(table, name, event_time)]
    if len(candidates) > 1:
        _refuse_two("the arrival of the label", candidates, "--label-time")
    if not candidates:
        return None
    return Choice(candidates[0], "a time that speaks of the outcome and never precedes the event")


def _speaks_of_label(name: str) -> bool:
    return names.tells_outcome(name) or bool(
        {"available", "arrived", "arrival", "known"}.intersection(names.tokens(name))
    )


def never_precedes(table: Table, name: str, event_time: str) -> bool:
    """Say whether no time of a column lies before the event."""
    later = tables.to_utc(table[name], timezone="UTC", role="label_time")
    return not bool((later < tables.to_utc(table[event_time], timezone="UTC", role="event_time")).any())


def choose_amount(table: Table, flags: Flags, *, taken: Iterable[str]) -> Choice | None:
    """Choose the amount among numbers whose name says so; None where there is none."""
    if flags.amount is not None:
        values = typed.to_amount(table[flags.amount])
        return Choice(values.name, "given by --amount")
    excluded = {*taken, *flags.ignore}
    ranked = [
        (names.amount_rank(item.name), item.name)
        for item in table.columns.values()
        if item.dtype.is_numeric()
        and item.kind in {"whole", "number"}
        and item.n_unique > 1
        and item.name not in excluded
    ]
    best = _best(ranked)
    if len(best) > 1:
        _refuse_two("the amount", best, "--amount")
    return Choice(best[0], "a number, named as an amount") if best else None


def choose_costs(table: Table, flags: Flags, *, taken: Iterable[str]) -> dict[str, Choice]:
    """Choose the columns that price a decision: numbers without gaps whose name says which; cell -> column.

    A cell that two columns could be is left to the user.
    """
    excluded = {*taken, *flags.ignore}
    found: dict[str, list[str]] = {}
    for item in table.columns.values():
        cell = names.cost_cell(item.name)
        if cell and item.name not in excluded and item.kind in {"whole", "number"} and not item.n_null:
            found.setdefault(cell, []).append(item.name)
    reason = "a number in every row, named as the cost of this decision"
    return {cell: Choice(columns[0], reason) for cell, columns in sorted(found.items()) if len(columns) == 1}


def choose_event_id(table: Table, flags: Flags, *, taken: Iterable[str]) -> Choice:
    """Choose the column that names each event once, exact duplicate rows aside."""
    if flags.event_id == ROW_NUMBER:
        return Choice(EventId(row_number=True), "given by --event-id")
    if flags.event_id is not None:
        if not _names_events(table, table.columns[flags.event_id]):
            column = table.columns[flags.event_id]
            msg = (
                f"--event-id: column {shown(column.name)} has {column.n_unique} distinct values and {column.n_null} "
                f"nulls in {column.n_rows} rows; expected each event to have its own (exact duplicate rows aside)"
            )
            raise DataError(msg, hint=f"name another column, or --event-id {ROW_NUMBER}")
        return Choice(flags.event_id, "given by --event-id")
    excluded = {*taken, *flags.ignore}
    fit = [item for item in table.columns.values() if item.name not in excluded and _names_events(table, item)]
    ranked = [(names.event_id_rank(item.name), item.name) for item in fit if not names.looks_like_time(item.name)]
    best = _best(ranked) or [name for _, name in ranked]
    if len(best) > 1:
        _refuse_two("the id of the event", best, "--event-id")
    if not best:
        _refuse_near_id(table, excluded)
        return Choice(EventId(row_number=True), "no column names each event once: an event is called by its row")
    return Choice(best[0], "names each event once" + (", as its name says" if len(ranked) > 1 else ""))


def _refuse_near_id(table: Table, excluded: set[str]) -> None:
    """Refuse to number rows where a column is named as the id of the event and has differing rows of one id."""
    for item in table.columns.values():
        if item.name not in excluded and names.event_id_rank(item.name) == _OWN_ID and item.unique_share > 0.5:
            msg = (
                f"{table.place}: no column names each event once; {shown(item.name)} has {item.n_unique:,} values in "
                f"{item.n_rows:,} rows, and rows of one id that differ"
            )
            raise UsageError(msg, hint=f"repair the rows, or call events by their row: --event-id {ROW_NUMBER}")


def _names_events(table: Table, column: ProfiledColumn) -> bool:
    if column.n_null or column.unique_share < 0.5 or not _ids(table, column):
        return False
    if column.n_unique == column.n_rows:
        return True
    ids = table[column.name]
    repeated = ids.gather(repeats(ids)).unique()
    if len(repeated) > _MANY and not _are_copies(table, repeated.head(_FIRST_LOOK)):
        return False
    return _are_copies(table, repeated)


def _ids(table: Table, column: ProfiledColumn) -> bool:
    """Say whether a column may hold the ids of events; floats have to be named as an id."""
    if column.dtype.is_float() and not names.event_id_rank(column.name):
        return False
    return may_hold_ids(column, table[column.name])


def _are_copies(table: Table, ids: pl.Series) -> bool:
    """Say whether the rows of each of these ids are the same in every column."""
    rows = tables.collect(table.raw.filter(pl.col(ids.name).is_in(ids.implode())), files=[table.place])
    return rows.unique().height == len(ids)


def choose_entities(table: Table, flags: Flags, *, taken: Iterable[str]) -> tuple[Entity, ...]:
    """Choose the parties to a transaction: those given, or ids that come back and whose name speaks of a party."""
    given = parse_entities(flags.entities)
    if given:
        for column in given.values():
            typed.to_id(table[column])
        return tuple(Entity(name, column, "given by --entity") for name, column in given.items())
    excluded = {*taken, *flags.ignore}
    found: dict[str, Entity] = {}
    for item in table.columns.values():
        name = names.party(item.name)
        if name is None or item.name in excluded or not _comes_back(item) or _dominated(item):
            continue
        name = f"{name}_id" if name in RESERVED else name
        if name in found:
            both = f"{shown(found[name].column)} and {shown(item.name)}"
            msg = f"{table.place}: {both} could both be the entity {name!r}"
            raise UsageError(msg, hint=f"leave one of the two out: --ignore {shlex.quote(item.name)}")
        found[name] = Entity(name, item.name, _entity_reason(item))
    return tuple(found.values())[:MAX_ENTITIES] or _together(table, excluded)


def _together(table: Table, excluded: set[str]) -> tuple[Entity, ...]:
    """Return the columns that name a payer together, where none does alone; nothing where they do not come back.

    Names nominate: parts of a card or an account, and of an address (card1, addr1). Of each the column with the most
    values is taken, for these say the most.
    """
    best: dict[str, ProfiledColumn] = {}
    for item in table.columns.values():
        part = names.id_part(item.name)
        fits = item.kind in {"whole", "text"} and item.name not in excluded and item.n_null <= 0.5 * item.n_rows
        if part is None or not fits or item.unique_share > _RARE or item.largest > 0.5 * item.n_filled:
            continue
        if part not in best or item.n_unique > best[part].n_unique:
            best[part] = item
    if len(best) < 2 or best["payer"].n_unique < FEW_RETURNS:
        return ()
    parts = (best["payer"].name, best["place"].name)
    found = tally(_joined_ids(table, parts).drop_nulls())
    n_filled = table.n_rows - table.values.frame(parts).select(pl.any_horizontal(pl.all().is_null()).sum()).item()
    again = n_filled - found.n_unique
    usable = again >= max(FEW_RETURNS, 0.1 * n_filled) and found.largest <= DOMINANT * n_filled
    if not usable or 2 * n_filled < table.n_rows:
        return ()
    each = number(n_filled / found.n_unique)
    reason = f"no column names a payer alone; together {found.n_unique:,} ids, {each} events each"
    return (Entity("payer", " + ".join(parts), reason, parts),)


def _joined_ids(table: Table, parts: tuple[str, ...]) -> pl.Series:
    """Return the joined ids of columns; null where one of them is."""
    frame = table.values.frame(parts)
    texts = [text_of(name, kind) for name, kind in frame.schema.items()]
    return frame.select(joined(texts).alias("id")).to_series()


def _comes_back(column: ProfiledColumn) -> bool:
    """Say whether ids are many and come back: in one event of a hundred at least, however rare each of them is."""
    again = column.n_filled - column.n_unique
    return (
        column.kind in {"whole", "text"}
        and column.n_unique >= 20
        and again >= max(FEW_RETURNS, _RETURNS * column.n_filled)
        and column.n_null <= 0.5 * column.n_rows
    )


def _dominated(column: ProfiledColumn) -> bool:
    """Say whether one id holds so many events that it is nobody's: a stand-in, or a kind and no party."""
    return column.largest > DOMINANT * column.n_filled


def _entity_reason(column: ProfiledColumn) -> str:
    if column.unique_share > _RARE:
        again = percent((column.n_filled - column.n_unique) / column.n_filled, 1)
        return f"{column.n_unique:,} ids, most of them new; {again} of the events come back"
    per_value = column.n_filled / column.n_unique
    few = "; few ids: a category of the model, too" if column.n_unique <= FEW_VALUES and column.kind == "text" else ""
    return f"{column.n_unique:,} ids, {number(per_value)} events each{few}"


def _best(ranked: list[tuple[int, str]]) -> list[str]:
    """Give the names of the highest rank above 0."""
    top = max((rank for rank, _ in ranked), default=0)
    return [name for rank, name in ranked if rank == top > 0]


def _refuse_two(role: str, columns: list[str], flag: str) -> NoReturn:
    msg = f"{len(columns)} columns could be {role}: {shown_all(columns)}"
    rest = " or ".join(f"{flag} {shown(name)}" for name in columns[:3])
    raise UsageError(msg, hint=f"say which: {rest}; or --ignore what is not")
