"""Public keys: what a SubjectPublicKeyInfo holds, and whether this authority accepts such a key.

The SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) is read here, strictly, so that one key has one
encoding and thereby one identifier; the checks on the key itself follow NIST SP 800-56A and 800-89.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, TypeAlias, cast

from cryptography.exceptions import UnsupportedAlgorithm as PycaUnsupported
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from pikachu.errors import BadPublicKey, MalformedRequest
from pikachu.x509 import der

PublicKey: TypeAlias = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)

RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
ED25519: Final = "1.3.101.112"
ML_DSA_44: Final = "2.16.840.1.101.3.4.3.17"
ML_DSA_65: Final = "2.16.840.1.101.3.4.3.18"
ML_DSA_87: Final = "2.16.840.1.101.3.4.3.19"

RSA_MINIMUM_BITS: Final = 2048
RSA_MAXIMUM_BITS: Final = 8192


class KeyFamily(StrEnum):
    """The family of a key, as it stands before the slash of a key type."""

    RSA = "RSA"
    EC = "EC"
    ED25519 = "Ed25519"
    ML_DSA = "PQC"


@dataclass(frozen=True)
class KeyDescription:
    """A public key that passed every check.

    :ivar text: its type: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44``.
    :ivar bits: of the modulus or the field; of the public key's encoding for ML-DSA.
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
        """SHA-256 of the SubjectPublicKeyInfo: finds the key again in the database."""
        return hashlib.sha256(self.spki).digest()

    @cached_property
    def ski(self) -> bytes:
        """SHA-1 of the BIT STRING's content: the subjectKeyIdentifier (RFC 5280 section 4.2.1.2, method 1)."""
        return hashlib.sha1(self.key_octets, usedforsecurity=False).digest()


# OpenSSL's name of each curve, its OID and the octets of one coordinate.
_CURVES: Final = (
    ("prime256v1", "1.2.840.10045.3.1.7", 32, 256),
    ("secp384r1", "1.3.132.0.34", 48, 384),
    ("secp521r1", "1.3.132.0.35", 66, 521),
    ("secp256k1", "1.3.132.0.10", 32, 256),
)


def _curve_prefix(oid: str, coordinate: int) -> bytes:
    """What stands before the two coordinates of an uncompressed point on a named curve (RFC 5480 section 2)."""
    algorithm = der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(oid))
    whole = der.sequence(algorithm, der.bit_string(b"\x04" + bytes(2 * coordinate)))
    return whole[: -2 * coordinate]


_CURVE_PREFIXES: Final = tuple(
    (_curve_prefix(oid, coordinate), coordinate, name, bits) for name, oid, coordinate, bits in _CURVES
)
CURVE_OIDS: Final = {name: oid for name, oid, _, _ in _CURVES}
_ML_DSA: Final = {
    ML_DSA_44: ("PQC/mldsa44", 1312),
    ML_DSA_65: ("PQC/mldsa65", 1952),
    ML_DSA_87: ("PQC/mldsa87", 2592),
}
_HASH_ML_DSA: Final = frozenset(f"2.16.840.1.101.3.4.3.{arc}" for arc in (32, 33, 34))

_PRIMES: Final = tuple(n for n in range(3, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_PRIMORIAL: Final = math.prod(_PRIMES)

# ROCA (CVE-2017-15361): the primes of the affected chips are powers of 65537 modulo a product of small
# primes, and so are their moduli.  Those primes below are the ones where the powers are few.
_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_PRODUCT: Final = math.prod(_ROCA_PRIMES)
_ROCA_POWERS: Final = tuple((p, frozenset(pow(65537, e, p) for e in range(p - 1))) for p in _ROCA_PRIMES)

# The y coordinates of the Ed25519 points of order 1, 2, 4 and 8 (RFC 8032 section 5.1): for these
# anybody can make a signature.
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
    """The public key in a DER SubjectPublicKeyInfo.

    :raises BadPublicKey: weak, not well formed, or of a kind that this authority does not certify.
    """
    for prefix, coordinate, name, bits in _CURVE_PREFIXES:
        if spki.startswith(prefix):
            if len(spki) != len(prefix) + 2 * coordinate:
                raise BadPublicKey("the EC public key has a wrong length")
            return KeyDescription(
                KeyFamily.EC, f"EC/{name}", bits, name, spki, spki[len(prefix) - 1 :], _load(spki, "the EC public key")
            )
    try:
        return _describe(spki)
    except MalformedRequest as error:
        raise BadPublicKey(f"the public key is malformed: {error.public}") from error


def _describe(spki: bytes) -> KeyDescription:
    parts = der.parse(spki, der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("a SubjectPublicKeyInfo has two parts")
    algorithm = parts[0].expect(der.SEQUENCE).sub()
    key = parts[1].expect(der.BIT_STRING).content
    if not 1 <= len(algorithm) <= 2:
        raise MalformedRequest("an AlgorithmIdentifier has one or two parts")
    if key[:1] != b"\x00":
        raise MalformedRequest("the key is no whole number of octets")
    oid = algorithm[0].oid()
    parameters = algorithm[1].whole if len(algorithm) == 2 else None
    if oid == RSA_ENCRYPTION:
        return _describe_rsa(spki, parameters, key[1:])
    if oid == EC_PUBLIC_KEY:
        raise BadPublicKey(_ec_complaint(algorithm, key[1:]))
    if oid == ED25519:
        return _describe_ed25519(spki, parameters, key[1:])
    if oid in _ML_DSA:
        return _describe_ml_dsa(spki, oid, parameters, key[1:])
    if oid in _HASH_ML_DSA:
        raise BadPublicKey("HashML-DSA keys do not belong into certificates (RFC 9881); use ML-DSA")
    raise BadPublicKey("this kind of public key is not accepted; use RSA, EC, Ed25519 or ML-DSA", algorithm=oid)


def _ec_complaint(algorithm: list[der.Element], point: bytes) -> str:
    """Why an EC key is refused: the accepted ones were recognised before."""
    if len(algorithm) != 2:
        return "the EC public key names no curve"
    if algorithm[1].tag != der.OBJECT_IDENTIFIER:
        return "EC keys with explicit curve parameters are not accepted; use a named curve"
    if algorithm[1].oid() not in CURVE_OIDS.values():
        return "this elliptic curve is not accepted; use P-256, P-384, P-521 or secp256k1"
    if point[:1] in (b"\x02", b"\x03"):
        return "compressed EC points are not accepted; use the uncompressed form"
    return "the EC public key is no uncompressed point of its curve"


def _describe_rsa(spki: bytes, parameters: bytes | None, key: bytes) -> KeyDescription:
    if parameters != b"\x05\x00":
        raise BadPublicKey("an RSA public key has NULL as its parameters (RFC 3279 section 2.3.1)")
    numbers = der.parse(key, der.SEQUENCE).sub(der.INTEGER)
    if len(numbers) != 2:
        raise MalformedRequest("an RSA public key has two numbers")
    if numbers[0].end - numbers[0].start > RSA_MAXIMUM_BITS // 8 + 1:
        raise BadPublicKey(f"the RSA key is larger than {RSA_MAXIMUM_BITS} bits")
    modulus, exponent = numbers[0].integer(), numbers[1].integer()
    bits = modulus.bit_length()
    if modulus <= 0 or exponent <= 0:
        raise BadPublicKey("the numbers of an RSA key are positive")
    if bits < RSA_MINIMUM_BITS:
        raise BadPublicKey(f"the RSA key has {bits} bits; at least {RSA_MINIMUM_BITS} are required")
    if bits > RSA_MAXIMUM_BITS:
        raise BadPublicKey(f"the RSA key has {bits} bits; at most {RSA_MAXIMUM_BITS} are accepted")
    if exponent < 65537 or exponent % 2 == 0 or exponent.bit_length() > 64:
        raise BadPublicKey("the RSA public exponent must be odd, at least 65537 and below 2^64")
    check_modulus(modulus)
    return KeyDescription(KeyFamily.RSA, f"RSA/{bits}", bits, None, spki, key, _load(spki, "the RSA public key"))


def check_modulus(modulus: int) -> None:
    """Look for moduli that are known to be easy to factor.

    :raises BadPublicKey: even, with a prime factor below 2000, or with the ROCA fingerprint (CVE-2017-15361).
    """
    if modulus % 2 == 0 or math.gcd(modulus, _PRIMORIAL) != 1:
        raise BadPublicKey("the RSA modulus has a small factor")
    rest = modulus % _ROCA_PRODUCT
    if all(rest % prime in powers for prime, powers in _ROCA_POWERS):
        raise BadPublicKey("the RSA key was made by a chip with the ROCA weakness (CVE-2017-15361)")


def _describe_ed25519(spki: bytes, parameters: bytes | None, key: bytes) -> KeyDescription:
    if parameters is not None:
        raise BadPublicKey("an Ed25519 public key has no parameters (RFC 8410 section 3)")
    if len(key) != 32:
        raise BadPublicKey(f"an Ed25519 public key has 32 octets, not {len(key)}")
    y = int.from_bytes(key, "little") & (2**255 - 1)
    if y >= _ED25519_P or y in _ED25519_SMALL_ORDER:
        raise BadPublicKey("the Ed25519 public key is a point of small order or not reduced")
    return KeyDescription(KeyFamily.ED25519, "Ed25519", 256, None, spki, key, _load(spki, "the Ed25519 public key"))


def _describe_ml_dsa(spki: bytes, oid: str, parameters: bytes | None, key: bytes) -> KeyDescription:
    text, size = _ML_DSA[oid]
    if parameters is not None:
        raise BadPublicKey("an ML-DSA public key has no parameters (RFC 9881 section 2)")
    if len(key) != size:
        raise BadPublicKey(f"this ML-DSA public key has {size} octets, not {len(key)} (RFC 9881 section 4)")
    return KeyDescription(KeyFamily.ML_DSA, text, size * 8, None, spki, key, _load(spki, "the ML-DSA public key"))


def _load(spki: bytes, what: str) -> PublicKey:
    try:
        return cast(PublicKey, serialization.load_der_public_key(spki))
    except (ValueError, PycaUnsupported) as error:
        raise BadPublicKey(f"{what} is not valid") from error
