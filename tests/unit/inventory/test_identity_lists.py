"""Reading lists of identities (DEV-3)."""

from __future__ import annotations

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.inventory.identity_lists import MAX_ENTRIES, read_identities


def test_read() -> None:
    """The first cell of each line, folded, each once."""
    text = '\ufeffSerial number,place\n#no\nABC,x\n\nabc\n"a,b"\n\uff21\uff22\uff23\n'
    assert read_identities(text) == ["abc", "a,b"]
    assert read_identities("first\nname\n") == ["first", "name"]


@pytest.mark.parametrize("text", ["", "\n\n", "# none\n", "name\n"])
def test_none(text: str) -> None:
    with pytest.raises(MalformedRequest):
        read_identities(text)


def test_too_many() -> None:
    """A list of as many as are allowed takes a moment."""
    lines = [str(number) for number in range(MAX_ENTRIES)]
    assert len(read_identities("\n".join(lines))) == MAX_ENTRIES
    with pytest.raises(MalformedRequest):
        read_identities("\n".join([*lines, "one more"]))
