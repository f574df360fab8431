"""Public keys as a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): parsed strictly, then loaded.

Only one encoding of a key is accepted, so that it has one identifier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, cast

from cryptography.exceptions import InternalError
from cryptography.exceptions import UnsupportedAlgorithm as PycaUnsupported
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from pikachu.core.errors import BadPublicKey, MalformedRequest
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

RSA_MAXIMUM_BITS: Final = 8192
ED25519_SIZE: Final = 32
_EXPONENT_MAXIMUM_BITS: Final = 64


class KeyFamily(StrEnum):
    """The family of a key: the part of a key type before the slash."""

    RSA = "RSA"
    EC = "EC"
    ED25519 = "Ed25519"
    ML_DSA = "PQC"


class RSABounds(NamedTuple):
    """The smallest accepted RSA key; the largest has 8192 bits and an odd exponent of 64 bits."""

    minimum_bits: int
    minimum_exponent: int


#: For the keys of certificates and CAs.
CERTIFIED: Final = RSABounds(2048, 65537)
#: For the keys of devices that only sign a message and receive the response.
MESSAGES: Final = RSABounds(1024, 3)


@dataclass(frozen=True, slots=True)
class PublicKeyFields:
    """A SubjectPublicKeyInfo with a type and lengths that are safe to load.

    :ivar text: the key type: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44``.
    :ivar bits: size of the modulus or the field; for ML-DSA, of the encoded public key.
    :ivar curve: OpenSSL's name of the curve, for EC keys.
    :ivar key_bytes: the content of the BIT STRING.
    :ivar modulus: the modulus of an RSA key, else 0.
    """

    family: KeyFamily
    text: str
    bits: int
    curve: str | None
    spki: bytes = field(repr=False)
    key_bytes: bytes = field(repr=False)
    modulus: int = field(default=0, repr=False)


class Curve(NamedTuple):
    """A named curve.

    :ivar name: OpenSSL's name.
    :ivar size: the size of a coordinate in bytes.
    """

    name: str
    oid: str
    size: int
    bits: int


CURVES: Final = (
    Curve("prime256v1", "1.2.840.10045.3.1.7", 32, 256),
    Curve("secp384r1", "1.3.132.0.34", 48, 384),
    Curve("secp521r1", "1.3.132.0.35", 66, 521),
    Curve("secp256k1", "1.3.132.0.10", 32, 256),
)
CURVES_BY_OID: Final = {curve.oid: curve for curve in CURVES}


def _point_prefix(curve: Curve) -> bytes:
    """Return the encoding before the two coordinates of an uncompressed point (RFC 5480 section 2)."""
    algorithm = der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(curve.oid))
    whole = der.sequence(algorithm, der.bit_string(b"\x04" + bytes(2 * curve.size)))
    return whole[: -2 * curve.size]


_POINT_PREFIXES: Final = tuple((_point_prefix(curve), curve) for curve in CURVES)
_ML_DSA: Final = {
    ML_DSA_44: ("PQC/mldsa44", 1312),
    ML_DSA_65: ("PQC/mldsa65", 1952),
    ML_DSA_87: ("PQC/mldsa87", 2592),
}
_HASH_ML_DSA: Final = frozenset(f"2.16.840.1.101.3.4.3.{arc}" for arc in (32, 33, 34))
_FAMILY_NAMES: Final = {KeyFamily.ML_DSA: "ML-DSA"}


def read_public_key(spki: bytes, bounds: RSABounds = CERTIFIED) -> PublicKeyFields:
    """Parse a DER SubjectPublicKeyInfo, without computations on the key.

    :raises BadPublicKey: the key is malformed, too small or too large, or of a type that is not accepted.
    """
    for prefix, curve in _POINT_PREFIXES:
        if spki.startswith(prefix):
            if len(spki) != len(prefix) + 2 * curve.size:
                raise BadPublicKey("the EC public key has a wrong length")
            return PublicKeyFields(
                KeyFamily.EC, f"EC/{curve.name}", curve.bits, curve.name, spki, spki[len(prefix) - 1 :]
            )
    try:
        return _read(spki, bounds)
    except MalformedRequest as error:
        raise BadPublicKey(f"the public key is malformed: {error.public}") from error


def load_public_key(fields: PublicKeyFields) -> PublicKey:
    """Load a parsed key with the library.

    :raises BadPublicKey: its point is not on its curve, or the library rejects it for another reason.
    """
    try:
        return cast(PublicKey, serialization.load_der_public_key(fields.spki))
    except (ValueError, PycaUnsupported, InternalError) as error:
        name = _FAMILY_NAMES.get(fields.family, fields.family.value)
        raise BadPublicKey(f"the {name} public key is not valid") from error


def rsa_public_key_info(modulus: bytes, exponent: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of an RSA key, from two DER INTEGERs."""
    algorithm = der.sequence(der.oid(RSA_ENCRYPTION), der.null())
    return der.sequence(algorithm, der.bit_string(der.sequence(modulus, exponent)))


def bound_modulus(modulus: der.Element) -> None:
    """Reject a modulus by its length, before converting it to a number.

    :raises BadPublicKey: the modulus is larger than that of the largest accepted key.
    """
    if modulus.end - modulus.start > RSA_MAXIMUM_BITS // 8 + 1:
        raise BadPublicKey(f"the RSA key is larger than {RSA_MAXIMUM_BITS} bits")


def curve_of(parameters: der.Element | None) -> Curve:
    """Return the curve in the parameters of an EC key.

    :raises BadPublicKey: the curve is absent, explicit, or not one of the four accepted ones.
    """
    if parameters is None:
        raise BadPublicKey("the EC key names no curve")
    if parameters.tag != der.OBJECT_IDENTIFIER:
        raise BadPublicKey("EC keys with explicit curve parameters are not accepted; use a named curve")
    curve = CURVES_BY_OID.get(parameters.oid())
    if curve is None:
        raise BadPublicKey("this elliptic curve is not accepted; use P-256, P-384, P-521 or secp256k1")
    return curve


def _read(spki: bytes, bounds: RSABounds) -> PublicKeyFields:
    parts = der.parse(spki, der.SEQUENCE).sub()
    if len(parts) != 2:
        raise MalformedRequest("a SubjectPublicKeyInfo has two parts")
    algorithm = parts[0].expect(der.SEQUENCE).sub()
    key = parts[1].expect(der.BIT_STRING).content
    if not 1 <= len(algorithm) <= 2:
        raise MalformedRequest("an AlgorithmIdentifier has one or two parts")
    if key[:1] != b"\x00":
        raise MalformedRequest("the key is no whole number of bytes")
    oid = algorithm[0].oid()
    parameters = algorithm[1] if len(algorithm) == 2 else None
    if oid == RSA_ENCRYPTION:
        return _read_rsa(spki, parameters, key[1:], bounds)
    if oid == EC_PUBLIC_KEY:
        curve_of(parameters)
        # Uncompressed points of the named curves were recognised before.
        if key[1:2] in (b"\x02", b"\x03"):
            raise BadPublicKey("compressed EC points are not accepted; use the uncompressed form")
        raise BadPublicKey("the EC public key is no uncompressed point of its curve")
    if oid == ED25519:
        if parameters is not None:
            raise BadPublicKey("an Ed25519 public key has no parameters (RFC 8410 section 3)")
        if len(key) != 1 + ED25519_SIZE:
            raise BadPublicKey(f"an Ed25519 public key has {ED25519_SIZE} bytes, not {len(key) - 1}")
        return PublicKeyFields(KeyFamily.ED25519, "Ed25519", 256, None, spki, key[1:])
    if oid in _ML_DSA:
        text, size = _ML_DSA[oid]
        if parameters is not None:
            raise BadPublicKey("an ML-DSA public key has no parameters (RFC 9881 section 2)")
        if len(key) != 1 + size:
            raise BadPublicKey(f"this ML-DSA public key has {size} bytes, not {len(key) - 1} (RFC 9881 section 4)")
        return PublicKeyFields(KeyFamily.ML_DSA, text, size * 8, None, spki, key[1:])
    if oid in _HASH_ML_DSA:
        raise BadPublicKey("HashML-DSA keys do not belong into certificates (RFC 9881); use ML-DSA")
    raise BadPublicKey("this kind of public key is not accepted; use RSA, EC, Ed25519 or ML-DSA", algorithm=oid)


def _read_rsa(spki: bytes, parameters: der.Element | None, key: bytes, bounds: RSABounds) -> PublicKeyFields:
    if parameters is None or parameters.whole != b"\x05\x00":
        raise BadPublicKey("an RSA public key has NULL as its parameters (RFC 3279 section 2.3.1)")
    numbers = der.parse(key, der.SEQUENCE).sub(der.INTEGER)
    if len(numbers) != 2:
        raise MalformedRequest("an RSA public key has two numbers")
    bound_modulus(numbers[0])
    if numbers[1].end - numbers[1].start > _EXPONENT_MAXIMUM_BITS // 8 + 1:
        raise BadPublicKey(_exponent_refusal(bounds))
    modulus, exponent = numbers[0].integer(), numbers[1].integer()
    bits = modulus.bit_length()
    if modulus <= 0 or exponent <= 0:
        raise BadPublicKey("the numbers of an RSA key are positive")
    if bits < bounds.minimum_bits:
        raise BadPublicKey(f"the RSA key has {bits} bits; at least {bounds.minimum_bits} are required")
    if bits > RSA_MAXIMUM_BITS:
        raise BadPublicKey(f"the RSA key has {bits} bits; at most {RSA_MAXIMUM_BITS} are accepted")
    if exponent < bounds.minimum_exponent or exponent % 2 == 0 or exponent.bit_length() > _EXPONENT_MAXIMUM_BITS:
        raise BadPublicKey(_exponent_refusal(bounds))
    if modulus % 2 == 0:
        raise BadPublicKey("the RSA modulus has a small factor")
    return PublicKeyFields(KeyFamily.RSA, f"RSA/{bits}", bits, None, spki, key, modulus)


def _exponent_refusal(bounds: RSABounds) -> str:
    return f"the RSA public exponent must be odd, at least {bounds.minimum_exponent} and below 2^64"
