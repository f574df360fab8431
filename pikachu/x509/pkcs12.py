"""PKCS#12 (RFC 7292) encoder: a certificate with its private key and chain, encrypted under a passphrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from pikachu.core.errors import UnsupportedAlgorithm
from pikachu.x509.keys import PrivateKey, passphrase_octets
from pikachu.x509.loading.certificates import load_certificate

# Takes a tenth of a second.
_ITERATIONS: Final = 600_000
# Old programs hash slowly, and some refuse more.
_COMPATIBLE_ITERATIONS: Final = 50_000


def pkcs12_file(
    key: PrivateKey,
    certificate: bytes,
    chain: Sequence[bytes],
    passphrase: str,
    friendly_name: str,
    *,
    compatible: bool = False,
) -> bytes:
    """Return the DER PFX, encrypted with AES-256; takes a tenth of a second.

    :param compatible: encrypt with triple DES under SHA-1 instead, which old Windows, macOS and Android read.
    :param certificate: the DER certificate of *key*.
    :param chain: the DER certificates of the issuing CAs.
    :raises MalformedRequest: the passphrase is empty or too long.
    :raises UnsupportedAlgorithm: the type of the key is not supported in PKCS#12.
    """
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise UnsupportedAlgorithm(
            "few programs read ML-DSA keys in PKCS#12; download the private key (PKCS#8) and the chain instead"
        )
    scheme = pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC if compatible else pkcs12.PBES.PBESv2SHA256AndAES256CBC
    protection = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_COMPATIBLE_ITERATIONS if compatible else _ITERATIONS)
        .key_cert_algorithm(scheme)
        .hmac_hash(SHA1() if compatible else SHA256())  # noqa: S303 - nothing else is read by these programs
        .build(passphrase_octets(passphrase))
    )
    issuers = [load_certificate(issuer) for issuer in chain]
    leaf = load_certificate(certificate)
    return pkcs12.serialize_key_and_certificates(
        friendly_name.encode("utf-8", "replace"), key, leaf, issuers, protection
    )
