"""How the inner loops are compiled: once, kept on disk where that is possible, without the interpreter's lock."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
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
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

F = TypeVar("F", bound=Callable[..., Any])


def load() -> None:
    """Load what numba needs to call its first loop."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def jit(function: F) -> F:
    """Compile a function on its first call with arguments of these types.

    The compiled code is cached next to the module, or in the user's cache folder; if neither can be written, every
    process compiles it again.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: F = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        compiled = numba.njit(**options)(function)
    return compiled


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
