"""Encryption of private keys under a passphrase: PKCS#5 (RFC 8018), PKCS#12 (RFC 7292 appendix B) and RFC 1421.

Decryption is separate from loading, so that the key can be checked before a library loads it.  The iteration counts
that a file demands are bounded.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from pikachu.cms.ber import normalise
from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import block_ciphers, der
from pikachu.x509.block_ciphers import AES_256_CBC, MALFORMED, NOT_ACCEPTED, WRONG_PASSPHRASE, PassphraseCipher

# A million iterations take about 0.3 s.
_MAXIMUM_ITERATIONS: Final = 1_000_000
#: For all keys of an upload together, some seconds; NSS writes 600,000 in up to seven places of a file.
FILE_ITERATIONS: Final = 5_000_000
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
_HMAC_SHA256: Final = "1.2.840.113549.2.9"
# The recommendation of OWASP for PBKDF2 with SHA-256.
_ITERATIONS: Final = 600_000
# The hash of each HMAC.
HMACS: Final = {
    "1.2.840.113549.2.6": "md5",
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.8": "sha224",
    _HMAC_SHA256: "sha256",
    "1.2.840.113549.2.10": "sha384",
    "1.2.840.113549.2.11": "sha512",
    "1.2.840.113549.2.12": "sha512_224",
    "1.2.840.113549.2.13": "sha512_256",
    "2.16.840.1.101.3.4.2.13": "sha3_224",
    "2.16.840.1.101.3.4.2.14": "sha3_256",
    "2.16.840.1.101.3.4.2.15": "sha3_384",
    "2.16.840.1.101.3.4.2.16": "sha3_512",
}
PKCS12_KEY, PKCS12_VECTOR, PKCS12_MAC = 1, 2, 3

_TOO_COSTLY: Final = "the encryption would cost too much to open"
# RC2 is computed in Python: a block costs as much as so many iterations of hashing.
_ITERATIONS_PER_RC2_BLOCK: Final = 128

# RFC 7292 appendix C.
_PKCS12: Final = {
    "1.2.840.113549.1.12.1.1": block_ciphers.RC4_128,
    "1.2.840.113549.1.12.1.2": block_ciphers.RC4_40,
    "1.2.840.113549.1.12.1.3": block_ciphers.TRIPLE_DES,
    "1.2.840.113549.1.12.1.4": block_ciphers.TRIPLE_DES_2_KEYS,
    "1.2.840.113549.1.12.1.5": block_ciphers.RC2_128,
    "1.2.840.113549.1.12.1.6": block_ciphers.RC2_40,
}
# PBES1 (RFC 8018 appendix A.3): a cipher of 64 bits under a digest of the passphrase.
_PBES1: Final = {
    "1.2.840.113549.1.5.3": ("md5", block_ciphers.DES),
    "1.2.840.113549.1.5.6": ("md5", block_ciphers.RC2_64),
    "1.2.840.113549.1.5.10": ("sha1", block_ciphers.DES),
    "1.2.840.113549.1.5.11": ("sha1", block_ciphers.RC2_64),
}


def decrypt_pkcs8(algorithm: der.Element, data: bytes, passphrase: bytes) -> bytes:
    """Decrypt a structure under the PKCS#5 or PKCS#12 scheme of an AlgorithmIdentifier, and return it in DER.

    :param passphrase: may be empty.
    :raises MalformedRequest: the passphrase is wrong, or the parameters are malformed.
    :raises UnsupportedAlgorithm: the scheme is not accepted, or decryption would cost too much.
    """
    parts = algorithm.sub()
    if len(parts) != 2:
        raise MalformedRequest(MALFORMED)
    oid = parts[0].oid()
    parameters = parts[1].expect(der.SEQUENCE).sub()
    if len(parameters) != 2:
        raise MalformedRequest(MALFORMED)
    if oid == _PBES2:
        return _structure(_decrypt_pbes2(parameters, data, passphrase))
    if oid not in _PBES1 and oid not in _PKCS12:
        raise UnsupportedAlgorithm(NOT_ACCEPTED, algorithm=oid)
    salt, iterations = parameters[0].expect(der.OCTET_STRING).content, parameters[1].integer()
    if oid in _PBES1:
        digest, cipher = _PBES1[oid]
        bound_iterations(iterations)
        derived = _hashed(digest, passphrase + salt, iterations)
        return _structure(_decrypt(cipher, derived[:8], derived[8:16], data))
    cipher = _PKCS12[oid]
    for secret in pkcs12_secrets(passphrase):
        key = pkcs12_derive("sha1", secret, salt, iterations, PKCS12_KEY, cipher.key_size)
        vector = pkcs12_derive("sha1", secret, salt, iterations, PKCS12_VECTOR, cipher.block_size)
        with contextlib.suppress(MalformedRequest):
            return _structure(_decrypt(cipher, key, vector, data))
    raise MalformedRequest(WRONG_PASSPHRASE)


def _decrypt(cipher: PassphraseCipher, key: bytes, vector: bytes, data: bytes) -> bytes:
    if cipher.effective_bits:
        bound_iterations(max(1, len(data) // cipher.block_size * _ITERATIONS_PER_RC2_BLOCK))
    return cipher.decrypt(key, vector, data)


def _structure(plain: bytes) -> bytes:
    """Return a decrypted SEQUENCE in DER; a wrong passphrase leaves valid padding in 1 of 256 cases."""
    try:
        return der.parse(normalise(plain), der.SEQUENCE).whole
    except MalformedRequest as error:
        raise MalformedRequest(WRONG_PASSPHRASE) from error


def _decrypt_pbes2(parameters: list[der.Element], data: bytes, passphrase: bytes) -> bytes:
    """Decrypt with PBES2 (RFC 8018 section 6.2)."""
    scheme = parameters[1].expect(der.SEQUENCE).sub()
    if len(scheme) != 2:
        raise MalformedRequest(MALFORMED)
    oid, vector = scheme[0].oid(), scheme[1]
    cipher = block_ciphers.BY_OID.get(oid)
    if oid == block_ciphers.RC2_CBC:
        fields = vector.expect(der.SEQUENCE).sub()
        if len(fields) != 2:
            raise MalformedRequest(MALFORMED)
        cipher, vector = block_ciphers.RC2_BY_VERSION.get(fields[0].integer()), fields[1]
    if cipher is None:
        raise UnsupportedAlgorithm(NOT_ACCEPTED, algorithm=oid)
    key = derive_key(parameters[0], passphrase, cipher.key_size)
    return _decrypt(cipher, key, vector.expect(der.OCTET_STRING).content, data)


def derive_key(derivation: der.Element, passphrase: bytes, size: int) -> bytes:
    """Derive a key of *size* bytes with the PBKDF2 or scrypt of an AlgorithmIdentifier.

    :raises MalformedRequest: the parameters are malformed.
    :raises UnsupportedAlgorithm: the function is not accepted, or would cost too much.
    """
    parts = derivation.expect(der.SEQUENCE).sub()
    costs = parts[1].expect(der.SEQUENCE).sub() if len(parts) == 2 else []
    if not costs:
        raise MalformedRequest(MALFORMED)
    if costs[0].tag != der.OCTET_STRING:
        raise UnsupportedAlgorithm(NOT_ACCEPTED)
    numbers = [part.integer() for part in costs if part.tag == der.INTEGER]
    salt, oid = costs[0].content, parts[0].oid()
    if oid == _SCRYPT and len(numbers) >= 3:
        return _scrypt(passphrase, salt, *numbers[:3], size=size)
    if oid != _PBKDF2 or not numbers:
        raise UnsupportedAlgorithm(NOT_ACCEPTED, algorithm=oid)
    bound_iterations(numbers[0])
    prf = [part.sub() for part in costs if part.tag == der.SEQUENCE]
    digest = HMACS.get(prf[0][0].oid()) if prf and prf[0] else "sha1"
    if digest is None:
        raise UnsupportedAlgorithm(NOT_ACCEPTED)
    return hashlib.pbkdf2_hmac(digest, passphrase, salt, numbers[0], size)


def _scrypt(passphrase: bytes, salt: bytes, cost: int, block_size: int, parallel: int, *, size: int) -> bytes:
    memory = 128 * cost * block_size * parallel
    if min(cost, block_size, parallel) < 1 or memory > _MAXIMUM_SCRYPT_BYTES:
        raise UnsupportedAlgorithm(_TOO_COSTLY)
    bound_iterations(-(-memory // _SCRYPT_BYTES_PER_ITERATION))
    if cost < 2 or cost & (cost - 1):
        raise UnsupportedAlgorithm(NOT_ACCEPTED)
    try:
        return hashlib.scrypt(
            passphrase, salt=salt, n=cost, r=block_size, p=parallel, maxmem=2 * _MAXIMUM_SCRYPT_BYTES, dklen=size
        )
    except ValueError:
        # RFC 7914 section 2 bounds the cost by the block size, and OpenSSL its own memory besides.
        raise UnsupportedAlgorithm(NOT_ACCEPTED) from None


def decrypt_traditional(block: bytes, body: bytes, passphrase: bytes) -> bytes:
    """Decrypt a PEM block with ``Proc-Type: 4,ENCRYPTED`` (RFC 1421), as older OpenSSL versions write it.

    :param body: the decoded Base64.
    :raises MalformedRequest: the passphrase is wrong, or the headers are malformed.
    :raises UnsupportedAlgorithm: the cipher is not accepted.
    """
    lines = (line.partition(b":") for line in block.splitlines())
    information = next((value for name, _, value in lines if name.strip() == b"DEK-Info"), b"")
    name, _, digits = information.strip().decode("ascii", "replace").partition(",")
    cipher = block_ciphers.BY_NAME.get(name.strip().upper())
    if cipher is None:
        raise UnsupportedAlgorithm(NOT_ACCEPTED)
    try:
        vector = bytes.fromhex(digits)
    except ValueError:
        raise MalformedRequest(MALFORMED) from None
    # EVP_BytesToKey() with MD5 and one iteration; the salt is the beginning of the vector.
    key = link = b""
    while len(key) < cipher.key_size:
        link = hashlib.md5(link + passphrase + vector[:8], usedforsecurity=False).digest()
        key += link
    return _structure(_decrypt(cipher, key[: cipher.key_size], vector, body))


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
    scheme = der.sequence(der.oid(AES_256_CBC), der.octet_string(vector))
    return der.sequence(
        der.sequence(der.oid(_PBES2), der.sequence(derivation, scheme)),
        der.octet_string(encryptor.update(padded) + encryptor.finalize()),
    )


# --- PKCS#12 -----------------------------------------------------------------------------


def pkcs12_secrets(passphrase: bytes) -> list[bytes]:
    """Return the encodings of a passphrase that programs use in PKCS#12, that of RFC 7292 appendix B.1 first.

    An empty one is two zero bytes or nothing at all; OpenSSL before 1.1 took each byte for a character.
    """
    if not passphrase:
        return [b"\0\0", b""]
    single_bytes = passphrase.decode("latin-1")
    try:
        texts = dict.fromkeys((passphrase.decode("utf-8"), single_bytes))
    except UnicodeDecodeError:
        texts = {single_bytes: None}
    return [f"{text}\0".encode("utf-16-be") for text in texts]


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
    hash_function = getattr(hashlib, digest, None) or functools.partial(hashlib.new, digest)
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
