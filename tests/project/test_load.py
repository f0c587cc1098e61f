"""The project file: strict, all mistakes at once, each with its key path and the nearest valid key."""

from pathlib import Path

import jsonschema
import pytest

from fraudctl.errors import ExitCode, ProjectError
from fraudctl.project import Duration, json_schema, load_project, parse_project

MINIMAL = """
[data]
events = "x.parquet"
event_id = "id"
event_time = "t"
label = "y"
label_delay = "7d"
"""
PATH = Path("fraudctl.toml")
WINDOW = """
[entities]
card = "c"
[[features.window]]
by = "card"
windows = ["1d"]
aggregates = ["count"]
"""


def mistakes(text: str) -> str:
    with pytest.raises(ProjectError) as caught:
        parse_project(text, path=PATH)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint
    return caught.value.message


def test_only_data_is_needed_and_every_other_section_has_a_default() -> None:
    project = parse_project(MINIMAL, path=PATH)
    assert project.data.label_delay == Duration(604_800, "7d")
    assert project.gate is None
    assert list(project.costs.actions) == ["allow", "review", "block"]
    assert project.split.test is None


def test_all_mistakes_come_at_once_with_key_path_and_nearest_key() -> None:
    text = MINIMAL.replace('"7d"', '"7x"') + 'labl_time = "z"\n[spilt]\n[train]\ntrials = -1\n[policy]\nkind = "best"\n'
    message = mistakes(text)
    assert "5 mistakes" in message
    assert "data.label_delay: '7x' is not a duration" in message
    assert "data.labl_time: unknown key; did you mean 'label_time'?" in message
    assert "spilt: unknown key; did you mean 'split'?" in message
    assert "train.trials: " in message
    assert "policy.kind: " in message


@pytest.mark.parametrize("window", ["0d", "1mo", "-1d", "d", "1.5h", ""])
def test_windows_must_be_exact_positive_lengths(window: str) -> None:
    text = (
        MINIMAL
        + f'[entities]\ncard = "c"\n[[features.window]]\nby = "card"\nwindows = ["{window}"]\naggregates = ["count"]\n'
    )
    assert "features.window[0].windows[0]" in mistakes(text)


def test_unknown_key_in_a_list_of_tables_names_its_place() -> None:
    text = MINIMAL + WINDOW + "incude_current = true\n"
    assert "features.window[0].incude_current: unknown key; did you mean 'include_current'?" in mistakes(text)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (WINDOW.replace('by = "card"', 'by = "crad"'), "features.window[0].by: no entity 'crad'; did you mean 'card'?"),
        ("[gate]\nrecal = { at_least = 0.5 }\n", "gate.recal: no metric or key 'recal'; did you mean 'recall'?"),
        ("[gate]\nrecall = { at_leest = 0.5 }\n", "gate.recall.at_leest: unknown key; did you mean 'at_least'?"),
        ("[gate]\nrecall = {}\n", "gate.recall: needs at_least or at_most"),
        ('[[rules]]\nwhen = "amount > 5"\naction = "revew"\n', "rules[0].action: no action 'revew'; did you mean 'rev"),
        ('[features]\ncategorical = ["mcc"]\n', "features.categorical[0]: 'mcc' is neither in features.raw"),
        ('[features]\nraw = ["y"]\n', "features.raw[0]: 'y' is the label"),
        ('[evaluate]\nblock_known = { entity = "card" }\n', "evaluate.block_known.entity: no entity 'card'"),
        ("[costs.actions]\nblock.fraud = { fixed = 1 }\n", "costs: needs the action 'allow'"),
    ],
)  # fmt: skip
def test_what_one_section_says_against_another(extra: str, expected: str) -> None:
    assert expected in mistakes(MINIMAL + extra)


def test_ignored_columns_are_never_features_and_entities_are_where_they_are_listed() -> None:
    text = MINIMAL + 'ignore = ["later"]\n[entities]\ncard = "c"\n[features]\nraw = ["later", "c"]\n'
    message = mistakes(text)
    assert "'later' is in data.ignore" in message
    assert "1 mistake" in message


def test_missing_file_and_broken_toml(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no project file"):
        load_project(tmp_path)
    (tmp_path / "fraudctl.toml").write_text("[data\n")
    with pytest.raises(ProjectError, match="not valid TOML"):
        load_project(tmp_path)
    (tmp_path / "fraudctl.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProjectError, match="UTF-8"):
        load_project(tmp_path / "fraudctl.toml")


def test_json_schema_accepts_what_the_parser_accepts() -> None:
    import tomllib

    text = MINIMAL + "[gate]\nsavings = { at_least = 0.3 }\nconfidence = 0.9\n"
    parse_project(text, path=PATH)
    jsonschema.validate(tomllib.loads(text), json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(MINIMAL + "labl = 1\n"), json_schema())


def test_every_key_of_the_project_file_is_documented() -> None:
    for name, section in json_schema()["$defs"].items():
        for key, entry in section.get("properties", {}).items():
            assert entry.get("description") or "$ref" in str(entry), f"{name}.{key} has no description"


@pytest.mark.parametrize("key", ["by", "windows", "aggregates"])
def test_a_block_of_features_that_would_give_none_is_refused_and_one_value_needs_no_list(key: str) -> None:
    values = {"by": '"card"', "windows": '"7d"', "aggregates": '"count"'}
    block = "".join(f"{name} = {value}\n" for name, value in values.items())
    window = parse_project(
        MINIMAL + "[entities]\ncard = 'c'\n[[features.window]]\n" + block, path=PATH
    ).features.window[0]
    assert (window.by, len(window.windows), len(window.aggregates)) == (("card",), 1, 1)
    with pytest.raises(ProjectError, match=rf"features.window\[0\].{key}: .*at least 1 item"):
        parse_project(
            MINIMAL + "[entities]\ncard = 'c'\n[[features.window]]\n" + block.replace(values[key], "[]"), path=PATH
        )


def test_bounds_of_harm_and_the_calendar() -> None:
    text = MINIMAL + (
        "[monitor.harm]\nrecall = { at_least = 0.6 }\nfraud_loss_bps = { at_most = 12 }\n"
        '[[monitor.incidents]]\nname = "attack"\nstart = 2026-01-05\nuntil = 2026-01-09\n'
        '[[monitor.holidays]]\nname = "New Year"\nday = 2026-01-01\n'
    )
    monitor = parse_project(text, path=PATH).monitor
    assert [(name, limit.at_least, limit.at_most) for name, limit in monitor.harm.limits()] == [
        ("fraud_loss_bps", None, 12.0),
        ("recall", 0.6, None),
    ]
    assert (monitor.incidents[0].name, monitor.holidays[0].day.day) == ("attack", 1)
    with pytest.raises(ProjectError, match="is not after start"):
        parse_project(text.replace("until = 2026-01-09", "until = 2026-01-05"), path=PATH)
    with pytest.raises(ProjectError, match="finite"):
        parse_project(text.replace("at_least = 0.6", "at_least = nan"), path=PATH)
