"""The Typer application: every command by name, in the order of the work."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from fraudctl import __version__
from fraudctl.cli.command import register
from fraudctl.cli.commands import COMMANDS
from fraudctl.cli.commands.models import MODELS
from fraudctl.cli.commands.state import STATE
from fraudctl.errors import ExitCode
from fraudctl.text.plain import visible

app = typer.Typer(
    name="fraudctl",
    help="From raw transactions to a gated fraud model.",
    epilog=(
        "Exit codes: 0 yes, 1 no, 2 usage or project file, 3 data, 4 bundle, 5 inconclusive, 70 bug, 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:  # noqa: FBT001
    if value:
        typer.echo(f"fraudctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From raw transactions to a gated fraud model."""
    del version


for _name, _command in COMMANDS.items():
    register(app, _name, _command)
for _group, _help, _commands in (
    ("models", "The versions of a project, and its champion.", MODELS),
    ("state", "What scoring remembers: build it from history, look at it, compact it.", STATE),
):
    _below = typer.Typer(help=_help, no_args_is_help=True, rich_markup_mode=None)
    for _name, _command in _commands.items():
        register(_below, _name, _command)
    app.add_typer(_below, name=_group)


@functools.cache
def _tree() -> Callable[..., object]:
    """Return the commands with their options, which take longer to put together than to read a command line by."""
    return typer.main.get_command(app)


def run(args: list[str]) -> int:
    """Run one command line and give its exit code; errors come out as exceptions."""
    try:
        result = _tree()(args, prog_name="fraudctl", standalone_mode=False)
    except typer.exceptions.TyperException as error:
        if "--json" in args:
            raise
        show = getattr(error, "show", None)
        if show is None:
            raise
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            show()
        sys.stderr.write(visible(said.getvalue(), lines=True))
        return int(getattr(error, "exit_code", ExitCode.USAGE))
    return result if isinstance(result, int) else 0
