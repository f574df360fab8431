"""RC2: the test vectors of RFC 2268 section 5."""

from __future__ import annotations

import pytest

from pikachu.x509.rc2 import decrypt_cbc

VECTORS = [
    ("0000000000000000", 63, "0000000000000000", "ebb773f993278eff"),
    ("ffffffffffffffff", 64, "ffffffffffffffff", "278b27e42e2f0d49"),
    ("3000000000000000", 64, "1000000000000001", "30649edf9be7d2c2"),
    ("88", 64, "0000000000000000", "61a8a244adacccf0"),
    ("88bca90e90875a", 64, "0000000000000000", "6ccf4308974c267f"),
    ("88bca90e90875a7f0f79c384627bafb2", 64, "0000000000000000", "1a807d272bbe5db1"),
    ("88bca90e90875a7f0f79c384627bafb2", 128, "0000000000000000", "2269552ab0f85ca6"),
    (
        "88bca90e90875a7f0f79c384627bafb216f80a6f85920584c42fceb0be255daf1e",
        129,
        "0000000000000000",
        "5b78d3a43dfff1f1",
    ),
]


@pytest.mark.parametrize(("key", "bits", "plain", "encrypted"), VECTORS)
def test_vectors(key: str, bits: int, plain: str, encrypted: str) -> None:
    """Keys of 1 to 33 bytes, and effective lengths that are no whole number of bytes."""
    assert decrypt_cbc(bytes.fromhex(key), bits, bytes(8), bytes.fromhex(encrypted)).hex() == plain


def test_chaining() -> None:
    """The second block is combined with the first one's encryption."""
    key, blocks = bytes.fromhex(VECTORS[6][0]), bytes.fromhex(VECTORS[6][3]) * 2
    plain = decrypt_cbc(key, 128, b"\xff" * 8, blocks)
    assert plain == b"\xff" * 8 + blocks[:8]
