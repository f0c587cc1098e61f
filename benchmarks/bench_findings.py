"""Count how often planted weaknesses are named first, and how often something is named where there is nothing.

Plants, with many seeds, one of three weaknesses in synthetic decided events whose scores are otherwise right: the
frauds of one channel are scored low, one channel's legitimate events are flagged, two features are zero for a day.
Findings are ordered by money, so a weakness that costs less than others stands behind them: counts how often the
weakness is named at all, and how often in the first three findings. Then permutes the labels among equal scores, and
counts how often anything is called significant: at most 5 of 100 runs may. Exits with 1 unless that holds, every
planted weakness is named, and no finding that costs less stands before it.

    python benchmarks/bench_findings.py [--runs 100] [--plants 20] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "explain"))

from world import World, decided, explain_world, make_world

PLANTS: dict[str, tuple[dict[str, Any], str]] = {
    "one segment's frauds scored low": ({"missed_channel": "web"}, "channel is web"),
    "one segment over-flagged": ({"flagged_channel": "pos"}, "channel is pos"),
    "features broken for a day": ({"broken_day": 6}, "7 Mar 2026"),
}
N_EVENTS = 4_500
BLOCK = 40
AT_MOST = 0.05
PERMUTATIONS = 500


def permuted(world: World, seed: int) -> World:
    """Permute the labels among events of nearly equal score (blocks of 40), and decide again."""
    rng = np.random.default_rng([seed, 99])
    order = np.argsort(world.scored["y_prob"].to_numpy(), kind="stable")
    label = world.scored["label"].to_numpy().copy()
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        label[block] = rng.permutation(label[block])
    return decided(world, world.history.with_columns(label=pl.Series(label)), shift=1.2)


def place_of(plant: dict[str, Any], words: str, seed: int) -> int | None:
    """Return the place of the first finding that names the planted weakness, from 0.

    None where no finding names it, or where one that costs less stands before it.
    """
    found = explain_world(make_world(N_EVENTS, seed=seed, **plant), permutations=PERMUTATIONS).findings
    place = next((i for i, item in enumerate(found) if words in f"{item.head} {item.text}"), None)
    return None if place is None or any(item.cost < found[place].cost for item in found[:place]) else place


def alarmed(seed: int) -> bool:
    """Whether anything is called significant where nothing is."""
    found = explain_world(permuted(make_world(N_EVENTS, seed=1000 + seed), seed), permutations=PERMUTATIONS)
    return any(item.significant for item in found.findings) or any(item.significant for item in found.slices.items)


def main() -> int:
    """Run both and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=100, help="runs with nothing to find")
    parser.add_argument("--plants", type=int, default=20, help="runs for each planted weakness")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    options = parser.parse_args()
    places = {name: [place_of(*plant, seed) for seed in range(options.plants)] for name, plant in PLANTS.items()}
    hits = {name: sum(place is not None for place in found) for name, found in places.items()}
    first = {name: sum(place is not None and place < 3 for place in found) for name, found in places.items()}
    alarms = sum(alarmed(seed) for seed in range(options.runs))
    document = {
        "events": N_EVENTS,
        "permutations": PERMUTATIONS,
        "planted_runs_each": options.plants,
        "named": hits,
        "named_in_first_three": first,
        "runs_with_nothing": options.runs,
        "runs_with_a_significant_finding": alarms,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("fraudctl", "polars", "numpy", "scipy", "catboost")},
    }
    print(json.dumps(document, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if alarms <= AT_MOST * options.runs and all(n == options.plants for n in hits.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
