"""Expensive work waits for its turn, in a bounded queue that no requester fills alone."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from pikachu.core.concurrency import Turns
from pikachu.core.errors import MalformedRequest, Overloaded
from tests.support.deferreds import failure_of, result_of


class Work:
    """Work that ends when the test says so."""

    def __init__(self) -> None:
        self.running: list[Deferred[int]] = []

    async def __call__(self) -> int:
        self.running.append(Deferred())
        return await self.running[-1]


def ask(turns: Turns, requester: str, work: Work) -> Deferred[int]:
    """Ask for a turn."""
    return Deferred.fromCoroutine(turns.run(requester, work))


def test_others_wait_for_their_turn() -> None:
    turns, work = Turns(2, 10, 10, "too many"), Work()
    asked = [ask(turns, "alice", work) for _ in range(4)]
    assert len(work.running) == 2
    work.running[0].callback(1)
    # A failure gives its turn to the next, too.
    work.running[1].errback(MalformedRequest("no"))
    assert result_of(asked[0]) == 1
    failure_of(asked[1], MalformedRequest)
    assert len(work.running) == 4
    for one in work.running[2:]:
        one.callback(3)
    assert [result_of(one) for one in asked[2:]] == [3, 3]


def test_what_is_too_much_is_refused() -> None:
    """One requester holds so many places at most, and all together so many."""
    turns, work = Turns(1, 3, 2, "too many"), Work()
    asked = [ask(turns, who, work) for who in ("alice", "alice", "bob")]
    refused = failure_of(ask(turns, "alice", work), Overloaded)
    assert refused.retry_after > 0
    asked.append(ask(turns, "carol", work))
    failure_of(ask(turns, "dave", work), Overloaded)
    for number, one in enumerate(asked):
        work.running[number].callback(number)
        assert result_of(one) == number
    assert not ask(turns, "alice", work).called


def test_cancelling() -> None:
    """Cancelling gives up a place among those that wait; what has begun keeps its turn until it ends."""
    turns, work = Turns(1, 2, 3, "too many"), Work()
    begun, waiting, last = (ask(turns, "alice", work) for _ in range(3))
    waiting.cancel()
    failure_of(waiting, CancelledError)
    begun.cancel()
    failure_of(begun, CancelledError)
    assert len(work.running) == 1
    work.running[0].errback(MalformedRequest("nobody listens"))
    assert len(work.running) == 2
    work.running[1].callback(2)
    assert result_of(last) == 2
