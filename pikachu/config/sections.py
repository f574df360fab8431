"""Declarations of all sections and keys of ``config.ini``: name, kind, default and comment (CFG-1).

Loading, suggestions of names, masking and the shipped file are derived from them.
A field has the name of its key, in lower case.
"""

# Each field is declared by a call, so that the type checker compares its kind with its type.
# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

from pikachu.config.audit_section import AuditSection
from pikachu.config.chat_section import ChatSection
from pikachu.config.housekeeping_section import HousekeepingSection
from pikachu.config.ldap_section import LDAPSection, is_loopback
from pikachu.config.limits_section import LimitsSection
from pikachu.config.mqtt_section import MQTTSection
from pikachu.config.notices_section import NoticesSection, SMTPSection
from pikachu.config.oidc_section import OIDCSection
from pikachu.config.ra_section import RASection
from pikachu.config.schema import Section
from pikachu.config.schema import setting as _key
from pikachu.config.setting_choices import (
    Base64Wrap,
    ForeignIssuer,
    KeyPermissions,
    LogLevel,
    Mode,
    RequireSecondFactor,
    SCEPRegistrationAuthority,
    VaultSigner,
)
from pikachu.config.setting_types import (
    ADDRESSES,
    BOOLEAN,
    DATABASE_URL,
    EXTERNAL_URL,
    FRACTION,
    HEADER_NAME,
    NETWORKS,
    PATH,
    PORT,
    SECRET,
    SECRET_KEY,
    TEXT,
    URL,
    Secret,
    choice,
    duration,
    number,
    optional,
    size,
)

ISSUER_NAMES: Final = ("ec", "rsa", "mldsa")
"""Issuing CAs as paths, API and CLI name them (INT-3)."""


@dataclass(frozen=True, slots=True)
class DefaultSection(Section):
    """``[DEFAULT]``: a plain section, nothing is inherited from it."""

    NAME: ClassVar[str] = "DEFAULT"
    ABOUT: ClassVar[str] = "The server as a whole. Other sections inherit nothing from here."
    UPPER: ClassVar[frozenset[str]] = frozenset({"secret_key"})

    secret_key: Secret | None = _key(
        optional(SECRET_KEY), "", "The secret that protects stored keys and sessions; better kept in secret_key_file."
    )
    secret_key_file: Path | None = _key(
        optional(PATH), "", "A file with that secret, mode 0600. `pikachu init` makes it."
    )
    listen: tuple[str, ...] = _key(
        ADDRESSES, "", "The addresses that all listeners bind, separated by commas; empty means all."
    )
    http_port: int = _key(
        PORT, "80", "Plain HTTP: OCSP, SCEP, CRLs, CA certificates, health. 0 turns it off, as for every port."
    )
    http_listen: tuple[str, ...] = _key(ADDRESSES, "", "The addresses of that listener; empty: those of listen.")
    proxy_protocol: bool = _key(
        BOOLEAN, "false", "Whether trusted proxies begin each connection to that listener with a PROXY header (v1, v2)."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _key(
        NETWORKS,
        "",
        "Addresses and networks of proxies whose X-Forwarded-For, PROXY header and client_certificate_header count.",
    )
    max_idle_time: int = _key(
        duration("m"),
        "20m",
        "A person is signed out after this time without a request: 20m, 10h, 4d; a bare number is minutes.",
    )
    require_second_factor: RequireSecondFactor = _key(
        choice(RequireSecondFactor),
        "none",
        "The accounts that have to sign in with a second factor: none, admins or all. Their passwords alone do not "
        "authenticate EST clients either.",
    )
    shutdown_timeout: int = _key(
        duration("s", minimum=0),
        "30s",
        "How long requests in flight may take when the server is stopped; a bare number is seconds.",
    )
    body_limit: int = _key(
        size(4096, 1 << 30),
        "1M",
        "Largest request body of pages and REST. EST, SCEP and OCSP have limits of their own.",
    )
    min_free_space: int = _key(
        size(0, 1 << 40),
        "64M",
        "Free space that database, CRLs and log need on their disks; with less, /readyz says so. 0 turns that off.",
    )
    auto_approve: bool = _key(
        BOOLEAN, "false", "Whether accounts that people register are active without an admin's approval."
    )
    password_min_length: int = _key(number(1, 128), "6", "Fewest characters of a password.")


@dataclass(frozen=True, slots=True)
class LoggingSection(Section):
    """``[LOGGING]``."""

    NAME: ClassVar[str] = "LOGGING"
    ABOUT: ClassVar[str] = "The log. It also goes to standard output."

    log_level: LogLevel = _key(
        choice(LogLevel, {"warn": LogLevel.WARNING}),
        "INFO",
        "TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    )
    log_file: Path | None = _key(optional(PATH), "", "The log file; empty means standard output only.")
    log_json: bool = _key(BOOLEAN, "false", "Whether each line is a JSON object.")
    log_rotate_size: int = _key(size(0, 1 << 40), "10M", "A log file of this size is put aside; 0 lets it grow.")
    log_rotate_count: int = _key(number(0, 1000), "10", "How many log files are kept aside.")


@dataclass(frozen=True, slots=True)
class IssuerFiles:
    """The files of one issuing CA.

    :param name: ``ec``, ``rsa`` or ``mldsa``.
    :param key: None where the key is in Vault or in a token.
    :param certificate: None only where Vault has it.
    :param passphrase_file: its first line is the passphrase of the key.
    """

    name: str
    key: Path | None
    certificate: Path | None
    chain: Path | None
    passphrase_file: Path | None


def _issuer_path(what: str, ca: str) -> Path | None:
    return _key(optional(PATH), "", f"The {what} of the {ca} issuing CA.")


def _passphrase_file(ca: str) -> Path | None:
    return _key(optional(PATH), "", f"A file whose first line is the passphrase of the {ca} key; empty: not encrypted.")


@dataclass(frozen=True, slots=True)
class CASection(Section):
    """``[CA]``."""

    NAME: ClassVar[str] = "CA"
    ABOUT: ClassVar[str] = "The issuing CAs. Each one whose files are named is in service; an empty path means none."
    UPPER: ClassVar[frozenset[str]] = frozenset(
        {f"subca_{what}_{ca}" for ca in ISSUER_NAMES for what in ("key_path", "cert_path", "key_passphrase_file")}
        | {f"chain_file_path_{ca}" for ca in ISSUER_NAMES}
        | {"root_cert_path", "root_key_path", "root_key_passphrase_file"}
    )

    mode: Mode = _key(choice(Mode), "EC", "The issuing CA of new certificates: EC, RSA or MLDSA.")
    subca_key_path_ec: Path | None = _issuer_path("private key", "EC")
    subca_cert_path_ec: Path | None = _issuer_path("certificate", "EC")
    chain_file_path_ec: Path | None = _issuer_path("chain (certificate and root, PEM)", "EC")
    subca_key_passphrase_file_ec: Path | None = _passphrase_file("EC")
    subca_key_path_rsa: Path | None = _issuer_path("private key", "RSA")
    subca_cert_path_rsa: Path | None = _issuer_path("certificate", "RSA")
    chain_file_path_rsa: Path | None = _issuer_path("chain (certificate and root, PEM)", "RSA")
    subca_key_passphrase_file_rsa: Path | None = _passphrase_file("RSA")
    subca_key_path_mldsa: Path | None = _issuer_path("private key", "ML-DSA")
    subca_cert_path_mldsa: Path | None = _issuer_path("certificate", "ML-DSA")
    chain_file_path_mldsa: Path | None = _issuer_path("chain (certificate and root, PEM)", "ML-DSA")
    subca_key_passphrase_file_mldsa: Path | None = _passphrase_file("ML-DSA")
    root_cert_path: Path | None = _key(optional(PATH), "", "The root's certificate.")
    root_key_path: Path | None = _key(
        optional(PATH), "", "The root's private key; leave it empty where the root is kept offline."
    )
    root_key_passphrase_file: Path | None = _passphrase_file("root's")
    key_permissions: KeyPermissions = _key(
        choice(KeyPermissions), "refuse", "A private key file that others can read: refuse to start, or warn."
    )
    public_url: str | None = _key(
        optional(URL),
        "",
        "The plain HTTP address that devices reach, such as http://ca.example.org. Certificates name it for CRL and "
        "OCSP; without it, most clients can't notice a revocation.",
    )

    @property
    def issuers(self) -> Mapping[str, IssuerFiles]:
        """The issuing CAs with a key or certificate file, by name (INT-3)."""
        files: dict[str, IssuerFiles] = {}
        for name in ISSUER_NAMES:
            key: Path | None = getattr(self, f"subca_key_path_{name}")
            certificate: Path | None = getattr(self, f"subca_cert_path_{name}")
            if key is not None or certificate is not None:
                chain: Path | None = getattr(self, f"chain_file_path_{name}")
                passphrase: Path | None = getattr(self, f"subca_key_passphrase_file_{name}")
                files[name] = IssuerFiles(name, key, certificate, chain, passphrase)
        return files


NO_TRANSIT_KEY: Final = "none"


@dataclass(frozen=True, slots=True)
class VaultSection(Section):
    """``[VAULT]``."""

    NAME: ClassVar[str] = "VAULT"
    ABOUT: ClassVar[str] = "Signing with HashiCorp Vault or OpenBao instead of key files."

    enabled: bool = _key(BOOLEAN, "false", "Whether Vault signs.")
    address: str | None = _key(optional(URL), "", "Its address, such as https://vault.example.org:8200.")
    role_id: Secret | None = _key(optional(SECRET), "", "The AppRole's role id; ${NAME} takes an environment variable.")
    secret_id: Secret | None = _key(
        optional(SECRET), "", "The AppRole's secret id; ${NAME} takes an environment variable."
    )
    credentials_file: Path | None = _key(
        optional(PATH),
        "",
        "Or a file with the role id in its first line and the secret id in its second, mode 0600, which `pikachu vault "
        "credentials` writes; it is read again at each login.",
    )
    signer: VaultSigner = _key(
        choice(VaultSigner),
        "pki",
        "pki: Vault's PKI engine makes the certificates; transit: Vault only signs what is built here.",
    )
    fallback: bool = _key(
        BOOLEAN, "false", "Whether the key files of [CA], where they exist, sign while Vault can't be reached."
    )
    pki_rsa_path: str = _key(TEXT, "pki_rsa", "The mount of the PKI engine with the RSA issuing CA, or none.")
    pki_ec_path: str = _key(TEXT, "pki_ec", "The mount of the PKI engine with the EC issuing CA, or none.")
    transit_path: str = _key(TEXT, "transit", "The mount of the transit engine.")
    transit_key_rsa: str = _key(
        TEXT, "pikachu-rsa", "The transit key of the RSA issuing CA; none: its key stays in its file."
    )
    transit_key_ec: str = _key(
        TEXT, "pikachu-ec", "The transit key of the EC issuing CA; none: its key stays in its file."
    )
    timeout: int = _key(
        duration("s", maximum=3600),
        "10s",
        "How long one attempt may take; a call takes at most twice as long. A bare number is seconds.",
    )
    retry_attempts: int = _key(number(0, 100), "3", "How often a call that fails is tried again.")
    verify_ssl: bool = _key(BOOLEAN, "true", "Whether Vault's TLS certificate is verified.")
    ca_cert_path: Path | None = _key(
        optional(PATH), "", "The CA that Vault's TLS certificate is verified with; empty: the system's."
    )
    role_scep: str = _key(TEXT, "", "The PKI engine's role for SCEP; empty: role_default.")
    role_est: str = _key(TEXT, "", "The PKI engine's role for EST; empty: role_default.")
    role_default: str = _key(TEXT, "", "The PKI engine's role for everything else; empty: none.")

    @property
    def sends_plaintext(self) -> bool:
        """Whether credentials leave this machine without TLS."""
        url = urlsplit(self.address or "")
        return url.scheme == "http" and not is_loopback(url.hostname or "")

    @property
    def transit_keys(self) -> dict[str, str]:
        """The transit keys of the issuing CAs by their names; with the PKI engine they sign CRLs and OCSP answers."""
        return self.named_transit_keys if self.enabled else {}

    @property
    def named_transit_keys(self) -> dict[str, str]:
        """The transit keys that are named, whether they are in use or not."""
        names = {"rsa": self.transit_key_rsa, "ec": self.transit_key_ec}
        return {issuer: name for issuer, name in names.items() if name != NO_TRANSIT_KEY}

    @property
    def pki_mounts(self) -> dict[str, str]:
        """The mounts of the PKI engine by the names of issuing CAs; none unless it makes certificates."""
        return self.named_pki_mounts if self.enabled else {}

    @property
    def named_pki_mounts(self) -> dict[str, str]:
        """The mounts of the PKI engine that are named, whether they are in use or not; none with another signer."""
        if self.signer is not VaultSigner.PKI:
            return {}
        mounts = {"rsa": self.pki_rsa_path.strip("/"), "ec": self.pki_ec_path.strip("/")}
        return {issuer: mount for issuer, mount in mounts.items() if mount != NO_TRANSIT_KEY}


@dataclass(frozen=True, slots=True)
class SCEPSection(Section):
    """``[SCEP]``."""

    NAME: ClassVar[str] = "SCEP"
    ABOUT: ClassVar[str] = "Enrollment of devices by SCEP (RFC 8894)."

    enabled: bool = _key(BOOLEAN, "true", "Whether SCEP is served, on any listener.")
    http_port: int = _key(PORT, "8090", "The listener that serves SCEP only.")
    listen: tuple[str, ...] = _key(ADDRESSES, "", "Its addresses; empty: those of [DEFAULT] listen.")
    proxy_protocol: bool = _key(
        BOOLEAN, "false", "Whether trusted_proxies begin each connection with a PROXY header (v1, v2)."
    )
    serial_file: Path | None = _key(
        optional(PATH), "", "Accepted for older files and not used: serials come from the database."
    )
    dump_dir: Path | None = _key(
        optional(PATH), "", "A folder where raw requests and answers are kept; empty: nowhere."
    )
    challenge_password_enabled: bool = _key(
        BOOLEAN, "true", "Whether a first enrollment needs a challenge password. false lets anyone enroll."
    )
    challenge_password_validity: int = _key(
        duration("m"), "60m", "How long a challenge password is good: 2m, 60m, 4d; a bare number is minutes."
    )
    ra: SCEPRegistrationAuthority = _key(
        choice(SCEPRegistrationAuthority),
        "auto",
        "An RSA certificate of the server's own signs and decrypts: auto (where the CA's key can't), never or always.",
    )
    allow_sha1_3des: bool = _key(BOOLEAN, "false", "Whether SHA-1 and Triple-DES are accepted from old devices.")
    legacy: bool = _key(
        BOOLEAN, "false", "Whether single DES, MD5 and SHA-1 requests are accepted too. They protect nothing: avoid."
    )
    body_limit: int = _key(size(4096, 1 << 20), "64K", "Largest request.")


@dataclass(frozen=True, slots=True)
class HTTPSSection(Section):
    """``[HTTPS]``."""

    NAME: ClassVar[str] = "HTTPS"
    ABOUT: ClassVar[str] = "The listener for people and devices: pages, REST, EST, OCSP, downloads."

    ssl_cert: Path | None = _key(optional(PATH), "", "Its certificate with the chain, PEM. `pikachu init` makes one.")
    ssl_key: Path | None = _key(optional(PATH), "", "Its private key, PEM.")
    key_permissions: KeyPermissions = _key(
        choice(KeyPermissions),
        "warn",
        "A private key file of the HTTPS listeners that every account can read: refuse to start, or warn.",
    )
    port: int = _key(PORT, "443", "Its port.")
    listen: tuple[str, ...] = _key(ADDRESSES, "", "Its addresses; empty: those of [DEFAULT] listen.")
    proxy_protocol: bool = _key(
        BOOLEAN, "false", "Whether trusted_proxies begin each connection with a PROXY header (v1, v2)."
    )
    external_url: str | None = _key(
        optional(EXTERNAL_URL),
        "",
        "The address by which browsers and devices reach it, for redirects and commands; empty: as they name it.",
    )
    client_certificate_header: str = _key(
        HEADER_NAME,
        "",
        "The header in which trusted_proxies hand on a client's certificate: Client-Cert has the form of RFC 9440, any "
        "other name URL-escaped PEM.",
    )
    request_client_certificate: bool = _key(
        BOOLEAN,
        "false",
        "Whether clients are asked for a certificate here too, for EST; they need not have one.",
    )


@dataclass(frozen=True, slots=True)
class TrustedHTTPSSection(Section):
    """``[TRUSTED_HTTPS]``."""

    NAME: ClassVar[str] = "TRUSTED_HTTPS"
    ABOUT: ClassVar[str] = "The same for holders of a client certificate, which is required here."

    trusted_ssl_cert: Path | None = _key(
        optional(PATH), "", "Its certificate with the chain, PEM; empty: that of [HTTPS]."
    )
    trusted_ssl_key: Path | None = _key(optional(PATH), "", "Its private key, PEM; empty: that of [HTTPS].")
    trusted_port: int = _key(PORT, "4443", "Its port.")
    listen: tuple[str, ...] = _key(ADDRESSES, "", "Its addresses; empty: those of [DEFAULT] listen.")
    proxy_protocol: bool = _key(
        BOOLEAN, "false", "Whether trusted_proxies begin each connection with a PROXY header (v1, v2)."
    )
    client_ca: Path | None = _key(
        optional(PATH),
        "",
        "A file or folder of further CAs whose client certificates are trusted, such as manufacturers'.",
    )


@dataclass(frozen=True, slots=True)
class PathsSection(Section):
    """``[PATHS]``."""

    NAME: ClassVar[str] = "PATHS"
    ABOUT: ClassVar[str] = "Files and folders. Relative names, here and everywhere, are relative to this file."

    crl_path: Path = _key(
        PATH,
        "var/crl/ca.crl",
        "The CRLs of all the default CA's generations, PEM; other CAs' are beside it, with -NAME before the suffix.",
    )
    crl_dir: Path | None = _key(optional(PATH), "", "The folder of all other CRLs; empty: that of crl_path.")
    server_ext_cfg: Path = _key(PATH, "var/pki/server_ext.cnf", "The extensions of the default policy.")
    validity_conf: Path = _key(PATH, "var/pki/validity.conf", "The validity of the default policy, in days.")
    db_path: Path = _key(PATH, "var/db/pikachu.sqlite", "The SQLite database, unless [DATABASE] url is set.")
    x509_templates: Path | None = _key(
        optional(PATH), "", "A folder of your own *.cnf.j2 templates; one named like a shipped one wins."
    )


@dataclass(frozen=True, slots=True)
class DatabaseSection(Section):
    """``[DATABASE]``."""

    NAME: ClassVar[str] = "DATABASE"
    ABOUT: ClassVar[str] = "PostgreSQL, when one machine is not enough."

    url: Secret | None = _key(
        optional(DATABASE_URL), "", "postgresql://user:${DB_PASSWORD}@host/name; empty: [PATHS] db_path."
    )
    timeout: int = _key(
        duration("s", 1, 600),
        "10s",
        "How long the database may take to accept a connection, to give a lock, or to answer.",
    )


@dataclass(frozen=True, slots=True)
class ESTSection(Section):
    """``[EST]``."""

    NAME: ClassVar[str] = "EST"
    ABOUT: ClassVar[str] = "Enrollment of devices by EST (RFC 7030), on the HTTPS listeners."

    enabled: bool = _key(BOOLEAN, "true", "Whether EST is served.")
    anonymous_enroll: bool = _key(BOOLEAN, "false", "Whether anyone may enroll without credentials.")
    require_linking: bool = _key(
        BOOLEAN,
        "false",
        "Whether a request must be bound to its TLS connection (RFC 7030, 3.5). Not behind a TLS proxy.",
    )
    base64_wrap: Base64Wrap = _key(
        choice(Base64Wrap, {"64": Base64Wrap.ALWAYS}),
        "auto",
        "Lines of 64 in answers: auto (for clients that need them), always or never.",
    )
    retry_after: int = _key(
        duration("s", maximum=86400),
        "60s",
        "When a client that waits for an approval shall ask again; a bare number is seconds.",
    )
    body_limit: int = _key(size(4096, 1 << 20), "64K", "Largest request.")


@dataclass(frozen=True, slots=True)
class OCSPSection(Section):
    """``[OCSP]``."""

    NAME: ClassVar[str] = "OCSP"
    ABOUT: ClassVar[str] = "Status of single certificates (RFC 6960)."

    enabled: bool = _key(BOOLEAN, "true", "Whether OCSP is served.")
    # Firefox rejects responses that are valid for longer than ten days.
    ocsp_validity: int = _key(
        duration("d", minimum=300, maximum=10 * 86400),
        "7d",
        "How long an answer is good: 5m to 10d; a bare number is days.",
    )
    ocsp_delegated: bool = _key(
        BOOLEAN,
        "true",
        "Whether a certificate for this purpose, which renews itself, signs the answers; else the CA does.",
    )
    foreign_issuer: ForeignIssuer = _key(
        choice(ForeignIssuer), "unauthorized", "The answer for certificates of other CAs: unauthorized or unknown."
    )
    cache_size: int = _key(size(0, 1 << 36), "64M", "Memory for answers that are signed already; 0: none.")
    body_limit: int = _key(size(1024, 1 << 20), "10K", "Largest request.")
    max_certificates: int = _key(number(1, 1000), "50", "Most certificates in one request.")


@dataclass(frozen=True, slots=True)
class CRLSection(Section):
    """``[CRL]``."""

    NAME: ClassVar[str] = "CRL"
    ABOUT: ClassVar[str] = "Lists of revoked certificates (RFC 5280)."

    crl_validity: int = _key(
        duration("d", minimum=300), "7d", "How long a CRL is good; a new one comes in time. A bare number is days."
    )
    crl_delay: float = _key(
        FRACTION,
        "0.5s",
        "Seconds that a revocation waits for others, so that one CRL serves them all; may be a fraction.",
    )
    delta: int | None = _key(
        optional(duration("h", minimum=300, maximum=30 * 86400)),
        "",
        "How long a delta CRL is good, such as 1h; then full CRLs are made that often at most. Empty: no delta CRLs.",
    )
    delta_in_certificates: bool = _key(
        BOOLEAN, "false", "Whether certificates, too, and not only full CRLs, name the delta CRL (freshestCRL)."
    )
    shards: int | None = _key(
        optional(number(2, 1000)),
        "",
        "The number of CRLs among which new certificates are divided, each naming its own; empty: one for all.",
    )


@dataclass(frozen=True, slots=True)
class PKCS11Section(Section):
    """``[PKCS11]``."""

    NAME: ClassVar[str] = "PKCS11"
    ABOUT: ClassVar[str] = "Issuing keys in a hardware security module. An issuing CA with a label here signs there."

    module: Path | None = _key(optional(PATH), "", "The PKCS#11 library of the module, an absolute path.")
    token: str = _key(TEXT, "", "The label of the token.")
    pin: Secret | None = _key(optional(SECRET), "", "Its PIN; ${NAME} takes an environment variable.")
    pin_file: Path | None = _key(optional(PATH), "", "Or a file whose first line is the PIN.")
    key_label_ec: str = _key(TEXT, "", "The label of the EC issuing CA's key.")
    key_label_rsa: str = _key(TEXT, "", "The label of the RSA issuing CA's key.")
    key_label_mldsa: str = _key(TEXT, "", "The label of the ML-DSA issuing CA's key.")

    @property
    def key_labels(self) -> Mapping[str, str]:
        """The labels of the keys in the token, by issuing CA."""
        labels = {name: str(getattr(self, f"key_label_{name}")) for name in ISSUER_NAMES}
        return {name: label for name, label in labels.items() if label}


SECTIONS: Final[tuple[type[Section], ...]] = (
    DefaultSection,
    LoggingSection,
    CASection,
    HTTPSSection,
    TrustedHTTPSSection,
    PathsSection,
    DatabaseSection,
    RASection,
    ESTSection,
    SCEPSection,
    OCSPSection,
    CRLSection,
    AuditSection,
    HousekeepingSection,
    LDAPSection,
    OIDCSection,
    VaultSection,
    PKCS11Section,
    MQTTSection,
    SMTPSection,
    NoticesSection,
    LimitsSection,
    ChatSection,
)
