"""The entry point: whatever happens, the exit code says what it was.

Standard library only, so that even a broken installation ends with the right code.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import TextIO

_BUG, _INTERRUPTED, _USAGE = 70, 130, 2
_OFTEN_ENOUGH = 100_000
"""New objects after which circles are looked for: Python's own number does so all through the loading of libraries."""
_PAGES = ("NUMPY_MADVISE_HUGEPAGE", "0")
"""numpy asks the kernel for huge pages, which are put together while the program waits where memory is in pieces: that
costs more than they save. numpy reads this when it is imported."""
_THREADS = ("OPENBLAS_NUM_THREADS", "1")
"""Products of matrices here are many and small: threads would only wait for each other, and wait by working. OpenBLAS
reads this when it is loaded; a value that the user has set stays."""
_LONGEST_PATH = 300
_ISSUES = "please report it with the command and, if you may, the text below"


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing accidental becomes 1."""
    args = sys.argv[1:] if argv is None else argv
    if argv is None:
        _open_standard_streams()
        gc.set_threshold(_OFTEN_ENOUGH)
        for name, value in (_PAGES, _THREADS):
            os.environ.setdefault(name, value)
        if not _verbose(args):
            _silence_libraries()
    try:
        from fraudctl.cli.app import run

        code = run(args)
        sys.stdout.flush()
        if code == _INTERRUPTED:  # Typer hands an interruption over as a number
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        _say(sys.stderr, "interrupted\n")
        code = _INTERRUPTED
    except BrokenPipeError:
        code = _leave_the_pipe()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else _USAGE
        if code == 1:  # Typer's own answer to a reader of the pipe that went away; 1 is kept for the gate's no
            code = _leave_the_pipe()
    except BaseException as error:  # noqa: BLE001
        code = _explain(error, args)
    for stream in (sys.stdout, sys.stderr):
        _say(stream, "")
    if argv is None:  # the process ends here: looking for circles in all that is left would take a quarter of a second
        gc.freeze()
    return code


def _verbose(args: list[str]) -> bool:
    return "--verbose" in args or any(arg[:1] == "-" != arg[1:2] and "v" in arg for arg in args)


def _silence_libraries() -> None:
    """Keep stderr to what fraudctl writes: texts of native libraries, such as panics, may hold values of cells.

    They write to descriptor 2, which leads nowhere from now on; `sys.stderr` writes to a copy of the old one.
    """
    try:
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # the process was started without stderr
        return
    sys.stderr.flush()
    sys.stderr = open(  # noqa: PTH123, SIM115 - it is open until the process ends
        own, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1
    )
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _open_standard_streams() -> None:
    """Open the null device for each standard stream that the caller has closed.

    Otherwise the next file that is opened gets the stream's descriptor, and what a library prints goes into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _leave_the_pipe() -> int:
    """Let what is still to be written go nowhere: its reader has left."""
    _silence(sys.stdout)
    return _INTERRUPTED


def _silence(stream: TextIO) -> None:
    """Let what a stream still holds, and all that follows, go to the null device: writing it cannot fail any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(stream: TextIO, text: str) -> None:
    """Write and flush text; where that fails (a full disk), the rest goes nowhere, and the exit code still holds."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _silence(stream)


def _explain(error: BaseException, args: list[str]) -> int:
    """Return what went wrong on stderr, and with --json as a document on stdout; give the exit code."""
    from fraudctl.text.plain import visible

    code, message, hint = _verdict(error)
    _say(sys.stderr, f"error: {visible(message, lines=True)}\n")
    if hint:
        _say(sys.stderr, f"hint: {visible(hint, lines=True)}\n")
    verbose = _verbose(args)
    if code == _BUG or verbose:
        _print_traceback(error, values=verbose)
    if "--json" in args:
        document = {"error": {"exit_code": code, "message": message, "hint": hint}}
        _say(sys.stdout, json.dumps(document, indent=2) + "\n")
    return code


def _verdict(error: BaseException) -> tuple[int, str, str | None]:
    """Return exit code, message and hint: of a file that cannot be used, of too little memory, or of a bug."""
    code = getattr(error, "exit_code", None)
    if code is not None:
        return int(code), str(getattr(error, "message", error)), getattr(error, "hint", None)
    from fraudctl.disk.files import system_error

    system = system_error(error)
    if system is not None:
        error = system
        reason = error.strerror or type(error).__name__
        place = f"{_shown(error.filename)} cannot be used" if error.filename is not None else "the system refuses"
        return _USAGE, f"{place}: {reason}", "check the path, its permissions, and the space on its disk"
    if isinstance(error, MemoryError):
        return _USAGE, "there is not enough memory", "`fraudctl features --memory 2GB` builds features through files"
    if isinstance(error, RecursionError):
        return _USAGE, "what was given is nested too deeply", "write it with fewer levels"
    return _BUG, f"fraudctl has a bug ({type(error).__name__}); {_ISSUES}", None


def _shown(path: object) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in str(path))
    return text if len(text) <= _LONGEST_PATH else f"{text[:_LONGEST_PATH]}... ({len(text):,} characters)"


def _print_traceback(error: BaseException, *, values: bool) -> None:
    """Print where an error arose; its text only with ``values``, since texts of libraries may hold cell values."""
    import traceback

    from fraudctl.text.plain import visible

    if values:
        text = "".join(traceback.format_exception(error))
        _say(sys.stderr, visible(text, lines=True))
        return
    for frame in traceback.extract_tb(error.__traceback__):
        _say(sys.stderr, f"  {os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}\n")  # noqa: PTH119


if __name__ == "__main__":
    sys.exit(main())
