"""The events of a project in chunks that are kept from run to run, one for each piece of a file.

A chunk is made again if its file changes. The rows are those of `fraudctl.data.chunks.spill_events`, in the order of
the files and not of time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraudctl.arrays import AnyArray
from fraudctl.data import tables, typed
from fraudctl.data.chunks import Chunks
from fraudctl.data.kept_keys import distinct_keys
from fraudctl.data.pieces import FilePiece, KeptPieces, digest, mapped, pieces_of
from fraudctl.disk.files import whole_file
from fraudctl.project import Project
from fraudctl.text.plain import shown

KEY: Final = ".key"
"""Column of chunks with 64 bits of each id: two that are equal may be one."""
_SECTIONS: Final = {"data", "labels", "entities", "features", "sources"}
"""Of the project file: all that says how events are read."""


@dataclass(frozen=True)
class KeptChunks:
    """Events in chunks, each sorted by time.

    Attributes
    ----------
    names
        Of the chunks; empty for one that is not kept.
    spans
        The earliest and the latest time of each.
    """

    chunks: Chunks
    names: tuple[str, ...]
    spans: tuple[tuple[datetime, datetime], ...]


def keep_events(
    project: Project, kept: KeptPieces, *, columns: Collection[str], folder: Path, entries: pl.DataFrame | None
) -> KeptChunks | None:
    """Return the events in chunks; None where they have to be laid out as a whole.

    That is so for files that are only read together, for rows that are numbered throughout, and where an id stands in
    two rows, or might.

    Parameters
    ----------
    folder
        For chunks that are not kept.
    entries
        What `fraudctl.data.entries.load_entries` returns: where it changes, all chunks are made again.

    Raises
    ------
    DataError
        As `fraudctl.data.tables.load_events` does.
    """
    files, form = tables.event_files(project), tables.form_of(project)
    named = project.data.event_id
    pieces = None if named is None or named.row_number else pieces_of(files, kept)
    if not pieces:
        return None
    wanted = list(dict.fromkeys(tables.wanted_columns(project, columns)))
    tables.require_columns(wanted, tables.scan(files, form=form).collect_schema(), where=tables.place(files))
    sections = project.model_dump(mode="json", include=_SECTIONS)
    about = digest(sections, wanted, _digest_of(entries))
    paths, names, facts, keys = [], [], [], dict[str, Callable[[], AnyArray]]()
    for number, piece in enumerate(pieces):
        name = "" if piece.state is None else f"events-{digest(piece.state, about)}"
        known, path = _chunk(piece, name, kept, folder / f"events{number}.arrow", lambda piece: _made(
            piece, piece.read(wanted, form=form), project, columns, entries))  # fmt: skip
        facts.append(known)
        paths.append(path)
        names.append(name if path == kept.path(name) else "")
        keys[names[-1] or f"-{number}"] = partial(_keys_of, path)
    if not distinct_keys(keys, kept, "keys-events"):
        return None
    if project.data.amount is not None and not any(item["amounts"] for item in facts):
        typed.to_amount(mapped(paths[0], ["amount"])["amount"].alias(project.data.amount))
    heights = [item["height"] for item in facts]
    n_dropped = sum(piece.height for piece in pieces) - sum(heights)
    spans = tuple(_instants(item["times"]) for item in facts)
    known_until = max(last for _, last in spans)
    return KeptChunks(Chunks(paths, heights, known_until, n_dropped), tuple(names), spans)


def _keys_of(path: Path) -> AnyArray:
    return mapped(path, [KEY])[KEY].to_numpy()


def _facts_of(frame: pl.DataFrame) -> Mapping[str, Any]:
    """Return, as JSON, what is asked of every chunk."""
    time = frame["event_time"]
    return {
        "height": frame.height, "times": [time.dt.epoch("us")[at] for at in (0, -1)],
        "amounts": "amount" in frame.columns and frame["amount"].count() > 0,
    }  # fmt: skip


def _instants(times: list[int]) -> tuple[datetime, datetime]:
    first, last = pl.Series(times, dtype=pl.Int64).cast(tables.UTC_US).to_list()
    return first, last


def _digest_of(entries: pl.DataFrame | None) -> str | None:
    return None if entries is None else digest(entries.hash_rows(seed=0).to_list(), str(entries.schema))


def _made(
    piece: FilePiece, raw: pl.DataFrame, project: Project, columns: Collection[str], entries: pl.DataFrame | None
) -> pl.DataFrame:
    """Return a piece with its roles, in the order of time, without the rows that repeat another one of it."""
    named = project.data.event_id
    tables.refuse_empty_ids(raw[named], where=f"column {shown(named)}")
    frame = tables.in_order(tables.with_roles(raw, project, columns, part=True, entries=entries))
    tables.check_label_times(frame)
    again = frame["event_id"].filter(frame["event_id"].is_duplicated())
    if len(again):
        table = tables.scan([piece.file], form=tables.form_of(project))
        tables.refuse_differing(table, again.unique(), named, [piece.file])
        frame = frame.unique("event_id", keep="first", maintain_order=True)
    return frame.with_columns(frame["event_id"].hash(seed=0).alias(KEY))


def _chunk(
    piece: FilePiece, name: str, kept: KeptPieces, otherwise: Path, make: Callable[[FilePiece], pl.DataFrame]
) -> tuple[Mapping[str, Any], Path]:
    """Return what is asked of a chunk, and where it is: as it was kept, or as it is made and kept now."""
    known = kept.facts(name) if name else None
    if known is not None:
        return known, kept.path(name)
    frame = make(piece)
    facts = _facts_of(frame)
    if name and kept.write(name, frame, facts):
        return facts, kept.path(name)
    with whole_file(otherwise, durable=False) as temporary:
        frame.write_ipc(temporary, compression="uncompressed")
    return facts, otherwise
