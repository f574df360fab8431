"""Concurrent calls with the same key."""

from __future__ import annotations

from twisted.internet.defer import Deferred

import pytest

from pikachu.core.concurrency import SingleFlight
from pikachu.core.errors import Unavailable
from tests.support.deferreds import failure_of, result_of


class Work:
    """Work that ends when the test says so."""

    def __init__(self) -> None:
        self.running: list[Deferred[int]] = []

    async def __call__(self) -> int:
        self.running.append(Deferred())
        return await self.running[-1]


def test_callers_share_a_result() -> None:
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    results = [flights.run("a", work) for _ in range(3)]
    other = flights.run("b", work)
    assert len(work.running) == 2
    assert "a" in flights
    work.running[0].callback(1)
    assert [result_of(one) for one in results] == [1, 1, 1]
    assert "a" not in flights
    work.running[1].callback(2)
    assert result_of(other) == 2


def test_callers_share_a_failure_and_the_next_tries_again() -> None:
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    results = [flights.run("a", work) for _ in range(2)]
    work.running[0].errback(Unavailable("later"))
    for one in results:
        failure_of(one, Unavailable)
    again = flights.run("a", work)
    work.running[1].callback(1)
    assert result_of(again) == 1


@pytest.mark.parametrize("leaver", [0, 1])
def test_a_caller_that_leaves_stops_nothing(leaver: int) -> None:
    flights: SingleFlight[int] = SingleFlight()
    work = Work()
    results = [flights.run("a", work) for _ in range(2)]
    results[leaver].addErrback(lambda _: None)
    results[leaver].cancel()
    work.running[0].callback(1)
    assert result_of(results[1 - leaver]) == 1
    assert "a" not in flights


def test_work_that_ends_at_once_leaves_nothing_in_flight() -> None:
    flights: SingleFlight[int] = SingleFlight()

    async def work() -> int:
        return 1

    assert [result_of(flights.run("a", work)) for _ in range(2)] == [1, 1]
    assert "a" not in flights
