"""Unencrypted private keys: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC 1 (RFC 5915).

Every number of a key is parsed within bounds, and the key is built from the numbers: no library parses the file.  An
RSA key is checked by arithmetic only.  A primality test would take seconds with the GIL held, and a key with
composite factors only makes signatures that do not verify.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from OpenSSL import crypto

from pikachu.core.errors import BadPublicKey, MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.loading.public_keys import (
    EC_PUBLIC_KEY,
    ED25519,
    ED25519_SIZE,
    ML_DSA_44,
    ML_DSA_65,
    ML_DSA_87,
    RSA_ENCRYPTION,
    Curve,
    bound_modulus,
    curve_of,
    read_public_key,
    rsa_public_key_info,
)

PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
MLDSAKind: TypeAlias = type[mldsa.MLDSA44PrivateKey] | type[mldsa.MLDSA65PrivateKey] | type[mldsa.MLDSA87PrivateKey]

#: The library's class for each curve, by OpenSSL's name of the curve.
CURVE_CLASSES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "prime256v1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}
#: The name and the library's class for each ML-DSA parameter set.
ML_DSA_KINDS: Final[dict[str, tuple[str, MLDSAKind]]] = {
    ML_DSA_44: ("mldsa44", mldsa.MLDSA44PrivateKey),
    ML_DSA_65: ("mldsa65", mldsa.MLDSA65PrivateKey),
    ML_DSA_87: ("mldsa87", mldsa.MLDSA87PrivateKey),
}
# The sizes of expanded keys (FIPS 204 table 2).
_EXPANDED_SIZES: Final = {ML_DSA_44: 2560, ML_DSA_65: 4032, ML_DSA_87: 4896}
# Private keys under this OID are ordinary RSA keys.
_RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
_SEED_SIZE: Final = 32
_PKCS1_NUMBERS: Final = 9
_UNREADABLE: Final = "the private key can't be read"
_NO_ML_DSA_FORM: Final = "this ML-DSA private key has none of the forms of RFC 9881; the file must hold the seed"
_OTHER_EXPANDED_KEY: Final = "the seed and the expanded form of the ML-DSA private key do not belong together"
_OTHER_PUBLIC_KEY: Final = "the private key's file holds another key's public key"


def load_unencrypted_key(data: bytes) -> PrivateKey:
    """Load a DER private key.

    :raises MalformedRequest: *data* is malformed, or its parts do not match.
    :raises UnsupportedAlgorithm: the type of the key is not accepted.
    :raises BadPublicKey: its size, curve or exponent is not accepted.
    """
    parts = der.parse(data, der.SEQUENCE).sub()
    tags = [part.tag for part in parts[:3]]
    if tags[:1] != [der.INTEGER]:
        raise MalformedRequest(_UNREADABLE)
    if tags[1:] == [der.SEQUENCE, der.OCTET_STRING]:
        return _load_pkcs8(parts)
    if tags[1:2] == [der.OCTET_STRING]:
        return _load_sec1(parts, None)
    if tags[1:2] == [der.INTEGER]:
        return _load_pkcs1(parts)
    raise MalformedRequest(_UNREADABLE)


def _load_pkcs8(parts: list[der.Element]) -> PrivateKey:
    """Load a OneAsymmetricKey (RFC 5958 section 2), whose optional public key must match."""
    algorithm = parts[1].sub()
    content = parts[2].content
    if not 1 <= len(algorithm) <= 2:
        raise MalformedRequest(_UNREADABLE)
    oid = algorithm[0].oid()
    parameters = algorithm[1] if len(algorithm) == 2 else None
    key: PrivateKey
    if oid in (RSA_ENCRYPTION, _RSASSA_PSS):
        key = _load_pkcs1(der.parse(content, der.SEQUENCE).sub())
    elif oid == EC_PUBLIC_KEY:
        key = _load_sec1(der.parse(content, der.SEQUENCE).sub(), curve_of(parameters))
    elif oid == ED25519:
        key = _load_ed25519(parameters, content)
    elif oid in ML_DSA_KINDS:
        key = _load_ml_dsa(oid, parameters, content)
    else:
        raise UnsupportedAlgorithm(
            "this kind of private key is not accepted; use RSA, EC, Ed25519 or ML-DSA", algorithm=oid
        )
    copies = [part.content for part in parts[3:] if part.tag in (0x81, 0xA1)]
    if copies:
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        expected = der.parse(public).sub()[1].content
        if any(copy not in (expected, der.tlv(der.BIT_STRING, expected)) for copy in copies):
            raise MalformedRequest(_OTHER_PUBLIC_KEY)
    return key


def _load_pkcs1(parts: list[der.Element]) -> rsa.RSAPrivateKey:
    """Load an RSAPrivateKey (RFC 8017 appendix A.1.2)."""
    if len(parts) > 1:
        bound_modulus(parts[1].expect(der.INTEGER))
    if len(parts) > _PKCS1_NUMBERS:
        raise UnsupportedAlgorithm("RSA keys of more than two primes are not accepted")
    if len(parts) != _PKCS1_NUMBERS or any(part.tag != der.INTEGER for part in parts):
        raise MalformedRequest(_UNREADABLE)
    size = parts[1].end - parts[1].start
    if any(part.end - part.start > size for part in parts):
        raise BadPublicKey("a number of the RSA private key is larger than its modulus")
    read_public_key(rsa_public_key_info(parts[1].whole, parts[2].whole))
    version, n, e, d, p, q, dp, dq, inverse = (part.integer() for part in parts)
    if version != 0:
        raise UnsupportedAlgorithm("RSA keys of more than two primes are not accepted")
    if (
        min(p, q) < 3
        or p == q
        or p * q != n
        or not 0 < d < n
        or dp != d % (p - 1)
        or dq != d % (q - 1)
        or e * dp % (p - 1) != 1
        or e * dq % (q - 1) != 1
        or not 0 < inverse < p
        or inverse * q % p != 1
    ):
        raise MalformedRequest("the numbers of the RSA private key do not belong together")
    numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, inverse, rsa.RSAPublicNumbers(e, n))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _load_sec1(parts: list[der.Element], curve: Curve | None) -> ec.EllipticCurvePrivateKey:
    """Load an ECPrivateKey (RFC 5915 section 3).

    :param curve: the curve in PKCS#8; ``None`` when the key itself must specify it.
    """
    if not 2 <= len(parts) <= 4 or parts[0].tag != der.INTEGER or parts[0].integer() != 1:
        raise MalformedRequest(_UNREADABLE)
    scalar = parts[1].expect(der.OCTET_STRING).content
    optional = {part.tag: der.parse(part.content) for part in parts[2:]}
    if not optional.keys() <= {0xA0, 0xA1}:
        raise MalformedRequest(_UNREADABLE)
    key_curve = curve_of(optional.get(0xA0)) if 0xA0 in optional or curve is None else curve
    if curve not in (None, key_curve):
        raise MalformedRequest("the private key names two curves")
    # Some encoders prepend a zero byte.
    if not 1 <= len(scalar) <= key_curve.size + 1:
        raise MalformedRequest(f"the private key has {len(scalar)} bytes; on its curve it has {key_curve.size}")
    try:
        key = ec.derive_private_key(int.from_bytes(scalar, "big"), CURVE_CLASSES[key_curve.name]())
    except ValueError as error:
        raise MalformedRequest("the private key is no key of its curve") from error
    if 0xA1 in optional:
        forms = serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint
        points = [key.public_key().public_bytes(serialization.Encoding.X962, form) for form in forms]
        # OpenSSL also writes the hybrid form (X9.62): both coordinates, and the sign of y in the first byte.
        points.append(bytes((6 + points[0][-1] % 2,)) + points[0][1:])
        if optional[0xA1].expect(der.BIT_STRING).content not in [b"\x00" + point for point in points]:
            raise MalformedRequest(_OTHER_PUBLIC_KEY)
    return key


def _load_ed25519(parameters: der.Element | None, content: bytes) -> ed25519.Ed25519PrivateKey:
    """Load a CurvePrivateKey (RFC 8410 section 7)."""
    if parameters is not None:
        raise MalformedRequest("an Ed25519 private key has no parameters (RFC 8410 section 3)")
    seed = der.parse(content, der.OCTET_STRING).content
    if len(seed) != ED25519_SIZE:
        raise MalformedRequest(f"an Ed25519 private key has {ED25519_SIZE} bytes, not {len(seed)}")
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


def _load_ml_dsa(oid: str, parameters: der.Element | None, content: bytes) -> PrivateKey:
    """Load the CHOICE of RFC 9881 section 6: seed [0], expandedKey, or both."""
    kind = ML_DSA_KINDS[oid][1]
    if parameters is not None:
        raise MalformedRequest("an ML-DSA private key has no parameters (RFC 9881 section 2)")
    try:
        choice = der.parse(content)
    except MalformedRequest as error:
        # OpenSSL can write a bare seed or a bare expanded key, whose form is not marked.
        raise MalformedRequest(_NO_ML_DSA_FORM) from error
    if choice.tag == 0x80:
        seed, expanded = choice.content, None
    elif choice.tag == der.SEQUENCE:
        halves = choice.sub(der.OCTET_STRING)
        if len(halves) != 2:
            raise MalformedRequest("an ML-DSA private key has a seed and an expanded key")
        seed, expanded = halves[0].content, halves[1].content
    elif choice.tag == der.OCTET_STRING:
        raise MalformedRequest("this ML-DSA private key has only the expanded form; the file must hold the seed")
    else:
        raise MalformedRequest(_NO_ML_DSA_FORM)
    if len(seed) != _SEED_SIZE:
        raise MalformedRequest(f"the seed of an ML-DSA private key has {_SEED_SIZE} bytes, not {len(seed)}")
    if expanded is not None:
        _check_expanded(oid, seed, expanded)
    return kind.from_seed_bytes(seed)


def _check_expanded(oid: str, seed: bytes, expanded: bytes) -> None:
    """Check that *expanded* is derived from *seed* (RFC 9881 section 8.1), which OpenSSL does when it loads both.

    pyca/cryptography loads seeds only; everything that OpenSSL parses here is encoded from values of known sizes.
    """
    if len(expanded) != _EXPANDED_SIZES[oid]:
        raise MalformedRequest(_OTHER_EXPANDED_KEY)
    both = der.sequence(der.octet_string(seed), der.octet_string(expanded))
    info = der.sequence(der.integer(0), der.sequence(der.oid(oid)), der.octet_string(both))
    try:
        crypto.load_privatekey(crypto.FILETYPE_ASN1, info)
    except crypto.Error:
        raise MalformedRequest(_OTHER_EXPANDED_KEY) from None
