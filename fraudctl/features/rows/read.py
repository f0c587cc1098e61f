"""Row-level columns: expressions in Polars SQL that see one row at a time.

Owns the reading of such an expression and the refusal of whatever could see another row, the clock or the outcome.
It works by what is allowed, not by what is forbidden: every word of the text must be a column that the caller allows,
one of the functions of `FUNCTIONS`, or one of a few keywords. Aggregates, ``OVER``, subqueries and clocks are not
among them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from fraudctl.data.own import inside
from fraudctl.errors import DataError, ProjectError
from fraudctl.text.plain import shown, shown_all

DATE_PARTS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
"""Functions of event_time, in the project's local time; ``extract(dow FROM event_time)`` gives the weekday."""

FUNCTIONS = frozenset(
    {
        *DATE_PARTS, "abs", "sign", "sqrt", "cbrt", "pow", "power", "exp", "ln", "log2", "log10", "log1p", "round",
        "floor", "ceil", "ceiling", "mod", "greatest", "least", "coalesce", "ifnull", "nullif", "if", "cast",
        "try_cast",
        "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "radians", "degrees", "pi", "extract", "date_part",
        "length", "char_length", "octet_length", "upper", "lower", "left", "right", "substr", "substring", "concat",
        "concat_ws", "starts_with", "ends_with", "strpos", "replace", "split_part", "ltrim", "rtrim", "trim",
        "regexp_like", "reverse",
    }
)  # fmt: skip
"""Functions of one row's values that an expression may call."""

_KEYWORDS = frozenset(
    {
        "and", "or", "not", "is", "null", "true", "false", "in", "between", "like", "ilike", "rlike", "regexp", "case",
        "when", "then", "else", "end", "as", "distinct", "from",
    }
)  # fmt: skip
_TYPES = frozenset(
    {
        "int", "integer", "bigint", "smallint", "tinyint", "double", "float", "real", "boolean", "bool", "text",
        "varchar", "string", "date", "timestamp",
    }
)  # fmt: skip
_OPERATORS = _KEYWORDS - {"null", "true", "false", "as", "from", "distinct", "end", "then", "else"}
MOST_CHARACTERS = 50_000
MOST_OPERATORS = 150
"""Operators of one expression, of which each may nest the others: Polars ends the process at some 400."""
_MOST_NAMED = 12
_EXTRACTED = frozenset({*DATE_PARTS, "dow", "isodow", "doy", "epoch"})
_NARROW = frozenset({*DATE_PARTS, "extract", "date_part", "length", "char_length", "octet_length", "strpos"})
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>\|\||//|<=>|<=|>=|<>|!=|==|::|[-+*/%(),<>=&|~^]))""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """One word of an expression: its kind (number, text, quoted, word, sign) and its text."""

    kind: str
    text: str

    @property
    def name(self) -> str:
        """The column name that a word or quoted word would stand for."""
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text


@dataclass(frozen=True)
class RowExpr:
    """An expression over one row, read and found harmless.

    Attributes
    ----------
    text
        The text as the project file has it.
    sql
        What Polars is given: the same, with small integers widened so that they cannot overflow.
    columns
        Names of the columns used, in the order of their first use.
    where
        Where the text stands, for messages.
    """

    text: str
    sql: str
    columns: tuple[str, ...]
    where: str

    @property
    def bare(self) -> bool:
        """Whether it is nothing but a column."""
        return bool(self.columns) and self.sql.strip("() ").strip('"') == self.columns[0]

    @cached_property
    def expr(self) -> pl.Expr:
        """The Polars expression."""
        return pl.sql_expr(self.sql)

    def apply(self, frame: pl.DataFrame, *, timezone: str = "UTC") -> pl.Series:
        """Evaluate the expression on every row.

        Parameters
        ----------
        frame
            Holds the columns of `columns`; zoned times are seen as naive times in ``timezone``.
        timezone
            The project's zone.

        Returns
        -------
        Series of length ``frame.height`` and dtype Boolean, Int64, Float64, String or a temporal type. Results that
        are not finite are null.

        Raises
        ------
        DataError
            The expression does not fit the types of its columns, or a strict CAST meets a value that it cannot take.
        """
        seen = frame.select(_as_seen(name, frame.schema[name], timezone) for name in self.columns)
        if not self.columns:
            seen = pl.DataFrame({"": pl.repeat(0, frame.height, eager=True)})
        try:
            out = seen.select(self.expr.alias("result")).to_series()
        except (pl.exceptions.PanicException, pl.exceptions.PolarsError) as error:
            types = ", ".join(f"{name}: {frame.schema[name]}" for name in self.columns)
            msg = f"{self.where}: cannot be computed ({type(error).__name__}) from {types or 'no column'}"
            hint = "compare and compute like with like; try_cast(x AS DOUBLE) gives null where a text is no number"
            raise DataError(msg, hint=hint) from None
        return _widened(out if len(out) == frame.height else out.new_from_index(0, frame.height))


def _as_seen(name: str, dtype: pl.DataType, timezone: str) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone(timezone).dt.replace_time_zone(None)
    return column.cast(wide_dtype(dtype)) if dtype != wide_dtype(dtype) else column


def wide_dtype(dtype: pl.DataType) -> pl.DataType:
    """Return the type in which a column is computed with: Int64, Float64, String, or its own."""
    if dtype.is_integer():
        return pl.Int64()
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        return pl.Float64()
    if dtype == pl.Categorical or isinstance(dtype, pl.Enum):
        return pl.String()
    return dtype


def _widened(values: pl.Series) -> pl.Series:
    values = values.cast(wide_dtype(values.dtype))
    if values.dtype != pl.Float64:
        return values
    return values.set(~values.is_finite().fill_null(value=True), None)


def compile_row_sql(text: str, *, allowed: Collection[str] | None, where: str) -> RowExpr:
    """Read an expression in Polars SQL over one row.

    Parameters
    ----------
    text
        The expression, such as ``amount / card_mean_amount_30d`` or ``hour(event_time) <= 6``.
    allowed
        Names of the columns that it may use; None where every name is taken for a column, for the caller to check.
    where
        Where it stands, for messages: ``features.columns.is_night``.

    Raises
    ------
    ProjectError
        The text is no expression, or uses a column, function or keyword that is not allowed.

    Examples
    --------
    >>> compile_row_sql("amount / 2", allowed=["amount"], where="features.columns.half").columns
    ('amount',)
    >>> compile_row_sql("sum(amount)", allowed=["amount"], where="features.columns.total")
    Traceback (most recent call last):
    fraudctl.errors.ProjectError: features.columns.total: function 'sum' is not allowed ...
    """
    _require_short(len(text), MOST_CHARACTERS, "characters", where)
    tokens = [_inside(token) for token in _tokens(text, where)]
    _require_short(sum(map(_is_operator, tokens)), MOST_OPERATORS, "operators", where)
    if not tokens:
        msg = f"{where}: is empty; expected an expression in Polars SQL"
        raise ProjectError(msg)
    columns = tuple(dict.fromkeys(_columns(tokens, None if allowed is None else frozenset(allowed), where)))
    row = RowExpr(text=text, sql=f"( {_without_overflow(tokens)} )", columns=columns, where=where)
    try:
        names = set(row.expr.meta.root_names())
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError) as error:
        msg = f"{where}: is not an expression that Polars SQL can read ({type(error).__name__})"
        raise ProjectError(
            msg, hint="write one expression over one row, such as amount / card_mean_amount_30d"
        ) from None
    if not names <= set(columns):
        msg = f"{where}: Polars reads other columns from it than its words say"
        raise ProjectError(msg, hint='write column names in double quotes, such as "amount"')
    return row


def words_of(text: str, *, where: str) -> tuple[str, ...]:
    """Return the words of an expression that may name columns, as they are written, each once.

    Raises
    ------
    ProjectError
        The text is no expression.

    Examples
    --------
    >>> words_of('amount > 2 * "my limit"', where="rules[0].when")
    ('amount', 'my limit')
    """
    tokens = _tokens(text, where)
    return tuple(dict.fromkeys(token.name for token in tokens if token.kind in {"word", "quoted"}))


def _is_operator(token: Token) -> bool:
    return (token.kind == "sign" and token.text not in "(),") or (
        token.kind == "word" and token.text.lower() in _OPERATORS
    )


def _require_short(found: int, most: int, what: str, where: str) -> None:
    """Refuse an expression that is nested more deeply than Polars' parser and evaluation have room for."""
    if found > most:
        msg = f"{where}: has {found:,} {what}; expected at most {most:,}"
        raise ProjectError(msg, hint="write several columns that build on each other, or IN (...) for many values")


def _inside(token: Token) -> Token:
    """Return a token that names a column of the data as that column is called inside."""
    if token.kind not in {"word", "quoted"} or inside(token.name) == token.name:
        return token
    name = inside(token.name).replace('"', '""')
    return Token("quoted", f'"{name}"')


def _tokens(text: str, where: str) -> Iterator[Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None or text.startswith("--", match.start(match.lastgroup)):
            msg = f"{where}: cannot be read at position {position + 1}; expected one expression over one row"
            raise ProjectError(msg, hint="comments, semicolons, placeholders and dotted names are not part of it")
        yield Token(match.lastgroup, match[match.lastgroup])
        position = match.end()


def _columns(tokens: list[Token], allowed: frozenset[str] | None, where: str) -> Iterator[str]:
    """Yield the columns that the tokens name; raise for a word that is not allowed."""
    for i, token in enumerate(tokens):
        if token.kind not in {"word", "quoted"}:
            continue
        called = i + 1 < len(tokens) and tokens[i + 1].text == "("
        word = token.text.lower()
        if token.kind == "word" and called and word not in _KEYWORDS:
            if word not in FUNCTIONS:
                raise ProjectError(*_refused_function(token.text, where))
        elif token.kind == "word" and (word in _KEYWORDS or _is_grammar(tokens, i)):
            continue
        elif allowed is None or token.name in allowed:
            yield token.name
        else:
            raise ProjectError(*_unknown_column(token.name, allowed, where))


def _is_grammar(tokens: list[Token], i: int) -> bool:
    """Return whether a word is a type after AS or ``::``, or the part that ``extract(part FROM ...)`` takes."""
    word, before = tokens[i].text.lower(), tokens[i - 1].text.lower() if i else ""
    if word in _TYPES and (before in {"as", "::"} or (word == "timestamp" and _next_kind(tokens, i) == "text")):
        return True
    extracting = i >= 2 and tokens[i - 2].text.lower() == "extract" and before == "("
    return extracting and word in _EXTRACTED


def _next_kind(tokens: list[Token], i: int) -> str:
    return tokens[i + 1].kind if i + 1 < len(tokens) else ""


def _refused_function(name: str, where: str) -> tuple[str]:
    close = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1)
    near = f"; did you mean {close[0]!r}?" if close else "; a row-level expression sees one row and no clock"
    return (f"{where}: function {name!r} is not allowed{near}",)


def _unknown_column(name: str, allowed: frozenset[str], where: str) -> tuple[str]:
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    names = sorted(allowed)
    some = shown_all(names, most=_MOST_NAMED) if names else "no column"
    near = f"; did you mean {shown(close[0])}?" if close else f"; it may use {some}"
    return (f"{where}: no column {shown(name)} that may be used here{near}",)


def _without_overflow(tokens: list[Token]) -> str:
    """Write the tokens as SQL, with functions that give small integers wrapped into a cast to 64 bits."""
    out: list[str] = []
    pending: list[bool] = []
    for i, token in enumerate(tokens):
        called = token.kind == "word" and i + 1 < len(tokens) and tokens[i + 1].text == "("
        narrow = called and token.text.lower() in _NARROW
        if narrow:
            out.append("CAST(")
        if token.text == "(":
            pending.append(i > 0 and tokens[i - 1].kind == "word" and tokens[i - 1].text.lower() in _NARROW)
        out.append(token.text)
        if token.text == ")" and pending and pending.pop():
            out.append("AS BIGINT)")
    return " ".join(out)
