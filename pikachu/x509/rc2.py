"""RC2 in CBC mode (RFC 2268), decryption only: old PKCS#12 files and private keys use it with 40, 64 or 128 bits.

The library offers 128 effective bits only.  A block of 8 bytes takes about 20 µs.
"""

from __future__ import annotations

import time
from typing import Final

BLOCK_SIZE: Final = 8
# Blocks after which other threads get their turn: some 0.5 ms.
_BREAK: Final = 25
# RFC 2268 section 2: a permutation of 0 to 255 from the digits of pi.
_PI_TABLE: Final = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
_SHIFTS: Final = (1, 2, 3, 5)
# The mixing rounds, counted from 0 in the order of encryption, that a mashing round precedes (section 3.4).
_MASHED: Final = (5, 11)


def decrypt_cbc(key: bytes, effective_bits: int, vector: bytes, data: bytes) -> bytes:
    """Decrypt *data*, whole blocks, without removing the padding."""
    words = _expand(key, effective_bits)
    result = bytearray()
    previous = vector
    for start in range(0, len(data), BLOCK_SIZE):
        block = data[start : start + BLOCK_SIZE]
        plain = int.from_bytes(_decrypt_block(words, block), "little") ^ int.from_bytes(previous, "little")
        result += plain.to_bytes(BLOCK_SIZE, "little")
        previous = block
        if not start // BLOCK_SIZE % _BREAK:
            time.sleep(0)
    return bytes(result)


def _expand(key: bytes, effective_bits: int) -> list[int]:
    """Expand the key to 64 words (RFC 2268 section 2)."""
    size = -(-effective_bits // 8)
    table = bytearray(key)
    for index in range(len(key), 128):
        table.append(_PI_TABLE[(table[index - 1] + table[index - len(key)]) & 0xFF])
    table[128 - size] = _PI_TABLE[table[128 - size] & (0xFF >> (8 * size - effective_bits))]
    for index in range(127 - size, -1, -1):
        table[index] = _PI_TABLE[table[index + 1] ^ table[index + size]]
    return [table[index] | table[index + 1] << 8 for index in range(0, 128, 2)]


def _decrypt_block(words: list[int], block: bytes) -> bytes:
    """Undo 16 mixing and two mashing rounds (RFC 2268 section 4)."""
    r = [int.from_bytes(block[index : index + 2], "little") for index in range(0, BLOCK_SIZE, 2)]
    position = 63
    for mixing_round in range(15, -1, -1):
        for index in (3, 2, 1, 0):
            shift = _SHIFTS[index]
            value = r[index]
            value = (value >> shift | value << (16 - shift)) & 0xFFFF
            before = r[index - 1]
            r[index] = (value - words[position] - (before & r[index - 2]) - (~before & r[index - 3])) & 0xFFFF
            position -= 1
        if mixing_round in _MASHED:
            for index in (3, 2, 1, 0):
                r[index] = (r[index] - words[r[index - 1] & 63]) & 0xFFFF
    return b"".join(value.to_bytes(2, "little") for value in r)
