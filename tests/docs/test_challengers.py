"""The page on challengers is true: its session runs and prints what it shows, and its sections can be read."""

from __future__ import annotations

import json
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


SHIPPED = ("LightGBM, defaults", "XGBoost, defaults", "logistic regression", "GRU")


def test_the_measured_figures_are_those_of_the_committed_run() -> None:
    found = json.loads((Path(__file__).parents[2] / "benchmarks/results/models.json").read_text())["sets"]
    wanted = [row for name, item in found.items() for row in rows_of(name, item["models"])]
    assert len(wanted) >= 4 * (len(found) - 1)
    assert [line for line in PAGE.splitlines() if line.startswith(tuple(f"| {name}" for name in found))] == wanted


def rows_of(name: str, models: dict[str, dict[str, object]]) -> list[str]:
    rows = []
    for model, item in models.items():
        gap = item["against_ours"]
        if model not in SHIPPED or not isinstance(gap, dict):
            continue
        words = f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        figures = f"{item['average_precision']:.3f} | {words} | {item['cpu_seconds']:.0f}"
        rows.append(f"| {name} | {models['ours']['average_precision']:.3f} | {model} | {figures} |")
    return rows
