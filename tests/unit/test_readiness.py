"""What the server needs, for who can't wait for it (RUN-8, UI-3)."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from pikachu.readiness import Readiness, overall
from tests.support.deferreds import result_of


def test_a_glance_does_not_wait() -> None:
    """A page comes at once though a directory does not answer, and later tells what became of it."""
    clock = Clock()
    asked: list[Deferred[str | None]] = []

    def slow() -> Deferred[str | None]:
        asked.append(Deferred())
        return asked[-1]

    readiness = Readiness(clock, {"database": lambda: succeed(None), "ldap": slow, "vault": None})
    first = readiness.glance()
    assert not first.called
    clock.advance(0.1)
    assert result_of(first) == {"database": "checking", "ldap": "checking", "vault": "disabled"}
    assert result_of(readiness.glance())["ldap"] == "checking"
    assert len(asked) == 1
    asked[0].callback("degraded")
    known = result_of(readiness.glance())
    assert known == {"database": "ok", "ldap": "degraded", "vault": "disabled"}
    assert overall(known) == "degraded"
    clock.advance(11)
    later = readiness.glance()
    clock.advance(0.1)
    assert result_of(later) == known
    clock.advance(2)
    assert result_of(readiness.glance())["ldap"] == "unavailable"
    assert len(asked) == 2
