"""The agent's connection with an MQTT broker: what arrives is put into a bounded queue (MQT-1).

The library works in a thread of its own; each connection is a new client, which reads the certificates again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic
from typing import Any, Final

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from pikachu.core.errors import BrokerUnavailable
from pikachu.messaging.mqtt.client import (
    KEEPALIVE_SECONDS,
    BrokerClient,
    BrokerSettings,
    connect_properties,
    new_client,
)

# Messages that wait, and the bytes of their payloads in messages of the greatest size; further ones are dropped, and
# reported as lost.
_QUEUE: Final = 100
_QUEUE_SIZES: Final = 2
# Bytes of a packet besides its payload.
_OVERHEAD: Final = 4096
# Seconds between attempts to connect, which double.
_MIN_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message of the broker, or a change of the connection, whose topic is empty."""

    topic: str
    payload: bytes


class Subscription:
    """Receives the messages of some topics.

    :param max_size: bytes of a payload; the broker is asked to send no larger ones.
    :ivar problem: why it is not connected, for people; empty while it is.
    :ivar has_lost: whether messages were dropped since that was last set to False.
    """

    def __init__(self, settings: BrokerSettings, topics: Sequence[str], max_size: int) -> None:
        self._settings = settings
        self._topics = [(topic, 1) for topic in topics]
        self._max_size = max_size
        self._client_id = f"pikachu-crl-agent-{secrets.token_hex(6)}"
        self._client: BrokerClient | None = None
        # The last client whose thread has ended.
        self._ended: BrokerClient | None = None
        self._retry_at = monotonic()
        self._delay = _MIN_RETRY_SECONDS
        # A signal handler may call `wake` at any time, also in `next`: this queue permits that.
        self._arrivals: SimpleQueue[Arrival] = SimpleQueue()
        # Of the messages that wait.
        self._count = self._size = 0
        self._lock = Lock()
        self.problem = "The broker has not been reached yet."
        self.has_lost = False

    def start(self) -> None:
        """Connect, unless that is done already, or was tried a moment ago.

        :raises BrokerUnavailable: when a file can't be used.
        """
        now = monotonic()
        if self._client is not None and self._client is self._ended:
            self._client = None
            self._retry_at = now + self._delay
        if self._client is not None or now < self._retry_at:
            return
        self._delay = min(2 * self._delay, _MAX_RETRY_SECONDS)
        self._retry_at = now + self._delay
        client = new_client(self._settings, self._client_id, self._on_end)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.connect_async(
            self._settings.host,
            self._settings.port,
            KEEPALIVE_SECONDS,
            properties=connect_properties(self._max_size + _OVERHEAD),
        )
        # Before its thread is started, which may end at once.
        self._client = client
        client.loop_start()

    def stop(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def next(self, timeout: float) -> Arrival | None:
        """Return the next arrival, or None when there is none within *timeout* seconds, or :meth:`start` is due."""
        if self._client is None:
            timeout = min(timeout, self._retry_at - monotonic())
        try:
            arrival = self._arrivals.get(timeout=max(0.0, timeout))
        except Empty:
            return None
        if arrival.topic:
            with self._lock:
                self._count -= 1
                self._size -= len(arrival.payload)
        return arrival

    def wake(self) -> None:
        """End a wait in :meth:`next`; may be called by a signal handler."""
        self._arrivals.put(Arrival("", b""))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish a message, without waiting for the broker.

        :raises BrokerUnavailable: not connected.
        """
        client = self._client
        if client is None or self.problem:
            raise BrokerUnavailable(self.problem)
        if client.publish(topic, payload, 1).rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerUnavailable("the connection with the broker was lost")

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self.problem = f"The broker refuses the connection: {reason}."
        else:
            self.problem = ""
            self._delay = _MIN_RETRY_SECONDS
            client.subscribe(self._topics)
        self.wake()

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.problem = self.problem or f"The connection with the broker was lost: {reason}."
        self.wake()

    def _on_end(self, client: BrokerClient, error: Exception | None) -> None:
        if error is not None and client.is_connected():
            self.problem = f"The connection with the broker was lost: it sends what is not MQTT ({error!r})."
        elif error is not None:
            self.problem = f"The broker can't be reached: {error}."
        self._ended = client
        self.wake()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        """Queue a message, unless it is larger than the broker was asked for, or too many wait."""
        size = len(message.payload)
        with self._lock:
            if (
                size > self._max_size
                or self._size + size > _QUEUE_SIZES * self._max_size
                or self._count >= _QUEUE
                or not message.topic
            ):
                self.has_lost = True
                return
            self._count += 1
            self._size += size
        self._arrivals.put(Arrival(message.topic, bytes(message.payload)))


Connect = Callable[[BrokerSettings, Sequence[str], int], Subscription]
"""Makes the connection of an agent."""
