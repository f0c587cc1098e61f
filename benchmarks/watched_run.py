"""A command of fraudctl in a pseudo-terminal: its seconds, its memory, and how long its screen stood still."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RUN = [sys.executable, "-m", "fraudctl"]
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
_CLOCKS = re.compile(r"-?-?:?\d*:\d\d(:\d\d)?|-:--(:--)?|[━╸╺╴╶─]")


@dataclass
class Screen:
    """What a terminal shows last, and for how long it stayed so."""

    began: float = field(default_factory=time.monotonic)
    shown: str = ""
    moved: float = 0.0
    stillest: float = 0.0
    at: str = ""

    def __post_init__(self) -> None:
        self.moved = self.began

    def show(self, content: bytes) -> None:
        """Take what was written since the last pause of the writer."""
        lines = re.split(r"[\r\n]+", _ESCAPES.sub(b"", content).decode("utf-8", "replace"))
        text = next((line for line in reversed(lines) if line.strip()), "")
        text = re.sub(r"\s+", " ", _CLOCKS.sub("", text)).strip()
        if text and text != self.shown:
            self.still(text)

    def still(self, text: str) -> None:
        """Note how long the screen has stood still, and what it showed."""
        now = time.monotonic()
        if now - self.moved > self.stillest:
            self.stillest, self.at = now - self.moved, self.shown[:60]
        self.moved, self.shown = now, text


@dataclass
class Run:
    """One command in a terminal of its own."""

    args: list[str]
    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def measure(self, *, text: bytes = b"", until: Callable[[], bool] | None = None, limit: float) -> dict[str, Any]:
        """Run to the end, or until something holds; then SIGTERM ends it.

        Parameters
        ----------
        text
            Standard input.
        limit
            Seconds after which the command is ended and `timeout` noted.
        """
        primary, secondary = pty.openpty()
        subprocess.run(["stty", "cols", "110", "rows", "30"], stdin=secondary, check=True)
        source = self.cwd / "stdin"
        source.write_bytes(text)
        began, screen, ready = time.monotonic(), Screen(), None
        with source.open("rb") as stdin, (self.cwd / "stdout").open("wb") as stdout:
            process = subprocess.Popen(
                [*RUN, *self.args],
                cwd=self.cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=secondary,
                env={
                    **os.environ,
                    "TERM": "xterm",
                    "PYTHONDONTWRITEBYTECODE": "",
                    **self.env,
                },  # as where it is installed
            )
        os.close(secondary)
        expired, pending, last, code, resting = False, b"", b"", 0, 0.0
        while True:
            readable, _, _ = select.select([primary], [], [], 0.05)
            if readable:
                with contextlib.suppress(OSError):
                    pending += os.read(primary, 1 << 16)
            elif pending:
                screen.show(pending)
                last, pending = pending, b""
            found, code, usage = os.wait4(process.pid, os.WNOHANG)
            if found:
                break
            if until is not None and ready is None and until():
                ready, resting = time.monotonic() - began, resident(process.pid)
                process.send_signal(signal.SIGTERM)
            if time.monotonic() - began > limit and not expired:
                expired = True
                process.kill()
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(code)
        with contextlib.suppress(OSError):
            while select.select([primary], [], [], 0)[0] and (more := os.read(primary, 1 << 16)):
                last = more
        os.close(primary)
        screen.still("")
        out = {
            "wall": round(wall, 2),
            "cpu": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_gib": round(usage.ru_maxrss / (1 << 20), 3),
            "still": round(screen.stillest, 1),
            "still_at": screen.at,
            "exit": process.returncode,
        }
        out |= {"ready": round(ready, 2), "resting_gib": round(resting, 3)} if ready is not None else {}
        out |= {"timeout": limit} if expired else {}
        if process.returncode not in (0, 1, 5) and until is None:
            out["said"] = _ESCAPES.sub(b"", last).decode("utf-8", "replace")[-300:]
        return out


def resident(pid: int) -> float:
    """Return the resident memory of a process in GiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / (1 << 20)
