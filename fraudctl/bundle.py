"""A model version on disk: one folder that proves itself before anything in it is used.

Owns the form of a bundle, its version, and its integrity: every file is hashed, every hash is checked before CatBoost
sees a byte, and there is no pickle. A bundle depends on its inputs alone: the same inputs give the same bytes. It knows
nothing of champions; that is `fraudctl.registry`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from fraudctl.calibrate import Calibrator
from fraudctl.challengers import Challenger
from fraudctl.challengers.program import PICKLES
from fraudctl.data.labels import timed
from fraudctl.disk import files as disk
from fraudctl.disk import shared
from fraudctl.documents.sealed import DocumentError, canonical, read_object, seal, unseal
from fraudctl.errors import BundleError
from fraudctl.train import ModelColumns, Partner

if TYPE_CHECKING:
    from fraudctl.boosting import CatBoost
    from fraudctl.documents.types import JsonObject
    from fraudctl.project import Project

SCHEMA_VERSION: Final = 6
_NO_CHALLENGER: Final = 5
"""Schema version of bundles that are never of a challenger."""
_NO_PARTNER: Final = 4
"""Schema version of bundles that never have a partner."""
_NO_REFERENCE: Final = 3
"""Schema version of bundles without a frozen reference."""
_UNSEALED: Final = 2
"""Schema version of bundles whose manifest has no digest of itself: the folder's name alone vouches for them."""
_READ: Final = (_UNSEALED, _NO_REFERENCE, _NO_PARTNER, _NO_CHALLENGER, SCHEMA_VERSION)
MANIFEST: Final = "manifest.json"
REFERENCE: Final = "reference.json"
PARTNER: Final = "partner.txt"
"""The text of the partner's trees, in bundles that have one; their manifest gives its weight."""
TREES: Final = "model.cbm"
"""CatBoost's model, in every bundle that is not of a challenger."""
CHALLENGER: Final = "challenger.json"
"""What a challenger is, in bundles of one; the files of its model begin with `MODEL_FILE`."""
MODEL_FILE: Final = "challenger."
FILES: Final = (TREES, "calibration.json", "policy.json", "features.json", "predictions.parquet", REFERENCE)
"""The files that every manifest vouches for; before schema version 4 there was no reference."""

PACKAGES: Final = ("fraudctl", "catboost", "numpy", "polars", "optuna")

_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2}|random)-[0-9a-f]{8}")


@dataclass(frozen=True)
class BundleContents:
    """What a bundle is made of.

    Attributes
    ----------
    as_of
        What the model may know; aware. None where the data have no time.
    model, columns, calibrator
        From `fraudctl.train.TrainedModel`; the model may also be the bytes of a ``model.cbm``, or a challenger.
    policy
        From scores to actions, as JSON; written as ``policy.json``.
    features
        Definitions of the features and the columns that the data had, as JSON; ``features.json`` holds them under
        ``definition`` as well as ``columns``.
    predictions
        What the folds predicted.
    project_file
        Text of ``fraudctl.toml``.
    timezone
        Zone of the date in the version.
    facts
        What else the manifest says, as JSON: name of the project, ``fingerprint`` of the data, row counts, seed,
        metrics, training summary, parent. Nothing in it may depend on the clock or the machine.
    """

    as_of: datetime | None
    model: CatBoost | bytes | Challenger
    columns: ModelColumns
    calibrator: Calibrator
    policy: Mapping[str, Any]
    features: Mapping[str, Any]
    predictions: pl.DataFrame
    project_file: str
    timezone: str
    facts: Mapping[str, Any]
    reference: Mapping[str, Any] = field(default_factory=dict)
    """What ordinary days were, as counts (`fraudctl.monitor.reference`); empty where there is none."""
    partner: Partner | None = None
    """LightGBM trees that have a share of the score; None where CatBoost scores alone."""

    @property
    def challenger(self) -> Challenger | None:
        """The challenger that scores instead of CatBoost; None where CatBoost does."""
        return self.model if isinstance(self.model, Challenger) else None


def write_bundle(models_dir: Path, contents: BundleContents, *, announce: Callable[[str], object] = str) -> Path:
    """Write a bundle whole or not at all, and give its folder ``models_dir/<as_of>-<8 hex of its content>``.

    Without an as_of, where the data have no time and were split at random, it is ``random-<8 hex of its content>``.
    The same contents give the same folder; where it is there already, it is left as it is.

    Parameters
    ----------
    announce
        Called with the version when all of the bundle is on the disk, before its folder has its name. What it notes
        therefore holds for every bundle that is there; a process that dies after it leaves a note without a bundle.

    Raises
    ------
    BundleError
        The folder cannot be written, or one of that name holds something else.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with disk.system_errors(), _hidden_folder(models_dir) as folder:
            return _write(folder, models_dir, contents, announce)
    except OSError as error:
        msg = f"the bundle cannot be written to {models_dir}: {error.strerror or type(error).__name__}"
        raise BundleError(msg, hint="check space and permissions of the folder") from error


@contextlib.contextmanager
def _hidden_folder(models_dir: Path) -> Iterator[Path]:
    """Return a new hidden folder that goes away at the end; what processes that died have left goes first."""
    for left in models_dir.glob(".writing-*"):
        with contextlib.suppress(OSError):
            handle = disk.locked_strictly(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
    place, own = _locked_folder(models_dir)
    try:
        folder = place / "bundle"
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if own is not None:
            os.close(own)


def _locked_folder(models_dir: Path) -> tuple[Path, int | None]:
    """Make a hidden folder and lock it, so that it is known whether its writer still lives."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=".writing-", dir=models_dir))
        with contextlib.suppress(FileNotFoundError):  # removed before it was locked, as left over
            own = disk.locked_strictly(place)
            if place.is_dir():
                return place, own


def _write(folder: Path, models_dir: Path, contents: BundleContents, announce: Callable[[str], object]) -> Path:
    for name, content in _model_files(contents.model).items():
        disk.write_bytes(folder / name, content)
    if contents.partner is not None:
        disk.write_bytes(folder / PARTNER, contents.partner.text.encode())
    features = {"columns": contents.columns.to_dict(), "definition": contents.features}
    documents = {
        "calibration": contents.calibrator.to_dict(), "policy": contents.policy, "features": features,
        "reference": contents.reference,
    }  # fmt: skip
    for name, document in documents.items():
        disk.write_bytes(folder / f"{name}.json", canonical(document))
    contents.predictions.write_parquet(folder / "predictions.parquet", compression="zstd", statistics=False)
    manifest = seal(_manifest(folder, contents))
    disk.write_bytes(folder / MANIFEST, manifest)
    for path in (*folder.iterdir(), folder):
        disk.flush(path)
    target = models_dir / _version_of(manifest, contents.as_of, contents.timezone)
    if target.exists():
        load_bundle(target)
    shared.put(folder, models_dir, target.name)
    announce(target.name)
    try:
        folder.replace(target)
    except OSError:
        if not target.is_dir():
            raise
        load_bundle(target)  # it was there
    disk.flush(models_dir)
    return target


def _model_files(model: CatBoost | bytes | Challenger) -> dict[str, bytes]:
    """Return the files that scores follow from."""
    if not isinstance(model, Challenger):
        return {TREES: model if isinstance(model, bytes) else _model_bytes(model)}
    learned = {f"{MODEL_FILE}{name}": content for name, content in model.model.files.items()}
    return {CHALLENGER: canonical(model.to_dict()), **learned}


def _model_bytes(model: CatBoost) -> bytes:
    """Return what `CatBoost.save_model` writes, without a file.

    On a disk that is full at the last bytes, CatBoost itself ends a file early without an error, and loads it later.
    """
    state: Any = model.__getstate__()
    return bytes(state["__model"])


def _manifest(folder: Path, contents: BundleContents) -> JsonObject:
    files = list(FILES)
    more: JsonObject = {}
    if isinstance(contents.model, Challenger):
        learned = [f"{MODEL_FILE}{name}" for name in sorted(contents.model.model.files)]
        files = [CHALLENGER, *learned, *(name for name in FILES if name != TREES)]
        more = {"challenger": contents.model.name}
    if contents.partner is not None:
        files, more = [*FILES, PARTNER], {"partner_weight": contents.partner.weight}
    return {
        "schema_version": SCHEMA_VERSION,
        "as_of": None if contents.as_of is None else contents.as_of.isoformat(),
        "timezone": contents.timezone,
        "files": {name: _sha256((folder / name).read_bytes()) for name in files},
        "packages": {name: package_version(name) for name in PACKAGES},
        "project_file": contents.project_file,
        "facts": contents.facts,
        **more,
    }


def _as_of(manifest: Mapping[str, Any]) -> datetime | None:
    """Return what the model may know; None for a random split, of which older manifests say 1970."""
    split = manifest["facts"].get("split")
    by_chance = split is not None and split["kind"] == "random"
    return None if by_chance else datetime.fromisoformat(manifest["as_of"])


def _version_of(manifest: bytes, as_of: datetime | None, timezone: str) -> str:
    known = "random" if as_of is None else f"{as_of.astimezone(ZoneInfo(timezone)):%Y-%m-%d}"
    return f"{known}-{_sha256(manifest)[:8]}"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A bundle whose hashes were found right.

    Attributes
    ----------
    path
        Its folder.
    version
        ``<as_of>-<8 hex of its content>``.
    manifest
        ``manifest.json``.
    policy, features
        ``policy.json``, and the definitions in ``features.json``.
    reference
        ``reference.json``: what ordinary days were (`fraudctl.monitor.reference`); empty for a bundle without one.
    columns, calibrator
        What the model takes, and how its scores become probabilities.
    """

    path: Path
    version: str
    manifest: Mapping[str, Any]
    policy: Mapping[str, Any]
    features: Mapping[str, Any]
    reference: Mapping[str, Any]
    columns: ModelColumns
    calibrator: Calibrator
    partner: Partner | None
    """LightGBM trees that have a share of the score; None where CatBoost scores alone."""
    _model_bytes: bytes
    challenger: Challenger | None = None
    """The challenger that scores instead of CatBoost; None where CatBoost does."""

    @property
    def as_of(self) -> datetime | None:
        """What the model may know, in UTC or the project's zone, aware; None where the data have no time."""
        return _as_of(self.manifest)

    @property
    def knows_until(self) -> datetime:
        """What the model may know, where the data have a time; else a ValueError."""
        return timed(self.as_of)

    @property
    def trees(self) -> tuple[str | float | None, ...]:
        """Return what a score follows from: digests of trees or of a challenger's files, and the partner's weight."""
        files = self.manifest["files"]
        learned = sorted(digest for name, digest in files.items() if name.startswith(MODEL_FILE))
        return files.get(TREES), files.get(PARTNER), self.manifest.get("partner_weight"), *learned

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the workflow noted: name, fingerprint, rows, seed, metrics, training summary, parent."""
        facts: Mapping[str, Any] = self.manifest["facts"]
        return facts

    @cached_property
    def model(self) -> CatBoost:
        """The CatBoost model, read from the same bytes that were checked.

        Raises
        ------
        BundleError
            The bundle is of a challenger, or this CatBoost cannot read it.
        """
        from fraudctl.boosting import CatBoost, CatBoostError

        self.require_trees()
        try:
            return CatBoost().load_model(blob=self._model_bytes)
        except CatBoostError as error:
            msg = f"{self.path / 'model.cbm'} is no model that this CatBoost can read"
            raise BundleError(msg, hint="it may come from a newer CatBoost; the manifest names its version") from error

    def require_trees(self) -> None:
        """Raise a BundleError where a challenger scores: it cannot be explained exactly, nor answer event by event."""
        if self.challenger is not None:
            msg = (
                f"{self.version} is of the challenger {self.challenger.name}, whose own program scores: it decides in "
                "batch alone, and has no trees to explain, or to decide online with"
            )
            hint = "`score`, `evaluate`, `compare` and `gate` take it; here, name a model of plain `fraudctl train`"
            raise BundleError(msg, hint=hint)

    def predictions(self) -> pl.DataFrame:
        """Return what the folds predicted; the file's hash is checked again.

        Raises
        ------
        BundleError
            The file changed since the bundle was loaded.
        """
        content = _checked(self.path / "predictions.parquet", self.manifest["files"]["predictions.parquet"])
        return pl.read_parquet(io.BytesIO(content))

    def within(self, project: Project) -> Bundle:
        """Return the bundle ready to score in a project; a challenger runs its program there."""
        return self if self.challenger is None else replace(self, challenger=self.challenger.within(project))

    def contents(self, *, policy: Mapping[str, Any], project_file: str, facts: Mapping[str, Any]) -> BundleContents:
        """Return the same model with another policy, to be written as a new version."""
        return BundleContents(
            self.as_of, self.challenger or self._model_bytes, self.columns, self.calibrator, policy, self.features,
            self.predictions(), project_file, self.manifest["timezone"], facts, self.reference, self.partner,
        )  # fmt: skip


def load_bundle(path: Path) -> Bundle:
    """Load a bundle after checking all of it.

    Raises
    ------
    BundleError
        No such folder, a missing, changed or unknown file, a pickle, a manifest of another schema version, or a folder
        named as a version that its content does not have.
    """
    if not path.is_dir():
        msg = f"no bundle at {path}"
        raise BundleError(msg, hint="`fraudctl train` writes one; `fraudctl models list` shows those there are")
    _refuse_strangers(path)
    raw = _read(path / MANIFEST)
    manifest = _manifest_of(raw, path)
    _refuse_unnamed(path, manifest)
    found = {name: _checked(path / name, digest) for name, digest in manifest["files"].items()}
    version = _version_of(raw, _as_of(manifest), manifest["timezone"])
    if _VERSION.fullmatch(path.name) and path.name != version:
        msg = f"the manifest of {path} was changed: its content is that of version {version}"
        raise BundleError(msg, hint="take the bundle from where it was trained, or train again")
    known = [name for name in found if name.endswith(".json") and (name in FILES or name == CHALLENGER)]
    documents = {name: _parse(found[name], path / name) for name in known}
    features = documents["features.json"]
    with understood(path):
        columns = ModelColumns.from_dict(features["columns"])
        return Bundle(
            path=path,
            version=version,
            manifest=manifest,
            policy=documents["policy.json"],
            reference=documents.get(REFERENCE, {}),
            features=dict(features["definition"]),
            columns=columns,
            calibrator=Calibrator.from_dict(documents["calibration.json"]),
            partner=_partner(found, manifest, columns),
            _model_bytes=found.get(TREES, b""),
            challenger=_challenger(found, documents),
        )


def _partner(found: Mapping[str, bytes], manifest: Mapping[str, Any], columns: ModelColumns) -> Partner | None:
    if PARTNER not in found:
        return None
    return Partner(found[PARTNER].decode(), float(manifest["partner_weight"]), columns)


def _challenger(found: Mapping[str, bytes], documents: Mapping[str, Any]) -> Challenger | None:
    if CHALLENGER not in documents:
        return None
    learned = {name.removeprefix(MODEL_FILE): found[name] for name in found if name.startswith(MODEL_FILE)}
    learned.pop(CHALLENGER.removeprefix(MODEL_FILE))
    return Challenger.from_dict(documents[CHALLENGER], learned)


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn documents that are whole, and not what this version writes, into a BundleError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        msg = f"the documents of {path} are not what this version of fraudctl writes ({type(error).__name__})"
        raise BundleError(msg, hint="train again, or use the fraudctl version that wrote it") from error


def _manifest_of(raw: bytes, path: Path) -> Mapping[str, Any]:
    """Return the manifest, after checking that it is the one that was written."""
    manifest = _parse(raw, path / MANIFEST)
    _check_manifest(manifest, path)
    if manifest["schema_version"] == _UNSEALED:
        if not _VERSION.fullmatch(path.name):
            msg = f"{path / MANIFEST} has no digest of itself, and its folder is not named as its version"
            raise BundleError(msg, hint="give the folder the name that it had where it was trained, or train again")
        return manifest
    try:
        return unseal(raw)
    except DocumentError as error:
        msg = f"{path / MANIFEST} {error}"
        raise BundleError(msg, hint="the bundle is damaged: copy it again, or train again") from error


def _refuse_strangers(path: Path) -> None:
    known = {MANIFEST, *FILES, PARTNER}  # a challenger's files are named by its manifest: see `_refuse_unnamed`
    try:
        files = sorted(path.iterdir())
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise BundleError(msg, hint="check the permissions of the folder") from error
    for file in files:
        if file.suffix.lower() in PICKLES:
            msg = f"{file} is a pickle or the like: loading one can run any code, so no bundle holds one"
            raise BundleError(msg, hint="remove it")
        if file.name not in known and not file.name.startswith(MODEL_FILE):
            msg = f"{file} does not belong into a bundle; expected only {', '.join(sorted(known))}"
            raise BundleError(msg, hint="remove it")
        if not file.is_file():
            msg = f"{file} is not a file"
            raise BundleError(msg, hint="the bundle is incomplete: copy it again, or train again")


def _refuse_unnamed(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse files that some bundles have and that this one's manifest does not vouch for."""
    for file in sorted(path.iterdir()):
        if file.name not in manifest["files"] and file.name != MANIFEST:
            what = {REFERENCE: "reference", PARTNER: "partner", TREES: "CatBoost model"}.get(file.name, "such file")
            msg = f"{file} does not belong into this bundle: its manifest names no {what}"
            raise BundleError(msg, hint="remove it")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} is missing or unreadable ({error.strerror})"
        raise BundleError(msg, hint="the bundle is incomplete: copy it again, or train again") from error


def _checked(path: Path, expected: str) -> bytes:
    content = _read(path)
    if _sha256(content) != expected:
        msg = f"{path} was changed: its SHA-256 is {_sha256(content)[:16]}…, the manifest says {expected[:16]}…"
        raise BundleError(msg, hint="the bundle is damaged: copy it again, or train again")
    return content


def _parse(content: bytes, path: Path) -> Mapping[str, Any]:
    try:
        return read_object(content)
    except DocumentError as error:
        msg = f"{path} {error}"
        raise BundleError(msg, hint="the bundle is damaged: copy it again, or train again") from error


def _understands_time(manifest: Mapping[str, Any]) -> bool:
    """Return whether as_of, null for a random split alone, is an aware time that the zone can show."""
    try:
        as_of, zone = _as_of(manifest), ZoneInfo(manifest["timezone"])
        return as_of is None or (as_of.tzinfo is not None and as_of.astimezone(zone) == as_of)
    except (ValueError, TypeError, OSError, KeyError, OverflowError):
        return False


def _check_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    schema = manifest.get("schema_version")
    if type(schema) is not int or schema not in _READ:
        found = schema if type(schema) is int and 0 <= schema < 1000 else type(schema).__name__
        msg = f"{path / MANIFEST} has schema version {found}; this fraudctl reads {_UNSEALED} to {SCHEMA_VERSION}"
        raise BundleError(msg, hint="use the fraudctl version that wrote it, or train again")
    files = manifest.get("files")
    texts = all(isinstance(manifest.get(key), str) for key in ("timezone", "project_file"))
    sound = isinstance(files, dict) and set(files) == _expected(manifest)
    sound = sound and all(isinstance(item, str) for item in manifest["files"].values())
    if not (sound and texts and isinstance(manifest.get("facts"), dict) and _understands_time(manifest)):
        msg = f"{path / MANIFEST} is not a manifest: files, as_of, timezone, project_file and facts are expected"
        raise BundleError(msg, hint="the bundle is damaged: copy it again, or train again")


def _expected(manifest: Mapping[str, Any]) -> set[str]:
    """Return the files that a manifest has to vouch for; a partner's where it gives a weight in (0, 1)."""
    weight, schema = manifest.get("partner_weight"), manifest["schema_version"]
    files = set(FILES) - ({REFERENCE} if schema <= _NO_REFERENCE else set())
    if schema > _NO_CHALLENGER and "challenger" in manifest:
        learned = {name for name in manifest["files"] if name.startswith(MODEL_FILE)}
        sound = (
            weight is None and len(learned) > 1 and CHALLENGER in learned and all("/" not in name for name in learned)
        )
        return (files - {TREES}) | learned if sound else set()
    if weight is None or schema <= _NO_PARTNER:
        return files
    return {*files, PARTNER} if isinstance(weight, float) and 0.0 < weight < 1.0 else set()


def find_bundle(reference: str, models_dir: Path) -> Path:
    """Return the folder of a bundle: a version in ``models_dir``, or a path.

    Raises
    ------
    BundleError
        There is none.
    """
    for candidate in (models_dir / reference, Path(reference)):
        if _is_bundle(candidate):
            return candidate
    there = ", ".join(path.name for path in list_bundles(models_dir)) or "none"
    msg = f"no bundle {reference!r}; in {models_dir} there is: {there}"
    raise BundleError(msg, hint="give a version, a path, `latest` or `champion`; `fraudctl train` writes a bundle")


def _is_bundle(path: Path) -> bool:
    try:
        return (path / MANIFEST).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def list_bundles(models_dir: Path) -> list[Path]:
    """Return the folders in ``models_dir`` that are named as versions, by name; the log knows their order."""
    if not models_dir.is_dir():
        return []
    return sorted(path for path in models_dir.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir())
