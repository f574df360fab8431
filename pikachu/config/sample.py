"""The shipped ``config.ini``: every key with a comment, generated from the declarations (CFG-10, RUN-3)."""

from __future__ import annotations

import textwrap
from typing import Final

from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS

_WIDTH: Final = 100
_HEAD: Final = (
    "The configuration of Pikachu CA.\n"
    "A line `;key = value` shows the default; remove the `;` to change it. Relative paths are relative to this file.\n"
    "${NAME} takes an environment variable. Durations: 90s, 20m, 10h, 4d, 2w. Sizes: 10240, 64K, 1M."
)
# The keys that the shipped file sets; all others are commented out.
_SET: Final = {
    ("DEFAULT", "secret_key_file"): "var/pki/secret_key",
    ("DEFAULT", "http_port"): "8080",
    ("DEFAULT", "max_idle_time"): "20m",
    ("LOGGING", "log_level"): "INFO",
    ("LOGGING", "log_file"): "var/log/pikachu.log",
    ("CA", "mode"): "EC",
    **{("CA", f"subca_key_path_{name}"): f"var/pki/subca_{name}.key" for name in ("ec", "rsa")},
    **{("CA", f"subca_cert_path_{name}"): f"var/pki/subca_{name}.crt" for name in ("ec", "rsa")},
    **{("CA", f"chain_file_path_{name}"): f"var/pki/chain_{name}.pem" for name in ("ec", "rsa")},
    ("CA", "root_cert_path"): "var/pki/root.crt",
    ("CA", "root_key_path"): "var/pki/root.key",
    ("HTTPS", "ssl_cert"): "var/pki/https.crt",
    ("HTTPS", "ssl_key"): "var/pki/https.key",
    ("HTTPS", "port"): "8443",
    ("TRUSTED_HTTPS", "trusted_ssl_cert"): "var/pki/https.crt",
    ("TRUSTED_HTTPS", "trusted_ssl_key"): "var/pki/https.key",
    ("TRUSTED_HTTPS", "trusted_port"): "4443",
    ("PATHS", "crl_path"): "var/crl/ca.crl",
    ("PATHS", "server_ext_cfg"): "var/pki/server_ext.cnf",
    ("PATHS", "validity_conf"): "var/pki/validity.conf",
    ("PATHS", "db_path"): "var/db/pikachu.sqlite",
    ("RA", "self_approval"): "false",
    ("EST", "enabled"): "true",
    ("EST", "anonymous_enroll"): "false",
    ("SCEP", "enabled"): "true",
    ("SCEP", "http_port"): "8090",
    ("SCEP", "challenge_password_enabled"): "true",
    ("SCEP", "challenge_password_validity"): "60m",
    ("LDAP", "enabled"): "false",
    ("OIDC", "enabled"): "false",
    ("VAULT", "enabled"): "false",
    ("MQTT", "enabled"): "false",
    ("SMTP", "enabled"): "false",
    ("VAULT", "signer"): "transit",
}


def _commented(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False, break_long_words=False)]


def sample() -> str:
    """Return the text of the shipped file."""
    lines = [line for text in _HEAD.splitlines() for line in _commented(text)]
    for cls in SECTIONS:
        lines += ["", *_commented(cls.ABOUT), f"[{cls.NAME}]"]
        for name, key in keys(cls):
            value = _SET.get((cls.NAME, name))
            differs = value is not None and key.default and value != key.default
            lines += _commented(key.comment)
            if differs:
                lines.append(f"# Default: {key.default}")
            lines.append(f";{key.name} = {key.default}".rstrip() if value is None else f"{key.name} = {value}")
    return "\n".join(lines) + "\n"
