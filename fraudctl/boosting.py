"""CatBoost, loaded without pandas, which fraudctl never hands to it.

CatBoost imports pandas to recognise its frames, and that takes longer than loading CatBoost. While it is loaded, a
stand-in answers to the name: its classes recognise pandas' own objects once pandas is there, so that a program that
uses fraudctl and gives frames to CatBoost itself sees no difference; whatever else is asked of it loads pandas.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Later(type):
    """The class of a stand-in for a class of pandas: it is asked for instances, and called, as that class would be."""

    def __instancecheck__(cls, instance: object) -> bool:
        real = sys.modules.get("pandas")
        return hasattr(real, cls.__name__) and isinstance(instance, getattr(real, cls.__name__))

    def __call__(cls, *args: Any, **more: Any) -> Any:
        return getattr(importlib.import_module("pandas"), cls.__name__)(*args, **more)


class _StandIn(ModuleType):
    """What CatBoost takes for pandas."""

    DataFrame = _Later("DataFrame", (), {})
    Series = _Later("Series", (), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _leave(self)
        return getattr(importlib.import_module("pandas"), name)


def _leave(stand_in: ModuleType) -> None:
    if sys.modules.get("pandas") is stand_in:
        del sys.modules["pandas"]


@contextlib.contextmanager
def _without_pandas() -> Iterator[None]:
    """Put the stand-in where pandas would be, unless pandas is loaded already."""
    if "pandas" in sys.modules:
        yield
        return
    stand_in = sys.modules["pandas"] = _StandIn("pandas")
    try:
        yield
    finally:
        _leave(stand_in)


with _without_pandas():
    from catboost import CatBoost, CatBoostError, Pool, sum_models

__all__ = ["CatBoost", "CatBoostError", "Pool", "sum_models"]
