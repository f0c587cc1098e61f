"""Run the command line: in this process, or in one of its own where a test is about the process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fraudctl.__main__ import main

PATIENCE = 600.0
"""Seconds that are waited for what takes a few on a quiet machine: a failure, never a measurement."""


@dataclass(frozen=True)
class Outcome:
    """What a command wrote to stdout and stderr, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


def run_in(folder: Path, *args: str, env: dict[str, str] | None = None, sent: bytes = b"") -> Outcome:
    """Run a command line in this process; `tests/cli/test_same_process.py` holds it to what `run_alone` gives.

    A process of its own would load all libraries anew, which takes longer than most commands do.

    Parameters
    ----------
    folder
        The working directory of the command.
    env
        Environment variables, besides those that are set.
    sent
        What stdin holds.
    """
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent), encoding="utf-8"))
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8"))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace"))
        code = main(list(args))
        sys.stdout.flush()
        sys.stderr.flush()
        return Outcome(code, out.getvalue().decode(), err.getvalue().decode())


def run_alone(folder: Path, *args: str, env: dict[str, str] | None = None, sent: bytes = b"") -> Outcome:
    """Run a command line in a process of its own: for tests of bytes across processes, exits, signals and streams."""
    command = [sys.executable, "-m", "fraudctl", *args]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, cwd=folder, input=sent, capture_output=True, check=False, env=environment, timeout=PATIENCE
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
