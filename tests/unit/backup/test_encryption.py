"""The encrypted file of a backup: what was changed, exchanged or cut off is never returned (OPS-3)."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from pikachu.backup.encryption import CHUNK_BYTES, MAGIC, DecryptingStream, EncryptingStream
from pikachu.core.errors import BadBackup

PASSPHRASE = b"correct horse battery staple"
#: Bytes before the first chunk: magic, scrypt's parameters, salt, tag.
BEGIN = len(MAGIC) + 3 + 32 + 32
SEALED = CHUNK_BYTES + 16
CONTENT = bytes(range(251)) * 12_000


def encrypted(content: bytes = CONTENT, *, piece: int = 70_001) -> bytes:
    target = io.BytesIO()
    stream = EncryptingStream(target, PASSPHRASE, cost=4)
    for begin in range(0, len(content), piece):
        stream.write(content[begin : begin + piece])
    stream.finish()
    return target.getvalue()


def decrypted(data: bytes, passphrase: bytes = PASSPHRASE) -> bytes:
    return DecryptingStream(io.BytesIO(data), passphrase).read()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(CONTENT)])
def test_round_trip(size: int) -> None:
    """Any size; equal contents look different."""
    data = encrypted(CONTENT[:size])
    assert decrypted(data) == CONTENT[:size]
    assert data[BEGIN:] != encrypted(CONTENT[:size])[BEGIN:]


def flip(data: bytes, place: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def swap(data: bytes) -> bytes:
    """Exchange the first two chunks."""
    first, second = data[BEGIN : BEGIN + SEALED], data[BEGIN + SEALED : BEGIN + 2 * SEALED]
    return data[:BEGIN] + second + first + data[BEGIN + 2 * SEALED :]


def of_another(data: bytes) -> bytes:
    """Put in a chunk of another backup with the same passphrase."""
    return data[:BEGIN] + encrypted()[BEGIN : BEGIN + SEALED] + data[BEGIN + SEALED :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "not a backup"),
    "something else": (lambda _: b"PK\3\4" + bytes(1000), "not a backup"),
    "newer form": (lambda data: data.replace(b"BACKUP 1", b"BACKUP 2", 1), "newer version"),
    "magic": (lambda data: flip(data, 3), "not a backup"),
    "cost of scrypt": (lambda data: data[: len(MAGIC)] + b"\x3f" + data[len(MAGIC) + 1 :], "beginning"),
    "no cost of scrypt": (lambda data: data[: len(MAGIC)] + b"\0" + data[len(MAGIC) + 1 :], "beginning"),
    "block size": (lambda data: flip(data, len(MAGIC) + 1), "beginning"),
    "salt": (lambda data: flip(data, len(MAGIC) + 5), "passphrase"),
    "tag of the header": (lambda data: flip(data, BEGIN - 1), "passphrase"),
    "cut in the header": (lambda data: data[: BEGIN - 1], "first bytes"),
    "bit in the first chunk": (lambda data: flip(data, BEGIN), "MiB 1 "),
    "bit in the second chunk": (lambda data: flip(data, BEGIN + SEALED + 9), "MiB 2 "),
    "bit at the end": (lambda data: flip(data, -1), "end"),
    "cut within a chunk": (lambda data: data[: BEGIN + SEALED + 100], "incomplete"),
    "cut between chunks": (lambda data: data[: BEGIN + SEALED], "incomplete"),
    "cut by a byte": (lambda data: data[:-1], "incomplete"),
    "only the header": (lambda data: data[:BEGIN], "incomplete"),
    "longer": (lambda data: data + b"\0", "damaged"),
    "much longer": (lambda data: data + bytes(3 * SEALED), "damaged"),
    "chunks exchanged": (swap, "MiB 1 "),
    "chunk twice": (lambda data: data[: BEGIN + SEALED] + data[BEGIN:], "MiB 2 "),
    "chunk left out": (lambda data: data[:BEGIN] + data[BEGIN + SEALED :], "MiB 1 "),
    "chunk of another backup": (of_another, "MiB 1 "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damages(damage: str) -> None:
    """One clear line each, whatever was done to the file."""
    change, expected = DAMAGES[damage]
    with pytest.raises(BadBackup, match=expected) as refused:
        decrypted(change(encrypted()))
    assert "\n" not in refused.value.public


def test_another_passphrase() -> None:
    """It is told from a damage."""
    with pytest.raises(BadBackup, match="the passphrase is wrong"):
        decrypted(encrypted(), PASSPHRASE + b" ")
