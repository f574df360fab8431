"""The digests, ciphers and signature algorithms of CMS messages, and the sets that are allowed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from pikachu.cms.ber import bounded
from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der

RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
RSAES_OAEP: Final = "1.2.840.113549.1.1.7"
MGF1: Final = "1.2.840.113549.1.1.8"
P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"


class Digest(StrEnum):
    """A message digest, by its name in ``hashlib``."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def algorithm(self) -> bytes:
        """The DER AlgorithmIdentifier; SHA-2 without parameters (RFC 5754 section 2), MD5 and SHA-1 with NULL."""
        return _DIGEST_IDENTIFIERS[self]

    @property
    def primitive(self) -> hashes.HashAlgorithm:
        """The object of pyca/cryptography."""
        return _PRIMITIVES[self]

    def of(self, content: bytes) -> bytes:
        """Return the digest of *content*."""
        return hashlib.new(self.value, content, usedforsecurity=False).digest()


class Cipher(StrEnum):
    """A content-encryption algorithm; all are block ciphers in CBC mode with PKCS#7 padding."""

    DES = "des-cbc"
    DES3 = "des-ede3-cbc"
    AES128 = "aes-128-cbc"
    AES192 = "aes-192-cbc"
    AES256 = "aes-256-cbc"

    @property
    def key_size(self) -> int:
        """The size of a key in bytes."""
        return _CIPHER_SIZES[self][0]

    @property
    def block_size(self) -> int:
        """The size of a block, and of the initialisation vector, in bytes."""
        return _CIPHER_SIZES[self][1]

    @property
    def oid(self) -> str:
        """The dotted object identifier."""
        return _CIPHER_OIDS[self]

    def primitive(self, key: bytes) -> BlockCipherAlgorithm:
        """Return the block cipher with *key*; single DES is triple DES with one key used three times."""
        if self is Cipher.DES:
            return TripleDES(key * 3)
        if self is Cipher.DES3:
            return TripleDES(key)
        return AES(key)


_DIGEST_OIDS: Final = {
    Digest.MD5: "1.2.840.113549.2.5",
    Digest.SHA1: "1.3.14.3.2.26",
    Digest.SHA256: "2.16.840.1.101.3.4.2.1",
    Digest.SHA384: "2.16.840.1.101.3.4.2.2",
    Digest.SHA512: "2.16.840.1.101.3.4.2.3",
}
_DIGEST_IDENTIFIERS: Final = {
    digest: der.sequence(der.oid(oid), der.null())
    if digest in (Digest.MD5, Digest.SHA1)
    else der.sequence(der.oid(oid))
    for digest, oid in _DIGEST_OIDS.items()
}
_PRIMITIVES: Final[dict[Digest, hashes.HashAlgorithm]] = {
    Digest.MD5: hashes.MD5(),  # noqa: S303 - for clients behind the legacy switch
    Digest.SHA1: hashes.SHA1(),  # noqa: S303 - for clients behind the SHA-1 switch
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
_CIPHER_SIZES: Final = {
    Cipher.DES: (8, 8),
    Cipher.DES3: (24, 8),
    Cipher.AES128: (16, 16),
    Cipher.AES192: (24, 16),
    Cipher.AES256: (32, 16),
}
_CIPHER_OIDS: Final = {
    Cipher.DES: "1.3.14.3.2.7",
    Cipher.DES3: "1.2.840.113549.3.7",
    Cipher.AES128: "2.16.840.1.101.3.4.1.2",
    Cipher.AES192: "2.16.840.1.101.3.4.1.22",
    Cipher.AES256: "2.16.840.1.101.3.4.1.42",
}
# Keyed by content octets, so that the hot path compares bytes instead of formatting dotted OIDs.
_DIGESTS_BY_OID: Final = {der.oid(oid)[2:]: digest for digest, oid in _DIGEST_OIDS.items()}
_DIGESTS_BY_IDENTIFIER: Final = {
    der.sequence(der.oid(oid), parameters): digest
    for digest, oid in _DIGEST_OIDS.items()
    for parameters in (b"", der.null())
}
_CIPHERS_BY_OID: Final = {der.oid(oid)[2:]: cipher for cipher, oid in _CIPHER_OIDS.items()}


class KeyKind(StrEnum):
    """The kind of the key that signed a message."""

    RSA = "RSA"
    EC = "EC"
    OTHER = "other"


_RSA_SIGNATURES: Final = {
    Digest.MD5: "1.2.840.113549.1.1.4",
    Digest.SHA1: "1.2.840.113549.1.1.5",
    Digest.SHA256: "1.2.840.113549.1.1.11",
    Digest.SHA384: "1.2.840.113549.1.1.12",
    Digest.SHA512: "1.2.840.113549.1.1.13",
}
_ECDSA_SIGNATURES: Final = {
    Digest.SHA1: "1.2.840.10045.4.1",
    Digest.SHA256: "1.2.840.10045.4.3.2",
    Digest.SHA384: "1.2.840.10045.4.3.3",
    Digest.SHA512: "1.2.840.10045.4.3.4",
}
_OTHER_SIGNATURES: Final = (
    "1.3.101.112",  # Ed25519, which RFC 8419 section 3.1 binds to SHA-512
    "2.16.840.1.101.3.4.3.17",  # ML-DSA, for which RFC 9882 section 3.3 recommends SHA-512
    "2.16.840.1.101.3.4.3.18",
    "2.16.840.1.101.3.4.3.19",
)


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """The signature scheme of a message.

    :param digest: the digest that the signature algorithm implies; ``None``: the message's digest algorithm.
    :param salt_size: bytes, for RSASSA-PSS; ``None`` for all others.
    """

    kind: KeyKind
    digest: Digest | None
    salt_size: int | None = None


_SIGNATURES: Final[dict[bytes, SignatureScheme]] = {
    der.oid(RSA_ENCRYPTION)[2:]: SignatureScheme(KeyKind.RSA, None),
    der.oid(EC_PUBLIC_KEY)[2:]: SignatureScheme(KeyKind.EC, None),
    **{der.oid(oid)[2:]: SignatureScheme(KeyKind.RSA, digest) for digest, oid in _RSA_SIGNATURES.items()},
    **{der.oid(oid)[2:]: SignatureScheme(KeyKind.EC, digest) for digest, oid in _ECDSA_SIGNATURES.items()},
    **{der.oid(oid)[2:]: SignatureScheme(KeyKind.OTHER, Digest.SHA512) for oid in _OTHER_SIGNATURES},
}
_SIGNATURES_BY_IDENTIFIER: Final = {
    der.sequence(der.tlv(der.OBJECT_IDENTIFIER, oid), parameters): scheme
    for oid, scheme in _SIGNATURES.items()
    for parameters in (b"", der.null())
}
_PSS: Final = der.oid(RSASSA_PSS)[2:]
_MGF1: Final = der.oid(MGF1)[2:]
# OpenSSL makes the salt as long as the key allows.
_MAX_SALT: Final = 1024
RSA_ENCRYPTION_ALGORITHM: Final = der.sequence(der.oid(RSA_ENCRYPTION), der.null())


@dataclass(frozen=True, slots=True)
class AllowedAlgorithms:
    """The algorithms that a message may use (RFC 8894 section 2.9)."""

    digests: frozenset[Digest]
    ciphers: frozenset[Cipher]


MODERN: Final = AllowedAlgorithms(
    frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512}), frozenset({Cipher.AES128, Cipher.AES192, Cipher.AES256})
)
WITH_SHA1_3DES: Final = AllowedAlgorithms(MODERN.digests | {Digest.SHA1}, MODERN.ciphers | {Cipher.DES3})
LEGACY: Final = AllowedAlgorithms(frozenset(Digest), frozenset(Cipher))


def allowed_algorithms(*, sha1_3des: bool = False, legacy: bool = False) -> AllowedAlgorithms:
    """Return the allowed algorithms: also SHA-1 and triple DES, and with *legacy* MD5 and single DES too."""
    if legacy:
        return LEGACY
    return WITH_SHA1_3DES if sha1_3des else MODERN


def algorithm_identifier(element: der.Element) -> tuple[bytes, der.Element | None]:
    """Return the content octets of the OID, and the parameters, of an AlgorithmIdentifier.

    :raises MalformedRequest: *element* is malformed.
    """
    parts = bounded(element.expect(der.SEQUENCE), 2)
    if not parts:
        raise MalformedRequest("this is not an algorithm identifier")
    return parts[0].expect(der.OBJECT_IDENTIFIER).content, parts[1] if len(parts) == 2 else None


def digest_of(element: der.Element) -> Digest:
    """Return the digest that an AlgorithmIdentifier identifies.

    :raises MalformedRequest: *element* is malformed.
    :raises UnsupportedAlgorithm: the digest is not supported.
    """
    digest = _DIGESTS_BY_IDENTIFIER.get(element.whole)
    if digest is not None:
        return digest
    oid, _parameters = algorithm_identifier(element)
    digest = _DIGESTS_BY_OID.get(oid)
    if digest is None:
        raise UnsupportedAlgorithm("the message's digest algorithm is not supported", oid=oid.hex())
    return digest


def cipher_of(oid: bytes) -> Cipher:
    """Return the cipher for the content octets of an OID.

    :raises UnsupportedAlgorithm: the cipher is not supported.
    """
    cipher = _CIPHERS_BY_OID.get(oid)
    if cipher is None:
        raise UnsupportedAlgorithm("the message's encryption algorithm is not supported", oid=oid.hex())
    return cipher


def signature_of(element: der.Element) -> SignatureScheme:
    """Return the scheme that a signature's AlgorithmIdentifier identifies.

    :raises MalformedRequest: *element* is malformed.
    :raises UnsupportedAlgorithm: the algorithm is not supported.
    """
    scheme = _SIGNATURES_BY_IDENTIFIER.get(element.whole)
    if scheme is not None:
        return scheme
    oid, parameters = algorithm_identifier(element)
    if oid == _PSS:
        return _pss(parameters)
    scheme = _SIGNATURES.get(oid)
    if scheme is None:
        raise UnsupportedAlgorithm("the message's signature algorithm is not supported", oid=oid.hex())
    return scheme


def _pss(parameters: der.Element | None) -> SignatureScheme:
    """Parse RSASSA-PSS-params (RFC 4055 section 3.1)."""
    digest = mask_digest = Digest.SHA1
    salt_size = 20
    for part in [] if parameters is None else bounded(parameters.expect(der.SEQUENCE), 4):
        inside = der.parse(part.content)
        if part.tag == 0xA0:
            digest = digest_of(inside)
        elif part.tag == 0xA1:
            mask_digest = mask_digest_of(inside)
        elif part.tag == 0xA2:
            salt_size = inside.integer()
        elif part.tag != 0xA3 or inside.integer() != 1:
            raise MalformedRequest("the message's signature algorithm is malformed")
    if digest is not mask_digest or not 0 <= salt_size <= _MAX_SALT:
        raise UnsupportedAlgorithm("the message's RSASSA-PSS parameters are not supported")
    return SignatureScheme(KeyKind.RSA, digest, salt_size)


def mask_digest_of(element: der.Element) -> Digest:
    """Return the digest of an MGF1 mask generation function (RFC 4055 section 2.2).

    :raises MalformedRequest: *element* is malformed.
    :raises UnsupportedAlgorithm: the function is not MGF1, or its digest is not supported.
    """
    oid, parameters = algorithm_identifier(element)
    if oid != _MGF1 or parameters is None:
        raise UnsupportedAlgorithm("the message uses an unknown mask generation function", oid=oid.hex())
    return digest_of(parameters)
