"""A deadline that moves with every request rings when it is over, and never before."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudctl.server.protocol import Deadline


class Clock:
    """A loop's clock and timers without the loop: time goes on by `until`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: object) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]
        self.timers.append(timer)
        return timer

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, _: object) -> None:
        pass

    @property
    def waiting(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self.timers if not timer.cancelled()]

    def until(self, moment: float) -> None:
        while due := [timer for timer in self.waiting if timer.when() <= moment]:
            timer = min(due, key=lambda item: item.when())
            self.timers.remove(timer)
            self.now = max(self.now, timer.when())
            timer._run()
        self.now = max(self.now, moment)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def deadline_of(clock: Clock, rung: list[float]) -> Deadline:
    return Deadline(clock, lambda: rung.append(clock.now))  # type: ignore[arg-type]


def test_it_rings_once_after_its_time(clock: Clock) -> None:
    rung: list[float] = []
    deadline_of(clock, rung).set(5.0)
    clock.until(4.99)
    assert rung == []
    clock.until(60.0)
    assert rung == [pytest.approx(5.0, abs=0.1)]


def test_what_came_between_the_two_looks_is_no_delay(clock: Clock) -> None:
    rung: list[float] = []
    deadline = deadline_of(clock, rung)
    deadline.set(5.0)
    clock.until(5.001)  # the loop was busy: the first look finds it late, and the socket is read before the second
    deadline.set(clock.now + 5.0)
    clock.until(10.0)
    assert rung == []
    clock.until(10.1)
    assert len(rung) == 1


def test_a_closed_one_leaves_no_timer(clock: Clock) -> None:
    rung: list[float] = []
    deadline = deadline_of(clock, rung)
    deadline.set(5.0)
    deadline.close()
    assert clock.waiting == []
    clock.until(60.0)
    assert rung == []


@given(st.lists(st.tuples(st.floats(0.1, 20), st.one_of(st.none(), st.floats(0.5, 30))), min_size=1, max_size=30))
def test_it_rings_exactly_where_no_move_came_in_time(steps: list[tuple[float, float | None]]) -> None:
    clock, rung = Clock(), []
    deadline = deadline_of(clock, rung)
    due: float | None = None
    for pause, seconds in steps:
        clock.until(clock.now + pause)
        if due is not None and abs(clock.now - due) > 0.1:
            assert bool(rung) == (clock.now > due)
        if rung or (due is not None and abs(clock.now - due) <= 0.1):
            return
        due = None if seconds is None else clock.now + seconds
        deadline.set(due)
        assert len(clock.waiting) <= 1
