# mypy: allow-untyped-calls
"""Keys of CAs that a TLS client sends along: OpenSSL verifies the client's certificate with them, whose they are."""

from __future__ import annotations

import pytest
from cryptography import x509
from OpenSSL import SSL

from pikachu.server.listeners import ClientCertificates
from tests.protocols.est.refusals import refused
from tests.support import hostile_keys, pki
from tests.support.est import EST
from tests.support.pki import Identity

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
# The key of the CA, and the algorithm by which the client's certificate says that it was signed with it.
HOSTILE = {
    "RSA 16384": hostile_keys.SHA256_RSA,
    "RSA 2048, exponent of 2046 bits": hostile_keys.SHA256_RSA,
    "RSA 3072, exponent of 3070 bits": hostile_keys.SHA256_RSA,
    "RSA 4096, even modulus": hostile_keys.SHA256_RSA,
    "DSA 2203": hostile_keys.SHA256_DSA,
    "EC, explicit P-256": hostile_keys.SHA256_ECDSA,
}


def below(est: EST, public: bytes, algorithm: bytes, depth: int = 1) -> Identity:
    """A client's certificate below so many CAs with that key, which it sends along; no signature is good."""
    key = pki.make_key("p256")
    above = est.stack.files.root
    for serial in range(depth):
        authority = hostile_keys.certificate(public, serial=serial + 5, is_ca=True, algorithm=algorithm)
        above = Identity(key, x509.load_der_x509_certificate(authority), above)
    leaf = hostile_keys.certificate(pki.spki(key), subject="device.example.com", algorithm=algorithm)
    return Identity(key, x509.load_der_x509_certificate(leaf), above)


@VERSIONS
@pytest.mark.parametrize("clients", [ClientCertificates.OPTIONAL, ClientCertificates.REQUIRED])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_keys(est: EST, name: str, clients: ClientCertificates, version: int) -> None:
    """A key that OpenSSL should not compute with ends the handshake."""
    identity = below(est, hostile_keys.PUBLIC_KEYS[name], HOSTILE[name])
    with pytest.raises(SSL.Error):
        est.connect(identity, clients=clients, version=version)


@VERSIONS
@pytest.mark.parametrize("depth", [1, 8, 20])
@pytest.mark.parametrize("bits", [2048, 8192])
def test_foreign_keys(est: EST, bits: int, depth: int, version: int) -> None:
    """Other keys of strangers lead to the application where a certificate is optional; it refuses in words."""
    public = hostile_keys.rsa_spki(hostile_keys.modulus(bits))
    identity = below(est, public, hostile_keys.SHA256_RSA, depth)
    tls = est.connect(identity, version=version)
    assert "not issued by this authority" in refused(est.enroll(pki.make_csr()[1], tls=tls), 403)
    with pytest.raises(SSL.Error):
        est.connect(identity, clients=ClientCertificates.REQUIRED, version=version)
