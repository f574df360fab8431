"""KEY-4, CSR-1, CRT-4: the real openssl reads private keys, verifies requests and opens PKCS#12 files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.model.certificates import Method
from pikachu.core.model.people import SYSTEM
from pikachu.inventory.csrs import RequestSource
from pikachu.ra.enrollment import Issued
from pikachu.x509.pem import pem
from tests.support.deferreds import result_of
from tests.support.interop import require
from tests.support.stack import Stack, build_core
from tests.unit.inventory.test_keys import REQUEST

pytestmark = pytest.mark.interop

# ML-DSA takes OpenSSL 3.5: see test_ml_dsa_keys.
KINDS = ("rsa2048", "prime256v1", "secp384r1", "secp521r1", "secp256k1", "ed25519")


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    require("openssl")
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_reads_what_is_made(stack: Stack, tmp_path: Path, kind: str) -> None:
    """Private key open and encrypted, request, and PKCS#12 with the whole chain."""
    app = stack.app
    key = result_of(app.keys.generate(SYSTEM, "key", kind))
    public = tmp_path / "public.pem"
    public.write_text(pem("PUBLIC KEY", key.spki))
    for passphrase in (None, "correct horse"):
        private = tmp_path / "private.pem"
        private.write_text(result_of(app.keys.private_pem(SYSTEM, key.id, passphrase)))
        read = openssl("pkey", "-in", private, "-passin", f"pass:{passphrase or ''}", "-pubout")
        assert read == public.read_text()
    parsed = openssl("asn1parse", "-in", private)
    assert "PBES2" in parsed
    assert "aes-256-cbc" in parsed
    csr = result_of(app.requests.generate(SYSTEM, "", RequestSource(key.id, text=REQUEST)))
    request = tmp_path / "request.pem"
    request.write_text(pem("CERTIFICATE REQUEST", csr.der))
    told = openssl("req", "-in", request, "-verify", "-noout", "-text")
    assert "verify OK" in told
    assert "DNS:device.example.com, IP Address:192.0.2.1" in told
    issued = result_of(app.registration.sign(SYSTEM, csr.der, Method.UI))
    assert isinstance(issued, Issued)
    pfx = tmp_path / "file.pfx"
    pfx.write_bytes(result_of(app.keys.pfx(SYSTEM, issued.record, "correct horse")))
    opened = openssl("pkcs12", "-in", pfx, "-passin", "pass:correct horse", "-nodes", "-info")
    assert opened.count("BEGIN CERTIFICATE") == 3
    assert "BEGIN PRIVATE KEY" in opened
    assert "MAC: sha256" in opened
