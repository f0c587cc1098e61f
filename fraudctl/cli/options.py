"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProjectPath = Annotated[
    Path, typer.Option("--project", "-p", help="Project file, or the folder that holds fraudctl.toml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print neither progress nor notes.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more, and tracebacks of errors.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A version, a path, `latest` or `champion`.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Processor threads. Default: all there are.")]

HERE = Path()
