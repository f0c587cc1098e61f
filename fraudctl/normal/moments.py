"""Columns of texts as times, by a compiled format: what `formats.Format.one` does for a single text."""

from __future__ import annotations

import polars as pl

from fraudctl.normal.formats import MONTHS, WEEKDAYS, Format


def many(values: pl.Series, form: Format) -> pl.Series:
    """Return the times of texts (µs, in UTC where the format has a zone); null where one is not of the format."""
    kind = pl.Datetime("us", "UTC" if form.zoned else None)
    if values.null_count() == len(values):
        return pl.Series(values.name, [None] * len(values), dtype=kind)
    distinct = values.unique()
    if 2 * len(distinct) <= len(values):  # few instants, many rows: each text is read once
        table = pl.DataFrame({"t": distinct, "v": _read(distinct, form)})
        rows = pl.DataFrame({"t": values})
        return rows.join(table, on="t", how="left", maintain_order="left", nulls_equal=True)["v"].alias(values.name)
    return _read(values, form)


def _read(values: pl.Series, form: Format) -> pl.Series:
    text = values.str.strip_chars(" ").str.replace_all(" +", " ").str.to_lowercase()
    fields = text.str.extract_groups(f"^(?:{form.regex})$").struct.unnest()
    return _moments(fields, form).alias(values.name)


def _moments(fields: pl.DataFrame, form: Format) -> pl.Series:
    """Return what `_moment` does, for a frame of text fields; null where there is no such day or time."""
    fields = _with_clock(fields)
    have = set(fields.columns)

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Int32, strict=False)

    century = pl.when(number("y") < 69).then(2000).otherwise(1900)
    year = number("y") + century if "y" in have else number("Y" if "Y" in have else "G")
    hour = number("H") if "H" in have else pl.lit(0)
    if "I" in have:
        hour = number("I") % 12 + pl.when(pl.col("p") == "pm").then(12).otherwise(0)
    good = pl.lit(value=True) if "I" not in have else number("I").is_between(1, 12)
    good &= hour.is_between(0, 23)
    for name in have & {"M", "S"}:
        good &= number(name).is_between(0, 59)
    micros = pl.col("f").str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64) if "f" in have else pl.lit(0)
    days, exists = _days(fields, year, form)
    frame = fields.with_columns(days.alias(".day")).with_columns(
        (exists & good & pl.col(".day").is_not_null()).alias(".good")
    )
    of_day = hour.cast(pl.Int64) * 3_600 + sum(
        (number(name).cast(pl.Int64) * factor for name, factor in (("M", 60), ("S", 1)) if name in have), pl.lit(0)
    )
    at = pl.col(".day").cast(pl.Datetime("us")).cast(pl.Int64) + of_day * 1_000_000 + micros
    if form.zoned:
        at = at - _offsets(pl.col("z"))
    out = pl.when(".good").then(at).cast(pl.Datetime("us")).alias("at")
    found = frame.select(out).to_series()
    return found.dt.replace_time_zone("UTC") if form.zoned else found


def _with_clock(fields: pl.DataFrame) -> pl.DataFrame:
    """Return the fields with hour, minute and second of a time of the day that was written as a number."""
    name = next((name for name in ("hms", "hm") if name in fields.columns), None)
    if name is None:
        return fields
    clock = pl.col(name).cast(pl.Int32, strict=False) * (1 if name == "hms" else 100)
    parts = {"H": clock // 10_000, "M": clock // 100 % 100, "S": clock % 100}
    return fields.with_columns(**{key: value.cast(pl.String) for key, value in parts.items()})


def _days(fields: pl.DataFrame, year: pl.Expr, form: Format) -> tuple[pl.Expr, pl.Expr]:
    """Return the day of each row, and whether it is the day that its fields say."""
    have = set(fields.columns)

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Int32, strict=False)

    weekday = _weekday(have)
    if "V" in have and weekday is not None:
        start = _date(year, pl.lit(1), pl.lit(4)).dt.truncate("1w")  # the 4th of January lies in the first week
        day = start + pl.duration(days=7 * (number("V") - 1) + weekday)
        return day, (number("V") >= 1) & (day.dt.iso_year() == year)
    if "j" in have:
        day = _date(year, pl.lit(1), pl.lit(1)) + pl.duration(days=number("j") - 1)
        exists = day.dt.year() == year
    else:
        named = pl.col("b" if "b" in have else "B").str.slice(0, 3) if "m" not in have else None
        month = number("m") if named is None else named.replace_strict(
            {name: i + 1 for i, name in enumerate(MONTHS)}, default=None, return_dtype=pl.Int32)  # fmt: skip
        if form.week is not None and weekday is not None:
            first = _date(year, month, pl.lit(1))
            lead = first.dt.weekday().cast(pl.Int32) - 1
            start = {"sunday": pl.lit(6), "monday": pl.lit(0)}.get(form.week, lead)
            before = (lead - start + 7) % 7
            shift = 7 * (number("w") - 1) - before + (weekday - start + 7) % 7
            day = first + pl.duration(days=shift)
            if form.week == "nth":  # at most two weeks too far: back to the last of the month
                for _ in range(2):
                    beyond = day.dt.month().cast(pl.Int32) != month
                    day = pl.when(beyond).then(day - pl.duration(days=7)).otherwise(day)
            return day, day.dt.month().cast(pl.Int32) == month
        day = _date(year, month, number("d"))
        exists = (day.dt.day().cast(pl.Int32) == number("d")) & (day.dt.month().cast(pl.Int32) == month)
    if weekday is not None:
        exists &= day.dt.weekday().cast(pl.Int32) - 1 == weekday
    return day, exists


def _weekday(have: set[str]) -> pl.Expr | None:
    """Return the weekday of each row, 0 for Monday; None where the format has none."""
    if "u" in have:
        return pl.col("u").cast(pl.Int32, strict=False) - 1
    if not have & {"a", "A"}:
        return None
    word = pl.col("a" if "a" in have else "A").str.slice(0, 3)
    return word.replace_strict({n: i for i, n in enumerate(WEEKDAYS)}, default=None, return_dtype=pl.Int32)


def _date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Return a date; null where there is no such day."""
    text = pl.concat_str(
        year.cast(pl.String).str.zfill(4),
        month.cast(pl.String).str.zfill(2),
        day.cast(pl.String).str.zfill(2),
        separator="-",
    )
    return text.str.to_date("%Y-%m-%d", strict=False)


def _offsets(zone: pl.Expr) -> pl.Expr:
    """Return the microseconds by which a zone is ahead of UTC."""
    digits = zone.str.slice(1).str.replace_all(":", "", literal=True).str.pad_end(4, "0")
    hours, minutes = digits.str.slice(0, 2), digits.str.slice(2, 2)
    size = (hours.cast(pl.Int64, strict=False) * 3_600 + minutes.cast(pl.Int64, strict=False) * 60) * 1_000_000
    signed = pl.when(zone.str.starts_with("-")).then(-size).otherwise(size)
    return pl.when(zone.is_in(["z", "utc"])).then(0).otherwise(signed)
