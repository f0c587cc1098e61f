"""Calls of Kafka's client that may never return: they are waited for, for a bounded time.

librdkafka can wait on a connection that it has given up, for ever, in a call that was given a time. Such a call is made
in a thread of its own, which ends with the process: whoever needs its answer goes on, and can say that there is none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from fraudctl.errors import UsageError
from fraudctl.text.figures import length

if TYPE_CHECKING:
    from confluent_kafka import Consumer

HUNG: Final = 60.0
"""Seconds beyond its own time after which a call counts as hung: by then brokers have given its transaction up."""
LEAVE: Final = 10.0
"""Seconds that a consumer may take to leave: where no broker answers it would never end, and nothing depends on it."""
T = TypeVar("T")


def _begun(call: Callable[[], T]) -> tuple[threading.Thread, list[T], list[BaseException]]:
    """Make a call in a thread of its own; give the thread, and where the call puts what it returns or raises."""
    found, raised = list[T](), list[BaseException]()

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001 - whoever waits for the call raises it
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found, raised


def within(seconds: float, name: str, call: Callable[[], T]) -> T:
    """Make a call and return what it returns, or raise what it raises.

    Parameters
    ----------
    seconds
        The time that the call was given; it counts as hung `HUNG` seconds later.
    name
        What it is called in the message.

    Raises
    ------
    UsageError
        It has not returned. It still runs, and its client cannot be used any more: the process has to end.
    """
    thread, found, raised = _begun(call)
    thread.join(seconds + HUNG)
    for error in raised:
        raise error
    if not found:
        msg = f"Kafka's client hangs: {name} has not returned for {length(seconds + HUNG)}"
        raise UsageError(msg, hint="nothing is lost: a new start ends what was begun and goes on; see to the brokers")
    return found[0]


def leave(client: Consumer) -> None:
    """Close a consumer, if a broker answers; else its group misses it after its session."""
    _begun(client.close)[0].join(LEAVE)
