"""One thin file per command; this is their list, in the order of the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fraudctl.cli.commands.features import features
from fraudctl.cli.commands.init import init
from fraudctl.cli.commands.sample import sample
from fraudctl.cli.commands.schema import schema

COMMANDS: dict[str, Callable[..., Any]] = {
    "init": init,
    "features": features,
    "sample": sample,
    "schema": schema,
}
