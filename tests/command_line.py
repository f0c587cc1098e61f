"""The command line as a user runs it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


def run_in(folder: Path, *args: str, env: dict[str, str] | None = None) -> Outcome:
    """Run the command line in a process of its own, as a user would."""
    command = [sys.executable, "-m", "fraudctl", *args]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
