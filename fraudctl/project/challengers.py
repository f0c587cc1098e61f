"""``[challengers.NAME]``: a program of the user's that is trained and judged as the model is."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from fraudctl.project.types import PositiveDuration, Section

_ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")

ChallengerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
"""Name of a challenger: lower-case letters, digits, ``-`` and ``_``, beginning with a letter."""


class ChallengerSection(Section):
    """A model from elsewhere: a program that is fitted on the folds of `train` and scores their events."""

    command: tuple[str, ...] = ()
    """Program and arguments, such as ["python", "rival.py"]; the path of a JSON file of facts is added at the end."""
    entry: str | None = None
    """Instead of a command: a Python module, or an object in one ("module:object"), with functions fit and score."""
    files: tuple[str, ...] = ()
    """Patterns of further files that the program needs, relative to the project. Nothing else is copied to where it
    runs; files that the command names, and the module of the entry, are always."""
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Settings that are handed to the program as they are."""
    history: PositiveDuration | None = None
    """Length of time before its rows whose other events the program sees too, without labels. Default: none."""
    scores: Literal["raw", "probability"] = "raw"
    """What it returns: any number that rises with fraud, or a probability. Either is calibrated."""
    deterministic: bool = True
    """Whether the same inputs and seed give the same scores; `train --twice` checks it."""
    timeout: PositiveDuration = PositiveDuration.parse("1h")
    """Longest time that one fit, or one scoring, may take."""

    @field_validator("command")
    @classmethod
    def _named(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if any(not part or "\0" in part for part in command):
            msg = "command: an argument is empty"
            raise ValueError(msg)
        return command

    @model_validator(mode="after")
    def _one_program(self) -> ChallengerSection:
        if bool(self.command) == (self.entry is not None):
            msg = 'one of command and entry is needed, such as entry = "fraudctl.challengers.logistic"'
            raise ValueError(msg)
        if self.entry is not None and not _ENTRY.fullmatch(self.entry):
            msg = 'entry: expected "package.module" or "package.module:object"'
            raise ValueError(msg)
        for pattern in self.files:
            if not pattern or pattern.startswith(("/", "~")) or ".." in pattern.split("/"):
                msg = "files: patterns are relative to the folder of the project file, and stay below it"
                raise ValueError(msg)
        return self
