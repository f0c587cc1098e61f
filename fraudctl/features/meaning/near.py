"""The known name that is nearest to a mistaken one."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from fraudctl.text.plain import shown, shown_all


def near(name: str, known: Collection[str]) -> str:
    """Return the end of a message that names the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {shown(close[0])}?" if close else f"; there are {shown_all(known)}"
