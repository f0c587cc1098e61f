"""Places for connections: never more than the limits, no place is lost, and who waits longest gives way first."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.errors import UsageError
from fraudctl.server.places import Places, peer_of
from fraudctl.server.run import listen


class Holder:
    def __init__(self, places: Places, peer: str) -> None:
        self.places, self.peer, self.gone = places, peer, False

    def give_way(self) -> None:
        self.gone = True
        self.places.leave(self.peer, self)


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_and_no_limit_is_passed(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    places = Places(draw.randint(1, 8), draw.randint(1, 4))
    here: list[Holder] = []
    busy: set[Holder] = set()
    for _ in range(500):
        here = [item for item in here if not item.gone]
        busy = {item for item in busy if not item.gone}
        choice = draw.random()
        if choice < 0.5 or not here:
            new = Holder(places, draw.choice("abc"))
            of_peer = [item for item in here if item.peer == new.peer]
            waiting = [item for item in here if item not in busy]
            if places.enter(new.peer, new):
                here.append(new)
            else:
                full = len(of_peer) >= places.most_of_peer and all(item in busy for item in of_peer)
                assert full or (len(here) >= places.most and not waiting) or len(of_peer) >= places.most_of_peer
        elif choice < 0.7:
            holder = draw.choice(here)
            places.works(holder.peer, holder)
            busy.add(holder)
        elif choice < 0.85:
            holder = draw.choice(here)
            places.waits(holder.peer, holder)
            busy.discard(holder)
        else:
            holder = here.pop(draw.randrange(len(here)))
            busy.discard(holder)
            places.leave(holder.peer, holder)
        left = [item for item in here if not item.gone]
        assert places.open == len(left) <= places.most
        for peer in "abc":
            held = sum(item.peer == peer for item in left)
            assert held <= places.most_of_peer
            assert (peer in places.peers) is (held > 0)
        assert not any(item.gone for item in busy), "a request that is being answered keeps its place"


def test_the_one_that_waits_longest_gives_way() -> None:
    places = Places(3, 3)
    holders = [Holder(places, "a") for _ in range(3)]
    assert all(places.enter("a", item) for item in holders)
    places.works("a", holders[0])
    places.waits("a", holders[1])
    assert places.enter("b", Holder(places, "b"))
    assert [item.gone for item in holders] == [False, False, True]
    assert places.evicted == 1


@pytest.mark.parametrize(
    ("host", "peer"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
     ("fe80::1%eth0", "fe80000000000000"), ("::1", "0000000000000000"), ("", "")],
)  # fmt: skip
def test_a_peer_is_an_address_or_a_network_of_64_bits(host: str, peer: str) -> None:
    assert peer_of((host, 5)) == peer
    assert peer_of(None) == ""


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_no_client_is_two_peers_by_an_address_of_its_own_network(network: int, one: int, other: int) -> None:
    addresses = [ipaddress.IPv6Address(network << 64 | host) for host in (one, other)]
    texts = [text for item in addresses if item.ipv4_mapped is None for text in (str(item), item.exploded)]
    assert len({peer_of((text, 1)) for text in texts}) <= 1


@pytest.mark.parametrize("host", ["a..b", "x" * 300, "nowhere.invalid", "::1%nope"])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="cannot be listened on"):
        listen(host, 0)
