"""Tables of labels: which of their columns name the event, say when and say what, and which events were declined.

Owns the proposal for ``[labels]``. Names nominate and values decide: the column that names events holds their ids, the
time is one that does not precede them, an outcome is in words that are known. What is in doubt is asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time as day_time
from typing import Final

import polars as pl

from fraudctl.data import tables, typed
from fraudctl.data.entries import entries_in
from fraudctl.data.labels import as_known, resolved, same_ids
from fraudctl.documents.types import JsonObject
from fraudctl.errors import UsageError
from fraudctl.normal.form import Form
from fraudctl.project import Duration
from fraudctl.project.labels import DeclinedSection, LabelTableSection, VerdictSection
from fraudctl.project.reading import EventId, ReadingSection, TimeSection
from fraudctl.propose import encoding, names, notation
from fraudctl.propose.flags import parse_pairs
from fraudctl.propose.profile import ProfiledColumn, Table, may_hold_ids, open_table
from fraudctl.propose.questions import Questions
from fraudctl.propose.reading import Look
from fraudctl.propose.roles import Choice
from fraudctl.text.figures import percent
from fraudctl.text.plain import shown, shown_all

OF_EVENTS: Final = 0.5
"""Share of a column's values that have to be ids of events for it to name them."""
_PRECEDES: Final = 0.05
"""Share of entries that may be dated before their event where the time is still the one."""
_MOST_VERDICTS: Final = 0.8
"""Share of old events with an entry from which silence says nothing."""
_FRAUD_NAMES: Final = frozenset({"chargeback", "chargebacks", "cb", "cbs", "fraud", "frauds", "tc40", "reported"})
_BACK_NAMES: Final = frozenset(
    {"reversal", "reversals", "reversed", "representment", "representments", "refuted", "withdrawn", "retractions"}
)
_SAID: Final = frozenset({"outcome", "verdict", "decision", "result", "resolution", "label", "status", "disposition"})
_DECLINED: Final = frozenset({"declined", "decline", "rejected", "reject", "refused", "denied", "blocked", "failed"})
_ALLOWED: Final = frozenset({"approved", "approve", "accepted", "authorised", "authorized", "allowed", "captured"})
_WORDS: Final[Mapping[str, int]] = {
    "lost": 1, "won": 0, "wonbymerchant": 0, "lostbymerchant": 1, "confirmed": 1, "cleared": 0, "reversed": 0,
    "refuted": 0, "withdrawn": 0, "falsepositive": 0, "truepositive": 1,
}  # fmt: skip
"""Outcomes of disputes and reviews: of a dispute as the merchant sees it, as payment providers write it."""
_OPEN: Final = frozenset({"open", "pending", "unresolved", "inprogress", "underreview", "expired"})


@dataclass(frozen=True)
class GivenTable:
    """A table of labels as it was named: its rows in the normal form, its paths for the project file, its notation."""

    raw: pl.LazyFrame
    paths: tuple[str, ...]
    look: Look | None = None


@dataclass(frozen=True)
class LabelTable:
    """One proposed table of ``[labels]``, with the reason of each choice.

    Attributes
    ----------
    section
        As it stands in the project file.
    event_id, time, label
        Column (or what every row says), and why.
    entries
        ``event_id``, ``time`` and ``label``, none null.
    """

    name: str
    section: LabelTableSection
    event_id: Choice
    time: Choice
    label: Choice
    entries: pl.DataFrame

    @property
    def roles(self) -> dict[str, Choice]:
        """The choice for each role."""
        return {"event_id": self.event_id, "time": self.time, "label": self.label}

    def to_dict(self) -> JsonObject:
        """Give the table as JSON values."""
        return {
            "events": [self.section.events] if isinstance(self.section.events, str) else list(self.section.events),
            **{role: {"column": choice.column, "reason": choice.reason} for role, choice in self.roles.items()},
            "n_entries": self.entries.height,
        }


@dataclass(frozen=True)
class ProposedLabels:
    """``[labels]``: its tables, what silence says, and which events were declined.

    Attributes
    ----------
    silence
        ``label_delay`` or ``never``, and why.
    declined
        The section, and why; None where no column says it.
    """

    tables: tuple[LabelTable, ...]
    silence: Choice
    declined: tuple[DeclinedSection, str] | None

    @property
    def entries(self) -> pl.DataFrame:
        """The entries of all tables."""
        found = [table.entries for table in self.tables]
        if len({frame.schema["event_id"] for frame in found}) > 1:
            found = [frame.with_columns(pl.col("event_id").cast(pl.String)) for frame in found]
        return pl.concat(found)

    def outcomes(self, events: pl.DataFrame, delay: Duration, raw: pl.Series | None) -> pl.Series:
        """Return the label of each event as it is known at the end of the data.

        Parameters
        ----------
        events
            ``event_id`` and ``event_time``.
        raw
            The column of ``declined``; None without one.
        """
        declined = None if raw is None or self.declined is None else _is_declined(raw, self.declined[0])
        by_silence = self.silence.column == "label_delay"
        found = resolved(events, self.entries, delay_us=delay.us, by_silence=by_silence, declined=declined)
        until = events["event_time"].max()
        found = found if until is None else as_known(found, until)  # type: ignore[arg-type]
        known = found["label_time"] <= until
        return found["label"].set(~known.fill_null(value=False), None)

    def to_dict(self) -> JsonObject:
        """Give the tables as JSON values."""
        declined = None
        if self.declined is not None:
            section, reason = self.declined
            declined = {"column": section.column, "values": list(section.values), "reason": reason}
        return {
            "legit_after": {"value": self.silence.column, "reason": self.silence.reason},
            "declined": declined,
            "tables": {table.name: table.to_dict() for table in self.tables},
        }


@dataclass(frozen=True)
class LabelFlags:
    """What flags say about tables of labels: table -> column; an outcome may be the text 1 or 0, for every row."""

    ids: dict[str, str] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    values: encoding.Mapping = field(default_factory=dict)

    @classmethod
    def of(
        cls, ids: Iterable[str], times: Iterable[str], outcomes: Iterable[str], values: encoding.Mapping
    ) -> LabelFlags:
        """Read the texts ``NAME=COLUMN`` of the flags."""
        flags = ("--labels-id", ids), ("--labels-time", times), ("--labels-outcome", outcomes)
        read = [parse_pairs(texts, flag, "COLUMN") for flag, texts in flags]
        return cls(read[0], read[1], read[2], values)


def propose_tables(
    given: Mapping[str, GivenTable], events: pl.DataFrame, flags: LabelFlags, questions: Questions
) -> tuple[LabelTable, ...]:
    """Propose all tables of labels; what is in doubt is noted as a question, and that table is left out.

    Parameters
    ----------
    events
        ``event_id`` and ``event_time`` (µs UTC) of the events.
    """
    for texts, flag in (
        (flags.ids, "--labels-id"),
        (flags.times, "--labels-time"),
        (flags.outcomes, "--labels-outcome"),
    ):
        for name in texts:
            if name not in given:
                msg = f"{flag} {name}: no table of labels has that name; given are {', '.join(given)}"
                raise UsageError(msg, hint=f"name the table with --labels {name}=PATH")
    out = [_Table(name, item, events, flags, questions).proposed() for name, item in given.items()]
    return tuple(table for table in out if table is not None)


class _Table:
    """One table of labels while its columns are found."""

    def __init__(
        self, name: str, given: GivenTable, events: pl.DataFrame, flags: LabelFlags, questions: Questions
    ) -> None:
        self.name, self.given, self.flags, self.questions = name, given, flags, questions
        self.events = events
        self.what = f"table of labels {name!r}"
        reading = ReadingSection() if given.look is None else given.look.section
        self.table = open_table(given.raw, place=", ".join(given.paths))
        counted = dict(self._counted_times())
        if counted:
            form = Form(ReadingSection(times=counted))
            self.table = open_table(form.applied(given.raw, untyped=False, place=self.what), place=self.table.place)
        self.reading = reading.model_copy(update={"times": {**reading.times, **counted}})

    def _counted_times(self) -> Iterator[tuple[str, TimeSection]]:
        """Yield the columns of numbers that count from 1970 and are named as a time."""
        for item in self.table.columns.values():
            if item.kind == "whole" and item.dtype.is_integer() and names.looks_like_time(item.name):
                unit = notation.epoch_unit(self.table[item.name])
                if unit is not None:
                    yield item.name, TimeSection(unit=unit)  # type: ignore[arg-type]

    def proposed(self) -> LabelTable | None:
        """Return the table, or None where a question about it is open."""
        asked = len(self.questions.asked)
        event_id = time = label = None
        with self.questions.collected():
            self._require_flags()
            event_id = self._event_id()
        if event_id is None:
            return None
        with self.questions.collected():
            time = self._time(event_id.column)
        with self.questions.collected():
            label = self._label({event_id.column, *([time.column] if time else [])})
        if time is None or label is None or len(self.questions.asked) > asked:
            return None
        choice, said = label
        keys = {
            "events": self.given.paths[0] if len(self.given.paths) == 1 else self.given.paths,
            "event_id": EventId(event_id.column), "time": time.column, "label": said, "csv": self.reading.csv,
            "times": {name: form for name, form in self.reading.times.items() if name == time.column},
            "missing": self.reading.missing, "missing_in": self.reading.missing_in,
        }  # fmt: skip
        section = LabelTableSection.model_validate(keys)
        frame = self.table.values.frame(list(dict.fromkeys(section.columns)))
        entries = entries_in(frame, section, what=self.what, timezone="UTC").drop_nulls()
        return LabelTable(self.name, section, event_id, time, choice, entries)

    def _require_flags(self) -> None:
        used = {"--labels-id": self.flags.ids, "--labels-time": self.flags.times}
        used["--labels-outcome"] = {k: v for k, v in self.flags.outcomes.items() if v not in {"0", "1"}}
        for flag, columns in used.items():
            column = columns.get(self.name)
            if column is not None and column not in self.table.columns:
                msg = f"{flag} {self.name}={column}: the table has {shown_all(self.table.columns)}"
                raise UsageError(msg, hint="column names are case-sensitive")

    def _event_id(self) -> Choice:
        """Choose the column whose values are ids of events."""
        given = self.flags.ids.get(self.name)
        if given is not None:
            return Choice(given, "given by --labels-id")
        shares = {
            item.name: self._share_of_events(item)
            for item in self.table.columns.values()
            if item.n_filled and may_hold_ids(item, self.table[item.name])
        }
        best = max(shares.values(), default=0.0)
        fits = [name for name, share in shares.items() if share >= OF_EVENTS and share >= 0.95 * best]
        fits = _best({name: names.event_id_rank(name) for name in fits}) or fits
        if len(fits) == 1:
            return Choice(fits[0], f"{percent(shares[fits[0]])} of its values are ids of events")
        found = f"{shown_all(fits)} could each name the event" if fits else "no column holds the ids of the events"
        example = fits[0] if fits else next(iter(self.table.columns))
        msg = f"{self.what}: {found}"
        raise UsageError(msg, hint=f"say which column does: --labels-id {self.name}={example}")

    def _share_of_events(self, item: ProfiledColumn) -> float:
        """Return the share of a column's rows that name an event."""
        kind = self.events.schema["event_id"]
        ids = same_ids(typed.to_id(self.table[item.name].drop_nulls()), kind)
        if item.n_unique < min(20, 0.05 * item.n_filled):  # a few small numbers are ids of events by chance
            return 0.0
        return float(ids.is_in(self.events["event_id"].implode()).fill_null(value=False).mean() or 0.0)  # type: ignore[arg-type]

    def _time(self, event_id: str) -> Choice:
        """Choose the instant at which an entry was known: of the times that do not precede the event, the only one."""
        given = self.flags.times.get(self.name)
        if given is not None:
            self._require_time(given)
            return Choice(given, "given by --labels-time")
        times = [item for item in self.table.columns.values() if item.kind == "time" and not item.n_null]
        later = [item.name for item in times if self._comes_later(item.name, event_id)]
        later = [name for name in later if not self._repeats(name, later)]
        if len(later) == 1:
            reason = "the only time without gaps" if len(times) == 1 else "the only time that comes after the event"
            return Choice(later[0], reason)
        if later:
            msg = f"{self.what}: {len(later)} times could say when an entry was known here: {shown_all(later)}"
            raise UsageError(msg, hint=f"say which: --labels-time {self.name}={later[0]}")
        open_forms = {} if self.given.look is None else self.given.look.ambiguous
        if open_forms:
            name, formats = next(iter(open_forms.items()))
            told = " and ".join(f'"{text}"' for text in formats[:3])
            msg = f"{self.what}: {shown(name)} is read as a time by {told}"
            raise UsageError(msg, hint=f'say which: --time-format "{formats[0]}"')
        found = f"times here: {shown_all([item.name for item in times])}" if times else "it has no time without gaps"
        msg = f"{self.what}: no column says when an entry was known here; {found}"
        likely = [item.name for item in times] or [n for n in self.table.columns if names.looks_like_time(n)]
        example = shlex.quote(f"{self.name}={(likely or [n for n in self.table.columns if n != event_id])[0]}")
        raise UsageError(msg, hint=f"name it: --labels-time {example}")

    def _require_time(self, name: str) -> None:
        if self.table.columns[name].kind != "time":
            msg = f"--labels-time {self.name}={name}: the column is {self.table.columns[name].dtype}, and no time"
            raise UsageError(msg, hint="say how it is written: --time-format %d/%m/%Y")

    def _joined(self, name: str, event_id: str) -> pl.DataFrame:
        """Return ``time`` of the table and ``event_time``, for rows that name an event."""
        frame = self.table.values.frame([event_id, name])
        time = tables.to_utc(frame[name], timezone="UTC", role="a time")
        ids = same_ids(typed.to_id(frame[event_id]), self.events.schema["event_id"])
        rows = pl.DataFrame([ids.alias("event_id"), time.alias("time")]).drop_nulls()
        return rows.join(self.events.unique("event_id", keep="first"), on="event_id")

    def _comes_later(self, name: str, event_id: str) -> bool:
        found = self._joined(name, event_id)
        if "event_time" not in found.columns:
            return True
        happened = found["event_time"]
        if not len(found.filter(pl.col("time").dt.time() != day_time())):  # days alone: known on the day of the event
            happened = happened.dt.truncate("1d")
        early = (found["time"] < happened).mean()
        same = (found["time"] == found["event_time"]).mean()
        return bool(found.height) and float(early or 0.0) <= _PRECEDES and float(same or 0.0) < 0.9  # type: ignore[arg-type]

    def _repeats(self, name: str, among: Sequence[str]) -> bool:
        """Say whether a column is the same as an earlier one of several."""
        before = among[: among.index(name)]
        return any(self.table[name].equals(self.table[other], check_names=False) for other in before)

    def _label(self, taken: set[str]) -> tuple[Choice, int | VerdictSection] | None:
        """Choose what each entry says: a column in words that are known, or the same for every row."""
        given = self.flags.outcomes.get(self.name)
        if given in {"0", "1"}:
            return Choice(str(given), "given by --labels-outcome"), int(given or 0)
        if given is not None:
            mapping = self._mapping(given)
            if mapping is None:
                raise self._unmapped(given)
            return Choice(given, "given by --labels-outcome"), _verdict(given, mapping)
        spoken = [
            item.name
            for item in self.table.columns.values()
            if item.name not in taken and item.kind in {"text", "bool", "whole", "number"} and _says(item)
        ]
        fits = {name: mapping for name in spoken if (mapping := self._mapping(name)) is not None}
        if len(fits) > 1:
            msg = f"{self.what}: {shown_all(fits)} could each be the outcome"
            raise UsageError(msg, hint=f"say which: --labels-outcome {self.name}={next(iter(fits))}")
        for name, mapping in fits.items():
            return Choice(name, self._why(name, mapping)), _verdict(name, mapping)
        if spoken:
            raise self._unmapped(spoken[0])
        words = set(names.tokens(self.name))
        for known, said in ((_BACK_NAMES, 0), (_FRAUD_NAMES, 1)):
            if words & known:
                return Choice(str(said), f"a table named {self.name} says so of every row"), said
        msg = f"{self.what}: nothing says what its rows mean"
        hint = f"name the column, or say it of every row (1 fraud, 0 legitimate): --labels-outcome {self.name}=1"
        raise UsageError(msg, hint=hint)

    def _why(self, name: str, mapping: encoding.Mapping) -> str:
        known = {text.strip().lower() for text in mapping}
        if known & {"won", "lost"}:
            return "its values are outcomes; won and lost as the merchant sees a dispute"
        return f"its name and its values are those of an outcome ({shown(name)})" if mapping else "1, 0 and null"

    def _mapping(self, name: str) -> encoding.Mapping | None:
        """Return what the values of a column mean; None where they are not surely known."""
        values = self.table[name]
        if self.flags.values:
            texts = set(encoding.text_of_label(values.drop_nulls().unique()))
            if texts & set(self.flags.values):
                return encoding.given_encoding(values, self.flags.values | _known(texts - set(self.flags.values)))
        found = encoding.encoding(values)
        if found is not None:
            return found
        distinct = values.drop_nulls().unique()
        if distinct.dtype != pl.String or not 1 <= len(distinct) <= 10:
            return None
        mapped = _known(distinct.to_list())
        return mapped if len(mapped) == len(distinct) and {0, 1} & set(mapped.values()) else None

    def _unmapped(self, name: str) -> UsageError:
        n = self.table.columns[name].n_unique
        msg = f"{self.what}: {shown(name)} holds {n} different values that are not surely fraud and legitimate"
        return UsageError(msg, hint="say what each means: --label-value WORD=1 --label-value WORD=0 (or WORD=unknown)")


def _verdict(column: str, mapping: encoding.Mapping) -> VerdictSection:
    words = {text: "unknown" if value is None else value for text, value in mapping.items()}
    return VerdictSection.model_validate({"column": column, "values": words})


def _says(item: ProfiledColumn) -> bool:
    """Say whether a column is named as an outcome and has few values."""
    words = set(names.tokens(item.name))
    named = bool(words & _SAID) or names.label_rank(item.name) > 0
    return named and not words & {"reason", "code", "amount", "id"} and 1 <= item.n_unique <= 10


def _known(texts: Iterable[str]) -> encoding.Mapping:
    """Return what words of disputes and reviews mean, of those that are known."""
    out: encoding.Mapping = {}
    for text in sorted(texts):
        word = "".join(sign for sign in text.strip().lower() if sign.isalnum())
        if word in _WORDS:
            out[text] = _WORDS[word]
        elif word in _OPEN or not word:
            out[text] = None
        else:
            found = encoding.of_word(text)
            out |= {} if found is None else {text: found[0]}
    return out


def _best(ranked: Mapping[str, int]) -> list[str]:
    top = max(ranked.values(), default=0)
    return [name for name, rank in ranked.items() if rank == top > 0]


def find_declined(table: Table, taken: set[str]) -> tuple[DeclinedSection, str] | None:
    """Return the column that says which events were declined, with its reason; None where there is not exactly one."""
    found = []
    for item in table.columns.values():
        values = _declined_values(item, table) if item.name not in taken else ()
        if values:
            section = DeclinedSection(column=item.name, values=values)
            n = int(_is_declined(table[item.name], section).sum())
            found.append(
                (section, f"{n:,} events were declined: nobody can report these, so that silence says nothing")
            )
    return found[0] if len(found) == 1 else None


def _declined_values(item: ProfiledColumn, table: Table) -> tuple[str | int | bool, ...]:
    words = set(names.tokens(item.name))
    if not (names.tells_decision(item.name) or words & (_DECLINED | _ALLOWED)) or not 2 <= item.n_unique <= 20:
        return ()
    values = table[item.name].drop_nulls().unique().to_list()
    if item.kind == "text":
        return tuple(sorted(value for value in values if set(names.tokens(value)) & _DECLINED))
    if {float(value) for value in values} != {0.0, 1.0}:
        return ()
    said = True if words & _DECLINED else False if words & _ALLOWED else None
    if said is None:
        return ()
    return (said,) if item.kind == "bool" else (int(said),)


def _is_declined(values: pl.Series, section: DeclinedSection) -> pl.Series:
    text = typed.as_text(values)
    return text.is_in(list(section.texts)).fill_null(value=False)


def delays_of(entries: pl.DataFrame, events: pl.DataFrame) -> pl.Series:
    """Return after how many seconds each event was first reported as fraud, of the events that were; none below 0."""
    ids = same_ids(entries["event_id"], events.schema["event_id"])
    first = entries.with_columns(ids).filter(pl.col("label") == 1).group_by("event_id").agg(pl.col("time").min())
    found = first.join(events.unique("event_id", keep="first"), on="event_id")
    return ((found["time"] - found["event_time"]).dt.total_microseconds() / 1e6).clip(lower_bound=0.0)


def silence(entries: pl.DataFrame, events: pl.DataFrame, delay: Duration) -> Choice:
    """Say what an event without an entry is: legitimate in time, unless nearly every old event has an entry."""
    last = events["event_time"].max()
    old = events.filter(events["event_time"] <= pl.Series([last]).dt.offset_by(f"-{delay.us}us")[0])
    ids = same_ids(entries["event_id"], events.schema["event_id"])
    share = float(old["event_id"].is_in(ids.implode()).mean() or 0.0)  # type: ignore[arg-type]
    if entries["label"].n_unique() > 1 and share >= _MOST_VERDICTS:
        return Choice(
            "never", f"{percent(share)} of the events that are old enough have an entry: silence says nothing"
        )
    return Choice("label_delay", f"{percent(share, 1)} of the events that are old enough have an entry")
