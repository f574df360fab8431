"""Ciphers that protect private keys and PKCS#12 files under a passphrase: decryption only, mostly in CBC mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm as PycaUnsupported
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, CAST5, IDEA, SEED, Blowfish, Camellia, TripleDES
from cryptography.hazmat.primitives import ciphers, padding
from cryptography.hazmat.primitives.ciphers import CipherAlgorithm, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import rc2

WRONG_PASSPHRASE: Final = "the passphrase does not open the private key"  # noqa: S105 - a message
MALFORMED: Final = "the encryption's parameters can't be read"
NOT_ACCEPTED: Final = "the encryption is of a kind that is not accepted"


class PassphraseCipher(NamedTuple):
    """A cipher with a fixed size of keys and blocks, in bytes.

    :ivar algorithm: the library's algorithm for a key; ``None`` is RC2.
    :ivar block_size: 0 for a stream cipher, which has neither vector nor padding.
    :ivar effective_bits: of an RC2 key.
    """

    algorithm: Callable[[bytes], CipherAlgorithm] | None
    key_size: int
    block_size: int
    effective_bits: int = 0

    def decrypt(self, key: bytes, vector: bytes, data: bytes) -> bytes:
        """Decrypt and remove the padding; wrong padding is reported as a wrong passphrase.

        :raises MalformedRequest: the passphrase is wrong, or the sizes do not fit the cipher.
        :raises UnsupportedAlgorithm: the library on this host lacks the cipher.
        """
        if len(vector) != self.block_size or not data or (self.block_size and len(data) % self.block_size):
            raise MalformedRequest(MALFORMED)
        if self.algorithm is None:
            plain = rc2.decrypt_cbc(key, self.effective_bits, vector, data)
        else:
            mode = modes.CBC(vector) if self.block_size else None
            try:
                decryptor = ciphers.Cipher(self.algorithm(key), mode).decryptor()
            except PycaUnsupported:
                raise UnsupportedAlgorithm(NOT_ACCEPTED) from None
            plain = decryptor.update(data) + decryptor.finalize()
        if not self.block_size:
            return plain
        unpadder = padding.PKCS7(8 * self.block_size).unpadder()
        try:
            return unpadder.update(plain) + unpadder.finalize()
        except ValueError as error:
            raise MalformedRequest(WRONG_PASSPHRASE) from error


def _triple_des(key: bytes) -> TripleDES:
    """Return triple DES for one, two or three keys: single DES uses one three times (NIST SP 800-67)."""
    return TripleDES((key * 3)[:24])


DES: Final = PassphraseCipher(_triple_des, 8, 8)
TRIPLE_DES: Final = PassphraseCipher(_triple_des, 24, 8)
TRIPLE_DES_2_KEYS: Final = PassphraseCipher(_triple_des, 16, 8)
AES_128: Final = PassphraseCipher(AES, 16, 16)
AES_192: Final = PassphraseCipher(AES, 24, 16)
AES_256: Final = PassphraseCipher(AES, 32, 16)
RC2_40: Final = PassphraseCipher(None, 5, 8, 40)
RC2_64: Final = PassphraseCipher(None, 8, 8, 64)
RC2_128: Final = PassphraseCipher(None, 16, 8, 128)
RC4_40: Final = PassphraseCipher(ARC4, 5, 0)
RC4_128: Final = PassphraseCipher(ARC4, 16, 0)
_CAMELLIA_128: Final = PassphraseCipher(Camellia, 16, 16)
_CAMELLIA_192: Final = PassphraseCipher(Camellia, 24, 16)
_CAMELLIA_256: Final = PassphraseCipher(Camellia, 32, 16)
_SEED: Final = PassphraseCipher(SEED, 16, 16)
_IDEA: Final = PassphraseCipher(IDEA, 16, 8)
_BLOWFISH: Final = PassphraseCipher(Blowfish, 16, 8)
_CAST5: Final = PassphraseCipher(CAST5, 16, 8)

AES_256_CBC: Final = "2.16.840.1.101.3.4.1.42"
RC2_CBC: Final = "1.2.840.113549.3.2"
#: The ciphers of PBES2 by OID; :data:`RC2_CBC` depends on its parameters.
BY_OID: Final = {
    "2.16.840.1.101.3.4.1.2": AES_128,
    "2.16.840.1.101.3.4.1.22": AES_192,
    AES_256_CBC: AES_256,
    "1.2.840.113549.3.7": TRIPLE_DES,
    "1.3.14.3.2.7": DES,
    "1.2.392.200011.61.1.1.1.2": _CAMELLIA_128,
    "1.2.392.200011.61.1.1.1.3": _CAMELLIA_192,
    "1.2.392.200011.61.1.1.1.4": _CAMELLIA_256,
    "1.2.410.200004.1.4": _SEED,
}
#: RC2 by the version in its parameters, which stands for the effective bits (RFC 2268 section 6).
RC2_BY_VERSION: Final = {160: RC2_40, 120: RC2_64, 58: RC2_128}
#: The ciphers of RFC 1421 headers by OpenSSL's name.
BY_NAME: Final = {
    "DES-CBC": DES,
    "DES-EDE3-CBC": TRIPLE_DES,
    "AES-128-CBC": AES_128,
    "AES-192-CBC": AES_192,
    "AES-256-CBC": AES_256,
    "CAMELLIA-128-CBC": _CAMELLIA_128,
    "CAMELLIA-192-CBC": _CAMELLIA_192,
    "CAMELLIA-256-CBC": _CAMELLIA_256,
    "SEED-CBC": _SEED,
    "IDEA-CBC": _IDEA,
    "BF-CBC": _BLOWFISH,
    "CAST5-CBC": _CAST5,
    "RC2-CBC": RC2_128,
    "RC2-64-CBC": RC2_64,
    "RC2-40-CBC": RC2_40,
}
