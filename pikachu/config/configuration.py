"""The complete ``config.ini``, typed and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pikachu.config.audit_section import AuditSection
from pikachu.config.chat_section import ChatSection
from pikachu.config.housekeeping_section import HousekeepingSection
from pikachu.config.ldap_section import LDAPSection
from pikachu.config.limits_section import LimitsSection
from pikachu.config.mqtt_section import MQTTSection
from pikachu.config.notices_section import NoticesSection, SMTPSection
from pikachu.config.oidc_section import OIDCSection
from pikachu.config.ra_section import RASection
from pikachu.config.sections import (
    CASection,
    CRLSection,
    DatabaseSection,
    DefaultSection,
    ESTSection,
    HTTPSSection,
    LoggingSection,
    OCSPSection,
    PathsSection,
    PKCS11Section,
    SCEPSection,
    TrustedHTTPSSection,
    VaultSection,
)
from pikachu.config.setting_types import Secret
from pikachu.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that the server opens.

    :param name: ``http``, ``scep``, ``https`` or ``trusted_https``.
    :param setting: the section and key, for messages, such as ``[HTTPS] port``.
    :param addresses: the addresses to bind; none for all.
    :param proxy_protocol: whether trusted proxies begin each connection with a PROXY header.
    """

    name: str
    setting: str
    addresses: tuple[str, ...]
    port: int
    proxy_protocol: bool = False

    def conflicts(self, other: Listener) -> bool:
        """Return whether both would bind the same port of the same address."""
        own, others = set(self.addresses), set(other.addresses)
        wildcards = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        return self.port == other.port and (not own or not others or bool((own | others) & wildcards or own & others))


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The active configuration.

    :param path: the file, absolute.
    :param warnings: one line for each unknown section or key, with the nearest known name.
    :param given: section and key (lower case) of each setting in the file.
    """

    path: Path
    default: DefaultSection
    logging: LoggingSection
    ca: CASection
    vault: VaultSection
    ldap: LDAPSection
    oidc: OIDCSection
    ra: RASection
    scep: SCEPSection
    https: HTTPSSection
    trusted_https: TrustedHTTPSSection
    paths: PathsSection
    database: DatabaseSection
    est: ESTSection
    ocsp: OCSPSection
    crl: CRLSection
    audit: AuditSection
    housekeeping: HousekeepingSection
    pkcs11: PKCS11Section
    limits: LimitsSection
    mqtt: MQTTSection
    smtp: SMTPSection
    notices: NoticesSection
    chat: ChatSection
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
        default, scep, https, trusted = self.default, self.scep, self.https, self.trusted_https
        settings = (
            ("http", "[DEFAULT] http_port", default.http_port, default.http_listen, default.proxy_protocol),
            ("scep", "[SCEP] http_port", scep.http_port if scep.enabled else 0, scep.listen, scep.proxy_protocol),
            ("https", "[HTTPS] port", https.port, https.listen, https.proxy_protocol),
            (
                "trusted_https",
                "[TRUSTED_HTTPS] trusted_port",
                trusted.trusted_port,
                trusted.listen,
                trusted.proxy_protocol,
            ),
        )
        return tuple(
            Listener(name, setting, own or default.listen, port, proxied)
            for name, setting, port, own, proxied in settings
            if port
        )

    @property
    def advice(self) -> tuple[str, ...]:
        """One line for each setting that should be set; every start logs them as warnings, and pages show them."""
        if self.ca.public_url is not None:
            return ()
        return (
            "[CA] public_url is not set: certificates name neither a CRL nor an OCSP responder, so most clients can't "
            "notice a revocation. Set it to the plain HTTP address that devices reach, such as http://ca.example.org.",
        )

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
            (
                self.vault.enabled and self.vault.sends_plaintext,
                "[VAULT] address: http is not encrypted, so anyone in between can read Vault's token; use https",
            ),
            (
                self.ldap.enabled and self.ldap.sends_plaintext,
                "[LDAP] use_tls = false: anyone between here and the directory can read passwords",
            ),
            (
                self.oidc.enabled and self.oidc.sends_plaintext,
                "[OIDC] issuer: http is not encrypted, so anyone in between can sign in as anybody; use https",
            ),
            (
                any(network.prefixlen == 0 for network in self.default.trusted_proxies),
                "[DEFAULT] trusted_proxies trusts every address: anyone can claim any address and client certificate",
            ),
        )
        return tuple(text for applies, text in settings if applies)
