"""An MQTT broker in memory, in place of the connection with a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, fail, succeed

from pikachu.core.errors import BrokerUnavailable


@dataclass
class FakeBroker:
    """See :class:`pikachu.core.revocation_message_interfaces.IBroker`.

    :ivar messages: topic and payload of what was confirmed, in order.
    :ivar refuses: whether it refuses a topic.
    :ivar holds: whether confirmations wait for :meth:`confirm`.
    :ivar ends: whether a message on a topic makes it end the connection.
    :ivar largest: the bytes of the largest message that it accepts.
    """

    is_connected: bool = False
    problem: str = "down"
    connections: int = 0
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    retained: dict[str, bytes] = field(default_factory=dict)
    refuses: Callable[[str], bool] = lambda topic: False
    holds: bool = False
    largest: int = 1 << 28
    ends: Callable[[str], bool] = lambda topic: False
    _connected: Callable[[], None] | None = None
    _waiting: list[tuple[str, bytes, bool, Deferred[None]]] = field(default_factory=list)

    def start(self, connected: Callable[[], None]) -> None:
        """Remember whom to tell of a connection."""
        self._connected = connected

    def stop(self) -> Deferred[None]:
        """Disconnect."""
        self.lose()
        self._connected = None
        return succeed(None)

    def connect(self) -> None:
        """Accept the connection that was asked for."""
        assert self._connected is not None
        self.is_connected, self.problem = True, ""
        self.connections += 1
        self._connected()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants to be connected."""
        return self._connected is not None

    def lose(self) -> None:
        """Break the connection off; what was not confirmed is lost."""
        self.is_connected, self.problem = False, "down"
        waiting, self._waiting = self._waiting, []
        for *_, confirmed in waiting:
            confirmed.errback(BrokerUnavailable("down"))

    def max_payload(self, topic: str) -> int:
        """Return the bytes of the largest message."""
        return self.largest

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> Deferred[None]:
        """Take a message."""
        if not self.is_connected:
            return fail(BrokerUnavailable("down"))
        if self.refuses(topic) or len(payload) > self.largest:
            return fail(BrokerUnavailable("refused"))
        if self.ends(topic):
            self.lose()
            return fail(BrokerUnavailable("down"))
        if self.holds:
            confirmed: Deferred[None] = Deferred()
            self._waiting.append((topic, payload, retain, confirmed))
            return confirmed
        self._take(topic, payload, retain)
        return succeed(None)

    def confirm(self) -> None:
        """Confirm what waits."""
        waiting, self._waiting = self._waiting, []
        for topic, payload, retain, confirmed in waiting:
            self._take(topic, payload, retain)
            confirmed.callback(None)

    def _take(self, topic: str, payload: bytes, retain: bool) -> None:
        self.messages.append((topic, payload))
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)

    def of_kind(self, kind: str) -> list[bytes]:
        """Return the payloads on the topics of one kind, without those that clear one."""
        return [payload for topic, payload in self.messages if topic.endswith(f"/{kind}") and payload]
