"""Ranges of times in queries: ``30d``, ``2026-12-31``, ``2026-12-31T08:00:00Z``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pikachu.core.errors import MalformedRequest

_SPAN: Final = re.compile("([1-9][0-9]{0,4})([hdw])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DATE: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EARLIEST: Final = -(2**40)
_LATEST: Final = 2**40

#: Times as seconds since 1970: the first one that is included, and the first one that is not.
Bounds = tuple[int, int]
EVER: Final[Bounds] = (_EARLIEST, _LATEST)


def parse_span(text: str, name: str) -> timedelta:
    """Parse a span such as ``30d``: hours, days or weeks.

    :raises MalformedRequest: naming *name*.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise MalformedRequest(f"{name}: enter a number of hours, days or weeks, such as 12h, 30d or 4w")
    return int(match[1]) * _UNITS[match[2]]


def parse_start(text: str, name: str) -> datetime:
    """Parse the beginning of a range: a date (UTC), or a time with its offset.

    :raises MalformedRequest: naming *name*.
    """
    return _parse(text, name)[0]


def parse_end(text: str, name: str) -> datetime:
    """Parse the end of a range, which is not part of it; a date includes its whole day (UTC).

    :raises MalformedRequest: naming *name*.
    """
    moment, is_date = _parse(text, name)
    return moment + timedelta(days=1) if is_date else moment


def _parse(text: str, name: str) -> tuple[datetime, bool]:
    is_date = _DATE.fullmatch(text) is not None
    try:
        if not text.isascii() or len(text) > 40:
            raise ValueError
        moment = datetime.fromisoformat(text)
        if is_date:
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is None or not 1970 <= moment.year < 9999:
            raise ValueError
    except ValueError:
        raise MalformedRequest(
            f"{name}: enter a date such as 2026-12-31, or a time such as 2026-12-31T08:00:00Z"
        ) from None
    return moment.astimezone(UTC), is_date


def bounds(filters: Mapping[str, str], name: str, now: datetime, *, ahead: bool) -> Bounds | None:
    """Return the bounds that the filters *name*, *name*``_from`` and *name*``_to`` set together; ``None``: none.

    :param ahead: the span of *name* begins now; otherwise it ends now.
    :raises MalformedRequest: for a value that is not a span or time.
    """
    first, last = EVER
    if span := filters.get(name):
        length = parse_span(span, name)
        moment = int(now.timestamp())
        seconds = int(length.total_seconds())
        first, last = (moment, moment + seconds) if ahead else (moment - seconds, moment + 1)
    if start := filters.get(f"{name}_from"):
        first = max(first, int(parse_start(start, f"{name}_from").timestamp()))
    if end := filters.get(f"{name}_to"):
        last = min(last, int(parse_end(end, f"{name}_to").timestamp()))
    return None if (first, last) == EVER else (first, last)
