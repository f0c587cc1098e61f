"""The tutorial is true: its commands run in their order, and print what stands below them, figures included.

Text is compared exactly, but for spaces. Figures may differ by 2 %, since sums of other processors round otherwise.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- run -->\n```console\n(.*?)```", PAGE, re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
NEAR = 0.02


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


def test_a_line_is_compared_with_its_figures() -> None:
    assert alike("savings  0.7437  0.6449 to 0.8424", "savings 0.7440 0.645 to 0.8424 ")
    assert not alike("savings  0.7437", "savings 0.70")
    assert alike("champion: 2025-12-04-...", "champion: 2025-12-04-ac2cbda0")
    assert not alike("a b", "a c")
    assert missing(["...", "b", "..."], ["a", "b", "c"]) is None
    assert missing(["b"], ["a", "b"]) == "b"
    assert missing(["a"], ["a", "b"]) is not None
    assert missing(["a", "...", "d"], ["a", "b", "c"]) == "d"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What each command of the page printed on stdout, in the order of the page; all run in one shell."""
    folder = tmp_path_factory.mktemp("tutorial")
    mark = "-- next command --"
    script = "\n".join(f"{command}\necho '{mark}'" for block in BLOCKS for command, _ in commands(block))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.strip("\n").splitlines() for part in done.stdout.split(f"{mark}\n")[:-1]]


def test_every_command_prints_what_the_page_shows(printed: list[list[str]]) -> None:
    wanted = [pair for block in BLOCKS for pair in commands(block)]
    assert len(wanted) == len(printed) > 10
    wrong = {command: missing(lines, got) for (command, lines), got in zip(wanted, printed, strict=True)}
    assert {command: line for command, line in wrong.items() if line is not None} == {}


def test_figures_in_the_text_are_those_that_were_printed(printed: list[list[str]]) -> None:
    shown = {text for block in BLOCKS for text in NUMBER.findall(block)}
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    money = re.findall(r"(\d[\d,]*) EUR", text)
    assert {"17,596", "4,510", "1,286"} <= {*money}
    assert {*money} - shown - {"4", "9"} == set()
