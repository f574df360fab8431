"""The encrypted file: chunks of AES-256-GCM under a key that scrypt derives from a passphrase.

The header (magic, scrypt's parameters, salt) is followed by chunks of ``CHUNK_BYTES``, each with its tag; the last one
is shorter, and may be empty.  A chunk's nonce is its number and whether it is the last one, as in STREAM (Hoang,
Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015), so chunks
can be neither exchanged nor repeated nor cut off.  The key is new with each salt, so no nonce repeats under a key.
A tag of the header under a second key tells a wrong passphrase from a damaged chunk.
"""

from __future__ import annotations

import hmac
import io
import secrets
import struct
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pikachu.core.errors import BadBackup

MAGIC: Final = b"PIKACHU-BACKUP 1\n"
CHUNK_BYTES: Final = 1 << 20
_TAG_BYTES: Final = 16
_SALT_BYTES: Final = 32
_CHECK_BYTES: Final = 32
# log2(N), r, p of scrypt (RFC 7914).
_PARAMETERS: Final = struct.Struct(">BBB")
_HEADER_BYTES: Final = len(MAGIC) + _PARAMETERS.size + _SALT_BYTES
#: Memory is 128 * r * N bytes: 128 MiB.
SCRYPT_COST: Final = 17
_BLOCK_SIZE: Final = 8
_PARALLELISM: Final = 1
# A file of somebody else must not take all memory: 1 GiB.
_MAX_COST: Final = 20


def _keys(passphrase: bytes, header: bytes) -> tuple[AESGCM, bytes]:
    """Return the cipher of the chunks and the tag of the header."""
    cost, block_size, parallelism = _PARAMETERS.unpack_from(header, len(MAGIC))
    if not 1 <= cost <= _MAX_COST or (block_size, parallelism) != (_BLOCK_SIZE, _PARALLELISM):
        raise BadBackup("the beginning of the backup is damaged")
    salt = header[-_SALT_BYTES:]
    derived = Scrypt(salt, 64, n=1 << cost, r=block_size, p=parallelism).derive(passphrase)
    return AESGCM(derived[:32]), hmac.digest(derived[32:], header, "sha256")


def _nonce(number: int, *, is_last: bool) -> bytes:
    return struct.pack(">QI", number, is_last)


class EncryptingStream(io.RawIOBase):
    """Encrypts what is written to it into *target*, in chunks; :meth:`finish` writes the last one.

    :param cost: log2(N) of scrypt.
    """

    def __init__(self, target: IO[bytes], passphrase: bytes, cost: int = SCRYPT_COST) -> None:
        super().__init__()
        self._target = target
        header = MAGIC + _PARAMETERS.pack(cost, _BLOCK_SIZE, _PARALLELISM) + secrets.token_bytes(_SALT_BYTES)
        self._cipher, check = _keys(passphrase, header)
        target.write(header + check)
        self._buffer = bytearray()
        self._number = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: object) -> int:
        """Encrypt *data*; complete chunks are written."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # any buffer
        self._buffer += view
        while len(self._buffer) >= CHUNK_BYTES:
            self._put(bytes(self._buffer[:CHUNK_BYTES]), is_last=False)
            del self._buffer[:CHUNK_BYTES]
        return len(view)

    def finish(self) -> None:
        """Write the last chunk, without which the file is not complete."""
        self._put(bytes(self._buffer), is_last=True)
        self._buffer.clear()

    def _put(self, plaintext: bytes, *, is_last: bool) -> None:
        self._target.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), plaintext, None))
        self._number += 1


class DecryptingStream(io.RawIOBase):
    """Decrypts *source*; only authenticated bytes are returned.

    :raises BadBackup: when it is no backup, the passphrase is wrong, or a chunk was changed, exchanged or cut off.
    """

    def __init__(self, source: IO[bytes], passphrase: bytes) -> None:
        super().__init__()
        self._source = source
        header = source.read(_HEADER_BYTES)
        if not header.startswith(MAGIC):
            raise BadBackup("this is not a backup of Pikachu CA, or one of a newer version")
        check = source.read(_CHECK_BYTES)
        if len(header) + len(check) < _HEADER_BYTES + _CHECK_BYTES:
            raise BadBackup("the backup is incomplete: it ends in its first bytes")
        self._cipher, expected = _keys(passphrase, header)
        if not hmac.compare_digest(check, expected):
            raise BadBackup("the passphrase is wrong, or the beginning of the backup is damaged")
        self._number = 0
        self._plaintext = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read decrypted bytes; 0 at the end."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # any writable buffer
        while not self._plaintext and not self._ended:
            self._next_chunk()
        count = min(len(view), len(self._plaintext))
        view[:count] = self._plaintext[:count]
        self._plaintext = self._plaintext[count:]
        return count

    def _next_chunk(self) -> None:
        sealed = self._source.read(CHUNK_BYTES + _TAG_BYTES)
        self._ended = len(sealed) < CHUNK_BYTES + _TAG_BYTES
        try:
            plaintext = self._cipher.decrypt(_nonce(self._number, is_last=self._ended), sealed, None)
        except (InvalidTag, ValueError):
            raise BadBackup(
                f"the backup is incomplete or damaged at its end (after {self._number} MiB)"
                if self._ended
                else f"the backup is damaged: MiB {self._number + 1} is not what was written there"
            ) from None
        self._number += 1
        self._plaintext = memoryview(plaintext)
