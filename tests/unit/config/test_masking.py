"""The configuration in force with secrets masked (CFG-11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pikachu.config.masking import masked
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.config.setting_types import mask_url
from tests.unit.config.conftest import Load
from tests.unit.config.samples import OLD_LAYOUT, with_changes

MASK = "********"


def test_every_key_is_there_once(load_text: Load) -> None:
    """CFG-11."""
    settings = masked(load_text(OLD_LAYOUT))
    assert [(one.section, one.key) for one in settings] == [
        (cls.NAME, key.name) for cls in SECTIONS for _, key in keys(cls)
    ]


def test_values_and_origins(load_text: Load, tmp_path: Path) -> None:
    settings = {(section, key): (value, origin) for section, key, value, origin in masked(load_text(OLD_LAYOUT))}
    assert settings["DEFAULT", "http_port"] == ("80", "file")
    assert settings["DEFAULT", "max_idle_time"] == ("10h", "file")
    assert settings["DEFAULT", "shutdown_timeout"] == ("30s", "default")
    assert settings["CA", "mode"] == ("RSA", "file")
    assert settings["CA", "SUBCA_KEY_PATH_EC"] == (str(tmp_path / "pki/subca-ec.key"), "file")
    assert settings["CA", "ROOT_KEY_PATH"] == ("", "default")
    assert settings["EST", "body_limit"] == ("64K", "default")
    assert settings["EST", "anonymous_enroll"] == ("false", "default")
    assert settings["CRL", "crl_delay"] == ("0.5s", "default")
    assert settings["VAULT", "role_id"] == ("", "default")


def test_secrets_are_masked(load_text: Load) -> None:
    """CFG-11: keys, passwords, PINs and passwords in URLs; an empty one is shown as empty."""
    text = with_changes(
        ("LDAP", "ADMIN_PASSWORD", "hidden"),
        ("VAULT", "role_id", "hidden"),
        ("VAULT", "secret_id", "hidden"),
        ("DATABASE", "url", "postgresql://pikachu:hid@den/hidden@db:5432/ca?sslpassword=hidden&sslmode=require"),
        ("CHAT", "model", "small"),
        ("CHAT", "api_key", "hidden"),
        ("MQTT", "password_file", "secret"),
    )
    settings = {(one.section, one.key): one.value for one in masked(load_text(text))}
    assert not [value for value in settings.values() if "hidden" in value]
    assert settings["LDAP", "ADMIN_PASSWORD"] == MASK
    assert settings["VAULT", "secret_id"] == MASK
    assert settings["DATABASE", "url"] == (f"postgresql://pikachu:{MASK}@db:5432/ca?sslpassword={MASK}&sslmode=require")
    assert settings["CHAT", "model"] == "small"
    assert ("CHAT", "api_key") not in settings
    assert settings["MQTT", "password_file"].endswith("/secret")
    assert settings["PKCS11", "pin"] == ""


def test_secret_key_is_masked(load_text: Load) -> None:
    assert masked(load_text(OLD_LAYOUT))[0] == ("DEFAULT", "SECRET_KEY", MASK, "file")


@pytest.mark.parametrize("url", ["sqlite:////a/b:c.db", "https://[::1]:8200/x", "postgresql://user@host:5432/n", ""])
def test_urls_without_password_stay(url: str) -> None:
    assert mask_url(url) == url
