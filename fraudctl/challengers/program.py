"""Run a challenger's program: its files in a folder of its own, a time limit, and its answer checked.

Owns the working folder of a step and what the program finds there: copies of the files that were hashed, the tables,
the facts and the fitted model, and nothing else of the project. The folder is gone afterwards. What the program reads
elsewhere on the machine cannot be prevented.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import polars as pl

from fraudctl.arrays import FloatArray
from fraudctl.challengers.contract import (
    CONTEXT,
    EVENT_ID,
    FACTS,
    MODEL,
    ROWS,
    SCORES,
    TRAIN,
    VERSIONS,
    ChallengerFacts,
    read_scores,
)  # fmt: skip
from fraudctl.disk import files as disk
from fraudctl.errors import DataError, ProjectError, UsageError
from fraudctl.text.figures import count
from fraudctl.text.plain import shown, visible

if TYPE_CHECKING:
    from fraudctl.project.challengers import ChallengerSection

PICKLES: Final = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".pt", ".pth"})
"""Endings of files that can run code when they are loaded; no bundle holds one."""
NEEDED: Final = {
    "fraudctl.challengers.lightgbm": ("lightgbm", "LightGBM", "'fraudctl[blend]'"),
    "fraudctl.challengers.xgboost": ("xgboost", "XGBoost", "xgboost"),
    "fraudctl.challengers.gru": ("torch", "PyTorch", "'fraudctl[neural]'"),
}
"""Shipped entry -> its library: module, name, and what pip installs it by."""
LARGEST: Final = 1 << 30
"""Most bytes of a fitted model."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN_LINES = 15


@dataclass(frozen=True)
class FittedModel:
    """What a fit left behind: the files of its model, and the versions of what it ran on."""

    files: Mapping[str, bytes]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Program:
    """A challenger's program with the files that it consists of, read once.

    Attributes
    ----------
    name, section
        As in ``[challengers.NAME]``.
    code
        Path relative to the project -> its content.
    installed
        Name of an installed module -> the content of its file.
    """

    name: str
    section: ChallengerSection
    code: Mapping[str, bytes]
    installed: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the program, and of the file of each installed module."""
        named = {**self.code, **{f"module {name}": content for name, content in self.installed.items()}}
        return {path: hashlib.sha256(content).hexdigest() for path, content in sorted(named.items())}

    def fit(self, train: pl.DataFrame, context: pl.DataFrame, facts: ChallengerFacts, *, where: str) -> FittedModel:
        """Fit on `training_rows` and return the model that the program wrote.

        Parameters
        ----------
        context
            Other events of the time before and between the rows, without labels.
        where
            Which fit it is, for messages: "fold 2".

        Raises
        ------
        DataError
            The program fails, takes too long, or writes no model, or one that cannot be kept.
        """
        who = f"challenger {self.name}, {where}, fit"
        with self._folder() as folder:
            (folder / MODEL).mkdir()
            train.write_parquet(folder / TRAIN)
            context.write_parquet(folder / CONTEXT)
            self._run(folder, facts, who)
            return FittedModel(_model_files(folder / MODEL, who), _versions(folder / VERSIONS))

    def score(
        self,
        rows: pl.DataFrame,
        context: pl.DataFrame,
        model: Mapping[str, bytes],
        facts: ChallengerFacts,
        *,
        where: str,
    ) -> FloatArray:
        """Score `plain_rows` with a fitted model, in their order; raises as `fit` and `read_scores` do.

        Parameters
        ----------
        context
            Other events of the time before and between the rows, none of which gets a score.
        """
        if rows.is_empty():
            return pl.Series([], dtype=pl.Float64).to_numpy()
        who = f"challenger {self.name}, {where}, score"
        with self._folder() as folder:
            (folder / MODEL).mkdir()
            for name, content in model.items():
                (folder / MODEL / name).write_bytes(content)
            rows.write_parquet(folder / ROWS)
            context.write_parquet(folder / CONTEXT)
            self._run(folder, facts, who)
            return read_scores(folder / SCORES, rows[EVENT_ID], who=who)

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        """Return a new folder with copies of the program's files; errors of the system in it are a DataError."""
        place = Path(tempfile.gettempdir())
        try:
            with disk.system_errors(), disk.temporary_folder(place, f"fraudctl-{self.name}") as folder:
                for path, content in self.code.items():
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                yield folder
        except OSError as error:
            msg = f"challenger {self.name} cannot be run in {place}: {error.strerror or type(error).__name__}"
            raise DataError(msg, hint="make room there, or set TMPDIR to a folder with room") from error

    def _run(self, folder: Path, facts: ChallengerFacts, who: str) -> None:
        (folder / FACTS).write_bytes(facts.to_json(folder))
        words = [*self._command(), str(folder / FACTS)]
        with (folder / ".output").open("wb") as output:
            code = _finished(words, folder, output.fileno(), self.section.timeout.seconds, facts.threads)
        if code == 0:
            return
        tail = _tail(folder / ".output")
        said = f"; it wrote last:\n{tail}" if tail else ", and wrote nothing"
        how = f"took longer than {self.section.timeout}" if code is None else f"ended with exit code {code}"
        hint = "raise its timeout, or give it less to do" if code is None else None
        msg = f"{who}: the program {how}{said}"
        raise DataError(msg, hint=hint)

    def _command(self) -> list[str]:
        if self.section.entry is not None:
            return [sys.executable, "-m", "fraudctl.challengers.runner", self.section.entry]
        first = self.section.command[0]
        if shutil.which(first, path=_search_path()) is None and first not in self.code:
            msg = f"challengers.{self.name}.command: there is no program {shown(first)}"
            raise ProjectError(msg, hint="install it, or give its whole path")
        return [shutil.which(first, path=_search_path()) or first, *self.section.command[1:]]


def read_program(name: str, section: ChallengerSection, root: Path) -> Program:
    """Read the files of a challenger: those that its command or entry names, and those of its patterns.

    Raises
    ------
    ProjectError
        A file or module is not there, or a pattern finds none.
    UsageError
        A shipped challenger's library is not installed.
    """
    code: dict[str, bytes] = {}
    for pattern in section.files:
        found = [path for path in sorted(root.glob(pattern)) if path.is_file()]
        if not found:
            msg = f"challengers.{name}.files: no file matches {shown(pattern)}"
            raise ProjectError(msg, hint="patterns are relative to the folder of the project file")
        code |= {path.relative_to(root).as_posix(): _bytes(path) for path in found}
    if section.entry is not None:
        _require_library(name, section.entry)
        own, installed = _module_files(name, section.entry.partition(":")[0], root)
        return Program(name, section, code | own, installed)
    for word in section.command:
        path = PurePosixPath(word)
        if not path.is_absolute() and ".." not in path.parts and (root / path).is_file():
            code[path.as_posix()] = _bytes(root / path)
    scripts = [word for word in section.command[1:] if word.endswith((".py", ".R", ".r", ".jl", ".sh"))]
    missing = [word for word in scripts if PurePosixPath(word).as_posix() not in code and not Path(word).is_absolute()]
    if missing:
        msg = f"challengers.{name}.command: there is no file {shown(missing[0])} beside the project file"
        raise ProjectError(msg)
    return Program(name, section, code)


def _require_library(name: str, entry: str) -> None:
    module, library, package = NEEDED.get(entry, ("polars", "", ""))
    if importlib.util.find_spec(module) is None:
        msg = f"challengers.{name}.entry: {library} is not installed"
        raise UsageError(msg, hint=f"python -m pip install {package}")


def _module_files(name: str, module: str, root: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the file of a module below the project, with its package; or else that of an installed one, by name.

    Shipped challengers are installed ones, even where the project lies beside the source of the package.
    """
    parts = module.split(".")
    place = root.joinpath(*parts).with_suffix(".py")
    if place.is_file() and parts[0] != __name__.partition(".")[0]:
        packages = [root.joinpath(*parts[:k], "__init__.py") for k in range(1, len(parts))]
        files = [place, *(path for path in packages if path.is_file())]
        return {path.relative_to(root).as_posix(): _bytes(path) for path in files}, {}
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        msg = f"challengers.{name}.entry: there is no module {shown(module)} beside the project file, nor installed"
        raise ProjectError(msg)
    return {}, {module: _bytes(Path(spec.origin))}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror})"
        raise ProjectError(msg) from error


def _search_path() -> str:
    """Return where programs are found; this Python's own folder first, so that ``python`` is this one."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _finished(words: list[str], folder: Path, output: int, seconds: int, threads: int) -> int | None:
    """Run a program to its end and return its exit code; None where it took too long and was ended."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    given = {**os.environ, "PATH": _search_path(), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **limits}
    process = subprocess.Popen(  # noqa: S603 - the project file names the program, as it names the data
        words, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(path: Path) -> str:
    """Return the last lines of a program's output, made harmless."""
    text = path.read_bytes()[-20_000:].decode("utf-8", "replace")
    lines = [visible(line)[:300] for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])


def _model_files(folder: Path, who: str) -> dict[str, bytes]:
    places = sorted(folder.iterdir())
    if not places:
        msg = f"{who}: the program wrote no model"
        raise DataError(msg, hint="write what it has learned as files into the folder `model` of the facts")
    for place in places:
        if place.is_symlink() or not place.is_file() or not _NAME.fullmatch(place.name):
            msg = f"{who}: the model may hold plain files alone, named by letters, digits, '.', '_' and '-'"
            raise DataError(msg, hint="pack folders into one file")
        if place.suffix.lower() in PICKLES:
            msg = f"{who}: {place.name} is a pickle or the like: loading one can run any code, so no bundle holds one"
            raise DataError(msg, hint="write text, JSON, Parquet or the library's own format")
    total = sum(place.stat().st_size for place in places)
    if total > LARGEST:
        msg = f"{who}: the model has {count(total, 'byte')}; a bundle takes {LARGEST:,}"
        raise DataError(msg)
    return {place.name: place.read_bytes() for place in places}


def _versions(path: Path) -> dict[str, str]:
    """Return the versions that a program says it ran on; empty where it says none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(key)[:100]: str(value)[:100] for key, value in pairs}
