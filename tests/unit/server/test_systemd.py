"""The interfaces of systemd: passed sockets and notifications (OPS-1)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pikachu.server.systemd import ServiceNotifier, passed_sockets


def test_no_socket_is_passed() -> None:
    """Without sockets for this very process none is taken, and no variable is left for a child."""
    variables = {"LISTEN_FDNAMES": "http"}
    assert passed_sockets({}, object()) == passed_sockets(variables, object()) == {}
    assert not variables


def test_notifications(tmp_path: Path) -> None:
    """States reach systemd's socket; its absence is no error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        notifier = ServiceNotifier(
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 7
        )
        notifier.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    assert notifier.watchdog_interval == 30
    (tmp_path / "notify").unlink()
    notifier.notify("STOPPING=1")
    ServiceNotifier({}, 7).notify("READY=1")


def test_abstract_address() -> None:
    """A leading @ stands for an abstract address."""
    name = f"pikachu-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name)
        ServiceNotifier({"NOTIFY_SOCKET": "@" + name}, 7).notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WATCHDOG_USEC": "60000000"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"},
    ],
)
def test_no_watchdog(variables: dict[str, str]) -> None:
    """Without a watchdog for this process nothing is reported."""
    assert ServiceNotifier(variables, 7).watchdog_interval == 0
