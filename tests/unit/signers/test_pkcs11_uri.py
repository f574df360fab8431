"""PKCS#11 URIs (RFC 7512)."""

from __future__ import annotations

import pytest

from pikachu.core.errors import ConfigError
from pikachu.signers.pkcs11.uri import SCHEME, TokenKey, parse_token_key, token_key
from pikachu.signers.references import KeyReference, reference_in


@pytest.mark.parametrize(
    "key",
    [
        TokenKey("ca", "pikachu-ec"),
        TokenKey("", "pikachu-ec"),
        TokenKey("The Token; of 100%", "Schlüssel #1?", b"\x00\xff;"),
        TokenKey("ca", None, b"\x01"),
    ],
)
def test_written_and_read(key: TokenKey) -> None:
    """Every label and id survives, in a file too."""
    reference = key.reference()
    assert parse_token_key(reference) == key
    assert reference_in(reference.content()) == reference
    assert str(key)


def test_as_others_write_it() -> None:
    """The order of attributes and needless encoding don't matter."""
    assert parse_token_key(KeyReference(SCHEME, "type=private;object=%65c;token=ca")) == TokenKey("ca", "ec")
    assert parse_token_key(token_key("ca", "ec")) == TokenKey("ca", "ec")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("token=ca", "names no key"),
        ("object=a;object=b", "given twice"),
        ("object", "no attribute"),
        ("object=a;", "no attribute"),
        ("object=a;serial=1", "serial"),
        ("object=a;type=public", "type is private"),
        ("object=%ff", "UTF-8"),
        ("object=a?pin-value=secret", "question mark"),
    ],
)
def test_refused(rest: str, message: str) -> None:
    """One line says what is wrong, and repeats no PIN."""
    with pytest.raises(ConfigError, match=message) as caught:
        parse_token_key(KeyReference(SCHEME, rest))
    assert "secret" not in str(caught.value)
