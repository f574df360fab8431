"""The CA that is measured: made once by ``pikachu init``, then copied for each server that is started.

Two certificates come from the real way: one enrolled by EST, and one enrolled and revoked.  ``bench.fill`` multiplies
what the store wrote for them.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import shutil
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7

from bench.messages import certificate_request, new_p256_key
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.pem_blocks import blocks
from tests.support.ports import free_port

CHECKOUT = Path(__file__).parent.parent
ACCOUNT = "bench"
# OCSP for the root and both issuing CAs; more may follow.
_SERVICE_KEYS = 3
DATABASE = Path("db/pikachu.sqlite")
VALID_NAME = "device-00000000.bench.example"
REVOKED_NAME = "device-00000001.bench.example"

_CONFIG = """\
[DEFAULT]
secret_key_file = pki/secret
listen = 127.0.0.1
http_port = {http}
[LOGGING]
log_file = pikachu.log
[CA]
mode = EC
SUBCA_KEY_PATH_EC = pki/ec.key
SUBCA_CERT_PATH_EC = pki/ec.crt
CHAIN_FILE_PATH_EC = pki/ec.chain
SUBCA_KEY_PATH_RSA = pki/rsa.key
SUBCA_CERT_PATH_RSA = pki/rsa.crt
CHAIN_FILE_PATH_RSA = pki/rsa.chain
ROOT_CERT_PATH = pki/root.crt
ROOT_KEY_PATH = pki/root.key
[HTTPS]
ssl_cert = pki/https.crt
ssl_key = pki/https.key
port = {https}
[TRUSTED_HTTPS]
trusted_port = 0
[SCEP]
http_port = {scep}
challenge_password_enabled = false
[PATHS]
crl_path = crl/ca.crl
server_ext_cfg = pki/server_ext.cnf
validity_conf = pki/validity.conf
db_path = {database}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a CA, and the ports that its server listens on.

    :param environment: variables of its server.
    """

    folder: Path
    http: int
    https: int
    scep: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """Its config.ini."""
        return self.folder / "config.ini"

    @property
    def database(self) -> Path:
        """Its SQLite database."""
        return self.folder / DATABASE

    def issuer(self, name: str = "ec") -> Certificate:
        """The certificate of an issuing CA."""
        return parse_certificate(blocks((self.folder / f"pki/{name}.crt").read_bytes(), ("CERTIFICATE",))[0].der())

    @property
    def basic(self) -> str:
        """The Authorization field of the account ``bench``."""
        password = (self.folder / "password").read_text().strip()
        return "Basic " + base64.b64encode(f"{ACCOUNT}:{password}".encode()).decode()

    @property
    def bearer(self) -> str:
        """The Authorization field with a token of that account, an administrator's."""
        return "Bearer " + (self.folder / "token").read_text().strip()

    @property
    def samples(self) -> dict[str, int]:
        """Serials by name: ``valid`` and ``revoked``."""
        found: dict[str, int] = json.loads((self.folder / "samples.json").read_text())
        return found


def pikachu(config: Path, *arguments: str) -> str:
    """Run the command ``pikachu``; what it printed."""
    code = "from pikachu.cli.main import run; run()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "--config", str(config), *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"pikachu {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout


def add_mldsa(place: Place) -> None:
    """Give the CA in *place* an ML-DSA-65 issuing CA, which signs where no policy names another."""
    names = {"KEY_PATH": "key", "CERT_PATH": "crt"}
    files = "".join(f"SUBCA_{name}_MLDSA = pki/mldsa.{ending}\n" for name, ending in names.items())
    text = place.config.read_text()
    files += "CHAIN_FILE_PATH_MLDSA = pki/mldsa.chain\n"
    place.config.write_text(text.replace("mode = EC\n", f"mode = MLDSA\n{files}"))
    pikachu(place.config, "init", "--mldsa", "65", "--admin-password-file", str(place.folder / "password"))


def configured(folder: Path, database: Path = DATABASE) -> Place:
    """Write a configuration with free ports into *folder*."""
    place = Place(folder, free_port(), free_port(), free_port())
    text = _CONFIG.format(http=place.http, https=place.https, scep=place.scep, database=database)
    place.config.write_text(text)
    return place


def founded(data: Path) -> Place:
    """The CA in the folder *data*, made when it is not there yet."""
    from bench.server import Server

    folder = data / "ca"
    if (folder / "samples.json").exists():
        return configured(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = configured(folder)
    password = folder / "password"
    password.write_text(secrets.token_hex(12) + "\n")
    password.chmod(0o600)
    pikachu(place.config, "init", "--rsa-bits", "2048", "--admin-password-file", str(password))
    pikachu(
        place.config,
        *("user", "add", ACCOUNT, "--email", "bench@bench.example", "--role", "admin"),
        *("--password-file", str(password)),
    )
    token = folder / "token"
    token.write_text(pikachu(place.config, "token", "create", "--user", ACCOUNT, "--name", "bench"))
    token.chmod(0o600)
    with Server(place) as server:
        server.wait_for_port(place.https)
        serials = {kind: _enroll(place, name) for kind, name in (("valid", VALID_NAME), ("revoked", REVOKED_NAME))}
        _wait_for_service_keys(place.database)
    pikachu(place.config, "revoke", f"{serials['revoked']:x}", "--reason", "superseded")
    _settle(place.database)
    (folder / "samples.json").write_text(json.dumps(serials))
    return place


def enrolled_client(place: Place) -> Path:
    """Enroll a device at the running server; return the PEM file with its certificate and its key."""
    key, path = new_p256_key(), place.folder / "client.pem"
    answer = _post_csr(place, certificate_request(key, "client.bench.example", ["client.bench.example"]))
    (certificate,) = pkcs7.load_der_pkcs7_certificates(answer)
    path.touch(mode=0o600)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return path


def _enroll(place: Place, name: str) -> int:
    _post_csr(place, certificate_request(new_p256_key(), name, [name]))
    with contextlib.closing(sqlite3.connect(place.database)) as database, database:
        row = database.execute("SELECT serial FROM certificates WHERE common_name = ?", (name,)).fetchone()
    return int(row[0], 16)


def _post_csr(place: Place, body: bytes) -> bytes:
    context = ssl.create_default_context(cafile=str(place.folder / "pki/root.crt"))
    connection = http.client.HTTPSConnection("localhost", place.https, context=context, timeout=30)
    headers = {"Content-Type": "application/pkcs10", "Authorization": place.basic}
    connection.request("POST", "/.well-known/est/simpleenroll", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the first enrollment was answered with {answer.status}: {content[:200]!r}")
    return content


def _wait_for_service_keys(database: Path) -> None:
    """Wait for the certificates of OCSP and SCEP, which a server issues once in its first seconds."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        for _ in range(100):
            under_way, made = connection.execute(
                "SELECT (SELECT count(*) FROM requests WHERE state = 'issuing'),"
                " (SELECT count(*) FROM service_credentials)"
            ).fetchone()
            if made >= _SERVICE_KEYS and not under_way:
                return
            time.sleep(0.1)
    raise RuntimeError("the server did not make the keys of its services")


def _settle(database: Path) -> None:
    """Leave one file, without a log beside it."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def copied(base: Place, folder: Path, database: Path | None = None) -> Place:
    """A CA like *base*, with another database when one is given.  Copies: what is measured may write."""
    shutil.copytree(base.folder, folder, ignore=shutil.ignore_patterns("db", "*.log", "*.lock"))
    place = configured(folder)
    place.database.parent.mkdir()
    shutil.copyfile(database or base.database, place.database)
    place.database.chmod(0o600)
    return place
