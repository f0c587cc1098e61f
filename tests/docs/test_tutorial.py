"""The tutorial is true: its commands run in their order, and print what stands below them, figures included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sessions import NUMBER, alike, asked_in, blocks_of, missing, ran_once, wrong_in

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)


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
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[list[str]]]:
    """What each command of the page printed on stdout, in the order of the page."""
    with ran_once(tmp_path_factory, "tutorial", asked_in(BLOCKS)) as (_, printed):
        yield printed


def test_every_command_prints_what_the_page_shows(printed: list[list[str]]) -> None:
    assert len(printed) > 10
    assert wrong_in(BLOCKS, printed) == {}


def test_figures_in_the_text_are_those_that_were_printed(printed: list[list[str]]) -> None:
    shown = {text for block in BLOCKS for text in NUMBER.findall(block)}
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    money = re.findall(r"(\d[\d,]*) EUR", text)
    assert {"17,596", "4,510", "1,286"} <= {*money}
    assert {*money} - shown - {"4", "9"} == set()
