"""Certificate status for people and scripts: ``/status/<serial>`` and ``/expired`` (CRT-8)."""

from __future__ import annotations

from typing import Final

from twisted.web.resource import Resource

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.certificates import RevocationReason, format_serial, parse_serial
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.http.request import BoundedRequest
from pikachu.protocols.download.download_resource import Download, only_segment, path_segments, send_json
from pikachu.va.ocsp import CertificateStatusReader

_MAX_IDS: Final = 10_000
# The largest row id: columns have 64 bits.


class StatusResource(Download):
    """``/status/<serial>``: hex, with or without 0x."""

    def __init__(self, statuses: CertificateStatusReader) -> None:
        Resource.__init__(self)
        self._statuses = statuses

    async def answer(self, request: BoundedRequest) -> None:
        """Send the status as JSON, also for an unknown serial."""
        result = await self._statuses.status(parse_serial(only_segment(request)))
        document: dict[str, object] = {"serial": format_serial(result.serial)}
        if result.status is None or result.record is None:
            send_json(request, {**document, "status": "not found"})
            return
        document["status"] = result.status.value
        if result.record.revoked_at is not None:
            document["revoked_at"] = rfc3339(result.record.revoked_at)
            document["reason"] = (result.record.reason or RevocationReason.UNSPECIFIED).wire_name
        send_json(request, document)


class ExpiredResource(Download):
    """``/expired?after=<id>&limit=<1 to 10000>``: the ids of expired certificates, ascending."""

    def __init__(self, statuses: CertificateStatusReader) -> None:
        Resource.__init__(self)
        self._statuses = statuses

    async def answer(self, request: BoundedRequest) -> None:
        """Send the ids as a JSON array."""
        if path_segments(request):
            raise NotFound("nothing here")
        after, limit = _number(request, b"after", 0), _number(request, b"limit", _MAX_IDS)
        send_json(request, await self._statuses.expired_ids(after, limit))


def _number(request: BoundedRequest, name: bytes, default: int) -> int:
    """Return a number from the query.

    :raises MalformedRequest: when it is not a number in range.
    """
    values = request.args.get(name, []) if request.args else []
    if not values:
        return default
    number = parse_number(values[0].decode("latin-1"), MAX_ID)
    if len(values) > 1 or number is None:
        raise MalformedRequest("limit is 1 to 10000, after is an id")
    return number
