"""Run one step of a challenger that is written in Python: ``python -m fraudctl.challengers.runner ENTRY FACTS``.

Owns the reading and writing around the two functions of an entry: ``fit(train, context, facts, model)`` writes what it
learns into the folder ``model``, and ``score(rows, context, facts, model)`` returns one number per row, in their order.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

import polars as pl

from fraudctl.challengers.contract import EVENT_ID, SCORE, VERSIONS, ChallengerFacts


def entry_of(name: str) -> Any:
    """Return the module of an entry, or the object in it."""
    module, _, inner = name.partition(":")
    found: Any = importlib.import_module(module)
    return getattr(found, inner) if inner else found


def run(entry: str, place: Path) -> None:
    """Do the step that the facts at ``place`` ask for."""
    program = entry_of(entry)
    facts, document = ChallengerFacts.read(place)
    tables, model = document["tables"], Path(document["model"])
    context = pl.read_parquet(tables["context"])
    if facts.step == "fit":
        program.fit(pl.read_parquet(tables["train"]), context, facts, model)
        place.with_name(VERSIONS).write_text(json.dumps(_loaded()), encoding="utf-8")
        return
    rows = pl.read_parquet(tables["rows"])
    scores = pl.Series(SCORE, program.score(rows, context, facts, model), dtype=pl.Float64)
    if len(scores) != rows.height:
        msg = f"score returned {len(scores)} numbers for {rows.height} rows"
        raise ValueError(msg)
    rows.select(EVENT_ID).with_columns(scores).write_parquet(document["output"])


def _loaded() -> dict[str, str]:
    """Return the versions of Python and of every installed package that was imported."""
    roots = {name.partition(".")[0] for name in sys.modules}
    owners = {owner for root, names in packages_distributions().items() if root in roots for owner in names}
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for owner in sorted(owners):
        try:
            found[owner] = version(owner)
        except PackageNotFoundError:  # removed while this runs
            continue
    return found


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
