"""How often intervals hold the truth where an entity has few clusters, and how often a gate then passes by accident.

Events of 4,000 cards in a few regions. In every world the fraud rate and the share that is caught move by region, by
`shock` on the scale of log odds, drawn anew each time (a breached merchant, a campaign in one country). The truth is
the mean over worlds. A gate asks for exactly the truth: a right 90 % interval passes it in 5 % of the worlds.

Compared, with the same events: intervals by card alone; by card, widened for a region with 4 to 20 equal clusters, as
`fraudctl.uncertainty` does; the region counted by the normal quantile, as if it had many clusters.

    python benchmarks/bench_intervals.py --worlds 2000 --out benchmarks/results/intervals.json
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudctl.arrays import BoolArray, IntArray
from fraudctl.metrics import ratios
from fraudctl.metrics.ratios import Ratio
from fraudctl.uncertainty import Clusters, clustered_variance, normal_quantile, ratio_estimate

N_EVENTS = 8_000
N_CARDS = 4_000
CONFIDENCE = 0.90
REGIONS = {
    "2 equal": (2, 0.0),
    "5 equal": (5, 0.0),
    "12 equal": (12, 0.0),
    "12 uneven": (12, 1.0),
    "18 equal": (18, 0.0),
}
"""Name -> number of regions, and the exponent of their falling sizes."""
SHOCKS = (0.0, 0.3, 0.7)
METRICS: dict[str, Callable[[IntArray, BoolArray], Ratio]] = {"recall": ratios.recall, "precision": ratios.precision}


def main() -> None:
    """Measure every rule in every kind of world, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [
        measure(name, shock, args.worlds, np.random.default_rng([args.seed, at, step]))
        for at, name in enumerate(REGIONS)
        for step, shock in enumerate(SHOCKS)
    ]
    lines = ["| regions | shock | by card: holds, passes | widened: holds, passes, width | as many: holds, passes |"]
    lines += ["|---|---|---|---|---|", *map(_line, rows)]
    print("\n".join(lines))
    if args.out:
        setting = {"worlds": args.worlds, "seed": args.seed, "events": N_EVENTS, "cards": N_CARDS}
        made = {"machine": platform.machine(), "python": platform.python_version(), "fraudctl": version("fraudctl")}
        args.out.write_text(json.dumps({"setting": setting, "made_with": made, "rows": rows}, indent=2) + "\n")


def _line(row: dict[str, Any]) -> str:
    card, wide, many = (row["rules"][name] for name in ("card", "widened", "as_many"))
    return (
        f"| {row['regions']} | {row['shock']} | {card['holds']:.0%}, {card['passes']:.1%} "
        f"| {wide['holds']:.0%}, {wide['passes']:.1%}, {wide['width']:.2f} "
        f"| {many['holds']:.0%}, {many['passes']:.1%} |"
    )


def measure(name: str, shock: float, worlds: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return coverage, false passes and relative width of every rule; means over both metrics and all worlds."""
    n_regions, uneven = REGIONS[name]
    share = 1.0 / np.arange(1, n_regions + 1) ** uneven
    seen = [world(rng, share / share.sum(), shock) for _ in range(worlds)]
    truth = {metric: float(np.mean([of(y, alert).value for _, _, y, alert in seen])) for metric, of in METRICS.items()}
    found: dict[str, list[tuple[bool, bool, float]]] = {"card": [], "widened": [], "as_many": []}
    for card, region, y_true, alert in seen:
        frame = pl.DataFrame({"card": card, "region": region})
        alone, widened = Clusters.of(frame, ["card"]), Clusters.carried(frame, ["card", "region"])
        by_region = Clusters.of(frame, ["region"])
        for metric, of in METRICS.items():
            ratio = of(y_true, alert)
            reach = {rule: _reach(ratio, ways) for rule, ways in (("card", alone), ("widened", widened))}
            se = math.sqrt(clustered_variance(ratio.influence, by_region) + ratio.unit_share**2)
            reach["as_many"] = max(reach["card"], normal_quantile(CONFIDENCE) * se)
            for rule, far in reach.items():
                off = ratio.value - truth[metric]
                found[rule].append((abs(off) <= far, off >= far, far / reach["card"]))
    rules = {
        rule: dict(zip(("holds", "passes", "width"), np.mean(got, axis=0), strict=True)) for rule, got in found.items()
    }
    return {"regions": name, "shock": shock, "truth": truth, "rules": rules}


def _reach(ratio: Ratio, clusters: Clusters) -> float:
    """Return half the width of the interval."""
    found = ratio_estimate(ratio, clusters, confidence=CONFIDENCE)
    if found.se is None:
        msg = f"no interval: {found.reason}"
        raise ValueError(msg)
    return normal_quantile(CONFIDENCE) * found.se


def world(rng: np.random.Generator, share: Any, shock: float) -> tuple[IntArray, IntArray, IntArray, BoolArray]:
    """Draw card, region, outcome and alert of each event."""
    home = rng.choice(len(share), N_CARDS, p=share)
    card = rng.integers(0, N_CARDS, N_EVENTS)
    region = home[card]
    more_fraud, more_caught = rng.normal(0.0, shock, (2, len(share)))
    stolen = rng.random(N_CARDS) < 1 / (1 + np.exp(-(math.log(0.03) + more_fraud[home])))
    y_true = stolen[card] & (rng.random(N_EVENTS) < 0.7)
    caught = rng.random(N_EVENTS) < 1 / (1 + np.exp(-(0.5 + more_caught[region])))
    alarm = rng.random(N_EVENTS) < 0.01 * np.exp(more_fraud[region] / 2)
    return card, region, y_true.astype(np.int64), np.where(y_true, caught, alarm)


if __name__ == "__main__":
    main()
