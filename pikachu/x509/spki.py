"""Public keys: description of a SubjectPublicKeyInfo, and checks whether the CA accepts the key.

:mod:`pikachu.x509.loading` parses the type and the lengths; the checks on the key itself follow NIST SP 800-56A and
800-89.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from pikachu.core.errors import BadPublicKey
from pikachu.x509.loading.public_keys import (
    CURVES,
    EC_PUBLIC_KEY,
    ED25519,
    ML_DSA_44,
    ML_DSA_65,
    ML_DSA_87,
    RSA_ENCRYPTION,
    KeyFamily,
    PublicKey,
    load_public_key,
    read_public_key,
)

__all__ = [
    "CURVE_OIDS",
    "EC_PUBLIC_KEY",
    "ED25519",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "RSA_ENCRYPTION",
    "KeyDescription",
    "KeyFamily",
    "PublicKey",
    "check_modulus",
    "describe_spki",
]


@dataclass(frozen=True)
class KeyDescription:
    """A public key that passed every check.

    :ivar text: the key type: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44``.
    :ivar bits: size of the modulus or the field; for ML-DSA, of the encoded public key.
    :ivar curve: OpenSSL's name of the curve, for EC keys.
    :ivar spki: the DER SubjectPublicKeyInfo.
    :ivar key_octets: the content of its BIT STRING.
    :ivar public_key: the loaded key, ready to verify.
    """

    family: KeyFamily
    text: str
    bits: int
    curve: str | None
    spki: bytes
    key_octets: bytes = field(repr=False, compare=False)
    public_key: PublicKey = field(repr=False, compare=False)

    @cached_property
    def key_id(self) -> bytes:
        """The SHA-256 of the SubjectPublicKeyInfo, which identifies the key in the database."""
        return hashlib.sha256(self.spki).digest()

    @cached_property
    def ski(self) -> bytes:
        """The SHA-1 of the BIT STRING's content: the subjectKeyIdentifier (RFC 5280 section 4.2.1.2, method 1)."""
        return hashlib.sha1(self.key_octets, usedforsecurity=False).digest()


CURVE_OIDS: Final = {curve.name: curve.oid for curve in CURVES}

_PRIMES: Final = tuple(n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_PRIMORIAL: Final = math.prod(_PRIMES)

# ROCA (CVE-2017-15361): the primes of the affected chips are powers of 65537 modulo a product of small
# primes, and so are their moduli.  The primes below are those with few such powers.
_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_PRODUCT: Final = math.prod(_ROCA_PRIMES)
_ROCA_POWERS: Final = tuple((p, frozenset(pow(65537, e, p) for e in range(p - 1))) for p in _ROCA_PRIMES)

# The y coordinates of the Ed25519 points of order 1, 2, 4 and 8 (RFC 8032 section 5.1): signatures for
# these keys can be forged.
_ED25519_P: Final = 2**255 - 19
_ED25519_SMALL_ORDER: Final = frozenset(
    (
        0,
        1,
        _ED25519_P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    )
)


def describe_spki(spki: bytes) -> KeyDescription:
    """Check and describe the public key in a DER SubjectPublicKeyInfo.

    :raises BadPublicKey: the key is weak, malformed, or of a type that the CA does not certify.
    """
    fields = read_public_key(spki)
    if fields.family is KeyFamily.RSA:
        check_modulus(fields.modulus)
    elif fields.family is KeyFamily.ED25519:
        _check_ed25519(fields.key_bytes)
    public_key = load_public_key(fields)
    return KeyDescription(fields.family, fields.text, fields.bits, fields.curve, spki, fields.key_bytes, public_key)


def check_modulus(modulus: int) -> None:
    """Reject RSA moduli that are easy to factor.

    :raises BadPublicKey: *modulus* has a prime factor below 2000, or the ROCA fingerprint (CVE-2017-15361).
    """
    if modulus % 2 == 0 or math.gcd(modulus, _PRIMORIAL) != 1:
        raise BadPublicKey("the RSA modulus has a small factor")
    rest = modulus % _ROCA_PRODUCT
    if all(rest % prime in powers for prime, powers in _ROCA_POWERS):
        raise BadPublicKey("the RSA key comes from a chip with the ROCA weakness (CVE-2017-15361)")


def _check_ed25519(key: bytes) -> None:
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _ED25519_P or y in _ED25519_SMALL_ORDER:
        raise BadPublicKey("the Ed25519 public key is a point of small order or not reduced")
