"""Builds what publishes to an MQTT broker (MQT-2)."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred, succeed

from pikachu.config.configuration import Configuration
from pikachu.core.concurrency import IThreadCaller, TimeLimitedPool
from pikachu.core.errors import BrokerUnavailable
from pikachu.core.interfaces import IClock
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.operations.readiness import Check
from pikachu.server.application import Pools
from pikachu.va.broker_publisher import BrokerPublisher, BrokerPublisherSettings

# Seconds for the look-up of a name, the connection, and TLS.
_CONNECT_SECONDS: Final = 30.0


def build_broker(config: Configuration, pools: Pools, reactor: IThreadCaller | None, clock: IClock) -> IBroker | None:
    """Build the connection with the broker; ``None`` if none is enabled, and for commands, which have no reactor."""
    mqtt = config.mqtt
    if not mqtt.enabled or reactor is None:
        return None
    # Loading the library takes longer than the rest of a command, so only a server that uses it does.
    from pikachu.messaging.mqtt.client import BrokerSettings
    from pikachu.messaging.mqtt.connection import BrokerConnection

    return BrokerConnection(
        BrokerSettings(
            host=mqtt.host,
            port=mqtt.port,
            ca_cert_path=mqtt.ca_cert_path,
            client_cert=mqtt.client_cert,
            client_key=mqtt.client_key,
            username=mqtt.username,
            password_file=mqtt.password_file,
        ),
        mqtt.qos,
        TimeLimitedPool(pools.broker, clock, _CONNECT_SECONDS, "The broker", BrokerUnavailable),
        reactor,
        clock,
    )


def publisher_settings(config: Configuration) -> BrokerPublisherSettings:
    """Return what is published, and where."""
    return BrokerPublisherSettings(config.mqtt.topic_prefix, config.mqtt.max_crl_size, config.ca.public_url)


def broker_check(publisher: BrokerPublisher | None) -> dict[str, Check | None]:
    """Return the readiness check of the broker, by its name: without one, the CA works, so it is never unavailable."""

    def check() -> Deferred[str | None]:
        return succeed(None if publisher is None else publisher.problem())

    return {"mqtt": None if publisher is None else Check(check)}
