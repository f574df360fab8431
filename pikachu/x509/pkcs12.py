"""PKCS#12 (RFC 7292) encoder: a certificate with its private key and chain, encrypted under a passphrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from pikachu.core.errors import UnsupportedAlgorithm
from pikachu.x509.keys import PrivateKey, passphrase_octets
from pikachu.x509.loading.certificates import load_certificate

# Takes a tenth of a second.
_ITERATIONS: Final = 600_000


def pkcs12_file(
    key: PrivateKey, certificate: bytes, chain: Sequence[bytes], passphrase: str, friendly_name: str
) -> bytes:
    """Return the DER PFX, encrypted with AES-256; takes a tenth of a second.

    :param certificate: the DER certificate of *key*.
    :param chain: the DER certificates of the issuing CAs.
    :raises MalformedRequest: the passphrase is empty or too long.
    :raises UnsupportedAlgorithm: the type of the key is not supported in PKCS#12.
    """
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise UnsupportedAlgorithm(
            "no program reads ML-DSA keys in PKCS#12 yet; download the private key (PEM) and the chain instead"
        )
    protection = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_ITERATIONS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(passphrase_octets(passphrase))
    )
    issuers = [load_certificate(issuer) for issuer in chain]
    leaf = load_certificate(certificate)
    return pkcs12.serialize_key_and_certificates(
        friendly_name.encode("utf-8", "replace"), key, leaf, issuers, protection
    )
