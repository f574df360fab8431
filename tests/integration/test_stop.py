"""A stop during which something fails (RUN-5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs

import pytest

from pikachu.server.log_output import LEVELS, LogOutput
from pikachu.server.service import PikachuService
from pikachu.server.systemd import ServiceNotifier
from pikachu.storage.lock import lock_database
from tests.support.reactor import Reactor
from tests.support.server import make_server


def raising() -> None:
    raise OSError("the port is stuck")


@pytest.mark.parametrize("failing", [lambda: fail(OSError("the port is stuck")), raising], ids=["later", "at once"])
def test_a_listener_that_does_not_stop(tmp_path: Path, failing: Callable[[], Deferred[None] | None]) -> None:
    """It is logged; the other listeners, the database and the threads are stopped, and another server can start."""
    server = make_server(tmp_path)
    database = server.folder / "pikachu.sqlite"
    reactor = Reactor(failing, lambda: succeed(None))
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
