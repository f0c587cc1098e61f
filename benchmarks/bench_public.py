"""Public fraud files as they come: from the raw file to `explain`, with no script, against CatBoost on the raw columns.

Each file of a folder goes through the command line as a stranger would take it: `init` with the file alone, then once
more with the answers that the refusal asked for, then `check`, `train`, `evaluate` and `explain`. Counted are the calls
until the first figure and their seconds. Beside the model stands CatBoost with its defaults on the raw columns: every
column of the file but its id, its times, its label and those that `init` says were written after the outcome; fitted on
the same events, judged on the same test period. Intervals (90 %) and differences are those of 400 resamples of the
test's events, the same for both.

    python benchmarks/bench_public.py FOLDER --out benchmarks/results/public.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from catboost import CatBoostClassifier
from sklearn.metrics import average_precision_score

from fraudctl import load_project
from fraudctl.data import tables
from fraudctl.split import make_split

ANSWERS = {"--label-delay": {"fraud_oracle.csv": "14d", "paysim_sample.csv": "6h", "ieee_head.csv": "2h"}}
"""What a person would say where the example of the refusal is not to be taken as it stands."""
_FLAGS = re.compile(r"(?:All at once, with your own answers: |such as )(--[^(;,]+)")
RESAMPLES = 400
AFTER = "outcome"
"""A reason of `init` with this word says that a column was written later."""


def run(place: Path, *words: str, timeout: int = 3_600) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a command of the command line in a folder; give it and its seconds."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fraudctl", *words], cwd=place, capture_output=True, text=True, check=False,
        timeout=timeout,
    )  # fmt: skip
    return done, time.perf_counter() - begun


def init(place: Path, file: Path) -> tuple[list[str], float]:
    """Run `init` until it writes a project, with the flags that its refusals ask for; give every call, and seconds."""
    flags: list[str] = []
    calls, seconds = [], 0.0
    for _ in range(4):
        words = ["init", str(file), *flags]
        done, took = run(place, *words)
        calls.append(shlex.join(["fraudctl", "init", file.name, *flags]))
        seconds += took
        if done.returncode == 0:
            return calls, seconds
        found = _FLAGS.findall(done.stderr)
        if done.returncode != 2 or not found:
            raise SystemExit(f"{file.name}: {done.stderr}")
        flags = shlex.split(found[-1])
        for flag, known in ANSWERS.items():
            if flag in flags and file.name in known:
                flags[flags.index(flag) + 1] = known[file.name]
    raise SystemExit(f"{file.name}: init refused four times")


def baseline(place: Path, scored: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Fit CatBoost with its defaults on the raw columns; give its scores of the events that were scored."""
    project = load_project(place)
    names = [name for name in tables.load_schema(project) if name not in left_out(project)]
    loaded = tables.load_events(project, columns=names)
    split = make_split(loaded.frame, project, known_until=loaded.known_until)
    frame = loaded.frame.rename({name: f"x_{name}" for name in names})
    kinds = {f"x_{name}": frame.schema[f"x_{name}"] for name in names}
    times = [name for name, kind in kinds.items() if kind.is_temporal()]
    frame = frame.with_columns(pl.col(times).cast(pl.Int64, strict=False))
    texts = [name for name, kind in kinds.items() if kind == pl.String]
    frame = frame.with_columns(pl.col(texts).fill_null("missing"))
    frame = frame.with_columns(pl.col(name).cast(pl.Float64) for name in kinds if name not in texts)
    rows = frame.filter(pl.Series(split.train))
    wide = frame.join(scored.select("event_id"), on="event_id", maintain_order="right")
    model = CatBoostClassifier(verbose=False, random_seed=0, thread_count=os.cpu_count(), allow_writing_files=False)
    columns = [name for name in kinds if rows[name].n_unique() > 1]
    model.fit(
        rows.select(columns).to_pandas(), rows["label"].to_numpy(), cat_features=[n for n in columns if n in texts]
    )
    return np.asarray(model.predict_proba(wide.select(columns).to_pandas())[:, 1])


def left_out(project: Any) -> set[str]:
    """Give the columns that are no raw columns: roles, and what `init` found to be written after the outcome."""
    data = project.data
    form = data.time.columns if data.time is not None else ()
    roles = {str(data.event_id), data.event_time, data.label, data.label_time, *form}
    later, reason = set(), ""
    for line in project.text.partition("ignore = [")[2].partition("\n]")[0].splitlines():
        names, _, said = line.partition("#")
        reason = said or (reason if names.strip() else "")
        if names.strip() and any(word in reason for word in (AFTER, "written", "result", "rises or falls")):
            later |= set(re.findall(r'"([^"]+)"', names))
    return {name for name in roles | later if name is not None}


def one_file(file: Path) -> dict[str, Any]:
    """Take one file from raw to explained."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        calls, took = init(place, file)
        steps = {"init": took}
        predictions = place / "predictions.parquet"
        commands = {
            "check": ["check"],
            "train": ["train", "--trials", "0"],
            "evaluate": ["evaluate", "--no-gate", "--json", "--predictions", str(predictions)],
            "explain": ["explain"],
        }
        document: dict[str, Any] = {}
        for name, words in commands.items():
            done, steps[name] = run(place, *words)
            if done.returncode not in {0, 1}:
                raise SystemExit(f"{file.name}: {name} ended with {done.returncode}: {done.stderr}")
            document = json.loads(done.stdout) if name == "evaluate" else document
        scored = pl.read_parquet(predictions)
        scored = scored.filter(pl.col("label").is_not_null())
        other = baseline(place, scored)
        return {
            "calls": calls,
            "refused": len(calls) - 1,
            "seconds": {name: round(value, 1) for name, value in steps.items()},
            "n_features": len(load_project(place).features.raw),
            **judged(scored["label"].to_numpy(), scored["y_prob"].to_numpy(), other),
        }


def judged(
    y_true: npt.NDArray[np.int8], ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Compare two scores of the same events by average precision, with intervals of resampled events."""
    rng = np.random.default_rng(0)
    found = []
    while len(found) < RESAMPLES:
        rows = rng.integers(0, len(y_true), len(y_true))
        if y_true[rows].any():
            found.append([average_precision_score(y_true[rows], item[rows]) for item in (ours, theirs)])
    drawn = np.asarray(found)

    def interval(values: npt.NDArray[np.float64]) -> list[float]:
        return [round(float(value), 4) for value in np.quantile(values, [0.05, 0.95])]

    points = [float(average_precision_score(y_true, item)) for item in (ours, theirs)]
    return {
        "n_test": len(y_true),
        "n_frauds": int(y_true.sum()),
        "average_precision": {"value": round(points[0], 4), "interval": interval(drawn[:, 0])},
        "catboost_raw": {"value": round(points[1], 4), "interval": interval(drawn[:, 1])},
        "difference": {"value": round(points[0] - points[1], 4), "interval": interval(drawn[:, 0] - drawn[:, 1])},
    }


def main() -> int:
    """Take every file of the folder, one after the other, and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="folder with the files")
    parser.add_argument("--only", nargs="*", help="names of files")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    given = parser.parse_args()
    files = [file for file in sorted(given.folder.glob("*.csv")) if not given.only or file.name in given.only]
    before = json.loads(given.out.read_text())["files"] if given.out is not None and given.out.exists() else {}
    for file in files:
        before[file.name] = one_file(file)
        print(file.name, json.dumps(before[file.name]))
        if given.out is not None:
            versions = {name: version(name) for name in ("fraudctl", "catboost", "polars")}
            machine = {"python": platform.python_version(), "cores": os.cpu_count(), **versions}
            given.out.write_text(json.dumps({"machine": machine, "files": before}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
