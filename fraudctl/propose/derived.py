"""Entities that several ids share: the domain of an e-mail address, the first digits of a card number, a subnet.

Owns which columns these can be made of, by which row-level SQL, and whether the result has histories. Names nominate:
e-mail, card or pan, ip. Values decide: they have to be written like one, and what is made of them has to come back, to
join ids, and to be dominated by none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fraudctl.data.distinct import Tally
from fraudctl.metrics.tallies import number_values
from fraudctl.propose import names
from fraudctl.propose.facts import EntityFacts, entity_facts
from fraudctl.propose.profile import ProfiledColumn, Table
from fraudctl.propose.roles import DOMINANT, FEW_RETURNS, Entity
from fraudctl.text.figures import number, percent

FIRST: Final = 10_000
"""Values that are looked at before all are."""
WRITTEN: Final = 0.95
"""Share of them that has to be written as expected."""
LEAST_IDS: Final = 20
RETURNS: Final = 0.1
"""Share of the events whose id was there before, at least."""
JOINED: Final = 2
"""Ids that one of the new ids joins, on average, at least: else it says little beyond them."""
_FILLED: Final = 0.5
_EMAIL: Final = frozenset({"email", "mail", "emailaddress", "mailaddress"})
_CARD: Final = frozenset({"card", "cc", "pan", "cardnumber", "cardno"})
_IP: Final = frozenset({"ip", "ipv4", "ipaddress"})
_UNNAMED: Final = frozenset({"id", "number", "no", "nr", "num", "address", "hash"})
_ADDRESS: Final = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_DIGITS: Final = r"^[0-9]{12,19}$"
_QUAD: Final = r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$"
_FIRST_IP, _LAST_IP = 1 << 24, (1 << 32) - 1


@dataclass(frozen=True)
class Derived:
    """An entity by SQL that has histories, and how often its ids come back."""

    entity: Entity
    facts: EntityFacts


@dataclass(frozen=True)
class _Candidate:
    """An entity by SQL that is not judged yet: ``words`` say what it is of the column."""

    name: str
    sql: str
    words: str


def derived_entities(
    table: Table, times: pl.Series, *, excluded: Collection[str], names_taken: Collection[str]
) -> tuple[Derived, ...]:
    """Return what can be derived from the columns and has histories, in the order of the columns.

    Parameters
    ----------
    times
        µs UTC of the events, by row.
    excluded
        Columns that must not be read: other roles, and those that are known only afterwards.
    names_taken
        Names that already mean something.
    """
    found: dict[str, Derived] = {}
    for item in table.columns.values():
        if item.name in excluded or item.kind not in {"text", "whole", "number"} or 2 * item.n_null > item.n_rows:
            continue
        for candidate in _candidates(item, table):
            judged = None if candidate.name in {*names_taken, *found} else _judged(candidate, item, table, times)
            if judged is not None:
                found[candidate.name] = judged
                break
    return tuple(found.values())


def _candidates(item: ProfiledColumn, table: Table) -> Iterator[_Candidate]:
    """Yield what a column is nominated for by its name, the finest first, where its first values are written so."""
    words = names.tokens(item.name)
    for known, read in ((_EMAIL, _domains), (_CARD, _prefixes), (_IP, _subnets)):
        if set(words) & known:
            stem = "_".join(word for word in words if word not in _UNNAMED) or words[0]
            stem = stem if stem[0].isalpha() else f"e_{stem}"
            yield from read(item.name, stem, table[item.name])


def _domains(column: str, stem: str, values: pl.Series) -> Iterator[_Candidate]:
    if values.dtype == pl.String and _are(values, lambda some: some.str.contains(_ADDRESS)):
        sql = f"nullif(split_part(lower({_quoted(column)}), '@', 2), '')"
        yield _Candidate(f"{stem}_domain", sql, f"the domain of {column}")


def _prefixes(column: str, stem: str, values: pl.Series) -> Iterator[_Candidate]:
    """Yield the issuer of a card by its first eight digits, then by six (ISO/IEC 7812)."""
    if values.dtype != pl.String and not values.dtype.is_integer():
        return
    text = values.dtype == pl.String
    if not _are(values, lambda some: some.cast(pl.String).str.replace_all("[ -]", "").str.contains(_DIGITS)):
        return
    plain = f"replace(replace({_quoted(column)}, ' ', ''), '-', '')" if text else f"cast({_quoted(column)} AS varchar)"
    for n in (8, 6):
        yield _Candidate(
            f"{stem}_bin", f"left({plain}, {n})", f"the first {n} digits of {column}, which name the issuer"
        )


def _subnets(column: str, stem: str, values: pl.Series) -> Iterator[_Candidate]:
    quoted, words = _quoted(column), f"the /24 subnet of {column}"
    if values.dtype == pl.String and _are(values, lambda some: some.str.contains(_QUAD)):
        parts = ", ".join(f"split_part({quoted}, '.', {i})" for i in (1, 2, 3))
        sql = f"case when split_part({quoted}, '.', 4) is not null then concat_ws('.', {parts}) end"
        yield _Candidate(f"{stem}_subnet", sql, words)
    elif values.dtype.is_numeric() and _are(values, lambda some: some.is_between(_FIRST_IP, _LAST_IP)):
        yield _Candidate(f"{stem}_subnet", f"cast(floor({quoted} / 256) AS bigint)", words)


def _are(values: pl.Series, written: Callable[[pl.Series], pl.Series]) -> bool:
    """Say whether the first values are nearly all written in one way."""
    some = values.drop_nulls().head(FIRST)
    return len(some) > 0 and int(written(some).sum()) >= WRITTEN * len(some)


def _judged(candidate: _Candidate, item: ProfiledColumn, table: Table, times: pl.Series) -> Derived | None:
    """Return the entity with its reason where its ids have histories and join ids of the column; else None."""
    entity = Entity(candidate.name, item.name, "", sql=candidate.sql)
    column = table[item.name]
    values = number_values(column, n_unique=item.n_unique)
    of_values = entity.ids_by_sql(lambda _: column.gather(values.firsts))
    found = _counted(of_values, values.counts)
    n_filled = table.n_rows - found.n_null
    again = n_filled - found.n_unique
    dense = n_filled >= _FILLED * table.n_rows and again >= max(FEW_RETURNS, RETURNS * n_filled)
    spread = found.n_unique >= LEAST_IDS and found.largest <= DOMINANT * n_filled
    if not dense or not spread or JOINED * found.n_unique > item.n_unique:
        return None
    each = number(n_filled / found.n_unique)
    largest = percent(found.largest / n_filled)
    reason = (
        f"{candidate.words}: {found.n_unique:,} ids, {each} events each, the largest {largest} of the events; "
        f"joins {item.n_unique:,} values"
    )
    facts = entity_facts(entity.name, of_values.gather(values.codes), times, n_ids=found.n_unique)
    return Derived(replace(entity, reason=reason), facts)


def _counted(ids: pl.Series, counts: npt.NDArray[np.int64]) -> Tally:
    """Count the ids of rows, given the id of each distinct value of a column and how many rows have that value."""
    rows = pl.DataFrame({"id": ids, "n": counts}).group_by("id").agg(pl.col("n").sum())
    filled = rows.filter(pl.col("id").is_not_null())["n"]
    largest = filled.max()
    return Tally(int(counts.sum() - filled.sum()), len(filled), largest if isinstance(largest, int) else 0)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
