"""The console of every command: nothing that comes from data reaches a terminal as a control sequence or as markup."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fraudctl.text.plain import visible

OFF_TERMINAL = 120
"""Columns where the output is no terminal and COLUMNS says nothing."""


class SafeConsole(Console):
    """A console that reads no markup, and shows hidden characters of any text as escapes.

    Styles, cursor movements and the like are segments of their own kind in rich; the text of all others is cleaned
    here, whichever way it came.
    """

    def __init__(self, file: TextIO) -> None:
        width = None if file.isatty() or "COLUMNS" in os.environ else OFF_TERMINAL
        super().__init__(file=file, width=width, highlight=False, emoji=False, markup=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable with harmless text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, lines=True), segment.style)
