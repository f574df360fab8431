"""Signature algorithms: AlgorithmIdentifiers, the accepted algorithms, and verification.

Encodings are those of RFC 4055 and 8017 (RSA), RFC 5758 (ECDSA), RFC 8410 (Ed25519) and RFC 9881 (ML-DSA):
NULL parameters for RSA, none for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as PycaUnsupported
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pikachu.core.errors import MalformedRequest, PikachuError, ProofOfPossessionFailed, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.spki import ED25519, ML_DSA_44, ML_DSA_65, ML_DSA_87, KeyDescription, KeyFamily, PublicKey

RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
_MGF1: Final = "1.2.840.113549.1.1.8"

_HASH_OIDS: Final = {
    "2.16.840.1.101.3.4.2.1": "SHA-256",
    "2.16.840.1.101.3.4.2.2": "SHA-384",
    "2.16.840.1.101.3.4.2.3": "SHA-512",
    "1.3.14.3.2.26": "SHA-1",
}
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
    "SHA-1": hashes.SHA1(),  # noqa: S303 - only where the caller allows it
    "MD5": hashes.MD5(),  # noqa: S303 - only where the caller allows it
}
# Bytes: more than the largest RSA key leaves beside a digest.
_MAXIMUM_SALT: Final = 1024
_STRONG: Final = ("SHA-256", "SHA-384", "SHA-512")
_RSA: Final = {
    "1.2.840.113549.1.1.11": "SHA-256",
    "1.2.840.113549.1.1.12": "SHA-384",
    "1.2.840.113549.1.1.13": "SHA-512",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.3.14.3.2.29": "SHA-1",
    "1.2.840.113549.1.1.4": "MD5",
}
_ECDSA: Final = {
    "1.2.840.10045.4.3.2": "SHA-256",
    "1.2.840.10045.4.3.3": "SHA-384",
    "1.2.840.10045.4.3.4": "SHA-512",
    "1.2.840.10045.4.1": "SHA-1",
}
_WITHOUT_NULL: Final = {der.sequence(der.oid(oid), der.null()): der.sequence(der.oid(oid)) for oid in _ECDSA}
_ECDSA_SIGNERS: Final = {name: ec.ECDSA(_HASHES[name]) for name in set(_ECDSA.values())}
_ML_DSA_KEYS: Final = {ML_DSA_44: "PQC/mldsa44", ML_DSA_65: "PQC/mldsa65", ML_DSA_87: "PQC/mldsa87"}
_PKCS1: Final = padding.PKCS1v15()


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """An accepted signature algorithm.

    :ivar der: the AlgorithmIdentifier, as received or as encoded by this CA.
    :ivar oid: dotted.
    :ivar family: the family of the keys for this algorithm.
    :ivar hash_name: ``SHA-256`` …; ``None`` for Ed25519 and ML-DSA, which include hashing.
    :ivar key_type: the only matching key type, for Ed25519 and ML-DSA.
    :ivar pss_salt: bytes of salt for RSASSA-PSS; ``None`` for all others.
    :ivar text: the display name.
    """

    der: bytes
    oid: str
    family: KeyFamily
    hash_name: str | None
    text: str
    key_type: str | None = None
    pss_salt: int | None = None

    @property
    def hash(self) -> hashes.HashAlgorithm | None:
        """The separate digest of the algorithm, or ``None``."""
        return None if self.hash_name is None else _HASHES[self.hash_name]


def _identifier(oid: str, family: KeyFamily) -> bytes:
    return der.sequence(der.oid(oid), der.null()) if family is KeyFamily.RSA else der.sequence(der.oid(oid))


def _by_key_type() -> dict[str, SignatureAlgorithm]:
    chosen = {
        "RSA": "1.2.840.113549.1.1.11",
        "EC/prime256v1": "1.2.840.10045.4.3.2",
        "EC/secp384r1": "1.2.840.10045.4.3.3",
        "EC/secp521r1": "1.2.840.10045.4.3.4",
        "EC/secp256k1": "1.2.840.10045.4.3.2",
        "Ed25519": ED25519,
        **{key_type: oid for oid, key_type in _ML_DSA_KEYS.items()},
    }
    return {
        key_type: parse_algorithm(_identifier(oid, KeyFamily(key_type.partition("/")[0])))
        for key_type, oid in chosen.items()
    }


def signature_algorithm(key: KeyDescription) -> SignatureAlgorithm:
    """Return the algorithm with which an issuer signs: SHA-256 for RSA, the digest that matches the curve for EC."""
    return algorithm_for_key_type(key.text)


def algorithm_for_key_type(key_type: str) -> SignatureAlgorithm:
    """Return the algorithm of :func:`signature_algorithm` for a key type such as ``RSA/2048`` or ``EC/prime256v1``.

    :raises UnsupportedAlgorithm: the type is unknown.
    """
    algorithm = _BY_KEY_TYPE.get("RSA" if key_type.startswith("RSA/") else key_type)
    if algorithm is None:
        raise UnsupportedAlgorithm("no such type of key", key_type=key_type)
    return algorithm


def request_algorithm(key: KeyDescription, digest: str | None) -> SignatureAlgorithm:
    """Return the algorithm to sign a CSR with its key.

    :param digest: ``sha256`` … for RSA and EC; ``None`` selects the algorithm of :func:`signature_algorithm`.  Other
        types of key ignore it.
    :raises UnsupportedAlgorithm: signatures with that digest are not accepted.
    """
    by_hash = {KeyFamily.RSA: _RSA, KeyFamily.EC: _ECDSA}.get(key.family)
    if digest is None or by_hash is None:
        return signature_algorithm(key)
    name = f"SHA-{digest.removeprefix('sha')}"
    oid = next((oid for oid, known in by_hash.items() if known == name and name in _STRONG), None)
    if oid is None:
        raise UnsupportedAlgorithm(f"signatures with {digest} are not accepted here; write default_md = sha256")
    return parse_algorithm(_identifier(oid, key.family))


def without_null(identifier: bytes) -> bytes:
    """Return a DER AlgorithmIdentifier of ECDSA without the NULL parameters that JDK 11 and others write into CSRs.

    Other identifiers stay as they are.
    """
    return _WITHOUT_NULL.get(identifier, identifier)


@lru_cache(maxsize=256)
def parse_algorithm(identifier: bytes) -> SignatureAlgorithm:
    """Parse the DER AlgorithmIdentifier of a signature.

    :raises MalformedRequest: *identifier* is malformed.
    :raises UnsupportedAlgorithm: the algorithm is never accepted, or has wrong parameters.
    """
    parts = der.parse(identifier, der.SEQUENCE).sub()
    if not 1 <= len(parts) <= 2:
        raise MalformedRequest("an AlgorithmIdentifier has one or two parts")
    oid = parts[0].oid()
    parameters = parts[1] if len(parts) == 2 else None
    if oid in _RSA:
        # RFC 4055 section 5: encoders write NULL, and decoders accept its absence.
        if parameters is not None and parameters.whole != b"\x05\x00":
            raise UnsupportedAlgorithm("the signature algorithm has parameters that do not belong there")
        return SignatureAlgorithm(identifier, oid, KeyFamily.RSA, _RSA[oid], f"RSA with {_RSA[oid]}")
    if oid == RSASSA_PSS:
        return _parse_pss(identifier, parameters)
    if parameters is not None and (oid in _ECDSA or oid in _ML_DSA_KEYS or oid == ED25519):
        raise UnsupportedAlgorithm("the signature algorithm has parameters that do not belong there")
    if oid in _ECDSA:
        return SignatureAlgorithm(identifier, oid, KeyFamily.EC, _ECDSA[oid], f"ECDSA with {_ECDSA[oid]}")
    if oid == ED25519:
        return SignatureAlgorithm(identifier, oid, KeyFamily.ED25519, None, "Ed25519", "Ed25519")
    if oid in _ML_DSA_KEYS:
        key_type = _ML_DSA_KEYS[oid]
        return SignatureAlgorithm(identifier, oid, KeyFamily.ML_DSA, None, f"ML-DSA-{key_type[-2:]}", key_type)
    raise UnsupportedAlgorithm("this signature algorithm is not accepted", algorithm=oid)


def _parse_pss(identifier: bytes, parameters: der.Element | None) -> SignatureAlgorithm:
    """Parse RSASSA-PSS-params (RFC 4055 section 3.1); the digests must be explicit, as their default is SHA-1."""
    refusal = "RSASSA-PSS is accepted with one of SHA-256, SHA-384, SHA-512 for both of its digests"
    fields = {part.tag: part.sub() for part in (parameters.expect(der.SEQUENCE).sub() if parameters else [])}
    digest, mask = fields.get(0xA0), fields.get(0xA1)
    if (
        digest is None
        or mask is None
        or len(digest) != 1
        or len(mask) != 1
        or not fields.keys() <= {0xA0, 0xA1, 0xA2, 0xA3}
    ):
        raise UnsupportedAlgorithm(refusal)
    mask_parts = mask[0].expect(der.SEQUENCE).sub()
    hash_name = _hash_of(digest[0])
    if len(mask_parts) != 2 or mask_parts[0].oid() != _MGF1 or hash_name in (None, "SHA-1"):
        raise UnsupportedAlgorithm(refusal)
    if _hash_of(mask_parts[1]) != hash_name:
        raise UnsupportedAlgorithm(refusal)
    salt = _single_integer(fields.get(0xA2), 20)
    # Verification refuses a salt that is longer than the key allows; OpenSSL 3.0 uses the longest one.
    if not 0 <= salt <= _MAXIMUM_SALT or _single_integer(fields.get(0xA3), 1) != 1:
        raise UnsupportedAlgorithm("the RSASSA-PSS parameters are not accepted")
    return SignatureAlgorithm(
        identifier, RSASSA_PSS, KeyFamily.RSA, hash_name, f"RSASSA-PSS with {hash_name}", pss_salt=salt
    )


def _hash_of(algorithm: der.Element) -> str | None:
    parts = algorithm.expect(der.SEQUENCE).sub()
    if not parts or len(parts) > 2 or (len(parts) == 2 and parts[1].whole != b"\x05\x00"):
        return None
    return _HASH_OIDS.get(parts[0].oid())


def _single_integer(parts: list[der.Element] | None, default: int) -> int:
    if parts is None:
        return default
    if len(parts) != 1:
        raise MalformedRequest("the RSASSA-PSS parameters are malformed")
    return parts[0].integer()


def verify_signature(
    key: KeyDescription,
    algorithm: bytes,
    signature: bytes,
    data: bytes,
    *,
    allow_sha1: bool = False,
    allow_md5: bool = False,
    failure: Callable[[str], PikachuError] = ProofOfPossessionFailed,
) -> SignatureAlgorithm:
    """Verify *signature* over *data*; return its algorithm.

    :param algorithm: the DER AlgorithmIdentifier of the signature.
    :param failure: builds the error for a signature that does not verify, from the public message.
    :raises MalformedRequest: *algorithm* is not an AlgorithmIdentifier.
    :raises UnsupportedAlgorithm: the algorithm is not accepted; SHA-1 and MD5 require permission.
    :raises ProofOfPossessionFailed: the signature does not verify; *failure* may build another error.
    """
    parsed = parse_algorithm(algorithm)
    if (parsed.hash_name == "SHA-1" and not allow_sha1) or (parsed.hash_name == "MD5" and not allow_md5):
        raise UnsupportedAlgorithm(f"signatures with {parsed.hash_name} are not accepted")
    if parsed.family is not key.family or parsed.key_type not in (None, key.text):
        raise failure(f"a signature by {parsed.text} can't be made with the key {key.text}")
    try:
        _verify(key.public_key, parsed, signature, data)
    except (InvalidSignature, ValueError, PycaUnsupported) as error:
        raise failure("the signature does not verify with the public key") from error
    return parsed


def _verify(key: PublicKey, algorithm: SignatureAlgorithm, signature: bytes, data: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, _ECDSA_SIGNERS[str(algorithm.hash_name)])
    elif isinstance(key, rsa.RSAPublicKey):
        digest = _HASHES[str(algorithm.hash_name)]
        if algorithm.pss_salt is None:
            key.verify(signature, data, _PKCS1, digest)
        else:
            key.verify(signature, data, padding.PSS(padding.MGF1(digest), algorithm.pss_salt), digest)
    else:
        key.verify(signature, data)


_BY_KEY_TYPE: Final = _by_key_type()
