"""Every mistake in a project file is said in the words of TOML, whatever key it is in and whatever stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from fraudctl.errors import ProjectError
from fraudctl.project import parse_project
from fraudctl.project.load import ProjectFile
from fraudctl.project.messages import mistake

PYTHON = re.compile(
    r"Input should|valid (string|integer|number|list|tuple|dictionary|boolean|datetime|date)|instance of|unable to"
    r"|NoneType|\bdict\b|\btuple\b|\bstr\b|Value error|Field required|List should|Tuple should|type=",
)
WRONG: list[Any] = [7, -1, 1.5, True, "", "x", "1mo", [], ["a"], [1], {}, {"zzz": 1}, [["a"]], float("inf"), 10**30]
HEAD = (
    '[data]\nevents = "a"\nevent_id = "i"\nevent_time = "t"\nlabel = "y"\nlabel_delay = "7d"\n[entities]\ncard = "c"\n'
)


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not None:
        for item in get_args(annotation):
            yield from models(item)


def sections(model: type[BaseModel] = ProjectFile, seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in models(field.annotation):
            yield from sections(inner, seen)


@pytest.mark.parametrize("model", list(sections()), ids=lambda model: model.__name__)
def test_no_message_speaks_python(model):
    n_mistakes = 0
    for key in model.model_fields:
        for value in WRONG:
            try:
                model.model_validate({key: value})
            except ValidationError as error:
                for item in error.errors():
                    if item["type"] not in {"missing", "extra_forbidden"}:
                        n_mistakes += 1
                        assert not PYTHON.search(mistake(item)), (key, value, mistake(item))
    assert n_mistakes


def mistakes(text: str) -> list[str]:
    with pytest.raises(ProjectError) as caught:
        parse_project(HEAD + text, path=Path("fraudctl.toml"))
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_a_window_that_is_a_number_is_told_what_a_duration_is():
    window = '[[features.window]]\nby = "card"\naggregates = "count"\nwindows = '
    expected = 'features.window[0].windows[0]: is the whole number 7; expected a duration such as "7d"'
    assert mistakes(f"{window}[7]\n") == mistakes(f"{window}7\n") == [expected]


def test_entities_of_every_family_and_table_are_in_the_list_of_mistakes():
    text = """
[sources.logins]
events = "l"
event_time = "t"
entities = { crd = "x" }
[features]
window = [{ by = "a1", windows = "7d", aggregates = "count" }]
labels = [{ by = "a2", windows = "7d" }]
recency = [{ by = "a3" }]
pairs = [{ of = ["card", "a4"] }]
trend = [{ by = "a5", short = "1d", long = "7d" }]
hours = [{ by = "a6", windows = "7d" }]
links = [{ of = ["a7", "card"] }]
lookup = [{ source = "login", by = "a8", columns = ["x"] }]
"""
    found = mistakes(text)
    for number in range(1, 9):
        assert any(f"no entity 'a{number}'" in line for line in found), number
    assert "sources.logins.entities: no entity 'crd'; did you mean 'card'?" in found
    assert "features.lookup[0].source: no source 'login'; did you mean 'logins'?" in found


def test_a_window_over_a_table_that_lacks_the_entity_is_a_mistake():
    text = """
shop = "s"
[sources.logins]
events = "l"
event_time = "t"
entities = { shop = "x" }
[[features.window]]
source = "logins"
by = "card"
windows = "7d"
aggregates = "count"
"""
    assert mistakes(text) == ["features.window[0].by: [sources.logins] has no entity 'card'; expected one of shop"]
