"""Row-level expressions for single events: the SQL of `rowwise`, compiled to a Python function of one row.

Polars reads the SQL, so that precedence and meaning are its own; what it has read is compiled node by node into Python
closures. The type of each node is asked of Polars too. A node that is not compiled here, or a value that this machine's
Python might treat otherwise (text beyond ASCII, patterns), is given to Polars as a frame of one row; `left_to_polars`
says which those are.

Inside an expression infinities and NaN are values, as they are to Polars; a result that is not finite is null.
"""

from __future__ import annotations

import io
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from fraudctl.errors import DataError
from fraudctl.features.rows import operations as ops
from fraudctl.features.rows.operations import RowFunction
from fraudctl.features.rows.read import RowExpr

Node = Mapping[str, Any]

_BITS: dict[Any, int] = {pl.Int64: 64, pl.Int32: 32, pl.Int16: 16, pl.Int8: 8}
_LITERAL_INTS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


class _LeftToPolarsError(Exception):
    """A node that is not compiled here."""


def compile_row(expr: RowExpr, types: Mapping[str, pl.DataType], places: Mapping[str, int]) -> RowFunction:
    """Return a function of one row that answers as ``expr.apply`` does for a frame of that row.

    Parameters
    ----------
    expr
        The expression.
    types
        Types of the columns: Int64, Float64, String, Boolean, or a naive time in the project's zone.
    places
        Where in a row the columns stand.

    Returns
    -------
    The function raises `DataError` where a strict CAST meets a value that it cannot take.
    """
    compiler = _Compiler(types, places)
    function, dtype = compiler.compile(json.loads(expr.expr.meta.serialize(format="json")))
    compiler.check(expr)
    where = expr.where

    def answer(row: Sequence[Any]) -> Any:
        try:
            value = function(row)
        except (pl.exceptions.PolarsError, OverflowError) as error:
            msg = f"{where}: cannot be computed ({type(error).__name__})"
            hint = "try_cast(x AS DOUBLE) gives null where a text is no number"
            raise DataError(msg, hint=hint) from None
        if type(value) is float and not math.isfinite(value):
            return None
        return value if type(value) is not Decimal else float(value)

    return answer if dtype != pl.Null else ops.constant(None)


def left_to_polars(expr: RowExpr, types: Mapping[str, pl.DataType]) -> list[str]:
    """Name the nodes of an expression that Polars computes on a frame of one row."""
    compiler = _Compiler(types, {name: i for i, name in enumerate(types)})
    compiler.compile(json.loads(expr.expr.meta.serialize(format="json")))
    return compiler.left


def _expr(node: Node) -> pl.Expr:
    return pl.Expr.deserialize(io.BytesIO(json.dumps(node).encode()), format="json")


def _columns(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["Column"]} if set(node) == {"Column"} else set()
        return found.union(*(_columns(item) for item in node.values()))
    return set().union(*(_columns(item) for item in node)) if isinstance(node, list) else set()


class _Compiler:
    """Compiles the nodes of one expression."""

    def __init__(self, types: Mapping[str, pl.DataType], places: Mapping[str, int]) -> None:
        self.types = types
        self.places = places
        self.left: list[str] = []

    def check(self, expr: RowExpr) -> None:
        """Raise where the expression does not fit the types."""
        expr.apply(pl.DataFrame(schema={name: self.types[name] for name in expr.columns}))

    def dtype(self, node: Node) -> pl.DataType:
        """Return the type of a node, as Polars finds it."""
        names = sorted(_columns(node))
        frame = pl.DataFrame(schema={name: self.types[name] for name in names} or {"": pl.Int64})
        return frame.select(_expr(node).alias("result")).schema["result"]

    def compile(self, node: Node) -> tuple[RowFunction, pl.DataType]:
        """Return the function of a node, and its type."""
        dtype = self.dtype(node)
        kind = next(iter(node))
        try:
            return self._compiled(kind, node[kind], dtype), dtype
        except (_LeftToPolarsError, KeyError, TypeError, ValueError):
            self.left.append(_name(kind, node[kind]))
            return self.by_polars(node), dtype

    def by_polars(self, node: Node) -> RowFunction:
        """Return a function that computes a node from the row's columns with Polars."""
        expr = _expr(node).alias("result")
        inputs = [(name, self.types[name], self.places[name]) for name in sorted(_columns(node))]

        def compute(row: Sequence[Any]) -> Any:
            series = [pl.Series(name, [row[place]], dtype=dtype) for name, dtype, place in inputs]
            return pl.DataFrame(series or [pl.Series("", [0])]).select(expr)["result"][0]

        return compute

    # ------------------------------------------------------------ nodes

    def _compiled(self, kind: str, body: Any, dtype: pl.DataType) -> RowFunction:
        if kind == "Column":
            return operator.itemgetter(self.places[body])
        if kind == "Literal":
            return ops.constant(_literal(body))
        if kind == "BinaryExpr":
            return self._binary(body["op"], body["left"], body["right"], dtype)
        if kind == "Ternary":
            return self._ternary(body, dtype)
        if kind == "Cast":
            return self._cast(body, dtype)
        if kind == "Function":
            return self._function(body["function"], body["input"], dtype)
        raise _LeftToPolarsError

    def _typed(self, node: Node, dtype: pl.DataType) -> RowFunction:
        """Compile a node, and bring its values to the type of what it is part of."""
        function, own = self.compile(node)
        if own == dtype or own == pl.Null:
            return function
        if dtype.is_float() and own.is_numeric():
            return lambda row: None if (value := function(row)) is None else float(value)
        if dtype.is_decimal() and (own.is_integer() or own.is_decimal()):
            return lambda row: None if (value := function(row)) is None else Decimal(value)
        if dtype.is_integer() and (own.is_integer() or own == pl.Boolean):
            return lambda row: None if (value := function(row)) is None else int(value)
        raise _LeftToPolarsError

    def _binary(self, op: str, left: Node, right: Node, dtype: pl.DataType) -> RowFunction:
        if op in ops.COMPARED or op in ("EqValidity", "NotEqValidity"):
            return self._comparison(op, left, right)
        if op in ("And", "Or") and dtype == pl.Boolean:
            a, b = self._typed(left, dtype), self._typed(right, dtype)
            return ops.decided(a, b, by=op != "And")
        if dtype == pl.String and op == "Plus":
            return ops.strict(operator.add, self._typed(left, dtype), self._typed(right, dtype))
        if op == "RustDivide":  # what EXTRACT(epoch ...) divides by
            op = "Floor" if dtype.is_integer() else "Div"
        if op not in {*ops.ARITHMETIC, "Floor"} or not (dtype.is_numeric()):
            raise _LeftToPolarsError
        return self._arithmetic(op, left, right, dtype)

    def _arithmetic(self, op: str, left: Node, right: Node, dtype: pl.DataType) -> RowFunction:
        if dtype.is_float() or dtype.is_decimal():
            a, b = self._typed(left, dtype), self._typed(right, dtype)
            if dtype.is_decimal() and op not in ("Plus", "Minus", "Mul"):
                raise _LeftToPolarsError
            return ops.strict(ops.FLOAT_OPERATIONS[op] if dtype.is_float() else ops.ARITHMETIC[op], a, b)
        bits = _BITS[dtype]
        a, b = self._typed(left, dtype), self._typed(right, dtype)
        return ops.strict(ops.wrapped(ops.INT_OPERATIONS[op], bits), a, b)

    def _comparison(self, op: str, left: Node, right: Node) -> RowFunction:
        common = self._common(left, right)
        a, b = self._typed(left, common), self._typed(right, common)
        if op == "EqValidity":
            return lambda row: ops.equal(a(row), b(row))
        if op == "NotEqValidity":
            return lambda row: not ops.equal(a(row), b(row))
        return ops.strict(ops.total(ops.COMPARED[op]) if common.is_float() else ops.COMPARED[op], a, b)

    def _common(self, *nodes: Node) -> pl.DataType:
        """Return the type in which values are compared."""
        found = [dtype for dtype in (self.dtype(node) for node in nodes) if dtype != pl.Null]
        if not found:
            raise _LeftToPolarsError
        if all(dtype == found[0] for dtype in found):
            return found[0]
        if not all(dtype.is_numeric() for dtype in found):
            raise _LeftToPolarsError
        if any(dtype.is_float() for dtype in found):
            return pl.Float64()
        return pl.Decimal(38, 0) if any(dtype.is_decimal() for dtype in found) else pl.Int64()

    def _ternary(self, body: Node, dtype: pl.DataType) -> RowFunction:
        predicate, kind = self.compile(body["predicate"])
        if kind != pl.Boolean:
            raise _LeftToPolarsError
        truthy, falsy = self._typed(body["truthy"], dtype), self._typed(body["falsy"], dtype)
        return lambda row: truthy(row) if predicate(row) is True else falsy(row)

    def _cast(self, body: Node, dtype: pl.DataType) -> RowFunction:
        function, own = self.compile(body["expr"])
        if own == dtype:
            return function
        strict = body["options"] == "Strict"
        simple = ops.simple_cast(own, dtype)

        def cast(row: Sequence[Any]) -> Any:
            value = function(row)
            if value is None:
                return None
            if simple is not None:
                return simple(value)
            return pl.Series([value], dtype=own).cast(dtype, strict=strict)[0]

        if own.is_decimal() and simple is None:
            raise _LeftToPolarsError
        return cast

    # ------------------------------------------------------------ functions

    def _function(self, named: Any, inputs: list[Node], dtype: pl.DataType) -> RowFunction:
        family, name = next(iter(named.items())) if isinstance(named, dict) else ("", named)
        if family == "Sql":
            return self._sql(name, inputs, dtype)
        if family == "Boolean":
            return self._boolean(name, inputs)
        if (
            family == "TemporalExpr"
            and isinstance(name, str)
            and name in ops.PARTS
            and self.dtype(inputs[0]) == pl.Datetime("us")
        ):
            part, value = ops.PARTS[name], self._typed(inputs[0], self.dtype(inputs[0]))
            return lambda row: None if (at := value(row)) is None else part(at)
        if family == "TemporalExpr" and name == {"TimeStamp": "Nanoseconds"}:
            if self.dtype(inputs[0]) != pl.Datetime("us"):
                raise _LeftToPolarsError
            value = self._typed(inputs[0], self.dtype(inputs[0]))
            return lambda row: None if (at := value(row)) is None else ops.nanoseconds(at)
        if family == "StringExpr":
            return self._text(name, inputs)
        if family == "ListExpr" and name == {"Get": True}:
            return self._part(inputs)
        if named in ("MaxHorizontal", "MinHorizontal"):
            return self._widest(inputs, dtype, larger=named == "MaxHorizontal")
        if named in ("Coalesce", "FillNull"):
            return ops.first([self._typed(node, dtype) for node in inputs])
        return self._number(family, name, inputs, dtype)

    def _sql(self, name: Any, inputs: list[Node], dtype: pl.DataType) -> RowFunction:
        if name == "ToFloat":
            return self._typed(inputs[0], pl.Float64())
        kind, detail = next(iter(name.items()))
        if kind == "Round":
            if dtype.is_integer():
                return self._typed(inputs[0], dtype)
            if detail != {"decimals": 0} or not dtype.is_float():
                raise _LeftToPolarsError
            return ops.guarded(lambda x: float(round(x)), np.rint, self._typed(inputs[0], dtype))
        if kind == "IsIn":
            return self._is_in(inputs)
        if kind != "Binary":
            raise _LeftToPolarsError
        if detail in ops.COMPARED:
            return self._comparison(detail, *inputs)
        if detail == "IntDiv" and not (dtype.is_integer() and all(self.dtype(node).is_integer() for node in inputs)):
            raise _LeftToPolarsError
        if detail not in ops.ARITHMETIC:
            raise _LeftToPolarsError
        return self._arithmetic(detail, inputs[0], inputs[1], dtype)

    def _is_in(self, inputs: list[Node]) -> RowFunction:
        function, dtype = self.compile(inputs[0])
        among = pl.select(_expr(inputs[1]).alias("result"))["result"]
        values = among[0].to_list() if isinstance(among.dtype, (pl.List, pl.Array)) else among.to_list()
        simple = dtype == pl.String or dtype == pl.Boolean or dtype.is_integer()
        if not simple or any(type(value) is not ops.PYTHON.get(dtype.base_type(), int) for value in values):
            raise _LeftToPolarsError
        found = frozenset(values)
        return lambda row: None if (value := function(row)) is None else value in found

    def _boolean(self, name: Any, inputs: list[Node]) -> RowFunction:
        function, dtype = self.compile(inputs[0])
        if name == "Not" and dtype == pl.Boolean:
            return lambda row: None if (value := function(row)) is None else not value
        if name == "IsNull":
            return lambda row: function(row) is None
        if name == "IsNotNull":
            return lambda row: function(row) is not None
        raise _LeftToPolarsError

    def _widest(self, inputs: list[Node], dtype: pl.DataType, *, larger: bool) -> RowFunction:
        if not dtype.is_integer() and not dtype.is_float():
            raise _LeftToPolarsError
        functions = [self._typed(node, dtype) for node in inputs]
        pick = max if larger else min

        def widest(row: Sequence[Any]) -> Any:
            values = [value for value in (function(row) for function in functions) if value is not None]
            if len(values) > 1:
                values = [value for value in values if value == value] or values
            return pick(values) if values else None

        return widest

    def _number(self, family: str, name: Any, inputs: list[Node], dtype: pl.DataType) -> RowFunction:
        own = self.dtype(inputs[0])
        if name in ("Abs", "Sign", "Floor", "Ceil") and own.is_integer() and dtype == own:
            whole: dict[str, Callable[[int], int]] = {
                "Abs": ops.wrapped_one(abs, _BITS[dtype]),
                "Sign": lambda x: (x > 0) - (x < 0),
                "Floor": int,
                "Ceil": int,
            }
            return ops.one(whole[name], self._typed(inputs[0], dtype))
        if not dtype.is_float():
            raise _LeftToPolarsError
        values = [self._typed(node, dtype) for node in inputs]
        if (family, name) in ops.TWO_FLOATS:
            return ops.guarded_two(*ops.TWO_FLOATS[family, name], values[0], values[1])
        if name == "Log":
            base = _literal(inputs[1]["Literal"])
            return ops.guarded(*ops.LOGARITHMS[base], values[0])
        return ops.guarded(*ops.FLOATS[family, name], values[0])

    # ------------------------------------------------------------ text

    def _text(self, name: Any, inputs: list[Node]) -> RowFunction:
        function, own = self.compile(inputs[0])
        if isinstance(name, dict) and "ConcatHorizontal" in name:
            return self._joined(name["ConcatHorizontal"]["delimiter"], inputs)
        if own != pl.String:
            raise _LeftToPolarsError
        if isinstance(name, str) and name in ops.ONE_TEXT and self._plain_strip(name, inputs):
            slow = self.by_polars({"Function": {"input": inputs, "function": {"StringExpr": name}}})
            return ops.in_ascii(ops.ONE_TEXT[name], function, slow)
        if name == "Slice":
            return self._slice(function, inputs)
        needle = _literal(inputs[1]["Literal"])
        if not isinstance(needle, str):
            raise _LeftToPolarsError
        if name == "StartsWith":
            return ops.one(lambda text: text.startswith(needle), function)
        if name == "EndsWith":
            return ops.one(lambda text: text.endswith(needle), function)
        if name == {"Contains": {"literal": True, "strict": False}}:
            return ops.one(lambda text: needle in text, function)
        if isinstance(name, dict) and name.get("Replace") == {"n": -1, "literal": True} and needle:
            other = _literal(inputs[2]["Literal"])
            return ops.one(lambda text: text.replace(needle, other), function)
        if isinstance(name, dict) and ("Find" in name or "Contains" in name) and needle.isalnum() and needle.isascii():
            if "Contains" in name:
                return ops.one(lambda text: needle in text, function)
            return ops.one(lambda text: ops.byte_place(text, needle), function)
        raise _LeftToPolarsError

    def _plain_strip(self, name: str, inputs: list[Node]) -> bool:
        return "Strip" not in name or _literal(inputs[1]["Literal"]) is None

    def _joined(self, delimiter: str, inputs: list[Node]) -> RowFunction:
        functions = [self._typed(node, pl.String()) for node in inputs]

        def joined(row: Sequence[Any]) -> str:
            return delimiter.join([text for text in (function(row) for function in functions) if text is not None])

        return joined

    def _slice(self, function: RowFunction, inputs: list[Node]) -> RowFunction:
        offset, (length, _) = self._typed(inputs[1], self.dtype(inputs[1])), self.compile(inputs[2])

        def cut(row: Sequence[Any]) -> str | None:
            text, start, n = function(row), offset(row), length(row)
            if text is None or start is None:
                return None
            begin = start if start >= 0 else len(text) + start
            stop = len(text) if n is None else begin + n
            if (n is not None and n < 0) or (begin < 0 and n is not None):
                raise _OddSliceError
            return str(text[max(begin, 0) : max(stop, 0)])

        slow = self.by_polars({"Function": {"input": inputs, "function": {"StringExpr": "Slice"}}})

        def safely(row: Sequence[Any]) -> Any:
            try:
                return cut(row)
            except _OddSliceError:
                return slow(row)

        return safely

    def _part(self, inputs: list[Node]) -> RowFunction:
        """Compile the i-th part of a split text."""
        split, at = inputs[0]["Function"], _literal(inputs[1]["Literal"])
        if split["function"] != {"StringExpr": {"Split": False}}:
            raise _LeftToPolarsError
        function, _ = self.compile(split["input"][0])
        needle = _literal(split["input"][1]["Literal"])
        if not needle:
            raise _LeftToPolarsError

        def part(row: Sequence[Any]) -> str | None:
            text = function(row)
            parts = [] if text is None else text.split(needle)
            return parts[at] if -len(parts) <= at < len(parts) else None

        return part


class _OddSliceError(Exception):
    """A slice that is left to Polars."""


def _name(kind: str, body: Any) -> str:
    if kind == "Function":
        return json.dumps(body["function"])
    return f"{kind} {body['op']}" if kind == "BinaryExpr" else kind


def _literal(body: Any) -> Any:
    kind, value = next(iter(body.items()))
    if kind == "Dyn":
        found = next(iter(value.values()))
        if not isinstance(found, (int, float)):
            raise _LeftToPolarsError
        return found
    if kind != "Scalar":
        raise _LeftToPolarsError
    kind, value = next(iter(value.items()))
    if kind == "Decimal":
        return Decimal(value[0]).scaleb(-value[2])
    if kind == "Null":
        return None
    if kind in ("String", "Boolean", *_LITERAL_INTS):
        return value
    if kind in ("Float32", "Float64"):
        return float(value)
    if kind == "Datetime" and value[1] == "Microseconds" and value[2] is None:
        return pl.Series([value[0]]).cast(pl.Datetime("us"))[0]
    raise _LeftToPolarsError
