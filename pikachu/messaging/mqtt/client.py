"""Clients of an MQTT broker, as the server and ``pikachu crl-agent`` use them: MQTT 5, with TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pikachu.core.errors import BrokerUnavailable

#: Seconds in which a connection is made, and after which the broker misses a client that says nothing.
CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 30
_MAX_PASSWORD_SIZE: Final = 4096


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """A broker, and how to authenticate there.

    :param ca_cert_path: the CA certificates for the broker's certificate; without them there is no TLS.
    :param password_file: its first line is the password.
    """

    host: str
    port: int
    ca_cert_path: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    username: str = ""
    password_file: Path | None = field(default=None, repr=False)


class BrokerClient(Client):
    """One connection, whose end is always reported, also where the broker sends what the library can't read.

    :ivar on_end: called in the library's thread when that ends, with the exception or None.
    """

    on_end: Callable[[BrokerClient, Exception | None], None]

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Work until the connection ends; called in the library's thread."""
        failure: Exception | None = None
        try:
            return super().loop_forever(timeout)
        # Packets that are not MQTT raise whatever the library stumbles over.
        except Exception as error:  # noqa: BLE001
            failure = error
            connection = self.socket()
            if connection is not None:
                connection.close()
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self.on_end(self, failure)


def new_client(
    settings: BrokerSettings, client_id: str, on_end: Callable[[BrokerClient, Exception | None], None]
) -> BrokerClient:
    """Return a client that is not connected; reads the files again, since certificates are renewed.  Blocks.

    :param client_id: unique at the broker.
    :param on_end: see :class:`BrokerClient`.
    :raises BrokerUnavailable: when a file can't be used.
    """
    client = BrokerClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
    )
    client.on_end = on_end
    client.connect_timeout = CONNECT_SECONDS
    if settings.username:
        client.username_pw_set(settings.username, _password(settings.password_file))
    if settings.ca_cert_path is not None:
        client.tls_set_context(_tls(settings))
    return client


def connect_properties(max_packet_size: int) -> Properties:
    """Return the properties of a connection whose broker sends no packet of more than *max_packet_size* bytes."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # the library lacks it
    properties.MaximumPacketSize = max_packet_size
    return properties


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_PASSWORD_SIZE).partition(b"\n")[0].strip().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerUnavailable("The file of the broker's password can't be read.", error=str(error)) from error


def _tls(settings: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_cert_path)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.client_cert is not None:
            # Without a callback for the passphrase, OpenSSL asks for it on the terminal.
            context.load_cert_chain(settings.client_cert, settings.client_key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise BrokerUnavailable(
            "The certificates for the connection with the broker can't be read.", error=str(error)
        ) from error
    return context
