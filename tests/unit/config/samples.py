"""Configurations as texts."""

from __future__ import annotations

SECRET_KEY = "0f6c1d2e9a8b7465"

MINIMAL: dict[str, dict[str, str]] = {
    "DEFAULT": {"secret_key_file": "secret_key"},
    "CA": {"SUBCA_KEY_PATH_EC": "ec.key", "SUBCA_CERT_PATH_EC": "ec.crt"},
    "HTTPS": {"ssl_cert": "https.crt", "ssl_key": "https.key"},
}

OLD_LAYOUT = f"""\
[DEFAULT]
SECRET_KEY = {SECRET_KEY}
http_port = 80
max_idle_time = 10h

[LOGGING]
log_level = INFO
log_file = logs/server.log

[CA]
mode = RSA
SUBCA_KEY_PATH_EC = pki/subca-ec.key
SUBCA_CERT_PATH_EC = pki/subca-ec.crt
CHAIN_FILE_PATH_EC = pki/chain-ec.crt
SUBCA_KEY_PATH_RSA = pki/subca-rsa.key
SUBCA_CERT_PATH_RSA = /srv/pki/subca-rsa.crt
CHAIN_FILE_PATH_RSA = pki/chain-rsa.crt
ROOT_CERT_PATH = pki/root.crt

[VAULT]
enabled = false
address = http://127.0.0.1:8200
role_id = ${{VAULT_ROLE_ID}}
secret_id = ${{VAULT_SECRET_ID}}
pki_rsa_path = pki-subca-rsa
pki_ec_path = pki-subca-ec
transit_path = transit
timeout = 30
retry_attempts = 3
verify_ssl = false
ca_cert_path =
role_scep = scep
role_est = est
role_default = server

[LDAP]
enabled = false
LDAP_HOST = 127.0.0.1
LDAP_PORT = 389
BASE_DN = dc=example,dc=org
PEOPLE_DN = ou=people,dc=example,dc=org
ADMIN_DN = cn=admin,dc=example,dc=org
ADMIN_PASSWORD = 100%sure

[SCEP]
enabled = true
http_port = 8090
serial_file = scep/serial.txt
dump_dir = scep/dump
challenge_password_enabled = true
challenge_password_validity = 2m

[HTTPS]
ssl_cert = pki/https.crt
ssl_key = pki/https.key
port = 443

[TRUSTED_HTTPS]
trusted_ssl_cert = pki/trusted.crt
trusted_ssl_key = pki/trusted.key
trusted_port = 4443

[PATHS]
crl_path = crl/crl.pem
server_ext_cfg = pki/server_ext.cnf
validity_conf = pki/validity.conf
db_path = db/certs.db
"""


def with_changes(*changes: tuple[str, str, str | None]) -> str:
    """The minimal configuration with (section, key, value) set; None takes the key out."""
    sections = {name: dict(keys) for name, keys in MINIMAL.items()}
    for section, key, value in changes:
        keys = sections.setdefault(section, {})
        if value is None:
            del keys[key]
        else:
            keys[key] = value
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) for name, keys in sections.items()
    )
