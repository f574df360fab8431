# mypy: allow-untyped-calls
"""The interfaces of systemd: sockets that it passes at start (sd_listen_fds(3)), and notifications (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import Final

from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from pikachu.core.errors import ConfigError
from pikachu.core.number_parsing import parse_number

_log = Logger()

_NAMES: Final = ("http", "scep", "https", "trusted_https")


def passed_sockets(environ: MutableMapping[str, str], reactor: object) -> dict[str, tuple[socket.socket, ...]]:
    """Take the listening sockets that systemd passes to this process, by the name of their listener.

    Twisted has read ``LISTEN_PID`` and ``LISTEN_FDS`` when it was imported, and removed them; the names are removed
    here, so that no child takes the sockets for its own.

    :param environ: holds ``LISTEN_FDNAMES`` where a socket unit started this.
    :raises ConfigError: for a socket whose name is no listener's, or that doesn't accept TCP connections.
    """
    names = environ.pop("LISTEN_FDNAMES", "")
    passed: dict[str, tuple[socket.socket, ...]] = {}
    for index, name in enumerate(names.split(":") if names else ()):
        try:
            endpoint = serverFromString(reactor, f"systemd:domain=INET:index={index}")
        except IndexError:
            # They were passed to another process, which has left its environment to this one.
            return {}
        if name not in _NAMES:
            raise ConfigError(
                f"systemd passes a socket named {name!r}; set FileDescriptorName= in the socket unit to one of "
                f"{', '.join(_NAMES)}"
            )
        os.set_inheritable(endpoint.fileno, False)
        passed[name] = (*passed.get(name, ()), _listening_socket(endpoint.fileno, name))
    return passed


def _listening_socket(descriptor: int, name: str) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"systemd's socket {name} can't be used: {error.strerror}; look at its unit") from None
    is_tcp = passed.family in (socket.AF_INET, socket.AF_INET6) and passed.type == socket.SOCK_STREAM
    if not is_tcp or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        passed.detach()
        raise ConfigError(
            f"systemd's socket {name} doesn't accept TCP connections; set ListenStream= to a port, and Accept=no"
        )
    return passed


class ServiceNotifier:
    """Reports this service's state to systemd; does nothing where none started it.

    :param environ: holds ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` in a unit of ``Type=notify``.
    """

    def __init__(self, environ: Mapping[str, str], process: int) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        is_watched = self._address and environ.get("WATCHDOG_PID", str(process)) == str(process)
        #: Seconds between two notifications that keep systemd's watchdog quiet; 0 without a watchdog.
        self.watchdog_interval = (parse_number(microseconds) or 0) / 2e6 if is_watched else 0.0

    def notify(self, state: str) -> None:
        """Send *state*, such as ``READY=1``; a failure is logged, since the service works without."""
        if not self._address:
            return
        # A leading @ stands for the NUL byte of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.connect(address)
                connection.send(state.encode())
        except OSError as error:
            _log.warn("systemd can't be notified of {state}: {error}", state=state, error=error.strerror or str(error))
