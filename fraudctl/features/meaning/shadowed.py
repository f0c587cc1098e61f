"""Names that would mean two columns: a column of the data called like a role or an entity that another column has.

Owns the rule for them. Behind `tables`, the columns with a role are known as ``event_id``, ``event_time``, ``amount``,
``label`` and ``label_time``, and the ids of entities under the entities' names. A column of the data with such a name
that does not have this role is not used under it: where the project file says the name, the file is refused, because
either column could be meant. Data that hold such a column unused are welcome.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from fraudctl.data.own import COLUMNS, outside
from fraudctl.data.tables import ROLES
from fraudctl.errors import ProjectError
from fraudctl.features.rows.read import words_of
from fraudctl.weights import weight_columns

if TYPE_CHECKING:
    from fraudctl.project import Project


def refuse_two_meanings(project: Project, schema: Collection[str]) -> None:
    """Raise where the project file says a name that would mean two columns.

    Parameters
    ----------
    schema
        Columns of the events table, under their raw names.

    Raises
    ------
    ProjectError
        An entity is called like a role or like a column that fraudctl adds; or a feature, cost, rule, segment or weight
        names a column of the data that is called like a role or an entity that another column has.
    """
    if own := sorted((COLUMNS | set(ROLES)) & set(project.entities)):
        msg = f"entities.{own[0]}: is the name of a column that fraudctl adds to tables"
        raise ProjectError(msg, hint="give the entity another name")
    meanings = shadowed(project, schema)
    for where, name in _named(project) if meanings else ():
        if name in meanings:
            msg = f"{where}: {name!r} would mean two columns: {meanings[name]}, and the column {name!r} of the data"
            hint = "rename the column in the data, or name it in [data] ignore where it is not the one that is meant"
            raise ProjectError(msg, hint=hint)


def shadowed(project: Project, schema: Collection[str]) -> dict[str, str]:
    """Return columns of the data that are called like a role or an entity which they do not have: name -> that role."""
    data = project.data
    columns = (data.event_id, data.event_time, data.amount, data.label, data.label_time)
    stand = {role: (column, f"[data] {role}") for role, column in zip(ROLES, columns, strict=True)}
    if data.amount is None:  # the only role that does not exist where it is not given
        del stand["amount"]
    stand |= {name: (key.column or None, f"the entity {name!r}") for name, key in project.entities.items()}
    return {
        name: what
        for name, (column, what) in stand.items()
        if name != column and name in schema and name not in data.ignore
    }


def _named(project: Project) -> Iterator[tuple[str, str]]:
    """Yield every place of the project file that names columns, and each name there as the data have it."""
    features = project.features
    yield from ((f"features.raw[{index}]", outside(name)) for index, name in enumerate(features.raw))
    expressions = [(f"features.columns.{name}", text) for name, text in features.columns.items()]
    for index, section in enumerate(features.window):
        place = f"features.window[{index}]"
        if section.source is not None:
            continue
        expressions += [(f"{place}.where", section.where)] if section.where is not None else []
        yield from ((f"{place}.aggregates", item.column) for item in section.aggregates if item.column is not None)
    for place, text in [*expressions, *project.expressions]:
        yield from ((place, name) for name in words_of(text, where=place))
    for action, cells in project.costs.actions.items():
        named = [(f"costs.actions.{action}", cell.column) for cell in (cells.fraud, cells.legit)]
        yield from ((place, column) for place, column in named if column is not None)
    yield from (("evaluate.segments or gate.segments", outside(name)) for name in project.segment_columns)
    yield from (("data.weight, exposure_prob or control_group", outside(name)) for name in weight_columns(project))
