"""A document as Markdown: sentences and tables; charts as their text alternative."""

from __future__ import annotations

from fraudctl.report.document import Bar, Block, Cell, Chart, Document, Facts, ReportTable, Text, shown
from fraudctl.report.escape import markdown as escape


def render_markdown(document: Document) -> str:
    """Render a document as GitHub-flavoured Markdown, with every row of its tables.

    Whatever would be markup in values is escaped (`fraudctl.report.escape`).
    """
    document = shown(document)
    badge = f"**{escape(document.verdict[0].upper())}** · " if document.verdict else ""
    parts = [f"# {badge}{escape(document.title)}", *(escape(line) for line in document.subtitle)]
    if document.cards:
        parts.append("\n".join(f"- **{escape(card.value)}** {escape(card.label)}" for card in document.cards))
    if document.findings:
        lines = [f"{i}. **{escape(head)}** {escape(text)}" for i, (head, text, _) in enumerate(document.findings, 1)]
        parts.append("\n".join(lines))
    for i, section in enumerate(document.sections, 1):
        parts += [f"## {i}. {escape(section.title)}", escape(section.lead)]
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"_{escape(block.text)}_" if block.note else escape(block.text)
    if isinstance(block, Facts):
        return "\n".join(f"- **{escape(item.term)}**: {escape(item.text)}" for item in block.items)
    if isinstance(block, Bar):
        return ""
    if isinstance(block, Chart):
        return f"> {escape(block.title)}. {escape(block.alt)}"
    return _table(block)


def _table(table: ReportTable) -> str:
    heads = " | ".join(escape(column.name) for column in table.columns)
    sides = " | ".join("---:" if column.kind == "number" else "---" for column in table.columns)
    rows = [" | ".join(_cell(cell) for cell in row) for row in table.rows]
    lines = [f"**{escape(table.caption)}**", "", f"| {heads} |", f"| {sides} |", *(f"| {row} |" for row in rows)]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    return "; ".join(escape(line) for line in cell.lines) if cell.lines else escape(cell.text)
