"""How often checks run, and what becomes of those that hang or fail (RUN-8, UI-3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

import pytest

from pikachu.core.errors import PikachuError, StoreUnavailable
from pikachu.operations.readiness import Check, Readiness, State, overall
from tests.support.deferreds import result_of


class Slow:
    """A check that completes on demand."""

    def __init__(self) -> None:
        self.runs: list[Deferred[str | None]] = []

    def __call__(self) -> Deferred[str | None]:
        self.runs.append(Deferred())
        return self.runs[-1]


def ready() -> Deferred[str | None]:
    return succeed(None)


def names(states: dict[str, State]) -> dict[str, str]:
    """The states without their messages."""
    return {name: one.state for name, one in states.items()}


def test_a_glance_does_not_wait() -> None:
    """A page does not wait for a directory that does not answer; a later page shows its state."""
    clock, slow = Clock(), Slow()
    readiness = Readiness(clock, {"database": Check(ready), "ldap": Check(slow), "vault": None})
    first = readiness.glance()
    assert not first.called
    clock.advance(0.1)
    assert names(result_of(first)) == {"database": "checking", "ldap": "checking", "vault": "disabled"}
    assert result_of(readiness.glance())["ldap"].state == "checking"
    assert len(slow.runs) == 1
    slow.runs[0].callback("Another directory answers.")
    known = result_of(readiness.glance())
    assert names(known) == {"database": "ok", "ldap": "degraded", "vault": "disabled"}
    assert known["ldap"].message == "Another directory answers."
    assert overall(known) == "degraded"
    clock.advance(11)
    later = readiness.glance()
    clock.advance(0.1)
    assert result_of(later) == known
    clock.advance(2)
    assert result_of(readiness.glance())["ldap"].state == "unavailable"
    assert len(slow.runs) == 2


def test_many_who_ask_share_one_run() -> None:
    """And those that come within a second get its result."""
    clock, slow = Clock(), Slow()
    readiness = Readiness(clock, {"database": Check(slow)})
    asked = [readiness.states() for _ in range(100)]
    assert len(slow.runs) == 1
    slow.runs[0].callback(None)
    assert all(names(result_of(one)) == {"database": "ok"} for one in asked)
    clock.advance(0.5)
    result_of(readiness.states())
    assert len(slow.runs) == 1
    clock.advance(0.6)
    readiness.states()
    assert len(slow.runs) == 2


def test_a_check_that_hangs_is_not_started_again() -> None:
    """It costs each caller two seconds at most, and one thread in all."""
    clock, slow = Clock(), Slow()
    readiness = Readiness(clock, {"database": Check(slow), "signer": Check(ready)})
    for _ in range(20):
        asked = readiness.states()
        clock.advance(2)
        found = result_of(asked)
        assert names(found) == {"database": "unavailable", "signer": "ok"}
        assert "2 seconds" in found["database"].message
        clock.advance(5)
    assert len(slow.runs) == 1
    slow.runs[0].callback(None)
    asked = readiness.states()
    slow.runs[1].callback(None)
    assert names(result_of(asked))["database"] == "ok"


def test_who_gives_up_stops_nothing() -> None:
    clock, slow = Clock(), Slow()
    readiness = Readiness(clock, {"database": Check(slow)})
    gone, other = readiness.states(), readiness.states()
    gone.cancel()
    slow.runs[0].callback(None)
    assert names(result_of(other)) == {"database": "ok"}


def test_a_costly_check_rests() -> None:
    """A write each ten seconds at most, whether it succeeds or fails; a clock that is set back does not stop it."""
    clock, outcomes = Clock(), [None, "full", None, None]
    clock.advance(1e6)
    runs: list[float] = []

    def write() -> Deferred[str | None]:
        runs.append(clock.seconds())
        outcome = outcomes[len(runs) - 1]
        return succeed(None) if outcome is None else fail(StoreUnavailable(outcome))

    readiness = Readiness(clock, {"write": Check(write, 10.0)})
    seen = []
    for _ in range(30):
        seen.append(result_of(readiness.states())["write"].state)
        clock.advance(1)
    assert len(runs) == 3
    assert seen == ["ok"] * 10 + ["unavailable"] * 10 + ["ok"] * 10
    clock.rightNow -= 86400
    result_of(readiness.states())
    assert len(runs) == 4


def broken() -> Deferred[str | None]:
    raise RuntimeError("a path and a secret")


FAILURES: list[tuple[Callable[[], Deferred[str | None]], str]] = [
    (lambda: fail(StoreUnavailable("The disk is full.", error="SQLITE_FULL")), "The disk is full."),
    (lambda: fail(PikachuError("The key is away.")), "The key is away."),
    (broken, "The check failed; the log has the reason."),
    (lambda: fail(KeyError("a path and a secret")), "The check failed; the log has the reason."),
]


@pytest.mark.parametrize(("check", "message"), FAILURES, ids=[message for _, message in FAILURES])
def test_failures(check: Callable[[], Deferred[str | None]], message: str) -> None:
    readiness = Readiness(Clock(), {"a": Check(check), "b": Check(ready)})
    with capturedLogs() as events:
        found = result_of(readiness.states())
    assert found["a"] == State("unavailable", message)
    assert names(found) == {"a": "unavailable", "b": "ok"}
    assert overall(found) == "unavailable"
    assert [one for one in events if one["log_level"] in (LogLevel.error, LogLevel.critical)]


def test_a_state_is_logged_when_it_changes() -> None:
    """With its cause; not at every request, and when it is over."""
    clock = Clock()
    failing: list[Any] = [StoreUnavailable("The disk is full.", error="SQLITE_FULL")]

    def write() -> Deferred[str | None]:
        return fail(failing[0]) if failing else succeed(None)

    readiness = Readiness(clock, {"write": Check(write)})
    with capturedLogs() as events:
        for _ in range(50):
            result_of(readiness.states())
            clock.advance(1.5)
        failing.clear()
        for _ in range(50):
            result_of(readiness.states())
            clock.advance(1.5)
    assert [one["log_level"] for one in events] == [LogLevel.error, LogLevel.info]
    assert "SQLITE_FULL" in str(events[0]["context"])


def test_checks_come_and_go() -> None:
    """The checks of a rotated CA are added and removed."""
    clock, more = Clock(), {"crl a": Check(ready)}
    readiness = Readiness(clock, {"database": Check(ready)}, lambda: more)
    assert list(names(result_of(readiness.states()))) == ["database", "crl a"]
    more["crl b"] = Check(ready)
    del more["crl a"]
    clock.advance(2)
    assert list(names(result_of(readiness.states()))) == ["database", "crl b"]
