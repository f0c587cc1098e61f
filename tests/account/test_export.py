"""A version in MLflow: what is written, that it decides as `score` does, and what is refused."""

from __future__ import annotations

import json
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import run_in

from fraudctl import export_model, registry
from fraudctl.project import load_project

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(None in map(find_spec, ("mlflow", "sqlalchemy")), reason="the extra `mlflow` is not installed"),
]
"""What MLflow and its parts say of themselves is not ours, and only the worker that runs these tests loads them."""


def client_of(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def test_a_version_is_written_once_with_its_figures_and_answers_as_score_does(project: Path, tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    opened = load_project(project)
    first = export_model(opened, uri=uri)
    assert first.new
    again = run_in(project, "models", "export", "--mlflow", uri, "--json", "--quiet")
    assert again.code == 0, again.err
    assert json.loads(again.out)["run"] == first.run
    assert json.loads(again.out)["new"] is False
    client = client_of(uri)
    experiment = client.get_experiment_by_name(opened.project.name)
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.run_id for run in runs] == [first.run]
    evaluation = json.loads((project / "reports" / f"evaluation-{first.model}.json").read_text())
    wanted = {
        f"{name}{end}": item[key]
        for name, item in evaluation["metrics"].items()
        for end, key in (("", "value"), (".low", "low"), (".high", "high"))
        if item[key] is not None
    }
    assert wanted
    assert runs[0].data.metrics == pytest.approx(wanted)
    manifest = json.loads((project / "models" / first.model / "manifest.json").read_text())
    assert runs[0].data.params["seed"] == str(manifest["facts"]["seed"])
    assert runs[0].data.params["data_sha256"] == manifest["facts"]["data_fingerprint"]
    kept = {path.path for path in client.list_artifacts(first.run, "reports")}
    assert f"reports/evaluation-{first.model}.json" in kept

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    name = opened.project.name
    assert first.aliases == {"challenger": first.registered_version}
    events = pl.read_parquet(project / "transactions.parquet").tail(50)
    before = pl.read_parquet(project / "transactions.parquet")[:-50]
    before.write_parquet(tmp_path / "before.parquet")
    events.write_parquet(tmp_path / "new.parquet")
    out = tmp_path / "decisions.parquet"
    done = run_in(
        project, "score", str(tmp_path / "new.parquet"), "--history", str(tmp_path / "before.parquet"), "-o", str(out),
        "--quiet",
    )  # fmt: skip
    assert done.code == 0, done.err
    sources = {item.stem: str(item) for item in project.glob("logins.parquet")}
    loaded = mlflow.pyfunc.load_model(
        f"models:/{name}@challenger",
        model_config={"history": str(tmp_path / "before.parquet"), **({"sources": sources} if sources else {})},
    )
    answers = pl.from_pandas(loaded.predict(events.to_pandas()))
    scored = pl.read_parquet(out)
    assert answers.height == scored.height > 40  # the sample repeats some rows
    for column in ("event_id", "action", "probability"):
        assert answers[column].to_list() == scored[column].to_list()


def test_aliases_follow_the_registry(project: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    opened = load_project(project)
    version = export_model(opened, uri=uri).model
    assert run_in(project, "models", "promote", version, "--force", "the first champion", "--quiet").code == 0
    assert registry.champion(opened.models_dir) == version
    found = export_model(opened, uri=uri)
    assert found.aliases == {"champion": found.registered_version}
    assert set(client_of(uri).get_registered_model(opened.project.name).aliases) == {"champion"}


def test_another_bundle_of_that_name_is_refused(project: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = export_model(load_project(project), uri=uri).run
    client_of(uri).set_tag(run, "fraudctl.manifest", "0" * 64)
    done = run_in(project, "models", "export", "--mlflow", uri, "--quiet")
    assert done.code == 4
    assert "is another bundle called" in done.err


def test_a_run_that_broke_off_is_written_again(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fraudctl.workflows import export

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    opened = load_project(project)

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "_papers", broken)
        with pytest.raises(KeyboardInterrupt):
            export_model(opened, uri=uri)
    found = export_model(opened, uri=uri)
    assert found.new
    client = client_of(uri)
    runs = client.search_runs([client.get_experiment_by_name(opened.project.name).experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]
    assert len(client.search_model_versions(f"name = '{opened.project.name}'")) == 1


def test_what_cannot_be_a_store_is_refused_and_what_does_not_answer_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = run_in(project, "models", "export", "--mlflow", "ftp://127.0.0.1/x", "--quiet")
    assert strange.code == 2
    assert "hint: such as http://127.0.0.1:5000" in strange.err
    (project / "taken").write_text("a file")
    folder = run_in(project, "models", "export", "--mlflow", str(project / "taken" / "store"), "--quiet")
    assert folder.code in {2, 3}  # newer versions of MLflow take no folder at all
    assert "hint: " in folder.err
    database = run_in(project, "models", "export", "--mlflow", f"sqlite:///{project / 'taken' / 'x.db'}", "--quiet")
    assert database.code == 2
    assert "cannot be used" in database.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    closed = run_in(project, "models", "export", "--mlflow", f"http://127.0.0.1:{port}", "--quiet")
    assert closed.code == 3
    assert "cannot be reached" in closed.err
    monkeypatch.setitem(__import__("sys").modules, "mlflow.tracking", None)
    without = run_in(project, "models", "export", "--mlflow", "sqlite:///x.db", "--quiet")
    assert without.code == 2
    assert "hint: python -m pip install 'fraudctl[mlflow]'" in without.err
