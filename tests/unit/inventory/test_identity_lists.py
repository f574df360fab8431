"""Reading lists of identities (DEV-3)."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

from twisted.internet.defer import fail, succeed

import pytest

from pikachu.cli.session import operator
from pikachu.core.errors import EditConflict, MalformedRequest
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.times import utc
from pikachu.inventory.identity_lists import MAX_ENTRIES, IdentityLists, read_identities
from tests.support.deferreds import error_of, result_of


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


@pytest.mark.parametrize("expected", [None, frozenset({1})])
def test_replaced_while_it_is_deleted(expected: frozenset[int] | None) -> None:
    """A list that was replaced since it was looked at stays; without a version, the new one and its entries go."""
    versions = iter((1, 2))
    store = Mock()
    store.identity_list.side_effect = lambda _: succeed(IdentityList(5, "pumps", 1, utc(0), "root", next(versions)))

    def delete(former: IdentityList, *_: object) -> Any:
        return succeed(None) if former.version == 2 else fail(EditConflict.of("list", "root", None))

    store.delete_identity_list.side_effect = delete
    store.delete_identities.side_effect = lambda _: succeed(False)
    lists = IdentityLists(store=store, clock=Mock(seconds=lambda: 0.0), pool=cast(Any, None))
    deleted = lists.delete(operator(), 5, expected=expected)
    if expected is None:
        result_of(deleted)
        store.delete_identities.assert_called_once_with(2)
    else:
        assert isinstance(error_of(deleted), EditConflict)
        store.delete_identities.assert_not_called()
