from __future__ import annotations

import re
from pathlib import Path

import pytest

import fraudctl.sample

ROOT = Path(__file__).parents[2]
PAGES = ("docs/sample.md", "sample_data/README.md")


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})  # noqa: S102
    assert capsys.readouterr().out


def test_every_module_is_described() -> None:
    text = (ROOT / "docs/sample.md").read_text()
    modules = {file.name for file in Path(fraudctl.sample.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert modules == set(re.findall(r"`(\w+\.py)`", text))
