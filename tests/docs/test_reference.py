"""The reference pages are what the code says: run ``make docs`` after a command or a key changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fraudctl.cli.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_reference_pages_are_up_to_date() -> None:
    code = "import build_reference, json; print(json.dumps(build_reference.pages()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=DOCS, capture_output=True, text=True, check=True)
    for name, text in json.loads(done.stdout).items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, (
            f"docs/reference/{name} is stale: run make docs"
        )


def test_every_command_is_documented() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"## fraudctl {name}\n" not in page] == []
