"""The project as of a bundle: what a model keeps from its training, and what it takes from the present.

A bundle describes itself from its own project file: data roles, entities, sources, features, split and training recipe.
The present project file says where the data are, and what decisions cost and how they are judged. Every workflow that
does something with a bundle gets its project and its feature table here, and the digest of the features is compared.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fraudctl.errors import BundleError, DataError, ProjectError
from fraudctl.progress import Progress
from fraudctl.project import Project, parse_project
from fraudctl.project.reading import PLACE
from fraudctl.project.toml import render_toml
from fraudctl.workflows.features import FeatureTable, build_features, build_features_file

if TYPE_CHECKING:
    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.project.data import DataSection
    from fraudctl.project.sources import SourceSection

MEANING = ("data", "entities", "sources", "features")
"""Sections that say what the features and the outcome of a model are."""
RECIPE = ("split", "train")
JUDGING = ("costs", "evaluate", "gate")
"""Sections of the present that price and judge what a bundle decided."""
CHOOSING = ("costs", "policy", "rules")
"""Sections of the present that a policy is chosen by."""


def recipe_facts(project: Project) -> JsonObject:
    """Return, as JSON, the training settings in effect, which options such as ``--fast`` may have changed.

    Whether a partner is tried depends on what is installed; it is written down, so that a refit elsewhere is no other
    recipe.
    """
    from fraudctl.train import partner_wanted

    partner = "lightgbm" if partner_wanted(project.train) is None else "none"
    settled = project.model_copy(update={"train": project.train.model_copy(update={"partner": partner})})
    return {name: getattr(settled, name).model_dump(mode="json") for name in RECIPE}


def own_project(bundle: Bundle, project: Project) -> Project:
    """Return the project that a bundle was written with, on the data where the present project has them.

    Raises
    ------
    BundleError
        The project file in the bundle cannot be read by this version.
    """
    return _located(_merged(bundle, project, ()), bundle, project)


def judging_project(bundle: Bundle, project: Project) -> Project:
    """Return the bundle's own project with the present costs, evaluation and gate: what its decisions are judged by.

    Raises
    ------
    ProjectError
        The present sections do not fit the bundle: they name an entity or action that it does not have.
    BundleError
        As `own_project` does.
    """
    return _located(_merged(bundle, project, JUDGING), bundle, project)


def choosing_project(bundle: Bundle, project: Project) -> Project:
    """Return the bundle's own project with the present costs, policy and rules; its text is that of a new version.

    Raises
    ------
    ProjectError, BundleError
        As `judging_project` does.
    """
    return _located(_merged(bundle, project, CHOOSING), bundle, project)


def _merged(bundle: Bundle, project: Project, present: tuple[str, ...]) -> Project:
    text = bundle.manifest["project_file"]
    try:
        own = parse_project(text, path=project.path)
    except ProjectError as error:
        msg = f"the project file in bundle {bundle.version} cannot be read by this fraudctl: {error.message}"
        raise BundleError(msg, hint="train again") from error
    if not present:
        return own
    now, tree = tomllib.loads(project.text), tomllib.loads(text)
    taken = {name: now[name] for name in present if name in now}
    if repr(taken) == repr({name: tree[name] for name in present if name in tree}):  # the order of actions counts
        return own
    kept = {name: taken.get(name, tree[name]) for name in tree if name not in present or name in taken}
    try:
        return parse_project(render_toml({**kept, **taken}), path=project.path)
    except ProjectError as error:
        names = ", ".join(f"[{name}]" for name in present)
        msg = f"{names} of the project file do not fit bundle {bundle.version}, which keeps the rest: {error.message}"
        raise ProjectError(msg, hint="let them fit what the bundle was trained with, or train again") from error


def _located(own: Project, bundle: Bundle, project: Project) -> Project:
    """Return a bundle's project with the places of the present data, and the training settings that were in effect."""
    sources = dict(own.sources)
    for name in sources.keys() & project.sources.keys():
        sources[name] = sources[name].model_copy(update=_place(project.sources[name]))
    update: dict[str, object] = {"data": own.data.model_copy(update=_place(project.data)), "sources": sources}
    for name, facts in bundle.facts.get("recipe", {}).items():
        update[name] = type(getattr(own, name)).model_validate(facts)
    return own.model_copy(update=update)


def _place(section: DataSection | SourceSection) -> dict[str, object]:
    return {name: getattr(section, name) for name in sorted(PLACE)}


def table_as_of(bundle: Bundle, project: Project, *, progress: Progress, memory: int | None = None) -> FeatureTable:
    """Build the feature table of a bundle, with the columns that its own decisions and the present judgement read.

    Parameters
    ----------
    memory
        Bytes within which it is built, in a file; None builds it in memory.

    Raises
    ------
    BundleError
        The features that come out are not those that the model was trained on.
    DataError
        The data no longer have what the features are made of.
    """
    from fraudctl.costs import cost_matrix

    own = own_project(bundle, project)
    try:
        judging, also = judging_project(bundle, project), cost_matrix(own.costs).columns
        if memory is None:
            table = build_features(judging, also=also, progress=progress)
        else:
            table = build_features_file(judging, memory=memory, also=also, progress=progress).table
    except DataError as error:
        changed = [name for name in differences(bundle, project) if name.split(".")[0] in MEANING]
        if not changed:
            raise
        msg = f"bundle {bundle.version} cannot be computed on these data: {error.message}"
        hint = f"the project file changed since it was written ({_listed(changed)}); train again if the data did too"
        raise DataError(msg, hint=hint) from error
    require_digest(bundle, table.features.digest)
    return table


def require_features(bundle: Bundle, project: Project) -> None:
    """Refuse data from which the features of a bundle cannot be computed, as `table_as_of` does, without reading them.

    Raises
    ------
    BundleError, DataError
        As `table_as_of`.
    """
    from fraudctl.workflows.definitions import load_definitions

    require_digest(bundle, load_definitions(judging_project(bundle, project)).features.digest)


def require_digest(bundle: Bundle, digest: str) -> None:
    """Refuse features that are not those of a bundle.

    Raises
    ------
    BundleError
        The digests differ.
    """
    if digest != bundle.features.get("digest"):
        parent = bundle.facts.get("parent")
        msg = (
            f"bundle {bundle.version} was trained on other features than its project file gives on these data: "
            "the type of a column changed, a feature means something else in this fraudctl, or the file was changed"
        )
        again = "train again" if parent is None else f"`fraudctl threshold --model {parent}`, or train again"
        raise BundleError(msg, hint=f"restore the types of the columns, or {again}")


def differences(bundle: Bundle, project: Project) -> list[str]:
    """Return the key paths of `MEANING` and `RECIPE` in which the present project file differs from a bundle's."""
    own, now = (_leaves(tomllib.loads(text)) for text in (bundle.manifest["project_file"], project.text))
    tables = ("data", *(f"sources.{name}" for name in project.sources))
    places = {f"{table}.{key}" for table in tables for key in ("events", "table_as_of")}
    keys = [name for name in sorted({*own, *now}) if name.split(".")[0].split("[")[0] in (*MEANING, *RECIPE)]
    return [name for name in keys if own.get(name) != now.get(name) and name not in places]


def say_differences(bundle: Bundle, project: Project, *, progress: Progress) -> None:
    """Warn about present definitions that are not used because the bundle has its own."""
    changed = differences(bundle, project)
    if changed:
        speak = progress.warn if any(name.split(".")[0] in MEANING for name in changed) else progress.note
        speak(
            f"{bundle.version} keeps what it was trained with; the project file now differs in {_listed(changed)}, "
            "which takes effect with the next `fraudctl train`"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _leaves(tree: Any, prefix: str = "") -> Mapping[str, Any]:
    """Return the leaves of nested tables by their key paths."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = [_leaves(item, f"{prefix}.{key}" if prefix else key) for key, item in tree.items()]
    return {key: item for part in parts for key, item in part.items()}
