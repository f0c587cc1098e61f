"""What a feature means: names, intervals, null rules, words and types. The only place that knows.

Owns the way from the sections of a project file to a `FeatureSet`, and all refusals on that way: unknown columns,
aggregates that a type cannot have, two features of one name, definitions in a circle, columns that would tell the
outcome. It computes nothing; the engines (`batch`, `reference`) take the specs from here.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from fraudctl.errors import DataError, ProjectError
from fraudctl.features import words
from fraudctl.features.graph import CycleError, stages
from fraudctl.features.rowwise import RowExpr, compile_row_sql, wide_dtype
from fraudctl.features.specs import LabelSpec, RawSpec, RecencySpec, RowSpec, Spec, WindowSpec
from fraudctl.project import Project
from fraudctl.project.types import Aggregate

ENGINE_VERSION = 1
"""Part of every digest: raised whenever a definition comes to mean something else."""

NUMERIC_KINDS = frozenset({"sum", "mean", "std", "min", "max"})
WINDOW_KINDS = frozenset({"count", "nunique"}) | NUMERIC_KINDS
LABEL_KINDS = frozenset({"known_count", "fraud_count", "fraud_rate"})
RECENCY_KINDS = frozenset({"seconds_since_last", "seconds_since_first", "seconds_since_last_known_fraud"})
_INT_KINDS = frozenset({"count", "nunique", "known_count", "fraud_count"})


@dataclass(frozen=True)
class Feature:
    """One feature, as every engine and every report understands it.

    Attributes
    ----------
    name
        Its column in the feature table.
    family
        window, labels, recency, column or raw.
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
    """

    name: str
    family: str
    words: str
    entity: str | None
    dtype: str
    interval: str
    nulls: str
    spec: Spec = field(repr=False)


@dataclass(frozen=True)
class FeatureSet:
    """All features of a project.

    Attributes
    ----------
    features
        In the order in which the model gets them.
    stages
        The same names by what has to be known before what.
    carried
        Data columns that the set needs beside roles and entities.
    entities
        The project's entities.
    digest
        SHA-256 of the definitions and of the engine's version.
    """

    features: tuple[Feature, ...]
    stages: tuple[tuple[str, ...], ...]
    carried: list[str]
    entities: tuple[str, ...]
    digest: str

    @property
    def names(self) -> list[str]:
        """Names of all features, in the model's order."""
        return [feature.name for feature in self.features]

    @property
    def categorical(self) -> list[str]:
        """Names of the features that are categories."""
        return [feature.name for feature in self.features if feature.dtype == "category"]

    def __getitem__(self, name: str) -> Feature:
        """Give the feature of that name."""
        return next(feature for feature in self.features if feature.name == name)


def define(project: Project, schema: Mapping[str, pl.DataType]) -> FeatureSet:
    """Give the features that a project asks for.

    Parameters
    ----------
    project
        Its ``[features]``, ``[entities]`` and ``[data]`` are read.
    schema
        Columns and types of the events table, under their raw names.

    Raises
    ------
    ProjectError
        An unknown column, an aggregate that does not exist or that the column's type cannot have, two features of one
        name, definitions in a circle, SQL that is refused, words for a feature that is not there.
    DataError
        A row-level column that does not fit the types of the data.
    """
    columns = usable_columns(project, schema)
    drafts = list(_drafts(project, columns))
    _refuse_clashes(drafts, columns)
    order = _stages(drafts)
    by_name = {draft.name: draft for draft in drafts}
    types = dict(columns)
    for name in (name for stage in order for name in stage):
        by_name[name] = _typed(by_name[name], types, project)
        types[name] = _POLARS[by_name[name].dtype]
    features = tuple(_worded(by_name[draft.name], project) for draft in drafts)
    _refuse_strangers(project, {feature.name for feature in features})
    needed = {need for feature in features for need in feature.spec.needs}
    carried = [name for name in columns if name in needed and name not in {"amount", "event_time", *project.entities}]
    return FeatureSet(features, order, carried, tuple(project.entities), _digest(project, features))


_POLARS: dict[str, pl.DataType] = {
    "int": pl.Int64(), "float": pl.Float64(), "bool": pl.Boolean(), "category": pl.String(),
}  # fmt: skip


def usable_columns(project: Project, schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Give the columns that definitions may use: event_time, amount, the entities, and data columns without a role.

    The label, its time, the event id, ignored columns and the weight are not among them.
    """
    data = project.data
    roles = {data.event_id, data.event_time, data.amount, data.label, data.label_time, data.weight}
    hidden = roles | set(data.ignore) | set(project.entities.values())
    out: dict[str, pl.DataType] = {"event_time": pl.Datetime("us", "UTC")}
    if data.amount is not None:
        out["amount"] = pl.Float64()
    for name, column in project.entities.items():
        if column not in schema:
            msg = f"entities.{name}: no column {column!r} in the data{_near(column, schema)}"
            raise DataError(msg)
        out[name] = pl.Int64() if schema[column].is_numeric() else pl.String()
    taken = {"event_id", "label", "label_time", *out}
    out |= {name: wide_dtype(dtype) for name, dtype in schema.items() if name not in hidden and name not in taken}
    return out


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known) or 'none'}"


# ---------------------------------------------------------------- from sections to drafts


def _drafts(project: Project, columns: Mapping[str, pl.DataType]) -> Iterator[Feature]:
    """Yield the features in the order of the file, without type and words."""
    yield from _raw(project, columns)
    yield from _windows(project, columns)
    yield from _labels(project)
    yield from _recencies(project)
    allowed = [*columns, *(name for name, _ in _named(project))]
    for name, text in project.features.columns.items():
        expr = _compile(
            project, text, allowed=[item for item in allowed if item != name], where=f"features.columns.{name}"
        )
        yield _draft(name, "column", None, RowSpec(expr))


def _draft(name: str, family: str, entity: str | None, spec: Spec) -> Feature:
    return Feature(name, family, "", entity, "", words.interval(spec), words.nulls(spec), spec)


def _raw(project: Project, columns: Mapping[str, pl.DataType]) -> Iterator[Feature]:
    for i, name in enumerate(project.features.raw):
        column = "amount" if name == project.data.amount else name
        if column not in columns or column == "event_time" or column in project.entities:
            usable = [item for item in columns if item != "event_time" and item not in project.entities]
            msg = f"features.raw[{i}]: no column {name!r} that may be a feature{_near(name, usable)}"
            raise ProjectError(msg)
        yield _draft(column, "raw", None, RawSpec(column))


def _named(project: Project) -> Iterator[tuple[str, str]]:
    """Yield name and place of every feature that other definitions may use."""
    features = project.features
    for i, window in enumerate(features.window):
        for entity in window.by:
            for length in window.windows:
                for aggregate in window.aggregates:
                    name = window_name(entity, aggregate, str(length))
                    yield name, f"features.window[{i}]"
    for i, labels in enumerate(features.labels):
        for entity in labels.by:
            for length in labels.windows:
                yield from ((f"{entity}_{item.kind}_{length}", f"features.labels[{i}]") for item in labels.aggregates)
    for i, recency in enumerate(features.recency):
        for entity in recency.by:
            yield from ((f"{entity}_{item.kind}", f"features.recency[{i}]") for item in recency.aggregates)
    yield from ((name, f"features.columns.{name}") for name in features.columns)


def window_name(entity: str, aggregate: Aggregate, window: str) -> str:
    """Name a window feature: ``card_count_1h``, ``card_mean_amount_7d``."""
    parts = [entity, aggregate.kind, *([] if aggregate.column is None else [aggregate.column]), window]
    return "_".join(parts)


def _windows(project: Project, columns: Mapping[str, pl.DataType]) -> Iterator[Feature]:
    known = [*columns, *(name for name, _ in _named(project))]
    for i, section in enumerate(project.features.window):
        place = f"features.window[{i}]"
        for aggregate in section.aggregates:
            _check_aggregate(project, aggregate, WINDOW_KINDS, known, f"{place}.aggregates")
        for entity in section.by:
            for length in section.windows:
                for aggregate in section.aggregates:
                    spec = WindowSpec(
                        entity, length.us, aggregate.kind, _role_name(project, aggregate.column),
                        include_current=section.include_current,
                    )  # fmt: skip
                    yield _draft(window_name(entity, aggregate, str(length)), "window", entity, spec)


def _role_name(project: Project, column: str | None) -> str | None:
    """Give the name under which a raw column is known: its role or entity, where it has one."""
    if column is None:
        return None
    names = {column: name for name, column in project.entities.items()}
    if project.data.amount is not None:
        names[project.data.amount] = "amount"
    return names.get(column, column)


def _check_aggregate(
    project: Project, aggregate: Aggregate, kinds: Collection[str], known: Collection[str], place: str
) -> None:
    if aggregate.kind not in kinds:
        msg = f"{place}: no aggregate {aggregate.kind!r}{_near(aggregate.kind, sorted(kinds))}"
        raise ProjectError(msg)
    takes_column = aggregate.kind in NUMERIC_KINDS or aggregate.kind == "nunique"
    if takes_column != (aggregate.column is not None):
        wanted = f"a column, such as {aggregate.kind}(amount)" if takes_column else f"no column: {aggregate.kind}"
        msg = f"{place}: {str(aggregate)!r}; {aggregate.kind} takes {wanted}"
        raise ProjectError(msg)
    column = aggregate.column
    if column is None:
        return
    as_role = _role_name(project, column)
    if as_role != column and column not in known:
        msg = f"{place}: {str(aggregate)!r}; the column {column!r} is known as {as_role!r} here"
        raise ProjectError(msg, hint=f"write {aggregate.kind}({as_role})")
    if column not in known:
        msg = f"{place}: {str(aggregate)!r}; no column {column!r} that a feature may use{_near(column, known)}"
        raise ProjectError(msg)


def _labels(project: Project) -> Iterator[Feature]:
    for i, section in enumerate(project.features.labels):
        for aggregate in section.aggregates:
            _check_aggregate(project, aggregate, LABEL_KINDS, (), f"features.labels[{i}].aggregates")
        for entity in section.by:
            for length in section.windows:
                for aggregate in section.aggregates:
                    spec = LabelSpec(entity, length.us, aggregate.kind)
                    yield _draft(f"{entity}_{aggregate.kind}_{length}", "labels", entity, spec)


def _recencies(project: Project) -> Iterator[Feature]:
    for i, section in enumerate(project.features.recency):
        for aggregate in section.aggregates:
            _check_aggregate(project, aggregate, RECENCY_KINDS, (), f"features.recency[{i}].aggregates")
        for entity in section.by:
            for aggregate in section.aggregates:
                spec = RecencySpec(entity, aggregate.kind)
                yield _draft(f"{entity}_{aggregate.kind}", "recency", entity, spec)


def _compile(project: Project, text: str, *, allowed: Collection[str], where: str) -> RowExpr:
    """Read SQL; point from a raw column name to the role that it is known by."""
    try:
        return compile_row_sql(text, allowed=allowed, where=where)
    except ProjectError as error:
        roles = {column: name for name, column in project.entities.items()}
        roles |= {project.data.event_time: "event_time"} | (
            {} if project.data.amount is None else {project.data.amount: "amount"}
        )
        for column, name in roles.items():
            if f"no column {column!r}" in error.message:
                raise ProjectError(error.message, hint=f"the column {column!r} is known as {name!r} here") from error
        for column in {project.data.label, project.data.label_time, *project.data.ignore} - {None}:
            if f"no column {column!r}" in error.message:
                raise ProjectError(
                    error.message, hint="it is known only after the outcome, and so never a feature"
                ) from error
        raise


# ---------------------------------------------------------------- checks and types


def _refuse_clashes(drafts: list[Feature], columns: Mapping[str, pl.DataType]) -> None:
    seen: set[str] = set()
    for draft in drafts:
        if draft.name in seen:
            msg = f"features: two features are named {draft.name!r}"
            raise ProjectError(msg, hint="take one of them out, or give it another window or name")
        taken = {"event_id", "label", "label_time", *columns}
        if draft.family != "raw" and draft.name in taken:
            msg = f"features: {draft.name!r} is the name of a feature and of a column of the data"
            raise ProjectError(msg, hint="give the feature another name")
        seen.add(draft.name)


def _stages(drafts: list[Feature]) -> tuple[tuple[str, ...], ...]:
    needs = {draft.name: () if isinstance(draft.spec, RawSpec) else draft.spec.needs for draft in drafts}
    try:
        return stages(needs)
    except CycleError as error:
        msg = f"features: these need each other in a circle: {error}"
        raise ProjectError(msg, hint="a definition may use only what can be computed before it") from error


def _typed(draft: Feature, types: Mapping[str, pl.DataType], project: Project) -> Feature:
    """Find the type of a feature from the types of what it needs."""
    spec = draft.spec
    if isinstance(spec, WindowSpec):
        return replace(draft, dtype=_window_type(draft.name, spec, types))
    if isinstance(spec, LabelSpec):
        return replace(draft, dtype="int" if spec.kind in _INT_KINDS else "float")
    if isinstance(spec, RecencySpec):
        return replace(draft, dtype="float")
    dtype = types[spec.column] if isinstance(spec, RawSpec) else _result_type(spec.expr, types)
    return replace(draft, dtype=_column_type(draft.name, dtype, project))


def _window_type(name: str, spec: WindowSpec, types: Mapping[str, pl.DataType]) -> str:
    if spec.where is not None and _result_type(spec.where, types) != pl.Boolean:
        msg = f"{spec.where.where}: is no condition; expected something that is true or false"
        raise ProjectError(msg)
    if spec.kind in NUMERIC_KINDS and spec.column is not None:
        dtype = types[spec.column]
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            msg = f"features: {name}: {spec.kind}({spec.column}) needs a number, but the column is {dtype}"
            raise ProjectError(msg, hint=f"nunique({spec.column}) counts distinct values of any type")
    return "int" if spec.kind in _INT_KINDS else "float"


def _result_type(expr: RowExpr, types: Mapping[str, pl.DataType]) -> pl.DataType:
    empty = pl.DataFrame(schema={name: types[name] for name in expr.columns})
    return expr.apply(empty).dtype


def _column_type(name: str, dtype: pl.DataType, project: Project) -> str:
    if name in project.features.categorical or (
        name == "amount" and project.data.amount in project.features.categorical
    ):
        return "category"
    if dtype.is_numeric():
        return "float" if dtype.is_float() else "int"
    if dtype == pl.Boolean:
        return "bool"
    hint = (
        f'add "{name}" to [features] categorical'
        if dtype == pl.String
        else "turn it into numbers in [features.columns]"
    )
    msg = f"features: {name!r} is {dtype}; expected a number, a truth value or a category"
    raise ProjectError(msg, hint=hint)


def _worded(feature: Feature, project: Project) -> Feature:
    return replace(feature, words=project.features.words.get(feature.name) or words.meaning(feature.name, feature.spec))


def _refuse_strangers(project: Project, names: set[str]) -> None:
    lists = {"words": list(project.features.words), "protected": list(project.features.protected)}
    for key, used in lists.items():
        for name in used:
            if name not in names:
                msg = f"features.{key}: no feature {name!r}{_near(name, sorted(names))}"
                raise ProjectError(msg)


def _digest(project: Project, features: tuple[Feature, ...]) -> str:
    parts = [f"engine {ENGINE_VERSION}", project.data.timezone]
    parts += [f"{feature.name} {feature.dtype} {_canonical(feature.spec)}" for feature in features]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _canonical(spec: Spec) -> str:
    if isinstance(spec, RowSpec):
        return f"RowSpec {spec.expr.sql}"
    where = getattr(spec, "where", None)
    return f"{spec!r}" if where is None else f"{replace(spec, where=None)!r} where {where.sql}"
