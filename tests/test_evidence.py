"""What a verdict rests on: the places of the data are part of it, and events that went missing are counted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fraudctl import registry
from fraudctl.monitor.harm import PromisedSavings
from fraudctl.project import parse_project
from fraudctl.workflows.evidence import events_between, promised_savings, section_digests

TEXT = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
label = "y"
label_delay = "7d"
[costs.actions]
allow.fraud = { fixed = 5 }
block.legit = { fixed = 1 }
"""


def test_other_data_and_other_costs_change_the_digest_of_their_section_alone() -> None:
    before = section_digests(parse_project(TEXT, path=Path("fraudctl.toml")))
    for old, new, section in (("x.parquet", "easy.parquet", "data"), ("fixed = 5", "fixed = 6", "costs")):
        after = section_digests(parse_project(TEXT.replace(old, new), path=Path("fraudctl.toml")))
        assert {name for name in before if before[name] != after[name]} == {section}


def test_events_of_a_period_hold_its_start_and_not_its_end() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({"event_time": [start + timedelta(days=day) for day in range(5)]})
    assert events_between(frame, start, start + timedelta(days=3)) == 3


@pytest.mark.parametrize(("known", "value"), [(True, 0.61), (False, None)])
def test_savings_at_promotion_are_those_of_the_gate_before_it(tmp_path: Path, known: bool, value: float | None) -> None:
    project = parse_project(TEXT, path=tmp_path / "fraudctl.toml")
    models, now = project.models_dir, datetime(2026, 1, 1, tzinfo=UTC)
    (models / "a").mkdir(parents=True)
    (models / "a" / "manifest.json").write_text("{}")
    decided = pl.DataFrame({"model": ["b", "a", None]}, schema={"model": pl.String})

    def gate(savings: float) -> None:
        found = {"savings": {"value": savings, "se": 0.02, "base": "block"}} if known else {}
        evidence = {"not_own": [], "sections": {}, **found}
        registry.record_gate(
            models, "a", verdict="pass", reason="good", compared_with=None, now=now, by="ci", evidence=evidence
        )

    gate(0.61)
    assert promised_savings(project, decided["model"]) is None  # judged, and not promoted
    registry.promote(models, "a", now=now, by="ci", sections={})
    gate(0.99)  # later gates are no promise
    found = promised_savings(project, decided["model"])
    assert found == (PromisedSavings("a", value, 0.02, "block") if known else PromisedSavings("a", None))
    assert promised_savings(project, decided["model"].head(1)) is None
    assert promised_savings(project, decided["model"].tail(1)) is None
