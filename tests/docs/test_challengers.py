"""The page on challengers is true: its session runs and prints what it shows, and its sections can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sessions import blocks_of, printed_by, wrong_in

from fraudctl.project.challengers import ChallengerSection

PAGE = (Path(__file__).parents[2] / "docs" / "challengers.md").read_text(encoding="utf-8")


def test_the_session_prints_what_the_page_shows(tmp_path: Path) -> None:
    blocks = blocks_of(PAGE)
    assert len(blocks) == 1
    assert wrong_in(blocks, printed_by(blocks, tmp_path)) == {}


def test_the_sections_of_the_page_can_be_read_and_every_key_is_told() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    sections = {
        name: ChallengerSection.model_validate(item) for name, item in tomllib.loads(text)["challengers"].items()
    }
    assert set(sections) == {"boosted", "gru", "own"}
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(ChallengerSection.model_fields) <= told
