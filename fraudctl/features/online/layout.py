"""A digest of the memory layout of a state: a saved state is only read by code with the same layout.

Nothing here is kept by hand: the digest is taken over every constant of the modules that own the heap, the logs and the
ledger, over the layout that the plan has made of them, and over the names of what is saved with the heap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from types import ModuleType

from fraudctl.documents.types import JsonObject, JsonValue
from fraudctl.features.batch import fading
from fraudctl.features.online import arena, hops, intake, ledger, log_words, logs, packed, pairs, sorted_blocks
from fraudctl.features.online.plan import Plan
from fraudctl.features.online.state import OnlineFeatures

OWNERS: dict[str, tuple[ModuleType, ...]] = {
    "arena": (arena,), "logs": (logs, log_words, packed), "intake": (intake,), "ledger": (ledger,), "pairs": (pairs,),
}  # fmt: skip
"""The modules whose constants say where in memory things are."""


def constants(*modules: ModuleType) -> dict[str, int | float]:
    """Return the numbers that modules define under names in capitals."""
    found = {name: value for module in modules for name, value in vars(module).items()}
    return {name: value for name, value in sorted(found.items()) if name.isupper() and type(value) in (int, float)}


def digest(state: OnlineFeatures, saved: Iterable[str]) -> str:
    """Return the digest of a state's layout, in hex.

    Parameters
    ----------
    saved
        Names in the document that is saved with the heap.
    """
    plan = Plan(state.features, wait_us=state.wait_us)  # a new one: a state notes magnitudes of its data in its own
    spaces: JsonValue = [[list(space.names), space.kept, space.slot_words] for space in plan.spaces]
    about: JsonObject = {
        "constants": {f"{__package__}.{name}": constants(*modules) for name, modules in OWNERS.items()},
        "layout": plan.layout.tolist(),
        "links": plan.links.tolist(),
        "tracks": {name: plan.tracks_of(name).tolist() for name in plan.inputs},
        "spaces": spaces,
        "record": state.ledger.width,
        "saved": sorted(saved),
    }
    if len(plan.decays):
        about["decays"] = [plan.decays.tolist(), constants(fading)]
    if any(track.sorted_codes for track in plan.tracks) or any(
        column.flags & sorted_blocks.SORTED for track in plan.tracks for column in track.columns.values()
    ):
        about["blocks"] = constants(sorted_blocks)
    if len(plan.hops):
        about["hops"] = [plan.hops.tolist(), constants(hops)]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
