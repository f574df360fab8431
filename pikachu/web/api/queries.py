"""Query strings of REST: lists, filters and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from pikachu.core.constraints import OneOf
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.number_parsing import parse_number

LIST_NAMES: Final = ("limit", "cursor", "q", "sort")
MAXIMUM_LIMIT: Final = 1000


def parse_query(uri: bytes, allowed: tuple[str, ...]) -> Mapping[str, str]:
    """Parse the query string into names and values.

    :param allowed: permitted names, once each.
    :raises MalformedRequest: naming the name that is not permitted.
    """
    _, _, text = uri.partition(b"?")
    if not text:
        return {}
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=32)
    except (UnicodeDecodeError, ValueError):
        raise MalformedRequest("The query of the URL is malformed.") from None
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise MalformedRequest(f"Unknown: {name[:40]!r}; known: {', '.join(allowed) or 'nothing'}.")
        if name in parameters:
            raise MalformedRequest(f"“{name}” is in the query twice.")
        parameters[name] = value
    return parameters


def check_choices(query: Mapping[str, str], choices: Mapping[str, tuple[str | int, ...]]) -> None:
    """Check the values of enumerated names; an empty value is that of an absent name.

    :raises MalformedRequest: naming the permitted values.
    """
    for name, permitted in choices.items():
        if query.get(name):
            OneOf(permitted).check(query[name], name)


def whole_number(text: str, name: str) -> int:
    """Parse *text* as a whole number.

    :raises MalformedRequest: naming *name*.
    """
    number = parse_number(text)
    if number is None:
        raise MalformedRequest(f"“{name}” must be a whole number.")
    return number


def list_query(query: Mapping[str, str], filters: Mapping[str, str], *, owner: str | None = None) -> ListQuery:
    """Return the list query; a filter without a value is ignored, but a sort order needs a name, and an owner an id.

    :param filters: name in the query → name in the store.
    :param owner: name of the query parameter with an owner's id.
    :raises MalformedRequest: for a bad limit or owner; the store validates cursor, sort and filters.
    """
    limit = whole_number(query["limit"], "limit") if "limit" in query else ListQuery().limit
    if not 1 <= limit <= MAXIMUM_LIMIT:
        raise MalformedRequest(f"“limit” must be a number from 1 to {MAXIMUM_LIMIT}.")
    return ListQuery(
        limit=limit,
        cursor=query.get("cursor") or None,
        q=query.get("q") or None,
        sort=query.get("sort", ListQuery().sort),
        owner_id=None if owner is None or owner not in query else whole_number(query[owner], owner),
        filters={stored_name: query[name] for name, stored_name in filters.items() if query.get(name)},
    )
