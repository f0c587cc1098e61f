"""Every error that fraudctl raises on purpose, each with the exit code that it ends the command with.

A message says what is wrong, where, what was found and what was expected; ``hint`` says what to do. Messages hold
names, types and counts, never values of cells: those may be card data. Names that come from data are shown through
`fraudctl.text.plain.shown`; what still looks like a card number, an account or an address is masked here, for every
error.
"""

from __future__ import annotations

from enum import IntEnum

from fraudctl.text.plain import masked


class ExitCode(IntEnum):
    """What the exit status of a command means. Nothing accidental may produce ``NO``."""

    OK = 0
    NO = 1
    USAGE = 2
    DATA = 3
    BUNDLE = 4
    INCONCLUSIVE = 5
    BUG = 70
    INTERRUPTED = 130


class FraudctlError(Exception):
    """Base of all errors that a user can cause and mend.

    Parameters
    ----------
    message
        What is wrong, where, what was found and what was expected.
    hint
        What to do about it, as an instruction.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = masked(message)
        self.hint = None if hint is None else masked(hint)
        super().__init__(self.message)


class UsageError(FraudctlError):
    """The command line asks for something that cannot be done as it stands (exit code 2)."""


class ProjectError(FraudctlError):
    """The project file is missing, malformed or contradicts itself (exit code 2)."""


class DataError(FraudctlError):
    """A table is missing, unreadable, or not what the project file says it is (exit code 3)."""

    exit_code = ExitCode.DATA


class BundleError(FraudctlError):
    """A model bundle is missing, damaged, or from another project (exit code 4)."""

    exit_code = ExitCode.BUNDLE
