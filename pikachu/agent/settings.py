"""The configuration of ``pikachu crl-agent``: the section ``[AGENT]`` of a file of its own."""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

from pikachu.config.ldap_section import is_loopback
from pikachu.config.loading import load_section
from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_types import (
    PATH,
    REMOTE_PORT,
    TEXT,
    TOPIC,
    URL,
    Kind,
    choice,
    duration,
    optional,
    size,
)
from pikachu.core.errors import ConfigError
from pikachu.messaging.mqtt.client import BrokerSettings

_EXAMPLE: Final = "start from deploy/mosquitto/agent.ini"


class Sessions(StrEnum):
    """How sessions of revoked clients are ended."""

    KEEP = "keep"
    DYNAMIC_SECURITY = "dynamic-security"


def _urls(text: str, folder: Path) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in text.split(",") if url.strip())
    for url in urls:
        URL.parse(url, folder)
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("expected addresses such as http://ca.example.com/crl/ec.pem, separated by commas")
    return urls


def _command(text: str, _folder: Path) -> tuple[str, ...]:
    return tuple(shlex.split(text))


_URLS: Final[Kind[tuple[str, ...]]] = Kind(_urls, ", ".join)
_COMMAND: Final[Kind[tuple[str, ...]]] = Kind(_command, shlex.join)


@dataclass(frozen=True, slots=True)
class AgentSection(Section):
    """``[AGENT]``."""

    NAME: ClassVar[str] = "AGENT"
    ABOUT: ClassVar[str] = "Keeps the CRL file of an MQTT broker up to date."
    UPPER: ClassVar[frozenset[str]] = frozenset()

    ca_certificates: Path | None = _key(
        optional(PATH), "", "The certificates in PEM of the issuing CAs whose CRLs are installed, of all generations."
    )
    crl_file: Path | None = _key(optional(PATH), "", "The broker's CRL file, such as Mosquitto's crlfile.")
    state_file: Path | None = _key(optional(PATH), "", "The state in JSON. Default: crl_file with .json added.")
    crl_urls: tuple[str, ...] = _key(
        _URLS, "", "Where CRLs are downloaded, such as http://ca.example.com/crl/ec.pem; separated by commas."
    )
    interval: int = _key(
        duration("s", minimum=1, maximum=7 * 86400),
        "15m",
        "The time between downloads; with MQTT, how long nothing may arrive until one. A bare number is seconds.",
    )
    timeout: int = _key(duration("s", maximum=300), "20s", "How long a download may take.")
    max_crl_size: int = _key(size(1024, 1 << 30), "64M", "Larger CRLs are refused.")
    mqtt_host: str = _key(TEXT, "", "The broker on which revocations are published; empty: only downloads.")
    mqtt_port: int = _key(REMOTE_PORT, "8883", "Its port.")
    mqtt_ca_cert: Path | None = _key(
        optional(PATH), "", "The CA certificates for its certificate; without them there is no TLS."
    )
    mqtt_client_cert: Path | None = _key(optional(PATH), "", "The client certificate in PEM, with its chain.")
    mqtt_client_key: Path | None = _key(optional(PATH), "", "Its private key in PEM, without a passphrase.")
    mqtt_username: str = _key(TEXT, "", "The user name, for a broker that asks for a password.")
    mqtt_password_file: Path | None = _key(optional(PATH), "", "A file whose first line is the password.")
    topic_prefix: str = _key(TOPIC, "pikachu", "[MQTT] topic_prefix of the CA.")
    pid_file: Path | None = _key(optional(PATH), "", "The broker's PID file; the broker gets SIGHUP after each change.")
    broker_process: str = _key(
        TEXT, "mosquitto", "The process name that the PID must belong to: another one could be ended by the signal."
    )
    command: tuple[str, ...] = _key(
        _COMMAND, "", "A command that reloads the broker, such as `systemctl reload mosquitto`; no shell is used."
    )
    sessions: Sessions = _key(
        choice(Sessions),
        "keep",
        "keep, or dynamic-security: whether sessions of revoked clients are ended by Mosquitto's plug-in of that name.",
    )
    api_url: str | None = _key(
        optional(URL), "", "The CA's HTTPS address, which is asked for the names of revoked certificates, for sessions."
    )
    api_token_file: Path | None = _key(optional(PATH), "", "A file with an API token of a user who sees certificates.")
    api_ca_cert: Path | None = _key(optional(PATH), "", "The CA certificates in PEM for its certificate.")
    metrics_file: Path | None = _key(
        optional(PATH), "", "Metrics for Prometheus' node exporter, a file of its textfile collector."
    )
    warn_before: int = _key(
        duration("s"), "24h", "How long before its end a CRL without a newer one is reported. A bare number is seconds."
    )


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """A checked configuration.

    :param section: the values as written.
    :param broker: the broker on which revocations are published, or None.
    """

    section: AgentSection
    ca_certificates: Path
    crl_file: Path
    state_file: Path
    broker: BrokerSettings | None


def load_settings(path: Path, environ: Mapping[str, str]) -> tuple[AgentSettings, list[str]]:
    """Read and check a configuration file; return it with one line for each unknown key.

    :raises ConfigError: one line with the file, the key, the problem and its fix.
    """
    section, warnings = load_section(path, AgentSection, environ, _EXAMPLE)

    def wrong(key: str, text: str) -> ConfigError:
        return ConfigError(f"{path}: [AGENT] {key}: {text}")

    if section.ca_certificates is None:
        raise wrong("ca_certificates", "not set; name the file with the certificates of the issuing CAs")
    if section.crl_file is None:
        raise wrong("crl_file", "not set; name the CRL file of the broker")
    # It is replaced by renaming: a broker that names the link's target would never see another CRL.
    if section.crl_file.is_symlink():
        raise wrong("crl_file", "a symbolic link; name the file itself, here and in the broker's configuration")
    if not section.crl_urls and not section.mqtt_host:
        raise wrong("crl_urls", "neither this nor mqtt_host is set, so that no CRL would ever come; set one of them")
    if section.pid_file is not None and section.command:
        raise wrong("command", "set together with pid_file; remove one of the two")
    broker = None
    if section.mqtt_host:
        if section.mqtt_ca_cert is None and not is_loopback(section.mqtt_host):
            raise wrong("mqtt_ca_cert", "not set, but the broker is on another machine; name the CA certificates")
        if (section.mqtt_client_cert is None) != (section.mqtt_client_key is None):
            raise wrong("mqtt_client_key", "set mqtt_client_cert and mqtt_client_key, or neither")
        broker = BrokerSettings(
            host=section.mqtt_host,
            port=section.mqtt_port,
            ca_cert_path=section.mqtt_ca_cert,
            client_cert=section.mqtt_client_cert,
            client_key=section.mqtt_client_key,
            username=section.mqtt_username,
            password_file=section.mqtt_password_file,
        )
    if section.sessions is Sessions.DYNAMIC_SECURITY:
        for key, value in (
            ("mqtt_host", section.mqtt_host),
            ("api_url", section.api_url),
            ("api_token_file", section.api_token_file),
        ):
            if not value:
                raise wrong(key, "not set, but sessions = dynamic-security needs it; set it, or sessions = keep")
        if not str(section.api_url).startswith("https://"):
            raise wrong("api_url", "expected an https:// address: the token must not be readable on its way")
    state = section.state_file or section.crl_file.with_name(f"{section.crl_file.name}.json")
    return AgentSettings(section, section.ca_certificates, section.crl_file, state, broker), warnings
