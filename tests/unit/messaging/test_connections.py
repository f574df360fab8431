"""Connections with brokers that end, or send what is not MQTT (MQT-1, MQT-2)."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from twisted.internet.task import Clock

import pytest

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import BrokerUnavailable
from pikachu.messaging.mqtt.client import BrokerSettings
from pikachu.messaging.mqtt.connection import BrokerConnection
from pikachu.messaging.mqtt.subscription import Subscription
from tests.support.deferreds import failure_of
from tests.support.pki import Identity, make_ca, make_leaf
from tests.support.server import wait_until

ACCEPTED = bytes.fromhex("2003000000")
# What a broker sends first.
ANSWERS = {
    "the end": ACCEPTED + bytes.fromhex("e0028b00"),
    "refusal": bytes.fromhex("2003008700"),
    "no such packet": ACCEPTED + b"\xf0\x05hello",
    "an endless length": ACCEPTED + b"\x30\xff\xff\xff\xff\xff",
}
NO_TOPIC = ACCEPTED + b"\x30\x08\x00\x03\xff\xfe\xfd\x00hi"


class Broker:
    """Accepts connections, and sends *answer* on the first one.

    :ivar clients: the certificate of the client of each connection.
    """

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self._answers = [answer]
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._accepted: list[socket.socket] = []
        self.clients: list[bytes | None] = []
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                client = None
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                    client = connection.getpeercert(binary_form=True)
                self._accepted.append(connection)
                connection.recv(4096)
                self.clients.append(client)
                if not self._answers:
                    connection.sendall(ACCEPTED)
                    continue
                connection.sendall(self._answers.pop())
                # Until it is closed by the client.
                connection.settimeout(5)
                while connection.recv(4096):
                    pass

    def close(self) -> None:
        """End all connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._accepted:
            connection.close()


@pytest.fixture
def new_broker() -> Iterator[Callable[..., Broker]]:
    brokers: list[Broker] = []

    def make(answer: bytes, context: ssl.SSLContext | None = None) -> Broker:
        brokers.append(Broker(answer, context))
        return brokers[-1]

    yield make
    for one in brokers:
        one.close()


def is_connected_again(agent: Subscription, broker: Broker) -> bool:
    """Do what an agent does, until it has a second connection."""
    agent.start()
    agent.next(0.05)
    return len(broker.clients) == 2 and not agent.problem


@pytest.mark.parametrize("answer", [*ANSWERS.values(), NO_TOPIC], ids=[*ANSWERS, "a topic that is not UTF-8"])
def test_the_agent_connects_again(new_broker: Callable[..., Broker], answer: bytes) -> None:
    broker = new_broker(answer)
    agent = Subscription(BrokerSettings("127.0.0.1", broker.port), ["pikachu/#"], 1 << 16)
    wait_until(lambda: is_connected_again(agent, broker), "the agent is connected again")
    agent.stop()


class Reactor:
    """Keeps what threads want to be called, for the thread of the test."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        """See :class:`pikachu.core.concurrency.IThreadCaller`."""
        self._calls.put(lambda: callable(*args, **kwargs))

    def run(self) -> None:
        """Do what waits."""
        while not self._calls.empty():
            self._calls.get()()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_server_connects_again(new_broker: Callable[..., Broker], name: str) -> None:
    broker, reactor, clock = new_broker(ANSWERS[name]), Reactor(), Clock()
    server = BrokerConnection(BrokerSettings("127.0.0.1", broker.port), 1, ImmediatePool(), reactor, clock)

    def is_connected() -> bool:
        reactor.run()
        clock.advance(1)
        return len(broker.clients) == 2 and server.is_connected

    server.start(lambda: None)
    wait_until(is_connected, "the server is connected again")
    server.stop()


def test_no_larger_packets_than_the_broker_accepts(new_broker: Callable[..., Broker]) -> None:
    """It would end the connection, and with it the publication of everything else."""
    largest = 100
    broker = new_broker(bytes.fromhex("20080000052700000064"))
    reactor = Reactor()
    server = BrokerConnection(BrokerSettings("127.0.0.1", broker.port), 1, ImmediatePool(), reactor, Clock())

    def is_connected() -> bool:
        reactor.run()
        return server.is_connected

    server.start(lambda: None)
    wait_until(is_connected, "the server is connected")
    topic = "pikachu/v1/ec/00/crl"
    payload = bytes(server.max_payload(topic))
    # PUBLISH: fixed header with a length of one byte, topic, packet identifier and no properties.
    assert largest - 3 <= len(payload) + 2 + 2 + len(topic) + 2 + 1 <= largest
    accepted = server.publish(topic, payload, retain=True)
    error = failure_of(server.publish(topic, payload + b"x", retain=True), BrokerUnavailable)
    assert str(largest) in error.public
    assert not accepted.called
    accepted.addErrback(lambda _: None)
    server.stop()


def test_renewed_certificates_are_used(new_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """The agent reads its files again with each connection."""
    ca = make_ca("p256", "CA")
    (tmp_path / "ca.pem").write_bytes(ca.pem)

    def write(name: str, identity: Identity) -> None:
        (tmp_path / f"{name}.crt").write_bytes(identity.pem)
        (tmp_path / f"{name}.key").write_bytes(identity.key_pem)

    write("broker", make_leaf(ca, "localhost", sans=["DNS:localhost"]))
    first, renewed = make_leaf(ca, "agent"), make_leaf(ca, "agent", key_type="p384")
    write("agent", first)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "broker.crt", tmp_path / "broker.key")
    broker = new_broker(ANSWERS["the end"], context)
    settings = BrokerSettings(
        "localhost", broker.port, tmp_path / "ca.pem", tmp_path / "agent.crt", tmp_path / "agent.key"
    )
    agent = Subscription(settings, ["pikachu/#"], 1 << 16)
    agent.start()
    wait_until(lambda: broker.clients, "the agent is connected")
    write("agent", renewed)
    wait_until(lambda: is_connected_again(agent, broker), "the agent is connected again")
    assert broker.clients == [first.der, renewed.der]
    agent.stop()
