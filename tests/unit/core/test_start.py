"""Coroutines that run to their end."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed

import pytest

from pikachu.core.concurrency import start
from pikachu.core.errors import Unavailable
from tests.support.deferreds import failure_of, result_of


def test_results_and_failures_arrive() -> None:
    first: Deferred[int] = Deferred()
    second: Deferred[int] = Deferred()

    async def work() -> int:
        total = await succeed(1) + await first
        with pytest.raises(Unavailable, match="later"):
            await second
        return total

    found = start(work())
    first.callback(2)
    assert not found.called
    second.errback(Unavailable("later"))
    assert result_of(found) == 3


def test_an_error_fails_the_deferred() -> None:
    first: Deferred[None] = Deferred()

    async def work() -> None:
        await first
        raise Unavailable("now")

    found = start(work())
    first.callback(None)
    failure_of(found, Unavailable)


@pytest.mark.parametrize("fails", [False, True])
def test_cancelling_does_not_stop_the_work(fails: bool) -> None:
    """The one that waited is told at once; the work ends as it would have, and its end disturbs nobody."""
    first: Deferred[None] = Deferred()
    ended = []

    async def work() -> None:
        await first
        ended.append(True)
        if fails:
            raise Unavailable("now")

    found = start(work())
    found.cancel()
    failure_of(found, CancelledError)
    assert not ended
    first.callback(None)
    assert ended == [True]
