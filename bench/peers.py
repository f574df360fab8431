"""The programs that this one is compared with, each with a CA of its own.

``openssl ocsp`` and ``scepserver`` bind all addresses: they are started in a network namespace only, where there is
nothing but a loopback interface.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from bench.messages import new_p256_key, self_made_ca
from bench.server import Program
from pikachu.x509.certificate import Certificate, parse_certificate
from tests.support.ports import free_port

_CA_CONFIG = """\
[ca]
default_ca = one
[one]
database = index.txt
crlnumber = crlnumber
certificate = ca.crt
private_key = ca.key
default_md = sha256
default_crl_days = 7
crl_extensions = extensions
[extensions]
authorityKeyIdentifier = keyid
"""


def installed(program: str) -> bool:
    """Whether *program* is here."""
    return shutil.which(program) is not None


def openssl_folder(folder: Path, valid: Iterable[int], revoked: Iterable[int]) -> Certificate:
    """A CA as ``openssl ca`` keeps it, on P-256, that has issued those serials; its certificate."""
    folder.mkdir(parents=True)
    key = new_p256_key()
    certificate = self_made_ca(key, "Peer CA")
    (folder / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "ca.key").chmod(0o600)
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.cnf").write_text(_CA_CONFIG)
    (folder / "crlnumber").write_text("01\n")
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    with (folder / "index.txt").open("w") as index:
        for serial in valid:
            index.write(f"V\t491231235959Z\t\t{serial:040X}\tunknown\t/CN=device-{serial:x}.bench.example\n")
        for serial in revoked:
            index.write(
                f"R\t491231235959Z\t260101000000Z,superseded\t{serial:040X}\tunknown\t/CN=device-{serial:x}.example\n"
            )
    return parse_certificate(certificate.public_bytes(serialization.Encoding.DER))


def openssl_ocsp(folder: Path, port: int, processors: set[int] | None) -> Program:
    """OpenSSL's responder for what :func:`openssl_folder` made; it signs each answer."""
    command = ["openssl", "ocsp", "-index", "index.txt", "-port", str(port), "-rsigner", "ca.crt", "-rkey", "ca.key"]
    return Program([*command, "-CA", "ca.crt", "-ndays", "7", "-ignore_err"], folder, processors, "openssl")


def openssl_crl(folder: Path) -> float:
    """Seconds that ``openssl ca -gencrl`` takes."""
    command = ["openssl", "ca", "-gencrl", "-config", "ca.cnf", "-out", "ca.crl"]
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)
    return time.perf_counter() - begun


def scepserver(folder: Path) -> tuple[Program, int]:
    """micromdm's server with an RSA-2048 CA and no challenge password, and its port."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["scepserver", "ca", "-init", "-depot", "depot", "-keySize", "2048"],
        cwd=folder,
        check=True,
        timeout=60,
        capture_output=True,
    )
    port = free_port()
    command = ["scepserver", "-depot", "depot", "-port", str(port), "-allowrenew", "0"]
    return Program(command, folder, None, "scepserver"), port
