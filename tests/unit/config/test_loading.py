"""The values of a valid ``config.ini`` (CFG-1 to CFG-10, RUN-1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pikachu.config.loading import load, parse
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.config.setting_choices import Base64Wrap, LDAPSecurity, LogLevel, Mode, VaultSigner
from pikachu.config.setting_types import Secret
from pikachu.core.errors import ConfigError
from tests.unit.config.conftest import Load
from tests.unit.config.samples import OLD_LAYOUT, SECRET_KEY, with_changes


def test_file_of_the_older_layout(load_text: Load, tmp_path: Path) -> None:
    """CFG-1 to CFG-9: it loads unchanged, without a warning."""
    config = load_text(OLD_LAYOUT)
    assert config.warnings == ()
    assert config.path == tmp_path / "config.ini"
    assert config.default.http_port == 80
    assert config.default.max_idle_time == 36000
    assert config.secret_key_source == Secret(SECRET_KEY)
    assert config.logging.log_level is LogLevel.INFO
    assert config.logging.log_file == tmp_path / "logs/server.log"
    assert config.ca.mode is Mode.RSA
    assert config.ca.mode.issuer == "rsa"
    assert set(config.ca.issuers) == {"ec", "rsa"}
    assert config.ca.issuers["ec"].key == tmp_path / "pki/subca-ec.key"
    assert config.ca.issuers["rsa"].certificate == Path("/srv/pki/subca-rsa.crt")
    assert config.ca.issuers["rsa"].chain == tmp_path / "pki/chain-rsa.crt"
    assert config.ca.root_key_path is None
    assert not config.vault.enabled
    assert config.vault.signer is VaultSigner.PKI
    assert config.vault.timeout == 30
    assert config.vault.role_id is None
    assert config.ldap.admin_password == Secret("100%sure")
    assert config.scep.challenge_password_validity == 120
    assert config.scep.dump_dir == tmp_path / "scep/dump"
    assert config.trusted_https.trusted_ssl_cert == tmp_path / "pki/trusted.crt"
    assert config.paths.db_path == tmp_path / "db/certs.db"
    assert config.paths.crl_dir == tmp_path / "crl"
    assert config.risks == ()


def test_defaults(load_text: Load) -> None:
    """CFG-10: the defaults of settings missing from the file."""
    config = load_text(with_changes())
    assert [(one.name, one.port) for one in config.listeners] == [
        ("http", 80),
        ("scep", 8090),
        ("https", 443),
        ("trusted_https", 4443),
    ]
    assert config.default.listen == ()
    assert config.default.max_idle_time == 1200
    assert config.default.shutdown_timeout == 30
    assert config.default.password_min_length == 6
    assert not config.default.auto_approve
    assert config.est.enabled
    assert not config.est.anonymous_enroll
    assert config.est.base64_wrap is Base64Wrap.AUTO
    assert (config.est.retry_after, config.est.body_limit) == (60, 65536)
    assert config.scep.challenge_password_enabled
    assert config.scep.challenge_password_validity == 3600
    assert not config.scep.allow_sha1_3des
    assert not config.scep.legacy
    assert (config.ocsp.ocsp_validity, config.ocsp.body_limit, config.ocsp.max_certificates) == (604800, 10240, 50)
    assert config.ocsp.ocsp_delegated
    assert config.crl.crl_validity == 604800
    assert config.crl.crl_delay == 0.5
    assert config.ca.key_permissions == "refuse"
    assert set(config.ca.issuers) == {"ec"}


def test_default_section_is_not_inherited(load_text: Load) -> None:
    """SCEP's http_port is 8090 though DEFAULT has one."""
    config = load_text(with_changes(("DEFAULT", "http_port", "8080"), ("SCEP", "enabled", "yes")))
    assert config.default.http_port == 8080
    assert config.scep.http_port == 8090
    assert config.warnings == ()


def test_keys_in_any_case(load_text: Load) -> None:
    """CFG-1: keys are case-insensitive."""
    text = with_changes().replace("ssl_cert", "SSL_Cert").replace("SUBCA_KEY_PATH_EC", "subca_key_path_ec")
    config = load_text(text)
    assert config.warnings == ()
    assert config.https.ssl_cert is not None


def test_percent_is_literal(load_text: Load) -> None:
    """configparser's interpolation is off."""
    password = "%(x)s%%;#=:"
    config = load_text(with_changes(("LDAP", "ADMIN_PASSWORD", password)))
    assert config.ldap.admin_password is not None
    assert config.ldap.admin_password.reveal() == password


def test_environment_variables(load_text: Load) -> None:
    """CFG-1: ``${NAME}``; one that is not set is empty, and other dollars are literal."""
    text = with_changes(
        ("HTTPS", "port", "${HTTPS_PORT}"),
        ("SCEP", "http_port", "${NOT_SET}"),
        ("LDAP", "ADMIN_DN", "cn=${WHO},$x ${1} ${"),
        ("LDAP", "ADMIN_PASSWORD", "${PASSWORD}"),
        ("VAULT", "secret_id", "${NOT_SET}"),
    )
    config = load_text(text, {"HTTPS_PORT": "8443", "WHO": "admin", "PASSWORD": "${WHO}%\n"})
    assert config.https.port == 8443
    assert config.scep.http_port == 8090
    assert config.ldap.admin_dn == "cn=admin,$x ${1} ${"
    assert config.ldap.admin_password == Secret("${WHO}%")
    assert config.vault.secret_id is None
    assert ("VAULT", "secret_id") not in config.given


def test_byte_order_mark_and_crlf(load_text: Load) -> None:
    config = load_text(b"\xef\xbb\xbf" + OLD_LAYOUT.replace("\n", "\r\n").encode())
    assert config.warnings == ()
    assert config.logging.log_file is not None
    assert config.logging.log_file.name == "server.log"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN-1: also when the file is named by a relative path."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/config.ini").write_text(with_changes(("DATABASE", "url", "sqlite:///db/x.sqlite?timeout=5")))
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/config.ini"), {})
    assert config.https.ssl_cert == tmp_path / "etc/https.crt"
    assert config.paths.db_path == tmp_path / "etc/var/db/pikachu.sqlite"
    assert config.secret_key_source == tmp_path / "etc/secret_key"
    assert config.database.url == Secret(f"sqlite:///{tmp_path}/etc/db/x.sqlite?timeout=5")


@pytest.mark.parametrize("url", ["sqlite:////abs/x", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg://u@h/n"])
def test_database_urls_that_stay(load_text: Load, url: str) -> None:
    """CFG-9."""
    assert load_text(with_changes(("DATABASE", "url", url))).database.url == Secret(url)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("10h", 36000), ("4d", 345600), ("2W", 1209600), ("15", 900)]
)
def test_durations(load_text: Load, text: str, seconds: int) -> None:
    """CFG-2: a bare number of max_idle_time is minutes."""
    assert load_text(with_changes(("DEFAULT", "max_idle_time", text))).default.max_idle_time == seconds


def test_values_in_other_spellings(load_text: Load) -> None:
    config = load_text(
        with_changes(
            ("EST", "base64_wrap", "64"),
            ("EST", "body_limit", "1m"),
            ("LOGGING", "log_level", "warn"),
            ("LOGGING", "log_json", "ON"),
            ("CRL", "crl_delay", "0"),
            ("CA", "public_url", "http://ca.example.org:8080/"),
            ("DEFAULT", "listen", "::1, 192.0.2.7"),
        )
    )
    assert config.est.base64_wrap is Base64Wrap.ALWAYS
    assert config.est.body_limit == 1 << 20
    assert config.logging.log_level is LogLevel.WARNING
    assert config.logging.log_json
    assert config.crl.crl_delay == 0
    assert config.ca.public_url == "http://ca.example.org:8080"
    assert {one.addresses for one in config.listeners} == {("::1", "192.0.2.7")}


def test_listeners_with_addresses_of_their_own(load_text: Load) -> None:
    """One port on two addresses is two places."""
    config = load_text(
        with_changes(
            ("DEFAULT", "listen", "127.0.0.1"),
            ("DEFAULT", "http_listen", "192.0.2.7, 2001:db8::7"),
            ("SCEP", "listen", "127.0.0.2"),
            ("SCEP", "http_port", "80"),
            ("HTTPS", "proxy_protocol", "true"),
            ("DEFAULT", "trusted_proxies", "10.0.0.0/8, 192.0.2.1, 2001:db8::/32"),
        )
    )
    assert {one.name: one.addresses for one in config.listeners} == {
        "http": ("192.0.2.7", "2001:db8::7"),
        "scep": ("127.0.0.2",),
        "https": ("127.0.0.1",),
        "trusted_https": ("127.0.0.1",),
    }
    assert [one.name for one in config.listeners if one.proxy_protocol] == ["https"]
    assert [str(network) for network in config.default.trusted_proxies] == [
        "10.0.0.0/8",
        "192.0.2.1/32",
        "2001:db8::/32",
    ]
    assert config.risks == ()


def test_trusting_everybody_is_a_risk(load_text: Load) -> None:
    config = load_text(with_changes(("DEFAULT", "trusted_proxies", "0.0.0.0/0")))
    assert any("trusted_proxies" in risk for risk in config.risks)


def test_listeners_that_are_off(load_text: Load) -> None:
    """RUN-2: port 0 turns a listener off, and then it needs no certificate."""
    text = with_changes(
        ("DEFAULT", "http_port", "0"),
        ("SCEP", "enabled", "false"),
        ("HTTPS", "port", "0"),
        ("HTTPS", "ssl_cert", None),
        ("HTTPS", "ssl_key", None),
        ("TRUSTED_HTTPS", "trusted_port", "0"),
    )
    assert load_text(text).listeners == ()


def test_ports_of_listeners_that_are_off_are_free(load_text: Load) -> None:
    text = with_changes(("SCEP", "enabled", "false"), ("SCEP", "http_port", "443"))
    assert [one.setting for one in load_text(text).listeners] == [
        "[DEFAULT] http_port",
        "[HTTPS] port",
        "[TRUSTED_HTTPS] trusted_port",
    ]


def test_trusted_https_uses_the_certificate_of_https(load_text: Load, tmp_path: Path) -> None:
    """CFG-8."""
    config = load_text(with_changes(("HTTPS", "port", "0")))
    assert config.trusted_https.trusted_ssl_cert == tmp_path / "https.crt"
    assert config.trusted_https.trusted_ssl_key == tmp_path / "https.key"


@pytest.mark.parametrize(
    ("host", "port", "tls", "expected"),
    [
        ("h", "389", "true", ("h", 389, LDAPSecurity.STARTTLS)),
        ("h", "636", "yes", ("h", 636, LDAPSecurity.LDAPS)),
        ("h", "", "ldaps", ("h", 636, LDAPSecurity.LDAPS)),
        ("ldaps://h/", "", "false", ("h", 636, LDAPSecurity.LDAPS)),
        ("ldap://h", "3890", "no", ("h", 3890, LDAPSecurity.FALSE)),
        ("[::1]", "", "starttls", ("::1", 389, LDAPSecurity.STARTTLS)),
        ("::1", "", "starttls", ("::1", 389, LDAPSecurity.STARTTLS)),
    ],
)
def test_directory(load_text: Load, host: str, port: str, tls: str, expected: tuple[str, int, LDAPSecurity]) -> None:
    """CFG-6: LDAPS and StartTLS, as a word or as part of the host."""
    text = with_changes(
        ("LDAP", "enabled", "true"),
        ("LDAP", "LDAP_HOST", host),
        ("LDAP", "LDAP_PORT", port),
        ("LDAP", "use_tls", tls),
        ("LDAP", "BASE_DN", "dc=x"),
        ("LDAP", "ADMIN_DN", "cn=admin"),
        ("LDAP", "ADMIN_PASSWORD", "p"),
    )
    ldap = load_text(text).ldap
    assert (*ldap.ldap_host, ldap.ldap_port, ldap.use_tls) == expected
    assert ldap.people_dn == "dc=x"


def test_issuers_without_key_files(load_text: Load) -> None:
    """VLT-1, HSM-1: no private key is on this machine."""
    vault = (
        ("VAULT", "enabled", "true"),
        ("VAULT", "address", "https://vault:8200"),
        ("VAULT", "role_id", "r"),
        ("VAULT", "secret_id", "s"),
        ("CA", "SUBCA_KEY_PATH_EC", None),
        ("CA", "mode", "RSA"),
    )
    issuer = load_text(with_changes(*vault)).ca.issuers["ec"]
    assert issuer.key is None
    assert issuer.certificate is not None
    token = (
        ("PKCS11", "module", "/usr/lib/softhsm/libsofthsm2.so"),
        ("PKCS11", "token", "pikachu"),
        ("PKCS11", "pin_file", "pin"),
        ("PKCS11", "key_label_ec", "ec"),
        ("CA", "SUBCA_KEY_PATH_EC", None),
    )
    config = load_text(with_changes(*token))
    assert config.pkcs11.key_labels == {"ec": "ec"}
    assert config.ca.issuers["ec"].key is None


def test_ml_dsa_issuer(load_text: Load) -> None:
    """Mode also takes MLDSA."""
    text = with_changes(
        ("CA", "mode", "mldsa"),
        ("CA", "SUBCA_KEY_PATH_MLDSA", "m.key"),
        ("CA", "SUBCA_CERT_PATH_MLDSA", "m.crt"),
    )
    config = load_text(text)
    assert config.ca.mode.issuer in config.ca.issuers
    assert set(config.ca.issuers) == {"ec", "mldsa"}


def test_unknown_names_are_warned_of(load_text: Load) -> None:
    """CFG-1: by name, with the nearest known one."""
    text = with_changes(
        ("HTTPS", "prot", "1"), ("HTTP", "port", "1"), ("DEFAULT", "crl_validity", "1d"), ("scep", "ra", "never")
    )
    first, second, third, fourth = load_text(text).warnings
    assert "[DEFAULT] crl_validity is not a known key" in first
    assert "[CRL] crl_validity" in first
    assert "[HTTPS] prot is not a known key" in second
    assert second.endswith("[HTTPS] port")
    assert "[HTTP] is not a known section" in third
    assert third.endswith("[HTTPS]")
    assert "[scep] is not a known section" in fourth
    assert fourth.endswith("[SCEP]")


def test_many_unknown_names(load_text: Load) -> None:
    text = with_changes(*(("HTTPS", f"unknown{number}", "x") for number in range(10_000)))
    warnings = load_text(text).warnings
    assert len(warnings) == 51
    assert "9950 more" in warnings[-1]


def test_a_language_model_composes_where_one_is_named(load_text: Load) -> None:
    """UI-11: without an endpoint, or switched off, the guide alone answers."""
    endpoint = ("CHAT", "endpoint", "http://localhost:8000/v1/")
    model = ("CHAT", "model", "small")
    assert not load_text(OLD_LAYOUT).chat.composes
    assert not load_text(with_changes(endpoint, ("CHAT", "enabled", "false"))).chat.composes
    chat = load_text(with_changes(endpoint, model)).chat
    assert chat.composes
    assert (chat.endpoint, chat.model, chat.timeout) == ("http://localhost:8000/v1", "small", 60)


def test_open_settings_are_named(load_text: Load) -> None:
    """A warning at each start."""
    text = with_changes(
        ("SCEP", "challenge_password_enabled", "false"), ("EST", "anonymous_enroll", "true"), ("SCEP", "legacy", "on")
    )
    risks = load_text(text).risks
    assert [risk.split(":")[0] for risk in risks] == [
        "[SCEP] challenge_password_enabled = false",
        "[EST] anonymous_enroll = true",
        "[SCEP] legacy = true",
    ]


@pytest.mark.parametrize(
    ("address", "verified", "expected"),
    [
        ("http://vault.example.com:8200", "true", ["[VAULT] address"]),
        ("https://vault.example.com:8200", "true", []),
        ("https://vault.example.com:8200", "false", ["[VAULT] verify_ssl = false"]),
        *((f"http://{host}:8200", "true", []) for host in ("127.0.0.1", "[::1]", "localhost")),
    ],
)
def test_plaintext_to_vault_is_named(load_text: Load, address: str, verified: str, expected: list[str]) -> None:
    """Its token and the secret id would be on the network; on this machine they are not."""
    section = {"enabled": "true", "signer": "transit", "address": address, "role_id": "r", "secret_id": "s"}
    text = with_changes(*(("VAULT", key, value) for key, value in {**section, "verify_ssl": verified}.items()))
    assert [risk.split(":")[0] for risk in load_text(text).risks] == expected


def test_sections_have_their_defaults_when_made_by_hand() -> None:
    for cls in SECTIONS:
        section = cls()
        for name, key in keys(cls):
            assert getattr(section, name) == key.kind.parse(key.default, Path()), (cls.NAME, name)


_LINES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "[DEFAULT]",
            "[CA]",
            "[HTTPS]",
            "[VAULT]",
            "[LDAP]",
            "[SCEP]",
            "[PKCS11]",
            "[EST]",
            " ",
            ";x",
            "\ufeff",
            "]",
            "[",
        ]
    ),
    st.builds(
        "{} = {}".format,
        st.sampled_from([key.name for cls in SECTIONS for _, key in keys(cls)]),
        st.one_of(st.text(max_size=20), st.integers().map(str), st.sampled_from(["true", "EC", "${X}", "0", "9d"])),
    ),
)


def _is_configuration_or_one_line(text: str) -> None:
    try:
        lines = parse(text, Path("config.ini"), {"X": "\u2028x"}).warnings
    except ConfigError as error:
        lines = (str(error),)
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert all(line.startswith("config.ini: ") for line in lines)


@given(st.lists(_LINES, max_size=30).map("\n".join))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text(text: str) -> None:
    """Any text gives a configuration, or one line of error."""
    _is_configuration_or_one_line(text)


@given(st.lists(_LINES, max_size=10).map("\n".join))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_after_a_good_one(text: str) -> None:
    _is_configuration_or_one_line(OLD_LAYOUT + text)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "config.ini"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert len(str(raised.value).splitlines()) == 1


def test_advice(load_text: Load) -> None:
    """An unset but recommended setting gives one line of advice."""
    (line,) = load_text(with_changes()).advice
    assert line.startswith("[CA] public_url is not set: ")
    assert "\n" not in line
    assert load_text(with_changes(("CA", "public_url", "http://ca.example.com"))).advice == ()
