"""How many examples a property test draws whose one example costs more than 50 ms of the processor."""

from __future__ import annotations

import os

import pytest

EVERY_RUN = 25
"""Examples of such a property in every run of the tests."""


def costly(examples: int) -> int:
    """Return at most `EVERY_RUN` examples; all of them with ``FRAUDCTL_EXAMPLES=all``."""
    return examples if os.environ.get("FRAUDCTL_EXAMPLES") == "all" else min(examples, EVERY_RUN)


dear = pytest.mark.skipif(
    os.environ.get("FRAUDCTL_EXAMPLES") != "all", reason="two minutes: with FRAUDCTL_EXAMPLES=all"
)
"""Marks what only a run of all examples does."""
