"""What a feature means: names, intervals, null rules, words and types. The only place that knows.

Owns the way from a project file to a `FeatureSet`, and the refusals on that way: aggregates that a type cannot have,
two features of one name, definitions in a circle, columns that would tell the outcome. It computes nothing; the engines
(`batch`, `reference`) take the specs from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from fraudctl.data import identities
from fraudctl.data.labels import LabelRule
from fraudctl.data.own import COLUMNS, inside, outside
from fraudctl.errors import DataError, ProjectError
from fraudctl.features.meaning.families.base import Draft, Spec, Types, is_column
from fraudctl.features.meaning.frozen import data_text, labels_text, source_text
from fraudctl.features.meaning.graph import CycleError, stages
from fraudctl.features.meaning.near import near
from fraudctl.features.meaning.sections import drafts
from fraudctl.features.meaning.shadowed import refuse_two_meanings
from fraudctl.features.rows.read import wide_dtype
from fraudctl.project import Project
from fraudctl.project.sources import SourceSection
from fraudctl.text.plain import shown
from fraudctl.weights import weight_columns

ENGINE_VERSION = 1
"""Part of every digest: raised whenever a definition comes to mean something else."""

POLARS_TYPES: dict[str, pl.DataType] = {
    "int": pl.Int64(), "float": pl.Float64(), "bool": pl.Boolean(), "category": pl.String(),
}  # fmt: skip
"""A feature's dtype -> the type of its column."""


@dataclass(frozen=True)
class Feature:
    """One feature, as every engine and every report understands it.

    Attributes
    ----------
    name
        Its column in the feature table.
    family
        window, labels, recency, pairs, trend, hours, links, lookup, column or raw.
    words
        What it means, in plain words; reports and reason codes use them.
    entity
        Whose history it looks at, or None.
    dtype
        int (Int64), float (Float64), category (String) or bool (Boolean).
    interval
        Which instants it takes in, t being the event's time.
    nulls
        When it is null.
    spec
        What the engines compute.
    hidden
        Whether it only serves others, and is no feature of the model.
    """

    name: str
    family: str
    words: str
    entity: str | None
    dtype: str
    interval: str
    nulls: str
    spec: Spec = field(repr=False)
    hidden: bool = False

    def describe(self) -> dict[str, str | None]:
        """Return what ``features --describe`` and a bundle say about it."""
        kept = ("name", "family", "words", "entity", "dtype", "interval", "nulls")
        return {key: getattr(self, key) for key in kept}

    @property
    def is_column(self) -> bool:
        """Whether it is a column of the data as it is."""
        return is_column(self.name, self.spec)


@dataclass(frozen=True)
class FeatureSet:
    """All features of a project.

    Attributes
    ----------
    features
        In the order in which the model gets them.
    steps
        The same and the hidden ones that they are built on.
    stages
        Names of all steps, by what has to be known before what.
    carried
        Data columns that the set needs besides roles and entities.
    entities
        The project's entities.
    digest
        SHA-256 of the definitions, of ``[data]`` and ``[entities]`` (but for the place of the events), and of the
        engine's version.
    sources
        Other tables, and the columns that the set needs of them besides times and entities.
    types
        The types of event_time, amount, the entities and the carried columns: of the events under ``""``, of
        each other table under its name.
    labels
        How labels in tables of their own are read; None where they are a column.
    """

    features: tuple[Feature, ...]
    steps: tuple[Feature, ...]
    stages: tuple[tuple[str, ...], ...]
    carried: list[str]
    entities: tuple[str, ...]
    digest: str
    sources: Mapping[str, list[str]] = field(default_factory=dict)
    types: Mapping[str, Mapping[str, pl.DataType]] = field(default_factory=dict)
    labels: LabelRule | None = None

    @property
    def names(self) -> list[str]:
        """Names of all features, in the model's order."""
        return [feature.name for feature in self.features]

    @property
    def categorical(self) -> list[str]:
        """Names of the features that are categories."""
        return [feature.name for feature in self.features if feature.dtype == "category"]

    def is_text(self, name: str) -> bool:
        """Say whether a feature, or a carried column of the events, is a text."""
        step = next((step for step in self.steps if step.name == name), None)
        return self.types.get("", {}).get(name) == pl.String if step is None else step.dtype == "category"

    def __getitem__(self, name: str) -> Feature:
        """Return the feature, or hidden step, of that name."""
        return next(feature for feature in self.steps if feature.name == name)


@dataclass(frozen=True)
class SourceTable:
    """Another table: its section of the project file, and the columns and types that it has."""

    section: SourceSection
    schema: Mapping[str, pl.DataType]


def define(
    project: Project, schema: Mapping[str, pl.DataType], *, sources: Mapping[str, SourceTable] | None = None
) -> FeatureSet:
    """Return the features that a project asks for.

    Parameters
    ----------
    project
        Its ``[features]``, ``[entities]`` and ``[data]`` are read.
    schema
        Columns and types of the events table, under their raw names.
    sources
        The other tables of ``[sources]``.

    Raises
    ------
    ProjectError
        An unknown column or entity, an aggregate that does not exist or that the column's type cannot have, two
        features of one name, definitions in a circle, SQL that is refused, words for a feature that is not there, a
        name that would mean two columns.
    DataError
        A row-level column that does not fit the types of the data.
    """
    refuse_two_meanings(project, schema)
    columns = usable_columns(project, schema)
    others = {name: usable_source_columns(project, name, table, columns) for name, table in (sources or {}).items()}
    planned = drafts(project, list(columns), others)
    _refuse_clashes(planned, columns)
    order = _stages(planned)
    dtypes = _dtypes(planned, order, columns, others, project)
    specs = {draft.name: draft.spec for draft in planned}
    steps = tuple(_feature(draft, dtypes[draft.name], specs, project) for draft in planned)
    features = tuple(step for step in steps if not step.hidden)
    _refuse_strangers(project, steps)
    needed = {name for step in steps for name in step.spec.reads}
    carried = [name for name in columns if name in needed and name not in {"amount", "event_time", *project.entities}]
    used = {name: _source_columns(name, steps, list(project.entities)) for name in others}
    digest = _digest(project, steps, sources or {})
    kept = {"event_time", "amount", *project.entities, *carried}
    held = {"": {name: dtype for name, dtype in columns.items() if name in kept}}
    for name, found in others.items():
        held[name] = {column: dtype for column, dtype in found.items() if column in {*kept, *used[name]}}
    tables = project.labels
    rule = LabelRule(tables.by_silence, tables.declined is not None) if tables.tables else None
    return FeatureSet(features, steps, order, carried, tuple(project.entities), digest, used, held, rule)


def _source_columns(source: str, steps: tuple[Feature, ...], entities: list[str]) -> list[str]:
    used = {column for step in steps for column in step.spec.source_reads.get(source, ())}
    return sorted(used.difference(entities, ["event_time"]))


def usable_source_columns(
    project: Project, name: str, table: SourceTable, columns: Mapping[str, pl.DataType]
) -> dict[str, pl.DataType]:
    """Return the columns of another table that definitions may use: event_time, entities, and all without a role."""
    section = table.section
    out: dict[str, pl.DataType] = {"event_time": pl.Datetime("us", "UTC")}
    made, columns_of = identities.made_in_source(project, name), identities.source_columns(project, name)
    for entity in section.entities:
        if entity not in project.entities:
            msg = f"sources.{name}.entities: no entity {entity!r}{near(entity, list(project.entities))}"
            raise ProjectError(msg)
        _require_columns(columns_of[entity], table.schema, f"sources.{name}.entities.{entity}")
        out[entity] = _id_type(entity, columns_of, made, table.schema)
        if out[entity] != columns[entity]:
            msg = f"sources.{name}: entity {entity!r} is {out[entity]} there and {columns[entity]} in the events"
            raise DataError(msg, hint="write both as integers or both as text")
    roles = {section.event_time, section.known_time, *identities.flat(_plain_ids(columns_of, made)), *out}
    return out | {column: wide_dtype(dtype) for column, dtype in table.schema.items() if column not in roles}


def usable_columns(project: Project, schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return the columns that definitions may use: event_time (if the data have one), amount, entities, data columns.

    The label, its time, the event id, ignored columns, weights and the control group are not among them.
    """
    data = project.data
    weights = map(outside, weight_columns(project))
    roles = {data.event_id, data.event_time, data.amount, data.label, data.label_time, *weights}
    made, columns_of = identities.made_ids(project), identities.event_columns(project)
    ids = set(identities.flat(_plain_ids(columns_of, made))) - set(map(outside, project.features.raw))
    not_usable = roles | set(data.ignore) | ids
    out: dict[str, pl.DataType] = {"event_time": pl.Datetime("us", "UTC")} if data.has_time else {}
    if data.amount is not None:
        out["amount"] = pl.Float64()
    for name, names in columns_of.items():
        _require_columns(names, schema, f"entities.{name}")
        out[name] = _id_type(name, columns_of, made, schema)
    taken = {"event_id", "event_time", "label", "label_time", *out}
    usable = [item for item in schema.items() if item[0] not in not_usable and item[0] not in taken]
    found = {inside(name): wide_dtype(dtype) for name, dtype in usable}
    if len(found) < len(usable):
        twice = sorted(name for name, _ in usable if inside(name) != name and inside(name) in schema)
        both = f"{shown(twice[0])} and one called {shown(inside(twice[0]))}"
        msg = f"the data have a column {both}, which means the same here"
        raise DataError(msg, hint="rename one of them, or name it in [data] ignore")
    return out | found


def _require_columns(names: Sequence[str], schema: Mapping[str, pl.DataType], where: str) -> None:
    for name in names:
        if name not in schema:
            msg = f"{where}: no column {shown(name)} in the data{near(name, list(schema))}"
            raise DataError(msg)


def _id_type(
    name: str,
    columns: Mapping[str, Sequence[str]],
    made: Mapping[str, identities.Made],
    schema: Mapping[str, pl.DataType],
) -> pl.DataType:
    """Return the type of an entity's ids; made ones are text."""
    if name in made:
        made[name].check(schema)
        return pl.String()
    return pl.Int64() if schema[columns[name][0]].is_numeric() else pl.String()


def _plain_ids(columns: Mapping[str, Sequence[str]], made: Mapping[str, identities.Made]) -> dict[str, Sequence[str]]:
    """Return the columns that hold the ids of an entity as they are."""
    return {name: names for name, names in columns.items() if name not in made}


def _refuse_clashes(planned: list[Draft], columns: Mapping[str, pl.DataType]) -> None:
    taken = {"event_id", "label", "label_time", *columns}
    seen: set[str] = set()
    for draft in planned:
        if draft.name in COLUMNS:
            msg = f"features: {draft.name!r} is the name of a column that fraudctl adds to tables"
            raise ProjectError(msg, hint="give the feature another name")
        if draft.name in seen:
            msg = f"features: two features are named {draft.name!r}"
            raise ProjectError(msg, hint="take one of them out, or give it another window or name")
        if draft.name in taken and not is_column(draft.name, draft.spec):
            msg = f"features: {shown(draft.name)} is the name of a feature and of a column of the data"
            raise ProjectError(msg, hint="give the feature another name")
        seen.add(draft.name)


def _stages(planned: list[Draft]) -> tuple[tuple[str, ...], ...]:
    try:
        return stages({draft.name: draft.spec.needs for draft in planned})
    except CycleError as error:
        msg = f"features: these need each other in a circle: {error}"
        raise ProjectError(msg, hint="a definition may use only what can be computed before it") from error


# ---------------------------------------------------------------- types and words


def _dtypes(
    planned: list[Draft],
    order: tuple[tuple[str, ...], ...],
    columns: Mapping[str, pl.DataType],
    sources: Mapping[str, Mapping[str, pl.DataType]],
    project: Project,
) -> dict[str, str]:
    """Return the type of each feature, found from the types of what it needs."""
    categorical = frozenset("amount" if item == project.data.amount else item for item in project.features.categorical)
    known = dict(columns)
    types = Types(known, sources, categorical)
    specs = {draft.name: draft.spec for draft in planned}
    out: dict[str, str] = {}
    for name in (name for stage in order for name in stage):
        out[name] = specs[name].dtype(name, types)
        known[name] = POLARS_TYPES[out[name]]
    return out


def _feature(draft: Draft, dtype: str, specs: Mapping[str, Spec], project: Project) -> Feature:
    spec = draft.spec
    words = project.features.words.get(draft.name) or spec.meaning(draft.name, specs)
    hidden = draft.name in project.features.hidden or draft.name.startswith(".")
    return Feature(draft.name, draft.family, words, draft.entity, dtype, spec.interval, spec.nulls, spec, hidden)


def _refuse_strangers(project: Project, steps: tuple[Feature, ...]) -> None:
    section = project.features
    names = [step.name for step in steps if not step.name.startswith(".")]
    for key, used in (("words", section.words), ("protected", section.protected), ("hidden", section.hidden)):
        for name in used:
            if name not in names:
                msg = f"features.{key}: no feature {name!r}{near(name, sorted(names))}"
                raise ProjectError(msg)


def _digest(project: Project, steps: tuple[Feature, ...], sources: Mapping[str, SourceTable]) -> str:
    parts = [f"engine {ENGINE_VERSION}", data_text(project.data), repr(dict(project.entities))]
    parts += [f"{name} {source_text(table.section)}" for name, table in sorted(sources.items())]
    parts += [labels_text(project.labels)] if project.labels.tables else []
    parts += [f"{step.name} {step.dtype} {step.hidden} {step.spec.text}" for step in steps]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def redefined(one: FeatureSet, other: FeatureSet, names: Sequence[str]) -> list[str]:
    """Return the features that another set lacks or defines otherwise, or that are built on such.

    Parameters
    ----------
    one, other
        Sets of projects with the same ``[data]``, ``[entities]`` and ``[sources]``.
    names
        Features of ``one``.
    """
    steps = [{step.name: step for step in found.steps} for found in (one, other)]
    same: dict[str, bool] = {}

    def alike(name: str) -> bool:
        if name not in same:
            a, b = steps[0].get(name), steps[1].get(name)
            same[name] = a is b is None  # a column of the data
            if a is not None and b is not None:
                own = (a.dtype, a.spec.text) == (b.dtype, b.spec.text)
                same[name] = own and all(alike(need) for need in a.spec.needs)
        return same[name]

    return [name for name in names if not alike(name)]
