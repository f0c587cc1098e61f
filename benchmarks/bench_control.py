"""What a control group is worth: a model trained where blocked events have no labels, with and without its weights.

The sample's labels are the truth. A first model, trained on the first months with every label, decides on the next
ones: what it blocks loses its label, but for a control group that is drawn as `serve --control` draws it and let
through. Then the next model is trained on these months alone, in four ways: every label (which nobody has), labels of
what was let through, the same with the control group's labels but no weights, and with ``[data] decisions``
in the project file. All decide on the last weeks and are measured on their true labels: the
money lost, and the share of the fraud's money that is caught. Differences are paired on the same events, with intervals
by bootstrap over cards.

Usage: python benchmarks/bench_control.py [--events 40000] [--seeds 3] [--settings 1:20 1:5 2:20] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import fraudctl
from fraudctl import load_project, open_model, score_files, train_model
from fraudctl.arrays import FloatArray
from fraudctl.scoring.experiment import Experiment
from fraudctl.workflows.sample import write_sample

FIRST, LEARNED, DAYS = 110, 210, 250
"""Days on which the first model is trained, on which the second period ends, and of the sample."""
WAYS = ("every label", "blocked unlabelled", "control, no weights", "control, weights")
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

    def decided(self, name: str, events: pl.DataFrame, *, until: int, named: str, train: int) -> pl.DataFrame:
        """Train on events up to a day, and decide on those after it: ``event_id``, ``action``."""
        place = self.folder / name
        place.mkdir()
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
            TOML.format(named=named, train=train, block=self.block, rate=0.02 * self.block)
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


def control_world(world: World, control: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Let the first model decide on the second period; return it without a control group, with one, and counts."""
    full = world.truth.with_columns(exposure_prob=pl.lit(1.0), control_group=pl.lit(value=False))
    seen = world.between(full, 0, LEARNED)
    first = world.decided("first", seen, until=FIRST, named="", train=FIRST)
    experiment = Experiment(f"seed{seed}", control=control * 10_000)
    blocked_ids = first.filter(pl.col("action") == "block")["event_id"]
    blocked = pl.col("transaction_id").is_in(blocked_ids.implode())
    drawn = pl.Series([experiment.drawn(item) for item in full["transaction_id"].to_list()])
    full = full.with_columns(
        exposure_prob=pl.when(blocked).then(experiment.exposure).otherwise(1.0), control_group=drawn
    )

    def hidden(rows: pl.Expr) -> pl.DataFrame:
        return full.with_columns(pl.when(rows).then(None).otherwise(pl.col(item)).alias(item) for item in LABELS)

    counts = full.filter(blocked).select(
        blocked=pl.len(), frauds=pl.col("is_fraud").sum(), let_through=pl.col("control_group").sum(),
        frauds_let_through=(pl.col("is_fraud") * pl.col("control_group")).sum(),
        lost_on_them=((15.0 + pl.col("amount")) * pl.col("is_fraud") * pl.col("control_group")).sum().round(),
    )  # fmt: skip
    return hidden(blocked), hidden(blocked & ~pl.col("control_group")), counts.row(0, named=True)


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


def one(seed: int, events: int, block: float, control: int) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """Return the money of each way in one world."""
    with tempfile.TemporaryDirectory() as name:
        sample = write_sample(Path(name) / "sample", n_events=events, days=DAYS + 40, seed=seed)
        world = World(
            Path(name), pl.read_parquet(sample.transactions).unique("transaction_id").sort("created_at"), block
        )
        blind, with_group, counts = control_world(world, control, seed)
        plain = world.truth
        tables = {
            "every label": (plain, ""), "blocked unlabelled": (blind, ""), "control, no weights": (with_group, ""),
            "control, weights": (with_group, NAMED),
        }  # fmt: skip
        out = {}
        for way, (frame, named) in tables.items():
            place = way.replace(", ", "-").replace(" ", "-")
            out[way] = money(world, world.decided(place, frame, until=LEARNED, named=named, train=LEARNED - FIRST))
            out[way] = out[way].with_columns(card=pl.format("{}/{}", pl.lit(seed), "card_id"))
        return out, counts


def by_card(frames: list[pl.DataFrame], column: str) -> FloatArray:
    """Return sums by card over all worlds, in one order."""
    whole = pl.concat(frames).group_by("card").agg(pl.col(column).sum()).sort("card")
    return whole[column].to_numpy()


def levels(frames: list[pl.DataFrame]) -> dict[str, float]:
    """Return savings against allowing all, and the share of the fraud's money that is caught."""
    total = pl.concat(frames).select(pl.col("cost", "caught", "fraud", "allowed_all").sum()).row(0, named=True)
    return {
        "savings": round(1.0 - total["cost"] / total["allowed_all"], 4),
        "value_recall": round(total["caught"] / total["fraud"], 4),
    }


def paired(worlds: list[dict[str, pl.DataFrame]], one_way: str, other: str) -> dict[str, list[float]]:
    """Return by how much a way loses less money than another, and catches more, with 95 % intervals over cards."""
    rng = np.random.default_rng(0)
    ours, theirs = ([world[way] for world in worlds] for way in (one_way, other))
    saved = by_card(theirs, "cost") - by_card(ours, "cost")
    base, more = by_card(ours, "allowed_all"), by_card(ours, "caught") - by_card(theirs, "caught")
    fraud = by_card(ours, "fraud")
    rows = rng.integers(0, len(saved), (2000, len(saved)))
    found = {}
    for name, top, below in (("savings", saved, base), ("value_recall", more, fraud)):
        drawn = top[rows].sum(axis=1) / below[rows].sum(axis=1)
        ends = np.quantile(drawn, [0.025, 0.975])
        found[name] = [round(float(x), 4) for x in (top.sum() / below.sum(), *ends)]
    return found


def setting(args: argparse.Namespace, block: float, control: int) -> dict[str, Any]:
    """Simulate all seeds with one cost of blocking and one share of the control group."""
    worlds, counts = [], []
    for seed in range(args.first, args.first + args.seeds):
        found, n = one(seed, args.events, block, control)
        worlds.append(found)
        counts.append(n)
        sys.stdout.write(f"block {block:g}, control {control} %, seed {seed}: {n}\n")
        sys.stdout.flush()
    return {
        "block_legit_fixed": block, "block_legit_rate": 0.02 * block, "control_percent": control, "blocked": counts,
        "levels": {way: levels([world[way] for world in worlds]) for way in WAYS},
        "weights less blocked unlabelled": paired(worlds, "control, weights", "blocked unlabelled"),
        "no weights less blocked unlabelled": paired(worlds, "control, no weights", "blocked unlabelled"),
        "weights less no weights": paired(worlds, "control, weights", "control, no weights"),
        "every label less weights": paired(worlds, "every label", "control, weights"),
    }  # fmt: skip


def main() -> None:
    """Simulate, train, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=300)
    parser.add_argument(
        "--settings", nargs="+", default=["1:20", "1:5", "2:20"], help="cost of a wrong block : per cent"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    asked = [(float(text.split(":")[0]), int(text.split(":")[1])) for text in args.settings]
    result: dict[str, Any] = {
        "events": args.events, "seeds": args.seeds, "first_seed": args.first,
        "settings": [setting(args, block, control) for block, control in asked],
        "fraudctl": fraudctl.__version__, "python": platform.python_version(), "machine": platform.machine(),
        "polars": pl.__version__, "numpy": np.__version__, "seconds": round(time.perf_counter() - began),
    }  # fmt: skip
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
