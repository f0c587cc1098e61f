"""Names that would mean two columns are refused where the project file says them, and welcome where it does not."""

from pathlib import Path

import polars as pl
import pytest

from fraudctl.data.own import COLUMNS
from fraudctl.data.tables import ROLES
from fraudctl.errors import ProjectError
from fraudctl.features.meaning.definition import define
from fraudctl.features.meaning.shadowed import shadowed
from fraudctl.project import Project, parse_project

SCHEMA = {
    "id": pl.String(), "at": pl.Datetime("us", "UTC"), "paid": pl.Float64(), "y": pl.Int64(), "card_id": pl.String(),
    "size": pl.Float64(), "shop_id": pl.String(),
}  # fmt: skip
BASE = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "at"
amount = "paid"
label = "y"
label_delay = "7d"
[entities]
card = "card_id"
[costs.actions]
allow.fraud = { rate = 1.0 }
block.legit = { fixed = 1 }
[features]
raw = ["size"]
[[features.window]]
by = ["card"]
windows = ["1d"]
aggregates = ["count"]
"""
SHADOWS = {name: pl.Int64() for name in ("event_id", "event_time", "amount", "label", "label_time", "card")}
PLACES = {
    "raw": ('raw = ["size"]', 'raw = ["size", "{0}"]'),
    "column": ('raw = ["size"]', 'raw = ["size"]\ncolumns = {{ twice = "size + 0 * {0}" }}'),
    "quoted": ('raw = ["size"]', """raw = ["size"]\ncolumns = {{ twice = 'size + 0 * "{0}"' }}"""),
    "aggregate": ('aggregates = ["count"]', 'aggregates = ["count", "nunique({0})"]'),
    "where": ('aggregates = ["count"]', 'aggregates = ["count"]\nwhere = "{0} > 1"\nname = "some"'),
    "rule": ("[features]", '[[rules]]\nwhen = "{0} > 1"\naction = "block"\n[features]'),
    "segments": ("[features]", '[evaluate]\nsegments = ["{0}"]\n[features]'),
    "gate": ("[features]", '[gate]\n[[gate.segments]]\nby = "{0}"\nmetric = "recall"\nat_least = 0.1\n[features]'),
    "cost": ("fixed = 1", 'column = "{0}"'),
    "weight": ('label_delay = "7d"', 'label_delay = "7d"\nweight = "{0}"'),
}


def parsed(text: str) -> Project:
    return parse_project(text, path=Path("fraudctl.toml"))


def project_with(place: str, name: str, *, ignored: bool = False) -> Project:
    old, new = PLACES[place]
    text = BASE.replace(old, new.format(name), 1)
    if ignored:
        text = text.replace('label_delay = "7d"', f'label_delay = "7d"\nignore = ["{name}"]', 1)
    return parsed(text)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SHADOWS)
def test_a_name_that_would_mean_two_columns_is_refused_wherever_it_stands(place: str, name: str) -> None:
    with pytest.raises(ProjectError, match=f"{name!r} would mean two columns") as caught:
        define(project_with(place, name), {**SCHEMA, **SHADOWS})
    assert caught.value.hint is not None
    assert "ignore" in caught.value.hint


@pytest.mark.parametrize("name", ["amount", "card"])
def test_an_ignored_column_leaves_the_name_to_the_role(name: str) -> None:
    features = define(project_with("aggregate", name, ignored=True), {**SCHEMA, **SHADOWS})
    assert f"card_nunique_{name}_1d" in features.names


def test_columns_that_the_project_file_does_not_name_are_welcome() -> None:
    assert define(parsed(BASE), {**SCHEMA, **SHADOWS}).names == define(parsed(BASE), SCHEMA).names


def test_a_role_that_its_own_column_has_is_not_shadowed() -> None:
    text = BASE.replace('"paid"', '"amount"').replace('"card_id"', '"card"')
    schema = {**SCHEMA, "amount": pl.Float64(), "card": pl.String()}
    assert shadowed(parsed(text), schema) == {}
    assert "amount" in define(parsed(text.replace('["size"]', '["size", "amount"]')), schema).names


@pytest.mark.parametrize("name", sorted(COLUMNS | set(ROLES)))
def test_an_entity_is_never_called_like_a_column_of_fraudctl(name: str) -> None:
    text = BASE.replace("card =", f'"{name}" =').replace('by = ["card"]', f'by = ["{name}"]')
    with pytest.raises(ProjectError, match="column that fraudctl adds"):
        define(parsed(text), SCHEMA)
