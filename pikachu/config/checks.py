"""Checks across settings: combinations that are required or mutually exclusive."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import urlsplit

from pikachu.config.configuration import Configuration
from pikachu.config.ldap_section import is_loopback
from pikachu.config.sections import ISSUER_NAMES
from pikachu.config.setting_choices import SMTPSecurity
from pikachu.core.errors import ConfigError


class Report:
    """Builds error messages: one line with the file, the section, the key, the problem and its fix.

    :ivar unset: unset environment variables that ``${NAME}`` refers to, by section and key (lower case).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unset: dict[tuple[str, str], list[str]] = {}

    def error(self, section: str, key: str, text: str) -> ConfigError:
        """Return the error for a key."""
        return ConfigError(f"{self.path}: [{section}] {key}: {text}")

    def missing(self, section: str, key: str, why: str, fix: str) -> ConfigError:
        """Return the error for a required setting that is empty."""
        variables = self.unset.get((section, key.lower()))
        if variables:
            return self.error(
                section, key, f"the environment variable {variables[0]} is not set, but {why}; set it, or {fix}"
            )
        return self.error(section, key, f"not set, but {why}; {fix}")


def check(configuration: Configuration, report: Report) -> None:
    """Reject settings that contradict each other.

    :raises ConfigError: for the first contradiction.
    """
    _secret_key(configuration, report)
    _ports(configuration, report)
    _proxies(configuration, report)
    _tls(configuration, report)
    _token(configuration, report)
    _issuers(configuration, report)
    _vault(configuration, report)
    _ldap(configuration, report)
    _oidc(configuration, report)
    _mqtt(configuration, report)
    _smtp(configuration, report)
    _crl(configuration, report)
    _chat(configuration, report)


def _secret_key(configuration: Configuration, report: Report) -> None:
    default = configuration.default
    if default.secret_key is not None and default.secret_key_file is not None:
        raise report.error("DEFAULT", "SECRET_KEY", "set together with secret_key_file; remove one of the two")
    if default.secret_key is None and default.secret_key_file is None:
        raise report.missing(
            "DEFAULT",
            "SECRET_KEY",
            "stored keys are encrypted with it",
            "set secret_key_file = var/pki/secret_key and run `pikachu init`, which makes one",
        )


def _ports(configuration: Configuration, report: Report) -> None:
    for first, second in itertools.combinations(configuration.listeners, 2):
        if first.conflicts(second):
            raise ConfigError(
                f"{report.path}: {second.setting}: port {second.port} is also that of {first.setting}; "
                "give one of them another port, or 0 to turn it off"
            )


def _proxies(configuration: Configuration, report: Report) -> None:
    if configuration.default.trusted_proxies:
        return
    settings = {
        ("DEFAULT", "proxy_protocol"): configuration.default.proxy_protocol,
        ("SCEP", "proxy_protocol"): configuration.scep.proxy_protocol,
        ("HTTPS", "proxy_protocol"): configuration.https.proxy_protocol,
        ("HTTPS", "client_certificate_header"): configuration.https.client_certificate_header,
        ("TRUSTED_HTTPS", "proxy_protocol"): configuration.trusted_https.proxy_protocol,
    }
    for (section, key), value in settings.items():
        if value:
            fix = f"name the proxy there, or remove {key}"
            raise report.missing("DEFAULT", "trusted_proxies", f"[{section}] {key} is", fix)


def _tls(configuration: Configuration, report: Report) -> None:
    https, trusted = configuration.https, configuration.trusted_https
    own = {"trusted_ssl_cert": trusted.trusted_ssl_cert, "trusted_ssl_key": trusted.trusted_ssl_key}
    shared = bool(trusted.trusted_port and not any(own.values()) and (https.ssl_cert or https.ssl_key))
    if https.port or shared:
        why = f"HTTPS listens on port {https.port}" if https.port else "trusted HTTPS uses it"
        for key, path in (("ssl_cert", https.ssl_cert), ("ssl_key", https.ssl_key)):
            if path is None:
                suggestion = "var/pki/https.crt" if key == "ssl_cert" else "var/pki/https.key"
                fix = f"set {key} = {suggestion} and run `pikachu init`, which makes it, or set port = 0"
                raise report.missing("HTTPS", key, why, fix)
    if trusted.trusted_port and not shared:
        for key, path in own.items():
            if path is None:
                why = f"trusted HTTPS listens on port {trusted.trusted_port}"
                fix = "name a file and run `pikachu init`, which makes it, or set trusted_port = 0"
                raise report.missing("TRUSTED_HTTPS", key, why, fix)


def _token(configuration: Configuration, report: Report) -> None:
    token = configuration.pkcs11
    if token.module is None:
        for name in token.key_labels:
            raise report.missing(
                "PKCS11", "module", f"key_label_{name} is set", "name the library of the module, or remove the label"
            )
        return
    if not token.key_labels:
        raise report.missing(
            "PKCS11", "key_label_ec", "module is set", "name the key of an issuing CA, or remove module"
        )
    if not token.token:
        raise report.missing("PKCS11", "token", "module is set", "name the token's label, or remove module")
    if token.pin is None and token.pin_file is None:
        raise report.missing("PKCS11", "pin", "module is set", "set pin or pin_file, or remove module")
    if token.pin is not None and token.pin_file is not None:
        raise report.error("PKCS11", "pin", "set together with pin_file; remove one of the two")


def _issuers(configuration: Configuration, report: Report) -> None:
    ca, labels = configuration.ca, configuration.pkcs11.key_labels
    uses_vault = configuration.vault.enabled
    issuers = ca.issuers
    for name in ISSUER_NAMES:
        files, upper = issuers.get(name), name.upper()
        chain_set = ("CA", f"chain_file_path_{name}") in configuration.given
        remove = f"or empty the other paths of {upper}"
        if (files is None and (chain_set or name in labels)) or (files is not None and files.certificate is None):
            if not uses_vault:
                raise report.missing(
                    "CA",
                    f"SUBCA_CERT_PATH_{upper}",
                    f"this issuing CA is configured in part ({upper})",
                    f"name it, {remove}",
                )
        elif files is not None and files.key is None and name not in labels and not uses_vault:
            raise report.missing("CA", f"SUBCA_KEY_PATH_{upper}", f"SUBCA_CERT_PATH_{upper} is", f"name it, {remove}")
    if ca.mode.issuer not in issuers and not uses_vault:
        others = [name.upper() for name in issuers]
        fix = f"set mode = {others[0]}" if others else "start from the shipped config.ini and run `pikachu init`"
        paths = f"SUBCA_CERT_PATH_{ca.mode} and SUBCA_KEY_PATH_{ca.mode}"
        raise report.error(
            "CA",
            "mode",
            f"{ca.mode} is the default issuing CA, but {paths} are not set; name its files, or {fix}",
        )
    if ca.root_key_path is not None and ca.root_cert_path is None:
        raise report.missing(
            "CA", "ROOT_CERT_PATH", "ROOT_KEY_PATH is", "name the root's certificate, or remove the key"
        )


def _vault(configuration: Configuration, report: Report) -> None:
    vault = configuration.vault
    if not vault.enabled:
        return
    if vault.credentials_file is not None and (vault.role_id is not None or vault.secret_id is not None):
        raise report.error(
            "VAULT", "credentials_file", "set together with role_id or secret_id; remove it, or those two"
        )
    is_in_file = vault.credentials_file is not None
    for key, value in (
        ("address", vault.address),
        ("role_id", is_in_file or vault.role_id),
        ("secret_id", is_in_file or vault.secret_id),
    ):
        if value is None:
            raise report.missing("VAULT", key, "the section is enabled", "name it, or set enabled = false")


def _oidc(configuration: Configuration, report: Report) -> None:
    oidc = configuration.oidc
    if not oidc.enabled:
        return
    for key, value in (("issuer", oidc.issuer), ("client_id", oidc.client_id)):
        if not value:
            raise report.missing("OIDC", key, "the section is enabled", "name it, or set enabled = false")


def _ldap(configuration: Configuration, report: Report) -> None:
    ldap = configuration.ldap
    if not ldap.enabled:
        return
    for key, value in (
        ("LDAP_HOST", ldap.ldap_host),
        ("BASE_DN", ldap.base_dn),
        ("ADMIN_DN", ldap.admin_dn),
        ("ADMIN_PASSWORD", ldap.admin_password),
    ):
        if not value:
            raise report.missing("LDAP", key, "the section is enabled", "name it, or set enabled = false")


def _mqtt(configuration: Configuration, report: Report) -> None:
    mqtt = configuration.mqtt
    if not mqtt.enabled:
        return
    if not mqtt.host:
        raise report.missing("MQTT", "host", "the section is enabled", "name the broker, or set enabled = false")
    if (mqtt.client_cert is None) != (mqtt.client_key is None):
        lacking, other = ("client_key", "client_cert") if mqtt.client_key is None else ("client_cert", "client_key")
        raise report.missing("MQTT", lacking, f"{other} is", f"name it, or remove {other}")
    if mqtt.password_file is not None and not mqtt.username:
        raise report.missing("MQTT", "username", "password_file is", "name the user, or remove password_file")
    if mqtt.ca_cert_path is not None:
        return
    if not is_loopback(mqtt.host):
        raise report.missing(
            "MQTT", "ca_cert_path", "the broker is on another machine", "name the file, such as var/pki/root.crt"
        )
    if mqtt.client_cert is not None:
        raise report.missing("MQTT", "ca_cert_path", "client_cert is", "name the file, or remove client_cert")


def _smtp(configuration: Configuration, report: Report) -> None:
    smtp = configuration.smtp
    if not smtp.enabled:
        return
    for key, value in (("host", smtp.host), ("sender", smtp.sender)):
        if not value:
            raise report.missing("SMTP", key, "the section is enabled", "name it, or set enabled = false")
    if (smtp.password_file is None) != (not smtp.username):
        lacking, other = ("username", "password_file") if not smtp.username else ("password_file", "username")
        raise report.missing("SMTP", lacking, f"{other} is", f"name it, or remove {other}")
    if smtp.security is SMTPSecurity.NONE and not is_loopback(smtp.host):
        raise report.error(
            "SMTP", "security", "none is only for a mail server on this machine; use starttls or tls for others"
        )


def _crl(configuration: Configuration, report: Report) -> None:
    crl, public_url = configuration.crl, configuration.ca.public_url
    if crl.delta is not None and crl.delta >= crl.crl_validity:
        raise report.error("CRL", "delta", "not shorter than crl_validity; a delta CRL follows a full one that is good")
    if crl.shards is not None and public_url is None:
        fix = "set the address that certificates name, or remove shards"
        raise report.missing("CA", "public_url", "[CRL] shards is set", fix)
    if crl.delta_in_certificates and crl.delta is None:
        raise report.missing("CRL", "delta", "delta_in_certificates is set", "set it, or remove delta_in_certificates")
    if crl.delta_in_certificates and public_url is None:
        fix = "set the address that certificates name, or remove delta_in_certificates"
        raise report.missing("CA", "public_url", "[CRL] delta_in_certificates is set", fix)


def _chat(configuration: Configuration, report: Report) -> None:
    chat = configuration.chat
    if not chat.composes:
        return
    if not chat.model:
        raise report.missing("CHAT", "model", "endpoint is", "name the model, or set enabled = false")
    url = urlsplit(chat.endpoint or "")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise report.error(
            "CHAT",
            "endpoint",
            "http is only for a model on this machine, since questions are not for others; use https",
        )
    if not (chat.endpoint or "").isascii():
        raise report.error("CHAT", "endpoint", "expected a URL in ASCII; write an international name as xn--…")
