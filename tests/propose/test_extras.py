"""Further features: proposed where columns allow them, active only where a later period says that they pay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.project import load_project, parse_project
from fraudctl.propose import Flags
from fraudctl.propose.extras import NOT_MEASURED, Extra, places
from fraudctl.propose.profile import open_table
from fraudctl.workflows import measure
from fraudctl.workflows.definitions import load_definitions
from fraudctl.workflows.features import build_features
from fraudctl.workflows.init import InitResult, init_project

N, CARDS = 3_000, 100


def events() -> pl.DataFrame:
    """Events of 100 cards at home, in one place each; frauds are elsewhere. Amounts and gaps say nothing."""
    rng = np.random.default_rng(2)
    card = rng.integers(0, CARDS, N)
    fraud = rng.random(N) < 0.08
    home = rng.uniform(-40, 40, (CARDS, 2))
    at = home[card] + rng.normal(0, 0.2, (N, 2)) + fraud[:, None] * rng.choice([-9.0, 9.0], (N, 2))
    seconds = np.sort(rng.integers(0, 80 * 86_400, N))
    return pl.DataFrame({
        "txn_id": [f"T{i}" for i in range(N)],
        "created_at": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(s)) for s in seconds],
        "card_id": [f"C{c}" for c in card],
        "device_id": [f"D{d}" for d in rng.integers(0, 150, N)],
        "amount": rng.gamma(2, 30, N).round(2),
        "channel": rng.choice(["web", "app", "pos"], N),
        "lat": at[:, 0].round(5), "long": at[:, 1].round(5),
        "is_fraud": fraud.astype(int),
    })  # fmt: skip


def init(folder: Path, **more: bool) -> InitResult:
    flags = Flags(label_delay="3d")
    return init_project([str(folder / "e.parquet")], place=folder / "fraudctl.toml", flags=flags, force=True, **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events().write_parquet(tmp_path / "e.parquet")
    return tmp_path


def by_family(found: InitResult) -> dict[str, Extra]:
    return {item.family: item for item in found.proposal.extras}


def test_lines_are_comments_until_they_are_measured_and_can_be_taken_in(folder: Path) -> None:
    found = init(folder)
    assert set(by_family(found)) == {"habits", "spacing", "decay", "geo", "links"}
    assert {item.reason for item in found.proposal.extras} == {NOT_MEASURED}
    names = {item.name for item in load_definitions(load_project(folder)).features.features}
    text = (folder / "fraudctl.toml").read_text()
    taken = set()
    for item in found.proposal.extras:
        block = "\n".join(f"# {line}" for line in item.lines)
        assert block in text
        text = text.replace(block, "\n".join(item.lines))
        taken.add(item.family)
    project = parse_project(text, path=folder / "fraudctl.toml")
    more = [item for item in load_definitions(project).features.features if item.name not in names]
    assert {item.family for item in more} == taken
    assert len(more) == sum(item.n_features for item in found.proposal.extras)


@pytest.mark.parametrize("column", ["Fee (EUR) %", " channel ", '"channel"', "Länder-Code", "share(channel)"])
def test_lines_can_be_taken_in_whatever_a_column_is_called(column: str, folder: Path) -> None:
    def shares(name: str) -> dict[str, list[float | None]]:
        events().rename({"channel": name}).write_parquet(folder / "e.parquet")
        found = init(folder)
        text = (folder / "fraudctl.toml").read_text()
        lines = by_family(found)["habits"].lines
        text = text.replace("\n".join(f"# {line}" for line in lines), "\n".join(lines))
        table = build_features(parse_project(text, path=folder / "fraudctl.toml")).frame
        return {each.replace(name, "channel"): table[each].to_list() for each in table.columns if name in each}

    found = shares(column)
    assert any("share" in name for name in found)
    assert found == shares("channel")


def test_what_pays_in_later_periods_is_taken_in_and_what_does_not_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "TREES", 40)
    found = init(folder, measure=True)
    extras = by_family(found)
    assert extras["geo"].active
    assert extras["geo"].reason.startswith("average precision +0.")
    assert not extras["spacing"].active
    assert extras["spacing"].reason.endswith("not surely more")
    features = load_definitions(load_project(folder)).features.features
    names = [item.name for item in features]
    assert any(name.startswith("card_distance_from_last_") for name in names)
    assert not any("min_gap" in name for name in names)
    assert found.proposal.n_features == len(names)


def test_few_frauds_and_large_data_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "FEW_FRAUDS", 10_000)
    monkeypatch.setattr(measure, "MOST_EVENTS", 1_000)
    reasons = {item.reason for item in init(folder, measure=True).proposal.extras}
    assert len(reasons) == 1
    assert reasons.pop().endswith("frauds, too few to tell, on one card in 3")


def test_places_are_pairs_of_degrees() -> None:
    frame = pl.DataFrame({
        "lat": [50.1, -33.9], "lon": [8.6, 151.2], "merch_latitude": [50.2, 12.0], "merch_longitude": [8.7, 13.5],
        "home_lat": [1.5, 2.5], "plate_lat": [900.5, 3.0], "plate_lon": [8.6, 9.1],
        "zip_lat": [1, 2], "zip_lon": [3, 4],
    })  # fmt: skip
    found = places(open_table(frame.lazy(), place="x"), set())
    assert found == {(): ("lat", "lon"), ("merch",): ("merch_latitude", "merch_longitude")}
