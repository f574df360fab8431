"""Decoding of OCSP requests (RFC 6960 section 4.1 and appendix A.1), and the cache headers of responses.

The decoder accepts strict DER only and is hand-written for speed: each CertID and each request has exactly one accepted
encoding, so the bytes can be cache keys.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from pikachu.core.errors import MalformedRequest, TooLarge
from pikachu.x509 import der
from pikachu.x509.ocsp import (
    ACCEPTABLE_RESPONSES,
    NONCE,
    PREFERRED_SIGNATURE_ALGORITHMS,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    CertID,
    algorithm_identifier,
)

MAX_CERTIFICATES: Final = 50
MAX_NONCE: Final = 128
MAX_GET: Final = 16_384
# Maximum sizes in bytes of fields that are costly to decode; clients need a fraction of them.
_MAX_ALGORITHM: Final = 64
_MAX_PREFERENCES: Final = 2048

# Headers of responses that must not be cached: errors, and responses with a nonce.
NOT_CACHEABLE: Final[Mapping[str, str]] = MappingProxyType({"Cache-Control": "no-store"})

_ALGORITHMS: Final = {
    algorithm_identifier(oid, null=null): oid for oid in (SHA1, SHA256, SHA384, SHA512) for null in (True, False)
}
_NONCE: Final = der.oid(NONCE)
_PREFERRED: Final = der.oid(PREFERRED_SIGNATURE_ALGORITHMS)
_ACCEPTABLE: Final = der.oid(ACCEPTABLE_RESPONSES)
_KNOWN_EXTENSIONS: Final = (_NONCE, _PREFERRED, _ACCEPTABLE)
_BASE64: Final = bytes.maketrans(b" -_", b"++/")


class OCSPRequest(NamedTuple):
    """A decoded OCSPRequest.

    :param cert_ids: at least one, in request order; may contain duplicates.
    :param nonce: 1 to 128 bytes, to be echoed.
    :param signed: whether there is a signature; it has not been verified.
    :param preferred_algorithms: DER AlgorithmIdentifiers of signatures, the best one first (section 4.4.7.1).
    :param acceptable_responses: OIDs of response types (section 4.4.3).
    """

    cert_ids: tuple[CertID, ...]
    nonce: bytes | None = None
    signed: bool = False
    preferred_algorithms: tuple[bytes, ...] = ()
    acceptable_responses: tuple[str, ...] = ()


def decode_get(tail: bytes) -> bytes:
    """Decode the DER request in the URI of a GET (RFC 6960 appendix A.1).

    Accepts the forms that clients and proxies send: leading slashes, ``//`` inside, ``+`` turned into a space, the URL
    alphabet of base64, missing padding, line ends.  A query is ignored.

    :param tail: the raw URI after the responder's path, still percent-encoded.
    :raises TooLarge: when it is longer than ``MAX_GET``.
    :raises MalformedRequest: when it is not base64.
    """
    if len(tail) > MAX_GET:
        raise TooLarge("the OCSP request is too long for a GET")
    text = tail.partition(b"?")[0]
    if b"%" in text:
        text = unquote_to_bytes(text)
    text = text.translate(_BASE64, b"\r\n").lstrip(b"/")
    digits = text.rstrip(b"=")
    if not digits or len(digits) % 4 == 1 or len(text) - len(digits) > 2:
        raise MalformedRequest("the OCSP request in the URL is not base64")
    try:
        return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4), strict_mode=True)
    except binascii.Error as error:
        raise MalformedRequest("the OCSP request in the URL is not base64") from error


def decode_request(data: bytes, max_certificates: int = MAX_CERTIFICATES) -> OCSPRequest:
    """Decode a DER OCSPRequest (RFC 6960 section 4.1.1), without checking the issuers of the certificates.

    requestorName, the signature and unknown non-critical extensions are skipped.

    :param max_certificates: maximum number of requested certificates.
    :raises MalformedRequest: when it is not an OCSPRequest, has no or too many CertIDs, a nonce that is not 1 to 128
        bytes long (RFC 9654 section 2.1), or an unknown critical extension.
    """
    limit = len(data)
    offset, end = _open_element(data, 0, limit, 0x30)
    if end != limit:
        raise MalformedRequest("bytes follow the OCSP request")
    offset, tbs_end = _open_element(data, offset, limit, 0x30)
    signed = tbs_end != limit
    if signed:
        _skip_signature(data, tbs_end, limit)

    tag = data[offset] if offset < tbs_end else 0
    if tag == 0xA0:
        if data[offset : offset + 5] != b"\xa0\x03\x02\x01\x00":
            raise MalformedRequest("the version of the OCSP request is not 1")
        offset += 5
        tag = data[offset] if offset < tbs_end else 0
    if tag == 0xA1:
        offset = _open_element(data, offset, tbs_end, 0xA1)[1]
    offset, list_end = _open_element(data, offset, tbs_end, 0x30)

    cert_ids: list[CertID] = []
    while offset < list_end:
        if len(cert_ids) == max_certificates:
            raise MalformedRequest(f"an OCSP request may ask for {max_certificates} certificates at most")
        offset, request_end = _open_element(data, offset, list_end, 0x30)
        cert_id, offset = _decode_cert_id(data, offset, request_end)
        cert_ids.append(cert_id)
        if offset != request_end:
            _decode_extensions(data, offset, request_end, 0xA0, ())
            offset = request_end
    if not cert_ids:
        raise MalformedRequest("the OCSP request asks for no certificate")
    if offset == tbs_end:
        return OCSPRequest(tuple(cert_ids), None, signed)
    extensions = _decode_extensions(data, offset, tbs_end, 0xA2, _KNOWN_EXTENSIONS)
    nonce, preferred, acceptable = extensions.get(_NONCE), extensions.get(_PREFERRED), extensions.get(_ACCEPTABLE)
    return OCSPRequest(
        tuple(cert_ids),
        None if nonce is None else _decode_nonce(nonce),
        signed,
        () if preferred is None else _preferred_algorithms(preferred),
        () if acceptable is None else _acceptable_responses(acceptable),
    )


def _open_element(data: bytes, offset: int, limit: int, tag: int) -> tuple[int, int]:
    """Return the start and end of the content of the element at *offset*; decodes short lengths itself, for speed."""
    start = offset + 2
    if start > limit or data[offset] != tag:
        raise MalformedRequest("this is not an OCSP request")
    size = data[offset + 1]
    if size >= 0x80:
        element = der.element_at(data, offset, limit)
        return element.start, element.end
    end = start + size
    if end > limit:
        raise MalformedRequest("the OCSP request is cut short")
    return start, end


def _decode_cert_id(data: bytes, offset: int, limit: int) -> tuple[CertID, int]:
    """Decode the CertID at *offset*; return it and its end."""
    start, end = _open_element(data, offset, limit, 0x30)
    algorithm_end = _open_element(data, start, end, 0x30)[1]
    encoded = data[start:algorithm_end]
    algorithm = _ALGORITHMS.get(encoded) or _other_algorithm(encoded)
    name, name_end = _open_element(data, algorithm_end, end, 0x04)
    key, key_end = _open_element(data, name_end, end, 0x04)
    number, number_end = _open_element(data, key_end, end, 0x02)
    if number_end != end:
        raise MalformedRequest("bytes follow the serial number in the OCSP request")
    serial = data[number:end]
    if not serial or (len(serial) > 1 and (serial[0], serial[1] & 0x80) in ((0x00, 0x00), (0xFF, 0x80))):
        raise MalformedRequest("the serial number in the OCSP request is not DER")
    number = int.from_bytes(serial, "big", signed=True)
    return CertID(data[offset:end], algorithm, data[name:name_end], data[key:key_end], number), end


def _other_algorithm(encoded: bytes) -> str:
    """Return the OID of an unknown digest algorithm; its parameters must be absent or NULL, as for all digests."""
    parts = der.parse(encoded, der.SEQUENCE).sub() if len(encoded) <= _MAX_ALGORITHM else []
    if not parts or len(parts) > 2 or (len(parts) == 2 and parts[1].whole != b"\x05\x00"):
        raise MalformedRequest("the OCSP request has a digest algorithm that is malformed")
    return parts[0].oid()


def _decode_extensions(data: bytes, offset: int, limit: int, tag: int, known: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """Decode the list of extensions under the explicit *tag*, which ends at *limit*; return the values by DER OID.

    Repeated extensions (RFC 5280 section 4.2) and critical ones that are not *known* are refused.
    """
    offset, end = _open_element(data, offset, limit, tag)
    offset, list_end = _open_element(data, offset, end, 0x30)
    if end != limit or list_end != end or offset == end:
        raise MalformedRequest("the extensions of the OCSP request are malformed")
    values: dict[bytes, bytes] = {}
    while offset < end:
        start, offset = _open_element(data, offset, end, 0x30)
        arcs, arcs_end = _open_element(data, start, offset, 0x06)
        oid = data[start:arcs_end]
        value = arcs_end
        # DER omits FALSE, since it is the default; some clients encode it.
        critical = data[value : value + 3]
        if critical in (b"\x01\x01\xff", b"\x01\x01\x00"):
            value += 3
        value, value_end = _open_element(data, value, offset, 0x04)
        if value_end != offset or oid in values:
            raise MalformedRequest("the extensions of the OCSP request are malformed")
        if critical == b"\x01\x01\xff" and oid not in known:
            name = der.oid_text(data[arcs:arcs_end])
            raise MalformedRequest(f"the OCSP request has a critical extension that is not known here: {name}")
        values[oid] = data[value:value_end]
    return values


def _decode_nonce(value: bytes) -> bytes:
    """Decode the nonce from the value of its extension, an OCTET STRING (RFC 9654 section 2.1)."""
    start, end = _open_element(value, 0, len(value), 0x04)
    if end != len(value) or not 1 <= end - start <= MAX_NONCE:
        raise MalformedRequest(f"the nonce of an OCSP request has 1 to {MAX_NONCE} bytes")
    return value[start:]


def _preferred_algorithms(value: bytes) -> tuple[bytes, ...]:
    """Decode PreferredSignatureAlgorithms: SEQUENCE OF SEQUENCE { sigIdentifier, certIdentifier OPTIONAL }."""
    algorithms = []
    for preference in _preferences(value).sub(der.SEQUENCE):
        parts = preference.sub(der.SEQUENCE)
        if not parts:
            raise MalformedRequest("the preferred signature algorithms of the OCSP request are malformed")
        algorithms.append(parts[0].whole)
    return tuple(algorithms)


def _acceptable_responses(value: bytes) -> tuple[str, ...]:
    """Decode AcceptableResponses: SEQUENCE OF OBJECT IDENTIFIER."""
    return tuple(response.oid() for response in _preferences(value).children())


def _preferences(value: bytes) -> der.Element:
    """Decode the SEQUENCE in the value of a client preference extension."""
    if len(value) > _MAX_PREFERENCES:
        raise MalformedRequest("the OCSP request has too many preferences")
    return der.parse(value, der.SEQUENCE)


def _skip_signature(data: bytes, offset: int, limit: int) -> None:
    """Skip the optionalSignature, which must end at *limit*: [0] { algorithm, BIT STRING, certificates }."""
    offset, end = _open_element(data, offset, limit, 0xA0)
    offset, inner_end = _open_element(data, offset, end, 0x30)
    if end != limit or inner_end != end:
        raise MalformedRequest("bytes follow the OCSP request")
    offset = _open_element(data, offset, end, 0x30)[1]
    offset = _open_element(data, offset, end, 0x03)[1]
    if offset != end and _open_element(data, offset, end, 0xA0)[1] != end:
        raise MalformedRequest("the signature of the OCSP request is malformed")


def cache_headers(
    response: bytes, this_update: datetime, next_update: datetime, now: datetime, max_age: int = 3600
) -> dict[str, str]:
    """Return the cache headers of a response without a nonce (RFC 5019 section 6.2, RFC 9111).

    :param response: the DER OCSPResponse; its SHA-256 is the strong ETag.
    :param this_update: the latest thisUpdate in the response.
    :param next_update: the earliest nextUpdate in the response.
    :param max_age: maximum seconds until caches revalidate, so that revocations take effect; always before
        *next_update*, and 0 from then on.
    """
    seconds = max(0, min(max_age, int((next_update - now).total_seconds()) - 1))
    return {
        "Last-Modified": format_datetime(this_update.astimezone(UTC), usegmt=True),
        "Expires": format_datetime(next_update.astimezone(UTC), usegmt=True),
        "ETag": f'"{hashlib.sha256(response).hexdigest()}"',
        "Cache-Control": f"max-age={seconds}, public, no-transform, must-revalidate",
    }
