"""Questions that only a person can answer, collected, so that one refusal has all of them.

Owns the wording of that refusal: each question with the flags that settle it, and one command line with all of them.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from fraudctl.errors import UsageError

_FLAG = re.compile(r"(--[a-z][a-z-]+) ([^\s();,]+)")
"""The flag that a hint names, with an example or what stands for the user's answer: ``--label COLUMN``."""


@dataclass
class Questions:
    """Open questions, in the order in which they came up."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def ask(self, question: str, flags: list[str], how: str) -> None:
        """Note a question, the flags that answer it (with an example), and what to say."""
        self.asked.append((question, f"{how}: {shlex.join(flags)}"))
        if not {flags[0]} & set(self.flags):
            self.flags += flags

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Note what a step refuses for want of an answer, instead of ending with it."""
        try:
            yield
        except UsageError as error:
            self.asked.append((error.message, error.hint or ""))
            told = _FLAG.findall((error.hint or "").partition(";")[0])
            if told and told[0][0] not in self.flags:
                self.flags += [text for pair in told if pair[0] == told[0][0] for text in pair]

    def settle(self) -> None:
        """Raise a UsageError with all open questions, if there are any."""
        if not self.asked:
            return
        if len(self.asked) == 1:
            question, how = self.asked[0]
            raise UsageError(question, hint=how or None)
        listed = "\n".join(f"  {i}. {question}" for i, (question, _) in enumerate(self.asked, start=1))
        hints = "; ".join(f"{i}. {how}" for i, (_, how) in enumerate(self.asked, start=1) if how)
        msg = f"{len(self.asked)} questions that the data do not answer:\n{listed}"
        if self.flags:
            hints += f". All at once, with your own answers: {shlex.join(self.flags)}"
        raise UsageError(msg, hint=hints)
