"""How files from elsewhere are read: the dialect and the notations that `init` writes into the project file.

Owns the questions about the notation of numbers and of further times; each names the flag that answers it. What reads
all rows in exactly one way is taken, with its reason.
"""

from __future__ import annotations

import csv as lines
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from fraudctl.data import tables
from fraudctl.data.columns import hold
from fraudctl.disk import stores
from fraudctl.disk.unreadable import not_utf8
from fraudctl.normal import files as finding
from fraudctl.normal.form import Form
from fraudctl.project.reading import (
    CsvSection,
    NumberSection,
    ReadingSection,
    TimeSection,
)
from fraudctl.propose import notation
from fraudctl.propose.event_time import event_time
from fraudctl.propose.flags import Flags
from fraudctl.propose.found import FoundNotation, first_values
from fraudctl.propose.never import never_times
from fraudctl.propose.notation import Reading
from fraudctl.propose.questions import Questions
from fraudctl.text.plain import looks_like_value, shown

MISSING: Final = ("?", "NA", "N/A", "n/a", "na", "#N/A", "NULL", "null", "None", "none", "nil", "-", "--", "NaN", "nan",
                  "\\N", "(null)", "missing", "MISSING", "unknown", "Unknown", ".")  # fmt: skip
"""Words that stand for a missing value."""
FEW_UNTIMED: Final = 0.001
"""Share of rows without a time of the event that may be left out; more are refused."""
_SEPARATORS: Final = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Look:
    """What was found about the notation of the files.

    Attributes
    ----------
    section
        The keys of ``[data]`` that say it.
    event_time
        The column with the time of the event, where its notation had to be found or asked for; else None.
    reasons
        Key -> why, in words.
    raw
        The table in its normal form.
    notes
        What the reader should know.
    """

    section: ReadingSection
    event_time: str | None
    reasons: dict[str, str]
    raw: pl.LazyFrame
    notes: tuple[str, ...]
    unsettled: bool = False
    """Whether the time of the event hangs on an open question."""
    span: float | None = None
    """Seconds from the first event to the last, as far as an open question lets it be seen."""
    calendar: bool = True
    """Whether the origin of times is known, so that dates, weekdays and hours mean something."""
    zoned: bool = True
    """Whether the time of the event says its zone."""
    n_untimed: int = 0
    """Rows without a time of the event, which are left out."""
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of times that several formats read in different ways, with a format for each."""


def look(files: Sequence[str], flags: Flags, questions: Questions) -> Look:
    """Find how files are written, and read them so.

    Raises
    ------
    DataError
        The files cannot be read.
    UsageError
        A flag that does not fit the data.
    """
    found = FoundNotation()
    untyped = finding.kind_of(files[0]) == "csv"
    if untyped:
        found.csv = _dialect(files)
        found.reasons["csv"] = "found once, in the first lines"
    raw = hold(tables.scan(files, form=Form(found.section())), files=files)
    schema = raw.collect_schema()
    texts = {
        name: first_values(raw, name)
        for name, kind in schema.items()
        if kind == pl.String and not looks_like_value(name)
    }
    _missing(found, texts)
    found.missing_in = {name: words for name, words in never_times(raw).items() if name not in flags.ignore}
    if found.missing or found.missing_in:
        raw = hold(tables.scan(files, form=Form(found.section())), files=files)
        schema = raw.collect_schema()
        texts = {name: first_values(raw, name) for name in texts if schema[name] == pl.String}
    readings = {name: notation.time_readings(head) for name, head in texts.items() if _may_be_time(head)}
    readings = {name: _of_all(raw, name) for name, some in readings.items() if some}
    readings = {name: some for name, some in readings.items() if some}
    _numbers(
        found, raw, {name: head for name, head in texts.items() if name not in readings}, flags, questions, untyped
    )
    before = len(questions.asked)
    if not flags.random_split:
        event_time(found, raw, readings, flags, questions)
    unsettled = len(questions.asked) > before
    _other_times(found, readings, flags, questions)
    untimed = 0
    if found.time is not None and found.event_time is not None and not found.time.columns:
        values = raw.select(pl.col(found.event_time).null_count(), pl.len().alias("n")).collect().row(0)
        untimed = values[0] if 0 < values[0] <= FEW_UNTIMED * values[1] else 0
        if untimed:
            word = "row has" if untimed == 1 else "rows have"
            found.notes.append(f"{untimed:,} {word} no time of the event, and is left out of everything")
    form = Form(found.section(), event_time=found.event_time, timed=untimed > 0)
    normal = form.applied(raw, untyped=False, place=tables.place(list(files)))
    return Look(
        found.section(),
        found.event_time,
        found.reasons,
        _kept(normal, raw),
        tuple(found.notes),
        unsettled,
        found.span,
        found.time is None or found.time.invented_origin is None,
        _zoned(found.time),
        untimed,
        {name: tuple(way.formats[0] for way in ways) for name, ways in readings.items() if name not in found.times},
    )


def _zoned(form: TimeSection | None) -> bool:
    return form is None or form.unit is not None or any("%z" in text for text in form.formats)


def _kept(normal: pl.LazyFrame, raw: pl.LazyFrame) -> pl.LazyFrame:
    """Return the table with what was read of it, in memory where the raw one is."""
    return normal if normal is raw else hold(normal, files=["DATA"])


def _of_all(raw: pl.LazyFrame, name: str) -> list[Reading]:
    return notation.time_readings(raw.select(name).collect().to_series())


def _may_be_time(head: pl.Series) -> bool:
    first = head.head(50)
    return len(first) > 0 and bool(first.str.contains(r"[0-9]").all()) and bool((first.str.len_chars() >= 6).all())


def _dialect(files: Sequence[str]) -> CsvSection:
    """Return separator and encoding, from the first lines of the first file."""
    files = stores.on_disk(files)
    name = files[0]
    if "://" in name:
        return CsvSection()
    packed = name.lower().endswith((".gz", ".zst"))
    encoding = "utf-8"
    if not packed and any(not_utf8(Path(item)) is not None for item in files if "://" not in item):
        encoding = "cp1252" if all(_decodes(item, "cp1252") for item in files) else "latin-1"
    return CsvSection(separator=_separator(_first_lines(name), name), encoding=encoding)


def _first_lines(name: str) -> list[str]:
    return finding.head_of(name, 1 << 16).decode("utf-8", "replace").splitlines()[:30]


def _decodes(name: str, encoding: str) -> bool:
    try:
        Path(name).read_bytes().decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _separator(text: Sequence[str], name: str) -> str:
    """Return the separator that gives every line the same number of columns, the most of them."""
    usual = "\t" if ".tsv" in Path(name).suffixes else ","
    best, widest = usual, 1
    for sign in _SEPARATORS:
        widths = {len(row) for row in lines.reader(text[:-1] or text, delimiter=sign)}
        if len(widths) == 1 and (width := widths.pop()) > widest:
            best, widest = sign, width
    return best


def _missing(found: FoundNotation, texts: dict[str, pl.Series]) -> None:
    """Note words for "missing" in columns that are numbers without them."""
    for name, head in texts.items():
        words = [word for word in head.unique().to_list() if word in MISSING]
        rest = head.filter(~head.is_in(words)) if words else head
        if words and len(rest) and not rest.cast(pl.Float64, strict=False).null_count():
            found.missing += [word for word in words if word not in found.missing]
            found.reasons.setdefault("missing", f"column {shown(name)} holds numbers but for these")


def _numbers(
    found: FoundNotation,
    raw: pl.LazyFrame,
    texts: dict[str, pl.Series],
    flags: Flags,
    questions: Questions,
    untyped: bool,  # noqa: FBT001
) -> None:
    for name, head in texts.items():
        if not notation.number_readings(head.head(200)):
            continue
        forms = notation.number_readings(raw.select(name).collect().to_series())
        if flags.decimal is not None and len(forms) > 1:
            forms = [form for form in forms if form.decimal == flags.decimal]
        if len(forms) > 1:
            told = " or ".join(f'"{form.decimal}"' for form in forms[:2])
            questions.ask(
                f"column {shown(name)}: a comma or point in its numbers may group digits or begin decimals ({told})",
                ["--decimal", ","], "say which sign stands before decimals",
            )  # fmt: skip
        elif forms and not _plain(forms[0]):
            found.numbers[name] = forms[0]
            found.reasons["numbers"] = "the notation that reads all rows"
        elif forms and not untyped and bool(head.str.contains(r"\.").any()):
            found.types[name] = "number"


def _plain(form: NumberSection) -> bool:
    return form.decimal == "." and not (form.grouping or form.prefix or form.suffix or form.accounting)


def _other_times(found: FoundNotation, readings: dict[str, list[Reading]], flags: Flags, questions: Questions) -> None:
    """Declare further columns of times that are read in one way, and ask for the arrival of labels."""
    joined = found.time.columns if found.time is not None else ()
    for name, ways in readings.items():
        if name == found.event_time or name in joined or name in flags.ignore:
            continue
        given = [text for text in flags.time_formats if any(text in way.formats for way in ways)]
        if given or len(ways) == 1:
            found.times[name] = TimeSection(format=given[0] if given else ways[0].formats[0])
        elif name == flags.label_time and not flags.time_formats:
            questions.ask(
                f"column {shown(name)}: day and month cannot be told apart", ["--time-format", ways[0].formats[0]],
                "say which",
            )  # fmt: skip
