"""From data to a gated model through the command line alone: output, files and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from command_line import run_alone, run_in

from fraudctl.bundle import load_bundle


def test_help_is_quick_because_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, fraudctl.__main__ as m; code = m.main(['--help']);"
        "print(code, *sorted({n.split('.')[0] for n in sys.modules} & "
        "{'polars', 'catboost', 'shap', 'optuna', 'numpy', 'pandas', 'sklearn', 'numba', 'pydantic'}), file=sys.stderr)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0"
    assert "train" in done.stdout


def test_evaluate_prints_one_document_and_the_gate_decides_the_exit_code(project: Path) -> None:
    done = run_in(project, "evaluate", "--json")
    document = done.json
    assert document["gate"]["verdict"] in {"pass", "fail", "inconclusive"}
    assert done.code == {"pass": 0, "fail": 1, "inconclusive": 5}[document["gate"]["verdict"]]
    for key in (
        "rows",
        "frauds",
        "immature_rows",
        "as_of",
        "period",
        "model",
        "metrics",
        "excluded",
        "policy",
        "costs",
    ):
        assert key in document
    assert set(document["excluded"]) == {"immature", "unlabelled", "block_known", "duplicates"}
    for metric in document["metrics"].values():
        bounds = [metric[key] for key in ("low", "value", "high")]
        assert metric["reason"] if None in bounds else bounds == sorted(bounds)
    assert Path(document["report"]).is_file()
    assert "Evaluating" in done.err  # progress goes to stderr


def test_predictions_are_written_and_shuffled_or_missing_scores_never_pass(project: Path) -> None:
    left_out = run_in(project, "evaluate", "--no-gate", "--predictions", "p.parquet", "--quiet")
    assert left_out.code == 0
    assert "was not applied, as asked for" in left_out.out
    frame = pl.read_parquet(project / "p.parquet")
    assert frame.columns == ["event_id", "event_time", "label", "y_prob", "action", "decided_by", "cost"]
    scores = frame.select("event_id", "y_prob")
    toml = project / "fraudctl.toml"
    toml.write_text(
        toml.read_text().split("\n[gate]\n")[0] + "\n[gate]\nroc_auc = { at_least = 0.6 }\nmin_frauds = 20\n"
    )
    variants = {
        "same": scores,
        "shuffled": scores.with_columns(pl.col("y_prob").shuffle(seed=1)),
        "nan": scores.with_columns(y_prob=pl.when(pl.int_range(pl.len()) == 5).then(float("nan")).otherwise("y_prob")),
        "half": scores[::2],
    }  # fmt: skip
    codes = {}
    for name, variant in variants.items():
        variant.write_parquet(project / f"{name}.parquet")
        codes[name] = run_in(project, "evaluate", "--scores", f"{name}.parquet", "--quiet").code
    own = run_in(project, "evaluate", "--quiet").code
    assert codes["same"] == own
    assert codes["shuffled"] == 1
    assert codes["nan"] == codes["half"] == 5


def test_scores_of_other_events_are_a_data_error(project: Path) -> None:
    pl.DataFrame({"event_id": ["nobody"], "y_prob": [0.5]}).write_parquet(project / "others.parquet")
    done = run_in(project, "evaluate", "--scores", "others.parquet", "--quiet")
    assert done.code == 3
    assert "none of its 1 ids" in done.err


def test_rules_that_shuffled_scores_pass_too_are_refused(project: Path) -> None:
    toml = project / "fraudctl.toml"
    toml.write_text(
        toml.read_text().split("\n[gate]\n")[0] + "\n[gate]\nroc_auc = { at_least = 0.1 }\nmin_frauds = 20\n"
    )
    done = run_in(project, "evaluate", "--quiet", "--json")
    assert (done.code, done.json["gate"]["verdict"]) == (2, "refused")


def test_without_a_gate_the_verdict_is_none_unless_one_is_required(project: Path) -> None:
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().split("\n[gate]\n")[0])
    done = run_in(project, "evaluate", "--json", "--quiet")
    assert (done.code, done.json["gate"]["verdict"]) == (0, "none")
    refused = run_in(project, "evaluate", "--require-gate", "--quiet")
    assert refused.code == 2
    assert "no [gate]" in refused.err


def test_gate_formats_for_ci(project: Path, tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET

    junit = run_in(project, "evaluate", "--format", "junit", "--quiet")
    assert len(list(ET.fromstring(junit.out).iter("testcase"))) == 6  # noqa: S314
    summary = tmp_path / "summary.md"
    github = run_in(project, "evaluate", "--format", "github", "--quiet", env={"GITHUB_STEP_SUMMARY": str(summary)})
    assert github.out.startswith("::")
    assert summary.read_text()


def test_a_period_before_as_of_is_refused_and_one_without_events_is_an_error(project: Path) -> None:
    refused = run_in(project, "evaluate", "--from", "2025-10-01", "--to", "2025-11-01", "--quiet")
    assert refused.code == 2
    assert "before" in refused.err
    empty = run_in(project, "evaluate", "--from", "2031-01-01", "--to", "2031-02-01", "--quiet")
    assert empty.code == 3
    assert "no event lies between" in empty.err
    assert run_in(project, "evaluate", "--from", "yesterday").code == 2


def test_threshold_writes_a_new_version_with_its_parent(project: Path) -> None:
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().replace("review.fraud = { fixed = 4 }", "review.fraud = { fixed = 9 }"))
    before = load_bundle(next(path for path in (project / "models").iterdir() if path.is_dir()))
    done = run_in(project, "threshold", "--json", "--quiet")
    assert done.code == 0, done.err
    after = load_bundle(Path(done.json["path"]))
    assert after.facts["parent"] == before.version
    assert after.manifest["files"]["model.cbm"] == before.manifest["files"]["model.cbm"]
    assert after.policy != before.policy
    diff = json.loads(run_in(project, "models", "diff", before.version, after.version).out)
    assert diff["project_file"] == {"costs.actions.review.fraud.fixed": [4, 9]}


def test_training_twice_gives_the_same_bytes(project: Path) -> None:
    before = next(path for path in (project / "models").iterdir() if path.is_dir())
    bytes_before = {file.name: file.read_bytes() for file in before.iterdir()}
    (project / "models").rename(project / "elsewhere")
    done = run_alone(project, "train", "--json", "--quiet")
    assert done.code == 0, done.err
    after = Path(done.json["path"])
    assert after.name == before.name
    assert {file.name: file.read_bytes() for file in after.iterdir()} == bytes_before


def test_a_changed_byte_in_a_bundle_is_refused_before_anything_is_read(project: Path) -> None:
    model = next((project / "models").glob("*/model.cbm"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    done = run_in(project, "evaluate", "--quiet")
    assert done.code == 4
    assert "was changed" in done.err


def test_a_bundle_of_another_project_is_refused(project: Path) -> None:
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().replace('name = "sample"', 'name = "another"'))
    done = run_in(project, "evaluate", "--quiet")
    assert done.code == 4
    assert "is of project 'sample'" in done.err


def test_explain_writes_a_report_and_speaks_of_one_event(project: Path) -> None:
    done = run_in(project, "explain", "--json", "--quiet", "--sample", "2000")
    assert done.code == 0, done.err
    document = done.json
    assert Path(document["report"]).read_text().startswith("<!doctype html>")
    kinds = {error["kind"] for error in document["errors"]}
    assert kinds <= {"false_negative", "false_positive"}
    one = str(document["errors"][0]["event_id"])
    event = run_in(project, "explain", "--event", one, "--quiet")
    assert event.code == 0
    assert one in event.out
    assert run_in(project, "explain", "--event", "no such id", "--quiet").code == 3


def test_models_are_listed_promoted_and_rolled_back(project: Path) -> None:
    version = next(path.name for path in (project / "models").iterdir() if path.is_dir())
    refused = run_in(project, "models", "promote", version)
    assert refused.code in {1, 2}
    assert run_in(project, "models", "promote", version, "--force", "first model").code == 0
    assert "champion" in run_in(project, "models", "list").out
    assert run_in(project, "evaluate", "--model", "champion", "--no-gate", "--quiet").code == 0
    judged, reported = (
        run_in(project, "evaluate", "--champion", version, *flags, "--json", "--quiet").json["champion"]
        for flags in ((), ("--no-gate",))
    )
    assert reported == judged  # the gate decides on the verdict, not on what is compared
    assert reported["model"] == version
    compared = run_in(project, "compare", "latest", "champion", "--json", "--quiet")
    assert compared.json["disagreements"] == []


def test_audit_finds_nothing_in_the_projects_own_features_and_a_planted_leak(project: Path) -> None:
    assert run_in(project, "audit", "--sample", "20", "--quiet").code == 0
    assert run_in(project, "features", "-o", "f.parquet", "--quiet").code == 0
    frame = pl.read_parquet(project / "f.parquet")
    leaked = frame.with_columns(pl.col("card_count_1d") + pl.col("label").fill_null(0))
    leaked.write_parquet(project / "leaked.parquet")
    done = run_in(project, "audit", "--features", "leaked.parquet", "--sample", "60", "--quiet")
    assert done.code == 1
    assert "card_count_1d" in done.out


def test_features_are_reused_until_a_definition_changes(project: Path) -> None:
    first = run_in(project, "features", "--json", "--quiet").json
    assert first["reused"]
    toml = project / "fraudctl.toml"
    toml.write_text(toml.read_text().replace('event_hour = "hour(event_time)"', 'event_hour = "hour(event_time) + 1"'))
    second = run_in(project, "features", "--json", "--quiet").json
    assert not second["reused"]
    assert second["key"] != first["key"]
