"""The compiled loops by themselves: exact sums over any exponents, groups, and compilation without a cache."""

from __future__ import annotations

import errno
import fcntl
import importlib
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraudctl.features.batch import aggregates, groups, jit, kernels

WORKERS = groups.Workers(2)


def one_group(values: list[float], window: int) -> dict[str, np.ndarray]:
    """Aggregate one group with an event a second, over a window of so many seconds."""
    times = np.arange(len(values), dtype=np.int64) * 1_000_000
    queries = groups.queries_of(np.zeros(len(values), np.int64), 1, times, workers=groups.Workers(1))
    history = groups.event_history(queries, None, include_current=True)
    ranges = groups.event_ranges(queries, history, [window * 1_000_000], workers=WORKERS)
    kinds = {"sum", "std"}
    return aggregates.numeric(queries, history, ranges, np.array(values), kinds, workers=WORKERS)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12),
    window=st.integers(1, 6),
)
@example(values=[1e308, 1e308, -1e308], window=6)
@example(values=[5e-324, 5e-324, 1e308, -1e308, 5e-324], window=3)
@example(values=[0.1] * 12, window=4)
@example(values=[1.0, 2.0**-53, 2.0**-120], window=3)
def test_sums_and_spreads_are_exact_over_all_exponents(values, window):
    got = one_group(values, window)
    for i in range(len(values)):
        seen = [Fraction(value) for value in values[max(0, i - window + 1) : i + 1]]
        try:
            total = float(sum(seen))
        except OverflowError:
            total = math.nan
        assert got["sum"][0, i] == total or (math.isnan(total) and math.isnan(got["sum"][0, i]))
        if len(seen) < 2:
            assert math.isnan(got["std"][0, i])
            continue
        mean = sum(seen) / len(seen)
        variance = sum((value - mean) ** 2 for value in seen) / (len(seen) - 1)
        std = got["std"][0, i]
        if math.isnan(std):
            assert variance > Fraction(1.7e308) ** 2
        elif variance == 0:
            assert std == 0.0
        elif std > 1e-300:
            assert abs(Fraction(std) ** 2 / variance - 1) < Fraction(1, 10**14)


@given(st.lists(st.integers(-1, 4), max_size=30))
def test_groups_are_sorted_stably_and_rows_without_a_group_stand_alone(codes):
    order, starts = kernels.group_order(np.array(codes, np.int64), 5)
    expected = [i for code in range(5) for i in range(len(codes)) if codes[i] == code]
    none = [i for i in range(len(codes)) if codes[i] < 0]
    assert order.tolist() == expected + none
    sizes = [codes.count(code) for code in range(5)] + [1] * len(none)
    assert np.diff(starts).tolist() == sizes


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=30), st.data())
def test_rows_that_no_asking_event_looks_back_on_are_left_out(codes, data):
    first = data.draw(st.integers(0, len(codes)))
    stop = data.draw(st.integers(first, len(codes)))
    order, starts, at, asked_starts = kernels.asked_order(np.array(codes, np.int64), 5, first, stop)
    asked = {code for code in codes[first:stop] if code >= 0}
    alone = [i for i in range(first, stop) if codes[i] < 0]
    assert order.tolist() == [i for code in sorted(asked) for i in range(len(codes)) if codes[i] == code] + alone
    sizes = [codes.count(code) if code in asked else 0 for code in range(5)] + [1] * len(alone)
    assert np.diff(starts).tolist() == sizes
    assert at.tolist() == [place for place, row in enumerate(order) if first <= row < stop]
    assert np.diff(asked_starts).tolist() == [codes[first:stop].count(code) for code in range(5)] + [1] * len(alone)


@given(
    st.one_of(
        st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62))),
        st.lists(st.one_of(st.none(), st.integers(-3, 3))),
        st.lists(st.one_of(st.none(), st.text(max_size=2))),
        st.lists(st.one_of(st.none(), st.booleans())),
        st.lists(st.one_of(st.none(), st.floats(width=32))),
    )
)
def test_codes_tell_values_apart(values):
    series = pl.Series(values)
    codes, n_codes = groups.codes_of(series)
    plain = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    for value, code in zip(plain, codes.tolist(), strict=True):
        assert (code == -1) == (value is None)
        assert code < max(n_codes, 0) or code == -1
    seen = {(value, code) for value, code in zip(plain, codes.tolist(), strict=True)}
    assert len(seen) == len({value for value, _ in seen}) == len({code for _, code in seen})


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch):
    real = numba.njit

    def without_cache(**options):
        if options.get("cache"):
            msg = "cannot cache function"
            raise RuntimeError(msg)
        return real(**options)

    monkeypatch.setattr(jit.numba, "njit", without_cache)
    assert jit.jit(lambda x: x + 1)(1) == 2


def test_a_change_of_a_loop_reaches_the_loops_that_call_it(tmp_path):
    """Loops are compiled into those that call them, from other modules, too; what was kept of these is stale then."""
    (tmp_path / "outer.py").write_text(
        "from fraudctl.features.batch.jit import jit\nfrom inner import loop\n"
        "@jit\ndef called(n):\n    return loop(n) + 1\n"
    )

    def answer(factor):
        (tmp_path / "inner.py").write_text(
            f"from fraudctl.features.batch.jit import jit\n@jit\ndef loop(n):\n    return n * {factor}\n"
        )
        words = [sys.executable, "-c", "import outer; print(outer.called(5))"]
        return int(subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)

    assert answer(2) == 11
    assert list(tmp_path.glob("**/outer.called*.nbi"))
    assert answer(300) == 1501


LOOP = "from fraudctl.features.batch.jit import jit\n@jit\ndef doubled(x):\n    return x + x\n"
TWO = """
import subprocess, sys
from loop import doubled
from numba.core import event

class Second(event.Listener):
    "Starts another process while this one compiles, and lets it come as far as its call."
    def on_start(self, _):
        self.process = subprocess.Popen([sys.executable, "-c", SECOND], stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
    def on_end(self, _):
        pass

SECOND = (
    "from loop import doubled; print('here', flush=True); "
    "print(doubled(4), sum(doubled.stats.cache_hits.values()))"
)
second = Second()
with event.install_listener("numba:compile", second):
    print(doubled(3), sum(doubled.stats.cache_hits.values()))
print(second.process.communicate()[0])
"""


def test_a_process_waits_for_another_one_that_compiles_the_same_loop(tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    done = subprocess.run([sys.executable, "-c", TWO], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["6", "0", "8", "1"]


def doubled_here(monkeypatch, tmp_path):
    (tmp_path / "loop.py").write_text(LOOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "loop", raising=False)
    return importlib.import_module("loop").doubled


def test_a_lock_is_held_while_a_loop_is_compiled_and_kept_and_no_longer(tmp_path, monkeypatch):
    loop = doubled_here(monkeypatch, tmp_path)
    place, locked = Path(f"{loop._cache._cache_file._index_path}.lock"), []

    def look():
        with place.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return locked.append(True)
            return locked.append(False)

    save = loop._cache.save_overload
    monkeypatch.setattr(loop._cache, "save_overload", lambda *given: (look(), save(*given), look()))
    assert loop(1.5) == 3.0
    look()
    assert locked == [True, True, False]


def test_loops_are_compiled_where_there_are_no_locks(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOLCK, "no locks")

    loop = doubled_here(monkeypatch, tmp_path)
    monkeypatch.setattr(fcntl, "flock", without)
    assert (loop(2), loop(2.5)) == (4, 5.0)
    assert len(list(tmp_path.glob("**/*.nbc"))) == 2
