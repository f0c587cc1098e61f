"""Why a table cannot be read: the file, the column and the reason, without a value of a cell.

Messages of Polars may hold cells and are never shown; the reason is searched for in the file itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from fraudctl.text.plain import shown

TROUBLE = (pl.exceptions.PanicException, pl.exceptions.PolarsError, OSError)
"""What reading a file may end with."""
MOST_DIGITS = 38
"""Digits of the widest decimal that can be computed with."""
_BLOCK = 1 << 20
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


class Dialect(NamedTuple):
    """How a CSV file is written: separator, name of the encoding, and what encloses texts."""

    separator: str
    encoding: str
    quote: str = '"'


class UnreadableReason(NamedTuple):
    """What is wrong with a file, and what to do about it."""

    what: str
    hint: str


def too_wide(schema: pl.Schema) -> list[str]:
    """Return the columns whose decimals have more digits than can be computed with."""
    return [name for name, kind in schema.items() if isinstance(kind, pl.Decimal) and kind.precision > MOST_DIGITS]


def why_not_csv(files: Sequence[str], *, dialect: Dialect, beside: Sequence[str] = ()) -> UnreadableReason | None:
    """Return what is wrong with CSV files, of the same table as those ``beside`` them: encoding, or separator."""
    for name in _plain(files):
        at = not_utf8(Path(name)) if dialect.encoding.lower() in {"utf-8", "utf8"} else None
        if at is not None:
            what = f"{name}: {_place(Path(name), at, dialect.separator)} is not UTF-8"
            return UnreadableReason(what, 'say how it is encoded, such as [data.csv] encoding = "latin-1" or "cp1252"')
        other = _other_separator(Path(name), dialect.separator)
        if other is not None:
            what = f"{name}: its columns are separated by {_SEPARATORS[other]}; expected {dialect.separator!r}"
            return UnreadableReason(what, _how_to_separate([*files, *beside], other, dialect.separator))
    return None


def _plain(files: Sequence[str]) -> list[str]:
    return [name for name in files if "://" not in name and not name.endswith((".gz", ".zst"))]


def _how_to_separate(files: Sequence[str], other: str, expected: str) -> str:
    """Return what to do about a file that is separated otherwise: say so, unless other files are as expected."""
    if any(_other_separator(Path(name), expected) is None for name in _plain(files)):
        return (
            "write the files of one table with one separator; a table of labels or logins is no part of the events: "
            "`fraudctl init` takes it by --labels NAME=PATH or --source NAME=PATH"
        )
    sign = "\\t" if other == "\t" else other
    return f'say so: [data.csv] separator = "{sign}"'


def why_not_parquet(files: Sequence[str]) -> UnreadableReason | None:
    """Return which of several files cannot be read, or does not have the columns and types of the first."""
    first: pl.Schema | None = None
    hint = "write the files with one schema, or name those that fit"
    for name in files if len(files) > 1 and not any("://" in name for name in files) else []:
        try:
            schema = pl.Schema(pl.read_parquet_schema(name))
        except TROUBLE as error:
            return UnreadableReason(f"{name}: cannot be read as Parquet ({type(error).__name__})", hint)
        first = first or schema
        missing, more = [c for c in first if c not in schema], [c for c in schema if c not in first]
        if missing or more:
            which = f"no column {shown(missing[0])}, which" if missing else f"a column {shown(more[0])}, which not"
            return UnreadableReason(f"{name}: has {which} {files[0]} has", hint)
        for column, kind in first.items():
            if schema[column] != kind:
                what = f"{name}: column {shown(column)} is {schema[column]}; expected {kind}, as in {files[0]}"
                return UnreadableReason(what, hint)
    return None


def not_utf8(path: Path) -> int | None:
    """Return the place of the first byte that is not UTF-8."""
    import codecs

    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return read - held + error.start
            read += len(block)
    return None


def _place(path: Path, at: int, separator: str) -> str:
    """Return line and column of a byte; the column only where no quotes make its count doubtful."""
    n_lines, rest = 1, b""
    with path.open("rb") as file:
        names = file.readline(_BLOCK).decode("utf-8", "replace").rstrip("\r\n").split(separator)
        file.seek(0)
        while at > 0 and (block := file.read(min(_BLOCK, at))):
            at -= len(block)
            n_lines += block.count(b"\n")
            rest = block.rpartition(b"\n")[2] if b"\n" in block else rest + block
    number = rest.count(separator.encode())
    sure = n_lines > 1 and b'"' not in rest and number < len(names)
    return f"line {n_lines:,}" + (f", column {shown(names[number].strip(chr(34)))}," if sure else "")


def _other_separator(path: Path, separator: str) -> str | None:
    """Return what separates the columns of the first line, where it is clearly not what was expected."""
    with path.open("rb") as file:
        line = file.readline(_BLOCK).decode("utf-8", "replace")
    counts = {sign: line.count(sign) for sign in _SEPARATORS if sign != separator}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] > line.count(separator) else None
