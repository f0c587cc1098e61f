"""Reading ``fraudctl.toml`` into a frozen Project, with every mistake in one error.

Owns the meaning of the file as a whole: unknown keys with their nearest valid neighbour, and references between
sections. It does not look at any data.
"""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError

from fraudctl.catalogue import metric, metric_names
from fraudctl.data.own import inside, outside
from fraudctl.disk import shared, stores
from fraudctl.documents.types import JsonObject
from fraudctl.errors import ProjectError
from fraudctl.normal import lake
from fraudctl.project.card import CardSection
from fraudctl.project.challengers import ChallengerName, ChallengerSection
from fraudctl.project.data import DataSection
from fraudctl.project.decisions import SEGMENTS, CostsSection, PolicySection, RuleSection
from fraudctl.project.entities import EntityKey
from fraudctl.project.evaluation import EvaluateSection, GateSection
from fraudctl.project.features import FeaturesSection
from fraudctl.project.labels import LabelTablesSection
from fraudctl.project.messages import mistake
from fraudctl.project.monitor import MonitorSection
from fraudctl.project.sources import SourceSection
from fraudctl.project.storage import StorageSection
from fraudctl.project.stream import StreamSection
from fraudctl.project.training import SplitSection, TrainSection
from fraudctl.project.types import Section

FILE_NAME = "fraudctl.toml"


class NameSection(Section):
    """``[project]``: what reports call it."""

    name: str = "fraud-model"
    """Name printed in reports and written into bundles."""


class ProjectFile(Section):
    """The whole of ``fraudctl.toml``."""

    project: NameSection = NameSection()
    data: DataSection
    entities: dict[str, EntityKey] = Field(default_factory=dict)
    """Entity name -> column with its id: who or what has a history (card, customer, merchant, device). Or
    { columns = ["card1", "addr1"] }, which name it together, or { sql = "substr(card_number, 1, 6)" } of one row."""
    sources: dict[str, SourceSection] = Field(default_factory=dict)
    """Source name -> another table whose rows are used as of the event (logins, sessions, account changes)."""
    labels: LabelTablesSection = LabelTablesSection()
    features: FeaturesSection = FeaturesSection()
    split: SplitSection = SplitSection()
    train: TrainSection = TrainSection()
    challengers: dict[ChallengerName, ChallengerSection] = Field(default_factory=dict)
    """Challenger name -> a model from elsewhere, trained on the same folds with `fraudctl train --challenger NAME`."""
    costs: CostsSection = CostsSection()
    policy: PolicySection = PolicySection()
    rules: tuple[RuleSection, ...] = ()
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection | None = None
    monitor: MonitorSection = MonitorSection()
    stream: StreamSection | None = None
    storage: StorageSection = StorageSection()
    card: CardSection = CardSection()


class Project(ProjectFile):
    """A project file that has been read and found consistent, and where it stands."""

    path: Path
    """The file itself; all paths in it are relative to its folder."""
    text: str
    """Its text, byte for byte, as it goes into bundles."""

    @property
    def root(self) -> Path:
        """The folder that all paths of the project are relative to."""
        return self.path.parent

    @property
    def cache_dir(self) -> Path:
        """Where built features and tuning journals are kept."""
        return self.root / ".fraudctl"

    @property
    def models_dir(self) -> Path:
        """Where bundles are kept; where they are shared, those that are missing here are fetched first."""
        shared.fetch(self.root / "models")
        return self.root / "models"

    @property
    def runs_dir(self) -> Path:
        """Where the receipts of retraining are kept."""
        return self.root / "runs"

    @property
    def reports_dir(self) -> Path:
        """Where reports are kept."""
        return self.root / "reports"

    @property
    def segment_columns(self) -> list[str]:
        """The columns that the evaluation is split by, each once."""
        gated = [rule.by for rule in self.gate.segments] if self.gate is not None else []
        return list(dict.fromkeys([*self.evaluate.segments, *gated]))

    @property
    def expressions(self) -> list[tuple[str, str]]:
        """The row-level expressions of rules and policy: where each stands, and its text."""
        found = [(f"rules[{index}].when", rule.when) for index, rule in enumerate(self.rules)]
        return found if self.policy.segments is None else [*found, (SEGMENTS, self.policy.segments)]


def find_project(place: Path | str) -> Path:
    """Give the project file at ``place``, a file or the folder that holds one."""
    place = Path(place)
    path = place / FILE_NAME if place.is_dir() else place
    if not path.is_file():
        msg = f"no project file at {path}"
        raise ProjectError(msg, hint="`fraudctl init DATA` writes one; or name it with --project PATH")
    return path.resolve()


def load_project(place: Path | str) -> Project:
    """Read the project file at ``place`` (a file or a folder).

    Raises
    ------
    ProjectError
        The file is missing, is not TOML, or has mistakes; the message lists all of them with their key paths.
    """
    path = find_project(place)
    lake.begin()
    try:
        text = path.read_bytes().decode("utf-8")  # ends of lines stay as they are: bundles keep the text
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as UTF-8 text: {type(error).__name__}"
        raise ProjectError(msg) from error
    project = parse_project(text, path=path)
    storage = project.storage
    settings = stores.Settings(storage.endpoint, storage.region, storage.profile)
    stores.begin(settings, project.cache_dir / "objects")
    shared.begin(project.root / "models", storage.models)
    return project


def parse_project(text: str, *, path: Path) -> Project:
    """Parse the text of a project file that stands, or shall stand, at ``path``; raises as `load_project` does."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ProjectError(msg) from error
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else "a number or a date is out of range"
        msg = f"{path} is not valid TOML: {what}"
        raise ProjectError(msg) from error
    try:
        parsed = ProjectFile.model_validate(tree)
    except ValidationError as error:
        problems = list({_key_path(tuple(item["loc"])): _describe(item) for item in reversed(error.errors())}.values())
        problems.reverse()
    else:
        problems = list(_contradictions(parsed))
        if not problems:
            return Project.model_construct(path=path, text=text, **dict(parsed))
    listed = "\n".join(f"  {problem}" for problem in problems)
    count = f"{len(problems)} mistake" + ("s" if len(problems) > 1 else "")
    msg = f"{path} has {count}:\n{listed}"
    raise ProjectError(msg, hint="`fraudctl schema` prints every key with its meaning")


def json_schema() -> JsonObject:
    """Return the JSON Schema of ``fraudctl.toml``, for editors."""
    schema = ProjectFile.model_json_schema()
    gate = schema["$defs"]["GateSection"]
    gate["additionalProperties"] = {"$ref": "#/$defs/LimitSection"}
    gate["properties"].pop("metrics")
    labels = schema["$defs"]["LabelTablesSection"]
    labels["additionalProperties"] = {"$ref": "#/$defs/LabelTableSection"}
    labels["properties"].pop("tables")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": FILE_NAME}


def _describe(item: Any) -> str:
    """Say one pydantic error as: key path, what was got, what was expected."""
    loc = tuple(item["loc"])
    path = _key_path(loc)
    if item["type"] == "extra_forbidden":
        near = _nearest(str(loc[-1]), _keys_at(loc[:-1]))
        return f"{path}: unknown key{near}"
    if item["type"] == "missing":
        return f"{path}: missing"
    return f"{path}: {mistake(item)}"


def _key_path(loc: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if not _is_branch(part)]
    return "".join(parts).lstrip(".")


def _is_branch(part: int | str) -> bool:
    """Pydantic adds the name of the union branch to the path; it is no key of the file."""
    return isinstance(part, str) and (part in _BRANCHES or "[" in part)


_BRANCHES = frozenset({"str", "int", "datetime", "date", "bool", "metrics", "tables", "VerdictSection"})


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(sorted(valid))}" if valid else ""


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """Give the keys that the section at ``loc`` knows."""
    annotation: Any = ProjectFile
    for part in loc:
        annotation = _step(annotation, part)
    model = _model_in(annotation)
    return [] if model is None else list(model.model_fields)


def _step(annotation: Any, part: int | str) -> Any:
    model = _model_in(annotation)
    if model is not None and isinstance(part, str) and part in model.model_fields:
        return model.model_fields[part].annotation
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {tuple, Union, types.UnionType}:
        found = (_model_in(item) for item in get_args(annotation))
        return next((item for item in found if item is not None), None)
    return None


def _contradictions(file: ProjectFile) -> Iterator[str]:
    """Yield what one section says against another."""
    entities = list(file.entities)
    for key, name in _entity_references(file):
        if name not in entities:
            yield f"{key}: no entity {name!r}{_nearest(name, entities)}"
    yield from _source_references(file)
    actions = list(file.costs.actions)
    wanted = [(f"policy.capacity.{name}", name) for name in file.policy.capacity]
    wanted += [(f"rules[{i}].action", rule.action) for i, rule in enumerate(file.rules)]
    for key, name in wanted:
        if name not in actions:
            yield f"{key}: no action {name!r}{_nearest(name, actions)}"
    names = [rule.name or f"rule {i + 1}" for i, rule in enumerate(file.rules)]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield f"rules[{i}].name: {name!r} names another rule already"
    yield from _labels_twice_or_never(file)
    yield from _unknown_metrics(file)
    yield from _misplaced_columns(file)
    yield from _without_time(file)


def _entity_references(file: ProjectFile) -> Iterator[tuple[str, str]]:
    """Yield each key of the file that names an entity, with the name."""
    for kind in type(file.features).model_fields:
        sections = getattr(file.features, kind)
        if not (isinstance(sections, tuple) and sections and isinstance(sections[0], Section)):
            continue
        for i, section in enumerate(sections):
            for key in ("by", "of"):
                for name in getattr(section, key, ()):
                    yield f"features.{kind}[{i}].{key}", name
    for source, table in file.sources.items():
        for name in table.entities:
            yield f"sources.{source}.entities", name
    if file.evaluate.block_known is not None:
        yield "evaluate.block_known.entity", file.evaluate.block_known.entity


def _source_references(file: ProjectFile) -> Iterator[str]:
    """Yield what windows, lookups and streams say of other tables that ``[sources]`` does not."""
    for name in () if file.stream is None else file.stream.sources:
        if name not in file.sources:
            yield f"stream.sources.{name}: no source {name!r}{_nearest(name, list(file.sources))}"
    for name in {} if file.stream is None else file.stream.label_tables:
        if name not in file.labels.tables:
            yield f"stream.labels.{name}: no table [labels.{name}]{_nearest(name, list(file.labels.tables))}"
    windows, lookups = enumerate(file.features.window), enumerate(file.features.lookup)
    asked = [(f"features.window[{i}]", item.source, item.by) for i, item in windows if item.source is not None]
    asked += [(f"features.lookup[{i}]", item.source, item.by) for i, item in lookups]
    for key, source, names in asked:
        table = file.sources.get(source)
        if table is None:
            yield f"{key}.source: no source {source!r}{_nearest(source, list(file.sources))}"
            continue
        for name in names:
            if name in file.entities and name not in table.entities:
                yield f"{key}.by: [sources.{source}] has no entity {name!r}{_nearest(name, list(table.entities))}"


def _labels_twice_or_never(file: ProjectFile) -> Iterator[str]:
    """Yield what contradicts itself about where labels are: a column of the events, or tables of their own."""
    labels, data = file.labels, file.data
    if not labels.tables:
        if data.label is None:
            yield "data.label: missing; name the column with the outcome, or a table of labels: [labels.chargebacks]"
        if labels != LabelTablesSection():
            yield "labels: legit_after and declined go with tables of labels, and there is no [labels.NAME]"
        return
    if data.decisions is not None and labels.by_silence and labels.declined is None:
        yield (
            "labels: [data] decisions tell of blocked events, which nobody reports, and silence would make them "
            'legitimate; name them in declined, or set legit_after = "never"'
        )
    given = [key for key, value in (("label", data.label), ("label_time", data.label_time)) if value is not None]
    given += ["label_values"] if data.label_values else []
    for key in given:
        yield f"data.{key}: the labels are in [labels.{next(iter(labels.tables))}], so the events have no such column"
    if data.event_id.row_number:
        yield "data.event_id: a table of labels has to name events, and a row number names none outside its file"


def _unknown_metrics(file: ProjectFile) -> Iterator[str]:
    if file.gate is None:
        return
    valid = metric_names(list(file.entities))
    used = [(f"gate.{name}", name) for name in file.gate.metrics]
    used += [(f"gate.segments[{i}].metric", rule.metric) for i, rule in enumerate(file.gate.segments)]
    if file.gate.champion is not None:
        used.append(("gate.champion.metric", file.gate.champion.metric))
    paired = [] if file.gate.champion is None else [used[-1]]
    paired += [
        (f"gate.segments[{i}].metric", rule.metric)
        for i, rule in enumerate(file.gate.segments)
        if rule.margin is not None
    ]
    for key, name in used:
        if name not in valid:
            yield f"{key}: no metric or key {name!r}{_nearest(name, valid)}"
    for key, name in paired:
        if name in valid and not metric(name).paired:
            yield f"{key}: {name!r} has no paired interval, and so cannot be compared with the champion's"


def _misplaced_columns(file: ProjectFile) -> Iterator[str]:
    outcome = {file.data.label, file.data.label_time}
    for name, key in file.entities.items():
        for column in sorted(filter(None, outcome.intersection({key.column, *key.columns}))):
            yield f"entities.{name}: {column!r} is the label or its time, and so names nobody"
    for i, column in enumerate(map(outside, file.features.raw)):
        is_role = column == "amount" and file.data.amount is not None
        if column in file.data.ignore and not is_role:
            yield f"features.raw[{i}]: {column!r} is in data.ignore, and so never a feature"
        if column in {file.data.label, file.data.label_time, file.data.event_id}:
            yield f"features.raw[{i}]: {column!r} is the label, its time or the event id, and so never a feature"
    usable = {*file.features.raw, *map(inside, file.features.columns)}
    for i, column in enumerate(file.features.categorical):
        if column not in usable:
            yield f"features.categorical[{i}]: {column!r} is neither in features.raw nor in features.columns"


def _without_time(file: ProjectFile) -> Iterator[str]:
    """Yield what needs a time that the data do not have, and a random split where they have one."""
    random = file.split.kind == "random"
    if file.data.has_time:
        if random:
            yield (
                "split.kind: random mixes what came before with what came after, and [data] has an event_time: "
                "split by time"
            )
        return
    if not random:
        yield (
            "data.event_time: missing. Data without a time can only be split at random, which says nothing about the "
            'future and has to be asked for by name: [split] kind = "random"'
        )
    features = file.features
    histories = {
        "features.window": features.window, "features.labels": features.labels, "features.recency": features.recency,
        "features.hours": features.hours, "features.pairs": features.pairs, "features.links": features.links,
        "features.trend": features.trend, "features.habits": features.habits, "features.spacing": features.spacing,
        "features.decay": features.decay, "features.geo": any(section.by for section in features.geo),
        "sources": file.sources, "policy.capacity": file.policy.capacity,
        "labels": file.labels.tables,
    }  # fmt: skip
    for key, used in histories.items():
        if used:
            yield f"{key}: needs to know what came before the event, and [data] has no event_time"
    if file.evaluate.block_known is not None:
        yield "evaluate.block_known: needs to know which fraud was known when, and [data] has no event_time"
