"""Average precision and card precision@100 on the handbook's weeks, from `init`, `train` and `evaluate` alone.

Runs the commands as a user would on the card-payment simulation of *Reproducible Machine Learning for Credit Card Fraud
Detection* (Le Borgne, Siblini, Lebichot, Bontempi; ULB): its week of 2018-08-08 and the three after it, on which its
chapter 5 (model selection) tests. Nothing is tuned by hand: features, search and all else are those that `init` writes.
The table stands beside what the authors publish, and beside an oracle that knows the generator and gets its labels 7
days late. A week takes some minutes; with `--work` the finished ones are kept, and the next run goes on from there.

With `--short`, the first week is also trained on 7 days instead of 82, as proposed and by the plain recipe: symmetric
trees that may split by any column, nothing searched and no partner. `evaluate --champion` says what lies between the
two on the same events, with an interval.

    python benchmarks/bench_handbook.py path/to/transactions.parquet --work handbook \
        --out benchmarks/results/handbook.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.metrics import log_loss  # type: ignore[attr-defined]

WEEKS = ("2018-08-08", "2018-08-15", "2018-08-22", "2018-08-29")
FLAGS = (
    "--event-id", "TRANSACTION_ID", "--event-time", "TX_DATETIME", "--amount", "TX_AMOUNT", "--label", "TX_FRAUD",
    "--label-delay", "7d", "--entity", "customer=CUSTOMER_ID", "--entity", "terminal=TERMINAL_ID",
    "--ignore", "TX_FRAUD_SCENARIO", "--ignore", "TX_TIME_SECONDS", "--ignore", "TX_TIME_DAYS",
)  # fmt: skip
METRICS = ("roc_auc", "average_precision", "customer_precision_at_100")
ELSEWHERE = {
    "week of 2018-08-08": {
        "published, logistic regression": (0.871, 0.606, 0.291),
        "published, random forest": (0.867, 0.658, 0.287),
        "published, XGBoost": (0.862, 0.639, 0.273),
        "oracle, labels 7 days late": (0.889, 0.770, 0.301),
    },
    "mean of the four folds": {
        "published, tuned random forest": (0.870, 0.678, 0.299),
        "published, tuned XGBoost": (0.869, 0.687, 0.303),
        "oracle, labels 7 days late": (0.883, 0.764, 0.310),
    },
}
EXPECTED_ROWS = (58_264, 385)
LEAK = 0.80


def run(*arguments: str, place: Path) -> str:
    """Run one command of fraudctl in ``place`` and give its output; its progress is passed through."""
    command = [sys.executable, "-m", "fraudctl", *arguments]
    return subprocess.run(command, cwd=place, check=True, stdout=subprocess.PIPE, text=True).stdout


SHORT = "7d"
PLAIN = '[train]\npartner = "none"\nparams = { rsm = 1.0 }\n'


def project_for(proposed: str, as_of: str, *, trials: int | None, train: str = "82d") -> str:
    """Set the week's split, its blocked customers and the number of trials in the proposed project file."""
    since = date.fromisoformat(as_of) - timedelta(days=14)
    split = f'[split]\nas_of = {as_of}\ntest = "7d"\ntrain = "{train}"\n'
    block = f'[evaluate]\nblock_known = {{ entity = "customer", since = {since} }}\n'
    text = proposed.replace("[split]\n", split, 1).replace("[evaluate]\n", block, 1)
    if trials is not None:
        text = "\n".join(f"trials = {trials}" if line.startswith("trials =") else line for line in text.split("\n"))
    return text


def bundle_of(place: Path, project_file: str) -> tuple[str, dict[str, Any]] | None:
    """Give name and training summary of the bundle that was made with this very project file, where there is one."""
    for file in sorted((place / "models").glob("*/manifest.json")):
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["project_file"] == project_file:
            return file.parent.name, manifest["facts"]["training"]
    return None


def trained(place: Path, text: str) -> tuple[str, dict[str, Any]]:
    """Give name and training summary of the model of a project file, trained where that was not done."""
    (place / "fraudctl.toml").write_text(text, encoding="utf-8")
    if bundle_of(place, text) is None:
        run("train", "--json", place=place)
    return bundle_of(place, text) or ("", {})


def short_history(place: Path, proposed: str, *, trials: int | None) -> dict[str, Any]:
    """Compare, for the first week, a model of few days with one of the plain recipe on the same days."""
    file = place / f"week-{WEEKS[0]}-{SHORT}-{'default' if trials is None else trials}-trials.json"
    if not file.exists():
        text = project_for(proposed, WEEKS[0], trials=trials, train=SHORT)
        plain, _ = trained(place, project_for(proposed, WEEKS[0], trials=0, train=SHORT).replace("[train]\n", PLAIN, 1))
        model, summary = trained(place, text)
        judged = evaluated(place, model, "--champion", plain)
        champion = judged["champion"]
        found = {
            "as_of": WEEKS[0],
            "history": SHORT,
            "trees": summary["trees"],
            "tuning": summary["tuning"],
            "average_precision": judged["metrics"]["average_precision"],
            "log_loss": judged["log_loss"],
            "plain": {"average_precision": champion["metrics"]["average_precision"]},
            "difference": champion["differences"]["average_precision"],
            "confidence": judged["confidence"],
        }
        file.write_text(json.dumps(found), encoding="utf-8")
    return dict(json.loads(file.read_text(encoding="utf-8")))


def evaluated(place: Path, model: str, *flags: str) -> dict[str, Any]:
    """Evaluate a model on its test week; the logarithmic loss of its probabilities is added."""
    arguments = ("--json", "--no-gate", "--model", model, "--predictions", "predictions.parquet", *flags)
    judged = json.loads(run("evaluate", *arguments, place=place))
    scored = pl.read_parquet(place / "predictions.parquet")
    return {**judged, "log_loss": float(log_loss(scored["label"], scored["y_prob"]))}


def one_week(place: Path, proposed: str, as_of: str, *, trials: int | None) -> dict[str, Any]:
    """Train, unless that was done, and evaluate for one test week."""
    model, summary = trained(place, project_for(proposed, as_of, trials=trials))
    judged = evaluated(place, model)
    return {
        "as_of": as_of,
        "rows": judged["rows"],
        "frauds": judged["frauds"],
        "metrics": {name: judged["metrics"][name] for name in METRICS},
        "log_loss": judged["log_loss"],
        "tuning": summary["tuning"],
        "trees": summary["trees"],
        "baselines": summary["baselines"],
    }


def table(title: str, rows: dict[str, tuple[float, ...]]) -> str:
    """Draw one comparison."""
    lines = [title, f"  {'':34}{'AUC ROC':>9}{'avg. prec.':>12}{'card p@100':>12}"]
    lines += [f"  {name:34}{auc:9.3f}{ap:12.3f}{top:12.3f}" for name, (auc, ap, top) in rows.items()]
    return "\n".join(lines)


def values(week: dict[str, Any]) -> tuple[float, ...]:
    """Give the points of the metrics."""
    return tuple(week["metrics"][name]["value"] for name in METRICS)


def finished_weeks(place: Path, proposed: str, weeks: tuple[str, ...], *, trials: int | None) -> list[dict[str, Any]]:
    """Give the results of the weeks, each computed once per folder."""
    found = []
    for as_of in weeks:
        file = place / f"week-{as_of}-{'default' if trials is None else trials}-trials.json"
        if not file.exists():
            file.write_text(json.dumps(one_week(place, proposed, as_of, trials=trials)), encoding="utf-8")
        found.append(json.loads(file.read_text(encoding="utf-8")))
    return found


def problems_of(weeks: list[dict[str, Any]], ours: dict[str, tuple[float, ...]]) -> list[str]:
    """Say what cannot be right: another number of rows than the authors have, or more than the data can give."""
    first = (weeks[0]["rows"], weeks[0]["frauds"])
    found = [] if first == EXPECTED_ROWS else [f"expected {EXPECTED_ROWS} rows and frauds, got {first}"]
    return found + [f"{title}: {ap:.3f} is above {LEAK}: a leak" for title, (_, ap, _) in ours.items() if ap > LEAK]


def main() -> int:
    """Run the benchmark; 1 where a figure cannot be right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("transactions", type=Path, help="transactions.parquet of the handbook")
    parser.add_argument("--weeks", type=int, default=len(WEEKS), choices=range(1, len(WEEKS) + 1))
    parser.add_argument("--trials", type=int, help="instead of what init proposes")
    parser.add_argument("--short", action="store_true", help="also train on 7 days, and compare with the plain recipe")
    parser.add_argument("--work", type=Path, help="folder that keeps features and finished weeks")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.work or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        data = place / "transactions.parquet"
        if not data.exists():
            data.symlink_to(options.transactions.resolve())
        run("init", data.name, *FLAGS, "--force", place=place)
        proposed = (place / "fraudctl.toml").read_text(encoding="utf-8")
        weeks = finished_weeks(place, proposed, WEEKS[: options.weeks], trials=options.trials)
        short = short_history(place, proposed, trials=options.trials) if options.short else None
    found = {"week of 2018-08-08": values(weeks[0])}
    if len(weeks) == len(WEEKS):
        found["mean of the four folds"] = tuple(sum(v) / len(WEEKS) for v in zip(*map(values, weeks), strict=True))
    if short is not None:
        print(json.dumps(short, indent=1))
    for title, ours in found.items():
        print(table(title, {**ELSEWHERE[title], "fraudctl init + train": ours}), end="\n\n")
    if options.out is not None:
        machine = {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()}
        packages = {name: version(name) for name in ("fraudctl", "catboost", "polars", "numpy", "optuna")}
        document = {
            "weeks": weeks,
            "ours": found,
            "elsewhere": ELSEWHERE,
            "short_history": short,
            "machine": machine,
            "packages": packages,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    problems = problems_of(weeks, found)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
