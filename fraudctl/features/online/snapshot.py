"""A state as parts: a document, and arrays that are written without a copy; versioned, without pickle.

The document names the features and the memory layout (see `layout`). The caller protects the parts: the store of a
scorer has one checksum for all of them. `dump` and `load` use one string of bytes with its own checksum: a line with
the format, a line of JSON with the SHA-256 of the rest and the name and size of each part, then the parts.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudctl.documents.types import JsonObject
from fraudctl.errors import BundleError
from fraudctl.features.online import arena, layout, pairs
from fraudctl.features.online.reading import Seen
from fraudctl.features.online.saved_keys import FEW, LatestRows, SlotMap
from fraudctl.features.online.state import OnlineFeatures
from fraudctl.features.online.values import from_json, to_json
from fraudctl.features.online.verdicts import Verdicts

Part = bytes | npt.NDArray[np.int64]
MAGIC = b"fraudctl online state 4\n"
_NAMED = b"fraudctl online state "
DOCUMENT, HEAP, RECORDS, SLOTS, ROWS = "document", "heap", "records", "slots", "rows"
_AGAIN = "build the state again from history"


def parts_of(state: OnlineFeatures) -> dict[str, Part]:
    """Return a state as named parts; arrays are those of the state itself, and change when it goes on."""
    described = _document(state)
    about = {
        "features": state.features.digest, "layout": layout.digest(state, described), "order": sys.byteorder,
        **described,
    }  # fmt: skip
    document = json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    keyed = {name: found.save() for name, found in _keyed(state).items()}
    return {
        DOCUMENT: document,
        **keyed,
        RECORDS: state.ledger.rows(),
        HEAP: state.heap[: int(state.heap[arena.TOP])],
    }


def _keyed(state: OnlineFeatures) -> dict[str, SlotMap | LatestRows]:
    """Return what is found by the values of entities, by the name of its part."""
    slots = {f"{SLOTS}:{number}": found for number, found in enumerate(state.slots)}
    rows = {
        f"{ROWS}:{name}:{entity}": found
        for name, other in state.others.items()
        for entity, found in other.latest.items()
    }
    return {**slots, **rows}


def restore(state: OnlineFeatures, parts: Mapping[str, Part]) -> None:
    """Fill a new state with a saved one; it takes the arrays for its own.

    Raises
    ------
    BundleError
        The parts are those of another version or of other features.
    """
    document = parts.get(DOCUMENT)
    if not isinstance(document, bytes):
        raise _of_another_version()
    saved = _parsed(document)
    _require(state, saved)
    state.heap, records = _words(parts, HEAP), _words(parts, RECORDS)
    state.pair_index = pairs.PairIndex(searches=FEW)
    state.ledger.take(records.reshape(-1, state.ledger.width), saved["first"])
    for name, found in _keyed(state).items():
        found.restore(_words(parts, name))
    state.ledger.waiting = {number: (when, slots) for number, when, slots in saved["waiting"]}
    state.ledger.expected = {number: (sequence, due) for number, sequence, due in saved["expected"]}
    state.now, state.n_events, state.counters = saved["now"], saved["n_events"], saved["counters"]
    state.sequence, state.turns, state.forgotten = saved["sequence"], saved["turns"], saved["forgotten"]
    state.due = [(due, sequence, kind, from_json(content)) for due, sequence, kind, content in saved["due"]]
    state.early = {key: (label, when) for key, label, when in saved["early"]}
    state.pending = [_seen(state, *item) for item in saved["pending"]]
    state.texts.restore(saved.get("texts", ()))
    if state.verdicts is not None:
        verdicts, said = state.verdicts, saved["verdicts"]
        verdicts.entries = {number: [tuple(item) for item in found] for number, found in said["entries"]}
        verdicts.applied = {number: (since, label) for number, since, label in said["applied"]}
        verdicts.declined, verdicts.silent = set(said["declined"]), said["silent"]
        verdicts.early = {key: [tuple(item) for item in found] for key, found in said["early"]}


def _words(parts: Mapping[str, Part], name: str) -> npt.NDArray[np.int64]:
    found = parts.get(name)
    if not isinstance(found, np.ndarray):
        raise _of_another_version()
    return found


def _of_another_version() -> BundleError:
    msg = "saved state: was written by another version of fraudctl"
    return BundleError(msg, hint=f"use the version that wrote it, or {_AGAIN}")


def _require(state: OnlineFeatures, saved: Mapping[str, Any]) -> None:
    """Refuse a state of other features or of another layout of memory."""
    if saved.get("features") != state.features.digest:
        msg = "saved state: belongs to other features than the model's"
        raise BundleError(msg, hint="build the state again from the history, with this model")
    if saved.get("layout") != layout.digest(state, _document(state)) or saved.get("order") != sys.byteorder:
        msg = "saved state: its memory is laid out in another way than this version of fraudctl does"
        raise BundleError(msg, hint=f"use the version that wrote it, or {_AGAIN}")


def dump(state: OnlineFeatures) -> bytes:
    """Return a state as bytes, with a checksum."""
    parts = parts_of(state)
    contents = [part if isinstance(part, bytes) else part.tobytes() for part in parts.values()]
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    sizes = {name: len(content) for name, content in zip(parts, contents, strict=True)}
    head = {"sha256": digest.hexdigest(), "sizes": sizes}
    return b"".join([MAGIC, json.dumps(head).encode(), b"\n", *contents])


def load(state: OnlineFeatures, data: bytes) -> None:
    """Fill a new state with one that `dump` saved.

    Raises
    ------
    BundleError
        See `opening.from_bytes`.
    """
    if not data.startswith(MAGIC):
        other = data.startswith(_NAMED)
        msg = "saved state: was written by another version of fraudctl" if other else "saved state: is not one"
        raise BundleError(msg, hint=_AGAIN)
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + 4096)
    head = _parsed(data[len(MAGIC) : end])
    content, sizes = memoryview(data)[end + 1 :], head.get("sizes")
    sound = isinstance(sizes, dict) and sum(sizes.values()) == len(content)
    if not sound or not isinstance(sizes, dict) or hashlib.sha256(content).hexdigest() != head.get("sha256"):
        msg = "saved state: is damaged"
        raise BundleError(msg, hint="take an older one, or build it again from the history")
    parts: dict[str, Part] = {}
    for name, size in sizes.items():
        parts[name] = bytes(content[:size]) if name == DOCUMENT else np.frombuffer(content[:size], np.int64).copy()
        content = content[size:]
    restore(state, parts)


def _document(state: OnlineFeatures) -> JsonObject:
    ledger = state.ledger
    entities = state.features.entities
    pending = [
        [
            seen.time,
            {entity: seen.row[state.reader.places[entity]] for entity in entities},
            [None if value != value else value for value in seen.own.tolist()],
            seen.codes.tolist(),
            number,
            *([key] if state.plan.in_order else []),
        ]
        for seen, number, key in state.pending
    ]
    more: JsonObject = {} if state.verdicts is None else {"verdicts": _said(state.verdicts)}
    more |= {"texts": state.texts.saved()} if state.texts.columns else {}
    return {
        **more,
        "now": state.now, "n_events": state.n_events, "counters": state.counters, "sequence": state.sequence,
        "turns": state.turns, "forgotten": state.forgotten,
        "first": ledger.first,
        "waiting": [[number, *record] for number, record in ledger.waiting.items()],
        "expected": [[number, *message] for number, message in ledger.expected.items()],
        "due": [[due, sequence, kind, to_json(content)] for due, sequence, kind, content in state.due],
        "early": [[key, *value] for key, value in state.early.items()],
        "pending": pending,
    }  # fmt: skip


def _said(verdicts: Verdicts) -> JsonObject:
    return {
        "entries": [[number, found] for number, found in verdicts.entries.items()],
        "applied": [[number, *change] for number, change in verdicts.applied.items()],
        "declined": sorted(verdicts.declined), "silent": verdicts.silent,
        "early": [[key, found] for key, found in verdicts.early.items()],
    }  # fmt: skip


def _parsed(document: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(document.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        msg = "saved state: is damaged"
        raise BundleError(msg) from error
    if not isinstance(found, dict):
        msg = "saved state: is damaged"
        raise BundleError(msg)
    return found


def _seen(
    state: OnlineFeatures,
    when: int,
    entities: Mapping[str, Any],
    own: list[Any],
    codes: list[int],
    number: int,
    key: int | str = "",
) -> tuple[Seen, int, int | str]:
    """Return an event of the last instant; its id is saved only where a feature depends on the order of ids."""
    row: list[Any] = [None] * state.reader.width
    for entity, value in entities.items():
        row[state.reader.places[entity]] = value
    numbers = np.array([np.nan if value is None else value for value in own], np.float64)
    return Seen(when, row, numbers, np.array(codes, np.int64)), number, key
