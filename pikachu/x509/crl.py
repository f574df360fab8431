"""DER CRLs (RFC 5280 section 5): version 2, signed by the issuer itself.

A revocation is encoded once, when it happens; a CRL is the concatenation of these bytes between a head and a tail, so
that a million entries cost memory copies but no work per entry.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import PublishedRevocation, RevocationReason
from pikachu.x509 import der
from pikachu.x509.certificate import parse_time
from pikachu.x509.extension import Extension

CRL_NUMBER: Final = "2.5.29.20"
REASON_CODE: Final = "2.5.29.21"
AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
#: removeFromCRL, the reason for entries of delta CRLs only (RFC 5280 section 5.3.1).
REMOVE_FROM_CRL: Final = 8

_VERSION_2: Final = der.integer(1)
_CRL_NUMBER: Final = der.oid(CRL_NUMBER)
_AUTHORITY_KEY_IDENTIFIER: Final = der.oid(AUTHORITY_KEY_IDENTIFIER)
# crlEntryExtensions with a reasonCode, up to the value: SEQUENCE OF, SEQUENCE, OID, OCTET STRING, ENUMERATED.
_REASON: Final = bytes.fromhex("300c300a") + der.oid(REASON_CODE) + bytes.fromhex("04030a01")
# RFC 5280 section 5.2.3: up to 20 bytes, not negative.
_NUMBER_BITS: Final = 159

# The PEM lines that one step formats, and the bytes of DER in them.
_LINES: Final = struct.Struct("64s" * 512)
_PIECE: Final = 48 * 512


def crl_entry(serial: int, revoked_at: datetime, reason: RevocationReason | None) -> bytes:
    """Return one DER element of revokedCertificates (RFC 5280 section 5.1.2.6).

    :param serial: positive.
    :param reason: omitted when it is ``unspecified`` (section 5.3.1).
    :raises ValueError: the serial is not positive.
    """
    if serial <= 0:
        raise ValueError("a serial number is positive")
    content = der.integer(serial) + der.time(revoked_at)
    if reason:
        content += _REASON + bytes((reason,))
    return der.tlv(der.SEQUENCE, content)


def removal_entry(serial: int, at: datetime) -> bytes:
    """Return the entry with which a delta CRL takes a certificate from the list (RFC 5280 section 5.2.4)."""
    content = der.integer(serial) + der.time(at) + _REASON + bytes((REMOVE_FROM_CRL,))
    return der.tlv(der.SEQUENCE, content)


def is_removal(entry: bytes) -> bool:
    """Return whether an entry takes a certificate from the list."""
    return entry.endswith(_REASON + bytes((REMOVE_FROM_CRL,)))


def tbs_cert_list(
    *,
    algorithm: bytes,
    issuer_der: bytes,
    updates: tuple[datetime, datetime],
    entries: bytes | bytearray | memoryview,
    number: int,
    authority_key_identifier: bytes,
    extensions: Sequence[Extension] = (),
) -> bytes:
    """Return the DER TBSCertList to sign (RFC 5280 section 5.1.2).

    :param algorithm: the DER AlgorithmIdentifier of the signature.
    :param issuer_der: the subject of the issuer's certificate.
    :param updates: thisUpdate and nextUpdate.
    :param entries: the joined results of ``crl_entry``; when empty, the field is absent.
    :param number: cRLNumber, of at most 20 bytes.
    :param authority_key_identifier: the issuer's subjectKeyIdentifier.
    :param extensions: more of them; see :mod:`pikachu.x509.crl_scope`.
    :raises ValueError: the number is negative or too large, or nextUpdate does not follow thisUpdate.
    """
    this_update, next_update = updates
    if number < 0 or number.bit_length() > _NUMBER_BITS:
        raise ValueError("a CRL number has at most 20 octets and is not negative")
    if next_update <= this_update:
        raise ValueError("the next update of a CRL follows this update")
    head = _VERSION_2 + algorithm + issuer_der + der.time(this_update) + der.time(next_update)
    if entries:
        head += b"\x30" + der.length(len(entries))
    key_identifier = der.sequence(der.implicit(0, authority_key_identifier))
    tail = der.explicit(
        0,
        der.sequence(
            der.sequence(_AUTHORITY_KEY_IDENTIFIER, der.octet_string(key_identifier)),
            der.sequence(_CRL_NUMBER, der.octet_string(der.integer(number))),
            *(extension.der for extension in extensions),
        ),
    )
    size = len(head) + len(entries) + len(tail)
    return b"".join((b"\x30", der.length(size), head, entries, tail))


def assemble_crl(to_be_signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Return the DER CertificateList, with only one copy of *to_be_signed*.

    :param algorithm: the same DER AlgorithmIdentifier as inside (RFC 5280 section 5.1.1.2).
    """
    tail = algorithm + der.bit_string(signature)
    return b"".join((b"\x30", der.length(len(to_be_signed) + len(tail)), to_be_signed, tail))


def crl_pem(data: bytes) -> bytes:
    """Return the CRL in PEM (RFC 7468 section 6): lines of 64 characters, each ended by LF."""
    return b"".join(crl_pem_pieces(data))


def crl_pem_pieces(data: bytes) -> Iterator[bytes]:
    """Yield the result of :func:`crl_pem` in pieces of up to 33 kB, to save memory for a large CRL."""
    view = memoryview(data)
    whole = len(data) - len(data) % _PIECE
    yield b"-----BEGIN X509 CRL-----\n"
    # Split many lines in one call: a loop over single lines takes seconds for a CRL of 40 MB.
    for start in range(0, whole, _PIECE):
        text = binascii.b2a_base64(view[start : start + _PIECE], newline=False)
        yield b"\n".join((*_LINES.unpack(text), b""))
    text = binascii.b2a_base64(view[whole:], newline=False)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    yield b"\n".join((*lines, b"-----END X509 CRL-----", b""))


@dataclass(frozen=True, slots=True)
class CRLSummary:
    """The fields of a CRL without its entries; the signature is not verified.

    :param number: ``None`` when absent, as in version 1.
    :param next_update: ``None`` when absent.
    :param entries: the number of entries.
    :param critical_extensions: OIDs; a full CRL of one issuer has none (a delta or partial one has).
    :param algorithm: DER AlgorithmIdentifier of the signature, equal inside and outside.
    :param tbs: the TBSCertList, without a copy.
    """

    issuer_der: bytes
    number: int | None
    this_update: datetime
    next_update: datetime | None
    entries: int
    authority_key_identifier: bytes | None
    critical_extensions: tuple[str, ...]
    algorithm: bytes
    tbs: memoryview = field(repr=False)
    signature: bytes = field(repr=False)
    #: The DER inside of the crlExtensions, by OID.
    extensions: Mapping[str, bytes] = field(default_factory=dict, repr=False, hash=False)


def parse_crl_summary(data: bytes) -> CRLSummary:
    """Parse a DER CRL except for its entries, which are only counted.

    :raises MalformedRequest: *data* is malformed, or its two signature algorithms differ.
    """
    outer = der.parse(data, der.SEQUENCE)
    tbs = der.element_at(data, outer.start, outer.end).expect(der.SEQUENCE)
    algorithm = der.element_at(data, tbs.end, outer.end).expect(der.SEQUENCE)
    signature = der.element_at(data, algorithm.end, outer.end).expect(der.BIT_STRING)
    if signature.end != outer.end or data[signature.start : signature.start + 1] != b"\x00":
        raise MalformedRequest("this is not a CRL")

    fields = tbs.children()
    version, inner = 1, _next(fields)
    if inner.tag == der.INTEGER:
        if inner.integer() != 1:
            raise MalformedRequest("the version of the CRL is not known")
        version, inner = 2, _next(fields)
    if inner.expect(der.SEQUENCE).whole != algorithm.whole:
        raise MalformedRequest("the two signature algorithms of the CRL differ")
    issuer = _next(fields).expect(der.SEQUENCE)
    this_update = parse_time(_next(fields))

    remaining = list(fields)
    next_update = (
        parse_time(remaining.pop(0)) if remaining and remaining[0].tag in (der.UTC_TIME, der.GENERALIZED_TIME) else None
    )
    entries = _count(data, remaining.pop(0)) if remaining and remaining[0].tag == der.SEQUENCE else 0
    extensions: dict[str, tuple[bool, bytes]] = {}
    if remaining and remaining[0].tag == 0xA0 and version == 2:
        extensions = _extensions(remaining.pop(0))
    if remaining:
        raise MalformedRequest("the CRL has a field in a place where it has none")
    return CRLSummary(
        issuer_der=issuer.whole,
        number=_number(extensions[CRL_NUMBER][1]) if CRL_NUMBER in extensions else None,
        this_update=this_update,
        next_update=next_update,
        entries=entries,
        authority_key_identifier=_key_identifier(extensions),
        critical_extensions=tuple(oid for oid, (critical, _) in extensions.items() if critical),
        algorithm=algorithm.whole,
        tbs=memoryview(data)[tbs.whole_start : tbs.end],
        signature=data[signature.start + 1 : signature.end],
        extensions={oid: value for oid, (_, value) in extensions.items()},
    )


def crl_entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the serial number and the whole DER of each entry of a DER CRL, in order; nothing else is parsed.

    A million of them take some seconds, so there is a fast path for entries shorter than 128 bytes, nearly all.

    :return: the serial number is in the form of ``format_serial``; that of a negative one is of no certificate.
    :raises MalformedRequest: the CRL, or an entry, is malformed.
    """
    outer = der.parse(data, der.SEQUENCE)
    fields = list(der.element_at(data, outer.start, outer.end).expect(der.SEQUENCE).children())
    times = [index for index, field in enumerate(fields) if field.tag in (der.UTC_TIME, der.GENERALIZED_TIME)]
    # The list of entries is the only SEQUENCE after thisUpdate and nextUpdate.
    rest = fields[times[-1] + 1 :] if times else []
    if not rest or rest[0].tag != der.SEQUENCE:
        return
    offset, end = rest[0].start, rest[0].end
    while offset < end:
        head = data[offset : offset + 4]
        # SEQUENCE, its size, INTEGER, its size: both of one byte, and the number within the entry.
        if len(head) == 4 and head[0] == der.SEQUENCE and head[2] == der.INTEGER and 2 + head[3] <= head[1] < 0x80:
            stop, serial = offset + 2 + head[1], data[offset + 4 : offset + 4 + head[3]]
        else:
            entry = der.element_at(data, offset, end).expect(der.SEQUENCE)
            stop, serial = entry.end, der.element_at(data, entry.start, entry.end).expect(der.INTEGER).content
        if stop > end:
            raise MalformedRequest("the entries of the CRL are malformed")
        yield serial.hex().lstrip("0"), data[offset:stop]
        offset = stop


def parse_crl_entry(entry: bytes) -> PublishedRevocation:
    """Parse one entry of a CRL.

    :raises MalformedRequest: it is malformed.
    """
    parts = der.parse(entry, der.SEQUENCE).sub()
    if len(parts) < 2:
        raise MalformedRequest("an entry of the CRL is malformed")
    serial = parts[0].expect(der.INTEGER).integer()
    return PublishedRevocation(serial, parse_time(parts[1]), _reason(parts[2:]), entry)


def revoked_serials(data: bytes, serials: Container[int]) -> dict[int, tuple[datetime, RevocationReason]]:
    """Return revocation date and reason, by serial number, of those entries of a DER CRL that are in *serials*.

    :raises MalformedRequest: the CRL, or one of these entries, is malformed.
    """
    entries = (parse_crl_entry(entry) for serial, entry in crl_entries(data) if int(serial or "0", 16) in serials)
    return {entry.serial: (entry.revoked_at, entry.reason) for entry in entries}


def _reason(extensions: Sequence[der.Element]) -> RevocationReason:
    """Return the reasonCode of an entry (RFC 5280 section 5.3.1); unspecified where it has none that is known."""
    for group in extensions:
        for extension in group.expect(der.SEQUENCE).children():
            parts = extension.expect(der.SEQUENCE).sub()
            if len(parts) < 2 or parts[0].oid() != REASON_CODE:
                continue
            with suppress(ValueError):
                return RevocationReason(der.parse(parts[-1].content, der.ENUMERATED).integer())
    return RevocationReason.UNSPECIFIED


def read_dates(head: bytes) -> tuple[datetime, datetime | None]:
    """Return thisUpdate and nextUpdate of a DER CRL from its first bytes.

    :param head: the beginning of the CRL, or all of it.
    :raises MalformedRequest: *head* does not contain them.
    """
    offset = _inside(head, _inside(head, 0))
    limit = len(head)
    element = der.element_at(head, offset, limit)
    if element.tag == der.INTEGER:
        element = der.element_at(head, element.end, limit)
    issuer = der.element_at(head, element.end, limit)
    this_update = der.element_at(head, issuer.end, limit)
    following = der.element_at(head, this_update.end, limit) if this_update.end < limit else None
    if following is None or following.tag not in (der.UTC_TIME, der.GENERALIZED_TIME):
        return parse_time(this_update), None
    return parse_time(this_update), parse_time(following)


def _inside(head: bytes, offset: int) -> int:
    """Return the offset of the content of the SEQUENCE at *offset*, which may end after *head*."""
    if len(head) < offset + 2 or head[offset] != der.SEQUENCE:
        raise MalformedRequest("this is not a CRL")
    size = head[offset + 1]
    return offset + 2 + (size - 0x80 if size > 0x80 else 0)


def _next(fields: Iterator[der.Element]) -> der.Element:
    """Return the next field of the TBSCertList."""
    element = next(fields, None)
    if element is None:
        raise MalformedRequest("the CRL is cut short")
    return element


def _count(data: bytes, revoked: der.Element) -> int:
    """Count the entries of revokedCertificates, with a fast path for those shorter than 128 bytes, nearly all."""
    offset, end = revoked.start, revoked.end
    count = 0
    while offset < end:
        size = data[offset + 1] if offset + 1 < end else 0x80
        if size < 0x80:
            if data[offset] != der.SEQUENCE:
                raise MalformedRequest("an entry of the CRL is malformed")
            offset += size + 2
        else:
            offset = der.element_at(data, offset, end).expect(der.SEQUENCE).end
        count += 1
    if offset != end or not count:
        raise MalformedRequest("the entries of the CRL are malformed")
    return count


def _extensions(element: der.Element) -> dict[str, tuple[bool, bytes]]:
    """Return the criticality and the value of each crlExtension, by OID."""
    lists = element.sub(der.SEQUENCE)
    if len(lists) != 1:
        raise MalformedRequest("the extensions of the CRL are malformed")
    extensions: dict[str, tuple[bool, bytes]] = {}
    for extension in lists[0].children():
        parts = extension.expect(der.SEQUENCE).sub()
        critical = len(parts) == 3 and parts[1].boolean()
        if len(parts) not in (2, 3) or (oid := parts[0].oid()) in extensions:
            raise MalformedRequest("the extensions of the CRL are malformed")
        extensions[oid] = (critical, parts[-1].expect(der.OCTET_STRING).content)
    return extensions


def _number(value: bytes) -> int:
    """Parse a CRLNumber (RFC 5280 section 5.2.3)."""
    element = der.parse(value, der.INTEGER)
    if element.end - element.start > 21 or (number := element.integer()) < 0:
        raise MalformedRequest("the number of the CRL is negative or too large")
    return number


def _key_identifier(extensions: dict[str, tuple[bool, bytes]]) -> bytes | None:
    """Return the keyIdentifier of the authorityKeyIdentifier, or ``None``."""
    if AUTHORITY_KEY_IDENTIFIER not in extensions:
        return None
    fields = der.parse(extensions[AUTHORITY_KEY_IDENTIFIER][1], der.SEQUENCE)
    return next((part.content for part in fields.children() if part.tag == 0x80), None)
