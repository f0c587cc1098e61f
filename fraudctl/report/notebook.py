"""A document as a notebook shows it: the head of its page and its first chart and table, in a frame of their own.

The frame keeps the page's stylesheet apart from the notebook's, and forbids what the page's own policy forbids.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Final

from fraudctl.report.document import Chart, Document, ReportSection, ReportTable
from fraudctl.report.html import render_html

HEIGHT: Final = 760
"""Pixels of the frame; what is longer scrolls in it."""


def brief(document: Document) -> Document:
    """Return a document with its head, and its sections up to the first chart and the first table."""
    kept: list[ReportSection] = []
    wanted: set[type] = {Chart, ReportTable}
    for section in document.sections:
        if not wanted:
            break
        kept.append(section)
        wanted -= {type(block) for block in section.blocks}
    return replace(document, sections=tuple(kept))


def render_notebook(document: Document) -> str:
    """Render the brief form of a document to HTML for a cell of a notebook."""
    page = render_html(brief(document))
    return (
        f'<iframe srcdoc="{escape(page)}" title="{escape(document.title)}" sandbox="allow-scripts" '
        f'style="width:100%;height:{HEIGHT}px;border:0"></iframe>'
    )
