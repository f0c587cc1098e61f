"""What a control group is worth: a model trained where blocked events have no labels, with and without its weights.

The sample's labels are the truth. A first model, trained on the first months with every label, decides on the next
ones: what it blocks loses its label, but for a control group that is drawn as `serve --control` draws it and let
through. Then the next model is trained on these months alone, in several ways: every label (which nobody has), labels
of what was let through, and with a control group, ``[data] decisions`` in the project file and ``[train] weight_cap``
at several values. All decide on the last weeks and are measured on their true labels: the money lost, and the share of
the fraud's money that is caught. Differences are paired on the same events of each seed; the intervals are those of a
t-test over seeds, so that the draw of the control group, the sample and the training are all in them.

Usage: python benchmarks/bench_control.py [--events 40000] [--seeds 12] --rows FILE [--block 1] [--control 20 5]
       [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import stdtrit

import fraudctl
from fraudctl import load_project, open_model, score_files, train_model
from fraudctl.scoring.experiment import Experiment
from fraudctl.workflows.sample import write_sample

FIRST, LEARNED, DAYS = 110, 210, 250
"""Days on which the first model is trained, on which the second period ends, and of the sample."""
CAPS = (1, 3, 20)
"""Values of ``weight_cap`` that are compared."""
WAYS = ("every label", "blocked unlabelled", *(f"control, cap {cap}" for cap in CAPS))
LABELS = ("is_fraud", "label_available_at")
TOML = """
[project]
name = "control"
[data]
events = "events.parquet"
event_id = "transaction_id"
event_time = "created_at"
amount = "amount"
label = "is_fraud"
label_time = "label_available_at"
label_delay = "14d"
ignore = ["status"]
{named}
[entities]
card = "card_id"
merchant = "merchant_id"
device = "device_id"
[features]
raw = ["amount", "category", "country", "card_country", "channel"]
categorical = ["category", "country", "card_country", "channel"]
[[features.window]]
by = ["card", "merchant", "device"]
windows = ["1h", "7d", "30d"]
aggregates = ["count", "mean(amount)"]
[[features.labels]]
by = ["card", "merchant", "device"]
windows = ["30d"]
aggregates = ["fraud_count"]
[split]
train = "{train}d"
test = "14d"
folds = 2
[train]
trials = 0
iterations = 200
threads = 1
partner = "none"
weight_cap = {cap}
[costs]
currency = "EUR"
[costs.actions]
allow.fraud = {{ fixed = 15, rate = 1.0, at_least = 0 }}
block.legit = {{ fixed = {block}, rate = {rate}, at_least = 0 }}
"""
NAMED = 'decisions = "logged.parquet"'


@dataclass(frozen=True)
class World:
    """The sample with its truth, cut into periods."""

    folder: Path
    truth: pl.DataFrame
    block: float
    """What blocking a legitimate event costs, beside 2 % of its amount times this."""

    def day(self, n: int) -> Any:
        """Return the instant that begins a day of the sample."""
        return self.truth["created_at"].min().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=n)  # type: ignore[union-attr]

    def between(self, frame: pl.DataFrame, low: int, high: int) -> pl.DataFrame:
        """Return the events of some days."""
        return frame.filter(pl.col("created_at") >= self.day(low), pl.col("created_at") < self.day(high))

    def decided(
        self, name: str, events: pl.DataFrame, *, until: int, named: str, train: int, cap: int = 20
    ) -> pl.DataFrame:
        """Train on events up to a day, and decide on those after it: ``event_id``, ``action``.

        Runs of one name have the same data, so that features are built once.
        """
        place = self.folder / name
        place.mkdir(exist_ok=True)
        past, later = self.between(events, 0, until), events.filter(pl.col("created_at") >= self.day(until))
        as_of = past["created_at"].max()
        known = [pl.when(pl.col("label_available_at") <= as_of).then(pl.col(item)) for item in LABELS]
        drawn = ["exposure_prob", "control_group"]
        if named:  # what `serve --control` logs of each event
            past.select("transaction_id", *drawn).rename({"transaction_id": "event_id"}).write_parquet(
                place / "logged.parquet"
            )
        past.with_columns(known).drop(drawn, strict=False).write_parquet(place / "events.parquet")
        (place / "fraudctl.toml").write_text(
            TOML.format(named=named, train=train, block=self.block, rate=0.02 * self.block, cap=cap)
        )
        later = later.drop(drawn, strict=False)
        later.with_columns(pl.lit(None, dtype=events.schema[item]).alias(item) for item in LABELS).write_parquet(
            place / "later.parquet"
        )
        project = load_project(place)
        model = train_model(project, as_of=as_of)  # type: ignore[arg-type]
        found = score_files(
            open_model(place, model.version), [place / "later.parquet"], output=place / "decisions.parquet",
            history=[place / "events.parquet"],
        )  # fmt: skip
        return pl.read_parquet(found.output).select("event_id", "action")


def control_world(world: World, blocked: pl.Expr, control: int, seed: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the truth without the labels of what is blocked and not let through, with a control group; and counts."""
    experiment = Experiment(f"seed{seed}", control=control * 10_000)
    drawn = pl.Series([experiment.drawn(item) for item in world.truth["transaction_id"].to_list()])
    full = world.truth.with_columns(
        exposure_prob=pl.when(blocked).then(experiment.exposure).otherwise(1.0), control_group=drawn
    )
    through = full.filter(blocked & pl.col("control_group"))
    counts = full.filter(blocked).select(
        blocked=pl.len(), frauds=pl.col("is_fraud").sum(), let_through=pl.col("control_group").sum(),
        frauds_let_through=(pl.col("is_fraud") * pl.col("control_group")).sum(),
    )  # fmt: skip
    lost = through.select(((15.0 + pl.col("amount")) * pl.col("is_fraud")).sum().round()).item()
    return hidden(full, blocked & ~pl.col("control_group")), {**counts.row(0, named=True), "lost_on_them": lost}


def hidden(frame: pl.DataFrame, rows: pl.Expr) -> pl.DataFrame:
    """Return the events without the labels of some."""
    return frame.with_columns(pl.when(rows).then(None).otherwise(pl.col(item)).alias(item) for item in LABELS)


def money(world: World, decided: pl.DataFrame) -> pl.DataFrame:
    """Return ``card_id``, the money lost on each event of the last weeks, and fraud's money caught and in all."""
    test = (
        world.between(world.truth, LEARNED, DAYS)
        .join(decided, left_on="transaction_id", right_on="event_id", how="inner", maintain_order="left")
        .filter(pl.col("is_fraud").is_not_null())
    )
    amount, fraud = pl.col("amount").clip(lower_bound=0.0), pl.col("is_fraud") == 1
    cost = (
        pl.when(pl.col("action") == "allow").then(pl.when(fraud).then(15.0 + amount).otherwise(0.0))
        .otherwise(pl.when(fraud).then(0.0).otherwise(world.block * (1.0 + 0.02 * amount)))
    )  # fmt: skip
    stopped = fraud & (pl.col("action") != "allow")
    return test.select(
        "card_id", cost=cost, caught=pl.when(stopped).then(amount).otherwise(0.0),
        fraud=pl.when(fraud).then(amount).otherwise(0.0), allowed_all=pl.when(fraud).then(15.0 + amount).otherwise(0.0),
    )  # fmt: skip


def one(seed: int, events: int, block: float, controls: list[int]) -> dict[int, dict[str, Any]]:
    """Return, by the share of the control group, what each way is worth in one world, and counts."""
    with tempfile.TemporaryDirectory() as name:
        sample = write_sample(Path(name) / "sample", n_events=events, days=DAYS + 40, seed=seed)
        world = World(
            Path(name), pl.read_parquet(sample.transactions).unique("transaction_id").sort("created_at"), block
        )

        def made(place: str, frame: pl.DataFrame, named: str = "", cap: int = 20) -> dict[str, float]:
            found = world.decided(place, frame, until=LEARNED, named=named, train=LEARNED - FIRST, cap=cap)
            return levels(money(world, found))

        first = world.decided("first", world.between(world.truth, 0, LEARNED), until=FIRST, named="", train=FIRST)
        ids = first.filter(pl.col("action") == "block")["event_id"]
        blocked = pl.col("transaction_id").is_in(ids.implode())
        shared = {
            "every label": made("every", world.truth),
            "blocked unlabelled": made("blind", hidden(world.truth, blocked)),
        }
        out = {}
        for control in controls:
            frame, counts = control_world(world, blocked, control, seed)
            capped = {f"control, cap {cap}": made(f"control{control}", frame, NAMED, cap) for cap in CAPS}
            out[control] = {"counts": counts, **shared, **capped}
        return out


def levels(found: pl.DataFrame) -> dict[str, float]:
    """Return savings against allowing all, and the share of the fraud's money that is caught."""
    total = found.select(pl.col("cost", "caught", "fraud", "allowed_all").sum()).row(0, named=True)
    return {
        "savings": round(1.0 - total["cost"] / total["allowed_all"], 4),
        "value_recall": round(total["caught"] / total["fraud"], 4),
    }


def average(values: list[float]) -> list[float | None]:
    """Return the mean over seeds and its 95 % interval by a t-test; the ends are null for one seed."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return [round(mean, 4), None, None]
    reach = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))
    return [round(item, 4) for item in (mean, mean - reach, mean + reach)]


def setting(worlds: list[dict[str, Any]], control: int) -> dict[str, Any]:
    """Return what one share of the control group gave on all seeds."""
    pairs = [(way, "blocked unlabelled") for way in WAYS if way != "blocked unlabelled"]
    pairs += [(f"control, cap {CAPS[-1]}", f"control, cap {cap}") for cap in CAPS[:-1]]
    figures = ("savings", "value_recall")
    return {
        "control_percent": control,
        "counts": {name: [world["counts"][name] for world in worlds] for name in worlds[0]["counts"]},
        "levels": {way: {name: average([world[way][name] for world in worlds]) for name in figures} for way in WAYS},
        "differences": {
            f"{one_way} less {other}": {
                name: average([world[one_way][name] - world[other][name] for world in worlds]) for name in figures
            }
            for one_way, other in pairs
        },
    }  # fmt: skip


def rows_of(path: Path) -> dict[int, dict[int, dict[str, Any]]]:
    """Return what was simulated before: seed -> share of the control group -> one world."""
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        row = json.loads(line)
        found.setdefault(row.pop("seed"), {})[row.pop("control")] = row
    return found


def main() -> None:
    """Simulate, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first", type=int, default=300)
    parser.add_argument("--block", type=float, default=1.0, help="what blocking a legitimate event costs")
    parser.add_argument("--control", type=int, nargs="+", default=[20, 5], help="control group in per cent")
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines: a seed that is there is not run again")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for seed in range(args.first, args.first + args.seeds):
        if seed not in rows_of(args.rows):
            found = one(seed, args.events, args.block, args.control)
            with args.rows.open("a") as file:
                for control, world in found.items():
                    file.write(json.dumps({"seed": seed, "control": control, **world}) + "\n")
    rows = rows_of(args.rows)
    result: dict[str, Any] = {
        "events": args.events, "block_legit_fixed": args.block, "block_legit_rate": 0.02 * args.block,
        "seeds": sorted(rows), "settings": [setting([rows[seed][n] for seed in sorted(rows)], n) for n in args.control],
        "fraudctl": fraudctl.__version__, "python": platform.python_version(), "machine": platform.machine(),
        "polars": pl.__version__, "numpy": np.__version__,
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
