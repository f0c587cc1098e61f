"""``models list`` says where the registry and the folders of the models differ."""

from __future__ import annotations

from fraudctl.workflows.models import ModelsResult


def test_a_champion_without_a_folder_is_missing() -> None:
    there = ({"version": "a"}, {"version": "b"})
    assert not ModelsResult("a", there, ()).champion_missing
    assert not ModelsResult(None, (), ()).champion_missing
    gone = ModelsResult("c", there, ())
    assert gone.champion_missing
    assert gone.to_dict()["champion_missing"] is True
