"""OCSP requests and responses (RFC 6960) as text, in the style of ``openssl ocsp -req_text`` and ``-resp_text``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.crl import REASON_CODE
from pikachu.x509.extension import Extension
from pikachu.x509.extension_text import extension_text
from pikachu.x509.ocsp import NONCE
from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.descriptions import algorithm_text, first, moment_text, name_text, serial_hex
from pikachu.x509.text.lines import Lines
from pikachu.x509.text.sections import add_extensions, add_signature, extensions_in

_MAXIMUM_SHOWN: Final = 100
_MAXIMUM_CERTIFICATES: Final = 8
_BASIC: Final = "1.3.6.1.5.5.7.48.1.1"
_STATUSES: Final = ("successful", "malformedRequest", "internalError", "tryLater", "(4)", "sigRequired", "unauthorized")
_CERTIFICATE_STATUSES: Final = {0x80: "good", 0xA1: "revoked", 0x82: "unknown"}


@dataclass(frozen=True, slots=True)
class CertificateID:
    """A CertID of an OCSP message."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: str


def _certificate_id(element: der.Element) -> CertificateID:
    parts = element.expect(der.SEQUENCE).sub()
    if len(parts) != 4:
        raise MalformedRequest("a certificate is not named as OCSP wants it")
    return CertificateID(
        algorithm_text(parts[0]),
        parts[1].expect(der.OCTET_STRING).content,
        parts[2].expect(der.OCTET_STRING).content,
        serial_hex(parts[3].expect(der.INTEGER)),
    )


def _add_certificate_id(lines: Lines, depth: int, certificate_id: CertificateID) -> None:
    lines.add(depth, "Certificate ID:")
    lines.add(depth + 1, f"Hash Algorithm: {certificate_id.algorithm}")
    lines.add(depth + 1, f"Issuer Name Hash: {certificate_id.name_hash.hex().upper()}")
    lines.add(depth + 1, f"Issuer Key Hash: {certificate_id.key_hash.hex().upper()}")
    lines.add(depth + 1, f"Serial Number: {certificate_id.serial.upper()}")


def requested_certificates(request: bytes) -> list[CertificateID]:
    """Return the CertIDs of a DER OCSPRequest, up to a hundred.

    :raises MalformedRequest: *request* is malformed.
    """
    body = next(part for part in _request(request) if part.tag == der.SEQUENCE)
    return [_certificate_id(first(single_request)) for single_request in islice(body.children(), _MAXIMUM_SHOWN)]


def _request(request: bytes) -> list[der.Element]:
    """Return the fields of the TBSRequest, which include exactly one requestList."""
    fields = first(der.parse(request, der.SEQUENCE)).expect(der.SEQUENCE).sub()
    if sum(field.tag == der.SEQUENCE for field in fields) != 1:
        raise MalformedRequest("this is not an OCSP request")
    return fields


def ocsp_request_text(request: bytes) -> str:
    """Format a DER OCSPRequest as text.

    :raises MalformedRequest: *request* is malformed.
    """
    lines = Lines()
    lines.add(0, "OCSP Request Data:")
    for field in _request(request):
        if field.tag == 0xA0:
            lines.add(1, f"Version: {first(field).integer() + 1}")
        elif field.tag == 0xA1:
            name = Extension(SUBJECT_ALTERNATIVE_NAME, False, der.sequence(first(field).whole))
            lines.add(1, f"Requestor Name: {extension_text(name)[0]}")
        elif field.tag == der.SEQUENCE:
            lines.add(1, "Requestor List:")
            for single_request in islice(field.children(), _MAXIMUM_SHOWN):
                _add_certificate_id(lines, 2, _certificate_id(first(single_request)))
        elif field.tag == 0xA2:
            add_extensions(lines, 1, "Request Extensions:", extensions_in(first(field)))
    signature = der.parse(request).sub()[1:]
    if signature:
        lines.add(1, "Signature:")
        lines.hexadecimal(2, signature[0].content)
    return lines.text


def nonce_of(message: bytes) -> str | None:
    """Return the nonce of a DER OCSPRequest in hexadecimal, or ``None``."""
    for field in _request(message):
        if field.tag == 0xA2:
            for extension in extensions_in(first(field)):
                if extension.oid == NONCE:
                    return extension_text(extension)[0]
    return None


@dataclass(frozen=True, slots=True)
class SingleResponse:
    """A SingleResponse.

    :param status: ``good``, ``revoked`` or ``unknown``.
    :param times: thisUpdate, and nextUpdate if present.
    """

    certificate_id: CertificateID
    status: str
    detail: der.Element
    times: tuple[der.Element, ...]
    extensions: der.Element | None


@dataclass(frozen=True, slots=True)
class BasicResponse:
    """A BasicOCSPResponse."""

    responder: str
    produced_at: der.Element
    answers: list[SingleResponse]
    extensions: der.Element | None
    algorithm: der.Element
    signature: der.Element
    certificates: list[bytes]


def response_status(response: bytes) -> str:
    """Return the name of the responseStatus of a DER OCSPResponse.

    :raises MalformedRequest: *response* is malformed.
    """
    status = first(der.parse(response, der.SEQUENCE)).expect(der.ENUMERATED).integer()
    return _STATUSES[status] if 0 <= status < len(_STATUSES) else str(status)


def basic_response(response: bytes) -> BasicResponse | None:
    """Return the BasicOCSPResponse of a DER OCSPResponse, or ``None`` for an error or another type.

    :raises MalformedRequest: *response* is malformed.
    """
    parts = der.parse(response, der.SEQUENCE).sub()
    if len(parts) < 2:
        return None
    typed = first(parts[1].expect(0xA0)).expect(der.SEQUENCE).sub()
    if len(typed) != 2 or typed[0].oid() != _BASIC:
        return None
    basic = der.parse(typed[1].expect(der.OCTET_STRING).content, der.SEQUENCE).sub()
    if not 3 <= len(basic) <= 4:
        raise MalformedRequest("this is not an OCSP response")
    fields = basic[0].expect(der.SEQUENCE).sub()
    if fields and fields[0].tag == 0xA0:
        del fields[0]
    if len(fields) < 3:
        raise MalformedRequest("this is not an OCSP response")
    certificates = list(islice(first(basic[3]).children(), _MAXIMUM_CERTIFICATES)) if len(basic) == 4 else []
    return BasicResponse(
        responder=_responder(fields[0]),
        produced_at=fields[1].expect(der.GENERALIZED_TIME),
        answers=[
            _single_response(element) for element in islice(fields[2].expect(der.SEQUENCE).children(), _MAXIMUM_SHOWN)
        ],
        extensions=first(fields[3]) if len(fields) > 3 else None,
        algorithm=basic[1].expect(der.SEQUENCE),
        signature=basic[2].expect(der.BIT_STRING),
        certificates=[element.whole for element in certificates],
    )


def _responder(element: der.Element) -> str:
    inside = first(element)
    return inside.content.hex(":").upper() if element.tag == 0xA2 else name_text(inside)


def _single_response(element: der.Element) -> SingleResponse:
    parts = element.expect(der.SEQUENCE).sub()
    if len(parts) < 3 or parts[1].tag not in _CERTIFICATE_STATUSES:
        raise MalformedRequest("an answer in the OCSP response is malformed")
    following = [first(part) for part in parts[3:] if part.tag == 0xA0][:1]
    extensions = next((first(part) for part in parts[3:] if part.tag == 0xA1), None)
    status = _CERTIFICATE_STATUSES[parts[1].tag]
    return SingleResponse(_certificate_id(parts[0]), status, parts[1], (parts[2], *following), extensions)


def ocsp_response_text(response: bytes) -> str:
    """Format a DER OCSPResponse and its certificates as text.

    :raises MalformedRequest: *response* is malformed.
    """
    lines = Lines()
    lines.add(0, "OCSP Response Data:")
    lines.add(1, f"OCSP Response Status: {response_status(response)}")
    basic = basic_response(response)
    if basic is None:
        return lines.text
    lines.add(1, "Response Type: Basic OCSP Response")
    lines.add(1, f"Responder Id: {basic.responder}")
    lines.add(1, f"Produced At: {moment_text(basic.produced_at)}")
    lines.add(1, "Responses:")
    for answer in basic.answers:
        _add_certificate_id(lines, 1, answer.certificate_id)
        lines.add(1, f"Cert Status: {answer.status}")
        lines.extend(1, _revocation(answer))
        for label, time in zip(("This Update", "Next Update"), answer.times, strict=False):
            lines.add(1, f"{label}: {moment_text(time)}")
        if answer.extensions is not None:
            add_extensions(lines, 1, "Response Single Extensions:", extensions_in(answer.extensions))
    if basic.extensions is not None:
        add_extensions(lines, 1, "Response Extensions:", extensions_in(basic.extensions))
    add_signature(lines, basic.algorithm, basic.signature)
    for certificate in basic.certificates:
        lines.extend(0, certificate_text(certificate).splitlines())
    return lines.text


def _revocation(answer: SingleResponse) -> Iterator[str]:
    if answer.status != "revoked":
        return
    for part in answer.detail.children():
        if part.tag == der.GENERALIZED_TIME:
            yield f"Revocation Time: {moment_text(part)}"
        elif part.tag == 0xA0:
            yield f"Revocation Reason: {extension_text(Extension(REASON_CODE, False, first(part).whole))[0]}"
