"""What `monitor` and `dashboard` say week by week after a training on the handbook's card payments, labels 7 days late.

Runs the commands as a user would on the card-payment simulation of *Reproducible Machine Learning for Credit Card Fraud
Detection* (Le Borgne, Siblini, Lebichot, Bontempi; ULB): `init`, `train --as-of 2018-07-01 --trials 0`, promotion,
`score` on the 92 days after it, then `monitor` and `dashboard` at the end of each week, each with what was known that
day. Two limits of harm are set before the first run, from the four weeks before as_of that the latest fold predicted:
recall 0.10 below, missed fraud money a half above. The simulation does not change after as_of: every alarm
on harm would be a false one. The file holds, for each week, the verdict, what is said of it while its labels are young,
and what came of it by labels that the file has from the start.

    python benchmarks/bench_life_handbook.py path/to/transactions.parquet --work life \
        --out benchmarks/results/life_handbook.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from fraudctl.bundle import load_bundle
from fraudctl.policy import Policy
from fraudctl.project import load_project
from fraudctl.registry import champion
from fraudctl.workflows.reference import decided_events

AS_OF = date(2018, 7, 1)
LABEL_DELAY = timedelta(days=7)
FLAGS = (
    "--label-delay", "7d",
    "--ignore", "TX_FRAUD_SCENARIO", "--ignore", "TX_TIME_SECONDS", "--ignore", "TX_TIME_DAYS",
)  # fmt: skip
FIRST_WEEK = date(2018, 7, 2)
WEEKS = 13
LOOK_BACK = timedelta(days=28)
PERIOD = "30w"
"""Longer than 200 days, so that weeks are shown and not days."""


def run(*arguments: str, place: Path, expect: tuple[int, ...] = (0,)) -> str:
    """Run one command of fraudctl in ``place`` and return its output; its progress is passed through."""
    command = [sys.executable, "-m", "fraudctl", *arguments]
    found = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode not in expect:
        msg = f"fraudctl {' '.join(arguments)} ended with {found.returncode}"
        raise RuntimeError(msg)
    return found.stdout


def figures(decided: pl.DataFrame) -> dict[str, float]:
    """Return what is known of decided events once all labels are there: ``amount``, ``action``, ``label``."""
    fraud, flagged = decided["label"] == 1, decided["action"] != "allow"
    amount = decided["amount"]
    missed = float(amount.filter(fraud & ~flagged).sum())
    return {
        "events": decided.height,
        "flagged": int(flagged.sum()),
        "frauds": int(fraud.sum()),
        "recall": float((fraud & flagged).sum()) / max(int(fraud.sum()), 1),
        "missed_loss": missed,
        "missed_bps": 1e4 * missed / float(amount.sum()),
    }


def limits_of(place: Path, model: str) -> dict[str, float]:
    """Return limits of harm from what the latest fold predicted of the four weeks before as_of."""
    bundle, project = load_bundle(place / "models" / model), load_project(place / "fraudctl.toml")
    policy = Policy.from_dict(dict(bundle.policy)).effective
    folds = bundle.predictions().filter(pl.col("fold") > 0).sort("event_time", "event_id")
    late = folds.filter(pl.col("event_time") > pl.col("event_time").max() - LOOK_BACK)
    decided = decided_events(late, policy, project)
    found = figures(decided)
    return {
        "from": str(decided["event_time"].min()),
        "until": str(decided["event_time"].max()),
        **found,
        "recall_at_least": round(found["recall"] - 0.10, 2),
        "missed_bps_at_most": round(found["missed_bps"] * 1.5, 1),
    }  # type: ignore[return-value]


def settle(place: Path, data: Path) -> tuple[str, dict[str, float]]:
    """Propose the project, train and promote, unless that was done in this folder."""
    if not (place / "fraudctl.toml").exists():
        link = place / "transactions.parquet"
        if not link.exists():
            link.symlink_to(data.resolve())
        run("init", link.name, *FLAGS, place=place)
    if not list((place / "models").glob("*/manifest.json")):
        run("train", "--as-of", str(AS_OF), "--trials", "0", place=place)
    model = next((place / "models").glob("*/manifest.json")).parent.name
    if champion(place / "models") != model:
        run("models", "promote", model, "--force", "the first champion", place=place)
    limits, text = limits_of(place, model), (place / "fraudctl.toml").read_text(encoding="utf-8")
    if "[monitor.harm]" not in text:
        text += (
            f"\n[monitor.harm]\nrecall = {{ at_least = {limits['recall_at_least']} }}\n"
            f"fraud_loss_bps = {{ at_most = {limits['missed_bps_at_most']} }}\n"
        )
        (place / "fraudctl.toml").write_text(text, encoding="utf-8")
    return model, limits


def decide(place: Path, data: Path, model: str) -> pl.DataFrame:
    """Score every event from as_of on; return the decisions with the labels that the file has."""
    events, since = pl.read_parquet(data), pl.col("TX_DATETIME") >= AS_OF
    if not (place / "decisions.parquet").exists():
        events.filter(~since).write_parquet(place / "before.parquet")
        events.filter(since).write_parquet(place / "since.parquet")
        run(
            "score", "since.parquet", "--history", "before.parquet", "--model", model, "--reasons", "none",
            "-o", "decisions.parquet", place=place,
        )  # fmt: skip
    decided = pl.read_parquet(place / "decisions.parquet")
    truth = events.select(
        pl.col("TRANSACTION_ID").cast(decided.schema["event_id"]).alias("event_id"),
        pl.col("TX_DATETIME").alias("at"),
        pl.col("TX_AMOUNT").alias("amount"),
        pl.col("TX_FRAUD").alias("label"),
    )
    return decided.select("event_id", "action").join(truth, on="event_id", how="left", validate="1:1")


def labelled(item: dict[str, Any]) -> dict[str, Any]:
    """Return what a dashboard says of a figure."""
    return {name: item[name] for name in ("known", "value", "low", "high", "reason")}


def one_run(place: Path, week: date) -> dict[str, Any]:
    """Look at the end of a week: what `monitor` says, and what the dashboard says of each week so far."""
    as_of = week + timedelta(days=6)
    kept = place / f"run-{as_of}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    watched = json.loads(
        run("monitor", "decisions.parquet", "--as-of", str(as_of), "--json", place=place, expect=(0, 1, 5))
    )
    board = json.loads(
        run("dashboard", "decisions.parquet", "--as-of", str(as_of), "--period", PERIOD, "--json", place=place)
    )
    cohorts = {
        item["first_day"]: {
            "status": item["status"],
            "matured": item["matured"],
            **{name: labelled(item[name]) for name in ("frauds", "recall", "missed_loss", "missed_bps")},
        }
        for item in board["performance"]["cohorts"]
    }
    document = {
        "as_of": str(as_of),
        "verdict": watched["verdict"],
        "exit_code": watched["exit_code"],
        "alarms": [
            {
                "tier": item["tier"],
                "kind": item["kind"],
                "what": item["what"],
                "first_day": item["moved"][0]["first_day"] if item["moved"] else None,
            }
            for item in watched["alarms"]
        ],
        "minor": len(watched["minor"]),
        "limits": [
            {name: item[name] for name in ("figure", "at_least", "at_most", "value", "low", "high", "state")}
            for item in watched["limits"]
        ],
        "watched": {name: watched[name] for name in ("series", "threshold", "reference_days", "first_day", "last_day")},
        "light": board["light"],
        "weeks": cohorts,
    }
    kept.write_text(json.dumps(document), encoding="utf-8")
    return document


def held_by(item: dict[str, Any], true: float) -> bool:
    """Return whether an interval holds what came of it; sums in another order may differ in their last bits."""
    close = 1e-9 * max(abs(true), 1.0)
    return bool(item["low"] - close <= true <= item["high"] + close)


def held(weeks: list[dict[str, Any]], runs: list[dict[str, Any]], name: str, *, behind: int) -> dict[str, Any]:
    """Hold estimates of a figure, so many weeks after a week's end, against what came of it."""
    found = []
    for at, week in enumerate(weeks):
        if at + behind >= len(runs):
            continue
        item = runs[at + behind]["weeks"].get(week["first_day"], {}).get(name)
        if item is None or item["value"] is None:
            continue
        found.append((item, week["truth"][name]))
    inside = [held_by(item, true) for item, true in found]
    return {
        "figure": name,
        "weeks_after_its_end": behind,
        "weeks": len(found),
        "held": sum(inside),
        "mean_error": sum(abs(item["value"] - true) for item, true in found) / len(found) if found else None,
        "mean_error_of_labels_so_far": sum(
            abs((item["known"] if item["known"] is not None else 0.0) - true) for item, true in found
        ) / len(found) if found else None,
    }  # fmt: skip


def main() -> int:
    """Run the benchmark; 1 where a limit of harm is said to be broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transactions", type=Path, help="transactions.parquet of the handbook")
    parser.add_argument("--work", type=Path, help="folder that keeps the model, the decisions and finished runs")
    parser.add_argument("--weeks", type=int, default=WEEKS, choices=range(1, WEEKS + 1))
    parser.add_argument("--parity", type=int, default=500, help="decisions that the last run recomputes")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.work or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        model, limits = settle(place, options.transactions)
        decided = decide(place, options.transactions, model)
        starts = [FIRST_WEEK + timedelta(weeks=number) for number in range(options.weeks)]
        runs = [one_run(place, start) for start in starts]
        end = str(starts[-1] + timedelta(days=6))
        parity = json.loads(
            run("monitor", "decisions.parquet", "--as-of", end, "--parity", str(options.parity), "--json",
                place=place, expect=(0, 1, 5))
        )["parity"]  # fmt: skip
    day = decided["at"].dt.date()
    weeks = [
        {
            "first_day": str(start),
            "truth": figures(decided.filter((day >= start) & (day < start + timedelta(days=7)))),
        }
        for start in starts
    ]
    compared = [
        held(weeks, runs, name, behind=behind)
        for name in ("frauds", "recall", "missed_loss") for behind in (0, 1)
    ]  # fmt: skip
    document = {
        "date": str(date.today()),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {name: version(name) for name in ("fraudctl", "catboost", "numpy", "polars")},
        "cpu_seconds_of_commands": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime),
        "as_of": str(AS_OF),
        "label_delay_days": LABEL_DELAY.days,
        "model": model,
        "before": limits,
        "decisions": decided.height,
        "parity": {name: parity[name] for name in ("sampled", "differing", "missing", "largest")},
        "harm_alarms": sum(alarm["tier"] == "harm" for item in runs for alarm in item["alarms"]),
        "verdicts": {name: sum(item["verdict"] == name for item in runs) for name in ("quiet", "warn", "act")},
        "compared": compared,
        "weeks": weeks,
        "runs": runs,
    }
    for week, item in zip(weeks, runs, strict=True):
        print(week["first_day"], item["verdict"], week["truth"], [alarm["what"] for alarm in item["alarms"]])
    print(json.dumps({name: document[name] for name in ("before", "parity", "harm_alarms", "verdicts", "compared")}))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if document["harm_alarms"] else 0


if __name__ == "__main__":
    sys.exit(main())
