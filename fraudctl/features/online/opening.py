"""Create a state from a history or from a saved one, and save it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.data.tables import Events
from fraudctl.features.meaning.definition import FeatureSet
from fraudctl.features.online import history, snapshot
from fraudctl.features.online.state import OnlineFeatures


def from_history(
    events: Events,
    features: FeatureSet,
    *,
    timezone: str,
    label_delay_us: int,
    sources: Mapping[str, pl.DataFrame] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> OnlineFeatures:
    """Return the state after a history, as if its events, outcomes and other tables' rows had come one by one.

    Parameters
    ----------
    events
        As `tables.load_events` returns them. An outcome that had not arrived by the last event counts when it does.
    sources
        The tables of `FeatureSet.sources`, as `sources.normalise_source` returns them.
    progress
        Called with what is done, steps done, and steps in all.
    """
    state = OnlineFeatures(features, timezone=timezone, label_delay_us=label_delay_us)
    history.take_history(state, events.frame, sources or {}, progress or _silent)
    return state


def _silent(_done: str, _step: int, _steps: int) -> None:
    """Report nothing."""


def to_parts(state: OnlineFeatures) -> dict[str, bytes | npt.NDArray[np.int64]]:
    """Return the whole state as named parts, for a store that checks what it keeps; see `from_parts`.

    Arrays are not copied: save them before the state goes on.
    """
    return snapshot.parts_of(state)


def from_parts(
    parts: Mapping[str, bytes | npt.NDArray[np.int64]], features: FeatureSet, *, timezone: str, label_delay_us: int
) -> OnlineFeatures:
    """Return a saved state from its parts, whose arrays it takes for its own.

    Raises
    ------
    BundleError
        The parts are of another version, or the state is one of other features.
    """
    state = OnlineFeatures(features, timezone=timezone, label_delay_us=label_delay_us)
    snapshot.restore(state, parts)
    return state


def to_bytes(state: OnlineFeatures) -> bytes:
    """Return the whole state, with the digest of its features and a checksum; see `from_bytes`."""
    return snapshot.dump(state)


def from_bytes(data: bytes, features: FeatureSet, *, timezone: str, label_delay_us: int) -> OnlineFeatures:
    """Return a saved state, which goes on as if it had never stopped.

    Raises
    ------
    BundleError
        The bytes are damaged, of another version, or the state is one of other features.
    """
    state = OnlineFeatures(features, timezone=timezone, label_delay_us=label_delay_us)
    snapshot.load(state, data)
    return state
