"""How a command is declared: with its examples, and with the options that all commands share."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

SHARED: Final[Mapping[str, Any]] = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Print neither progress nor notes.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Print more, and tracebacks of errors.")],
    "no_progress": Annotated[bool, typer.Option("--no-progress", help="Show no progress.")],
}
"""Fields of `fraudctl.cli.session.Session` that users set -> their options."""

Command = Callable[..., None]


def command(
    *examples: str, json: Literal["option", "always", "never"] = "option", stores: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Declare a command: a function whose first parameter is the ``session`` that it speaks through.

    Parameters
    ----------
    examples
        Command lines for its help.
    json
        Whether ``--json`` is an option, or stdout always or never gets a JSON document.
    stores
        Options for paths that may be addresses in an object store; all others are of this machine.
    """

    def declare(function: Command) -> Command:
        parameters = list(inspect.signature(function).parameters.values())
        takes_session = parameters[:1] != [] and parameters[0].name == "session"
        hints = typing.get_type_hints(function, localns={"Session": Any}, include_extras=True)
        own = [part.replace(annotation=hints[part.name]) for part in parameters if part.name != "session"]
        names = [name for name in SHARED if json == "option" or name != "as_json"] if takes_session else []
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=SHARED[name])
            for name in names
        ]

        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> None:
            _require_local({name: value for name, value in options.items() if name not in stores})
            if not takes_session:
                function(*args, **options)
                return
            from fraudctl.cli.session import Session

            chosen = {name: options.pop(name) for name in names}
            chosen |= {"as_json": True} if json == "always" else {}
            function(Session(**chosen), *args, **options)

        run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {part.name: part.annotation for part in (*own, *shared)}
        run.examples = examples  # type: ignore[attr-defined]
        run.stores = frozenset(stores)  # type: ignore[attr-defined]
        return run

    return declare


def _require_local(options: Mapping[str, Any]) -> None:
    """Refuse addresses of object stores among the options that take paths of this machine."""
    values = [item for value in options.values() for item in (value if isinstance(value, list) else [value])]
    paths = [item for item in values if isinstance(item, Path)]
    if any(":" in str(path) for path in paths):
        from fraudctl.data.outputs import require_local

        for path in paths:
            require_local(path)


def register(app: typer.Typer, name: str, function: Command) -> None:
    """Add a command to an application, with its examples below its help."""
    lines = "\n".join(f"  {line}" for line in function.examples)  # type: ignore[attr-defined]
    app.command(name, epilog=f"\b\nExamples:\n{lines}")(function)
