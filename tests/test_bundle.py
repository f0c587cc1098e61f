from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudctl.bundle import FILES, BundleContents, find_bundle, list_bundles, load_bundle, write_bundle
from fraudctl.calibrate import Calibrator
from fraudctl.documents.sealed import canonical, seal, unseal
from fraudctl.errors import BundleError
from fraudctl.project.training import TrainSection
from fraudctl.train import Partner, fit_model, learn_columns, make_pool, params_of, predict, quantize

AS_OF = datetime(2026, 6, 1, 22, tzinfo=UTC)


def rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    label = (rng.random(400) < 1 / (1 + np.exp(-2 * x))).astype(np.int8)
    return pl.DataFrame({"x": x, "kind": rng.integers(0, 4, 400).astype(str), "label": label})


def contents() -> BundleContents:
    table, settings = rows(), TrainSection(threads=1)
    columns = learn_columns(table, names=["x", "kind"], categorical=["kind"], max_categories=3)
    pool = quantize(make_pool(columns, table, label=table["label"].to_numpy()))
    model = fit_model(pool, params_of(settings.params), settings=settings, iterations=20, seed=1)
    return BundleContents(
        as_of=AS_OF,
        model=model,
        columns=columns,
        calibrator=Calibrator("logistic", (1.5, -0.25)),
        policy={"kind": "expected_cost"},
        features={"features": ["x", "kind"]},
        predictions=pl.DataFrame({"event_id": [1, 2], "y_prob": [0.1, 0.9]}),
        project_file="[data]\n",
        timezone="Europe/Berlin",
        facts={"name": "cards", "seed": 0, "metrics": {"ece": float("nan")}},
    )


TREES = """tree
num_class=1
num_tree_per_iteration=1
max_feature_idx=0
objective=binary sigmoid:1

Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=0.25
decision_type=10
left_child=-1
right_child=-2
leaf_value=-0.5 1.5
leaf_count=300 100
internal_count=400
is_linear=0

end of trees
"""
"""A partner of one split on ``x``."""


def blended() -> BundleContents:
    before = contents()
    return replace(before, partner=Partner(TREES, 0.3, before.columns))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "models", contents())


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A bundle with a partner."""
    return write_bundle(tmp_path / "pairs", blended())


def test_a_partner_is_saved_and_scores_to_the_same_bits(made: Path, pair: Path) -> None:
    alone, both = predict(contents(), rows())[0], predict(load_bundle(pair), rows())[0]
    partner = np.where(rows()["x"].cast(pl.Float32) <= 0.25, -0.5, 1.5)
    assert np.array_equal(both, (1.0 - 0.3) * alone + 0.3 * partner)
    assert np.array_equal(both, predict(blended(), rows())[0])
    assert load_bundle(made).partner is None
    assert load_bundle(made).trees != load_bundle(pair).trees
    bundle = load_bundle(pair)
    copied = load_bundle(write_bundle(pair.parent, bundle.contents(policy={}, project_file="", facts={})))
    assert copied.trees == bundle.trees
    assert copied.partner == bundle.partner


def test_a_partner_is_held_by_its_manifest(made: Path, pair: Path) -> None:
    (made / "partner.txt").write_text(TREES)
    with pytest.raises(BundleError, match="names no partner"):
        load_bundle(made)
    (pair / "partner.txt").write_text(TREES.replace("1.5", "2.5"))
    with pytest.raises(BundleError, match="was changed"):
        load_bundle(pair)
    (pair / "partner.txt").unlink()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(pair)


@pytest.mark.parametrize("weight", [None, 0.0, 1.0, 1.5, "0.3", True])
def test_a_weight_that_is_no_share_is_refused(pair: Path, weight: object) -> None:
    manifest = {**unseal((pair / "manifest.json").read_bytes()), "partner_weight": weight}
    (pair / "manifest.json").write_bytes(seal(manifest))
    with pytest.raises(BundleError, match="not a manifest"):
        load_bundle(pair.rename(pair.parent / "x"))


def test_bundles_from_before_there_were_partners_load(made: Path) -> None:
    manifest = {**unseal((made / "manifest.json").read_bytes()), "schema_version": 4}
    (made / "manifest.json").write_bytes(seal(manifest))
    assert load_bundle(made.rename(made.parent / "old")).partner is None


def test_saved_loaded_and_scored_to_the_same_bits(made: Path) -> None:
    before = contents()
    bundle = load_bundle(made)
    for wanted, got in zip(predict(before, rows()), predict(bundle, rows()), strict=True):
        assert np.array_equal(wanted, got)
    assert bundle.version == made.name
    assert bundle.as_of == AS_OF
    assert bundle.policy == before.policy
    assert bundle.features == before.features
    assert bundle.facts["metrics"]["ece"] is None
    assert bundle.predictions().equals(before.predictions)


def test_the_version_is_the_local_date_and_the_content(made: Path) -> None:
    assert made.name.startswith("2026-06-02-")
    assert len(made.name) == len("2026-06-02-") + 8


def test_the_same_contents_give_the_same_bytes_in_another_process(made: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, test_bundle as t;"
        "print(t.write_bundle(pathlib.Path(sys.argv[2]), t.contents()).name)"
    )
    other = tmp_path / "other"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(other)],
        check=True, capture_output=True, text=True, env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == made.name
    for name in (*FILES, "manifest.json"):
        assert (made / name).read_bytes() == (other / made.name / name).read_bytes()


def test_writing_twice_keeps_the_first_and_leaves_nothing_else(made: Path) -> None:
    stamp = (made / "manifest.json").stat().st_mtime_ns
    assert write_bundle(made.parent, contents()) == made
    assert (made / "manifest.json").stat().st_mtime_ns == stamp
    assert [path.name for path in made.parent.iterdir()] == [made.name]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(made: Path, name: str) -> None:
    content = bytearray((made / name).read_bytes())
    content[len(content) // 2] ^= 1
    (made / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=r"was changed") as caught:
        load_bundle(made)
    assert caught.value.exit_code == 4


def test_catboost_is_not_asked_before_the_hashes_are_right(made: Path) -> None:
    (made / "model.cbm").write_bytes(b"rubbish")
    code = (
        "import sys, pathlib; from fraudctl.bundle import load_bundle; from fraudctl.errors import BundleError\n"
        "try:\n    load_bundle(pathlib.Path(sys.argv[1]))\n"
        "except BundleError:\n    print('catboost' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(made: Path, name: str) -> None:
    (made / name).unlink()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(made)


@pytest.mark.parametrize(("name", "says"), [("model.pkl", "pickle"), ("x.joblib", "pickle"), ("notes.txt", "belong")])
def test_a_stranger_is_refused(made: Path, name: str, says: str) -> None:
    (made / name).write_bytes(b"")
    with pytest.raises(BundleError, match=says):
        load_bundle(made)


def test_a_changed_manifest_no_longer_fits_its_name(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["facts"]["seed"] = 7
    (made / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="manifest"):
        load_bundle(made)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 99}, "schema version"),
        ({"files": {}}, "not a manifest"),
        ({"files": None}, "not a manifest"),
        ({"as_of": "yesterday"}, "not a manifest"),
        ({"timezone": "Mars/Base"}, "not a manifest"),
        ({"facts": 3}, "not a manifest"),
    ],
)
def test_a_manifest_of_another_form_is_refused(made: Path, change: dict[str, object], says: str) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(BundleError, match=says):
        load_bundle(made)


def test_a_renamed_bundle_still_loads(made: Path, tmp_path: Path) -> None:
    made.rename(tmp_path / "production")
    assert load_bundle(tmp_path / "production").version == made.name


def test_another_policy_is_another_version_of_the_same_model(made: Path) -> None:
    bundle = load_bundle(made)
    changed = bundle.contents(
        policy={"kind": "thresholds"}, project_file="[data]\n#\n", facts={"parent": bundle.version}
    )
    other = load_bundle(write_bundle(made.parent, changed))
    assert other.version != bundle.version
    assert other.manifest["files"]["model.cbm"] == bundle.manifest["files"]["model.cbm"]
    assert other.manifest["files"]["predictions.parquet"] == bundle.manifest["files"]["predictions.parquet"]
    assert other.facts["parent"] == bundle.version


def test_predictions_changed_after_loading_are_refused(made: Path) -> None:
    bundle = load_bundle(made)
    pl.DataFrame({"event_id": [1], "y_prob": [0.5]}).write_parquet(made / "predictions.parquet")
    with pytest.raises(BundleError, match="was changed"):
        bundle.predictions()


def test_finding_by_version_and_path(made: Path, tmp_path: Path) -> None:
    models = made.parent
    older = write_bundle(models, replace(contents(), as_of=datetime(2026, 5, 1, tzinfo=UTC)))
    assert find_bundle(older.name, models) == older
    assert find_bundle(str(older), tmp_path / "elsewhere") == older
    assert list_bundles(models) == [older, made]
    with pytest.raises(BundleError, match=made.name):
        find_bundle("2020-01-01-00000000", models)
    with pytest.raises(BundleError, match="no bundle"):
        find_bundle("x" * 5000, models)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        load_bundle(tmp_path / "nothing")


def test_an_unwritable_place_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(tmp_path / "models", contents())
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


@pytest.mark.parametrize("folder", ["as written", "production"])
def test_no_single_bit_flip_is_used_whatever_the_folder_is_called(made: Path, tmp_path: Path, folder: str) -> None:
    draw = random.Random(5)  # noqa: S311 - no secret
    if folder == "production":
        made = made.rename(tmp_path / folder)
    for file in sorted(made.iterdir()):
        content = file.read_bytes()
        for _ in range(30):
            at, bit = draw.randrange(len(content)), draw.randrange(8)
            file.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            with pytest.raises(BundleError):
                load_bundle(made)
        file.write_bytes(content)
    assert load_bundle(made).policy == {"kind": "expected_cost"}


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "half", "folder", "fifo", "loop", "deep"])
def test_a_bundle_that_was_copied_by_half_is_refused(made: Path, name: str, how: str) -> None:
    file = made / name
    content = file.read_bytes()
    file.unlink()
    if how in ("empty", "half", "deep"):
        file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "deep": b"[" * 200_000}[how])
    elif how == "folder":
        file.mkdir()
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "loop":
        file.symlink_to(file)
    assert made in list_bundles(made.parent)
    with pytest.raises(BundleError):
        load_bundle(made)


@pytest.mark.parametrize("name", ["policy.json", "calibration.json", "features.json"])
@pytest.mark.parametrize("content", [b"{}", b"[]", b"", b"\xff", b'{"kind": 5}', b'{"definition": 5, "columns": 5}'])
def test_documents_that_are_sealed_and_make_no_sense_are_refused(made: Path, name: str, content: bytes) -> None:
    manifest = unseal((made / "manifest.json").read_bytes())
    (made / name).write_bytes(content)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (made / "manifest.json").write_bytes(seal(manifest))
    renamed = made.rename(made.parent / "x")
    if name == "policy.json" and content.startswith(b"{"):
        assert load_bundle(renamed).policy == json.loads(content), "what a policy may say is the policy's own check"
        return
    with pytest.raises(BundleError):
        load_bundle(renamed)


def test_a_bundle_from_before_manifests_were_sealed_is_held_by_its_name(made: Path) -> None:
    manifest = {**unseal((made / "manifest.json").read_bytes()), "schema_version": 2}
    del manifest["files"]["reference.json"]
    (made / "reference.json").unlink()
    content = canonical(manifest)
    (made / "manifest.json").write_bytes(content)
    old = made.rename(made.parent / f"2026-06-02-{hashlib.sha256(content).hexdigest()[:8]}")
    assert load_bundle(old).version == old.name
    with pytest.raises(BundleError, match="no digest of itself"):
        load_bundle(old.rename(old.parent / "production"))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../" * 2000, "", "."])
def test_a_name_that_no_bundle_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError):
        load_bundle(find_bundle(name, tmp_path))
