"""``models list`` says where the registry and the folders of the models differ."""

from __future__ import annotations

from fraudctl.documents.results import as_object
from fraudctl.workflows.models import ModelEntry, ModelsResult


def test_a_champion_without_a_folder_is_missing() -> None:
    there = tuple(ModelEntry(name, None, None, "thresholds", None, None, False, False, False) for name in ("a", "b"))
    assert not ModelsResult("a", there, ()).champion_missing
    assert not ModelsResult(None, (), ()).champion_missing
    gone = ModelsResult("c", there, ())
    assert gone.champion_missing
    assert as_object(gone)["champion_missing"] is True
