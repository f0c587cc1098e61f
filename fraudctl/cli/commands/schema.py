"""``fraudctl schema``."""

from __future__ import annotations

import sys


def schema() -> None:
    """Print the JSON Schema of fraudctl.toml, for editors."""
    from fraudctl.cli.session import to_json
    from fraudctl.project import json_schema

    sys.stdout.write(to_json(json_schema()) + "\n")
