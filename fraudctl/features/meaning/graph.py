"""Order among definitions: what has to be known before what, and which of them go round in a circle."""

from __future__ import annotations

from collections.abc import Mapping


def stages(needs: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Sort names into stages, each needing only names of earlier ones.

    Parameters
    ----------
    needs
        Name -> names that it needs; names that are no key are there from the start.

    Raises
    ------
    CycleError
        Names need each other in a circle; its ``cycle`` names it.

    Examples
    --------
    >>> stages({"ratio": ("mean", "amount"), "mean": ("amount",), "share": ("ratio",)})
    (('mean',), ('ratio',), ('share',))
    """
    left = {name: {need for need in wanted if need in needs} for name, wanted in needs.items()}
    out: list[tuple[str, ...]] = []
    while left:
        ready = tuple(name for name, wanted in left.items() if not wanted)
        if not ready:
            raise CycleError(_cycle(left))
        out.append(ready)
        left = {name: wanted.difference(ready) for name, wanted in left.items() if name not in ready}
    return tuple(out)


class CycleError(ValueError):
    """Definitions that need each other in a circle."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(" -> ".join(cycle))
        self.cycle = cycle


def _cycle(left: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Walk along needs until a name comes up again."""
    path: list[str] = [min(left)]
    while True:
        following = min(left[path[-1]])
        if following in path:
            return (*path[path.index(following) :], following)
        path.append(following)
