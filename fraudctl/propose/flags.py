"""What the user says of a proposal by flags: read, and refused where it cannot be meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fraudctl.data import tables
from fraudctl.errors import UsageError
from fraudctl.propose.encoding import Mapping
from fraudctl.propose.profile import Table
from fraudctl.text.plain import shown, shown_all

ROW_NUMBER = "row-number"
"""What --event-id takes where no column names an event."""
_ENTITY_NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = frozenset({*tables.ROLES, "rest", "y_prob", "y_score", "action", "cost", "fold"})


@dataclass(frozen=True)
class Flags:
    """What the command line settles; every field may be left open.

    Attributes
    ----------
    entities
        Texts ``NAME=COLUMN``; where given, exactly these are the entities.
    sources
        Texts ``NAME=PATH`` of tables beside the events.
    label_delay
        A duration such as ``7d``.
    random_split
        The data have no time of the event, and are to be split at random.
    time_formats
        Formats of times in text, tried in order.
    time_unit, time_origin
        What numbers count that are the time of the event, and from when; "unknown" where nobody knows.
    decimal
        The sign before decimals, where a notation leaves it open.
    label_values
        Texts ``WORD=1``, ``WORD=0`` or ``WORD=unknown``: what words of the outcome mean.
    labels
        Texts ``NAME=PATH`` of tables of labels.
    labels_ids, labels_times, labels_outcomes
        Texts ``NAME=COLUMN``: which column of such a table names the event, says when and says what (or 1 or 0, of
        every row).
    """

    event_id: str | None = None
    event_time: str | None = None
    amount: str | None = None
    label: str | None = None
    label_time: str | None = None
    label_delay: str | None = None
    entities: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    random_split: bool = False
    time_formats: tuple[str, ...] = ()
    time_unit: str | None = None
    time_origin: str | None = None
    decimal: str | None = None
    label_values: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    labels_ids: tuple[str, ...] = ()
    labels_times: tuple[str, ...] = ()
    labels_outcomes: tuple[str, ...] = ()


def parse_entities(texts: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=COLUMN`` texts into name -> column."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, column = text.partition("=")
        if not sign or not column or not _ENTITY_NAME.fullmatch(name):
            msg = f"--entity {text}: expected NAME=COLUMN, with a name of small letters, digits and underscores"
            raise UsageError(msg, hint="for example: --entity card=CARD_ID")
        if name in RESERVED:
            msg = f"--entity {text}: {name!r} already means something else in features and reports"
            raise UsageError(msg, hint="choose another name for the entity")
        if name in found:
            msg = f"--entity {text}: the entity {name!r} is given twice"
            raise UsageError(msg)
        found[name] = column
    return found


def parse_label_values(texts: Iterable[str]) -> Mapping:
    """Read ``WORD=1``, ``WORD=0`` and ``WORD=unknown`` texts into word -> outcome."""
    known: dict[str, int | None] = {"1": 1, "0": 0, "unknown": None}
    out: Mapping = {}
    for text in texts:
        word, sign, value = text.rpartition("=")
        if not sign or value not in known:
            msg = "--label-value: expected WORD=1, WORD=0 or WORD=unknown"
            raise UsageError(msg, hint="for example: --label-value ja=1 --label-value nein=0")
        out[word] = known[value]
    return out


def parse_sources(texts: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=PATH`` texts of ``--source`` into name -> path."""
    return parse_pairs(texts, "--source", "PATH", example="logins=logins.parquet")


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=PATH`` texts of ``--labels`` into name -> path."""
    found = parse_pairs(texts, "--labels", "PATH", example="chargebacks=chargebacks.parquet")
    for name in found:
        if name in {"legit_after", "declined"}:
            msg = f"--labels {name}=...: {name} is a word of [labels] itself"
            raise UsageError(msg, hint="choose another name for the table")
    return found


def parse_pairs(texts: Iterable[str], flag: str, value: str, *, example: str = "") -> dict[str, str]:
    """Read ``NAME=VALUE`` texts of a flag that may be repeated, each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, given = text.partition("=")
        if not sign or not given or not _ENTITY_NAME.fullmatch(name):
            msg = f"{flag} {text}: expected NAME={value}, with a name of small letters, digits and underscores"
            raise UsageError(msg, hint=f"for example: {flag} {example}" if example else None)
        if name in found:
            msg = f"{flag} {text}: {name!r} is given twice"
            more = "a glob or a folder may name several files of one table" if value == "PATH" else None
            raise UsageError(msg, hint=more)
        found[name] = given
    return found


def check_flags(flags: Flags, table: Table) -> None:
    """Refuse flags that name columns the table lacks, or that contradict each other."""
    entities = parse_entities(flags.entities)
    timed = {"--event-time": flags.event_time, "--label-time": flags.label_time, "--label-delay": flags.label_delay}
    clash = [flag for flag, value in timed.items() if value is not None]
    if flags.random_split and clash:
        msg = f"--random-split is for data without a time, and {' and '.join(clash)} speak of one"
        raise UsageError(msg, hint="with a time the split goes by time; leave --random-split out")
    both = {"--label": flags.label, "--label-time": flags.label_time}
    twice = [flag for flag, value in both.items() if value is not None and flags.labels]
    if twice:
        msg = f"{twice[0]} names a column of the events, and --labels says that labels are in tables of their own"
        raise UsageError(msg, hint="give one of the two")
    if flags.labels and flags.random_split:
        msg = "--labels says when events became known as fraud, and --random-split is for data without a time"
        raise UsageError(msg, hint="leave one of the two out")
    given = {
        "--event-id": flags.event_id, "--event-time": flags.event_time, "--amount": flags.amount,
        "--label": flags.label, "--label-time": flags.label_time,
    }  # fmt: skip
    used = [(flag, name) for flag, name in given.items() if name is not None and name != ROW_NUMBER]
    used += [(f"--entity {entity}", column) for entity, column in entities.items()]
    for flag, name in [*used, *(("--ignore", name) for name in flags.ignore)]:
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.5)
            msg = f"{flag}: no column {shown(name)} in {table.place}; it has {shown_all(table.columns)}"
            raise UsageError(msg, hint=f"did you mean {shown(near[0])}?" if near else "column names are case-sensitive")
    for flag, name in used:
        if name in flags.ignore:
            msg = f"{flag} and --ignore both name {shown(name)}"
            raise UsageError(msg, hint="an ignored column can have no role; leave one of the two out")
