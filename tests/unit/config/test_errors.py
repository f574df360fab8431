"""Errors in ``config.ini``: one line with file, section, key, error and remedy (RUN-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pikachu.config.loading import load
from pikachu.core.errors import ConfigError
from tests.unit.config.conftest import Load
from tests.unit.config.samples import OLD_LAYOUT, SECRET_KEY, with_changes

Change = tuple[str, str, str | None]

VAULT: tuple[Change, ...] = (
    ("VAULT", "enabled", "true"),
    ("VAULT", "address", "https://vault:8200"),
    ("VAULT", "role_id", "r"),
    ("VAULT", "secret_id", "s"),
)
LDAP: tuple[Change, ...] = (
    ("LDAP", "enabled", "true"),
    ("LDAP", "LDAP_HOST", "h"),
    ("LDAP", "BASE_DN", "dc=x"),
    ("LDAP", "ADMIN_DN", "cn=a"),
    ("LDAP", "ADMIN_PASSWORD", "p"),
)
SMTP: tuple[Change, ...] = (
    ("SMTP", "enabled", "true"),
    ("SMTP", "host", "mail.example.com"),
    ("SMTP", "sender", "pikachu@example.com"),
)
MQTT: tuple[Change, ...] = (
    ("MQTT", "enabled", "true"),
    ("MQTT", "host", "broker.example.com"),
    ("MQTT", "ca_cert_path", "root.crt"),
)
TOKEN: tuple[Change, ...] = (
    ("PKCS11", "module", "/m.so"),
    ("PKCS11", "token", "t"),
    ("PKCS11", "pin", "1234"),
    ("PKCS11", "key_label_ec", "k"),
)

# (changes to a good configuration, section and key that the line names, something else that it says)
WRONG: list[tuple[tuple[Change, ...], str, str]] = [
    ((("HTTPS", "port", "https"),), "[HTTPS] port", "expected a port"),
    ((("HTTPS", "port", "65536"),), "[HTTPS] port", "'65536'"),
    ((("HTTPS", "port", "-1"),), "[HTTPS] port", "0 to turn the listener off"),
    ((("HTTPS", "port", "٤٤٣"),), "[HTTPS] port", "expected a port"),
    ((("DEFAULT", "http_port", "80 ; the usual one"),), "[DEFAULT] http_port", "expected a port"),
    ((("SCEP", "http_port", "1e3"),), "[SCEP] http_port", "expected a port"),
    ((("TRUSTED_HTTPS", "trusted_port", "99999999999999"),), "[TRUSTED_HTTPS] trusted_port", "expected a port"),
    ((("TRUSTED_HTTPS", "trusted_port", "443"),), "[TRUSTED_HTTPS] trusted_port", "[HTTPS] port"),
    ((("DEFAULT", "http_port", "8090"),), "[SCEP] http_port", "[DEFAULT] http_port"),
    ((("HTTPS", "ssl_cert", None),), "[HTTPS] ssl_cert", "pikachu init"),
    ((("HTTPS", "ssl_key", ""),), "[HTTPS] ssl_key", "pikachu init"),
    ((("HTTPS", "port", "0"), ("HTTPS", "ssl_key", None)), "[HTTPS] ssl_key", "trusted HTTPS uses it"),
    (
        (("HTTPS", "port", "0"), ("HTTPS", "ssl_cert", None), ("HTTPS", "ssl_key", None)),
        "[TRUSTED_HTTPS] trusted_ssl_cert",
        "trusted_port = 0",
    ),
    ((("TRUSTED_HTTPS", "trusted_ssl_cert", "t.crt"),), "[TRUSTED_HTTPS] trusted_ssl_key", "pikachu init"),
    ((("HTTPS", "request_client_certificate", "maybe"),), "[HTTPS] request_client_certificate", "true or false"),
    ((("DEFAULT", "secret_key_file", None),), "[DEFAULT] SECRET_KEY", "pikachu init"),
    (
        (("DEFAULT", "secret_key_file", "${NO_FILE}"), ("DEFAULT", "SECRET_KEY", "${NO_KEY}")),
        "[DEFAULT] SECRET_KEY",
        "NO_KEY",
    ),
    ((("DEFAULT", "SECRET_KEY", SECRET_KEY),), "[DEFAULT] SECRET_KEY", "secret_key_file"),
    ((("DEFAULT", "SECRET_KEY", "changeme"),), "[DEFAULT] SECRET_KEY", "placeholder"),
    ((("DEFAULT", "SECRET_KEY", "CHANGE-ME-please-please"),), "[DEFAULT] SECRET_KEY", "placeholder"),
    ((("DEFAULT", "SECRET_KEY", "your_super_secret_key_here"),), "[DEFAULT] SECRET_KEY", "placeholder"),
    ((("DEFAULT", "SECRET_KEY", "9b1c77ab"),), "[DEFAULT] SECRET_KEY", "16 characters"),
    ((("DEFAULT", "SECRET_KEY", "ab" * 16),), "[DEFAULT] SECRET_KEY", "too simple"),
    ((("DEFAULT", "listen", "localhost"),), "[DEFAULT] listen", "127.0.0.1"),
    ((("HTTPS", "listen", "127.0.0.1,"),), "[HTTPS] listen", "127.0.0.1"),
    ((("DEFAULT", "trusted_proxies", "proxy.example.com"),), "[DEFAULT] trusted_proxies", "10.0.0.0/8"),
    ((("DEFAULT", "trusted_proxies", "10.0.0.1/8"),), "[DEFAULT] trusted_proxies", "10.0.0.0/8"),
    ((("DEFAULT", "proxy_protocol", "true"),), "[DEFAULT] trusted_proxies", "[DEFAULT] proxy_protocol is"),
    ((("SCEP", "proxy_protocol", "true"),), "[DEFAULT] trusted_proxies", "[SCEP] proxy_protocol is"),
    ((("HTTPS", "proxy_protocol", "v2"),), "[HTTPS] proxy_protocol", "true or false"),
    (
        (("HTTPS", "client_certificate_header", "Client-Cert"),),
        "[DEFAULT] trusted_proxies",
        "[HTTPS] client_certificate_header is",
    ),
    ((("HTTPS", "client_certificate_header", "two words"),), "[HTTPS] client_certificate_header", "Client-Cert"),
    ((("HTTPS", "external_url", "http://ca.example.com"),), "[HTTPS] external_url", "https://"),
    ((("HTTPS", "external_url", "https://ca.example.com/pki"),), "[HTTPS] external_url", "without path"),
    ((("SCEP", "http_port", "80"), ("SCEP", "listen", "::1")), "[SCEP] http_port", "[DEFAULT] http_port"),
    ((("DEFAULT", "max_idle_time", "soon"),), "[DEFAULT] max_idle_time", "20m"),
    ((("DEFAULT", "max_idle_time", "0"),), "[DEFAULT] max_idle_time", "from 1s"),
    ((("DEFAULT", "max_idle_time", "999999999d"),), "[DEFAULT] max_idle_time", "to 3660d"),
    ((("DEFAULT", "password_min_length", "0"),), "[DEFAULT] password_min_length", "from 1 to 128"),
    ((("DEFAULT", "body_limit", "12"),), "[DEFAULT] body_limit", "from 4K"),
    ((("DEFAULT", "auto_approve", "si"),), "[DEFAULT] auto_approve", "'si'"),
    ((("LOGGING", "log_level", "LOUD"),), "[LOGGING] log_level", "TRACE or DEBUG"),
    ((("LOGGING", "log_rotate_size", "ten"),), "[LOGGING] log_rotate_size", "'ten'"),
    ((("CA", "mode", "DSA"),), "[CA] mode", "EC or RSA or MLDSA"),
    ((("CA", "mode", "RSA"),), "[CA] mode", "set mode = EC"),
    ((("CA", "SUBCA_KEY_PATH_EC", None), ("CA", "SUBCA_CERT_PATH_EC", None)), "[CA] mode", "pikachu init"),
    ((("CA", "SUBCA_KEY_PATH_EC", None),), "[CA] SUBCA_KEY_PATH_EC", "SUBCA_CERT_PATH_EC"),
    ((("CA", "SUBCA_CERT_PATH_EC", "${NO_CERT}"),), "[CA] SUBCA_CERT_PATH_EC", "NO_CERT"),
    ((("CA", "SUBCA_KEY_PATH_RSA", "r.key"),), "[CA] SUBCA_CERT_PATH_RSA", "name it"),
    ((("CA", "CHAIN_FILE_PATH_MLDSA", "m.pem"),), "[CA] SUBCA_CERT_PATH_MLDSA", "in part"),
    ((("CA", "ROOT_KEY_PATH", "root.key"),), "[CA] ROOT_CERT_PATH", "ROOT_KEY_PATH"),
    ((("CA", "key_permissions", "ignore"),), "[CA] key_permissions", "refuse or warn"),
    ((("CA", "public_url", "ca.example.org"),), "[CA] public_url", "http://"),
    ((("CA", "public_url", "http://[::1"),), "[CA] public_url", "expected a URL"),
    ((("CA", "public_url", "http://ca.example.org:99999"),), "[CA] public_url", "expected a URL"),
    ((("VAULT", "address", "ftp://vault"),), "[VAULT] address", "https://host"),
    ((*VAULT, ("VAULT", "address", "")), "[VAULT] address", "enabled = false"),
    ((*VAULT, ("VAULT", "role_id", "")), "[VAULT] role_id", "enabled = false"),
    ((*VAULT, ("VAULT", "credentials_file", "f")), "[VAULT] credentials_file", "role_id"),
    ((*VAULT, ("VAULT", "secret_id", "${NO_ID}")), "[VAULT] secret_id", "environment variable NO_ID"),
    ((("VAULT", "signer", "kv"),), "[VAULT] signer", "pki or transit"),
    ((("VAULT", "timeout", "forever"),), "[VAULT] timeout", "duration"),
    ((*LDAP, ("LDAP", "LDAP_HOST", "")), "[LDAP] LDAP_HOST", "enabled = false"),
    ((*LDAP, ("LDAP", "BASE_DN", "")), "[LDAP] BASE_DN", "enabled = false"),
    ((*LDAP, ("LDAP", "ADMIN_DN", "")), "[LDAP] ADMIN_DN", "enabled = false"),
    ((*LDAP, ("LDAP", "ADMIN_PASSWORD", "${NO_PW}")), "[LDAP] ADMIN_PASSWORD", "environment variable NO_PW"),
    ((("LDAP", "LDAP_HOST", "ldap://h:389"),), "[LDAP] LDAP_HOST", "LDAP_PORT"),
    ((("LDAP", "LDAP_PORT", "0"),), "[LDAP] LDAP_PORT", "from 1 to 65535"),
    ((("LDAP", "use_tls", "tls"),), "[LDAP] use_tls", "starttls"),
    ((("LDAP", "user_filter", "(uid=*)"),), "[LDAP] user_filter", "{username}"),
    ((("SCEP", "ra", "sometimes"),), "[SCEP] ra", "auto or never or always"),
    ((("SCEP", "challenge_password_validity", "1 year"),), "[SCEP] challenge_password_validity", "'1 year'"),
    ((("SCEP", "body_limit", "2M"),), "[SCEP] body_limit", "to 1M"),
    ((("EST", "base64_wrap", "76"),), "[EST] base64_wrap", "auto or always or never"),
    ((("EST", "anonymous_enroll", "tru"),), "[EST] anonymous_enroll", "'tru'"),
    ((("OCSP", "ocsp_validity", "30d"),), "[OCSP] ocsp_validity", "to 10d"),
    ((("OCSP", "foreign_issuer", "good"),), "[OCSP] foreign_issuer", "unauthorized or unknown"),
    ((("OCSP", "max_certificates", "0"),), "[OCSP] max_certificates", "from 1"),
    ((("CRL", "crl_delay", "-0.5"),), "[CRL] crl_delay", "0.5"),
    ((("DATABASE", "url", "mysql://u:hidden@h/n"),), "[DATABASE] url", "postgresql://"),
    ((*TOKEN, ("PKCS11", "module", "")), "[PKCS11] module", "key_label_ec"),
    ((*TOKEN, ("PKCS11", "key_label_ec", "")), "[PKCS11] key_label_ec", "remove module"),
    ((*TOKEN, ("PKCS11", "token", "")), "[PKCS11] token", "remove module"),
    ((*TOKEN, ("PKCS11", "pin", "${NO_PIN}")), "[PKCS11] pin", "environment variable NO_PIN"),
    ((*TOKEN, ("PKCS11", "pin_file", "pin")), "[PKCS11] pin", "pin_file"),
    ((*TOKEN, ("PKCS11", "key_label_rsa", "r")), "[CA] SUBCA_CERT_PATH_RSA", "in part"),
    ((("MQTT", "enabled", "true"),), "[MQTT] host", "enabled = false"),
    ((("SMTP", "enabled", "true"),), "[SMTP] host", "enabled = false"),
    ((*SMTP, ("SMTP", "sender", "")), "[SMTP] sender", "enabled = false"),
    ((*SMTP, ("SMTP", "sender", "a@b\tBcc: c@d")), "[SMTP] sender", "pikachu@example.com"),
    ((*SMTP, ("SMTP", "username", "pikachu")), "[SMTP] password_file", "remove username"),
    ((*SMTP, ("SMTP", "password_file", "hidden")), "[SMTP] username", "remove password_file"),
    ((*SMTP, ("SMTP", "security", "none")), "[SMTP] security", "this machine"),
    ((("NOTICES", "interval", "1s"),), "[NOTICES] interval", "from 1m"),
    ((("NOTICES", "allow_private", "10.0.0.1/8"),), "[NOTICES] allow_private", "networks"),
    ((("NOTICES", "webhook_key_id", "a b"),), "[NOTICES] webhook_key_id", "letters"),
    ((*MQTT, ("MQTT", "ca_cert_path", "")), "[MQTT] ca_cert_path", "another machine"),
    ((*MQTT, ("MQTT", "client_cert", "c.crt")), "[MQTT] client_key", "remove client_cert"),
    ((*MQTT, ("MQTT", "client_key", "c.key")), "[MQTT] client_cert", "remove client_key"),
    ((*MQTT, ("MQTT", "password_file", "hidden")), "[MQTT] username", "remove password_file"),
    ((*MQTT, ("MQTT", "port", "0")), "[MQTT] port", "from 1 to 65535"),
    ((*MQTT, ("MQTT", "qos", "0")), "[MQTT] qos", "from 1 to 2"),
    ((*MQTT, ("MQTT", "max_crl_size", "10")), "[MQTT] max_crl_size", "from 1K"),
    *(
        ((*MQTT, ("MQTT", "topic_prefix", prefix)), "[MQTT] topic_prefix", "without + and #")
        for prefix in ("pki/#", "+", "$SYS/pki", "/pki", "pki/", "a//b", "x" * 129)
    ),
    (
        (
            ("MQTT", "enabled", "true"),
            ("MQTT", "host", "127.0.0.1"),
            ("MQTT", "client_cert", "c"),
            ("MQTT", "client_key", "c"),
        ),
        "[MQTT] ca_cert_path",
        "client_cert is",
    ),
    ((("HTTPS", "port", "1\n  SSL_KEY = x"),), "[HTTPS] port", "indented"),
    ((("HTTPS", "SSL_CERT", "x"),), "[HTTPS] ssl_cert", "second time"),
    ((("CHAT", "model", "${BROKEN}"),), "[CHAT] model", "control character"),
    ((("CHAT", "endpoint", "https://llm.example.com/v1"),), "[CHAT] model", "enabled = false"),
    ((("CHAT", "endpoint", "http://llm.example.com/v1"), ("CHAT", "model", "small")), "[CHAT] endpoint", "use https"),
    ((("CHAT", "endpoint", "https://llmé.example/v1"), ("CHAT", "model", "small")), "[CHAT] endpoint", "xn--"),
    ((("CHAT", "endpoint", "https://u:hidden@llm.example.com"),), "[CHAT] endpoint", "without query or password"),
    ((("LDAP", "ADMIN_PASSWORD", "hidden${BROKEN}"),), "[LDAP] ADMIN_PASSWORD", "control character"),
]


@pytest.mark.parametrize(("changes", "where", "says"), WRONG, ids=[f"{where}-{says}" for _, where, says in WRONG])
def test_wrong_configuration(
    load_text: Load, tmp_path: Path, changes: tuple[Change, ...], where: str, says: str
) -> None:
    """RUN-4: one line that names file, section and key, and no secret."""
    with pytest.raises(ConfigError) as raised:
        load_text(with_changes(*changes), {"BROKEN": "a\x00b"})
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{tmp_path / 'config.ini'}: {where}: ")
    assert says in message
    assert "hidden" not in message


@pytest.mark.parametrize("changes", [VAULT, LDAP, TOKEN])
def test_what_the_table_starts_from_is_right(load_text: Load, changes: tuple[Change, ...]) -> None:
    assert load_text(with_changes(*changes)).warnings == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http_port = 80\n", "line 1 stands before any section"),
        ("[DEFAULT]\nhttp_port 80 hidden\n", "line 2 is neither"),
        ("[DEFAULT]\n[CA]\n[DEFAULT]\n", "[DEFAULT] begins a second time in line 3"),
        ("[DEFAULT]\n= hidden\n", "line 2 is neither"),
        ("[DEFAULT]\nSECRET_KEY = hidden\x00\n", "line 2 holds a control character"),
        (b"[DEFAULT]\n# \xe9\n", "line 2 is not UTF-8"),
        ("\ufeff[DEFAULT]\n".encode("utf-16"), "line 1 is not UTF-8"),
        ("# \n" * 100_000, "larger than"),
        ("", "[DEFAULT] SECRET_KEY"),
    ],
)
def test_no_configuration_file(load_text: Load, text: str | bytes, says: str) -> None:
    """The line's number, never its text: it may hold a password."""
    with pytest.raises(ConfigError) as raised:
        load_text(text)
    assert says in str(raised.value)
    assert "config.ini: " in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_missing_file(tmp_path: Path) -> None:
    """RUN-4: it says what to do."""
    with pytest.raises(ConfigError, match=r"none\.ini: there is no such .*--config FILE.*`pikachu init`"):
        load(tmp_path / "none.ini", {})


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, {})


def test_password_in_a_url_is_not_shown(load_text: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load_text(with_changes(("VAULT", "address", "https://u:hidden@vault")))
    assert "hidden" not in str(raised.value)


def test_secrets_have_no_representation(load_text: Load) -> None:
    """RUN-7: a configuration in a log or a traceback reveals no secret."""
    config = load_text(
        OLD_LAYOUT + "[CHAT]\napi_key = hidden\n[DATABASE]\nurl = postgresql://u:hidden@h/n\n[PKCS11]\npin =\n"
    )
    shown = f"{config!r} {config}"
    assert "hidden" not in shown
    assert SECRET_KEY not in shown
    assert "100%sure" not in shown
    assert "<secret>" in shown
