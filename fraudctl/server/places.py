"""Who holds the places for connections: a share for each peer, and nobody keeps one by doing nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final, Protocol

DEADLINE: Final = "fraudctl.deadline"
"""Key of a request's scope: the loop's time at which its last byte has to be there; None once it is there."""


class Holder(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """End at once, and leave the place."""


@dataclass
class Places:
    """Who holds a connection.

    Attributes
    ----------
    most, most_of_peer
        Connections in all, and of one peer: an IPv4 address, or the first 64 bits of an IPv6 address.
    """

    most: int
    most_of_peer: int
    evicted: int = 0
    open: int = 0
    peers: dict[str, _Peer] = field(default_factory=dict)

    def enter(self, peer: str, connection: Holder) -> bool:
        """Return a new connection a place; another one may lose its own. Return False where there is none."""
        known = self.peers.get(peer)
        if known is not None and known.open >= self.most_of_peer and not self._evict(known):
            return False
        if self.open >= self.most and not self._evict(max(self.peers.values(), key=_waiting)):
            return False
        found = self.peers.setdefault(peer, _Peer())
        found.open += 1
        self.open += 1
        found.waiting[connection] = None
        return True

    def waits(self, peer: str, connection: Holder) -> None:
        """Record that a connection begins to wait for its peer."""
        waiting = self.peers[peer].waiting
        waiting.pop(connection, None)
        waiting[connection] = None

    def works(self, peer: str, connection: Holder) -> None:
        """Record that a connection no longer waits: its request is being answered."""
        self.peers[peer].waiting.pop(connection, None)

    def leave(self, peer: str, connection: Holder) -> None:
        """Take the place of a connection back."""
        found = self.peers[peer]
        found.waiting.pop(connection, None)
        found.open -= 1
        self.open -= 1
        if found.open == 0:
            del self.peers[peer]

    def _evict(self, peer: _Peer) -> bool:
        longest = next(iter(peer.waiting), None)
        if longest is None:
            return False
        self.evicted += 1
        longest.give_way()  # which calls `leave`
        return True


@dataclass
class _Peer:
    """The connections of one peer; ``waiting`` for their peer to send, the longest first."""

    open: int = 0
    waiting: dict[Holder, None] = field(default_factory=dict)


def _waiting(peer: _Peer) -> int:
    return len(peer.waiting)


def peer_of(client: tuple[str, int] | None) -> str:
    """Return whom a connection counts for: an IPv4 address, or the first 64 bits of an IPv6 address."""
    host = (client[0] if client else "").partition("%")[0]
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:016x}"
