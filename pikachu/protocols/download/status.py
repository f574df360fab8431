"""The status of certificates for people and scripts: ``/status/<serial>`` and ``/expired`` (CRT-8)."""

from __future__ import annotations

from typing import Final

from twisted.web.resource import Resource

from pikachu.core.errors import MalformedRequest, NotFound
from pikachu.core.model.certificates import RevocationReason, format_serial, parse_serial
from pikachu.core.model.times import rfc3339
from pikachu.http.request import BoundedRequest
from pikachu.protocols.download.outlet import Download, below, only_segment, send_json
from pikachu.va.ocsp import CertificateStatusReader

_MOST: Final = 10_000
# Of a row's id: what a 64-bit column holds.
_LARGEST: Final = (1 << 63) - 1


class StatusResource(Download):
    """``/status/<serial>``: hex, with or without 0x."""

    def __init__(self, statuses: CertificateStatusReader) -> None:
        Resource.__init__(self)
        self._statuses = statuses

    async def answer(self, request: BoundedRequest) -> None:
        """JSON, also for a serial that nobody has."""
        found = await self._statuses.status(parse_serial(only_segment(request)))
        told: dict[str, object] = {"serial": format_serial(found.serial)}
        if found.status is None or found.record is None:
            send_json(request, {**told, "status": "not found"})
            return
        told["status"] = found.status.value
        if found.record.revoked_at is not None:
            told["revoked_at"] = rfc3339(found.record.revoked_at)
            told["reason"] = (found.record.reason or RevocationReason.UNSPECIFIED).wire_name
        send_json(request, told)


class ExpiredResource(Download):
    """``/expired?after=<id>&limit=<1 to 10000>``: the ids of certificates past their end, ascending."""

    def __init__(self, statuses: CertificateStatusReader) -> None:
        Resource.__init__(self)
        self._statuses = statuses

    async def answer(self, request: BoundedRequest) -> None:
        """A JSON array."""
        if below(request):
            raise NotFound("nothing here")
        after, limit = _number(request, b"after", 0), _number(request, b"limit", _MOST)
        send_json(request, await self._statuses.expired_ids(after, limit))


def _number(request: BoundedRequest, name: bytes, default: int) -> int:
    """A number of the query.

    :raises MalformedRequest: when it is none.
    """
    values = request.args.get(name, []) if request.args else []
    if not values:
        return default
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 19 or int(values[0]) > _LARGEST:
        raise MalformedRequest("limit is 1 to 10000, after is an id")
    return int(values[0])
