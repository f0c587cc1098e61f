"""Numbers written in text: decimal mark, grouping, prefix, suffix, parentheses for negative ones.

Owns the notation, for a column (`many`) and a single text (`one`), with equal results.
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from fraudctl.project.reading import NumberSection

_SPACES = " \u00a0\u202f"


def _pattern(form: NumberSection) -> str:
    """Return the regular expression of a notation; its groups are parenthesis, sign, digits and decimals."""
    return _build(form.decimal, form.grouping, form.prefix, form.suffix, "brackets" if form.accounting else "")


@functools.lru_cache(maxsize=256)
def _build(decimal: str, grouping: str, before: str, behind: str, accounting: str) -> str:
    group = f"[{_SPACES}]" if grouping == " " else re.escape(grouping)
    digits = "[0-9]+" if not grouping else f"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+"
    pad = f"[{_SPACES}]*"
    prefix = f"(?:{re.escape(before.strip(_SPACES))}{pad})?" if before.strip(_SPACES) else ""
    suffix = f"(?:{pad}{re.escape(behind.strip(_SPACES))})?" if behind.strip(_SPACES) else ""
    opening, closing = (r"(?P<o>\()?", r"(?:\))?") if accounting else ("(?P<o>x{0})", "")
    number = f"(?P<n>{digits})?(?P<d>{re.escape(decimal)}[0-9]*)?(?P<e>[eE][+-]?[0-9]+)?"
    return f"^{pad}{opening}{pad}(?P<s>[+-])?{pad}{prefix}(?P<t>[+-])?{number}{suffix}{pad}{closing}{pad}$"


def many(values: pl.Series, form: NumberSection) -> pl.Series:
    """Return texts as Float64; null where one is no number of the notation."""
    parts = values.str.extract_groups(_pattern(form)).struct.unnest()
    group = f"[{_SPACES}]" if form.grouping == " " else re.escape(form.grouping)
    digits = pl.col("n").fill_null("") if not form.grouping else pl.col("n").fill_null("").str.replace_all(group, "")
    decimals = pl.col("d").fill_null("").str.replace(re.escape(form.decimal), ".")
    number = pl.concat_str(digits, decimals, pl.col("e").fill_null("")).cast(pl.Float64, strict=False)
    signs = (pl.col("s") == "-").fill_null(value=False) ^ (pl.col("t") == "-").fill_null(value=False)
    bracket = pl.col("o").fill_null("") == "("
    found = parts.select(pl.when(signs ^ bracket).then(-number).otherwise(number)).to_series()
    if form.accounting:
        odd = values.str.contains(r"\(") ^ values.str.contains(r"\)\s*$")
        found = found.set(odd.fill_null(value=False), None)
    return found.alias(values.name)


def one(text: str, form: NumberSection) -> float | None:
    """Return one text as a number; None where it is none of the notation."""
    match = _compiled(_pattern(form)).match(text)
    if match is None or (form.accounting and ("(" in text) != text.rstrip().endswith(")")):
        return None
    digits = match["n"] or ""
    if form.grouping:
        digits = re.sub("[^0-9]", "", digits)
    decimals = "." + match["d"][1:] if match["d"] else ""
    try:
        found = float(digits + decimals + (match["e"] or ""))
    except ValueError:
        return None
    if not math.isfinite(found):
        return None
    negative = (match["s"] == "-") ^ (match["t"] == "-") ^ (match["o"] == "(")
    return -found if negative else found


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def plain(form: NumberSection) -> bool:
    """Return whether a notation is the usual one: a point and nothing else."""
    return form.decimal == "." and not (form.grouping or form.prefix or form.suffix or form.accounting)
