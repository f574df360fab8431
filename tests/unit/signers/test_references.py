"""Key reference files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pikachu.core.errors import ConfigError
from pikachu.signers.references import KeyReference, read_reference, reference_in
from tests.support.pki import key_pem, make_key

EC = KeyReference("pkcs11", "token=ca;object=pikachu%20ec")


@pytest.mark.parametrize(
    ("content", "reference"),
    [
        (EC.content(), EC),
        (b"pkcs11:token=ca;object=pikachu%20ec", EC),
        (b"# the key of the EC CA\r\n\r\n  pkcs11:token=ca;object=pikachu%20ec  \r\n", EC),
        (b"vault:transit/pikachu-ec?version=1\n", KeyReference("vault", "transit/pikachu-ec?version=1")),
        (b"", None),
        (b"# nothing\n", None),
        (b"pkcs11:\n", None),
        (b"pkcs11:a\npkcs11:b\n", None),
        (b"pkcs11:a b\n", None),
        ("pkcs11:object=ä\n".encode(), None),
        (b"PKCS11:object=a\n", None),
        (b"Private-Key: (256 bit)\n", None),
        (b"Bag Attributes\n", None),
        (b"x:" + b"a" * 5000, None),
    ],
)
def test_contents(content: bytes, reference: KeyReference | None) -> None:
    """One line with a URI is a reference; nothing else is."""
    assert reference_in(content) == reference


@pytest.mark.parametrize("key_type", ["p256", "rsa2048", "mldsa44"])
def test_keys_are_no_references(key_type: str) -> None:
    """A key file stays one."""
    assert reference_in(key_pem(make_key(key_type, 1))) is None


def test_files(tmp_path: Path) -> None:
    """A missing file is no reference; one that can't be read is an error."""
    path = tmp_path / "ec.key"
    assert read_reference(path, "the setting") is None
    path.write_bytes(EC.content())
    assert read_reference(path, "the setting") == EC
    with pytest.raises(ConfigError, match="can't be read"):
        read_reference(tmp_path, "the setting")
