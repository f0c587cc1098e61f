"""What a report consists of, whatever it is rendered to.

A `Document` holds cards, findings and sections; a section answers its question in a sentence (`lead`) and then shows
blocks: text, a proportion bar, a chart, a table. What says something of a result is a `Sentence`, which keeps the typed
values it was written from. All text is plain text of one line: renderers take it through `shown`, and then escape it
for their format.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

from fraudctl.text.plain import visible
from fraudctl.text.sentences import Sentence

T = TypeVar("T")

Tone = Literal["plain", "good", "bad", "warn", "cool", "muted"]
Kind = Literal["text", "number", "code", "lines"]


@dataclass(frozen=True)
class Card:
    """A figure that stands out, and what it is."""

    value: str
    label: Sentence
    tone: Tone = "plain"


@dataclass(frozen=True)
class Text:
    """A paragraph; a note is set smaller."""

    text: Sentence
    note: bool = False


@dataclass(frozen=True)
class Fact:
    """A term and what holds of it, as in a method section."""

    term: str
    text: Sentence


@dataclass(frozen=True)
class Facts:
    """A list of terms."""

    items: tuple[Fact, ...]


@dataclass(frozen=True)
class BarSegment:
    """A part of a proportion bar; `share` of the whole in [0, 1]."""

    label: str
    value: str
    share: float
    tone: Tone


@dataclass(frozen=True)
class Bar:
    """Parts of a whole side by side, with a text alternative; `name` is that of its files."""

    name: str
    segments: tuple[BarSegment, ...]
    alt: Sentence


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its text alternative.

    Attributes
    ----------
    name
        File name without suffix, unique within a document.
    spec
        Vega-Lite, with data inline; see `fraudctl.report.charts`.
    alt
        What the chart shows, for those who cannot see it.
    wide
        Whether it takes the full width of the page.
    narrow
        The same chart drawn for a phone; None has the other one scrolled there.
    """

    name: str
    title: str
    spec: Mapping[str, Any]
    alt: Sentence
    wide: bool = True
    narrow: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TableColumn:
    """A column of a table; numbers stand right. What its name leaves open, `help` says below the table."""

    name: str
    kind: Kind = "text"
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell: its text (or lines), the key that it sorts by where that is not the text, and its tone."""

    text: str
    sort: float | str | None = None
    tone: Tone = "plain"
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportTable:
    """Rows under columns; `tools` adds sorting and, for long ones, a filter; `folded` shows it when it is asked for.

    `csv` names a file that a page offers with the same rows: what cells sort by, else their text.
    """

    name: str
    caption: Sentence
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    tools: bool = False
    filter_hint: str = ""
    folded: bool = False
    csv: str = ""

    def as_csv(self) -> str:
        """Return the rows as CSV; a text that a spreadsheet would take for a formula begins with an apostrophe."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([_inert(column.name) for column in self.columns])
        for row in self.rows:
            writer.writerow([_inert(cell.text) if cell.sort is None else _inert(cell.sort) for cell in row])
        return text.getvalue()

    def glossary(self) -> tuple[str, ...]:
        """Return what the names of columns leave open, one sentence part each."""
        return tuple(f"{column.name}: {column.help}" for column in self.columns if column.help)


def _inert(value: float | str) -> float | str:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


Block = Text | Facts | Bar | Chart | ReportTable


def _said(block: Block) -> tuple[Sentence, ...]:
    if isinstance(block, Facts):
        return tuple(item.text for item in block.items)
    if isinstance(block, Text):
        return (block.text,)
    return (block.caption,) if isinstance(block, ReportTable) else (block.alt,)


@dataclass(frozen=True)
class ReportSection:
    """A question, its answer in a sentence, and what supports it."""

    name: str
    title: str
    lead: Sentence
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes
    ----------
    title
        The verdict as a sentence.
    subtitle
        What it is about: period, rows, model, costs.
    verdict
        Word and tone of a badge next to the title, such as ("pass", "good"); None for no badge.
    findings
        The most important statements, first things first.
    """

    title: Sentence
    subtitle: tuple[Sentence, ...]
    cards: tuple[Card, ...]
    sections: tuple[ReportSection, ...]
    kicker: str = ""
    verdict: tuple[str, Tone] | None = None
    findings: tuple[tuple[Sentence, Sentence, Tone], ...] = ()
    footer: str = ""

    def sentences(self) -> tuple[Sentence, ...]:
        """Return every sentence, in the order in which they appear."""
        blocks = [block for section in self.sections for block in section.blocks]
        leads = [section.lead for section in self.sections]
        return (
            self.title,
            *self.subtitle,
            *(card.label for card in self.cards),
            *(text for head, body, _ in self.findings for text in (head, body)),
            *leads,
            *(text for block in blocks for text in _said(block)),
        )

    def charts(self) -> tuple[Chart, ...]:
        """Return all charts in the order in which they appear."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Chart))

    def bars(self) -> tuple[Bar, ...]:
        """Return all proportion bars in the order in which they appear."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Bar))


def shown(value: T) -> T:
    """Return a document, or a part of one, whose texts have no hidden characters: control, bidirectional, separators.

    Every renderer does this first, charts included: a control character would end the process that draws them.
    """
    return _shown(value)  # type: ignore[no-any-return]


_NUMBERS = frozenset({int, float, bool, type(None)})
"""Types of most values of a chart; they hold no text."""


def _shown(value: Any) -> Any:
    if type(value) in _NUMBERS:
        return value
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, (dict, Mapping)):  # the first spares most values the slower look at the second
        return {_shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shown(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _shown(getattr(value, item.name)) for item in fields(value)})
    return value
