"""The README and the guide to Python are true: commands and Python run, project-file sections parse, links lead on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sessions import ran_once

from fraudctl.project import parse_project

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
DATA = '[data]\nevents = "x"\nevent_id = "i"\nevent_time = "t"\nlabel = "y"\nlabel_delay = "7d"\n'


def blocks(marker: str, page: str = README) -> list[str]:
    return re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the README's commands have run."""
    asked = [line for block in blocks("run") for line in block.splitlines()]
    assert len(asked) > 5
    with ran_once(tmp_path_factory, "readme", asked) as (folder, _):
        yield folder


@pytest.fixture
def workplace(ran: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(ran, tmp_path / "readme"))


def test_commands_run_and_leave_a_model_and_two_reports(workplace: Path) -> None:
    assert len(list((workplace / "payments" / "models").glob("*/model.cbm"))) == 1
    kinds = {path.name.split("-")[0] for path in (workplace / "payments" / "reports").glob("*.html")}
    assert kinds == {"evaluation", "explanation"}


def test_python_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(workplace)
    (block,) = blocks("python")
    exec(block, {})  # noqa: S102 - the page itself
    assert "Estimate(" in capsys.readouterr().out


def test_the_guide_to_python_runs_and_its_results_have_a_view(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    exec("\n".join(blocks("python", GUIDE)), names)  # noqa: S102 - the page itself
    said = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ events, \d+ features, known until 20", said[0])
    assert said[-1].startswith("4 ")
    assert all(len(names[name]._repr_html_()) > 10_000 for name in ("result", "explained"))


def test_project_sections_parse() -> None:
    found = blocks("toml")
    assert len(found) == 2
    for block in found:
        parse_project(DATA + block, path=Path("fraudctl.toml"))


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []
