"""When a listener accepts no more connections, and when it does again."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.http.arrivals import MAX_PAUSE_SECONDS, SUSPENSION_SECONDS, Arrivals

LIMIT = 16
OF_EACH = 2


class Listener:
    """Notes whether it accepts, and how often it was told."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.clock = Clock()
        #: The part of its time that the server works.
        self.load = 0.0
        self.arrivals = Arrivals(self.clock, limit, lambda: self.load * self.clock.seconds())
        self.arrivals.subscribe(self.accept)
        self.told: list[bool] = []

    def accept(self, accepts: bool) -> None:
        self.told.append(accepts)

    def arrive(self, addresses: int, of_each: int = OF_EACH, first: int = 0) -> list[str]:
        """Connect from so many addresses; return the address of each connection."""
        names = [f"192.0.2.{number}" for number in range(first, first + addresses) for _ in range(of_each)]
        for name in names:
            self.arrivals.enter(name)
        return names

    def serve(self, names: list[str]) -> None:
        for name in names:
            self.arrivals.leave(name, served=True)


def test_burst_of_many_addresses() -> None:
    """The listener pauses at the limit, and accepts again when half of them have sent their request."""
    listener = Listener()
    names = listener.arrive(LIMIT // OF_EACH - 1)
    assert not listener.told
    names += listener.arrive(1, first=100)
    assert listener.told == [False]
    listener.serve(names[: LIMIT // 2 - 1])
    assert listener.told == [False]
    listener.serve(names[LIMIT // 2 - 1 : LIMIT // 2])
    assert listener.told == [False, True]
    listener.serve(names[LIMIT // 2 :])
    assert listener.arrivals.waiting == 0
    assert not listener.clock.getDelayedCalls()


@pytest.mark.parametrize("addresses", [1, LIMIT // OF_EACH - 1])
def test_few_addresses_cause_no_pause(addresses: int) -> None:
    """However many connections they have."""
    listener = Listener()
    listener.serve(listener.arrive(addresses, 1000))
    assert not listener.told
    assert listener.arrivals.waiting == 0


def test_silent_clients_hold_nobody_up() -> None:
    """The pause ends by itself, and for a while there is no other."""
    listener = Listener()
    listener.arrive(LIMIT)
    listener.clock.advance(MAX_PAUSE_SECONDS)
    assert listener.told == [False, True]
    listener.arrive(LIMIT, first=100)
    listener.clock.advance(SUSPENSION_SECONDS - 1)
    assert listener.told == [False, True]
    listener.clock.advance(1)
    listener.arrive(1, first=200)
    assert listener.told == [False, True, False]


def test_no_limit() -> None:
    listener = Listener(0)
    listener.arrive(200)
    assert not listener.told


def leave_unserved(listener: Listener, names: list[str]) -> None:
    for name in names:
        listener.arrivals.leave(name, served=False)


@pytest.mark.parametrize(
    ("seconds", "leave"),
    [
        (0.1, leave_unserved),
        (MAX_PAUSE_SECONDS - 0.1, leave_unserved),
        # One cheap request of each, just before the pause would have ended.
        (MAX_PAUSE_SECONDS - 0.1, Listener.serve),
    ],
)
def test_a_pause_is_not_prolonged(seconds: float, leave: Callable[[Listener, list[str]], None]) -> None:
    """Clients that leave and come again hold nobody up for longer than silent ones."""
    listener = Listener()
    names = listener.arrive(LIMIT // OF_EACH)
    paused = 0.0
    for number in range(1, 20):
        before = listener.arrivals.is_paused
        listener.clock.advance(seconds)
        paused += seconds if before else 0
        half = len(names) // 2
        leave(listener, names[:half])
        names = names[half:] + listener.arrive(half // OF_EACH, first=100 * number)
    assert paused <= MAX_PAUSE_SECONDS


@pytest.mark.parametrize("load", [0.1, 1.0])
def test_busy_server(load: float) -> None:
    """A server that works, and serves, pauses as long as it takes: its clients would lose their connections."""
    listener = Listener()
    listener.load = load
    names = listener.arrive(LIMIT // OF_EACH)
    for number in range(1, 40):
        for _ in range(LIMIT // 4):
            listener.clock.advance(MAX_PAUSE_SECONDS - 0.1)
            listener.serve(names[:OF_EACH])
            names = names[OF_EACH:]
        assert listener.told == [False, True] * number
        names += listener.arrive(LIMIT // 2 // OF_EACH, first=100 * number)
        assert listener.arrivals.is_paused


def test_busy_server_that_serves_too_few() -> None:
    """It works on something else, and those that wait are silent."""
    listener = Listener()
    listener.load = 1.0
    names = listener.arrive(LIMIT // OF_EACH)
    listener.serve(names[: OF_EACH - 1])
    listener.clock.advance(MAX_PAUSE_SECONDS)
    assert listener.told == [False, True]
    listener.arrive(LIMIT, first=100)
    listener.clock.advance(SUSPENSION_SECONDS - 1)
    assert listener.told == [False, True]


def test_a_small_limit_is_none() -> None:
    """A few clients would be many of it."""
    listener = Listener(LIMIT - 1)
    listener.arrive(LIMIT)
    assert not listener.told


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 11), st.booleans()), max_size=200))
def test_counts(steps: list[tuple[bool, int, bool]]) -> None:
    """Connections that entered and have not left are counted, up to the share of each address; nobody is told twice."""
    listener = Listener()
    counts = dict.fromkeys(range(12), 0)
    for enters, number, served in steps:
        if enters:
            listener.arrivals.enter(str(number))
            counts[number] += 1
        elif counts[number]:
            listener.arrivals.leave(str(number), served=served)
            counts[number] -= 1
        assert listener.arrivals.waiting == sum(min(count, OF_EACH) for count in counts.values())
        assert listener.told == [False, True] * (len(listener.told) // 2) + [False] * (len(listener.told) % 2)
        assert listener.arrivals.is_paused == bool(len(listener.told) % 2)
