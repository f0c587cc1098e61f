"""Console sessions in the documentation: their commands run in their order and print what stands below them.

Text is compared exactly, but for spaces. Figures may differ by 2 %, since sums of other processors round otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from command_line import run_in
from worlds import built_once

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


PLAIN = re.compile(r"fraudctl ([^|&;<>$`*?~#(){}\\\n]+?)( > /dev/null)?( +#.*)?")
"""A command of fraudctl that asks nothing of the shell but to split it into words, or to show nothing of it."""
SURROUNDINGS = {"COLUMNS": "100", "NO_COLOR": "1"}
MARK = "-- next command --"


def printed_by(blocks: list[str], folder: Path) -> list[list[str]]:
    """Return what each command of the sessions printed on stdout; they run one after the other and have to end with 0.

    All run in one shell, which keeps its folder and its variables. But plain commands of fraudctl, from the second one
    on, run in this process in the folder where the shell is: `tests/cli/test_same_process.py` holds that to what a
    process of its own gives, and the first command shows that the installed one is found and works.
    """
    return printed_each(asked_in(blocks), folder)


PRINTED = "printed.json"
Ran = tuple[Path, list[list[str]]]
"""A folder in which commands ran, and what each of them printed; shared, so tests that change it take a copy."""


@contextmanager
def ran_once(factory: pytest.TempPathFactory, name: str, asked: list[str]) -> Iterator[Ran]:
    """Yield what `printed_each` gives, once for all workers of this run: a session can cost a minute."""

    def build(folder: Path) -> None:
        printed = printed_each(asked, folder)
        (folder / PRINTED).write_text(json.dumps(printed))

    with built_once(factory, name, build) as folder:
        yield folder, json.loads((folder / PRINTED).read_text())


def asked_in(blocks: list[str]) -> list[str]:
    """Return the commands of sessions in their order."""
    return [command for block in blocks for command, _ in commands(block)]


def printed_each(asked: list[str], folder: Path) -> list[list[str]]:
    """Return what each of the commands printed, as `printed_by` does."""
    with Shell(folder) as shell:
        return [printed(command, shell).strip("\n").splitlines() for command in asked]


def printed(command: str, shell: Shell) -> str:
    """Return what a command printed; in this process where that is the same."""
    plain = PLAIN.fullmatch(command)
    if shell.is_new or plain is None:
        return shell.run(command)
    done = run_in(shell.folder, *shlex.split(plain[1]), env=SURROUNDINGS)
    assert done.code == 0, f"{command}\n{done.out}{done.err}"
    return "" if plain[2] else done.out


class Shell:
    """A bash that runs one command after the other and ends at the first that fails."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.is_new = folder, True
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the shell
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "-eu"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages,
            env={**os.environ, **SURROUNDINGS, "PATH": path}, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.communicate()
        self._messages.close()

    def run(self, command: str) -> str:
        """Return what a command printed on stdout, and look where the shell is after it."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self.is_new = False
        self._bash.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n%s%s\\n' '{MARK}' \"$PWD\"\n")
        self._bash.stdin.flush()
        found = []
        for line in self._bash.stdout:
            if line.startswith(MARK):
                self.folder = Path(line[len(MARK) :].rstrip("\n"))
                return "".join(found)
            found.append(line)
        self._messages.seek(0)
        raise AssertionError(f"{command}\n{''.join(found)}{self._messages.read()}")


def wrong_in(blocks: list[str], printed: list[list[str]]) -> dict[str, str]:
    """Return the commands that printed something else than the page shows, each with the first such line."""
    wanted = [pair for block in blocks for pair in commands(block)]
    assert len(wanted) == len(printed)
    found = {command: missing(lines, got) for (command, lines), got in zip(wanted, printed, strict=True)}
    return {command: line for command, line in found.items() if line is not None}
