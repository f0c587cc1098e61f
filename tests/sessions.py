"""Console sessions in the documentation: their commands run in their order and print what stands below them.

Text is compared exactly, but for spaces. Figures may differ by 2 %, since sums of other processors round otherwise.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
NEAR = 0.02


def blocks_of(page: str) -> list[str]:
    """Return the sessions of a page that are to be run."""
    return re.findall(r"<!-- run -->\n```console\n(.*?)```", page, re.DOTALL)


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a block, each with the lines below it; a here-document belongs to its command."""
    found: list[tuple[str, list[str]]] = []
    inside = False
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
            inside = line.endswith("<<'END'")
        elif inside:
            found[-1] = (f"{found[-1][0]}\n{line}", [])
            inside = line != "END"
        else:
            found[-1][1].append(line)
    return found


def alike(want: str, got: str) -> bool:
    """Return whether a printed line is the one of the page; ``...`` in it stands for any text."""
    want, got = (" ".join(line.split()) for line in (want, got))
    pattern = "".join(
        ".*" if part == "..." else r"(-?\d[\d,]*(?:\.\d+)?)" if NUMBER.fullmatch(part) else re.escape(part)
        for part in re.split(rf"(\.\.\.|{NUMBER.pattern})", want)
        if part
    )
    matched = re.fullmatch(pattern, got)
    if matched is None:
        return False
    wanted = [float(text.replace(",", "")) for text in NUMBER.findall(want.replace("...", " "))]
    return all(
        abs(float(text.replace(",", "")) - value) <= NEAR * abs(value)
        for text, value in zip(matched.groups(), wanted, strict=True)
    )


def missing(want: list[str], got: list[str]) -> str | None:
    """Return the first line of the page that was not printed where it should be, or None."""
    at, anywhere = 0, False
    for line in want:
        if line == "...":
            anywhere = True
            continue
        here = next((n for n in range(at, len(got)) if alike(line, got[n])), None)
        if here is None or (not anywhere and here != at):
            return line
        at, anywhere = here + 1, False
    return None if anywhere or at == len(got) else f"(after the last line of the page) {got[at]}"


def printed_by(blocks: list[str], folder: Path) -> list[list[str]]:
    """Return what each command of the sessions printed on stdout; all run in one shell."""
    mark = "-- next command --"
    script = "\n".join(f"{command}\necho '{mark}'" for block in blocks for command, _ in commands(block))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.strip("\n").splitlines() for part in done.stdout.split(f"{mark}\n")[:-1]]


def wrong_in(blocks: list[str], printed: list[list[str]]) -> dict[str, str]:
    """Return the commands that printed something else than the page shows, each with the first such line."""
    wanted = [pair for block in blocks for pair in commands(block)]
    assert len(wanted) == len(printed)
    found = {command: missing(lines, got) for (command, lines), got in zip(wanted, printed, strict=True)}
    return {command: line for command, line in found.items() if line is not None}
