"""How the inner loops are compiled: once, kept on disk where that is possible, without the interpreter's lock."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let a module look as if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


# numba looks with YAML for settings in the folder where the command runs, which shall not change what loops do. And it
# looks for SciPy's BLAS, by importing all of SciPy's linear algebra, a quarter of a second for each command that
# computes features, to know how `numpy.convolve` would be compiled; a product of matrices finds it by itself.
with _hidden("yaml"):
    import numba
with _hidden("scipy.linalg.cython_blas"):
    import numba.np.arraymath
from llvmlite import ir  # noqa: E402
from numba import types  # noqa: E402
from numba.core import caching, cgutils  # noqa: E402
from numba.core.compiler_lock import global_compiler_lock  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])


class ReadOnlyLocator(caching.UserProvidedCacheLocator):
    """Finds loops that were compiled into ``NUMBA_CACHE_DIR`` before, where nothing can be written: as in an image.

    numba itself uses a cache only where it can write one.
    """

    def ensure_cache_path(self) -> None:
        """Raise an OSError where the folder is not there, or can be written: then numba's own way is right."""
        path = str(self._cache_path)
        if not os.path.isdir(path) or os.access(path, os.W_OK):  # noqa: PTH112 - numba's own kind of path
            raise OSError(path)


caching.CacheImpl._locator_classes.insert(0, ReadOnlyLocator)  # noqa: SLF001


@dataclass(frozen=True)
class Kept:
    """Loops that are on the disk.

    Attributes
    ----------
    loops
        Compiled versions of them.
    folder
        ``NUMBA_CACHE_DIR``; None where each module has its own.
    cpu
        The processor that this process compiles for, as LLVM calls it.
    host
        Whether it was found by looking at this machine, and not by ``NUMBA_CPU_NAME``.
    """

    loops: int
    folder: Path | None
    cpu: str
    host: bool


def kept() -> Kept:
    """Count the compiled loops on the disk."""
    from numba.core.registry import cpu_target

    named = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(named) if named else None
    cpu = str(cpu_target.target_context.codegen().magic_tuple()[1])
    places = [folder] if folder is not None else list({Path(place) for place in _places})
    loops = sum(1 for place in places for _ in place.rglob("*.nbc"))
    return Kept(loops, folder, cpu, not os.environ.get("NUMBA_CPU_NAME"))


_places: list[str] = []
"""Folders that loops of this process are kept in."""
_loops: list[Any] = []


def loops() -> tuple[Any, ...]:
    """Return the loops of all modules that are loaded, in the order in which they were."""
    return tuple(_loops)


def unkept() -> list[str]:
    """Return the loops of all modules that are loaded of which no version is on the disk, as ``module.function``."""
    found = []
    for loop in _loops:
        index = getattr(getattr(loop, "_cache", None), "_cache_file", None)
        if index is not None and not index._load_index():  # noqa: SLF001 - numba has no other way
            found.append(f"{loop.py_func.__module__}.{loop.py_func.__qualname__}")
    return sorted(found)


def load() -> None:
    """Load what numba needs to call its first loop."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def jit_wide(function: F) -> F:
    """Do what `jit` does, and let the compiler do like steps beside each other at once, which takes it longer.

    The results have the same bits: no sum is put in another order.
    """
    compiled = jit(function)
    loop: Any = compiled
    if hasattr(loop, "compile"):  # compilation may be switched off
        plain = loop.compile
        loop.compile = lambda signature: _widely(plain, signature)
    return compiled


def _widely(compile_or_load: Callable[[Any], Any], signature: Any) -> Any:
    """Compile with the vectorizer of straight-line code, which numba has for all loops of a process or for none."""
    config: Any = numba.config
    with global_compiler_lock:
        before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
        try:
            return compile_or_load(signature)
        finally:
            config.SLP_VECTORIZE = before


def jit(function: F) -> F:
    """Compile a function on its first call with arguments of these types.

    The compiled code is cached next to the module, or in the user's cache folder; if neither can be written, every
    process compiles it again.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        plain: F = numba.njit(**options)(function)
        return plain
    _loops.append(compiled)
    _renew_with(compiled, Path(function.__code__.co_filename).parent)
    _noted(compiled)
    _in_turn(compiled)
    return compiled


def _noted(compiled: Any) -> None:
    """Note where a loop is kept; what is compiled beyond a cache that cannot be written is kept by nobody."""
    cache = getattr(compiled, "_cache", None)
    if cache is None:  # compilation is switched off
        return
    _places.append(cache.cache_path)
    if isinstance(cache._impl.locator, ReadOnlyLocator):  # noqa: SLF001 - numba has no other way
        cache.save_overload = lambda *_: None


_held: set[str] = set()
"""Locks of this process; a loop that calls itself needs none of its own."""


def _in_turn(compiled: Any) -> None:
    """Let one process at a time compile a loop, or load what was kept of it.

    numba keeps the list of a loop's compiled versions without a lock: of two processes that add to it at once, one
    loses its version, or both give theirs the same file, and a version is loaded for the types of the other. Whoever
    waits for a process that compiles the same version need not compile it.
    """
    index = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if index is None:  # compilation is switched off
        return
    place, compile_or_load = f"{index._index_path}.lock", compiled.compile  # noqa: SLF001 - numba has no other way

    def in_turn(signature: Any) -> Any:
        with global_compiler_lock, _alone(place):  # in this order: a thread with the file may not wait for another
            return compile_or_load(signature)

    compiled.compile = in_turn


@contextlib.contextmanager
def _alone(place: str) -> Iterator[None]:
    """Hold the lock on a file, where one can be made and the file system has locks."""
    try:
        handle = None if place in _held else os.open(place, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        handle = None
    if handle is None:
        yield
        return
    _held.add(place)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        _held.discard(place)
        os.close(handle)


def _renew_with(compiled: Any, folder: Path) -> None:
    """Make compiled code stale when any module changes whose loops or constants it may hold.

    Loops that a loop calls, and constants that it names, are compiled into it, and numba looks at the file of the loop
    alone: after a change of another module, old and new code would share one memory.
    """
    index = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        vars(index)["_source_stamp"] = (vars(index)["_source_stamp"], _stamp(folder), *map(_stamp, COMPILED_IN))


COMPILED_IN = (Path(__file__).parent, Path(__file__).parents[1] / "meaning" / "families")
"""Folders, beside its own, whose loops and constants a loop may use."""


@functools.cache
def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, time of change and size of the modules of a folder; nothing where they are in no folder."""
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(folder) if entry.name.endswith(".py")]
    except OSError:
        return ()
    return tuple(sorted((name, status.st_mtime_ns, status.st_size) for name, status in found))


def _high_product(_context: Any, _first: Any, _second: Any) -> Any:
    """Return the high word of the product of two words."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


def _leading_zeros(_context: Any, _word: Any) -> Any:
    """Count the zero bits above the highest one of a word that is not 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


def _prefetch(_context: Any, _array: Any, _at: Any) -> Any:
    """Ask for the memory around the item at a flat position of an array that will be written soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        tools: Any = cgutils
        ask = tools.get_or_insert_function(
            builder.module, kind, f"llvm.prefetch.p0{'' if place.type.is_opaque else 'i8'}"
        )
        builder.call(ask, [place, *(ir.Constant(number, flag) for flag in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(_array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
high_product: Any = intrinsic(_high_product)
leading_zeros: Any = intrinsic(_leading_zeros)
