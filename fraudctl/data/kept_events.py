"""The events of a project in chunks that are kept from run to run, one for each piece of a file.

A chunk is made again if its file changes. The rows are those of `fraudctl.data.chunks.spill_events`, in the order of
the files and not of time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import polars as pl

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


def keep_events(
    project: Project, kept: KeptPieces, *, columns: Collection[str], folder: Path, entries: pl.DataFrame | None
) -> tuple[Chunks, tuple[str, ...]] | None:
    """Return the events in chunks with the names of these; None where they have to be laid out as a whole.

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
    frames, paths, names, keys = [], [], [], {}
    for number, piece in enumerate(pieces):
        name = "" if piece.state is None else f"events-{digest(piece.state, about)}"
        frame, path = _chunk(piece, name, kept, folder / f"events{number}.arrow", lambda piece: _made(
            piece, piece.read(wanted, form=form), project, columns, entries))  # fmt: skip
        frames.append(frame)
        paths.append(path)
        names.append(name if path == kept.path(name) else "")
        keys[names[-1] or f"-{number}"] = frame[KEY].to_numpy
    if not distinct_keys(keys, kept, "keys-events"):
        return None
    if project.data.amount is not None and not any(frame["amount"].count() for frame in frames):
        typed.to_amount(frames[0]["amount"].alias(project.data.amount))
    heights = [frame.height for frame in frames]
    n_dropped = sum(piece.height for piece in pieces) - sum(heights)
    return Chunks(paths, heights, max(frame["event_time"][-1] for frame in frames), n_dropped), tuple(names)


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
) -> tuple[pl.DataFrame, Path]:
    """Return a chunk as it lies on disk, and where: what was kept, or what is made and kept now."""
    known = kept.read(name) if name else None
    if known is not None:
        return known[0], kept.path(name)
    frame = make(piece)
    if name and kept.write(name, frame, {}):
        return mapped(kept.path(name)), kept.path(name)
    with whole_file(otherwise, durable=False) as temporary:
        frame.write_ipc(temporary, compression="uncompressed")
    return mapped(otherwise), otherwise
