"""A stop during which something fails (RUN-5)."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

import pytest

from pikachu.server.log_output import LEVELS, LogOutput
from pikachu.server.service import PikachuService
from pikachu.server.systemd import ServiceNotifier
from pikachu.storage.lock import lock_database
from tests.support.server import DEADLINE, make_server


class Port:
    """A port that listens nowhere."""

    def __init__(self, stopped: Callable[[], Deferred[None] | None]) -> None:
        self._stopped = stopped
        self.calls = 0

    def getHost(self) -> IPv4Address:  # noqa: N802 - Twisted's name
        return IPv4Address("TCP", "127.0.0.1", 1)

    def stopListening(self) -> Deferred[None] | None:  # noqa: N802 - Twisted's name
        self.calls += 1
        return self._stopped()


class Reactor(Clock):
    """A reactor in memory, whose thread is the test's.

    :ivar ports: those that were bound, in order.
    """

    def __init__(self, stopped: list[Callable[[], Deferred[None] | None]]) -> None:
        super().__init__()
        self.advance(int(time.time()))
        self.ports: list[Port] = []
        self._stopped = stopped
        self._calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def listenTCP(self, port: int, factory: object, **_: object) -> Port:  # noqa: N802 - Twisted's name
        made = Port(self._stopped[len(self.ports) % len(self._stopped)])
        self.ports.append(made)
        return made

    def callWhenRunning(self, call: Callable[[], object]) -> None:  # noqa: N802 - Twisted's name
        """It never runs."""

    def callFromThread(self, call: Callable[..., object], *args: object, **how: object) -> None:  # noqa: N802
        self._calls.put(lambda: call(*args, **how))

    def run_until(self, awaited: Deferred[None]) -> None:
        """Do what threads ask for until *awaited* has fired."""
        fired: list[object] = []
        awaited.addBoth(fired.append)
        while not fired:
            self._calls.get(timeout=DEADLINE)()
        assert fired == [None]


def raising() -> None:
    raise OSError("the port is stuck")


@pytest.mark.parametrize("failing", [lambda: fail(OSError("the port is stuck")), raising], ids=["later", "at once"])
def test_a_listener_that_does_not_stop(tmp_path: Path, failing: Callable[[], Deferred[None] | None]) -> None:
    """It is logged; the other listeners, the database and the threads are stopped, and another server can start."""
    server = make_server(tmp_path)
    database = server.folder / "pikachu.sqlite"
    reactor = Reactor([failing, lambda: succeed(None)])
    service = PikachuService(
        server.files.load(), reactor, LogOutput(LEVELS["ERROR"], []), sockets={}, notifier=ServiceNotifier({}, 0)
    )
    service.startService()
    assert len(reactor.ports) == 4
    with capturedLogs() as logged:
        reactor.run_until(service.stopService())
    assert [port.calls for port in reactor.ports] == [1, 1, 1, 1]
    failures = [event for event in logged if event["log_level"] is LogLevel.critical]
    assert len(failures) == 2
    assert all("the port is stuck" in str(event["log_failure"]) for event in failures)
    assert all("listener" in event["what"] for event in failures)
    assert logged[-1]["log_format"] == "Stopped"
    closed: list[Any] = []
    service.app.store.check().addErrback(closed.append)
    assert closed
    lock_database(database).close()
