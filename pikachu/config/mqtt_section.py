"""Declarations of the section ``[MQTT]`` (MQT-2)."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import BOOLEAN, PATH, REMOTE_PORT, TEXT, TOPIC, number, optional, size


@dataclass(frozen=True, slots=True)
class MQTTSection(Section):
    """``[MQTT]``."""

    NAME: ClassVar[str] = "MQTT"
    ABOUT: ClassVar[str] = "Publishing CRLs and revocations to an MQTT broker. Help has the format of the messages."
    UPPER: ClassVar[frozenset[str]] = frozenset()

    enabled: bool = _key(BOOLEAN, "false", "Whether CRLs and revocations are published.")
    host: str = _key(TEXT, "", "The broker's host name or address.")
    port: int = _key(REMOTE_PORT, "8883", "The broker's port.")
    ca_cert_path: Path | None = _key(
        optional(PATH),
        "",
        "The CA certificates in PEM that the broker's certificate is checked with. Without them there is no TLS, and "
        "only a broker on this machine is allowed.",
    )
    client_cert: Path | None = _key(optional(PATH), "", "The client certificate in PEM, with its chain.")
    client_key: Path | None = _key(optional(PATH), "", "Its private key in PEM, without a passphrase.")
    username: str = _key(TEXT, "", "The user name, for a broker that asks for a password.")
    password_file: Path | None = _key(optional(PATH), "", "A file whose first line is the password.")
    topic_prefix: str = _key(TOPIC, "pikachu", "What all topics begin with.")
    # With QoS 0, a revocation could be lost without anybody noticing.
    qos: int = _key(number(1, 2), "1", "The quality of service: 1 or 2.")
    max_crl_size: int = _key(
        size(1024, 1 << 28),
        "256K",
        "Larger CRLs are not published themselves, but their address and hash. [CA] public_url has to be set for that.",
    )
