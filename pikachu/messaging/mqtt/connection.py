"""The server's connection with an MQTT broker (MQT-2).

The library works in a thread of its own, and connects in one of a pool; each connection is a new client, so that
nothing of a former one is left.  What the broker has not confirmed is the caller's to send again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from pikachu.core.concurrency import IThreadCaller
from pikachu.core.errors import BrokerUnavailable, PikachuError
from pikachu.core.interfaces import IClock, IDelayedCall, IWorkerPool
from pikachu.messaging.mqtt.client import KEEPALIVE_SECONDS, BrokerClient, BrokerSettings, new_client

log = Logger()

# Seconds until the broker has confirmed a message.
_CONFIRM_SECONDS: Final = 30.0
# Seconds between attempts to connect, which double.
_MIN_RETRY_SECONDS: Final = 0.5
_MAX_RETRY_SECONDS: Final = 30.0
# Bytes of a packet where the broker names no limit (MQTT 5.0 section 2.1.4), and those of a PUBLISH besides topic and
# payload: fixed header, length of the topic, packet identifier, no properties.
_MAX_PACKET_SIZE: Final = 268_435_455 + 5
_OVERHEAD: Final = 5 + 2 + 2 + 1


class BrokerConnection:
    """See :class:`pikachu.core.revocation_message_interfaces.IBroker`.

    :param pool: connects and disconnects, which blocks.
    :param reactor: in whose thread everything else is done.
    """

    def __init__(
        self, settings: BrokerSettings, qos: int, pool: IWorkerPool, reactor: IThreadCaller, clock: IClock
    ) -> None:
        self._settings = settings
        self._qos = qos
        self._pool = pool
        self._reactor = reactor
        self._clock = clock
        self._client_id = f"pikachu-ca-{secrets.token_hex(6)}"
        self._client: Client | None = None
        self._retry: IDelayedCall | None = None
        self._delay = _MIN_RETRY_SECONDS
        self._max_packet_size = _MAX_PACKET_SIZE
        self._wanted: Callable[[], None] | None = None
        # By message id.
        self._unconfirmed: dict[int, Deferred[None]] = {}
        self.is_connected = False
        self.problem = "The broker has not been reached yet."
        self.connections = 0

    def start(self, connected: Callable[[], None]) -> None:
        """Connect, unless that is done already."""
        if self._wanted is None:
            self._wanted = connected
            self._delay = _MIN_RETRY_SECONDS
            self._connect()

    def stop(self) -> Deferred[None]:
        """Disconnect; never fails."""
        self._wanted = None
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        return self._drop("Not connected.")

    def max_payload(self, topic: str) -> int:
        """Return how many bytes a message on a topic may have for the broker that is connected."""
        return self._max_packet_size - _OVERHEAD - len(topic.encode())

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> Deferred[None]:
        """Publish a message, and wait until the broker has confirmed it."""
        client = self._client
        if client is None or not self.is_connected:
            return fail(BrokerUnavailable(self.problem))
        # The broker would end the connection (MQTT 5.0 section 3.2.2.3.6).
        if len(payload) > self.max_payload(topic):
            return fail(BrokerUnavailable(f"The broker accepts no packet of more than {self._max_packet_size} bytes."))
        try:
            sent = client.publish(topic, payload, self._qos, retain)
        except ValueError as error:
            return fail(BrokerUnavailable("The broker can't be sent this message.", error=str(error)))
        if sent.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            return fail(BrokerUnavailable("The connection with the broker was lost."))
        confirmed: Deferred[None] = Deferred()
        self._unconfirmed[sent.mid] = confirmed
        limit = self._clock.callLater(_CONFIRM_SECONDS, self._unanswered, client)

        def end(result: object) -> object:
            if limit.active():
                limit.cancel()
            return result

        confirmed.addBoth(end)
        return confirmed

    # --- connecting -------------------------------------------------------------------------

    def _connect(self) -> None:
        self._pool.run(self._open).addCallbacks(self._opened, self._failed)

    def _open(self) -> Client:
        """Return a client that has a connection, which nobody reads yet.  Blocks.

        :raises BrokerUnavailable: with the reason.
        """
        client = new_client(self._settings, self._client_id, self._on_end)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        try:
            client.connect(self._settings.host, self._settings.port, KEEPALIVE_SECONDS)
        except (OSError, ValueError) as error:
            raise BrokerUnavailable("The broker can't be reached.", error=str(error)) from error
        return client

    def _opened(self, client: Client) -> None:
        if self._wanted is None or self._client is not None:
            self._pool.run(_close, client).addErrback(_ignore)
            return
        # Before its thread is started, which may report the end of the connection at once.
        self._client = client
        client.loop_start()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, PikachuError):
            log.failure("The connection with the MQTT broker failed", failure)
            error = BrokerUnavailable("The connection with the broker failed; the log has the reason.")
        self._lost(error.public, error.context.get("error", ""))

    def _lost(self, problem: str, detail: object = "") -> None:
        """Give the connection up, and try again later."""
        if self._wanted is None:
            return
        if problem != self.problem:
            log.warn("MQTT: {problem} {detail}", problem=problem, detail=detail)
        self._drop(problem)
        if self._retry is None or not self._retry.active():
            self._retry = self._clock.callLater(self._delay, self._connect)
            self._delay = min(2 * self._delay, _MAX_RETRY_SECONDS)

    def _drop(self, problem: str) -> Deferred[None]:
        client, self._client = self._client, None
        self.is_connected, self.problem = False, problem
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for one in unconfirmed.values():
            one.errback(BrokerUnavailable(problem))
        return succeed(None) if client is None else self._pool.run(_close, client).addErrback(_ignore)

    def _unanswered(self, client: Client) -> None:
        if client is self._client:
            self._lost(f"The broker has not confirmed a message within {_CONFIRM_SECONDS:g} seconds.")

    # --- from the library's thread ------------------------------------------------------------

    def _on_connect(
        self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        size = getattr(properties, "MaximumPacketSize", _MAX_PACKET_SIZE)
        self._reactor.callFromThread(self._accepted, client, reason, size)

    def _on_disconnect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._reactor.callFromThread(self._disconnected, client, reason)

    def _on_end(self, client: BrokerClient, error: Exception | None) -> None:
        self._reactor.callFromThread(self._ended, client, error)

    def _on_publish(self, client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._reactor.callFromThread(self._confirmed, client, mid, reason)

    def _accepted(self, client: Client, reason: ReasonCode, max_packet_size: int) -> None:
        if self._wanted is None or client is not self._client:
            return
        if reason.is_failure:
            self._lost(f"The broker refuses the connection: {reason}.")
            return
        self.is_connected, self.problem = True, ""
        self.connections += 1
        self._max_packet_size = max_packet_size
        log.info("Connected with the MQTT broker")
        self._wanted()

    def _disconnected(self, client: Client, reason: ReasonCode) -> None:
        if client is self._client:
            self._lost(f"The connection with the broker was lost: {reason}.")

    def _ended(self, client: Client, error: Exception | None) -> None:
        if client is self._client:
            self._lost("The connection with the broker was lost: it sends what is not MQTT.", repr(error))

    def _confirmed(self, client: Client, mid: int, reason: ReasonCode) -> None:
        confirmed = self._unconfirmed.pop(mid, None) if client is self._client else None
        if confirmed is None:
            return
        if reason.is_failure:
            confirmed.errback(BrokerUnavailable(f"The broker refuses a message: {reason}."))
        else:
            # One that only accepts the connection may end it each time.
            self._delay = _MIN_RETRY_SECONDS
            confirmed.callback(None)


def _close(client: Client) -> None:
    """End the connection and the thread of a client; blocks."""
    client.disconnect()
    client.loop_stop()


def _ignore(failure: Failure) -> None:
    """Leave a client alone that the pool has no thread for: its connection ends with the process."""
    failure.trap(PikachuError)
