"""``fraudctl schema``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fraudctl.cli.command import command
from fraudctl.workflows.schemas import SchemaKind


@command("fraudctl schema > fraudctl.schema.json", "fraudctl schema --of evaluation")
def schema(
    *,
    of: Annotated[
        SchemaKind, typer.Option("--of", help="The project file, or the JSON of a command.")
    ] = SchemaKind.PROJECT,
) -> None:
    """Print a JSON Schema: of fraudctl.toml, for editors, or of the JSON that a command prints."""
    from fraudctl.cli.session import to_json
    from fraudctl.workflows.schemas import json_schema_of

    sys.stdout.write(to_json(json_schema_of(of)) + "\n")
