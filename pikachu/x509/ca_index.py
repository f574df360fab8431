"""The database of ``openssl ca``, index.txt: a certificate a line, six fields with tabs between.

See the source of OpenSSL, apps/ca.c and crypto/txt_db: status ``V``, ``R`` or ``E``; end of the validity; time and
reason of the revocation; serial number in hex; file name; subject.  Times have two digits of the year, or four.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import SERIAL_END, RevocationReason

_FIELDS: Final = 6
# A tab within a field has a backslash before it.
_TAB: Final = re.compile(r"(?<!\\)\t")
_TIME: Final = re.compile(r"(\d{2}|\d{4})(\d{10})Z", re.ASCII)
_SERIAL: Final = re.compile(r"[0-9A-Fa-f]{1,42}")
# Before that, UTCTime has no year, and no certificate was issued.
_FIRST_YEAR: Final = 1950
_REASONS: Final = {reason.wire_name.lower(): reason for reason in RevocationReason} | {
    # Each with a further value, which CRL entries don't need.
    "holdinstruction": RevocationReason.CERTIFICATE_HOLD,
    "keytime": RevocationReason.KEY_COMPROMISE,
    "cakeytime": RevocationReason.CA_COMPROMISE,
    # Of delta CRLs; until OpenSSL's next line says otherwise, the certificate is revoked.
    "removefromcrl": RevocationReason.UNSPECIFIED,
}


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A line of index.txt.

    :param revoked_at: ``None`` unless it is revoked.
    """

    serial: int
    not_after: datetime
    revoked_at: datetime | None
    reason: RevocationReason | None


def parse_index_line(line: str) -> IndexEntry | None:
    """Parse a line; return ``None`` for an empty one or a comment.

    :raises MalformedRequest: when it is none of such a file.
    """
    line = line.rstrip("\r\n")
    if not line or line.startswith("#"):
        return None
    fields = _TAB.split(line)
    if len(fields) != _FIELDS:
        raise MalformedRequest(f"a line has {len(fields)} fields; those of index.txt have {_FIELDS}")
    status, end, revocation, digits = fields[:4]
    if not _SERIAL.fullmatch(digits) or not 0 < (serial := int(digits, 16)) < SERIAL_END:
        raise MalformedRequest("a serial number is none")
    not_after = _moment(end)
    if status in ("V", "E") and not revocation:
        return IndexEntry(serial, not_after, None, None)
    if status != "R":
        raise MalformedRequest("the status is none of V, R and E, or contradicts the time of revocation")
    at, *more = revocation.split(",")
    reason = _REASONS.get(more[0].lower()) if more else RevocationReason.UNSPECIFIED
    if reason is None:
        raise MalformedRequest("the reason of a revocation is not known")
    return IndexEntry(serial, not_after, _moment(at), reason)


def _moment(text: str) -> datetime:
    """Parse a time; years of two digits from 50 on belong to the twentieth century (RFC 5280 section 4.1.2.5.1)."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise MalformedRequest("a time is none of index.txt")
    year = match[1] if len(match[1]) == 4 else f"{'19' if match[1] >= '50' else '20'}{match[1]}"
    try:
        moment = datetime.strptime(f"{year}{match[2]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise MalformedRequest("a time is none of index.txt") from None
    if moment.year < _FIRST_YEAR:
        raise MalformedRequest("a time is none of index.txt")
    return moment
