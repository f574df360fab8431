"""Notifications between the nodes of one PostgreSQL: what has changed, as soon as it is committed.

They only make others look sooner, and may be lost, as during an outage; polling finds every change.  A SQLite database
has one server, and sends none.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sqlalchemy import Connection, text

from pikachu.core.concurrency import IThreadCaller, WorkerPool
from pikachu.core.errors import StoreUnavailable
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.storage.database import Database, Transaction
from pikachu.storage.transactions import StoreSection

log = Logger()

_CHANNEL: Final = "pikachu"
_notify: Final = text(f"SELECT pg_notify('{_CHANNEL}', :message)")
_RANDOM: Final = secrets.token_hex(8)
# How often a quiet connection is checked, and the time between attempts to connect again.
_CHECK_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 1.0


def _origin() -> str:
    """Return the name of this process, which needs no notification of its own changes.

    Processes forked from one that has imported this module share its random number.
    """
    return f"{_RANDOM}-{os.getpid()}"


def send_notification(tx: Transaction, notification: Notification) -> None:
    """Send a notification with the commit of this transaction."""
    if tx.dialect == "postgresql":
        tx.query(_notify.bindparams(message=f"{_origin()} {notification.topic} {notification.text}"))


class NotificationReceiver:
    """Receives notifications in a thread of its own, over a connection of its own.

    :param deliver: called in the reactor's thread with each notification of another process, and with None after a
        (new) connection, since some may have been missed.
    """

    def __init__(
        self, database: Database, reactor: IThreadCaller, deliver: Callable[[Notification | None], None]
    ) -> None:
        self._database = database
        self._reactor = reactor
        self._deliver = deliver
        self._thread = WorkerPool("notifications", reactor, 1, queue=0)
        self._stopping = False
        # Ends the thread's wait.
        self._waiting, self._waking = socket.socketpair()

    def start(self) -> None:
        """Begin to receive."""
        self._thread.run(self._receive_until_stopped).addErrback(
            lambda failure: log.failure("Notifications of other nodes are received no more.", failure)
        )

    def stop(self) -> None:
        """Close the connection and end the thread; blocks until it has ended."""
        self._stopping = True
        self._waking.send(b"\0")
        self._thread.stopService()
        self._waiting.close()
        self._waking.close()

    def _receive_until_stopped(self) -> None:
        failing = False
        while not self._stopping:
            try:
                session = self._database.open_session()
            except StoreUnavailable as error:
                if not failing:
                    log.warn(
                        "Other nodes' notifications are not received; polling continues: {context}",
                        context=error.context,
                    )
                failing = True
                self._wait(_RETRY_SECONDS)
                continue
            failing = False
            try:
                with self._database.translated():
                    self._receive(session)
            except StoreUnavailable as error:
                session.invalidate()
                log.warn("The connection for other nodes' notifications was lost: {context}", context=error.context)
            finally:
                with suppress(Exception):
                    session.close()

    def _receive(self, session: Connection) -> None:
        """Deliver notifications until the connection fails or the receiver is stopped."""
        connection: Any = session.connection.dbapi_connection
        # For those that arrive together with the answer of a statement.
        connection.add_notify_handler(lambda received: self._decode(received.payload))
        session.exec_driver_sql(f"LISTEN {_CHANNEL}")
        self._reactor.callFromThread(self._deliver, None)
        checked = monotonic()
        while not self._stopping:
            self._wait(_CHECK_SECONDS, connection.fileno())
            connection.pgconn.consume_input()
            while (received := connection.pgconn.notifies()) is not None:
                self._decode(received.extra.decode())
            if monotonic() - checked >= _CHECK_SECONDS:
                session.exec_driver_sql("SELECT 1")
                checked = monotonic()

    def _wait(self, seconds: float, *descriptors: int) -> None:
        """Wait for input, or until the receiver is stopped."""
        poll = select.poll()
        for descriptor in (self._waiting.fileno(), *descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)

    def _decode(self, message: str) -> None:
        origin, _, rest = message.partition(" ")
        topic, _, content = rest.partition(" ")
        # A newer version may have topics that this one doesn't know.
        with suppress(ValueError):
            if origin != _origin():
                self._reactor.callFromThread(self._deliver, Notification(Topic(topic), content))


class NotificationStore(StoreSection):
    """See :class:`pikachu.core.node_interfaces.INodeStore`."""

    database: Database
    _thread_caller: IThreadCaller | None
    _receiver: NotificationReceiver | None

    def receive_notifications(self, deliver: Callable[[Notification | None], None]) -> None:
        """Receive notifications until the store is closed; of a SQLite database, there are none."""
        if self._thread_caller is not None and self.database.url.get_backend_name() == "postgresql":
            self._receiver = NotificationReceiver(self.database, self._thread_caller, deliver)
            self._receiver.start()

    def notify_nodes(self, notification: Notification) -> Deferred[None]:
        """Send a notification to the other nodes; fails with StoreUnavailable."""
        return self._read("notify_nodes", lambda tx: send_notification(tx, notification))
