"""Sentences of reports: text that is written from typed values and keeps them.

Owns the rule that no number enters a sentence by itself. A function marked `sentence` takes frozen dataclasses (or
texts such as a currency) and refuses bare numbers, lists and dicts. What it returns is a `Sentence`: text that knows
the values it was written from, so that tests recount every one of them from the rows. Documents take sentences, not
strings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, Self

P = ParamSpec("P")


@dataclass(frozen=True)
class SentenceSource:
    """What a sentence was written by and from: the function and its arguments."""

    writer: str
    values: tuple[Any, ...]


class Sentence(str):
    """Text with the values it was written from; a plain text (`fixed`) has none."""

    sources: tuple[SentenceSource, ...]

    def __new__(cls, text: str, sources: tuple[SentenceSource, ...] = ()) -> Self:
        """Return ``text`` with its sources."""
        made = super().__new__(cls, text)
        made.sources = sources
        return made


WRITERS: Final[dict[str, Callable[..., Sentence]]] = {}
"""Name -> function of every `sentence` of the modules that are loaded."""


def sentence(write: Callable[P, str]) -> Callable[P, Sentence]:
    """Make a function from frozen values to text return a `Sentence`.

    >>> @dataclass(frozen=True)
    ... class Missed:
    ...     n: int
    >>> @sentence
    ... def say(item: Missed) -> str:
    ...     return f"{item.n} frauds were missed"
    >>> say(Missed(3)).sources[0].values
    (Missed(n=3),)
    >>> say(3)
    Traceback (most recent call last):
    TypeError: fraudctl.text.sentences.say takes frozen dataclasses and texts; got int
    """
    name = f"{write.__module__}.{write.__qualname__}"

    @wraps(write)
    def written(*args: P.args, **kwargs: P.kwargs) -> Sentence:
        values = (*args, *kwargs.values())
        for value in values:
            _check(name, value)
        return Sentence(write(*args, **kwargs), (SentenceSource(name, values),))

    WRITERS[name] = written
    return written


def _check(name: str, value: object) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check(name, item)
    elif not (value is None or isinstance(value, str) or _frozen(value)):
        msg = f"{name} takes frozen dataclasses and texts; got {type(value).__name__}"
        raise TypeError(msg)


def _frozen(value: object) -> bool:
    return dataclasses.is_dataclass(value) and bool(getattr(value, "__dataclass_params__").frozen)  # noqa: B009


def fixed(text: str) -> Sentence:
    """Return text that holds no figure of a result: a literal of the source."""
    return Sentence(text)


def joined(*parts: Sentence | None, by: str = " ") -> Sentence:
    """Return sentences one after the other, with the sources of all; ``by`` stands between them.

    >>> joined(fixed("One."), None, fixed("Two."))
    'One. Two.'
    """
    kept = [part for part in parts if part]
    return Sentence(by.join(kept), tuple(source for part in kept for source in part.sources))
