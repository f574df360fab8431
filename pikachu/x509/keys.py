"""Private keys: reading, making and writing them; and, gathered here, all that concerns keys.

Read are PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) and SEC 1 (RFC 5915), as PEM or DER, encrypted or not.
An ML-DSA key is its seed, or seed and expanded key together (RFC 9881 section 6).
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm as PycaUnsupported
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pikachu.errors import BadPublicKey, MalformedRequest, TooLarge, UnsupportedAlgorithm
from pikachu.x509 import der, ml_dsa
from pikachu.x509.armour import blocks
from pikachu.x509.pem import pem
from pikachu.x509.signature import SignatureAlgorithm, parse_algorithm, signature_algorithm, verify_signature
from pikachu.x509.spki import (
    ML_DSA_44,
    ML_DSA_65,
    ML_DSA_87,
    RSA_ENCRYPTION,
    RSA_MAXIMUM_BITS,
    KeyDescription,
    KeyFamily,
    PublicKey,
    check_modulus,
    describe_spki,
)

__all__ = [
    "KEY_NAMES",
    "KeyDescription",
    "KeyFamily",
    "PrivateKey",
    "PublicKey",
    "SignatureAlgorithm",
    "bound_iterations",
    "bounded_in_all",
    "check_modulus",
    "decrypt_pkcs8",
    "describe_private_key",
    "describe_spki",
    "generate_private_key",
    "load_private_key",
    "parse_algorithm",
    "passphrase_octets",
    "private_key_info",
    "private_key_pem",
    "public_key_matches",
    "signature_algorithm",
    "verify_signature",
]

PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

# Names by which a new key is asked for.
KEY_NAMES: Final = (
    "rsa2048",
    "rsa3072",
    "rsa4096",
    "prime256v1",
    "secp384r1",
    "secp521r1",
    "secp256k1",
    "ed25519",
    "mldsa44",
    "mldsa65",
    "mldsa87",
)

_MAXIMUM_SIZE: Final = 32 * 1024
# A file names how often its passphrase is hashed; a million times takes some 0.3 s.
_MAXIMUM_ITERATIONS: Final = 1_000_000
_MAXIMUM_SCRYPT_OCTETS: Final = 64 * 1024 * 1024
# What filling so many octets costs, as iterations of hashing.
_SCRYPT_OCTETS_PER_ITERATION: Final = 256
# How many iterations may follow in all; None: there is no such bound.
_TOO_COSTLY: Final = "the private key's encryption would cost too much to open"
_left: ContextVar[list[int] | None] = ContextVar("iterations left", default=None)

_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "prime256v1": ec.SECP256R1,
    "secp384r1": ec.SECP384R1,
    "secp521r1": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}
_MLDSAKind: TypeAlias = type[mldsa.MLDSA44PrivateKey] | type[mldsa.MLDSA65PrivateKey] | type[mldsa.MLDSA87PrivateKey]
_ML_DSA: Final[dict[str, tuple[str, _MLDSAKind]]] = {
    ML_DSA_44: ("mldsa44", mldsa.MLDSA44PrivateKey),
    ML_DSA_65: ("mldsa65", mldsa.MLDSA65PrivateKey),
    ML_DSA_87: ("mldsa87", mldsa.MLDSA87PrivateKey),
}
_LABELS: Final = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")

_PBES2: Final = "1.2.840.113549.1.5.13"
_PBKDF2: Final = "1.2.840.113549.1.5.12"
_SCRYPT: Final = "1.3.6.1.4.1.11591.4.11"
_HMAC_SHA256: Final = "1.2.840.113549.2.9"
_AES_256_CBC: Final = "2.16.840.1.101.3.4.1.42"
# What OWASP asks of PBKDF2 with SHA-256.
_ITERATIONS: Final = 600_000
_PRFS: Final = {
    "1.2.840.113549.2.7": "sha1",
    _HMAC_SHA256: "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
_AES_CBC: Final = {
    "2.16.840.1.101.3.4.1.2": 16,
    "2.16.840.1.101.3.4.1.22": 24,
    _AES_256_CBC: 32,
}
_WRONG_PASSPHRASE: Final = "the passphrase does not open the private key"  # noqa: S105 - a message
_UNREADABLE: Final = "the private key can't be read"


def generate_private_key(name: str) -> PrivateKey:
    """A new key; RSA takes up to seconds, so callers run it in a worker pool.

    :param name: one of :data:`KEY_NAMES`.
    :raises UnsupportedAlgorithm: another name.
    """
    if name in ("rsa2048", "rsa3072", "rsa4096"):
        return rsa.generate_private_key(65537, int(name[3:]))
    if name in _CURVES:
        return ec.generate_private_key(_CURVES[name]())
    if name == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    for known, kind in _ML_DSA.values():
        if name == known:
            return kind.generate()
    raise UnsupportedAlgorithm(f"unknown kind of key; use one of {', '.join(KEY_NAMES)}", name=name)


def load_private_key(data: bytes | str, passphrase: bytes | str | None = None) -> PrivateKey:
    """The private key in *data*, PEM or DER; a passphrase that is not needed is ignored.

    :raises MalformedRequest: no private key, a wrong or missing passphrase, halves that do not belong together.
    :raises UnsupportedAlgorithm: encrypted in a way that is not accepted, or a kind of key that is not.
    :raises BadPublicKey: the key is weak (see :func:`describe_spki`).
    :raises TooLarge: more than 32 KiB.
    """
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    secret = passphrase.encode("utf-8") if isinstance(passphrase, str) else passphrase
    if len(raw) > _MAXIMUM_SIZE:
        raise TooLarge("the private key is larger than 32 KiB")
    if raw[:1] == b"\x30":
        key = _load_der(raw, secret)
    else:
        found = blocks(raw, _LABELS)
        if not found:
            raise MalformedRequest("no private key found; PEM or DER is expected")
        if len(found) > 1:
            raise MalformedRequest("more than one private key found")
        key = _load_traditional(found[0].text, secret) if found[0].headers else _load_der(found[0].der(), secret)
    describe_private_key(key)
    return key


def _load_traditional(text: bytes, passphrase: bytes | None) -> PrivateKey:
    """PEM with ``Proc-Type: 4,ENCRYPTED`` (RFC 1421), as older OpenSSL versions write it."""
    if not passphrase:
        raise MalformedRequest("the private key is encrypted: its passphrase is needed")
    try:
        return _known(serialization.load_pem_private_key(text, passphrase))
    except (ValueError, TypeError) as error:
        raise MalformedRequest(_WRONG_PASSPHRASE) from error
    except PycaUnsupported as error:
        raise UnsupportedAlgorithm("the private key is encrypted in a way that is not accepted") from error


def _load_der(raw: bytes, passphrase: bytes | None) -> PrivateKey:
    parts = der.parse(raw, der.SEQUENCE).sub()
    if len(parts) == 2 and parts[0].tag == der.SEQUENCE:
        if not passphrase:
            raise MalformedRequest("the private key is encrypted: its passphrase is needed")
        plain = decrypt_pkcs8(parts[0], parts[1].expect(der.OCTET_STRING).content, passphrase)
        if plain is None:
            return _load_plain(raw, passphrase)
        try:
            parts = der.parse(plain, der.SEQUENCE).sub()
        except MalformedRequest as error:
            # Padding that looks right by chance: 1 in 256.
            raise MalformedRequest(_WRONG_PASSPHRASE) from error
        raw = plain
    if len(parts) < 3 or parts[0].tag != der.INTEGER:
        if len(parts) < 2 or parts[0].tag != der.INTEGER or parts[1].tag != der.OCTET_STRING:
            raise MalformedRequest(_UNREADABLE)
        return _load_plain(raw, None)
    if parts[1].tag == der.SEQUENCE:
        return _load_pkcs8(raw, parts)
    if parts[1].tag == der.INTEGER:
        _bound_modulus(parts[1])
    return _load_plain(raw, None)


def _load_pkcs8(raw: bytes, parts: list[der.Element]) -> PrivateKey:
    """A OneAsymmetricKey (RFC 5958 section 2), whose optional public key must be the private key's."""
    algorithm = parts[1].sub()
    content = parts[2].expect(der.OCTET_STRING).content
    if not algorithm:
        raise MalformedRequest(_UNREADABLE)
    oid = algorithm[0].oid()
    if oid == RSA_ENCRYPTION:
        numbers = der.parse(content, der.SEQUENCE).sub()
        if len(numbers) < 2:
            raise MalformedRequest(_UNREADABLE)
        _bound_modulus(numbers[1])
    public = [part.content for part in parts[3:] if part.tag in (0x81, 0xA1)]
    if oid in _ML_DSA:
        key = _load_ml_dsa(oid, len(algorithm) > 1, content)
    elif public:
        # The copy of the public key is checked below; without it the rest is version 1.
        key = _load_plain(der.sequence(der.integer(0), *(part.whole for part in parts[1:3])), None)
    else:
        key = _load_plain(raw, None)
    expected = b"\x00" + describe_private_key(key).key_octets
    if any(copy not in (expected, der.tlv(der.BIT_STRING, expected)) for copy in public):
        raise MalformedRequest("the private key's file holds another key's public key")
    return key


def _load_ml_dsa(oid: str, parameters: bool, content: bytes) -> PrivateKey:
    """The CHOICE of RFC 9881 section 6: seed [0], expandedKey, or both."""
    name, kind = _ML_DSA[oid]
    if parameters:
        raise MalformedRequest("an ML-DSA private key has no parameters (RFC 9881 section 2)")
    choice = der.parse(content)
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
        raise MalformedRequest("the ML-DSA private key is malformed")
    if len(seed) != 32:
        raise MalformedRequest(f"the seed of an ML-DSA private key has 32 octets, not {len(seed)}")
    if expanded is not None and ml_dsa.expand(name, seed)[1] != expanded:
        raise MalformedRequest("the seed and the expanded form of the ML-DSA private key do not belong together")
    return kind.from_seed_bytes(seed)


def _bound_modulus(modulus: der.Element) -> None:
    if modulus.end - modulus.start > RSA_MAXIMUM_BITS // 8 + 1:
        raise BadPublicKey(f"the RSA key is larger than {RSA_MAXIMUM_BITS} bits")


def _load_plain(raw: bytes, passphrase: bytes | None) -> PrivateKey:
    try:
        return _known(serialization.load_der_private_key(raw, passphrase))
    except (ValueError, TypeError) as error:
        raise MalformedRequest(_WRONG_PASSPHRASE if passphrase else _UNREADABLE) from error
    except PycaUnsupported as error:
        raise UnsupportedAlgorithm("this kind of private key is not accepted") from error


def _known(key: object) -> PrivateKey:
    if not isinstance(
        key,
        rsa.RSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey
        | mldsa.MLDSA44PrivateKey
        | mldsa.MLDSA65PrivateKey
        | mldsa.MLDSA87PrivateKey,
    ):
        raise UnsupportedAlgorithm("this kind of private key is not accepted; use RSA, EC, Ed25519 or ML-DSA")
    return key


def decrypt_pkcs8(algorithm: der.Element, data: bytes, passphrase: bytes) -> bytes | None:
    """What PBES2 with PBKDF2 and AES-CBC encrypted (RFC 8018 section 6.2).

    :returns: ``None`` for other schemes that the library reads, once their cost is known to be bounded.
    :raises MalformedRequest: the passphrase is wrong.
    :raises UnsupportedAlgorithm: opening it would cost too much.
    """
    parts = algorithm.sub()
    if len(parts) != 2:
        raise MalformedRequest(_UNREADABLE)
    parameters = parts[1].expect(der.SEQUENCE).sub()
    if len(parameters) != 2:
        raise MalformedRequest(_UNREADABLE)
    if parts[0].oid() != _PBES2:
        # PBES1 and PKCS#12's schemes: salt and iterations.
        bound_iterations(parameters[1].integer())
        return None
    derivation, scheme = (part.expect(der.SEQUENCE).sub() for part in parameters)
    if len(derivation) != 2 or len(scheme) != 2:
        raise MalformedRequest(_UNREADABLE)
    costs = derivation[1].expect(der.SEQUENCE).sub()
    kind, cipher = derivation[0].oid(), scheme[0].oid()
    numbers = [part.integer() for part in costs if part.tag == der.INTEGER]
    if kind == _SCRYPT:
        octets = 128 * numbers[0] * numbers[1] * numbers[2] if len(numbers) >= 3 else 0
        if not 0 < octets <= _MAXIMUM_SCRYPT_OCTETS:
            raise UnsupportedAlgorithm(_TOO_COSTLY)
        bound_iterations(-(-octets // _SCRYPT_OCTETS_PER_ITERATION))
        return None
    if kind != _PBKDF2 or not numbers or costs[0].tag != der.OCTET_STRING:
        raise UnsupportedAlgorithm("the private key is encrypted in a way that is not accepted")
    bound_iterations(numbers[0])
    prf = [part.sub() for part in costs if part.tag == der.SEQUENCE]
    digest = _PRFS.get(prf[0][0].oid()) if prf and prf[0] else "sha1"
    size = _AES_CBC.get(cipher)
    if digest is None or size is None:
        return None
    vector = scheme[1].expect(der.OCTET_STRING).content
    if len(vector) != 16 or not data or len(data) % 16:
        raise MalformedRequest(_UNREADABLE)
    key = hashlib.pbkdf2_hmac(digest, passphrase, costs[0].content, numbers[0], size)
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise MalformedRequest(_WRONG_PASSPHRASE) from error


def bound_iterations(iterations: int) -> None:
    """That hashing a passphrase so often costs no more than it may.

    :raises UnsupportedAlgorithm: it would.
    """
    left = _left.get()
    if not 1 <= iterations <= _MAXIMUM_ITERATIONS or (left is not None and iterations > left[0]):
        raise UnsupportedAlgorithm(_TOO_COSTLY)
    if left is not None:
        left[0] -= iterations


@contextlib.contextmanager
def bounded_in_all(iterations: int) -> Iterator[None]:
    """Within, hashing of passphrases costs no more than *iterations* in all: what is brought may hold many keys."""
    token = _left.set([iterations])
    try:
        yield
    finally:
        _left.reset(token)


def describe_private_key(key: PrivateKey) -> KeyDescription:
    """The public half of *key*.

    :raises BadPublicKey: it is not accepted.
    """
    public = key.public_key()
    return describe_spki(
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def public_key_matches(key: PrivateKey, spki: bytes) -> bool:
    """Whether *spki*, a DER SubjectPublicKeyInfo, is the public half of *key*."""
    return describe_private_key(key).spki == spki


def private_key_info(key: PrivateKey) -> bytes:
    """The unencrypted DER PrivateKeyInfo; ML-DSA in its seed form."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_key_pem(key: PrivateKey, passphrase: bytes | str | None = None) -> str:
    """PKCS#8 as PEM; encrypted with AES-256-CBC when there is a *passphrase*, which takes a quarter of a second.

    :raises MalformedRequest: the passphrase is empty, or too long for OpenSSL (1023 octets).
    """
    plain = private_key_info(key)
    if passphrase is None:
        return pem("PRIVATE KEY", plain)
    return pem("ENCRYPTED PRIVATE KEY", _encrypt(plain, passphrase_octets(passphrase)))


def passphrase_octets(passphrase: bytes | str) -> bytes:
    """The octets of a passphrase that is to protect a key.

    :raises MalformedRequest: it is empty, or too long for OpenSSL (1023 octets).
    """
    secret = passphrase.encode("utf-8", "replace") if isinstance(passphrase, str) else passphrase
    if not 1 <= len(secret) <= 1023:
        raise MalformedRequest("the passphrase must have 1 to 1023 octets")
    return secret


def _encrypt(plain: bytes, secret: bytes) -> bytes:
    """EncryptedPrivateKeyInfo by PBES2 (RFC 8018 section 6.2); the library would hash the passphrase 2048 times."""
    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    derived = hashlib.pbkdf2_hmac("sha256", secret, salt, _ITERATIONS, 32)
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    derivation = der.sequence(
        der.oid(_PBKDF2),
        der.sequence(der.octet_string(salt), der.integer(_ITERATIONS), der.sequence(der.oid(_HMAC_SHA256), der.null())),
    )
    scheme = der.sequence(der.oid(_AES_256_CBC), der.octet_string(vector))
    return der.sequence(
        der.sequence(der.oid(_PBES2), der.sequence(derivation, scheme)),
        der.octet_string(encryptor.update(padded) + encryptor.finalize()),
    )
