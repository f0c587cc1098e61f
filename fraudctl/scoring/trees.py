"""A CatBoost model of symmetric trees as flat arrays: scores and exact SHAP values of one row in microseconds.

Owns the reading of such a model and the proof that it was read rightly: on loading, scores and contributions of probe
rows on, above and below the model's own borders are compared with CatBoost's. Scores are the same to the last bit;
contributions agree to 1e-12 of the score's size. A category of a model knows finitely many values (its vocabulary), so
every split on a category is a table of truth values, read from CatBoost itself; no hash and no target statistic is
computed here.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from fraudctl.arrays import AnyArray, FloatArray, IntArray, SingleArray, as_read
from fraudctl.disk.files import system_errors
from fraudctl.errors import BundleError, UsageError
from fraudctl.train.model import MISSING, ModelColumns

if TYPE_CHECKING:
    from fraudctl.boosting import CatBoost


Cells = tuple[IntArray, IntArray, FloatArray]
"""Tree -> its features (n_trees + 1); tree -> its first cell; the cells (see `kernels.score_row`)."""

AGREES_TO: Final = 1e-12
"""Largest allowed difference between our contributions and CatBoost's, relative to the score's size."""
_PROBES: Final = 64
_PART: Final = 1 << 15
"""Rows whose bins are made at once."""
BLOCK: Final = 512
"""Rows that are brought through all trees together: their bins stay in the nearest cache."""


@dataclass(frozen=True)
class Forest:
    """The trees of a model.

    Attributes
    ----------
    columns
        The model's columns; a row is given in their order.
    scale, bias
        ``score = scale * sum of leaf values + bias``.
    base
        The expected score: contributions and it add up to the score.
    codes
        Category -> known value -> its code; null has the next code, any other value the one after it.
    """

    columns: ModelColumns
    scale: float
    bias: float
    base: float
    codes: Mapping[str, Mapping[str, int]]
    _trees: tuple[IntArray, AnyArray, SingleArray, IntArray, FloatArray]
    _cells: Cells
    _features: AnyArray
    _virtual: tuple[tuple[int, AnyArray], ...]
    _high_nan: AnyArray
    _bins: tuple[IntArray, SingleArray, AnyArray]

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self._trees[0]) - 1

    def score(
        self, numbers: Sequence[float] | FloatArray, categories: Mapping[str, str | None]
    ) -> tuple[float, IntArray]:
        """Return the raw score of one row, and the places of its leaves (for `explain`).

        Parameters
        ----------
        numbers
            One per column of the model, NaN for null; those at categories are not looked at.
        categories
            Value of every category; None for null.
        """
        places = np.empty(self.n_trees, dtype=np.int64)
        return self.score_into(places, np.asarray(numbers, dtype=np.float64), categories), places

    def score_into(self, places: IntArray, numbers: FloatArray, categories: Mapping[str, str | None]) -> float:
        """Do what `score` does, and write the places."""
        from fraudctl.scoring.kernels import score_numbers

        codes = [
            len(known) if (value := categories[name]) is None else known.get(value, len(known) + 1)
            for name, known in self.codes.items()
        ]
        total = score_numbers(
            numbers, self._high_nan, np.array(codes, dtype=np.int64), *self._truths, *self._across, *self._cells[1:],
            places,
        )  # fmt: skip
        return self.scale * total + self.bias

    def explain(self, places: IntArray) -> FloatArray:
        """Return the contribution of each column, in log-odds, of the row whose leaves are at these places."""
        from fraudctl.scoring.kernels import explain_row

        out = np.empty(len(self.columns.names), dtype=np.float64)
        explain_row(places, self._cells[0], self._features, self._cells[2], out)
        return out

    @cached_property
    def _across(self) -> tuple[AnyArray, SingleArray, IntArray]:
        """Columns and borders of the splits, the first of all trees before the second ones; words of a leaf's cell."""
        from fraudctl.scoring.kernels import stride_of

        starts, column, border, _, _ = self._trees
        sizes = np.diff(starts)
        shape = int(sizes.max(initial=0)), self.n_trees
        columns, borders = np.zeros(shape, np.uint32), np.full(shape, np.inf, np.float32)
        for tree, (first, n) in enumerate(zip(starts[:-1].tolist(), sizes.tolist(), strict=True)):
            columns[:n, tree], borders[:n, tree] = column[first : first + n], border[first : first + n]
        return columns, borders, np.array([stride_of(n) for n in np.diff(self._cells[0])], dtype=np.int64)

    @cached_property
    def _truths(self) -> tuple[IntArray, IntArray, SingleArray]:
        """Split on a category -> its category among `codes`, and where its truth values begin; all truth values."""
        order = {name: at for at, name in enumerate(self.codes)}
        of = [order[self.columns.names[position]] for position, table in self._virtual for _ in table]
        rows = [row for _, table in self._virtual for row in table]
        starts = _offsets([len(row) for row in rows])[:-1]
        return np.array(of, dtype=np.int64), starts, np.concatenate([*rows, np.empty(0)]).astype(np.float32)

    def score_frame(self, frame: pl.DataFrame, *, threads: int | None = None) -> FloatArray:
        """Return the raw scores of many rows, shape ``(n_events,)``; bit by bit those of `score`.

        Parameters
        ----------
        frame
            The model's columns, checked by `ModelColumns.require`, in any order.
        threads
            Most threads to use; default: the processors. The result does not depend on it.
        """
        out = np.empty(frame.height, dtype=np.float64)
        if frame.is_empty():
            return out
        columns = self._plain_columns(frame)
        size = min(max(BLOCK, -(-frame.height // (threads or os.cpu_count() or 1))), _PART)
        parts = [slice(start, min(start + size, frame.height)) for start in range(0, frame.height, size)]
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            list(pool.map(lambda part: self._score_part(columns, part, out[part]), parts))
        return np.asarray(self.scale * out + self.bias, dtype=np.float64)

    def _plain_columns(self, frame: pl.DataFrame) -> dict[int, AnyArray]:
        """Return the columns that the trees look at, by position: numbers without NaN, codes of categories."""
        used = [name for at, name in enumerate(self.columns.names) if self._used[at]]
        plain = frame.select(self._plain_column(name) for name in used)
        return {self.columns.names.index(name): plain[name].to_numpy() for name in used}

    def _plain_column(self, name: str) -> pl.Expr:
        if name not in self.codes:
            nothing = math.inf if self._high_nan[self.columns.names.index(name)] else -math.inf
            return pl.col(name).cast(pl.Float32).fill_nan(None).fill_null(nothing)
        codes = self.codes[name]
        text = pl.col(name).cast(pl.String)
        known = text.replace_strict(dict(codes), default=len(codes) + 1, return_dtype=pl.Int64)
        return pl.when(text.is_null()).then(len(codes)).otherwise(known).alias(name)

    def _score_part(self, columns: Mapping[int, AnyArray], part: slice, out: FloatArray) -> None:
        """Bring some rows through all trees, block by block."""
        from fraudctl.scoring.kernels import score_block

        split_start, column, _, leaf_start, leaf_value = self._trees
        bins = self._binned(columns, part)
        leaf = np.empty(BLOCK, dtype=np.uint16)
        for start in range(0, len(out), BLOCK):
            rows = slice(start, min(start + BLOCK, len(out)))
            score_block(
                bins[:, rows], split_start, column, self._bins[2], leaf_start, leaf_value,
                leaf[: rows.stop - start], out[rows],
            )  # fmt: skip

    def _binned(self, columns: Mapping[int, AnyArray], part: slice) -> AnyArray:
        """Return the bins of some rows, shape (n_columns, n_rows), those of splits on categories last."""
        from fraudctl.scoring.kernels import bin_column

        border_start, borders, _ = self._bins
        bins = np.zeros((len(border_start) - 1, part.stop - part.start), dtype=np.uint8)
        for position, values in columns.items():
            if not self._is_virtual[position]:
                bin_column(
                    as_read(values[part]), borders[border_start[position] : border_start[position + 1]], bins[position]
                )
        at = len(self.columns.names)
        for position, table in self._virtual:
            bins[at : at + len(table)] = table[:, columns[position][part]]
            at += len(table)
        return bins

    @cached_property
    def _is_virtual(self) -> AnyArray:
        """Whether a column is looked at through virtual ones: a category."""
        return np.array([name in self.codes for name in self.columns.names])

    @cached_property
    def _used(self) -> AnyArray:
        """Whether any tree looks at a column."""
        starts = self._bins[0]
        used = np.diff(starts)[: len(self.columns.names)] > 0
        used[[position for position, _ in self._virtual]] = True
        return used

    def explain_frame(self, frame: pl.DataFrame) -> FloatArray:
        """Return the contributions of many rows, shape ``(n_events, n_columns)``; bit by bit those of `explain`."""
        from fraudctl.scoring.kernels import explain_rows

        out = np.empty((frame.height, len(self.columns.names)), dtype=np.float64)
        explain_rows(self._wide(frame), *self._across, *self._cells, self._features, out)
        return out

    def _wide(self, frame: pl.DataFrame) -> SingleArray:
        """Return rows as `score_row` takes them, shape ``(n_events, n_columns and virtual columns)``."""
        n = len(self.columns.names)
        wide = np.zeros((frame.height, n + sum(len(table) for _, table in self._virtual)), dtype=np.float32)
        columns, at = self._plain_columns(frame), n
        for position, values in columns.items():
            if not self._is_virtual[position]:
                wide[:, position] = values
        for position, table in self._virtual:
            wide[:, at : at + len(table)] = table[:, columns[position]].T
            at += len(table)
        return wide


def read_forest(model: CatBoost, columns: ModelColumns) -> Forest:
    """Read a model's trees, and prove on probe rows that they say what CatBoost says.

    Raises
    ------
    BundleError
        The trees are not symmetric, combine several categories in one split, or give other values than CatBoost.
    UsageError
        The temporary folder has no space for them.
    """
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.json"
        try:
            with system_errors():
                model.save_model(str(path), format="json")
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # on a full disk, CatBoost may end a file early without an error
            msg = f"the model's trees cannot be written to the temporary folder {path.parent.parent}"
            raise UsageError(msg, hint="check the space there, or set TMPDIR to another folder") from error
    if "oblivious_trees" not in document:
        msg = "the model's trees are not symmetric; only symmetric trees can be scored one by one"
        raise BundleError(msg, hint="train again")
    forest = _Reader(document, model, columns).forest()
    _prove(forest, model)
    return forest


class _Reader:
    """Turns the JSON form of a model into arrays."""

    def __init__(self, document: Mapping[str, Any], model: CatBoost, columns: ModelColumns) -> None:
        self.model = model
        self.columns = columns
        self.trees = [{**tree, "splits": tree["splits"] or []} for tree in document["oblivious_trees"]]
        self.scale, self.bias = float(document["scale_and_bias"][0]), float(document["scale_and_bias"][1][0])
        info = document["features_info"]
        self.floats = info.get("float_features") or []
        self.categories = info.get("categorical_features") or []
        self.ctrs = info.get("ctrs") or []
        self.first_ctr = sum(len(item.get("borders") or []) for item in self.floats)
        self.first_ctr += sum(len(item.get("values") or []) for item in self.categories)
        self.codes = {
            name: {value: code for code, value in enumerate(columns.vocabularies[name])} for name in columns.categorical
        }

    def forest(self) -> Forest:
        splits = [split for tree in self.trees for split in tree["splits"]]
        truths = self.truths()
        places: dict[tuple[int, bytes], int] = {}
        column = np.empty(len(splits), dtype=np.int32)
        border = np.full(len(splits), 0.5, dtype=np.float32)
        feature = np.empty(len(splits), dtype=np.int32)
        for at, split in enumerate(splits):
            feature[at] = column[at] = self.position(split)
            if split["split_type"] == "FloatFeature":
                border[at] = split["border"]
            else:
                key = (int(feature[at]), truths[at].tobytes())
                column[at] = -1 - places.setdefault(key, len(places))
        virtual, moved = self.virtual(places)
        inner = column < 0
        column[inner] = len(self.columns.names) + moved[-1 - column[inner]]
        starts = _offsets([len(tree["splits"]) for tree in self.trees])
        leaf_start = _offsets([len(tree["leaf_values"]) for tree in self.trees])
        values = np.array([value for tree in self.trees for value in tree["leaf_values"]], dtype=np.float64)
        cells, features, base = self.cells(feature, starts)
        n_columns = len(self.columns.names) + len(places)
        return Forest(
            columns=self.columns, scale=self.scale, bias=self.bias, base=self.scale * base + self.bias,
            codes=self.codes, _trees=(starts, column.astype(np.uint32), border, leaf_start, values), _cells=cells,
            _features=features, _virtual=virtual, _high_nan=self.high_nan(), _bins=_bins(column, border, n_columns),
        )  # fmt: skip

    def position(self, split: Mapping[str, Any]) -> int:
        """Return the model's column that a split looks at."""
        if split["split_type"] == "FloatFeature":
            return int(self.floats[split["float_feature_index"]]["flat_feature_index"])
        if split["split_type"] == "OneHotFeature":
            return int(self.categories[split["cat_feature_index"]]["flat_feature_index"])
        at = split["split_index"] - self.first_ctr
        for ctr in self.ctrs:
            if at < len(ctr["borders"]):
                elements = ctr["elements"]
                if len(elements) == 1 and elements[0]["combination_element"] == "cat_feature_value":
                    return int(self.categories[elements[0]["cat_feature_index"]]["flat_feature_index"])
                break
            at -= len(ctr["borders"])
        msg = "the model combines several columns in one split, which cannot be scored one by one"
        raise BundleError(msg, hint="train again")

    def truths(self) -> AnyArray:
        """Return for every split on a category whether each of its values passes, as CatBoost says; by split."""
        n_splits = sum(len(tree["splits"]) for tree in self.trees)
        levels = {name: self.columns.levels(name) for name in self.codes}
        widest = max((len(spelled) for spelled in levels.values()), default=0)
        out = np.zeros((n_splits, widest), dtype=np.bool_)
        for name, spelled in levels.items():
            probe = _plain_rows(self.columns, len(spelled)).with_columns(pl.Series(name, spelled, dtype=pl.String))
            leaves = _leaves(self.model, self.columns, probe)
            position, at = self.columns.names.index(name), 0
            for t, tree in enumerate(self.trees):
                for bit, split in enumerate(tree["splits"]):
                    if split["split_type"] != "FloatFeature" and self.position(split) == position:
                        out[at, : len(spelled)] = (leaves[:, t] >> bit) & 1
                    at += 1
        return out

    def virtual(self, places: Mapping[tuple[int, bytes], int]) -> tuple[tuple[tuple[int, AnyArray], ...], IntArray]:
        """Gather the splits on categories by column; and where each of them comes to stand."""
        moved, out, at = np.zeros(len(places), dtype=np.int64), [], 0
        for position in sorted({key[0] for key in places}):
            mine = [(key[1], place) for key, place in places.items() if key[0] == position]
            width = len(self.columns.levels(self.columns.names[position]))
            table = np.array([np.frombuffer(bits, dtype=np.bool_)[:width] for bits, _ in mine], dtype=np.float32)
            out.append((position, table))
            for _, place in mine:
                moved[place], at = at, at + 1
        return tuple(out), moved

    def high_nan(self) -> AnyArray:
        """State for each column whether null counts as the largest value; otherwise as the smallest."""
        out = np.zeros(len(self.columns.names), dtype=np.bool_)
        for item in self.floats:
            out[item["flat_feature_index"]] = item.get("nan_value_treatment") == "AsTrue"
        return out

    def cells(self, feature: AnyArray, starts: IntArray) -> tuple[Cells, AnyArray, float]:
        """Return value and contributions of every leaf, the features of the trees, and what they expect together."""
        from fraudctl.scoring.kernels import known_values, shapley_values, stride_of

        features, tables, base = [], [], 0.0
        for t, tree in enumerate(self.trees):
            distinct, classes = np.unique(feature[starts[t] : starts[t + 1]], return_inverse=True)
            k = len(distinct)
            values, weights = (np.array(tree[key], dtype=np.float64) for key in ("leaf_values", "leaf_weights"))
            share = np.array([_shapley(size, k) for size in range(max(k, 1))], dtype=np.float64)
            known = known_values(len(tree["splits"]), classes.astype(np.int64), k, values, weights)
            shap = np.empty(len(values) * k, dtype=np.float64)
            shapley_values(known, k, share, shap)
            base += float(known[0, 0])
            table = np.zeros((len(values), stride_of(k)), dtype=np.float64)
            table[:, 0], table[:, 1 : k + 1] = values, shap.reshape(len(values), k) * self.scale
            features.append(distinct)
            tables.append(table.ravel())
        cells = (_offsets([len(found) for found in features]), _offsets([len(table) for table in tables])[:-1])
        in_order = np.concatenate([*features, np.empty(0)]).astype(np.uint32)
        return (*cells, _in_lines(tables)), in_order, base


def _in_lines(tables: Sequence[FloatArray]) -> FloatArray:
    """Return arrays one after the other, from the beginning of a line of the cache (64 bytes) on."""
    size = sum(map(len, tables))
    room = np.empty(size + 7, dtype=np.float64)
    first = -room.ctypes.data // 8 % 8
    return np.concatenate([*tables, np.empty(0)], out=room[first : first + size])


def _offsets(lengths: Sequence[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _shapley(size: int, n: int) -> float:
    return math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n) if size < n else 0.0


def _bins(column: AnyArray, border: SingleArray, n_columns: int) -> tuple[IntArray, SingleArray, AnyArray]:
    """Return the rising borders of each column, and the rank of every split's border among those of its column."""
    by_column = [np.unique(border[column == c]) for c in range(n_columns)]
    starts = _offsets([len(item) for item in by_column])
    rank = np.array([np.searchsorted(by_column[c], b) for c, b in zip(column, border, strict=True)], dtype=np.uint8)
    return starts, np.concatenate([*by_column, np.empty(0)]).astype(np.float32), rank


def _plain_rows(columns: ModelColumns, n: int) -> pl.DataFrame:
    series = [
        pl.Series(name, [MISSING] * n, dtype=pl.String)
        if name in columns.vocabularies
        else pl.Series(name, [0.0] * n, dtype=pl.Float32)
        for name in columns.names
    ]
    return pl.DataFrame(series)


def _leaves(model: CatBoost, columns: ModelColumns, frame: pl.DataFrame) -> IntArray:
    from fraudctl.boosting import Pool

    found = model.calc_leaf_indexes(Pool(frame, cat_features=columns.categorical))
    return np.asarray(found, dtype=np.int64).reshape(frame.height, -1)


def _prove(forest: Forest, model: CatBoost) -> None:
    """Compare scores and contributions of probe rows with CatBoost's own."""
    from fraudctl.boosting import Pool

    if forest.n_trees == 0:
        return
    probe = _probe_rows(forest)
    pool = Pool(forest.columns.matrix(probe), cat_features=forest.columns.categorical)
    native = np.asarray(model.predict(pool, prediction_type="RawFormulaVal"), dtype=np.float64)
    shap = np.asarray(model.get_feature_importance(pool, type="ShapValues"), dtype=np.float64)
    ours, explained = forest.score_frame(probe), forest.explain_frame(probe)
    size = np.maximum(1.0, np.abs(native))
    wrong = int((ours != native).sum())
    gap = float((np.abs(explained - shap[:, :-1]) / size[:, None]).max(initial=0.0))
    gap = max(gap, abs(forest.base - float(shap[0, -1])))
    if wrong or gap > AGREES_TO:
        what = f"{wrong} of {len(native)} scores differ, contributions by {gap:.2g}"
        msg = f"the model's trees were read differently than CatBoost does: {what}"
        raise BundleError(msg, hint="the model file does not fit this version of CatBoost; train again")


def _unseen(known: Mapping[str, int]) -> str:
    """Return a value that is not known."""
    return max(known, default="", key=len) + "+"


def _probe_rows(forest: Forest) -> pl.DataFrame:
    """Return rows whose values lie on, just above and just below the borders of the trees, or are null."""
    random = np.random.default_rng(0)
    starts, borders, _ = forest._bins  # noqa: SLF001 - its own
    series = []
    for position, name in enumerate(forest.columns.names):
        if name in forest.codes:
            levels = [*forest.codes[name], None, _unseen(forest.codes[name])]
            drawn = random.integers(0, len(levels), _PROBES)
            series.append(pl.Series(name, [levels[at] for at in drawn], dtype=pl.String))
            continue
        own = borders[starts[position] : starts[position + 1]]
        own = own if len(own) else np.zeros(1, dtype=np.float32)
        values = random.choice(own, _PROBES)
        with np.errstate(over="ignore"):
            up, down = np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))
        values = np.select([random.random(_PROBES) < share for share in (0.3, 0.4)], [up, down], values)
        null = random.random(_PROBES) < 0.1
        series.append(pl.Series(name, values.astype(np.float32)).set(pl.Series(null), None))
    return pl.DataFrame(series)
