"""Encryption of private keys under a passphrase: PKCS#5 (RFC 8018), PKCS#12 (RFC 7292 appendix B) and RFC 1421.

Decryption is separate from loading, so that the key can be checked before a library loads it.  The iteration counts
that a file demands are bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final, NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der

# A million iterations take about 0.3 s.
_MAXIMUM_ITERATIONS: Final = 1_000_000
_MAXIMUM_SCRYPT_BYTES: Final = 64 * 1024 * 1024
# Bytes of scrypt memory that cost as much as one iteration of hashing.
_SCRYPT_BYTES_PER_ITERATION: Final = 256
_MAXIMUM_SALT: Final = 256
# Iterations of hashing in Python after which other threads get their turn: some 0.1 ms.
_BREAK: Final = 200
# The total of iterations still allowed in this context; None: unlimited.
_remaining_iterations: ContextVar[list[int] | None] = ContextVar("iterations left", default=None)

_PBES2: Final = "1.2.840.113549.1.5.13"
_PBKDF2: Final = "1.2.840.113549.1.5.12"
_SCRYPT: Final = "1.3.6.1.4.1.11591.4.11"
_PKCS12_SHA1_3DES: Final = "1.2.840.113549.1.12.1.3"
_HMAC_SHA256: Final = "1.2.840.113549.2.9"
_AES_256_CBC: Final = "2.16.840.1.101.3.4.1.42"
# The recommendation of OWASP for PBKDF2 with SHA-256.
_ITERATIONS: Final = 600_000
_PRFS: Final = {
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.8": "sha224",
    _HMAC_SHA256: "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
}
PKCS12_KEY, PKCS12_VECTOR, PKCS12_MAC = 1, 2, 3

WRONG_PASSPHRASE: Final = "the passphrase does not open the private key"  # noqa: S105 - a message
_MALFORMED: Final = "the encryption's parameters can't be read"
_TOO_COSTLY: Final = "the encryption would cost too much to open"
_NOT_ACCEPTED: Final = "the encryption is of a kind that is not accepted"


class _CBC(NamedTuple):
    """A block cipher in CBC mode: its algorithm, and the sizes of a key and of a block in bytes."""

    algorithm: type[AES] | type[TripleDES]
    key_size: int
    block_size: int

    def decrypt(self, key: bytes, vector: bytes, data: bytes) -> bytes:
        """Decrypt and remove the padding; wrong padding is reported as a wrong passphrase."""
        if len(vector) != self.block_size or not data or len(data) % self.block_size:
            raise MalformedRequest(_MALFORMED)
        # Single DES is triple DES with one key used three times (NIST SP 800-67).
        cipher = AES(key) if self.algorithm is AES else TripleDES(key * (24 // self.key_size))
        decryptor = Cipher(cipher, modes.CBC(vector)).decryptor()
        unpadder = padding.PKCS7(8 * self.block_size).unpadder()
        try:
            return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
        except ValueError as error:
            raise MalformedRequest(WRONG_PASSPHRASE) from error


_DES: Final = _CBC(TripleDES, 8, 8)
_3DES: Final = _CBC(TripleDES, 24, 8)
_AES_128: Final = _CBC(AES, 16, 16)
_AES_192: Final = _CBC(AES, 24, 16)
_AES_256: Final = _CBC(AES, 32, 16)
_CIPHERS: Final = {
    "2.16.840.1.101.3.4.1.2": _AES_128,
    "2.16.840.1.101.3.4.1.22": _AES_192,
    _AES_256_CBC: _AES_256,
    "1.2.840.113549.3.7": _3DES,
}
# PBES1 (RFC 8018 appendix A.3): single DES under a digest of the passphrase.
_PBES1: Final = {"1.2.840.113549.1.5.3": "md5", "1.2.840.113549.1.5.10": "sha1"}
_TRADITIONAL: Final = {
    "DES-CBC": _DES,
    "DES-EDE3-CBC": _3DES,
    "AES-128-CBC": _AES_128,
    "AES-192-CBC": _AES_192,
    "AES-256-CBC": _AES_256,
}


def decrypt_pkcs8(algorithm: der.Element, data: bytes, passphrase: bytes) -> bytes:
    """Decrypt *data* with the PKCS#5 or PKCS#12 scheme of an AlgorithmIdentifier.

    :raises MalformedRequest: the passphrase is wrong, or the parameters are malformed.
    :raises UnsupportedAlgorithm: the scheme is not accepted, or decryption would cost too much.
    """
    parts = algorithm.sub()
    if len(parts) != 2:
        raise MalformedRequest(_MALFORMED)
    oid = parts[0].oid()
    parameters = parts[1].expect(der.SEQUENCE).sub()
    if len(parameters) != 2:
        raise MalformedRequest(_MALFORMED)
    if oid == _PBES2:
        return _decrypt_pbes2(parameters, data, passphrase)
    if oid not in _PBES1 and oid != _PKCS12_SHA1_3DES:
        raise UnsupportedAlgorithm(_NOT_ACCEPTED, algorithm=oid)
    salt, iterations = parameters[0].expect(der.OCTET_STRING).content, parameters[1].integer()
    if oid == _PKCS12_SHA1_3DES:
        secret = bmp_passphrase(_text(passphrase))
        key = pkcs12_derive("sha1", secret, salt, iterations, PKCS12_KEY, 24)
        vector = pkcs12_derive("sha1", secret, salt, iterations, PKCS12_VECTOR, 8)
        return _3DES.decrypt(key, vector, data)
    bound_iterations(iterations)
    derived = _hashed(_PBES1[oid], passphrase + salt, iterations)
    return _DES.decrypt(derived[:8], derived[8:16], data)


def _decrypt_pbes2(parameters: list[der.Element], data: bytes, passphrase: bytes) -> bytes:
    """Decrypt with PBES2 (RFC 8018 section 6.2)."""
    derivation, scheme = (part.expect(der.SEQUENCE).sub() for part in parameters)
    if len(derivation) != 2 or len(scheme) != 2:
        raise MalformedRequest(_MALFORMED)
    cipher = _CIPHERS.get(scheme[0].oid())
    costs = derivation[1].expect(der.SEQUENCE).sub()
    numbers = [part.integer() for part in costs if part.tag == der.INTEGER]
    if not costs or costs[0].tag != der.OCTET_STRING:
        raise UnsupportedAlgorithm(_NOT_ACCEPTED)
    salt, kind = costs[0].content, derivation[0].oid()
    if kind == _SCRYPT and len(numbers) >= 3:
        cost, block_size, parallel = numbers[:3]
        size = 128 * cost * block_size * parallel
        if min(cost, block_size, parallel) < 1 or size > _MAXIMUM_SCRYPT_BYTES:
            raise UnsupportedAlgorithm(_TOO_COSTLY)
        bound_iterations(-(-size // _SCRYPT_BYTES_PER_ITERATION))
        if cipher is None or cost < 2 or cost & (cost - 1):
            raise UnsupportedAlgorithm(_NOT_ACCEPTED)
        try:
            key = hashlib.scrypt(
                passphrase,
                salt=salt,
                n=cost,
                r=block_size,
                p=parallel,
                maxmem=2 * _MAXIMUM_SCRYPT_BYTES,
                dklen=cipher.key_size,
            )
        except ValueError:
            # RFC 7914 section 2 bounds the cost by the block size, and OpenSSL its own memory besides.
            raise UnsupportedAlgorithm(_NOT_ACCEPTED) from None
    elif kind == _PBKDF2 and numbers:
        bound_iterations(numbers[0])
        prf = [part.sub() for part in costs if part.tag == der.SEQUENCE]
        digest = _PRFS.get(prf[0][0].oid()) if prf and prf[0] else "sha1"
        if digest is None or cipher is None:
            raise UnsupportedAlgorithm(_NOT_ACCEPTED)
        key = hashlib.pbkdf2_hmac(digest, passphrase, salt, numbers[0], cipher.key_size)
    else:
        raise UnsupportedAlgorithm(_NOT_ACCEPTED)
    return cipher.decrypt(key, scheme[1].expect(der.OCTET_STRING).content, data)


def decrypt_traditional(block: bytes, body: bytes, passphrase: bytes) -> bytes:
    """Decrypt a PEM block with ``Proc-Type: 4,ENCRYPTED`` (RFC 1421), as older OpenSSL versions write it.

    :param body: the decoded Base64.
    :raises MalformedRequest: the passphrase is wrong, or the headers are malformed.
    :raises UnsupportedAlgorithm: the cipher is not accepted.
    """
    lines = (line.partition(b":") for line in block.splitlines())
    information = next((value for name, _, value in lines if name.strip() == b"DEK-Info"), b"")
    name, _, digits = information.strip().decode("ascii", "replace").partition(",")
    cipher = _TRADITIONAL.get(name.strip().upper())
    if cipher is None:
        raise UnsupportedAlgorithm(_NOT_ACCEPTED)
    try:
        vector = bytes.fromhex(digits)
    except ValueError:
        raise MalformedRequest(_MALFORMED) from None
    # EVP_BytesToKey() with MD5 and one iteration; the salt is the beginning of the vector.
    key = link = b""
    while len(key) < cipher.key_size:
        link = hashlib.md5(link + passphrase + vector[:8], usedforsecurity=False).digest()
        key += link
    return cipher.decrypt(key[: cipher.key_size], vector, body)


def encrypt_pkcs8(plain: bytes, passphrase: bytes) -> bytes:
    """Return an EncryptedPrivateKeyInfo with PBES2 and AES-256; the library would use only 2048 iterations."""
    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    derived = hashlib.pbkdf2_hmac("sha256", passphrase, salt, _ITERATIONS, 32)
    encryptor = Cipher(AES(derived), modes.CBC(vector)).encryptor()
    derivation = der.sequence(
        der.oid(_PBKDF2),
        der.sequence(der.octet_string(salt), der.integer(_ITERATIONS), der.sequence(der.oid(_HMAC_SHA256), der.null())),
    )
    scheme = der.sequence(der.oid(_AES_256_CBC), der.octet_string(vector))
    return der.sequence(
        der.sequence(der.oid(_PBES2), der.sequence(derivation, scheme)),
        der.octet_string(encryptor.update(padded) + encryptor.finalize()),
    )


# --- PKCS#12 -----------------------------------------------------------------------------


def bmp_passphrase(passphrase: str) -> bytes:
    """Return a passphrase in the encoding of PKCS#12 (RFC 7292 appendix B.1).

    :raises MalformedRequest: it contains characters without this encoding.
    """
    try:
        return f"{passphrase}\0".encode("utf-16-be")
    except UnicodeEncodeError:
        raise MalformedRequest(WRONG_PASSPHRASE) from None


def _text(passphrase: bytes) -> str:
    try:
        return passphrase.decode("utf-8")
    except UnicodeDecodeError:
        return passphrase.decode("latin-1")


def pkcs12_derive(digest: str, secret: bytes, salt: bytes, iterations: int, purpose: int, size: int) -> bytes:
    """Derive a key, a vector or a MAC key (RFC 7292 appendix B.2).

    :param purpose: one of :data:`PKCS12_KEY`, :data:`PKCS12_VECTOR`, :data:`PKCS12_MAC`.
    :raises UnsupportedAlgorithm: the derivation would cost too much.
    """
    if not 1 <= len(salt) <= _MAXIMUM_SALT or size > 64:
        raise UnsupportedAlgorithm("the PKCS#12 file is protected in a way that is not accepted")
    block_size = hashlib.new(digest, usedforsecurity=False).block_size
    text = _repeat_to_blocks(salt, block_size) + _repeat_to_blocks(secret, block_size)
    result = b""
    while len(result) < size:
        # Each digest's length of the result costs all iterations again.
        bound_iterations(iterations)
        derived = _hashed(digest, bytes((purpose,)) * block_size + text, iterations)
        result += derived
        addend = int.from_bytes(_repeat_to_blocks(derived, block_size)[:block_size], "big") + 1
        text = b"".join(
            ((int.from_bytes(text[start : start + block_size], "big") + addend) % (1 << 8 * block_size)).to_bytes(
                block_size, "big"
            )
            for start in range(0, len(text), block_size)
        )
    return result[:size]


def _hashed(digest: str, data: bytes, iterations: int) -> bytes:
    """Hash *data*, and the digest again and again."""
    hash_function = getattr(hashlib, digest)
    for number in range(iterations):
        data = hash_function(data, usedforsecurity=False).digest()
        if not number % _BREAK:
            # Let other threads run: each that waits for Python's lock would otherwise wait for some milliseconds.
            time.sleep(0)
    return data


def _repeat_to_blocks(content: bytes, block: int) -> bytes:
    """Repeat *content* up to a whole number of blocks."""
    size = -(-len(content) // block) * block
    return (content * (size // len(content) + 1))[:size] if content else b""


# --- bounds ------------------------------------------------------------------------------


def bound_iterations(iterations: int) -> None:
    """Deduct *iterations* from the remaining total.

    :raises UnsupportedAlgorithm: they exceed the limit for one passphrase, or for all in one request.
    """
    remaining = _remaining_iterations.get()
    if not 1 <= iterations <= _MAXIMUM_ITERATIONS or (remaining is not None and iterations > remaining[0]):
        raise UnsupportedAlgorithm(_TOO_COSTLY)
    if remaining is not None:
        remaining[0] -= iterations


@contextlib.contextmanager
def bounded_in_all(iterations: int) -> Iterator[None]:
    """Bound the total iterations within the context, as an upload may contain many keys."""
    token = _remaining_iterations.set([iterations])
    try:
        yield
    finally:
        _remaining_iterations.reset(token)
