"""``models export``: a version in a tracking server of MLflow, with what it was judged on, as a model that decides.

Owns one run for each version: parameters, metrics with the ends of their intervals, papers, and a registered version of
a pyfunc model. Exporting a version again changes nothing but aliases; another bundle of that name is refused.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

from fraudctl.errors import BundleError, DataError, UsageError
from fraudctl.progress import Progress, Silent
from fraudctl.project import Project

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from fraudctl.bundle import Bundle
    from fraudctl.documents.types import JsonObject
    from fraudctl.evaluate.result import Evaluation

CHAMPION, CHALLENGER = "champion", "challenger"
_VERSION, _MANIFEST, _PROJECT = "fraudctl.version", "fraudctl.manifest", "fraudctl.project"
_SCHEMES: Final = ("http", "https", "sqlite", "mysql", "postgresql", "mssql", "file", "")
_PATIENCE: Final = 5.0
"""Seconds until a server that does not answer is called unreachable."""


@dataclass(frozen=True)
class ExportResult:
    """A version in MLflow."""

    SCHEMA_VERSION: ClassVar = 1

    model: str
    """Version of the model."""
    run: str
    """Id of its run."""
    registered: str
    """Name of the registered model."""
    registered_version: str
    """Its version there."""
    new: bool
    """Whether it was written now; false where it was there already."""
    aliases: dict[str, str]
    """``champion`` and ``challenger`` -> the registered version that they name."""


def export_model(
    project: Project,
    reference: str = "latest",
    *,
    uri: str,
    experiment: str | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Write a version to a tracking store of MLflow.

    Parameters
    ----------
    reference
        A version, a path, ``latest`` or ``champion``.
    uri
        Of the tracking server or store: ``http://127.0.0.1:5000``, ``sqlite:///mlflow.db``.
    experiment
        Name of the experiment and of the registered model; by default that of the project.

    Raises
    ------
    UsageError
        The extra ``mlflow`` is not installed, or the URI cannot be one.
    DataError
        The server cannot be reached, or refuses.
    BundleError
        The bundle is missing or damaged, or another bundle was exported under this version.
    """
    from fraudctl.workflows.versions import open_bundle

    progress = progress or Silent()
    bundle = open_bundle(project, reference, progress=progress)
    _require_store(uri)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    name = experiment or project.project.name
    try:
        progress.stage(f"Exporting {bundle.version}")
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        run, new = _run_of(client, bundle, project, name, uri)
        registered = _registered(client, run, name, bundle)
        aliases = _aliases(client, project, name)
    except MlflowException as error:
        msg = f"{uri}: MLflow refuses: {str(error).splitlines()[0]}"
        raise DataError(
            msg, hint="is it a tracking store that this version of MLflow takes? sqlite:///mlflow.db is one"
        ) from error
    return ExportResult(bundle.version, run.info.run_id, name, registered, new, aliases)


def _require_store(uri: str) -> None:
    """Refuse what cannot be a tracking store; nothing but that store is ever called."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    parts = urlsplit(uri)
    if parts.scheme.split("+")[0] not in _SCHEMES:
        msg = f"--mlflow {uri}: no tracking store has this form"
        raise UsageError(msg, hint="such as http://127.0.0.1:5000 or sqlite:///mlflow.db")
    try:
        import mlflow.tracking  # noqa: F401 - whether it is there
    except ImportError as error:
        msg = "`models export --mlflow` needs MLflow, which is not installed"
        raise UsageError(msg, hint="python -m pip install 'fraudctl[mlflow]'") from error
    if parts.scheme in ("http", "https"):
        _require_reachable(uri, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def _require_reachable(uri: str, host: str | None, port: int) -> None:
    """Refuse a server that does not take a connection; MLflow itself would try for minutes."""
    try:
        socket.create_connection((host or "", port), timeout=_PATIENCE).close()
    except OSError as error:
        msg = f"{uri} cannot be reached: {error.strerror or error}"
        raise DataError(msg, hint="is the tracking server running, and is this its address?") from error


def _run_of(client: MlflowClient, bundle: Bundle, project: Project, name: str, uri: str) -> tuple[Run, bool]:
    """Return the run of a version: the one that is there, or a new one that is whole."""
    experiment = _experiment(client, name, uri)
    digest = _manifest(bundle)
    where = f"tags.`{_VERSION}` = '{bundle.version}' AND attributes.status = 'FINISHED'"
    for run in client.search_runs([experiment], filter_string=where):
        if run.data.tags.get(_MANIFEST) != digest:
            msg = f"{uri}: run {run.info.run_id} is another bundle called {bundle.version}"
            raise BundleError(msg, hint="`fraudctl models verify` says whether this one is as it was written")
        return run, False
    tags = {_VERSION: bundle.version, _MANIFEST: digest, _PROJECT: project.project.name}
    run = client.create_run(experiment, run_name=bundle.version, tags=tags)
    try:
        _fill(client, run, bundle, project)
    except BaseException:
        client.set_terminated(run.info.run_id, status="FAILED")
        raise
    client.set_terminated(run.info.run_id, status="FINISHED")
    return client.get_run(run.info.run_id), True


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=_artifacts(uri)))


def _artifacts(uri: str) -> str | None:
    """Return where the files of a database on this machine are kept: beside it; None where the store knows a place."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _fill(client: MlflowClient, run: Run, bundle: Bundle, project: Project) -> None:
    """Write parameters, metrics, papers and the model of a run."""
    import mlflow.pyfunc

    from fraudctl import __version__
    from fraudctl.workflows.account import noted_evaluation

    run_id, evaluation = run.info.run_id, noted_evaluation(project, bundle)
    for key, value in _params(bundle).items():
        client.log_param(run_id, key, value)
    for key, figure in ({} if evaluation is None else dict(_metrics(evaluation))).items():
        client.log_metric(run_id, key, figure)
    for paper in _papers(project, bundle.version):
        client.log_artifact(run_id, str(paper), "reports")
    with tempfile.TemporaryDirectory(prefix="fraudctl-mlflow-") as place:
        mlflow.pyfunc.save_model(
            path=str(Path(place) / "model"), loader_module="fraudctl.workflows.pyfunc", data_path=str(bundle.path),
            model_config={"history": [], "sources": {}}, pip_requirements=[f"fraudctl[mlflow]=={__version__}"],
        )  # fmt: skip
        client.log_artifacts(run_id, str(Path(place) / "model"), "model")


def _params(bundle: Bundle) -> JsonObject:
    facts = bundle.facts
    train = facts["training"]["train"]
    shown = {
        "as_of": None if bundle.as_of is None else bundle.as_of.isoformat(), "seed": facts["seed"],
        "rows": train["rows"], "frauds": train["frauds"], "features": len(bundle.features["features"]),
        "policy": bundle.policy.get("kind"), "data_sha256": facts["data_fingerprint"],
        **{f"train.{key}": value for key, value in facts["training"].get("params", {}).items()},
    }  # fmt: skip
    return {key: value for key, value in shown.items() if value is not None}


def _metrics(found: Evaluation) -> Iterator[tuple[str, float]]:
    """Yield each metric that is known, and the ends of its interval."""
    for name, item in found.metrics.items():
        ends = {"": item.value, ".low": item.low, ".high": item.high}
        for end, value in ends.items():
            if value is not None:
                yield f"{name}{end}", float(value)


def _papers(project: Project, version: str) -> list[Path]:
    names = [f"evaluation-{version}.json", f"evaluation-{version}.html", f"card-{version}.html", f"card-{version}.md"]
    return [path for path in (project.reports_dir / name for name in names) if path.is_file()]


def _manifest(bundle: Bundle) -> str:
    import hashlib

    from fraudctl.bundle import MANIFEST

    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()


def _registered(client: MlflowClient, run: Run, name: str, bundle: Bundle) -> str:
    """Return the registered version of a run, made now where there is none."""
    if not [item for item in client.search_registered_models() if item.name == name]:
        client.create_registered_model(name, tags={_PROJECT: name})
    for item in client.search_model_versions(f"name = '{name}'"):
        if item.run_id == run.info.run_id:
            return str(item.version)
    source = f"{run.info.artifact_uri}/model"
    made = client.create_model_version(name, source, run_id=run.info.run_id, tags={_VERSION: bundle.version})
    return str(made.version)


def _aliases(client: MlflowClient, project: Project, name: str) -> dict[str, str]:
    """Point the aliases to what the registry of the project says; one whose version was not exported is taken away."""
    from fraudctl import registry
    from fraudctl.bundle import list_bundles

    champion = registry.champion(project.models_dir)
    versions = [path.name for path in list_bundles(project.models_dir)]
    newest = registry.latest(registry.history(project.models_dir), versions) if versions else None
    wanted = {CHAMPION: champion, CHALLENGER: newest if newest != champion else None}
    there = {item.tags.get(_VERSION): str(item.version) for item in client.search_model_versions(f"name = '{name}'")}
    present = client.get_registered_model(name).aliases
    out: dict[str, str] = {}
    for alias, version in wanted.items():
        number = None if version is None else there.get(version)
        if number is not None:
            client.set_registered_model_alias(name, alias, number)
            out[alias] = number
        elif alias in present:
            client.delete_registered_model_alias(name, alias)
    return out
