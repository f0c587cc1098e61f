"""Entities that are linked by shared events, as the reference walks them: node by node, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import polars as pl

from fraudctl.features.meaning.families.links import LinkSpec

Node = tuple[str, Any]
"""An entity's name and one of its values."""


class FindsEvents(Protocol):
    """What finds the events of an id."""

    @property
    def frame(self) -> pl.DataFrame:
        """All events."""

    def find(self, entity: str, values: Iterable[Any]) -> None:
        """Look up the rows of several ids in one pass."""


class ReadsPast(Protocol):
    """What a graph reads of the world that was known at an event."""

    @property
    def history(self) -> FindsEvents:
        """All events."""

    def earlier(self, entity: str, value: Any, t: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the rows of an id before an instant."""

    def spend(self, steps: int) -> None:
        """Count steps."""


class Graph:
    """Entities linked by shared events before an instant; only the part around one event is ever read.

    An edge counts from the first event that has both ends, and joins only while neither end has more than ``hub``
    partners. A node is read once all its earlier events are known here; only edges between read nodes are judged, so
    that a component is right once the first ``hub`` partners of each of its nodes are read.
    """

    def __init__(self, past: ReadsPast, spec: LinkSpec, t: int) -> None:
        self._past, self._spec, self._t = past, spec, t
        self._edges: dict[int, tuple[Node, ...]] = {}
        self._rows: dict[Node, list[int]] = {}

    def read(self, nodes: Iterable[Node]) -> None:
        """Read all earlier events of nodes."""
        past, new = self._past, {node for node in nodes if node[1] is not None}.difference(self._rows)
        for entity in self._spec.entities:
            past.history.find(entity, [value for name, value in new if name == entity])
        for node in new:
            rows: list[int] = past.earlier(node[0], node[1], self._t).tolist()
            past.spend(len(rows))
            ends = [
                [(name, value) for value in past.history.frame[name].gather(rows).to_list()]
                for name in self._spec.entities
            ]
            self._rows[node] = rows
            self._edges.update(zip(rows, zip(*ends, strict=True), strict=True))

    def partners_of(self, node: Node) -> list[Node]:
        """Return the distinct partners of a node, in the order in which they came."""
        self.read([node])
        others = (end for row in self._rows[node] for end in self._edges[row] if end != node and end[1] is not None)
        return list(dict.fromkeys(others))

    def component(self, own: tuple[Node, ...]) -> set[Node]:
        """Return the nodes that hang together with an event's first entity, the event's own edge included."""
        found, grown = {own[0]}, set[Node]()
        while fresh := found - grown:
            for node in fresh:
                self.read([*self.partners_of(node)[: self._spec.hub], *own])
            grown |= fresh
            found = self._reached(own)
        return found

    def _reached(self, own: tuple[Node, ...]) -> set[Node]:
        linked = self._joined(own)
        found, edge = {own[0]}, [own[0]]
        while edge:
            fresh = linked.get(edge.pop(), set()) - found
            found |= fresh
            edge += fresh
        return found

    def _joined(self, own: tuple[Node, ...]) -> dict[Node, set[Node]]:
        """Return the neighbours of read nodes by edges that join, judged in the order of time."""
        partners: dict[Node, set[Node]] = {}
        linked: dict[Node, set[Node]] = {}
        for ends in [*(self._edges[row] for row in sorted(self._edges)), own]:
            if any(value is None for _, value in ends) or ends[1] in partners.get(ends[0], set()):
                continue
            for one, other in (ends, ends[::-1]):
                partners.setdefault(one, set()).add(other)
            if all(end in self._rows and len(partners[end]) <= self._spec.hub for end in ends):
                for one, other in (ends, ends[::-1]):
                    linked.setdefault(one, set()).add(other)
        return linked

    def events_of(self, component: set[Node]) -> list[int]:
        """Return the rows of all earlier events of a component, in the order of time."""
        self.read(component)
        return sorted(row for row, ends in self._edges.items() if not component.isdisjoint(ends))
