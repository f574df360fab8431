"""Features that this version or this installation lacks are refused by name at start (CFG-1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pikachu.config.features import FEATURES, require_features
from pikachu.core.errors import ConfigError
from tests.support.stack import make_files, open_stack
from tests.unit.config.conftest import Load
from tests.unit.config.samples import with_changes

Changes = tuple[tuple[str, str, str], ...]

VAULT: Changes = (
    ("VAULT", "address", "https://vault.example.com:8200"),
    ("VAULT", "role_id", "role"),
    ("VAULT", "secret_id", "secret"),
)
LDAP: Changes = (
    ("LDAP", "LDAP_HOST", "ldap.example.com"),
    ("LDAP", "BASE_DN", "dc=example,dc=com"),
    ("LDAP", "ADMIN_DN", "cn=admin,dc=example,dc=com"),
    ("LDAP", "ADMIN_PASSWORD", "secret"),
)
TOKEN: Changes = (
    ("PKCS11", "module", "/usr/lib/softhsm/libsofthsm2.so"),
    ("PKCS11", "token", "ca"),
    ("PKCS11", "pin", "secret"),
)
MQTT: Changes = (
    ("MQTT", "host", "broker.example.com"),
    ("MQTT", "ca_cert_path", "root.crt"),
    ("MQTT", "username", "ca"),
    ("MQTT", "password_file", "secret"),
)
CHAT: Changes = (("CHAT", "endpoint", "https://llm.example.com/v1"), ("CHAT", "model", "small"))

LACKING: list[tuple[Changes, str]] = [
    ((*VAULT, ("VAULT", "enabled", "true"), ("VAULT", "fallback", "true")), "[VAULT] fallback"),
    (
        (*TOKEN, ("PKCS11", "key_label_mldsa", "key"), ("CA", "SUBCA_CERT_PATH_MLDSA", "mldsa.crt")),
        "[PKCS11] key_label_mldsa",
    ),
]
LOADING: list[Changes] = [
    (),
    (*VAULT, ("VAULT", "enabled", "false")),
    (*VAULT, ("VAULT", "enabled", "true"), ("VAULT", "signer", "transit"), ("VAULT", "fallback", "true")),
    (*VAULT, ("VAULT", "enabled", "true")),
    VAULT,
    (*LDAP, ("LDAP", "enabled", "false")),
    LDAP,
    (*LDAP, ("LDAP", "enabled", "true")),
    (*MQTT, ("MQTT", "enabled", "false")),
    (*MQTT, ("MQTT", "enabled", "Off")),
    (*MQTT, ("MQTT", "enabled", "true")),
    MQTT,
    CHAT,
    (("CHAT", "endpoint", "https://llm.example.com/v1"), ("CHAT", "enabled", "no")),
    (("CHAT", "enabled", "true"),),
    (("DATABASE", "url", ""),),
    (("DATABASE", "url", "sqlite:///other.sqlite"),),
]


@pytest.mark.parametrize(("changes", "where"), LACKING, ids=[f"{where} {len(one)}" for one, where in LACKING])
def test_a_server_does_not_start_with_what_it_lacks(tmp_path: Path, changes: Changes, where: str) -> None:
    """One line with file, section, key and what to do; no value of the section is in it."""
    key_types = ("p256", "rsa2048")
    made = make_files(tmp_path, key_types, changes={(section, key): text for section, key, text in changes})
    with pytest.raises(ConfigError) as caught:
        open_stack(made)
    message = str(caught.value)
    assert message.startswith(f"{made.config}: {where}: this version does not support ")
    assert message.endswith(".")
    assert "secret" not in message
    assert "\n" not in message


@pytest.mark.parametrize("changes", LOADING, ids=str)
def test_what_is_not_enabled_may_be_configured(load_text: Load, changes: Changes) -> None:
    require_features(load_text(with_changes(*changes)))


def test_every_feature_is_in_the_table_above() -> None:
    sections = {where.partition("]")[0][1:] for _, where in LACKING}
    assert sections | {"DATABASE", "LDAP", "OIDC"} == {feature.section for feature in FEATURES}


POSTGRESQL: Changes = (("DATABASE", "url", "postgresql://ca:hidden@db.example.com/ca"),)
HIDDEN_PIN: Changes = (*TOKEN, ("PKCS11", "pin", "hidden"), ("PKCS11", "key_label_ec", "key"))
OIDC: Changes = (
    ("OIDC", "enabled", "true"),
    ("OIDC", "issuer", "https://id.example.com"),
    ("OIDC", "client_id", "hidden"),
)
COMMANDS = (["ca", "list"], ["init"], ["rekey"], ["twistd"])


@pytest.mark.parametrize(
    ("changes", "package", "what", "extra", "commands"),
    [
        (
            POSTGRESQL,
            "psycopg",
            "[DATABASE] url: this installation does not support PostgreSQL",
            "postgresql",
            COMMANDS,
        ),
        (HIDDEN_PIN, "pkcs11", "[PKCS11] module: this installation does not support keys in a", "hsm", COMMANDS[1::2]),
        (OIDC, "joserfc", "[OIDC] enabled: this installation does not support single sign-on", "oidc", COMMANDS[::3]),
    ],
    ids=["postgresql", "hsm", "oidc"],
)
def test_an_extra_that_is_missing(
    tmp_path: Path, changes: Changes, package: str, what: str, extra: str, commands: Sequence[list[str]]
) -> None:
    """The message has the pip command that helps, and not the password."""
    made = make_files(tmp_path, changes={(section, key): text for section, key, text in changes})
    script = f"""
import os, sys
from pathlib import Path
sys.modules["{package}"] = None
if sys.argv[2] == "twistd":
    sys.argv[1:] = ["-n", "--pidfile=", "pikachu", "--config", sys.argv[1]]
    from twisted.scripts.twistd import run
    run()
from pikachu.cli.main import main
sys.exit(main(["--config", sys.argv[1], *sys.argv[2:]]))
"""
    for command in commands:
        arguments = [sys.executable, "-c", script, str(made.config), *command]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1, done
        assert f"{made.config}: {what}" in done.stderr
        assert f"pip install 'pikachu-ca[{extra}]'" in done.stderr
        assert "hidden" not in done.stderr
        assert "Traceback" not in done.stderr
