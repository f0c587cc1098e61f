"""A document in the terminal, as rich renderables. Values are text: no markup in them is read."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from fraudctl.report.document import Bar, Block, Cell, Chart, Document, Facts, ReportSection, ReportTable, Text, shown
from fraudctl.text.figures import whole

STYLES: Final = {"plain": "", "good": "green", "bad": "red", "warn": "yellow", "cool": "cyan", "muted": "dim"}
MOST_ROWS: Final = 10


def render_terminal(document: Document, *, sections: bool = True, most_rows: int = MOST_ROWS) -> RenderableType:
    """Render a document for a terminal.

    Parameters
    ----------
    sections
        Whether to go on after title, cards and findings.
    """
    document = shown(document)
    parts: list[RenderableType] = [_title(document), *(RichText(line, style="dim") for line in document.subtitle)]
    if document.cards:
        parts.append(Padding(_cards(document), (1, 0, 0, 0)))
    if document.findings:
        parts.append(RichText(""))
        parts += [_finding(i, item[0], item[1], item[2]) for i, item in enumerate(document.findings, 1)]
    if sections:
        parts += [_section(i, item, most_rows) for i, item in enumerate(document.sections, 1)]
    return Group(*parts)


def _title(document: Document) -> RichText:
    text = RichText()
    if document.verdict is not None:
        text.append(document.verdict[0].upper(), style=f"bold {STYLES[document.verdict[1]]}".strip())
        text.append("  ")
    return text.append(document.title, style="bold")


def _cards(document: Document) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    for card in document.cards:
        grid.add_row(RichText(card.value, style=f"bold {STYLES[card.tone]}".strip()), RichText(card.label))
    return grid


def _finding(i: int, head: str, text: str, tone: str) -> RichText:
    return (
        RichText(f"{i}. ", style="dim")
        .append(head, style=f"bold {STYLES[tone]}".strip())
        .append(f" {text}", style="not dim")
    )


def _section(i: int, section: ReportSection, most_rows: int) -> RenderableType:
    head = RichText(f"\n{i}  ", style="dim").append(section.title, style="bold not dim")
    return Group(head, RichText(section.lead), *(_block(block, most_rows) for block in section.blocks))


def _block(block: Block, most_rows: int) -> RenderableType:
    if isinstance(block, Text):
        return RichText(block.text, style="dim" if block.note else "")
    if isinstance(block, Facts):
        grid = RichTable.grid(padding=(0, 2))
        for item in block.items:
            grid.add_row(RichText(item.term, style="dim"), RichText(item.text))
        return grid
    if isinstance(block, (Bar, Chart)):
        return RichText(block.alt, style="dim")
    return _table(block, most_rows)


def _table(block: ReportTable, most_rows: int) -> RenderableType:
    table = RichTable(box=None, pad_edge=False)
    for column in block.columns:
        table.add_column(RichText(column.name), justify="right" if column.kind == "number" else "left")
    for row in block.rows[:most_rows]:
        table.add_row(*(_cell(cell) for cell in row))
    rest = len(block.rows) - most_rows
    note = [RichText(f"and {whole(rest)} more rows", style="dim")] if rest > 0 else []
    return Padding(Group(RichText(block.caption, style="dim"), table, *note), (1, 0, 0, 0))


def _cell(cell: Cell) -> RichText:
    return RichText("\n".join(cell.lines) if cell.lines else cell.text, style=STYLES[cell.tone])
