"""Keys of strangers, wherever one may be sent: they are looked at before any library is given them."""

from __future__ import annotations

import base64
import ssl
from contextlib import suppress

import pytest

from tests.hostile import inputs
from tests.hostile.target import Target, sampled
from tests.support import hostile_keys, scep_client
from tests.support.pki import Identity, make_csr, make_leaf

BODY = 60_000
SCEP_PATH = "/scep?operation=PKIOperation"


@pytest.mark.parametrize(
    "kind", sampled(sorted(hostile_keys.PUBLIC_KEYS), 12, always=["DH 1279", "DH 9941", "RSA 16384"])
)
def test_public_keys(target: Target, kind: str) -> None:
    """In the signer of a SCEP message, in requests by EST, SCEP and REST, in what is inspected and uploaded."""
    key = hostile_keys.PUBLIC_KEYS[kind]
    csr = hostile_keys.csr(key)
    certificate = hostile_keys.certificate(key)
    client = scep_client.new_client(target.server.files.issuers["rsa"].der)
    messages = [
        client.with_certificate(inputs.with_spki(client.certificate, key)).pkcs_req(),
        client.pkcs_req(csr),
    ]

    def attack() -> None:
        for message in messages:
            if len(message) < BODY:
                target.send("scep", SCEP_PATH, message, {"Content-Type": "application/x-pki-message"})
        if len(csr) < BODY * 3 // 4:
            target.enroll(csr)
        target.rest("POST", "/certificates", {"csr": csr})
        target.rest("POST", "/csrs", {"csr": csr, "name": "hostile"})
        for data in (
            key,
            csr,
            certificate,
            hostile_keys.pkcs7([certificate] * 20),
            hostile_keys.pkcs12(certificates=[certificate] * 20),
        ):
            target.rest("POST", "/inspect", {"data": data, "passphrase": "hostile"})

    target.survives(attack)


@pytest.mark.parametrize("kind", sampled(sorted(hostile_keys.PRIVATE_KEYS), 12))
def test_private_keys(target: Target, kind: str) -> None:
    """In what is inspected, and in what is imported."""
    key = hostile_keys.PRIVATE_KEYS[kind]
    pem = base64.encodebytes(key).decode()

    def attack() -> None:
        target.rest("POST", "/inspect", {"data": key})
        target.rest("POST", "/inspect", {"data": hostile_keys.pkcs12(key), "passphrase": "hostile"})
        target.rest("POST", "/keys", {"name": "hostile", "pkcs12": hostile_keys.pkcs12(key)})
        for label in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY"):
            text = f"-----BEGIN {label}-----\n{pem}-----END {label}-----\n"
            target.rest("POST", "/inspect", {"data": text})
            target.rest("POST", "/keys", {"name": "hostile", "pem": text})

    target.survives(attack)


@pytest.mark.parametrize("name", sampled(hostile_keys.PKCS12_FILES, 6, always=["much under RC2"]))
def test_pkcs12_files(target: Target, name: str) -> None:
    """Rounds, sizes and counts that a file chooses: inspected, and imported by REST."""
    data = hostile_keys.PKCS12_FILES[name]

    def attack() -> None:
        for passphrase in ("", "Ä" * 500):
            target.rest("POST", "/inspect", {"data": data, "passphrase": passphrase})
            target.rest("POST", "/keys", {"name": "hostile", "pkcs12": data, "passphrase": passphrase})

    target.survives(attack)


def test_client_certificates(target: Target) -> None:
    """Chains of strangers in TLS handshakes: refused, and nobody else waits."""
    issuer = make_leaf(next(iter(target.server.files.issuers.values())), "stranger")
    stranger = Identity(issuer.key, issuer.certificate, None)
    context = target.server.context(stranger)

    def attack() -> None:
        for _ in range(20):
            with suppress(OSError, ssl.SSLError), target.server.client("trusted_https", stranger) as client:
                client.ask("/healthz")

    assert context is target.server.context(stranger)
    target.survives(attack)


def test_a_good_key_still_passes(target: Target) -> None:
    """A good key passes the checks."""
    assert target.enroll(make_csr(subject="good")[1]) == 200
