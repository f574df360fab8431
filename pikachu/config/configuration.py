"""The complete ``config.ini``, typed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pikachu.config.kinds import Secret
from pikachu.config.sections import (
    CASection,
    CRLSection,
    DatabaseSection,
    DefaultSection,
    ESTSection,
    HTTPSSection,
    LDAPSection,
    LimitsSection,
    LoggingSection,
    OCSPSection,
    PathsSection,
    PKCS11Section,
    SCEPSection,
    TrustedHTTPSSection,
    VaultSection,
)
from pikachu.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that the server opens.

    :param name: ``http``, ``scep``, ``https`` or ``trusted_https``.
    :param setting: the section and key, for messages, such as ``[HTTPS] port``.
    :param address: the address to bind; empty for all.
    """

    name: str
    setting: str
    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The active configuration.

    :param path: the file, absolute.
    :param warnings: one line for each unknown section or key, with the nearest known name.
    :param given: section and key (lower case) of each setting in the file.
    :param chat: ``[CHAT]`` as written, keys in lower case.
    :param mqtt: ``[MQTT]`` likewise.
    """

    path: Path
    default: DefaultSection
    logging: LoggingSection
    ca: CASection
    vault: VaultSection
    ldap: LDAPSection
    scep: SCEPSection
    https: HTTPSSection
    trusted_https: TrustedHTTPSSection
    paths: PathsSection
    database: DatabaseSection
    est: ESTSection
    ocsp: OCSPSection
    crl: CRLSection
    pkcs11: PKCS11Section
    limits: LimitsSection
    # These sections may contain an API key or a password.
    chat: Mapping[str, str] = field(repr=False)
    mqtt: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...]
    given: frozenset[tuple[str, str]] = field(repr=False)

    @property
    def secret_key_source(self) -> Secret | Path:
        """The secret key, or the file that contains it (start-up checks that its mode is 0600).

        :raises ConfigError: neither is set, which loading rules out.
        """
        source = self.default.secret_key or self.default.secret_key_file
        if source is None:
            raise ConfigError(f"{self.path}: [DEFAULT] secret_key_file: not set; name a file and run `pikachu init`")
        return source

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The enabled listeners."""
        ports = (
            ("http", "[DEFAULT] http_port", self.default.http_port),
            ("scep", "[SCEP] http_port", self.scep.http_port if self.scep.enabled else 0),
            ("https", "[HTTPS] port", self.https.port),
            ("trusted_https", "[TRUSTED_HTTPS] trusted_port", self.trusted_https.trusted_port),
        )
        return tuple(Listener(name, setting, self.default.listen, port) for name, setting, port in ports if port)

    @property
    def risks(self) -> tuple[str, ...]:
        """One line for each setting that weakens the CA; every start logs them as warnings."""
        settings = (
            (
                self.scep.enabled and not self.scep.challenge_password_enabled,
                "[SCEP] challenge_password_enabled = false: anyone who reaches SCEP can enroll",
            ),
            (
                self.est.enabled and self.est.anonymous_enroll,
                "[EST] anonymous_enroll = true: anyone who reaches EST can enroll",
            ),
            (
                self.scep.enabled and self.scep.legacy,
                "[SCEP] legacy = true: single DES and MD5 protect neither challenge passwords nor requests",
            ),
            (
                self.vault.enabled and not self.vault.verify_ssl,
                "[VAULT] verify_ssl = false: anyone between here and Vault can read its token",
            ),
        )
        return tuple(text for applies, text in settings if applies)
