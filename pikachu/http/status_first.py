# mypy: allow-untyped-calls
"""Turns of the reactor in which status requests come first, and everything else has a share.

Twisted handles all that is ready in one turn.  When as many devices as may wait have a step of their TLS handshakes
ready, a turn takes a tenth of a second, and each OCSP client gets one answer in it.  Here the connections of one
listener, plain HTTP, are handled first in each turn, and those of the others get half as much time as they have taken.
What is left stays ready in the system: epoll tells of it again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port

from pikachu.http.twisted_private import Events

#: Seconds that other connections get between two looks for status requests, when there are any.
SLICE_SECONDS: Final = 0.001
# The time of other connections for that of status requests, while both never end.  Threads that store and sign take
# their part of the interpreter besides.
_SHARE: Final = 0.5
#: Seconds after the last status request for which turns are short.
ASKED_SECONDS: Final = 0.1
# For how many times what they had last, or a slice, other connections wait at most, whatever is done between two turns.
_LONGEST_WAIT: Final = 9
# Connections that other listeners accept in one such turn.
_ACCEPTED_AT_ONCE: Final = 4


class StatusFirst:
    """The reactor's way to handle what is ready, in place of its own.

    :param ports: returns those of the listener that comes first.
    :param write: writes its responses of this turn.
    :param seconds: a clock that is not set.
    """

    def __init__(
        self,
        events: Events,
        ports: Callable[[], Sequence[IListeningPort]],
        write: Callable[[], object],
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._events = events
        self._ports = ports
        self._write = write
        self._seconds = seconds
        # Descriptors of other connections that were ready in the last turn and not handled, the oldest first.
        self._waiting: dict[int, None] = {}
        # Seconds that other work has before status requests are looked for again, less what it took beyond.
        self._credit = math.inf
        # When other connections have waited long enough.
        self._due = -math.inf
        self._asked_at = -math.inf
        self._ended = seconds()

    def turn(self, timeout: float | None) -> None:
        """Wait up to *timeout* seconds until something is ready, and handle status requests and a share of the rest."""
        # What was read before is worked on between two turns.
        self._credit -= self._seconds() - self._ended
        ready = self._events.wait(timeout)
        began = now = self._seconds()
        ports, is_asked = self._ports(), False
        others: dict[int, int] = {}
        for descriptor, event in ready:
            owner = self._events.owners.get(descriptor)
            port = getattr(owner, "server", owner)
            if port in ports:
                is_asked = True
            elif isinstance(port, Port):
                others[descriptor] = event
                continue
            # Neither: what wakes the reactor, and connections to other servers.
            self._events.handle(descriptor, event)
        if is_asked:
            self._write()
            self._asked_at = now = self._seconds()
            self._credit = min(self._credit, SLICE_SECONDS) + _SHARE * (now - began)
        else:
            self._credit = SLICE_SECONDS if now - self._asked_at < ASKED_SECONDS else math.inf
        self._handle_others(others, now)

    def _handle_others(self, others: dict[int, int], now: float) -> None:
        """Handle other connections, those first that wait longest, until their time is used."""
        waiting = {descriptor: None for descriptor in self._waiting if descriptor in others}
        waiting.update(dict.fromkeys(others))
        began = now
        if now >= self._due:
            # What was done between two turns is not theirs, such as the queries and signatures for status requests.
            self._credit = max(self._credit, SLICE_SECONDS)
        while waiting and self._credit > 0:
            descriptor = next(iter(waiting))
            del waiting[descriptor]
            owner = self._events.owners.get(descriptor)
            if self._credit < math.inf and isinstance(owner, Port):
                # Twisted accepts as many in one call, and more if there are.
                owner.numberAccepts = _ACCEPTED_AT_ONCE
            self._events.handle(descriptor, others[descriptor])
            before, now = now, self._seconds()
            self._credit -= now - before
        if now > began:
            self._due = now + _LONGEST_WAIT * max(now - began, SLICE_SECONDS)
        self._waiting = waiting
        self._ended = now


def put_status_first(reactor: Any, ports: Callable[[], Sequence[IListeningPort]], write: Callable[[], object]) -> None:
    """Have a reactor on epoll take such turns; others go on as they are.  See :class:`StatusFirst`."""
    if Events.are_of(reactor):
        reactor.doIteration = StatusFirst(Events(reactor), ports, write).turn
