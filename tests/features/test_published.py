"""The handbook's published features, where its data is at hand."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("FRAUDCTL_HANDBOOK")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "acceptance_published_features.py"


@pytest.mark.skipif(not FOLDER, reason="FRAUDCTL_HANDBOOK does not name the folder with the handbook's data")
def test_published_features_come_out_equal():
    spec = importlib.util.spec_from_file_location("acceptance_published_features", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.compare(Path(FOLDER))
    assert len(result) == 12
    assert all(item["compared"] >= 480_000 and item["differ"] == 0 for item in result.values())
